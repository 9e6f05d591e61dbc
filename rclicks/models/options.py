"""Options of an adapter as data: what is allowed, what is the default, and a message for everything else.

>>> read_options("m", {"radius": Number(5, 0, 50)}, {"radius": 7})
{'radius': 7}
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rclicks.errors import ProtocolError

__all__ = ["Choice", "Number", "Option", "read_options"]


class Option(Protocol):
    """What `read_options` needs to know of an option; families may add kinds of their own."""

    @property
    def default(self) -> Any:
        """Value of the option where none is given."""

    def check(self, value: object) -> str:
        """Return what is allowed if `value` is not, else an empty string."""


@dataclass(frozen=True)
class Number:
    """An option that is a number within bounds (both allowed); `whole` asks for an integer."""

    default: float
    low: float
    high: float
    whole: bool = False

    def check(self, value: object) -> str:
        """Return what is allowed if `value` is not, else an empty string."""
        number = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        good = isinstance(value, (int, float)) and number and self.low <= value <= self.high
        return "" if good else f"{'an integer' if self.whole else 'a number'} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """An option that is one of a few values."""

    default: str | bool
    allowed: tuple[str | bool, ...]

    def check(self, value: object) -> str:
        """Return what is allowed if `value` is not, else an empty string."""
        good = any(value is a if isinstance(a, bool) else value == a for a in self.allowed)
        return "" if good else "one of " + ", ".join(str(a).lower() for a in self.allowed)


def read_options(
    name: str, known: Mapping[str, Option], given: Mapping[str, object], *, kind: str = "model"
) -> dict[str, Any]:
    """Fill up the options given by a benchmark or caller with the defaults, and refuse what is not allowed.

    Parameters
    ----------
    name, kind : str
        Name of the model or data set, and which of both it is, for messages.
    known : mapping of str to Option
    given : mapping of str to value

    Raises
    ------
    ProtocolError
        If an option's name is unknown or its value is not allowed; the message names model, option, value and
        what is allowed.
    """
    for key, value in given.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ProtocolError(f"{kind} {name}: unknown option {key!r}.{hint} Allowed: {', '.join(sorted(known))}")
        allowed = known[key].check(value)
        if allowed:
            raise ProtocolError(f"{kind} {name}: option {key!r} is {value!r}; allowed is {allowed}")
    return {key: given.get(key, option.default) for key, option in known.items()}
