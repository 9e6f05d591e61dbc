"""SPA (Zhu et al., ICCV 2025) and AESPA: interactive segmentation that adapts to one of several raters.

Both are SAM ViT-B networks with a small square input. They are trained starting from MedSAM. A latent vector is mixed
into the image features. A mixture of Gaussians shapes this vector; the mixture depends on the clicks and on the last
prediction. SPA draws many latents and groups the masks, and the user's click shows which group is meant. AESPA uses the
mean latent and returns one mask. See docs/aespa.md.

Options of `load` for both models:

* ``mode``: ``correct``, or ``parity`` with the published evaluation. The default is ``parity`` under the protocol
  ``compat`` and ``correct`` otherwise.
* ``size``: side of the input in pixels; 0 uses the size that the weights were made for.
* ``style``: which published loop the rounds follow, see `AespaModel` and `SpaModel`.

Options of SPA alone:

* ``samples``: latents in each round.
* ``clusters``: groups of masks.
* ``choice``: the group that the next round starts from. ``clicks`` takes the group that agrees best with the clicks,
  ``mean`` the mean of all samples.
* ``seed``: seed of the latents.

The options of a training are listed by `training_options`; see `rclicks.adapters.aespa.recipe.Recipe`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclicks.cards import Checkpoint, ModelCard
from rclicks.errors import ProtocolError
from rclicks.options import Choice, Number, Option, read_options
from rclicks.protocol import Protocol

if TYPE_CHECKING:
    from rclicks.training.contract import TrainingData, TrainingSettings
    from rclicks.training.loop import Progress, Result

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
        trainable=True,
        starts_from="SAM or MedSAM, ViT-B",
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
        checkpoint=Checkpoint(file="checkpoint_best.pth"),  # the name that its training gives; no file is published
        trained_on=("LIDC-IDRI",),  # MedSAM, whose weights it starts from, was trained on it
        trainable=True,
        starts_from="SAM or MedSAM, ViT-B",
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
EPOCHS, BATCH_SIZE, LR = 20, 8, 1e-4
PUBLISHED_SAMPLES, SAMPLES = 48, 8


def build_network(variant: str, size: int = 0) -> MixtureSam:
    """Return the untrained network of a variant, for example "vit_b_128" or "vit_b_256", with 16 mixture components.

    Parameters
    ----------
    variant : str
        "vit_b_" followed by the side of the input in pixels.
    size : int
        Side of the input in pixels that replaces the side of the variant; 0 keeps it.

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


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    mode = Choice("parity" if protocol.name == "compat" else "correct", ("correct", "parity"))
    return {"mode": mode, **_BOTH, **(_OF_AESPA if card.name == "aespa" else _OF_SPA)}


def load(
    card: ModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: object,
) -> AespaModel | SpaModel:
    """Load a training checkpoint of SPA or AESPA; its image size and number of components are read from it.

    Raises
    ------
    ProtocolError
        If an option is unknown or out of bounds, `size` is no multiple of 16, or there are more clusters than samples.
    WeightsError
        If the checkpoint is missing, damaged, or not one of SPA or AESPA.
    """
    chosen = read_options(card.name, load_options(card, protocol or Protocol()), options)
    if chosen["size"] % 16:
        raise ProtocolError(f"model {card.name}: option 'size' is {chosen['size']}; allowed are multiples of 16")
    if chosen.get("clusters", 0) > chosen.get("samples", 0):
        raise ProtocolError(
            f"model {card.name}: {chosen['samples']} samples cannot form {chosen['clusters']} clusters; "
            "set more samples or fewer clusters"
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


def training_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of a training; both models have the same ones, so that one script can train both."""
    samples = PUBLISHED_SAMPLES if protocol.name == "compat" else SAMPLES
    return {
        "size": Number(128, 16, 1024, whole=True, help="side of the network's input in pixels, a multiple of 16"),
        "patch": Number(
            None,
            16,
            4096,
            whole=True,
            help="side of random crops in pixels; whole images if unset; only under the protocol default",
        ),
        "encoder": Choice("vit_b", ("vit_b", "small"), help="image encoder; small is a reduced one for a CPU"),
        "components": Number(16, 1, 1024, whole=True, help="number of Gaussians in the mixture"),
        "clicks": Number(5, 1, 100, whole=True, help="clicks in each session"),
        "samples": Number(samples, 1, 1000, whole=True, help="latents in each round; AESPA always uses one"),
        "groups": Number(4, 1, 1000, whole=True, help="groups of k-means over the samples; not used by AESPA"),
    }


def train(
    card: ModelCard,
    data: TrainingData,
    out: Path,
    *,
    settings: TrainingSettings,
    protocol: Protocol,
    start: Path | None,
    report: Callable[[Progress], None],
    **options: Any,
) -> Result:
    """Train SPA or AESPA from random weights or from those of SAM or MedSAM; `load` reads the resulting ``best.pth``.

    Raises
    ------
    DataError, ProtocolError, WeightsError
        As `rclicks.adapters.aespa.training.train_aespa`.
    """
    from rclicks.training.cpu import cpu_settings
    from rclicks.training.examples import read_examples

    from .design import SMALL, VIT_B
    from .recipe import Recipe
    from .training import train_aespa

    encoder = {"vit_b": VIT_B, "small": SMALL}[options.pop("encoder")]
    recipe = Recipe(model=card.name, protocol=protocol.name, encoder=encoder, lr=settings.lr_or(LR), **options)
    with cpu_settings(settings.threads or 1):
        return train_aespa(
            read_examples(data.train_samples()),
            read_examples(data.validation_samples()),
            recipe,
            settings.for_loop(epochs=EPOCHS, batch_size=BATCH_SIZE),
            out,
            start=start,
            resume=settings.resume,
            report=report,
        )
