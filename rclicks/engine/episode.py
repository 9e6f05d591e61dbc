"""Play all trajectories of one sample against one model, in lock-step.

The image is encoded once. In every round each live trajectory's user acts, the model decodes all of them in batches,
and the metrics are taken. A trajectory that fails is reported and leaves no rows; the others go on.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rclicks.engine.lanes import Decoded, LanePool
from rclicks.errors import RclicksError
from rclicks.interaction import Box, Interaction
from rclicks.metrics.catalogue import score
from rclicks.metrics.facts import TargetFacts
from rclicks.models.contract import Model, State
from rclicks.protocol import Protocol
from rclicks.sample import Sample, Target
from rclicks.seeds import keyed_rng
from rclicks.users.contract import Seat, User, View

__all__ = ["Episode", "Rules", "play"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Rules:
    """What an episode needs to know beside model, sample and users."""

    model: str
    protocol: Protocol
    metrics: tuple[str, ...]
    seed: int
    lanes: int
    unit: str
    dataset: str = ""  # the data set's label in records; the sample's own name if empty


@dataclass
class Episode:
    """What came of one sample.

    Attributes
    ----------
    rows : list of dict
        One a round, complete trajectories only.
    failures : list of dict
    encode_s : float
        Seconds of the one encoding.
    decode_calls : int
        Network calls.
    """

    rows: list[Row] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)
    encode_s: float = 0.0
    decode_calls: int = 0


@dataclass
class _Trajectory:
    target: Target
    rater: str
    facts: TargetFacts
    user: str
    seat: Seat
    state: State = field(default_factory=State)
    rows: list[Row] = field(default_factory=list)
    live: bool = True

    def key(self) -> Row:
        return {
            "object": self.target.id,
            "rater": self.rater,
            "user": self.user,
            "group": self.seat.group,
            "replicate": self.seat.replicate,
        }


def play(
    model: Model,
    sample: Sample,
    users: Sequence[tuple[str, User]],
    rules: Rules,
    clock: Callable[[], float] = time.perf_counter,
) -> Episode:
    """Play every user on every object and rater of `sample`.

    Raises
    ------
    OutOfMemory
        If one lane does not fit.
    Exception
        Whatever the model raises; the caller records it for the whole sample.
    """
    episode = Episode()
    base = {
        "model": rules.model,
        "checkpoint": model.checkpoint_id,
        "dataset": rules.dataset or sample.dataset,
        "sample": sample.id,
        "protocol": rules.protocol.hash,
        "unit": rules.unit,
    }
    trajectories = _trajectories(sample, users, episode, base)
    if not trajectories:
        return episode
    start = clock()
    embedding = model.embed(sample.blind())
    model.synchronise()
    episode.encode_s = clock() - start
    pool = LanePool(model, embedding, rules.lanes, clock)
    by_label = dict(users)
    for _ in range(rules.protocol.clicks):
        live = [t for t in trajectories if t.live]
        if not live:
            break
        acting = _act(live, by_label, sample, rules, episode, base, clock)
        decoded = pool.decode([t.state for t, _, _ in acting])
        for (trajectory, interaction, user_s), result in zip(acting, decoded, strict=True):
            _settle(trajectory, interaction, user_s, result, model, rules, episode, base, clock)
    episode.decode_calls = pool.calls
    for trajectory in trajectories:
        episode.rows += [base | trajectory.key() | row for row in trajectory.rows]
    for row in episode.rows:
        row["encode_s"] = episode.encode_s / len(episode.rows)
    return episode


def _trajectories(sample: Sample, users: Sequence[tuple[str, User]], episode: Episode, base: Row) -> list[_Trajectory]:
    found: list[_Trajectory] = []
    for target in sample.targets:
        for rater, mask in zip(target.raters, target.masks, strict=True):
            if mask.shape != sample.shape:
                raise ValueError(
                    f"object {target.id} of {sample.dataset}/{sample.id} has a mask of shape {mask.shape}, "
                    f"the image {sample.shape}"
                )
            facts = TargetFacts(mask, target.ignore)
            where = {"object": target.id, "rater": rater}
            if facts.window is None:
                message = f"object {target.id} of rater {rater} has no pixel, so there is nothing to segment"
                episode.failures.append(base | where | {"error": "EmptyTarget", "message": message})
                continue
            for label, user in users:
                try:
                    seats = user.seats(sample, target)
                except (RclicksError, ValueError, LookupError) as error:
                    episode.failures.append(base | where | {"user": label} | describe(error))
                    continue
                found += [_Trajectory(target, rater, facts, label, seat) for seat in seats]
    return found


def _act(
    live: Sequence[_Trajectory],
    users: dict[str, User],
    sample: Sample,
    rules: Rules,
    episode: Episode,
    base: Row,
    clock: Callable[[], float],
) -> list[tuple[_Trajectory, Interaction, float]]:
    """Ask each user once for all of its trajectories; those that stop or fail are no longer live."""
    acting: list[tuple[_Trajectory, Interaction, float]] = []
    for label, user in users.items():
        own = [t for t in live if t.user == label]
        if not own:
            continue
        start = clock()
        answers = _answers(user, own, sample, rules, episode, base)
        share = (clock() - start) / len(own)
        for t, interaction in zip(own, answers, strict=True):
            if interaction is None:
                t.live = False
            elif t.live:
                t.state = State((*t.state.interactions, interaction), t.state.mask, t.state.probability, t.state.memory)
                acting.append((t, interaction, share))
    order = {id(t): i for i, t in enumerate(live)}
    return sorted(acting, key=lambda entry: order[id(entry[0])])


def _answers(
    user: User, own: Sequence[_Trajectory], sample: Sample, rules: Rules, episode: Episode, base: Row
) -> list[Interaction | None]:
    """Ask for all answers at once; if that fails, one by one, so that only the trajectories at fault fail."""
    try:
        answers = user.next_batch([_view(t, sample, rules) for t in own])
        if len(answers) != len(own):
            raise ValueError(f"user {own[0].user} got {len(own)} views and gave {len(answers)} answers")
        return answers
    except (RclicksError, ValueError, LookupError, ArithmeticError):
        answers = []
    for t in own:
        try:
            answers += user.next_batch([_view(t, sample, rules)])[:1] or [None]
        except (RclicksError, ValueError, LookupError, ArithmeticError) as error:
            _fail(t, episode, base, describe(error))
            answers.append(None)
    return answers


def _view(t: _Trajectory, sample: Sample, rules: Rules) -> View:
    names = (rules.dataset or sample.dataset, sample.id, t.target.id, t.rater, t.user, t.seat.group, t.seat.replicate)
    mask = np.zeros(t.facts.mask.shape, bool) if t.state.mask is None else t.state.mask
    rng = keyed_rng(rules.seed, *names, len(t.state.interactions) + 1)
    return View(sample, t.target, t.facts, mask, t.state.interactions, t.seat, rng)


def _settle(
    t: _Trajectory,
    interaction: Interaction,
    user_s: float,
    result: Decoded,
    model: Model,
    rules: Rules,
    episode: Episode,
    base: Row,
    clock: Callable[[], float],
) -> None:
    """Check and score one prediction and write its row."""
    state = result.state
    trouble = _trouble(state, t.facts.mask.shape)
    if trouble:
        message = f"{rules.model} returned {trouble} in round {len(state.interactions)}"
        _fail(t, episode, base, {"error": "BadPrediction", "message": message})
        return
    assert state.mask is not None  # noqa: S101 - _trouble has checked it
    start = clock()
    scores = score(rules.metrics, t.facts, state.mask, rules.protocol)
    metric_s = clock() - start
    t.state = state
    untrained = interaction.kind not in model.card.prompts
    t.rows.append(
        {
            "round": len(state.interactions),
            "kind": interaction.kind,
            "positive": interaction.positive,
            **_coordinates(interaction),
            **scores,
            "decode_s": result.seconds,
            "user_s": user_s,
            "metric_s": metric_s,
            "lanes": result.lanes,
            "flags": f"untrained-prompt:{interaction.kind}" if untrained else "",
        }
    )
    stop = rules.protocol.stop_iou
    if stop is not None and scores.get("iou", 0.0) >= stop and len(t.rows) >= rules.protocol.min_clicks:
        t.live = False


def _trouble(state: State, shape: tuple[int, ...]) -> str:
    if state.mask is None or state.mask.dtype != np.bool_ or state.mask.shape != shape:
        found = None if state.mask is None else (state.mask.dtype, state.mask.shape)
        return f"a mask of {found}, expected bool {shape}"
    if state.probability is None or state.probability.shape != shape:
        return f"no probability map of shape {shape}"
    if not math.isfinite(float(state.probability.sum())):  # cheaper than a look at every pixel, and as strict
        return "a probability map with NaN or infinity"
    return ""


def _coordinates(interaction: Interaction) -> Row:
    corners = {"": interaction.low, "1": interaction.high} if isinstance(interaction, Box) else {"": interaction.point}
    return {
        axis + suffix: int(value)
        for suffix, point in corners.items()
        for axis, value in zip("zyx"[3 - len(point) :], point, strict=True)
    }


def _fail(t: _Trajectory, episode: Episode, base: Row, what: Row) -> None:
    t.live = False
    t.rows.clear()
    episode.failures.append(base | t.key() | what)


def describe(error: BaseException) -> Row:
    """Return the error as columns of the failure table."""
    text = "".join(traceback.format_exception(error))
    return {"error": type(error).__name__, "message": str(error), "traceback": text}
