"""Images in, masks and clicks out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.config import load_config
from rclicks.data.images import check_size, read_image, read_mask, stem_of
from rclicks.data.multirater.mask_files import MaskRules, binary, read_array, read_picture
from rclicks.data.roots import resolve
from rclicks.demo.session import Session
from rclicks.engine.loading import open_dataset
from rclicks.errors import DataError, ProtocolError
from rclicks.registry import Registry
from rclicks.sample import Mask, Sample, Target
from rclicks.specs import parse

__all__ = ["datasets_found", "open_files", "open_sample", "save"]


def open_files(image: Path, references: Sequence[Path] = ()) -> Sample:
    """Return an image with the masks that were drawn of it.

    Sample and object are named, and files read, as the data set `folder` does it (with several masks
    `multirater-folder`, raters by the files' names), so that a log of clicks fits a folder with these files.

    Parameters
    ----------
    image : Path
    references : sequence of Path
        Masks of the image's size. One shows its object where any channel is above 0; several must each hold 0 and one
        of 1, 255 and 65535.

    Raises
    ------
    DataError
        If a file is missing, damaged or no image, a mask has another size or unclear values, or two have one name.
    """
    if len(references) > 1:
        return _open_raters(image, references)
    pixels = read_image(image)
    targets = tuple(Target("0", (_above_0(pixels, image, file),)) for file in references)
    return Sample("folder", stem_of(image), pixels, targets)


def _above_0(pixels: NDArray[np.uint8], image: Path, file: Path) -> Mask:
    stored = read_mask(file)
    check_size(pixels, stored, image, file)
    return np.asarray((stored if stored.ndim == 2 else stored.max(axis=2)) > 0)


def _open_raters(image: Path, references: Sequence[Path]) -> Sample:
    pixels, masks = read_picture(image).pixels, []
    for file in references:
        masks.append(binary(read_array(file), MaskRules(), file))
        check_size(pixels, masks[-1], image, file)
    names = tuple(file.stem for file in references)
    twins = sorted(name for name, count in Counter(names).items() if count > 1)
    if twins:
        raise DataError(
            f"several masks are named {', '.join(twins)}; raters are told apart by the names of their files"
        )
    return Sample("multirater-folder", image.stem, pixels, (Target("0", tuple(masks), raters=names),))


def datasets_found(registry: Registry, data_root: Path | None = None) -> list[str]:
    """Return the names of the data sets of images whose folder is there."""
    found = []
    for name, entry in registry.datasets.items():
        assert isinstance(entry.card, DatasetCard)  # noqa: S101 - the registry's own promise
        try:
            if entry.card.dims == 2:
                resolve(entry.card, None, data_root, load_config())
                found.append(name)
        except DataError:
            continue
    return found


def open_sample(registry: Registry, dataset: str, index: int, data_root: Path | None = None) -> Sample:
    """Return a sample of a data set, such as "GrabCut" or "folder:root=MY_FOLDER".

    Raises
    ------
    UnknownNameError, PluginError
    DataError
        If its files are missing or damaged.
    ProtocolError
        If there is no sample `index` (from 0).
    """
    data = open_dataset(registry, parse(dataset), data_root)
    if not 0 <= index < len(data):
        raise ProtocolError(f"data set {dataset} has {len(data)} samples; there is no number {index}, counted from 0")
    return data[index]


def save(folder: Path, session: Session, mask: Mask) -> tuple[Path, Path]:
    """Write the mask (PNG, 0 and 255) and the log of clicks into a folder and return both paths.

    Raises
    ------
    DataError
        If they cannot be written.
    """
    import cv2

    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in session.sample.id) or "image"
    picture, log = folder / f"{name}_mask.png", folder / f"{name}_clicks.csv"
    _, data = cv2.imencode(".png", mask.astype(np.uint8) * np.uint8(255))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(data.tobytes())
        log.write_text(session.log(), encoding="utf-8")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}; choose another folder") from error
    return picture, log
