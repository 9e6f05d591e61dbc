"""TETRIS: 2,000 large photographs with 2,531 objects (Moskalenko et al., AAAI 2024).

The colour of a mask pixel is the id of its object: blue * 65536 + green * 256 + red. Images with a side of more than
2,048 pixels are shrunk as in the evaluation of the RClicks paper: bilinear interpolation in 8 bit for the image and for
the mask of each id. The masks are then written in ascending order of the ids, so that larger ids overwrite smaller ones
at common border pixels. Objects that have no pixel left are dropped.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import check_size, list_files, read_image, read_mask, shrunk_size, stem_of
from rclicks.errors import DataError, ProtocolError
from rclicks.sample import Sample, Target

CARDS = (
    DatasetCard(
        name="TETRIS",
        summary="2,531 objects in 2,000 photographs of high resolution, shrunk to 2,048 pixels",
        folder="TETRIS",
        layout="images/*.* and masks/<name>.png (object id = blue * 65536 + green * 256 + red)",
        samples=2000,
        objects=2531,
        source="Moskalenko et al. 2024",
        citation="Moskalenko et al.: TETRIS, towards exploring the robustness of interactive segmentation, AAAI 2024",
        get="Follow the download link of the RClicks repository (emb-ai/rclicks).",
    ),
)


class Tetris(Dataset):
    """Photographs with all their objects; the targets are in ascending order of their ids."""

    def __init__(self, card: DatasetCard, root: Path, max_side: int) -> None:
        self.card, self.root, self.max_side, self._base = card, root, max_side, root

    @cached_property
    def images(self) -> list[Path]:
        """Image paths in evaluation order."""
        files = list_files(self._base / "images")
        if len({stem_of(f) for f in files}) < len(files):
            raise DataError(
                f"images of {self._base / 'images'} share a stem (the name up to its first dot); keep one of each"
            )
        return files

    @cached_property
    def ids(self) -> list[str]:
        """Image names up to the first dot."""
        return [stem_of(p) for p in self.images]

    def files(self, index: int) -> tuple[Path, Path]:
        """Return the paths of the image and of the mask."""
        path = self.images[index]
        return path, path.parent.parent / "masks" / f"{stem_of(path)}.png"

    def read(self, index: int) -> Sample:
        """Decode one sample and shrink it if it is too large."""
        image_path, mask_path = self.files(index)
        image, coded = read_image(image_path), read_mask(mask_path)
        check_size(image, coded, image_path, mask_path)
        if coded.ndim != 3 or coded.shape[2] < 3:
            raise DataError(f"{mask_path} has {coded.ndim} axes; expected a colour PNG whose colours are object ids")
        labels = object_ids(coded)
        size = shrunk_size(image.shape[0], image.shape[1], self.max_side)
        if size != image.shape[:2]:
            image = np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR))
            labels = shrink_labels(labels, size)
        ids = [int(v) for v in np.unique(labels) if v]
        return Sample(self.card.name, self.ids[index], image, tuple(Target(str(v), (labels == v,)) for v in ids))


def object_ids(coded: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the (H, W) int32 ids of an (H, W, 3) mask in blue, green, red order.

    >>> object_ids(np.array([[[1, 2, 3]]], np.uint8))
    array([[66051]], dtype=int32)
    """
    blue, green, red = (coded[..., k].astype(np.int32) for k in range(3))
    return np.asarray(blue * 65536 + green * 256 + red, np.int32)


def shrink_labels(labels: NDArray[np.int32], size: tuple[int, int]) -> NDArray[np.int32]:
    """Return (H, W) int32 labels resized to `size`, (height, width), id by id in ascending order."""
    out = np.zeros(size, np.int32)
    for value in np.unique(labels):
        if value:
            small = cv2.resize((labels == value).astype(np.uint8), size[::-1], interpolation=cv2.INTER_LINEAR)
            out[small > 0] = value
    return out


def load(card: DatasetCard, root: Path, *, max_side: int = 2048) -> Tetris:
    """Open TETRIS.

    Parameters
    ----------
    max_side : int
        Longest side in pixels; the published value is 2048.

    Raises
    ------
    ProtocolError
        If `max_side` is below 1.
    """
    if max_side < 1:
        raise ProtocolError(f"data set TETRIS: max_side is {max_side}; expected at least 1")
    return Tetris(card, root, max_side)
