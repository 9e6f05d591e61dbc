"""Percentile bootstrap intervals. All tables use the same random draws, so that equal data have equal intervals.

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
    """A bootstrap confidence interval.

    Attributes
    ----------
    low, high : float
        Lower and upper end; NaN if the interval is undefined.
    """

    low: float
    high: float

    def text(self, digits: int) -> str | None:
        """Return the interval as text with `digits` decimals; None if it is undefined.

        >>> Interval(0.1, 0.25).text(2)
        '[0.10, 0.25]'
        """
        return None if math.isnan(self.low) else f"[{self.low:z.{digits}f}, {self.high:z.{digits}f}]"


@lru_cache(maxsize=2)
def draw_counts(n: int, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Return how often each of n items is drawn with replacement, as a read-only (resamples, n) float64 array."""
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    counts.flags.writeable = False
    return counts


def percentiles(drawn: Floats, level: float = LEVEL) -> Interval:
    """Return the percentile interval of drawn statistics.

    Parameters
    ----------
    drawn : (resamples,) float array
        The statistic of each resample.
    level : float
        Share of the resamples inside the interval.
    """
    tail = (1 - level) / 2
    return Interval(float(np.quantile(drawn, tail)), float(np.quantile(drawn, 1 - tail)))


def mean_interval(values: Floats, samples: Sequence[str] | None = None) -> Interval:
    """Return the 95 % interval of the mean of `values`; NaN for fewer than two samples.

    Parameters
    ----------
    values : (n,) float array
        Values; NaN is left out.
    samples : sequence of n str, or None
        Name of the sample of each value. Samples are drawn with replacement, each with all its values. With None each
        value is a sample of its own.
    """
    known = ~np.isnan(values)
    names = np.arange(len(values)) if samples is None else np.unique(np.asarray(samples), return_inverse=True)[1]
    _, of = np.unique(names[known], return_inverse=True)
    sizes = np.bincount(of).astype(float)
    if len(sizes) < 2:
        return Interval(math.nan, math.nan)
    counts = draw_counts(len(sizes))
    return percentiles((counts @ np.bincount(of, weights=values[known])) / (counts @ sizes))
