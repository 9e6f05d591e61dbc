"""What a user must do: look at the target and the present prediction, and act or stop.

A user module has ``CARDS`` (tuple of `rclicks.cards.UserCard`) and ``load(card, *, protocol, **options) -> User``. The
card names the options that are files of data (``files``): the engine finds them and passes the path. A
`load` with a parameter ``click_models`` is also given a callable ``(name, checkpoint) -> MapSource``, through which all
users of a worker share click models and their maps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rclicks.cards import UserCard
from rclicks.interaction import Interaction
from rclicks.sample import Mask, Sample, Target

if TYPE_CHECKING:
    from rclicks.clickability.source import MapSource
    from rclicks.metrics.facts import TargetFacts

__all__ = ["Seat", "User", "View"]


@dataclass(frozen=True)
class Seat:
    """One trajectory that a user wants to play on a target.

    Attributes
    ----------
    group : str
        Click group (G1..G10), jitter level or recorded person; "" where the user has none.
    replicate : int
        0-based repetition with fresh random numbers.
    """

    group: str = ""
    replicate: int = 0


@dataclass(frozen=True, eq=False)
class View:
    """All that a user sees before acting.

    Attributes
    ----------
    sample : Sample
        The image with all its targets.
    target : Target
    facts : TargetFacts
        The followed rater's mask with cached crops; `facts.mask` is (H, W) or (Z, H, W) bool, `facts.ignore` bool or
        None, `facts.spacing` the voxel size in mm.
    prediction : bool array of the target's shape
        All False before the first interaction.
    history : tuple of Interaction
    seat : Seat
    rng : numpy.random.Generator
        Keyed by (seed, data set, sample, object, rater, user, group, replicate, round); fresh each round.
    """

    sample: Sample
    target: Target
    facts: TargetFacts
    prediction: Mask
    history: tuple[Interaction, ...]
    seat: Seat
    rng: np.random.Generator

    @property
    def round(self) -> int:
        """1-based number of the interaction about to be placed."""
        return len(self.history) + 1


class User(ABC):
    """Whoever places the next interaction. Stateless: everything comes with the view.

    Attributes
    ----------
    card : UserCard
    options : dict
        As passed and by default.
    source : MapSource or None
        The click model that it asks.
    rounds : int or None
        Most interactions of a trajectory; None for the protocol's whole budget.
    """

    card: UserCard
    options: dict[str, object] = field(default_factory=dict)
    source: MapSource | None = None
    rounds: int | None = None

    @property
    def dims(self) -> tuple[int, ...]:
        """Axes of the images that it can look at: 2 for images, 3 for volumes."""
        return self.card.dims

    @property
    def prompts(self) -> tuple[str, ...]:
        """Kinds of interaction that it makes with its options."""
        return self.card.prompts

    def identity(self) -> dict[str, Any]:
        """Return what decides the clicks beside the options: digests of files, weights of a click model."""
        return {}

    def seats(self, sample: Sample, target: Target) -> Sequence[Seat]:
        """Return the trajectories to play on `target`; one by default."""
        return (Seat(),)

    @abstractmethod
    def next(self, view: View) -> Interaction | None:
        """Return the next interaction, or None to stop."""

    def next_batch(self, views: Sequence[View]) -> list[Interaction | None]:
        """Answer several views at once; override where work can be shared (one batched click map)."""
        return [self.next(view) for view in views]
