"""How MedSAM and LiteMedSAM differ from SAM: their preprocessing and their way back to the image."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from rclicks.models.promptable.predictor import InputGeometry, SamModel

__all__ = ["LiteMedSam", "MedSam"]


def stretch(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the image scaled to 0..1 over all of its values; a constant image becomes 0."""
    values = image.astype(np.float32)
    low, high = values.min(), values.max()
    return np.asarray((values - low) / max(float(high - low), 1e-8), np.float32)


class MedSam(SamModel):
    """Squash to 1024 x 1024, stretch, no mean or deviation; the sigmoid comes before the way back."""

    def _place(self, image: NDArray[np.uint8]) -> tuple[Tensor, InputGeometry]:
        from skimage.transform import resize

        square = resize(image, (self.side, self.side), order=3, preserve_range=True, anti_aliasing=True)
        tensor = self._tensor(stretch(square.astype(np.uint8))).permute(2, 0, 1)[None]
        return tensor, InputGeometry((image.shape[0], image.shape[1]), (self.side, self.side), self.side)

    def _full_size(self, low: Tensor, geometry: InputGeometry) -> Tensor:
        return F.interpolate(torch.sigmoid(low), geometry.original, mode="bilinear", align_corners=False).clamp(0, 1)


class LiteMedSam(SamModel):
    """Long side 256 by area, stretch, zero padding; logits have the size of the canvas."""

    side = 256

    def _place(self, image: NDArray[np.uint8]) -> tuple[Tensor, InputGeometry]:
        factor = self.side / max(image.shape[:2])
        scaled = (int(image.shape[0] * factor + 0.5), int(image.shape[1] * factor + 0.5))
        small = stretch(cv2.resize(image, scaled[::-1], interpolation=cv2.INTER_AREA))
        geometry = np.zeros((self.side, self.side, 3), np.float32)
        geometry[: scaled[0], : scaled[1]] = small
        place = InputGeometry((image.shape[0], image.shape[1]), scaled, self.side)
        return self._tensor(geometry).permute(2, 0, 1)[None], place

    def _full_size(self, low: Tensor, geometry: InputGeometry) -> Tensor:
        cut = low[..., : geometry.scaled[0], : geometry.scaled[1]]
        return torch.sigmoid(F.interpolate(cut, geometry.original, mode="bilinear", align_corners=False))
