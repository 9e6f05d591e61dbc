"""TinyViT image encoders with the parameter names of MobileSAM and LiteMedSAM.

Wu et al., TinyViT: fast pretraining distillation for small vision transformers, ECCV 2022. A convolutional stem, a
stage of inverted bottlenecks, three stages of windowed attention with a depthwise convolution between attention and
MLP, and SAM's neck. The last two stages keep 64 x 64 positions.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["TinyViT"]

DIMS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
KEPT_SIZE = 320  # a merging layer with this many channels does not halve the resolution


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch norm."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(out))


class Stem(nn.Module):
    """Two convolutions; 3 x 3 with stride 2 each in MobileSAM, 1 x 1 with stride 1 in LiteMedSAM."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        first = ConvNorm(3, DIMS[0] // 2, kernel, stride)
        self.seq = nn.Sequential(first, nn.GELU(), ConvNorm(DIMS[0] // 2, DIMS[0], kernel, stride))

    def forward(self, x: Tensor) -> Tensor:
        return self.seq(x)


class Bottleneck(nn.Module):
    """Inverted bottleneck: expansion by 4, depthwise 3 x 3 convolution, projection, residual addition."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, 4 * dim)
        self.conv2 = ConvNorm(4 * dim, 4 * dim, 3, groups=4 * dim)
        self.conv3 = ConvNorm(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.gelu(self.conv2(F.gelu(self.conv1(x))))
        return F.gelu(x + self.conv3(inner))


class Merging(nn.Module):
    """Layer that changes the number of channels and, except before the last stage, halves the resolution."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(dim, out)
        self.conv2 = ConvNorm(out, out, 3, 1 if out == KEPT_SIZE else 2, groups=out)
        self.conv3 = ConvNorm(out, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class Attention(nn.Module):
    """Multi-head attention within a window, with a learned bias for each pair of row and column distances."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.depth = heads, dim // heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        places = list(itertools.product(range(window), range(window)))
        offsets: dict[tuple[int, int], int] = {}
        index = [offsets.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(offsets)) for a in places for b in places]
        self.attention_biases = nn.Parameter(torch.zeros(heads, len(offsets)))
        table = torch.tensor(index, dtype=torch.long).view(len(places), len(places))
        self.register_buffer("index", table, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        # Query, key and value of one head are adjacent in the output of `qkv`.
        q, k, v = self.qkv(self.norm(x)).view(batch, tokens, self.heads, 3 * self.depth).transpose(1, 2).chunk(3, -1)
        weights = q @ k.transpose(-2, -1) * self.depth**-0.5 + self.attention_biases[:, self.index]
        return self.proj((weights.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, dim))


class Mlp(nn.Module):
    """Layer norm and two linear layers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class Block(nn.Module):
    """Windowed attention, depthwise convolution and MLP on a (B, C, H, W) tensor."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = Attention(dim, heads, window)
        self.mlp = Mlp(dim)
        self.local_conv = ConvNorm(dim, dim, 3, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.local_conv(x + self._attend(x))
        tokens = x.flatten(2).transpose(1, 2)
        return x + self.mlp(tokens).transpose(1, 2).reshape(x.shape)

    def _attend(self, x: Tensor) -> Tensor:
        batch, dim, height, width = x.shape
        w = self.window
        padded = F.pad(x, (0, -width % w, 0, -height % w))
        rows, columns = padded.shape[2] // w, padded.shape[3] // w
        tiles = padded.view(batch, dim, rows, w, columns, w).permute(0, 2, 4, 3, 5, 1).reshape(-1, w * w, dim)
        out = self.attn(tiles).view(batch, rows, columns, w, w, dim).permute(0, 5, 1, 3, 2, 4)
        return out.reshape(batch, dim, rows * w, columns * w)[:, :, :height, :width]


class Stage(nn.Module):
    """Blocks, followed by a merging layer except in the last stage."""

    def __init__(self, blocks: list[nn.Module], merging: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = merging

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of a (B, C, H, W) tensor."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        return (x - mean) / torch.sqrt(variance + 1e-6) * self.weight[:, None, None] + self.bias[:, None, None]


class TinyViT(nn.Module):
    """Image encoder: (B, 3, S, S) float32 -> (B, 256, 64, 64).

    Parameters
    ----------
    img_size : int
        Side S of the input in pixels: 1024 for MobileSAM, 256 for LiteMedSAM.
    classifier : bool
        Whether the state_dict contains the unused classification head of the pretraining (as in MobileSAM).
    """

    def __init__(self, img_size: int, *, classifier: bool) -> None:
        super().__init__()
        self.img_size = img_size
        self.patch_embed = Stem(3, 2) if img_size == 1024 else Stem(1, 1)
        stages: list[nn.Module] = []
        for i, dim in enumerate(DIMS):
            merging = Merging(dim, DIMS[i + 1]) if i + 1 < len(DIMS) else None
            make = (lambda d, i: Bottleneck(d)) if i == 0 else (lambda d, i: Block(d, HEADS[i], WINDOWS[i]))
            stages.append(Stage([make(dim, i) for _ in range(DEPTHS[i])], merging))
        self.layers = nn.ModuleList(stages)
        if classifier:
            self.norm_head = nn.LayerNorm(DIMS[-1])
            self.head = nn.Linear(DIMS[-1], 1000)
        self.neck = nn.Sequential(
            nn.Conv2d(DIMS[-1], 256, 1, bias=False),
            ChannelNorm(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            ChannelNorm(256),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the (N, 256, 64, 64) features of (N, 3, side, side) images."""
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x)
        return self.neck(x)
