"""A data set of volumes, each with a label map; most 3-D data sets have this layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.volumes import SUFFIXES, Volume, case_name, check_alike, read_volume
from rclicks.errors import DataError, ProtocolError
from rclicks.metrics.target import Window, bounding_box
from rclicks.sample import Mask, Sample, Target

__all__ = [
    "Case",
    "LabelMask",
    "LabelledVolumes",
    "ObjectRules",
    "Reading",
    "list_volumes",
    "objects_of",
    "pair_cases",
    "sample_of",
    "whole_labels",
]


@dataclass(frozen=True)
class Case:
    """One case of a data set.

    Attributes
    ----------
    id : str
        Name of the case.
    image : Path
        File of the image, or a folder of DICOM slices.
    labels : Path
        File of the label map.
    """

    id: str
    image: Path
    labels: Path


@dataclass(frozen=True)
class ObjectRules:
    """Rules for the objects in a label map.

    Attributes
    ----------
    labels : int, sequence of int, or None
        Label values that are objects; None for all values above 0.
    ignore : int or None
        Label value of ignored voxels.
    split : {"labels", "components"}
        Meaning of a label value. "labels": every value is one object. "components": every 26-connected component of a
        value is one object with the id ``<value>-<k>``, where k counts the kept components from 1 in array order.
    min_voxels : int
        Smallest number of voxels of an object; smaller objects are left out.
    """

    labels: int | Sequence[int] | None = None
    ignore: int | None = None
    split: Literal["labels", "components"] = "labels"
    min_voxels: int = 1

    def __post_init__(self) -> None:
        """Refuse invalid rules with a `ProtocolError`."""
        wanted = [self.labels] if isinstance(self.labels, int) else self.labels
        if wanted is not None:
            given: Any = wanted  # from a file or the command line, so it can have any type
            if not isinstance(given, (list, tuple)) or not all(type(v) is int and v > 0 for v in given):
                raise ProtocolError(f"labels is {self.labels!r}; expected integers above 0, such as [1,2]")
            object.__setattr__(self, "labels", tuple(wanted))
        if self.split not in {"labels", "components"}:
            raise ProtocolError(f"objects are split by {self.split!r}; allowed: labels, components")
        if not isinstance(self.min_voxels, int) or self.min_voxels < 1:
            raise ProtocolError(f"min_voxels is {self.min_voxels!r}; expected an integer of at least 1")


@dataclass(frozen=True)
class Reading:
    """Options for reading files.

    Attributes
    ----------
    channel, spacing, fill_nan
        Arguments of `rclicks.data.volumes.read_volume`.
    geometry : {"check", "image"}
        Whether the geometry of a label map must agree with that of its image ("check"), or is not used ("image").
    """

    channel: int | None = None
    spacing: tuple[float, ...] | None = None
    fill_nan: float | None = None
    geometry: Literal["check", "image"] = "check"

    def __post_init__(self) -> None:
        """Refuse an unknown value of `geometry` with a `ProtocolError`."""
        if self.geometry not in {"check", "image"}:
            raise ProtocolError(f"geometry is {self.geometry!r}; allowed: check, image")


class LabelMask(Sequence[Mask]):
    """Sequence with the one mask of an object, which is computed from the label map at every access.

    So a volume with forty objects does not need memory for forty masks.

    Parameters
    ----------
    labels : (Z, Y, X) int array
        Label map, or the part of it in `window`.
    value : int
        Label value of the object.
    shape : tuple of int, optional
        Shape of the mask, if `labels` is only a part of it.
    window : tuple of slice, optional
        Position of `labels` in the mask, if it is only a part of it.
    """

    def __init__(
        self, labels: NDArray[Any], value: int, shape: tuple[int, ...] | None = None, window: Window | None = None
    ) -> None:
        self._labels, self._value, self._shape, self._window = labels, value, shape, window

    def __len__(self) -> int:
        return 1

    @overload
    def __getitem__(self, index: int) -> Mask: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Mask]: ...

    def __getitem__(self, index: int | slice) -> Mask | Sequence[Mask]:
        """Return the (Z, Y, X) bool mask."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(1))]
        if index not in (0, -1):
            raise IndexError(f"the object has one mask; the index {index} does not exist")
        if self._shape is None or self._window is None:
            return self._labels == self._value
        mask = np.zeros(self._shape, bool)
        mask[self._window] = self._labels == self._value
        return mask


class LabelledVolumes(Dataset):
    """Volumes, each with a label map of the same shape and geometry.

    Parameters
    ----------
    card : DatasetCard
        Facts about the data set.
    root : Path
        Folder of the data set.
    find : callable
        Function that lists the cases in evaluation order; it is called once.
    rules : ObjectRules
        Rules for the objects in a label map.
    reading : Reading
        Options for reading files.
    """

    def __init__(
        self, card: DatasetCard, root: Path, find: Callable[[], list[Case]], rules: ObjectRules, reading: Reading
    ) -> None:
        self.card, self.root, self.rules, self.reading, self._find = card, root, rules, reading, find

    @cached_property
    def cases(self) -> list[Case]:
        """All cases in evaluation order."""
        return self._find()

    @cached_property
    def ids(self) -> list[str]:
        """Names of the cases in evaluation order."""
        return [case.id for case in self.cases]

    def files(self, index: int) -> Sequence[Path]:
        """Return the paths of the image and of the label map."""
        return self.cases[index].image, self.cases[index].labels

    def read(self, index: int) -> Sample:
        """Decode one volume and its objects."""
        case, how = self.cases[index], self.reading
        image = read_volume(case.image, channel=how.channel, spacing=how.spacing, fill_nan=how.fill_nan)
        labels = read_volume(case.labels, spacing=how.spacing, labels=True)
        check_alike(image, labels, case.image, case.labels, place=how.geometry == "check")
        return sample_of(self.card.name, case.id, image, whole_labels(labels.values, case.labels), self.rules)


