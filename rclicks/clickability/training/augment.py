"""Augmentations of a scene and its clicks that do not change where on the object people would click.

All functions are pure functions of their arguments and a random generator.
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
CONTRAST, BRIGHTNESS = 0.25, 25.0  # largest relative change of the contrast, and of the brightness in 8-bit values
OUTLINE = 0.02  # largest shift of the outline, relative to the square root of the error's area
MARGIN = 0.1  # smallest margin of a crop around the error, relative to the longer side of its bounding box


def flip(scene: Scene, points: Points) -> tuple[Scene, Points]:
    """Return the scene and the clicks with left and right swapped; `points` is (n, 2), (row, column)."""
    width = scene.error.shape[1]
    mirrored = Scene(*(np.ascontiguousarray(a[:, ::-1]) for a in (scene.image, scene.mask, scene.error)))
    return mirrored, np.stack([points[:, 0], width - 1 - points[:, 1]], axis=1)


def colours(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 image with random changes of contrast, brightness and tint."""
    gain = 1 + rng.uniform(-CONTRAST, CONTRAST) + rng.uniform(-CONTRAST, CONTRAST, 3) / 4
    shifted = (image - 127.5) * gain + 127.5 + rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    return np.clip(shifted, 0, 255).astype(np.uint8)


def outline(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return the scene with object and error slightly dilated or eroded, like outlines that another person drew.

    If the error would become empty, the scene is returned unchanged.
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
    """Return the same random crop of all planes, which contains the error and all clicks, and the clicks in it.

    Parameters
    ----------
    planes : sequence of (H, W, ...) arrays
        Arrays to crop.
    error : (H, W) array
        Error, bool or float in [0, 1].
    points : (n, 2) int64 array
        Clicks as (row, column) in pixels.
    rng : numpy Generator
        Random generator.
    """
    height, width = error.shape
    left, top, wide, high = cv2.boundingRect((error > 0).view(np.uint8))
    pad = round(MARGIN * max(wide, high))
    first = np.minimum([top - pad, left - pad], points.min(axis=0)).clip(0)
    last = np.maximum([top + high + pad, left + wide + pad], points.max(axis=0) + 1).clip(None, [height, width])
    start = [int(rng.integers(0, low + 1)) for low in first]
    stop = [int(rng.integers(high, full + 1)) for high, full in zip(last, (height, width), strict=True)]
    window = np.s_[start[0] : stop[0], start[1] : stop[1]]
    return [np.ascontiguousarray(plane[window]) for plane in planes], points - np.array(start)
