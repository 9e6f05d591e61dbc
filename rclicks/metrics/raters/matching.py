"""Similarity of predictions and raters matched one to one.

The best assignment (largest sum of similarities) is found by SciPy's ``linear_sum_assignment``. Ties do not change the
value. Published code divides the same sum by different numbers, so the rule is always stated.

>>> from rclicks.metrics.raters.overlap import Overlaps
>>> raters = np.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool)
>>> dice = Overlaps.of(raters[:1], raters).similarity("dice")
>>> [matched(dice, rule) for rule in RULES]
[1.0, 0.5, 0.5, 0.75, 0.75]
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rclicks.metrics.raters.overlap import Floats, Similarity, mean_of

__all__ = ["RULES", "matched", "matched_raters", "pairs"]

RULES = ("pairs", "raters", "larger", "repeated", "raters-or-best")


def pairs(similarity: Similarity) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the predictions and the raters of the min(M, R) best pairs, two int arrays, by rising rater.

    Two empty masks that the policy skips are paired as if they agreed, for then both leave the sum.
    """
    return _assign(similarity.across)


def _assign(across: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    # Raters as rows: among equally good assignments this finds the one that D-Persona reports.
    raters, predictions = linear_sum_assignment(np.nan_to_num(across.T, nan=1.0), maximize=True)
    return predictions, raters


def matched_raters(similarity: Similarity, *, unmatched: float = math.nan) -> Floats:
    """Return each rater's similarity to its own prediction, (R,) float64; `unmatched` for raters without one."""
    values = np.full(similarity.across.shape[1], unmatched)
    rows, columns = pairs(similarity)
    values[columns] = similarity.across[rows, columns]
    return values


def matched(similarity: Similarity, rule: str = "pairs") -> float:
    """Return the matched similarity; 0..1, higher is better. Pairs that the empty policy skips count nowhere.

    Parameters
    ----------
    similarity : Similarity
        Dice or IoU.
    rule : str
        What the sum over pairs is divided by, and what is paired:

        * "pairs": the min(M, R) pairs (AESPA "match").
        * "raters": R; fewer predictions than raters are punished (AESPA "Dice_match").
        * "larger": max(M, R); any other number of predictions than R is punished (AESPA "max").
        * "repeated": both sets are first repeated to lcm(M, R) masks, so that M need not be R (Kohl et al., HPU-Net,
          2019: "Hungarian-matched IoU"). Cost grows with the cube of lcm(M, R).
        * "raters-or-best": R; raters without a prediction of their own take the best one (MBH-Seg toolkit).

    Raises
    ------
    ValueError
        If the rule is unknown.
    """
    if rule not in RULES:
        raise ValueError(f"matching rule is {rule!r}; expected one of {', '.join(RULES)}")
    across = similarity.across
    m, r = across.shape
    if not m or not r:
        return math.nan
    if rule == "repeated":
        many = math.lcm(m, r)
        across = np.repeat(np.repeat(across, many // m, axis=0), many // r, axis=1)
    if rule == "raters-or-best":
        own = matched_raters(similarity)
        rest = np.setdiff1d(np.arange(r), pairs(similarity)[1])
        own[rest] = np.max(np.nan_to_num(across[:, rest], nan=-1.0), axis=0)
        own[own < 0] = math.nan  # a rater whose every pair is skipped
        return mean_of(own)
    values = across[_assign(across)]
    skipped = int(np.isnan(values).sum())
    size = {"pairs": len(values), "repeated": len(values), "raters": r, "larger": max(m, r)}[rule] - skipped
    return float(np.nansum(values) / size) if size else math.nan
