"""Click groups: slices of the probability mass of a click map, and random clicks from them.

Pixels are sorted from the least to the most likely one. A slice is an interval of their cumulative mass. With ten
groups, G1 is the slice from 0.0 to 0.1: the many unlikely pixels that together contain a tenth of the mass. G10
contains the peaks of the map.

`MassOrder` is the corrected form. It uses double precision, and slices do not overlap: if the mass of a pixel crosses
the bound of two slices, each slice contains its part of this mass. So the clicks of all groups together follow the map.
Pixels of equal probability are ordered by a fixed pseudo-random number, not by their position in the image.

`published_slice` and `published_draw` are the published form (Antonov et al. 2024). It uses sums in single precision,
and slices contain both of their threshold values, so that neighbouring slices overlap.

>>> order = MassOrder(np.array([[0.0, 1.0], [3.0, 4.0]]))
>>> order.draw((0.5, 1.0), 0.3)
(1, 1)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import ProtocolError

__all__ = ["Bounds", "MassOrder", "bounds_of", "group_names", "group_number", "published_draw", "published_slice"]

BUCKETS = 1024
CHUNK = 1 << 16  # number of pixels that are processed together, small enough for the cache

Bounds = tuple[float, float]
Point = tuple[int, ...]


def bounds_of(groups: int | Sequence[float]) -> tuple[Bounds, ...]:
    """Return the mass interval (low, high) of each group; the first one is G1, the least likely.

    Parameters
    ----------
    groups : int or sequence of float
        Number of groups of equal mass, or the bounds of all groups in rising order from 0 to 1, such as
        [0, 0.5, 0.9, 1].

    Raises
    ------
    ProtocolError
        If the number is below 1 or the bounds do not rise from 0 to 1.

    >>> bounds_of(2)
    ((0.0, 0.5), (0.5, 1.0))
    """
    if isinstance(groups, bool) or not isinstance(groups, (int, list, tuple)):
        raise ProtocolError(f"groups is {groups!r}; expected a number of groups or a list of bounds from 0 to 1")
    if isinstance(groups, int):
        if groups < 1:
            raise ProtocolError(f"groups is {groups}; expected at least 1")
        edges = [i / groups for i in range(groups + 1)]
    else:
        try:
            edges = [float(x) for x in groups]
        except (TypeError, ValueError) as error:
            raise ProtocolError(f"groups is {groups!r}; expected numbers from 0 to 1") from error
        if len(edges) < 2 or edges[0] != 0 or edges[-1] != 1 or any(b <= a for a, b in pairwise(edges)):
            raise ProtocolError(f"groups is {list(groups)}; expected bounds that rise from 0 to 1")
    return tuple(pairwise(edges))


def group_names(count: int) -> tuple[str, ...]:
    """Return the names G1 to Gn of `count` groups; G1 contains the least likely clicks."""
    return tuple(f"G{i + 1}" for i in range(count))


def group_number(name: str) -> int | None:
    """Return the number of a group, counted from 1, or None if the name is not that of a group."""
    found = re.fullmatch(r"G([1-9][0-9]*)", name)
    return int(found[1]) if found else None


class MassOrder:
    """The pixels of a map in rising order of their weight, with their cumulative mass.

    Pixels are assigned to buckets of similar weight. A bucket is sorted when a draw falls into it. So a draw processes
    few pixels, and a volume needs little memory in addition to its map.

    Parameters
    ----------
    weights : (H, W) or (Z, H, W) array
        Map of finite weights of at least 0; 0 where no click is allowed. The array is kept and must not be changed.

    Attributes
    ----------
    total : float
        Sum of all weights; 0 if no click can be drawn.
    """

    def __init__(self, weights: NDArray[Any]) -> None:
        self._flat = np.ascontiguousarray(weights).ravel()
        self._shape = weights.shape
        self._peak = float(self._flat.max(initial=0)) or 1.0
        self._masses = np.zeros(BUCKETS)
        for part in self._chunks():
            self._masses += np.bincount(self._bucket(part), weights=part, minlength=BUCKETS)
        self._edges = np.cumsum(self._masses)
        self._ordered: tuple[int, NDArray[np.int64], NDArray[np.float64]] | None = None
        self.total = float(self._edges[-1])

    def draw(self, bounds: Bounds, uniform: float) -> Point:
        """Return the indices of the pixel at the share `uniform` of the mass of a slice.

        Parameters
        ----------
        bounds : (float, float)
            Interval of the slice, 0 <= low < high <= 1.
        uniform : float
            Random number in [0, 1).

        Raises
        ------
        ValueError
            If the map has no mass.
        """
        if self.total == 0:
            raise ValueError("the map has no mass to draw from")
        low, high = bounds
        wanted = (low + uniform * (high - low)) * self.total
        last = int(np.flatnonzero(self._masses)[-1])
        bucket = min(int(np.searchsorted(self._edges, wanted, side="right")), last)
        if self._ordered is None or self._ordered[0] != bucket:
            before = float(self._edges[bucket - 1]) if bucket else 0.0
            self._ordered = (bucket, *self._in_order(bucket, before))
        _, pixels, mass = self._ordered
        at = int(np.searchsorted(mass, wanted, side="right"))
        return _place(int(pixels[min(at, pixels.size - 1)]), self._shape)

    def mass(self, bounds: Bounds) -> NDArray[np.float64]:
        """Return the mass of each pixel within a slice as a map, float64; its sum is (high - low) * total."""
        low, high = (edge * self.total for edge in bounds)
        pixels, mass = self._in_order(None, 0.0)
        before = np.concatenate([[0.0], mass[:-1]])
        kept = np.zeros(math.prod(self._shape))
        kept[pixels] = np.clip(np.minimum(mass, high) - np.maximum(before, low), 0, None)
        return kept.reshape(self._shape)

    def _in_order(self, bucket: int | None, before: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the pixels of a bucket (None: all pixels) in rising order, and the cumulative mass at each pixel."""
        found = [
            np.flatnonzero((part > 0) & (bucket is None or self._bucket(part) == bucket)) + k * CHUNK
            for k, part in enumerate(self._chunks())
        ]
        pixels = np.concatenate(found)
        pixels = pixels[np.lexsort((_scatter(pixels), self._flat[pixels]))]
        mass = self._flat[pixels].astype(np.float64)
        np.cumsum(mass, out=mass)
        mass += before
        return pixels, mass

    def _bucket(self, values: NDArray[Any]) -> NDArray[np.int64]:
        share = values.astype(np.float64) / self._peak
        return np.minimum((share * BUCKETS).astype(np.int64), BUCKETS - 1)

    def _chunks(self) -> Iterator[NDArray[Any]]:
        return (self._flat[start : start + CHUNK] for start in range(0, self._flat.size, CHUNK))


