"""Error voxels of a volume, their largest connected component, and clicks at its deepest voxel.

To save memory and time, all functions work on crops: the reference mask and the prediction are cropped to the window
that contains both, and a component is cropped to its bounding box.

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

PUBLISHED_SEED = 42  # the challenge seeds NumPy's global generator with this number before each click
PUBLISHED_LIMIT = 60_000_000  # the challenge halves the resolution of a padded crop with more voxels
CC3D = {1: 6, 2: 18, 3: 26}  # reach -> number of neighbours of a voxel, as cc3d calls it
CHUNK = 1 << 22  # number of labels that are counted at a time, to limit memory


@dataclass(frozen=True, eq=False)
class Component:
    """A connected component of a mask.

    Attributes
    ----------
    low : tuple of int
        Index of the first voxel of the crop in the whole array.
    mask : bool array
        The component, cropped to its bounding box; a contiguous copy.
    positive : bool
        True for a component of false negatives, False for a component of false positives.
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
    """The error voxels inside the window that contains reference mask and prediction.

    Attributes
    ----------
    low : tuple of int
        Index of the first voxel of the window in the whole array.
    error : bool array
        True for error voxels. Ignored voxels are no errors.
    truth : bool array
        The reference mask in the window, which separates false negatives from false positives.
    """

    low: Point
    error: Mask
    truth: Mask

    @property
    def false_negatives(self) -> Mask:
        """Voxels of the reference mask that are not predicted; a new bool array."""
        return self.error & self.truth

    @property
    def false_positives(self) -> Mask:
        """Voxels of the prediction outside the reference mask; a new bool array."""
        return self.error & ~self.truth

    @property
    def any(self) -> bool:
        """True if there is an error voxel."""
        return bool(self.error.any())

    def without(self, points: Iterable[Point]) -> Errors:
        """Return the errors without some voxels, which are given as indices of the whole array."""
        inside = [p for p in (tuple(np.subtract(q, self.low)) for q in points) if _within(p, self.error.shape)]
        if not inside:
            return self
        error = self.error.copy()
        error[tuple(np.array(inside).T)] = False
        return Errors(self.low, error, self.truth)


def errors_of(reference: TargetReference, prediction: Mask) -> Errors | None:
    """Return the errors of a prediction, a bool array of the shape of the reference mask; None without errors."""
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
    """Return (labels, number of labels) of the connected components of a 2-D or 3-D mask.

    Parameters
    ----------
    mask : bool array
    reach : int or None
        Number of axes along which neighbours may differ: 1 for faces (6 neighbours in a volume), 2 for edges (18), 3
        for corners (26); None for all axes.
    library : {"cc3d", "scipy"} or None
        Library for volumes. None takes cc3d (connected-components-3d), which is faster and needs less memory, if it is
        installed. Both libraries give the same numbers: components are numbered in the order of their first voxel in C
        order. SciPy is always used for images and for volumes with a side of 1, because cc3d 4.1.1 numbers components
        of images in another order and fails for some images and some lines of voxels.

    Returns
    -------
    labels : integer array of the shape of `mask`
        0 outside the mask, 1..n for the components.
    n : int
    """
    mask = np.ascontiguousarray(mask)
    reach = mask.ndim if reach is None else reach
    if mask.size == 0:
        return np.zeros(mask.shape, np.int32), 0
    if library is None:
        library = "cc3d" if importlib.util.find_spec("cc3d") is not None else "scipy"
    if library == "cc3d" and mask.ndim == 3 and min(mask.shape) > 1:
        cc3d: Any = importlib.import_module("cc3d")  # imported by name, so that type checkers do not need the package
        return cc3d.connected_components(mask, connectivity=CC3D[reach], return_N=True)
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, reach))
    return labels, int(count)


