"""Any 2-D model as a 3-D one: it segments the prompted slices, and its masks are carried from slice to slice.

Options: ``model`` (the 2-D model, such as "graph-cut" or "sam-vit-b:checkpoint=synthetic"; with options that hold
commas a list of its parts, ``model=[geodesic:radius=2,frame=auto]``), ``window``, ``axis`` and those of `Slicewise`.
The rules are in docs/slicewise.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.errors import ProtocolError, WeightsError
from rclicks.interaction import Box, Click, Interaction, check_inside
from rclicks.models.contract import Model, State
from rclicks.models.slicewise.slices import (
    PERCENTILES,
    Recent,
    SlicePrompts,
    depth_in,
    most_interior,
    read_window,
    slice_axis,
    take_slice,
    to_slices,
)
from rclicks.models.slicewise.stack import Stack
from rclicks.options import Choice, Number, read_options
from rclicks.protocol import Protocol
from rclicks.sample import Mask, Sample

__all__ = ["CARDS", "Memory", "SliceState", "Slices", "Slicewise", "inner_model", "load"]

CARDS = (
    ModelCard(
        name="slicewise",
        family="slicewise",
        summary="A 2-D model on the prompted slices of a volume, its masks carried to the slices between",
        source="https://github.com/MIC-DKFZ/RadioActive",
        licence="Apache-2.0",
        citation="Tejero et al.: RadioActive, 3D radiological interactive segmentation benchmark, 2024",
        dims=3,
        prompts=("click", "box"),
        accepts=("click", "box", "scribble", "lasso"),
        probabilities=False,
    ),
)

DEFAULT = "geodesic"

OPTIONS: dict[str, Number | Choice] = {
    "propagate": Choice("mask", ("mask", "none")),
    "carry": Choice("both", ("both", "click", "box")),
    "margin": Number(2, 0, 100, whole=True),
    "reach": Number(1000, 1, 1_000_000, whole=True),
    "overlap": Number(0.5, 0, 1),
    "strokes": Number(5, 1, 100, whole=True),
    "keep": Number(64, 1, 100_000, whole=True),
}


def inner_model(options: Mapping[str, Any]) -> str | Mapping[str, Any]:
    """Return the spec of the 2-D model that options of `load` mean.

    Raises
    ------
    ProtocolError
        If it is no spec.
    """
    model = options.get("model", DEFAULT)
    if isinstance(model, (list, tuple)):  # a spec with commas, which only a list may hold on the command line
        return ",".join(map(str, model))
    if not isinstance(model, (str, Mapping)):
        raise ProtocolError(f"model slicewise: option 'model' is {model!r}; expected the name of a 2-D model")
    return model


def load(
    card: ModelCard,
    *,
    models: Callable[[Any], Model],
    checkpoint: object = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    model: object = DEFAULT,
    window: object = PERCENTILES,
    axis: object = 0,
    **options: object,
) -> Slicewise:
    """Return the 3-D model; the inner 2-D model comes from `models`, with the device and protocol of the run.

    Raises
    ------
    ProtocolError
        If an option is wrong or the inner model is not 2-D.
    WeightsError
        If a checkpoint is given here: weights belong to the inner model.
    """
    if checkpoint is not None:
        raise WeightsError(
            f"{card.name} has no weights of its own, so checkpoint={checkpoint!r} makes no sense here; give it to the "
            f"inner model: model=NAME:checkpoint={checkpoint}"
        )
    known = read_options(card.name, OPTIONS, options)
    slice_axis(axis, (1.0, 1.0, 1.0))
    spec = inner_model({"model": model})
    inner = models(spec)
    if inner.card.dims != 2:
        raise ProtocolError(f"model {card.name}: {inner.card.name} is {inner.card.dims}-D; `model` must be a 2-D model")
    shown = {"model": spec, "window": read_window(window), "axis": axis}
    return Slicewise(card, inner, {**shown, **known, "inner": inner.options})


@dataclass(frozen=True)
class SliceState:
    """A prompted slice: the conversation with the 2-D model about it.

    Attributes
    ----------
    index : int
    carried : tuple of Click
        The click that stands for the mask that was there before the slice's own first prompt; or none.
    own : tuple of Click and Box
        The slice's own prompts, oldest first.
    asked : bool
        Whether the present mask is an answer to these.
    memory : object
        Of the 2-D model.
    probability : (H, W) float32 array or None
        Of its last answer.
    extent : tuple of int or None
        First and last slice that masks are carried to.
    """

    index: int
    carried: tuple[Click, ...] = ()
    own: tuple[Click | Box, ...] = ()
    asked: bool = False
    memory: Any = None
    probability: NDArray[np.float32] | None = None
    extent: tuple[int, int] | None = None

    @property
    def prompts(self) -> tuple[Interaction, ...]:
        """All that the 2-D model is told."""
        return (*self.carried, *self.own)


@dataclass(frozen=True)
class Memory:
    """How many interactions are worked in, and the prompted slices by their index."""

    done: int = 0
    slices_seen: Mapping[int, SliceState] = field(default_factory=dict)


class Slices(Stack):
    """A stack whose slices are encoded by the 2-D model when they are needed, and remembered for a while."""

    def __init__(self, sample: Sample, inner: Model, options: Mapping[str, Any]) -> None:
        super().__init__(sample, options["axis"], options["window"])
        self.encoded: Recent[Any] = Recent(lambda i: inner.embed(self.sample(i)), options["keep"])


class Slicewise(Model):
    """See docs/slicewise.md for the rules.

    The answer is a function of the interactions alone; `State.memory`, with the previous mask, only saves working
    in the old ones again.

    Options
    -------
    propagate : "mask" or "none"
        Carry masks to neighbouring slices, or change prompted slices only.
    carry : "both", "click" or "box"
        How a mask prompts the next slice: by its most interior pixel, its bounding box, or both, as far as the 2-D
        model takes them.
    margin : int
        Pixels by which that bounding box is widened.
    reach : int
        Most slices that a mask is carried in either direction.
    overlap : float
        Stop before a slice whose mask has a smaller IoU with the mask it was carried from.
    strokes : int
        Most clicks that stand for a scribble.
    keep : int
        Most encoded slices that are remembered.
    """

    def __init__(self, card: ModelCard, inner: Model, options: dict[str, Any]) -> None:
        self.card = replace(card, threshold=inner.card.threshold)
        self.inner, self.options = inner, options
        self.device, self.checkpoint_id = inner.device, inner.checkpoint_id
        self.takes = tuple(kind for kind in ("click", "box") if kind in inner.card.takes)

    def embed(self, sample: Sample) -> Slices:
        """Find axis and grey window; slices are encoded when they are first needed.

        Raises
        ------
        DataError
            If the sample is no volume of finite values.
        """
        return Slices(sample, self.inner, self.options)

    def segment(self, embedding: Slices, states: Sequence[State]) -> list[State]:
        """Answer every state by itself."""
        return [self._answer(embedding, state) for state in states]

    def synchronise(self) -> None:
        """Wait for the inner model's device."""
        self.inner.synchronise()

    def _answer(self, slices: Slices, state: State) -> State:
        for interaction in state.interactions:
            check_inside(interaction, slices.shape)
        memory = state.memory
        if memory is None or state.mask is None:
            memory, mask = Memory(), np.zeros(slices.shape, bool)
        else:
            mask = state.mask.copy()
        board = _Board(self, slices, mask, dict(memory.slices_seen))
        for interaction in state.interactions[memory.done :]:
            board.work_in(interaction)
        return State(state.interactions, mask, None, Memory(len(state.interactions), board.slices_seen))


