"""The NIfTI reader on files written here, byte by byte after the standard's header table."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from rclicks.data.nifti import read_nifti
from rclicks.errors import DataError

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768}


def nifti(
    array: np.ndarray, slope: float = 0.0, shift: float = 0.0, order: str = "<", code: int | None = None
) -> bytes:
    header = bytearray(352)
    lengths = [array.ndim, *array.shape, *[1] * (7 - array.ndim)]
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, *lengths)
    struct.pack_into(f"{order}h", header, 70, code or CODES[array.dtype.str[1:]])
    struct.pack_into(f"{order}8f", header, 76, 1, 0.5, 2, 3, 1, 1, 1, 1)
    struct.pack_into(f"{order}3f", header, 108, 352, slope, shift)
    header[344:348] = b"n+1\0"
    return bytes(header) + array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", sorted(CODES))
def test_types_and_byte_orders(tmp_path: Path, kind: str, order: str) -> None:
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(kind)
    path = tmp_path / "x.nii"
    path.write_bytes(nifti(array, order=order))
    values, sizes = read_nifti(path)
    assert values.dtype == np.dtype(kind)
    assert np.array_equal(values, array)
    assert sizes == (0.5, 2.0, 3.0)


def test_scaling_compression_and_trailing_axes(tmp_path: Path) -> None:
    array = np.array([[[1], [2]], [[3], [4]]], np.int16)
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(nifti(array, slope=0.5, shift=-10)))
    values, sizes = read_nifti(path)
    assert values.tolist() == [[-9.5, -9.0], [-8.5, -8.0]]
    assert sizes == (0.5, 2.0)


def test_damage_names_the_file(tmp_path: Path) -> None:
    whole = nifti(np.ones((4, 4, 4), np.float32))
    packed = gzip.compress(whole)
    cases = {
        "cut short": whole[:-1],
        "no NIfTI-1": whole[:100],
        "is damaged": packed[: len(packed) // 2],
        "data type 128": nifti(np.ones((4, 4), np.uint8), code=128),
    }
    path = tmp_path / "x.nii"
    for words, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"x\.nii.*{words}"):
            read_nifti(path)
    with pytest.raises(DataError, match="is missing"):
        read_nifti(tmp_path / "absent.nii")
