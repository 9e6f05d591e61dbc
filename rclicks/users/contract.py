"""What a user and its module must do: look at the target and the present prediction, and act or stop.

`User` is the live object, `UserModule` the module that makes it: one file or one folder of ``users/``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rclicks.cards import UserCard
from rclicks.interaction import Interaction
from rclicks.sample import Mask, Sample, Target

if TYPE_CHECKING:
    from rclicks.clickability.provider import ClickMapProvider
    from rclicks.metrics.target import TargetReference
    from rclicks.protocol import Protocol as Rules

__all__ = ["TrajectorySpec", "User", "UserModule", "View"]


@dataclass(frozen=True)
class TrajectorySpec:
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
    reference : TargetReference
        The followed rater's mask with cached crops; `facts.mask` is (H, W) or (Z, H, W) bool, `facts.ignore` bool or
        None, `facts.spacing` the voxel size in mm.
    prediction : bool array of the target's shape
        All False before the first interaction.
    history : tuple of Interaction
    trajectory : Seat
    rng : numpy.random.Generator
        Keyed by (seed, data set, sample, object, rater, user, group, replicate, round); fresh each round.
    """

    sample: Sample
    target: Target
    reference: TargetReference
    prediction: Mask
    history: tuple[Interaction, ...]
    trajectory: TrajectorySpec
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
    options : mapping of str to value
        As passed and by default; empty by default.
    source : ClickMapProvider or None
        The click model that it asks.
    rounds : int or None
        Most interactions of a trajectory; None for the protocol's whole budget.
    """

    card: UserCard
    options: Mapping[str, object] = MappingProxyType({})
    source: ClickMapProvider | None = None
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

    def trajectories(self, sample: Sample, target: Target) -> Sequence[TrajectorySpec]:
        """Return the trajectories to play on `target`; one by default."""
        return (TrajectorySpec(),)

    @abstractmethod
    def next(self, view: View) -> Interaction | None:
        """Return the next interaction, or None to stop."""

    def next_batch(self, views: Sequence[View]) -> list[Interaction | None]:
        """Answer several views at once; override where work can be shared (one batched click map)."""
        return [self.next(view) for view in views]


class UserModule(Protocol):
    """The module of a family of users: its cards, and the function that the engine calls in it. Both are required.

    `rclicks.hooks` explains which arguments are passed.

    Attributes
    ----------
    CARDS : tuple of UserCard
        Calls of `rclicks.cards.UserCard` with literal arguments; read without importing the module.
    """

    CARDS: tuple[UserCard, ...]

    def load(
        self,
        card: UserCard,
        *,
        protocol: Rules,
        checkpoint: str | None = None,
        click_models: Callable[[str, str | None], ClickMapProvider] | None = None,
        **options: Any,
    ) -> User:
        """Build a user. Called in the planning process and once in each worker process.

        Parameters
        ----------
        card : UserCard
            One of `CARDS`.
        protocol : rclicks.protocol.Protocol
            Rules of the run.
        checkpoint : str
            Passed on request, and only if the spec has one: weights of the click model that the user asks. The engine
            refuses a checkpoint for a user that does not name the parameter.
        click_models : callable (name, checkpoint) -> ClickMapProvider
            Passed on request. Through it all users of a worker share click models and their maps.
        **options
            Options of the spec.

        Raises
        ------
        ProtocolError
            If an option is unknown or its value is not allowed.
        DataError
            If a file of clicks is missing or damaged.
        PluginError, WeightsError
            If a click model is unknown, or its weights are missing.
        """
