"""Models of volumes for tests of the engine: balls around clicks, and a tape of recorded masks."""

import numpy as np

from rclicks.cards import ModelCard
from rclicks.interaction import Click
from rclicks.models.contract import Model, State

CARDS = (
    ModelCard(name="ball", family="toy_volume", summary="balls around clicks", dims=3, encodes_once=True),
    ModelCard(
        name="ball-session",
        family="toy_volume",
        summary="the same without probabilities",
        licence="MIT",
        dims=3,
        prompts=("click", "box", "scribble", "lasso"),
        probabilities=False,
        stateful=True,
    ),
    ModelCard(name="ball-batch", family="toy_volume", summary="the same, in batches", dims=3, batched=True),
    ModelCard(
        name="tape",
        family="toy_volume",
        summary="plays back masks from a file, one a round",
        needs=("file",),
        dims=3,
        prompts=("click", "box"),
        probabilities=False,
    ),
)

CALLS = []  # the number of interactions of each state that each call of `segment` got, for tests within one process


class Ball(Model):
    def __init__(self, card, radius):
        self.card, self.options, self.radius = card, {"radius": radius}, radius

    def embed(self, sample):
        assert sample.targets == ()
        return sample.shape, sample.spacing

    def segment(self, embedding, states):
        CALLS.append([len(state.interactions) for state in states])
        return [self._next(*embedding, s) for s in states]

    def _next(self, shape, spacing, state):
        mask = np.zeros(shape, bool)
        for i in state.interactions:
            if isinstance(i, Click):
                reach = [int(self.radius / s) + 1 for s in spacing]
                near = tuple(slice(max(0, p - r), p + r + 1) for p, r in zip(i.point, reach, strict=True))
                grid = np.ogrid[tuple(slice(n.start, min(n.stop, m)) for n, m in zip(near, shape, strict=True))]
                far = sum(((g - p) * s) ** 2 for g, p, s in zip(grid, i.point, spacing, strict=True))
                mask[near][far <= self.radius**2] = i.positive
            else:
                mask[tuple(slice(a, b + 1) for a, b in zip(i.low, i.high, strict=True))] = i.positive
        probability = np.where(mask, np.float32(0.9), np.float32(0.1)) if self.card.probabilities else None
        return State(state.interactions, mask, probability, None)


class Tape(Model):
    def __init__(self, card, file):
        self.card, self.options, self.file = card, {"file": file}, file

    def embed(self, sample):
        with np.load(self.file, allow_pickle=False) as tapes:
            return tapes[sample.id]

    def segment(self, embedding, states):
        return [State(s.interactions, embedding[len(s.interactions) - 1].astype(bool), None, None) for s in states]


def load(card, *, checkpoint=None, device="cpu", protocol=None, radius=4, file=""):
    return Tape(card, file) if card.name == "tape" else Ball(card, radius)
