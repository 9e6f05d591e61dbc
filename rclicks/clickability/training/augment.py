"""Change a scene, its clicks and maps of it in ways that do not change where people would click.

Pure functions of a scene and a random generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rclicks.human_clicks.items import Scene

__all__ = ["colours", "crop", "flip", "outline"]

Points = NDArray[np.int64]
CONTRAST, BRIGHTNESS = 0.25, 25.0
OUTLINE = 0.02  # largest change of the outline, in square roots of the object's area
MARGIN = 0.1  # of the error's box that a crop keeps around it


def flip(scene: Scene, points: Points) -> tuple[Scene, Points]:
    """Return the mirror image (left and right swapped)."""
    width = scene.error.shape[1]
    mirrored = Scene(*(np.ascontiguousarray(a[:, ::-1]) for a in (scene.image, scene.mask, scene.error)))
    return mirrored, np.stack([points[:, 0], width - 1 - points[:, 1]], axis=1)


def colours(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the image with another contrast, brightness and tint."""
    gain = 1 + rng.uniform(-CONTRAST, CONTRAST) + rng.uniform(-CONTRAST, CONTRAST, 3) / 4
    shifted = (image - 127.5) * gain + 127.5 + rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    return np.clip(shifted, 0, 255).astype(np.uint8)


def outline(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return the scene with object and error grown or shrunk a little, as outlines by another hand would be.

    Where nothing would be left, the scene stays as it is.
    """
    reach = rng.uniform(-OUTLINE, OUTLINE) * float(np.sqrt(np.count_nonzero(scene.error)))
    size = 2 * round(abs(reach)) + 1
    if size == 1:
        return scene
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    change = cv2.dilate if reach > 0 else cv2.erode

    def changed(mask: NDArray[Any]) -> NDArray[Any]:
        plain = mask.view(np.uint8) if mask.dtype == np.bool_ else mask
        return np.asarray(change(plain, kernel)).astype(mask.dtype)

    error = changed(scene.error)
    return Scene(scene.image, changed(scene.mask), error) if error.any() else scene


def crop(
    planes: Sequence[NDArray[Any]], error: NDArray[Any], points: Points, rng: np.random.Generator
) -> tuple[list[NDArray[Any]], Points]:
    """Return a random part of each (H, W, ...) plane that holds the error and all clicks, and the clicks in it."""
    height, width = error.shape
    left, top, wide, high = cv2.boundingRect((error > 0).view(np.uint8))
    pad = round(MARGIN * max(wide, high))
    first = np.minimum([top - pad, left - pad], points.min(axis=0)).clip(0)
    last = np.maximum([top + high + pad, left + wide + pad], points.max(axis=0) + 1).clip(None, [height, width])
    start = [int(rng.integers(0, low + 1)) for low in first]
    stop = [int(rng.integers(high, full + 1)) for high, full in zip(last, (height, width), strict=True)]
    window = np.s_[start[0] : stop[0], start[1] : stop[1]]
    return [np.ascontiguousarray(plane[window]) for plane in planes], points - np.array(start)
