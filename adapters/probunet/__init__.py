"""The probabilistic U-Net (Kohl et al., NeurIPS 2018) with clicks, a baseline where raters differ; trained by yourself.

No weights are published for it: ``rclicks train probunet`` makes them from any set of images with one or more raters;
give its ``best.pth`` as the checkpoint. The image is seen at its own resolution, as the crops of the training were.

Options of `load`: ``samples`` (masks that are drawn each round), ``prediction`` (the answer: ``mean``, the mean of the
samples' probabilities, which needs no choice and changes least with the draw; or ``central``, the sample with the
largest mean IoU with the others, which is a mask that one rater might have drawn) and ``seed``. All samples of a round
are there for metrics of sets: ``model.samples(embedding, state)``, also before the first click.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rclicks.cards import Checkpoint, ModelCard
from rclicks.errors import ProtocolError
from rclicks.models.options import Choice, Number, read_options
from rclicks.protocol import Protocol

from .checkpoint import Design, build, read_network

if TYPE_CHECKING:
    from .model import ProbUNetModel
    from .network import ProbabilisticUNet

CARDS = (
    ModelCard(
        name="probunet",
        family="probunet",
        variant="default",
        summary="probabilistic U-Net with clicks that you trained with `rclicks train probunet`: many sampled masks",
        source="your own training",
        licence="yours; mind that of the data",
        citation="Kohl et al.: A probabilistic U-Net for segmentation of ambiguous images, NeurIPS 2018",
        prompts=("click",),
        parameters=118265,
        checkpoint=Checkpoint(file="probunet.pth"),
        extra="torch",
    ),
)

_OPTIONS = {
    "samples": Number(16, 1, 1000, whole=True),
    "prediction": Choice("mean", ("mean", "central")),
    "seed": Number(0, 0, 2**31 - 1, whole=True),
}


def build_network(variant: str) -> ProbabilisticUNet:
    """Return the untrained network of the variant "default"; a checkpoint's own sizes may differ.

    Raises
    ------
    ProtocolError
        If there is no such variant.
    """
    if variant != "default":
        raise ProtocolError(f"unknown variant {variant!r} of the probabilistic U-Net; allowed: default")
    return build(Design())


def load(
    card: ModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: object,
) -> ProbUNetModel:
    """Load a ``best.pth`` of ``rclicks train probunet``, whose sizes are read from it.

    Raises
    ------
    ProtocolError
        If an option is unknown or not allowed.
    WeightsError
        If the checkpoint is missing, unsafe or of another kind.
    """
    chosen = read_options(card.name, _OPTIONS, options)
    from rclicks.models.weights import SYNTHETIC, checkpoint_id, fill, find_checkpoint

    from .model import ProbUNetModel

    if checkpoint == SYNTHETIC:
        design, network = Design(), build_network(card.variant)
        identity = fill(network, card, SYNTHETIC)
    else:
        path = find_checkpoint(card, checkpoint)
        network, design = read_network(path)
        identity = checkpoint_id(path, card)
    return ProbUNetModel(card, network, design, device, identity, chosen)