def largest_component(
    mask: Mask, reach: int | None = None, library: Literal["cc3d", "scipy"] | None = None
) -> Component | None:
    """Return the connected component with most voxels; None if the mask is empty.

    Among components of equal size, the one whose first voxel comes first in C order is returned. This is also the
    result of ``bincount(labels).argmax()`` with the labels of cc3d or SciPy. `Component.low` is an index of `mask`. See
    `label` for the other parameters.
    """
    window = bounding_box(mask)
    if window is None:
        return None
    labels, count = label(mask[window], reach, library)
    flat = labels.reshape(-1)
    sizes = np.zeros(count + 1, np.int64)
    step = max(CHUNK, count)  # bincount converts its input to 8-byte integers
    for start in range(0, flat.size, step):
        sizes += np.bincount(flat[start : start + step], minlength=count + 1)
    sizes[0] = 0
    piece = labels == sizes.argmax()
    del labels, flat
    inner = bounding_box(piece)
    assert inner is not None  # noqa: S101 - every component has a voxel
    low = tuple(a.start + b.start for a, b in zip(window, inner, strict=True))
    return Component(low, piece[inner].copy())


def largest_error(errors: Errors, reach: int | None = None) -> Component | None:
    """Return the largest component of false negatives or false positives; None if there are no errors.

    False negatives and false positives that touch are two components. Among components of equal size, the one of false
    negatives is returned. All voxels of a volume have the same size, so the component with most voxels also has the
    largest volume in mm3. `Component.low` is an index of the whole array.
    """
    false_negatives = largest_component(errors.false_negatives, reach)
    size = 0 if false_negatives is None else false_negatives.size
    # A mask that has at most as many voxels as the component found so far cannot contain a larger one.
    false_positives = (
        largest_component(errors.false_positives, reach) if np.count_nonzero(errors.false_positives) > size else None
    )
    best = false_positives if false_positives is not None and false_positives.size > size else false_negatives
    if best is None:
        return None
    low = tuple(a + b for a, b in zip(best.low, errors.low, strict=True))
    return Component(low, best.mask, positive=best is false_negatives)


def challenge_click(errors: Errors, limit: int = PUBLISHED_LIMIT) -> Click | None:
    """Return the click of the CVPR 2025 MedSegFM challenge, with its flaws; None if there are no errors.

    False negatives and false positives that touch are one component. Distances are in voxels. One of the deepest voxels
    of the largest component (26 neighbours) is drawn with the seed 42. Equal errors give equal clicks, so a click may
    repeat an earlier one.

    Parameters
    ----------
    errors : Errors
    limit : int
        Number of voxels of the component's bounding box with a margin of a quarter of each side. The resolution of
        larger boxes is halved.

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
    """Return the voxels of `mask` that lie in its deepest 2 x 2 x 2 blocks, as a bool array.

    The mask is padded and divided into blocks. A block belongs to the object if any of its voxels does. With a margin
    of one voxel the first blocks contain voxels of the mask, and the region beyond the border of the array does not
    count as outside. The published code has the same flaw.
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

    False negatives and false positives form separate components. The click is on the deepest voxel of the largest
    component; of equal voxels the first in C order is taken. A voxel that was clicked before, with either sign, is
    skipped. If all voxels of a component were clicked, the next largest component is used.

    Parameters
    ----------
    errors : Errors
    spacing : (3,) sequence of float
        Size of a voxel in mm, in array order; distances are in mm.
    clicked : sequence of (z, row, column)
        Voxels of the whole array that were clicked before.
    reach : int or None
        See `label`.
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
    """Return the click at a flat index of a component. With `errors`, the component is relative to their window."""
    inside = tuple(int(i) for i in np.unravel_index(flat, piece.mask.shape))
    point = tuple(a + b for a, b in zip(inside, piece.low, strict=True))
    if errors is None:
        return Click(point, piece.positive)
    return Click(tuple(a + b for a, b in zip(point, errors.low, strict=True)), bool(errors.truth[point]))


def _within(point: Sequence[int], shape: Sequence[int]) -> bool:
    return all(0 <= i < n for i, n in zip(point, shape, strict=True))
