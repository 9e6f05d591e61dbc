"""The probabilistic U-Net (Kohl et al., NeurIPS 2018) with clicks, a baseline for images whose raters differ.

No weights are published for it. ``rclicks train probunet`` trains a network on any data set with one or more raters;
its ``best.pth`` is the checkpoint of this model. Images are not resized, and neither were the crops of the training.

Options of `load`:

* ``samples``: number of masks that are drawn in each round.
* ``prediction``: ``mean`` predicts the mean probability of the samples, which varies least with the seed. ``central``
  predicts the sample with the largest mean IoU with the others, a mask that one rater could have drawn.
* ``seed``: seed of the samples.

For metrics of sets of predictions, ``model.samples(embedding, state)`` returns all samples of a round, also before the
first click.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclicks.cards import Checkpoint, ModelCard
from rclicks.errors import ProtocolError
from rclicks.options import Choice, Number, Numbers, Option, read_options
from rclicks.protocol import Protocol

from .checkpoint import LARGEST, Design, build, read_network

if TYPE_CHECKING:
    from rclicks.training.contract import TrainingData, TrainingSettings
    from rclicks.training.loop import Progress, Result

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
        trainable=True,
        extra="torch",
    ),
)

_OPTIONS = {
    "samples": Number(16, 1, 1000, whole=True),
    "prediction": Choice("mean", ("mean", "central")),
    "seed": Number(0, 0, 2**31 - 1, whole=True),
}
STEPS, EPOCH_STEPS, BATCH_SIZE, LR = 4000, 100, 4, 2e-3


def build_network(variant: str) -> ProbabilisticUNet:
    """Return the untrained network of the variant "default"; networks in checkpoints may have other sizes.

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
    """Load a ``best.pth`` of ``rclicks train probunet``; the file contains the sizes of the network.

    Raises
    ------
    ProtocolError
        If an option is unknown or not allowed.
    WeightsError
        If the checkpoint is missing, contains objects that could run code, or is of another kind.
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


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    return _OPTIONS


def training_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of a training."""
    return {
        "steps": Number(
            None,
            1,
            10**8,
            whole=True,
            help=f"training steps, a multiple of the {EPOCH_STEPS} steps of an epoch ({STEPS} if not given)",
        ),
        "size": Number(48, 2, 4096, whole=True, help="side of the crops in pixels; crops contain objects of raters"),
        "features": Numbers((8, 16, 24, 32), 1, LARGEST, 2, 8, help="channels of each stage, the finest stage first"),
        "latent": Number(6, 1, LARGEST, whole=True, help="length of the latent vector"),
        "clicks": Choice(True, (True, False), help="whether clicks and the previous mask are input channels"),
        "beta": Number(1.0, 0, 1e6, help="weight of the divergence between posterior and prior"),
        "mixed": Choice(True, (True, False), help="compute in bfloat16 on a GPU"),
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
    """Train a network on images of one or more raters; `load` reads the resulting ``best.pth``.

    Raises
    ------
    DataError, ProtocolError, WeightsError
        As `rclicks.adapters.probunet.training.train_probunet`; also `ProtocolError` under the protocol ``compat``.
    """
    from rclicks.training.contract import refuse_compat
    from rclicks.training.cpu import cpu_settings
    from rclicks.training.examples import read_examples

    from .training import Recipe, train_probunet

    refuse_compat(card, protocol)
    epochs, steps = settings.epochs_of_steps(options["steps"], default=STEPS, epoch_steps=EPOCH_STEPS)
    design = Design(features=options["features"], latent=options["latent"], clicks=options["clicks"])
    recipe = Recipe(design=design, size=options["size"], beta=options["beta"], lr=settings.lr_or(LR))
    with cpu_settings(settings.threads or 1):
        return train_probunet(
            read_examples(data.train_samples()),
            read_examples(data.validation_samples()),
            recipe,
            settings.for_loop(epochs=epochs, batch_size=BATCH_SIZE, mixed=options["mixed"]),
            out,
            steps=steps,
            resume=settings.resume,
            report=report,
        )
