"""SAM 2 on images: encoded once, decoded in batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rclicks.models.promptable.predictor import Encoded, InputGeometry, PromptableModel

__all__ = ["Sam2Model"]


class Sam2Model(PromptableModel):
    """SAM 2 on images.

    Images are resized to the square input of the network. A box is passed as two points with the labels 2 and 3 before
    the clicks.
    """

    @cached_property
    def _transforms(self) -> Callable[[NDArray[np.uint8]], Tensor]:
        """Preprocessing of the package. It is compiled when it is built; so it is built once for each model."""
        from sam2.utils.transforms import SAM2Transforms

        transforms: Callable[[NDArray[np.uint8]], Tensor] = SAM2Transforms(int(self.network.image_size), 0.0)
        return transforms

    def _encode(self, image: NDArray[np.uint8]) -> Encoded:
        network = self.network
        side = int(network.image_size)
        tensor = self._transforms(np.ascontiguousarray(image))[None].to(self.device)
        _, vision, _, sizes = network._prepare_backbone_features(network.forward_image(tensor))
        if network.directly_add_no_mem_embed:
            vision = [*vision[:-1], vision[-1] + network.no_mem_embed]
        maps = [f.permute(1, 2, 0).reshape(1, -1, *size) for f, size in zip(vision, sizes, strict=True)]
        return Encoded(maps, InputGeometry((image.shape[0], image.shape[1]), (side, side), side))

    def _decode(
        self, encoded: Encoded, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        network = self.network
        parts: list[tuple[Tensor, Tensor]] = []
        if boxes is not None:
            corners = torch.tensor([[2, 3]], dtype=torch.int64, device=boxes.device)
            parts.append((boxes.view(-1, 2, 2), corners.expand(len(boxes), -1)))
        if points is not None and labels is not None:
            parts.append((points, labels))
        places, kinds = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        sparse, dense = network.sam_prompt_encoder(points=(places, kinds), boxes=None, masks=masks)
        *high, low_resolution = encoded.features
        logits, _, _, _ = network.sam_mask_decoder(
            image_embeddings=low_resolution,
            image_pe=network.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            repeat_image=len(places) > 1,
            high_res_features=high,
        )
        logits, size = logits.float(), encoded.geometry.original
        full = torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
        return torch.sigmoid(full)[:, 0], logits[:, 0].clamp(-32, 32)
