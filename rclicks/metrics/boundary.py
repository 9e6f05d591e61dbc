"""Boundary IoU: agreement of the outlines of a prediction and the reference mask, without ignored pixels.

>>> truth = np.zeros((100, 100), bool); truth[20:60, 20:60] = True
>>> boundary_iou(TargetReference(truth), np.roll(truth, 1, axis=1))  # 370 / 518 pixels of bands 3 pixels wide
0.7142857142857143
"""

from __future__ import annotations

import numpy as np

from rclicks.metrics.target import TargetReference, Window, band_width, boundary_band, bounding_box, widen
from rclicks.sample import Mask

__all__ = ["boundary_iou"]


def boundary_iou(reference: TargetReference, prediction: Mask, *, ratio: float = 0.02, empty: float = 1.0) -> float:
    """Return the IoU of the two boundary bands (Cheng et al., Boundary IoU, CVPR 2021).

    The band of a mask is the mask minus its erosion by ``max(1, round(ratio * diagonal))`` pixels. The area beyond the
    image counts as background. Ignored pixels are removed after the bands were computed.

    Parameters
    ----------
    reference : TargetReference
        Reference mask, (H, W).
    prediction : (H, W) bool array
    ratio : float
        Width of the band relative to the diagonal of the image.
    empty : float
        Result if both masks are empty.

    Returns
    -------
    float
        From 0 to 1, higher is better.

    Raises
    ------
    ValueError
        If the shapes differ or the prediction does not have two axes.

    >>> truth = np.zeros((8, 8), bool); truth[2:6, 2:6] = True
    >>> boundary_iou(TargetReference(truth), truth)
    1.0
    """
    if prediction.shape != reference.mask.shape or prediction.ndim != 2:
        raise ValueError(
            f"prediction has shape {prediction.shape}, the reference mask {reference.mask.shape}; "
            "expected one shape (H, W)"
        )
    width = band_width(reference.mask.shape, ratio)
    own = bounding_box(prediction)
    window = widen(reference.window, own)
    if window is None:
        return empty
    target_band = np.zeros(reference.mask[window].shape, bool)
    if reference.window is not None:
        target_band[_within(reference.window, window)] = reference.band(width)
    predicted_band = np.zeros_like(target_band)
    if own is not None:
        predicted_band[_within(own, window)] = boundary_band(prediction, own, width)
    either = target_band | predicted_band
    both = target_band & predicted_band
    if reference.ignore is not None:
        valid = ~reference.ignore[window]
        either &= valid
        both &= valid
    union = int(np.count_nonzero(either))
    return int(np.count_nonzero(both)) / union if union else empty


def _within(inner: Window, outer: Window) -> Window:
    return tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
