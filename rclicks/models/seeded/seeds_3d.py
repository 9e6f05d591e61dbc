"""Seeds of volumes: labelled voxels from interactions, background from boxes, and results that agree with the seeds.

All lengths are in mm. All coordinates are (z, row, column).

>>> at, label = draw([Click((0, 2, 2))], (1, 5, 5), (1.0, 1.0, 2.0), radius=1)
>>> at.tolist(), label.tolist()
([7, 12, 17], [1, 1, 1])
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from rclicks.interaction import Box, Click, Interaction, Lasso, Scribble
from rclicks.models.seeded.base import BACKGROUND, OBJECT, Probability, SeedMap
from rclicks.models.seeded.working_volume import Spacing, Triple, WorkingVolume
from rclicks.sample import Mask

__all__ = ["Drawn", "clear_outside", "draw", "enforce_seeds", "flat_axis", "implied_background"]

Drawn = tuple[NDArray[np.int64], SeedMap]


def flat_axis(box: Box, shape: Sequence[int]) -> int | None:
    """Return the axis along which a box has one slice only; None if it has several slices along every axis.

    >>> flat_axis(Box((4, 1, 1), (4, 9, 9)), (20, 20, 20))
    0
    """
    return next((a for a in range(3) if box.low[a] == box.high[a] and shape[a] > 1), None)


@lru_cache(maxsize=64)
def _ball(spacing: Spacing, radius: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the (n, 3) offsets to all voxels within `radius` mm, with offset 0, and their distances in mm."""
    reach = [int(radius / s) for s in spacing]
    axes = [np.arange(-r, r + 1, dtype=np.int64) for r in reach]
    moves = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.sqrt(np.square(moves * spacing).sum(axis=1))
    near = distance <= radius
    return moves[near], distance[near]


def _core_of_lasso(lasso: Lasso, spacing: Sequence[float]) -> NDArray[np.int64]:
    """Return the (n, 3) voxels of a lasso whose depth is at least half of its largest depth."""
    from scipy.ndimage import distance_transform_edt

    flat = [n == 1 for n in lasso.mask.shape]
    framed = np.pad(lasso.mask, [(0, 0) if f else (1, 1) for f in flat])
    depth = distance_transform_edt(framed, sampling=spacing)
    depth = depth[tuple(slice(None) if f else slice(1, -1) for f in flat)]
    if all(flat):
        depth = lasso.mask
    return np.argwhere(depth >= depth.max() / 2) + np.asarray(lasso.low)


