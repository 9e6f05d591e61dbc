"""Decode states in batches of one fixed size. The size is halved if memory runs out.

The last bits of a network's results depend on the batch size. Therefore every call of a batched model has the same
number of slots, and an incomplete batch is filled with copies of its last state. All states of a batch have the same
key (`Model.batch_key`). The records contain the batch size with which each round was computed.
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
        Decoding time of the batch divided by the number of its states.
    batch_size : int
        Batch size with which the state was computed.
    error : InvalidPrediction or None
        Reason why the prediction cannot be scored. None if it can be scored, or if it was not checked.
    """

    state: State
    seconds: float
    batch_size: int
    error: InvalidPrediction | None = None


class BatchRunner:
    """Decode states of one image in batches.

    Parameters
    ----------
    model : Model
    embedding : object
        Result of `model.embed`.
    batch_size : int
        Number of slots in a network call. Models that are not batched always use 1.
    clock : callable () -> float
        Clock in seconds.
    shape : tuple of int or None
        Shape of the image. Predictions must have this shape. For volumes the probabilities are dropped after the check
        to save memory. With None, predictions are not checked and nothing is dropped.
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
            If memory is too small even for a batch size of 1.
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
        return [self._checked(state, share) for state in results[: len(batch)]]

    def _checked(self, state: State, seconds: float) -> Decoded:
        if self.shape is None:
            return Decoded(state, seconds, self.batch_size)
        error: InvalidPrediction | None = None
        try:
            validate_prediction(state, self.shape, self.model.card.probabilities)
        except InvalidPrediction as found:
            error = found  # raised again when the trajectory is scored, so that the rest of the batch is not affected
        if len(self.shape) == 3:
            state = replace(state, probability=None)
        return Decoded(state, seconds, self.batch_size, error)


def validate_prediction(state: State, shape: tuple[int, ...], probabilities: bool) -> None:
    """Check that a state contains a valid prediction.

    Parameters
    ----------
    state : State
        Its mask must be a bool array of `shape`. With `probabilities` its probability map must have `shape` and finite
        values; otherwise it must be None.
    shape : tuple of int
        Shape of the image, without colour channels.
    probabilities : bool
        Whether the model returns probabilities (`ModelCard.probabilities`).

    Raises
    ------
    InvalidPrediction
        If the prediction is not valid. The message follows "MODEL returned".

    >>> validate_prediction(State(mask=np.zeros((2, 2))), (2, 2), True)
    Traceback (most recent call last):
    rclicks.errors.InvalidPrediction: a mask of (dtype('float64'), (2, 2)), expected bool (2, 2)
    """
    if state.mask is None or state.mask.dtype != np.bool_ or state.mask.shape != shape:
        found = None if state.mask is None else (state.mask.dtype, state.mask.shape)
        raise InvalidPrediction(f"a mask of {found}, expected bool {shape}")
    if not probabilities:
        if state.probability is not None:
            raise InvalidPrediction("probabilities, although its card says probabilities=False")
        return
    if state.probability is None or state.probability.shape != shape:
        raise InvalidPrediction(f"no probability map of shape {shape}")
    if not math.isfinite(float(state.probability.sum())):  # one sum is faster than a test of every pixel
        raise InvalidPrediction("a probability map with NaN or infinity")
