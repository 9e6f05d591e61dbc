"""How good supervoxels are, measured against a label volume.

All numbers are bounds or losses of whoever may only pick whole supervoxels. Label 0 of the supervoxels means "in none":
its voxels can only become background.

* **achievable accuracy** (ASA): share of voxels that are right if each supervoxel takes its most frequent true label.
* **achievable Dice**: Dice of that same best guess with the truth, mean over the true labels but 0. With small objects
  ASA is close to 1 for any partition, and this is the number to look at.
* **undersegmentation error** (Neubert and Protzel 2012): voxels that leak, over all voxels: each pair of supervoxel and
  true segment (background included) adds the smaller of the supervoxel's parts inside and outside of that segment.
* **boundary recall**: share of the true border voxels (both sides of a border between true labels) that have a border
  voxel of the supervoxels within the tolerance, in mm with the volume's spacing, or in voxels with spacing 1.
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
    smallest, median, largest : float
        In mm³; NaN if there are none.
    covered : float
        Share of the volume that lies in a supervoxel.
    """

    count: int
    smallest: float
    median: float
    largest: float
    covered: float


@dataclass(frozen=True)
class Quality:
    """Supervoxels against a label volume; see the module for the definitions.

    Attributes
    ----------
    accuracy, dice, boundary_recall : float
        Higher is better; `dice` is NaN without an object, `boundary_recall` without a border.
    undersegmentation : float
        Lower is better.
    """

    accuracy: float
    dice: float
    undersegmentation: float
    boundary_recall: float


def sizes_of(labels: NDArray[Any], spacing: Sequence[float]) -> Sizes:
    """Count supervoxels and measure them."""
    counts = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    for plane in labels:
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    found = counts[1:][counts[1:] > 0] * math.prod(spacing)
    if not found.size:
        return Sizes(0, math.nan, math.nan, math.nan, 0.0)
    share = float(1 - counts[0] / labels.size)
    return Sizes(found.size, float(found.min()), float(np.median(found)), float(found.max()), share)


def measure(labels: NDArray[Any], truth: NDArray[Any], spacing: Sequence[float], *, tolerance: float = 1.0) -> Quality:
    """Measure supervoxels against a label volume.

    Parameters
    ----------
    labels : (Z, Y, X) array of whole numbers
        Supervoxels from 1; 0 is in none.
    truth : (Z, Y, X) array of whole numbers
        0 is background.
    spacing : sequence of 3 float
        (z, y, x) in mm.
    tolerance : float
        Of the boundary recall, in mm.

    Raises
    ------
    DataError
        If the shapes differ or values are no whole numbers from 0.
    """
    classes, table = overlap_table(labels, truth)
    best = table.argmax(axis=1)  # of equally frequent ones the lowest label
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
    """Return the true labels in order (0 always among them) and how many voxels each supervoxel shares with each.

    Returns
    -------
    (C,) int64 array, (N + 1, C) int64 array
        Row i is supervoxel i, row 0 what is in none.
    """
    if labels.shape != truth.shape or labels.size == 0:
        raise DataError(f"supervoxels {labels.shape} and labels {truth.shape} must have one shape, with voxels in it")
    for name, array in (("supervoxels", labels), ("labels", truth)):
        if array.dtype.kind not in "biu" or array.min() < 0:
            raise DataError(f"{name} are {array.dtype} from {array.min()}, expected whole numbers from 0")
    known = {0}
    for plane in truth:
        known.update(np.unique(plane).tolist())
    classes = np.array(sorted(known), np.int64)
    rows, columns = int(labels.max()) + 1, len(classes)
    table = np.zeros(rows * columns, np.int64)
    for a, b in zip(labels, truth, strict=True):  # plane by plane: codes of the whole volume would be large
        code = a.astype(np.int64) * columns + np.searchsorted(classes, b)
        table += np.bincount(code.ravel(), minlength=len(table))
    return classes, table.reshape(rows, columns)


def boundary_recall(labels: NDArray[Any], truth: NDArray[Any], spacing: Sequence[float], tolerance: float) -> float:
    """Return the share of true border voxels near a supervoxel's border; NaN if the truth has no border."""
    from scipy import ndimage

    true = borders(truth)
    if not true.any():
        return math.nan
    reach = [int(tolerance // s) for s in spacing]
    window = tuple(
        slice(max(0, w.start - r), w.stop + r)
        for w, r in zip(ndimage.find_objects(true.view(np.uint8))[0], reach, strict=True)
    )
    # One voxel more on each side, or a border of the supervoxels at the window's rim would go unseen.
    wide = tuple(slice(max(0, w.start - 1), w.stop + 1) for w in window)
    inner = tuple(slice(w.start - o.start, w.stop - o.start) for w, o in zip(window, wide, strict=True))
    own = borders(labels[wide])[inner]
    wanted, hits, thick = true[window], 0, max(8, reach[0])
    for start in range(0, len(own), thick):  # slabs, as a distance map takes many times the memory of a mask
        low = max(0, start - reach[0])
        near = own[low : start + thick + reach[0]]
        if near.any():
            distance = ndimage.distance_transform_edt(~near, sampling=tuple(spacing))[start - low :][:thick]
            hits += int(np.count_nonzero(distance[wanted[start : start + thick]] <= tolerance * (1 + 1e-9)))
    return hits / int(np.count_nonzero(wanted))


def borders(labels: NDArray[Any]) -> Mask:
    """Return the voxels with a face neighbour of another label; the rim of the volume is no border.

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
