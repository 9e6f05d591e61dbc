"""Errors of a volume: which voxels are wrong, the largest connected piece of them, and how deep it is.

Everything works on crops: the truth and the prediction are only looked at inside the window that holds both, and a
piece only inside its own.

>>> error = np.zeros((1, 7, 7), bool); error[0, 1:6, 1:6] = True
>>> piece = largest_component(error)
>>> depth, voxels = deepest(piece.mask, spacing=(9.0, 1.0, 1.0))
>>> piece.low, depth, voxels.tolist()
((0, 1, 1), 9.0, [12])
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rclicks.interaction import Click
from rclicks.metrics.depth import deepest
from rclicks.metrics.target import TargetReference, bounding_box, widen
from rclicks.sample import Mask

__all__ = [
    "Component",
    "Errors",
    "challenge_click",
    "corrected_click",
    "errors_of",
    "label",
    "largest_component",
    "largest_error",
]

Point = tuple[int, ...]

PUBLISHED_SEED = 42  # the challenge reseeds NumPy's global generator with it before each click
PUBLISHED_LIMIT = 60_000_000  # voxels of the padded crop above which the challenge halves its resolution
CC3D = {1: 6, 2: 18, 3: 26}  # reach -> its name of a neighbourhood of a voxel
CHUNK = 1 << 22  # labels counted at a time


@dataclass(frozen=True, eq=False)
class Component:
    """A connected piece of a mask.

    Attributes
    ----------
    low : tuple of int
        First index of the crop in the array that the piece was found in.
    mask : bool array
        The piece, cropped to its bounding box; contiguous, its own memory.
    positive : bool
        True if it is a piece of what was missed, False if of what is wrongly there.
    """

    low: Point
    mask: Mask
    positive: bool = True

    @cached_property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.count_nonzero(self.mask))


@dataclass(frozen=True, eq=False)
class Errors:
    """The error voxels inside the window that holds truth and prediction; ignored voxels are none of them.

    Attributes
    ----------
    low : tuple of int
        First index of the window in the whole array.
    error : bool array
    truth : bool array
        The truth in the window, which tells missed voxels from wrong ones.
    """

    low: Point
    error: Mask
    truth: Mask

    @property
    def false_negatives(self) -> Mask:
        """Truth that is not predicted (a new array)."""
        return self.error & self.truth

    @property
    def false_positives(self) -> Mask:
        """Prediction that is not true (a new array)."""
        return self.error & ~self.truth

    @property
    def any(self) -> bool:
        """True if there is an error voxel."""
        return bool(self.error.any())

    def without(self, points: Iterable[Point]) -> Errors:
        """Return the errors less single voxels, given as indices of the whole array."""
        inside = [p for p in (tuple(np.subtract(q, self.low)) for q in points) if _within(p, self.error.shape)]
        if not inside:
            return self
        error = self.error.copy()
        error[tuple(np.array(inside).T)] = False
        return Errors(self.low, error, self.truth)


def errors_of(reference: TargetReference, prediction: Mask) -> Errors | None:
    """Return the errors of a prediction, or None if there are none."""
    window = widen(reference.window, bounding_box(prediction))
    if window is None:
        return None
    truth = reference.mask[window]
    error = truth ^ prediction[window]
    if reference.ignore is not None:
        error &= ~reference.ignore[window]
    found = Errors(tuple(side.start for side in window), error, truth)
    return found if found.any else None


def label(
    mask: Mask, reach: int | None = None, library: Literal["cc3d", "scipy"] | None = None
) -> tuple[NDArray[Any], int]:
    """Return (labels, number of labels) of the connected pieces of a 2-D or 3-D mask.

    Parameters
    ----------
    mask : bool array
    reach : int or None
        How many axes neighbours may differ in: 1 for faces (6 neighbours in a volume), 2 for edges (18), 3 for
        corners (26); None for all of them.
    library : {"cc3d", "scipy"} or None
        What labels a volume; None takes cc3d (connected-components-3d), which is faster and smaller, if it is
        installed. Both give the same numbers: pieces are counted in the order of their first voxel in C order. Images
        and volumes with a side of 1 are left to SciPy: cc3d 4.1.1 counts the pieces of images in another order, and
        fails on some images and on some lines of voxels.
    """
    mask = np.ascontiguousarray(mask)
    reach = mask.ndim if reach is None else reach
    if mask.size == 0:
        return np.zeros(mask.shape, np.int32), 0
    if library is None:
        library = "cc3d" if importlib.util.find_spec("cc3d") is not None else "scipy"
    if library == "cc3d" and mask.ndim == 3 and min(mask.shape) > 1:
        cc3d: Any = importlib.import_module("cc3d")  # by name: type checkers need not have it
        return cc3d.connected_components(mask, connectivity=CC3D[reach], return_N=True)
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, reach))
    return labels, int(count)


def largest_component(
    mask: Mask, reach: int | None = None, library: Literal["cc3d", "scipy"] | None = None
) -> Component | None:
    """Return the connected piece with most voxels; of equals the one whose first voxel comes first in C order.

    That is what ``bincount(labels).argmax()`` picks, with the labels of cc3d as well as with those of SciPy. `low` is
    an index of `mask`. None if the mask is empty. See `label` for the other parameters.
    """
    window = bounding_box(mask)
    if window is None:
        return None
    labels, count = label(mask[window], reach, library)
    flat = labels.reshape(-1)
    sizes = np.zeros(count + 1, np.int64)
    step = max(CHUNK, count)  # bincount makes 8-byte numbers of what it counts
    for start in range(0, flat.size, step):
        sizes += np.bincount(flat[start : start + step], minlength=count + 1)
    sizes[0] = 0
    piece = labels == sizes.argmax()
    del labels, flat
    inner = bounding_box(piece)
    assert inner is not None  # noqa: S101 - a label has a voxel
    low = tuple(a.start + b.start for a, b in zip(window, inner, strict=True))
    return Component(low, piece[inner].copy())


def largest_error(errors: Errors, reach: int | None = None) -> Component | None:
    """Return the largest piece of missed or of wrong voxels, with its sign and its place in the whole array.

    Missed and wrong voxels that touch are two pieces. Of equals the missed one is taken. All voxels of a volume have
    one size, so that the most voxels are the most cubic millimetres as well.
    """
    false_negatives = largest_component(errors.false_negatives, reach)
    size = 0 if false_negatives is None else false_negatives.size
    # A mask with no more voxels than the piece found already cannot have a larger one.
    false_positives = (
        largest_component(errors.false_positives, reach) if np.count_nonzero(errors.false_positives) > size else None
    )
    best = false_positives if false_positives is not None and false_positives.size > size else false_negatives
    if best is None:
        return None
    low = tuple(a + b for a, b in zip(best.low, errors.low, strict=True))
    return Component(low, best.mask, positive=best is false_negatives)


def challenge_click(errors: Errors, limit: int = PUBLISHED_LIMIT) -> Click | None:
    """Return the click of the CVPR 2025 MedSegFM challenge, with its flaws.

    Missed and wrong voxels that touch are one piece, distances are in voxels, and among the deepest voxels of the
    largest piece (26 neighbours) one is drawn with the seed 42. The same errors give the same click, even if that was
    placed before.

    Parameters
    ----------
    errors : Errors
    limit : int
        Largest crop, with a margin of a quarter, that is not halved in resolution.

    Source: JunMa11/CVPR-MedSegFMCompetition, CVPR25_iter_eval.py (2025).
    """
    piece = largest_component(errors.error)
    if piece is None:
        return None
    margin = [max(int(n * 0.25), 1) for n in piece.mask.shape]
    if math.prod(n + 2 * m for n, m in zip(piece.mask.shape, margin, strict=True)) > limit:
        candidates = np.flatnonzero(_deepest_blocks(piece.mask, margin))
    else:
        _, candidates = deepest(piece.mask)
    chosen = candidates[np.random.RandomState(PUBLISHED_SEED).choice(len(candidates))]  # the published generator
    return _click_at(int(chosen), piece, errors)


def _deepest_blocks(mask: Mask, margin: Sequence[int]) -> Mask:
    """Return the voxels of `mask` in the 2 x 2 x 2 blocks of its framed crop that lie deepest among such blocks.

    A block counts if any of its voxels does. With a margin of one voxel the first blocks reach into the mask, and the
    array's end is no outside then: as published.
    """
    framed = np.pad(mask, [(m, m + (n % 2)) for n, m in zip(mask.shape, margin, strict=True)])
    blocks = np.zeros(tuple(n // 2 for n in framed.shape), bool)
    for corner in np.ndindex(*(2,) * mask.ndim):
        blocks |= framed[tuple(slice(c, None, 2) for c in corner)]
    depth = ndimage.distance_transform_edt(blocks)
    chosen = depth == depth.max()
    for axis in range(mask.ndim):
        chosen = chosen.repeat(2, axis=axis)
    inner = tuple(slice(m, m + n) for n, m in zip(mask.shape, margin, strict=True))
    return np.asarray(chosen[inner] & mask)


def corrected_click(
    errors: Errors, spacing: Sequence[float], clicked: Sequence[Point] = (), reach: int | None = None
) -> Click | None:
    """Return the click in the middle of the largest error; None if all error voxels were clicked.

    Missed and wrong voxels are separate pieces, distances are in mm, and of the deepest voxels the first in C order is
    taken. A voxel clicked before, of either sign, cannot be chosen: the next deepest is, or the next largest piece.
    """
    while True:
        piece = largest_error(errors, reach)
        if piece is None:
            return None
        _, voxels = deepest(piece.mask, spacing, [tuple(np.subtract(p, piece.low)) for p in clicked])
        if len(voxels):
            return _click_at(int(voxels[0]), piece, None)
        errors = errors.without(np.argwhere(piece.mask) + np.array(piece.low))


def _click_at(flat: int, piece: Component, errors: Errors | None) -> Click:
    """Return the click at a flat index of a piece; if `errors` are given, the piece lies in their window."""
    inside = tuple(int(i) for i in np.unravel_index(flat, piece.mask.shape))
    point = tuple(a + b for a, b in zip(inside, piece.low, strict=True))
    if errors is None:
        return Click(point, piece.positive)
    return Click(tuple(a + b for a, b in zip(point, errors.low, strict=True)), bool(errors.truth[point]))


def _within(point: Sequence[int], shape: Sequence[int]) -> bool:
    return all(0 <= i < n for i, n in zip(point, shape, strict=True))
