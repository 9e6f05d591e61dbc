"""Overlap of a predicted mask with a target, ignored pixels left out.

All functions take a `TargetFacts` and an (H, W) bool prediction of the same shape and return a float in [0, 1].
Empty rule: if neither the target nor the (valid part of the) prediction has a pixel, the result is `empty`.
"""

from __future__ import annotations

import math

import numpy as np

from rclicks.metrics.target import TargetFacts, Window, band_width, boundary_band, bounding_box, widen
from rclicks.sample import Mask

__all__ = ["boundary_iou", "counts", "dice", "iou"]


def counts(facts: TargetFacts, prediction: Mask) -> tuple[int, int]:
    """Return (pixels in both, valid pixels of the prediction)."""
    if prediction.shape != facts.mask.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, the target {facts.mask.shape}")
    predicted = int(np.count_nonzero(prediction))
    if facts.ignore is not None:
        predicted -= int(np.count_nonzero(prediction & facts.ignore))
    if facts.window is None:
        return 0, predicted
    both = int(np.count_nonzero(prediction[facts.window] & facts.mask[facts.window]))
    return both, predicted


def iou(facts: TargetFacts, prediction: Mask, *, empty: float = 1.0) -> float:
    """Return intersection over union.

    >>> truth = np.array([[1, 1, 0, 0]], bool)
    >>> iou(TargetFacts(truth), np.array([[0, 1, 1, 0]], bool))
    0.3333333333333333
    """
    both, predicted = counts(facts, prediction)
    union = facts.area + predicted - both
    return both / union if union else empty


def dice(facts: TargetFacts, prediction: Mask, *, empty: float = 1.0) -> float:
    """Return the Dice coefficient, 2 |A and B| / (|A| + |B|).

    >>> truth = np.array([[1, 1, 0, 0]], bool)
    >>> dice(TargetFacts(truth), np.array([[0, 1, 1, 0]], bool))
    0.5
    """
    both, predicted = counts(facts, prediction)
    total = facts.area + predicted
    return 2 * both / total if total else empty


def volume_error(facts: TargetFacts, prediction: Mask) -> float:
    """Return (volume of the prediction - volume of the target) / volume of the target; NaN if the target is empty.

    >>> truth = np.array([[1, 1, 0, 0]], bool)
    >>> volume_error(TargetFacts(truth), np.array([[0, 1, 1, 1]], bool))
    0.5
    """
    _, predicted = counts(facts, prediction)
    return (predicted - facts.area) / facts.area if facts.area else math.nan


def boundary_iou(facts: TargetFacts, prediction: Mask, *, ratio: float = 0.02, empty: float = 1.0) -> float:
    """Return the IoU of the two boundary bands (Cheng et al., Boundary IoU, CVPR 2021).

    The band of a mask is the mask minus its erosion by ``max(1, round(ratio * diagonal))`` pixels, the outside of the
    image counting as background. Ignored pixels are dropped when counting, after the bands were taken.

    >>> truth = np.zeros((8, 8), bool); truth[2:6, 2:6] = True
    >>> boundary_iou(TargetFacts(truth), truth)
    1.0
    """
    if prediction.shape != facts.mask.shape or prediction.ndim != 2:
        raise ValueError(f"prediction has shape {prediction.shape}, the target {facts.mask.shape}; expected one (H, W)")
    width = band_width(facts.mask.shape, ratio)
    own = bounding_box(prediction)
    window = widen(facts.window, own)
    if window is None:
        return empty
    target_band = np.zeros(facts.mask[window].shape, bool)
    if facts.window is not None:
        target_band[_within(facts.window, window)] = facts.band(width)
    predicted_band = np.zeros_like(target_band)
    if own is not None:
        predicted_band[_within(own, window)] = boundary_band(prediction, own, width)
    either = target_band | predicted_band
    both = target_band & predicted_band
    if facts.ignore is not None:
        valid = ~facts.ignore[window]
        either &= valid
        both &= valid
    union = int(np.count_nonzero(either))
    return int(np.count_nonzero(both)) / union if union else empty


def _within(inner: Window, outer: Window) -> Window:
    return tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
