"""A stateful session of nnInteractive, wrapped as a stateless model.

A state contains all its prompts. The model remembers which prompts are in the session. Missing prompts are added, with
one prediction for each. If only the last prompt of the session is different, it is undone. In all other cases the
session is reset and all prompts are repeated. The three ways give the same masks, because each prompt gets the same
channels and the same random numbers.
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
    """Embedding: the checked (Z, Y, X) image itself. The session can contain only one image at a time."""

    image: NDArray[np.generic]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (Z, Y, X) of the volume in voxels."""
        return self.image.shape


@dataclass(frozen=True)
class Start:
    """Memory of a state that started from a mask.

    Attributes
    ----------
    shape : tuple of int
        Shape (Z, Y, X) of the mask.
    bits : bytes
        Packed bits of the mask.
    refine : bool
        Whether the mask was refined before the first prompt.
    """

    shape: tuple[int, ...]
    bits: bytes
    refine: bool

    @property
    def mask(self) -> Mask:
        """Unpacked mask, a bool array of `shape`."""
        flat = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=int(np.prod(self.shape)))
        return flat.reshape(self.shape).astype(bool)


@dataclass(frozen=True, eq=False)
class Held:
    """Present content of the session, except for the volume.

    Attributes
    ----------
    start : Start or None
        Mask that the session started from.
    prompts : tuple of Interaction
        Prompts in the session, the newest last.
    undoable : bool
        Whether the last prompt can be undone.
    """

    start: Start | None = None
    prompts: tuple[Interaction, ...] = ()
    undoable: bool = False


@dataclass(frozen=True)
class Steps:
    """Steps that bring the session to a state: first undo, then reset, then add."""

    undo: bool
    reset: bool
    add: tuple[Interaction, ...]