def _place(pixel: int, shape: tuple[int, ...]) -> Point:
    """Return the indices of a pixel given by its flat index."""
    return tuple(int(c) for c in np.unravel_index(pixel, shape))


def _scatter(pixels: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a fixed pseudo-random number for each pixel index (finaliser of SplitMix64, Steele et al. 2014)."""
    x = pixels.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def published_slice(weights: NDArray[np.float32], bounds: Bounds) -> NDArray[np.float32]:
    """Return `weights` with all pixels outside the published slice set to 0.

    The cumulative sum of the sorted map is computed in single precision. The slice contains all pixels from the value
    at which this sum reaches the share `low` of the total to the value at which it exceeds the share `high`. Both
    values are included.

    Parameters
    ----------
    weights : (H, W) float32 array
        Map of weights.
    bounds : (float, float)
        Interval (low, high) of the slice.
    """
    values = np.sort(weights.ravel())
    total = values.sum()
    cumulative = np.cumsum(values)
    low = int(np.searchsorted(cumulative, total * bounds[0], side="left"))
    high = int(np.searchsorted(cumulative, total * bounds[1], side="right"))
    smallest, largest = values[min(low, values.size - 1)], values[min(high, values.size - 1)]
    return np.where((weights >= smallest) & (weights <= largest), weights, np.float32(0))


def published_draw(weights: NDArray[np.float32], uniform: float) -> Point | None:
    """Return the pixel that NumPy's legacy `choice` draws with the random number `uniform`; None if there is no mass.

    The pixels are in row-major order, and their probabilities are proportional to their weights.
    """
    total = weights.sum()
    if not total > 0:
        return None
    shares = np.cumsum((weights / total).ravel().astype(np.float64))
    return _place(int(np.searchsorted(shares / shares[-1], uniform, side="right")), weights.shape)
