"""Comparison of the distribution of a set of predictions with the distribution of the raters' masks.

All functions take a `Similarity` (see `rclicks.metrics.raters.overlap`), which states its kind (Dice or IoU), its empty
policy and its raters. Pairs that the empty policy skips are NaN and do not count. A result without any pair is NaN.

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
    """The squared generalised energy distance (GED) and its three terms.

    Attributes
    ----------
    value : float
        Squared GED, ``2 across - samples - raters``. Lower is better; 0 for equal distributions. It is at least 0 if
        the terms include the distance of each mask to itself, and may be negative otherwise. It falls with the number
        of predictions, so report `predictions` with it.
    across : float
        Mean distance between a prediction and a rater.
    samples : float
        Mean distance between two predictions (sample diversity).
    raters : float
        Mean distance between two raters (human diversity).
    predictions, n_raters : int
        Number M of predictions and number R of raters.
    kind, empty : str
        Similarity of the distance 1 - similarity ("iou" or "dice"), and the empty policy.
    unbiased : bool
        Whether the distances of masks to themselves were left out.
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

    It is ``2 / (M R) sum d(s, y) - 1 / M**2 sum d(s, s') - 1 / R**2 sum d(y, y')`` with d = 1 - similarity (Szekely and
    Rizzo 2013; with IoU: Kohl et al., Probabilistic U-Net, 2018).

    Parameters
    ----------
    similarity : Similarity
        Similarity of all pairs, usually IoU.
    unbiased : bool
        Whether to leave out the distance of each mask to itself and to divide by M (M - 1) and R (R - 1). The value may
        then be negative, and it is NaN for one prediction or one rater.
    """
    across = mean_of(1 - similarity.across)
    samples, raters = (_within(1 - block, unbiased) for block in (similarity.within, similarity.raters))
    m, r = similarity.across.shape
    value = 2 * across - samples - raters
    return EnergyDistance(value, across, samples, raters, m, r, similarity.kind, similarity.empty, unbiased)


def _within(distance: Floats, unbiased: bool) -> float:
    return mean_of(distance[~np.eye(len(distance), dtype=bool)] if unbiased else distance)


def _best(values: Floats, axis: int) -> Floats:
    """Return the largest value along an axis; NaN where there is no value or all values are NaN."""
    best = np.max(np.where(np.isnan(values), -np.inf, values), axis=axis, initial=-np.inf)
    return np.where(np.isneginf(best), np.nan, best)


def rater_coverage(similarity: Similarity) -> float:
    """Return the mean over raters of the best similarity with any prediction; 0..1, higher is better.

    It never falls if predictions are added. AESPA calls it "Dice_max", D-Persona "Dice_max_reverse", CIMD "D_max".
    """
    return mean_of(_best(similarity.across, 0))


def prediction_fidelity(similarity: Similarity) -> float:
    """Return the mean over predictions of the best similarity with any rater; 0..1, higher is better.

    It is 1 if all predictions equal the mask of one rater. D-Persona and MBH-Seg call it "Dice_max".
    """
    return mean_of(_best(similarity.across, 1))


def coverage_fidelity_mean(similarity: Similarity) -> float:
    """Return the mean of rater coverage and prediction fidelity; 0..1, higher is better (MBH-Seg "Dice_max_mean")."""
    return (rater_coverage(similarity) + prediction_fidelity(similarity)) / 2


def coverage_curve(similarity: Similarity, thresholds: Sequence[float]) -> tuple[Floats, Floats]:
    """Return recall and precision of the set of predictions at n similarity thresholds, two (n,) arrays.

    Recall is the share of raters for whom at least one prediction reaches the threshold. Precision is the share of
    predictions that reach it with at least one rater. Both lie in 0..1, higher is better, and never rise with the
    threshold.
    """
    levels = np.asarray(thresholds, float)[:, None]

    def share(axis: int) -> Floats:
        best = _best(similarity.across, axis)
        best = best[~np.isnan(best)]
        return np.mean(best >= levels, axis=1) if best.size else np.full(len(levels), math.nan)

    return share(0), share(1)


@dataclass(frozen=True)
class DistinctMasks:
    """Number of distinct masks in a set of predictions.

    Attributes
    ----------
    clusters : int
        Number of groups of predictions that are linked by a similarity above the threshold.
    effective : float
        Exponential of the entropy of the shares of the groups (Hill number of order 1): from 1 (all masks are similar)
        to M (all are distinct). It equals `clusters` if all groups have the same size.
    labels : (M,) int64 array
        Group of each prediction, from 0.
    """

    clusters: int
    effective: float
    labels: NDArray[np.int64]


def distinct_masks(similarity: Similarity, threshold: float = 0.9) -> DistinctMasks:
    """Return the number of distinct masks; two masks with a similarity above `threshold` are linked.

    Use IoU with the empty policy "agree". All empty predictions are then one mask.
    """
    linked = np.nan_to_num(similarity.within) > threshold
    count, labels = connected_components(linked, directed=False)
    shares = np.bincount(labels, minlength=count) / max(len(labels), 1)
    effective = float(np.exp(-np.sum(shares * np.log(shares)))) if count else 0.0
    return DistinctMasks(int(count), effective, labels.astype(np.int64))
