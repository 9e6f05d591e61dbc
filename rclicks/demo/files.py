"""Input and output of the demo: images and reference masks are read, masks and clicks are written."""

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
    """Return a sample with an image and its reference masks.

    The files are read, and sample and object are named, as by the data set `folder`. With several masks, this is the
    data set `multirater-folder`, and the raters have the names of the files. So a log of clicks fits a folder with
    these files.

    Parameters
    ----------
    image : Path
        Image file.
    references : sequence of Path
        Mask files of the same size. In a single mask, all pixels with a channel above 0 belong to the object. Each of
        several masks must contain only 0 and one of the values 1, 255 and 65535.

    Raises
    ------
    DataError
        If a file is missing, damaged or not an image, a mask has another size or other values, or two masks have the
        same name.
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
            f"several masks are named {', '.join(twins)}; the raters get the names of the files, so rename them"
        )
    return Sample("multirater-folder", image.stem, pixels, (Target("0", tuple(masks), raters=names),))


def datasets_found(registry: Registry, data_root: Path | None = None) -> list[str]:
    """Return the names of the 2-D data sets whose folder exists."""
    found = []
    for name, entry in registry.datasets.items():
        assert isinstance(entry.card, DatasetCard)  # noqa: S101 - guaranteed by the registry
        try:
            if entry.card.dims == 2:
                resolve(entry.card, None, data_root, load_config())
                found.append(name)
        except DataError:
            continue
    return found


def open_sample(registry: Registry, dataset: str, index: int, data_root: Path | None = None) -> Sample:
    """Return one sample of a data set.

    Parameters
    ----------
    registry : Registry
    dataset : str
        Spec of the data set, such as "GrabCut" or "folder:root=MY_FOLDER".
    index : int
        0-based index of the sample.
    data_root : Path or None
        Folder that contains the folders of the data sets.

    Raises
    ------
    UnknownNameError
        If there is no such data set.
    PluginError
        If an optional package is missing.
    DataError
        If files are missing or damaged.
    ProtocolError
        If there is no sample with this index.
    """
    data = open_dataset(registry, parse(dataset), data_root)
    if not 0 <= index < len(data):
        raise ProtocolError(f"data set {dataset} has {len(data)} samples; there is no sample {index} (counted from 0)")
    return data[index]


def save(folder: Path, session: Session, mask: Mask) -> tuple[Path, Path]:
    """Write an (H, W) mask (PNG, 0 and 255) and the log of clicks (CSV) into a folder; return both paths.

    Raises
    ------
    DataError
        If the files cannot be written.
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
