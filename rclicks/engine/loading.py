"""Turn specs into live models, data sets and users."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from rclicks.cards import ClickModelCard, DatasetCard, ModelCard, UserCard
from rclicks.clickability.contract import ClickModel
from rclicks.clickability.source import MapSource
from rclicks.config import load_config
from rclicks.data.contract import Dataset
from rclicks.data.roots import resolve
from rclicks.errors import PluginError, ProtocolError, WeightsError
from rclicks.models.contract import Model
from rclicks.models.precision import OPTION as PRECISION
from rclicks.models.precision import set_precision, split_precision
from rclicks.models.weights import SYNTHETIC, checkpoint_id, find_checkpoint
from rclicks.protocol import Protocol
from rclicks.registry import Entry, Registry, load_module
from rclicks.specs import Spec, parse
from rclicks.users.contract import User

__all__ = [
    "ClickModelPool",
    "checkpoint_of",
    "load_click_model",
    "load_dataset",
    "load_model",
    "load_user",
    "open_dataset",
]

_GIVEN = {"card", "root", "checkpoint", "device", "protocol", "click_models", "models"}  # by the engine, not options


def load_model(registry: Registry, spec: Spec, device: str = "cpu", protocol: Protocol | None = None) -> Model:
    """Build a model; a `load` with a parameter ``models`` is given a callable (spec) -> Model for its parts.

    Raises
    ------
    UnknownNameError, PluginError, WeightsError, ProtocolError
    """
    entry, module = _resolve(registry, "model", spec)
    options, precision = split_precision(spec.options)
    given: dict[str, Any] = {"checkpoint": spec.checkpoint, "device": device, "protocol": protocol or Protocol()}
    if "models" in inspect.signature(module.load).parameters:  # a model made of another one
        given["models"] = lambda inner: load_model(registry, parse(inner), device, protocol)
    model: Model = _checked(module.load(entry.card, **given, **options), Model, entry)
    set_precision(model, precision)
    return model


def load_dataset(registry: Registry, spec: Spec, root: Path | None, protocol: Protocol | None = None) -> Dataset:
    """Open a data set whose root is known; one whose published form differs is told the protocol."""
    entry, module = _resolve(registry, "dataset", spec)
    told = {"protocol": protocol or Protocol()} if "protocol" in inspect.signature(module.load).parameters else {}
    return _checked(module.load(entry.card, root, **told, **spec.options), Dataset, entry)


def open_dataset(registry: Registry, spec: Spec, data_root: Path | None = None) -> Dataset:
    """Find a data set's files and open it.

    Parameters
    ----------
    registry : Registry
    spec : Spec
        Its own root, if it names one, goes before all else.
    data_root : Path or None
        Parent of the data sets' folders; None takes the settings'.

    Raises
    ------
    UnknownNameError, PluginError, DataError, ProtocolError
    """
    card = registry.find("dataset", spec.name).card
    assert isinstance(card, DatasetCard)  # noqa: S101 - the registry's own promise
    root = resolve(card, None if spec.root is None else Path(spec.root), data_root, load_config())
    return load_dataset(registry, spec, root)


def load_user(registry: Registry, spec: Spec, protocol: Protocol, click_models: ClickModelPool | None = None) -> User:
    """Build a user; users that ask click models get them from `click_models`, a pool of their own if None."""
    entry, module = _resolve(registry, "user", spec)
    given: dict[str, Any] = {"protocol": protocol}
    parameters = inspect.signature(module.load).parameters
    if spec.checkpoint is not None:
        if "checkpoint" not in parameters:
            raise ProtocolError(f"user {spec.label} has no weights, so checkpoint={spec.checkpoint!r} makes no sense")
        given["checkpoint"] = spec.checkpoint
    if "click_models" in parameters:
        given["click_models"] = click_models or ClickModelPool(registry, protocol)
    return _checked(module.load(entry.card, **given, **spec.options), User, entry)


def load_click_model(
    registry: Registry, spec: Spec, device: str = "cpu", protocol: Protocol | None = None
) -> ClickModel:
    """Build a click model.

    Raises
    ------
    UnknownNameError, PluginError, WeightsError, ProtocolError
    """
    entry, module = _resolve(registry, "click-model", spec)
    assert isinstance(entry.card, ClickModelCard)  # noqa: S101 - the registry's own promise
    _refuse_weights(entry.card, spec)
    made = module.load(
        entry.card, checkpoint=spec.checkpoint, device=device, protocol=protocol or Protocol(), **spec.options
    )
    return _checked(made, ClickModel, entry)


class ClickModelPool:
    """The click models of one worker: each is built once, at its first map, and shared by all users that ask it.

    Parameters
    ----------
    registry : Registry
    protocol : Protocol
    device : str
    lanes : int
        Canonical batch of networks.
    """

    def __init__(self, registry: Registry, protocol: Protocol, device: str = "cpu", lanes: int = 1) -> None:
        self._registry, self._protocol, self._device, self._lanes = registry, protocol, device, lanes
        self._sources: dict[tuple[str, str | None], MapSource] = {}

    def __call__(self, name: str, checkpoint: str | None = None) -> MapSource:
        """Return the source of maps of the click model that `name` (with options) means.

        Raises
        ------
        UnknownNameError, PluginError, ProtocolError
            If there is no such click model or option.
        WeightsError
            If its weights are missing.
        """
        spec = parse(name)
        spec = replace(spec, checkpoint=checkpoint or spec.checkpoint, label="")
        key = spec.label, spec.checkpoint
        if key not in self._sources:
            facts = {"name": spec.label, "weights": checkpoint_of(self._registry, spec, "click-model")}
            card = self._registry.find("click-model", spec.name).card
            assert isinstance(card, ClickModelCard)  # noqa: S101 - the registry's own promise
            self._sources[key] = MapSource(lambda: self._build(spec), facts, self._lanes, card=card)
        return self._sources[key]

    @property
    def sources(self) -> tuple[MapSource, ...]:
        """All sources handed out so far."""
        return tuple(self._sources.values())

    def _build(self, spec: Spec) -> ClickModel:
        return load_click_model(self._registry, spec, self._device, self._protocol)


def checkpoint_of(registry: Registry, spec: Spec, kind: str = "model") -> str:
    """Return the identity of the weights a spec means, without loading them.

    A model made of another one, whose module names it by ``inner_model(options)``, has that one's weights.

    Raises
    ------
    WeightsError
        If there is no such file.
    """
    entry, module = _resolve(registry, kind, spec)
    card = entry.card
    assert isinstance(card, (ModelCard, ClickModelCard))  # noqa: S101 - the registry's own promise
    if hasattr(module, "inner_model"):
        if spec.checkpoint is not None:
            raise WeightsError(
                f"{card.name} has no weights of its own, so checkpoint={spec.checkpoint!r} makes no sense here; "
                f"give it to the inner model: model=NAME:checkpoint={spec.checkpoint}"
            )
        return checkpoint_of(registry, parse(module.inner_model(spec.options)), kind)
    if kind == "click-model" and hasattr(module, "shipped_weights") and spec.checkpoint is None:
        return str(module.shipped_weights(card))
    if card.checkpoint is None and spec.checkpoint is None:
        return "none"
    if isinstance(card, ClickModelCard):
        _refuse_weights(card, spec)
    if spec.checkpoint == SYNTHETIC:
        return SYNTHETIC
    if card.checkpoint is None and spec.checkpoint is not None and isinstance(card, ClickModelCard):
        file = Path(spec.checkpoint).expanduser()  # weights of the user's own; there are no published ones
        if not file.is_file():
            raise WeightsError(f"checkpoint {file} of {card.name} does not exist")
        return checkpoint_id(file, card)
    find = getattr(module, "checkpoint_path", find_checkpoint)
    identify = getattr(module, "checkpoint_identity", checkpoint_id)  # weights that are a folder
    return str(identify(find(card, spec.checkpoint), card))


def _refuse_weights(card: ClickModelCard, spec: Spec) -> None:
    if spec.checkpoint is not None and not card.parameters:
        raise WeightsError(f"click model {card.name} has no weights, so checkpoint={spec.checkpoint!r} makes no sense")


def _resolve(registry: Registry, kind: str, spec: Spec) -> tuple[Entry, ModuleType]:
    entry = registry.find(kind, spec.name)
    assert isinstance(entry.card, (ModelCard, DatasetCard, UserCard, ClickModelCard))  # noqa: S101
    module = load_module(entry)
    for option in spec.options:
        if option in ("checkpoint", "root"):
            raise ProtocolError(f"{kind} {spec.name!r}: `{option}` stands beside `options`, not in it")
        if option in _GIVEN:
            raise ProtocolError(f"{kind} {spec.name!r}: {option!r} is no option; the engine gives it")
    parameters = inspect.signature(module.load).parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = {p.name for p in parameters} - _GIVEN | ({PRECISION} if kind == "model" else set())
        for option in spec.options:
            if option not in known:
                allowed = ", ".join(sorted(known)) or "none"
                raise ProtocolError(f"{kind} {spec.name!r} has no option {option!r}; allowed: {allowed}")
    return entry, module


def _checked(thing: Any, wanted: type[Any], entry: Entry) -> Any:
    if not isinstance(thing, wanted):
        raise PluginError(f"load of {entry.file} returned {type(thing).__name__}, expected a {wanted.__name__}")
    return thing
