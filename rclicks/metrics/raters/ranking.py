"""Stability of a ranking of methods under a change of the rater, the consensus or the samples.

`scores` is an (A, S, K) float array for A methods, S samples and K references (raters or kinds of consensus). Higher
scores are better; NaN means no score. Slots of raters may be references only if a slot is the same person in every
sample.

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
    """Return Kendall's tau-b of two lists of method scores: 1 for equal, -1 for reversed order; NaN if all are ties."""
    return float(stats.kendalltau(first, second, variant="b").statistic)


def mean_scores(scores: Floats) -> Floats:
    """Return the mean over samples for each method and each reference, (A, K) float64.

    Only samples in which all methods have a score count, so that all methods are compared on the same samples. The
    mean is NaN if there is no such sample.
    """
    values = _checked(scores)
    complete = ~np.isnan(values).any(axis=0)  # (S, K)
    total = np.where(complete, values, 0.0).sum(axis=1)
    count = complete.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def tau_between_references(scores: Floats) -> Floats:
    """Return Kendall's tau between the method rankings for each pair of references, (K, K) float64."""
    means = mean_scores(scores)
    size = means.shape[1]
    return np.array([[tau(means[:, i], means[:, j]) for j in range(size)] for i in range(size)]).reshape(size, size)


def tau_bootstrap(scores: Floats, repeats: int = 1000, *, seed: int = 0, names: Sequence[object] = ()) -> Floats:
    """Return Kendall's tau between the ranking on all samples and the ranking on bootstrap samples, (repeats,) float64.

    Methods are ranked by their mean over references and samples. Each bootstrap sample draws S samples with
    replacement, each with all its methods and references. The percentiles of the result are a confidence interval.

    Parameters
    ----------
    scores : (A, S, K) float array
    repeats : int
        Number of bootstrap samples.
    seed, names
        Key of the random numbers; equal keys give equal results.

    Raises
    ------
    ValueError
        If there is no sample.
    """
    values = _checked(scores)
    size = values.shape[1]
    if size == 0:
        raise ValueError("there is no sample, so none can be drawn")
    draws = keyed_rng(seed, "tau_bootstrap", *names).integers(size, size=(repeats, size))
    overall = _overall(values)
    return np.array([tau(overall, _overall(values[:, draw])) for draw in draws], float)


def _overall(values: Floats) -> Floats:
    means = mean_scores(values)
    means = means[:, ~np.isnan(means).any(axis=0)]
    return np.asarray(means.mean(axis=1)) if means.size else np.full(len(values), np.nan)


def win_probability(scores: Floats) -> Floats:
    """Return how often method a scores higher than method b, (A, A) float64; a tie counts 1/2.

    All pairs of a sample and a reference count for which both methods have a score; NaN if there is none.
    """
    values = _checked(scores).reshape(len(scores), -1)
    known = (~np.isnan(values)).astype(float)
    both = known @ known.T
    better = np.empty_like(both)
    for a, row in enumerate(values):
        better[a] = (row > values).sum(axis=1) + ((row == values).sum(axis=1)) / 2
    return np.where(both > 0, better / np.maximum(both, 1), np.nan)


def flips(scores: Floats) -> tuple[tuple[int, int], ...]:
    """Return the pairs of methods (a, b), a < b, that two references rank in strictly opposite orders."""
    means = mean_scores(scores)
    sign = np.sign(means[:, None] - means[None, :])  # (A, A, K); NaN compares as neither
    both = (sign > 0).any(axis=2) & (sign < 0).any(axis=2)
    return tuple((int(a), int(b)) for a, b in np.argwhere(np.triu(both, 1)))


def _checked(scores: Floats) -> Floats:
    values = np.asarray(scores, float)
    if values.ndim != 3:
        raise ValueError(f"scores have shape {values.shape}; expected (methods, samples, references)")
    return values
