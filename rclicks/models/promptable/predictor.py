"""Base of SAM and similar models: encode an image once, decode points, boxes and previous logits in batches.

All states of one call have the same number of points. Either all of them have a box or none has, and the same holds
for mask prompts (`batch_key`). The reason is that the result of the decoder depends on the number of its tokens,
including padding.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from rclicks.cards import ModelCard
from rclicks.interaction import Box, clicks_of
from rclicks.models.contract import Model, State
from rclicks.models.devices import synchronise, translate_memory_errors
from rclicks.models.precision import PRECISIONS, network_precision
from rclicks.protocol import Protocol
from rclicks.sample import Sample

__all__ = ["Encoded", "InputGeometry", "PromptableModel", "SamModel"]


@dataclass(frozen=True)
class InputGeometry:
    """Size and position of an image in the square network input.

    Attributes
    ----------
    original : tuple of int
        (H, W) of the image.
    scaled : tuple of int
        (height, width) of the image in the network input, where its top left corner is at (0, 0).
    side : int
        Side of the network input in pixels.
    """

    original: tuple[int, int]
    scaled: tuple[int, int]
    side: int

    def scale(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (..., 2) points (x, y) of the image in pixels of the network input."""
        return points * np.array([self.scaled[1] / self.original[1], self.scaled[0] / self.original[0]])


@dataclass(frozen=True, eq=False)
class Encoded:
    """An encoded image.

    Attributes
    ----------
    features : object
        Features of the image on the device, as the decoder takes them.
    geometry : InputGeometry
        Size and position of the image in the network input.
    """

    features: Any
    geometry: InputGeometry


