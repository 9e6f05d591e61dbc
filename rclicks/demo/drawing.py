"""Pictures of the demo as arrays: the image with its mask and clicks, and comparisons of masks.

>>> pixel_at((7, 13), 4)
(3, 1)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rclicks.interaction import Click
from rclicks.sample import Mask

__all__ = ["compare", "draw_clicks", "pixel_at", "scale_of"]

Picture = NDArray[np.uint8]
GREEN, RED, YELLOW = (40, 200, 80), (230, 60, 60), (240, 210, 60)
OPACITY = 0.45
LONG_SIDE = 640  # small images are enlarged to about this side, so that single pixels can be clicked


def scale_of(shape: Sequence[int]) -> int:
    """Return the whole number by which an (H, W) image is enlarged for display, at least 1."""
    return max(1, LONG_SIDE // max(shape[:2]))


def pixel_at(place: Sequence[int], scale: int) -> tuple[int, int]:
    """Return the (row, column) in the image for a position (x, y) in the picture that is enlarged `scale` times."""
    return int(place[1]) // scale, int(place[0]) // scale


def draw_clicks(image: Picture, mask: Mask, clicks: Sequence[Click], scale: int) -> Picture:
    """Return the (H, W, 3) uint8 image enlarged `scale` times, with mask and clicks.

    The mask and positive clicks are green, negative clicks are red.
    """
    import cv2

    shown = np.repeat(np.repeat(_tint(image, mask, GREEN), scale, axis=0), scale, axis=1)
    radius = max(2, scale // 2, max(shown.shape) // 160)
    for click in clicks:
        row, column = (int(c * scale + scale // 2) for c in click.point)
        cv2.circle(shown, (column, row), radius + 2, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(shown, (column, row), radius, GREEN if click.positive else RED, -1, cv2.LINE_AA)
    return shown


def compare(image: Picture, truth: Mask, prediction: Mask) -> Picture:
    """Return the (H, W, 3) uint8 image with the pixels of two masks in colour.

    Pixels of the rater only are green, of the prediction only red, and of both yellow.
    """
    shown = _tint(image, truth & ~prediction, GREEN)
    return _tint(_tint(shown, prediction & ~truth, RED), truth & prediction, YELLOW)


def _tint(image: Picture, mask: Mask, colour: tuple[int, int, int]) -> Picture:
    shown = image.copy()
    mixed = image[mask] * (1 - OPACITY) + np.array(colour) * OPACITY
    shown[mask] = np.rint(mixed).astype(np.uint8)
    return shown
