"""What the classical, weight-free 3-D models share: the counterpart of `rclicks.models.seeded.image` for volumes.

`embed` makes a *canvas*, the volume with grey values in 0..1 and, if it has more voxels than a budget, averaged over
blocks. `segment` draws the interactions as seeds on the canvas, lets the method label it, enlarges the answer and
tidies it. A method says only how seeds become probabilities, in `VolumeModel.solve`.

All lengths are mm, all coordinates (z, row, column).

>>> at, label = draw([Click((0, 2, 2))], (1, 5, 5), (1.0, 1.0, 2.0), radius=1)
>>> at.tolist(), label.tolist()
([7, 12, 17], [1, 1, 1])
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.errors import DataError, PluginError
from rclicks.interaction import Box, Click, Interaction, Lasso, Scribble, check_inside
from rclicks.models.contract import State
from rclicks.models.seeded.base import Classical
from rclicks.options import Choice, Number
from rclicks.sample import Mask, Sample

__all__ = [
    "ASSUMED",
    "BACKGROUND",
    "INTENSITY_OPTIONS",
    "OBJECT",
    "VOLUME_OPTIONS",
    "IntensityModel",
    "Links",
    "Seeds",
    "VolumeCanvas",
    "VolumeModel",
    "assume",
    "bins_of",
    "draw",
    "enlarge",
    "flat_axis",
    "require_simpleitk",
    "tidy",
]

OBJECT, BACKGROUND, ASSUMED = 1, -1, -2  # ASSUMED: background by convention (frame, outside of a box), not drawn

Seeds = NDArray[np.int8]
Probability = NDArray[np.float32]
Triple = tuple[int, int, int]
Spacing = tuple[float, float, float]
Drawn = tuple[NDArray[np.int64], Seeds]


@dataclass(frozen=True, eq=False)
class VolumeCanvas:
    """A volume at the resolution a method works at.

    Attributes
    ----------
    full : tuple of int
        (Z, Y, X) of the original volume.
    step : tuple of int
        Original voxels that make up one canvas voxel, along each axis.
    spacing : tuple of float
        Size of a canvas voxel in mm.
    values : (z, y, x) float32 array
        Block means, stretched linearly so that the 0.5th and 99.5th percentile become 0 and 1, and clipped; zeros if
        they are equal.
    extra : object
        What else the method computes from the volume alone.
    """

    full: Triple
    step: Triple
    spacing: Spacing
    values: NDArray[np.float32]
    extra: Any = None

    @property
    def shape(self) -> Triple:
        """Shape of the canvas."""
        return cast(Triple, self.values.shape)

    @classmethod
    def of(cls, sample: Sample, voxels: int) -> VolumeCanvas:
        """Average `sample.image`, (Z, Y, X) of any real type, over blocks until at most about `voxels` are left.

        The axis with the smallest voxel side is shortened first, so that the canvas gets more isotropic. Without
        averaging the canvas has the volume's own voxels. The image is read slice by slice and never written to.

        Raises
        ------
        DataError
            If the image is no volume of real numbers, has another number of spacings, or holds NaN or infinity.
        """
        image = sample.image
        if image.ndim != 3 or image.size == 0 or image.dtype.kind not in "iuf" or len(sample.spacing) != 3:
            raise DataError(
                f"{sample.dataset} {sample.id}: 3-D models need a (Z, Y, X) volume of real grey values with three "
                f"spacings, not {image.dtype} of shape {image.shape} with spacing {sample.spacing}; "
                "give images with colours or without depth to a 2-D model"
            )
        full = cast(Triple, image.shape)
        step = steps_for(full, sample.spacing, voxels)
        values = _block_means(image, step)
        if not np.isfinite(values).all():
            raise DataError(
                f"{sample.dataset} {sample.id}: the volume holds NaN or infinity; replace them in the data set"
            )
        low, high = np.percentile(values, (0.5, 99.5))
        if high > low:
            values -= np.float32(low)
            values *= np.float32(1 / (high - low))
            np.clip(values, 0, 1, out=values)
        else:
            values[:] = 0
        spacing = cast(Spacing, tuple(float(s) * k for s, k in zip(sample.spacing, step, strict=True)))
        return cls(full, step, spacing, values)


def steps_for(shape: Sequence[int], spacing: Sequence[float], voxels: int) -> Triple:
    """Return the block size along each axis that leaves about `voxels` voxels or fewer.

    >>> steps_for((26, 166, 164), (5, 0.8, 0.8), 400_000)
    (1, 1, 2)
    """
    step = [1, 1, 1]
    while math.prod(-(-n // k) for n, k in zip(shape, step, strict=True)) > voxels:
        open_axes = [a for a in range(3) if step[a] < shape[a]]
        axis = min(open_axes, key=lambda a: (spacing[a] * step[a], -a))
        step[axis] += 1
    return step[0], step[1], step[2]


def _block_means(image: NDArray[np.generic], step: Triple) -> NDArray[np.float32]:
    """Return the means over blocks of `step` voxels (fewer at the far ends) as a new float32 array."""
    if step == (1, 1, 1):
        return image.astype(np.float32)
    starts = [np.arange(0, n, k) for n, k in zip(image.shape, step, strict=True)]
    counts = [np.diff(np.append(s, n)) for s, n in zip(starts, image.shape, strict=True)]
    means = np.empty([s.size for s in starts], np.float32)
    for plane, first, depth in zip(means, starts[0], counts[0], strict=True):
        total = image[first : first + depth].sum(axis=0, dtype=np.float64)
        total = np.add.reduceat(np.add.reduceat(total, starts[1], axis=0), starts[2], axis=1)
        plane[:] = total / (depth * np.multiply.outer(counts[1], counts[2]))
    return means


def enlarge(small: Probability, step: Triple, full: Triple) -> Probability:
    """Return a canvas array at the size of the volume, by linear interpolation between the blocks' centres.

    Made slice by slice, so that nothing of the volume's size is held beside the result.
    """
    if step == (1, 1, 1):
        return small
    low: list[NDArray[np.intp]] = []
    high: list[NDArray[np.intp]] = []
    share: list[NDArray[np.float32]] = []
    for k, n, have in zip(step, full, small.shape, strict=True):
        at = np.clip((np.arange(n) + 0.5) / k - 0.5, 0, have - 1)
        low.append(at.astype(np.intp))
        high.append(np.minimum(low[-1] + 1, have - 1))
        share.append((at - low[-1]).astype(np.float32))
    large = np.zeros(full, np.float32)
    for z in range(full[0]):
        plane = small[low[0][z]] + share[0][z] * (small[high[0][z]] - small[low[0][z]])
        if plane.any():
            plane = plane[low[1]] + share[1][:, None] * (plane[high[1]] - plane[low[1]])
            plane = plane[:, low[2]] + share[2] * (plane[:, high[2]] - plane[:, low[2]])
            large[z] = plane
    return large


def flat_axis(box: Box, shape: Sequence[int]) -> int | None:
    """Return the axis along which a box is the box of one slice; None for the box of a volume.

    >>> flat_axis(Box((4, 1, 1), (4, 9, 9)), (20, 20, 20))
    0
    """
    return next((a for a in range(3) if box.low[a] == box.high[a] and shape[a] > 1), None)


@lru_cache(maxsize=64)
def _ball(spacing: Spacing, radius: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the (n, 3) steps from a voxel to those within `radius` mm, itself included, and their distances in mm."""
    reach = [int(radius / s) for s in spacing]
    axes = [np.arange(-r, r + 1, dtype=np.int64) for r in reach]
    moves = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.sqrt(np.square(moves * spacing).sum(axis=1))
    near = distance <= radius
    return moves[near], distance[near]


