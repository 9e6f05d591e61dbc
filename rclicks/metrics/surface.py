"""Distances between the surfaces of two masks: normalised surface distance, Hausdorff distances, their mean.

Libraries mean different things by these names, and differ by up to .18 (NSD) and 2 mm (HD95) on the same masks, so each
definition has a name of its own and is to be given with the number:

* ``surfel`` (DeepMind's surface-distance; MONAI with sub-voxels): the surface lies between voxels. Each 2 x 2 (x 2)
  neighbourhood that holds both sides is a point, weighted by the area (in 2-D the length) that marching cubes puts
  into it.
* ``voxel`` (MONAI, MetricsReloaded): the surface is the mask's border voxels (the mask without its erosion by face
  neighbours), each counting 1.

Only distances at surface points are needed, so they come from a search tree over the other surface and not from
distance maps: cost grows with the surface, not with the volume. Spacing is given in array order, in mm; the outside of
the image counts as background.

>>> truth, guess = np.zeros((2, 9, 9), bool); truth[2:7, 2:7] = True; guess[2:7, 3:8] = True
>>> pair = SurfacePair.of(truth, guess, spacing=(1.0, 2.0), definition="voxel")
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
    """Two surfaces, seen from each other.

    Attributes
    ----------
    to_guess, to_truth : (n,) and (m,) float64 arrays
        Distance in mm of each point of the true surface to the predicted one, and the other way round; empty if both
        masks are empty, infinite if the other one is.
    truth_sizes, guess_sizes : (n,) and (m,) float64 arrays
        Area (length in 2-D) of each point; 1 under the definition "voxel".
    """

    to_guess: Floats
    to_truth: Floats
    truth_sizes: Floats
    guess_sizes: Floats

    @classmethod
    def of(cls, truth: Mask, guess: Mask, spacing: Sequence[float], definition: str = "surfel") -> SurfacePair:
        """Return the surfaces of two masks.

        Parameters
        ----------
        truth, guess : (H, W) or (Z, H, W) bool arrays of one shape
        spacing : sequence of float
            Size of a pixel or voxel along each array axis, in mm, above 0.
        definition : {"surfel", "voxel"}

        Raises
        ------
        ValueError
            If shapes, spacing or definition make no sense.
        """
        steps = _checked(truth, guess, spacing, definition)
        window = widen(bounding_box(truth), bounding_box(guess))
        if window is None:
            nothing = np.empty(0)
            return cls(nothing, nothing, nothing, nothing)
        points = [_surface(np.pad(mask[window], 1), steps, definition) for mask in (truth, guess)]
        (a, a_sizes), (b, b_sizes) = points
        return cls(_nearest(a, b), _nearest(b, a), a_sizes, b_sizes)

    def nsd(self, tolerance: float) -> float:
        """Return the share of both surfaces that lies within `tolerance` mm of the other: 1 is best.

        Two empty masks agree (1); one empty mask shares nothing (0). Also called surface Dice (Nikolov et al. 2021).
        """
        total = float(self.truth_sizes.sum() + self.guess_sizes.sum())
        if total == 0:
            return 1.0
        reach = tolerance * (1 + 1e-9)  # coordinates in mm have last bits of their own
        near = self.truth_sizes[self.to_guess <= reach].sum() + self.guess_sizes[self.to_truth <= reach].sum()
        return float(near / total)

    def hausdorff(self, percent: float = 100.0) -> float:
        """Return the larger of the two directed (percentile) Hausdorff distances in mm; lower is better.

        Under "surfel" the percentile is that of the area: the least distance that `percent` of it do not exceed. Under
        "voxel" it is the linear percentile of the border voxels. Two empty masks have 0, one empty mask NaN.
        """
        if not self._both:
            return self._undefined
        weighted = not (_ones(self.truth_sizes) and _ones(self.guess_sizes))
        directed = [
            _weighted_percentile(d, s, percent) if weighted else float(np.percentile(d, percent))
            for d, s in ((self.to_guess, self.truth_sizes), (self.to_truth, self.guess_sizes))
        ]
        return max(directed)

    def hausdorff_pooled(self, percent: float = 95.0) -> float:
        """Return the percentile of the distances of both directions together, in mm (as MedPy does)."""
        if not self._both:
            return self._undefined
        return float(np.percentile(np.concatenate([self.to_guess, self.to_truth]), percent))

    def average(self) -> float:
        """Return the mean of both directed mean distances in mm, weighted by size; lower is better (ASSD)."""
        if not self._both:
            return self._undefined
        means = [
            float(np.average(d, weights=s))
            for d, s in ((self.to_guess, self.truth_sizes), (self.to_truth, self.guess_sizes))
        ]
        return sum(means) / 2

    @property
    def _both(self) -> bool:
        return bool(self.truth_sizes.size and self.guess_sizes.size)

    @property
    def _undefined(self) -> float:
        return math.nan if self.truth_sizes.size or self.guess_sizes.size else 0.0


def _checked(truth: Mask, guess: Mask, spacing: Sequence[float], definition: str) -> tuple[float, ...]:
    if truth.dtype != np.bool_ or guess.dtype != np.bool_ or truth.shape != guess.shape or truth.ndim not in (2, 3):
        raise ValueError(
            f"expected two bool masks of one shape with 2 or 3 axes, got {truth.dtype} {truth.shape} and "
            f"{guess.dtype} {guess.shape}"
        )
    steps = tuple(float(s) for s in spacing)
    if len(steps) != truth.ndim or not all(s > 0 and math.isfinite(s) for s in steps):
        raise ValueError(f"spacing is {tuple(spacing)}, expected {truth.ndim} numbers above 0, in array order")
    if definition not in DEFINITIONS:
        raise ValueError(f"definition is {definition!r}, expected one of {', '.join(DEFINITIONS)}")
    return steps


def _surface(mask: Mask, spacing: tuple[float, ...], definition: str) -> tuple[Floats, Floats]:
    """Return the surface points of a mask framed by background, in mm, and their sizes."""
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
    """Return the place of a corner in the code of its neighbourhood: the first corner is the highest bit."""
    place = 0
    for c in corner:
        place = 2 * place + c
    return np.uint8(2 ** len(corner) - 1 - place)


@lru_cache(maxsize=64)
def element_sizes(spacing: tuple[float, ...]) -> Floats:
    """Return the area (in 2-D the length) of the surface within each of the 2 x 2 (x 2) neighbourhoods of voxels.

    Marching cubes (Lorensen and Cline 1987) with vertices in the middle of edges; a neighbourhood and its complement
    have the surface of whichever has fewer voxels inside, which settles the ambiguous cases as published tables do.

    Parameters
    ----------
    spacing : tuple of 2 or 3 float

    Returns
    -------
    (16,) or (256,) float64 array
        By code: bit 2**k - 1 is the first corner in array order.

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
