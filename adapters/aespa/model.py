"""The models SPA and AESPA: the image is encoded once, and every click is one round.

The results of a round depend only on the image, the options and the clicks so far. If the memory of a state belongs to
other clicks (for example after an undo), all rounds are repeated. This costs decoder passes only.
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
_LOGIT = 0.5  # the published SPA validation compares logits, not probabilities, with 0.5


@dataclass(frozen=True, eq=False)
class Memory:
    """Result of a round, kept for the next one; g is the side of the grid of features.

    Attributes
    ----------
    clicks : tuple of Click
        Clicks up to this round.
    logits : (4g, 4g) float32 array
        Logits of the prediction; for SPA their mean over the samples.
    preference : (K,) float32 array
        Responsibilities that the round started from.
    samples : (N, 4g, 4g) float32 array or None
        Logits of the samples; None for AESPA.
    groups : (N,) int64 array or None
        Group of each sample, counted from 0; None for AESPA.
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
    features : (1, 256, g, g) float32 tensor
        Image features on the device.
    shape : tuple of int
        Height and width (H, W) of the image in pixels.
    names : tuple of str
        Name of the data set and id of the sample; they select the random numbers of SPA.
    start : Memory or None
        Result of the round without clicks; None if trajectories begin with a click.
    """

    features: Tensor
    shape: tuple[int, int]
    names: tuple[str, str]
    start: Memory | None = None


class MixtureModel(Model):
    """Base class of SPA and AESPA.

    Parameters
    ----------
    card : ModelCard
        Facts about the model.
    network : MixtureSam
        Network with its weights; it is moved to the device and no longer trained.
    device : str
        Name of the torch device.
    checkpoint_id : str
        Identity of the weights, see `rclicks.models.contract.Model`.
    options : dict
        All options of `rclicks.adapters.aespa.load` with their values.
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
        self.blocky = self.parity  # True: logits are enlarged by repetition; False: by interpolation

    @abstractmethod
    def advance(self, encoded: Encoded, memory: Memory | None, clicks: Sequence[Click]) -> Memory:
        """Compute the round with all `clicks` so far, which follows the round of `memory` (None: it is the first)."""

    @abstractmethod
    def preference(self, encoded: Encoded, memory: Memory, clicks: Sequence[Click]) -> Floats:
        """Return the (K,) responsibilities that the round with `clicks` starts from, given the previous round."""

    def embed(self, sample: Sample) -> Encoded:
        """Encode the image: resize it to a square (bilinear, antialiased); RGB in [0, 1], not normalised further."""
        pixels = np.asarray(sample.image)
        side = self.network.size
        small = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
        image = torch.as_tensor(np.asarray(small, np.float32) / 255, device=self.device).permute(2, 0, 1)[None]
        with translate_memory_errors(), torch.inference_mode(), network_precision(self.precision, self.device):
            features = self.network.encode(image).float()
        encoded = Encoded(features, (pixels.shape[0], pixels.shape[1]), (sample.dataset, sample.id))
        return replace(encoded, start=self.advance(encoded, None, ())) if self.starts_without_clicks else encoded

    def segment(self, embedding: Encoded, states: Sequence[State]) -> list[State]:
        """Predict every state separately, so that a result does not depend on the other states."""
        return [self._follow(embedding, state) for state in states]

    def synchronise(self) -> None:
        """Wait for the device."""
        synchronise(self.device)

    def _follow(self, encoded: Encoded, state: State) -> State:
        clicks = tuple(clicks_of(state.interactions))
        memory: Memory | None = state.memory
        if memory is None or not memory.clicks or memory.clicks != clicks[: len(memory.clicks)]:
            memory = encoded.start  # the memory has no clicks or other clicks: start again
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
        """Return (N, 4g, 4g) logits, one map for each row of `noise`, and the (K,) start responsibilities."""
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
        """Return the (K,) responsibilities of an (S, S) map under the mixture of `clicks` and the last preference."""
        sparse, _ = self._prompts(encoded, clicks, None)
        mixture = self.network.mixture(sparse, self._tensor(memory.preference)[None])
        found: Floats = responsibilities(values.flatten()[None], mixture)[0].cpu().numpy()
        return found

    def _on_input(self, points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
        """Return (..., 2) points (row, column) of the image as (row, column) of the network's input, not rounded.

        The published demo multiplies the coordinates, which moves a click by up to half a pixel. The mode `correct`
        maps pixel centres to pixel centres.
        """
        factor = self.network.size / np.array(shape, np.float64)
        return points * factor if self.parity else (points + 0.5) * factor - 0.5

    def _maps(self, logits: Tensor) -> Tensor:
        """Return (N, S, S) probabilities at the size of the network's input from (N, 4g, 4g) logits."""
        shape = (self.network.size, self.network.size)
        return torch.sigmoid(nearest(logits, shape) if self.blocky else bilinear(logits, shape))

    def _full_size(self, logits: Tensor, encoded: Encoded) -> Tensor:
        """Return (N, H, W) probabilities from (N, 4g, 4g) logits.

        Published code enlarges the logits to the input size and then the probabilities to the image size. The mode
        `correct` enlarges the logits once.
        """
        if self.parity:
            return bilinear(self._maps(logits), encoded.shape).clamp(0, 1)
        return torch.sigmoid(bilinear(logits, encoded.shape))

    def _exact(self) -> AbstractContextManager[None]:
        """Return the context of float32 computation; the mixture, prompts and logits use it at every precision."""
        return network_precision("float32", self.device)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)


