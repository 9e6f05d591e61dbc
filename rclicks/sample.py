"""The nouns of the data side: a sample (one image or volume) and its targets (objects).

Plain frozen dataclasses over NumPy arrays; nothing here reads files.
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
        Name of the object within its sample, as the data set gives it.
    masks : sequence of (H, W) or (Z, H, W) bool arrays
        One mask a rater, in the order of `raters`; all of one shape. Large ones may be made at each access.
    ignore : bool array of the same shape or None
        Pixels that count neither for nor against; they are never part of a mask.
    raters : tuple of str
        Names of the raters; a data set with a single truth has ``("gt",)``.
    """

    id: str
    masks: Sequence[Mask]
    ignore: Mask | None = None
    raters: tuple[str, ...] = ("gt",)

    def mask(self, rater: str) -> Mask:
        """Return the mask that `rater` drew."""
        return self.masks[self.raters.index(rater)]


@dataclass(frozen=True, eq=False)
class Sample:
    """One image or volume with its objects.

    Attributes
    ----------
    dataset, id : str
        Name of the data set and of the sample within it; together unique.
    image : (H, W, 3) uint8 array, RGB, or (Z, H, W) array of a volume
        A volume has the file's own grey values and type, and may be memory-mapped: nobody may write into it.
    targets : tuple of Target
        In the data set's own order.
    spacing : tuple of float
        Size of a pixel or voxel along each array axis, in mm; 1.0 where unknown.
    affine : (4, 4) nested tuple of float, or None
        Volumes only: takes (x, y, z, 1), the reversed array index, to mm in RAS+ space. None where unknown.
    """

    dataset: str
    id: str
    image: NDArray[np.generic]
    targets: tuple[Target, ...] = ()
    spacing: tuple[float, ...] = field(default=(1.0, 1.0))
    affine: Affine | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the masks: the image's without its colour channels."""
        return tuple(self.image.shape[: len(self.spacing)])

    def blind(self) -> Sample:
        """Return the sample without its targets: all that a model may see."""
        return replace(self, targets=())
