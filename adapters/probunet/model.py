"""How a probabilistic U-Net plays: one pass for the features, then a short one for each latent that is drawn."""

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
    """An image as the network sees it.

    Attributes
    ----------
    image : (3, h, w) float32 array
        From -1 to 1, padded to what the network's stages can halve.
    shape : tuple of int
        (H, W) of the image.
    names : tuple of str
        Data set and sample.
    """

    image: Floats
    shape: tuple[int, int]
    names: tuple[str, str]


@dataclass(frozen=True, eq=False)
class Memory:
    """What a round's samples were made of, besides the image and the clicks.

    Attributes
    ----------
    noise : (N, L) float32 array
        Normal numbers; the prior makes latents of them.
    previous : (H, W) bool array or None
        The answer before the round.
    """

    noise: Floats
    previous: Mask | None


class ProbUNetModel(Model):
    """A probabilistic U-Net with clicks as further input.

    A round's samples depend on the image, its names, the clicks, the answer before and the option `seed`, and on
    nothing else.

    Parameters
    ----------
    card, device, checkpoint_id
        As in the contract.
    network : ProbabilisticUNet
    design : Design
        Of `network`.
    options : dict
        Effective options, as `adapters.probunet.load` lists them.
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
        """Scale and pad the image; the network itself sees image and clicks together."""
        pixels = np.asarray(sample.image)
        image = padded(grey_values(pixels), self.design.reduction)
        return Prepared(image, (pixels.shape[0], pixels.shape[1]), (sample.dataset, sample.id))

    def segment(self, embedding: Prepared, states: Sequence[State]) -> list[State]:
        """Play each state on its own, so that company does not matter."""
        return [self._round(embedding, state) for state in states]

    def samples(self, embedding: Prepared, state: State) -> Floats:
        """Return the (N, H, W) probabilities of all samples of a state that `segment` returned.

        For a new ``State()`` they are the samples before any click.
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
            # One after the other: the memory of one, and bits that do not hang on how many there are.
            maps = [torch.sigmoid(self.network.decode(features, one[None]).float())[0].cpu().numpy() for one in latents]
        return np.stack(maps)[:, :height, :width]

    def _noise(self, names: tuple[str, str], clicks: Sequence[Click]) -> Floats:
        """Return normal numbers of these names and clicks; a network without clicks draws the same at each click."""
        placed = [f"{c.point} {'+' if c.positive else '-'}" for c in clicks] if self.design.clicks else []
        rng = keyed_rng(self.options["seed"], "probunet", *names, *placed)
        return rng.standard_normal((self.options["samples"], self.design.latent), np.float32)


def central(masks: Mask) -> int:
    """Return which of (N, H, W) masks has the largest mean IoU with all of them; the first among equals."""
    return int(Overlaps.of(masks, masks[:0]).similarity("iou").within.mean(1).argmax())
