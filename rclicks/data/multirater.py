"""What sets of images drawn by several raters share: masks of odd files, absent raters, empty masks.

Three things are kept apart. A rater who looked and drew nothing has an empty mask in its slot. A rater whose file is
absent is no rater of that sample: it is left out of the sample's raters, and `RaterFiles.missing` and
`RaterFiles.notes` say so. An object that nobody drew is no object, unless the caller wants it kept. A file that is
there and cannot be read, a link that leads nowhere too, is an error of its sample and never taken for an absent one.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import check_size, read_labels, read_mask
from rclicks.errors import DataError, ProtocolError
from rclicks.intensity import gray_to_rgb, percentile_window, to_uint8
from rclicks.sample import Mask, Sample, Target

__all__ = [
    "Drawing",
    "MaskRules",
    "Picture",
    "RaterEntry",
    "RaterFiles",
    "RaterRules",
    "binary",
    "check_choice",
    "check_unique",
    "check_window",
    "drawn_in",
    "gray_picture",
    "natural",
    "read_array",
    "read_picture",
    "read_values",
    "sub_folders",
    "targets_of",
    "with_identity",
]

SHOWN = 5  # names in a message
MARKS = (1, 255, 65535)  # what stands for "drawn" in masks of two values


class Picture(NamedTuple):
    """An image (H, W, 3) uint8 RGB, and the size of its pixels (row, column) in mm, 1.0 where unknown."""

    pixels: NDArray[np.uint8]
    spacing: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Drawing:
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
    drawings: tuple[Drawing, ...]
    group: str = ""


@dataclass(frozen=True)
class MaskRules:
    """How a mask file says what was drawn.

    Attributes
    ----------
    threshold : int or None
        Drawn is what lies above it (of colours the brightest channel), for lossy or soft masks. None: the file must
        have equal channels and hold 0 and one of 1, 255 and 65535 alone; any other is refused, not guessed at.
    invert : bool
        True where the foreground is dark.
    """

    threshold: int | None = None
    invert: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no number, and what is neither true nor false."""
        number = self.threshold
        if number is not None and (not isinstance(number, (int, float)) or isinstance(number, bool)):
            raise ProtocolError(f"threshold is {number!r}; expected a number, say 127: what is brighter was drawn")
        if not isinstance(self.invert, bool):
            raise ProtocolError(f"invert is {self.invert!r}; expected true or false")


@dataclass(frozen=True)
class RaterRules:
    """Which raters and objects a sample has.

    Attributes
    ----------
    raters : tuple of str or None
        Names of those to take; None for all.
    missing : {"leave-out", "refuse"}
        What an absent mask file means: that this rater is none of this sample's, or an error of that sample.
    nobody : {"leave-out", "keep"}
        Whether an object that nobody drew is one.
    """

    raters: tuple[str, ...] | None = None
    missing: Literal["leave-out", "refuse"] = "leave-out"
    nobody: Literal["leave-out", "keep"] = "leave-out"

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        check_choice("missing", self.missing, ("leave-out", "refuse"))
        check_choice("nobody", self.nobody, ("leave-out", "keep"))

    @classmethod
    def of(cls, raters: object, missing: Any, nobody: Any) -> RaterRules:
        """Return the rules of a data set's options; `raters` is a name, a number or a list of them, or None.

        >>> RaterRules.of([1, "b"], "refuse", "keep").raters
        ('1', 'b')
        """
        if raters is None:
            return cls(None, missing, nobody)
        names = tuple(str(r) for r in (raters if isinstance(raters, (list, tuple)) else [raters]))
        if not names or len(set(names)) < len(names):
            raise ProtocolError(f"option raters is {raters!r}; expected one or more different names")
        return cls(names, missing, nobody)


Decode = Callable[[Drawing], Mapping[str, Mask]]


