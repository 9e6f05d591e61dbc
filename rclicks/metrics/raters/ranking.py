"""Does a ranking of methods survive a change of rater, of consensus, or of samples.

`scores` is an (A, S, K) float array: A methods, S samples, K references (raters or kinds of consensus); higher is
better, NaN where there is no score. Rater slots may be references only if a slot is the same person in every sample.

>>> scores = np.array([[[0.9, 0.6]], [[0.8, 0.7]], [[0.1, 0.2]]])
>>> tau_between_references(scores).round(3).tolist()
[[1.0, 0.333], [0.333, 1.0]]
>>> flips(scores)
((0, 1),)
>>> win_probability(scores)[0].tolist()
[0.5, 0.5, 1.0]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from rclicks.metrics.raters.overlap import Floats
from rclicks.seeds import keyed_rng

__all__ = ["flips", "mean_scores", "tau", "tau_between_references", "tau_bootstrap", "win_probability"]


def tau(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> float:
    """Return Kendall's tau-b of two lists of method scores: 1 same order, -1 reversed; NaN if one has only ties."""
    return float(stats.kendalltau(first, second, variant="b").statistic)


def mean_scores(scores: Floats) -> Floats:
    """Return each method's mean over samples against each reference, (A, K) float64.

    Only samples in which all methods have a score count, so that methods are compared on the same ones; NaN if there
    is none.
    """
    values = _checked(scores)
    whole = ~np.isnan(values).any(axis=0)  # (S, K)
    total = np.where(whole, values, 0.0).sum(axis=1)
    count = whole.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def tau_between_references(scores: Floats) -> Floats:
    """Return Kendall's tau of the method rankings under each two references, (K, K) float64."""
    means = mean_scores(scores)
    size = means.shape[1]
    return np.array([[tau(means[:, i], means[:, j]) for j in range(size)] for i in range(size)]).reshape(size, size)


def tau_bootstrap(scores: Floats, repeats: int = 1000, *, seed: int = 0, names: Sequence[object] = ()) -> Floats:
    """Return Kendall's tau of the ranking by all samples with that by samples drawn again, (repeats,) float64.

    The ranking is by the mean over references and samples; a sample is drawn with all its methods and references. Take
    percentiles for an interval.

    Parameters
    ----------
    scores : (A, S, K) float array
    repeats : int
    seed, names
        Key of the draws; the same key, the same result.

    Raises
    ------
    ValueError
        If there is no sample.
    """
    values = _checked(scores)
    size = values.shape[1]
    if size == 0:
        raise ValueError("there is no sample to draw")
    draws = keyed_rng(seed, "tau_bootstrap", *names).integers(size, size=(repeats, size))
    whole = _overall(values)
    return np.array([tau(whole, _overall(values[:, draw])) for draw in draws], float)


def _overall(values: Floats) -> Floats:
    means = mean_scores(values)
    means = means[:, ~np.isnan(means).any(axis=0)]
    return np.asarray(means.mean(axis=1)) if means.size else np.full(len(values), np.nan)


def win_probability(scores: Floats) -> Floats:
    """Return how often method a beats method b over samples x references, (A, A) float64; a tie counts one half.

    Pairs in which either has no score do not count; NaN if there is none.
    """
    values = _checked(scores).reshape(len(scores), -1)
    known = (~np.isnan(values)).astype(float)
    both = known @ known.T
    better = np.empty_like(both)
    for a, row in enumerate(values):
        better[a] = (row > values).sum(axis=1) + ((row == values).sum(axis=1)) / 2
    return np.where(both > 0, better / np.maximum(both, 1), np.nan)


def flips(scores: Floats) -> tuple[tuple[int, int], ...]:
    """Return the pairs of methods (a < b) that one reference ranks strictly one way and another one the other way."""
    means = mean_scores(scores)
    sign = np.sign(means[:, None] - means[None, :])  # (A, A, K); NaN compares as neither
    both = (sign > 0).any(axis=2) & (sign < 0).any(axis=2)
    return tuple((int(a), int(b)) for a, b in np.argwhere(np.triu(both, 1)))


def _checked(scores: Floats) -> Floats:
    values = np.asarray(scores, float)
    if values.ndim != 3:
        raise ValueError(f"scores have shape {values.shape}; expected (methods, samples, references)")
    return values
