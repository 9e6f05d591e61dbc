"""The network of SPA and AESPA: SAM ViT-B with a small input, and a latent vector that is mixed into its features.

Parts of SAM come from the package ``segment-anything``. The image encoder is written anew, because the position tables
of the published network have other names and another length. Three parts are added to SAM:

* ``image_encoder.fcomb`` mixes a latent of 64 numbers into the image features;
* ``EM_mean_variance`` computes K means and K variances from the prompt;
* ``EM_weights`` computes K mixture weights from the responsibilities of the last probability map.

The names are those of the published checkpoints. All parts can be trained. No random numbers are drawn after
construction. In published code the images of a batch share one mixture (`MixtureSam.mixture`). For results that do not
depend on the other images of the batch, pass one image at a time or use `MixtureSam.mixtures`.

Sources: Zhu et al., SPA: Efficient user-preference alignment against uncertainty in medical image segmentation, ICCV
2025; hmkhoi2701/DL_Repo_Interactive_Segmentation (AESPA); Kirillov et al., Segment anything, ICCV 2023.
"""

from __future__ import annotations

import math
import zlib
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from rclicks.models.torchvision_shim import import_torchvision

from .design import VIT_B, EncoderDesign

import_torchvision()  # must come before segment_anything, whose own import of torchvision may fail

from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer  # noqa: E402
from segment_anything.modeling.common import LayerNorm2d, MLPBlock  # noqa: E402
from segment_anything.modeling.image_encoder import (  # noqa: E402
    PatchEmbed,
    add_decomposed_rel_pos,
    window_partition,
    window_unpartition,
)
from segment_anything.modeling.transformer import TwoWayAttentionBlock  # noqa: E402

__all__ = ["LATENT", "Mixture", "MixtureSam", "groups_of", "responsibilities", "start_weights"]

LATENT = 64
CHANNELS = 256
PATCH, WINDOW = 16, 14
STORED_GRID = 64  # side of the grid of the stored absolute positions, the same for every input size


class Mixture(NamedTuple):
    """Mixture of K Gaussians: weights that sum to 1, means and variances; each (K,), or (B, K) for B mixtures."""

    weights: Tensor
    means: Tensor
    variances: Tensor


def start_weights(components: int) -> NDArray[np.float64]:
    """Return the (K,) mixture weights that an untrained network uses in the first round of every image.

    Published code draws them without a seed and stores them in the checkpoint. Here they depend only on K.
    """
    drawn = np.random.default_rng(zlib.crc32(b"EM_weights.weights")).random(components)
    return drawn / drawn.sum()


def responsibilities(values: Tensor, mixture: Mixture) -> Tensor:
    """Return the responsibility of every component for each map; it is the next input of ``EM_weights``.

    Parameters
    ----------
    values : (B, P) tensor
        Maps with P pixels; values in [0, 1].
    mixture : Mixture
        Components with weights, means and variances.

    Returns
    -------
    (B, K) tensor
        Posterior probabilities of the components, averaged over the pixels. A pixel whose densities are all 0 in single
        precision counts for no component, as published. So a row may sum to less than 1.
    """
    deviation = mixture.variances.sqrt()
    deviation = torch.where(deviation == 0, 1e-6, deviation)
    weights, means, deviation = (m[..., None, :] for m in (mixture.weights, mixture.means, deviation))
    distance = (values[..., None] - means) / deviation
    joint = weights * torch.exp(-0.5 * distance**2) / (deviation * math.sqrt(2 * math.pi))
    total = joint.sum(-1, keepdim=True)
    return (joint / torch.where(total == 0, 1e-6, total)).mean(1)


