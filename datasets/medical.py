"""Medical 2-D images with masks of several raters: CHASE_DB1, STARE, LIDC, QUBIQ brain growth and BU-BIL.

Every image is one sample with one object and one mask of each rater. If a rater drew nothing, the empty mask stays,
because it is an opinion as well. An object that no rater drew is left out. Grey images become RGB with equal channels.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import list_files, stem_of
from rclicks.data.multirater.dataset import RaterFiles, drawn_in, targets_of
from rclicks.data.multirater.listing import MaskFile, RaterEntry, check_unique, natural, sub_folders
from rclicks.data.multirater.mask_files import MaskRules, binary, read_picture
from rclicks.data.multirater.options import RaterRules, check_choice
from rclicks.errors import DataError
from rclicks.intensity import gray_to_rgb
from rclicks.sample import Sample

CARDS = (
    DatasetCard(
        name="CHASE_DB1",
        summary="retinal vessels in 28 fundus photographs, two observers",
        folder="multirater/chase_db1",
        layout="Image_<XX><L|R>.jpg, Image_<XX><L|R>_1stHO.png and Image_<XX><L|R>_2ndHO.png",
        samples=28,
        objects=28,
        rater_identity="known",
        source="Fraz et al. 2012, Kingston University",
        licence="usually quoted as CC BY 4.0; not verified",
        citation="Fraz et al.: An ensemble classification-based approach to retinal vessel segmentation, TBME 2012",
        get="Take CHASE_DB1 from the retinal image database pages of Kingston University.",
    ),
    DatasetCard(
        name="STARE",
        summary="retinal vessels in 20 fundus photographs, two observers who draw in different styles",
        folder="multirater/stare",
        layout="stare-images/<name>.png, labels-ah/<name>.ah.png and labels-vk/<name>.vk.png",
        samples=20,
        objects=20,
        rater_identity="known",
        source="Hoover, Kouznetsova, Goldbaum 2000",
        licence="none stated",
        citation="Hoover et al.: Locating blood vessels in retinal images, TMI 2000",
        get="Take the vessel set of the STARE project page (Clemson University) and save its PPM files as PNG.",
    ),
    DatasetCard(
        name="LIDC_crops",
        summary="lung nodules in 71 CT crops of 128 x 128, four raters; some masks are empty",
        folder="multirater/lidc",
        layout="lidc_subset.npz with images (N, H, W) in 0..1, masks (N, R, H, W) and keys (N)",
        samples=71,
        objects=71,
        rater_identity="within-sample",
        source="LIDC-IDRI (TCIA), crops as prepared for the Probabilistic U-Net",
        licence="CC BY 3.0",
        citation="Armato et al.: The lung image database consortium, Medical Physics 2011",
        get="A subset of the crops of stefanknegt/Probabilistic-Unet-Pytorch, kept by RanWeisberg/"
        "prob-unet-consensus-selection.",
    ),
    DatasetCard(
        name="LIDC_jpg",
        summary="lung nodules in 28 CT crops of 128 x 128 saved as JPEG, four raters",
        folder="multirater/lidc_jpg",
        layout="{training,testing}/<id>/image_<id+1>.jpg and label{0..3}_.jpg",
        samples=28,
        objects=28,
        rater_identity="within-sample",
        source="LIDC-IDRI (TCIA)",
        licence="CC BY 3.0",
        citation="Rahman et al.: Ambiguous medical image segmentation using diffusion models, CVPR 2023",
        get="Take data/ of aimansnigdha/Ambiguous-Medical-Image-Segmentation-using-Diffusion-Models.",
    ),
    DatasetCard(
        name="QUBIQ_brain_growth",
        summary="white matter in 39 MR images of newborns, seven raters",
        folder="multirater/qubiq_brain_growth",
        layout="case<NN>/image.png and case<NN>/task01_seg<MM>.png",
        samples=39,
        objects=39,
        rater_identity="within-sample",
        source="QUBIQ challenge 2020/2021",
        licence="terms of the challenge",
        citation="Li et al.: QUBIQ, uncertainty quantification for biomedical image segmentation challenge, 2024",
        get="Take the brain-growth task of the QUBIQ challenge and save its NIfTI files as PNG.",
    ),
    DatasetCard(
        name="BU_BIL",
        summary="cells under phase contrast, five persons with two tools each",
        folder="multirater/bu_bil",
        layout="<part>/<case>/image.png and <part>/<case>/Person<1..5>_<Amira|ImageJ>.png",
        samples=50,
        objects=50,
        rater_identity="known",
        source="Boston University Biomedical Image Library, data sets 1 and 3",
        licence="BSD-like, Boston University 2014",
        citation="Gurari et al.: How to collect segmentations for biomedical images?, WACV 2015",
        get="Take BU-BIL data sets 1 and 3 of Boston University.",
    ),
)

# Errors that NumPy raises for a damaged npz file; MemoryError because array sizes are read from the file.
BROKEN = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    NotImplementedError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
BU_BIL_PARTS = ("dataset1_full", "dataset1_crop", "dataset3_crop")


class LidcCrops(Dataset):
    """The crops of one npz file. Its arrays are small, so they are read completely at first use."""

    def __init__(self, card: DatasetCard, root: Path, rules: MaskRules) -> None:
        self.card, self.root, self._file, self._rules = card, root, root / "lidc_subset.npz", rules

    def _array(self, name: str) -> NDArray[Any]:
        try:
            with np.load(self._file, allow_pickle=False) as file:
                return np.asarray(file[name])
        except FileNotFoundError as error:
            raise DataError(f"{self._file} is missing. {self.card.get}") from error
        except BROKEN as error:
            raise DataError(f"{self._file} is damaged or lacks {name}: {error!r}; download it again") from error

    @cached_property
    def _arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Images (N, H, W), float in 0..1, and masks (N, R, H, W)."""
        images, masks = self._array("images"), self._array("masks")
        if masks.ndim != 4 or images.shape != (masks.shape[0], *masks.shape[2:]) or len(self.ids) != len(images):
            raise DataError(
                f"{self._file}: images {images.shape}, masks {masks.shape} and {len(self.ids)} keys do not fit; "
                "expected (N, H, W), (N, R, H, W) and N keys"
            )
        return images, masks

    @cached_property
    def ids(self) -> list[str]:
        """Keys of the crops, in the order of the file."""
        names = [str(k) for k in self._array("keys")]
        check_unique(names, f"{self._file} holds several crops named")
        return names

    @cached_property
    def groups(self) -> list[str]:
        """Scan that each crop was taken from."""
        return [str(uid) for uid in self._array("series_uid")]

    def files(self, index: int) -> Sequence[Path]:
        """Return the path of the file, which is the same for all crops."""
        return (self._file,)

    def read(self, index: int) -> Sample:
        """Return one crop."""
        images, drawn = self._arrays
        where = f"{self._file}, crop {self.ids[index]}"
        low, high = float(images[index].min(initial=0)), float(images[index].max(initial=0))
        if not (low >= -1e-3 and high <= 1.001):
            raise DataError(
                f"{where}: grey values from {low:g} to {high:g}, expected 0 to 1; divide them by the value of white"
            )
        # Single precision as in the 8-bit copies of these crops; double precision would round ties differently.
        gray = np.rint(np.clip(images[index], 0, 1).astype(np.float32) * np.float32(255)).astype(np.uint8)
        image = gray_to_rgb(gray)
        mask_files = [MaskFile(str(r), self._file) for r in range(drawn.shape[1])]
        decoded = [{"0": binary(mask, self._rules, Path(where))} for mask in drawn[index]]
        targets = targets_of(mask_files, decoded, gray.shape)
        return Sample(self.card.name, self.ids[index], image, targets)


