"""Pictures of the demo, as arrays: the image with its mask and clicks, and tiles that compare masks.

>>> pixel_at((7, 13), 4)
(3, 1)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rclicks.interaction import Click
from rclicks.sample import Mask

__all__ = ["canvas", "compare", "pixel_at", "scale_of"]

Picture = NDArray[np.uint8]
GREEN, RED, YELLOW = (40, 200, 80), (230, 60, 60), (240, 210, 60)
OPACITY = 0.45
LONG_SIDE = 640  # small images are shown larger, each pixel a square, so that single pixels can be hit


def scale_of(shape: Sequence[int]) -> int:
    """Return how many pixels of the screen's picture a side of one pixel of an (H, W) image takes; at least 1."""
    return max(1, LONG_SIDE // max(shape[:2]))


def pixel_at(place: Sequence[int], scale: int) -> tuple[int, int]:
    """Return the (row, column) of the image that lies at (x, y) of a picture enlarged `scale` times."""
    return int(place[1]) // scale, int(place[0]) // scale


def canvas(image: Picture, mask: Mask, clicks: Sequence[Click], scale: int) -> Picture:
    """Return an (H, W, 3) image enlarged `scale` times, its mask in green, positive clicks green and others red."""
    import cv2

    shown = np.repeat(np.repeat(_tint(image, mask, GREEN), scale, axis=0), scale, axis=1)
    radius = max(2, scale // 2, max(shown.shape) // 160)
    for click in clicks:
        row, column = (int(c * scale + scale // 2) for c in click.point)
        cv2.circle(shown, (column, row), radius + 2, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(shown, (column, row), radius, GREEN if click.positive else RED, -1, cv2.LINE_AA)
    return shown


def compare(image: Picture, truth: Mask, prediction: Mask) -> Picture:
    """Return an (H, W, 3) image with what only the rater drew in green, only the model in red, and both in yellow."""
    shown = _tint(image, truth & ~prediction, GREEN)
    return _tint(_tint(shown, prediction & ~truth, RED), truth & prediction, YELLOW)


def _tint(image: Picture, mask: Mask, colour: tuple[int, int, int]) -> Picture:
    shown = image.copy()
    mixed = image[mask] * (1 - OPACITY) + np.array(colour) * OPACITY
    shown[mask] = np.rint(mixed).astype(np.uint8)
    return shown
