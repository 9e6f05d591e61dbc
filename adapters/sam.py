"""Segment Anything (Kirillov et al., ICCV 2023) and MobileSAM (Zhang et al., 2023).

The networks come from the package ``segment-anything``. The encoder of MobileSAM is
`rclicks.models.promptable.tinyvit`.

Option of `load`: ``multimask`` predicts three masks and takes the one with the best predicted IoU, as the code of the
RClicks paper does. Without it the network predicts a single mask. The logits of the chosen mask are a prompt of the
next round; the rule ``mask_prompt`` of the protocol says in which rounds they are dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rclicks.cards import Checkpoint, ModelCard
from rclicks.errors import ProtocolError
from rclicks.protocol import Protocol

if TYPE_CHECKING:
    from torch import nn

    from rclicks.models.promptable.predictor import SamModel

CARDS = (
    ModelCard(
        name="sam-vit-b",
        family="sam",
        variant="vit_b",
        summary="Segment Anything, ViT-B",
        source="facebookresearch/segment-anything",
        licence="Apache-2.0",
        citation="Kirillov et al.: Segment anything, ICCV 2023",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=93735472,
        checkpoint=Checkpoint(
            file="sam_vit_b_01ec64.pth",
            url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        ),
        trained_on=("SA-1B",),
        extra="sam",
    ),
    ModelCard(
        name="sam-vit-l",
        family="sam",
        variant="vit_l",
        summary="Segment Anything, ViT-L",
        source="facebookresearch/segment-anything",
        licence="Apache-2.0",
        citation="Kirillov et al.: Segment anything, ICCV 2023",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=312342832,
        checkpoint=Checkpoint(
            file="sam_vit_l_0b3195.pth",
            url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth",
            sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        ),
        trained_on=("SA-1B",),
        extra="sam",
    ),
    ModelCard(
        name="sam-vit-h",
        family="sam",
        variant="vit_h",
        summary="Segment Anything, ViT-H",
        source="facebookresearch/segment-anything",
        licence="Apache-2.0",
        citation="Kirillov et al.: Segment anything, ICCV 2023",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=641090608,
        checkpoint=Checkpoint(
            file="sam_vit_h_4b8939.pth",
            url="https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth",
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        ),
        trained_on=("SA-1B",),
        extra="sam",
    ),
    ModelCard(
        name="mobilesam",
        family="sam",
        variant="vit_t",
        summary="MobileSAM: SAM's decoder on a distilled TinyViT encoder",
        source="ChaoningZhang/MobileSAM",
        licence="Apache-2.0",
        citation="Zhang et al.: Faster Segment Anything, 2023",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=10130092,
        checkpoint=Checkpoint(
            file="mobile_sam.pt",
            url="https://github.com/ChaoningZhang/MobileSAM",
            sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        ),
        trained_on=("SA-1B",),
        extra="sam",
    ),
)


def build_network(variant: str) -> nn.Module:
    """Return the untrained network of the variant "vit_b", "vit_l", "vit_h" or "vit_t".

    Raises
    ------
    ProtocolError
        If there is no such variant.
    """
    from rclicks.models.promptable.networks import assemble, build_vit

    if variant == "vit_t":
        from rclicks.models.promptable.tinyvit import TinyViT

        return assemble(TinyViT(1024, classifier=True), 1024)
    if variant not in {"vit_b", "vit_l", "vit_h"}:
        raise ProtocolError(f"unknown SAM variant {variant!r}; allowed: vit_b, vit_l, vit_h, vit_t")
    return build_vit(variant)


def load(
    card: ModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    multimask: bool = True,
) -> SamModel:
    """Load a SAM or MobileSAM checkpoint, which is a plain state_dict.

    Raises
    ------
    WeightsError
        If the weights are missing or do not fit the network.
    """
    from rclicks.models.promptable.predictor import SamModel
    from rclicks.models.weights import fill

    network = build_network(card.variant)
    identity = fill(network, card, checkpoint)
    return SamModel(card, network, device, identity, protocol or Protocol(), multimask=multimask)
