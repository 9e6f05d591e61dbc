"""A model for tests of the engine: discs around clicks, with faults on request."""

import time

import numpy as np

from rclicks.cards import ModelCard
from rclicks.errors import OutOfMemory
from rclicks.interaction import Box
from rclicks.models.contract import Model, State

CARDS = (
    ModelCard(name="toy", family="toy", summary="discs around clicks", encodes_once=True, batched=True),
    ModelCard(
        name="toy-box", family="toy", summary="the box itself", prompts=("box",), accepts=("box", "click"), batched=True
    ),
)


class Toy(Model):
    def __init__(self, card, radius, fail_on, fault, fits, slow):
        self.card = card
        self.options = {"radius": radius}
        self.radius, self.fail_on, self.fault, self.fits, self.slow = radius, fail_on, fault, fits, slow
        self.embeds = self.calls = 0

    def embed(self, sample):
        assert sample.targets == ()
        self.embeds += 1
        return sample.id, sample.shape

    def segment(self, embedding, states):
        self.calls += 1
        time.sleep(self.slow)
        name, shape = embedding
        if self.fits and len(states) > self.fits:
            raise OutOfMemory(f"{len(states)} lanes do not fit, {self.fits} would")
        bad = name == self.fail_on
        if bad and self.fault == "raise":
            raise ValueError("the toy broke")
        if bad and self.fault == "memory":
            raise MemoryError("no memory at all")
        if bad and self.fault == "kill":
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        return [
            self._next(shape, s, len(states), bad and self.fault == "nan" and i == 0 and len(s.interactions) == 2)
            for i, s in enumerate(states)
        ]

    def _next(self, shape, state, batch_size, nan):
        yy, xx = np.mgrid[: shape[0], : shape[1]]
        inside, outside = np.zeros(shape, bool), np.zeros(shape, bool)
        for i in state.interactions:
            if isinstance(i, Box):
                inside[i.low[0] : i.high[0] + 1, i.low[1] : i.high[1] + 1] = True
            else:
                near = (yy - i.point[0]) ** 2 + (xx - i.point[1]) ** 2 <= self.radius**2
                (inside if i.positive else outside)[near] = True
        probability = np.where(inside & ~outside, 0.9, 0.1).astype(np.float32)
        if nan:
            probability[0, 0] = np.nan
        return State(state.interactions, probability > 0.5, probability, batch_size)


def load(card, *, checkpoint=None, device="cpu", protocol=None, radius=6, fail_on="", fault="", fits=0, slow=0.0):
    return Toy(card, radius, str(fail_on), fault, fits, slow)
