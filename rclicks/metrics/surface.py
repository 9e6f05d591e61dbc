"""Distances between the surfaces of two masks: normalised surface distance, Hausdorff and mean distances.

Libraries define these names differently. On the same masks they differ by up to .18 (NSD) and 2 mm (HD95). So each
definition has its own name, which should be reported with the number:

* ``surfel`` (DeepMind's surface-distance; MONAI with sub-voxels): the surface lies between voxels. Each 2 x 2 (x 2)
  neighbourhood with voxels inside and outside the mask is a surface point. Its weight is the area (in 2-D the length)
  of the surface that marching cubes makes in it.
* ``voxel`` (MONAI, MetricsReloaded): the surface points are the border voxels of the mask (the mask without its erosion
  by face neighbours), all with weight 1.

The distances are computed with a search tree over the points of the other surface, not with distance maps. So the time
depends on the size of the surfaces and not on the size of the volume. Spacing is in array order and in mm. The area
beyond the image counts as background.

>>> reference, prediction = np.zeros((2, 9, 9), bool); reference[2:7, 2:7] = True; prediction[2:7, 3:8] = True
>>> pair = SurfacePair.of(reference, prediction, spacing=(1.0, 2.0), definition="voxel")
>>> pair.nsd(tolerance=1.0), pair.hausdorff()
(0.625, 2.0)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rclicks.metrics.target import bounding_box, widen

__all__ = ["DEFINITIONS", "SurfacePair", "element_sizes"]

DEFINITIONS = ("surfel", "voxel")
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SurfacePair:
    """Distances between the surface of the reference mask and the surface of the prediction.

    Attributes
    ----------
    to_prediction : (n,) float64 array
        Distance in mm from each surface point of the reference mask to the surface of the prediction.
    to_reference : (m,) float64 array
        Distance in mm from each surface point of the prediction to the surface of the reference mask. Both arrays are
        empty if both masks are empty; distances to an empty mask are infinite.
    reference_sizes, prediction_sizes : (n,) and (m,) float64 arrays
        Area in mm² (length in mm in 2-D) of each surface point; 1 for the definition "voxel".
    """

    to_prediction: Floats
    to_reference: Floats
    reference_sizes: Floats
    prediction_sizes: Floats

    @classmethod
    def of(cls, reference: Mask, prediction: Mask, spacing: Sequence[float], definition: str = "surfel") -> SurfacePair:
        """Return the distances between the surfaces of two masks.

        Parameters
        ----------
        reference, prediction : (H, W) or (Z, H, W) bool arrays of one shape
            Reference mask and prediction.
        spacing : sequence of float
            Size of a pixel or voxel along each array axis, in mm, above 0.
        definition : {"surfel", "voxel"}
            Definition of a surface; see the top of this module.

        Raises
        ------
        ValueError
            If the masks are not bool arrays of one shape, or the spacing or the definition is invalid.
        """
        steps = _checked(reference, prediction, spacing, definition)
        window = widen(bounding_box(reference), bounding_box(prediction))
        if window is None:
            nothing = np.empty(0)
            return cls(nothing, nothing, nothing, nothing)
        points = [_surface(np.pad(mask[window], 1), steps, definition) for mask in (reference, prediction)]
        (a, a_sizes), (b, b_sizes) = points
        return cls(_nearest(a, b), _nearest(b, a), a_sizes, b_sizes)

    def nsd(self, tolerance: float) -> float:
        """Return the normalised surface distance, also called surface Dice (Nikolov et al. 2021).

        It is the share of both surfaces that lies within `tolerance` mm of the other surface, from 0 to 1; higher is
        better. It is 1 for two empty masks, and 0 if one mask is empty.
        """
        total = float(self.reference_sizes.sum() + self.prediction_sizes.sum())
        if total == 0:
            return 1.0
        reach = tolerance * (1 + 1e-9)  # coordinates in mm have rounding errors
        near = (
            self.reference_sizes[self.to_prediction <= reach].sum()
            + self.prediction_sizes[self.to_reference <= reach].sum()
        )
        return float(near / total)

    def hausdorff(self, percent: float = 100.0) -> float:
        """Return the larger of the two directed (percentile) Hausdorff distances in mm; lower is better.

        With "surfel" the percentile is weighted by area: the smallest distance that `percent` % of the area do not
        exceed. With "voxel" it is the linear percentile over the border voxels. It is 0 for two empty masks, and NaN
        if one mask is empty.
        """
        if not self._both:
            return self._undefined
        weighted = not (_ones(self.reference_sizes) and _ones(self.prediction_sizes))
        directed = [
            _weighted_percentile(d, s, percent) if weighted else float(np.percentile(d, percent))
            for d, s in ((self.to_prediction, self.reference_sizes), (self.to_reference, self.prediction_sizes))
        ]
        return max(directed)

    def hausdorff_pooled(self, percent: float = 95.0) -> float:
        """Return the percentile of the distances of both directions together, in mm (as in MedPy); lower is better."""
        if not self._both:
            return self._undefined
        return float(np.percentile(np.concatenate([self.to_prediction, self.to_reference]), percent))

    def average(self) -> float:
        """Return the average symmetric surface distance (ASSD) in mm; lower is better.

        It is the mean of the two directed mean distances, which are weighted by the size of the surface points.
        """
        if not self._both:
            return self._undefined
        means = [
            float(np.average(d, weights=s))
            for d, s in ((self.to_prediction, self.reference_sizes), (self.to_reference, self.prediction_sizes))
        ]
        return sum(means) / 2

    @property
    def _both(self) -> bool:
        return bool(self.reference_sizes.size and self.prediction_sizes.size)

    @property
    def _undefined(self) -> float:
        return math.nan if self.reference_sizes.size or self.prediction_sizes.size else 0.0


def _checked(reference: Mask, prediction: Mask, spacing: Sequence[float], definition: str) -> tuple[float, ...]:
    both_bool = reference.dtype == prediction.dtype == np.bool_
    if not both_bool or reference.shape != prediction.shape or reference.ndim not in (2, 3):
        raise ValueError(
            f"expected two bool masks of one shape with 2 or 3 axes, got {reference.dtype} {reference.shape} and "
            f"{prediction.dtype} {prediction.shape}"
        )
    steps = tuple(float(s) for s in spacing)
    if len(steps) != reference.ndim or not all(s > 0 and math.isfinite(s) for s in steps):
        raise ValueError(f"spacing is {tuple(spacing)}, expected {reference.ndim} numbers above 0, in array order")
    if definition not in DEFINITIONS:
        raise ValueError(f"definition is {definition!r}, expected one of {', '.join(DEFINITIONS)}")
    return steps


def _surface(mask: Mask, spacing: tuple[float, ...], definition: str) -> tuple[Floats, Floats]:
    """Return the surface points of a mask in mm, (n, axes), and their sizes; the mask is padded with background."""
    if definition == "voxel":
        at = np.argwhere(mask & ~ndimage.binary_erosion(mask))
        return at * np.asarray(spacing), np.ones(len(at))
    code = np.zeros(tuple(n - 1 for n in mask.shape), np.uint8)
    for corner in np.ndindex((2,) * mask.ndim):
        part = mask[tuple(slice(c, n - 1 + c) for c, n in zip(corner, mask.shape, strict=True))]
        code += part.view(np.uint8) << _bit(corner)
    at = np.argwhere((code > 0) & (code < 2**2**mask.ndim - 1))
    return at * np.asarray(spacing), element_sizes(spacing)[code[tuple(at.T)]]


def _bit(corner: tuple[int, ...]) -> np.uint8:
    """Return the bit of a corner in the code of its neighbourhood; the first corner has the highest bit."""
    place = 0
    for c in corner:
        place = 2 * place + c
    return np.uint8(2 ** len(corner) - 1 - place)


@lru_cache(maxsize=64)
def element_sizes(spacing: tuple[float, ...]) -> Floats:
    """Return the area (in 2-D the length) of the surface in each possible 2 x 2 (x 2) neighbourhood of voxels.

    The surface is that of marching cubes (Lorensen and Cline 1987) with vertices at the centres of edges. A
    neighbourhood and its complement have the same area: that of the one with fewer voxels inside. This resolves
    ambiguous cases in the same way as published tables.

    Parameters
    ----------
    spacing : tuple of 2 or 3 float
        Size of a voxel along each axis, in mm.

    Returns
    -------
    (16,) or (256,) float64 array
        Area in mm² (length in mm) for each code. A code has one bit for each corner; the first corner in array order
        has the highest bit.

    >>> element_sizes((1.0, 1.0))[[0b1000, 0b1100, 0b1111]].round(4).tolist()
    [0.7071, 1.0, 0.0]
    """
    corners = 2 ** len(spacing)
    sizes = np.zeros(2**corners)
    for code in range(1, 2**corners - 1):
        few = code if code.bit_count() <= corners // 2 else 2**corners - 1 - code
        inside = np.array([few >> (corners - 1 - i) & 1 for i in range(corners)], np.float32)
        sizes[code] = _size(inside.reshape((2,) * len(spacing)), spacing)
    sizes.setflags(write=False)
    return sizes


def _size(inside: NDArray[Any], spacing: tuple[float, ...]) -> float:
    from skimage import measure

    if len(spacing) == 3:
        vertices, faces, _, _ = measure.marching_cubes(inside, 0.5, spacing=spacing, method="lorensen")
        return float(measure.mesh_surface_area(vertices, faces))
    lines = measure.find_contours(inside, 0.5)
    return float(sum(np.linalg.norm(np.diff(line * np.asarray(spacing), axis=0), axis=1).sum() for line in lines))


def _nearest(points: Floats, others: Floats) -> Floats:
    from scipy.spatial import cKDTree

    if not len(others):
        return np.full(len(points), np.inf)
    return np.asarray(cKDTree(others).query(points)[0], np.float64) if len(points) else np.empty(0)


def _weighted_percentile(distances: Floats, sizes: Floats, percent: float) -> float:
    order = np.argsort(distances, kind="stable")
    share = np.cumsum(sizes[order]) / sizes.sum()
    at = int(np.searchsorted(share, percent / 100 - 1e-12))
    return float(distances[order[min(at, len(order) - 1)]])


def _ones(sizes: Floats) -> bool:
    return bool((sizes == 1).all())