def steps_to(held: Held, start: Start | None, wanted: tuple[Interaction, ...]) -> Steps:
    """Return the fewest steps after which the session is exactly in the wanted state.

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
    """nnInteractive, in this process or on a server.

    Parameters
    ----------
    card : ModelCard
        Facts about the model.
    device : str
        Name of the torch device.
    checkpoint_id : str
        Identity of the weights.
    options : dict
        Options with their values; ``licence``, ``session_version`` and ``package`` are added for the records.
    session : Session
        Session that predicts.

    Notes
    -----
    The session gets the prompts unchanged: a click as a point, a box with a flat axis as a half-open 2-D box, scribbles
    and lassos as crops. The option `box` sets the treatment of a box with no flat axis.
    """

    def __init__(
        self, card: ModelCard, device: str, checkpoint_id: str, options: dict[str, object], session: Session
    ) -> None:
        self.card, self.device, self.checkpoint_id = card, device, checkpoint_id
        self.options = options | session.facts
        self._session = session
        self._held: Held | None = None
        # A weak reference, so that the memory of an image is released together with its embedding.
        self._shown: Callable[[], Volume | None] = lambda: None

    def embed(self, sample: Sample) -> Volume:
        """Check the volume, pass it to the session and wait until the session has normalised it.

        Raises
        ------
        DataError
            If it is not a (Z, Y, X) array of finite numbers, or if normalisation would give NaN.
        """
        check_volume(sample)
        volume = Volume(sample.image)
        self._retried(volume, None, ())
        return volume

    def segment(self, embedding: Volume, states: Sequence[State]) -> list[State]:
        """Predict the states one after the other.

        Raises
        ------
        ProtocolError
            If a prompt lies outside the volume, is empty, or is of a kind that the checkpoint does not take.
        ServerError
            If the server does not answer (remote only). If a session has expired, a new one is opened once and all
            prompts are repeated.
        """
        return [self._next(embedding, state) for state in states]

    def start_from(self, embedding: Volume, mask: Mask, *, refine: bool = False) -> State:
        """Return a state without prompts that starts from a mask, for example one of another model.

        Parameters
        ----------
        embedding : Volume
            Embedding of the sample.
        mask : (Z, Y, X) bool array
            Mask with at least one voxel; later prompts correct it.
        refine : bool
            True predicts once around the whole mask before the first prompt.

        Raises
        ------
        ProtocolError
            If the mask does not fit the volume or the checkpoint cannot start from a mask.
        """
        if mask.dtype != np.bool_ or mask.shape != embedding.shape or not mask.any():
            raise ProtocolError(
                f"the start mask is {mask.dtype} of shape {mask.shape} with {np.count_nonzero(mask)} voxels; expected "
                f"a bool array of shape {embedding.shape} with at least one voxel"
            )
        if not self._session.supports_mask or (refine and not self._session.supports_refining):
            raise ProtocolError(
                f"this checkpoint of {self.card.name} cannot {'refine' if refine else 'start from'} a mask"
            )
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
        """Bring the session to the state after the prediction of all `prompts`."""
        held, self._held = self._held, None  # if a call fails, the content of the session is not known
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
        """Return the prompt that is sent for an interaction: the interaction itself, or the middle slice of a box.

        Raises
        ------
        ProtocolError
            If the interaction cannot be sent to this checkpoint.
        """
        check_inside(interaction, shape)
        check_values(interaction)
        kind = {"click": "points", "box": "bbox2d"}.get(interaction.kind, interaction.kind)
        low, high = corners_of(interaction)
        thick = all(a < b for a, b in zip(low, high, strict=True))
        if isinstance(interaction, Box) and thick:
            if self.options["box"] == "middle-slice":
                middle = (low[0] + high[0]) // 2
                interaction = replace(interaction, low=(middle, *low[1:]), high=(middle, *high[1:]))
            elif self.options["box"] == "whole" and self._session.supports("bbox3d"):
                kind = "bbox3d"
            else:
                raise ProtocolError(
                    f"the box from {low} to {high} has no flat axis: {self.card.name} with box={self.options['box']} "
                    "and this checkpoint takes only boxes of one slice; box=middle-slice sends the middle slice"
                )
        if interaction.kind == "lasso" and thick:
            raise ProtocolError(
                f"the lasso from {low} to {high} lies in more than one slice; {self.card.name} takes lassos of one "
                "slice only"
            )
        if not self._session.supports(kind):
            raise ProtocolError(f"this checkpoint of {self.card.name} does not take a {interaction.kind} ({kind})")
        if not isinstance(interaction, Click):
            self._check_size(*corners_of(interaction), interaction.kind)
        return interaction

    def _check_size(self, low: Sequence[int], high: Sequence[int], what: str) -> None:
        """Refuse a prompt that would need a refinement for which the patch of the network is too small."""
        if not self._session.smallest_edge:
            return
        patch = self._session.patch
        if any(b - a + 1 + p // 3 > p for a, b, p in zip(low, high, patch, strict=True)):
            raise ProtocolError(
                f"the {what} from {tuple(low)} to {tuple(high)} is longer than two thirds of the network's patch "
                f"{patch}. It needs a refinement at full resolution, for which this patch is too small; use a model "
                "folder with a larger patch"
            )


def check_values(interaction: Interaction) -> None:
    """Refuse coordinates that are not integers and drawings that are not bool; a session would round or scale them.

    Raises
    ------
    ProtocolError
        If a coordinate is not an integer or a crop is not bool.
    """
    numbers = [c for corner in corners_of(interaction) for c in corner]
    if not all(isinstance(c, (int, np.integer)) for c in numbers):
        raise ProtocolError(f"the {interaction.kind} has coordinates {numbers}, expected integers")
    if not isinstance(interaction, (Click, Box)) and interaction.mask.dtype != np.bool_:
        raise ProtocolError(f"the {interaction.kind} has a crop of {interaction.mask.dtype}, expected bool")


def check_volume(sample: Sample) -> None:
    """Refuse a volume that becomes NaN when the session normalises it.

    The session computes mean and standard deviation in float32 within the bounding box of the voxels that are not 0.

    Raises
    ------
    DataError
        If the array is not 3-D, is empty, or has values that are not finite or all equal.
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
        raise DataError(
            f"{name} has voxels that are NaN, infinite or beyond the range of float32; nnInteractive would predict NaN"
        )
    if low == high:
        raise DataError(f"{name} has the value {low:g} everywhere; nnInteractive cannot normalise it")
    if low == 0 or high == 0:
        inside = [np.flatnonzero(image.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(AXES)]
        box = image[tuple(slice(int(places[0]), int(places[-1]) + 1) for places in inside)]
        if np.float32(box.min()) == np.float32(box.max()):
            raise DataError(f"{name} is constant except for zeros around it; nnInteractive cannot normalise it")
