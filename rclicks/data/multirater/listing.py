"""Which files a set drawn by several raters should have, and the folders and names in which they are found.

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

SHOWN = 5  # names in a message


@dataclass(frozen=True)
class MaskFile:
    """One mask file of one rater.

    Attributes
    ----------
    rater : str
    path : Path
        Need not exist; see `RaterRules.missing`.
    object : str
        The one object that it shows; "" if a file shows several.
    """

    rater: str
    path: Path
    object: str = "0"


@dataclass(frozen=True)
class RaterEntry:
    """Where one sample lies: its image, the files that its raters should have, and whom it shows (itself if empty)."""

    id: str
    image: Path
    mask_files: tuple[MaskFile, ...]
    group: str = ""


def check_unique(names: Sequence[str], complaint: str) -> None:
    """Refuse names that occur twice.

    Raises
    ------
    DataError
        With the complaint and the names.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{complaint} {some_of(twice)}")


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key by which numbers in names count as numbers.

    >>> sorted(["r10", "r9", "a"], key=natural)
    ['a', 'r9', 'r10']
    """
    parts = re.split(r"(\d+)", text)
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in parts if p]


def sub_folders(root: Path) -> list[Path]:
    """Return the folders in a folder in natural order, hidden ones left out.

    Raises
    ------
    DataError
        If it does not exist.
    """
    if not root.is_dir():
        raise DataError(f"folder {root} does not exist")
    found = (f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    return sorted(found, key=lambda f: natural(f.name))


def is_there(path: Path) -> bool:
    """Tell whether anything has that name, be it a folder or a link that leads nowhere: reading says what is wrong."""
    return os.path.lexists(path)


def some_of(names: Iterable[str]) -> str:
    """Return the first few names for a message, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")
