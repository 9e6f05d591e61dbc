"""The click model of the RClicks paper (Antonov et al. 2024): a SegNeXt trained on clicks of people.

Options of `load`:

* ``wrapper``: scaling of the maps. "benchmark" scales them to [0, 1] over the square input of the network, including
  the bars beside the image, as the published benchmark does. "simulator" scales them again over the image, as the
  published simulator and evaluation of click models do. The two give different densities; with "simulator" the least
  likely pixel of the image is exactly 0.
* ``antialias``: see `rclicks.clickability.letterbox.Letterbox.take`. The default is off, as in the versions of
  torchvision that the authors require.
* ``blocks``: "own", or "mmsegmentation" to build the same network from the blocks of this package if it is installed.

The authors published more weight files of the same network, for other widths of the blur of the clicks. Pass the path
of such a file as ``checkpoint``. The smaller variants have no published weights.

Trainings follow the published recipe (``rclicks train ... --protocol compat``). Their options are ``clicks``, ``masks``
and ``sigma``.
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
        summary="RClicks' click model with SegNeXt-S, for your own weights",
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
        summary="RClicks' click model with SegNeXt-T, for your own weights",
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
EPSILON = 1e-8  # added to the range in the min-max scaling of the published benchmark
WRAPPERS = ("benchmark", "simulator")
BLOCKS = ("own", "mmsegmentation")


@dataclass(frozen=True, eq=False)
class Prepared:
    """Prepared image.

    Attributes
    ----------
    letterbox : Letterbox
        Position of the image in the input of the network.
    image : (1, 3, h, w) float32 tensor
        Normalised image at the size of the network's input, on the device.
    """

    letterbox: Letterbox
    image: torch.Tensor


def network_image(image: NDArray[np.uint8], letterbox: Letterbox) -> NDArray[np.float32]:
    """Return the (3, h, w) float32 input of the network; bars beside the image have the mean colour of ImageNet.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
        RGB image.
    letterbox : Letterbox
        Position of the image in the box, which has the size (h, w).
    """
    normalised = (image.astype(np.float32) / 255 - MEAN) / DEVIATION
    return np.ascontiguousarray(letterbox.put(normalised).transpose(2, 0, 1))


def one_by_one(answer: Callable[[ClickMapQuery], ClickMap], queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
    """Return the map of each query, computed in a separate call of `answer`; equal queries are computed once.

    This is faster on a CPU: on one thread, a batch of ten takes 1.2 (TranSalNet) to 1.8 times (SegNeXt) as long as ten
    single passes. Also, copies that pad a batch need no work, and no map depends on the other queries of the batch.

    Parameters
    ----------
    answer : callable
        Function that computes the map of one query.
    queries : sequence of ClickMapQuery
        Queries; two queries are equal if they are the same object.
    """
    distinct = {id(query): query for query in queries}
    found = {key: answer(query) for key, query in distinct.items()}
    return [found[id(query)] for query in queries]


class Clickability(ClickModel):
    """Click model with a `ClickabilityNetwork`.

    Parameters
    ----------
    card : ClickModelCard
        Facts about the click model.
    network : torch.nn.Module
        `ClickabilityNetwork` in evaluation mode on `device`.
    device : str
        Name of the torch device.
    checkpoint_id : str
        Identity of the weights.
    wrapper : str
        Scaling of the maps, see the docstring of this module.
    antialias : bool
        Whether maps are smoothed before they are made smaller, see the docstring of this module.
    together : bool or None
        Whether one forward pass computes all queries. None means True except on the CPU, see `one_by_one`.
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
        """Return the (H, W, 3) uint8 RGB image as normalised input of the network on its device."""
        import torch

        letterbox = Letterbox.of((image.shape[0], image.shape[1]), BOX)
        with translate_memory_errors():
            return Prepared(letterbox, torch.from_numpy(network_image(image, letterbox))[None].to(self.device))

    def maps(self, prepared: Prepared, queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        """Return one (H, W) float32 map with values in [0, 1] for each query.

        Raises
        ------
        OutOfMemory
            If the memory of the device is too small.
        """
        if not self.together:
            return one_by_one(lambda query: self._batch(prepared, [query])[0], queries)
        return self._batch(prepared, queries)

    def _batch(self, prepared: Prepared, queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        return [self._of_image(boxed, prepared.letterbox) for boxed in self._boxed(prepared, queries)]

    def _boxed(self, prepared: Prepared, queries: Sequence[ClickMapQuery]) -> NDArray[np.float32]:
        """Return (B, 416, 416) maps at the size of the network's input, each scaled to [0, 1]."""
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
    """Return the click model. Its checkpoint is a plain state_dict.

    Raises
    ------
    PluginError
        If `blocks` is "mmsegmentation" and the package is not installed.
    WeightsError
        If the checkpoint is missing, contains objects that could run code, or does not fit the network.
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
        network = network.to(memory_format=torch.channels_last)  # faster on a CPU
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
            "0.10, mmcv-lite 2.1, ftfy and regex, or leave out the option blocks"
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
    """Train the network from random weights with the published recipe; `load` reads the resulting ``best.pth``.

    Raises
    ------
    ProtocolError
        If the protocol is not "compat"; the default recipe trains the click model ``clickability-trained``.
    DataError, WeightsError
        As `rclicks.clickability.training.network.train_network`.
    """
    from rclicks.clickability.training.hooks import train_click_network

    if protocol.name != "compat":
        raise ProtocolError(
            f"{card.name} can only be trained with the published recipe: use the protocol compat, or train "
            f"clickability-trained:architecture=segnext-{card.variant} with the default recipe"
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
