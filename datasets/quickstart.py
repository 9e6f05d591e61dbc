"""Photographs of the packages scikit-image and scikit-learn, with object masks drawn for this project.

Nothing is downloaded. The label maps are part of rclicks: 0 background, 1..n objects, 255 ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import read_mask
from rclicks.errors import DataError
from rclicks.sample import Sample, Target

CARDS = (
    DatasetCard(
        name="quickstart",
        summary="objects in photographs that come with scikit-image and scikit-learn; no download",
        source="rclicks; photographs of scikit-image and scikit-learn",
        licence="masks Apache-2.0; photographs as stated in rclicks/assets/quickstart/README.md",
    ),
)


class Quickstart(Dataset):
    """Photographs of installed packages; every photograph is one sample."""

    def __init__(self, card: DatasetCard) -> None:
        self.card = card
        self._folder = Path(str(files("rclicks"))) / "assets" / "quickstart"

    @cached_property
    def _objects(self) -> dict[tuple[str, str], list[str]]:
        """Return object ids by (photograph, package), in the order of objects.csv."""
        found: dict[tuple[str, str], list[str]] = {}
        with (self._folder / "objects.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                found.setdefault((row["photo"], row["package"]), []).append(row["id"])
        return found

    @property
    def ids(self) -> list[str]:
        """Names of the photographs."""
        return [photo for photo, _ in self._objects]

    def read(self, index: int) -> Sample:
        """Decode one photograph and its label map."""
        (photo, package), objects = list(self._objects.items())[index]
        image = _photograph(photo, package)
        path = self._folder / f"{photo}.png"
        labels = read_mask(path)
        if labels.shape != image.shape[:2]:
            raise DataError(
                f"{path} has the shape {labels.shape}, but {photo} of the installed {package} has {image.shape[:2]}; "
                "install the versions of the constraints file"
            )
        ignore = labels == 255
        band = ignore if ignore.any() else None
        targets = tuple(Target(name, (labels == int(name),), band) for name in objects)
        return Sample(self.card.name, photo, image, targets)

    def files(self, index: int) -> Sequence[Path]:
        """Return the path of the label map; the photograph is a file of another package."""
        return (self._folder / f"{self.ids[index]}.png",)


def _photograph(photo: str, package: str) -> NDArray[np.uint8]:
    if package == "scikit-learn":
        from sklearn.datasets import load_sample_image

        return np.asarray(load_sample_image(f"{photo}.jpg"))
    import skimage.data

    image = np.asarray(getattr(skimage.data, photo)())
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., :3]


def load(card: DatasetCard, root: Path | None) -> Quickstart:
    """Open the data set; it has no options and needs no root."""
    return Quickstart(card)
