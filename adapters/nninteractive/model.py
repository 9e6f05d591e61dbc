"""A stateful session of nnInteractive played as a stateless model.

A state carries all its prompts. The model remembers which prompts the session holds: what is missing is added, one
prediction a prompt; a wrong last prompt is taken back; anything else is forgotten and played again from the start. The
three ways give the same masks, as each prompt sees the same channels and the same random numbers.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.errors import DataError, ProtocolError
from rclicks.interaction import Box, Click, Interaction, check_inside, corners_of
from rclicks.models.contract import Model, State
from rclicks.models.devices import synchronise
from rclicks.sample import Mask, Sample

from .session import LostSessionError, Session

AXES = 3


@dataclass(frozen=True, eq=False)
class Volume:
    """An embedding: the checked (Z, H, W) image itself, as the session can hold one alone."""

    image: NDArray[np.generic]

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X) of the volume."""
        return self.image.shape


@dataclass(frozen=True)
class Start:
    """The memory of a state that began with a mask: its packed bits, and whether it was refined at once."""

    shape: tuple[int, ...]
    bits: bytes
    refine: bool

    @property
    def mask(self) -> Mask:
        """The mask, unpacked: a bool array of `shape`."""
        flat = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=int(np.prod(self.shape)))
        return flat.reshape(self.shape).astype(bool)


@dataclass(frozen=True, eq=False)
class Held:
    """What the session holds at present, beside the volume."""

    start: Start | None = None
    prompts: tuple[Interaction, ...] = ()
    undoable: bool = False


@dataclass(frozen=True)
class Steps:
    """How to get from what the session holds to what a state wants, in this order."""

    undo: bool
    reset: bool
    add: tuple[Interaction, ...]


def steps_to(held: Held, start: Start | None, wanted: tuple[Interaction, ...]) -> Steps:
    """Return the fewest steps that are exact.

    >>> a, b, c = Click((1, 1, 1)), Click((2, 2, 2)), Click((3, 3, 3))
    >>> steps_to(Held(None, (a,), True), None, (a, b)) == Steps(False, False, (b,))
    True
    >>> steps_to(Held(None, (a, b), True), None, (a, c)) == Steps(True, False, (c,))
    True
    >>> steps_to(Held(None, (a, b), False), None, (a, c)) == Steps(False, True, (a, c))
    True
    """
    if held.start == start:
        count = len(held.prompts)
        if wanted[:count] == held.prompts:
            return Steps(False, False, wanted[count:])
        if held.undoable and wanted[: count - 1] == held.prompts[:-1]:
            return Steps(True, False, wanted[count - 1 :])
    return Steps(False, True, wanted)