def _core_of_lasso(lasso: Lasso, spacing: Sequence[float]) -> NDArray[np.int64]:
    """Return the voxels of a lasso that lie at least half as deep in it as its deepest voxel."""
    from scipy.ndimage import distance_transform_edt

    flat = [n == 1 for n in lasso.mask.shape]
    framed = np.pad(lasso.mask, [(0, 0) if f else (1, 1) for f in flat])
    depth = distance_transform_edt(framed, sampling=spacing)
    depth = depth[tuple(slice(None) if f else slice(1, -1) for f in flat)]
    if all(flat):
        depth = lasso.mask
    return np.argwhere(depth >= depth.max() / 2) + np.asarray(lasso.low)


def _core_of_box(box: Box, shape: Triple, step: Triple, core: float) -> NDArray[np.int64]:
    """Return the voxels of the ellipsoid around a box's centre whose axes are `core` times the box's."""
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
    """Turn interactions into seeds.

    * A click is a ball; all voxels of a scribble are seeds; of a lasso those at least half as deep in it as its
      deepest voxel, as its rim may reach beyond the object.
    * Where balls overlap, a voxel goes to the nearest click and, at equal distance, to the later one; a scribble's
      voxels are at distance 0. So clicks and scribbles always label their own voxels, unless a later one lies there.
    * Lassos give way to clicks and scribbles, and later ones win over earlier ones.
    * The ellipsoid of `core` times the axes of the latest box (an ellipse in its slice if it is flat) is object. This
      guess gives way to all else, and is dropped once something negative reaches into it beside something positive.

    Parameters
    ----------
    interactions : sequence of Interaction
        In voxels of the whole volume, oldest first.
    shape, spacing : three int, three float
        The grid to draw on and the size of its voxels in mm.
    radius : float
        Of the balls, in mm; the click's own voxel is a seed whatever the radius.
    core : float
        From 0 (the centre voxel alone) to 1.
    step : three int
        Voxels of the volume in one of the grid.

    Returns
    -------
    at : (n,) int64 array
        Flat indices of the seeds, ascending.
    label : (n,) int8 array
        `OBJECT` or `BACKGROUND`.
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
    last = np.append(flat[1:] != flat[:-1], True)  # of each voxel the nearest, then the latest
    return flat[last].astype(np.int64), np.asarray(labels, np.int8)[rank[last]]


def assume(interactions: Sequence[Interaction], canvas: VolumeCanvas, frame: str, reach: float) -> NDArray[np.bool_]:
    """Return where the canvas is background by convention.

    * The frame: the outermost voxels, but for axes of fewer than five voxels; ``frame`` as in `VolumeModel`.
    * Outside of the latest box of a volume.
    * In the slice of a slice's box, outside of the (latest) box; and wherever the distance from every such box exceeds
      `reach` times the box's own longest side, in mm.
    """
    shape, full = canvas.shape, canvas.full
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
        window = _window(solid[-1], canvas.step)
        inside = background[window].copy()
        background[:] = True
        background[window] = inside
    beyond: NDArray[np.bool_] | None = None
    for axis, box in _slices(boxes, full):
        low, high = (np.asarray(c) // canvas.step for c in (box.low, box.high))
        longest = max((b - a + 1) * s for a, b, s in zip(low, high, canvas.spacing, strict=True))
        gaps = [
            (np.maximum(0, np.maximum(a - np.arange(n), np.arange(n) - b)) * s) ** 2
            for a, b, n, s in zip(low, high, shape, canvas.spacing, strict=True)
        ]
        far = gaps[0][:, None, None] + gaps[1][:, None] + gaps[2] > (reach * longest) ** 2
        beyond = far if beyond is None else beyond & far
        plane = np.moveaxis(background, axis, 0)[low[axis]]
        window = tuple(w for a, w in enumerate(_window(box, canvas.step)) if a != axis)
        inside = plane[window].copy()
        plane[:] = True
        plane[window] = inside
    if beyond is not None:
        background |= beyond
    return background


def _window(box: Box, step: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(a // k, b // k + 1) for a, b, k in zip(box.low, box.high, step, strict=True))


def _slices(boxes: Sequence[Box], full: Sequence[int]) -> list[tuple[int, Box]]:
    """Return the latest box of every slice that has one, with the axis across the slice."""
    latest: dict[tuple[int, int], Box] = {}
    for box in boxes:
        axis = flat_axis(box, full)
        if axis is not None:
            latest[axis, box.low[axis]] = box
    return [(axis, box) for (axis, _), box in latest.items()]


def _clear_outside(probability: Probability, boxes: Sequence[Box]) -> None:
    """Set to 0, in place, what lies outside of the latest box, and outside of a slice's box in its slice."""
    solid = [box for box in boxes if flat_axis(box, probability.shape) is None]
    views = [(probability, _window(solid[-1], (1, 1, 1)))] if solid else []
    for axis, box in _slices(boxes, probability.shape):
        window = tuple(w for a, w in enumerate(_window(box, (1, 1, 1))) if a != axis)
        views.append((np.moveaxis(probability, axis, 0)[box.low[axis]], window))
    for view, window in views:
        inside = view[window].copy()
        view[:] = 0
        view[window] = inside


