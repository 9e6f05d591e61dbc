"""The files that are expected in a data set with several raters, and functions for listing folders.

>>> entry = RaterEntry("p1", Path("images/p1.png"), (MaskFile("ann", Path("masks/ann/p1.png")),))
>>> [file.rater for file in entry.mask_files]
['ann']
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rclicks.errors import DataError

__all__ = ["MaskFile", "RaterEntry", "check_unique", "is_there", "natural", "some_of", "sub_folders"]

SHOWN = 5  # largest number of names in a message


@dataclass(frozen=True)
class MaskFile:
    """One mask file of one rater.

    Attributes
    ----------
    rater : str
        Name of the rater.
    path : Path
        Path of the file. It may not exist, see `RaterRules.on_missing`.
    object : str
        Name of the object that the file shows; "" if it can show several.
    """

    rater: str
    path: Path
    object: str = "0"


@dataclass(frozen=True)
class RaterEntry:
    """Files of one sample.

    Attributes
    ----------
    id : str
        Name of the sample.
    image : Path
        File of the image.
    mask_files : tuple of MaskFile
        Mask files that are expected from the raters.
    group : str
        Person or scan that the sample shows; "" if every sample shows another one.
    """

    id: str
    image: Path
    mask_files: tuple[MaskFile, ...]
    group: str = ""


def check_unique(names: Sequence[str], complaint: str) -> None:
    """Refuse names that occur more than once.

    Raises
    ------
    DataError
        If a name occurs more than once; the message is `complaint` followed by these names.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{complaint} {some_of(twice)}")


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key that orders numbers in names by their value.

    >>> sorted(["r10", "r9", "a"], key=natural)
    ['a', 'r9', 'r10']
    """
    parts = re.split(r"(\d+)", text)
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p]


def sub_folders(root: Path) -> list[Path]:
    """Return the folders in a folder in natural order, without hidden folders.

    Raises
    ------
    DataError
        If the folder does not exist.
    """
    if not root.is_dir():
        raise DataError(f"folder {root} does not exist")
    found = (f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    return sorted(found, key=lambda f: natural(f.name))


def is_there(path: Path) -> bool:
    """Return whether the path exists in any form, also as a folder or a broken link; reading these raises an error."""
    return os.path.lexists(path)


def some_of(names: Iterable[str]) -> str:
    """Return the first few names for a message, and the number of further names."""
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")