class NnInteractive(Model):
    """nnInteractive, local or on a server.

    Parameters
    ----------
    card : ModelCard
    device, checkpoint_id : str
    options : dict
        As chosen; ``licence``, ``session_version`` and ``package`` are added for the records.
    session : Session

    Notes
    -----
    Prompts go to the session as they are: a click is a point, a box with a flat axis a half-open 2-D box, scribbles and
    lassos their crops. A box with no flat axis is treated as option `box` says.
    """

    def __init__(
        self, card: ModelCard, device: str, checkpoint_id: str, options: dict[str, object], session: Session
    ) -> None:
        self.card, self.device, self.checkpoint_id = card, device, checkpoint_id
        self.options = options | session.facts
        self._session = session
        self._held: Held | None = None
        self._shown: Callable[[], Volume | None] = lambda: None  # weak, so that an image goes with its embedding

    def embed(self, sample: Sample) -> Volume:
        """Check the volume, hand it to the session and wait until it is normalised there.

        Raises
        ------
        DataError
            If it is not a (Z, H, W) array of finite numbers, or so constant that normalising it gives NaN.
        """
        check_volume(sample)
        volume = Volume(sample.image)
        self._retried(volume, None, ())
        return volume

    def segment(self, embedding: Volume, states: Sequence[State]) -> list[State]:
        """Predict one state after the other.

        Raises
        ------
        ProtocolError
            If a prompt lies outside, is empty, or is of a kind that the checkpoint does not take.
        ServerError
            If the server is gone (remote only). A session that expired is opened and played again, once.
        """
        return [self._next(embedding, state) for state in states]

    def start_from(self, embedding: Volume, mask: Mask, *, refine: bool = False) -> State:
        """Return a state without prompts that starts from a given mask, say of another model; prompts correct it.

        Parameters
        ----------
        embedding : Volume
        mask : (Z, H, W) bool array
            Not empty.
        refine : bool
            Predict at once, along the whole mask.

        Raises
        ------
        ProtocolError
            If the mask does not fit or the checkpoint cannot start from one.
        """
        if mask.dtype != np.bool_ or mask.shape != embedding.shape or not mask.any():
            raise ProtocolError(
                f"a mask to start from is a bool array of shape {embedding.shape} with at least one voxel, "
                f"not {mask.dtype} {mask.shape} with {np.count_nonzero(mask)}"
            )
        if not self._session.supports_mask or (refine and not self._session.supports_refining):
            raise ProtocolError(f"this checkpoint of {self.card.name} cannot {'refine' if refine else 'take'} a mask")
        if refine:
            places = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(AXES)]
            self._check_size([int(p[0]) for p in places], [int(p[-1]) for p in places], "mask")
        start = Start(mask.shape, np.packbits(mask).tobytes(), refine)
        return self._next(embedding, State(memory=start))

    def synchronise(self) -> None:
        """Wait for the device."""
        synchronise(self.device)

    def _next(self, volume: Volume, state: State) -> State:
        prompts = tuple(self._prompt(interaction, volume.shape) for interaction in state.interactions)
        self._retried(volume, state.memory, prompts)
        return State(state.interactions, self._session.mask, None, state.memory)

    def _retried(self, volume: Volume, start: Start | None, prompts: tuple[Interaction, ...]) -> None:
        try:
            self._bring(volume, start, prompts)
        except LostSessionError:
            self._session.reopen()
            self._bring(volume, start, prompts)

    def _bring(self, volume: Volume, start: Start | None, prompts: tuple[Interaction, ...]) -> None:
        """Bring the session to where all `prompts` were predicted."""
        held, self._held = self._held, None  # if a call fails, nobody knows what the session holds
        if held is None or self._shown() is not volume:
            self._session.show(volume.image)
            held, self._shown = Held(), weakref.ref(volume)
        steps = steps_to(held, start, prompts)
        if steps.undo and not self._session.undo():
            steps = Steps(False, True, prompts)
        if steps.reset:
            if start is None:
                self._session.reset()
            else:
                self._session.start(start.mask, start.refine)
        for prompt in steps.add:
            self._session.add(prompt)
        undoable = bool(steps.add) and self._session.supports_undo
        if not (steps.add or steps.undo or steps.reset):
            undoable = held.undoable
        self._held = Held(start, prompts, undoable)

    def _prompt(self, interaction: Interaction, shape: tuple[int, ...]) -> Interaction:
        """Return what is sent for an interaction: itself, or the slice of a box.

        Raises
        ------
        ProtocolError
        """
        check_inside(interaction, shape)
        check_values(interaction)
        what = {"click": "points", "box": "bbox2d"}.get(interaction.kind, interaction.kind)
        low, high = corners_of(interaction)
        thick = all(a < b for a, b in zip(low, high, strict=True))
        if isinstance(interaction, Box) and thick:
            if self.options["box"] == "middle-slice":
                middle = (low[0] + high[0]) // 2
                interaction = replace(interaction, low=(middle, *low[1:]), high=(middle, *high[1:]))
            elif self.options["box"] == "whole" and self._session.supports("bbox3d"):
                what = "bbox3d"
            else:
                raise ProtocolError(
                    f"the box from {low} to {high} has no flat axis: {self.card.name} with box={self.options['box']} "
                    "and this checkpoint takes boxes of one slice alone; box=middle-slice sends its middle one"
                )
        if interaction.kind == "lasso" and thick:
            raise ProtocolError(
                f"the lasso from {low} to {high} lies in more than one slice; {self.card.name} wants one"
            )
        if not self._session.supports(what):
            raise ProtocolError(f"this checkpoint of {self.card.name} does not take a {interaction.kind} ({what})")
        if not isinstance(interaction, Click):
            self._check_size(*corners_of(interaction), interaction.kind)
        return interaction

    def _check_size(self, low: Sequence[int], high: Sequence[int], what: str) -> None:
        """Refuse what would need a refinement that a small patch cannot have."""
        if not self._session.smallest_edge:
            return
        patch = self._session.patch
        if any(b - a + 1 + p // 3 > p for a, b, p in zip(low, high, patch, strict=True)):
            raise ProtocolError(
                f"the {what} from {tuple(low)} to {tuple(high)} is longer than two thirds of the network's patch "
                f"{patch}, and that patch is too small to refine what it sees from further away"
            )


def check_values(interaction: Interaction) -> None:
    """Refuse what a session would round or scale: coordinates that are no integers, drawings that are not bool.

    Raises
    ------
    ProtocolError
    """
    numbers = [c for corner in corners_of(interaction) for c in corner]
    if not all(isinstance(c, (int, np.integer)) for c in numbers):
        raise ProtocolError(f"the {interaction.kind} has coordinates {numbers}, expected integers")
    if not isinstance(interaction, (Click, Box)) and interaction.mask.dtype != np.bool_:
        raise ProtocolError(f"the {interaction.kind} has a crop of {interaction.mask.dtype}, expected bool")


def check_volume(sample: Sample) -> None:
    """Refuse a volume that the session would turn into NaN.

    It shifts and scales by mean and standard deviation within the box of voxels that are not zero, in float32.

    Raises
    ------
    DataError
    """
    image, name = sample.image, f"{sample.dataset}/{sample.id}"
    if image.ndim != AXES or image.dtype.kind not in "biuf" or not image.size:
        raise DataError(
            f"{name} is a {image.dtype} array of shape {image.shape}; nnInteractive takes one channel of numbers, "
            "(z, row, column)"
        )
    with np.errstate(over="ignore"):
        low, high = np.float32(image.min()), np.float32(image.max())  # NaN if any voxel is
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError(f"{name} has voxels that are NaN, infinite or beyond float32; nnInteractive would answer NaN")
    if low == high:
        raise DataError(f"{name} has the value {low:g} everywhere; nnInteractive cannot normalise it")
    if low == 0 or high == 0:
        inside = [np.flatnonzero(image.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(AXES)]
        box = image[tuple(slice(int(places[0]), int(places[-1]) + 1) for places in inside)]
        if np.float32(box.min()) == np.float32(box.max()):
            raise DataError(f"{name} is constant but for zeros around it; nnInteractive cannot normalise it")
