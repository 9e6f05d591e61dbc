"""Load pretrained weights into the backbones of click models."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from rclicks.clickability.networks.embedded import ResidualNetwork
from rclicks.errors import WeightsError
from rclicks.models.weights import load_into, read_checkpoint

__all__ = ["backbone_of", "fill_backbone"]


def backbone_of(network: nn.Module) -> nn.Module:
    """Return the backbone of a click model's network, which encodes the image."""
    if isinstance(network, ResidualNetwork):
        return network.encoder
    found = network.get_submodule("encoder_decoder.backbone")
    return found


def fill_backbone(network: nn.Module, path: Path) -> None:
    """Load published weights into the backbone: EfficientNet-Lite0 for the small network, MSCAN for SegNeXt.

    The head of a classifier is left out. MSCAN files may contain the weights under the key ``state_dict``, and their
    names may begin with ``backbone.``.

    Raises
    ------
    WeightsError
        If the file is missing, contains objects that could run code, or does not fit the backbone.
    """
    if not path.is_file():
        raise WeightsError(f"the file {path} with weights of the backbone does not exist")
    state = read_checkpoint(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise WeightsError(f"{path} contains a {type(state).__name__}; expected a state_dict")
    if isinstance(network, ResidualNetwork):
        network.encoder.fill(state, str(path))
        return
    backbone = backbone_of(network)
    plain = {key.removeprefix("backbone."): value for key, value in state.items()}
    load_into(backbone, {k: v for k, v in plain.items() if not k.startswith("head.")}, str(path))
