"""Click models trained with ``rclicks train clickability-trained``: the cues of the embedded model plus a network.

The density of a pixel x of the error E is E(x) exp(w . cues(x) + r(x)), normalised over the error, where r is the
output of the network. A checkpoint contains the name of its network. The published recipe (``--protocol compat``)
trains other click models, `clickability`, `clickability-s` and `clickability-t`; their checkpoints are plain
state_dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import Checkpoint, ClickModelCard
from rclicks.clickability.contract import ClickMap, ClickMapQuery, ClickModel
from rclicks.clickability.embedded import WEIGHTS, Cues, cues, read_weights
from rclicks.clickability.letterbox import Letterbox
from rclicks.clickability.segnext import Prepared, network_image
from rclicks.errors import ProtocolError, WeightsError
from rclicks.models.devices import translate_memory_errors
from rclicks.models.precision import network_precision
from rclicks.models.weights import SYNTHETIC, checkpoint_id, find_checkpoint, load_into, read_checkpoint
from rclicks.options import Choice, Option
from rclicks.protocol import Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rclicks.training.contract import TrainingData, TrainingSettings
    from rclicks.training.loop import Progress, Result

__all__ = [
    "ARCHITECTURES",
    "CARDS",
    "FORMAT",
    "Trained",
    "build_network",
    "load",
    "prior_map",
    "scores",
    "train",
    "training_options",
]

CARDS = (
    ClickModelCard(
        name="clickability-trained",
        variant="mini-cnn",
        summary="the cues of clickability-mini plus a network that you trained yourself with `rclicks train`",
        source="your own training",
        licence="yours; mind that of the clicks",
        batched=True,
        parameters=710417,
        checkpoint=Checkpoint(file="clickability-trained.pth"),
        trainable=True,
        starts_from="a backbone: EfficientNet-Lite0 (mini-cnn) or MSCAN (SegNeXt)",
        extra="torch",
    ),
)

FORMAT = "rclicks trained click model 1"
ARCHITECTURES = {"mini-cnn": (256, 256), "segnext-t": (416, 416), "segnext-s": (416, 416), "segnext-b": (416, 416)}


def build_network(architecture: str) -> nn.Module:
    """Return an untrained network; `architecture` is a key of `ARCHITECTURES`."""
    if architecture == "mini-cnn":
        from rclicks.clickability.networks.embedded import ResidualNetwork

        return ResidualNetwork()
    from rclicks.clickability.networks.segnext import ClickabilityNetwork

    return ClickabilityNetwork(architecture.rpartition("-")[2])


def prior_map(found: Cues, weights: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the scores of the cues as an (H, W) float32 map: from -10 to 0 on the error, and 0 outside."""
    made = np.zeros(shape, np.float32)
    if len(found.weight):
        score = found.scores(weights)
        made[found.rows, found.columns] = np.maximum(score - score.max(), -10)
    return made


