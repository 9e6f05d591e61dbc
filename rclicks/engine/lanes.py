"""Batches of equal shape and canonical width, halved when memory runs out.

Floating-point results of a batched network depend in the last bits on the batch size, so every network call of a
batched model has the same number of lanes: the last batch is padded with copies. The width in force is recorded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rclicks.errors import OutOfMemory
from rclicks.models.contract import Model, State
from rclicks.models.devices import translate_memory_errors

__all__ = ["Decoded", "LanePool", "trouble_of"]


@dataclass(frozen=True, eq=False)
class Decoded:
    """A new state, its share of the decoding time in seconds and the lane count it was computed at.

    `trouble` says what is wrong with the prediction, if its shape is known.
    """

    state: State
    seconds: float
    lanes: int
    trouble: str = ""


class LanePool:
    """Decodes states of one image in batches.

    Parameters
    ----------
    model : Model
    embedding : object
        What `model.embed` returned.
    lanes : int
        Canonical lane count; 1 for models that do not batch.
    shape : tuple of int or None
        Shape of the image; predictions are checked against it, and of volumes only the masks are kept, for the
        probabilities of one round would be in the way of those of the next. None checks and keeps all.
    """

    def __init__(
        self,
        model: Model,
        embedding: Any,
        lanes: int,
        clock: Callable[[], float] = time.perf_counter,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        self.model, self.embedding, self.clock, self.shape = model, embedding, clock, shape
        self.lanes = lanes if model.batched else 1
        self.calls = 0

    def decode(self, states: Sequence[State]) -> list[Decoded]:
        """Return the next state of each of `states`, in their order.

        Raises
        ------
        OutOfMemory
            If a single lane does not fit.
        """
        groups: dict[Hashable, list[int]] = {}
        for i, state in enumerate(states):
            groups.setdefault(self.model.lane_key(self.embedding, state), []).append(i)
        found: dict[int, Decoded] = {}
        for members in groups.values():
            while members:
                batch = members[: self.lanes]
                try:
                    results = self._call([states[i] for i in batch])
                except OutOfMemory:
                    if self.lanes == 1:
                        raise
                    self.lanes = max(1, self.lanes // 2)
                    continue
                found.update(zip(batch, results, strict=True))
                members = members[len(batch) :]
        return [found[i] for i in range(len(states))]

    def _call(self, batch: list[State]) -> list[Decoded]:
        padded = batch + [batch[-1]] * (self.lanes - len(batch))
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
            return Decoded(state, seconds, self.lanes)
        trouble = trouble_of(state, self.shape, self.model.card.probabilities)
        if len(self.shape) == 3:
            state = replace(state, probability=None)
        return Decoded(state, seconds, self.lanes, trouble)


def trouble_of(state: State, shape: tuple[int, ...], probabilities: bool) -> str:
    """Say what is wrong with a prediction; "" if nothing is.

    >>> trouble_of(State(mask=np.zeros((2, 2))), (2, 2), True)
    "a mask of (dtype('float64'), (2, 2)), expected bool (2, 2)"
    """
    if state.mask is None or state.mask.dtype != np.bool_ or state.mask.shape != shape:
        found = None if state.mask is None else (state.mask.dtype, state.mask.shape)
        return f"a mask of {found}, expected bool {shape}"
    if not probabilities:
        return "" if state.probability is None else "probabilities, though its card says it has none"
    if state.probability is None or state.probability.shape != shape:
        return f"no probability map of shape {shape}"
    if not math.isfinite(float(state.probability.sum())):  # cheaper than a look at every pixel, and as strict
        return "a probability map with NaN or infinity"
    return ""
