"""Foreground prompts as nnU-Net's trainers read them: a pickle with a few coordinates of each mask.

The file holds a list with one dict a mask, ``{1: (n, 3) int64 array of (z, y, x)}``, or ``{1: []}`` for an empty mask:
the form of nnU-Net's ``class_locations`` without its channel. nnInteractive's tool draws up to 100 of a mask's voxels
without replacement by ``RandomState(1234)``, made anew for each mask, and thins masks of more than 1e7 voxels by a
whole step first; so does this module, to the same numbers.

Such files are pickles because their readers expect pickles. Here they are opened by a reader that knows lists, dicts,
whole numbers and arrays of them, and refuses all else before it could run.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """Return coordinates of each mask.

    Parameters
    ----------
    masks : iterable of (Z, Y, X) arrays
        What is not 0 belongs to the mask.
    count : int
        The most coordinates of a mask.
    considered : int
        Of a mask with at least twice as many voxels only every k-th is considered, k = voxels // considered.

    Returns
    -------
    list of (n, 3) int64 arrays
        (z, y, x).
    """
    return [_draw(np.argwhere(mask), count, considered) for mask in masks]


def locations_of_labels(
    labels: NDArray[np.integer[Any]], *, count: int = COORDINATES, considered: int = CONSIDERED
) -> list[Locations]:
    """Return coordinates of labels 1, 2, ... of a map; the same as of their masks one by one, only faster."""
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
    """Write a foreground file; it appears only when it is complete.

    Raises
    ------
    DataError
        If it cannot be written.
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
    """Read a foreground file without running anything that it might hold.

    Returns
    -------
    list of (n, 3) int64 arrays
        (z, y, x), one array a mask.

    Raises
    ------
    DataError
        If the file is missing, damaged, has another form, or holds anything but containers and arrays of whole numbers.
    """
    try:
        content = RestrictedUnpickler(io.BytesIO(path.read_bytes())).load()
        if not isinstance(content, list):
            raise pickle.UnpicklingError(f"a {type(content).__name__} instead of a list")
        return [_coordinates(entry, i) for i, entry in enumerate(content)]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except _BROKEN as error:
        raise DataError(
            f"{path} is no foreground file: {str(error) or type(error).__name__}; expected a pickled list with a dict "
            "{1: (n, 3) array of whole numbers} for each mask"
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
        raise pickle.UnpicklingError(f"mask {number} is no dict with the key {_KEY}")
    value = entry[_KEY]
    if isinstance(value, list) and not value:
        return np.empty((0, 3), np.int64)
    if not isinstance(value, _Array):
        raise pickle.UnpicklingError(f"mask {number} has a {type(value).__name__} instead of an array")
    found = value.real()
    if found.ndim != 2 or found.shape[1] != 3 or (found.size and found.min() < 0):
        raise pickle.UnpicklingError(f"mask {number} has coordinates {found.shape}, expected (n, 3) numbers from 0")
    return found


# What a broken stream makes the unpickler raise; MemoryError because lengths are read from the file.
_BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    UnicodeDecodeError,
    OverflowError,
    MemoryError,
)
_WHOLE = re.compile(r"[<>=|]?[iu][1248]")


class _Dtype:
    """Stand-in for numpy.dtype that knows whole numbers only."""

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not _WHOLE.fullmatch(code):
            raise pickle.UnpicklingError(f"it holds an array of {code!r}")
        self.kind = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            raise pickle.UnpicklingError("it holds an array of records")
        if state[1] in ("<", ">"):
            self.kind = self.kind.newbyteorder(state[1])


class _Array:
    """Stand-in for numpy.ndarray: keeps what the file says and checks it before an array is made of it.

    NumPy's own __setstate__ trusts the file, and a forged state can make it read memory that is not its own.
    """

    shape: tuple[int, ...] = ()
    fortran = False
    kind: np.dtype[Any]
    content: bytes | bytearray = b""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("it holds an array of an unknown form")
        _, self.shape, dtype, fortran, self.content = state
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("it holds an array of an unknown type")
        self.kind, self.fortran = dtype.kind, bool(fortran)

    def real(self) -> Locations:
        whole = isinstance(self.shape, tuple) and all(type(n) is int and n >= 0 for n in self.shape)
        kept = isinstance(self.content, (bytes, bytearray))
        if not whole or not kept or len(self.content) != math.prod(self.shape) * self.kind.itemsize:
            raise pickle.UnpicklingError(f"it holds an array of shape {self.shape} whose content has another size")
        flat = np.frombuffer(self.content, self.kind)
        return np.asarray(flat.reshape(self.shape, order="F" if self.fortran else "C"), np.int64)


_NDARRAY = object()  # stands for the class, which the file may name but not call


def _reconstruct(kind: object, shape: object, typecode: object) -> _Array:
    if kind is not _NDARRAY:
        raise pickle.UnpicklingError("it holds an array of a class other than numpy.ndarray")
    return _Array()


def _frombuffer(data: object, dtype: object, shape: object, order: object) -> _Array:
    """Answer the form of pickle protocol 5."""
    made = _Array()
    made.__setstate__((1, shape, dtype, order == "F", data))
    return made


def _latin1(text: object, encoding: object) -> bytes:
    """Answer the form that bytes have in pickle protocol 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("it holds bytes in an unknown encoding")
    return text.encode("latin1")


# NumPy 1 names numpy.core, NumPy 2 numpy._core.
_KNOWN: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1,
}


class RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants {module}.{name}, which could run code; it was not opened") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it wants something that lies outside of the file")
