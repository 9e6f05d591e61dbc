"""Slices of a volume: the axis, the grey window, and the conversion of 3-D interactions to prompts of slices.

All coordinates are array indices: (z, row, column) in the volume. Coordinates of a slice are those of the volume
without the slice axis, in the same order.

>>> [part] = to_slices(Box((2, 10, 10), (6, 20, 30)), axis=0)
>>> part.index, part.prompts[0].low, part.extent
(4, (10, 10), (2, 6))
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError, ProtocolError
from rclicks.interaction import Box, Click, Drawing, Interaction, Lasso
from rclicks.sample import Mask

__all__ = [
    "PERCENTILES",
    "Recent",
    "SlicePrompts",
    "depth_in",
    "drop",
    "grey_window",
    "most_interior",
    "read_window",
    "slice_axis",
    "take_slice",
    "to_slices",
]

PERCENTILES = "percentiles"

T = TypeVar("T")
Window = tuple[float, float]


def slice_axis(option: object, spacing: Sequence[float]) -> int:
    """Return the axis along which slices are stacked: 0, 1, 2, or for "auto" the axis with the largest spacing.

    Of axes with equal spacing the first one is taken.

    Raises
    ------
    ProtocolError
        If the option has another value.

    >>> slice_axis("auto", (1.0, 7.5, 1.0))
    1
    """
    if option == "auto":
        return int(np.argmax(np.asarray(spacing)))
    if isinstance(option, int) and not isinstance(option, bool) and 0 <= option <= 2:
        return option
    raise ProtocolError(f"option 'axis' is {option!r}; allowed is 0 (z), 1, 2 or auto")


def read_window(option: object) -> str | Window:
    """Check and return the option of a grey window: "percentiles", or [low, high] in grey values of the volume.

    Raises
    ------
    ProtocolError
        If the option has another value.
    """
    if option == PERCENTILES:
        return PERCENTILES
    if isinstance(option, (list, tuple)) and len(option) == 2:
        numbers = [v for v in option if isinstance(v, (int, float)) and not isinstance(v, bool) and np.isfinite(v)]
        if len(numbers) == 2 and numbers[0] < numbers[1]:
            return float(numbers[0]), float(numbers[1])
    raise ProtocolError(f"option 'window' is {option!r}; allowed is {PERCENTILES} or two grey values [low, high]")


def grey_window(volume: NDArray[np.generic], option: str | Window) -> Window:
    """Return the grey values (low, high) that become black and white.

    "percentiles" takes the 0.5th and 99.5th percentile of the values above 0, or of all values if none is above 0.
    MedSAM uses this window for all images except CT. The percentiles are those of the whole volume, so that
    neighbouring slices have the same contrast. The function makes one copy of the volume in its own data type.

    Raises
    ------
    DataError
        If a value of the volume is not finite.
    """
    ends = float(volume.min()), float(volume.max())
    if not np.isfinite(ends).all():
        raise DataError("the volume has values that are not finite; replace them in the data set")
    if not isinstance(option, str):
        return option
    values = volume[volume > 0] if ends[1] > 0 else np.array(volume).ravel()  # type: ignore[operator]
    low, high = np.percentile(values, (0.5, 99.5), overwrite_input=True)
    return float(low), float(high)


def take_slice(volume: NDArray[np.generic], axis: int, index: int) -> NDArray[np.generic]:
    """Return a view of the `index`-th slice along `axis`."""
    place: list[slice | int] = [slice(None)] * volume.ndim
    place[axis] = index
    return volume[tuple(place)]


def drop(values: Sequence[T], axis: int) -> tuple[T, ...]:
    """Return `values` (one for each axis) without the value of `axis`."""
    return tuple(v for i, v in enumerate(values) if i != axis)


def depth_in(mask: Mask, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Return the distance of every pixel to the outside of a 2-D mask, in units of `spacing`; 0 outside.

    The area beyond the image counts as outside.
    """
    from scipy.ndimage import distance_transform_edt

    depth: NDArray[np.float64] = distance_transform_edt(np.pad(mask, 1), sampling=tuple(spacing))
    return depth[1:-1, 1:-1]


def most_interior(mask: Mask, spacing: Sequence[float]) -> tuple[int, int]:
    """Return the (row, column) pixel of a 2-D mask that is farthest from the outside of the mask.

    Of several such pixels the first in array order is returned.

    >>> most_interior(np.ones((3, 5), bool), (1.0, 1.0))
    (1, 1)
    """
    row, column = np.unravel_index(int(np.argmax(depth_in(mask, spacing))), mask.shape)
    return int(row), int(column)


@dataclass(frozen=True)
class SlicePrompts:
    """Prompts for one slice, made from a 3-D interaction.

    Attributes
    ----------
    index : int
        Index of the slice.
    prompts : tuple of Click and Box
        Prompts in coordinates of the slice.
    extent : tuple of int or None
        First and last slice of the object; None if the interaction does not state them.
    """

    index: int
    prompts: tuple[Click | Box, ...]
    extent: tuple[int, int] | None = None


