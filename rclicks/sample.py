"""The nouns of the data side: a sample (one image or volume) and its targets (objects).

Plain frozen dataclasses over NumPy arrays; nothing here reads files.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mask", "Sample", "Target"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Target:
    """One object to segment.

    Attributes
    ----------
    id : str
        Name of the object within its sample, as the data set gives it.
    masks : tuple of (H, W) or (Z, H, W) bool arrays
        One mask a rater, in the order of `raters`; all of one shape.
    ignore : bool array of the same shape or None
        Pixels that count neither for nor against; they are never part of a mask.
    raters : tuple of str
        Names of the raters; a data set with a single truth has ``("gt",)``.
    """

    id: str
    masks: tuple[Mask, ...]
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
    targets : tuple of Target
        In the data set's own order.
    spacing : tuple of float
        Size of a pixel or voxel along each array axis, in mm; 1.0 where unknown.
    """

    dataset: str
    id: str
    image: NDArray[np.generic]
    targets: tuple[Target, ...] = ()
    spacing: tuple[float, ...] = field(default=(1.0, 1.0))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the masks: the image's without its colour channels."""
        return tuple(self.image.shape[: len(self.spacing)])

    def blind(self) -> Sample:
        """Return the sample without its targets: all that a model may see."""
        return replace(self, targets=())
