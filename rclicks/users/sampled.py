"""A user who clicks where people would: pixels drawn from a click model, whole or by groups of its probability mass.

The base rule decides the sign of each click. The click model then draws a map for the errors of that sign; multiplied
by the error and by the pixels not clicked yet, it is what the click is drawn from. With ``groups`` the drawing is
confined to slices of the mass: one trajectory for G1 (the least likely tenth), one for G2, ... and G10 (the peaks).

If a map has no mass on the error (it is 0 there), the click falls where the base rule would put it.

Source: Antonov et al., RClicks: Realistic Click Simulation for Benchmarking Interactive Segmentation, NeurIPS 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np

from rclicks.cards import UserCard
from rclicks.clickability.contract import ClickMap, ClickMapQuery
from rclicks.clickability.groups import Bounds, MassOrder, bounds_of, group_names, published_draw, published_slice
from rclicks.clickability.provider import ClickMapProvider
from rclicks.errors import ProtocolError
from rclicks.human_clicks.tables import HumanClicks
from rclicks.interaction import Click, Interaction, clicks_of
from rclicks.metrics.target import Window, bounding_box
from rclicks.protocol import Protocol
from rclicks.sample import Mask, Sample, Target
from rclicks.users.contract import TrajectorySpec, User, View
from rclicks.users.robot import next_click, steps_of

__all__ = ["CARDS", "Sampled", "load"]

CARDS = (
    UserCard(
        name="sampled",
        summary="draws clicks from a click model: the whole map, or groups G1..Gn of its mass",
        dims=(2, 3),
        stochastic=True,
        options={
            "model": "clickability-mini",
            "checkpoint": None,
            "groups": 10,
            "replicates": 1,
            "match_human_count": None,
            "rounds": None,
        },
        files=("match_human_count",),
        source="emb-ai/rclicks",
        citation="Antonov et al.: RClicks: Realistic Click Simulation, NeurIPS 2024",
    ),
)

PUBLISHED_SEED = 42  # published code reseeds NumPy's global generator with it before each image


class ClickModels(Interface):
    """Whoever hands out click models by name, so that users share them."""

    def __call__(self, name: str, checkpoint: str | None) -> ClickMapProvider:
        """Return the source of maps of a registered click model."""


@dataclass(frozen=True, eq=False)
class _Draw:
    """A click to be drawn: the base rule's click, the error of its sign, and pixels that are taken."""

    view: View
    base: Click
    error: Mask
    clicked: tuple[tuple[int, ...], ...]

    @cached_property
    def window(self) -> Window:
        """Bounding box of the error."""
        window = bounding_box(self.error)
        assert window is not None  # noqa: S101 - the base rule found a pixel to click
        return window


