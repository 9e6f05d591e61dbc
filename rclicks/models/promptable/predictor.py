"""What SAM and its kin share: encode an image once, decode points, boxes and previous logits in batches.

Lanes of one call have the same number of points, all or none a box, all or none a mask prompt (`batch_key`), because
the decoder's result depends on how many tokens it sees, padding included.
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
    """How an image lies on the network's square input.

    Attributes
    ----------
    original : tuple of int
        (H, W) of the image.
    scaled : tuple of int
        (height, width) that it has on the canvas, from the top left corner.
    side : int
        Of the canvas.
    """

    original: tuple[int, int]
    scaled: tuple[int, int]
    side: int

    def scale(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (..., 2) points (x, y) of the image on the canvas."""
        return points * np.array([self.scaled[1] / self.original[1], self.scaled[0] / self.original[0]])


@dataclass(frozen=True, eq=False)
class Encoded:
    """An encoded image: features on the device and its place on the canvas."""

    features: Any
    geometry: InputGeometry


def long_side(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Return (height, width) with the longer side `side`, rounded half up as SAM does."""
    factor = side / max(shape)
    return int(shape[0] * factor + 0.5), int(shape[1] * factor + 0.5)


class PromptableModel(Model):
    """The two-step model: `_encode` an image, `_decode` a batch of prompts.

    Parameters
    ----------
    card, device, checkpoint_id
        As in the contract.
    protocol : Protocol
        `mask_prompt` decides when previous logits are dropped.
    feed_back : bool
        Whether previous logits are a prompt at all.
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
        """Return (B, H, W) probabilities and (B, 256, 256) logits to feed back.

        `points` (B, N, 2) and `boxes` (B, 4) are x, y on the canvas, `labels` (B, N) 1 or 0, `masks` (B, 1, 256, 256).
        """

    def embed(self, sample: Sample) -> Encoded:
        """Encode the image."""
        with translate_memory_errors(), torch.inference_mode(), network_precision(self.precision, self.device):
            return self._encode(np.asarray(sample.image))

    def batch_key(self, embedding: Any, state: State) -> Hashable:
        """Return (number of points, box, mask prompt)."""
        return (len(clicks_of(state.interactions)), self._box(state) is not None, self._prompt(state) is not None)

    def segment(self, embedding: Encoded, states: Sequence[State]) -> list[State]:
        """Decode lanes of equal keys in one call; other lanes in one call a key."""
        groups: dict[Hashable, list[int]] = {}
        for i, state in enumerate(states):
            groups.setdefault(self.batch_key(embedding, state), []).append(i)
        found: dict[int, State] = {}
        for members in groups.values():
            found.update(zip(members, self._segment_equal(embedding, [states[i] for i in members]), strict=True))
        return [found[i] for i in range(len(states))]

    def synchronise(self) -> None:
        """Wait for the device."""
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
        """Return the previous logits if they are to be fed back."""
        if state.memory is None or not self._feed_back:
            return None
        signs = [c.positive for c in clicks_of(state.interactions)]
        if self._published and max(sum(signs), len(signs) - sum(signs)) == 1:
            return None
        logits: NDArray[np.float32] = state.memory
        return logits


class SamModel(PromptableModel):
    """A network with SAM's parts: image_encoder, prompt_encoder, mask_decoder.

    Images keep their aspect ratio: long side 1024, bilinear with antialiasing, SAM's mean and deviation, zero padding.

    Parameters
    ----------
    multimask : bool
        Take the best of three masks by predicted IoU instead of the single mask.
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
        """Return the network's input (1, 3, side, side) and where the image lies on it."""
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
        """Return (B, 1, H, W) probabilities from (B, 1, 256, 256) logits: to the canvas, cut, to the image, sigmoid."""
        square = F.interpolate(low, (geometry.side, geometry.side), mode="bilinear", align_corners=False)
        cut = square[..., : geometry.scaled[0], : geometry.scaled[1]]
        return torch.sigmoid(F.interpolate(cut, geometry.original, mode="bilinear", align_corners=False))
