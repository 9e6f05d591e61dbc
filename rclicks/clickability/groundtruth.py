"""From people's clicks to the map that a click model is trained on.

`click_map` is the published form (Antonov et al. 2024): blurred clicks, divided by their peak, times the blurred error.
It has no unit, and its mass depends on how the clicks lie and on the size of the blur.

`click_density` is the corrected form: a probability of each pixel. The blur of each click is cut to the error and
renormalised there, so that every click on the error counts the same, however near the edge it is.

>>> error = np.zeros((3, 4), bool); error[1, 1:3] = True
>>> click_density(np.array([[1, 1]]), error, sigma=0).tolist()[1]
[0.0, 1.0, 0.0, 0.0]
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from rclicks.errors import DataError

__all__ = ["click_density", "click_map", "gaussian_map", "pixel_sigma"]

REFERENCE_DIAGONAL = math.hypot(1920, 1080)
KERNEL_WIDTHS = 7  # of the published blur, in sigmas
DENSITY_REACH = 4.0  # sigmas at which the blur of the density is cut


def pixel_sigma(sigma: float, shape: tuple[int, int]) -> float:
    """Return a blur for images of 1920 x 1080 pixels in pixels of an image of size (height, width).

    Raises
    ------
    DataError
        If sigma is negative or not finite.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise DataError(f"sigma of the clicks' blur is {sigma}; expected a number, at least 0")
    return sigma * math.hypot(*shape) / REFERENCE_DIAGONAL


def _counts(points: NDArray[np.integer[Any]], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return how many clicks each pixel got."""
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise DataError(f"expected clicks as (n, 2) rows of y, x with n > 0, not an array of shape {points.shape}")
    outside = ((points < 0) | (points >= shape)).any(axis=1)
    if outside.any():
        y, x = points[int(outside.argmax())].tolist()
        raise DataError(f"a click at y, x = {y}, {x} lies outside the {shape[0]} x {shape[1]} image")
    counts = np.zeros(shape, np.float32)
    np.add.at(counts, tuple(points.T), 1)
    return counts


def gaussian_map(points: NDArray[np.integer[Any]], shape: tuple[int, int], sigma: float = 5.0) -> NDArray[np.float32]:
    """Return blurred clicks divided by their peak, as published.

    Parameters
    ----------
    points : (n, 2) int array
        (row, column) of each click, n > 0; repeats add.
    shape : (height, width)
    sigma : float
        Of the blur in pixels of a 1920 x 1080 image, > 0; it scales with the diagonal.

    Returns
    -------
    (H, W) float32 array
        In [0, 1].

    Raises
    ------
    DataError
        If there is no click, one lies outside, or sigma is not positive.
    """
    width = pixel_sigma(sigma, shape)
    if width == 0:
        raise DataError("sigma of the clicks' blur is 0; the published map needs more")
    size = math.ceil(KERNEL_WIDTHS * width)
    size += 1 - size % 2
    counts = _counts(points, shape).astype(np.float64)
    blurred = cv2.GaussianBlur(counts, (size, size), width, width, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred / blurred.max(), np.float32)


def click_map(points: NDArray[np.integer[Any]], error: NDArray[Any], sigma: float = 5.0) -> NDArray[np.float32]:
    """Return the published training map: `gaussian_map` times the blurred error; all 0 if no click is near the error.

    Parameters
    ----------
    points : (n, 2) int array
        (row, column) of each click, n > 0.
    error : (H, W) array
        bool, or float in [0, 1].
    sigma : float
        See `gaussian_map`.

    Raises
    ------
    DataError
        See `gaussian_map`.

    References
    ----------
    Antonov et al.: RClicks: realistic click simulation for benchmarking interactive segmentation, NeurIPS 2024.
    """
    shape = error.shape[0], error.shape[1]
    softness = int(5 * math.hypot(*shape) / (500 * math.sqrt(2)))
    soft = gaussian_filter(np.asarray(error, np.float32), softness)
    return np.asarray(gaussian_map(points, shape, sigma) * soft, np.float32)


def click_density(points: NDArray[np.integer[Any]], error: NDArray[Any], sigma: float = 5.0) -> NDArray[np.float64]:
    """Return the probability of each pixel of the error to be clicked, estimated from people's clicks.

    Every click on the error has the same mass, spread by a Gaussian over the error's own pixels; a click beside the
    error has none. Within a soft error, pixels count as much as they belong to it.

    Parameters
    ----------
    points : (n, 2) int array
        (row, column) of each click, n > 0.
    error : (H, W) array
        bool, or float in [0, 1].
    sigma : float
        Of the blur in pixels of a 1920 x 1080 image; it scales with the diagonal. 0 does not blur.

    Returns
    -------
    (H, W) float64 array
        It sums to 1 and is 0 outside the error. All 0 if no click is on the error.

    Raises
    ------
    DataError
        If there is no click, one lies outside the image, or sigma is negative.
    """
    weight = np.asarray(error, np.float64)
    shape = weight.shape[0], weight.shape[1]
    counts = np.where(weight > 0, _counts(points, shape), 0).astype(np.float64)
    total = counts.sum()
    if total == 0:
        return counts
    width = pixel_sigma(sigma, shape)
    if width == 0:
        return counts / total

    def blur(array: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(array, width, mode="constant", truncate=DENSITY_REACH))

    # What a click at pixel c gives to the error is blur(weight)[c]; its mass is divided by that beforehand.
    reached = blur(weight)
    density = weight * blur(np.divide(counts, reached, out=np.zeros(shape), where=counts > 0))
    return np.asarray(density / density.sum())