def _sets(
    card: DatasetCard,
    root: Path,
    find: Callable[[Path], list[RaterEntry]],
    masks: MaskRules,
) -> RaterFiles:
    """Open a data set that is distributed with all masks, so that a missing mask is an error."""
    return RaterFiles(card, root, find, drawn_in(masks), read_picture, RaterRules(on_missing="refuse"))


def _chase(root: Path) -> list[RaterEntry]:
    def masks(stem: str) -> tuple[MaskFile, ...]:
        return tuple(MaskFile(r, root / f"{stem}_{r}.png") for r in ("1stHO", "2ndHO"))

    # The two eyes of a child have the same number: Image_01L and Image_01R.
    return [RaterEntry(stem_of(f), f, masks(stem_of(f)), stem_of(f)[:-1]) for f in list_files(root, (".jpg",))]


def _stare(root: Path) -> list[RaterEntry]:
    def masks(stem: str) -> tuple[MaskFile, ...]:
        return tuple(MaskFile(r, root / f"labels-{r}" / f"{stem}.{r}.png") for r in ("ah", "vk"))

    return [RaterEntry(stem_of(f), f, masks(stem_of(f))) for f in list_files(root / "stare-images", (".png",))]


def _lidc_jpg(root: Path) -> list[RaterEntry]:
    entries = []
    for part in ("training", "testing"):
        for folder in sorted(sub_folders(root / part), key=lambda f: (len(f.name), f.name)):
            images = [f for f in list_files(folder) if f.name.startswith("image_")]
            if len(images) != 1:
                raise DataError(f"{folder} holds {len(images)} files image_*; expected one")
            masks = tuple(MaskFile(str(r), folder / f"label{r}_.jpg") for r in range(4))
            entries.append(RaterEntry(f"{part}-{folder.name}", images[0], masks))
    return entries


