"""Options of an adapter as data: what is allowed, what is the default, and a message for everything else.

>>> read_options("m", {"radius": Number(5, 0, 50)}, {"radius": 7})
{'radius': 7}
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rclicks.errors import ProtocolError

__all__ = ["Choice", "Number", "read_options"]


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


def read_options(model: str, known: Mapping[str, Number | Choice], given: Mapping[str, object]) -> dict[str, Any]:
    """Fill up the options given by a benchmark or caller with the defaults, and refuse what is not allowed.

    Raises
    ------
    ProtocolError
        If an option's name is unknown or its value is not allowed; the message names model, option, value and
        what is allowed.
    """
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ProtocolError(f"model {model}: unknown option {name!r}.{hint} Allowed: {', '.join(sorted(known))}")
        allowed = known[name].check(value)
        if allowed:
            raise ProtocolError(f"model {model}: option {name!r} is {value!r}; allowed is {allowed}")
    return {name: given.get(name, option.default) for name, option in known.items()}
