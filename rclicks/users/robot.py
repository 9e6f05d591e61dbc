"""The base rule: click the centre of the largest error (Sofiiuk et al., RITM, 2021; spec of f-BRS and RITM).

False negatives and false positives are two error masks. The exact Euclidean distance transform of each is computed; the
region outside the image counts as correct. The mask with the larger maximum decides the sign; if the maxima are equal,
the click is negative. The click is on the first pixel in row-major order that has this maximum and was not clicked
before.

In volumes the rule is the same with distances in mm (in voxels under the protocol rule ``distances: voxels``).

The exact transform is slow. In images, a fast chamfer transform (5 x 5, error below 2 %: Borgefors 1986) first selects
candidate pixels, and the exact transform is computed only around them. The result is bit-equal to the rule above.

>>> truth = np.zeros((9, 9), bool); truth[2:7, 2:7] = True
>>> next_click(TargetReference(truth), np.zeros((9, 9), bool))
Click(point=(4, 4), positive=True)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rclicks.cards import UserCard
from rclicks.interaction import Click, Interaction, clicks_of
from rclicks.metrics.depth import deepest
from rclicks.metrics.target import TargetReference, bounding_box, widen
from rclicks.protocol import Protocol
from rclicks.sample import Mask
from rclicks.users.contract import User, View

__all__ = ["CARDS", "Robot", "deepest_pixel", "deepest_voxel", "load", "next_click", "steps_of"]

CARDS = (
    UserCard(
        name="robot",
        summary="base rule: the centre of the largest error, deterministic",
        dims=(2, 3),
        source="Sofiiuk et al. 2021 (RITM); Xu et al. 2016",
        citation="Sofiiuk, Petrov, Konushin: Reviving iterative training with mask guidance, ICIP 2022",
    ),
)

Point = tuple[int, ...]

# The chamfer distance differs from the Euclidean distance by at most 2 %. This margin is larger, to be safe.
ROUGH_ERROR = 0.03


def deepest_pixel(error: Mask, clicked: Iterable[Point] = (), floor: int = 0) -> tuple[int, Point | None]:
    """Return (squared distance, pixel) of the deepest pixel of an error mask.

    The depth is the Euclidean distance in pixels to the nearest pixel outside the mask, so its square is an integer.
    The region outside the image counts as outside the mask. Of equally deep pixels the first in row-major order is
    returned.

    Parameters
    ----------
    error : (H, W) bool array
    clicked : iterable of (row, column)
        Pixels that must not be returned.
    floor : int
        Squared distance below which the pixel does not matter to the caller, which saves time.

    Returns
    -------
    int, (row, column) or None
        (0, None) if no pixel reaches a squared distance of max(1, `floor`).
    """
    window = bounding_box(error)
    if window is None:
        return 0, None
    top, left = window[0].start - 1, window[1].start - 1
    framed = cv2.copyMakeBorder(error[window].view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    rough = cv2.distanceTransform(framed, cv2.DIST_L2, 5)
    for row, column in clicked:
        if 0 <= row - top < rough.shape[0] and 0 <= column - left < rough.shape[1]:
            rough[row - top, column - left] = 0
    peak = float(rough.max())
    if peak == 0 or (peak * (1 + ROUGH_ERROR)) ** 2 < floor:
        return 0, None
    candidates = rough >= peak * (1 - ROUGH_ERROR) ** 2
    box = bounding_box(candidates)
    assert box is not None  # noqa: S101 - the pixel with the maximum is a candidate
    reach = math.ceil(peak * (1 + ROUGH_ERROR)) + 1
    around = (
        slice(max(0, box[0].start - reach), box[0].stop + reach),
        slice(max(0, box[1].start - reach), box[1].stop + reach),
    )
    depth, (row, column) = _first_maximum(framed[around], candidates[around])
    if depth < floor:
        return 0, None
    return depth, (row + around[0].start + top, column + around[1].start + left)


def deepest_voxel(
    error: Mask, clicked: Iterable[Point] = (), steps: Sequence[float] = (1.0, 1.0, 1.0)
) -> tuple[float, Point | None]:
    """Return (squared distance, voxel) of the deepest voxel of a (Z, H, W) error mask; (0.0, None) if there is none.

    The rule is that of `deepest_pixel`. Distances have the unit of `steps`, the size of a voxel along (z, row, column).
    """
    window = bounding_box(error)
    if window is None:
        return 0.0, None
    corner = np.array([side.start for side in window])
    depth, voxels = deepest(np.ascontiguousarray(error[window]), steps, [np.subtract(p, corner) for p in clicked])
    if not len(voxels):
        return 0.0, None
    at = np.unravel_index(int(voxels[0]), tuple(side.stop - side.start for side in window))
    return depth, tuple(int(c) for c in np.add(at, corner))


def steps_of(reference: TargetReference, protocol: Protocol) -> tuple[float, ...]:
    """Return the size of a pixel or voxel along each axis for distances: in mm for volumes by default, otherwise 1."""
    volume = reference.mask.ndim == 3 and protocol.distances == "mm"
    return reference.spacing if volume else (1.0,) * reference.mask.ndim


def _first_maximum(framed: NDArray[np.uint8], candidates: Mask) -> tuple[int, Point]:
    """Return the largest squared distance among `candidates` and the first pixel that has it.

    The last bit of the distances of OpenCV depends on the width of the array, so distances are squared and rounded
    before they are compared. This is exact for distances up to about a thousand pixels. SciPy is used for larger ones.
    """
    depth = cv2.distanceTransform(np.ascontiguousarray(framed), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if depth.max() > 1000:
        depth = ndimage.distance_transform_edt(framed)
    at = np.flatnonzero(candidates)
    squared = np.rint(depth.ravel()[at].astype(np.float64) ** 2).astype(np.int64)
    row, column = divmod(int(at[squared.argmax()]), depth.shape[1])
    return int(squared.max()), (row, column)


def next_click(
    reference: TargetReference, prediction: Mask, clicked: Iterable[Point] = (), steps: Sequence[float] | None = None
) -> Click | None:
    """Return the next click of the base rule, or None if there is no error pixel left to click.

    Parameters
    ----------
    reference : TargetReference
        The followed reference mask.
    prediction : (H, W) or (Z, H, W) bool array
        The last prediction, with the shape of the reference mask.
    clicked : iterable of (row, column) or (z, row, column)
        Pixels that were clicked before, with either sign.
    steps : sequence of float or None
        Size of a voxel along each axis, for volumes only; None for 1 along each axis. See `steps_of`.
    """
    clicked = list(clicked)
    window = widen(reference.window, bounding_box(prediction))
    if window is None:
        return None
    truth, guess = reference.mask[window], prediction[window]
    false_negatives, false_positives = truth & ~guess, guess & ~truth
    if reference.ignore is not None:
        false_positives &= ~reference.ignore[window]
    corner = tuple(side.start for side in window)
    inside = [tuple(c - first for c, first in zip(point, corner, strict=True)) for point in clicked]
    depth_negatives: float
    depth_positives: float
    if truth.ndim == 3:
        steps = steps or (1.0, 1.0, 1.0)
        depth_negatives, at_negatives = deepest_voxel(false_negatives, inside, steps)
        depth_positives, at_positives = deepest_voxel(false_positives, inside, steps)
    elif np.count_nonzero(false_negatives) >= np.count_nonzero(false_positives):
        depth_negatives, at_negatives = deepest_pixel(false_negatives, inside)
        depth_positives, at_positives = deepest_pixel(false_positives, inside, floor=depth_negatives)
    else:
        depth_positives, at_positives = deepest_pixel(false_positives, inside)
        depth_negatives, at_negatives = deepest_pixel(false_negatives, inside, floor=depth_positives)
    positive = depth_negatives > depth_positives
    at = at_negatives if positive else at_positives
    return None if at is None else Click(tuple(c + first for c, first in zip(at, corner, strict=True)), positive)


class Robot(User):
    """The user of the base rule. The protocol decides what it does if the prediction has no errors."""

    def __init__(self, card: UserCard, protocol: Protocol) -> None:
        self.card = card
        self.options = {}
        self._protocol = protocol

    def next(self, view: View) -> Interaction | None:
        """Return the next click. If no error pixel is left: None (default), or a negative click at (0, 0) (compat)."""
        clicked = [c.point for c in clicks_of(view.history)]
        click = next_click(view.reference, view.prediction, clicked, steps_of(view.reference, self._protocol))
        if click is None and self._protocol.perfect_mask == "click-origin":
            return Click((0,) * view.reference.mask.ndim, positive=False)
        return click


def load(card: UserCard, *, protocol: Protocol) -> Robot:
    """Return the robot user; it has no options."""
    return Robot(card, protocol)
