"""Collective insight: sensitivity, coverage and diversity in one number (Rahman et al., CIMD, CVPR 2023).

>>> raters = np.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool)
>>> found = collective_insight(raters, raters)
>>> found.sensitivity, found.coverage, found.diversity, found.product_over_sum, found.harmonic
(1.0, 1.0, 1.0, 1.0, 1.0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rclicks.metrics.raters.diversity import rater_coverage
from rclicks.metrics.raters.overlap import Floats, Overlaps, stack_masks
from rclicks.sample import Mask

__all__ = ["CollectiveInsight", "collective_insight", "difference_variances"]


@dataclass(frozen=True)
class CollectiveInsight:
    """The three parts of collective insight, and two ways to combine them; all lie in 0..1, higher is better.

    Attributes
    ----------
    sensitivity : float
        Part ``S``: share of the raters' union that the union of the predictions covers; 1 if no rater drew anything.
    coverage : float
        Part ``D``: rater coverage with Dice, see `rclicks.metrics.raters.diversity.rater_coverage`.
    diversity : float
        Part ``A = 1 - (|max V_s - max V_y| + |min V_s - min V_y|) / 2``. V contains the variance over pixels of the
        difference of two masks, for all pairs of predictions (s) or of raters (y). Pairs of equal masks are included,
        so both minima are 0.
    product_over_sum : float
        ``3 S D A / (S + D + A)``, as in published code; 0 if a part is 0.
    harmonic : float
        Harmonic mean of the three parts, as in the text of the paper; 0 if a part is 0.
    raters : int
        Number of raters that count.
    """

    sensitivity: float
    coverage: float
    diversity: float
    product_over_sum: float
    harmonic: float
    raters: int


def difference_variances(shared: np.ndarray, pixels: int) -> Floats:
    """Return the variance over `pixels` pixels of the difference of all pairs of masks, (n, n) float64.

    Parameters
    ----------
    shared : (n, n) int array
        Number of pixels that two masks share, with the areas of the masks on the diagonal.
    pixels : int
        Number of pixels of a mask.
    """
    area = shared.diagonal()
    unequal = area[:, None] + area[None, :] - 2 * shared
    return np.asarray(unequal / pixels - ((area[:, None] - area[None, :]) / pixels) ** 2)


def collective_insight(
    predictions: Sequence[Mask] | Mask,
    raters: Sequence[Mask] | Mask,
    *,
    policy: str = "present",
    present: Sequence[bool] | None = None,
    empty: str = "agree",
) -> CollectiveInsight:
    """Return the collective insight of M predictions and R raters.

    Parameters
    ----------
    predictions, raters : (M, ...) and (R, ...) bool arrays or sequences of masks
        Masks of one shape. The diversity depends on the number of pixels.
    policy, present
        Raters that count; see `rclicks.metrics.raters.overlap.choose_raters`.
    empty : str
        Empty policy of the coverage; see `rclicks.metrics.raters.overlap`.

    Raises
    ------
    ValueError
        If there is no prediction or no rater that counts.
    """
    given, drawn = stack_masks(predictions, "predictions"), stack_masks(raters, "raters")
    overlaps = Overlaps.of(given, drawn, policy=policy, present=present)
    drawn, m = drawn[list(overlaps.raters)], len(given)
    if not m or not len(drawn):
        raise ValueError(f"{m} predictions and {len(drawn)} raters that count; expected at least one of each")
    found, truth = given.any(axis=0), drawn.any(axis=0)
    positives = int(np.count_nonzero(truth))
    sensitivity = int(np.count_nonzero(found & truth)) / positives if positives else 1.0
    coverage = rater_coverage(overlaps.similarity("dice", empty))
    spread = difference_variances(overlaps.shared, overlaps.pixels)
    of_predictions, of_raters = spread[:m, :m], spread[m:, m:]
    difference = abs(of_predictions.max() - of_raters.max()) + abs(of_predictions.min() - of_raters.min())
    parts = np.array([sensitivity, coverage, 1 - difference / 2])
    harmonic = 0.0 if (parts == 0).any() else float(3 / (1 / parts).sum())
    total = float(parts.sum())
    return CollectiveInsight(
        sensitivity, coverage, float(parts[2]), float(3 * parts.prod()) / total if total else 0.0, harmonic, len(drawn)
    )
