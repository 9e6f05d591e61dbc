"""The saliency network TranSalNet with a ResNet-50 encoder (Lou et al. 2022), which predicts where people look.

The last three stages of the encoder pass through transformers. A decoder multiplies their results from coarse to fine.
The input is RGB in [0, 1], not normalised further, with 288 x 384 pixels; the position embeddings need this size.

The code is our own; the parameter names are those of the published checkpoint. ResNet-50 comes from torchvision.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, relu, scaled_dot_product_attention

from rclicks.models.torchvision_shim import import_torchvision

__all__ = ["SIZE", "TranSalNet"]

SIZE = (288, 384)
HEAD = 64  # channels of an attention head
DEPTH = 2
DECODER = (768, 768, 512, 256, 128, 64, 32)


class SelfAttention(nn.Module):
    """Multi-head attention of all positions to all positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, places, width) features."""
        query, key, value = (f(x).unflatten(2, (-1, HEAD)).transpose(1, 2) for f in (self.query, self.key, self.value))
        return self.out(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with four times as many channels between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, places, width) features."""
        return self.fc2(gelu(self.fc1(x)))


class Layer(nn.Module):
    """Transformer layer with the norms before attention and feed-forward layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm, self.ffn_norm = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.ffn = SelfAttention(width), FeedForward(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, places, width) features."""
        x = x + self.attn(self.attention_norm(x))
        return x + self.ffn(self.ffn_norm(x))


class Transformer(nn.Module):
    """Transformer layers followed by a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(width) for _ in range(DEPTH))
        self.encoder_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, places, width) features."""
        for layer in self.layer:
            x = layer(x)
        return self.encoder_norm(x)


class StageEncoder(nn.Module):
    """Transformer over the positions of one stage of the encoder."""

    def __init__(self, channels: int, width: int, places: int) -> None:
        super().__init__()
        self.patch_embeddings = nn.Conv2d(channels, width, 1)
        self.position_embeddings = nn.Parameter(torch.zeros(1, places, width))
        self.transformer_encoder = Transformer(width)

    def forward(self, stage: Tensor) -> Tensor:
        """Return (B, width, h, w) features from (B, channels, h, w) features."""
        places = self.patch_embeddings(stage).flatten(2).mT + self.position_embeddings
        return self.transformer_encoder(places).mT.unflatten(2, stage.shape[2:])


class Encoder(nn.Module):
    """ResNet-50 without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        import_torchvision()
        from torchvision.models import resnet50

        self.encoder = nn.ModuleList(list(resnet50(weights=None).children())[:8])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the last three stages: 512, 1024 and 2048 channels at 1/8, 1/16 and 1/32 of the input size."""
        stages = []
        for layer in self.encoder:
            x = layer(x)
            stages.append(x)
        return tuple(stages[-3:])


class Decoder(nn.Module):
    """Decoder from coarse to fine, which doubles the size five times."""

    def __init__(self) -> None:
        super().__init__()
        for i, (before, after) in enumerate(pairwise(DECODER), 1):
            self.add_module(f"conv{i}", nn.Conv2d(before, after, 3, padding=1))
            self.add_module(f"batchnorm{i}", nn.BatchNorm2d(after))
        self.conv7 = nn.Conv2d(DECODER[-1], 1, 3, padding=1)
        coarse = SIZE[0] // 32 * (SIZE[1] // 32)
        self.TransEncoder1 = StageEncoder(2048, 768, coarse)
        self.TransEncoder2 = StageEncoder(1024, 768, coarse * 4)
        self.TransEncoder3 = StageEncoder(512, 512, coarse * 16)

    def forward(self, stages: tuple[Tensor, ...]) -> Tensor:
        """Return a (B, 1, 288, 384) map in (0, 1)."""
        fine, middle, coarse = stages
        x = self._step(1, self.TransEncoder1(coarse))
        x = self._step(2, relu(x * self.TransEncoder2(middle)))
        x = self._step(3, relu(x * self.TransEncoder3(fine)))
        x = self._step(5, self._step(4, x))
        return self.conv7(self._step(6, x, double=False)).sigmoid()

    def _step(self, i: int, x: Tensor, *, double: bool = True) -> Tensor:
        x = relu(self.get_submodule(f"batchnorm{i}")(self.get_submodule(f"conv{i}")(x)))
        return interpolate(x, scale_factor=2, mode="nearest") if double else x


class TranSalNet(nn.Module):
    """Network from an image to a saliency map."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 1, 288, 384) maps in (0, 1) of (B, 3, 288, 384) RGB images in [0, 1]."""
        return self.decoder(self.encoder(image))
