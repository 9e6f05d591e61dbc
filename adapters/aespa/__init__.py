"""SPA (Zhu et al., ICCV 2025) and AESPA: interactive segmentation that adapts to one of several raters.

Both are SAM ViT-B at a small square input, trained from MedSAM, with a latent that a mixture of Gaussians shapes; the
mixture follows the clicks and the last prediction. SPA draws many latents, groups the masks, and the user's click shows
which group is meant. AESPA takes the one latent in the middle and answers one mask. See docs/aespa.md.

Options of `load`, for both: ``mode`` (``correct``, or ``parity`` with the published evaluation; the protocol ``compat``
means ``parity`` unless told otherwise), ``size`` (side of the input; 0 takes the weights'), ``style`` (see below). Of
SPA: ``samples``, ``clusters``, ``choice`` (which group the next round starts from: the one the ``clicks`` point to, or
the ``mean`` of all) and ``seed``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rclicks.cards import Checkpoint, ModelCard
from rclicks.errors import ProtocolError
from rclicks.models.options import Choice, Number, read_options
from rclicks.protocol import Protocol

if TYPE_CHECKING:
    from .model import AespaModel, SpaModel
    from .network import MixtureSam

CARDS = (
    ModelCard(
        name="aespa",
        family="aespa",
        variant="vit_b_128",
        summary="AESPA: SPA without sampling, one mask that follows one rater's clicks",
        source="hmkhoi2701/DL_Repo_Interactive_Segmentation",
        licence="not stated",
        citation="Zhu et al.: SPA: Efficient user-preference alignment against uncertainty, ICCV 2025 (AESPA: a fork)",
        prompts=("click",),
        encodes_once=True,
        parameters=94521920,
        checkpoint=Checkpoint(
            file="checkpoint_aespa_lidc.pth",
            url="https://huggingface.co/bampyeonji/aespa_lidc",
        ),
        trained_on=("LIDC-IDRI",),
        extra="sam",
    ),
    ModelCard(
        name="spa",
        family="aespa",
        variant="vit_b_128",
        summary="SPA: many sampled masks in groups; the click chooses a group",
        source="ImprintLab/SPA",
        licence="not stated (a badge says GPL)",
        citation="Zhu et al.: SPA: Efficient user-preference alignment against uncertainty, ICCV 2025",
        prompts=("click",),
        encodes_once=True,
        parameters=94521920,
        checkpoint=Checkpoint(file="checkpoint_best.pth"),  # as its training names it; none is published
        trained_on=("LIDC-IDRI",),  # by MedSAM, from which it starts
        extra="sam",
    ),
)

SIZES = (128, 256, 512, 1024)
_BOTH = {"size": Number(0, 0, 1024, whole=True)}
_OF_AESPA = {"style": Choice("validation", ("validation", "demo"))}
_OF_SPA = {
    "style": Choice("validation", ("validation", "training")),
    "samples": Number(48, 1, 1000, whole=True),
    "clusters": Number(4, 1, 1000, whole=True),
    "choice": Choice("clicks", ("clicks", "mean")),
    "seed": Number(0, 0, 2**31 - 1, whole=True),
}


def build_network(variant: str, size: int = 0) -> MixtureSam:
    """Return the untrained network of a variant, "vit_b_128" or "vit_b_256", for 16 components.

    Parameters
    ----------
    variant : str
        "vit_b_" and the side of the input in pixels.
    size : int
        Another side; 0 takes the variant's.

    Raises
    ------
    ProtocolError
        If there is no such variant.
    """
    known = {f"vit_b_{side}": side for side in SIZES}
    if variant not in known:
        raise ProtocolError(f"unknown AESPA variant {variant!r}; allowed: {', '.join(known)}")
    from .network import MixtureSam

    return MixtureSam(size or known[variant])


def load(
    card: ModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: object,
) -> AespaModel | SpaModel:
    """Load a training checkpoint of SPA or AESPA; its image size and number of components are read from it."""
    published = protocol is not None and protocol.name == "compat"
    mode = {"mode": Choice("parity" if published else "correct", ("correct", "parity"))}
    known = mode | _BOTH | (_OF_AESPA if card.name == "aespa" else _OF_SPA)
    chosen = read_options(card.name, known, options)
    if chosen["size"] % 16:
        raise ProtocolError(f"model {card.name}: option 'size' is {chosen['size']}; allowed are multiples of 16")
    if chosen.get("clusters", 0) > chosen.get("samples", 0):
        raise ProtocolError(
            f"model {card.name}: {chosen['clusters']} clusters of {chosen['samples']} samples are not possible; "
            "ask for more samples or fewer clusters"
        )
    from rclicks.models.weights import SYNTHETIC, checkpoint_id, fill, find_checkpoint

    from .model import AespaModel, SpaModel
    from .weights import read_training_checkpoint

    if checkpoint == SYNTHETIC:
        network = build_network(card.variant, chosen["size"])
        identity = fill(network, card, SYNTHETIC)
    else:
        path = find_checkpoint(card, checkpoint)
        identity = checkpoint_id(path, card)
        network = read_training_checkpoint(path).build(chosen["size"])
    chosen["size"] = network.size
    kind = AespaModel if card.name == "aespa" else SpaModel
    return kind(card, network, device, identity, chosen)
