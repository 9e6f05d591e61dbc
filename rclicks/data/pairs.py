"""A data set of image files, each with a mask file; most 2-D data sets have this layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import check_size, find_by_stem, list_files, read_image, read_mask, stem_of
from rclicks.errors import DataError
from rclicks.sample import Sample, Target

__all__ = ["PairedDataset", "single_object"]

Decode = Callable[[NDArray[Any]], Sequence[Target]]


class PairedDataset(Dataset):
    """Images and masks in two folders, paired by the name up to the first dot.

    Parameters
    ----------
    card : DatasetCard
        Facts about the data set.
    root : Path
        Folder of the data set.
    images, masks : str
        Names of the folders below `root`.
    decode : callable
        Function from the result of `reader` to the targets. An object without pixels is allowed; the engine records it
        as a failure.
    reader : callable
        Function from the path of a mask to its array. The default returns it as stored, (H, W) or (H, W, 3) in the
        order blue, green, red.
    """

    def __init__(
        self,
        card: DatasetCard,
        root: Path,
        images: str,
        masks: str,
        decode: Decode,
        reader: Callable[[Path], NDArray[Any]] = read_mask,
    ) -> None:
        self.card, self.root = card, root
        self._images, self._masks, self._decode, self._reader = root / images, root / masks, decode, reader

    @cached_property
    def pairs(self) -> list[tuple[Path, Path]]:
        """Paths of each image and its mask in evaluation order."""
        for folder in (self._images, self._masks):
            if not folder.is_dir():
                raise DataError(
                    f"folder {folder} does not exist. Data set {self.card.name} expects {self.card.layout} below "
                    f"{self.root}. {self.card.get}"
                )
        return find_by_stem(list_files(self._images), list_files(self._masks))

    @cached_property
    def ids(self) -> list[str]:
        """Names of the images up to the first dot, in byte order of the file paths."""
        return [stem_of(image) for image, _ in self.pairs]

    def read(self, index: int) -> Sample:
        """Decode the image and the mask of one sample."""
        image_path, mask_path = self.pairs[index]
        image, mask = read_image(image_path), self._reader(mask_path)
        check_size(image, mask, image_path, mask_path)
        return Sample(self.card.name, self.ids[index], image, tuple(self._decode(mask)))

    def files(self, index: int) -> Sequence[Path]:
        """Return the paths of the image and of the mask."""
        return self.pairs[index]


def single_object(mask: NDArray[np.bool_], ignore: NDArray[np.bool_] | None = None) -> list[Target]:
    """Return one target with the id "0" from (H, W) bool arrays; ignored pixels are removed from the mask."""
    if ignore is not None and not ignore.any():
        ignore = None
    return [Target("0", (mask if ignore is None else mask & ~ignore,), ignore)]
