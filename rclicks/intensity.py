"""Conversion of grey values of any range to the 8-bit RGB images that 2-D models take."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["gray_to_rgb", "percentile_window", "to_uint8"]


def to_uint8(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """Return `values` clipped to [low, high] and scaled linearly to 0..255.

    Values are rounded to the nearest integer, ties to even. The result is 0 everywhere if `high` is not above `low`.

    >>> to_uint8(np.array([-200.0, 40.0, 999.0]), -160, 240)
    array([  0, 128, 255], dtype=uint8)
    """
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    clipped = np.clip(np.asarray(values, np.float64), low, high)
    return np.asarray(np.rint((clipped - low) / (high - low) * 255), np.uint8)


def percentile_window(values: NDArray[np.generic], low: float = 0.5, high: float = 99.5) -> tuple[float, float]:
    """Return two percentiles (in %) of the values above 0: the window of MedSAM for all modalities but CT.

    If no value is above 0, the percentiles of all values are returned. Source: Ma et al., Segment anything in medical
    images, 2024.

    >>> percentile_window(np.arange(-5, 201))
    (1.995, 199.005)
    """
    flat = np.asarray(values, np.float64).ravel()
    above = flat[flat > 0]
    a, b = np.percentile(above if above.size else flat, [low, high])
    return float(a), float(b)


def gray_to_rgb(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an (H, W) image as an (H, W, 3) image with three equal channels.

    >>> gray_to_rgb(np.zeros((2, 5), np.uint8)).shape
    (2, 5, 3)
    """
    return np.repeat(gray[..., None], 3, axis=2)
