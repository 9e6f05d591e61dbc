"""How deep each voxel of a mask lies: the exact Euclidean distance to its outside, in little memory.

The distance transform of SciPy keeps the nearest outside voxel of every voxel and needs about 60 bytes a voxel, more
than the memory that a whole volume is granted. Here the squared distance is built axis by axis (Saito and Toriwaki
1994): the distance along the first axis, then for each plane across it the smallest sum along the second, and the
third. Distances along the first axis take 2 bytes a voxel, and planes are finished one at a time.

What lies beyond the array is outside of the mask.

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

EQUAL = 1 - 1e-12  # sums of squares in mm that are equal on paper differ in their last bits


def deepest(
    mask: Mask, spacing: Sequence[float] | None = None, barred: Iterable[Sequence[int]] = ()
) -> tuple[float, NDArray[np.int64]]:
    """Return (squared depth, voxels) of the voxels of a 3-D crop that lie farthest from the outside of the mask.

    Depth is the exact Euclidean distance to the nearest voxel outside the mask; what lies beyond the crop is outside.

    Parameters
    ----------
    mask : (Z, Y, X) bool array
    spacing : sequence of float, or None
        Size of a voxel along each axis; None for distances in voxels, which are whole numbers when squared.
    barred : iterable of indices
        Voxels that cannot be chosen; they still belong to the mask.

    Returns
    -------
    depth : float
        0 if there is no voxel to choose.
    voxels : (n,) int array
        Flat indices of all voxels of that depth, ascending (C order).

    Notes
    -----
    The distance along the first axis is an upper bound, and each plane across it can be finished by itself. Planes are
    taken from the largest bound down until the next bound is below the depth found, which leaves out most of them.
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
    """Return the depth of every voxel of a (Z, Y, X) bool mask as float32; 0 outside.

    `spacing` is the size of a voxel along each axis; None for 1 each.
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
    """Return for each voxel the steps along axis 0, either way, to the nearest one outside the mask."""
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
    """Replace each number by the smallest of (number k places before or after along axis 0) + k * k * `unit`.

    Beyond both ends the numbers are 0.
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
