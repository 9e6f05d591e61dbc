"""The base rule: click the centre of the largest error (Sofiiuk et al., RITM, 2021; spec of f-BRS and RITM).

False negatives and false positives are two error masks. Each gets an exact Euclidean distance transform in which the
outside of the image counts as correct; the mask with the larger maximum decides the sign (a tie goes to the negative
click), and the click falls on the first pixel in row-major order that has that maximum and was not clicked before.

In volumes the rule is the same with distances in mm (in voxels under the protocol rule ``distances: voxels``).

The exact transform is dear, so in images it is only taken around the few pixels that a fast chamfer transform (5 x 5,
within 2 % of the truth: Borgefors 1986) leaves as candidates; the result is bit-equal to the full-frame rule.

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

# The chamfer distance lies within 2 % of the Euclidean one; the margin is kept wider than that.
ROUGH_ERROR = 0.03


def deepest_pixel(error: Mask, clicked: Iterable[Point] = (), floor: int = 0) -> tuple[int, Point | None]:
    """Return (squared distance, pixel) of the point of an (H, W) error mask that lies farthest from its outside.

    Distances are Euclidean, in pixels, to the nearest pixel outside the mask, hence integers when squared; the image
    is framed by outside. Pixels in `clicked` cannot be chosen. Among equals the first in row-major order wins. If no
    pixel reaches a squared distance of max(1, `floor`), the result is (0, None); `floor` only saves work.
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
    assert box is not None  # noqa: S101 - the peak itself is a candidate
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
    """Return (squared distance, voxel) of the point of a (Z, H, W) error mask that lies farthest from its outside.

    As `deepest_pixel`, with distances in the unit of `steps`, the size of a voxel along each axis.
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
    """Return the voxel size that distances are measured with: in mm, or 1 along each axis; always 1 in images."""
    volume = reference.mask.ndim == 3 and protocol.distances == "mm"
    return reference.spacing if volume else (1.0,) * reference.mask.ndim


def _first_maximum(framed: NDArray[np.uint8], candidates: Mask) -> tuple[int, Point]:
    """Return the largest squared distance among `candidates` and the first pixel that has it.

    OpenCV's square roots differ in the last bit with the width of the array, so equals are only equal after squaring
    and rounding; that is exact up to distances of about a thousand pixels, beyond which SciPy takes over.
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
    prediction : (H, W) or (Z, H, W) bool array
    clicked : iterable of (row, column) or (z, row, column)
        Pixels clicked before, of either sign.
    steps : sequence of float, optional
        Volumes only: size of a voxel along each axis; 1 each if left out. See `steps_of`.
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
    """Plays the base rule; what it does with a perfect mask is a rule of the protocol."""

    def __init__(self, card: UserCard, protocol: Protocol) -> None:
        self.card = card
        self.options = {}
        self._protocol = protocol

    def next(self, view: View) -> Interaction | None:
        """Return the next click; with nothing left to click, stop (default) or click the origin negatively (compat)."""
        clicked = [c.point for c in clicks_of(view.history)]
        click = next_click(view.reference, view.prediction, clicked, steps_of(view.reference, self._protocol))
        if click is None and self._protocol.perfect_mask == "click-origin":
            return Click((0,) * view.reference.mask.ndim, positive=False)
        return click


def load(card: UserCard, *, protocol: Protocol) -> Robot:
    """Return the robot user; it has no options."""
    return Robot(card, protocol)
