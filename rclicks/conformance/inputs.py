"""Inputs of the conformance suite: synthetic images and volumes, and rounds of interactions."""

from __future__ import annotations

from typing import Any

import numpy as np

from rclicks.cards import ModelCard
from rclicks.engine.batching import BatchRunner
from rclicks.interaction import Box, Click, Interaction
from rclicks.models.contract import Model, State
from rclicks.sample import Sample, Target

__all__ = ["map_of", "play_rounds", "prompts_of", "sample_of"]


def sample_of(dims: int = 2) -> Sample:
    """Return an image of odd size with a bright ellipse and an object with an ignored band, or `volume` for dims=3."""
    if dims == 3:
        return volume()
    yy, xx = np.mgrid[:61, :83]
    rng = np.random.default_rng(7)
    first = ((yy - 30) / 17) ** 2 + ((xx - 28) / 15) ** 2 <= 1
    second = (np.abs(yy - 30) < 12) & (np.abs(xx - 65) < 9)
    image = rng.integers(20, 60, (61, 83, 3))
    image[first] += np.array([150, 90, 20])
    image[second] += np.array([10, 60, 160])
    band = (np.abs(yy - 30) < 14) & (np.abs(xx - 65) < 11) & ~second
    targets = (Target("1", (first,)), Target("2", (second,), band))
    return Sample("conformance", "ellipse", image.astype(np.uint8), targets)


def volume() -> Sample:
    """Return an anisotropic read-only volume with a bright ellipsoid and a dark block."""
    zz, yy, xx = np.mgrid[:12, :31, :43]
    rng = np.random.default_rng(7)
    first = ((zz - 6) / 4) ** 2 + ((yy - 15) / 9) ** 2 + ((xx - 14) / 8) ** 2 <= 1
    second = (np.abs(zz - 6) < 4) & (np.abs(yy - 15) < 7) & (np.abs(xx - 34) < 5)
    image = (rng.normal(100, 10, zz.shape) + 120 * first - 60 * second).astype(np.float32)
    image.setflags(write=False)
    return Sample("conformance", "ellipsoid", image, (Target("1", (first,)), Target("2", (second,))), (2.0, 1.0, 1.0))


def play_rounds(
    model: Model, embedding: Any, rounds: list[list[Interaction]], batch_size: int = 1
) -> list[list[State]]:
    """Play one list of interactions for each slot, all slots in the same rounds; return the states of every round."""
    pool = BatchRunner(model, embedding, batch_size)
    states = [State() for _ in rounds]
    history = []
    for k in range(max(map(len, rounds))):
        states = [
            State((*s.interactions, r[k]), s.mask, s.probability, s.memory) for s, r in zip(states, rounds, strict=True)
        ]
        states = [d.state for d in pool.decode(states)]
        history.append(states)
    return history


def map_of(state: State) -> np.ndarray:
    """Return the probabilities of a state; for a model without probabilities the mask as float32."""
    assert state.mask is not None
    return state.mask.astype(np.float32) if state.probability is None else state.probability


def prompts_of(card: ModelCard) -> list[list[Interaction]]:
    """Return two lists of interactions of a kind that the model takes according to its card."""
    if "click" not in card.takes:
        flat: list[list[Interaction]] = [[Box((13, 13), (47, 43))], [Box((19, 57), (41, 73))]]
        deep: list[list[Interaction]] = [[Box((6, 6, 6), (6, 24, 22))], [Box((6, 9, 30), (6, 21, 38))]]
    else:
        flat = [
            [Click((30, 28)), Click((5, 75), False), Click((44, 28))],
            [Click((30, 65)), Click((30, 28), False), Click((24, 60))],
        ]
        deep = [
            [Click((6, 15, 14)), Click((2, 3, 40), False), Click((7, 20, 14))],
            [Click((6, 15, 34)), Click((6, 15, 14), False), Click((4, 12, 33))],
        ]
    return flat if card.dims == 2 else deep
