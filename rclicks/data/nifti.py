"""Read the arrays of NIfTI-1 files (.nii, .nii.gz) without a further dependency.

Only what 2-D slices need: values and voxel size. Orientation is not interpreted; axes stay in file order (x, y, z).
Source: the header ``nifti1.h`` of the NIfTI Data Format Working Group, 2007.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError

__all__ = ["read_nifti"]

HEADER = 348
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}


def read_nifti(path: Path) -> tuple[NDArray[np.generic], tuple[float, ...]]:
    """Return the array in file order (x, y, ...) and the size of a voxel along each of its axes.

    Values are scaled as the header says (then float64); otherwise they keep their type. Trailing axes of length 1 are
    dropped. Sizes are in the file's own unit, mm in practice.

    Raises
    ------
    DataError
        If the file is missing, cut short, or no NIfTI-1 of a plain numeric type.
    """
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or cannot be read: {error}") from error
    order = next((o for o in "<>" if len(data) >= HEADER and struct.unpack_from(f"{o}i", data)[0] == HEADER), "")
    if not order or data[344:347] != b"n+1":
        raise DataError(f"{path} is no NIfTI-1 file (.nii or .nii.gz with the image inside)")
    count, *lengths = struct.unpack_from(f"{order}8h", data, 40)
    (code,) = struct.unpack_from(f"{order}h", data, 70)
    sizes = struct.unpack_from(f"{order}8f", data, 76)[1:]
    offset, slope, shift = struct.unpack_from(f"{order}3f", data, 108)
    if not 1 <= count <= 7 or min(lengths[:count]) < 1 or code not in _TYPES or not HEADER <= offset <= len(data):
        raise DataError(f"{path}: header with {count} axes {lengths[:count]}, data type {code}, offset {offset}")
    shape = lengths[:count]
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    kind = np.dtype(order + _TYPES[code])
    wanted = math.prod(shape)
    if len(data) - int(offset) < wanted * kind.itemsize:
        raise DataError(f"{path} is cut short: {len(data) - int(offset)} bytes for an array of {shape} {kind}")
    values = np.frombuffer(data, kind, wanted, int(offset)).reshape(shape, order="F")
    native = values.astype(kind.newbyteorder("="))
    if math.isfinite(slope) and slope != 0 and (slope, shift) != (1.0, 0.0):
        native = native.astype(np.float64) * slope + shift
    return native, tuple(float(s) for s in sizes[: len(shape)])
