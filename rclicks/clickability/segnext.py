"""The click model of RClicks (Antonov et al. 2024): a SegNeXt that has learnt from people's clicks.

Options of `load`:

* ``wrapper``: what the maps are scaled to. "benchmark" scales to [0, 1] over the network's square input, bars beside
  the image included, as the published benchmark does; "simulator" scales once more over the image, as the published
  simulator and evaluation of click models do. As a density over the whole image the two differ; the least likely
  pixel of the image has exactly 0 in the second.
* ``antialias``: see `rclicks.clickability.letterbox.Letterbox.take`; off as with the versions that the authors pin.
* ``blocks``: "own", or "mmsegmentation" to build the same network from that package's blocks, if it is installed.

The authors' ablations over the width of the clicks' blur are further files of the same network: pass their path as
``checkpoint``. The smaller variants have no published weights.

Trainings follow the published recipe (``rclicks train ... --protocol compat``) and have the options ``clicks``,
``masks`` and ``sigma``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import Checkpoint, ClickModelCard
from rclicks.clickability.contract import ClickMap, ClickMapQuery, ClickModel
from rclicks.clickability.letterbox import Letterbox
from rclicks.errors import PluginError, ProtocolError
from rclicks.models.devices import translate_memory_errors
from rclicks.models.precision import network_precision
from rclicks.models.weights import fill
from rclicks.options import Option
from rclicks.protocol import Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rclicks.training.contract import TrainingData, TrainingSettings
    from rclicks.training.loop import Progress, Result

__all__ = [
    "BOX",
    "CARDS",
    "Clickability",
    "Prepared",
    "load",
    "network_image",
    "one_by_one",
    "train",
    "training_options",
]

CARDS = (
    ClickModelCard(
        name="clickability",
        variant="b",
        summary="RClicks' click model, SegNeXt-B, published weights",
        source="https://github.com/emb-ai/rclicks",
        licence="MIT",
        citation="Antonov et al.: RClicks: realistic click simulation for benchmarking interactive segmentation, "
        "NeurIPS 2024",
        batched=True,
        parameters=27604290,
        checkpoint=Checkpoint(file="clickability_model.pth"),
        trainable=True,
        trained_on=("TETRIS",),
        extra="torch",
    ),
    ClickModelCard(
        name="clickability-s",
        variant="s",
        summary="RClicks' click model with SegNeXt-S, for weights of your own",
        source="https://github.com/emb-ai/rclicks",
        licence="MIT",
        citation="Antonov et al.: RClicks: realistic click simulation for benchmarking interactive segmentation, "
        "NeurIPS 2024",
        batched=True,
        parameters=13922626,
        checkpoint=Checkpoint(file="clickability_model_segnext_s.pth"),
        trainable=True,
        extra="torch",
    ),
    ClickModelCard(
        name="clickability-t",
        variant="t",
        summary="RClicks' click model with SegNeXt-T, for weights of your own",
        source="https://github.com/emb-ai/rclicks",
        licence="MIT",
        citation="Antonov et al.: RClicks: realistic click simulation for benchmarking interactive segmentation, "
        "NeurIPS 2024",
        batched=True,
        parameters=4240322,
        checkpoint=Checkpoint(file="clickability_model_segnext_t.pth"),
        trainable=True,
        extra="torch",
    ),
)

BOX = (416, 416)
MEAN, DEVIATION = np.array([(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)], np.float32)
EPSILON = 1e-8  # of the published benchmark's min-max scaling
WRAPPERS = ("benchmark", "simulator")
BLOCKS = ("own", "mmsegmentation")


@dataclass(frozen=True, eq=False)
class Prepared:
    """What depends on the image alone.

    Attributes
    ----------
    letterbox : Letterbox
    image : (1, 3, 416, 416) float32 tensor
        Normalised, on the device.
    """

    letterbox: Letterbox
    image: torch.Tensor


def network_image(image: NDArray[np.uint8], letterbox: Letterbox) -> NDArray[np.float32]:
    """Return the (3, 416, 416) input of the network; bars beside the image have ImageNet's mean colour.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB.
    letterbox : Letterbox
    """
    normalised = (image.astype(np.float32) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(letterbox.put(normalised).transpose(2, 0, 1))


def one_by_one(answer: Callable[[ClickMapQuery], ClickMap], queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
    """Return the answer to each ask, found alone; the same ask twice in the list is answered once.

    This is how to run these networks on a CPU: on one thread, a batch of ten takes 1.2 (TranSalNet) to 1.8 times
    (SegNeXt) as long as ten single passes. Copies that only fill up a batch need no work, and no map depends on its
    neighbours in the batch.
    """
    distinct = {id(query): query for query in queries}
    found = {key: answer(query) for key, query in distinct.items()}
    return [found[id(query)] for query in queries]


class Clickability(ClickModel):
    """A network of the click model behind the click models' contract.

    Parameters
    ----------
    card : ClickModelCard
    network : torch.nn.Module
        A `ClickabilityNetwork`, in evaluation mode, on `device`.
    device, checkpoint_id : str
    wrapper, antialias
        See the module.
    together : bool or None
        Answer all asks in one forward pass; None does so anywhere but on the CPU, see `one_by_one`.
    """

    def __init__(
        self,
        card: ClickModelCard,
        network: nn.Module,
        *,
        device: str = "cpu",
        checkpoint_id: str = "none",
        wrapper: str = "benchmark",
        antialias: bool = False,
        together: bool | None = None,
    ) -> None:
        self.card, self.network, self.device, self.checkpoint_id = card, network, device, checkpoint_id
        self.wrapper, self.antialias = wrapper, antialias
        self.together = device != "cpu" if together is None else together

    def prepare(self, image: NDArray[np.uint8]) -> Prepared:
        """Return the (H, W, 3) uint8 RGB image, normalised, in the network's square and on its device."""
        import torch

        letterbox = Letterbox.of((image.shape[0], image.shape[1]), BOX)
        with translate_memory_errors():
            return Prepared(letterbox, torch.from_numpy(network_image(image, letterbox))[None].to(self.device))

    def maps(self, prepared: Prepared, queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        """Return one (H, W) float32 map an ask, in [0, 1].

        Raises
        ------
        OutOfMemory
        """
        if not self.together:
            return one_by_one(lambda query: self._batch(prepared, [query])[0], queries)
        return self._batch(prepared, queries)

    def _batch(self, prepared: Prepared, queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        return [self._of_image(boxed, prepared.letterbox) for boxed in self._boxed(prepared, queries)]

    def _boxed(self, prepared: Prepared, queries: Sequence[ClickMapQuery]) -> NDArray[np.float32]:
        """Return (B, 416, 416) maps of the network's square, each scaled to [0, 1]."""
        import torch

        from rclicks.clickability.networks.segnext import min_max

        masks = [[prepared.letterbox.put(np.asarray(m, np.float32)) for m in (a.mask, a.error)] for a in queries]
        with translate_memory_errors(), torch.inference_mode(), network_precision("float32", self.device):
            found = self.network(prepared.image, torch.from_numpy(np.array(masks)).to(self.device))
            boxed: NDArray[np.float32] = min_max(found, EPSILON)[:, 0].float().cpu().numpy()
        return boxed

    def _of_image(self, boxed: NDArray[np.float32], letterbox: Letterbox) -> NDArray[np.float32]:
        found = np.clip(letterbox.take(boxed, antialias=self.antialias), 0, None)
        if self.wrapper == "simulator":
            found = (found - found.min()) / max(float(np.ptp(found)), EPSILON)
        return found


def load(
    card: ClickModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    wrapper: str = "benchmark",
    antialias: bool = False,
    blocks: str = "own",
) -> Clickability:
    """Return the click model; its checkpoint is a plain state_dict.

    Raises
    ------
    PluginError
        If mmsegmentation is asked for and not installed.
    WeightsError
        If the checkpoint is missing, unsafe or does not fit.
    ProtocolError
        If an option is invalid.
    """
    if wrapper not in WRAPPERS:
        raise ProtocolError(f"click model {card.name}: option wrapper is {wrapper!r}; allowed: {', '.join(WRAPPERS)}")
    if not isinstance(antialias, bool):
        raise ProtocolError(f"click model {card.name}: option antialias is {antialias!r}; allowed: true, false")
    if blocks not in BLOCKS:
        raise ProtocolError(f"click model {card.name}: option blocks is {blocks!r}; allowed: {', '.join(BLOCKS)}")
    import torch

    network = _network(card, blocks)
    identity = fill(network, card, checkpoint)
    network = network.eval().requires_grad_(False).to(device)
    if device == "cpu":
        network = network.to(memory_format=torch.channels_last)  # faster there
    return Clickability(card, network, device=device, checkpoint_id=identity, wrapper=wrapper, antialias=antialias)


def _network(card: ClickModelCard, blocks: str) -> nn.Module:
    if blocks == "own":
        from rclicks.clickability.networks.segnext import ClickabilityNetwork

        return ClickabilityNetwork(card.variant)
    from rclicks.clickability.networks.mmseg import MmsegNetwork

    try:
        return MmsegNetwork(card.variant)
    except ImportError as error:
        raise PluginError(
            f"click model {card.name} with blocks=mmsegmentation: {error}. Install mmsegmentation 1.2.2, mmengine "
            "0.10, mmcv-lite 2.1, ftfy and regex, or leave the option out"
        ) from error


def training_options(card: ClickModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of a training."""
    from rclicks.clickability.training.hooks import COMMON_OPTIONS

    return COMMON_OPTIONS


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
    """Train the network from random weights by the published recipe; ``best.pth`` is the checkpoint of `load`.

    Raises
    ------
    ProtocolError
        If another recipe is asked for, whose checkpoints are those of another click model.
    """
    from rclicks.clickability.training.hooks import train_click_network

    if protocol.name != "compat":
        raise ProtocolError(
            f"{card.name} has the published recipe alone: choose protocol compat, or train "
            f"clickability-trained:architecture=segnext-{card.variant} by the default recipe"
        )
    return train_click_network(
        card,
        data,
        out,
        f"segnext-{card.variant}",
        settings=settings,
        protocol=protocol,
        start=start,
        report=report,
        **options,
    )