class RaterFiles(Dataset):
    """Images with mask files of several raters.

    Parameters
    ----------
    card : DatasetCard
    root : Path
    find : callable
        From the root to the entries in evaluation order, by listing; called once.
    decode : callable
        From a drawing to a (H, W) bool mask an object. Of a file that shows one object, that one; of others those that
        are drawn in it.
    picture : callable
        From the path of an image to a `Picture`.
    rules : RaterRules
    objects : tuple of str
        Names of all objects, in order; () for those that are found, in natural order.
    """

    def __init__(
        self,
        card: DatasetCard,
        root: Path,
        find: Callable[[Path], Sequence[RaterEntry]],
        decode: Decode,
        picture: Callable[[Path], Picture] | None = None,
        rules: RaterRules | None = None,
        objects: tuple[str, ...] = (),
    ) -> None:
        self.card, self.root, self._base = card, root, root
        self._find, self._decode, self._picture = find, decode, picture or read_picture
        self.rules, self._objects = rules or RaterRules(), objects

    @cached_property
    def _all(self) -> list[RaterEntry]:
        """All entries that were found, with the wanted raters alone."""
        found = list(self._find(self._base))
        if not found:
            raise DataError(f"{self._base} holds no sample of {self.card.name}. Expected {self.card.layout}")
        check_unique([e.id for e in found], f"{self._base} holds several samples named")
        bare = [e for e in found if not self._there(e)]
        if bare:
            raise DataError(
                f"{len(bare)} images have no mask of any rater: {_some(str(e.image) for e in bare)}. Expected "
                f"{self.card.layout}; add masks (an empty one says that a rater saw nothing) or take the images out"
            )
        if self.rules.raters is None:
            return found
        known = {d.rater for e in found for d in e.drawings}
        if unknown := [r for r in self.rules.raters if r not in known]:
            raise ProtocolError(
                f"data set {self.card.name} has no rater {', '.join(unknown)}; there are "
                f"{', '.join(sorted(known, key=natural))}"
            )
        return [
            replace(e, drawings=tuple(d for r in self.rules.raters for d in e.drawings if d.rater == r)) for e in found
        ]

    @cached_property
    def entries(self) -> list[RaterEntry]:
        """Entries in evaluation order; those of which no wanted rater has a file are left out."""
        return [e for e in self._all if self._there(e)]

    @cached_property
    def ids(self) -> list[str]:
        """Sample names in evaluation order."""
        return [e.id for e in self.entries]

    @property
    def groups(self) -> Sequence[str]:
        """The person or scan of each sample."""
        return [e.group or e.id for e in self.entries]

    @cached_property
    def raters(self) -> tuple[str, ...]:
        """Names of all raters of the set, in natural order."""
        return tuple(sorted({d.rater for e in self._all for d in e.drawings}, key=natural))

    def _there(self, entry: RaterEntry) -> tuple[Drawing, ...]:
        """Return the drawings to read; under the rule "refuse" also absent ones, so that reading names them."""
        return tuple(d for d in entry.drawings if self.rules.missing == "refuse" or _is_there(d.path))

    def present(self, index: int) -> tuple[str, ...]:
        """Return the raters of a sample, whether or not they drew anything."""
        return tuple(dict.fromkeys(d.rater for d in self._there(self.entries[index])))

    def missing(self, index: int) -> tuple[Drawing, ...]:
        """Return the mask files that a sample should have and has not."""
        return tuple(d for d in self.entries[index].drawings if not _is_there(d.path))

    def absent(self, index: int) -> tuple[str, ...]:
        """Return the raters of whom a mask file that a sample should have is not there."""
        return tuple(dict.fromkeys(d.rater for d in self.missing(index)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results should know: absent files, and samples left out; () if all is complete."""
        found = []
        short = {e.id: self.missing(i) for i, e in enumerate(self.entries) if self.missing(i)}
        if short:
            names = _some(f"{name} ({', '.join(d.path.name for d in drawings)})" for name, drawings in short.items())
            found.append(f"{self.card.name}: {len(short)} of {len(self.entries)} samples lack a rater's file: {names}")
        if out := [e.id for e in self._all if not self._there(e)]:
            found.append(
                f"{self.card.name}: {len(out)} samples were left out, for no wanted rater drew them: {_some(out)}"
            )
        return tuple(found)

    def files(self, index: int) -> Sequence[Path]:
        """Return the image and the masks of the raters who are there."""
        entry = self.entries[index]
        return entry.image, *dict.fromkeys(d.path for d in self._there(entry))

    def read(self, index: int) -> Sample:
        """Decode one image and the masks of its raters."""
        entry = self.entries[index]
        pixels, spacing = self._picture(entry.image)
        drawings = self._there(entry)
        decoded = [self._decode(d) for d in drawings]
        for drawing, masks in zip(drawings, decoded, strict=True):
            for mask in masks.values():
                check_size(pixels, mask, entry.image, drawing.path)
        targets = targets_of(drawings, decoded, pixels.shape[:2], self._objects, keep=self.rules.nobody == "keep")
        return Sample(self.card.name, entry.id, pixels, targets, spacing)


def targets_of(
    drawings: Sequence[Drawing],
    decoded: Sequence[Mapping[str, Mask]],
    shape: tuple[int, ...],
    objects: tuple[str, ...] = (),
    *,
    keep: bool = False,
) -> tuple[Target, ...]:
    """Put the masks of all raters together, an object a target.

    A rater has an empty mask of an object that its file could show and does not; one whose files show other objects
    only is no rater of it.

    Parameters
    ----------
    drawings, decoded : sequences of one length
        The files that were read, and what each shows.
    shape : tuple of int
    objects : tuple of str
        As of `RaterFiles`.
    keep : bool
        Whether an object that nobody drew is a target.
    """
    names = objects or tuple(sorted({name for masks in decoded for name in masks}, key=natural))
    targets = []
    for name in names:
        own = [(d.rater, m.get(name)) for d, m in zip(drawings, decoded, strict=True) if d.object in ("", name)]
        masks = tuple(np.zeros(shape, np.bool_) if mask is None else mask for _, mask in own)
        if own and (keep or any(mask.any() for mask in masks)):
            targets.append(Target(name, masks, raters=tuple(rater for rater, _ in own)))
    return tuple(targets)


def drawn_in(rules: MaskRules) -> Decode:
    """Return a decoder of mask files that show one object each."""
    return lambda drawing: {drawing.object: binary(read_array(drawing.path), rules, drawing.path)}


def binary(stored: NDArray[Any], rules: MaskRules, path: Path) -> Mask:
    """Return what is drawn in a mask as (H, W) bool.

    Parameters
    ----------
    stored : (H, W) or (H, W, 3) array
    rules : MaskRules
    path : Path
        For messages.

    Raises
    ------
    DataError
        If the mask does not hold two values and no threshold says how to part them, or holds what is no number.
    """
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise DataError(
            f"{path} has values that are NaN or infinite; expected 0 where nothing was drawn: mend the file"
        )
    if rules.threshold is not None:
        level = stored if stored.ndim == 2 else stored.max(axis=2)
        return np.asarray((level > rules.threshold) != rules.invert)
    if stored.ndim == 3 and (stored != stored[..., :1]).any():
        raise DataError(
            f"{path} is a colour image; expected a mask of 0 and 255 (or 0 and 1). Pass threshold=VALUE to take what "
            "is brighter in any channel"
        )
    level = stored if stored.ndim == 2 else stored[..., 0]
    values = np.unique(level)
    high = [float(v) for v in values if v != 0]
    if len(high) > 1 or any(v not in MARKS for v in high):
        shown = ", ".join(f"{v:g}" for v in values[:SHOWN].tolist()) + (", ..." if len(values) > SHOWN else "")
        raise DataError(
            f"{path} holds {len(values)} values ({shown}); expected 0 and one of {', '.join(map(str, MARKS))}. If it "
            "is lossy or soft, pass threshold=VALUE, say 127; if its values are objects, objects=ids where the set has "
            "that option"
        )
    return np.asarray((level != 0) != rules.invert)


def read_array(path: Path) -> NDArray[Any]:
    """Return a mask as stored, (H, W) or (H, W, 3); of a .npy file its array.

    Palettes come as their colours, 16 bit stay 16 bit.

    Raises
    ------
    DataError
        If the file is missing or damaged, has several frames, or transparent parts: they could be what was drawn.
    """
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    stored = _read_pixels(path)
    _refuse_unclear(path)
    return stored


def read_values(path: Path) -> NDArray[Any]:
    """Return a mask whose values are objects as (H, W) whole numbers; of a palette PNG the indices.

    Raises
    ------
    DataError
        As `read_array`; also if the values are fractions, or colours.
    """
    if path.suffix.lower() not in (".npy", ".gif"):
        _read_pixels(path)  # whose refusals name the file
        _refuse_unclear(path)
        return read_labels(path)
    stored = read_array(path)
    if stored.dtype.kind not in "bui" or (stored.ndim == 3 and (stored != stored[..., :1]).any()):
        raise DataError(f"{path} holds {stored.dtype} {stored.shape}; expected whole numbers in one channel as labels")
    return stored if stored.ndim == 2 else stored[..., 0]


def read_picture(path: Path, window: tuple[float, float] | None = None) -> Picture:
    """Return an image as 8-bit RGB; of a GIF the first frame.

    Parameters
    ----------
    window : (low, high) or None
        Grey values that become 0 and 255. None leaves 8 bit as they are, and stretches others between the 0.5 and 99.5
        percentiles of what is above 0.

    Raises
    ------
    DataError
        If the file is missing, damaged or no image, or has values that are no numbers.
    """
    stored = _read_pixels(path)
    if stored.ndim == 3:
        stored = stored[..., ::-1]
    return gray_picture(stored, path, window)


def gray_picture(
    stored: NDArray[Any],
    path: Path,
    window: tuple[float, float] | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> Picture:
    """Return (H, W) grey or (H, W, 3) RGB values of any type as a `Picture`; see `read_picture`."""
    if stored.dtype != np.uint8 or window is not None:
        if not np.isfinite(stored).all():
            raise DataError(f"{path} has values that are NaN or infinite; mend the file")
        stored = to_uint8(stored, *(window or percentile_window(stored)))
    return Picture(np.ascontiguousarray(stored if stored.ndim == 3 else gray_to_rgb(stored)), spacing)


def with_identity(card: DatasetCard, identity: str | None) -> DatasetCard:
    """Return the card with what its user says of the raters' names; None for what the card says.

    Raises
    ------
    ProtocolError
        If it is neither "known" (one name, one person) nor "within-sample".
    """
    if identity is None:
        return card
    check_choice("identity", identity, ("known", "within-sample"), card.name)
    return replace(card, rater_identity=identity)


def check_choice(option: str, value: object, allowed: Sequence[str], dataset: str = "") -> None:
    """Refuse a value that an option has not.

    Raises
    ------
    ProtocolError
        Naming the allowed ones.
    """
    if value not in allowed:
        where = f"data set {dataset}: " if dataset else ""
        raise ProtocolError(f"{where}{option} is {value!r}; allowed: {', '.join(allowed)}")


def check_window(window: object, dataset: str) -> tuple[float, float] | None:
    """Return the option `window`, [low, high], as two numbers; None if it was not given.

    Raises
    ------
    ProtocolError
        If it is anything else.
    """
    if window is None:
        return None
    numbers = window if isinstance(window, (list, tuple)) else ()
    plain = all(isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n) for n in numbers)
    if not (len(numbers) == 2 and plain and numbers[0] < numbers[1]):
        raise ProtocolError(f"data set {dataset}: window is {window!r}; expected [low, high]")
    return float(numbers[0]), float(numbers[1])


def check_unique(names: Sequence[str], complaint: str) -> None:
    """Refuse names that occur twice.

    Raises
    ------
    DataError
        With the complaint and the names.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{complaint} {_some(twice)}")


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


def _is_there(path: Path) -> bool:
    """Tell whether anything has that name, be it a folder or a link that leads nowhere: reading says what is wrong."""
    return os.path.lexists(path)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise DataError(f"{path} is damaged or no plain NumPy array: {error}; get it again") from error
    if not isinstance(found, np.ndarray) or found.ndim not in (2, 3) or found.dtype.kind not in "biuf":
        raise DataError(f"{path} holds no mask; expected an array (H, W) or (H, W, channels) of numbers")
    return found


def _read_pixels(path: Path) -> NDArray[np.uint8]:
    """Return an image as stored, in OpenCV's channel order."""
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a link that leads nowhere; get the file that it stands for, or remove the link")
    if path.suffix.lower() == ".gif":
        return _read_gif(path)
    try:
        return read_mask(path)
    except MemoryError as error:
        raise DataError(f"{path} is damaged, or too large for the memory of this machine; get it again") from error


def _read_gif(path: Path) -> NDArray[np.uint8]:
    """Return the first frame in the channel order of the other readers: blue, green, red. Not all OpenCVs read GIF."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))[..., ::-1]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged or no image: {error}; get it again") from error


def _refuse_unclear(path: Path) -> None:
    """Refuse a mask, already read, of several frames, or with an alpha channel that is not opaque throughout."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            frames, alpha = getattr(image, "n_frames", 1), None
            if "A" in image.getbands() or "transparency" in image.info:
                alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    except UnidentifiedImageError:  # a format that OpenCV alone knows
        return
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is damaged or too large: {error}; get it again") from error
    if frames > 1:
        raise DataError(
            f"{path} holds {frames} frames, so it is not clear which of them was meant; save the one that is the mask"
        )
    if alpha is not None and (alpha != 255).any():
        raise DataError(
            f"{path} has transparent parts, so it is not clear what was drawn; save it without an alpha channel"
        )
