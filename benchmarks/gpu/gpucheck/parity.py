"""The gate of reduced precisions: paired differences to float32, with intervals over pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpucheck.compare import first_divergence, trajectories

__all__ = ["LIMIT", "Parity", "interval", "noc", "parity"]

LIMIT = 0.02  # clicks of NoC
DRAWS = 2000
SEED = 42


@dataclass(frozen=True)
class Parity:
    """What a reduced precision changes, trajectory by trajectory, against float32.

    Attributes
    ----------
    trajectories : int
    noc : float
        NoC of float32.
    noc_change, iou_change : float
        Mean paired difference of NoC, and of the IoU after the last click both played.
    noc_interval, iou_interval : tuple of float
        95 % intervals of them, bootstrapped over pictures.
    equal_clicks : float
        Share of trajectories with equal clicks.
    drift : float
        Mean distance in pixels of clicks of the same round, over all rounds that both played.
    verdict : str
        "pass": the change and its interval lie within `LIMIT`. "flagged": the change lies beyond it. "undecided": the
        change lies within it, but its interval does not.
    """

    trajectories: int
    noc: float
    noc_change: float
    noc_interval: tuple[float, float]
    iou_change: float
    iou_interval: tuple[float, float]
    equal_clicks: float
    drift: float
    verdict: str


def noc(ious: Sequence[float], threshold: float, budget: int) -> int:
    """Return the number of clicks until an IoU of at least `threshold`; the budget if it is never reached.

    >>> noc([0.5, 0.9, 0.7], 0.85, 20), noc([0.5], 0.85, 20)
    (2, 20)
    """
    return next((number for number, iou in enumerate(ious, start=1) if iou >= threshold), budget)


def interval(values: NDArray[np.float64], pictures: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % interval of the mean, from a bootstrap that draws whole pictures; NaN for one picture."""
    names = sorted(set(pictures))
    if len(names) < 2:
        return float("nan"), float("nan")
    where = np.array([names.index(name) for name in pictures])
    sums, counts = np.bincount(where, values, len(names)), np.bincount(where, minlength=len(names))
    drawn = np.random.default_rng(SEED).integers(len(names), size=(DRAWS, len(names)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), [2.5, 97.5])
    return float(low), float(high)


def parity(
    exact: Sequence[Mapping[str, Any]],
    reduced: Sequence[Mapping[str, Any]],
    *,
    threshold: float,
    budget: int,
    limit: float = LIMIT,
) -> Parity:
    """Return how the rows of a reduced precision compare with those of float32.

    Raises
    ------
    ValueError
        If the two do not have the same trajectories, at least one.
    """
    one, other = trajectories(exact), trajectories(reduced)
    if one.keys() != other.keys() or not one:
        raise ValueError(f"{len(one)} and {len(other)} trajectories, which are not the same ones; nothing to pair")
    keys = sorted(one)
    pictures = ["/".join(key[:2]) for key in keys]
    counts = [[noc([r["iou"] for r in side[key]], threshold, budget) for key in keys] for side in (one, other)]
    last = [min(len(one[key]), len(other[key])) - 1 for key in keys]
    change = np.subtract(counts[1], counts[0]).astype(float)
    ious = np.array([other[key][n]["iou"] - one[key][n]["iou"] for key, n in zip(keys, last, strict=True)])
    apart = [first_divergence(one[key], other[key]) for key in keys]
    distances = [
        float(np.hypot(x["y"] - y["y"], x["x"] - y["x"]))
        for key in keys
        for x, y in zip(one[key], other[key], strict=False)
    ]
    noc_interval = interval(change, pictures)
    return Parity(
        trajectories=len(keys),
        noc=float(np.mean(counts[0])),
        noc_change=float(change.mean()),
        noc_interval=noc_interval,
        iou_change=float(ious.mean()),
        iou_interval=interval(ious, pictures),
        equal_clicks=sum(first is None for first in apart) / len(apart),
        drift=float(np.mean(distances)),
        verdict=verdict(float(change.mean()), noc_interval, limit),
    )


def verdict(change: float, bounds: tuple[float, float], limit: float = LIMIT) -> str:
    """Return "pass", "flagged" or "undecided"; see `Parity`.

    >>> verdict(0.0, (0.0, 0.01)), verdict(0.01, (-0.05, 0.06)), verdict(0.3, (0.1, 0.5))
    ('pass', 'undecided', 'flagged')
    """
    if abs(change) > limit:
        return "flagged"
    return "pass" if all(abs(bound) <= limit for bound in bounds) else "undecided"
