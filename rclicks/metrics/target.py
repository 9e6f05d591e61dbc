"""Reference mask with its bounding box, area and boundary band, which are computed once for each object.

All trajectories that follow the same rater of the same object share one `TargetReference`. So its properties are not
computed again after every click.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rclicks.sample import Mask

__all__ = ["TargetReference", "Window", "band_width", "boundary_band", "bounding_box", "widen"]

Window = tuple[slice, ...]


def bounding_box(mask: Mask) -> Window | None:
    """Return the smallest window (one slice for each axis) that contains all True pixels; None if there are none.

    >>> bounding_box(np.array([[0, 0, 0], [0, 1, 1]], bool))
    (slice(1, 2, None), slice(1, 3, None))
    """
    window: list[slice] = []
    rest = mask
    for _ in range(mask.ndim):  # each axis is searched only within the window of the previous axes
        lines = rest if rest.ndim == 1 else rest.any(axis=tuple(range(1, rest.ndim)))
        at = np.flatnonzero(lines)
        if at.size == 0:
            return None
        found = slice(int(at[0]), int(at[-1]) + 1)
        window.append(found)
        rest = np.moveaxis(rest[found], 0, -1)
    return tuple(window)


def widen(a: Window | None, b: Window | None) -> Window | None:
    """Return the smallest window that contains both windows; None stands for an empty window."""
    if a is None or b is None:
        return a or b
    return tuple(slice(min(i.start, j.start), max(i.stop, j.stop)) for i, j in zip(a, b, strict=True))


def band_width(shape: tuple[int, ...], ratio: float) -> int:
    """Return the width of the boundary band in pixels: ratio times the diagonal, rounded half to even, at least 1."""
    return max(1, round(ratio * math.hypot(*shape)))


def boundary_band(mask: Mask, window: Window, width: int) -> Mask:
    """Return the pixels of an (H, W) mask within `width` pixels (chessboard distance) of its outside.

    This is the mask minus its erosion by a square of side 2 * width + 1. The area beyond the image counts as outside
    the mask. `window` must contain all True pixels; the result has the shape of `window`.
    """
    import cv2

    crop = mask[window].view(np.uint8)
    framed = cv2.copyMakeBorder(crop, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(framed, cv2.DIST_C, 3)[1:-1, 1:-1]
    return np.asarray((distance <= width) & mask[window])


class TargetReference:
    """Reference mask of one object with its cached properties.

    Parameters
    ----------
    mask : (H, W) or (Z, H, W) bool array
        Reference mask.
    ignore : bool array of the same shape or None
        Ignored pixels; they are removed from the mask.
    spacing : sequence of float
        Size of a pixel or voxel along each array axis, in mm; 1 for all axes by default.

    Raises
    ------
    TypeError
        If a mask is not bool, or the shapes differ.
    ValueError
        If the spacing has a wrong length, or a value is not above 0.
    """

    def __init__(self, mask: Mask, ignore: Mask | None = None, spacing: Sequence[float] | None = None) -> None:
        if mask.dtype != np.bool_ or (ignore is not None and (ignore.dtype != np.bool_ or ignore.shape != mask.shape)):
            raise TypeError("mask and ignore must be bool arrays of one shape")
        if ignore is not None and not ignore.any():
            ignore = None
        self.spacing = (1.0,) * mask.ndim if spacing is None else tuple(float(s) for s in spacing)
        if len(self.spacing) != mask.ndim or not all(s > 0 and math.isfinite(s) for s in self.spacing):
            raise ValueError(f"spacing is {self.spacing}, expected {mask.ndim} numbers above 0, in array order")
        self.ignore = ignore
        self.mask: Mask = np.ascontiguousarray(mask if ignore is None else mask & ~ignore)
        self._bands: dict[int, NDArray[np.bool_]] = {}

    @cached_property
    def window(self) -> Window | None:
        """Bounding box of the object; None if the reference mask is empty."""
        return bounding_box(self.mask)

    @cached_property
    def area(self) -> int:
        """Number of object pixels."""
        return int(np.count_nonzero(self.mask))

    def band(self, width: int) -> Mask:
        """Return the boundary band of the object in the shape of `window`; the result is cached.

        Raises
        ------
        ValueError
            If the reference mask is empty.
        """
        if self.window is None:
            raise ValueError("an empty object has no boundary")
        if width not in self._bands:
            self._bands[width] = boundary_band(self.mask, self.window, width)
        return self._bands[width]
