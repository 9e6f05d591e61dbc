"""Similarity of predictions and raters after one-to-one matching.

SciPy's ``linear_sum_assignment`` finds the matching with the largest sum of similarities. Several matchings with the
same sum give the same value. Published codes divide this sum by different numbers, so the rule must be stated.

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
    """Return the predictions and the raters of the min(M, R) matched pairs, two int arrays, in the order of the raters.

    Pairs of two empty masks that the policy skips are matched as if their similarity were 1. Both masks are then left
    out of the sum.
    """
    return _assign(similarity.across)


def _assign(across: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    # With raters as rows, SciPy finds the assignment of D-Persona if several are equally good.
    raters, predictions = linear_sum_assignment(np.nan_to_num(across.T, nan=1.0), maximize=True)
    return predictions, raters


def matched_raters(similarity: Similarity, *, unmatched: float = math.nan) -> Floats:
    """Return the similarity of each rater to its matched prediction, (R,) float64; `unmatched` if it has none."""
    values = np.full(similarity.across.shape[1], unmatched)
    rows, columns = pairs(similarity)
    values[columns] = similarity.across[rows, columns]
    return values


def matched(similarity: Similarity, rule: str = "pairs") -> float:
    """Return the matched similarity; 0..1, higher is better. Pairs that the empty policy skips do not count.

    Parameters
    ----------
    similarity : Similarity
        Dice or IoU of all pairs of M predictions and R raters.
    rule : str
        Rule of the matching and of the division:

        * "pairs": the sum is divided by the number min(M, R) of pairs (AESPA "match").
        * "raters": the sum is divided by R, so fewer predictions than raters lower the result (AESPA "Dice_match").
        * "larger": the sum is divided by max(M, R), so more predictions than raters lower it too (AESPA "max").
        * "repeated": both sets are first repeated to lcm(M, R) masks, and the mean of all pairs is taken (Kohl et al.,
          HPU-Net, 2019: "Hungarian-matched IoU"). The time grows with the cube of lcm(M, R).
        * "raters-or-best": the sum is divided by R. A rater without a matched prediction contributes its similarity
          to the best prediction (MBH-Seg toolkit).

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
        own[own < 0] = math.nan  # raters of which all pairs are skipped
        return mean_of(own)
    values = across[_assign(across)]
    skipped = int(np.isnan(values).sum())
    size = {"pairs": len(values), "repeated": len(values), "raters": r, "larger": max(m, r)}[rule] - skipped
    return float(np.nansum(values) / size) if size else math.nan
