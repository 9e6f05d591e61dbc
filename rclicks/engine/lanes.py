"""Batches of equal shape and canonical width, halved when memory runs out.

Floating-point results of a batched network depend in the last bits on the batch size, so every network call of a
batched model has the same number of lanes: the last batch is padded with copies. The width in force is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from rclicks.errors import OutOfMemory
from rclicks.models.contract import Model, State
from rclicks.models.devices import translate_memory_errors

__all__ = ["Decoded", "LanePool"]


@dataclass(frozen=True, eq=False)
class Decoded:
    """A new state, its share of the decoding time in seconds and the lane count it was computed at."""

    state: State
    seconds: float
    lanes: int


class LanePool:
    """Decodes states of one image in batches.

    Parameters
    ----------
    model : Model
    embedding : object
        What `model.embed` returned.
    lanes : int
        Canonical lane count; 1 for models that do not batch.
    """

    def __init__(
        self, model: Model, embedding: Any, lanes: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.model, self.embedding, self.clock = model, embedding, clock
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
        return [Decoded(state, share, self.lanes) for state in results[: len(batch)]]
