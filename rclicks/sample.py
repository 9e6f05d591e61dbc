"""A sample (one image or volume) and its targets (objects), as frozen dataclasses of NumPy arrays.

This module reads no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Affine", "Mask", "Sample", "Target"]

Mask = NDArray[np.bool_]
Affine = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True, eq=False)
class Target:
    """One object to segment.

    Attributes
    ----------
    id : str
        Name of the object within its sample, defined by the data set.
    masks : sequence of (H, W) or (Z, H, W) bool arrays
        Masks of the raters, in the order of `raters`, all of the same shape. Large masks may be created at each access.
    ignore : bool array of the same shape, or None
        Pixels that are ignored in all scores. They are never part of a mask.
    raters : tuple of str
        Names of the raters; ``("gt",)`` in a data set with one reference mask for each object.
    """

    id: str
    masks: Sequence[Mask]
    ignore: Mask | None = None
    raters: tuple[str, ...] = ("gt",)

    def mask(self, rater: str) -> Mask:
        """Return the mask that `rater` drew.

        Raises
        ------
        ValueError
            If the target has no such rater.
        """
        return self.masks[self.raters.index(rater)]


@dataclass(frozen=True, eq=False)
class Sample:
    """One image or volume with its objects.

    Attributes
    ----------
    dataset, id : str
        Name of the data set, and name of the sample within it. Together they are unique.
    image : (H, W, 3) uint8 array, or (Z, H, W) array
        RGB image, or volume with the grey values and the data type of its file. The array may be memory-mapped and must
        not be changed.
    targets : tuple of Target
        Objects, in the order of the data set.
    spacing : tuple of float
        Size of a pixel or voxel along each array axis, in mm; 1.0 if unknown.
    affine : (4, 4) nested tuple of float, or None
        Matrix that maps (x, y, z, 1), the reversed array index of a voxel, to mm in RAS+ space. None for images, and
        for volumes if it is unknown.
    """

    dataset: str
    id: str
    image: NDArray[np.generic]
    targets: tuple[Target, ...] = ()
    spacing: tuple[float, ...] = field(default=(1.0, 1.0))
    affine: Affine | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the masks: the shape of the image without its colour channels."""
        return tuple(self.image.shape[: len(self.spacing)])

    def blind(self) -> Sample:
        """Return the sample without its targets. A model may see nothing else."""
        return replace(self, targets=())