class Sampled(User):
    """Draws clicks from a click model.

    Parameters
    ----------
    source : ClickMapProvider
    groups : int or sequence of float
        1 draws from the whole map; n > 1 plays n equal slices of its mass; a list gives the bounds.
    replicates : int
        Trajectories of each group, with fresh random numbers.
    match_human_count : People or None
        Play as many trajectories as there were people who clicked on the object, instead of `replicates`.
    rounds : int or None
        Stop after as many clicks; None plays the whole budget (with `match_human_count`: 1).
    """

    def __init__(
        self,
        card: UserCard,
        protocol: Protocol,
        source: ClickMapProvider,
        groups: int | Sequence[float],
        replicates: int,
        match_human_count: HumanClicks | None,
        rounds: int | None,
    ) -> None:
        self.card, self._protocol, self._match_human_count = card, protocol, match_human_count
        self.source: ClickMapProvider = source
        self._bounds = bounds_of(groups)
        self._names = group_names(len(self._bounds)) if len(self._bounds) > 1 else ("",)
        self._replicates = replicates
        self.rounds: int = rounds if rounds is not None else 1 if match_human_count is not None else protocol.clicks

    @property
    def dims(self) -> tuple[int, ...]:
        """What its click model can look at."""
        return self.source.card.dims

    def identity(self) -> dict[str, Any]:
        """Return the click model with its weights, and the digest of the file whose people are counted."""
        return {"click_model": self.source.identity} | (
            {} if self._match_human_count is None else {"match_human_count": self._match_human_count.digest}
        )

    def trajectories(self, sample: Sample, target: Target) -> Sequence[TrajectorySpec]:
        """Return one seat a group and replicate (or person counted)."""
        count = self._replicates if self._match_human_count is None else self._people(sample, target)
        return [TrajectorySpec(name, replicate) for name in self._names for replicate in range(count)]

    def next(self, view: View) -> Interaction | None:
        """Return the next click; see `next_batch`."""
        return self.next_batch([view])[0]

    def next_batch(self, views: Sequence[View]) -> list[Interaction | None]:
        """Return the next click of each view: one batched call of the click model for all of them.

        None if the round budget is spent or no error pixel is left (under the default rules).
        """
        draws = [self._look(view) for view in views]
        asked = [d for d in draws if isinstance(d, _Draw)]
        maps = self.source.maps(asked[0].view.sample, [self._ask(d) for d in asked]) if asked else []
        published = self._protocol.mass_slices == "published"
        orders: dict[tuple[int, int], MassOrder] = {}
        clicks: dict[int, Click] = {}
        for d, found in zip(asked, maps, strict=True):
            bounds = self._bounds[self._names.index(d.view.trajectory.group)]
            at = self._draw_published(d, found, bounds) if published else self._draw(d, found, bounds, orders)
            clicks[id(d)] = d.base if at is None else Click(at, d.base.positive)
        return [clicks[id(d)] if isinstance(d, _Draw) else d for d in draws]

    def _look(self, view: View) -> _Draw | Click | None:
        """Find the sign of the next click and the error it is for; a click or None where nothing is drawn."""
        if len(view.history) >= self.rounds:
            return None
        clicked = tuple(c.point for c in clicks_of(view.history))
        base = next_click(view.reference, view.prediction, clicked, steps_of(view.reference, self._protocol))
        if base is None:
            origin = Click((0,) * view.reference.mask.ndim, positive=False)
            return origin if self._protocol.perfect_mask == "click-origin" else None
        if not view.history and not view.prediction.any():
            return _Draw(view, base, view.reference.mask, clicked)
        error = view.reference.mask & ~view.prediction if base.positive else view.prediction & ~view.reference.mask
        if not base.positive and view.reference.ignore is not None:
            error &= ~view.reference.ignore
        return _Draw(view, base, error, clicked)

    def _ask(self, d: _Draw) -> ClickMapQuery:
        """Ask for a whole map, or in a volume for the window of the error if that makes no difference."""
        window = d.window if self._cut(d) else ...
        return ClickMapQuery(d.view.reference.mask[window], d.error[window], steps_of(d.view.reference, self._protocol))

    def _cut(self, d: _Draw) -> bool:
        return self.source.card.local and d.error.ndim == 3 and self._protocol.map_border == "outside"

    def _draw(
        self, d: _Draw, found: ClickMap, bounds: Bounds, orders: dict[tuple[int, int], MassOrder]
    ) -> tuple[int, ...] | None:
        """Draw from the half-open slice of the mass; without clicked pixels, equal maps and errors are sorted once."""
        window = d.window
        shared = (id(found), id(d.error))
        if d.clicked or shared not in orders:
            weights = (found if self._cut(d) else found[window]) * d.error[window]
            for point in d.clicked:
                if all(side.start <= c < side.stop for c, side in zip(point, window, strict=True)):
                    weights[tuple(c - side.start for c, side in zip(point, window, strict=True))] = 0
            order = MassOrder(weights)
            if not d.clicked:
                orders[shared] = order
        else:
            order = orders[shared]
        if order.total == 0:
            return None
        at = order.draw(bounds, self._uniform(d.view))
        return tuple(c + side.start for c, side in zip(at, window, strict=True))

    def _draw_published(self, d: _Draw, found: ClickMap, bounds: Bounds) -> tuple[int, ...] | None:
        """Draw from the published slice of the whole frame, in single precision."""
        weights = np.zeros(d.error.shape, np.float32)
        window = d.window if self._cut(d) else ...
        weights[window] = found * d.error[window]
        for point in d.clicked:
            weights[point] = 0
        return published_draw(published_slice(weights, bounds), self._uniform(d.view))

    def _uniform(self, view: View) -> float:
        """Return the number in [0, 1) that decides the click.

        Published code draws one number a click from a generator that is reseeded before each image and shared by the
        image's objects in turn, so a number's place in that sequence follows from the clicks before it.
        """
        if self._protocol.draws == "keyed":
            return float(view.rng.random())
        places = [t.id for t in view.sample.targets].index(view.target.id)
        if self._match_human_count is None:
            place, seed = places * self.rounds + len(view.history), PUBLISHED_SEED + view.trajectory.replicate
        else:
            before = sum(self._people(view.sample, t) for t in view.sample.targets[:places])
            place, seed = before + view.trajectory.replicate, PUBLISHED_SEED
        return float(np.random.RandomState(seed).random_sample(place + 1)[-1])  # the published generator

    def _people(self, sample: Sample, target: Target) -> int:
        assert self._match_human_count is not None  # noqa: S101 - only asked then
        return len(self._match_human_count.of(sample, target))


def load(
    card: UserCard,
    *,
    protocol: Protocol,
    click_models: ClickModels,
    model: str = "clickability-mini",
    checkpoint: str | None = None,
    groups: int | Sequence[float] = 10,
    replicates: int = 1,
    match_human_count: str | Path | None = None,
    rounds: int | None = None,
) -> Sampled:
    """Return a user that samples from a click model.

    Raises
    ------
    ProtocolError
        If groups, replicates or rounds make no sense.
    DataError
        If the click file `match_human_count` cannot be read.
    UnknownNameError, WeightsError
        If there is no such click model or its weights are missing.
    """
    for name, value in (("replicates", replicates), ("rounds", 1 if rounds is None else rounds)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ProtocolError(f"user sampled: {name} is {value!r}; expected a whole number, at least 1")
    if match_human_count is not None and replicates != 1:
        raise ProtocolError("user sampled: `match_human_count` sets the number of trajectories; leave out `replicates`")
    human_clicks = None if match_human_count is None else HumanClicks(Path(match_human_count).expanduser())
    return Sampled(card, protocol, click_models(model, checkpoint), groups, replicates, human_clicks, rounds)
