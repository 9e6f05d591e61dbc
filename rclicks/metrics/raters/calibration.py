"""Calibration: agreement of the predicted probability of a pixel with the share of raters that drew it.

`probability` p and `votes` g (see `vote_fraction`) are float arrays of one shape with values in [0, 1]. If all raters
agree on a large background, every calibration error becomes small. So the pixels used must be stated: `region` is a
bool mask (see `dilated_union`), or None for the whole image.

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

DIGITS = 12  # rounding, because equal uncertainties (as of 1/4 and 3/4) may differ in their last bits


def dilated_union(masks: Sequence[Mask] | Mask, radius: int) -> Mask:
    """Return the pixels within `radius` pixels (Euclidean) of any mask, (...) bool; empty if all masks are empty.

    Pass predictions and raters together, so that false positives far from the object also count.
    """
    union = stack_masks(masks).any(axis=0)
    if radius == 0 or not union.any():
        return np.asarray(union)
    return np.asarray(ndimage.distance_transform_edt(~union) <= radius)


@dataclass(frozen=True, eq=False)
class Reliability:
    """The reliability curve: pixels sorted into bins of similar probability.

    Attributes
    ----------
    edges : (B + 1,) float64 array
        Edges of the bins. Bin b contains ``edges[b] < p <= edges[b + 1]``; the first bin also contains its lower edge.
    count : (B,) int64 array
        Number of pixels in each bin.
    predicted, observed : (B,) float64 arrays
        Mean probability and mean vote fraction of each bin; NaN for an empty bin.
    """

    edges: Floats
    count: Integers
    predicted: Floats
    observed: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error: mean of |predicted - observed| over pixels; 0..1, lower is better."""
        total = int(self.count.sum())
        return float(np.nansum(self.count * np.abs(self.predicted - self.observed)) / total) if total else math.nan

    @property
    def mce(self) -> float:
        """Maximum calibration error: the largest |predicted - observed| of a bin; 0..1, lower is better."""
        return float(np.nanmax(np.abs(self.predicted - self.observed))) if self.count.sum() else math.nan


def reliability(
    probability: Floats, votes: Floats, *, bins: int = 15, adaptive: bool = False, region: Mask | None = None
) -> Reliability:
    """Return the reliability curve of p against the vote fraction, or against one rater's mask as float.

    Parameters
    ----------
    probability, votes : (...) float arrays in [0, 1]
        Probabilities p and vote fraction g.
    bins : int
        Number of bins. By default they have equal width (Guo et al. 2017).
    adaptive : bool
        Whether the bins have equal numbers of pixels instead (Nixon et al. 2019). Pixels with equal probabilities are
        in the same bin, so there may be fewer than `bins` bins, and the order of the pixels does not matter.
    region : (...) bool array or None
        Pixels that are used; None for the whole image.

    Raises
    ------
    ValueError
        If shapes differ or a value is not in [0, 1].
    """
    p, g = valid_pair(probability, votes, None if region is None else ~region)
    if adaptive and p.size:
        inner = np.unique(np.quantile(p, np.arange(1, bins) / bins, method="higher"))
        # An inner edge may also be 0: often most pixels are exactly 0, and they then have a bin of their own.
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
    """Return the calibration error against a single rater, mean over raters; 0..1, lower is better.

    Where raters differ, even a map equal to the vote fraction does not reach 0. The CURVAS challenge (2024) also
    averages over raters, but it uses the confidence of the more likely class instead of the foreground probability.
    """
    masks = stack_masks(raters, "raters").astype(float)
    curves = [reliability(probability, mask, bins=bins, region=region) for mask in masks]
    return mean_of([curve.ece for curve in curves])


def volume_crps(predicted: Sequence[float], raters: Sequence[float]) -> float:
    """Return the continuous ranked probability score (CRPS) of the predicted volumes, mean over raters.

    For a rater's volume v it is ``E|X - v| - E|X - X'| / 2`` with X and X' drawn from the predicted volumes (Gneiting
    and Raftery 2007). It has the unit of the volumes and is at least 0; lower is better. For one prediction it is the
    absolute error. It is NaN if a list is empty.
    """
    x, v = np.asarray(predicted, float), np.asarray(raters, float)
    if not x.size or not v.size:
        return math.nan
    spread = np.abs(x[:, None] - x[None, :]).mean()
    return float(np.abs(x[:, None] - v[None, :]).mean() - spread / 2)


def gaussian_volume_crps(predicted: float, raters: Sequence[float]) -> float:
    """Return the CRPS of one predicted volume under the normal distribution of the raters' volumes.

    The normal distribution has the mean and the population standard deviation of the raters' volumes. The predicted
    volume is usually the sum of the probabilities. The CRPS has the unit of the volumes and is at least 0; lower is
    better. It is the absolute error if all raters have the same volume, and NaN without raters. The CURVAS challenge
    (2024) integrates only within three standard deviations of the mean, so that a larger error does not cost more.
    Here the integral is complete.
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
    """Return Spearman's correlation over pixels of the entropy of p and the entropy of g; -1..1, higher is better.

    It is NaN if one of them is constant, as for a mask with values 0 and 1 only.
    """
    pair = valid_pair(probability, votes, None if region is None else ~region)
    p, g = (np.round(entropy_bits(x), DIGITS) for x in pair)
    if p.size < 2 or np.ptp(p) == 0 or np.ptp(g) == 0:
        return math.nan
    return float(stats.spearmanr(p, g).statistic)


def area_under_risk_coverage(probability: Floats, votes: Floats, *, region: Mask | None = None) -> float:
    """Return the area under the risk-coverage curve (Geifman and El-Yaniv 2017); 0..1, lower is better.

    The certainty of a pixel is ``|p - 1/2|``. Its risk is the share of raters that disagree with ``p > 1/2``. The risk
    at coverage c is the mean risk of the c most certain pixels, as if a human decided the others. The area is the mean
    over all coverages. Pixels with equal certainty get their mean risk, so the order of the pixels does not matter. NaN
    without pixels.
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
