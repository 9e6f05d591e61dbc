"""Users of volumes: the MedSegFM challenge, random error voxels, boxes in slices, scribbles and lassos.

All of them use the present errors and the history of the trajectory, and store nothing. They stop when there is no
error voxel. Ignored voxels are never errors. A drawing in one slice has length one along the axis of the slice.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np

from rclicks.cards import UserCard
from rclicks.errors import ProtocolError
from rclicks.interaction import Box, Interaction, clicks_of
from rclicks.protocol import Protocol
from rclicks.sample import Sample, Target
from rclicks.users.components import Errors, challenge_click, corrected_click, errors_of, largest_error
from rclicks.users.contract import TrajectorySpec, User, View
from rclicks.users.drawing import key_slices, lasso, middle_slice_box, scribble, slice_box, worst_slice
from rclicks.users.random_clicks import distance_weighted_click, uniform_click

__all__ = ["CARDS", "LassoUser", "MedSegFM", "RandomError", "ScribbleUser", "SliceBox", "load"]

CARDS = (
    UserCard(
        name="medsegfm",
        summary="CVPR 2025 MedSegFM challenge: a box in the middle slice, then clicks in the largest error",
        dims=(3,),
        prompts=("box", "click"),
        stochastic=True,
        options={"box": True, "box_jitter": None, "clicks": 5, "rule": None, "replicates": 1},
        source="JunMa11/CVPR-MedSegFMCompetition",
        citation="Foundation Models for Interactive 3D Biomedical Image Segmentation, CVPR 2025 challenge",
    ),
    UserCard(
        name="random-error",
        summary="clicks a random voxel of the error, uniform or more likely where the error is deep",
        dims=(3,),
        prompts=("click",),
        stochastic=True,
        options={"weights": "uniform", "replicates": 1},
        source="SAM-Med3D (uniform); MONAI DeepEdit (exp-distance)",
        citation="Wang et al.: SAM-Med3D, 2023; Diaz-Pinto et al.: DeepEdit, DALI 2022",
    ),
    UserCard(
        name="slice-box",
        summary="one box per round around the object in a slice: the one with most errors, or equally spaced ones",
        dims=(3,),
        prompts=("box",),
        stochastic=True,
        options={"axis": 0, "spacing": "largest-error", "slices": 5, "jitter": 0, "replicates": 1},
        source="MIC-DKFZ/radioactive",
        citation="Tejero et al.: RadioActive: 3D radiological interactive segmentation benchmark, 2024",
    ),
    UserCard(
        name="scribble",
        summary="a line along the middle of the largest error, in the slice where it is largest",
        dims=(3,),
        prompts=("scribble",),
        stochastic=True,
        options={"axis": 0, "thickness": 2, "warp": 0.0, "replicates": 1},
        source="ScribblePrompt (centre-line scribbles); nnInteractive (thickness)",
        citation="Wong et al.: ScribblePrompt, ECCV 2024; Isensee et al.: nnInteractive, 2025",
    ),
    UserCard(
        name="lasso",
        summary="a filled outline around the largest error, in the slice where it is largest",
        dims=(3,),
        prompts=("lasso",),
        options={"axis": 0, "dilation": 1},
        source="nnInteractive",
        citation="Isensee et al.: nnInteractive, 2025",
    ),
)

CHALLENGE_GROWTH = 5  # the boxes of the challenge grow by 0 to 5 units of 1/256 of the length of the axis


class _Corrector(User):
    """Base of users that place interactions as long as there are error voxels.

    Parameters
    ----------
    card : UserCard
    options : dict
        All options of the card with their values.
    replicates : int
        Number of trajectories on each object.
    rounds : int or None
        Maximum number of interactions; None for the budget of the protocol.
    """

    def __init__(
        self, card: UserCard, options: dict[str, object], replicates: int = 1, rounds: int | None = None
    ) -> None:
        self.card, self.options, self.rounds, self._replicates = card, options, rounds, replicates

    def trajectories(self, sample: Sample, target: Target) -> Sequence[TrajectorySpec]:
        """Return one trajectory for each replicate."""
        return [TrajectorySpec(replicate=k) for k in range(self._replicates)]

    def next(self, view: View) -> Interaction | None:
        """Return the next interaction; None if there are no error voxels or after `rounds` interactions."""
        if self.rounds is not None and len(view.history) >= self.rounds:
            return None
        errors = errors_of(view.reference, view.prediction)
        return None if errors is None else self.act(view, errors)

    @abstractmethod
    def act(self, view: View, errors: Errors) -> Interaction | None:
        """Return the interaction for `errors`, which contain at least one voxel, or None to stop."""


class MedSegFM(_Corrector):
    """A box in the middle slice, then clicks in the middle of the largest error.

    Parameters
    ----------
    card : UserCard
    options : dict
        All options of the card with their values.
    box : bool
        Whether the first interaction is a box.
    growth : int
        Largest growth of the sides of the box in 1/256 of the length of their axis.
    clicks : int or None
        Number of clicks after the box; None for the rest of the budget.
    rule : {"challenge", "corrected"}
        Click rule, see `challenge_click` and `corrected_click`.
    replicates : int
        Number of trajectories on each object, if the box is random; otherwise 1.
    """

    def __init__(
        self,
        card: UserCard,
        options: dict[str, object],
        *,
        box: bool,
        growth: int,
        clicks: int | None,
        rule: str,
        replicates: int,
    ) -> None:
        rounds = None if clicks is None else clicks + box
        super().__init__(card, options, replicates if box and growth else 1, rounds)
        self._box, self._growth, self._rule, self._clicks = box, growth, rule, clicks

    @property
    def prompts(self) -> tuple[str, ...]:
        """Kinds of interaction that it makes: box, click, or both."""
        return (*(("box",) if self._box else ()), *(("click",) if self._clicks != 0 else ()))

    def act(self, view: View, errors: Errors) -> Interaction | None:
        """Return the box in the first round, then clicks; None to stop.

        With the rule "challenge" a click may repeat an earlier one. With "corrected" it never does.
        """
        if self._box and not view.history:
            return middle_slice_box(view.reference.mask, self._growth, view.rng)
        if self._rule == "challenge":
            return challenge_click(errors)
        return corrected_click(errors, view.reference.spacing, [c.point for c in clicks_of(view.history)])


class RandomError(_Corrector):
    """Click random voxels of the error that were not clicked before."""

    def __init__(self, card: UserCard, options: dict[str, object], *, weights: str, replicates: int) -> None:
        super().__init__(card, options, replicates)
        self._draw = uniform_click if weights == "uniform" else distance_weighted_click

    def act(self, view: View, errors: Errors) -> Interaction | None:
        """Return a click, or None if all error voxels were clicked."""
        left = errors.without(c.point for c in clicks_of(view.history))
        return self._draw(left, view.rng) if left.any else None


class SliceBox(_Corrector):
    """Draw one box in each round, each in a different slice."""

    def __init__(
        self,
        card: UserCard,
        options: dict[str, object],
        *,
        axis: int,
        spacing: str,
        slices: int,
        jitter: int,
        replicates: int,
    ) -> None:
        super().__init__(card, options, replicates if jitter else 1)
        self._axis, self._jitter, self._keys = axis, jitter, slices if spacing == "key-slices" else 0

    def act(self, view: View, errors: Errors) -> Interaction | None:
        """Return the box in the next slice; None if no slice is left that contains both errors and the object."""
        truth, axis = view.reference.mask, self._axis
        taken = {i.low[axis] for i in view.history if isinstance(i, Box) and i.low[axis] == i.high[axis]}
        keys = [at for at in key_slices(truth, axis, self._keys) if at not in taken] if self._keys else []
        at = keys[0] if keys else worst_slice(errors, truth, axis, taken)
        return None if at is None else slice_box(truth, axis, at, self._jitter, view.rng)


class ScribbleUser(_Corrector):
    """Draw a line along the middle of the largest error."""

    def __init__(
        self,
        card: UserCard,
        options: dict[str, object],
        *,
        axis: int | None,
        thickness: int,
        warp: float,
        replicates: int,
    ) -> None:
        super().__init__(card, options, replicates if warp else 1)
        self._axis, self._thickness, self._warp = axis, thickness, warp

    def act(self, view: View, errors: Errors) -> Interaction | None:
        """Return a scribble; None if there are no errors."""
        piece = largest_error(errors)
        if piece is None:
            return None
        return scribble(
            piece, view.reference.spacing, axis=self._axis, thickness=self._thickness, warp=self._warp, rng=view.rng
        )


class LassoUser(_Corrector):
    """Draw a filled outline around the largest error."""

    def __init__(self, card: UserCard, options: dict[str, object], *, axis: int | None, dilation: int) -> None:
        super().__init__(card, options)
        self._axis, self._dilation = axis, dilation

    def act(self, view: View, errors: Errors) -> Interaction | None:
        """Return a lasso; None if there are no errors."""
        piece = largest_error(errors)
        return None if piece is None else lasso(piece, view.reference, axis=self._axis, dilation=self._dilation)


def load(card: UserCard, *, protocol: Protocol, **options: object) -> User:
    """Return a user of volumes.

    Parameters
    ----------
    card : UserCard
    protocol : Protocol
    **options
        Options of the card.

        - medsegfm: ``box`` (bool), ``box_jitter`` (largest growth in 1/256 of the axis; None for 5 with the rule
          "challenge" and 0 with "corrected"), ``clicks`` (None for the whole budget), ``rule`` ("challenge" or
          "corrected"; None for "challenge" under the protocol compat, otherwise "corrected").
        - random-error: ``weights`` ("uniform" or "exp-distance").
        - slice-box: ``axis`` (0, 1 or 2), ``spacing`` ("largest-error", or "key-slices", which starts with ``slices``
          equally spaced slices), ``jitter`` (voxels).
        - scribble: ``axis`` (None for any), ``thickness`` (voxels), ``warp`` (voxels).
        - lasso: ``axis`` (None for any), ``dilation`` (voxels).
        - All users with random numbers: ``replicates``.

    Raises
    ------
    ProtocolError
        If an option is unknown or its value is not allowed.
    """
    for name in options:
        if name not in card.options:
            raise ProtocolError(
                f"user {card.name!r} has no option {name!r}; allowed: {', '.join(sorted(card.options))}"
            )
    return _LOADERS[card.name](card, protocol, card.options | options)


def _load_medsegfm(card: UserCard, protocol: Protocol, options: dict[str, object]) -> User:
    rule = options["rule"]
    if rule is None:
        rule = "challenge" if protocol.name == "compat" else "corrected"
    rule = _one_of(card, "rule", rule, ("challenge", "corrected"))
    usual = CHALLENGE_GROWTH if rule == "challenge" else 0
    growth = usual if options["box_jitter"] is None else _whole(card, "box_jitter", options["box_jitter"], 0)
    clicks = None if options["clicks"] is None else _whole(card, "clicks", options["clicks"], 0)
    box = options["box"]
    if not isinstance(box, bool):
        raise _refusal(card, "box", box, "true or false")
    if not box and clicks == 0:
        raise ProtocolError(f"user {card.name}: with box=false and clicks=0 it would place no interaction")
    replicates = _whole(card, "replicates", options["replicates"], 1)
    shown = options | {"rule": rule, "box_jitter": growth}
    return MedSegFM(card, shown, box=box, growth=growth, clicks=clicks, rule=rule, replicates=replicates)


def _load_random_error(card: UserCard, protocol: Protocol, options: dict[str, object]) -> User:
    weights = _one_of(card, "weights", options["weights"], ("uniform", "exp-distance"))
    return RandomError(card, options, weights=weights, replicates=_whole(card, "replicates", options["replicates"], 1))


def _load_slice_box(card: UserCard, protocol: Protocol, options: dict[str, object]) -> User:
    return SliceBox(
        card,
        options,
        axis=_axis(card, options["axis"]),
        spacing=_one_of(card, "spacing", options["spacing"], ("largest-error", "key-slices")),
        slices=_whole(card, "slices", options["slices"], 1),
        jitter=_whole(card, "jitter", options["jitter"], 0),
        replicates=_whole(card, "replicates", options["replicates"], 1),
    )


def _load_scribble(card: UserCard, protocol: Protocol, options: dict[str, object]) -> User:
    warp = options["warp"]
    if not isinstance(warp, (int, float)) or isinstance(warp, bool) or not 0 <= warp < np.inf:
        raise _refusal(card, "warp", warp, "a number of voxels, 0 or more")
    return ScribbleUser(
        card,
        options,
        axis=None if options["axis"] is None else _axis(card, options["axis"]),
        thickness=_whole(card, "thickness", options["thickness"], 1),
        warp=float(warp),
        replicates=_whole(card, "replicates", options["replicates"], 1),
    )


def _load_lasso(card: UserCard, protocol: Protocol, options: dict[str, object]) -> User:
    axis = None if options["axis"] is None else _axis(card, options["axis"])
    return LassoUser(card, options, axis=axis, dilation=_whole(card, "dilation", options["dilation"], 0))


_LOADERS: dict[str, Callable[[UserCard, Protocol, dict[str, object]], User]] = {
    "medsegfm": _load_medsegfm,
    "random-error": _load_random_error,
    "slice-box": _load_slice_box,
    "scribble": _load_scribble,
    "lasso": _load_lasso,
}


def _whole(card: UserCard, name: str, value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _refusal(card, name, value, f"a whole number, at least {least}")
    return value


def _axis(card: UserCard, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 2:
        raise _refusal(card, "axis", value, "0, 1 or 2, an axis of the array (z, row, column)")
    return value


def _one_of(card: UserCard, name: str, value: object, allowed: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise _refusal(card, name, value, " or ".join(allowed))
    return value


def _refusal(card: UserCard, name: str, value: object, expected: str) -> ProtocolError:
    return ProtocolError(f"user {card.name}: {name} is {value!r}; expected {expected}")
