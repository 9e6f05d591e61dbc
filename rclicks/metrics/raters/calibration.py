"""Calibration: does a predicted probability say how many raters draw a pixel, and where they differ.

`probability` p and `votes` g (`vote_fraction`) are float arrays of one shape in [0, 1]. Background that everybody
agrees on makes any calibration error small, so the pixels used must be stated: `region` is None for the whole image, or
a mask such as `dilated_union` gives.

>>> p = np.array([0.1, 0.1, 0.9, 0.9])
>>> g = np.array([0.0, 0.0, 0.5, 1.0])
>>> found = reliability(p, g, bins=5)
>>> found.count.tolist(), round(found.ece, 3), round(found.mce, 3)
([2, 0, 0, 0, 2], 0.125, 0.15)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats

from rclicks.metrics.raters.overlap import Floats, Integers, mean_of, stack_masks
from rclicks.metrics.raters.soft import entropy_bits, valid_pair
from rclicks.sample import Mask

__all__ = [
    "Reliability",
    "area_under_risk_coverage",
    "dilated_union",
    "ece_of_single_raters",
    "entropy_correlation",
    "gaussian_volume_crps",
    "reliability",
    "volume_crps",
]

DIGITS = 12  # one vote of four is as uncertain as three of four, also where the last bits of both differ


def dilated_union(masks: Sequence[Mask] | Mask, radius: int) -> Mask:
    """Return the pixels within `radius` (Euclidean, in pixels) of any mask, (...) bool; empty if all masks are.

    Give predictions and raters together, so that false alarms far from the object count as well.
    """
    union = stack_masks(masks).any(axis=0)
    if radius == 0 or not union.any():
        return np.asarray(union)
    return np.asarray(ndimage.distance_transform_edt(~union) <= radius)


@dataclass(frozen=True, eq=False)
class Reliability:
    """The reliability curve: bins of pixels of like probability.

    Attributes
    ----------
    edges : (B + 1,) float64 array
        A bin holds ``edges[b] < p <= edges[b + 1]``, the first one also its lower edge.
    count : (B,) int64 array
        Pixels of each bin.
    predicted, observed : (B,) float64 arrays
        Mean probability and mean vote fraction of each; NaN in an empty bin.
    """

    edges: Floats
    count: Integers
    predicted: Floats
    observed: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error: mean of |predicted - observed| weighted by pixels; 0..1, lower is better."""
        total = int(self.count.sum())
        return float(np.nansum(self.count * np.abs(self.predicted - self.observed)) / total) if total else math.nan

    @property
    def mce(self) -> float:
        """Maximum calibration error: the largest |predicted - observed| of a bin; 0..1, lower is better."""
        return float(np.nanmax(np.abs(self.predicted - self.observed))) if self.count.sum() else math.nan


def reliability(
    probability: Floats, votes: Floats, *, bins: int = 15, adaptive: bool = False, region: Mask | None = None
) -> Reliability:
    """Return the reliability curve of p against the vote fraction (or against one rater: a mask as float).

    Parameters
    ----------
    probability, votes : (...) float arrays in [0, 1]
    bins : int
        Bins of equal width (Guo et al. 2017).
    adaptive : bool
        Bins of equally many pixels instead (Nixon et al. 2019). Equal probabilities stay in one bin, so there may be
        fewer bins than asked for, and the order of pixels does not matter.
    region : (...) bool array or None
        The pixels used; None for the whole image.
    """
    p, g = valid_pair(probability, votes, None if region is None else ~region)
    if adaptive and p.size:
        inner = np.unique(np.quantile(p, np.arange(1, bins) / bins, method="higher"))
        # An inner edge at 0 stays beside the outer one: most pixels are often exactly 0, and are a bin of their own.
        edges = np.concatenate([[0.0], inner[inner < 1], [1.0]])
    else:
        edges = np.arange(bins + 1) / bins
    at = np.clip(np.searchsorted(edges, p, side="left") - 1, 0, len(edges) - 2)
    count = np.bincount(at, minlength=len(edges) - 1)

    def mean(values: Floats) -> Floats:
        total = np.bincount(at, weights=values, minlength=len(count))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    return Reliability(edges, count.astype(np.int64), mean(p), mean(g))