def scores(network: nn.Module, image: torch.Tensor, masks: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """Return the (B, 1, h, w) residual of a network of any architecture; only "mini-cnn" uses the prior."""
    from rclicks.clickability.networks.embedded import ResidualNetwork

    if isinstance(network, ResidualNetwork):
        return network(image, masks, prior)
    return network(image, masks)


class Trained(ClickModel):
    """Click model with a density from cues and a network.

    Parameters
    ----------
    card : ClickModelCard
        Facts about the click model.
    network : torch.nn.Module
        Network in evaluation mode on `device`.
    box : (int, int)
        Height and width of the network's input in pixels.
    weights : (5,) float64 array
        Weights of the cues.
    device : str
        Name of the torch device.
    checkpoint_id : str
        Identity of the weights.
    """

    def __init__(
        self,
        card: ClickModelCard,
        network: nn.Module,
        box: tuple[int, int],
        weights: NDArray[np.float64],
        *,
        device: str = "cpu",
        checkpoint_id: str = "none",
    ) -> None:
        self.card, self.network, self.box, self.cue_weights = card, network, box, weights
        self.device, self.checkpoint_id = device, checkpoint_id

    def prepare(self, image: NDArray[np.uint8]) -> Prepared:
        """Return the (H, W, 3) uint8 RGB image as normalised input of the network on its device."""
        import torch

        letterbox = Letterbox.of((image.shape[0], image.shape[1]), self.box)
        with translate_memory_errors():
            return Prepared(letterbox, torch.from_numpy(network_image(image, letterbox))[None].to(self.device))

    def maps(self, prepared: Prepared, queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        """Return one (H, W) float32 density for each query. It sums to 1, and it is all 0 for an empty error.

        Raises
        ------
        OutOfMemory
            If the memory of the device is too small.
        """
        import torch

        put = prepared.letterbox.put
        found = [cues(query.error) for query in queries]
        masks = np.array([[put(np.asarray(m, np.float32)) for m in (a.mask, a.error)] for a in queries])
        priors = [prior_map(c, self.cue_weights, a.error.shape) for c, a in zip(found, queries, strict=True)]
        boxed = np.array([[put(prior)] for prior in priors])
        with translate_memory_errors(), torch.inference_mode(), network_precision("float32", self.device):
            given = (torch.from_numpy(x).to(self.device) for x in (masks, boxed))
            residuals = scores(self.network, prepared.image, *given)[:, 0].float().cpu().numpy()
        maps: list[ClickMap] = []
        for pixels, residual, query in zip(found, residuals, queries, strict=True):
            added = prepared.letterbox.take(residual)[pixels.rows, pixels.columns]
            maps.append(pixels.density(pixels.scores(self.cue_weights) + added, query.error.shape))
        return maps


def load(
    card: ClickModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
) -> Trained:
    """Return the click model of a ``best.pth`` of the default recipe.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, contains objects that could run code, or is another kind of checkpoint.
    """
    if checkpoint == SYNTHETIC:
        from rclicks.models.weights import synthetic_state

        network = build_network(card.variant)
        network.load_state_dict(synthetic_state(network))
        return _ready(card, network, card.variant, read_weights(WEIGHTS), device, SYNTHETIC)
    path = find_checkpoint(card, checkpoint)
    identity = checkpoint_id(path, card)
    content: Any = read_checkpoint(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is no checkpoint of `rclicks train clickability-trained` (format {FORMAT!r}); plain state_dicts, "
            "such as those of the published recipe, belong to the click models clickability, clickability-s and "
            "clickability-t"
        )
    architecture = str(content.get("architecture"))
    if architecture not in ARCHITECTURES:
        raise WeightsError(f"{path} is for the unknown network {architecture!r}; known: {', '.join(ARCHITECTURES)}")
    network = build_network(architecture)
    load_into(network, content["state"], str(path))
    return _ready(card, network, architecture, np.array(content["cues"], np.float64), device, identity)


def _ready(
    card: ClickModelCard,
    network: nn.Module,
    architecture: str,
    weights: NDArray[np.float64],
    device: str,
    identity: str,
) -> Trained:
    network = network.eval().requires_grad_(False).to(device)
    box = ARCHITECTURES[architecture]
    return Trained(card, network, box, weights, device=device, checkpoint_id=identity)


def training_options(card: ClickModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of a training."""
    from rclicks.clickability.training.hooks import COMMON_OPTIONS

    architecture = Choice(card.variant, tuple(ARCHITECTURES), help="network that is added to the cues")
    return {"architecture": architecture, **COMMON_OPTIONS}


def train(
    card: ClickModelCard,
    data: TrainingData,
    out: Path,
    *,
    settings: TrainingSettings,
    protocol: Protocol,
    start: Path | None,
    report: Callable[[Progress], None],
    **options: Any,
) -> Result:
    """Train a network that is added to the cues; `load` reads the resulting ``best.pth``.

    `start` is a file with the weights of a pretrained backbone, or None.

    Raises
    ------
    ProtocolError
        If the protocol is "compat"; the published recipe trains other click models.
    DataError, WeightsError
        As `rclicks.clickability.training.network.train_network`.
    """
    from rclicks.clickability.training.hooks import train_click_network

    if protocol.name != "default":
        raise ProtocolError(
            f"the published recipe (protocol compat) does not train {card.name}; train clickability, clickability-s or "
            "clickability-t with it, or use the protocol default"
        )
    architecture = options.pop("architecture")
    return train_click_network(
        card, data, out, architecture, settings=settings, protocol=protocol, start=start, report=report, **options
    )
