"""A data set of volumes with a label map each: the layout that most 3-D sets share."""

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
    """One volume of a set: its name, image and label file (an image may be a folder of DICOM slices)."""

    id: str
    image: Path
    labels: Path


@dataclass(frozen=True)
class ObjectRules:
    """Which objects a label map holds.

    Attributes
    ----------
    labels : int, sequence of int, or None
        Values that are objects; None for all above 0.
    ignore : int or None
        Value of voxels that do not count.
    split : {"labels", "components"}
        "labels": every value is one object. "components": every 26-connected part of a value is one, named
        ``<value>-<k>``, k counting the parts that are kept from 1 in array order.
    min_voxels : int
        Objects with fewer voxels are left out.
    """

    labels: int | Sequence[int] | None = None
    ignore: int | None = None
    split: Literal["labels", "components"] = "labels"
    min_voxels: int = 1

    def __post_init__(self) -> None:
        """Refuse rules that make no sense."""
        wanted = [self.labels] if isinstance(self.labels, int) else self.labels
        if wanted is not None:
            given: Any = wanted  # from a file or the command line: anything may stand there
            if not isinstance(given, (list, tuple)) or not all(type(v) is int and v > 0 for v in given):
                raise ProtocolError(f"labels is {self.labels!r}; expected whole numbers above 0, such as [1,2]")
            object.__setattr__(self, "labels", tuple(wanted))
        if self.split not in {"labels", "components"}:
            raise ProtocolError(f"objects are split by {self.split!r}; allowed: labels, components")
        if not isinstance(self.min_voxels, int) or self.min_voxels < 1:
            raise ProtocolError(f"min_voxels is {self.min_voxels!r}; expected a whole number, at least 1")


@dataclass(frozen=True)
class Reading:
    """How files are read; see `rclicks.data.volumes.read_volume`.

    Attributes
    ----------
    geometry : {"check", "image"}
        Whether the label map's own place in space must agree with the image's, or is not looked at.
    """

    channel: int | None = None
    spacing: tuple[float, ...] | None = None
    fill_nan: float | None = None
    geometry: Literal["check", "image"] = "check"

    def __post_init__(self) -> None:
        """Refuse an unknown rule."""
        if self.geometry not in {"check", "image"}:
            raise ProtocolError(f"geometry is {self.geometry!r}; allowed: check, image")


class LabelMask(Sequence[Mask]):
    """The one mask of an object, made from the label map whenever it is asked for.

    A volume with forty structures would otherwise hold forty masks at once.

    Parameters
    ----------
    labels : array of whole numbers
    value : int
    shape : tuple of int, optional
        Of the mask, if `labels` is only the part of it in `window`.
    window : tuple of slice, optional
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
            raise IndexError(f"one mask, not number {index}")
        if self._shape is None or self._window is None:
            return self._labels == self._value
        mask = np.zeros(self._shape, bool)
        mask[self._window] = self._labels == self._value
        return mask


class LabelledVolumes(Dataset):
    """Volumes, each with a label map of its shape and place.

    Parameters
    ----------
    card : DatasetCard
    root : Path
    find : callable
        Lists the cases in evaluation order; called once.
    rules : ObjectRules
    reading : Reading
    """

    def __init__(
        self, card: DatasetCard, root: Path, find: Callable[[], list[Case]], rules: ObjectRules, reading: Reading
    ) -> None:
        self.card, self.root, self.rules, self.reading, self._find = card, root, rules, reading, find

    @cached_property
    def cases(self) -> list[Case]:
        """All cases, in evaluation order."""
        return self._find()

    @cached_property
    def ids(self) -> list[str]:
        """Case names."""
        return [case.id for case in self.cases]

    def files(self, index: int) -> Sequence[Path]:
        """Return image and label path."""
        return self.cases[index].image, self.cases[index].labels

    def read(self, index: int) -> Sample:
        """Decode one volume and its objects."""
        case, how = self.cases[index], self.reading
        image = read_volume(case.image, channel=how.channel, spacing=how.spacing, fill_nan=how.fill_nan)
        labels = read_volume(case.labels, spacing=how.spacing, labels=True)
        check_alike(image, labels, case.image, case.labels, place=how.geometry == "check")
        return sample_of(self.card.name, case.id, image, whole_labels(labels.values, case.labels), self.rules)


def sample_of(dataset: str, name: str, image: Volume, labels: NDArray[Any], rules: ObjectRules) -> Sample:
    """Return the sample that a volume and its label map make; its image cannot be written into."""
    values = image.values.view()
    values.setflags(write=False)
    return Sample(dataset, name, values, objects_of(labels, rules), image.spacing, image.affine)


def whole_labels(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return a label map in the smallest integer type; labels stored as 1.0 or 0.9999 of a float are whole numbers.

    Raises
    ------
    DataError
        If a value lies more than .001 from a whole number, or is negative.
    """
    low, high = values.min(initial=0), values.max(initial=0)
    if low < -0.001 or high > 2**32:
        raise DataError(f"{path} holds the label {low if low < 0 else high:g}; expected whole numbers from 0 to 2^32")
    kind = np.min_scalar_type(round(float(high)))
    if values.dtype.kind != "f":
        return values.astype(kind)
    whole = np.empty(values.shape, kind)
    for part, place in zip(values, whole, strict=True):
        np.rint(part, out=place, casting="unsafe")
        if np.abs(part - place).max(initial=0) > 0.001:
            raise DataError(f"{path} holds fractions, expected whole numbers as labels; is it a probability map?")
    return whole


