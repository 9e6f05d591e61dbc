"""Click models without weights: uniform over the error, and the distance transform of the error.

Their maps are 0 outside the error.

>>> from rclicks.clickability.contract import ClickMapQuery
>>> error = np.zeros((3, 5), bool); error[:, 1:4] = True
>>> distance_map(error)[1].tolist()
[0.0, 0.5, 1.0, 0.5, 0.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rclicks.cards import ClickModelCard
from rclicks.clickability.contract import ClickMap, ClickMapQuery, ClickModel
from rclicks.metrics.depth import depth_map
from rclicks.metrics.target import bounding_box
from rclicks.protocol import Protocol

__all__ = ["CARDS", "DistanceTransform", "Uniform", "distance_map", "load"]

CARDS = (
    ClickModelCard(
        name="uniform",
        summary="all pixels of the error are equally likely",
        dims=(2, 3),
        local=True,
        source="baseline UD of Antonov et al. 2024 (RClicks)",
    ),
    ClickModelCard(
        name="distance",
        summary="the probability is proportional to the distance from the outside of the error",
        dims=(2, 3),
        local=True,
        source="baseline DT of Antonov et al. 2024 (RClicks)",
    ),
)


def distance_map(
    error: NDArray[Any], *, border_is_outside: bool = True, spacing: Sequence[float] | None = None
) -> NDArray[np.float32]:
    """Return the exact Euclidean distance transform of an error, divided by its maximum.

    Parameters
    ----------
    error : (H, W) or (Z, H, W) array
        Error, bool or float in [0, 1]. A soft error is first truncated to 8 bit; pixels above 0 are inside.
    border_is_outside : bool
        Whether pixels beyond the image border count as outside the error, as for the base rule. In published code they
        do not; then an error that fills the whole image has equal values.
    spacing : sequence of float, optional
        Voxel size along each axis in mm, for volumes only. The default is 1 on each axis.

    Returns
    -------
    float32 array of the same shape
        Values in [0, 1]; all 0 if the error is empty.
    """
    inside = error if error.dtype == np.bool_ else (np.asarray(error, np.float64) * 255).astype(np.uint8) > 0
    window = bounding_box(inside) if border_is_outside else None
    if border_is_outside:
        found = np.zeros(inside.shape, np.float32)
        if window is not None and inside.ndim == 3:
            found[window] = depth_map(inside[window], spacing)
        elif window is not None:
            found[window] = _distances(np.pad(inside[window], 1))[1:-1, 1:-1]
    elif inside.all():
        found = np.ones(inside.shape, np.float32)
    else:
        found = _distances(inside) if inside.ndim == 2 else _open_distances(inside, spacing)
    found /= np.float32(max(float(found.max()), 1e-9))
    return found


def _open_distances(inside: NDArray[np.bool_], spacing: Sequence[float] | None) -> NDArray[np.float32]:
    """Return distances in a volume whose border does not count as outside.

    Only the published rule needs this function. It uses much memory.
    """
    return np.asarray(ndimage.distance_transform_edt(inside, sampling=spacing), np.float32)


def _distances(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return exact Euclidean distances to the outside as float32.

    The last bits of OpenCV's square roots depend on the memory alignment. Squared distances are integers, so rounding
    them removes this difference. This is reliable up to distances of about 1000 pixels; above, SciPy is used.
    """
    found = cv2.distanceTransform(np.ascontiguousarray(inside).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if found.max() > 1000:
        return np.asarray(ndimage.distance_transform_edt(inside), np.float32)
    return np.sqrt(np.rint(found.astype(np.float64) ** 2)).astype(np.float32)


class Uniform(ClickModel):
    """Click model in which all pixels of the error are equally likely."""

    def __init__(self, card: ClickModelCard) -> None:
        self.card = card

    def maps(self, prepared: Any, queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        """Return each error divided by its maximum, float32."""
        return [np.asarray(a.error / max(float(a.error.max()), 1e-9), np.float32) for a in queries]


class DistanceTransform(ClickModel):
    """Click model whose map is the distance transform of the error."""

    def __init__(self, card: ClickModelCard, border_is_outside: bool) -> None:
        self.card, self._outside = card, border_is_outside

    def maps(self, prepared: Any, queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        """Return `distance_map` of each error."""
        return [distance_map(a.error, border_is_outside=self._outside, spacing=a.spacing) for a in queries]


def load(
    card: ClickModelCard, *, checkpoint: str | None = None, device: str = "cpu", protocol: Protocol | None = None
) -> ClickModel:
    """Return one of the two models. They have no weights and always run on the CPU."""
    if card.name == "uniform":
        return Uniform(card)
    return DistanceTransform(card, (protocol or Protocol()).map_border == "outside")
