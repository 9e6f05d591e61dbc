"""Percentile bootstrap intervals: the same draws for every table, so that a number has one interval.

>>> mean_interval(np.array([1.0, 1.0, 1.0]))
Interval(low=1.0, high=1.0)
>>> mean_interval(np.array([1.0]))
Interval(low=nan, high=nan)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "RESAMPLES", "SEED", "Interval", "draw_counts", "mean_interval", "percentiles"]

Floats = NDArray[np.float64]
LEVEL, SEED, RESAMPLES = 0.95, 42, 2000


@dataclass(frozen=True)
class Interval:
    """A bootstrap confidence interval."""

    low: float
    high: float

    def text(self, digits: int) -> str | None:
        """Return the interval as tables show it, None if it is undefined.

        >>> Interval(0.1, 0.25).text(2)
        '[0.10, 0.25]'
        """
        return None if math.isnan(self.low) else f"[{self.low:z.{digits}f}, {self.high:z.{digits}f}]"


@lru_cache(maxsize=2)
def draw_counts(n: int, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Return how often each of n things is drawn with replacement, (resamples, n) float64; read-only."""
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    counts.flags.writeable = False
    return counts


def percentiles(drawn: Floats, level: float = LEVEL) -> Interval:
    """Return the interval that holds the middle `level` of the drawn statistics."""
    tail = (1 - level) / 2
    return Interval(float(np.quantile(drawn, tail)), float(np.quantile(drawn, 1 - tail)))


def mean_interval(values: Floats, samples: Sequence[str] | None = None) -> Interval:
    """Return the 95 % interval of the mean of `values`; NaN for fewer than two samples, which say nothing of spread.

    Parameters
    ----------
    values : (n,) float array
        Those that are NaN do not count.
    samples : sequence of n names or None
        Samples are drawn with replacement, all values of one name together; None if each value is a sample.
    """
    known = ~np.isnan(values)
    names = np.arange(len(values)) if samples is None else np.unique(np.asarray(samples), return_inverse=True)[1]
    _, of = np.unique(names[known], return_inverse=True)
    sizes = np.bincount(of).astype(float)
    if len(sizes) < 2:
        return Interval(math.nan, math.nan)
    counts = draw_counts(len(sizes))
    return percentiles((counts @ np.bincount(of, weights=values[known])) / (counts @ sizes))
