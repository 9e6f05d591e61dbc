"""How SPA and AESPA play: encode once, then a round a click, each a pure function of the rounds before it.

A round's results depend on the image, the options and the clicks so far and on nothing else. A state whose memory
belongs to other clicks (after an undo, say) is played again from the start, which costs decoder passes only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rclicks.cards import ModelCard
from rclicks.interaction import Click, clicks_of
from rclicks.models.contract import Model, State
from rclicks.models.devices import synchronise, translate_memory_errors
from rclicks.models.precision import PRECISIONS, network_precision
from rclicks.sample import Sample
from rclicks.seeds import keyed_rng

from .network import LATENT, MixtureSam, groups_of, responsibilities

__all__ = ["AespaModel", "Encoded", "Memory", "SpaModel"]

Floats = NDArray[np.float32]
_LOGIT = 0.5  # published SPA validation compares logits, not probabilities, with 0.5


@dataclass(frozen=True, eq=False)
class Memory:
    """Where a trajectory stands after a round; g is the side of the grid of features.

    Attributes
    ----------
    clicks : tuple of Click
        Those that the round saw.
    logits : (4g, 4g) float32 array
        The round's prediction, of SPA the mean over its samples.
    preference : (K,) float32 array
        The responsibilities that the round started from.
    samples : (N, 4g, 4g) float32 array or None
        SPA: the logits of the samples.
    groups : (N,) int64 array or None
        SPA: the group of each sample, from 0.
    """

    clicks: tuple[Click, ...]
    logits: Floats
    preference: Floats
    samples: Floats | None = None
    groups: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class Encoded:
    """An encoded image.

    Attributes
    ----------
    features : (1, 256, g, g) tensor
        On the device.
    shape : tuple of int
        (H, W) of the image.
    names : tuple of str
        Data set and sample.
    start : Memory or None
        The round without clicks, where trajectories begin with one.
    """

    features: Tensor
    shape: tuple[int, int]
    names: tuple[str, str]
    start: Memory | None = None


class MixtureModel(Model):
    """What SPA and AESPA share.

    Parameters
    ----------
    card, device, checkpoint_id
        As in the contract.
    network : MixtureSam
    options : dict
        Effective options, as `adapters.aespa.load` lists them.
    """

    precisions = PRECISIONS
    starts_without_clicks = False
    feeds_back = False

    def __init__(
        self, card: ModelCard, network: MixtureSam, device: str, checkpoint_id: str, options: dict[str, Any]
    ) -> None:
        self.card, self.device, self.checkpoint_id, self.options = card, device, checkpoint_id, options
        self.network = network.eval().to(device)
        self.network.requires_grad_(False)
        self.parity: bool = options["mode"] == "parity"
        self.blocky = self.parity  # whether logits are repeated, not interpolated

    @abstractmethod
    def advance(self, encoded: Encoded, memory: Memory | None, clicks: Sequence[Click]) -> Memory:
        """Play the round that sees `clicks`, after that of `memory` (None for the first)."""

    @abstractmethod
    def preference(self, encoded: Encoded, memory: Memory, clicks: Sequence[Click]) -> Floats:
        """Return the (K,) responsibilities that the round of `clicks` starts from, after the round of `memory`."""

    def embed(self, sample: Sample) -> Encoded:
        """Encode the image, squashed to a square (bilinear, smoothed), RGB in [0, 1] and not normalised further."""
        pixels = np.asarray(sample.image)
        side = self.network.size
        small = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
        image = torch.as_tensor(np.asarray(small, np.float32) / 255, device=self.device).permute(2, 0, 1)[None]
        with translate_memory_errors(), torch.inference_mode(), network_precision(self.precision, self.device):
            features = self.network.encode(image).float()
        encoded = Encoded(features, (pixels.shape[0], pixels.shape[1]), (sample.dataset, sample.id))
        return replace(encoded, start=self.advance(encoded, None, ())) if self.starts_without_clicks else encoded

    def segment(self, embedding: Encoded, states: Sequence[State]) -> list[State]:
        """Play the rounds of each state on its own, so that company does not matter."""
        return [self._follow(embedding, state) for state in states]

    def synchronise(self) -> None:
        """Wait for the device."""
        synchronise(self.device)

    def _follow(self, encoded: Encoded, state: State) -> State:
        clicks = tuple(clicks_of(state.interactions))
        memory: Memory | None = state.memory
        if memory is None or not memory.clicks or memory.clicks != clicks[: len(memory.clicks)]:
            memory = encoded.start  # of other clicks, or a look before the first one that the rules do not count
        while memory is None or len(memory.clicks) < len(clicks):
            known = 0 if memory is None else len(memory.clicks)
            memory = self.advance(encoded, memory, clicks[: known + 1])
        with torch.inference_mode():
            probability = self._full_size(self._tensor(memory.logits)[None], encoded)[0]
        found = probability.cpu().numpy()
        return State(state.interactions, found > self.card.threshold, found, memory)

    def _decode(
        self, encoded: Encoded, memory: Memory | None, clicks: Sequence[Click], noise: Floats
    ) -> tuple[Tensor, Floats]:
        """Return (N, 4g, 4g) logits, one a row of `noise`, and the responsibilities that the round started from."""
        network, batch = self.network, len(noise)
        previous = self._tensor(memory.logits)[None, None] if self.feeds_back and memory is not None else None
        sparse, dense = self._prompts(encoded, clicks, previous)
        preference = network.start.astype(np.float32) if memory is None else self.preference(encoded, memory, clicks)
        mixture = network.mixture(sparse, self._tensor(preference)[None])
        latent = network.latent(mixture, self._tensor(noise))
        features = network.combine(encoded.features.expand(batch, -1, -1, -1), latent)
        with network_precision(self.precision, self.device):
            low = network.decode(features, sparse.expand(batch, -1, -1), dense.expand(batch, -1, -1, -1)).float()
        return low[:, 0].contiguous(), preference

    def _prompts(self, encoded: Encoded, clicks: Sequence[Click], previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the encoded prompts, sparse (1, n + 1, 256) and dense (1, 256, g, g)."""
        points = np.array([c.point for c in clicks], np.float64).reshape(1, -1, 2)
        labels = torch.tensor([[int(c.positive) for c in clicks]], dtype=torch.int64, device=self.device)
        return self.network.prompts(self._tensor(self._on_input(points, encoded.shape)), labels, previous)

    def _explained(self, encoded: Encoded, memory: Memory, clicks: Sequence[Click], values: Tensor) -> Floats:
        """Return the (K,) responsibilities for an (S, S) map under the mixture of `clicks` and the last preference."""
        sparse, _ = self._prompts(encoded, clicks, None)
        mixture = self.network.mixture(sparse, self._tensor(memory.preference)[None])
        found: Floats = responsibilities(values.flatten()[None], mixture)[0].cpu().numpy()
        return found

    def _on_input(self, points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
        """Return (..., 2) points (row, column) of the image in pixels of the network's input, not rounded.

        The published demo scales corners, which moves a click by up to half a pixel; `correct` scales pixel centres.
        """
        factor = self.network.size / np.array(shape, np.float64)
        return points * factor if self.parity else (points + 0.5) * factor - 0.5

    def _maps(self, logits: Tensor) -> Tensor:
        """Return (N, S, S) probabilities on the network's input of (N, 4g, 4g) logits."""
        shape = (self.network.size, self.network.size)
        return torch.sigmoid(nearest(logits, shape) if self.blocky else bilinear(logits, shape))

    def _full_size(self, logits: Tensor, encoded: Encoded) -> Tensor:
        """Return (N, H, W) probabilities of (N, 4g, 4g) logits.

        Published code scales logits to the input and their probabilities to the image; `correct` scales logits once.
        """
        if self.parity:
            return bilinear(self._maps(logits), encoded.shape).clamp(0, 1)
        return torch.sigmoid(bilinear(logits, encoded.shape))

    def _exact(self) -> AbstractContextManager[None]:
        """Return the context of what stays float32 in every precision: the mixture, prompts and logits."""
        return network_precision("float32", self.device)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)


