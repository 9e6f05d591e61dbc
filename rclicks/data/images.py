"""Decode image files, with errors that name the file.

OpenCV decodes all files, because the published loaders use it and the pixels should be equal. It decodes from bytes, so
that paths with any characters work.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError

__all__ = [
    "check_size",
    "find_by_stem",
    "list_files",
    "read_image",
    "read_labels",
    "read_mask",
    "shrunk_size",
    "stem_of",
]


def _decode(path: Path, flags: int) -> NDArray[np.uint8]:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if _truncated(data):
        raise DataError(f"{path} is damaged: it ends before its last block; download it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error as error:  # for example a header with more pixels than OpenCV allows
        raise DataError(f"{path} is damaged or too large to be decoded ({error.err}); download it again") from error
    if image is None:
        raise DataError(f"{path} is damaged or no image ({len(data)} bytes); download it again")
    return np.asarray(image)


def _truncated(data: bytes) -> bool:
    """Return whether the end of a PNG or JPEG is missing; OpenCV fills the missing part with grey without a message."""
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[_jpeg_scan(data) :]
    return False


def _jpeg_scan(data: bytes) -> int:
    """Return the position of the first scan of a JPEG; headers before it can contain a thumbnail with an end marker."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xDA:
            return at
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return an image as an (H, W, 3) uint8 RGB array.

    Raises
    ------
    DataError
        If the file is missing, damaged or no image.
    """
    return np.asarray(cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Return a mask file as stored: (H, W), or (H, W, 3) in OpenCV's channel order (blue, green, red).

    As in the published loaders, a palette is converted to its colours and an alpha channel is dropped. Values of 16 bit
    keep their type.

    Raises
    ------
    DataError
        If the file is missing, damaged or no image.
    """
    # IMREAD_UNCHANGED is not used for two reasons. It keeps an opaque alpha channel, which would make every pixel an
    # object, and it does not apply the EXIF rotation that is applied to the image.
    return _decode(path, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)


def read_labels(path: Path) -> NDArray[np.generic]:
    """Return a mask file as (H, W) integer labels; for a palette PNG the indices, not the colours.

    Raises
    ------
    DataError
        If the file is missing, damaged or no image, if its values are not integers, or its colour channels differ.
    """
    mask = read_mask(path)
    if not np.issubdtype(mask.dtype, np.integer):
        raise DataError(f"{path} holds {mask.dtype} values; expected integers as labels")
    if mask.ndim == 2:
        return mask
    from PIL import Image

    with Image.open(io.BytesIO(path.read_bytes())) as image:
        if image.mode == "P":
            return np.asarray(image)
    if (mask != mask[..., :1]).any():
        raise DataError(f"{path} is a colour image; expected labels in one channel, in equal channels or in a palette")
    return np.asarray(mask[..., 0])


def check_size(image: NDArray[np.generic], mask: NDArray[np.generic], image_path: Path, mask_path: Path) -> None:
    """Refuse an image and a mask of different sizes.

    Raises
    ------
    DataError
        If heights or widths differ. The message contains both files and sizes.
    """
    if image.shape[:2] != mask.shape[:2]:
        raise DataError(
            f"{mask_path} is {mask.shape[1]} x {mask.shape[0]} (width x height), but its image {image_path} is "
            f"{image.shape[1]} x {image.shape[0]}; they must be equal"
        )


def stem_of(path: Path) -> str:
    """Return the file name up to its first dot, as the published loaders do."""
    return path.name.split(".")[0]


def list_files(folder: Path, suffixes: Sequence[str] = ()) -> list[Path]:
    """Return the files ``*.*`` of a folder in byte order of their names, without hidden files.

    Parameters
    ----------
    folder : Path
        Folder to list.
    suffixes : sequence of str
        Allowed suffixes in lower case, such as ".png"; empty for all files.

    Raises
    ------
    DataError
        If the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"folder {folder} does not exist")
    files = (f for f in folder.iterdir() if "." in f.name and not f.name.startswith(".") and f.is_file())
    chosen = [f for f in files if not suffixes or f.suffix.lower() in suffixes]
    return sorted(chosen, key=os.fsencode)


def find_by_stem(images: Sequence[Path], masks: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return the pairs (image, mask) with equal stems, in the order of `images`.

    Raises
    ------
    DataError
        If an image has no mask, or two images or two masks have the same stem. The message names the first few.
    """
    for files in (images, masks):
        counts = Counter(map(stem_of, files))
        equal = [f for f in files if counts[stem_of(f)] > 1]
        if equal:
            names = ", ".join(f.name for f in equal[:5])
            raise DataError(
                f"files of {equal[0].parent} share a stem (the name up to its first dot), so images and masks cannot "
                f"be paired: {names}"
            )
    by_stem = {stem_of(m): m for m in masks}
    unmatched = [i for i in images if stem_of(i) not in by_stem]
    if unmatched:
        where = masks[0].parent if masks else "the mask folder, which is empty"
        names = ", ".join(i.name for i in unmatched[:5])
        raise DataError(f"{len(unmatched)} images have no mask of the same stem in {where}: {names}")
    return [(i, by_stem[stem_of(i)]) for i in images]


def shrunk_size(height: int, width: int, max_side: int) -> tuple[int, int]:
    """Return (height, width) scaled so that the longer side is at most `max_side`; all in pixels.

    >>> shrunk_size(3000, 4000, 2048)
    (1536, 2048)
    """
    if height > width:
        new = min(height, max_side)
        return new, int(width / height * new + 0.5)
    new = min(width, max_side)
    return int(height / width * new + 0.5), new
