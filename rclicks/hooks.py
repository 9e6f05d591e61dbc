"""How a contract states what the engine calls in a plug-in module, and how a call is made from it.

The modules of each kind of plug-in have one `typing.Protocol` class: `rclicks.models.contract.ModelModule`,
`rclicks.data.contract.DatasetModule`, `rclicks.users.contract.UserModule` and
`rclicks.clickability.contract.ClickModelModule`. Their methods are the hooks, which are module-level functions in a
plug-in. The engine calls no other name in a module. A hook with the decorator `optional` may be absent;
`rclicks.registry.hook` is the only way in which the rest of the package asks for one.

The signature in the Protocol class states the arguments of the engine:

* Positional arguments and keyword arguments without a default are always passed; the function must take them.
* Keyword arguments with a default are passed only to a function that names them as a parameter.
* ``**options`` are the options that the user gave in the spec. A function that names its options is protected
  against unknown ones by the engine; a function with ``**options`` refuses unknown ones itself, with
  `rclicks.options.read_options`.

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
    """Mark a method of a contract as a hook that a module may leave out."""
    setattr(function, _MARK, True)
    return function


def hooks_of(contract: type) -> dict[str, bool]:
    """Return the hooks of a contract class: name -> whether a module must have it, in the order of the class."""
    return {
        name: not hasattr(function, _MARK)
        for name, function in vars(contract).items()
        if inspect.isfunction(function) and not name.startswith("_")
    }


def engine_arguments(contract: type, name: str) -> dict[str, bool]:
    """Return the arguments that the engine passes to a hook: name -> whether it is always passed.

    ``self`` and ``**options`` are not among them.
    """
    parameters = list(inspect.signature(vars(contract)[name]).parameters.values())[1:]
    return {p.name: p.default is p.empty for p in parameters if p.kind is not p.VAR_KEYWORD}


def select_arguments(
    function: Callable[..., Any], contract: type, name: str, offered: Mapping[str, Any]
) -> dict[str, Any]:
    """Return those keyword arguments of `offered` that the engine passes to `function`, a module's hook `name`."""
    always = engine_arguments(contract, name)
    asked = inspect.signature(function).parameters
    return {key: value for key, value in offered.items() if always[key] or key in asked}


def option_names(function: Callable[..., Any], contract: type, name: str) -> tuple[str, ...] | None:
    """Return the options that a hook names as parameters, sorted; None if it takes any and checks them itself."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return tuple(sorted({p.name for p in parameters} - engine_arguments(contract, name).keys()))


def mismatch(function: Callable[..., Any], contract: type, name: str) -> str:
    """Return what is wrong with the signature of a module's hook; "" if the engine can call it."""
    parameters = list(inspect.signature(vars(contract)[name]).parameters.values())[1:]
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    try:
        inspect.signature(function).bind_partial(*positional, **keywords)
    except (TypeError, ValueError) as error:
        call = ", ".join([*positional, *(f"{k}=..." for k in keywords)])
        return f"{name} cannot be called as {name}({call}): {error}"
    return ""