def _core_of_box(box: Box, shape: Triple, step: Triple, core: float) -> NDArray[np.int64]:
    """Return the (n, 3) voxels of the ellipsoid around the centre of a box with `core` times the size of the box."""
    low, high = np.asarray(box.low), np.asarray(box.high)
    centre = ((low + high + 1) / 2) / step - 0.5
    half = np.maximum(core * (high - low + 1) / 2 / step, 1e-9)
    first = np.maximum(np.ceil(centre - half), 0).astype(np.int64)
    last = np.minimum(np.floor(centre + half), np.asarray(shape) - 1).astype(np.int64)
    middle = np.clip(np.rint(centre), low // step, high // step).astype(np.int64)
    axes = [np.arange(min(a, m), max(b, m) + 1) for a, b, m in zip(first, last, middle, strict=True)]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = (((voxels - centre) / half) ** 2).sum(axis=1) <= 1
    inside |= (voxels == middle).all(axis=1)
    return voxels[inside]


def draw(
    interactions: Sequence[Interaction],
    shape: Triple,
    spacing: Sequence[float],
    radius: float,
    core: float = 0.5,
    step: Triple = (1, 1, 1),
) -> Drawn:
    """Convert interactions to seeds.

    * A click becomes a ball. All voxels of a scribble become seeds. Of a lasso the voxels become seeds whose depth is
      at least half of the largest depth, because the border of a lasso may lie outside the object.
    * Where balls overlap, a voxel gets the label of the nearest click, and at equal distance that of the later click.
      The voxels of a scribble have distance 0. So clicks and scribbles always label their own voxels, unless a later
      one lies at the same place.
    * Clicks and scribbles have priority over lassos, and later lassos over earlier ones.
    * The ellipsoid with `core` times the size of the latest box is object (an ellipse if the box has one slice only).
      It is a guess: all other seeds have priority. It is not drawn if a negative seed lies in it and there is a
      positive interaction.

    Parameters
    ----------
    interactions : sequence of Interaction
        Interactions in voxels of the original volume, oldest first.
    shape : three int
        Shape of the grid on which seeds are drawn.
    spacing : three float
        Size of a voxel of the grid along each axis, in mm.
    radius : float
        Radius of the balls in mm. The voxel of the click is a seed at any radius.
    core : float
        Size of the ellipsoid relative to the box, from 0 (only the centre voxel) to 1.
    step : three int
        Number of original voxels in one voxel of the grid, along each axis.

    Returns
    -------
    at : (n,) int64 array
        Flat indices of the seeds in the grid, ascending.
    label : (n,) int8 array
        Label of each seed, `OBJECT` or `BACKGROUND`.
    """
    by = np.asarray(step)
    moves, lengths = _ball(cast(Spacing, tuple(spacing)), radius)
    voxels: list[NDArray[np.int64]] = []
    labels: list[int] = []
    distances: list[NDArray[np.float64]] = []
    for one in interactions:
        if isinstance(one, Click):
            where = moves + np.asarray(one.point) // by
            valid = ((where >= 0) & (where < shape)).all(axis=1)
            where, distance = where[valid], lengths[valid]
        elif isinstance(one, Scribble):
            where = np.unique(one.points // by, axis=0) if max(step) > 1 else one.points
            distance = np.zeros(len(where))
        elif isinstance(one, Lasso):
            own = [s / k for s, k in zip(spacing, step, strict=True)]
            where = np.unique(_core_of_lasso(one, own) // by, axis=0)
            distance = np.full(len(where), radius + 1)
        else:
            continue
        voxels.append(where)
        distances.append(distance)
        labels.append(OBJECT if one.positive else BACKGROUND)
    boxes = [i for i in interactions if isinstance(i, Box)]
    if boxes:
        guess = _core_of_box(boxes[-1], shape, step, core)
        denied = [
            np.ravel_multi_index(tuple(v.T), shape) for v, k in zip(voxels, labels, strict=True) if k == BACKGROUND
        ]
        wrong = bool(denied) and np.isin(np.ravel_multi_index(tuple(guess.T), shape), np.concatenate(denied)).any()
        if not wrong or OBJECT not in labels:
            voxels.insert(0, guess)
            distances.insert(0, np.full(len(guess), radius + 2))
            labels.insert(0, OBJECT)
    if not voxels:
        return np.zeros(0, np.int64), np.zeros(0, np.int8)
    flat = np.ravel_multi_index(tuple(np.concatenate(voxels).T), shape)
    rank = np.repeat(np.arange(len(voxels)), [len(v) for v in voxels])
    order = np.lexsort((rank, -np.concatenate(distances), flat))
    flat, rank = flat[order], rank[order]
    last = np.append(
        flat[1:] != flat[:-1], True
    )  # the last entry of a voxel is its nearest seed, at equal distance the latest
    return flat[last].astype(np.int64), np.asarray(labels, np.int8)[rank[last]]


def implied_background(
    interactions: Sequence[Interaction], working: WorkingVolume, frame: str, reach: float
) -> NDArray[np.bool_]:
    """Return the voxels of the working volume that are background by a rule, (z, y, x) bool.

    * The frame: the outermost voxels along every axis with at least five voxels; `frame` as in `VolumeModel`.
    * All voxels outside the latest box that has several slices along every axis.
    * For boxes of a single slice: all voxels of that slice outside its latest box, and all voxels whose distance from
      every such box is larger than `reach` times the longest side (in mm) of that box.
    """
    shape, full = working.shape, working.full
    boxes = [i for i in interactions if isinstance(i, Box)]
    negative = any(not i.positive for i in interactions)
    background = np.zeros(shape, bool)
    if frame == "always" or (frame == "auto" and not negative and not boxes):
        for axis in range(3):
            if shape[axis] >= 5:
                ends = np.moveaxis(background, axis, 0)
                ends[0] = ends[-1] = True
    solid = [box for box in boxes if flat_axis(box, full) is None]
    if solid:
        window = _window(solid[-1], working.step)
        inside = background[window].copy()
        background[:] = True
        background[window] = inside
    beyond: NDArray[np.bool_] | None = None
    for axis, box in _slices(boxes, full):
        low, high = (np.asarray(c) // working.step for c in (box.low, box.high))
        longest = max((b - a + 1) * s for a, b, s in zip(low, high, working.spacing, strict=True))
        gaps = [
            (np.maximum(0, np.maximum(a - np.arange(n), np.arange(n) - b)) * s) ** 2
            for a, b, n, s in zip(low, high, shape, working.spacing, strict=True)
        ]
        far = gaps[0][:, None, None] + gaps[1][:, None] + gaps[2] > (reach * longest) ** 2
        beyond = far if beyond is None else beyond & far
        plane = np.moveaxis(background, axis, 0)[low[axis]]
        window = tuple(w for a, w in enumerate(_window(box, working.step)) if a != axis)
        inside = plane[window].copy()
        plane[:] = True
        plane[window] = inside
    if beyond is not None:
        background |= beyond
    return background


def _window(box: Box, step: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a // k, b // k + 1) for a, b, k in zip(box.low, box.high, step, strict=True))


def _slices(boxes: Sequence[Box], full: Sequence[int]) -> list[tuple[int, Box]]:
    """Return (slice axis, latest box) of every slice that has a box of its own."""
    latest: dict[tuple[int, int], Box] = {}
    for box in boxes:
        axis = flat_axis(box, full)
        if axis is not None:
            latest[axis, box.low[axis]] = box
    return [(axis, box) for (axis, _), box in latest.items()]


def clear_outside(probability: Probability, boxes: Sequence[Box]) -> None:
    """Set the probability outside of boxes to 0, in place.

    This concerns the voxels outside the latest box with several slices, and in every slice with a box of its own the
    voxels outside this box.
    """
    solid = [box for box in boxes if flat_axis(box, probability.shape) is None]
    views = [(probability, _window(solid[-1], (1, 1, 1)))] if solid else []
    for axis, box in _slices(boxes, probability.shape):
        window = tuple(w for a, w in enumerate(_window(box, (1, 1, 1))) if a != axis)
        views.append((np.moveaxis(probability, axis, 0)[box.low[axis]], window))
    for view, window in views:
        inside = view[window].copy()
        view[:] = 0
        view[window] = inside


def enforce_seeds(
    probability: Probability, at: NDArray[np.int64], label: SeedMap, connected: bool
) -> tuple[Mask, Probability]:
    """Make a result of full size agree with the seeds.

    1. Every seed gets its label: probability 1 or 0.
    2. If `connected`, object parts (connected by faces, probability > .5) without an object seed are removed: their
       probability becomes .5, the highest value that does not count as object. Without an object seed no part is
       removed.

    Parameters
    ----------
    probability : (Z, Y, X) float32 array, C-contiguous
        Probabilities of the object; changed in place.
    at, label : (n,) arrays
        Seeds of the original volume as returned by `draw`.
    connected : bool
        Whether parts without an object seed are removed.

    Returns
    -------
    mask : (Z, Y, X) bool array
    probability : (Z, Y, X) float32 array
    """
    flat = probability.reshape(-1)
    flat[at] = label == OBJECT
    mask = probability > 0.5
    inside = at[label == OBJECT]
    if connected and inside.size:
        from scipy.ndimage import label as number_parts

        spans = []
        for axis in range(3):
            hits = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
            spans.append((int(hits[0]), int(hits[-1]) + 1))
        window = tuple(slice(a, b) for a, b in spans)
        crop = mask[window]
        parts, count = number_parts(crop)
        keep = np.zeros(count + 1, bool)
        points = np.stack(np.unravel_index(inside, mask.shape)) - np.asarray([[a] for a, _ in spans])
        keep[parts[tuple(points)]] = True
        keep[0] = False
        kept = keep[parts]
        np.putmask(probability[window], crop & ~kept, np.float32(0.5))
        mask[window] = kept
    return mask, probability
