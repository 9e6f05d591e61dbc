"""MBH-Seg: CT slices with brain haemorrhages and up to five annotators; one object in all, or one for each class.

These data sets read the files that `rclicks data prepare MBHSeg_binary` writes, and those of AESPA's script (.npy
masks). The raters have the numbers of the annotators. So rater 5 is the same person in every case, and a case that the
annotators 1 and 5 drew has the raters 1 and 5.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rclicks.cards import DatasetCard
from rclicks.data.contract import Prepared
from rclicks.data.images import list_files
from rclicks.data.multirater.dataset import RaterFiles
from rclicks.data.multirater.listing import MaskFile, RaterEntry, natural, sub_folders
from rclicks.data.multirater.mask_files import (
    ImageWithSpacing,
    MaskRules,
    binary,
    read_array,
    read_picture,
    read_values,
)
from rclicks.data.multirater.options import RaterRules
from rclicks.errors import DataError, ProtocolError
from rclicks.options import read_options
from rclicks.sample import Mask

from .preparation import CLASSES, INDEX, OPTIONS, check_labels, cut_slices, read_windows

CARDS = (
    DatasetCard(
        name="MBHSeg_binary",
        summary="brain haemorrhages in CT slices, up to five annotators, all classes as one object",
        folder="mbhseg",
        layout="<split>/imgs/<case>/slice_<i>.png and <split>/gt/<case>/slice_<i>_r<k>.<png|npy>",
        rater_identity="known",
        source="MBH-Seg challenge 2025",
        licence="MIT, as quoted by a third party",
        get="Take MBH_Train_2025_voxel-label.zip of the MBH-Seg challenge, then `rclicks data prepare MBHSeg_binary "
        "RAW -o OUT`; both data sets read its output.",
        prepares=True,
    ),
    DatasetCard(
        name="MBHSeg_multi",
        summary="brain haemorrhages in CT slices, up to five annotators, one object for each class",
        folder="mbhseg",
        layout="<split>/imgs/<case>/slice_<i>.png and <split>/gt/<case>/slice_<i>_r<k>.<png|npy>",
        rater_identity="known",
        source="MBH-Seg challenge 2025",
        licence="MIT, as quoted by a third party",
        get="Take MBH_Train_2025_voxel-label.zip of the MBH-Seg challenge, then `rclicks data prepare MBHSeg_binary "
        "RAW -o OUT`; both data sets read its output.",
        prepares=True,
    ),
)

_MASK = re.compile(r"(?P<slice>slice_\d+)_r(?P<rater>\d+)\.(png|npy)")
_IMAGES = ("imgs", "images")


def load(
    card: DatasetCard,
    root: Path,
    *,
    part: str = "all",
    raters: list[int] | int | None = None,
    on_missing: Literal["leave-out", "refuse"] = "leave-out",
    on_empty: Literal["leave-out", "keep"] = "leave-out",
) -> RaterFiles:
    """Open the prepared slices.

    Parameters
    ----------
    part : str
        Name of a split (a folder below the root), or "all".
    raters : int or list of int, optional
        Numbers of the annotators to use; slices that none of them drew are left out. The default is all annotators. The
        published loader uses [1, 2, 3, 4].
    on_missing, on_empty
        See `rclicks.data.multirater.options.RaterRules`.

    Raises
    ------
    ProtocolError
        If there is no such split or rater.
    """
    many = card.name == "MBHSeg_multi"
    spacing = cache(lambda: _spacing(root / INDEX))

    def picture(path: Path) -> ImageWithSpacing:
        # <root>/<split>/imgs/<case>/slice_<i>.png
        case = f"{path.parents[2].name}/{path.parent.name}"
        return ImageWithSpacing(read_picture(path).pixels, spacing().get(case, (1.0, 1.0)))

    return RaterFiles(
        card,
        root,
        lambda r: _slices(r, part, "" if many else "0"),
        _classes if many else _any_class,
        picture,
        RaterRules.of(raters, on_missing, on_empty),
        CLASSES if many else (),
    )


def prepare(
    card: DatasetCard, raw: Path | None, out: Path, *, report: Callable[[str], None], **options: object
) -> Prepared:
    """Cut the CT volumes of a folder into slices, which both data sets can read.

    The options are `window`, `orientation` and `geometry`, see `cut_slices`.

    Raises
    ------
    ProtocolError
        If no folder is given, or an option is unknown or not allowed.
    DataError
        As `cut_slices`.
    """
    chosen = read_options(card.name, OPTIONS, options, kind="data set")
    if raw is None:
        raise ProtocolError(f"data set {card.name}: pass the folder with <split>/<case>/image.nii.gz as RAW")
    windows = read_windows(chosen["window"])
    return cut_slices(
        raw, out, windows=windows, orientation=chosen["orientation"], geometry=chosen["geometry"], report=report
    )


def _any_class(file: MaskFile) -> dict[str, Mask]:
    if file.path.suffix != ".npy":
        return {file.object: check_labels(read_values(file.path), file.path) > 0}
    stored = read_array(file.path)
    if stored.ndim == 2:
        return {file.object: binary(stored, MaskRules(), file.path)}
    return {file.object: _one_hot(stored, file.path)[..., 1:].any(axis=2)}


def _classes(file: MaskFile) -> dict[str, Mask]:
    if file.path.suffix != ".npy":
        labels = check_labels(read_values(file.path), file.path)
        return {name: labels == value for value, name in enumerate(CLASSES, start=1)}
    stored = _one_hot(read_array(file.path), file.path)
    return {name: stored[..., value] for value, name in enumerate(CLASSES, start=1)}


def _one_hot(stored: Any, path: Path) -> Any:
    """Return a stored one-hot mask as an (H, W, 6) bool array, the background first."""
    if stored.ndim != 3 or stored.shape[2] != len(CLASSES) + 1:
        raise DataError(
            f"{path} has the shape {stored.shape}; expected (H, W, {len(CLASSES) + 1}) with the background as the "
            "first channel, then one channel for each class. Masks without classes are for MBHSeg_binary"
        )
    return stored != 0


def _slices(root: Path, part: str, target: str) -> list[RaterEntry]:
    splits = [f for f in sub_folders(root) if any((f / name).is_dir() for name in _IMAGES)]
    chosen = [f for f in splits if part in ("all", f.name)]
    if part != "all" and not chosen:
        names = ", ".join(["all", *(f.name for f in splits)])
        raise ProtocolError(f"{root} has no split {part!r}; allowed for part: {names}")
    entries: list[RaterEntry] = []
    for split in chosen:
        images = [split / name for name in _IMAGES if (split / name).is_dir()]
        if len(images) > 1:
            raise DataError(f"{split} contains both folders {' and '.join(_IMAGES)}; keep one")
        cases = sub_folders(images[0])
        if unmatched := sorted({f.name for f in sub_folders(split / "gt")} - {f.name for f in cases}):
            raise DataError(f"{split / 'gt'} has cases without images: {', '.join(unmatched[:5])}")
        for case in cases:
            entries += _case(split, case, split / "gt" / case.name, target)
    return entries


def _case(split: Path, images: Path, masks: Path, target: str) -> list[RaterEntry]:
    slices = {f.stem: f for f in sorted(list_files(images, (".png",)), key=lambda f: natural(f.name))}
    drawn: dict[tuple[str, str], Path] = {}
    for file in list_files(masks, (".png", ".npy")) if masks.is_dir() else []:
        name = _MASK.fullmatch(file.name)
        if name is None or name["slice"] not in slices:
            raise DataError(f"{file} belongs to no image in {images}; expected slice_<i>_r<k>.png or .npy")
        key = name["slice"], name["rater"]
        if key in drawn:
            raise DataError(f"{file} and {drawn[key]} are masks of the same rater; keep one")
        drawn[key] = file
    # An annotator of the case is expected to have a file for each slice, which may be an empty mask.
    raters = sorted({rater for _, rater in drawn}, key=natural)
    path: Callable[[str, str], Path] = lambda s, r: drawn.get((s, r), masks / f"{s}_r{r}.png")  # noqa: E731
    return [
        RaterEntry(
            f"{split.name}-{images.name}-{stem}",
            file,
            tuple(MaskFile(r, path(stem, r), target) for r in raters),
            images.name,
        )
        for stem, file in slices.items()
    ]


def _spacing(index: Path) -> dict[str, tuple[float, float]]:
    """Return the pixel size (row, column) in mm of each <split>/<case>; the dict is empty if there is no index file."""
    if not index.is_file():
        return {}
    try:
        cases = json.loads(index.read_text(encoding="utf-8"))["cases"]
        return {name: (float(facts["spacing"][0]), float(facts["spacing"][1])) for name, facts in cases.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{index} is damaged: {error!r}; prepare the data again, or remove it") from error
