"""Simulate all trajectories of one sample with one model.

The image is encoded once. A group of trajectories is simulated together: in each round the users place the interactions
of all trajectories that have not ended, the model predicts their masks in batches, and the predictions are scored. For
an image the group contains all trajectories. For a volume it contains only as many trajectories as the model predicts
in one call, to save memory; for stateful models this is one, because their sessions are fastest if the rounds of one
trajectory follow each other. A trajectory that fails is reported and has no rows. It does not affect the others.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from rclicks.engine.batching import BatchRunner, Decoded
from rclicks.engine.raters import MultiRaterScorer, RaterScorer, followed, rater_masks
from rclicks.errors import InvalidPrediction, ProtocolError, RclicksError
from rclicks.interaction import Click, Drawing, Interaction, check_inside, corners_of
from rclicks.metrics.catalogue import score
from rclicks.metrics.raters.catalogue import RATERS
from rclicks.metrics.target import TargetReference
from rclicks.models.contract import Model, State
from rclicks.protocol import Protocol
from rclicks.sample import Mask, Sample, Target
from rclicks.seeds import keyed_rng
from rclicks.users.contract import TrajectorySpec, User, View

__all__ = ["Episode", "EpisodeConfig", "play"]

Row = dict[str, Any]


@dataclass(frozen=True)
class EpisodeConfig:
    """Settings of an episode, apart from model, sample and users.

    Attributes
    ----------
    model : str
        Label of the model in the records.
    protocol : Protocol
    metrics : tuple of str
        Names of the metrics to compute.
    seed : int
        Seed of all random generators.
    batch_size : int
        Number of slots in a network call.
    unit : str
        Key of the unit.
    reference : tuple of str
        Reference masks to follow: "raters" for each rater, or consensus rules.
    dataset : str
        Label of the data set in the records; "" for the name in the sample.
    keep : callable (key columns, mask) -> None, or None
        Function that is called with the last mask of each trajectory.
    """

    model: str
    protocol: Protocol
    metrics: tuple[str, ...]
    seed: int
    batch_size: int
    unit: str
    reference: tuple[str, ...] = ("raters",)
    dataset: str = ""
    keep: Callable[[Row, Mask], None] | None = None


@dataclass
class Episode:
    """Result of one sample.

    Attributes
    ----------
    rows : list of dict
        Records: one row for each round of each complete trajectory.
    failures : list of dict
        Failures: one row for each trajectory or object that failed.
    encode_s : float
        Time in seconds to encode the image.
    decode_calls : int
        Number of calls of the model.
    empty_references : int
        Number of reference masks that were not followed because they are empty (a rater drew nothing, or a consensus
        is empty) although another rater drew the object.
    """

    rows: list[Row] = field(default_factory=list)
    failures: list[Row] = field(default_factory=list)
    encode_s: float = 0.0
    decode_calls: int = 0
    empty_references: int = 0


@dataclass
class _Trajectory:
    target: Target
    rater: str
    reference: TargetReference
    rater_scorer: RaterScorer | None
    multi_rater_scorer: MultiRaterScorer | None
    user: str
    spec: TrajectorySpec
    state: State = field(default_factory=State)
    rows: list[Row] = field(default_factory=list)
    live: bool = True

    def key(self) -> Row:
        return {
            "object": self.target.id,
            "rater": self.rater,
            "user": self.user,
            "group": self.spec.group,
            "replicate": self.spec.replicate,
        }


def play(
    model: Model,
    sample: Sample,
    users: Sequence[tuple[str, User]],
    config: EpisodeConfig,
    clock: Callable[[], float] = time.perf_counter,
) -> Episode:
    """Simulate every user on every object and followed rater of `sample`.

    Parameters
    ----------
    model : Model
    sample : Sample
    users : sequence of (str, User)
        Labels and users.
    config : EpisodeConfig
    clock : callable () -> float
        Clock in seconds.

    Raises
    ------
    OutOfMemory
        If memory is too small even for a batch size of 1.
    Exception
        Any error of the model. The caller records it for the whole sample.
    """
    episode = Episode()
    base = {
        "model": config.model,
        "checkpoint": model.checkpoint_id,
        "dataset": config.dataset or sample.dataset,
        "sample": sample.id,
        "protocol": config.protocol.hash,
        "unit": config.unit,
    }
    trajectories = _trajectories(sample, users, config, episode, base)
    width = None if len(sample.shape) == 2 else config.batch_size if model.batched and not model.card.stateful else 1
    runner: BatchRunner | None = None
    by_label = dict(users)
    while wave := list(islice(trajectories, width)):
        if runner is None:
            start = clock()
            embedding = model.embed(sample.blind())
            model.synchronise()
            episode.encode_s = clock() - start
            runner = BatchRunner(model, embedding, config.batch_size, clock, sample.shape)
        for _ in range(config.protocol.clicks):
            live = [t for t in wave if t.live]
            if not live:
                break
            acting = _act(live, by_label, sample, config, episode, base, clock)
            decoded = runner.decode([t.state for t, _, _ in acting])
            for (trajectory, interaction, user_s), result in zip(acting, decoded, strict=True):
                _settle(trajectory, interaction, user_s, result, runner, config, episode, base, clock)
            del decoded  # frees the masks of the last round before the next group starts
        for trajectory in wave:
            episode.rows += [base | trajectory.key() | row for row in trajectory.rows]
            if config.keep is not None and trajectory.rows and trajectory.state.mask is not None:
                config.keep(base | trajectory.key(), trajectory.state.mask)
        del wave, live
    episode.decode_calls = 0 if runner is None else runner.calls
    for row in episode.rows:
        row["encode_s"] = episode.encode_s / len(episode.rows)
    return episode


def _trajectories(
    sample: Sample, users: Sequence[tuple[str, User]], config: EpisodeConfig, episode: Episode, base: Row
) -> Iterator[_Trajectory]:
    """Yield the trajectories object by object. The scorers of an object are built with its first trajectory."""
    of_raters = [name for name in config.metrics if name in RATERS]
    for target in sample.targets:
        if any(mask.shape != sample.shape for mask in target.masks):
            shapes = ", ".join(str(mask.shape) for mask in target.masks)
            raise ValueError(
                f"object {target.id} of {sample.dataset}/{sample.id} has masks of shape {shapes}, "
                f"but the image has shape {sample.shape}"
            )
        raters = rater_masks(target, sample.spacing) if len(target.raters) > 1 else None
        multi_rater_scorer = MultiRaterScorer(of_raters, target, sample.spacing) if raters and of_raters else None
        for rater, mask in followed(
            target, config.reference, (config.seed, config.dataset or sample.dataset, sample.id)
        ):
            reference = TargetReference(mask, target.ignore, sample.spacing)
            rater_scorer = None if raters is None else RaterScorer(raters, mask)
            where = {"object": target.id, "rater": rater}
            if reference.window is None and any(drawn.window is not None for _, drawn in raters or ()):
                # An empty mask is a valid answer of a rater. It is not an error in the data, but cannot be followed.
                episode.empty_references += 1
                continue
            if reference.window is None:
                message = f"object {target.id} of rater {rater} has no pixels, so there is nothing to segment"
                episode.failures.append(base | where | {"error": "EmptyTarget", "message": message})
                continue
            for label, user in users:
                try:
                    specs = user.trajectories(sample, target)
                except (RclicksError, ValueError, LookupError) as error:
                    episode.failures.append(base | where | {"user": label} | describe(error))
                    continue
                for spec in specs:
                    yield _Trajectory(target, rater, reference, rater_scorer, multi_rater_scorer, label, spec)


def _act(
    live: Sequence[_Trajectory],
    users: dict[str, User],
    sample: Sample,
    config: EpisodeConfig,
    episode: Episode,
    base: Row,
    clock: Callable[[], float],
) -> list[tuple[_Trajectory, Interaction, float]]:
    """Ask each user for the next interactions of all its trajectories. Trajectories that stop or fail end here.

    Returns
    -------
    list of (trajectory, interaction, seconds)
        In the order of `live`. The time of the user is divided equally among its trajectories.
    """
    acting: list[tuple[_Trajectory, Interaction, float]] = []
    for label, user in users.items():
        own = [t for t in live if t.user == label]
        if not own:
            continue
        start = clock()
        answers = _answers(user, own, sample, config, episode, base)
        share = (clock() - start) / len(own)
        for t, interaction in zip(own, answers, strict=True):
            if interaction is None:
                t.live = False
            elif t.live and _fits(interaction, t, episode, base):
                t.state = State((*t.state.interactions, interaction), t.state.mask, t.state.probability, t.state.memory)
                acting.append((t, interaction, share))
    order = {id(t): i for i, t in enumerate(live)}
    return sorted(acting, key=lambda entry: order[id(entry[0])])


def _fits(interaction: Interaction, t: _Trajectory, episode: Episode, base: Row) -> bool:
    """Return whether an interaction lies inside the image. If it does not, its trajectory fails."""
    try:
        check_inside(interaction, t.reference.mask.shape)
    except ProtocolError as error:
        _fail(t, episode, base, describe(error))
        return False
    return True


def _answers(
    user: User, own: Sequence[_Trajectory], sample: Sample, config: EpisodeConfig, episode: Episode, base: Row
) -> list[Interaction | None]:
    """Return the next interactions of one user's trajectories; None for those that stop or fail.

    All are requested in one call. If this call fails, they are requested one by one, so that only the trajectories
    that cause an error fail.
    """
    try:
        answers = user.next_batch([_view(t, sample, config) for t in own])
        if len(answers) != len(own):
            raise ValueError(f"user {own[0].user} got {len(own)} views and returned {len(answers)} interactions")
        return answers
    except (RclicksError, ValueError, LookupError, ArithmeticError):
        answers = []
    for t in own:
        try:
            answers += user.next_batch([_view(t, sample, config)])[:1] or [None]
        except (RclicksError, ValueError, LookupError, ArithmeticError) as error:
            _fail(t, episode, base, describe(error))
            answers.append(None)
    return answers


def _view(t: _Trajectory, sample: Sample, config: EpisodeConfig) -> View:
    names = (config.dataset or sample.dataset, sample.id, t.target.id, t.rater, t.user, t.spec.group, t.spec.replicate)
    mask = np.zeros(t.reference.mask.shape, bool) if t.state.mask is None else t.state.mask
    rng = keyed_rng(config.seed, *names, len(t.state.interactions) + 1)
    return View(sample, t.target, t.reference, mask, t.state.interactions, t.spec, rng)


def _settle(
    t: _Trajectory,
    interaction: Interaction,
    user_s: float,
    result: Decoded,
    runner: BatchRunner,
    config: EpisodeConfig,
    episode: Episode,
    base: Row,
    clock: Callable[[], float],
) -> None:
    """Check and score one prediction, and append its row to the trajectory."""
    state, start = result.state, clock()
    try:
        scores = _scores(t, result, runner, config)
    except InvalidPrediction as error:
        message = f"{config.model} returned {error} in round {len(state.interactions)}"
        _fail(t, episode, base, {"error": "InvalidPrediction", "message": message})
        return
    metric_s = clock() - start
    t.state = state
    untrained = interaction.kind not in runner.model.card.prompts
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
            "lanes": result.batch_size,
            "flags": f"untrained-prompt:{interaction.kind}" if untrained else "",
        }
    )
    stop = config.protocol.stop_iou
    if stop is not None and scores.get("iou", 0.0) >= stop and len(t.rows) >= config.protocol.min_clicks:
        t.live = False


def _scores(t: _Trajectory, result: Decoded, runner: BatchRunner, config: EpisodeConfig) -> Row:
    """Return the scores of a prediction: on the followed reference mask, on each rater, and on all raters together.

    Raises
    ------
    InvalidPrediction
        If the prediction cannot be scored.
    """
    state = result.state
    if result.error is not None:
        raise result.error
    assert state.mask is not None  # noqa: S101 - `validate_prediction` has checked it
    own = tuple(name for name in config.metrics if name not in RATERS)
    found: Row = {**score(own, t.reference, state.mask, config.protocol)}
    if t.rater_scorer is not None:
        found |= t.rater_scorer.score(state.mask)
    if t.multi_rater_scorer is not None:
        found |= t.multi_rater_scorer.score(runner.model, runner.embedding, state)
    return found


def _coordinates(interaction: Interaction) -> Row:
    """Return the columns of an interaction: a point, or first and last pixel, and for drawings the packed pixels."""
    low, high = corners_of(interaction)
    corners = {"": low} if isinstance(interaction, Click) else {"": low, "1": high}
    found: Row = {
        axis + suffix: int(value)
        for suffix, point in corners.items()
        for axis, value in zip("zyx"[3 - len(point) :], point, strict=True)
    }
    if isinstance(interaction, Drawing):
        found["region"] = np.packbits(interaction.mask).tobytes()
    return found


def _fail(t: _Trajectory, episode: Episode, base: Row, what: Row) -> None:
    t.live = False
    t.rows.clear()
    episode.failures.append(base | t.key() | what)


def describe(error: BaseException) -> Row:
    """Return the columns `error`, `message` and `traceback` of the failure table for an error."""
    text = "".join(traceback.format_exception(error))
    return {"error": type(error).__name__, "message": str(error), "traceback": text}
