"""SAM 2 and SAM 2.1 (Ravi et al., 2024) through the package ``sam2``: on images, and as a tracker through volumes.

On images, the network predicts one mask (``multimask_output`` is off). If this mask is not stable, the package takes
the best of three masks. The logits of the mask are a prompt of the next round under the rule ``mask_prompt`` of the
protocol. There are no options.

On volumes, slices are used as frames of a video, as in RadioActive and MedSAM2 (Ma et al., 2025). A prompt belongs to
its slice, and the object is tracked forwards and backwards. Options:

* ``window``, ``axis``: see `rclicks.models.slicewise.slices`.
* ``side``: side of the network's square input in pixels. The published value is 1024; MedSAM2's weights need 512.
* ``keep``: largest number of slice encodings that are stored; ``strokes``: most clicks that stand for a scribble.

The hole filling of the package is off, because it needs a compiled extension that some machines do not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclicks.cards import Checkpoint, ModelCard
from rclicks.errors import ProtocolError
from rclicks.models.slicewise.slices import PERCENTILES, read_window, slice_axis
from rclicks.options import AnyValue, Choice, Number, Option, read_options
from rclicks.protocol import Protocol

if TYPE_CHECKING:
    from torch import nn

    from rclicks.models.contract import Model

CARDS = (
    ModelCard(
        name="sam2-tiny",
        family="sam2",
        variant="sam2_hiera_t",
        summary="SAM 2, Hiera tiny, single images",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=38945986,
        checkpoint=Checkpoint(
            file="sam2_hiera_tiny.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/072824/sam2_hiera_tiny.pt",
            sha256="65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2-small",
        family="sam2",
        variant="sam2_hiera_s",
        summary="SAM 2, Hiera small, single images",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=46043842,
        checkpoint=Checkpoint(
            file="sam2_hiera_small.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/072824/sam2_hiera_small.pt",
            sha256="95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2-base-plus",
        family="sam2",
        variant="sam2_hiera_b+",
        summary="SAM 2, Hiera base plus, single images",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=80833666,
        checkpoint=Checkpoint(
            file="sam2_hiera_base_plus.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/072824/sam2_hiera_base_plus.pt",
            sha256="d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2-large",
        family="sam2",
        variant="sam2_hiera_l",
        summary="SAM 2, Hiera large, single images",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=224430130,
        checkpoint=Checkpoint(
            file="sam2_hiera_large.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/072824/sam2_hiera_large.pt",
            sha256="7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2.1-tiny",
        family="sam2",
        variant="sam2.1_hiera_t",
        summary="SAM 2.1, Hiera tiny, single images",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=38962498,
        checkpoint=Checkpoint(
            file="sam2.1_hiera_tiny.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_tiny.pt",
            sha256="7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2.1-small",
        family="sam2",
        variant="sam2.1_hiera_s",
        summary="SAM 2.1, Hiera small, single images",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=46060354,
        checkpoint=Checkpoint(
            file="sam2.1_hiera_small.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_small.pt",
            sha256="6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2.1-base-plus",
        family="sam2",
        variant="sam2.1_hiera_b+",
        summary="SAM 2.1, Hiera base plus, single images",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=80850178,
        checkpoint=Checkpoint(
            file="sam2.1_hiera_base_plus.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_base_plus.pt",
            sha256="a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2.1-large",
        family="sam2",
        variant="sam2.1_hiera_l",
        summary="SAM 2.1, Hiera large, single images",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        prompts=("click", "box", "mask"),
        encodes_once=True,
        batched=True,
        parameters=224446642,
        checkpoint=Checkpoint(
            file="sam2.1_hiera_large.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_large.pt",
            sha256="2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2-video-tiny",
        family="sam2_video",
        variant="sam2_hiera_t",
        summary="SAM 2, Hiera tiny, video predictor through the slices of a volume",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        dims=3,
        prompts=("click", "box"),
        accepts=("click", "box", "scribble", "lasso"),
        encodes_once=True,
        parameters=38945986,
        checkpoint=Checkpoint(
            file="sam2_hiera_tiny.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/072824/sam2_hiera_tiny.pt",
            sha256="65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2-video-small",
        family="sam2_video",
        variant="sam2_hiera_s",
        summary="SAM 2, Hiera small, video predictor through the slices of a volume",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        dims=3,
        prompts=("click", "box"),
        accepts=("click", "box", "scribble", "lasso"),
        encodes_once=True,
        parameters=46043842,
        checkpoint=Checkpoint(
            file="sam2_hiera_small.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/072824/sam2_hiera_small.pt",
            sha256="95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2-video-base-plus",
        family="sam2_video",
        variant="sam2_hiera_b+",
        summary="SAM 2, Hiera base plus, video predictor through the slices of a volume",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        dims=3,
        prompts=("click", "box"),
        accepts=("click", "box", "scribble", "lasso"),
        encodes_once=True,
        parameters=80833666,
        checkpoint=Checkpoint(
            file="sam2_hiera_base_plus.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/072824/sam2_hiera_base_plus.pt",
            sha256="d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2-video-large",
        family="sam2_video",
        variant="sam2_hiera_l",
        summary="SAM 2, Hiera large, video predictor through the slices of a volume",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        dims=3,
        prompts=("click", "box"),
        accepts=("click", "box", "scribble", "lasso"),
        encodes_once=True,
        parameters=224430130,
        checkpoint=Checkpoint(
            file="sam2_hiera_large.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/072824/sam2_hiera_large.pt",
            sha256="7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2.1-video-tiny",
        family="sam2_video",
        variant="sam2.1_hiera_t",
        summary="SAM 2.1, Hiera tiny, video predictor through the slices of a volume",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        dims=3,
        prompts=("click", "box"),
        accepts=("click", "box", "scribble", "lasso"),
        encodes_once=True,
        parameters=38962498,
        checkpoint=Checkpoint(
            file="sam2.1_hiera_tiny.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_tiny.pt",
            sha256="7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2.1-video-small",
        family="sam2_video",
        variant="sam2.1_hiera_s",
        summary="SAM 2.1, Hiera small, video predictor through the slices of a volume",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        dims=3,
        prompts=("click", "box"),
        accepts=("click", "box", "scribble", "lasso"),
        encodes_once=True,
        parameters=46060354,
        checkpoint=Checkpoint(
            file="sam2.1_hiera_small.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_small.pt",
            sha256="6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2.1-video-base-plus",
        family="sam2_video",
        variant="sam2.1_hiera_b+",
        summary="SAM 2.1, Hiera base plus, video predictor through the slices of a volume",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        dims=3,
        prompts=("click", "box"),
        accepts=("click", "box", "scribble", "lasso"),
        encodes_once=True,
        parameters=80850178,
        checkpoint=Checkpoint(
            file="sam2.1_hiera_base_plus.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_base_plus.pt",
            sha256="a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
    ModelCard(
        name="sam2.1-video-large",
        family="sam2_video",
        variant="sam2.1_hiera_l",
        summary="SAM 2.1, Hiera large, video predictor through the slices of a volume",
        source="facebookresearch/sam2",
        licence="Apache-2.0",
        citation="Ravi et al.: SAM 2, segment anything in images and videos, 2024",
        dims=3,
        prompts=("click", "box"),
        accepts=("click", "box", "scribble", "lasso"),
        encodes_once=True,
        parameters=224446642,
        checkpoint=Checkpoint(
            file="sam2.1_hiera_large.pt",
            url="https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_large.pt",
            sha256="2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        ),
        trained_on=("SA-1B", "SA-V"),
        extra="sam2",
    ),
)

VIDEO_OPTIONS: dict[str, Number | Choice] = {
    "side": Number(1024, 128, 4096, whole=True),
    "keep": Number(64, 1, 100_000, whole=True),
    "strokes": Number(5, 1, 100, whole=True),
}


def build_network(variant: str, side: int | None = None) -> nn.Module:
    """Return the untrained network of a variant such as "sam2.1_hiera_t" (t, s, b+, l).

    Parameters
    ----------
    variant : str
        Name of the configuration.
    side : int or None
        Side of the video predictor's square input in pixels, a multiple of 32. None builds the network for images.

    Raises
    ------
    ProtocolError
        If there is no such variant, or the side is no multiple of 32.
    """
    if side is not None and side % 32:
        raise ProtocolError(f"option 'side' is {side}; expected a multiple of 32")
    from rclicks.models.torchvision_shim import import_torchvision

    import_torchvision()
    from .build import VIDEO_CONFIGURATION, build_sam2

    return build_sam2(variant, CARDS, None if side is None else {**VIDEO_CONFIGURATION, "image_size": side})


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    if card.dims == 2:
        return {}
    return {"window": AnyValue(PERCENTILES), "axis": AnyValue(0), **VIDEO_OPTIONS}


def load(
    card: ModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: Any,
) -> Model:
    """Load a SAM 2 checkpoint; its key ``model`` contains the state_dict.

    Raises
    ------
    ProtocolError
        If an option is unknown or not allowed.
    WeightsError
        If the weights are missing or do not fit the network.
    """
    known = read_options(card.name, load_options(card, protocol or Protocol()), options)
    if card.dims == 3:
        return _load_video(card, checkpoint, device, known)
    from rclicks.models.weights import fill

    from .images import Sam2Model

    network = build_network(card.variant)
    identity = fill(network, card, checkpoint, wrapper="model")
    return Sam2Model(card, network, device, identity, protocol or Protocol(), feed_back=True)


def _load_video(card: ModelCard, checkpoint: str | Path | None, device: str, options: dict[str, Any]) -> Model:
    slice_axis(options["axis"], (1.0, 1.0, 1.0))
    options = options | {"window": read_window(options["window"])}
    from rclicks.models.weights import fill

    from .video import Sam2VideoModel

    network = build_network(card.variant, options["side"])
    identity = fill(network, card, checkpoint, wrapper="model")
    return Sam2VideoModel(card, network, device, identity, options)