@dataclass
class _Board:
    """One trajectory at work: `mask` and `slices_seen` are its own and change."""

    model: Slicewise
    slices: Slices
    mask: Mask
    slices_seen: dict[int, SliceState]

    def work_in(self, interaction: Interaction) -> None:
        """Ask the 2-D model about the slices that an interaction prompts, then fill what is nearest to them."""
        options, slices = self.model.options, self.slices
        parts = to_slices(interaction, slices.axis, self.model.takes, slices.spacing, options["strokes"])
        for part in parts:
            self._prompt(part)
        if options["propagate"] == "mask":
            for part in parts:
                self._fill(part.index)

    def _prompt(self, part: SlicePrompts) -> None:
        state_of = self._corrected(self.slices_seen.get(part.index) or self._opened(part.index), part)
        state_of = replace(state_of, own=(*state_of.own, *part.prompts), extent=part.extent or state_of.extent)
        if any(prompt.positive for prompt in state_of.prompts):
            before = self._state(state_of) if state_of.asked or state_of.carried else State()
            answer = self._ask(part.index, replace(before, interactions=state_of.prompts))
            state_of = replace(state_of, asked=True, memory=answer.memory, probability=answer.probability)
        else:
            self._write(part.index, None)
        self.slices_seen[part.index] = state_of

    def _opened(self, index: int) -> SliceState:
        """Return the lane of a slice that had no prompts of its own; a mask that was carried there becomes a click."""
        mask = self._mask(index)
        if "click" not in self.model.takes or not mask.any():
            return SliceState(index)
        return SliceState(index, (Click(most_interior(mask, self.slices.plane_spacing)),))

    def _corrected(self, state_of: SliceState, part: SlicePrompts) -> SliceState:
        """Return a lane without its carried click if new prompts contradict that.

        A box replaces it. A negative click does if the carried one lies in the largest disk around the negative click
        that is all mask: then not a part of the mask is wrong, but all of it.
        """
        spacing = np.asarray(self.slices.plane_spacing)
        for prompt in part.prompts if state_of.carried else ():
            revoked = isinstance(prompt, Box)
            if isinstance(prompt, Click) and not prompt.positive:
                depth = depth_in(self._mask(state_of.index), spacing)[prompt.point]
                away = np.linalg.norm((np.subtract(prompt.point, state_of.carried[0].point)) * spacing)
                revoked = bool(away <= depth)
            if revoked:
                return replace(state_of, carried=(), asked=False, memory=None, probability=None)
        return state_of

    def _fill(self, index: int) -> None:
        """Fill the slices that are nearer to this prompted slice than to any other (of equals the lower one's)."""
        below = max((i for i in self.slices_seen if i < index), default=None)
        above = min((i for i in self.slices_seen if i > index), default=None)
        first = 0 if below is None else (below + index) // 2 + 1
        last = len(self.slices) - 1 if above is None else (index + above) // 2
        for i in range(first, last + 1):
            if i != index:
                self._write(i, None)
        state_of, reach = self.slices_seen[index], self.model.options["reach"]
        low, high = state_of.extent or (first, last)
        self._carry(state_of, range(index + 1, min(last, high, index + reach) + 1))
        self._carry(state_of, range(index - 1, max(first, low, index - reach) - 1, -1))

    def _carry(self, state_of: SliceState, path: range) -> None:
        """Prompt slice after slice with the mask before it, until it vanishes or changes too much."""
        state = self._state(state_of)
        for index in path:
            previous = state.mask
            if previous is None or not previous.any():
                return
            prompts = self._prompts_of(previous)
            known = replace(state, interactions=prompts) if "mask" in self.model.inner.card.takes else State(prompts)
            (state,) = self.model.inner.segment(self.slices.encoded[index], [known])
            if not _alike(previous, state.mask, self.model.options["overlap"]):
                return
            self._write(index, state)

    def _prompts_of(self, mask: Mask) -> tuple[Interaction, ...]:
        carry, takes = self.model.options["carry"], self.model.takes
        kinds = [kind for kind in takes if carry in ("both", kind)] or takes
        found: list[Interaction] = []
        if "box" in kinds:
            margin = self.model.options["margin"]
            at = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
            low = tuple(max(0, int(a[0]) - margin) for a in at)
            high = tuple(min(n - 1, int(a[-1]) + margin) for a, n in zip(at, mask.shape, strict=True))
            found.append(Box(low, high))
        if "click" in kinds:
            found.append(Click(most_interior(mask, self.slices.plane_spacing)))
        return tuple(found)

    def _ask(self, index: int, state: State) -> State:
        (answer,) = self.model.inner.segment(self.slices.encoded[index], [state])
        self._write(index, answer)
        return answer

    def _state(self, state_of: SliceState) -> State:
        """Return what the 2-D model last said about a prompted slice; of a mask that was carried there, the mask."""
        mask = self._mask(state_of.index)
        probability = mask.astype(np.float32) if state_of.probability is None else state_of.probability
        return State(state_of.prompts, mask, probability, state_of.memory)

    def _mask(self, index: int) -> Mask:
        return np.array(take_slice(self.mask, self.slices.axis, index), bool)

    def _write(self, index: int, state: State | None) -> None:
        mask: Any = False if state is None else state.mask
        take_slice(self.mask, self.slices.axis, index)[...] = mask


def _alike(one: Mask, two: Mask | None, overlap: float) -> bool:
    """Return whether two masks share a pixel and their IoU is at least `overlap`."""
    if two is None:
        return False
    common = np.count_nonzero(one & two)
    return bool(common and common >= overlap * np.count_nonzero(one | two))
