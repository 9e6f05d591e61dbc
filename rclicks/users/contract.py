"""The contract of users: a user sees the target and the present prediction, and returns an interaction or stops.

`User` is the object that places interactions. `UserModule` is the module that builds it: one file or one folder in
``users/``.
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
    """One trajectory of a user on a target.

    Attributes
    ----------
    group : str
        Click group (G1..G10), jitter level or recorded person; "" if the user has no groups.
    replicate : int
        0-based number of the replicate. Each replicate has new random numbers.
    """

    group: str = ""
    replicate: int = 0


@dataclass(frozen=True, eq=False)
class View:
    """Everything that a user sees before it places an interaction.

    Attributes
    ----------
    sample : Sample
        The image with all its targets.
    target : Target
        The object to segment.
    reference : TargetReference
        The followed reference mask with cached crops: `mask` is a (H, W) or (Z, H, W) bool array, `ignore` a bool array
        of the same shape or None, and `spacing` the size of a pixel or voxel in mm.
    prediction : bool array
        The last prediction, with the shape of the reference mask. All False before the first interaction.
    history : tuple of Interaction
        The interactions of this trajectory so far.
    trajectory : TrajectorySpec
    rng : numpy.random.Generator
        New generator in each round, keyed by (seed, data set, sample, object, rater, user, group, replicate, round).
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
        """1-based number of the interaction that the user places next."""
        return len(self.history) + 1


class User(ABC):
    """A user places interactions. It stores nothing between rounds, because the view contains everything.

    Attributes
    ----------
    card : UserCard
    options : mapping of str to value
        All options with their values; empty by default.
    source : ClickMapProvider or None
        Source of click maps; None for users without a click model.
    rounds : int or None
        Maximum number of interactions of a trajectory; None for the budget of the protocol.
    """

    card: UserCard
    options: Mapping[str, object] = MappingProxyType({})
    source: ClickMapProvider | None = None
    rounds: int | None = None

    @property
    def dims(self) -> tuple[int, ...]:
        """Numbers of axes that it supports: 2 for images, 3 for volumes."""
        return self.card.dims

    @property
    def prompts(self) -> tuple[str, ...]:
        """Kinds of interaction that it makes with its present options, such as "click"."""
        return self.card.prompts

    def identity(self) -> dict[str, Any]:
        """Return what decides the clicks in addition to the options: hashes of files, weights of click models."""
        return {}

    def trajectories(self, sample: Sample, target: Target) -> Sequence[TrajectorySpec]:
        """Return the trajectories of this user on `target`; one by default."""
        return (TrajectorySpec(),)

    @abstractmethod
    def next(self, view: View) -> Interaction | None:
        """Return the next interaction, or None to stop."""

    def next_batch(self, views: Sequence[View]) -> list[Interaction | None]:
        """Return the next interaction, or None to stop, of each view. Override this if several views can share work."""
        return [self.next(view) for view in views]


class UserModule(Protocol):
    """The module of a family of users: its cards and the function `load`, which the engine calls. Both are required.

    `rclicks.hooks` explains which arguments are passed.

    Attributes
    ----------
    CARDS : tuple of UserCard
        Calls of `rclicks.cards.UserCard` with literal arguments. They are read without importing the module.
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
        """Build a user. The engine calls this in the planning process and once in each worker process.

        Parameters
        ----------
        card : UserCard
            One of `CARDS`.
        protocol : rclicks.protocol.Protocol
            Rules of the run.
        checkpoint : str
            Weights of the click model. Passed only if the function has this parameter and the spec has a checkpoint.
            If the function does not have it, a checkpoint in the spec is an error.
        click_models : callable (name, checkpoint) -> ClickMapProvider
            Function that returns the provider of a click model. Passed only if the function has this parameter. All
            users of a worker share click models and their maps.
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
