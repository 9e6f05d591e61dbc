"""What a click model must do: from an image and an error to a map of where people would click.

A click-model module has ``CARDS`` (tuple of `rclicks.cards.ClickModelCard`) and
``load(card, *, checkpoint, device, protocol, **options) -> ClickModel``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ClickModelCard

__all__ = ["Ask", "ClickMap", "ClickModel"]

ClickMap = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Ask:
    """What a map is asked for.

    Attributes
    ----------
    mask : (H, W) array, or (Z, H, W) for models of volumes
        The object: bool, or float in [0, 1].
    error : array of the same shape
        What is to be mended by the click: missed object (then a subset of `mask`), or wrongly taken background. In
        the first round it equals `mask`. bool, or float in [0, 1].
    spacing : tuple of float or None
        Volumes only: size of a voxel along each axis for models that measure distances; None for 1 each.
    """

    mask: NDArray[Any]
    error: NDArray[Any]
    spacing: tuple[float, ...] | None = None


class ClickModel(ABC):
    """A map of where people click. Stateless: what depends on the image alone comes from `prepare`."""

    card: ClickModelCard
    checkpoint_id: str = "none"

    def prepare(self, image: NDArray[np.uint8]) -> Any:
        """Return what depends on the (H, W, 3) uint8 RGB image alone; called once an image."""
        return None

    @abstractmethod
    def maps(self, prepared: Any, asks: Sequence[Ask]) -> list[ClickMap]:
        """Return one map an ask, each (H, W), finite and not negative.

        Maps are not normalised and may be positive outside the error; whoever samples from them multiplies by the
        error mask and normalises. Networks answer all asks in one call (`card.batched`).

        Parameters
        ----------
        prepared
            What `prepare` returned for the image.
        asks : sequence of Ask
            Of one image, all (H, W).
        """
