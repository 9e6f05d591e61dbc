"""The model: imported when it is loaded."""

import numpy as np

from rclicks.models.contract import Model, State

from .network import Memory


class ToyFolder(Model):
    def __init__(self, card, network, memory):
        assert memory is Memory
        self.card, self.network, self.options = card, network, {"radius": network.radius}

    def embed(self, sample):
        return sample.shape

    def segment(self, embedding, states):
        return [self._next(embedding, state) for state in states]

    def _next(self, shape, state):
        probability = self.network(shape, state.interactions[-1]).astype(np.float32)
        return State(
            state.interactions, probability > self.card.threshold, probability, Memory(len(state.interactions))
        )
