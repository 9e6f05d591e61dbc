"""The box user: a tight or jittered box around the object, then clicks of the base rule if wanted.

Many medical models (MedSAM, LiteMedSAM) were trained on boxes with every side moved by a few pixels; the growing
jitter is their axis of robustness, as click groups are for click models (Ma et al., MedSAM, 2024).

The groups are named ``j0``, ``j5`` ... after the largest shift in pixels.
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
        summary="a box around the object, tight or with jittered sides, then base-rule clicks if wanted",
        source="Ma et al. 2024 (MedSAM)",
        citation="Ma et al.: Segment anything in medical images, Nature Communications 2024",
        dims=(2, 3),
        prompts=("box",),
        stochastic=True,
        options={"jitters": [0], "replicates": 1, "clicks": 0},
    ),
)


def jittered_box(window: tuple[slice, ...], shape: tuple[int, ...], jitter: int, rng: np.random.Generator) -> Box:
    """Return the box `window` with every side moved by a whole number of pixels, uniform in -jitter..jitter.

    Sides stay inside the image of `shape` and at least one pixel apart from crossing.

    >>> jittered_box((slice(2, 5), slice(3, 9)), (10, 10), 0, np.random.default_rng(0))
    Box(low=(2, 3), high=(4, 8), positive=True)
    """
    shifts = rng.integers(-jitter, jitter + 1, size=(len(shape), 2))
    low, high = [], []
    for axis, (side, length) in enumerate(zip(window, shape, strict=True)):
        first = int(np.clip(side.start + shifts[axis, 0], 0, length - 1))
        last = int(np.clip(side.stop - 1 + shifts[axis, 1], 0, length - 1))
        if last < first:  # a jitter larger than the object may cross the sides
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
        """A box, and clicks if there are to be any."""
        return ("box", "click") if self._clicks else ("box",)

    def trajectories(self, sample: Sample, target: Target) -> Sequence[TrajectorySpec]:
        """Return one seat a jitter and replicate; a tight box needs only one replicate."""
        return [TrajectorySpec(f"j{j}", k) for j in self._jitters for k in range(self._replicates if j else 1)]

    def next(self, view: View) -> Interaction | None:
        """Return the box in the first round, then clicks of the base rule, then stop."""
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
    jitters : sequence of int, or one int
        Largest shift of a side in pixels; one group each.
    replicates : int
        Repetitions of each jittered group.
    clicks : int
        Clicks of the base rule after the box.

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
