"""Options of data sets with several raters: choice of raters, treatment of missing files, identity of raters.

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
    """Rules for the raters and objects of a sample.

    Attributes
    ----------
    raters : tuple of str or None
        Names of the raters to use; None for all.
    on_missing : {"leave-out", "refuse"}
        Treatment of a missing mask file: the sample does not have this rater ("leave-out"), or an error ("refuse").
    on_empty : {"leave-out", "keep"}
        Treatment of an object that no rater drew: it is left out, or kept with empty masks.
    """

    raters: tuple[str, ...] | None = None
    on_missing: Literal["leave-out", "refuse"] = "leave-out"
    on_empty: Literal["leave-out", "keep"] = "leave-out"

    def __post_init__(self) -> None:
        """Refuse unknown values with a `ProtocolError`."""
        check_choice("on_missing", self.on_missing, ("leave-out", "refuse"))
        check_choice("on_empty", self.on_empty, ("leave-out", "keep"))

    @classmethod
    def of(cls, raters: object, on_missing: Any, on_empty: Any) -> RaterRules:
        """Return the rules from the options of a data set; `raters` is a name, a number, a list of these, or None.

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
    """Return the card with another rater identity; None does not change it.

    Raises
    ------
    ProtocolError
        If `identity` is neither "known" (a name means the same person in every sample) nor "within-sample".
    """
    if identity is None:
        return card
    check_choice("identity", identity, ("known", "within-sample"), card.name)
    return replace(card, rater_identity=identity)


def check_choice(option: str, value: object, allowed: Sequence[str], dataset: str = "") -> None:
    """Refuse a value that an option does not have.

    Raises
    ------
    ProtocolError
        If the value is not allowed; the message contains the allowed values.
    """
    if value not in allowed:
        where = f"data set {dataset}: " if dataset else ""
        raise ProtocolError(f"{where}{option} is {value!r}; allowed: {', '.join(allowed)}")


def check_window(window: object, dataset: str) -> tuple[float, float] | None:
    """Return the option `window`, [low, high], as two numbers; None if it was not given.

    Raises
    ------
    ProtocolError
        If it is not a pair of finite numbers with low below high.
    """
    if window is None:
        return None
    numbers = window if isinstance(window, (list, tuple)) else ()
    plain = all(isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n) for n in numbers)
    if not (len(numbers) == 2 and plain and numbers[0] < numbers[1]):
        raise ProtocolError(f"data set {dataset}: window is {window!r}; expected [low, high] with low below high")
    return float(numbers[0]), float(numbers[1])
