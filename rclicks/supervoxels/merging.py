"""From masks that may overlap to one label map.

The rule: a voxel belongs to the *smallest* mask that covers it, as a part says more than the whole it lies in; of
equally large ones to the first. What no mask covers is 0. Labels run from 1 in the order of the masks; a mask that is
covered wholly by smaller ones has no voxel left and gets no label.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["merge"]


def merge(masks: NDArray[np.generic]) -> NDArray[np.int32]:
    """Return the label map of masks under the rule of this module.

    Parameters
    ----------
    masks : (n, Z, Y, X) array
        What is not 0 belongs to the mask.

    >>> merge(np.array([[[[1, 1, 1, 0]]], [[[0, 1, 0, 0]]], [[[0, 0, 1, 1]]]])).tolist()
    [[[1, 2, 3, 3]]]
    """
    if masks.ndim != 4:
        raise ValueError(f"expected masks (n, z, y, x), got the shape {masks.shape}")
    sizes = np.array([np.count_nonzero(m) for m in masks], np.int64)
    painted = np.zeros(masks.shape[1:], np.int32)
    for i in sorted(range(len(masks)), key=lambda i: (-sizes[i], -i)):  # what is painted last stays
        painted[masks[i] != 0] = i + 1
    left = np.bincount(painted.ravel(), minlength=len(masks) + 1) > 0
    left[0] = False
    return np.cumsum(left, dtype=np.int32)[painted] * (painted > 0)
