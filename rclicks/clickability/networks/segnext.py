"""The network of the RClicks click model (Antonov et al. 2024): SegNeXt (Guo et al. 2022) with two more input channels.

The backbone is MSCAN, a convolutional network with large strip-shaped kernels. Object and error mask are encoded as
features that are added after the stem of the backbone. The head ("hamburger") reads all four stages and replaces the
features by a non-negative matrix factorisation of rank 16.

The code is our own; the parameter names are those of the published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, interpolate, normalize, relu

from rclicks.models.layers import ScaleLayer

__all__ = ["VARIANTS", "ClickabilityNetwork", "Variant", "min_max"]

MLP_RATIOS = (8, 8, 4, 4)
DROP_PATH = 0.1  # drop rate of the last block; the rates grow linearly from 0
DROPOUT = 0.1
RANK = 16
TRAIN_STEPS, EVAL_STEPS = 6, 7
EPSILON = 1e-6


@dataclass(frozen=True)
class Variant:
    """Size of a network.

    Attributes
    ----------
    widths : tuple of 4 int
        Channels of each stage of the backbone.
    depths : tuple of 4 int
        Number of blocks of each stage of the backbone.
    head : int
        Channels of the head.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    head: int


VARIANTS = {
    "t": Variant((32, 64, 160, 256), (3, 3, 5, 2), 256),
    "s": Variant((64, 128, 320, 512), (2, 2, 4, 2), 256),
    "b": Variant((64, 128, 320, 512), (3, 3, 12, 3), 512),
}


def min_max(maps: Tensor, eps: float = 1e-9) -> Tensor:
    """Return (B, 1, H, W) maps, each scaled to [0, 1]; a constant map becomes 0."""
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    return (maps - low) / (high - low + eps)


