"""The SegNeXt click model built from the blocks of mmsegmentation, for comparison with the own implementation.

mmsegmentation 1.2.2 needs mmengine 0.10, mmcv or mmcv-lite 2.1, ftfy and regex. No extra of this package installs them.
mmcv-lite has no compiled operators. mmsegmentation imports them but does not use them here, so a replacement is
inserted if they are missing.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from rclicks.clickability.networks.segnext import DROP_PATH, MLP_RATIOS, VARIANTS, ClickabilityNetwork
from rclicks.models.torchvision_shim import import_torchvision

__all__ = ["MmsegNetwork"]


class _NoOps(ModuleType):
    """Replacement of mmcv's compiled operators. They can be imported, but calling one is an error."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*args: object, **kwargs: object) -> None:
            raise NotImplementedError(f"the compiled operator {name} of mmcv is not installed")

        return refuse


def _blocks() -> tuple[type[nn.Module], type[nn.Module]]:
    """Return mmsegmentation's backbone and head.

    Raises
    ------
    ImportError
        If mmsegmentation or a package that it needs is not installed.
    """
    import_torchvision()
    if (
        "mmcv._ext" not in sys.modules
        and importlib.util.find_spec("mmcv")
        and not importlib.util.find_spec("mmcv._ext")
    ):
        sys.modules["mmcv._ext"] = _NoOps("mmcv._ext")
    from mmseg.models.backbones import MSCAN
    from mmseg.models.decode_heads import LightHamHead

    return MSCAN, LightHamHead


class _EncoderDecoder(nn.Module):
    def __init__(self, variant: str) -> None:
        super().__init__()
        backbone, head = _blocks()
        facts = VARIANTS[variant]
        self.backbone = backbone(
            embed_dims=list(facts.widths),
            depths=list(facts.depths),
            mlp_ratios=list(MLP_RATIOS),
            drop_path_rate=DROP_PATH,
            norm_cfg={"type": "BN", "requires_grad": True},
        )
        self.decode_head = nn.ModuleList(
            [
                head(
                    in_channels=list(facts.widths),
                    in_index=[0, 1, 2, 3],
                    channels=facts.head,
                    ham_channels=facts.head,
                    num_classes=1,
                    out_channels=1,
                    threshold=0.5,
                    norm_cfg={"type": "GN", "num_groups": 32, "requires_grad": True},
                    align_corners=False,
                    ham_kwargs={"MD_R": 16, "rand_init": False},
                )
            ]
        )
        bases = torch.nn.functional.normalize(torch.rand(1, facts.head, 16), dim=1)
        self.decode_head[0].hamburger.ham.register_buffer("bases", bases)

    def forward(self, image: Tensor, extra: Tensor) -> Tensor:
        """Return a (B, 1, h / 4, w / 4) map; the extra features are added after the stem."""
        net, stages = self.backbone, []
        x = image.expand(extra.shape[0], -1, -1, -1)
        for i in range(1, net.num_stages + 1):
            x, height, width = getattr(net, f"patch_embed{i}")(x)
            if i == 1:
                x = x + extra.flatten(2).transpose(1, 2)
            for block in getattr(net, f"block{i}"):
                x = block(x, height, width)
            x = getattr(net, f"norm{i}")(x)
            x = x.transpose(1, 2).reshape(len(x), -1, height, width).contiguous()
            stages.append(x)
        found: Tensor = self.decode_head[0](stages)
        return found


class MmsegNetwork(ClickabilityNetwork):
    """A `ClickabilityNetwork` with the backbone and head of mmsegmentation; it has the same keys and output."""

    def __init__(self, variant: str = "b") -> None:
        super().__init__(variant)
        self.encoder_decoder = _EncoderDecoder(variant)

    def forward(self, image: Tensor, masks: Tensor) -> Tensor:
        """Return a (B, 1, h, w) map, see `ClickabilityNetwork.forward`."""
        small = self.encoder_decoder(image, self.maps_transform(masks))
        return interpolate(small, size=masks.shape[2:], mode="bilinear", align_corners=True)
