"""Estimate how many predictions a plan needs at most, for ``rclicks run --dry-run``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rclicks.engine.loading import load_dataset, load_user
from rclicks.engine.plan import Plan
from rclicks.errors import RclicksError
from rclicks.registry import Registry
from rclicks.sample import Sample
from rclicks.users.contract import User

__all__ = ["Cost", "estimate"]

MAX_DECODED = 40


@dataclass(frozen=True)
class Cost:
    """The upper bound of a plan's work.

    Attributes
    ----------
    trajectories : int
        Number of trajectories: one for each model, user, object, rater, group and replicate.
    predictions : int
        Number of predictions, if every trajectory uses the whole budget of interactions.
    exact : bool
        True if every sample was decoded. False if the numbers are extrapolated from some samples.
    unreadable : tuple of str
        Samples that could not be decoded, with the reason.
    """

    trajectories: int
    predictions: int
    exact: bool
    unreadable: tuple[str, ...] = ()


def estimate(plan: Plan, registry: Registry, done: Collection[str], most: int = MAX_DECODED) -> Cost:
    """Estimate the remaining work of a plan. At most `most` evenly spaced samples of each data set are decoded.

    Parameters
    ----------
    plan : Plan
    registry : Registry
    done : collection of str
        Keys of the finished units.
    most : int
    """
    users = {s.label: load_user(registry, s, plan.benchmark.protocol) for s in plan.user_specs}
    rounds = {
        label: min(user.rounds or plan.benchmark.protocol.clicks, plan.benchmark.protocol.clicks)
        for label, user in users.items()
    }
    total, predictions, exact = 0.0, 0.0, True
    unreadable: list[str] = []
    for spec in plan.benchmark.datasets:
        units = [u for u in plan.units if u.dataset == spec.label and u.key not in done]
        indices = sorted({u.index for u in units})
        if not indices:
            continue
        step = max(1, -(-len(indices) // most))
        seen = indices[::step]
        exact &= step == 1
        dataset = load_dataset(registry, spec, plan.roots[spec.label], plan.benchmark.protocol)
        trajectories = dict.fromkeys(users, 0)
        readable = 0
        for index in seen:
            try:
                sample = dataset[index]
                counted = {label: _count_trajectories(user, sample) for label, user in users.items()}
            except (RclicksError, OSError, ValueError, LookupError) as error:
                unreadable.append(f"{spec.label}/{dataset.ids[index]}: {error}")
                continue
            readable += 1
            trajectories = {label: n + counted[label] for label, n in trajectories.items()}
        for unit in units if readable else ():
            total += sum(trajectories[label] for label in plan.players[unit.model]) / readable
            predictions += sum(trajectories[label] * rounds[label] for label in plan.players[unit.model]) / readable
    return Cost(round(total), round(predictions), exact and not unreadable, (*unreadable,))


def _count_trajectories(user: User, sample: Sample) -> int:
    return sum(len(user.trajectories(sample, t)) * sum(bool(m.any()) for m in t.masks) for t in sample.targets)
