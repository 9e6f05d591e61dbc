"""Quality of supervoxels, measured against a reference label map.

The metrics are limits for a segmentation that can only select complete supervoxels. Label 0 of the supervoxels means
"in no supervoxel"; its voxels can only become background.

* **achievable accuracy** (ASA): share of voxels with the correct label if each supervoxel gets its most frequent
  reference label.
* **achievable Dice**: Dice of the same labels with the reference, mean over all reference labels except 0. With small
  objects ASA is close to 1 for any partition, so use achievable Dice.
* **undersegmentation error** (Neubert and Protzel 2012): number of leaking voxels divided by the number of all voxels.
  Each pair of a supervoxel and a reference segment (including background) adds the smaller of two parts of the
  supervoxel: the part inside and the part outside the segment.
* **boundary recall**: share of the reference border voxels (both sides of a border between reference labels) that have
  a border voxel of the supervoxels within the tolerance. The tolerance is in mm with the spacing of the volume, or in
  voxels with a spacing of 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError

__all__ = ["Quality", "Sizes", "borders", "boundary_recall", "measure", "overlap_table", "sizes_of"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Sizes:
    """Number and volume of supervoxels.

    Attributes
    ----------
    count : int
        Number of supervoxels.
    smallest, median, largest : float
        Volumes in mm³; NaN if there are no supervoxels.
    covered : float
        Share of the voxels that lie in a supervoxel.
    """

    count: int
    smallest: float
    median: float
    largest: float
    covered: float


@dataclass(frozen=True)
class Quality:
    """Quality of supervoxels; the top of this module defines the metrics.

    Attributes
    ----------
    accuracy : float
        Achievable accuracy; 0..1, higher is better.
    dice : float
        Achievable Dice; 0..1, higher is better. NaN if the reference has no object.
    undersegmentation : float
        Undersegmentation error; at least 0, lower is better.
    boundary_recall : float
        Boundary recall; 0..1, higher is better. NaN if the reference has no border.
    """

    accuracy: float
    dice: float
    undersegmentation: float
    boundary_recall: float


def sizes_of(labels: NDArray[Any], spacing: Sequence[float]) -> Sizes:
    """Return the number and the volumes of the supervoxels of a (Z, Y, X) label map; `spacing` (z, y, x) is in mm."""
    counts = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    found = counts[1:][counts[1:] > 0] * math.prod(spacing)
    if not found.size:
        return Sizes(0, math.nan, math.nan, math.nan, 0.0)
    share = float(1 - counts[0] / labels.size)
    return Sizes(found.size, float(found.min()), float(np.median(found)), float(found.max()), share)


def measure(labels: NDArray[Any], truth: NDArray[Any], spacing: Sequence[float], *, tolerance: float = 1.0) -> Quality:
    """Return the quality of supervoxels relative to a reference label map.

    Parameters
    ----------
    labels : (Z, Y, X) array of whole numbers
        Supervoxels from 1; 0 means no supervoxel.
    truth : (Z, Y, X) array of whole numbers
        Reference labels; 0 is background.
    spacing : sequence of 3 float
        Size (z, y, x) of a voxel in mm.
    tolerance : float
        Tolerance of the boundary recall in mm.

    Raises
    ------
    DataError
        If the shapes differ, or a value is negative or not a whole number.
    """
    classes, table = overlap_table(labels, truth)
    best = table.argmax(axis=1)  # the lowest label if several are equally frequent
    background = int(np.searchsorted(classes, 0))
    best[0] = background
    right = table[np.arange(len(table)), best]
    guessed = np.zeros(len(classes), np.int64)
    hit = np.zeros(len(classes), np.int64)
    np.add.at(guessed, best, table.sum(axis=1))
    np.add.at(hit, best, right)
    objects = [k for k, c in enumerate(classes) if c != 0 and table[:, k].any()]
    dices = [2 * hit[k] / (guessed[k] + table[:, k].sum()) for k in objects]
    leak = np.minimum(table[1:], table[1:].sum(axis=1, keepdims=True) - table[1:]).sum()
    return Quality(
        accuracy=float(right.sum() / truth.size),
        dice=float(np.mean(dices)) if dices else math.nan,
        undersegmentation=float(leak / truth.size),
        boundary_recall=boundary_recall(labels, truth, spacing, tolerance),
    )


def overlap_table(labels: NDArray[Any], truth: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the reference labels, and the number of voxels that each supervoxel shares with each of them.

    Returns
    -------
    classes : (C,) int64 array
        Reference labels in ascending order, always including 0.
    table : (N + 1, C) int64 array
        Number of shared voxels. Row i is supervoxel i; row 0 contains the voxels without a supervoxel.

    Raises
    ------
    DataError
        If the shapes differ, or a value is negative or not a whole number.
    """
    if labels.shape != truth.shape or labels.size == 0:
        raise DataError(f"supervoxels have shape {labels.shape}, labels {truth.shape}; expected one shape with voxels")
    for name, array in (("supervoxels", labels), ("labels", truth)):
        if array.dtype.kind not in "biu" or array.min() < 0:
            raise DataError(f"{name} are {array.dtype} from {array.min()}; expected whole numbers from 0")
    known = {0}
    for plane in truth:
        known.update(np.unique(plane).tolist())
    classes = np.array(sorted(known), np.int64)
    rows, columns = int(labels.max()) + 1, len(classes)
    table = np.zeros(rows * columns, np.int64)
    for a, b in zip(labels, truth, strict=True):  # plane by plane to save memory
        code = a.astype(np.int64) * columns + np.searchsorted(classes, b)
        table += np.bincount(code.ravel(), minlength=len(table))
    return classes, table.reshape(rows, columns)


