"""Clicks on random error voxels of a volume, uniform as in SAM-Med3D or weighted by depth as in DeepEdit.

>>> from rclicks.metrics.target import TargetReference
>>> from rclicks.users.components import errors_of
>>> facts = TargetReference(np.ones((1, 1, 2), bool))
>>> errors = errors_of(facts, np.array([[[True, False]]]))
>>> uniform_click(errors, np.random.default_rng(0))
Click(point=(0, 0, 1), positive=True)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rclicks.interaction import Click
from rclicks.sample import Mask
from rclicks.users.components import Errors

__all__ = ["distance_weighted_click", "uniform_click"]


def uniform_click(errors: Errors, rng: np.random.Generator) -> Click:
    """Return a click on a random error voxel, all with equal probability. It is positive on a false negative."""
    return _click(errors.error, int(rng.integers(np.count_nonzero(errors.error))), errors)


def distance_weighted_click(errors: Errors, rng: np.random.Generator) -> Click:
    """Return a click on an error voxel with probability proportional to exp(D) - 1, as in DeepEdit.

    The click is on a false negative (positive click) if there are at least as many false negatives as false positives,
    and otherwise on a false positive (negative click). D is the chessboard distance in voxels to the nearest voxel
    that is not an error of this kind. Unlike in DeepEdit, the region outside the volume counts as not an error.
    """
    false_negatives, false_positives = errors.false_negatives, errors.false_positives
    depth = _chessboard_depth(
        false_negatives if np.count_nonzero(false_negatives) >= np.count_nonzero(false_positives) else false_positives
    )
    del false_negatives, false_positives
    counts = np.sum([np.bincount(plane.reshape(-1), minlength=int(depth.max()) + 1) for plane in depth], axis=0)
    level = np.arange(len(counts))
    mass = np.cumsum(counts * (np.exp(level - level[-1]) - np.exp(-level[-1])))  # scaled: exp(D) may overflow
    chosen = min(int(np.searchsorted(mass, rng.random() * mass[-1], side="right")), len(counts) - 1)
    return _click(depth == chosen, int(rng.integers(counts[chosen])), errors)


def _chessboard_depth(mask: Mask) -> NDArray[np.uint16]:
    """Return the chessboard distance of each voxel to the outside of the mask, in voxels.

    The distance is the number of erosions after which the voxel is still in the mask, plus 1. The region beyond the
    border of the crop counts as outside. The function of SciPy needs six times as much memory.
    """
    depth = mask.astype(np.uint16)
    core, room = mask, depth
    while min(core.shape) > 2:  # an erosion always removes the outermost layer of the crop
        for axis in range(3):
            lines = np.moveaxis(core, axis, 0)
            core = np.moveaxis(lines[:-2] & lines[1:-1] & lines[2:], 0, axis)
        if not core.any():
            break
        room = room[1:-1, 1:-1, 1:-1]
        room += core
    return depth


def _click(mask: Mask, number: int, errors: Errors) -> Click:
    """Return the click on voxel `number` (0-based, in C order) of a mask, with the sign from the reference mask."""
    counts = np.cumsum(np.count_nonzero(mask, axis=(1, 2)))
    plane = int(np.searchsorted(counts, number, side="right"))
    before = int(counts[plane - 1]) if plane else 0
    row, column = divmod(int(np.flatnonzero(mask[plane])[number - before]), mask.shape[2])
    inside = (plane, row, column)
    point = tuple(a + b for a, b in zip(inside, errors.low, strict=True))
    return Click(point, bool(errors.truth[inside]))
