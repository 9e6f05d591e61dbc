"""Foreground prompts in the format of nnU-Net's trainers: a pickle with some coordinates of each mask.

The file contains a list with one dict for each mask: ``{1: (n, 3) int64 array of (z, y, x)}``, or ``{1: []}`` for an
empty mask. This is nnU-Net's ``class_locations`` without the channel axis. nnInteractive's tool draws up to 100 voxels
of a mask without replacement, with a new ``RandomState(1234)`` for each mask. If a mask has more than 1e7 voxels, only
every k-th voxel is used, where k is a whole number. This module does the same and gives the same numbers.

The files are pickles because nnU-Net expects pickles. Here they are read by a reader that accepts only lists, dicts,
whole numbers and arrays of whole numbers, and runs no code.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.data.pickles import BROKEN, read_pickle
from rclicks.errors import DataError

__all__ = [
    "CONSIDERED",
    "COORDINATES",
    "SEED",
    "locations_of_labels",
    "locations_of_masks",
    "read_foreground",
    "write_foreground",
]

SEED = 1234
COORDINATES = 100
CONSIDERED = 10_000_000
_KEY = 1  # masks are binary

Locations = NDArray[np.int64]


def locations_of_masks(
    masks: Iterable[NDArray[np.generic]], *, count: int = COORDINATES, considered: int = CONSIDERED
) -> list[Locations]:
    """Return randomly drawn coordinates of each mask.

    Parameters
    ----------
    masks : iterable of (Z, Y, X) arrays
        Masks; all values except 0 belong to a mask.
    count : int
        Largest number of coordinates for each mask.
    considered : int
        Number of voxels above which only every k-th voxel is used, with k = voxels // considered.

    Returns
    -------
    list of (n, 3) int64 arrays
        Coordinates (z, y, x) of each mask.
    """
    return [_draw(np.argwhere(mask), count, considered) for mask in masks]


def locations_of_labels(
    labels: NDArray[np.integer[Any]], *, count: int = COORDINATES, considered: int = CONSIDERED
) -> list[Locations]:
    """Return randomly drawn coordinates of the labels 1, 2, ... of a (Z, Y, X) label map.

    The result is that of `locations_of_masks` for the masks of the labels, but faster.
    """
    from scipy import ndimage

    found = []
    for i, window in enumerate(ndimage.find_objects(labels), 1):
        if window is None:
            found.append(np.empty((0, 3), np.int64))
            continue
        at = np.argwhere(labels[window] == i)
        at += [w.start for w in window]
        found.append(_draw(at, count, considered))
    return found


def write_foreground(path: Path, locations: Iterable[NDArray[np.integer[Any]]]) -> None:
    """Write a foreground file in one atomic step.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    hidden = path.with_name(f".tmp-{path.name}")
    content: list[dict[int, Any]] = [{_KEY: np.asarray(at, np.int64) if len(at) else []} for at in locations]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden.write_bytes(pickle.dumps(content))
        hidden.replace(path)
    except OSError as error:
        hidden.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error}") from error


def read_foreground(path: Path) -> list[Locations]:
    """Read a foreground file without running code in it.

    Returns
    -------
    list of (n, 3) int64 arrays
        Coordinates (z, y, x) of each mask.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another format, or contains other objects than arrays of whole numbers.
    """
    try:
        content = read_pickle(path.read_bytes())
        if not isinstance(content, list):
            raise pickle.UnpicklingError(f"a {type(content).__name__} instead of a list")
        return [_coordinates(entry, i) for i, entry in enumerate(content)]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except (pickle.UnpicklingError, *BROKEN) as error:
        raise DataError(
            f"{path} is not a foreground file: {str(error) or type(error).__name__}; expected a pickled list with a "
            "dict {1: (n, 3) array of whole numbers} for each mask"
        ) from error


def _draw(at: NDArray[np.intp], count: int, considered: int) -> Locations:
    if len(at) > considered:
        at = at[:: len(at) // considered]
    if not len(at):
        return np.empty((0, 3), np.int64)
    chosen = np.random.RandomState(SEED).choice(len(at), min(count, len(at)), replace=False)
    return np.asarray(at[chosen], np.int64)


def _coordinates(entry: object, number: int) -> Locations:
    if not isinstance(entry, dict) or set(entry) != {_KEY}:
        raise pickle.UnpicklingError(f"mask {number} is not a dict with the key {_KEY}")
    value = entry[_KEY]
    if isinstance(value, list) and not value:
        return np.empty((0, 3), np.int64)
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
        raise pickle.UnpicklingError(f"mask {number} has a {type(value).__name__} instead of an array of whole numbers")
    found = np.array(value, np.int64)
    if found.ndim != 2 or found.shape[1] != 3 or (found.size and found.min() < 0):
        raise pickle.UnpicklingError(f"mask {number} has coordinates {found.shape}; expected (n, 3), none negative")
    return found