def ece_of_single_raters(
    probability: Floats, raters: Sequence[Mask] | Mask, *, bins: int = 15, region: Mask | None = None
) -> float:
    """Return the mean over raters of the calibration error against that rater alone; 0..1, lower is better.

    A map equal to the vote fraction does not reach 0 where raters differ. The CURVAS challenge (2024) averages over
    raters likewise, but bins the confidence of the winning class instead of the foreground's probability.
    """
    masks = stack_masks(raters, "raters").astype(float)
    curves = [reliability(probability, mask, bins=bins, region=region) for mask in masks]
    return mean_of([curve.ece for curve in curves])


def volume_crps(predicted: Sequence[float], raters: Sequence[float]) -> float:
    """Return the mean over raters of the continuous ranked probability score of the predicted volumes.

    ``E|X - v| - E|X - X'| / 2`` for a rater's volume v and X drawn from the predicted volumes (Gneiting and Raftery
    2007). In the unit of the volumes, at least 0, lower is better; the absolute error if there is one prediction. NaN
    if a list is empty.
    """
    x, v = np.asarray(predicted, float), np.asarray(raters, float)
    if not x.size or not v.size:
        return math.nan
    spread = np.abs(x[:, None] - x[None, :]).mean()
    return float(np.abs(x[:, None] - v[None, :]).mean() - spread / 2)


def gaussian_volume_crps(predicted: float, raters: Sequence[float]) -> float:
    """Return the CRPS of one predicted volume under the normal distribution of the raters' volumes.

    The normal has the raters' mean and population standard deviation; the predicted volume is usually the sum of the
    probabilities. In the unit of the volumes, at least 0, lower is better; the absolute error if all raters agree. NaN
    without raters. The CURVAS challenge (2024) takes the integral within three deviations of the mean only, so that a
    volume far off costs no more than one just outside them; here it is the whole integral.
    """
    v = np.asarray(raters, float)
    if not v.size:
        return math.nan
    mean, deviation = float(v.mean()), float(v.std())
    if deviation == 0:
        return abs(predicted - mean)
    z = (predicted - mean) / deviation
    return float(deviation * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi)))


def entropy_correlation(probability: Floats, votes: Floats, *, region: Mask | None = None) -> float:
    """Return Spearman's correlation over pixels of predictive and vote entropy; -1..1, higher is better.

    NaN if either is constant: a hard mask has no uncertainty to rank.
    """
    pair = valid_pair(probability, votes, None if region is None else ~region)
    p, g = (np.round(entropy_bits(x), DIGITS) for x in pair)
    if p.size < 2 or np.ptp(p) == 0 or np.ptp(g) == 0:
        return math.nan
    return float(stats.spearmanr(p, g).statistic)


def area_under_risk_coverage(probability: Floats, votes: Floats, *, region: Mask | None = None) -> float:
    """Return the mean risk over all coverages when the least certain pixels are handed to a human first.

    A pixel's certainty is ``|p - 1/2|``, its risk the share of raters that disagree with ``p > 1/2``; the risk at
    coverage c is the mean over the c most certain pixels (Geifman and El-Yaniv 2017). 0..1, lower is better. Equally
    certain pixels have their mean risk, so the order of pixels does not matter. NaN without pixels.
    """
    p, g = valid_pair(probability, votes, None if region is None else ~region)
    if not p.size:
        return math.nan
    risk = np.where(p > 0.5, 1 - g, g)
    _, group = np.unique(-np.round(np.abs(p - 0.5), DIGITS), return_inverse=True)
    size = np.bincount(group)
    even = np.bincount(group, weights=risk) / size
    kept = np.repeat(even, size)
    return float((np.cumsum(kept) / np.arange(1, len(kept) + 1)).mean())