def depthwise(channels: int, height: int, width: int) -> nn.Conv2d:
    """Return a depthwise convolution with an odd kernel (height, width) that does not change the size."""
    return nn.Conv2d(channels, channels, (height, width), padding=(height // 2, width // 2), groups=channels)


class StripGate(nn.Module):
    """Multiplication of the input by an attention map from a 5 x 5 kernel and three pairs of strip-shaped kernels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = depthwise(channels, 5, 5)
        self.conv0_1, self.conv0_2 = depthwise(channels, 1, 7), depthwise(channels, 7, 1)
        self.conv1_1, self.conv1_2 = depthwise(channels, 1, 11), depthwise(channels, 11, 1)
        self.conv2_1, self.conv2_2 = depthwise(channels, 1, 21), depthwise(channels, 21, 1)
        self.conv3 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated (B, C, h, w) features."""
        near = self.conv0(x)
        strips = (
            self.conv0_2(self.conv0_1(near)),
            self.conv1_2(self.conv1_1(near)),
            self.conv2_2(self.conv2_1(near)),
        )
        return self.conv3(near + strips[0] + strips[1] + strips[2]) * x


class Attention(nn.Module):
    """Strip gate between two 1 x 1 convolutions with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.spatial_gating_unit = StripGate(channels)
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return attended (B, C, h, w) features."""
        return self.proj_2(self.spatial_gating_unit(gelu(self.proj_1(x)))) + x


class Mlp(nn.Module):
    """Two 1 x 1 convolutions with a depthwise 3 x 3 one between them."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.dwconv = depthwise(hidden, 3, 3)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, h, w) features."""
        return self.fc2(gelu(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    """Attention and MLP as scaled residuals; in training each is left out with probability `drop` for each sample."""

    def __init__(self, channels: int, ratio: int, drop: float) -> None:
        super().__init__()
        self.drop = drop
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), 0.01))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), 0.01))
        self.norm1, self.attn = nn.BatchNorm2d(channels), Attention(channels)
        self.norm2, self.mlp = nn.BatchNorm2d(channels), Mlp(channels, ratio * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, h, w) features."""
        x = x + self._kept(self.layer_scale_1[:, None, None] * self.attn(self.norm1(x)))
        return x + self._kept(self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x)))

    def _kept(self, residual: Tensor) -> Tensor:
        if not self.training or self.drop == 0:
            return residual
        keep = torch.empty((len(residual), 1, 1, 1), dtype=residual.dtype, device=residual.device)
        return residual * keep.bernoulli_(1 - self.drop) / (1 - self.drop)


class Stem(nn.Module):
    """Two strided convolutions that reduce the image to a quarter of its size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(width // 2),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, width, h / 4, w / 4) features of a (B, 3, h, w) image."""
        return self.proj(image)


class Halve(nn.Module):
    """Strided convolution between two stages, which halves the resolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, after, h / 2, w / 2) features."""
        return self.norm(self.proj(x))


class Backbone(nn.Module):
    """MSCAN with four stages, each followed by a layer norm."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        rates = iter(np.linspace(0, DROP_PATH, sum(variant.depths)).tolist())
        before = 0
        for i, (width, depth, ratio) in enumerate(zip(variant.widths, variant.depths, MLP_RATIOS, strict=True), 1):
            self.add_module(f"patch_embed{i}", Halve(before, width) if before else Stem(width))
            self.add_module(f"block{i}", nn.ModuleList(Block(width, ratio, next(rates)) for _ in range(depth)))
            self.add_module(f"norm{i}", nn.LayerNorm(width))
            before = width

    def forward(self, image: Tensor, extra: Tensor) -> list[Tensor]:
        """Return the features of the four stages, (B, width, h / 4, w / 4) to (B, width, h / 32, w / 32).

        Parameters
        ----------
        image : (B, 3, h, w) or (1, 3, h, w) tensor
            Normalised RGB image.
        extra : (B, width, h / 4, w / 4) tensor
            Features that are added to the output of the stem.
        """
        x, found = image, []
        for i in range(1, 5):
            x = self.get_submodule(f"patch_embed{i}")(x)
            x = x + extra if i == 1 else x
            for block in self.get_submodule(f"block{i}").children():
                x = block(x)
            x = self.get_submodule(f"norm{i}")(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            found.append(x)
        return found


class Mix(nn.Module):
    """1 x 1 convolution followed by a group norm, or with a bias and without a norm."""

    def __init__(self, before: int, after: int, *, norm: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 1, bias=not norm)
        if norm:
            self.gn = nn.GroupNorm(32, after)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, after, h, w) features."""
        x = self.conv(x)
        return self.gn(x) if hasattr(self, "gn") else x


class Factorisation(nn.Module):
    """Replacement of features by their non-negative factorisation, computed by multiplicative updates from fixed bases.

    The bases are not trained, but they are part of the weights, because the factors depend on the start.
    """

    bases: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("bases", normalize(torch.rand(1, channels, RANK), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, h, w) features of rank 16 from non-negative (B, C, h, w) features."""
        flat = x.flatten(2)
        bases = self.bases.expand(len(x), -1, -1)
        codes = (flat.mT @ bases).softmax(-1)
        for _ in range(TRAIN_STEPS if self.training else EVAL_STEPS):
            codes = self._codes(flat, bases, codes)
            bases = bases * (flat @ codes) / (bases @ (codes.mT @ codes) + EPSILON)
        return (bases @ self._codes(flat, bases, codes).mT).reshape(x.shape)

    @staticmethod
    def _codes(flat: Tensor, bases: Tensor, codes: Tensor) -> Tensor:
        return codes * (flat.mT @ bases) / (codes @ (bases.mT @ bases) + EPSILON)


class Hamburger(nn.Module):
    """Factorisation between two 1 x 1 convolutions with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ham_in = Mix(channels, channels, norm=False)
        self.ham = Factorisation(channels)
        self.ham_out = Mix(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return non-negative (B, C, h, w) features."""
        return relu(x + self.ham_out(self.ham(relu(self.ham_in(x)))))


class Head(nn.Module):
    """Head that computes one map from the features of all stages, at the resolution of the first stage."""

    def __init__(self, widths: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, 1, 1)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.squeeze = Mix(sum(widths), channels)
        self.hamburger = Hamburger(channels)
        self.align = Mix(channels, channels)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Return a (B, 1, h, w) map."""
        # The 1 x 1 convolution and the resizing can be exchanged. Convolving first saves 1/8 of the time on a CPU.
        size, weights = stages[0].shape[2:], self.squeeze.conv.weight.split([s.shape[1] for s in stages], dim=1)
        squeezed = conv2d(stages[0], weights[0])
        for stage, weight in zip(stages[1:], weights[1:], strict=True):
            squeezed = squeezed + interpolate(conv2d(stage, weight), size=size, mode="bilinear", align_corners=False)
        x = relu(self.squeeze.gn(squeezed))
        return self.conv_seg(self.dropout(relu(self.align(self.hamburger(x)))))


class EncoderDecoder(nn.Module):
    """Backbone and head."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.backbone = Backbone(variant)
        self.decode_head = nn.ModuleList([Head(variant.widths, variant.head)])

    def forward(self, image: Tensor, extra: Tensor) -> Tensor:
        """Return a (B, 1, h / 4, w / 4) map; see `Backbone.forward`."""
        return self.decode_head[0](self.backbone(image, extra))


class ClickabilityNetwork(nn.Module):
    """Network from an image, an object and an error to a map of where people click.

    Parameters
    ----------
    variant : {"t", "s", "b"}
        Size of the network; the published weights are for "b".
    """

    def __init__(self, variant: str = "b") -> None:
        super().__init__()
        width = VARIANTS[variant].widths[0]
        self.encoder_decoder = EncoderDecoder(VARIANTS[variant])
        self.maps_transform = nn.Sequential(
            nn.Conv2d(2, 16, 1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, width, 3, stride=2, padding=1),
            ScaleLayer(),
        )

    def forward(self, image: Tensor, masks: Tensor) -> Tensor:
        """Return a (B, 1, h, w) map that is neither bounded nor normalised.

        The published network returns `min_max` of this map.

        Parameters
        ----------
        image : (B, 3, h, w) or (1, 3, h, w) tensor
            RGB image in [0, 1], normalised by the mean and deviation of ImageNet; a single image is used for all masks.
        masks : (B, 2, h, w) tensor
            Object and error, values in [0, 1].
        """
        small = self.encoder_decoder(image, self.maps_transform(masks))
        return interpolate(small, size=masks.shape[2:], mode="bilinear", align_corners=True)
