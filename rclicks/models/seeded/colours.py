"""Colour densities estimated from seeds, and contrasts between neighbouring pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.sample import Mask

__all__ = ["ColourModel", "Step", "colour_bins", "neighbours"]


@dataclass(frozen=True, eq=False)
class ColourModel:
    """Colour densities of object and background: smoothed histograms, a fast approximation of Parzen windows.

    Attributes
    ----------
    object, background : (n, n, n) float64 arrays
        Densities over the bins of `colour_bins`; each sums to 1.
    """

    object: NDArray[np.float64]
    background: NDArray[np.float64]

    @classmethod
    def learn(
        cls, bins: NDArray[np.int32], count: int, inside: Mask, outside: Mask, width: float, floor: float
    ) -> ColourModel:
        """Estimate the densities from the pixels of two masks.

        Parameters
        ----------
        bins : (h, w) int32 array
            Flat bin index of every pixel, see `colour_bins`.
        count : int
            Number of bins along each axis.
        inside, outside : (h, w) bool arrays
            Pixels known to be object and background. An empty mask gives the uniform density.
        width : float
            Standard deviation of the smoothing, in bins.
        floor : float
            Share of the uniform density that is mixed into both densities, from 0 to 1. So a colour that was seen in
            neither mask has probability 1/2.
        """
        from scipy.ndimage import gaussian_filter

        densities = []
        for region in (inside, outside):
            density = np.bincount(bins[region], minlength=count**3).astype(np.float64).reshape(count, count, count)
            total = density.sum()
            if total:
                density = gaussian_filter(density / total, width, mode="nearest", truncate=3.0)
            densities.append(density * (1 - floor) + floor / count**3 if total else np.full_like(density, count**-3.0))
        return cls(*densities)

    def probability(self, bins: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return P(object | colour) of every pixel for equal priors, in the shape of `bins`."""
        share = self.object / (self.object + self.background)
        return share.ravel()[bins]

    def log_odds(self, bins: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return log p(colour | object) - log p(colour | background) of every pixel, in the shape of `bins`."""
        return np.log(self.object / self.background).ravel()[bins]


def colour_bins(lab: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """Return the colour bin of every pixel. The bins form a cube that contains all colours of the image.

    Parameters
    ----------
    lab : (h, w, 3) float32 array
        Colours.
    count : int
        Number of bins along each axis.

    Returns
    -------
    (h, w) int32 array
        Flat index into a (count, count, count) array. All axes have the same bin size: the largest extent / count.
    """
    low = lab.reshape(-1, 3).min(axis=0)
    extent = max(float((lab.reshape(-1, 3).max(axis=0) - low).max()), 1e-6)
    index = np.minimum(((lab - low) * np.float32(count / extent)).astype(np.int32), count - 1)
    return np.asarray((index[..., 0] * count + index[..., 1]) * count + index[..., 2], np.int32)


@dataclass(frozen=True, eq=False)
class Step:
    """All pairs of neighbouring pixels along one direction.

    Attributes
    ----------
    rows, columns : int
        Offset from the first pixel of a pair to the second one: (0, 1), (1, 0), (1, 1) or (1, -1).
    contrast : (h - rows, w - |columns|) float64 array
        Squared colour difference of every pair.
    """

    rows: int
    columns: int
    contrast: NDArray[np.float64]

    @property
    def length(self) -> float:
        """Distance between the two pixels of a pair, in pixels."""
        return float(np.hypot(self.rows, self.columns))

    def ends(self, grid: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the values of an (h, w, ...) array at the first and at the second pixel of every pair."""
        height, width = grid.shape[:2]
        left, right = max(0, -self.columns), max(0, self.columns)
        first = grid[: height - self.rows, left : width - right]
        return first, grid[self.rows :, right : width - left]


def neighbours(lab: NDArray[np.float32], diagonal: bool = True) -> list[Step]:
    """Return all pairs of neighbours in an (h, w, 3) colour image, each pair once.

    The list has one entry for each of 4 directions, or of 2 directions if `diagonal` is False.
    """
    colours = lab.astype(np.float64)
    steps = []
    for rows, columns in ((0, 1), (1, 0), (1, 1), (1, -1))[: 4 if diagonal else 2]:
        first, second = Step(rows, columns, np.empty((0, 0))).ends(colours)
        steps.append(Step(rows, columns, np.square(first - second).sum(axis=-1)))
    return steps
