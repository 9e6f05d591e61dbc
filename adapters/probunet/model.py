"""The model of a probabilistic U-Net: one pass computes the features, then a short pass decodes each drawn latent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.interaction import Click, clicks_of
from rclicks.metrics.raters.overlap import Overlaps
from rclicks.models.contract import Model, State
from rclicks.models.devices import synchronise, translate_memory_errors
from rclicks.models.precision import PRECISIONS, network_precision
from rclicks.sample import Mask, Sample
from rclicks.seeds import keyed_rng

from .checkpoint import Design, grey_values, network_input, padded
from .network import ProbabilisticUNet

__all__ = ["Memory", "Prepared", "ProbUNetModel"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Image at the size of the network's input.

    Attributes
    ----------
    image : (3, h, w) float32 array
        Values from -1 to 1, padded so that all stages of the network can halve it.
    shape : tuple of int
        Height and width (H, W) of the image in pixels.
    names : tuple of str
        Name of the data set and id of the sample; they select the random numbers.
    """

    image: Floats
    shape: tuple[int, int]
    names: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Memory:
    """Input of a round's samples, in addition to the image and the clicks.

    Attributes
    ----------
    noise : (N, L) float32 array
        Standard normal numbers, which the prior transforms into N latents.
    previous : (H, W) bool array or None
        Prediction before the round; None in the first round.
    """

    noise: Floats
    previous: Mask | None


class ProbUNetModel(Model):
    """A probabilistic U-Net with clicks as additional input.

    The samples of a round depend only on the image, its names, the clicks, the previous prediction and the option
    `seed`.

    Parameters
    ----------
    card : ModelCard
        Facts about the model.
    network : ProbabilisticUNet
        Network with its weights; it is moved to the device and no longer trained.
    design : Design
        Sizes of `network`.
    device : str
        Name of the torch device.
    checkpoint_id : str
        Identity of the weights, see `rclicks.models.contract.Model`.
    options : dict
        All options of `rclicks.adapters.probunet.load` with their values.
    """

    precisions = PRECISIONS

    def __init__(
        self,
        card: ModelCard,
        network: ProbabilisticUNet,
        design: Design,
        device: str,
        checkpoint_id: str,
        options: dict[str, Any],
    ) -> None:
        self.card, self.design, self.device = card, design, device
        self.checkpoint_id, self.options = checkpoint_id, options
        self.network = network.eval().to(device)
        self.network.requires_grad_(False)

    def embed(self, sample: Sample) -> Prepared:
        """Scale and pad the image. The network is not called, because its input contains the clicks."""
        pixels = np.asarray(sample.image)
        image = padded(grey_values(pixels), self.design.reduction)
        return Prepared(image, (pixels.shape[0], pixels.shape[1]), (sample.dataset, sample.id))

    def segment(self, embedding: Prepared, states: Sequence[State]) -> list[State]:
        """Predict every state separately, so that a result does not depend on the other states."""
        return [self._round(embedding, state) for state in states]

    def samples(self, embedding: Prepared, state: State) -> Floats:
        """Return the (N, H, W) float32 probabilities of all samples of a state that `segment` returned.

        For a new ``State()`` they are the samples before the first click.
        """
        clicks = tuple(clicks_of(state.interactions))
        memory = state.memory or Memory(self._noise(embedding.names, clicks), state.mask)
        return self._samples(embedding, clicks, memory)

    def synchronise(self) -> None:
        """Wait for the device."""
        synchronise(self.device)

    def _round(self, prepared: Prepared, state: State) -> State:
        clicks = tuple(clicks_of(state.interactions))
        memory = Memory(self._noise(prepared.names, clicks), state.mask)
        samples = self._samples(prepared, clicks, memory)
        if self.options["prediction"] == "mean":
            found = samples.mean(0)
        else:
            found = samples[central(samples > self.card.threshold)]
        return State(state.interactions, found > self.card.threshold, found, memory)

    def _samples(self, prepared: Prepared, clicks: Sequence[Click], memory: Memory) -> Floats:
        previous = None if memory.previous is None else padded(memory.previous, self.design.reduction)
        height, width = prepared.shape
        with translate_memory_errors(), torch.inference_mode(), network_precision(self.precision, self.device):
            given = network_input(self.design, prepared.image, clicks, previous)[None].to(self.device)
            features = self.network.features(given)
            mean, log = (part.float() for part in self.network.prior(given))
            latents = mean + log.exp() * torch.tensor(memory.noise, device=self.device)
            # One latent after the other needs the memory of one, and the bits do not depend on the number of latents.
            maps = [torch.sigmoid(self.network.decode(features, one[None]).float())[0].cpu().numpy() for one in latents]
        return np.stack(maps)[:, :height, :width]

    def _noise(self, names: tuple[str, str], clicks: Sequence[Click]) -> Floats:
        """Return random numbers that depend on names and clicks; without click input they are equal in all rounds."""
        placed = [f"{c.point} {'+' if c.positive else '-'}" for c in clicks] if self.design.clicks else []
        rng = keyed_rng(self.options["seed"], "probunet", *names, *placed)
        return rng.standard_normal((self.options["samples"], self.design.latent), np.float32)


def central(masks: Mask) -> int:
    """Return the index of the mask with the largest mean IoU with all of (N, H, W) masks; the first one in a tie."""
    return int(Overlaps.of(masks, masks[:0]).similarity("iou").within.mean(1).argmax())