def sample_of(dataset: str, name: str, image: Volume, labels: NDArray[Any], rules: ObjectRules) -> Sample:
    """Return the sample of a volume and its label map; its image is read-only."""
    values = image.values.view()
    values.setflags(write=False)
    return Sample(dataset, name, values, objects_of(labels, rules), image.spacing, image.affine)


def whole_labels(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return a label map in the smallest integer type; labels stored as floats such as 0.9999 are rounded.

    Raises
    ------
    DataError
        If a value differs by more than .001 from an integer, is negative or is above 2^32.
    """
    low, high = values.min(initial=0), values.max(initial=0)
    if low < -0.001 or high > 2**32:
        raise DataError(f"{path} holds the label {low if low < 0 else high:g}; expected integers from 0 to 2^32")
    kind = np.min_scalar_type(round(float(high)))
    if values.dtype.kind != "f":
        return values.astype(kind)
    whole = np.empty(values.shape, kind)
    for part, place in zip(values, whole, strict=True):
        np.rint(part, out=place, casting="unsafe")
        if np.abs(part - place).max(initial=0) > 0.001:
            raise DataError(
                f"{path} holds fractions; expected integers as labels. Check that the file is a label map, not a "
                "probability map"
            )
    return whole


def objects_of(labels: NDArray[Any], rules: ObjectRules) -> tuple[Target, ...]:
    """Return the objects of a (Z, Y, X) label map in ascending order of their values.

    >>> [t.id for t in objects_of(np.array([[[0, 1, 1, 0, 1, 3]]]), ObjectRules(split="components", min_voxels=2))]
    ['1-1']
    """
    counts: Counter[int] = Counter()
    for part in labels:  # slice by slice, because np.unique sorts a copy
        counts.update(dict(zip(*(x.tolist() for x in np.unique(part, return_counts=True)), strict=True)))
    values = [v for v in sorted(counts) if v not in (0, rules.ignore) and counts[v] >= rules.min_voxels]
    if rules.labels is not None:
        assert not isinstance(rules.labels, int)  # noqa: S101 - __post_init__ makes it a tuple
        values = [v for v in values if v in rules.labels]
    ignore = None if rules.ignore is None or rules.ignore not in counts else labels == rules.ignore
    if rules.split == "labels":
        return tuple(Target(str(v), LabelMask(labels, v), ignore) for v in values)
    return tuple(target for value in values for target in _parts(labels, value, rules.min_voxels, ignore))


def _parts(labels: NDArray[Any], value: int, min_voxels: int, ignore: Mask | None) -> list[Target]:
    """Return the connected components of a label value; only its bounding box is stored."""
    from scipy import ndimage

    whole = labels == value
    window = bounding_box(whole)
    assert window is not None  # noqa: S101 - the caller has counted voxels of this value
    parts, _ = ndimage.label(whole[window], np.ones((3,) * labels.ndim))
    sizes = np.bincount(parts.ravel())
    kept = [k for k in range(1, len(sizes)) if sizes[k] >= min_voxels]
    found = [LabelMask(parts, k, labels.shape, window) for k in kept]
    return [Target(f"{value}-{n}", mask, ignore) for n, mask in enumerate(found, 1)]


def list_volumes(folder: Path) -> list[Path]:
    """Return the volume files and DICOM folders in a folder, sorted by name.

    Raises
    ------
    DataError
        If the folder does not exist or contains no volume.
    """
    if not folder.is_dir():
        raise DataError(f"folder {folder} does not exist")
    found = [
        entry
        for entry in sorted(folder.iterdir(), key=lambda e: e.name)
        if not entry.name.startswith(".") and (entry.is_dir() or entry.name.lower().endswith(SUFFIXES))
    ]
    if not found:
        raise DataError(f"{folder} holds no volume; expected {', '.join(SUFFIXES)} or folders of DICOM slices")
    return found


def pair_cases(images: Sequence[Path], labels: Sequence[Path], image_end: str = "", label_end: str = "") -> list[Case]:
    """Return the images that have a label map of the same name, in the order of `images`.

    Parameters
    ----------
    images, labels : sequence of Path
        Files of images and of label maps; both may be files of the same folder.
    image_end, label_end : str
        End of the file names after the name of the case and before the suffix of the format, such as "_0000" or
        "_image".

    Raises
    ------
    DataError
        If an image has no label map, or two files belong to the same case. The message names the first few.
    """
    known, chosen = _by_case(labels, label_end), _by_case(images, image_end)
    if unmatched := [p.name for name, p in chosen.items() if name not in known]:
        where = labels[0].parent if labels else "the label folder, which is empty"
        raise DataError(
            f"{len(unmatched)} images have no label map of the same name in {where}: {', '.join(unmatched[:5])}"
        )
    return [Case(name, path, known[name]) for name, path in chosen.items()]


def _by_case(files: Sequence[Path], end: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        name = case_name(path)
        if name.endswith(end):
            first = found.setdefault(name.removesuffix(end), path)
            if first != path:
                raise DataError(f"{first.parent} holds two files of one case: {first.name} and {path.name}; keep one")
    return found
