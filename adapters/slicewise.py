"""Any 2-D model applied to volumes: it segments the prompted slices, and its masks are carried to the other slices.

Options: ``model``, ``window``, ``axis`` and those of `Slicewise`. ``model`` is the 2-D model, such as "graph-cut" or
"sam-vit-b:checkpoint=synthetic". If its own options contain commas, it is written in brackets:
``model=[geodesic:radius=2,frame=auto]``. The rules are in docs/slicewise.md.
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
from rclicks.options import AnyValue, Choice, Number, Option, read_options
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
    """Return the spec of the 2-D model from the options of `load`.

    Raises
    ------
    ProtocolError
        If the option `model` is not a spec.
    """
    model = options.get("model", DEFAULT)
    if isinstance(model, (list, tuple)):  # a spec with commas, which the command line splits into a list
        return ",".join(map(str, model))
    if not isinstance(model, (str, Mapping)):
        raise ProtocolError(f"model slicewise: option 'model' is {model!r}; expected the name of a 2-D model")
    return model


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    return {**OPTIONS, "model": AnyValue(DEFAULT), "window": AnyValue(PERCENTILES), "axis": AnyValue(0)}


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
            f"{card.name} has no weights of its own, so it does not take checkpoint={checkpoint!r}; pass the "
            f"checkpoint to the inner model: model=NAME:checkpoint={checkpoint}"
        )
    known = read_options(card.name, OPTIONS, options)
    slice_axis(axis, (1.0, 1.0, 1.0))
    spec = inner_model({"model": model})
    inner = models(spec)
    if inner.card.dims != 2:
        raise ProtocolError(f"model {card.name}: {inner.card.name} is {inner.card.dims}-D; `model` must be a 2-D model")
    basic = {"model": spec, "window": read_window(window), "axis": axis}
    return Slicewise(card, inner, {**basic, **known, "inner": inner.options})


@dataclass(frozen=True)
class SliceState:
    """State of a prompted slice: its prompts and the last result of the 2-D model.

    Attributes
    ----------
    index : int
        Index of the slice along the slice axis.
    carried : tuple of Click
        Click that stands for the mask that was carried here before the first prompt of the slice; empty if there was
        no mask.
    placed : tuple of Click and Box
        Prompts that were placed in the slice, oldest first.
    predicted : bool
        Whether the present mask is a prediction for these prompts.
    memory : object
        Memory of the 2-D model.
    probability : (H, W) float32 array or None
        Probability of the last prediction.
    extent : tuple of int or None
        First and last slice to which masks are carried; None for no limit.
    """

    index: int
    carried: tuple[Click, ...] = ()
    placed: tuple[Click | Box, ...] = ()
    predicted: bool = False
    memory: Any = None
    probability: NDArray[np.float32] | None = None
    extent: tuple[int, int] | None = None

    @property
    def prompts(self) -> tuple[Interaction, ...]:
        """All prompts that the 2-D model gets for this slice."""
        return (*self.carried, *self.placed)


@dataclass(frozen=True)
class Memory:
    """Memory of a trajectory.

    Attributes
    ----------
    done : int
        Number of interactions that the mask already contains.
    prompted : mapping of int to SliceState
        Prompted slices by their index.
    """

    done: int = 0
    prompted: Mapping[int, SliceState] = field(default_factory=dict)


class Slices(Stack):
    """Stack of slices. The 2-D model encodes a slice when it is first needed; the last `keep` encodings are stored."""

    def __init__(self, sample: Sample, inner: Model, options: Mapping[str, Any]) -> None:
        super().__init__(sample, options["axis"], options["window"])
        self.encoded: Recent[Any] = Recent(lambda i: inner.embed(self.sample(i)), options["keep"])


class Slicewise(Model):
    """Slice-by-slice model; docs/slicewise.md describes the rules.

    The prediction depends only on the interactions. `State.memory` and the previous mask only avoid that old
    interactions are applied again.

    Options
    -------
    propagate : "mask" or "none"
        Whether masks are carried to neighbouring slices ("mask") or only prompted slices change ("none").
    carry : "both", "click" or "box"
        Prompt made from a mask for the next slice: a click at its most interior pixel, its bounding box, or both, as
        far as the 2-D model takes them.
    margin : int
        Number of pixels by which this bounding box is widened on each side.
    reach : int
        Largest number of slices that a mask is carried in each direction.
    overlap : float
        Smallest IoU of the masks of neighbouring slices; carrying stops before a slice with a smaller IoU.
    strokes : int
        Largest number of clicks that stand for a scribble.
    keep : int
        Largest number of slice encodings that are stored.
    """

    def __init__(self, card: ModelCard, inner: Model, options: dict[str, Any]) -> None:
        self.card = replace(card, threshold=inner.card.threshold)
        self.inner, self.options = inner, options
        self.device, self.checkpoint_id = inner.device, inner.checkpoint_id
        self.takes = tuple(kind for kind in ("click", "box") if kind in inner.card.takes)

    def embed(self, sample: Sample) -> Slices:
        """Find the slice axis and the grey window; slices are encoded when they are first needed.

        Raises
        ------
        DataError
            If the sample is no volume of finite values.
        """
        return Slices(sample, self.inner, self.options)

    def segment(self, embedding: Slices, states: Sequence[State]) -> list[State]:
        """Predict every state separately."""
        return [self._answer(embedding, state) for state in states]

    def synchronise(self) -> None:
        """Wait for the device of the inner model."""
        self.inner.synchronise()

    def _answer(self, slices: Slices, state: State) -> State:
        for interaction in state.interactions:
            check_inside(interaction, slices.shape)
        memory = state.memory
        if memory is None or state.mask is None:
            memory, mask = Memory(), np.zeros(slices.shape, bool)
        else:
            mask = state.mask.copy()
        trajectory = _Trajectory(self, slices, mask, dict(memory.prompted))
        for interaction in state.interactions[memory.done :]:
            trajectory.apply(interaction)
        return State(state.interactions, mask, None, Memory(len(state.interactions), trajectory.prompted))


@dataclass
class _Trajectory:
    """Working copy of a trajectory: `apply` changes its `mask` and `prompted`."""

    model: Slicewise
    slices: Slices
    mask: Mask
    prompted: dict[int, SliceState]

    def apply(self, interaction: Interaction) -> None:
        """Predict the slices that an interaction prompts, then fill the slices that are nearest to them."""
        options, slices = self.model.options, self.slices
        parts = to_slices(interaction, slices.axis, self.model.takes, slices.spacing, options["strokes"])
        for part in parts:
            self._prompt(part)
        if options["propagate"] == "mask":
            for part in parts:
                self._fill(part.index)

    def _prompt(self, part: SlicePrompts) -> None:
        slice_state = self._corrected(self.prompted.get(part.index) or self._new_slice(part.index), part)
        placed, extent = (*slice_state.placed, *part.prompts), part.extent or slice_state.extent
        slice_state = replace(slice_state, placed=placed, extent=extent)
        if any(prompt.positive for prompt in slice_state.prompts):
            before = self._model_state(slice_state) if slice_state.predicted or slice_state.carried else State()
            answer = self._predict(part.index, replace(before, interactions=slice_state.prompts))
            slice_state = replace(slice_state, predicted=True, memory=answer.memory, probability=answer.probability)
        else:
            self._write(part.index, None)
        self.prompted[part.index] = slice_state

    def _new_slice(self, index: int) -> SliceState:
        """Return the state of a slice before its first prompt; a mask that was carried there becomes a click."""
        mask = self._mask(index)
        if "click" not in self.model.takes or not mask.any():
            return SliceState(index)
        return SliceState(index, (Click(most_interior(mask, self.slices.plane_spacing)),))

    def _corrected(self, slice_state: SliceState, part: SlicePrompts) -> SliceState:
        """Return the state of a slice without its carried click if the new prompts contradict this click.

        A box always replaces it. A negative click removes it if the carried click lies in the largest disk around the
        negative click that is within the mask. In this case the whole mask is wrong, not only a part of it.
        """
        spacing = np.asarray(self.slices.plane_spacing)
        for prompt in part.prompts if slice_state.carried else ():
            revoked = isinstance(prompt, Box)
            if isinstance(prompt, Click) and not prompt.positive:
                depth = depth_in(self._mask(slice_state.index), spacing)[prompt.point]
                away = np.linalg.norm((np.subtract(prompt.point, slice_state.carried[0].point)) * spacing)
                revoked = bool(away <= depth)
            if revoked:
                return replace(slice_state, carried=(), predicted=False, memory=None, probability=None)
        return slice_state

    def _fill(self, index: int) -> None:
        """Fill the slices whose nearest prompted slice is this one; if two are equally near, the lower one counts."""
        below = max((i for i in self.prompted if i < index), default=None)
        above = min((i for i in self.prompted if i > index), default=None)
        first = 0 if below is None else (below + index) // 2 + 1
        last = len(self.slices) - 1 if above is None else (index + above) // 2
        for i in range(first, last + 1):
            if i != index:
                self._write(i, None)
        slice_state, reach = self.prompted[index], self.model.options["reach"]
        low, high = slice_state.extent or (first, last)
        self._carry(slice_state, range(index + 1, min(last, high, index + reach) + 1))
        self._carry(slice_state, range(index - 1, max(first, low, index - reach) - 1, -1))

    def _carry(self, slice_state: SliceState, path: range) -> None:
        """Prompt each slice of `path` with the mask of the slice before, until a mask is empty or changes too much."""
        state = self._model_state(slice_state)
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

    def _predict(self, index: int, state: State) -> State:
        (answer,) = self.model.inner.segment(self.slices.encoded[index], [state])
        self._write(index, answer)
        return answer

    def _model_state(self, slice_state: SliceState) -> State:
        """Return the last state of the 2-D model for a prompted slice; before a prediction, the carried mask."""
        mask = self._mask(slice_state.index)
        probability = mask.astype(np.float32) if slice_state.probability is None else slice_state.probability
        return State(slice_state.prompts, mask, probability, slice_state.memory)

    def _mask(self, index: int) -> Mask:
        return np.array(take_slice(self.mask, self.slices.axis, index), bool)

    def _write(self, index: int, state: State | None) -> None:
        mask: Any = False if state is None else state.mask
        take_slice(self.mask, self.slices.axis, index)[...] = mask


def _alike(one: Mask, two: Mask | None, overlap: float) -> bool:
    """Return whether two masks have a common pixel and an IoU of at least `overlap`."""
    if two is None:
        return False
    common = np.count_nonzero(one & two)
    return bool(common and common >= overlap * np.count_nonzero(one | two))
