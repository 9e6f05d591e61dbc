"""HRNet (Sun et al. 2019, v2) with an object-contextual head (Yuan et al. 2020), as RITM uses them.

The code is our own; the parameter names are those of the published checkpoints. `HRNet` has two parts, so that BRS can
change the features between them: `features` (backbone) and `head` (object context and classifier).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

__all__ = ["HRNet"]


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return `x`, (B, C, h, w), resized to `size` (bilinear, aligned corners), or `x` itself if it has this size."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return interpolate(x, size=size, mode="bilinear", align_corners=True)


def _conv_bn(inside: int, outside: int, kernel: int, stride: int = 1, active: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outside),
    ]
    if active:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inside: int, planes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, planes, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(x + block(x))."""
        inner = relu(self.bn1(self.conv1(x)), inplace=True)
        return relu(self.bn2(self.conv2(inner)) + x, inplace=True)


class Bottleneck(nn.Module):
    """Residual block of 1x1, 3x3 and 1x1 convolutions; the shortcut is a 1x1 convolution if the channels change."""

    expansion = 4

    def __init__(self, inside: int, planes: int) -> None:
        super().__init__()
        outside = planes * self.expansion
        self.conv1 = nn.Conv2d(inside, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.downsample = _conv_bn(inside, outside, 1, active=False) if inside != outside else None

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(shortcut(x) + block(x))."""
        inner = relu(self.bn1(self.conv1(x)), inplace=True)
        inner = relu(self.bn2(self.conv2(inner)), inplace=True)
        shortcut = x if self.downsample is None else self.downsample(x)
        return relu(self.bn3(self.conv3(inner)) + shortcut, inplace=True)


class ExchangeModule(nn.Module):
    """Parallel branches with decreasing resolution; then each output is a sum of the results of all branches."""

    def __init__(self, widths: list[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(w, w) for _ in range(blocks))) for w in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._path(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    @staticmethod
    def _path(widths: list[int], source: int, target: int) -> nn.Module | None:
        if source == target:
            return None
        if source > target:  # from lower to higher resolution: `forward` enlarges the result of the convolution
            return _conv_bn(widths[source], widths[target], 1, active=False)
        steps = target - source
        return nn.Sequential(
            *(_conv_bn(widths[source], widths[source], 3, 2) for _ in range(steps - 1)),
            _conv_bn(widths[source], widths[target], 3, 2, active=False),
        )

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        """Return one tensor for each branch; shapes are those of `inputs`."""
        inner = [branch(x) for branch, x in zip(self.branches, inputs, strict=True)]
        outputs = []
        for target, paths in enumerate(self.fuse_layers):
            size = (inner[target].shape[2], inner[target].shape[3])
            total: Tensor | None = None
            for source, path in enumerate(paths):
                part = inner[source] if path is None else resize(path(inner[source]), size)
                total = part if total is None else total + part
            outputs.append(relu(total))
        return outputs


class ContextBlock(nn.Module):
    """Attention of pixels to object regions. RITM has one region, to which every pixel attends with weight 1.

    The query and key layers exist only because checkpoints contain them. A softmax over one region is always 1.
    """

    def __init__(self, channels: int, key: int) -> None:
        super().__init__()

        def unit(inside: int, outside: int) -> list[nn.Module]:
            # batch norm and ReLU are in a nested sequence, which gives keys such as f_pixel.1.0.weight
            return [
                nn.Conv2d(inside, outside, 1, bias=False),
                nn.Sequential(nn.BatchNorm2d(outside), nn.ReLU(inplace=True)),
            ]

        self.f_pixel = nn.Sequential(*unit(channels, key), *unit(key, key))
        self.f_object = nn.Sequential(*unit(channels, key), *unit(key, key))
        self.f_down = nn.Sequential(*unit(channels, key))
        self.f_up = nn.Sequential(*unit(key, channels))

    def forward(self, region: Tensor) -> Tensor:
        """Return the context, (B, C, 1, 1), of the region descriptor, (B, C, 1, 1)."""
        return self.f_up(self.f_down(region))


class ContextHead(nn.Module):
    """Layer that combines the features of each pixel with the object context."""

    def __init__(self, channels: int, key: int) -> None:
        super().__init__()
        self.object_context_block = ContextBlock(channels, key)
        self.conv_bn_dropout = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1, bias=False),
            nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True)),
            nn.Dropout2d(0.05),
        )

    def forward(self, pixels: Tensor, region: Tensor) -> Tensor:
        """Return (B, C, h, w) features from (B, C, h, w) pixels and a (B, C, 1, 1) region descriptor."""
        context = self.object_context_block(region).expand_as(pixels)
        return self.conv_bn_dropout(torch.cat([context, pixels], dim=1))


class HRNet(nn.Module):
    """Backbone and head with one class, output stride 4.

    Parameters
    ----------
    width : int
        Channels of the finest branch, 18 or 32; branch k has 2^k times as many.
    ocr_width : int
        Channels of the object-context attention.
    small : bool
        True for RITM's h18s, which has half of the blocks and fewer modules.

    Raises
    ------
    ValueError
        If `ocr_width` is not positive.
    """

    def __init__(self, width: int, ocr_width: int, small: bool = False) -> None:
        super().__init__()
        if ocr_width <= 0:
            raise ValueError(f"ocr_width is {ocr_width}; the variant without object context is not supported")
        blocks = 2 if small else 4
        widths = [width * 2**k for k in range(4)]
        self.width, self.ocr_width = width, ocr_width
        self.channels = sum(widths)
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(*(Bottleneck(64 if k == 0 else 256, 64) for k in range(blocks)))
        self.transition1 = nn.ModuleList([_conv_bn(256, widths[0], 3), nn.Sequential(_conv_bn(256, widths[1], 3, 2))])
        self.stage2 = nn.Sequential(ExchangeModule(widths[:2], blocks))
        self.transition2 = nn.ModuleList([None, None, nn.Sequential(_conv_bn(widths[1], widths[2], 3, 2))])
        self.stage3 = nn.Sequential(*(ExchangeModule(widths[:3], blocks) for _ in range(3 if small else 4)))
        self.transition3 = nn.ModuleList([None, None, None, nn.Sequential(_conv_bn(widths[2], widths[3], 3, 2))])
        self.stage4 = nn.Sequential(*(ExchangeModule(widths, blocks) for _ in range(2 if small else 3)))
        middle = 2 * ocr_width
        self.conv3x3_ocr = nn.Sequential(
            nn.Conv2d(self.channels, middle, 3, padding=1), nn.BatchNorm2d(middle), nn.ReLU(inplace=True)
        )
        self.ocr_distri_head = ContextHead(middle, ocr_width)
        self.cls_head = nn.Conv2d(middle, 1, 1)
        self.aux_head = nn.Sequential(
            nn.Conv2d(self.channels, self.channels, 1),
            nn.BatchNorm2d(self.channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(self.channels, 1, 1),
        )

    def features(self, image: Tensor, extra: Tensor | None = None) -> Tensor:
        """Return (B, 15 width, ~H/4, ~W/4) features of a normalised (B, 3, H, W) image.

        `extra`, (B, 64, ~H/2, ~W/2), contains the encoded clicks; it is added after the first convolution.
        """
        x = relu(self.bn1(self.conv1(image)), inplace=True)
        if extra is not None:
            x = x + extra
        x = relu(self.bn2(self.conv2(x)), inplace=True)
        x = self.layer1(x)
        branches = self.stage2([transition(x) for transition in self.transition1])
        branches = self.stage3([*branches, self.transition2[2](branches[-1])])
        branches = self.stage4([*branches, self.transition3[3](branches[-1])])
        size = (branches[0].shape[2], branches[0].shape[3])
        return torch.cat([resize(branch, size) for branch in branches], dim=1)

    def context(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (B, 2 ocr_width, h, w) input of the classifier and the (B, 1, h, w) auxiliary logits."""
        aux = self.aux_head(features)
        pixels = self.conv3x3_ocr(features)
        attention = aux.flatten(2).softmax(dim=2)  # weights of the rough object, which sum to 1 over the pixels
        region = torch.matmul(pixels.flatten(2), attention.transpose(1, 2)).unsqueeze(3)
        return self.ocr_distri_head(pixels, region), aux

    def head(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (B, 1, h, w) logits and auxiliary logits of `features`."""
        inner, aux = self.context(features)
        return self.cls_head(inner), aux

    def forward(self, image: Tensor, extra: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits and auxiliary logits, (B, 1, ~H/4, ~W/4) each."""
        return self.head(self.features(image, extra))