def objects_of(labels: NDArray[Any], rules: ObjectRules) -> tuple[Target, ...]:
    """Return the objects of a (Z, Y, X) label map, values ascending.

    >>> [t.id for t in objects_of(np.array([[[0, 1, 1, 0, 1, 3]]]), ObjectRules(split="components", min_voxels=2))]
    ['1-1']
    """
    counts: Counter[int] = Counter()
    for part in labels:  # by slices: NumPy sorts a copy
        counts.update(dict(zip(*(x.tolist() for x in np.unique(part, return_counts=True)), strict=True)))
    values = [v for v in sorted(counts) if v not in (0, rules.ignore) and counts[v] >= rules.min_voxels]
    if rules.labels is not None:
        assert not isinstance(rules.labels, int)  # noqa: S101 - made a tuple
        values = [v for v in values if v in rules.labels]
    ignore = None if rules.ignore is None or rules.ignore not in counts else labels == rules.ignore
    if rules.split == "labels":
        return tuple(Target(str(v), LabelMask(labels, v), ignore) for v in values)
    return tuple(target for value in values for target in _parts(labels, value, rules.min_voxels, ignore))


def _parts(labels: NDArray[Any], value: int, min_voxels: int, ignore: Mask | None) -> list[Target]:
    """Return the connected parts of a value, numbered within the value's box, which alone is kept."""
    from scipy import ndimage

    whole = labels == value
    window = bounding_box(whole)
    assert window is not None  # noqa: S101 - it was counted
    parts, _ = ndimage.label(whole[window], np.ones((3,) * labels.ndim))
    sizes = np.bincount(parts.ravel())
    kept = [k for k in range(1, len(sizes)) if sizes[k] >= min_voxels]
    found = [LabelMask(parts, k, labels.shape, window) for k in kept]
    return [Target(f"{value}-{n}", mask, ignore) for n, mask in enumerate(found, 1)]


def list_volumes(folder: Path) -> list[Path]:
    """Return the volume files and DICOM folders of a folder, by name.

    Raises
    ------
    DataError
        If the folder does not exist or holds none.
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
        The two may be one folder's files.
    image_end, label_end : str
        What follows the case's name in either kind of name ("_0000", "_image"), before the suffix of the format.

    Raises
    ------
    DataError
        If an image has no label map, or two files are of one case; names the first few.
    """
    known, chosen = _by_case(labels, label_end), _by_case(images, image_end)
    if lost := [p.name for name, p in chosen.items() if name not in known]:
        where = labels[0].parent if labels else "the label folder, which is empty"
        raise DataError(f"{len(lost)} images have no label map of the same name in {where}: {', '.join(lost[:5])}")
    return [Case(name, path, known[name]) for name, path in chosen.items()]


def _by_case(files: Sequence[Path], end: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        name = case_name(path)
        if name.endswith(end):
            twin = found.setdefault(name.removesuffix(end), path)
            if twin != path:
                raise DataError(f"{twin.parent} holds two files of one case: {twin.name} and {path.name}; keep one")
    return found
