"""Click maps for users: computed in batches, stored for the first round of an object, and counted.

In a worker there is one `ClickMapProvider` for each click model, which all users share. It stores the result of
`ClickModel.prepare` for the present image, and the maps of the first round (where the error equals the object), which
all groups, replicates and users share. For volumes, whose objects are processed one after the other, it stores only the
maps of the present object. Maps of later rounds are computed in one batch and not stored.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ClickModelCard
from rclicks.clickability.contract import ClickMap, ClickMapQuery, ClickModel
from rclicks.sample import Sample

__all__ = ["ClickMapProvider", "Counts"]


@dataclass
class Counts:
    """Work that a click model has done.

    Attributes
    ----------
    first_maps : int
        Number of maps computed for first rounds.
    later_maps : int
        Number of maps computed for later rounds.
    calls : int
        Number of calls of the model.
    seconds : float
        Time spent in the model in seconds, including the preparation of images.
    """

    first_maps: int = 0
    later_maps: int = 0
    calls: int = 0
    seconds: float = 0.0


class ClickMapProvider:
    """Provider of the maps of one click model.

    Parameters
    ----------
    build : callable
        Function that returns the click model; it is called at the first query.
    identity : dict
        Name, options and weights of the click model, for the records.
    batch_size : int
        Number of queries in each call of a network. The last batch is padded with copies, because the last bits of a
        network's output depend on the batch size.
    card : ClickModelCard
        Facts about the click model.
    clock : callable
        Function that returns the time in seconds.
    """

    def __init__(
        self,
        build: Callable[[], ClickModel],
        identity: dict[str, Any],
        batch_size: int = 1,
        *,
        card: ClickModelCard,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._build, self.identity, self._batch_size, self.card, self._clock = build, identity, batch_size, card, clock
        self.counts = Counts()
        self._sample: Sample | None = None
        self._prepared: Any = None
        self._first: dict[bytes, ClickMap] = {}

    @cached_property
    def model(self) -> ClickModel:
        """The click model, built at first use."""
        return self._build()

    def maps(self, sample: Sample, queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        """Return one map for each query. Equal queries share a map, so callers must not change it.

        Raises
        ------
        ValueError
            If the model returns a map of another shape, or with values that are negative or not finite.
        """
        start = self._clock()
        if sample is not self._sample:
            self._first.clear()
            self._prepared = self.model.prepare(sample.image)  # type: ignore[arg-type]
            self._sample = sample
        keys = [_key(query) for query in queries]
        wanted = {k: query for k, query in zip(keys, queries, strict=True) if k not in self._first}
        found = dict(zip(wanted, self._compute(list(wanted.values())), strict=True))
        first = {
            k: found[k]
            for k, query in wanted.items()
            if query.error is query.mask or np.array_equal(query.error, query.mask)
        }
        if len(sample.shape) == 3:  # a map is as large as a volume: keep only that of the present object
            self._first = first or self._first
        else:
            self._first |= first
        self.counts.first_maps += len(first)
        self.counts.later_maps += len(found) - len(first)
        self.counts.seconds += self._clock() - start
        return [self._first[k] if k in self._first else found[k] for k in keys]

    def _compute(self, queries: list[ClickMapQuery]) -> list[ClickMap]:
        batch_size = self._batch_size if self.model.card.batched else max(1, len(queries))
        found: list[ClickMap] = []
        for begin in range(0, len(queries), batch_size):
            batch = queries[begin : begin + batch_size]
            padded = batch + [batch[-1]] * (batch_size - len(batch)) if self.model.card.batched else batch
            answers = self.model.maps(self._prepared, padded)
            self.counts.calls += 1
            if len(answers) != len(padded):
                raise ValueError(
                    f"click model {self.model.card.name} returned {len(answers)} maps for {len(padded)} queries"
                )
            for query, answer in zip(batch, answers, strict=False):
                found.append(_checked(answer, query, self.model.card.name))
        return found


def _key(query: ClickMapQuery) -> bytes:
    digest = blake2b(digest_size=16)
    for part in (query.mask, query.error):
        array: NDArray[Any] = np.packbits(part) if part.dtype == np.bool_ else np.ascontiguousarray(part)
        digest.update(f"{part.dtype}{part.shape}".encode())
        digest.update(array.tobytes())
    return digest.digest()


def _checked(answer: ClickMap, query: ClickMapQuery, name: str) -> ClickMap:
    if answer.shape != query.error.shape:
        raise ValueError(f"click model {name} returned a map of shape {answer.shape}; expected {query.error.shape}")
    low, total = float(answer.min()), float(answer.sum(dtype=np.float64))
    if low < 0 or not np.isfinite(total):
        raise ValueError(
            f"click model {name} returned a map with {'negative' if low < 0 else 'infinite or NaN'} values"
        )
    return answer