def tidy(probability: Probability, at: NDArray[np.int64], label: Seeds, connected: bool) -> tuple[Mask, Probability]:
    """Make a full-size answer obey the seeds.

    1. Every seed gets its label, probability 1 or 0.
    2. If `connected`, object parts (joined by faces, probability > .5) without an object seed are dropped: their
       probability becomes .5, the most that does not count as object. Without an object seed nothing is dropped.

    Parameters
    ----------
    probability : (Z, Y, X) float32 array, C-contiguous
        Changed in place.
    at, label : (n,) arrays
        See `draw`.
    connected : bool

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


@dataclass(frozen=True, eq=False)
class IntensityModel:
    """Grey-value densities of the two labels: smoothed histograms of the seeds, a fast form of Parzen windows.

    Attributes
    ----------
    share : (n,) float32 array
        P(object | bin) at equal priors.
    """

    share: NDArray[np.float32]

    @classmethod
    def learn(cls, bins: NDArray[np.uint8], count: int, seeds: Seeds, width: float, floor: float) -> IntensityModel:
        """Learn from seeds.

        Parameters
        ----------
        bins : uint8 array
            Bin of every voxel, below `count`; see `bins_of`.
        count : int
        seeds : int8 array of the same shape
            The background's density is the mean of that of drawn and that of assumed seeds, as the many assumed ones
            would drown the drawn ones.
        width : float
            Standard deviation of the smoothing, as a share of the grey range.
        floor : float
            Share of the uniform density mixed into both, so that an unseen grey value speaks for neither.
        """
        from scipy.ndimage import gaussian_filter1d

        uniform = np.full(count, 1 / count)
        densities: dict[int, NDArray[np.float64]] = {}
        for label in (OBJECT, BACKGROUND, ASSUMED):
            density = np.bincount(bins[seeds == label], minlength=count).astype(np.float64)
            if density.any():
                density /= density.sum()
                if width * count > 0.1:  # a narrower kernel is a single bin
                    density = gaussian_filter1d(density, width * count, mode="reflect", truncate=4.0)
                densities[label] = density * (1 - floor) + floor * uniform
        outside = [densities[k] for k in (BACKGROUND, ASSUMED) if k in densities] or [uniform]
        inside = densities.get(OBJECT, uniform)
        return cls((inside / (inside + np.mean(outside, axis=0))).astype(np.float32))

    def probability(self, bins: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return P(object | grey value) of every voxel."""
        return self.share[bins]


