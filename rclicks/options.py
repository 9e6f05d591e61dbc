"""Options of plug-ins: their defaults, their allowed values, and the messages about values that are not allowed.

>>> read_options("m", {"radius": Number(5, 0, 50)}, {"radius": 7})
{'radius': 7}
>>> read_options("m", {"features": Numbers((8, 16), 1, 4096)}, {"features": ["8 16 32"]})
{'features': (8, 16, 32)}
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclicks.errors import ProtocolError

__all__ = ["AnyValue", "Choice", "Number", "Numbers", "Option", "PathOption", "Text", "read_options"]

_WHOLE_NUMBER = re.compile(r"[+-]?\d+")


class Option(ABC):
    """One option. The value None is allowed only if the default is None.

    Attributes
    ----------
    default : any
        Value of an option that is not given; None if the plug-in chooses the value itself.
    help : str
        Meaning and unit, for listings.
    """

    default: Any
    help: str

    @property
    def metavar(self) -> str:
        """Word that stands for the value in listings, such as "N" for an integer."""
        return "VALUE"

    @property
    @abstractmethod
    def expected(self) -> str:
        """Description of the allowed values, such as "an integer from 1 to 8"."""

    @abstractmethod
    def accepts(self, value: object) -> bool:
        """Return whether a value other than None is allowed."""

    def convert(self, value: Any) -> Any:
        """Return an allowed value in the form that the plug-in receives."""
        return value

    def check(self, value: object) -> str:
        """Return "" if `value` is allowed, else a description of the allowed values."""
        good = self.default is None if value is None else self.accepts(value)
        return "" if good else self.expected


@dataclass(frozen=True)
class Number(Option):
    """A number from `low` to `high`, both included; an integer if `whole` is True."""

    default: float | None
    low: float
    high: float
    whole: bool = False
    help: str = ""

    @property
    def metavar(self) -> str:
        """N for an integer, X for another number."""
        return "N" if self.whole else "X"

    @property
    def expected(self) -> str:
        """Description of the kind of number and its bounds."""
        if self.whole:
            return f"an integer from {int(self.low)} to {int(self.high)}"
        return f"a number from {self.low:g} to {self.high:g}"

    def accepts(self, value: object) -> bool:
        """Return whether the value is a number within the bounds. A boolean is not a number."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Choice(Option):
    """One value of a fixed list."""

    default: str | bool
    allowed: tuple[str | bool, ...]
    help: str = ""

    @property
    def metavar(self) -> str:
        """All values, separated by bars."""
        return "|".join(str(a).lower() for a in self.allowed)

    @property
    def expected(self) -> str:
        """Description that lists all values."""
        return "one of " + ", ".join(str(a).lower() for a in self.allowed)

    def accepts(self, value: object) -> bool:
        """Return whether the value is in the list."""
        return any(value is a if isinstance(a, bool) else value == a for a in self.allowed)


@dataclass(frozen=True)
class Numbers(Option):
    """A list of integers in brackets, ``[8 16 32]`` or ``[8, 16, 32]``. The plug-in receives a tuple.

    Each integer lies between `low` and `high`, and their number between `fewest` and `most`, all bounds included.
    """

    default: tuple[int, ...]
    low: int
    high: int
    fewest: int = 1
    most: int = 16
    help: str = ""

    @property
    def metavar(self) -> str:
        """[N ...]."""
        return "[N ...]"

    @property
    def expected(self) -> str:
        """Description of the number of integers, their bounds and the notation."""
        example = " ".join(map(str, self.default))
        count = str(self.most) if self.fewest == self.most else f"{self.fewest} to {self.most}"
        return f"{count} integers from {self.low} to {self.high} in brackets, such as [{example}]"

    def accepts(self, value: object) -> bool:
        """Return whether the value is a list of such integers."""
        found = self.convert(value)
        good = all(isinstance(v, int) and not isinstance(v, bool) and self.low <= v <= self.high for v in found)
        return good and self.fewest <= len(found) <= self.most

    def convert(self, value: object) -> tuple[Any, ...]:
        """Return the items of a list as a tuple. YAML reads ``[8 16]`` as a list with the single text "8 16"."""
        if not isinstance(value, (list, tuple)):
            return (None,)  # no list; a tuple with None is never allowed
        parts = value[0].split() if len(value) == 1 and isinstance(value[0], str) else value
        return tuple(int(p) if isinstance(p, str) and _WHOLE_NUMBER.fullmatch(p) else p for p in parts)


@dataclass(frozen=True)
class Text(Option):
    """A text."""

    default: str | None = ""
    help: str = ""

    @property
    def metavar(self) -> str:
        """TEXT."""
        return "TEXT"

    @property
    def expected(self) -> str:
        """Description of the kind of value."""
        return "a text"

    def accepts(self, value: object) -> bool:
        """Return whether the value is a text."""
        return isinstance(value, str)


@dataclass(frozen=True)
class AnyValue(Option):
    """A value that the plug-in checks itself when it is loaded."""

    default: Any = None
    help: str = ""

    @property
    def expected(self) -> str:
        """Description of the allowed values."""
        return "any value"

    def accepts(self, value: object) -> bool:
        """Return True."""
        return True


@dataclass(frozen=True)
class PathOption(Option):
    """The path of a file or folder. The plug-in receives a `pathlib.Path` and must check that it exists."""

    default: Path | None = None
    help: str = ""

    @property
    def metavar(self) -> str:
        """PATH."""
        return "PATH"

    @property
    def expected(self) -> str:
        """Description of the kind of value."""
        return "the path of a file or folder"

    def accepts(self, value: object) -> bool:
        """Return whether the value is a path or a text that is not empty."""
        return isinstance(value, Path) or (isinstance(value, str) and bool(value.strip()))

    def convert(self, value: Any) -> Path:
        """Return the path, with ``~`` replaced by the home folder."""
        return Path(value).expanduser()


def read_options(
    name: str, known: Mapping[str, Option], given: Mapping[str, object], *, kind: str = "model"
) -> dict[str, Any]:
    """Check the options that a benchmark or caller gave, and add the defaults of the others.

    Parameters
    ----------
    name : str
        Name of the plug-in, for messages.
    known : mapping of str to Option
        All options of the plug-in.
    given : mapping of str to value
        Options that were given.
    kind : str
        Kind of plug-in, for messages.

    Returns
    -------
    dict of str to value
        Value of every known option, in the order of `known`.

    Raises
    ------
    ProtocolError
        If the name of an option is unknown or its value is not allowed. The message names the plug-in, the option, the
        value and what is allowed.
    """
    for option, value in given.items():
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            allowed = ", ".join(sorted(known)) or "none"
            raise ProtocolError(f"{kind} {name}: unknown option {option!r}.{hint} Allowed: {allowed}")
        expected = known[option].check(value)
        if expected:
            raise ProtocolError(f"{kind} {name}: option {option!r} is {value!r}; allowed is {expected}")
    values = {option: given.get(option, fact.default) for option, fact in known.items()}
    return {option: None if v is None else known[option].convert(v) for option, v in values.items()}
