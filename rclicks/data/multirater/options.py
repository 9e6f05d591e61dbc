"""Options of sets drawn by several raters: which raters, what an absent file means, whether names are people.

>>> RaterRules.of("ann", "refuse", "keep")
RaterRules(raters=('ann',), on_missing='refuse', on_empty='keep')
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rclicks.cards import DatasetCard
from rclicks.errors import ProtocolError

__all__ = ["RaterRules", "check_choice", "check_window", "with_identity"]


@dataclass(frozen=True)
class RaterRules:
    """Which raters and objects a sample has.

    Attributes
    ----------
    raters : tuple of str or None
        Names of those to take; None for all.
    on_missing : {"leave-out", "refuse"}
        What an absent mask file means: that this rater is none of this sample's, or an error of that sample.
    on_empty : {"leave-out", "keep"}
        Whether an object that nobody drew is one.
    """

    raters: tuple[str, ...] | None = None
    on_missing: Literal["leave-out", "refuse"] = "leave-out"
    on_empty: Literal["leave-out", "keep"] = "leave-out"

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        check_choice("on_missing", self.on_missing, ("leave-out", "refuse"))
        check_choice("on_empty", self.on_empty, ("leave-out", "keep"))

    @classmethod
    def of(cls, raters: object, on_missing: Any, on_empty: Any) -> RaterRules:
        """Return the rules of a data set's options; `raters` is a name, a number or a list of them, or None.

        >>> RaterRules.of([1, "b"], "refuse", "keep").raters
        ('1', 'b')
        """
        if raters is None:
            return cls(None, on_missing, on_empty)
        names = tuple(str(r) for r in (raters if isinstance(raters, (list, tuple)) else [raters]))
        if not names or len(set(names)) < len(names):
            raise ProtocolError(f"option raters is {raters!r}; expected one or more different names")
        return cls(names, on_missing, on_empty)


def with_identity(card: DatasetCard, identity: str | None) -> DatasetCard:
    """Return the card with what its user says of the raters' names; None for what the card says.

    Raises
    ------
    ProtocolError
        If it is neither "known" (one name, one person) nor "within-sample".
    """
    if identity is None:
        return card
    check_choice("identity", identity, ("known", "within-sample"), card.name)
    return replace(card, rater_identity=identity)


def check_choice(option: str, value: object, allowed: Sequence[str], dataset: str = "") -> None:
    """Refuse a value that an option has not.

    Raises
    ------
    ProtocolError
        Naming the allowed ones.
    """
    if value not in allowed:
        where = f"data set {dataset}: " if dataset else ""
        raise ProtocolError(f"{where}{option} is {value!r}; allowed: {', '.join(allowed)}")


def check_window(window: object, dataset: str) -> tuple[float, float] | None:
    """Return the option `window`, [low, high], as two numbers; None if it was not given.

    Raises
    ------
    ProtocolError
        If it is anything else.
    """
    if window is None:
        return None
    numbers = window if isinstance(window, (list, tuple)) else ()
    plain = all(isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n) for n in numbers)
    if not (len(numbers) == 2 and plain and numbers[0] < numbers[1]):
        raise ProtocolError(f"data set {dataset}: window is {window!r}; expected [low, high]")
    return float(numbers[0]), float(numbers[1])
