"""Checkpoints that describe their network: the {config, state_dict} files of RITM and similar models.

``config`` is {"class": dotted path, "params": {name: {"type": "builtin" | "class", "value": ..., "specified": bool}}}.
It contains only plain values, so no code is run when such a file is read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rclicks.errors import WeightsError
from rclicks.models.weights import load_into, read_checkpoint

__all__ = ["build_configured"]

T = TypeVar("T")


def build_configured(
    path: Path,
    build: Callable[..., T],
    *,
    class_name: str,
    inert: frozenset[str] = frozenset(),
    fixed: Mapping[str, tuple[Any, ...]] | None = None,
) -> T:
    """Build the network that a checkpoint describes, and load its weights.

    Parameters
    ----------
    path : Path
        Checkpoint file.
    build : class or function
        Class or function that returns the network. A checkpoint may set its keyword parameters.
    class_name : str
        Name of the class that the file must contain, without modules.
    inert : frozenset of str
        Parameters of the original class that do not change predictions; they are skipped.
    fixed : mapping
        Allowed values of parameters that `build` implements but does not take; any other value is an error.

    Raises
    ------
    WeightsError
        If the file is unsafe, damaged or of another format, names another class, sets a parameter that is unknown or
        not supported, or contains weights that do not fit.
    """
    data = read_checkpoint(path)
    if isinstance(data, list):
        raise WeightsError(
            f"{path} contains {len(data)} models for successive clicks; use a checkpoint of a single model"
        )
    if not isinstance(data, dict) or not isinstance(data.get("config"), dict) or "state_dict" not in data:
        raise WeightsError(
            f"{path} is not in the published format: expected a dict with 'config' and 'state_dict', "
            f"got {sorted(data)[:5] if isinstance(data, dict) else type(data).__name__}"
        )
    config = data["config"]
    if str(config.get("class")).rpartition(".")[2] != class_name:
        raise WeightsError(f"{path} contains a {config.get('class')!r}; expected a class named {class_name}")
    arguments = _arguments(config.get("params", {}), set(inspect.signature(build).parameters), inert, fixed or {}, path)
    try:
        network = build(**arguments)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: {class_name} cannot be built from its config: {error}") from error
    load_into(network, data["state_dict"], str(path))
    return network


def _arguments(
    params: object, known: set[str], inert: frozenset[str], fixed: Mapping[str, tuple[Any, ...]], path: Path
) -> dict[str, Any]:
    if not isinstance(params, dict):
        raise WeightsError(f"{path}: config.params is {type(params).__name__}, expected a dict")
    found: dict[str, Any] = {}
    for name, entry in params.items():
        if not isinstance(entry, dict) or "value" not in entry:
            raise WeightsError(f"{path}: config.params.{name} is {entry!r}, expected type, value and specified")
        value = entry["value"]
        if name in fixed:
            if value not in fixed[name]:
                allowed = " or ".join(map(repr, fixed[name]))
                raise WeightsError(f"{path}: config.params.{name} is {value!r}; only {allowed} is supported")
        elif name in known:
            found[name] = value
        elif name not in inert and entry.get("specified", True):
            raise WeightsError(
                f"{path}: config.params.{name} = {value!r} was set in training but is unknown here; "
                f"known: {', '.join(sorted(known | inert | set(fixed)))}"
            )
    return found