def groups_of(maps: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the k-means group of each of (N, ...) maps, (N,), counted from 0.

    There are `count` groups, or fewer if there are fewer different maps.
    """
    from sklearn.cluster import KMeans

    flat = maps.reshape(len(maps), -1)
    groups = min(count, len({row.tobytes() for row in flat}))
    labels: NDArray[np.int64] = KMeans(groups, random_state=0, n_init="auto").fit(flat).labels_.astype(np.int64)
    return labels


class Attention(nn.Module):
    """Self-attention over a grid with SAM's relative positions; position tables of another length are interpolated."""

    def __init__(self, width: int, heads: int, table: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_h = nn.Parameter(torch.zeros(table, width // heads))
        self.rel_w = nn.Parameter(torch.zeros(table, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each of (B, h, w, width) grids."""
        b, h, w, _ = x.shape
        query, key, value = self.qkv(x).view(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4).flatten(1, 2)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(1, 2)
        scores = add_decomposed_rel_pos(scores, query, self.rel_h, self.rel_w, (h, w), (h, w))
        mixed = (scores.softmax(-1) @ value).view(b, self.heads, h, w, -1)
        return self.proj(mixed.permute(0, 2, 3, 1, 4).flatten(3))


class Block(nn.Module):
    """Transformer block; if `window` is not 0, attention stays within squares of this side, zero-padded at borders."""

    def __init__(self, width: int, heads: int, table: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, table)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLPBlock(width, 4 * width)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, g, g, width) from (B, g, g, width)."""
        y = self.norm1(x)
        if self.window:
            windows, padded = window_partition(y, self.window)
            y = window_unpartition(self.attn(windows), self.window, padded, (x.shape[1], x.shape[2]))
        else:
            y = self.attn(y)
        x = x + y
        return x + self.mlp(self.norm2(x))


class Combiner(nn.Module):
    """Three 1x1 convolutions, each with a ReLU, that mix a latent into the image features."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (CHANNELS + LATENT, CHANNELS, CHANNELS):
            convolution = nn.Conv2d(channels, CHANNELS, 1)
            nn.init.orthogonal_(convolution.weight)
            nn.init.trunc_normal_(convolution.bias, std=0.001)
            layers += [convolution, nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor, latent: Tensor) -> Tensor:
        """Return (B, 256, g, g) from features of this shape and (B, 64) latents, the same at every position."""
        spread = latent[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return self.layers(torch.cat([features, spread], 1))


class Encoder(nn.Module):
    """SAM's image encoder with its neck. It also holds the combiner, which `forward` does not call."""

    def __init__(self, design: EncoderDesign, grid: int, table: int) -> None:
        super().__init__()
        self.grid = grid
        width, heads, everywhere = design.width, design.heads, design.global_blocks
        self.pos_embed = nn.Parameter(torch.zeros(1, STORED_GRID, STORED_GRID, width))
        self.patch_embed = PatchEmbed((PATCH, PATCH), (PATCH, PATCH), embed_dim=width)
        sides = ((table, 0) if i in everywhere else (2 * WINDOW - 1, WINDOW) for i in range(design.depth))
        self.blocks = nn.Sequential(*(Block(width, heads, length, window) for length, window in sides))
        self.neck = nn.Sequential(
            nn.Conv2d(width, CHANNELS, 1, bias=False),
            LayerNorm2d(CHANNELS),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(CHANNELS),
        )
        self.fcomb = Combiner()

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 256, g, g) features of (B, 3, S, S) images."""
        positions = self.pos_embed.permute(0, 3, 1, 2)
        positions = F.interpolate(positions, (self.grid, self.grid), mode="bicubic", align_corners=False)
        x = self.patch_embed(images) + positions.permute(0, 2, 3, 1)
        return self.neck(self.blocks(x).permute(0, 3, 1, 2))


class DecoderMlp(nn.Module):
    """MLP of the mask decoder's blocks with the published parameter names (SAM calls the layers lin1 and lin2)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Sequential(nn.Linear(width, hidden), nn.ReLU()))
        self.fc = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, n, width) from (B, n, width)."""
        return self.fc(self.layers(x))


class DecoderBlock(TwoWayAttentionBlock):
    """Block of the mask decoder. Its self-attention differs from SAM's.

    The first block adds the result of its self-attention to its input, where SAM replaces the input. The second block
    adds the encodings of the tokens permanently, also to the values, where SAM adds them to queries and keys only. The
    golden numbers of the published network show this, and weights trained with it need it.
    """

    def __init__(self, first: bool) -> None:
        super().__init__(CHANNELS, num_heads=8, mlp_dim=2048, skip_first_layer_pe=first)
        self.mlp = DecoderMlp(CHANNELS, 2048)

    def forward(self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor) -> tuple[Tensor, Tensor]:
        """Return new tokens (B, n, 256) and pixels (B, g * g, 256)."""
        q = queries if self.skip_first_layer_pe else queries + query_pe
        q = self.norm1(q + self.self_attn(q=q, k=q, v=q))
        q = self.norm2(q + self.cross_attn_token_to_image(q=q + query_pe, k=keys + key_pe, v=keys))
        q = self.norm3(q + self.mlp(q))
        attended = self.cross_attn_image_to_token(q=keys + key_pe, k=q + query_pe, v=q)
        return q, self.norm4(keys + attended)


class Decoder(MaskDecoder):
    """SAM's mask decoder with `DecoderBlock`, for batches in which every entry has its own image features."""

    def __init__(self) -> None:
        transformer = TwoWayTransformer(depth=0, embedding_dim=CHANNELS, num_heads=8, mlp_dim=2048)
        transformer.layers.extend(DecoderBlock(first) for first in (True, False))
        super().__init__(transformer_dim=CHANNELS, transformer=transformer)

    def forward(self, features: Tensor, places: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, 4, 4g, 4g) logits, the single mask first, and (B, 4) predicted qualities.

        Parameters
        ----------
        features : (B, 256, g, g) tensor
            Image features.
        places : (1, 256, g, g) tensor
            Encodings of the positions of the grid.
        sparse : (B, n, 256) tensor
            Encoded clicks.
        dense : (B, 256, g, g) tensor
            Encoded previous logits.
        """
        batch = len(sparse)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(batch, -1, -1), sparse], 1)
        found, pixels = self.transformer(features + dense, places.expand(batch, -1, -1, -1), tokens)
        upscaled = self.output_upscaling(pixels.transpose(1, 2).reshape(features.shape))
        filters = [head(found[:, 1 + i]) for i, head in enumerate(self.output_hypernetworks_mlps)]
        masks = torch.einsum("bmc,bchw->bmhw", torch.stack(filters, 1), upscaled)
        return masks, self.iou_prediction_head(found[:, 0])


class MixtureWeights(nn.Module):
    """Six linear layers from K responsibilities to K mixture weights."""

    def __init__(self, components: int) -> None:
        super().__init__()
        widths = (components, 64, 128, 256, 128, 64, components)
        for i, (before, after) in enumerate(pairwise(widths), 1):
            self.add_module(f"fc{i}", nn.Linear(before, after))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) weights that sum to 1 from (B, K) responsibilities."""
        layers = list(self.children())
        for layer in layers[:-1]:
            x = F.relu(layer(x))
        return layers[-1](x).softmax(-1)


class MixtureShapes(nn.Module):
    """Network from the encoding of a prompt to K means and K variances."""

    def __init__(self, components: int) -> None:
        super().__init__()
        self.conv1d_1 = nn.Conv1d(CHANNELS, 128, 3, padding=1)
        self.conv1d_2 = nn.Conv1d(128, 64, 3, padding=1)
        self.conv1 = nn.Conv2d(CHANNELS, 128, 3, padding=1)
        self.conv2 = nn.Conv2d(128, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 32, 3, padding=1)
        self.fc1 = nn.Linear(64 + 32 * 4, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 2 * components)

    def forward(self, sparse: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and variances, (B, K) each, for (B, n, 256) prompts and (1, 256, g, g) position encodings."""
        prompt = F.relu(self.conv1d_2(F.relu(self.conv1d_1(sparse.transpose(1, 2))))).mean(2)
        grid = places
        for layer in (self.conv1, self.conv2, self.conv3):
            grid = F.relu(layer(grid))
        grid = F.adaptive_avg_pool2d(grid, 2).flatten(1).expand(len(prompt), -1)
        hidden = F.relu(self.fc2(F.relu(self.fc1(torch.cat([prompt, grid], 1)))))
        means, variances = self.fc3(hidden).chunk(2, 1)
        return means, F.relu(variances) + 1e-6


class MixtureSam(nn.Module):
    """The complete network, untrained.

    Parameters
    ----------
    size : int
        Side S of the square input in pixels, a multiple of 16. The grid of features has g x g cells, g = S / 16.
    components : int
        Number K of mixture components.
    table : int or None
        Length of the relative-position tables of the global blocks; 2 g - 1 if None.
    encoder : EncoderDesign
        Size of the image encoder; the published one is ViT-B.

    Attributes
    ----------
    start : (K,) float64 array
        Mixture weights of the first round of every image. They are no parameters and not in the state_dict, but
        checkpoints contain them.
    """

    def __init__(
        self, size: int = 128, components: int = 16, table: int | None = None, encoder: EncoderDesign = VIT_B
    ) -> None:
        super().__init__()
        self.size, self.grid, self.components = size, size // PATCH, components
        self.image_encoder = Encoder(encoder, self.grid, table or 2 * self.grid - 1)
        self.prompt_encoder = PromptEncoder(CHANNELS, (self.grid, self.grid), (size, size), mask_in_chans=16)
        self.mask_decoder = Decoder()
        self.EM_weights = MixtureWeights(components)
        self.EM_mean_variance = MixtureShapes(components)
        self.start = start_weights(components)

    def encode(self, images: Tensor) -> Tensor:
        """Return (B, 256, g, g) features of (B, 3, S, S) RGB images in [0, 1], which are not normalised further."""
        return self.image_encoder(images)

    def places(self) -> Tensor:
        """Return the (1, 256, g, g) encodings of the positions of the grid."""
        return self.prompt_encoder.get_dense_pe()

    def prompts(self, points: Tensor, labels: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode clicks and, optionally, previous logits.

        Parameters
        ----------
        points : (B, n, 2) tensor
            Clicks (row, column) in pixels of the input; n may be 0. SAM's encoder reads the first number as x, so the
            clicks are transposed relative to the grid. The published weights were trained this way and need it.
        labels : (B, n) tensor
            Labels of the clicks: 1 positive, 0 negative.
        masks : (B, 1, 4g, 4g) tensor or None
            Previous logits.

        Returns
        -------
        sparse : (B, n + 1, 256) tensor
            Encoded clicks; the last token is SAM's padding point.
        dense : (B, 256, g, g) tensor
            Encoded previous logits, or the encoding of "no mask".
        """
        return self.prompt_encoder(points=(points, labels), boxes=None, masks=masks)

    def mixtures(self, sparse: Tensor, responsibilities: Tensor) -> Mixture:
        """Return one mixture for each image, (B, K), from (B, n, 256) prompts and (B, K) responsibilities."""
        return Mixture(self.EM_weights(responsibilities), *self.EM_mean_variance(sparse, self.places()))

    def mixture(self, sparse: Tensor, responsibilities: Tensor) -> Mixture:
        """Return the mixture that the images of a batch share, (K,): the mean of `mixtures` over the batch."""
        weights, means, variances = (m.mean(0) for m in self.mixtures(sparse, responsibilities))
        return Mixture(weights / weights.sum(), means, variances)

    def latent(self, mixture: Mixture, noise: Tensor) -> Tensor:
        """Return latents of the shape of `noise`: (..., 64) standard normal numbers, or zeros for no noise.

        The same random number scales all components, so the mixture acts as one Gaussian. With one mixture for each
        image, the shape of the noise is (..., B, 64).
        """
        centre = (mixture.weights * mixture.means).sum(-1, keepdim=True)
        return centre + noise * (mixture.weights * mixture.variances.sqrt()).sum(-1, keepdim=True)

    def combine(self, features: Tensor, latent: Tensor) -> Tensor:
        """Return (B, 256, g, g) features into which (B, 64) latents are mixed."""
        return self.image_encoder.fcomb(features, latent)

    def decode(self, features: Tensor, sparse: Tensor, dense: Tensor) -> Tensor:
        """Return the (B, 1, 4g, 4g) logits of the single mask."""
        return self.mask_decoder(features, self.places(), sparse, dense)[0][:, :1]
