"""The analytic click model of the golden trajectories, and one that counts, refuses or answers nonsense."""

import numpy as np

from rclicks.cards import ClickModelCard
from rclicks.clickability.contract import ClickModel

CARDS = (ClickModelCard(name="centroid", summary="a bell around the error's centroid", batched=True),)


class Centroid(ClickModel):
    def __init__(self, card, answer):
        self.card, self.answer = card, answer

    def prepare(self, image):
        return image.shape[:2]

    def maps(self, prepared, queries):
        return [self.bell(a.error) for a in queries]

    def bell(self, error):
        h, w = error.shape
        if self.answer == "zeros":
            return np.zeros((h, w), np.float32)
        yy, xx = np.mgrid[0:h, 0:w]
        rows, columns = np.nonzero(error)
        sigma = 0.2 * np.sqrt(h**2 + w**2)
        bell = np.exp(-((yy - rows.mean()) ** 2 + (xx - columns.mean()) ** 2) / (2 * sigma**2))
        bell = ((bell - bell.min()) / (bell.max() - bell.min() + 1e-8)).astype(np.float32)
        if self.answer == "nan":
            bell[0, 0] = np.nan
        if self.answer == "negative":
            bell[0, 0] = -1
        return bell if self.answer != "small" else bell[1:]


def load(card, *, checkpoint=None, device="cpu", protocol=None, answer="bell"):
    return Centroid(card, answer)
