"""Open pickles without running code from them.

Pickles can run code when they are opened. The unpickler in this module accepts plain containers, text, numbers and
NumPy arrays of plain types, and refuses everything else. Arrays are checked before NumPy gets their state, because a
manipulated state can make NumPy use numbers from the file as memory addresses.

>>> read_pickle(pickle.dumps({"a": [1, np.arange(3)]}))["a"][1].tolist()
[0, 1, 2]
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["BROKEN", "read_pickle"]

# Errors other than UnpicklingError that the unpickler raises for a damaged file; MemoryError because lengths are read
# from the file.
BROKEN = (
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    ImportError,
    MemoryError,
    RuntimeError,
)


def read_pickle(data: bytes, also: Mapping[tuple[str, str], Any] | None = None) -> Any:
    """Return the content of a pickle.

    Parameters
    ----------
    data : bytes
        Content of the file.
    also : mapping of (str, str) to object, optional
        More objects that the pickle may name by (module, name), and the objects that replace them.

    Raises
    ------
    pickle.UnpicklingError
        If the pickle names another object (the message begins with "it wants"), or the parts of an array do not fit.
    Exception
        One of `BROKEN`, if the pickle is damaged.
    """
    return _Unpickler(io.BytesIO(data), also or {}).load()


class _Dtype:
    """Replacement for numpy.dtype that creates plain types from their code.

    The __setstate__ of numpy.dtype does not check sizes, fields and flags. A manipulated state can make NumPy use
    numbers from the file as memory addresses.
    """

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not _PLAIN.fullmatch(code):
            raise pickle.UnpicklingError(f"an array of {code!r}")
        self.real: np.dtype[Any] = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 8 or state[2:5] != (None, None, None):
            raise pickle.UnpicklingError("an array of records")
        if state[1] in ("<", ">"):
            self.real = self.real.newbyteorder(state[1])


class _Array(np.ndarray[Any, Any]):
    """Array that takes its content from a pickle only if type, shape and content fit together."""

    def __setstate__(self, state: Any) -> None:
        version, shape, kind, fortran, content = state
        sizes = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if version != 1 or not sizes or not isinstance(kind, _Dtype):
            raise pickle.UnpicklingError("an array of an unknown form")
        count = math.prod(shape)
        if kind.real.hasobject:
            fits = isinstance(content, list) and len(content) == count
        else:
            fits = isinstance(content, bytes) and len(content) == count * kind.real.itemsize
        if not fits:
            raise pickle.UnpicklingError(f"an array of shape {shape} whose content has another size")
        super().__setstate__((1, shape, kind.real, bool(fortran), content))  # type: ignore[arg-type]


_PLAIN = re.compile(r"[<>=|]?(?:[biufc]\d{1,2}|[SU]\d{1,6}|O\d?)")
_NDARRAY = object()  # replaces numpy.ndarray, which the pickle may name but not call


def _reconstruct(kind: object, shape: object, typecode: object) -> np.ndarray:
    if kind is not _NDARRAY:
        raise pickle.UnpicklingError("an array of a class other than numpy.ndarray")
    return _Array.__new__(_Array, (0,), "b")


def _frombuffer(data: object, kind: object, shape: object, order: object) -> np.ndarray:
    """Return an array in the form of pickle protocol 5."""
    if not isinstance(kind, _Dtype) or kind.real.hasobject or not isinstance(data, (bytes, bytearray)):
        raise pickle.UnpicklingError("an array that is not plain numbers")
    if not isinstance(shape, tuple) or order not in ("C", "F"):
        raise pickle.UnpicklingError("an array of an unknown form")
    return np.frombuffer(data, kind.real).reshape(shape, order="F" if order == "F" else "C").view(_Array)


def _scalar(kind: object, data: object = None) -> Any:
    if not isinstance(kind, _Dtype) or kind.real.hasobject or not isinstance(data, bytes):
        raise pickle.UnpicklingError("a scalar that is no plain number")
    return np.frombuffer(data, kind.real, 1)[0]


def _latin1(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in an unknown encoding")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Return empty bytes, which pickle protocol 2 stores as a call of bytes()."""
    return b""


# Pickles of NumPy 1 contain the module name numpy.core, those of NumPy 2 numpy._core.
_ARRAYS = {("multiarray", "_reconstruct"): _reconstruct, ("multiarray", "scalar"): _scalar}
_ARRAYS[("numeric", "_frombuffer")] = _frombuffer
_KNOWN: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.{m}", n): f for core in ("core", "_core") for (m, n), f in _ARRAYS.items()},
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _no_bytes,
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, also: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(stream)
        self._known = _KNOWN | dict(also)

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it wants an object that is not stored in the file")
