"""SBD (val): 6,671 instances in 2,857 photographs of PASCAL VOC 2011 (Hariharan et al., ICCV 2011).

Published loaders return one sample for each pair of image and instance. Here an image is one sample with all its
instances in ascending order of their ids, so that it is encoded once. The order of the objects is the same.
"""

from __future__ import annotations

import zlib
from functools import cached_property
from pathlib import Path

import numpy as np

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import check_size, read_image
from rclicks.errors import DataError, ProtocolError
from rclicks.sample import Sample, Target

CARDS = (
    DatasetCard(
        name="SBD",
        summary="6,671 instances of the validation part of the Semantic Boundaries Dataset",
        folder="SBD",
        layout="img/<name>.jpg, inst/<name>.mat and val.txt (one name in each line)",
        samples=2857,
        objects=6671,
        source="Hariharan et al. 2011",
        licence="images under their Flickr terms",
        citation="Hariharan et al.: Semantic contours from inverse detectors, ICCV 2011",
        get="Take benchmark.tgz of the Semantic Boundaries Dataset page (its folder dataset/).",
    ),
)


class Sbd(Dataset):
    """Images of a split; every instance of an image is one target."""

    def __init__(self, card: DatasetCard, root: Path, split: str) -> None:
        self.card, self.root, self.split = card, root, split
        self._base = root

    @cached_property
    def ids(self) -> list[str]:
        """Image names in the order of the split file."""
        file = self._base / f"{self.split}.txt"
        try:
            names = file.read_text(encoding="utf-8").split()
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error}. Expected {self.card.layout}") from error
        if len(set(names)) < len(names):
            raise DataError(f"{file} contains an image name twice; remove the second one")
        return names

    def files(self, index: int) -> tuple[Path, Path]:
        """Return the paths of the image and of the instance file."""
        name = self.ids[index]
        return self._base / "img" / f"{name}.jpg", self._base / "inst" / f"{name}.mat"

    def read(self, index: int) -> Sample:
        """Decode one image and its instances."""
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        image_path, mat_path = self.files(index)
        image = read_image(image_path)
        try:
            labels = np.asarray(loadmat(str(mat_path))["GTinst"][0][0][0])
        except FileNotFoundError as error:
            raise DataError(f"{mat_path} is missing") from error
        except (MatReadError, zlib.error, ValueError, KeyError, IndexError, TypeError, OSError) as error:
            raise DataError(f"{mat_path} is damaged or has no GTinst: {error!r}") from error
        check_size(image, labels, image_path, mat_path)
        ids = [int(v) for v in np.unique(labels) if v > 0]
        return Sample(self.card.name, self.ids[index], image, tuple(Target(str(v), (labels == v,)) for v in ids))


def load(card: DatasetCard, root: Path, *, split: str = "val") -> Sbd:
    """Open SBD.

    Parameters
    ----------
    split : {"val", "train"}
        Name of the split file.

    Raises
    ------
    ProtocolError
        If the split is unknown.
    """
    if split not in {"val", "train"}:
        raise ProtocolError(f"data set SBD: split is {split!r}; allowed: val, train")
    return Sbd(card, root, split)
