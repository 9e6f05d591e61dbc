"""The parts in which MedSAM and LiteMedSAM differ from SAM: preprocessing, and resizing of the output to the image."""

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
    """Return the image with all values scaled linearly to 0..1; a constant image becomes 0."""
    values = image.astype(np.float32)
    low, high = values.min(), values.max()
    return np.asarray((values - low) / max(float(high - low), 1e-8), np.float32)


class MedSam(SamModel):
    """MedSAM: images are resized to 1024 x 1024 and stretched to 0..1; probabilities, not logits, are resized back."""

    def _place(self, image: NDArray[np.uint8]) -> tuple[Tensor, InputGeometry]:
        from skimage.transform import resize

        square = resize(image, (self.side, self.side), order=3, preserve_range=True, anti_aliasing=True)
        tensor = self._tensor(stretch(square.astype(np.uint8))).permute(2, 0, 1)[None]
        return tensor, InputGeometry((image.shape[0], image.shape[1]), (self.side, self.side), self.side)

    def _full_size(self, low: Tensor, geometry: InputGeometry) -> Tensor:
        return F.interpolate(torch.sigmoid(low), geometry.original, mode="bilinear", align_corners=False).clamp(0, 1)


class LiteMedSam(SamModel):
    """LiteMedSAM: the long side is resized to 256 by area averaging; then stretching to 0..1 and zero padding.

    The logits have the size of the padded input.
    """

    side = 256

    def _place(self, image: NDArray[np.uint8]) -> tuple[Tensor, InputGeometry]:
        factor = self.side / max(image.shape[:2])
        scaled = (int(image.shape[0] * factor + 0.5), int(image.shape[1] * factor + 0.5))
        small = stretch(cv2.resize(image, scaled[::-1], interpolation=cv2.INTER_AREA))
        square = np.zeros((self.side, self.side, 3), np.float32)
        square[: scaled[0], : scaled[1]] = small
        geometry = InputGeometry((image.shape[0], image.shape[1]), scaled, self.side)
        return self._tensor(square).permute(2, 0, 1)[None], geometry

    def _full_size(self, low: Tensor, geometry: InputGeometry) -> Tensor:
        cut = low[..., : geometry.scaled[0], : geometry.scaled[1]]
        return torch.sigmoid(F.interpolate(cut, geometry.original, mode="bilinear", align_corners=False))
