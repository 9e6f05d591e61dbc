"""What a user does: clicks, boxes, scribbles and lassos, in array order.

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
    """One click at a pixel (or voxel).

    Attributes
    ----------
    point : tuple of int
        Array order: (row, column) or (z, row, column), in pixels.
    positive : bool
        True adds to the object, False removes from it.
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
        First and last pixel inside the box, both inclusive, in array order; equal along the axis of a slice's box.
    positive : bool
        Always True for the users of this package; kept so that every interaction has a sign.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    positive: bool = True
    kind: ClassVar[str] = "box"


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """A set of pixels that somebody drew, stored as a crop.

    Attributes
    ----------
    low : tuple of int
        First pixel of the crop, in array order.
    mask : bool array
        The crop, one axis for each of `low`; True where drawn. It touches all of its own sides.
    positive : bool
        True adds to the object, False removes from it.
    """

    low: tuple[int, ...]
    mask: NDArray[np.bool_]
    positive: bool = True
    kind: ClassVar[str] = ""

    @property
    def high(self) -> tuple[int, ...]:
        """Last pixel of the crop, inclusive."""
        return tuple(first + length - 1 for first, length in zip(self.low, self.mask.shape, strict=True))

    @property
    def window(self) -> tuple[slice, ...]:
        """The crop's place in the whole array."""
        return tuple(slice(first, first + length) for first, length in zip(self.low, self.mask.shape, strict=True))

    @property
    def points(self) -> NDArray[np.int64]:
        """(n, axes) indices of the drawn pixels in the whole array."""
        return np.argwhere(self.mask) + np.asarray(self.low)

    def _key(self) -> tuple[object, ...]:
        return self.kind, self.low, self.mask.shape, np.packbits(self.mask).tobytes(), self.positive

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Drawing) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True, slots=True, eq=False)
class Scribble(Drawing):
    """A freehand line; all of it lies in the object (or, if negative, in the background)."""

    kind: ClassVar[str] = "scribble"


@dataclass(frozen=True, slots=True, eq=False)
class Lasso(Drawing):
    """The filled inside of a closed outline in one slice; it may reach a little beyond the object."""

    kind: ClassVar[str] = "lasso"


Interaction = Click | Box | Scribble | Lasso
KINDS = ("click", "box", "scribble", "lasso")


def clicks_of(interactions: Sequence[Interaction]) -> list[Click]:
    """Return the clicks among `interactions`, in the order they were placed."""
    return [i for i in interactions if isinstance(i, Click)]


def corners_of(interaction: Interaction) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the first and last pixel (inclusive) of what an interaction covers; equal for a click."""
    if isinstance(interaction, Click):
        return interaction.point, interaction.point
    return interaction.low, interaction.high


def check_inside(interaction: Interaction, shape: Sequence[int]) -> None:
    """Refuse an interaction that does not lie in an image or volume, or covers nothing.

    Raises
    ------
    ProtocolError
        If it has another number of axes, reaches outside, is reversed or empty.
    """
    low, high = corners_of(interaction)
    if not len(low) == len(high) == len(shape) or not all(
        0 <= a <= b < n for a, b, n in zip(low, high, shape, strict=True)
    ):
        axes = "(row, column)" if len(shape) == 2 else "(z, row, column)"
        raise ProtocolError(
            f"the {interaction.kind} from {low} to {high} does not lie in an image of shape {tuple(shape)}; "
            f"coordinates are {axes} from 0, the first not above the last"
        )
    if isinstance(interaction, Drawing) and not interaction.mask.any():
        raise ProtocolError(f"the {interaction.kind} from {low} to {high} has no pixel")
