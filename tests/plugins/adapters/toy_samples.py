"""Models of several answers for tests: discs of several radii around the first click."""

import numpy as np

from rclicks.cards import ModelCard
from rclicks.models.contract import Model, State

CARDS = (
    ModelCard(name="toy-samples", family="toy", summary="discs of several radii", threshold=0.3, batched=True),
    ModelCard(name="toy-single", family="toy", summary="one disc without probabilities", probabilities=False),
)


class ToySamples(Model):
    def __init__(self, card, radius, radii, inside, fault):
        self.card, self.radius, self.radii, self.inside, self.fault = card, radius, radii, inside, fault
        self.options = {"radius": radius, "radii": radii, "inside": inside}

    def embed(self, sample):
        return sample.shape

    def segment(self, embedding, states):
        return [self._next(embedding, s) for s in states]

    def _next(self, shape, state):
        mask = disc(shape, state.interactions[0].point, self.radius)
        probability = np.where(mask, np.float32(0.8), np.float32(0.1)) if self.card.probabilities else None
        return State(state.interactions, mask, probability)

    def samples(self, embedding, state):
        if self.card.name == "toy-single":
            return None
        if self.fault == "asked":
            raise ValueError("nobody was to ask for samples")
        discs = [disc(embedding, state.interactions[0].point, r) for r in self.radii]
        maps = np.where(discs, np.float32(self.inside), np.float32(0.2))
        if self.fault == "nan":
            maps[0, 0, 0] = np.nan
        return {"": maps, "nan": maps, "shape": maps[:, 1:], "none": maps[:0], "bool": maps > 0.5}[self.fault]


def disc(shape, centre, radius):
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return (yy - centre[0]) ** 2 + (xx - centre[1]) ** 2 <= radius**2


def load(card, *, checkpoint=None, device="cpu", protocol=None, radius=10, radii=(6, 10, 14), inside=0.9, fault=""):
    return ToySamples(card, radius, list(radii), inside, fault)
