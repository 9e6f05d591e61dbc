"""A user that samples clicks from a click model, from the whole click map or from click groups.

The base rule decides the sign of each click. The click model then predicts a map for the errors of this sign. The map
is set to 0 outside the error and at pixels that were clicked before, and the click is drawn from it. With ``groups``
the click is drawn from one group of the probability mass: there is one trajectory for G1 (the least likely tenth), one
for G2, and so on up to G10 (the most likely clicks).

If the map is 0 on the whole error, the click is the one of the base rule.

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
        summary="samples clicks from a click model: from the whole map, or from the groups G1..Gn",
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

PUBLISHED_SEED = 42  # the published code seeds NumPy's global generator with this number before each image


class ClickModels(Interface):
    """Function that returns the provider of a click model by name, so that users share click models."""

    def __call__(self, name: str, checkpoint: str | None) -> ClickMapProvider:
        """Return the provider of the click maps of a registered click model."""


@dataclass(frozen=True, eq=False)
class _Draw:
    """A click that is to be sampled.

    Attributes
    ----------
    view : View
    base : Click
        Click of the base rule, which decides the sign.
    error : (H, W) or (Z, H, W) bool array
        Error pixels of this sign.
    clicked : tuple of tuple of int
        Pixels that were clicked before, in array order.
    """

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
    """Sample clicks from a click model.

    Parameters
    ----------
    card : UserCard
    protocol : Protocol
    source : ClickMapProvider
        Provider of click maps.
    groups : int or sequence of float
        Number of click groups with equal probability mass, or their bounds in [0, 1]. 1 samples from the whole map.
    replicates : int
        Number of trajectories of each group.
    match_human_count : HumanClicks or None
        Clicks of people. Each object gets as many trajectories as people clicked on it, instead of `replicates`.
    rounds : int or None
        Number of clicks of a trajectory; None for the budget of the protocol, or for 1 with `match_human_count`.
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
        """Numbers of axes that its click model supports."""
        return self.source.card.dims

    def identity(self) -> dict[str, Any]:
        """Return the click model with its weights, and the hash of the file of `match_human_count`."""
        return {"click_model": self.source.identity} | (
            {} if self._match_human_count is None else {"match_human_count": self._match_human_count.digest}
        )

    def trajectories(self, sample: Sample, target: Target) -> Sequence[TrajectorySpec]:
        """Return one trajectory for each group and replicate, or for each group and person with `match_human_count`."""
        count = self._replicates if self._match_human_count is None else self._people(sample, target)
        return [TrajectorySpec(name, replicate) for name in self._names for replicate in range(count)]

    def next(self, view: View) -> Interaction | None:
        """Return the next click; see `next_batch`."""
        return self.next_batch([view])[0]

    def next_batch(self, views: Sequence[View]) -> list[Interaction | None]:
        """Return the next click of each view, with one batched call of the click model for all views.

        A trajectory gets None after `rounds` clicks, and under the default protocol if no error pixel is left.
        """
        draws = [self._look(view) for view in views]
        asked = [d for d in draws if isinstance(d, _Draw)]
        maps = self.source.maps(asked[0].view.sample, [self._query(d) for d in asked]) if asked else []
        published = self._protocol.mass_slices == "published"
        orders: dict[tuple[int, int], MassOrder] = {}
        clicks: dict[int, Click] = {}
        for d, found in zip(asked, maps, strict=True):
            bounds = self._bounds[self._names.index(d.view.trajectory.group)]
            at = self._draw_published(d, found, bounds) if published else self._draw(d, found, bounds, orders)
            clicks[id(d)] = d.base if at is None else Click(at, d.base.positive)
        return [clicks[id(d)] if isinstance(d, _Draw) else d for d in draws]

    def _look(self, view: View) -> _Draw | Click | None:
        """Return the click to be sampled. If nothing is to be sampled, return the click itself or None to stop."""
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

    def _query(self, d: _Draw) -> ClickMapQuery:
        """Return the query for the whole map, or for the window of the error if the map depends on nothing else."""
        window = d.window if self._cut(d) else ...
        return ClickMapQuery(d.view.reference.mask[window], d.error[window], steps_of(d.view.reference, self._protocol))

    def _cut(self, d: _Draw) -> bool:
        return self.source.card.local and d.error.ndim == 3 and self._protocol.map_border == "outside"

    def _draw(
        self, d: _Draw, found: ClickMap, bounds: Bounds, orders: dict[tuple[int, int], MassOrder]
    ) -> tuple[int, ...] | None:
        """Return a pixel from the half-open group of the mass; None if the map is 0 on the whole error.

        If no pixel was clicked before, trajectories with the same map and error share the sorted weights.
        """
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
        """Return a pixel from the group as the published code computes it: on the whole image, in single precision."""
        weights = np.zeros(d.error.shape, np.float32)
        window = d.window if self._cut(d) else ...
        weights[window] = found * d.error[window]
        for point in d.clicked:
            weights[point] = 0
        return published_draw(published_slice(weights, bounds), self._uniform(d.view))

    def _uniform(self, view: View) -> float:
        """Return the random number in [0, 1) that decides the click.

        The published code seeds one generator before each image and draws one number for each click, object by object.
        So the position of a number in this sequence is the number of clicks before it.
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
        assert self._match_human_count is not None  # noqa: S101 - called only with `match_human_count`
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
        If the value of groups, replicates or rounds is not allowed.
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
