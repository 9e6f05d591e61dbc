"""SAM 2's video predictor on the slices of a volume, without files; this module encodes the frames."""

from __future__ import annotations

import contextlib
import io
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rclicks.cards import ModelCard
from rclicks.interaction import Box, Click, Interaction, check_inside
from rclicks.models.contract import Model, State
from rclicks.models.devices import synchronise, translate_memory_errors
from rclicks.models.precision import PRECISIONS, network_precision
from rclicks.models.slicewise.slices import Recent, take_slice, to_slices
from rclicks.models.slicewise.stack import Stack
from rclicks.sample import Sample

__all__ = ["Frames", "Memory", "Sam2VideoModel"]

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINDS = ("cond_frame_outputs", "non_cond_frame_outputs")
TENSORS = ("maskmem_features", "pred_masks", "obj_ptr", "object_score_logits")

Prompts = Mapping[int, tuple[Click | Box, ...]]


class Frames(Stack):
    """The slices of a volume as frames of SAM 2; a frame is encoded when the predictor first needs it.

    An instance replaces the predictor's ``cached_features``, which contain a single frame. `get` returns a value for
    every frame, so the predictor itself never encodes or stores a frame. The positional encodings are the same for all
    frames and are stored once.
    """

    def __init__(self, sample: Sample, network: nn.Module, options: Mapping[str, Any]) -> None:
        super().__init__(sample, options["axis"], options["window"])
        self._network = network
        self._positions: list[Tensor] = []
        self._maps: Recent[list[Tensor]] = Recent(self._encode, options["keep"])

    def get(self, index: int, default: object = None) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Return (image, features) of a frame; the image is a placeholder, because the predictor does not use it."""
        maps = self._maps[index]
        return maps[0].new_zeros(1, 1, 1, 1), {"backbone_fpn": list(maps), "vision_pos_enc": list(self._positions)}

    def tensor(self, index: int) -> Tensor:
        """Return a slice as (3, side, side) input of the network, resized with Pillow as the package does it."""
        from PIL import Image

        side = int(self._network.image_size)
        scaled = np.array(Image.fromarray(self.image(index)).resize((side, side))) / 255.0
        pixels = torch.from_numpy(scaled).permute(2, 0, 1).float()
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
        return (pixels - mean) / deviation

    def _encode(self, index: int) -> list[Tensor]:
        found = self._network.forward_image(self.tensor(index)[None].to(self._network.device))
        self._positions = self._positions or [p.clone() for p in found["vision_pos_enc"]]
        return list(found["backbone_fpn"])


@dataclass(frozen=True)
class Memory:
    """Memory of the predictor for one trajectory; its tensors are shared and never changed.

    Attributes
    ----------
    done : int
        Number of interactions that the memory contains.
    prompts : mapping of int to tuple
        Clicks and boxes of each prompted frame, oldest first.
    outputs : tuple of two mappings of int to tuple of Tensor
        Output tensors (`TENSORS`) of each prompted frame, and of each other frame.
    reverse : mapping of int to bool
        Whether each tracked frame was last reached backwards.
    positions : tuple of Tensor
        Positional encoding of the predictor's memory, the same for all frames.
    """

    done: int = 0
    prompts: Prompts = field(default_factory=dict)
    outputs: tuple[Mapping[int, tuple[Tensor, ...]], ...] = ({}, {})
    reverse: Mapping[int, bool] = field(default_factory=dict)
    positions: tuple[Tensor, ...] = ()


class Sam2VideoModel(Model):
    """SAM 2's video predictor on volumes, with one session for each trajectory.

    In every round a frame is prompted, then the object is tracked forwards and backwards. A prompt in a frame that was
    tracked before corrects it, and the frame becomes a conditioning frame (``add_all_frames_to_correct_as_cond``).
    Otherwise the next tracking would overwrite the correction. Tracking starts at the first conditioning frame, which
    is the default of the package.

    The prediction depends only on the interactions. Without `State.memory` all interactions are repeated.
    """

    precisions = PRECISIONS

    def __init__(
        self, card: ModelCard, network: nn.Module, device: str, checkpoint: str, options: Mapping[str, Any]
    ) -> None:
        self.card, self.device, self.checkpoint_id = card, device, checkpoint
        self.network = network.eval().to(device)
        self.network.requires_grad_(False)
        self.options = dict(options)

    def embed(self, sample: Sample) -> Frames:
        """Find the slice axis and the grey window; frames are encoded when they are first needed.

        Raises
        ------
        DataError
            If the sample is no volume of finite values.
        """
        return Frames(sample, self.network, self.options)

    def segment(self, embedding: Frames, states: Sequence[State]) -> list[State]:
        """Predict every state separately."""
        precision = network_precision(self.precision, self.device)
        with translate_memory_errors(), torch.inference_mode(), precision, _quiet():
            return [self._answer(embedding, state) for state in states]

    def synchronise(self) -> None:
        """Wait for the device."""
        synchronise(self.device)

    def _answer(self, frames: Frames, state: State) -> State:
        for interaction in state.interactions:
            check_inside(interaction, frames.shape)
        memory: Memory = state.memory or Memory()
        if memory.done == len(state.interactions) and state.mask is not None and state.probability is not None:
            return state
        session = _restore(memory, frames, self.network)
        prompts = dict(memory.prompts)
        for interaction in state.interactions[memory.done :]:
            self._prompt(session, frames, prompts, interaction)
            probability = self._track(session, frames)
        kept = _save(session, prompts, len(state.interactions))
        return State(state.interactions, probability > self.card.threshold, probability, kept)

    def _prompt(
        self, session: dict[str, Any], frames: Frames, prompts: dict[int, Any], interaction: Interaction
    ) -> None:
        """Pass to the predictor all prompts of every frame that has a new prompt."""
        parts = to_slices(interaction, frames.axis, spacing=frames.spacing, strokes=self.options["strokes"])
        for part in parts:
            known = prompts[part.index] = (*prompts.get(part.index, ()), *part.prompts)
            clicks = [p for p in known if isinstance(p, Click)]
            boxes = [p for p in known if isinstance(p, Box)]
            given: dict[str, Any] = {}
            if clicks:
                given["points"] = np.array([c.point[::-1] for c in clicks], np.float32)
                given["labels"] = np.array([c.positive for c in clicks], np.int32)
            if boxes:
                given["box"] = np.array([*boxes[-1].low[::-1], *boxes[-1].high[::-1]], np.float32)
            self.network.add_new_points_or_box(session, frame_idx=part.index, obj_id=1, **given)

    def _track(self, session: dict[str, Any], frames: Frames) -> NDArray[np.float32]:
        """Return the probabilities of the whole volume, (Z, Y, X)."""
        probability = np.zeros(frames.shape, np.float32)
        for reverse in (False, True):
            for index, _, logits in self.network.propagate_in_video(session, reverse=reverse):
                take_slice(probability, frames.axis, index)[...] = torch.sigmoid(logits[0, 0].float()).cpu().numpy()
        return probability


def _restore(memory: Memory, frames: Frames, network: nn.Module) -> dict[str, Any]:
    """Return an inference state like that of the package's ``init_state``, with the content of a memory."""
    height, width = frames.plane
    positions = list(memory.positions)
    outputs = [
        {
            index: {**dict(zip(TENSORS, tensors, strict=True)), "maskmem_pos_enc": positions}
            for index, tensors in kind.items()
        }
        for kind in memory.outputs
    ]
    known = bool(memory.done)
    return {
        "images": (),  # never read, because `Frames.get` returns a value for every frame
        "num_frames": len(frames),
        "offload_video_to_cpu": False,
        "offload_state_to_cpu": False,
        "video_height": height,
        "video_width": width,
        "device": network.device,
        "storage_device": network.device,
        "point_inputs_per_obj": {0: {}} if known else {},
        "mask_inputs_per_obj": {0: {}} if known else {},
        "cached_features": frames,
        "constants": {"maskmem_pos_enc": positions} if positions else {},
        "obj_id_to_idx": OrderedDict({1: 0} if known else {}),
        "obj_idx_to_id": OrderedDict({0: 1} if known else {}),
        "obj_ids": [1] if known else [],
        "output_dict_per_obj": {0: dict(zip(KINDS, outputs, strict=True))} if known else {},
        "temp_output_dict_per_obj": {0: {kind: {} for kind in KINDS}} if known else {},
        "frames_tracked_per_obj": {0: {i: {"reverse": r} for i, r in memory.reverse.items()}} if known else {},
    }


def _save(session: dict[str, Any], prompts: Prompts, done: int) -> Memory:
    """Return the memory of an inference state; the inputs of the state can be derived from the prompts."""
    outputs = tuple(
        {index: tuple(out[name] for name in TENSORS) for index, out in session["output_dict_per_obj"][0][kind].items()}
        for kind in KINDS
    )
    reverse = {index: bool(facts["reverse"]) for index, facts in session["frames_tracked_per_obj"][0].items()}
    return Memory(done, prompts, outputs, reverse, tuple(session["constants"].get("maskmem_pos_enc", ())))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress bars of the predictor, which it cannot switch off."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
