"""Play a picture against a model outside of a run folder, and keep the logits of every answer."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rclicks
from rclicks.engine.episode import EpisodeConfig, play
from rclicks.engine.loading import load_model, load_user
from rclicks.models.contract import Model, State
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.sample import Sample
from rclicks.specs import parse

__all__ = ["BASE", "GROUPS", "Case", "Played", "Recorder", "case_sample", "play_case", "play_model"]

BASE = "robot"
GROUPS = "sampled:model=distance,groups=10"
EVERY = 4  # of rows and columns whose logits are kept
SEED = 42

Key = tuple[tuple[tuple[int, ...], bool], ...]


@dataclass(frozen=True)
class Case:
    """What is played, small and picklable.

    Attributes
    ----------
    spec : str
        Of the model.
    dataset : str
    root : str or None
    index : int
        Of the sample.
    users : tuple of str
    clicks : int
    device : str
    batch_size : int
        Batch size.
    threads : int
        Of torch on the CPU; 0 leaves them.
    """

    spec: str
    dataset: str
    root: str | None
    index: int
    users: tuple[str, ...] = (BASE, GROUPS)
    clicks: int = 5
    device: str = "cpu"
    batch_size: int = 1
    threads: int = 0


@dataclass(frozen=True, eq=False)
class Played:
    """What came of it: rows as in records, failures, and (h, w) float32 logits of each history of clicks."""

    rows: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    logits: dict[Key, NDArray[np.float32]]
    checkpoint: str = ""


class Recorder(Model):
    """A model that keeps every `EVERY`-th row and column of its logits; everything else is the inner model's."""

    def __init__(self, inner: Model) -> None:
        self.inner, self.card, self.device = inner, inner.card, inner.device
        self.checkpoint_id, self.options = inner.checkpoint_id, inner.options
        self.logits: dict[Key, NDArray[np.float32]] = {}

    @property
    def batched(self) -> bool:
        """As the inner model."""
        return self.inner.batched

    def embed(self, sample: Sample) -> Any:
        """As the inner model."""
        return self.inner.embed(sample)

    def segment(self, embedding: Any, states: Sequence[State]) -> list[State]:
        """As the inner model, with a look at its probabilities."""
        found = self.inner.segment(embedding, states)
        for state in found:
            if state.probability is not None:
                self.logits[key_of(state)] = logits_of(state.probability[..., ::EVERY, ::EVERY])
        return found

    def samples(self, embedding: Any, state: State) -> NDArray[np.float32] | None:
        """As the inner model."""
        return self.inner.samples(embedding, state)

    def batch_key(self, embedding: Any, state: State) -> Hashable:
        """As the inner model."""
        return self.inner.batch_key(embedding, state)

    def synchronise(self) -> None:
        """As the inner model."""
        self.inner.synchronise()


def key_of(state: State) -> Key:
    """Return the clicks of a state as plain values."""
    return tuple((tuple(map(int, i.point)), bool(i.positive)) for i in state.interactions)  # type: ignore[union-attr]


def logits_of(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits, cut at about +-16, where float32 probabilities have no more digits."""
    p = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.log(p / (1 - p)).astype(np.float32)


def case_sample(case: Case) -> Sample:
    """Return the picture of a case."""
    return rclicks.load_dataset(case.dataset, case.root)[case.index]


def play_case(case: Case) -> Played:
    """Load the model of a case and play it."""
    if case.threads:
        import cv2
        import torch

        torch.set_num_threads(case.threads)
        cv2.setNumThreads(case.threads)
    protocol = Protocol.named("default", clicks=case.clicks)
    model = load_model(Registry.discover(), parse(case.spec), case.device, protocol)
    return play_model(model, case)


def play_model(model: Model, case: Case, metrics: Sequence[str] = ("iou",)) -> Played:
    """Play the picture and users of a case against a model that is loaded."""
    registry, protocol = Registry.discover(), Protocol.named("default", clicks=case.clicks)
    users = [(name, load_user(registry, parse(name), protocol)) for name in case.users]
    recorder = Recorder(model)
    config = EpisodeConfig(case.spec, protocol, tuple(metrics), SEED, case.batch_size, "check", dataset=case.dataset)
    episode = play(recorder, case_sample(case), users, config)
    return Played(episode.rows, episode.failures, recorder.logits, model.checkpoint_id)
