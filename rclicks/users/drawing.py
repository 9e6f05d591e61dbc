"""Interactions that are drawn in one slice of a volume: scribbles, lassos and boxes at the largest error.

A scribble or lasso is drawn in the slice in which the largest component of the error has most voxels. It is a 2-D mask,
which is cropped and gets a third axis of length one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rclicks.interaction import Box, Drawing, Lasso, Scribble
from rclicks.metrics.target import TargetReference, bounding_box
from rclicks.sample import Mask
from rclicks.users.box import jittered_box
from rclicks.users.components import Component, Errors, label, largest_component

__all__ = [
    "best_slice",
    "centre_line",
    "key_slices",
    "lasso",
    "middle_slice_box",
    "scribble",
    "slice_box",
    "warped",
    "worst_slice",
]

Kind = TypeVar("Kind", bound=Drawing)


def best_slice(piece: Component, spacing: Sequence[float], axis: int | None = 0) -> tuple[int, int]:
    """Return (axis, index in the whole array) of the slice in which a component has the largest area.

    Parameters
    ----------
    piece : Component
        Component whose `low` is an index of the whole array.
    spacing : (3,) sequence of float
        Size of a voxel in mm, in array order.
    axis : int or None
        Array axis across which slices are considered; None for all three axes. Of equal slices the first is returned.
    """
    found = []
    for across in range(3) if axis is None else (axis,):
        counts = piece.mask.sum(axis=tuple(a for a in range(3) if a != across))
        at = int(counts.argmax())
        pixel = math.prod(s for a, s in enumerate(spacing) if a != across)
        found.append((float(counts[at]) * pixel, across, at + piece.low[across]))
    _, across, at = max(found, key=lambda f: f[0])  # max returns the first of equal slices
    return across, at


def scribble(
    piece: Component,
    spacing: Sequence[float],
    *,
    axis: int | None = 0,
    thickness: int = 2,
    warp: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Scribble:
    """Return a scribble along the middle of a component of the error, in the slice where the component is largest.

    Parameters
    ----------
    piece : Component
        Component of false negatives (positive scribble) or of false positives (negative scribble).
    spacing : (3,) sequence of float
        Size of a voxel in mm, in array order.
    axis : int or None
        See `best_slice`.
    thickness : int
        Width of the pen in voxels. Parts of the line outside the component are removed.
    warp : float
        Largest deviation from the centre line in voxels; values above 0 need `rng`.
    rng : numpy.random.Generator or None
    """
    across, at = best_slice(piece, spacing, axis)
    # The component can have several parts in this slice. The line is drawn in the largest part.
    part = largest_component(_plane(piece.mask, across, at - piece.low[across]))
    assert part is not None  # noqa: S101 - the best slice is not empty
    plane_spacing = [s for a, s in enumerate(spacing) if a != across]
    line = centre_line(part.mask, plane_spacing)
    pen = np.ones((thickness, thickness), bool)
    drawn = ndimage.binary_dilation(_marked(line, part.mask), pen) & part.mask
    if warp > 0 and rng is not None:
        deviated = ndimage.binary_dilation(_marked(warped(line, warp, rng), part.mask), pen) & part.mask
        drawn = deviated if deviated.any() else drawn
    low = [i for a, i in enumerate(piece.low) if a != across]
    corner = (part.low[0] + low[0], part.low[1] + low[1])
    return _in_volume(Scribble, drawn, corner, across, at, positive=piece.positive)


def centre_line(section: Mask, spacing: Sequence[float]) -> NDArray[np.int64]:
    """Return the (n, 2) int64 pixels (row, column) of the line through the middle of a connected 2-D mask, in order.

    The line is the longest path in the skeleton. If this path is shorter than the depth of the mask, it does not show
    the shape of the mask; for example, the skeleton of a disc is a point. Then the line is the longest row or column
    segment through the deepest pixel whose pixels are at least half as deep.

    Parameters
    ----------
    section : (H, W) bool array
        A connected mask that is not empty.
    spacing : (2,) sequence of float
        Size of a pixel along (row, column) in mm.
    """
    from skimage.morphology import skeletonize

    path = _longest_path(skeletonize(np.pad(section, 1))[1:-1, 1:-1] & section, spacing)
    depth = ndimage.distance_transform_edt(np.pad(section, 1), sampling=spacing)[1:-1, 1:-1]
    deepest = int(depth.argmax())
    steps = np.diff(path, axis=0) * np.asarray(spacing)
    if len(path) and float(np.hypot(*steps.T).sum()) >= depth.flat[deepest]:
        return path
    row, column = divmod(deepest, section.shape[1])
    deep = depth * 2 >= depth.flat[deepest]
    lines = []
    for axis, (middle, values) in enumerate(((row, deep[:, column]), (column, deep[row]))):
        shallow = np.flatnonzero(~values)
        first = int(shallow[shallow < middle].max(initial=-1)) + 1
        last = int(shallow[shallow > middle].min(initial=len(values))) - 1
        line = np.empty((last - first + 1, 2), np.int64)
        line[:, axis], line[:, 1 - axis] = np.arange(first, last + 1), (column, row)[axis]
        lines.append((len(line) * spacing[axis], line))
    return max(lines, key=lambda found: found[0])[1]


def _longest_path(skeleton: Mask, spacing: Sequence[float]) -> NDArray[np.int64]:
    """Return the (n, 2) pixels of a shortest path between two distant ends of a skeleton, in order.

    The first end is the pixel farthest from an arbitrary pixel. The second end is the pixel farthest from the first.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    points = np.argwhere(skeleton)
    if len(points) < 2:
        return points
    number = np.full(tuple(n + 2 for n in skeleton.shape), -1)  # padded, so that every pixel has all neighbours
    number[1:-1, 1:-1][skeleton] = np.arange(len(points))
    ends, lengths = [], []
    for step in ((0, 1), (1, -1), (1, 0), (1, 1)):
        there = number[points[:, 0] + 1 + step[0], points[:, 1] + 1 + step[1]]
        here = np.flatnonzero(there >= 0)
        ends.append(np.stack([here, there[here]]))
        lengths.append(np.full(len(here), math.hypot(step[0] * spacing[0], step[1] * spacing[1])))
    graph = coo_array((np.concatenate(lengths), tuple(np.concatenate(ends, axis=1))), shape=(len(points),) * 2).tocsr()

    def farthest(start: int) -> tuple[int, NDArray[np.int32]]:
        distance, previous = dijkstra(graph, directed=False, indices=start, return_predecessors=True)
        return int(np.where(np.isfinite(distance), distance, -1).argmax()), previous

    start, _ = farthest(0)
    at, previous = farthest(start)
    path = [at]
    while at != start:
        at = int(previous[at])
        path.append(at)
    return points[path]