def bins_of(values: NDArray[np.float32], count: int) -> NDArray[np.uint8]:
    """Return the bin (of `count` of equal width, at most 256) of every grey value of a canvas (0..1)."""
    return np.minimum(values * np.float32(count), count - 1).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Links:
    """The graph of a grid's neighbours in compressed rows, both directions of every link.

    Attributes
    ----------
    first : (m,) int32 array
        Voxel (flat index) at which link k starts; ascending.
    second : (m,) int32 array
        Where it ends; ascending for each `first`.
    starts : (n + 1,) int32 array
        Row pointers.
    length : (m,) float32 array
        Distance of the two voxels' centres in mm.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    starts: NDArray[np.int32]
    length: NDArray[np.float32]

    @classmethod
    def of(cls, shape: Triple, spacing: Sequence[float], neighbours: int = 6) -> Links:
        """Link every voxel to those it shares a face (6), a face or an edge (18), or also a corner (26) with."""
        moves = [
            (z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (0, 0, 0)
        ]  # in ascending order of the flat index they lead to
        apart = {6: 1, 18: 2, 26: 3}[neighbours]
        moves = [m for m in moves if sum(map(abs, m)) <= apart]
        size = math.prod(shape)
        index = np.arange(size, dtype=np.int32).reshape(shape)
        target = np.full((*shape, len(moves)), -1, np.int32)
        for k, move in enumerate(moves):
            here = tuple(slice(max(0, -m), n - max(0, m)) for m, n in zip(move, shape, strict=True))
            there = tuple(slice(max(0, m), n - max(0, -m)) for m, n in zip(move, shape, strict=True))
            target[..., k][here] = index[there]
        rows = target.reshape(size, len(moves))
        valid = rows >= 0
        starts = np.concatenate([[0], np.cumsum(valid.sum(axis=1))]).astype(np.int32)
        lengths = [math.hypot(*(m * s for m, s in zip(move, spacing, strict=True))) for move in moves]
        row, column = np.nonzero(valid)
        return cls(row.astype(np.int32), rows[valid], starts, np.asarray(lengths, np.float32)[column])


VOLUME_OPTIONS: dict[str, Number | Choice] = {
    "voxels": Number(450_000, 1000, 1e8, whole=True),
    "radius": Number(2.0, 0, 100),
    "frame": Choice("always", ("auto", "always", "never")),
    "connected": Choice(True, (True, False)),
    "core": Number(0.5, 0, 1),
    "reach": Number(1.0, 0, 100),
}
INTENSITY_OPTIONS: dict[str, Number | Choice] = {
    "bins": Number(128, 4, 256, whole=True),
    "width": Number(0.05, 0, 1),
    "floor": Number(0.1, 1e-6, 1),
}


class VolumeModel(Classical):
    """Base of the classical 3-D models: seeds in, probabilities out.

    Conventions shared by all:

    * Work is done on a canvas of at most about `voxels` voxels (`VolumeCanvas`), probabilities are enlarged linearly.
    * Interactions become seeds by the rules of `draw`: balls of `radius` mm around clicks, scribbles, the inner parts
      of lassos, and the `core` of the latest box.
    * ``frame`` says whether the outermost voxels of the volume are background seeds: "always" (the default), "auto" as
      long as there is neither a box nor anything negative, or "never". `assume` has the rules for boxes; `reach` says
      how far an object may extend from a slice's box. Drawn seeds overrule all of this.
    * Without anything positive or a box the answer is the empty mask with probability 0 everywhere.
    * ``connected`` drops parts that hold no object seed (`tidy`).

    Attributes
    ----------
    OPTIONS : dict
        The options that the model takes, with defaults and bounds.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = VOLUME_OPTIONS

    def embed(self, sample: Sample) -> VolumeCanvas:
        """Make the canvas and do what depends on the volume alone."""
        canvas = VolumeCanvas.of(sample, self.options["voxels"])
        return replace(canvas, extra=self.prepare(canvas))

    def prepare(self, canvas: VolumeCanvas) -> Any:
        """Return the method's own volume-only work; nothing by default."""
        return None

    @abstractmethod
    def solve(self, canvas: VolumeCanvas, seeds: Seeds, state: State) -> tuple[NDArray[np.floating[Any]], Any]:
        """Return P(object) of every canvas voxel, given `seeds` with at least one `OBJECT`, and the next memory.

        The memory may save work but must not change the answer.
        """

    def segment(self, embedding: VolumeCanvas, states: Sequence[State]) -> list[State]:
        """Answer every state by itself.

        Raises
        ------
        ProtocolError
            If an interaction does not lie in the volume.
        """
        return [self._answer(embedding, state) for state in states]

    def _answer(self, canvas: VolumeCanvas, state: State) -> State:
        for interaction in state.interactions:
            check_inside(interaction, canvas.full)
        boxes = [i for i in state.interactions if isinstance(i, Box)]
        if not boxes and not any(i.positive for i in state.interactions):
            empty = np.zeros(canvas.full, np.float32)
            return replace(state, mask=np.zeros(canvas.full, bool), probability=empty, memory=None)
        drawn = self._drawn(canvas, state.interactions, canvas.step)
        seeds = self._seeds(canvas, state.interactions, drawn)
        answer, memory = self.solve(canvas, seeds, state)
        small = np.array(np.clip(answer, 0, 1), np.float32, order="C")
        small[seeds == OBJECT] = 1
        small[seeds < 0] = 0
        large = enlarge(small, canvas.step, canvas.full)
        _clear_outside(large, boxes)
        at, label = drawn if canvas.step == (1, 1, 1) else self._drawn(canvas, state.interactions, (1, 1, 1))
        mask, probability = tidy(large, at, label, self.options["connected"])
        return replace(state, mask=mask, probability=probability, memory=memory)

    def seeds(self, canvas: VolumeCanvas, interactions: Sequence[Interaction]) -> Seeds:
        """Draw the interactions on the canvas: `OBJECT`, `BACKGROUND`, `ASSUMED` background or 0."""
        return self._seeds(canvas, interactions, self._drawn(canvas, interactions, canvas.step))

    def assumed(self, canvas: VolumeCanvas, interactions: Sequence[Interaction]) -> NDArray[np.bool_]:
        """Return the canvas voxels that are background by convention."""
        return assume(interactions, canvas, self.options["frame"], self.options["reach"])

    def drawn_on(self, canvas: VolumeCanvas, interaction: Interaction) -> NDArray[np.bool_]:
        """Return the canvas voxels that are seeds of one interaction, were it alone."""
        on = np.zeros(canvas.shape, bool)
        on.reshape(-1)[self._drawn(canvas, (interaction,), canvas.step)[0]] = True
        return on

    def _seeds(self, canvas: VolumeCanvas, interactions: Sequence[Interaction], drawn: Drawn) -> Seeds:
        seeds = np.where(self.assumed(canvas, interactions), np.int8(ASSUMED), np.int8(0))
        at, label = drawn
        seeds.reshape(-1)[at] = label
        return seeds

    def _drawn(self, canvas: VolumeCanvas, interactions: Sequence[Interaction], step: Triple) -> Drawn:
        """Draw the interactions on the canvas, or (step 1) on the volume."""
        shape = canvas.shape if step == canvas.step else canvas.full
        spacing = tuple(s / k * own for s, k, own in zip(canvas.spacing, canvas.step, step, strict=True))
        return draw(interactions, shape, spacing, self.options["radius"], self.options["core"], step)


def require_simpleitk(card: ModelCard) -> None:
    """Ask for SimpleITK now, so that a run fails before it starts.

    Raises
    ------
    PluginError
        If it is not installed.
    """
    try:
        import SimpleITK  # noqa: F401
    except ImportError as error:
        raise PluginError(
            f"model {card.name} needs SimpleITK, which is not installed; "
            "install the extra: pip install 'rclicks[volumes]'"
        ) from error