def _qubiq(root: Path) -> list[RaterEntry]:
    cases = sub_folders(root)
    # A rater who drew one case is expected in all cases.
    raters = sorted({stem_of(f) for folder in cases for f in folder.glob("task01_seg*.png")}, key=natural)
    return [
        RaterEntry(
            folder.name,
            folder / "image.png",
            tuple(MaskFile(r.removeprefix("task01_"), folder / f"{r}.png") for r in raters),
        )
        for folder in cases
    ]


def _bu_bil(parts: Sequence[str]) -> Callable[[Path], list[RaterEntry]]:
    def find(root: Path) -> list[RaterEntry]:
        entries = []
        for part in parts:
            # GoldStandard is a copy of Person2_ImageJ, and so is Person2_Amira in data set 1. Counted as raters, copies
            # would increase the agreement.
            copies = {"Person2_Amira"} if part.startswith("dataset1") else set()
            raters = [f"Person{p}_{tool}" for p in range(1, 6) for tool in ("Amira", "ImageJ")]
            for folder in sub_folders(root / part):
                masks = tuple(MaskFile(r, folder / f"{r}.png") for r in raters if r not in copies)
                entries.append(RaterEntry(f"{part}-{folder.name}", folder / "image.png", masks))
        return entries

    return find


def load(card: DatasetCard, root: Path, *, part: str = "all", threshold: int | None = None) -> Dataset:
    """Open one of the data sets.

    Parameters
    ----------
    part : str
        Part of the data set. CHASE_DB1: "all", "train" (the first 20 images) or "test" (the last 8). LIDC_jpg: "all",
        "training" or "testing". BU_BIL: "all", "dataset1_full", "dataset1_crop" or "dataset3_crop". Other data sets:
        "all".
    threshold : int, optional
        Largest value of background pixels, for copies whose masks have lossy compression, see
        `rclicks.data.multirater.mask_files.MaskRules`. The default for LIDC_jpg, whose masks are JPEG files, is 127.

    Raises
    ------
    ProtocolError
        If an option has an unknown value.
    """
    masks = MaskRules(127 if threshold is None and card.name == "LIDC_jpg" else threshold)
    if card.name == "CHASE_DB1":
        check_choice("part", part, ("all", "train", "test"), card.name)
        chosen = {"all": slice(None), "train": slice(None, 20), "test": slice(20, None)}[part]
        return _sets(card, root, lambda r: _chase(r)[chosen], masks)
    if card.name == "LIDC_jpg":
        check_choice("part", part, ("all", "training", "testing"), card.name)
        find = lambda r: [e for e in _lidc_jpg(r) if part == "all" or e.id.startswith(f"{part}-")]  # noqa: E731
        return _sets(card, root, find, masks)
    if card.name == "BU_BIL":
        check_choice("part", part, ("all", *BU_BIL_PARTS), card.name)
        return _sets(card, root, _bu_bil(BU_BIL_PARTS if part == "all" else (part,)), masks)
    check_choice("part", part, ("all",), card.name)
    if card.name == "LIDC_crops":
        return LidcCrops(card, root, masks)
    return _sets(card, root, {"STARE": _stare, "QUBIQ_brain_growth": _qubiq}[card.name], masks)