def warped(line: NDArray[np.int64], amplitude: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the pixels of a line after a smooth random deviation.

    Parameters
    ----------
    line : (n, 2) int64 array
        Pixels (row, column) of the line, in order.
    amplitude : float
        Largest deviation along each axis in pixels.
    rng : numpy.random.Generator

    Returns
    -------
    (m, 2) int64 array
        Pixels of the new line, in order. They can lie outside the image.
    """
    from skimage.draw import line as straight

    noise = rng.standard_normal((len(line), 2))
    smooth = ndimage.gaussian_filter1d(noise, max(1.0, len(line) / 8), axis=0, mode="nearest")
    scale = amplitude * rng.random() / max(float(np.abs(smooth).max()), np.finfo(float).tiny)
    corners = np.rint(line + smooth * scale).astype(np.int64)
    pieces = [np.stack(straight(*a, *b), axis=1) for a, b in pairwise(corners)]
    return np.concatenate([corners[:1], *pieces])


def lasso(piece: Component, reference: TargetReference, *, axis: int | None = 0, dilation: int = 1) -> Lasso:
    """Return a filled outline around a component of the error, in the slice where the component is largest.

    Parameters
    ----------
    piece : Component
        Component of the error. For false negatives the lasso is positive and surrounds the parts of the object in the
        slice that the component touches. For false positives the lasso is negative, surrounds the component and
        contains no voxel of the object.
    reference : TargetReference
    axis : int or None
        See `best_slice`.
    dilation : int
        Distance of a positive lasso from the object in voxels.
    """
    across, at = best_slice(piece, reference.spacing, axis)
    truth = _plane(reference.mask, across, at)
    section = np.zeros_like(truth)
    window = tuple(
        slice(i, i + n) for a, (i, n) in enumerate(zip(piece.low, piece.mask.shape, strict=True)) if a != across
    )
    section[window] = _plane(piece.mask, across, at - piece.low[across])
    if not piece.positive:
        inside = ndimage.binary_fill_holes(section) & ~truth
        return _in_volume(Lasso, inside, (0, 0), across, at, positive=False)
    labels, count = label(truth)
    touched = np.zeros(count + 1, bool)
    touched[labels[section]] = True
    inside = touched[labels]
    if dilation:
        rows, columns = np.ogrid[-dilation : dilation + 1, -dilation : dilation + 1]
        inside = ndimage.binary_dilation(inside, rows**2 + columns**2 <= dilation**2)
    return _in_volume(Lasso, ndimage.binary_fill_holes(inside), (0, 0), across, at, positive=True)


def key_slices(truth: Mask, axis: int, count: int) -> list[int]:
    """Return the indices of at most `count` slices with the object, equally spaced from the first to the last.

    Parameters
    ----------
    truth : bool array
        Reference mask.
    axis : int
        Array axis across which slices are considered.
    count : int
        Maximum number of slices; 1 gives the middle slice.
    """
    held = np.flatnonzero(truth.any(axis=tuple(a for a in range(truth.ndim) if a != axis)))
    places = np.rint(np.linspace(0, len(held) - 1, count)).astype(int) if count > 1 else np.array([len(held) // 2])
    return [int(held[i]) for i in np.unique(places)] if len(held) else []


def worst_slice(errors: Errors, truth: Mask, axis: int, taken: Collection[int]) -> int | None:
    """Return the index of the slice with most error voxels, or None if no slice is left.

    Parameters
    ----------
    errors : Errors
    truth : bool array
        Reference mask. Only slices that contain the object are considered.
    axis : int
        Array axis across which slices are considered. Of equal slices the first is returned.
    taken : collection of int
        Slices that are not considered.
    """
    others = tuple(a for a in range(truth.ndim) if a != axis)
    counts = np.zeros(truth.shape[axis], np.int64)
    low = errors.low[axis]
    counts[low : low + errors.error.shape[axis]] = np.count_nonzero(errors.error, axis=others)
    counts[~truth.any(axis=others)] = 0
    counts[list(taken)] = 0
    worst = int(counts.argmax())
    return worst if counts[worst] else None


def slice_box(truth: Mask, axis: int, at: int, jitter: int, rng: np.random.Generator) -> Box:
    """Return the box around the object in slice `at` across `axis`; each side is shifted by at most `jitter` voxels.

    See `rclicks.users.box.jittered_box`. The slice must contain the object.
    """
    plane = _plane(truth, axis, at)
    window = bounding_box(plane)
    assert window is not None  # noqa: S101 - callers pass slices that contain the object
    flat = jittered_box(window, plane.shape, jitter, rng)
    return Box(_with(flat.low, axis, at), _with(flat.high, axis, at))


def middle_slice_box(truth: Mask, growth: int, rng: np.random.Generator) -> Box | None:
    """Return the box of the CVPR 2025 MedSegFM challenge; None if there is no object.

    The box is in the middle slice across axis 0 among the slices with the object (the later one of two). All four sides
    grow by the same random whole number, uniform in 0..`growth`, times the length of the axis / 256, rounded down.

    Source: JunMa11/CVPR-MedSegFMCompetition, get_boxes.py of May 2025 (earlier versions: slice of the median voxel).
    """
    held = np.flatnonzero(truth.any(axis=(1, 2)))
    if not len(held):
        return None
    at = int(held[len(held) // 2])
    window = bounding_box(truth[at])
    assert window is not None  # noqa: S101 - the slice contains the object
    shift = int(rng.integers(0, growth + 1))
    low, high = [at], [at]
    for side, length in zip(window, truth.shape[1:], strict=True):
        grown = int(shift * length / 256)
        low.append(max(0, side.start - grown))
        high.append(min(length - 1, side.stop - 1 + grown))
    return Box(tuple(low), tuple(high))


def _plane(mask: Mask, axis: int, at: int) -> Mask:
    """Return slice `at` across `axis` of a volume (a view)."""
    return mask[(slice(None),) * axis + (at,)]


def _marked(line: NDArray[np.int64], like: Mask) -> Mask:
    """Return a mask of the shape of `like` with the pixels of a line. Pixels outside the mask are dropped."""
    inside = line[((line >= 0) & (line < like.shape)).all(axis=1)]
    marked = np.zeros_like(like)
    marked[tuple(inside.T)] = True
    return marked


def _in_volume(kind: type[Kind], drawn: Mask, corner: tuple[int, int], axis: int, at: int, *, positive: bool) -> Kind:
    """Return a 2-D drawing as a drawing in slice `at` across `axis`. `corner` is the first pixel of `drawn` there."""
    window = bounding_box(drawn)
    assert window is not None  # noqa: S101 - a drawing has at least one pixel
    low = (window[0].start + corner[0], window[1].start + corner[1])
    return kind(_with(low, axis, at), np.expand_dims(drawn[window].copy(), axis), positive)


def _with(plane: Sequence[int], axis: int, at: int) -> tuple[int, ...]:
    return (*plane[:axis], at, *plane[axis:])
