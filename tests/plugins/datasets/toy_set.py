"""A data set for tests: synthetic images with two objects each."""

import numpy as np

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.errors import DataError
from rclicks.sample import Sample, Target

CARDS = (DatasetCard(name="toy-set", summary="synthetic ellipses", samples=6, objects=12),)


class ToySet(Dataset):
    def __init__(self, card, n, damaged, empty, shifted):
        self.card, self.n = card, n
        self.damaged, self.empty, self.shifted = damaged, empty, shifted

    @property
    def ids(self):
        return [f"s{i}" for i in range(self.n)]

    def read(self, index):
        if index == self.damaged:
            raise DataError(f"image s{index} is damaged")
        rng = np.random.default_rng(index)
        yy, xx = np.mgrid[:48, :64]
        image = rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
        targets = []
        for k in range(2):
            a, b = rng.uniform(6, 14, 2)
            mask = ((yy - rng.uniform(10, 38)) / a) ** 2 + ((xx - rng.uniform(12, 52)) / b) ** 2 <= 1
            if index == self.empty and k == 0:
                mask = np.zeros_like(mask)
            if index == self.shifted:
                mask = mask[:, 1:]
            targets.append(Target(str(k), (mask,), (xx < 2) if k else None))
        return Sample("toy-set", f"s{index}", image, tuple(targets))


def load(card, root, *, n=6, damaged=-1, empty=-1, shifted=-1):
    return ToySet(card, n, damaged, empty, shifted)
