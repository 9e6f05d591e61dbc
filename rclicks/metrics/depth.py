"""Depth of the voxels of a mask: the exact Euclidean distance to the outside, computed with little memory.

SciPy's distance transform stores the nearest outside voxel of every voxel. It needs about 60 bytes for each voxel,
which is too much for large volumes. Here the squared distance is computed axis by axis (Saito and Toriwaki 1994): first
the distance along the first axis, then in each plane the smallest sum along the second and the third axis. Distances
along the first axis take 2 bytes for each voxel, and only one plane at a time is completed.

The area beyond the array counts as outside the mask.

>>> mask = np.zeros((1, 7, 7), bool); mask[0, 1:6, 1:6] = True
>>> depth, voxels = deepest(mask, spacing=(9.0, 1.0, 1.0))
>>> depth, voxels.tolist(), depth_map(mask, spacing=(9.0, 1.0, 1.0))[0, 3].tolist()
(9.0, [24], [0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.0])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.sample import Mask

__all__ = ["deepest", "depth_map"]

EQUAL = 1 - 1e-12  # equal sums of squares in mm can differ in their last bits


def deepest(
    mask: Mask, spacing: Sequence[float] | None = None, barred: Iterable[Sequence[int]] = ()
) -> tuple[float, NDArray[np.int64]]:
    """Return the largest squared depth of a mask, and all voxels with this depth.

    Depth is the exact Euclidean distance to the nearest voxel outside the mask. The area beyond the array counts as
    outside.

    Parameters
    ----------
    mask : (Z, Y, X) bool array
        Mask, or the part of it to search.
    spacing : sequence of float, or None
        Size of a voxel along each axis, in mm; None for distances in voxels, whose squares are whole numbers.
    barred : iterable of (z, y, x)
        Voxels that are not returned; they still belong to the mask.

    Returns
    -------
    depth : float
        Largest squared depth, in the squared unit of `spacing`; 0 if there is no voxel to return.
    voxels : (n,) int64 array
        Flat indices (C order) of all voxels with this depth, ascending.

    Notes
    -----
    The distance along the first axis is an upper bound of the depth, and each plane can be completed independently.
    Planes are processed in the order of decreasing bounds, until the next bound is below the depth found. Most planes
    need not be completed.
    """
    units = [1] * 3 if spacing is None else [float(s) ** 2 for s in spacing]
    steps = _steps(mask)
    bounds = steps.max(axis=(1, 2), initial=0).astype(np.int64) ** 2 * units[0]
    out: dict[int, list[tuple[int, int]]] = {}
    for z, y, x in barred:
        if _within((z, y, x), mask.shape):
            out.setdefault(int(z), []).append((int(y), int(x)))
    best: float = 0
    found: list[NDArray[np.int64]] = []
    for z in np.argsort(-bounds, kind="stable"):
        if bounds[z] < best * EQUAL or bounds[z] == 0:
            break
        plane = steps[z].astype(np.int64) ** 2 * units[0]
        _lower(plane, units[1])
        rows = np.flatnonzero(plane.max(axis=1) >= best * EQUAL)
        if not len(rows):
            continue
        lines = plane[rows]
        _lower(lines.T, units[2])
        plane[:] = 0
        plane[rows] = lines
        for at in out.get(int(z), ()):
            plane[at] = 0
        peak = plane.max()
        if peak * EQUAL > best:
            found = []
        best = max(best, float(peak))
        if peak >= best * EQUAL and peak > 0:
            found.append(np.flatnonzero(plane >= best * EQUAL) + int(z) * plane.size)
    return best, np.sort(np.concatenate(found)) if found else np.zeros(0, np.int64)


def depth_map(mask: Mask, spacing: Sequence[float] | None = None) -> NDArray[np.float32]:
    """Return the depth of every voxel of a (Z, Y, X) bool mask as a float32 array; 0 outside the mask.

    The unit is that of `spacing`, the size of a voxel along each axis; None for 1 along all axes.
    """
    units = [1] * 3 if spacing is None else [float(s) ** 2 for s in spacing]
    steps = _steps(mask)
    found = np.zeros(mask.shape, np.float32)
    for z in range(len(mask)):
        plane = steps[z].astype(np.int64) ** 2 * units[0]
        _lower(plane, units[1])
        _lower(plane.T, units[2])
        found[z] = np.sqrt(plane)
    return found


def _steps(mask: Mask) -> NDArray[Any]:
    """Return for each voxel the number of steps along axis 0, in either direction, to the nearest outside voxel."""
    steps = np.empty(mask.shape, np.int16 if len(mask) < 1 << 15 else np.int32)
    run = np.zeros(mask.shape[1:], steps.dtype)
    for i in range(len(mask)):
        run = (run + 1) * mask[i]
        steps[i] = run
    run[...] = 0
    for i in range(len(mask) - 1, -1, -1):
        run = (run + 1) * mask[i]
        np.minimum(steps[i], run, out=steps[i])
    return steps


def _lower(depth: NDArray[Any], unit: float) -> None:
    """Replace each value, in place, by the minimum over k of (value k steps away along axis 0) + k * k * `unit`.

    Beyond both ends the values are 0.
    """
    before = depth.copy(order="K")
    for k in range(1, len(depth) + 1):
        rise = k * k * unit
        if rise >= depth.max():
            break
        np.minimum(depth[k:], before[:-k] + rise, out=depth[k:])
        np.minimum(depth[:-k], before[k:] + rise, out=depth[:-k])
        for edge in (k - 1, len(depth) - k):
            np.minimum(depth[edge], rise, out=depth[edge])


def _within(point: Sequence[int], shape: Sequence[int]) -> bool:
    return all(0 <= i < n for i, n in zip(point, shape, strict=True))
