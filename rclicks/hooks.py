"""Hooks: the functions that the engine calls in a plug-in module, and the arguments that it passes to them.

One `typing.Protocol` class documents the modules of each kind of plug-in: `rclicks.models.contract.ModelModule`,
`rclicks.data.contract.DatasetModule`, `rclicks.users.contract.UserModule` and
`rclicks.clickability.contract.ClickModelModule`. Each method of the class describes a hook, which is a module-level
function of the plug-in. The engine calls nothing else in a module. A hook with the decorator `optional` may be missing;
the rest of the package looks it up with `rclicks.registry.hook` only.

The signature in the Protocol class states the arguments that the engine passes:

* Positional arguments and keyword arguments without a default are always passed. The function must accept them.
* Keyword arguments with a default are passed only to a function that names them as a parameter.
* ``**options`` are the options in the spec. If a function names its options as parameters, the engine rejects unknown
  options. A function with ``**options`` must reject them itself, with `rclicks.options.read_options`. A model with
  such a `load` states its options with the hook `load_options`; the engine then checks them before a run.

>>> class Contract:
...     def load(self, card, *, device, models=None, **options): ...
...     @optional
...     def inner_model(self, options): ...
>>> hooks_of(Contract)
{'load': True, 'inner_model': False}
>>> def load(card, *, device, radius=5): ...
>>> select_arguments(load, Contract, "load", {"device": "cpu", "models": print})
{'device': 'cpu'}
>>> option_names(load, Contract, "load")
('radius',)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

__all__ = ["engine_arguments", "hooks_of", "mismatch", "option_names", "optional", "select_arguments"]

_MARK = "_rclicks_optional_hook"
F = TypeVar("F", bound=Callable[..., Any])


def optional(function: F) -> F:
    """Mark a method of a contract as an optional hook."""
    setattr(function, _MARK, True)
    return function


def hooks_of(contract: type) -> dict[str, bool]:
    """Return the hooks of a contract class in its order: name -> True if a module must have the hook."""
    return {
        name: not hasattr(function, _MARK)
        for name, function in vars(contract).items()
        if inspect.isfunction(function) and not name.startswith("_")
    }


def engine_arguments(contract: type, name: str) -> dict[str, bool]:
    """Return the arguments that the engine passes to a hook: name -> True if it is always passed.

    ``self`` and ``**options`` are not included.
    """
    parameters = list(inspect.signature(vars(contract)[name]).parameters.values())[1:]
    return {p.name: p.default is p.empty for p in parameters if p.kind is not p.VAR_KEYWORD}


def select_arguments(
    function: Callable[..., Any], contract: type, name: str, offered: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keyword arguments in `offered` that the engine passes to `function`, the hook `name` of a module."""
    always = engine_arguments(contract, name)
    asked = inspect.signature(function).parameters
    return {key: value for key, value in offered.items() if always[key] or key in asked}


def option_names(function: Callable[..., Any], contract: type, name: str) -> tuple[str, ...] | None:
    """Return the sorted options that a hook names as parameters; None if it has ``**options`` instead."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return tuple(sorted({p.name for p in parameters} - engine_arguments(contract, name).keys()))


def mismatch(function: Callable[..., Any], contract: type, name: str) -> str:
    """Return a description of what is wrong with the signature of a hook; "" if the engine can call it."""
    parameters = list(inspect.signature(vars(contract)[name]).parameters.values())[1:]
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    try:
        inspect.signature(function).bind_partial(*positional, **keywords)
    except (TypeError, ValueError) as error:
        call = ", ".join([*positional, *(f"{k}=..." for k in keywords)])
        return f"{name} cannot be called as {name}({call}): {error}"
    return ""
