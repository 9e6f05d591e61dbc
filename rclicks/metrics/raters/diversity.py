"""How alike a set of predictions and a set of raters are as two distributions.

All functions take a `Similarity` (see `rclicks.metrics.raters.overlap`), so that its kind (Dice or IoU), its empty
policy and its raters are stated once. Pairs that the policy skips are NaN and do not count. A function of no pair at
all is NaN.

>>> from rclicks.metrics.raters.overlap import Overlaps
>>> raters = np.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool)
>>> found = Overlaps.of(raters[:1], raters)
>>> round(squared_ged(found.similarity("iou")).value, 4)
0.3333
>>> dice = found.similarity("dice")
>>> rater_coverage(dice), prediction_fidelity(dice), coverage_fidelity_mean(dice)
(0.75, 1.0, 0.875)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from rclicks.metrics.raters.overlap import Floats, Similarity, mean_of

__all__ = [
    "DistinctMasks",
    "EnergyDistance",
    "coverage_curve",
    "coverage_fidelity_mean",
    "distinct_masks",
    "prediction_fidelity",
    "rater_coverage",
    "squared_ged",
]


@dataclass(frozen=True)
class EnergyDistance:
    """The squared generalised energy distance and its three terms.

    Attributes
    ----------
    value : float
        ``2 across - samples - raters``. Lower is better, 0 if the sets have the same distribution; at least 0 with the
        diagonals, possibly below it without. It falls with the number of predictions: always give `predictions`.
    across : float
        Mean distance of a prediction to a rater.
    samples : float
        Mean distance of two predictions: the sample diversity.
    raters : float
        Mean distance of two raters: the human diversity.
    predictions, n_raters : int
        M and R.
    kind, empty : str
        Distance 1 - IoU or 1 - Dice, and the empty policy.
    unbiased : bool
        True if no mask was compared with itself.
    """

    value: float
    across: float
    samples: float
    raters: float
    predictions: int
    n_raters: int
    kind: str
    empty: str
    unbiased: bool


def squared_ged(similarity: Similarity, *, unbiased: bool = False) -> EnergyDistance:
    """Return the squared generalised energy distance of predictions s and raters y.

    ``2 / (M R) sum d(s, y) - 1 / M**2 sum d(s, s') - 1 / R**2 sum d(y, y')`` with d = 1 - similarity (Szekely and Rizzo
    2013; with the IoU distance Kohl et al., Probabilistic U-Net, 2018).

    Parameters
    ----------
    similarity : Similarity
        The IoU is usual.
    unbiased : bool
        Leave out each mask's distance to itself and divide by M (M - 1) and R (R - 1): the value may then be below 0,
        and is NaN for one prediction or one rater.
    """
    across = mean_of(1 - similarity.across)
    samples, raters = (_within(1 - block, unbiased) for block in (similarity.within, similarity.raters))
    m, r = similarity.across.shape
    value = 2 * across - samples - raters
    return EnergyDistance(value, across, samples, raters, m, r, similarity.kind, similarity.empty, unbiased)


def _within(distance: Floats, unbiased: bool) -> float:
    return mean_of(distance[~np.eye(len(distance), dtype=bool)] if unbiased else distance)


def _best(values: Floats, axis: int) -> Floats:
    """Return the largest value along an axis, NaN where all are NaN or there is none."""
    best = np.max(np.where(np.isnan(values), -np.inf, values), axis=axis, initial=-np.inf)
    return np.where(np.isneginf(best), np.nan, best)


def rater_coverage(similarity: Similarity) -> float:
    """Return the mean over raters of the best similarity that any prediction has to them; 0..1, higher is better.

    Never falls when predictions are added. Published as "Dice_max" by AESPA, as "Dice_max_reverse" by D-Persona, as
    "D_max" by CIMD.
    """
    return mean_of(_best(similarity.across, 0))


def prediction_fidelity(similarity: Similarity) -> float:
    """Return the mean over predictions of the best similarity that any rater has to them; 0..1, higher is better.

    Predictions that all copy one rater have fidelity 1. Published as "Dice_max" by D-Persona and MBH-Seg.
    """
    return mean_of(_best(similarity.across, 1))


def coverage_fidelity_mean(similarity: Similarity) -> float:
    """Return the mean of rater coverage and prediction fidelity; 0..1, higher is better (MBH-Seg: "Dice_max_mean")."""
    return (rater_coverage(similarity) + prediction_fidelity(similarity)) / 2


def coverage_curve(similarity: Similarity, thresholds: Sequence[float]) -> tuple[Floats, Floats]:
    """Return recall and precision of the set of predictions at each similarity threshold, two float64 arrays.

    Recall is the share of raters to whom some prediction has at least that similarity, precision the share of
    predictions that have it to some rater; both 0..1, higher is better, never rising with the threshold.
    """
    levels = np.asarray(thresholds, float)[:, None]

    def share(axis: int) -> Floats:
        best = _best(similarity.across, axis)
        best = best[~np.isnan(best)]
        return np.mean(best >= levels, axis=1) if best.size else np.full(len(levels), math.nan)

    return share(0), share(1)


@dataclass(frozen=True)
class DistinctMasks:
    """How many different masks a set of predictions holds.

    Attributes
    ----------
    clusters : int
        Groups of predictions linked by a similarity above the threshold.
    effective : float
        ``exp`` of the entropy of the groups' shares: 1 (all alike) to M (all distinct); equal to `clusters` if the
        groups are equally large (Hill number of order 1).
    labels : (M,) int64 array
        Group of each prediction.
    """

    clusters: int
    effective: float
    labels: NDArray[np.int64]


def distinct_masks(similarity: Similarity, threshold: float = 0.9) -> DistinctMasks:
    """Return how many distinct masks the predictions are; two with a similarity above `threshold` are linked.

    Take the IoU with the policy "agree", under which all empty predictions are one mask.
    """
    linked = np.nan_to_num(similarity.within) > threshold
    count, labels = connected_components(linked, directed=False)
    shares = np.bincount(labels, minlength=count) / max(len(labels), 1)
    effective = float(np.exp(-np.sum(shares * np.log(shares)))) if count else 0.0
    return DistinctMasks(int(count), effective, labels.astype(np.int64))
