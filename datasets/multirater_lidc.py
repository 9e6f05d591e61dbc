"""LIDC-IDRI lung nodules with four raters: crops as PNG files in a folder tree, or all crops in one pickle.

The folder tree is that of DeepMind's hierarchical probabilistic U-Net, which AESPA uses. The pickle is that of
stefanknegt/Probabilistic-Unet-Pytorch. A rater number does not mean the same person in every scan, so only raters of
the same crop can be compared. See also `LIDC_crops` and `LIDC_jpg` in `datasets.medical`.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import list_files
from rclicks.data.multirater.dataset import RaterFiles, drawn_in, targets_of
from rclicks.data.multirater.listing import MaskFile, RaterEntry, check_unique, natural, sub_folders
from rclicks.data.multirater.mask_files import MaskRules, binary
from rclicks.data.multirater.options import RaterRules, check_choice
from rclicks.data.pickles import BROKEN, read_pickle
from rclicks.errors import DataError, ProtocolError
from rclicks.intensity import gray_to_rgb
from rclicks.protocol import Protocol
from rclicks.sample import Sample

CARDS = (
    DatasetCard(
        name="LIDC",
        summary="lung nodules in CT crops as PNG files, four raters (option published: the three raters of AESPA)",
        folder="multirater/lidc",
        layout="{train,val,test}/images/<case>/<crop>.png and {train,val,test}/gt/<case>/<crop>_l{0..3}.png",
        rater_identity="within-sample",
        source="LIDC-IDRI (TCIA), crops as prepared for the hierarchical probabilistic U-Net",
        licence="CC BY 3.0",
        citation="Armato et al.: The lung image database consortium, Medical Physics 2011",
        get="Take the LIDC crops that DeepMind published with its hierarchical probabilistic U-Net.",
    ),
    DatasetCard(
        name="LIDC_pickle",
        summary="lung nodules in 15096 CT crops of 128 x 128 in one pickle, four raters",
        folder="lidc_pickle",
        layout="data_lidc.pickle: a dict crop -> {image (H, W), masks: four of (H, W), series_uid}",
        samples=15096,
        objects=15096,
        rater_identity="within-sample",
        source="LIDC-IDRI (TCIA), crops as prepared for the Probabilistic U-Net",
        licence="CC BY 3.0",
        citation="Armato et al.: The lung image database consortium, Medical Physics 2011",
        get="Take data_lidc.pickle that stefanknegt/Probabilistic-Unet-Pytorch links to.",
    ),
)

PARTS = ("train", "val", "test")
PUBLISHED = ("0", "1", "2")
_MASK = re.compile(r"(?P<crop>.+)_l(?P<rater>[0-3])")


def load(
    card: DatasetCard,
    root: Path,
    *,
    part: str = "all",
    published: bool | None = None,
    raters: list[int] | int | None = None,
    image_max: float = 1.0,
    threshold: int | None = None,
    on_missing: Literal["leave-out", "refuse"] = "leave-out",
    on_empty: Literal["leave-out", "keep"] = "leave-out",
    protocol: Protocol | None = None,
) -> Dataset:
    """Open the folder tree or the pickle.

    Parameters
    ----------
    part : {"all", "train", "val", "test"}
        Part of the data set, for `LIDC` only. "all" uses all folders that exist.
    published : bool, optional
        True uses raters 0, 1 and 2 and only the crops in which all three drew an object, for `LIDC` only. This is the
        rule of AESPA's index files; AESPA's own subset also depends on the order of files in a file system. All masks
        are read. The default is true under the protocol ``compat`` if `raters` is not set, and false otherwise.
    raters : int or list of int, optional
        Numbers of the raters to use. The default is all raters.
    image_max : float
        Grey value of white, for `LIDC_pickle` only: 1, or 255 for the copy of MedicalMatting.
    threshold, on_missing, on_empty
        See `rclicks.data.multirater.mask_files.MaskRules` and `rclicks.data.multirater.options.RaterRules`.

    Raises
    ------
    ProtocolError
        If an option has an unknown value.
    """
    rules = RaterRules.of(raters, on_missing, on_empty)
    if published is None and card.name == "LIDC":
        published = protocol is not None and protocol.name == "compat" and raters is None
    if card.name == "LIDC_pickle":
        if part != "all" or published:
            raise ProtocolError("data set LIDC_pickle has no parts and no published subset; use the data set LIDC")
        return LidcPickle(card, root, image_max, MaskRules(threshold), rules)
    check_choice("part", part, ("all", *PARTS), card.name)
    decode = drawn_in(MaskRules(threshold))
    if not published:
        return RaterFiles(card, root, lambda r: _tree(r, part), decode, rules=rules)
    if raters is not None:
        raise ProtocolError("data set LIDC: published=true uses raters 0, 1 and 2; do not pass raters as well")
    rules = RaterRules(PUBLISHED, on_missing, on_empty)
    return RaterFiles(card, root, lambda r: _all_drew(_tree(r, part), decode), decode, rules=rules)


def _tree(root: Path, part: str) -> list[RaterEntry]:
    parts = [p for p in PARTS if (root / p).is_dir()] if part == "all" else [part]
    entries: list[RaterEntry] = []
    for name in parts:
        masks = root / name / "gt"
        images = sub_folders(root / name / "images")
        if unmatched := sorted({f.name for f in sub_folders(masks)} - {f.name for f in images}):
            raise DataError(f"{masks} has cases without images: {', '.join(unmatched[:5])}")
        for folder in images:
            entries += _case(name, folder, masks / folder.name)
    return entries


def _case(part: str, images: Path, masks: Path) -> list[RaterEntry]:
    # Names may contain dots, such as z-105.0_c0; so the name ends at the last dot, not at the first one.
    found = {f.stem: f for f in sorted(list_files(images, (".png",)), key=lambda f: natural(f.name))}
    for file in list_files(masks, (".png",)) if masks.is_dir() else []:
        name = _MASK.fullmatch(file.stem)
        if name is None or name["crop"] not in found:
            raise DataError(f"{file} belongs to no image in {images}; expected <crop>_l0.png to <crop>_l3.png")
    return [
        RaterEntry(
            f"{part}-{images.name}-{stem}",
            file,
            tuple(MaskFile(str(r), masks / f"{stem}_l{r}.png") for r in range(4)),
            images.name,
        )
        for stem, file in found.items()
    ]


def _all_drew(
    entries: Sequence[RaterEntry], decode: Callable[[MaskFile], Mapping[str, NDArray[np.bool_]]]
) -> list[RaterEntry]:
    """Return the crops in which all published raters drew an object. A missing file is an error."""
    published = [(e, [f for f in e.mask_files if f.rater in PUBLISHED]) for e in entries]
    return [e for e, mask_files in published if all(m.any() for f in mask_files for m in decode(f).values())]


class Crop(NamedTuple):
    """One crop in a form that needs little memory.

    Attributes
    ----------
    gray : (H, W) uint8 array
        Grey values.
    packed : (raters, H, ceil(W / 8)) uint8 array
        Masks, packed to bits along the last axis.
    scan : str
        Id of the scan; empty if it is not known.
    """

    gray: NDArray[np.uint8]
    packed: NDArray[np.uint8]
    scan: str


class LidcPickle(Dataset):
    """The crops of one pickle. It is read completely at first use, by a reader that runs no code."""

    def __init__(self, card: DatasetCard, root: Path, image_max: float, masks: MaskRules, rules: RaterRules) -> None:
        if not isinstance(image_max, (int, float)) or not image_max > 0:
            raise ProtocolError(f"data set {card.name}: image_max is {image_max!r}; expected a number above 0")
        self.card, self.root, self._file = card, root, root / "data_lidc.pickle"
        self._max, self._masks, self.rules = image_max, masks, rules

    @cached_property
    def _crops(self) -> dict[str, Crop | DataError]:
        """All crops by name. For a crop with an error the value is this error, so that the others can be used."""
        content = _unpickle(self._file, self.card.get)
        if not isinstance(content, dict) or not content:
            raise DataError(f"{self._file} contains a {type(content).__name__}; expected {self.card.layout}")
        names = sorted(map(str, content), key=natural)
        check_unique(names, f"{self._file} holds several crops named")
        by_name = {str(key): crop for key, crop in content.items()}
        crops = {name: self._packed(by_name.pop(name), f"{self._file}, crop {name}") for name in names}
        bad = [crop for crop in crops.values() if isinstance(crop, DataError)]
        if len(bad) == len(crops):
            raise DataError(f"none of the {len(crops)} crops can be used; the first: {bad[0]}")
        return crops

    def _packed(self, crop: Any, where: str) -> Crop | DataError:
        try:
            return self._checked(crop, where)
        except DataError as error:
            return error

    def _checked(self, crop: Any, where: str) -> Crop:
        try:
            image = np.asarray(crop["image"], np.float32)
            masks = [np.asarray(mask) for mask in crop["masks"]]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(f"{where}: expected image and masks as arrays of numbers, got {error!r}") from error
        if image.ndim != 2 or not masks or any(m.shape != image.shape for m in masks):
            raise DataError(f"{where}: image {image.shape} and masks {[m.shape for m in masks]} do not fit")
        low, high = float(image.min(initial=0)), float(image.max(initial=0))
        if not (low >= -1e-3 * self._max and high <= 1.001 * self._max):
            raise DataError(
                f"{where}: grey values from {low:g} to {high:g}, expected 0 to {self._max:g}; if white has another "
                "value, pass it as image_max=VALUE, for example 255"
            )
        # Single precision and rounding to the nearest integer, as in the 8-bit copies of these crops.
        scaled = np.clip(image / np.float32(self._max), 0, 1) * np.float32(255)
        drawn = np.stack([binary(m, self._masks, Path(where)) for m in masks])
        return Crop(np.rint(scaled).astype(np.uint8), np.packbits(drawn, axis=2), str(crop.get("series_uid", "")))

    @cached_property
    def ids(self) -> list[str]:
        """Keys of the crops, in natural order."""
        return list(self._crops)

    @property
    def groups(self) -> list[str]:
        """Scan of each crop; the name of the crop if the scan is not known."""
        scans = {name: "" if isinstance(crop, DataError) else crop.scan for name, crop in self._crops.items()}
        return [scan or name for name, scan in scans.items()]

    def files(self, index: int) -> Sequence[Path]:
        """Return the path of the file, which is the same for all crops."""
        return (self._file,)

    def read(self, index: int) -> Sample:
        """Return one crop."""
        found = self._crops[self.ids[index]]
        if isinstance(found, DataError):
            raise DataError(str(found))
        gray, packed, _ = found
        masks = np.unpackbits(packed, axis=2, count=gray.shape[1]).astype(np.bool_)
        wanted = self.rules.raters or tuple(str(r) for r in range(len(masks)))
        if unknown := [r for r in wanted if not r.isdecimal() or int(r) >= len(masks)]:
            raise ProtocolError(
                f"{self._file}, crop {self.ids[index]}, has the raters 0 to {len(masks) - 1}, but not the requested "
                f"raters {', '.join(unknown)}"
            )
        mask_files = [MaskFile(r, self._file) for r in wanted]
        decoded = [{"0": masks[int(r)]} for r in wanted]
        targets = targets_of(mask_files, decoded, gray.shape, keep=self.rules.on_empty == "keep")
        return Sample(self.card.name, self.ids[index], gray_to_rgb(gray), targets)


def _unpickle(file: Path, get: str) -> Any:
    try:
        return read_pickle(file.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing. {get}") from error
    except pickle.UnpicklingError as error:
        if "it wants" in str(error):
            raise DataError(
                f"{file} was not opened further: {error}, which could run code; expected NumPy arrays, dicts and lists"
            ) from error
        raise DataError(f"{file} is damaged or is no pickle: {error}") from error
    except (OSError, *BROKEN) as error:
        raise DataError(f"{file} is damaged or is no pickle: {error!r}") from error
