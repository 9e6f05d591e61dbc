"""Early-fusion click models (such as RITM): zoom, flip, previous mask and click points for any network.

A family passes `EarlyFusionModel` a network and a `ZoomRule` for each data set. The network maps a (B, 3 or 4, h, w)
batch and a point tensor to (B, 1, h, w) logits. A family with another kind of network overrides `predict`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.errors import DataError
from rclicks.interaction import Click, clicks_of
from rclicks.models.contract import Model, State
from rclicks.models.devices import synchronise, translate_memory_errors
from rclicks.models.early_fusion.click_maps import PointRow, mirrored, point_tensor
from rclicks.models.early_fusion.zoom import Look, Region, ZoomRule
from rclicks.models.precision import PRECISIONS, network_precision
from rclicks.sample import Sample

if TYPE_CHECKING:
    import torch

__all__ = ["EarlyFusionModel", "Embedding", "Memory", "Network", "Slot", "resize"]

Network = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True, eq=False)
class Embedding:
    """An image on the device.

    Attributes
    ----------
    image : (1, 3, H, W) float32 tensor
        RGB image with values in [0, 1].
    zoom : ZoomRule or None
        Zoom rule of the data set of this image; None never zooms.
    """

    image: torch.Tensor
    zoom: ZoomRule | None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.image.shape[2], self.image.shape[3]


@dataclass(frozen=True, eq=False)
class Memory:
    """Data that a trajectory needs in the next round (`State.memory`).

    Attributes
    ----------
    region : Region or None
        Region of the image that the network saw in the last round; None for the whole image.
    probability : (H, W) float32 array
        Probabilities of the last round, which are the previous mask of the next round (the same array as in the state).
    extra : object
        Further data of a subclass, for example the vector that BRS optimises.
    """

    region: Region | None
    probability: NDArray[np.float32]
    extra: Any = None


@dataclass(frozen=True, eq=False)
class Slot:
    """Network input of one state.

    Attributes
    ----------
    clicks : list of Click
        Clicks in image coordinates.
    look : Look
        Part of the image that the network sees.
    rows : list of PointRow
        Clicks in coordinates of the network input.
    previous : (H, W) float32 array or None
        Probabilities of the previous round; None in the first round.
    extra : object
        `Memory.extra` of the last round.
    """

    clicks: list[Click]
    look: Look
    rows: list[PointRow]
    previous: NDArray[np.float32] | None
    extra: Any = None


def resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return (B, C, h, w) maps resized to `size` (height, width), bilinearly and with aligned corners.

    Maps that already have this size are returned unchanged.
    """
    from torch.nn.functional import interpolate

    if (maps.shape[2], maps.shape[3]) == tuple(size):
        return maps
    return interpolate(maps, size=size, mode="bilinear", align_corners=True)


