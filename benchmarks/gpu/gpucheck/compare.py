"""Compare what two devices or precisions played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Difference", "compare", "first_divergence", "largest_logit_difference", "trajectories"]

TRAJECTORY = ("dataset", "sample", "object", "rater", "user", "group", "replicate")
CLEAR = 8.0  # logits beyond it are left out: there float32 probabilities have lost too many digits to compare them

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """How two plays differ.

    Attributes
    ----------
    trajectories : int
        That both have.
    equal : int
        Those of them whose clicks are all equal.
    first_round : int or None
        The earliest round in which clicks differ; None if none do.
    iou : float
        Largest difference of IoU in rounds whose clicks so far are equal.
    logit : float or None
        Largest difference of logits in those rounds; None without probabilities.
    only_one : int
        Trajectories that only one of the two has.
    """

    trajectories: int
    equal: int
    first_round: int | None
    iou: float
    logit: float | None
    only_one: int


def trajectories(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Return the rows of each trajectory, in the order of its rounds."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(str(row.get(name, "")) for name in TRAJECTORY), []).append(row)
    return {key: sorted(part, key=lambda r: r["round"]) for key, part in found.items()}


def first_divergence(a: Sequence[Row], b: Sequence[Row]) -> int | None:
    """Return the first round in which two trajectories click differently; None if they never do.

    A trajectory that ends earlier differs in the round that it lacks.

    >>> click = {"round": 1, "y": 3, "x": 4, "positive": True}
    >>> first_divergence([click], [click]), first_divergence([click], [click | {"x": 5}]), first_divergence([click], [])
    (None, 1, 1)
    """
    for number, (one, other) in enumerate(zip(a, b, strict=False), start=1):
        if any(one.get(name) != other.get(name) for name in ("z", "y", "x", "positive")):
            return number
    return None if len(a) == len(b) else min(len(a), len(b)) + 1


def largest_logit_difference(a: Mapping[Any, np.ndarray], b: Mapping[Any, np.ndarray]) -> float | None:
    """Return the largest difference of logits of equal keys, where either lies within +-8; None if nothing does."""
    largest: float | None = None
    for key in a.keys() & b.keys():
        clear = np.minimum(np.abs(a[key]), np.abs(b[key])) < CLEAR
        if clear.any():
            largest = max(largest or 0.0, float(np.abs(a[key] - b[key])[clear].max()))
    return largest


def compare(
    a: Sequence[Row],
    b: Sequence[Row],
    logits_a: Mapping[Any, np.ndarray] | None = None,
    logits_b: Mapping[Any, np.ndarray] | None = None,
) -> Difference:
    """Return how two plays of the same pictures and users differ.

    Logits are keyed by the clicks, so that only answers to equal clicks are compared.
    """
    one, other = trajectories(a), trajectories(b)
    rounds = {key: first_divergence(one[key], other[key]) for key in one.keys() & other.keys()}
    iou = 0.0
    for key, first in rounds.items():
        known = (first or 10**9) - 1
        for x, y in zip(one[key][:known], other[key][:known], strict=False):
            iou = max(iou, abs(x["iou"] - y["iou"]))
    apart = [first for first in rounds.values() if first is not None]
    return Difference(
        trajectories=len(rounds),
        equal=len(rounds) - len(apart),
        first_round=min(apart, default=None),
        iou=iou,
        logit=largest_logit_difference(logits_a or {}, logits_b or {}),
        only_one=len(one.keys() ^ other.keys()),
    )
