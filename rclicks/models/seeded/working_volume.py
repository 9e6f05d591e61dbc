"""The working volume of the classical 3-D models: grey values in 0..1, averaged over blocks if the volume is large.

All shapes and block sizes are (z, row, column).

>>> enlarge(np.array([[[0, 1]]], np.float32), step=(1, 1, 2), full=(1, 1, 4)).tolist()
[[[0.0, 0.25, 0.75, 1.0]]]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError
from rclicks.models.seeded.base import Probability
from rclicks.sample import Sample

__all__ = ["Spacing", "Triple", "WorkingVolume", "enlarge", "steps_for"]

Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class WorkingVolume:
    """A volume at the resolution at which a method computes.

    Attributes
    ----------
    full : tuple of int
        (Z, Y, X) shape of the original volume.
    step : tuple of int
        Number of original voxels in one working voxel, along each axis.
    spacing : tuple of float
        Size of a working voxel along each axis, in mm.
    values : (z, y, x) float32 array
        Block means, scaled linearly so that the 0.5th and the 99.5th percentile become 0 and 1, and clipped to [0, 1].
        All values are 0 if both percentiles are equal.
    extra : object
        Further data that the method computes from the volume alone.
    """

    full: Triple
    step: Triple
    spacing: Spacing
    values: NDArray[np.float32]
    extra: Any = None

    @property
    def shape(self) -> Triple:
        """Shape (z, y, x) of the working volume."""
        return cast(Triple, self.values.shape)

    @classmethod
    def of(cls, sample: Sample, voxels: int) -> WorkingVolume:
        """Average `sample.image`, (Z, Y, X) of any real type, over blocks until at most about `voxels` are left.

        The axis with the smallest voxel side is shortened first, so that the voxels become more isotropic. A volume
        that is small enough keeps its voxels. The image is read slice by slice and never changed.

        Raises
        ------
        DataError
            If the image is not a volume of real numbers, has a wrong number of spacings, or contains NaN or infinity.
        """
        image = sample.image
        if image.ndim != 3 or image.size == 0 or image.dtype.kind not in "iuf" or len(sample.spacing) != 3:
            raise DataError(
                f"{sample.dataset} {sample.id}: 3-D models need a (Z, Y, X) volume of real grey values with three "
                f"spacings, not {image.dtype} of shape {image.shape} with spacing {sample.spacing}; "
                "use a 2-D model for colour images and for images without depth"
            )
        full = cast(Triple, image.shape)
        step = steps_for(full, sample.spacing, voxels)
        values = _block_means(image, step)
        if not np.isfinite(values).all():
            raise DataError(
                f"{sample.dataset} {sample.id}: the volume contains NaN or infinity; replace them in the data set"
            )
        low, high = np.percentile(values, (0.5, 99.5))
        if high > low:
            values -= np.float32(low)
            values *= np.float32(1 / (high - low))
            np.clip(values, 0, 1, out=values)
        else:
            values[:] = 0
        spacing = cast(Spacing, tuple(float(s) * k for s, k in zip(sample.spacing, step, strict=True)))
        return cls(full, step, spacing, values)


def steps_for(shape: Sequence[int], spacing: Sequence[float], voxels: int) -> Triple:
    """Return the block size along each axis with which about `voxels` voxels or fewer are left.

    >>> steps_for((26, 166, 164), (5, 0.8, 0.8), 400_000)
    (1, 1, 2)
    """
    step = [1, 1, 1]
    while math.prod(-(-n // k) for n, k in zip(shape, step, strict=True)) > voxels:
        open_axes = [a for a in range(3) if step[a] < shape[a]]
        axis = min(open_axes, key=lambda a: (spacing[a] * step[a], -a))
        step[axis] += 1
    return step[0], step[1], step[2]


def _block_means(image: NDArray[np.generic], step: Triple) -> NDArray[np.float32]:
    """Return the means over blocks of `step` voxels as a new float32 array; the last blocks may be smaller."""
    if step == (1, 1, 1):
        return image.astype(np.float32)
    starts = [np.arange(0, n, k) for n, k in zip(image.shape, step, strict=True)]
    counts = [np.diff(np.append(s, n)) for s, n in zip(starts, image.shape, strict=True)]
    means = np.empty([s.size for s in starts], np.float32)
    for plane, first, depth in zip(means, starts[0], counts[0], strict=True):
        total = image[first : first + depth].sum(axis=0, dtype=np.float64)
        total = np.add.reduceat(np.add.reduceat(total, starts[1], axis=0), starts[2], axis=1)
        plane[:] = total / (depth * np.multiply.outer(counts[1], counts[2]))
    return means


def enlarge(small: Probability, step: Triple, full: Triple) -> Probability:
    """Return an array of the working volume at the size of the volume, interpolated between the block centres.

    The result is made slice by slice, so that no second array of the volume's size is needed.
    """
    if step == (1, 1, 1):
        return small
    low: list[NDArray[np.intp]] = []
    high: list[NDArray[np.intp]] = []
    share: list[NDArray[np.float32]] = []
    for k, n, have in zip(step, full, small.shape, strict=True):
        at = np.clip((np.arange(n) + 0.5) / k - 0.5, 0, have - 1)
        low.append(at.astype(np.intp))
        high.append(np.minimum(low[-1] + 1, have - 1))
        share.append((at - low[-1]).astype(np.float32))
    large = np.zeros(full, np.float32)
    for z in range(full[0]):
        plane = small[low[0][z]] + share[0][z] * (small[high[0][z]] - small[low[0][z]])
        if plane.any():
            plane = plane[low[1]] + share[1][:, None] * (plane[high[1]] - plane[low[1]])
            plane = plane[:, low[2]] + share[2] * (plane[:, high[2]] - plane[:, low[2]])
            large[z] = plane
    return large