def long_side(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Return (height, width) scaled so that the longer side is `side`, rounded half up as in SAM."""
    factor = side / max(shape)
    return int(shape[0] * factor + 0.5), int(shape[1] * factor + 0.5)


class PromptableModel(Model):
    """Model with two steps: `_encode` encodes an image, `_decode` decodes a batch of prompts.

    Parameters
    ----------
    card : ModelCard
    network : torch.nn.Module
        Network with its weights; it is moved to the device and set to evaluation mode.
    device, checkpoint : str
        See `Model.device` and `Model.checkpoint_id`.
    protocol : Protocol
        Evaluation rules; `mask_prompt` decides in which rounds the previous logits are a prompt.
    feed_back : bool
        Whether previous logits are used as a prompt at all.
    """

    precisions = PRECISIONS

    def __init__(
        self, card: ModelCard, network: nn.Module, device: str, checkpoint: str, protocol: Protocol, feed_back: bool
    ) -> None:
        self.card, self.device, self.checkpoint_id = card, device, checkpoint
        self.network = network.eval().to(device)
        self.network.requires_grad_(False)
        self.options: dict[str, Any] = {}
        self._published, self._feed_back = protocol.mask_prompt == "published", feed_back

    @abstractmethod
    def _encode(self, image: NDArray[np.uint8]) -> Encoded:
        """Encode an (H, W, 3) uint8 RGB image."""

    @abstractmethod
    def _decode(
        self, encoded: Encoded, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return (B, H, W) probabilities, and the (B, 256, 256) logits that are a prompt of the next round.

        `points` (B, N, 2) and `boxes` (B, 4) are (x, y) in pixels of the network input. `labels` (B, N) are 1 or 0.
        `masks` (B, 1, 256, 256) are the previous logits.
        """

    def embed(self, sample: Sample) -> Encoded:
        """Encode the image."""
        with translate_memory_errors(), torch.inference_mode(), network_precision(self.precision, self.device):
            return self._encode(np.asarray(sample.image))

    def batch_key(self, embedding: Any, state: State) -> Hashable:
        """Return (number of points, whether there is a box, whether there is a mask prompt)."""
        return (len(clicks_of(state.interactions)), self._box(state) is not None, self._prompt(state) is not None)

    def segment(self, embedding: Encoded, states: Sequence[State]) -> list[State]:
        """Predict all states, with one network call for each `batch_key`."""
        groups: dict[Hashable, list[int]] = {}
        for i, state in enumerate(states):
            groups.setdefault(self.batch_key(embedding, state), []).append(i)
        found: dict[int, State] = {}
        for members in groups.values():
            found.update(zip(members, self._segment_equal(embedding, [states[i] for i in members]), strict=True))
        return [found[i] for i in range(len(states))]

    def synchronise(self) -> None:
        """Wait until the device has finished."""
        synchronise(self.device)

    def _segment_equal(self, encoded: Encoded, states: Sequence[State]) -> list[State]:
        clicks = [clicks_of(s.interactions) for s in states]
        points = labels = boxes = masks = None
        if clicks[0]:
            xy = np.array([[(c.point[1], c.point[0]) for c in slot] for slot in clicks], np.float64)
            points = self._tensor(encoded.geometry.scale(xy))
            labels = self._tensor(np.array([[int(c.positive) for c in slot] for slot in clicks]), torch.int64)
        if self._box(states[0]) is not None:
            corners = [b for b in map(self._box, states) if b is not None]
            xy = np.array([[(b.low[1], b.low[0]), (b.high[1], b.high[0])] for b in corners], np.float64)
            boxes = self._tensor(encoded.geometry.scale(xy).reshape(-1, 4))
        if self._prompt(states[0]) is not None:
            masks = self._tensor(np.stack([s.memory for s in states])[:, None])
        with translate_memory_errors(), torch.inference_mode(), network_precision(self.precision, self.device):
            probability, logits = self._decode(encoded, points, labels, boxes, masks)
            maps = probability.cpu().numpy()
            kept = logits.cpu().numpy()
        return [
            State(s.interactions, p > self.card.threshold, p, m.copy())
            for s, p, m in zip(states, maps, kept, strict=True)
        ]

    def _tensor(self, array: NDArray[Any], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.as_tensor(array, dtype=dtype, device=self.device)

    @staticmethod
    def _box(state: State) -> Box | None:
        boxes = [i for i in state.interactions if isinstance(i, Box)]
        return boxes[-1] if boxes else None

    def _prompt(self, state: State) -> NDArray[np.float32] | None:
        """Return the previous logits if they are a prompt of this round, else None."""
        if state.memory is None or not self._feed_back:
            return None
        signs = [c.positive for c in clicks_of(state.interactions)]
        if self._published and max(sum(signs), len(signs) - sum(signs)) == 1:
            return None
        logits: NDArray[np.float32] = state.memory
        return logits


class SamModel(PromptableModel):
    """A network with SAM's parts: image_encoder, prompt_encoder, mask_decoder.

    Images are scaled bilinearly with antialiasing to a longer side of 1024 pixels, normalised with SAM's mean and
    standard deviation, and padded with zeros.

    Parameters
    ----------
    card, network, device, checkpoint, protocol, feed_back
        See `PromptableModel`.
    multimask : bool
        Whether to take the mask with the highest predicted IoU of three masks, instead of the single mask.
    """

    side = 1024
    mean = (123.675, 116.28, 103.53)
    deviation = (58.395, 57.12, 57.375)

    def __init__(
        self,
        card: ModelCard,
        network: nn.Module,
        device: str,
        checkpoint: str,
        protocol: Protocol,
        *,
        multimask: bool = True,
        feed_back: bool = True,
    ) -> None:
        super().__init__(card, network, device, checkpoint, protocol, feed_back)
        self.options = {"multimask": multimask}
        self.multimask = multimask

    def _encode(self, image: NDArray[np.uint8]) -> Encoded:
        tensor, geometry = self._place(image)
        return Encoded(self.network.image_encoder(tensor), geometry)

    def _place(self, image: NDArray[np.uint8]) -> tuple[Tensor, InputGeometry]:
        """Return the network input (1, 3, side, side), and the position of the image in it."""
        scaled = long_side((image.shape[0], image.shape[1]), self.side)
        tensor = torch.as_tensor(image.astype(np.float32), device=self.device).permute(2, 0, 1)[None]
        tensor = F.interpolate(tensor, scaled, mode="bilinear", align_corners=False, antialias=True)
        mean, deviation = (self._tensor(np.array(v)).view(3, 1, 1) for v in (self.mean, self.deviation))
        tensor = (tensor - mean) / deviation
        padded = F.pad(tensor, (0, self.side - scaled[1], 0, self.side - scaled[0]))
        return padded, InputGeometry((image.shape[0], image.shape[1]), scaled, self.side)

    def _decode(
        self, encoded: Encoded, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        network = self.network
        prompts = None if points is None else (points, labels)
        sparse, dense = network.prompt_encoder(points=prompts, boxes=boxes, masks=masks)
        low, quality = network.mask_decoder(
            image_embeddings=encoded.features,
            image_pe=network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=self.multimask,
        )
        best = low[torch.arange(len(low), device=low.device), quality.argmax(1)].float()
        return self._full_size(best[:, None], encoded.geometry)[:, 0], best

    def _full_size(self, low: Tensor, geometry: InputGeometry) -> Tensor:
        """Return (B, 1, H, W) probabilities from (B, 1, 256, 256) logits.

        The logits are resized to the network input, cut to the image, resized to the image's own size, and passed
        through the sigmoid.
        """
        square = F.interpolate(low, (geometry.side, geometry.side), mode="bilinear", align_corners=False)
        cut = square[..., : geometry.scaled[0], : geometry.scaled[1]]
        return torch.sigmoid(F.interpolate(cut, geometry.original, mode="bilinear", align_corners=False))
