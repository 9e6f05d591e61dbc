"""PASCAL VOC 2012 instances as RITM evaluates them: 3,417 objects in 1,449 photographs.

RITM reads the list ``ImageSets/Segmentation/test.pickle``: a tuple of image names and of instance ids, where an id is
the grey value of a palette colour. It is read here without running code from it. If there is no such list, all
instances of a split file (option `split`) are used in ascending order of their ids. An image is one sample with all its
instances. Void pixels (grey 220, the colour of boundaries) are ignored.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import check_size, read_image
from rclicks.errors import DataError, ProtocolError
from rclicks.sample import Sample, Target

CARDS = (
    DatasetCard(
        name="PascalVOC",
        summary="instances of PASCAL VOC 2012 with void borders ignored",
        folder="PascalVOC",
        layout=(
            "JPEGImages/<name>.jpg, SegmentationObject/<name>.png and ImageSets/Segmentation/test.pickle "
            "(RITM's list) or <split>.txt"
        ),
        samples=1449,
        objects=3417,
        source="Everingham et al. 2010",
        licence="images under their Flickr terms; annotations free for research",
        citation="Everingham et al.: The PASCAL visual object classes challenge, IJCV 2010",
        get="Take VOCtrainval_11-May-2012.tar of the PASCAL VOC page; test.pickle comes with the RITM releases.",
    ),
)

VOID = 220


class _Stub:
    """Replacement for an object named in the pickle. NumPy's functions are not called: they can crash on bad input."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"{type(self).__name__} has no state")


class _Dtype(_Stub):
    """Type code and byte order of a NumPy scalar."""

    def __init__(self, code: str, *flags: object) -> None:
        if not re.fullmatch("[iu][1248]", code):
            raise pickle.UnpicklingError(f"numbers of type {code!r} are not allowed")
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Scalar(_Stub):
    """Conversion of the bytes of a NumPy integer to an int."""

    def __new__(cls, kind: _Dtype, data: bytes) -> int:  # type: ignore[misc]
        if not isinstance(kind, _Dtype) or len(data) != int(kind.code[1]):
            raise pickle.UnpicklingError("a number has the wrong size")
        return int.from_bytes(data, "big" if kind.order == ">" else "little", signed=kind.code[0] == "i")


class _Bytes(_Stub):
    """Conversion of text to bytes; pickles before protocol 3 store bytes as text."""

    def __new__(cls, text: str, encoding: str) -> bytes:  # type: ignore[misc]
        return text.encode("latin-1")


_NAMES = {
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy._core.multiarray", "scalar"): _Scalar,
    ("_codecs", "encode"): _Bytes,
}


class _PlainUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Reader of lists, tuples, text and integers (also NumPy's) that refuses all other objects.

    It is based on the unpickler of the standard library that is written in Python. The one written in C allocates
    gigabytes for some damaged files.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return _NAMES[module, name]


def read_list(path: Path) -> list[tuple[str, int]]:
    """Return the pairs (image name, grey id) of a test.pickle.

    Raises
    ------
    DataError
        If the file contains anything other than two lists of equal length, one of names and one of integers.
    """
    try:
        value = _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
        names, ids = value
        pairs = list(zip(names, ids, strict=True))
        if not all(isinstance(n, str) and type(i) is int for n, i in pairs):
            raise TypeError("names must be text and ids integers")
        if len(set(pairs)) < len(pairs):
            raise ValueError("an object is listed twice")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}. Take it from the RITM releases, or choose a split") from error
    except (
        pickle.UnpicklingError,
        struct.error,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
    ) as error:
        raise DataError(f"{path} is not a list of image names and instance ids: {error!r}") from error
    return pairs


class PascalVoc(Dataset):
    """Images of RITM's list or of a split; every instance is one target."""

    def __init__(self, card: DatasetCard, root: Path, split: str) -> None:
        self.card, self.root, self.split, self._base = card, root, split, root

    @cached_property
    def _listed(self) -> dict[str, list[int] | None]:
        """Return the grey ids of the objects of each image; None means all."""
        folder = self._base / "ImageSets" / "Segmentation"
        if self.split == "test":
            found: dict[str, list[int] | None] = {}
            for name, value in read_list(folder / "test.pickle"):
                ids = found.setdefault(name, [])
                assert ids is not None  # noqa: S101 - this branch inserts only lists
                ids.append(value)
            return found
        file = folder / f"{self.split}.txt"
        if not file.is_file():
            raise DataError(f"{file} is missing. Expected {self.card.layout}")
        return dict.fromkeys(file.read_text(encoding="utf-8").split())

    @cached_property
    def ids(self) -> list[str]:
        """Image names in the order of the list."""
        return list(self._listed)

    def files(self, index: int) -> tuple[Path, Path]:
        """Return the paths of the image and of the mask."""
        name = self.ids[index]
        return self._base / "JPEGImages" / f"{name}.jpg", self._base / "SegmentationObject" / f"{name}.png"

    def read(self, index: int) -> Sample:
        """Decode one image and its instances."""
        image_path, mask_path = self.files(index)
        image = read_image(image_path)
        gray = gray_ids(mask_path)
        check_size(image, gray, image_path, mask_path)
        name = self.ids[index]
        ids = self._listed[name] or [int(v) for v in np.unique(gray) if v not in {0, VOID}]
        ignore = gray == VOID
        band = ignore if ignore.any() else None
        return Sample(self.card.name, name, image, tuple(Target(str(v), (gray == v,), band) for v in ids))


def gray_ids(path: Path) -> NDArray[np.uint8]:
    """Return the (H, W) uint8 grey values of the colours of a palette PNG, converted as OpenCV does it."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR), cv2.COLOR_BGR2GRAY))


def load(card: DatasetCard, root: Path, *, split: str = "auto") -> PascalVoc:
    """Open PASCAL VOC.

    Parameters
    ----------
    split : {"auto", "test", "val", "train", "trainval"}
        List of images. "test" is RITM's list; "auto" uses it if it exists, else the validation split.

    Raises
    ------
    ProtocolError
        If the split is unknown.
    """
    if split not in {"auto", "test", "val", "train", "trainval"}:
        raise ProtocolError(f"data set PascalVOC: split is {split!r}; allowed: auto, test, val, train, trainval")
    if split == "auto":
        split = "test" if (root / "ImageSets" / "Segmentation" / "test.pickle").is_file() else "val"
    return PascalVoc(card, root, split)
