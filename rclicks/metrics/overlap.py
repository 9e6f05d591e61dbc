"""Overlap of a prediction with the reference mask, without ignored pixels.

All functions take a `TargetReference` and a bool prediction of the same shape, (H, W) or (Z, H, W), and raise a
ValueError if the shapes differ. `iou` and `dice` lie in [0, 1]; higher is better. They return `empty` if the reference
mask and the prediction (without ignored pixels) are both empty.
"""

from __future__ import annotations

import math

import numpy as np

from rclicks.metrics.target import TargetReference
from rclicks.sample import Mask

__all__ = ["counts", "dice", "iou", "volume_error"]


def counts(reference: TargetReference, prediction: Mask) -> tuple[int, int]:
    """Return (pixels in both masks, pixels of the prediction), both without ignored pixels."""
    if prediction.shape != reference.mask.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, the reference mask {reference.mask.shape}")
    predicted = int(np.count_nonzero(prediction))
    if reference.ignore is not None:
        predicted -= int(np.count_nonzero(prediction & reference.ignore))
    if reference.window is None:
        return 0, predicted
    both = int(np.count_nonzero(prediction[reference.window] & reference.mask[reference.window]))
    return both, predicted


def iou(reference: TargetReference, prediction: Mask, *, empty: float = 1.0) -> float:
    """Return the intersection over union.

    >>> truth = np.array([[1, 1, 0, 0]], bool)
    >>> iou(TargetReference(truth), np.array([[0, 1, 1, 0]], bool))
    0.3333333333333333
    """
    both, predicted = counts(reference, prediction)
    union = reference.area + predicted - both
    return both / union if union else empty


def dice(reference: TargetReference, prediction: Mask, *, empty: float = 1.0) -> float:
    """Return the Dice coefficient, 2 |A and B| / (|A| + |B|).

    >>> truth = np.array([[1, 1, 0, 0]], bool)
    >>> dice(TargetReference(truth), np.array([[0, 1, 1, 0]], bool))
    0.5
    """
    both, predicted = counts(reference, prediction)
    total = reference.area + predicted
    return 2 * both / total if total else empty


def volume_error(reference: TargetReference, prediction: Mask) -> float:
    """Return (volume of the prediction - volume of the reference) / volume of the reference.

    The result is negative for a prediction that is too small, and NaN for an empty reference mask.

    >>> truth = np.array([[1, 1, 0, 0]], bool)
    >>> volume_error(TargetReference(truth), np.array([[0, 1, 1, 1]], bool))
    0.5
    """
    _, predicted = counts(reference, prediction)
    return (predicted - reference.area) / reference.area if reference.area else math.nan
