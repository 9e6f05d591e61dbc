"""Turn specs into live models, data sets and users."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from rclicks.cards import DatasetCard, ModelCard, UserCard
from rclicks.data.contract import Dataset
from rclicks.errors import PluginError, ProtocolError
from rclicks.models.contract import Model
from rclicks.models.weights import SYNTHETIC, checkpoint_id, find_checkpoint
from rclicks.protocol import Protocol
from rclicks.registry import Entry, Registry, load_module
from rclicks.specs import Spec
from rclicks.users.contract import User

__all__ = ["checkpoint_of", "load_dataset", "load_model", "load_user"]


def load_model(registry: Registry, spec: Spec, device: str = "cpu", protocol: Protocol | None = None) -> Model:
    """Build a model.

    Raises
    ------
    UnknownNameError, PluginError, WeightsError, ProtocolError
    """
    entry, module = _resolve(registry, "model", spec)
    model = module.load(
        entry.card, checkpoint=spec.checkpoint, device=device, protocol=protocol or Protocol(), **spec.options
    )
    return _checked(model, Model, entry)


def load_dataset(registry: Registry, spec: Spec, root: Path | None) -> Dataset:
    """Open a data set whose root is known."""
    entry, module = _resolve(registry, "dataset", spec)
    return _checked(module.load(entry.card, root, **spec.options), Dataset, entry)


def load_user(registry: Registry, spec: Spec, protocol: Protocol) -> User:
    """Build a user."""
    entry, module = _resolve(registry, "user", spec)
    return _checked(module.load(entry.card, protocol=protocol, **spec.options), User, entry)


def checkpoint_of(registry: Registry, spec: Spec) -> str:
    """Return the identity of the weights a spec means, without loading them.

    Raises
    ------
    WeightsError
        If there is no such file.
    """
    entry, module = _resolve(registry, "model", spec)
    card = entry.card
    assert isinstance(card, ModelCard)  # noqa: S101 - the registry's own promise
    if card.checkpoint is None and spec.checkpoint is None:
        return "none"
    if spec.checkpoint == SYNTHETIC:
        return SYNTHETIC
    find = getattr(module, "checkpoint_path", find_checkpoint)
    return checkpoint_id(find(card, spec.checkpoint), card)


def _resolve(registry: Registry, kind: str, spec: Spec) -> tuple[Entry, ModuleType]:
    entry = registry.find(kind, spec.name)
    assert isinstance(entry.card, (ModelCard, DatasetCard, UserCard))  # noqa: S101
    module = load_module(entry)
    parameters = inspect.signature(module.load).parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = {p.name for p in parameters} - {"card", "root", "checkpoint", "device", "protocol"}
        for option in spec.options:
            if option not in known:
                allowed = ", ".join(sorted(known)) or "none"
                raise ProtocolError(f"{kind} {spec.name!r} has no option {option!r}; allowed: {allowed}")
    return entry, module


def _checked(thing: Any, wanted: type[Any], entry: Entry) -> Any:
    if not isinstance(thing, wanted):
        raise PluginError(f"load of {entry.file} returned {type(thing).__name__}, expected a {wanted.__name__}")
    return thing
