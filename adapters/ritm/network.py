"""The network of RITM (Sofiiuk et al. 2021): clicks and the previous mask are added after the first layer of an HRNet.

The code is our own; the parameter names are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rclicks.models.early_fusion.click_maps import disk_maps, tanh_maps
from rclicks.models.layers import ScaleLayer

from .hrnet import HRNet, resize

__all__ = ["HRNetModel"]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class HRNetModel(nn.Module):
    """RITM's segmentation network for clicks.

    Parameters
    ----------
    width, ocr_width, small
        Sizes of the backbone, see `HRNet`.
    with_prev_mask : bool
        Whether the input has the previous probability as its fourth channel.
    binary_prev_mask : bool
        Whether this channel is binarised at 0.5 first.
    use_disks : bool
        Whether clicks are encoded as disks of radius `norm_radius`; otherwise as tanh of distance / `norm_radius`.
    norm_radius : float
        Radius of the disks or unit of the distances, in pixels.
    use_leaky_relu : bool
        Whether the layers that encode the clicks use leaky rectifiers.
    use_rgb_conv : bool
        Whether image and clicks are combined into a new 3-channel image (older fusion).
    conv_extend : bool
        Whether one convolution encodes the clicks.
    norm_mean_std : pair of sequences of 3 numbers
        Mean and standard deviation for the normalisation of an RGB image in [0, 1].
    """

    def __init__(
        self,
        width: int = 48,
        ocr_width: int = 256,
        small: bool = False,
        *,
        with_prev_mask: bool = False,
        binary_prev_mask: bool = False,
        use_disks: bool = False,
        norm_radius: float = 260,
        use_leaky_relu: bool = False,
        use_rgb_conv: bool = True,
        conv_extend: bool = False,
        norm_mean_std: Sequence[Sequence[float]] = IMAGENET,
    ) -> None:
        super().__init__()
        self.with_prev_mask, self.binary_prev_mask = with_prev_mask, binary_prev_mask
        self.use_disks, self.norm_radius = use_disks, norm_radius
        channels = 3 if with_prev_mask else 2

        def activation() -> nn.Module:
            return nn.LeakyReLU(0.2) if use_leaky_relu else nn.ReLU(inplace=True)

        self.rgb_conv: nn.Module | None = None
        if use_rgb_conv:
            self.rgb_conv = nn.Sequential(
                nn.Conv2d(3 + channels, 6 + channels, 1),
                nn.BatchNorm2d(6 + channels),
                activation(),
                nn.Conv2d(6 + channels, 3, 1),
            )
        elif conv_extend:
            self.maps_transform: nn.Module = nn.Conv2d(channels, 64, 3, 2, 1)
        else:
            self.maps_transform = nn.Sequential(
                nn.Conv2d(channels, 16, 1), activation(), nn.Conv2d(16, 64, 3, 2, 1), ScaleLayer()
            )
        self.feature_extractor = HRNet(width, ocr_width, small)
        mean, deviation = (torch.tensor(v, dtype=torch.float32).view(1, 3, 1, 1) for v in norm_mean_std)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def prepare(self, image: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalised (B, 3, H, W) image and the (B, 2 or 3, H, W) click channels.

        Parameters
        ----------
        image : (B, 3 or 4, H, W) tensor
            RGB image in [0, 1] and, if `with_prev_mask`, the previous probability.
        points : (B, 2N, 3) tensor
            Clicks, see `rclicks.models.early_fusion.click_maps.point_tensor`.
        """
        size = (image.shape[2], image.shape[3])
        maps = disk_maps if self.use_disks else tanh_maps
        clicks = maps(points.to(image.device), size, self.norm_radius)
        if self.with_prev_mask:
            previous = image[:, 3:]
            if self.binary_prev_mask:
                previous = (previous > 0.5).float()
            clicks = torch.cat([previous, clicks], dim=1)
        return (image[:, :3] - self.mean) / self.deviation, clicks

    def features(self, image: Tensor, clicks: Tensor) -> Tensor:
        """Return the features of the backbone for the output of `prepare`."""
        if self.rgb_conv is not None:
            return self.feature_extractor.features(self.rgb_conv(torch.cat([image, clicks], dim=1)))
        return self.feature_extractor.features(image, self.maps_transform(clicks))

    def logits(self, image: Tensor, points: Tensor) -> Tensor:
        """Return (B, 1, H, W) logits of the object."""
        size = (image.shape[2], image.shape[3])
        return resize(self.feature_extractor.head(self.features(*self.prepare(image, points)))[0], size)

    def forward(self, image: Tensor, points: Tensor) -> dict[str, Tensor]:
        """Return {"instances", "instances_aux"}: (B, 1, H, W) logits of the object and of the auxiliary head."""
        size = (image.shape[2], image.shape[3])
        main, aux = self.feature_extractor.head(self.features(*self.prepare(image, points)))
        return {"instances": resize(main, size), "instances_aux": resize(aux, size)}
