"""The box user: a tight or jittered box around the object, then optionally clicks of the base rule.

Many medical models (MedSAM, LiteMedSAM) were trained on boxes whose sides are shifted by a few pixels (Ma et al.,
MedSAM, 2024). Boxes with different jitter measure how robust such a model is, as click groups do for clicks.

The groups are named ``j0``, ``j5`` and so on, after the largest shift in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rclicks.cards import UserCard
from rclicks.errors import ProtocolError
from rclicks.interaction import Box, Interaction, clicks_of
from rclicks.protocol import Protocol
from rclicks.sample import Sample, Target
from rclicks.users.contract import TrajectorySpec, User, View
from rclicks.users.robot import next_click, steps_of

__all__ = ["CARDS", "BoxUser", "jittered_box", "load"]

CARDS = (
    UserCard(
        name="box",
        summary="a box around the object, tight or with jittered sides, then optionally clicks of the base rule",
        source="Ma et al. 2024 (MedSAM)",
        citation="Ma et al.: Segment anything in medical images, Nature Communications 2024",
        dims=(2, 3),
        prompts=("box",),
        stochastic=True,
        options={"jitters": [0], "replicates": 1, "clicks": 0},
    ),
)


def jittered_box(window: tuple[slice, ...], shape: tuple[int, ...], jitter: int, rng: np.random.Generator) -> Box:
    """Return a box with randomly shifted sides.

    Parameters
    ----------
    window : tuple of slice
        The tight box, one slice for each axis, in pixels and array order.
    shape : tuple of int
        Shape of the image. The sides stay inside the image.
    jitter : int
        Largest shift in pixels. The shift of each side is a whole number, uniform in -jitter..jitter. Sides that cross
        are swapped, so that the box contains at least one pixel.
    rng : numpy.random.Generator

    >>> jittered_box((slice(2, 5), slice(3, 9)), (10, 10), 0, np.random.default_rng(0))
    Box(low=(2, 3), high=(4, 8), positive=True)
    """
    shifts = rng.integers(-jitter, jitter + 1, size=(len(shape), 2))
    low, high = [], []
    for axis, (side, length) in enumerate(zip(window, shape, strict=True)):
        first = int(np.clip(side.start + shifts[axis, 0], 0, length - 1))
        last = int(np.clip(side.stop - 1 + shifts[axis, 1], 0, length - 1))
        if last < first:  # the sides can cross if the jitter is larger than the object
            first, last = last, first
        low.append(first)
        high.append(last)
    return Box(tuple(low), tuple(high))


class BoxUser(User):
    """Draws one box, then places `clicks` clicks of the base rule."""

    def __init__(
        self, card: UserCard, protocol: Protocol, jitters: Sequence[int], replicates: int, clicks: int
    ) -> None:
        self.card, self._protocol = card, protocol
        self.options = {"jitters": list(jitters), "replicates": replicates, "clicks": clicks}
        self.rounds = 1 + clicks
        self._jitters, self._replicates, self._clicks = tuple(jitters), replicates, clicks

    @property
    def prompts(self) -> tuple[str, ...]:
        """Kinds of interaction that this user makes: a box, and clicks if `clicks` is above 0."""
        return ("box", "click") if self._clicks else ("box",)

    def trajectories(self, sample: Sample, target: Target) -> Sequence[TrajectorySpec]:
        """Return one trajectory for each jitter and replicate. A tight box has only one replicate."""
        return [TrajectorySpec(f"j{j}", k) for j in self._jitters for k in range(self._replicates if j else 1)]

    def next(self, view: View) -> Interaction | None:
        """Return the box in the first round, then clicks of the base rule, then None."""
        if not view.history:
            window = view.reference.window
            if window is None:
                return None
            return jittered_box(window, view.reference.mask.shape, int(view.trajectory.group[1:]), view.rng)
        clicks = clicks_of(view.history)
        if len(clicks) >= self._clicks:
            return None
        steps = steps_of(view.reference, self._protocol)
        return next_click(view.reference, view.prediction, [c.point for c in clicks], steps)


def load(
    card: UserCard, *, protocol: Protocol, jitters: Sequence[int] | int = (0,), replicates: int = 1, clicks: int = 0
) -> BoxUser:
    """Return a box user.

    Parameters
    ----------
    jitters : sequence of int, or int
        Largest shifts of a side in pixels; each is one group.
    replicates : int
        Number of trajectories of each group with a jitter above 0.
    clicks : int
        Number of clicks of the base rule after the box.

    Raises
    ------
    ProtocolError
        If a value is negative or not a whole number.
    """
    levels = [jitters] if isinstance(jitters, int) else list(jitters)
    if not levels or any(not isinstance(j, int) or j < 0 for j in levels):
        raise ProtocolError(f"user box: jitters is {jitters!r}; expected whole numbers of pixels, 0 or more")
    if replicates < 1 or clicks < 0:
        raise ProtocolError(f"user box: replicates is {replicates} (at least 1), clicks is {clicks} (0 or more)")
    return BoxUser(card, protocol, levels, replicates, clicks)
