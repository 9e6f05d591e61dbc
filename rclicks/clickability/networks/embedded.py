"""A small network that uses the image content; its output is added to the cues of the embedded click model.

The encoder is the first eleven blocks of EfficientNet-Lite0 (Tan and Le 2019; no squeeze-and-excitation, ReLU6), with
batch norms folded into the convolutions. It is frozen if it has pretrained weights. Its features at strides 4, 8 and 16
are reduced to few channels and combined with the masks and the log-density of the cues. A few convolutions at stride 4
compute the residual.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, relu, relu6

from rclicks.errors import WeightsError

__all__ = ["ResidualNetwork", "log_density"]

# (input channels, output channels, kernel, stride, expansion) of each block. Features are read after blocks 2, 4, 10.
BLOCKS = (
    (32, 16, 3, 1, 1),
    (16, 24, 3, 2, 6),
    (24, 24, 3, 1, 6),
    (24, 40, 5, 2, 6),
    (40, 40, 5, 1, 6),
    (40, 80, 3, 2, 6),
    (80, 80, 3, 1, 6),
    (80, 80, 3, 1, 6),
    (80, 112, 5, 1, 6),
    (112, 112, 5, 1, 6),
    (112, 112, 5, 1, 6),
)
TAPS = {2: 24, 4: 40, 10: 112}
SQUEEZED, HIDDEN, DROP = 8, 24, 0.5
BATCH_NORM_EPSILON = 1e-3
LOWEST = -1e4  # log-density outside the error


def log_density(scores: Tensor, error: Tensor) -> Tensor:
    """Return log-probabilities of the pixels: a softmax over the error, weighted by the values of a soft error.

    Parameters
    ----------
    scores : (B, h, w) tensor
        Scores of the pixels.
    error : (B, h, w) tensor
        Errors in [0, 1].

    Returns
    -------
    (B, h * w) tensor
        Log-probabilities. They are very low outside the error, but never infinite.
    """
    inside = error > 0
    weighed = scores + torch.log(torch.where(inside, error, torch.ones_like(error)))
    return torch.log_softmax(torch.where(inside, weighed, torch.full_like(weighed, LOWEST)).flatten(1), dim=1)


class InvertedBottleneck(nn.Module):
    """1x1 expansion, depthwise convolution and 1x1 projection, with a shortcut if input and output shapes are equal."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = nn.Conv2d(before, wide, 1) if expansion > 1 else None
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide)
        self.project = nn.Conv2d(wide, after, 1)
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, after, h / stride, w / stride) features."""
        wide = x if self.expand is None else relu6(self.expand(x))
        y = self.project(relu6(self.depthwise(wide)))
        return x + y if self.shortcut else y


class Encoder(nn.Module):
    """Stem and blocks of EfficientNet-Lite0."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.blocks = nn.ModuleList(InvertedBottleneck(*block) for block in BLOCKS)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features at strides 4, 8 and 16 of (B, 3, h, w) images in [-1, 1]."""
        x, found = relu6(self.stem(x)), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPS:
                found.append(x)
        return found

    def fill(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Load the published weights of the complete network (keys ``_conv_stem.weight``, ``_blocks.0...``).

        Raises
        ------
        WeightsError
            If a weight is missing or has another shape.
        """
        try:
            _fold(self.stem, state, "_conv_stem", "_bn0")
            for index, block in enumerate(self.blocks):
                prefix = f"_blocks.{index}."
                if block.expand is not None:
                    _fold(block.expand, state, prefix + "_expand_conv", prefix + "_bn0")
                _fold(block.depthwise, state, prefix + "_depthwise_conv", prefix + "_bn1")
                _fold(block.project, state, prefix + "_project_conv", prefix + "_bn2")
        except (KeyError, RuntimeError) as error:
            raise WeightsError(f"{origin} does not contain the weights of EfficientNet-Lite0: {error}") from error


def _fold(conv: nn.Conv2d, state: Mapping[str, Tensor], weights: str, norm: str) -> None:
    """Set the weights of a convolution to those of a stored convolution and the batch norm that follows it."""
    gain = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
    with torch.no_grad():
        conv.weight.copy_(state[f"{weights}.weight"] * gain[:, None, None, None])
        assert conv.bias is not None  # noqa: S101 - all convolutions of this network have a bias
        conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain)


class ResidualNetwork(nn.Module):
    """Network from an image, an object, an error and a prior to a map that is added to the log-density of the prior."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.squeeze = nn.ModuleList(nn.Conv2d(channels, SQUEEZED, 1) for channels in TAPS.values())
        self.near = nn.Conv2d(SQUEEZED * len(TAPS) + 3, HIDDEN, 3, padding=1)
        self.far = nn.Conv2d(HIDDEN, HIDDEN, 3, padding=2, dilation=2)
        self.farther = nn.Conv2d(HIDDEN, HIDDEN, 3, padding=4, dilation=4)
        self.out = nn.Conv2d(HIDDEN, 1, 1)
        self.drop = nn.Dropout2d(DROP)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor, masks: Tensor, prior: Tensor) -> Tensor:
        """Return a (B, 1, h, w) map, which is 0 before training.

        Parameters
        ----------
        image : (B, 3, h, w) or (1, 3, h, w) tensor
            RGB image in [0, 1], normalised by the mean and deviation of ImageNet; a single image is used for all masks.
        masks : (B, 2, h, w) tensor
            Object and error, values in [0, 1].
        prior : (B, 1, h, w) tensor
            Scores of the cues, 0 outside the error.
        """
        # The encoder was trained on (RGB - 127) / 128.
        levels = self.encoder(((image * self.deviation + self.mean) * 255 - 127) / 128)
        size = levels[0].shape[2:]
        joined = [adaptive_avg_pool2d(torch.cat([masks, prior], 1), size)]
        for squeeze, level in zip(self.squeeze, levels, strict=True):
            small = interpolate(squeeze(level), size=size, mode="bilinear", align_corners=False)
            joined.append(self.drop(small.expand(len(masks), -1, -1, -1)))
        x = relu(self.near(torch.cat(joined, 1)))
        x = x + relu(self.far(self.drop(x)))
        x = x + relu(self.farther(self.drop(x)))
        return interpolate(self.out(x), size=masks.shape[2:], mode="bilinear", align_corners=False)