class EarlyFusionModel(Model):
    """Model with a network that takes clicks.

    Parameters
    ----------
    card : ModelCard
    network : callable
        Function (batch, points) -> (B, 1, h, w) logits, with frozen weights and in evaluation mode.
    previous : bool
        Whether the network takes the previous probabilities as fourth channel.
    zoom : callable
        Function from the name of a data set to its `ZoomRule`, or to None for no zoom.
    flip : bool
        Whether the logits of the image and of its mirror image are averaged.
    device, checkpoint_id, options
        See `Model`.
    """

    precisions = PRECISIONS

    def __init__(
        self,
        card: ModelCard,
        network: Network,
        *,
        previous: bool,
        zoom: Callable[[str], ZoomRule | None],
        flip: bool = True,
        device: str = "cpu",
        checkpoint_id: str = "none",
        options: dict[str, Any] | None = None,
    ) -> None:
        self.card, self.network = card, network
        self.previous, self.zoom, self.flip = previous, zoom, flip
        self.device, self.checkpoint_id, self.options = device, checkpoint_id, options or {}

    # -- the contract -------------------------------------------------------------------------------------------

    def embed(self, sample: Sample) -> Embedding:
        """Move the image to the device; an early-fusion network cannot compute anything before the first click.

        Raises
        ------
        DataError
            If the image is not (H, W, 3) uint8.
        """
        import torch

        image = sample.image
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise DataError(
                f"{self.card.name} needs an (H, W, 3) uint8 RGB image, but {sample.dataset}/{sample.id} is "
                f"{image.dtype} of shape {image.shape}"
            )
        with translate_memory_errors():
            pixels = torch.tensor(image, device=self.device).permute(2, 0, 1)[None]
            return Embedding(
                pixels.to(torch.float32, memory_format=torch.contiguous_format) / 255, self.zoom(sample.dataset)
            )

    def batch_key(self, embedding: Embedding, state: State) -> Hashable:
        """Return the size of the network input, which depends on the region that the state zooms into."""
        return self.slot(embedding, state).look.size

    def segment(self, embedding: Embedding, states: Sequence[State]) -> list[State]:
        """Predict all states; states with equal sizes of the network input share one call."""
        slots = [self.slot(embedding, state) for state in states]
        groups: dict[tuple[int, int], list[int]] = {}
        for i, slot in enumerate(slots):
            groups.setdefault(slot.look.size, []).append(i)
        found: dict[int, State] = {}
        with translate_memory_errors(), self.context(), network_precision(self.precision, self.device):
            for members in groups.values():
                results = self._run(embedding, [slots[i] for i in members])
                for i, memory in zip(members, results, strict=True):
                    mask = memory.probability > self.card.threshold
                    found[i] = replace(states[i], mask=mask, probability=memory.probability, memory=memory)
        return [found[i] for i in range(len(states))]

    def synchronise(self) -> None:
        """Wait until the device has finished."""
        synchronise(self.device)

    # -- methods that families may override ---------------------------------------------------------------------

    def context(self) -> AbstractContextManager[Any]:
        """Return the context of network calls: no gradients."""
        import torch

        return torch.inference_mode()

    def predict(self, embedding: Embedding, slots: Sequence[Slot]) -> tuple[torch.Tensor, list[Any]]:
        """Return (L, 1, h, w) logits of L slots of equal size, averaged over flips, and `extra` of their memories."""
        batch, points = self.inputs(embedding, slots)
        logits = self.network(batch, points).float()
        return self.unflip(resize(logits, slots[0].look.size)), [slot.extra for slot in slots]

    # -- building blocks ----------------------------------------------------------------------------------------

    def slot(self, embedding: Embedding, state: State) -> Slot:
        """Return the network input of a state.

        Raises
        ------
        DataError
            If there is no click, or a click outside the image.
        """
        clicks = clicks_of(state.interactions)
        height, width = embedding.shape
        if not clicks or any(not (0 <= c.point[0] < height and 0 <= c.point[1] < width) for c in clicks):
            raise DataError(
                f"{self.card.name} needs at least one click, all inside the {height} x {width} image, got {clicks}"
            )
        memory = state.memory
        # A first round may start from given probabilities (a mask to correct), which then act as the last prediction.
        previous = state.probability if memory is None else memory.probability
        if embedding.zoom is None:
            look = Look(None, embedding.shape)
        else:
            look = embedding.zoom.look(embedding.shape, memory.region if memory else None, previous, clicks)
        return self._slot_of(clicks, look, previous, memory.extra if memory else None)

    @staticmethod
    def _slot_of(clicks: list[Click], look: Look, previous: NDArray[np.float32] | None, extra: Any) -> Slot:
        rows = [(*look.inside(c.point), order, c.positive) for order, c in enumerate(clicks)]
        return Slot(clicks, look, rows, previous, extra)

    def inputs(
        self, embedding: Embedding, slots: Sequence[Slot], limit: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the (B, 3 or 4, h, w) batch of L slots and its points.

        B is L without flip. With flip, B is 2 L and the last L entries are mirrored.
        """
        import torch

        count, size = len(slots), slots[0].look.size
        batch = torch.empty((count * (1 + self.flip), 3 + self.previous, *size), device=self.device)
        for i, slot in enumerate(slots):
            batch[i, :3] = _crop(embedding.image, slot.look)[0]
            if self.previous and slot.previous is None:
                batch[i, 3] = 0
            elif self.previous:
                batch[i, 3] = _crop(torch.tensor(slot.previous, device=self.device)[None, None], slot.look)[0, 0]
        rows = [slot.rows for slot in slots]
        if self.flip:
            batch[count:] = batch[:count].flip(3)
            rows = rows + [mirrored(slot.rows, size[1]) for slot in slots]
        return batch, point_tensor(rows, limit).to(self.device)

    def unflip(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the mean of the first half of `logits` and its mirrored second half; `logits` without flip."""
        if not self.flip:
            return logits
        count = logits.shape[0] // 2
        return 0.5 * (logits[:count] + logits[count:].flip(3))

    def _run(self, embedding: Embedding, slots: list[Slot]) -> list[Memory]:
        logits, extras = self.predict(embedding, slots)
        chances = logits.sigmoid()
        results = []
        for i, (slot, extra) in enumerate(zip(slots, extras, strict=True)):
            probability = _paste(chances[i : i + 1], slot.look, embedding.shape)
            again = embedding.zoom is not None and embedding.zoom.wants_second_look(slot.look, probability)
            if again and embedding.zoom is not None:
                look = embedding.zoom.look(embedding.shape, None, probability, slot.clicks)
                # In a call of its own, so that the batch size does not depend on the other slots.
                results += self._run(embedding, [self._slot_of(slot.clicks, look, slot.previous, extra)])
            else:
                results.append(Memory(slot.look.paste, probability, extra))
        return results


def _crop(maps: torch.Tensor, look: Look) -> torch.Tensor:
    """Return the part of (1, C, H, W) `maps` that the network sees, at the size of the network input."""
    if look.region is not None:
        top, bottom, left, right = look.region
        maps = maps[:, :, top : bottom + 1, left : right + 1]
    return resize(maps, look.size)


def _paste(chances: torch.Tensor, look: Look, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the (H, W) float32 probabilities of the whole image; 0 outside of the region."""
    if look.paste is None:
        return np.array(resize(chances, shape)[0, 0].cpu().numpy())
    top, bottom, left, right = look.paste
    part = resize(chances, (bottom - top + 1, right - left + 1))[0, 0].cpu().numpy()
    if part.shape == shape:
        return np.array(part)
    whole = np.zeros(shape, np.float32)
    whole[top : bottom + 1, left : right + 1] = part
    return whole
