"""The base rule: click the centre of the largest error (Sofiiuk et al., RITM, 2021; spec of f-BRS and RITM).

False negatives and false positives are two error masks. Each gets an exact Euclidean distance transform in which the
outside of the image counts as correct; the mask with the larger maximum decides the sign (a tie goes to the negative
click), and the click falls on the first pixel in row-major order that has that maximum and was not clicked before.

The transforms are taken a connected component at a time, on crops, largest possible radius first, and stop as soon as
no remaining component can hold a larger circle; the result is bit-equal to the full-frame rule.

>>> truth = np.zeros((9, 9), bool); truth[2:7, 2:7] = True
>>> next_click(TargetFacts(truth), np.zeros((9, 9), bool))
Click(point=(4, 4), positive=True)
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np
from scipy import ndimage

from rclicks.cards import UserCard
from rclicks.interaction import Click, Interaction, clicks_of
from rclicks.metrics.facts import TargetFacts, bounding_box, widen
from rclicks.protocol import Protocol
from rclicks.sample import Mask
from rclicks.users.contract import User, View

__all__ = ["CARDS", "Robot", "deepest_pixel", "load", "next_click"]

CARDS = (
    UserCard(
        name="robot",
        summary="base rule: the centre of the largest error, deterministic",
        source="Sofiiuk et al. 2021 (RITM); Xu et al. 2016",
        citation="Sofiiuk, Petrov, Konushin: Reviving iterative training with mask guidance, ICIP 2022",
    ),
)

Point = tuple[int, int]


def deepest_pixel(error: Mask, clicked: Iterable[Point] = (), floor: int = 0) -> tuple[int, Point | None]:
    """Return (squared distance, pixel) of the point of an (H, W) error mask that lies farthest from its outside.

    Distances are Euclidean, in pixels, to the nearest pixel outside the mask, hence integers when squared; the image
    is framed by outside. Pixels in `clicked` cannot be chosen. Among equals the first in row-major order wins. If no
    pixel reaches a squared distance of max(1, `floor`), the result is (0, None); `floor` only saves work.
    """
    window = bounding_box(error)
    if window is None:
        return 0, None
    top, left = window[0].start, window[1].start
    framed = cv2.copyMakeBorder(error[window].view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(framed, connectivity=8)
    taken = [(r - top + 1, c - left + 1) for r, c in clicked]
    best, where = max(floor, 1), None
    for k in sorted(range(1, count), key=lambda k: -_radius_bound(stats[k])):
        if _radius_bound(stats[k]) ** 2 < best:
            break
        x, y, w, h = (int(v) for v in stats[k, :4])
        part = labels[y - 1 : y + h + 1, x - 1 : x + w + 1] == k
        free = [(r - y + 1, c - x + 1) for r, c in taken if y <= r < y + h and x <= c < x + w]
        depth, (row, column) = _first_maximum(part, free)
        point = (row + y - 1 + top - 1, column + x - 1 + left - 1)
        if depth > best or (depth == best and (where is None or point < where)):
            best, where = depth, point
    return (best, where) if where is not None else (0, None)


def _first_maximum(part: Mask, excluded: Iterable[Point]) -> tuple[int, Point]:
    """Return the largest squared distance inside a framed mask and the first pixel that has it.

    OpenCV's square roots differ in the last bit with the width of the array, so equals are only equal after squaring
    and rounding; that is exact up to distances of about a thousand pixels, beyond which SciPy takes over.
    """
    depth = cv2.distanceTransform(part.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if depth.max() > 1000:
        depth = ndimage.distance_transform_edt(part)
    for at in excluded:
        depth[at] = 0
    near = np.flatnonzero(depth.ravel() >= depth.max() * (1 - 1e-6))
    squared = np.rint(depth.ravel()[near].astype(np.float64) ** 2).astype(np.int64)
    row, column = divmod(int(near[squared.argmax()]), depth.shape[1])
    return int(squared.max()), (row, column)


def _radius_bound(stat: np.ndarray) -> float:
    """Return an upper bound of the distance transform inside a component, from its box and area.

    A disc of radius r around a pixel holds at least pi (r - sqrt(1/2))^2 pixels, and needs 2 r - 1 rows.
    """
    width, height, area = float(stat[2]), float(stat[3]), float(stat[4])
    return min((min(width, height) + 1) / 2, math.sqrt(area / math.pi) + 0.70711) + 1e-3


def next_click(facts: TargetFacts, prediction: Mask, clicked: Iterable[Point] = ()) -> Click | None:
    """Return the next click of the base rule, or None if there is no error pixel left to click.

    Parameters
    ----------
    facts : TargetFacts
    prediction : (H, W) bool array
    clicked : iterable of (row, column)
        Pixels clicked before, of either sign.
    """
    clicked = list(clicked)
    window = widen(facts.window, bounding_box(prediction))
    if window is None:
        return None
    truth, guess = facts.mask[window], prediction[window]
    missed, wrong = truth & ~guess, guess & ~truth
    if facts.ignore is not None:
        wrong &= ~facts.ignore[window]
    top, left = window[0].start, window[1].start
    inside = [(r - top, c - left) for r, c in clicked]
    if np.count_nonzero(missed) >= np.count_nonzero(wrong):
        depth_missed, at_missed = deepest_pixel(missed, inside)
        depth_wrong, at_wrong = deepest_pixel(wrong, inside, floor=depth_missed)
    else:
        depth_wrong, at_wrong = deepest_pixel(wrong, inside)
        depth_missed, at_missed = deepest_pixel(missed, inside, floor=depth_wrong)
    positive = depth_missed > depth_wrong
    at = at_missed if positive else at_wrong
    return None if at is None else Click((at[0] + top, at[1] + left), positive)


class Robot(User):
    """Plays the base rule; what it does with a perfect mask is a rule of the protocol."""

    def __init__(self, card: UserCard, protocol: Protocol) -> None:
        self.card = card
        self.options = {}
        self._perfect = protocol.perfect_mask

    def next(self, view: View) -> Interaction | None:
        """Return the next click; with nothing left to click, stop (default) or click (0, 0) negatively (compat)."""
        clicked = [(c.point[0], c.point[1]) for c in clicks_of(view.history)]
        click = next_click(view.facts, view.prediction, clicked)
        if click is None and self._perfect == "click-origin":
            return Click((0, 0), positive=False)
        return click


def load(card: UserCard, *, protocol: Protocol) -> Robot:
    """Return the robot user; it has no options."""
    return Robot(card, protocol)