class AespaModel(MixtureModel):
    """AESPA: one latent without noise, one mask.

    In the style `validation` (the published validation), a round without clicks comes first, and the logits of a round
    are a prompt of the next one. In the style `demo` (the published demo), the first round has a click, and no logits
    are fed back.
    """

    def __init__(
        self, card: ModelCard, network: MixtureSam, device: str, checkpoint_id: str, options: dict[str, Any]
    ) -> None:
        super().__init__(card, network, device, checkpoint_id, options)
        self.starts_without_clicks = self.feeds_back = options["style"] == "validation"
        self.blocky = self.parity and options["style"] == "validation"  # the published demo interpolates

    def advance(self, encoded: Encoded, memory: Memory | None, clicks: Sequence[Click]) -> Memory:
        """Compute one round."""
        with translate_memory_errors(), torch.inference_mode(), self._exact():
            low, preference = self._decode(encoded, memory, clicks, np.zeros((1, LATENT), np.float32))
            return Memory(tuple(clicks), low[0].cpu().numpy(), preference)

    def preference(self, encoded: Encoded, memory: Memory, clicks: Sequence[Click]) -> Floats:
        """Return the responsibilities of the last prediction under the mixture of its own round."""
        return self._explained(encoded, memory, memory.clicks, self._maps(self._tensor(memory.logits)[None]))


class SpaModel(MixtureModel):
    """SPA: many masks in groups. A click shows which group is meant, and the next round starts from this group.

    Published code selects the group with the reference mask. A model must not know the reference mask. So the group
    here is the one that contradicts the user's clicks least. `samples` and `candidates` return the masks for the
    metrics of sets of predictions.

    In the style `validation` no logits are fed back. In the style `training` the mean logits of a round are a prompt of
    the next one.
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
        """Compute one round; `noise`, (N, 64) float32, replaces the numbers drawn from names, clicks and seed."""
        if noise is None:
            noise = self._noise(encoded.names, clicks)
        with translate_memory_errors(), torch.inference_mode(), self._exact():
            low, preference = self._decode(encoded, memory, clicks, noise)
            groups = groups_of(self._maps(low).cpu().numpy(), self.options["clusters"])
            return Memory(tuple(clicks), low.mean(0).cpu().numpy(), preference, low.cpu().numpy(), groups)

    def preference(self, encoded: Encoded, memory: Memory, clicks: Sequence[Click]) -> Floats:
        """Return the responsibilities of the chosen group's mean map under the mixture of the new prompt."""
        if self.options["choice"] == "mean":
            values = self._maps(self._tensor(memory.logits)[None])
        else:
            values = self._group_maps(memory)[self.chosen(encoded, memory, clicks)]
        return self._explained(encoded, memory, clicks, values)

    def samples(self, embedding: Encoded, state: State) -> Floats:
        """Return the (N, H, W) float32 probabilities of all samples of a state that `segment` returned."""
        with torch.inference_mode():
            found: Floats = self._full_size(self._tensor(state.memory.samples), embedding).cpu().numpy()
        return found

    def candidates(self, embedding: Encoded, state: State) -> Floats:
        """Return the (k, H, W) float32 mean probabilities of the k groups of a state that `segment` returned."""
        return group_means(torch.from_numpy(self.samples(embedding, state)), state.memory.groups).numpy()

    def chosen(self, encoded: Encoded, memory: Memory, clicks: Sequence[Click]) -> int:
        """Return the group with the smallest mean of |probability - label| at the clicked pixels."""
        means = self._group_maps(memory).cpu().numpy()
        points = np.array([c.point for c in clicks], np.float64)
        rows, columns = self._pixels(points, encoded.shape)
        labels = np.array([c.positive for c in clicks], np.float32)
        return int(np.abs(means[:, rows, columns] - labels).mean(1, dtype=np.float64).argmin())

    def _group_maps(self, memory: Memory) -> Tensor:
        """Return the (k, S, S) mean probabilities of the groups at the size of the network's input."""
        return group_means(self._maps(self._tensor(memory.samples)), memory.groups)

    def _noise(self, names: tuple[str, str], clicks: Sequence[Click]) -> Floats:
        placed = [f"{c.point} {'+' if c.positive else '-'}" for c in clicks]
        rng = keyed_rng(self.options["seed"], "spa", *names, *placed)
        return rng.standard_normal((self.options["samples"], LATENT), np.float32)

    def _pixels(self, points: NDArray[np.float64], shape: tuple[int, int]) -> tuple[NDArray[np.int64], ...]:
        """Return rows and columns, (n,) each, of the input pixels that contain the centres of (n, 2) image pixels."""
        side = self.network.size
        return tuple(np.floor((points + 0.5) * side / np.array(shape)).astype(np.int64).T)


def nearest(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return (N, h, w) maps resized to `shape` by nearest-neighbour interpolation."""
    return F.interpolate(maps[:, None], shape, mode="nearest")[:, 0]


def bilinear(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return (N, h, w) maps resized to `shape` by bilinear interpolation."""
    return F.interpolate(maps[:, None], shape, mode="bilinear", align_corners=False)[:, 0]


def group_means(maps: Tensor, groups: NDArray[np.int64] | None) -> Tensor:
    """Return the (k, ...) means of (N, ...) maps over the maps of each group."""
    labels = np.asarray(groups)
    return torch.stack([maps[torch.from_numpy(labels == k)].mean(0) for k in range(int(labels.max()) + 1)])
