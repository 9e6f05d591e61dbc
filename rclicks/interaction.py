"""Interactions of a user: clicks, boxes, scribbles and lassos. Coordinates are in array order.

>>> Click((12, 40), positive=True).point
(12, 40)
>>> Box((10, 20), (50, 80)).kind
'box'
>>> Scribble((3, 10, 20), np.ones((1, 1, 5), bool)).high
(3, 10, 24)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import ProtocolError

__all__ = ["KINDS", "Box", "Click", "Interaction", "Lasso", "Scribble", "check_inside", "clicks_of", "corners_of"]


@dataclass(frozen=True, slots=True)
class Click:
    """One click on a pixel or voxel.

    Attributes
    ----------
    point : tuple of int
        Index of the pixel (row, column) or of the voxel (z, row, column).
    positive : bool
        True if the pixel belongs to the object, False if it does not.
    """

    point: tuple[int, ...]
    positive: bool = True
    kind: ClassVar[str] = "click"


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box around the object, or around its section in one slice.

    Attributes
    ----------
    low, high : tuple of int
        Indices of the first and the last pixel inside the box, in array order. The box of a slice of a volume has equal
        values on one axis.
    positive : bool
        True for all users of this package. The attribute exists so that every interaction has a sign.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    positive: bool = True
    kind: ClassVar[str] = "box"


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """A set of drawn pixels, stored as a crop.

    Attributes
    ----------
    low : tuple of int
        Index of the first pixel of the crop, in array order.
    mask : bool array
        Crop with one axis for each number in `low`; True where drawn. It is as small as possible.
    positive : bool
        True if the pixels belong to the object, False if they do not.
    """

    low: tuple[int, ...]
    mask: NDArray[np.bool_]
    positive: bool = True
    kind: ClassVar[str] = ""

    @property
    def high(self) -> tuple[int, ...]:
        """Index of the last pixel of the crop (inclusive)."""
        return tuple(first + length - 1 for first, length in zip(self.low, self.mask.shape, strict=True))

    @property
    def window(self) -> tuple[slice, ...]:
        """Slices that select the crop in the complete array."""
        return tuple(slice(first, first + length) for first, length in zip(self.low, self.mask.shape, strict=True))

    @property
    def points(self) -> NDArray[np.int64]:
        """(n, axes) indices of the drawn pixels in the complete array."""
        return np.argwhere(self.mask) + np.asarray(self.low)

    def _key(self) -> tuple[object, ...]:
        return self.kind, self.low, self.mask.shape, np.packbits(self.mask).tobytes(), self.positive

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Drawing) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True, slots=True, eq=False)
class Scribble(Drawing):
    """A freehand line that lies completely in the object, or in the background if it is negative."""

    kind: ClassVar[str] = "scribble"


@dataclass(frozen=True, slots=True, eq=False)
class Lasso(Drawing):
    """The filled interior of a closed outline in one slice. It may extend slightly beyond the object."""

    kind: ClassVar[str] = "lasso"


Interaction = Click | Box | Scribble | Lasso
KINDS = ("click", "box", "scribble", "lasso")


def clicks_of(interactions: Sequence[Interaction]) -> list[Click]:
    """Return the clicks among `interactions` in the given order."""
    return [i for i in interactions if isinstance(i, Click)]


def corners_of(interaction: Interaction) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the indices of the first and last pixel (inclusive) that an interaction covers; equal for a click."""
    if isinstance(interaction, Click):
        return interaction.point, interaction.point
    return interaction.low, interaction.high


def check_inside(interaction: Interaction, shape: Sequence[int]) -> None:
    """Check that an interaction lies within an image or volume of the given shape.

    Raises
    ------
    ProtocolError
        If its number of axes differs, a part lies outside, its last pixel comes before its first, or it has no pixel.
    """
    low, high = corners_of(interaction)
    if not len(low) == len(high) == len(shape) or not all(
        0 <= a <= b < n for a, b, n in zip(low, high, shape, strict=True)
    ):
        axes = "(row, column)" if len(shape) == 2 else "(z, row, column)"
        raise ProtocolError(
            f"the {interaction.kind} from {low} to {high} does not lie in an image of shape {tuple(shape)}; "
            f"coordinates are {axes} and start at 0, and the first pixel must not come after the last"
        )
    if isinstance(interaction, Drawing) and not interaction.mask.any():
        raise ProtocolError(f"the {interaction.kind} from {low} to {high} has no pixel")