def to_slices(
    interaction: Interaction,
    axis: int,
    takes: Sequence[str] = ("click", "box"),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    strokes: int = 5,
) -> list[SlicePrompts]:
    """Convert a 3-D interaction to clicks and boxes of slices, in ascending order of the slices.

    * A click becomes a click in its slice.
    * A box becomes a box in its middle slice (the lower one of two). If the box has more than one slice, its first and
      last slice are the `extent` of the object. A box becomes a click at its centre if it is negative, if it has no
      area in the slice (because it was drawn in another view), or if the model takes no boxes.
    * A scribble becomes up to `strokes` clicks of its sign, each in the slice where it lies. The first click is the
      voxel nearest to the centroid. Each further click is the voxel farthest (in mm) from all clicks so far. Of equal
      voxels the first in array order is taken.
    * A lasso becomes prompts in the slice where it covers most pixels (the first of equal slices): its bounding box
      and a click at its most interior pixel. Only the click remains if the lasso is negative, has no area in that
      slice, or the model takes no boxes.

    A model that takes only boxes gets only the boxes, and nothing from a scribble.

    Parameters
    ----------
    interaction : Click, Box, Scribble or Lasso
        Interaction inside the volume; see `rclicks.interaction.check_inside`.
    axis : int
        Axis along which slices are stacked.
    takes : sequence of str
        Prompts of the 2-D model; only "click" and "box" are used.
    spacing : sequence of float
        Size of a voxel along each axis, in mm.
    strokes : int
        Largest number of clicks that replace a scribble.

    Raises
    ------
    ProtocolError
        If no prompt is left that the model takes.
    """
    if isinstance(interaction, Click):
        parts = [SlicePrompts(interaction.point[axis], (Click(drop(interaction.point, axis), interaction.positive),))]
    elif isinstance(interaction, Box):
        parts = [_of_box(interaction, axis, takes)]
    elif isinstance(interaction, Lasso):
        parts = [_of_lasso(interaction, axis, takes, drop(spacing, axis))]
    else:
        parts = _of_scribble(interaction, axis, spacing, strokes)
    kept = [SlicePrompts(p.index, tuple(q for q in p.prompts if q.kind in takes), p.extent) for p in parts]
    if not all(p.prompts for p in kept):
        sign = "positive" if interaction.positive else "negative"
        raise ProtocolError(
            f"a {sign} {interaction.kind} cannot be converted to the prompts of the 2-D model ({', '.join(takes)}); "
            "choose a model or a user with other prompts"
        )
    return kept


def _of_box(box: Box, axis: int, takes: Sequence[str]) -> SlicePrompts:
    first, last = box.low[axis], box.high[axis]
    low, high = drop(box.low, axis), drop(box.high, axis)
    extent = (first, last) if first < last else None
    prompt: Click | Box = Box(low, high)
    if not box.positive or "box" not in takes or any(a == b for a, b in zip(low, high, strict=True)):
        prompt = Click(tuple((a + b) // 2 for a, b in zip(low, high, strict=True)), box.positive)
    return SlicePrompts((first + last) // 2, (prompt,), extent if box.positive else None)


def _of_lasso(lasso: Drawing, axis: int, takes: Sequence[str], spacing: Sequence[float]) -> SlicePrompts:
    covered = lasso.mask.sum(axis=drop(range(lasso.mask.ndim), axis))
    best = int(np.argmax(covered))
    region = np.asarray(take_slice(lasso.mask, axis, best), bool)
    start = drop(lasso.low, axis)
    inside = most_interior(region, spacing)
    click = Click(tuple(a + b for a, b in zip(start, inside, strict=True)), lasso.positive)
    prompts: tuple[Click | Box, ...] = (click,)
    at = np.argwhere(region)
    low, high = at.min(axis=0), at.max(axis=0)
    if lasso.positive and "box" in takes and (high > low).all():
        first, last = (tuple(int(a + b) for a, b in zip(c, start, strict=True)) for c in (low, high))
        prompts = (Box(first, last), click)
    return SlicePrompts(lasso.low[axis] + best, prompts)


def _of_scribble(scribble: Drawing, axis: int, spacing: Sequence[float], strokes: int) -> list[SlicePrompts]:
    points = scribble.points
    places = points * np.asarray(spacing, float)
    chosen = [int(np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1)))]
    nearest = np.full(len(points), np.inf)
    for _ in range(min(strokes, len(points)) - 1):
        nearest = np.minimum(nearest, ((places - places[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(np.argmax(nearest)))
    slices: dict[int, list[Click | Box]] = {}
    for point in (tuple(int(v) for v in points[i]) for i in chosen):
        slices.setdefault(point[axis], []).append(Click(drop(point, axis), scribble.positive))
    return [SlicePrompts(index, tuple(slices[index])) for index in sorted(slices)]


class Recent(Generic[T]):
    """Cache of the results of a function of the slice index.

    Parameters
    ----------
    make : callable
        Pure function: slice index -> result.
    keep : int
        Largest number of results in the cache; the least recently used result is dropped first.
    """

    def __init__(self, make: Callable[[int], T], keep: int) -> None:
        self._make, self._keep = make, keep
        self._known: OrderedDict[int, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def __getitem__(self, index: int) -> T:
        """Return the result for a slice; it is computed if it is not in the cache."""
        if index in self._known:
            self._known.move_to_end(index)
            return self._known[index]
        if (
            len(self._known) >= self._keep
        ):  # before the new result is computed, so that there are never more than `keep`
            self._known.popitem(last=False)
        return self._known.setdefault(index, self._make(index))
