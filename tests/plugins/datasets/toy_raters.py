"""Data sets of several raters for tests: three people of steady style, and the same without known identity."""

from dataclasses import replace

import numpy as np

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.sample import Sample, Target

CARDS = (
    DatasetCard(name="toy-raters", summary="a disc as drawn by three people", rater_identity="known"),
    DatasetCard(name="toy-strangers", summary="the same by strangers", rater_identity="within-sample"),
)


class ToyRaters(Dataset):
    def __init__(self, card, n, silent):
        self.card, self.n, self.silent = card, n, silent

    @property
    def ids(self):
        return [f"s{i}" for i in range(self.n)]

    def read(self, index):
        yy, xx = np.mgrid[:48, :64]
        image = np.random.default_rng(index).integers(0, 256, (48, 64, 3)).astype(np.uint8)
        far = (yy - 24) ** 2 + (xx - 30 - index) ** 2
        masks = [far <= r**2 for r in (6, 10, 14)]  # a small, a middle and a large style
        if self.silent:
            masks[0] = np.zeros_like(masks[0])
        return Sample(self.card.name, f"s{index}", image, (Target("0", tuple(masks), None, ("ann", "bob", "cat")),))


def load(card, root, *, n=3, silent=False, identity=None):
    return ToyRaters(card if identity is None else replace(card, rater_identity=identity), n, silent)
