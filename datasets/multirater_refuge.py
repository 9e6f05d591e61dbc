"""Fundus photographs with masks of several raters: REFUGE (cup and disc, seven raters) and DRIVE (vessels, two)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from rclicks.cards import DatasetCard
from rclicks.data.images import list_files
from rclicks.data.multirater.dataset import RaterFiles, drawn_in
from rclicks.data.multirater.listing import MaskFile, RaterEntry, natural, sub_folders
from rclicks.data.multirater.mask_files import MaskRules
from rclicks.data.multirater.options import RaterRules, check_choice, with_identity
from rclicks.errors import DataError

CARDS = (
    DatasetCard(
        name="REFUGE_multirater",
        summary="optic cup or disc in fundus photographs, seven raters (option structure: cup or disc)",
        folder="refuge_multirater",
        layout="{Training,Test}-400/<id>/<id>.jpg and <id>_seg_{cup,disc}_{1..7}.png",
        samples=800,
        objects=800,
        rater_identity="within-sample",
        source="realslimman/REFUGE-MultiRater",
        licence="none stated",
        citation="Orlando et al.: REFUGE challenge, Medical Image Analysis 2020",
        get="Take REFUGE-MultiRater of realslimman (Hugging Face).",
    ),
    DatasetCard(
        name="DRIVE",
        summary="retinal vessels in the 20 test photographs of DRIVE, two observers",
        folder="drive",
        layout="test/images/<NN>_test.tif, test/1st_manual/<NN>_manual1.gif and test/2nd_manual/<NN>_manual2.gif",
        samples=20,
        objects=20,
        rater_identity="known",
        source="Staal et al. 2004, Utrecht",
        licence="terms of the data set: no redistribution",
        citation="Staal et al.: Ridge-based vessel segmentation in color images of the retina, TMI 2004",
        get="Register at the DRIVE challenge page and unpack it.",
    ),
)

PARTS = {"Training": ("Training-400",), "Test": ("Test-400",), "all": ("Training-400", "Test-400")}
RATERS = 7
_MASK = re.compile(r"(?P<id>.+)_seg_(?P<structure>cup|disc)_(?P<rater>\d+)\.png")


def load(
    card: DatasetCard,
    root: Path,
    *,
    part: str = "all",
    structure: str = "cup",
    identity: str | None = None,
    threshold: int | None = None,
    raters: list[int] | int | str | list[str] | None = None,
    on_missing: Literal["leave-out", "refuse"] = "leave-out",
    on_empty: Literal["leave-out", "keep"] = "leave-out",
) -> RaterFiles:
    """Open one of the data sets.

    Parameters
    ----------
    part : {"all", "Training", "Test"}
        Part of the data set, for `REFUGE_multirater` only; "all" uses all folders that exist.
    structure : {"cup", "disc"}
        Structure that is the object, for `REFUGE_multirater` only. Published work uses the cup.
    identity : {"known", "within-sample"}, optional
        Whether a rater number means the same person in every image. The default is that of the card; for REFUGE it is
        "within-sample", because no publication about its masks says that the persons are the same.
    threshold, raters, on_missing, on_empty
        See `rclicks.data.multirater.mask_files.MaskRules` and `rclicks.data.multirater.options.RaterRules`.

    Raises
    ------
    ProtocolError
        If an option has an unknown value.
    """
    refuge = card.name == "REFUGE_multirater"
    check_choice("part", part, tuple(PARTS) if refuge else ("all",), card.name)
    check_choice("structure", structure, ("cup", "disc") if refuge else ("cup",), card.name)
    return RaterFiles(
        with_identity(card, identity),
        root,
        (lambda r: _refuge(r, part, structure)) if refuge else _drive,
        drawn_in(MaskRules(threshold)),
        rules=RaterRules.of(raters, on_missing, on_empty),
    )


def _refuge(root: Path, part: str, structure: str) -> list[RaterEntry]:
    parts = [p for p in PARTS[part] if part != "all" or (root / p).is_dir()]
    entries = []
    for name in parts:
        for folder in sub_folders(root / name):
            image = folder / f"{folder.name}.jpg"
            _check_names(folder)
            masks = (folder / f"{folder.name}_seg_{structure}_{r}.png" for r in range(1, RATERS + 1))
            mask_files = tuple(MaskFile(str(r), f, structure) for r, f in enumerate(masks, start=1))
            entries.append(RaterEntry(f"{name}-{folder.name}", image, mask_files))
    return entries


def _check_names(folder: Path) -> None:
    for file in list_files(folder, (".png",)):
        name = _MASK.fullmatch(file.name)
        if name and (name["id"] != folder.name or not 1 <= int(name["rater"]) <= RATERS):
            raise DataError(
                f"{file} does not belong here; expected {folder.name}_seg_<cup or disc>_<1 to {RATERS}>.png"
            )


def _drive(root: Path) -> list[RaterEntry]:
    base = root / "test"
    images = {f.name.split("_")[0]: f for f in list_files(base / "images", (".tif", ".png"))}
    masks = {r: base / f"{word}_manual" for r, word in (("1", "1st"), ("2", "2nd"))}
    for rater, folder in masks.items():
        for file in list_files(folder, (".gif",)):
            if file.name.removesuffix(f"_manual{rater}.gif") not in images:
                raise DataError(f"{file} belongs to no image in {base / 'images'}; expected <NN>_manual{rater}.gif")
    return [
        RaterEntry(n, images[n], tuple(MaskFile(r, folder / f"{n}_manual{r}.gif") for r, folder in masks.items()))
        for n in sorted(images, key=natural)
    ]
