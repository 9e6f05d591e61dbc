"""Your own images: a folder of images and a folder of masks, no conversion script.

Masks are paired with images by the name up to the first dot.
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
        layout="images/<name>.<any> and masks/<name>.<any>, folder names settable by the options images and masks",
        source="your own",
        get="Put your images and masks there, or pass root=YOUR_FOLDER.",
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
        Folders below the root.
    objects : {"binary", "ids"}
        "binary": one object, where any channel is above `threshold`. "ids": every non-zero value of the mask (8 or 16
        bit, one channel or equal ones; of a palette PNG the index) is an object, ascending.
    ignore : int or None
        Mask value of pixels that do not count (first channel).
    threshold : int
        For lossy masks, say 127.

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