class AespaModel(MixtureModel):
    """AESPA: one latent without noise, one mask.

    In the style of the published validation, a round without clicks comes first and each round sees the logits of the
    one before. In the style of the published demo, rounds begin with the first click and see no logits.
    """

    def __init__(
        self, card: ModelCard, network: MixtureSam, device: str, checkpoint_id: str, options: dict[str, Any]
    ) -> None:
        super().__init__(card, network, device, checkpoint_id, options)
        self.starts_without_clicks = self.feeds_back = options["style"] == "validation"
        self.blocky = self.parity and options["style"] == "validation"  # the demo interpolates

    def advance(self, encoded: Encoded, memory: Memory | None, clicks: Sequence[Click]) -> Memory:
        """Play one round."""
        with translate_memory_errors(), torch.inference_mode(), self._exact():
            low, preference = self._decode(encoded, memory, clicks, np.zeros((1, LATENT), np.float32))
            return Memory(tuple(clicks), low[0].cpu().numpy(), preference)

    def preference(self, encoded: Encoded, memory: Memory, clicks: Sequence[Click]) -> Floats:
        """Return how much of the last prediction its own mixture's components explain."""
        return self._explained(encoded, memory, memory.clicks, self._maps(self._tensor(memory.logits)[None]))


class SpaModel(MixtureModel):
    """SPA: many masks, in groups; a click shows which group is meant, and the next round starts from that group.

    Published code asks an oracle that knows the target for the group. A model must not know it, so the group is the
    one that contradicts the user's clicks least. `samples` and `candidates` give the masks for metrics of sets.
    """

    def __init__(
        self, card: ModelCard, network: MixtureSam, device: str, checkpoint_id: str, options: dict[str, Any]
    ) -> None:
        super().__init__(card, network, device, checkpoint_id, options)
        self.feeds_back = options["style"] == "training"
        if self.parity:
            self.card = replace(card, threshold=float(1 / (1 + np.exp(-_LOGIT))))

    def advance(
        self, encoded: Encoded, memory: Memory | None, clicks: Sequence[Click], noise: Floats | None = None
    ) -> Memory:
        """Play one round; `noise` (N, 64) takes the place of the normal numbers that names, clicks and seed give."""
        if noise is None:
            noise = self._noise(encoded.names, clicks)
        with translate_memory_errors(), torch.inference_mode(), self._exact():
            low, preference = self._decode(encoded, memory, clicks, noise)
            groups = groups_of(self._maps(low).cpu().numpy(), self.options["clusters"])
            return Memory(tuple(clicks), low.mean(0).cpu().numpy(), preference, low.cpu().numpy(), groups)

    def preference(self, encoded: Encoded, memory: Memory, clicks: Sequence[Click]) -> Floats:
        """Return how much of the group that the clicks point to the components of the new prompt's mixture explain."""
        if self.options["choice"] == "mean":
            values = self._maps(self._tensor(memory.logits)[None])
        else:
            values = self._group_maps(memory)[self.chosen(encoded, memory, clicks)]
        return self._explained(encoded, memory, clicks, values)

    def samples(self, embedding: Encoded, state: State) -> Floats:
        """Return the (N, H, W) probabilities of all samples of a state that `segment` returned."""
        with torch.inference_mode():
            found: Floats = self._full_size(self._tensor(state.memory.samples), embedding).cpu().numpy()
        return found

    def candidates(self, embedding: Encoded, state: State) -> Floats:
        """Return the (k, H, W) mean probabilities of the groups of a state that `segment` returned."""
        return group_means(torch.from_numpy(self.samples(embedding, state)), state.memory.groups).numpy()

    def chosen(self, encoded: Encoded, memory: Memory, clicks: Sequence[Click]) -> int:
        """Return the group that `clicks` contradict least: the mean of |probability - label| at the clicked pixels."""
        means = self._group_maps(memory).cpu().numpy()
        points = np.array([c.point for c in clicks], np.float64)
        rows, columns = self._pixels(points, encoded.shape)
        labels = np.array([c.positive for c in clicks], np.float32)
        return int(np.abs(means[:, rows, columns] - labels).mean(1, dtype=np.float64).argmin())

    def _group_maps(self, memory: Memory) -> Tensor:
        """Return (k, S, S) mean probabilities of the groups on the network's input."""
        return group_means(self._maps(self._tensor(memory.samples)), memory.groups)

    def _noise(self, names: tuple[str, str], clicks: Sequence[Click]) -> Floats:
        placed = [f"{c.point} {'+' if c.positive else '-'}" for c in clicks]
        rng = keyed_rng(self.options["seed"], "spa", *names, *placed)
        return rng.standard_normal((self.options["samples"], LATENT), np.float32)

    def _pixels(self, points: NDArray[np.float64], shape: tuple[int, int]) -> tuple[NDArray[np.int64], ...]:
        """Return rows and columns of the pixels of the network's input that hold the centres of (n, 2) image pixels."""
        side = self.network.size
        return tuple(np.floor((points + 0.5) * side / np.array(shape)).astype(np.int64).T)


def nearest(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return (N, h, w) maps at another shape, each pixel a copy of one of theirs."""
    return F.interpolate(maps[:, None], shape, mode="nearest")[:, 0]


def bilinear(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return (N, h, w) maps interpolated to another shape."""
    return F.interpolate(maps[:, None], shape, mode="bilinear", align_corners=False)[:, 0]


def group_means(maps: Tensor, groups: NDArray[np.int64] | None) -> Tensor:
    """Return (k, ...) means of (N, ...) maps over their groups."""
    labels = np.asarray(groups)
    return torch.stack([maps[torch.from_numpy(labels == k)].mean(0) for k in range(int(labels.max()) + 1)])
