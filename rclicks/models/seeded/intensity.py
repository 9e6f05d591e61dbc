"""Grey-value densities estimated from seeds.

>>> values = np.array([0.1, 0.1, 0.9, 0.9], np.float32)
>>> bins = bins_of(values, 4)
>>> model = IntensityModel.learn(bins, 4, np.array([1, 0, -1, 0], np.int8), width=0.0, floor=0.1)
>>> (100 * model.probability(bins)).round().astype(int).tolist()
[97, 97, 3, 3]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rclicks.models.seeded.base import ASSUMED, BACKGROUND, OBJECT, SeedMap
from rclicks.options import Choice, Number

__all__ = ["INTENSITY_OPTIONS", "IntensityModel", "bins_of"]

INTENSITY_OPTIONS: dict[str, Number | Choice] = {
    "bins": Number(128, 4, 256, whole=True),
    "width": Number(0.05, 0, 1),
    "floor": Number(0.1, 1e-6, 1),
}


@dataclass(frozen=True, eq=False)
class IntensityModel:
    """Probability of the object for each grey value, from the smoothed histograms of object and background seeds.

    Attributes
    ----------
    share : (n,) float32 array
        P(object | bin) for equal priors.
    """

    share: NDArray[np.float32]

    @classmethod
    def learn(cls, bins: NDArray[np.uint8], count: int, seeds: SeedMap, width: float, floor: float) -> IntensityModel:
        """Estimate the densities from seeds.

        The background density is the mean of two densities, that of `BACKGROUND` seeds and that of `ASSUMED` seeds.
        Otherwise the many assumed seeds would outweigh the few drawn ones.

        Parameters
        ----------
        bins : uint8 array
            Bin of every voxel, below `count`; see `bins_of`.
        count : int
            Number of bins.
        seeds : int8 array of the same shape
            Seed map with the labels of `rclicks.models.seeded.base`.
        width : float
            Standard deviation of the smoothing, as a share of the grey range.
        floor : float
            Share of the uniform density that is mixed into both densities, from 0 to 1. So a grey value that no seed
            has gets probability 1/2.
        """
        from scipy.ndimage import gaussian_filter1d

        uniform = np.full(count, 1 / count)
        densities: dict[int, NDArray[np.float64]] = {}
        for label in (OBJECT, BACKGROUND, ASSUMED):
            density = np.bincount(bins[seeds == label], minlength=count).astype(np.float64)
            if density.any():
                density /= density.sum()
                if width * count > 0.1:  # a narrower kernel would cover a single bin
                    density = gaussian_filter1d(density, width * count, mode="reflect", truncate=4.0)
                densities[label] = density * (1 - floor) + floor * uniform
        outside = [densities[k] for k in (BACKGROUND, ASSUMED) if k in densities] or [uniform]
        inside = densities.get(OBJECT, uniform)
        return cls((inside / (inside + np.mean(outside, axis=0))).astype(np.float32))

    def probability(self, bins: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return P(object | grey value) of every voxel, in the shape of `bins`."""
        return self.share[bins]


def bins_of(values: NDArray[np.float32], count: int) -> NDArray[np.uint8]:
    """Return the bin of every grey value in 0..1; there are `count` bins of equal width, at most 256."""
    return np.minimum(values * np.float32(count), count - 1).astype(np.uint8)
