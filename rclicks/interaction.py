"""What a user does: clicks and boxes, in array order.

>>> Click((12, 40), positive=True).point
(12, 40)
>>> Box((10, 20), (50, 80)).kind
'box'
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Box", "Click", "Interaction", "clicks_of"]


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
    """An axis-aligned box around the object.

    Attributes
    ----------
    low, high : tuple of int
        First and last pixel inside the box, both inclusive, in array order.
    positive : bool
        Always True for the users of this package; kept so that every interaction has a sign.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    positive: bool = True
    kind: ClassVar[str] = "box"


Interaction = Click | Box


def clicks_of(interactions: Sequence[Interaction]) -> list[Click]:
    """Return the clicks among `interactions`, in the order they were placed."""
    return [i for i in interactions if isinstance(i, Click)]
