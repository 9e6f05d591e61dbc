"""Maps made from clicks of people, on which click models are trained.

`click_map` is the published form (Antonov et al. 2024): blurred clicks, divided by their maximum, times the blurred
error. It has no unit, and its sum depends on the positions of the clicks and on the size of the blur.

`click_density` is the corrected form: a probability for each pixel. The blur of each click is restricted to the error
and normalised there, so that every click on the error has the same weight, also near the edge.

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
KERNEL_WIDTHS = 7  # width of the kernel of the published blur in sigmas
DENSITY_REACH = 4.0  # radius of the blur of the density in sigmas


def pixel_sigma(sigma: float, shape: tuple[int, int]) -> float:
    """Return sigma, given in pixels of a 1920 x 1080 image, in pixels of an image of shape (height, width).

    Raises
    ------
    DataError
        If sigma is negative or not finite.
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise DataError(f"sigma of the clicks' blur is {sigma}; expected a finite number of at least 0")
    return sigma * math.hypot(*shape) / REFERENCE_DIAGONAL


def _counts(points: NDArray[np.integer[Any]], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the number of clicks on each pixel, (H, W) float32."""
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise DataError(f"the clicks have the shape {points.shape}; expected (n, 2) rows of y, x with n > 0")
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
        Clicks as (row, column) in pixels, n > 0. Equal clicks add up.
    shape : (int, int)
        Height and width of the map in pixels.
    sigma : float
        Standard deviation of the blur in pixels of a 1920 x 1080 image, > 0. It is scaled with the diagonal.

    Returns
    -------
    (H, W) float32 array
        Values in [0, 1].

    Raises
    ------
    DataError
        If there is no click, a click lies outside the image, or sigma is not positive.
    """
    width = pixel_sigma(sigma, shape)
    if width == 0:
        raise DataError("sigma of the clicks' blur is 0; expected a value above 0 for the published map")
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
        Clicks as (row, column) in pixels, n > 0.
    error : (H, W) array
        Error, bool or float in [0, 1].
    sigma : float
        As for `gaussian_map`.

    Returns
    -------
    (H, W) float32 array
        Values in [0, 1].

    Raises
    ------
    DataError
        As `gaussian_map`.

    References
    ----------
    Antonov et al.: RClicks: realistic click simulation for benchmarking interactive segmentation, NeurIPS 2024.
    """
    shape = error.shape[0], error.shape[1]
    softness = int(5 * math.hypot(*shape) / (500 * math.sqrt(2)))
    soft = gaussian_filter(np.asarray(error, np.float32), softness)
    return np.asarray(gaussian_map(points, shape, sigma) * soft, np.float32)


def click_density(points: NDArray[np.integer[Any]], error: NDArray[Any], sigma: float = 5.0) -> NDArray[np.float64]:
    """Return for each pixel of the error the probability of a click, estimated from clicks of people.

    Every click on the error has the same mass, which a Gaussian spreads over the pixels of the error. Clicks outside
    the error have no mass. Pixels of a soft error are weighted by their value.

    Parameters
    ----------
    points : (n, 2) int array
        Clicks as (row, column) in pixels, n > 0.
    error : (H, W) array
        Error, bool or float in [0, 1].
    sigma : float
        Standard deviation of the blur in pixels of a 1920 x 1080 image. It is scaled with the diagonal. 0 means no
        blur.

    Returns
    -------
    (H, W) float64 array
        Density that sums to 1 and is 0 outside the error. It is all 0 if no click is on the error.

    Raises
    ------
    DataError
        If there is no click, a click lies outside the image, or sigma is negative.
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

    # The share of the blur of a click at pixel c that is on the error is blur(weight)[c]. Dividing the click by this
    # share before blurring gives every click the same mass on the error.
    reached = blur(weight)
    density = weight * blur(np.divide(counts, reached, out=np.zeros(shape), where=counts > 0))
    return np.asarray(density / density.sum())
