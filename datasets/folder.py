"""Your own images: a folder of images and a folder of masks; no conversion is needed.

An image and a mask belong together if their names up to the first dot are equal.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.images import read_labels, read_mask
from rclicks.data.pairs import PairedDataset, single_object
from rclicks.errors import ProtocolError
from rclicks.sample import Target

CARDS = (
    DatasetCard(
        name="folder",
        summary="your own images: a folder of images and a folder of masks of the same names",
        folder="folder",
        layout="images/<name>.<any> and masks/<name>.<any>; the options images and masks set the folder names",
        source="your own",
        get="Put your images and masks into these folders, or pass root=YOUR_FOLDER.",
    ),
)


def load(
    card: DatasetCard,
    root: Path,
    *,
    images: str = "images",
    masks: str = "masks",
    objects: str = "binary",
    ignore: int | None = None,
    threshold: int = 0,
) -> PairedDataset:
    """Open a folder of images and masks.

    Parameters
    ----------
    images, masks : str
        Names of the folders below the root.
    objects : {"binary", "ids"}
        Kind of the masks. "binary": one object, the pixels where any channel is above `threshold`. "ids": every value
        other than 0 is an object, in ascending order. Such masks have 8 or 16 bit and one channel or equal channels; of
        a palette PNG the index counts.
    ignore : int or None
        Value of ignored pixels in the first channel of the mask.
    threshold : int
        Largest value of background pixels; 0, or for example 127 for masks with lossy compression.

    Raises
    ------
    ProtocolError
        If `objects` is unknown.
    """
    if objects not in {"binary", "ids"}:
        raise ProtocolError(f"data set folder: objects is {objects!r}; allowed: binary, ids")

    def decode(mask: NDArray[np.uint8]) -> list[Target]:
        first = mask if mask.ndim == 2 else mask[..., 0]
        band = None if ignore is None else first == ignore
        if objects == "binary":
            return single_object((mask if mask.ndim == 2 else mask.max(axis=2)) > threshold, band)
        values = [int(v) for v in np.unique(first) if v != 0 and v != ignore]
        band = band if band is not None and band.any() else None
        return [Target(str(v), (first == v,), band) for v in values]

    return PairedDataset(card, root, images, masks, decode, read_labels if objects == "ids" else read_mask)
