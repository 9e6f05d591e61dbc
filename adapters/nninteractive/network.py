"""The network of nnInteractive's published weights without its weights, for counting parameters and for timing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rclicks.errors import PluginError

from .session import INSTALL

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build_resenc_l"]


def build_resenc_l() -> nn.Module:
    """Return the untrained residual-encoder U-Net of the published weights.

    Raises
    ------
    PluginError
        If the package of the network is not installed.
    """
    try:
        from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
    except ImportError as error:
        raise PluginError(INSTALL) from error
    from torch import nn

    network: nn.Module = ResidualEncoderUNet(
        input_channels=8,
        n_stages=6,
        features_per_stage=(32, 64, 128, 256, 320, 320),
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=(1, 2, 2, 2, 2, 2),
        n_blocks_per_stage=(1, 3, 4, 6, 6, 6),
        num_classes=2,
        n_conv_per_stage_decoder=(1, 1, 1, 1, 1),
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )
    return network
