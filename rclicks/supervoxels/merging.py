"""Merging of masks that may overlap into one label map.

A voxel belongs to the *smallest* mask that contains it, because a part of an object is more specific than the whole
object. Of masks with equal sizes the first one counts. Voxels outside all masks get label 0. Labels start at 1 in the
order of the masks. A mask that is completely covered by smaller masks has no voxel left and gets no label.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["merge"]


def merge(masks: NDArray[np.generic]) -> NDArray[np.int32]:
    """Return the (Z, Y, X) int32 label map of masks by the rule of this module.

    Parameters
    ----------
    masks : (n, Z, Y, X) array
        Masks; all values except 0 belong to a mask.

    Raises
    ------
    ValueError
        If the array does not have four axes.

    >>> merge(np.array([[[[1, 1, 1, 0]]], [[[0, 1, 0, 0]]], [[[0, 0, 1, 1]]]])).tolist()
    [[[1, 2, 3, 3]]]
    """
    if masks.ndim != 4:
        raise ValueError(f"expected masks (n, z, y, x), got the shape {masks.shape}")
    sizes = np.array([np.count_nonzero(m) for m in masks], np.int64)
    painted = np.zeros(masks.shape[1:], np.int32)
    for i in sorted(
        range(len(masks)), key=lambda i: (-sizes[i], -i)
    ):  # large masks first, so that smaller masks overwrite them
        painted[masks[i] != 0] = i + 1
    left = np.bincount(painted.ravel(), minlength=len(masks) + 1) > 0
    left[0] = False
    return np.cumsum(left, dtype=np.int32)[painted] * (painted > 0)
