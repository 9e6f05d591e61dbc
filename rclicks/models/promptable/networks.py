"""Networks of the package ``segment-anything``, also with other image encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["assemble", "build_vit"]


def assemble(encoder: nn.Module, side: int) -> nn.Module:
    """Return SAM with another image encoder and an input of `side` x `side` pixels, with untrained weights."""
    from rclicks.models.torchvision_shim import import_torchvision

    import_torchvision()
    from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    return Sam(
        image_encoder=encoder,
        prompt_encoder=PromptEncoder(
            embed_dim=256, image_embedding_size=(64, 64), input_image_size=(side, side), mask_in_chans=16
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
    )


def build_vit(variant: str) -> nn.Module:
    """Return SAM with the image encoder "vit_b", "vit_l" or "vit_h" (1024 x 1024 pixels), with untrained weights.

    Raises
    ------
    KeyError
        If there is no such variant.
    """
    from rclicks.models.torchvision_shim import import_torchvision

    import_torchvision()
    from segment_anything import sam_model_registry

    network: nn.Module = {key: sam_model_registry[key] for key in ("vit_b", "vit_l", "vit_h")}[variant]()
    return network
