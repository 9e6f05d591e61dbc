"""Batches of equal shape and one fixed size, halved when memory runs out.

The last bits of a batched network's results depend on the batch size, so every network call of a batched model has the
same number of slots: the last batch is padded with copies. The batch size that a round was computed with is recorded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rclicks.errors import InvalidPrediction, OutOfMemory
from rclicks.models.contract import Model, State
from rclicks.models.devices import translate_memory_errors

__all__ = ["BatchRunner", "Decoded", "validate_prediction"]


@dataclass(frozen=True, eq=False)
class Decoded:
    """The result of decoding one state.

    Attributes
    ----------
    state : State
        The new state.
    seconds : float
        Share of the decoding time of its batch.
    batch_size : int
        Batch size that it was computed with.
    error : InvalidPrediction or None
        The reason why the prediction cannot be scored; None if it can, or if the image's shape is not known.
    """

    state: State
    seconds: float
    batch_size: int
    error: InvalidPrediction | None = None


class BatchRunner:
    """Decodes states of one image in batches.

    Parameters
    ----------
    model : Model
    embedding : object
        What `model.embed` returned.
    batch_size : int
        Number of slots in a network call; 1 for models that do not batch.
    shape : tuple of int or None
        Shape of the image; predictions are checked against it, and of volumes only the masks are kept, for the
        probabilities of one round would be in the way of those of the next. None checks and keeps all.
    """

    def __init__(
        self,
        model: Model,
        embedding: Any,
        batch_size: int,
        clock: Callable[[], float] = time.perf_counter,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self.model, self.embedding, self.clock, self.shape = model, embedding, clock, shape
        self.batch_size = batch_size if model.batched else 1
        self.calls = 0

    def decode(self, states: Sequence[State]) -> list[Decoded]:
        """Return the next state of each of `states`, in their order.

        Raises
        ------
        OutOfMemory
            If a single slot does not fit.
        """
        groups: dict[Hashable, list[int]] = {}
        for i, state in enumerate(states):
            groups.setdefault(self.model.batch_key(self.embedding, state), []).append(i)
        found: dict[int, Decoded] = {}
        for members in groups.values():
            while members:
                batch = members[: self.batch_size]
                try:
                    results = self._call([states[i] for i in batch])
                except OutOfMemory:
                    if self.batch_size == 1:
                        raise
                    self.batch_size = max(1, self.batch_size // 2)
                    continue
                found.update(zip(batch, results, strict=True))
                members = members[len(batch) :]
        return [found[i] for i in range(len(states))]

    def _call(self, batch: list[State]) -> list[Decoded]:
        padded = batch + [batch[-1]] * (self.batch_size - len(batch))
        start = self.clock()
        with translate_memory_errors():
            results = self.model.segment(self.embedding, padded)
        self.model.synchronise()
        share = (self.clock() - start) / len(batch)
        self.calls += 1
        if len(results) != len(padded):
            raise ValueError(f"{self.model.card.name}.segment got {len(padded)} states and returned {len(results)}")
        return [self._look_at(state, share) for state in results[: len(batch)]]

    def _look_at(self, state: State, seconds: float) -> Decoded:
        if self.shape is None:
            return Decoded(state, seconds, self.batch_size)
        error: InvalidPrediction | None = None
        try:
            validate_prediction(state, self.shape, self.model.card.probabilities)
        except InvalidPrediction as found:
            error = found  # raised again where the trajectory is scored, so that the other states of the batch go on
        if len(self.shape) == 3:
            state = replace(state, probability=None)
        return Decoded(state, seconds, self.batch_size, error)


def validate_prediction(state: State, shape: tuple[int, ...], probabilities: bool) -> None:
    """Check a model's prediction: a bool mask and, if `probabilities`, finite numbers, both of `shape`.

    Raises
    ------
    InvalidPrediction
        Saying what is wrong.

    >>> validate_prediction(State(mask=np.zeros((2, 2))), (2, 2), True)
    Traceback (most recent call last):
    rclicks.errors.InvalidPrediction: a mask of (dtype('float64'), (2, 2)), expected bool (2, 2)
    """
    if state.mask is None or state.mask.dtype != np.bool_ or state.mask.shape != shape:
        found = None if state.mask is None else (state.mask.dtype, state.mask.shape)
        raise InvalidPrediction(f"a mask of {found}, expected bool {shape}")
    if not probabilities:
        if state.probability is not None:
            raise InvalidPrediction("probabilities, though its card says it has none")
        return
    if state.probability is None or state.probability.shape != shape:
        raise InvalidPrediction(f"no probability map of shape {shape}")
    if not math.isfinite(float(state.probability.sum())):  # cheaper than a look at every pixel, and as strict
        raise InvalidPrediction("a probability map with NaN or infinity")
