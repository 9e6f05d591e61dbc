"""Overlap of a predicted mask with a target, ignored pixels left out.

All functions take a `TargetReference` and a bool prediction of the same shape, (H, W) or (Z, H, W).
Empty rule of `iou` and `dice`, which lie in [0, 1]: if neither the target nor the (valid part of the) prediction has a
pixel, the result is `empty`.
"""

from __future__ import annotations

import math

import numpy as np

from rclicks.metrics.target import TargetReference
from rclicks.sample import Mask

__all__ = ["counts", "dice", "iou", "volume_error"]


def counts(reference: TargetReference, prediction: Mask) -> tuple[int, int]:
    """Return (pixels in both, valid pixels of the prediction)."""
    if prediction.shape != reference.mask.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, the target {reference.mask.shape}")
    predicted = int(np.count_nonzero(prediction))
    if reference.ignore is not None:
        predicted -= int(np.count_nonzero(prediction & reference.ignore))
    if reference.window is None:
        return 0, predicted
    both = int(np.count_nonzero(prediction[reference.window] & reference.mask[reference.window]))
    return both, predicted


def iou(reference: TargetReference, prediction: Mask, *, empty: float = 1.0) -> float:
    """Return intersection over union.

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
    """Return (volume of the prediction - volume of the target) / volume of the target; NaN if the target is empty.

    >>> truth = np.array([[1, 1, 0, 0]], bool)
    >>> volume_error(TargetReference(truth), np.array([[0, 1, 1, 1]], bool))
    0.5
    """
    _, predicted = counts(reference, prediction)
    return (predicted - reference.area) / reference.area if reference.area else math.nan