def boundary_recall(labels: NDArray[Any], truth: NDArray[Any], spacing: Sequence[float], tolerance: float) -> float:
    """Return the boundary recall (see the top of this module); NaN if the reference has no border."""
    from scipy import ndimage

    true = borders(truth)
    if not true.any():
        return math.nan
    reach = [int(tolerance // s) for s in spacing]
    window = tuple(
        slice(max(0, w.start - r), w.stop + r)
        for w, r in zip(ndimage.find_objects(true.view(np.uint8))[0], reach, strict=True)
    )
    # The window has one more voxel on each side, because a border voxel is recognised by its neighbours.
    wide = tuple(slice(max(0, w.start - 1), w.stop + 1) for w in window)
    inner = tuple(slice(w.start - o.start, w.stop - o.start) for w, o in zip(window, wide, strict=True))
    own = borders(labels[wide])[inner]
    wanted, hits, thick = true[window], 0, max(8, reach[0])
    for start in range(0, len(own), thick):  # in slabs, because a distance map needs much more memory than a mask
        low = max(0, start - reach[0])
        near = own[low : start + thick + reach[0]]
        if near.any():
            distance = ndimage.distance_transform_edt(~near, sampling=tuple(spacing))[start - low :][:thick]
            hits += int(np.count_nonzero(distance[wanted[start : start + thick]] <= tolerance * (1 + 1e-9)))
    return hits / int(np.count_nonzero(wanted))


def borders(labels: NDArray[Any]) -> Mask:
    """Return the voxels with a face neighbour of another label, as a bool array; the edge of the volume is no border.

    >>> borders(np.array([1, 1, 2, 2])).tolist()
    [False, True, True, False]
    """
    found = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        first, second = (_shifted(labels.ndim, axis, side) for side in (slice(None, -1), slice(1, None)))
        differs = labels[first] != labels[second]
        found[first] |= differs
        found[second] |= differs
    return found


def _shifted(axes: int, axis: int, side: slice) -> tuple[slice, ...]:
    return tuple(side if i == axis else slice(None) for i in range(axes))
