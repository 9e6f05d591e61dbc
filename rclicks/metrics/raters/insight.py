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
    """The three parts and both ways to put them together; all 0..1, higher is better.

    Attributes
    ----------
    sensitivity : float
        ``S``: share of the raters' union that the union of the predictions covers; 1 if nobody drew anything.
    coverage : float
        ``D``: rater coverage by Dice.
    diversity : float
        ``A = 1 - (|max V_s - max V_y| + |min V_s - min V_y|) / 2``, V the variance over pixels of the difference of two
        masks of one set. A mask is also compared with itself, so both minima are 0.
    product_over_sum : float
        ``3 S D A / (S + D + A)``, as users of the paper compute it; 0 if a part is.
    harmonic : float
        The harmonic mean of the parts, which the paper names; 0 if a part is.
    raters : int
        Raters that count.
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
        Pixels that two masks share; the areas on the diagonal.
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
    """Return the collective insight of M predictions into R raters.

    Parameters
    ----------
    predictions, raters : (M, ...) and (R, ...) bool arrays or sequences of masks
        Of one shape; the diversity depends on its number of pixels.
    policy, present
        Which raters count; see `rclicks.metrics.raters.overlap.choose_raters`.
    empty : str
        Empty policy of the coverage.

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
    apart = abs(of_predictions.max() - of_raters.max()) + abs(of_predictions.min() - of_raters.min())
    parts = np.array([sensitivity, coverage, 1 - apart / 2])
    harmonic = 0.0 if (parts == 0).any() else float(3 / (1 / parts).sum())
    total = float(parts.sum())
    return CollectiveInsight(
        sensitivity, coverage, float(parts[2]), float(3 * parts.prod()) / total if total else 0.0, harmonic, len(drawn)
    )
