"""MBH-Seg, slices of CT with brain haemorrhages and up to five annotators: all bleeding as one object, or by class.

Reads what `rclicks data prepare MBHSeg_binary` writes, and what AESPA's script wrote (.npy masks). Raters keep the
numbers of the annotators: rater 5 is the same person everywhere, and a case that 1 and 5 drew has the raters 1 and 5.
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
        "RAW -o OUT`; both data sets read what it writes.",
        prepares=True,
    ),
    DatasetCard(
        name="MBHSeg_multi",
        summary="brain haemorrhages in CT slices, up to five annotators, an object a class",
        folder="mbhseg",
        layout="<split>/imgs/<case>/slice_<i>.png and <split>/gt/<case>/slice_<i>_r<k>.<png|npy>",
        rater_identity="known",
        source="MBH-Seg challenge 2025",
        licence="MIT, as quoted by a third party",
        get="Take MBH_Train_2025_voxel-label.zip of the MBH-Seg challenge, then `rclicks data prepare MBHSeg_binary "
        "RAW -o OUT`; both data sets read what it writes.",
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
        Annotators to take; slices that none of them drew are left out. The published loader knows [1, 2, 3, 4] alone.
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
    """Cut the CT volumes of a folder into slices; both data sets read what is written.

    Options are `window`, `orientation` and `geometry`; see `cut_slices`.

    Raises
    ------
    ProtocolError
        If no folder is given, or an option is unknown or not allowed.
    DataError
        See `cut_slices`.
    """
    chosen = read_options(card.name, OPTIONS, options, kind="data set")
    if raw is None:
        raise ProtocolError(f"data set {card.name}: name the folder with <split>/<case>/image.nii.gz as RAW")
    windows = read_windows(chosen["window"])
    return cut_slices(
        raw, out, windows=windows, orientation=chosen["orientation"], geometry=chosen["geometry"], report=report
    )


def _any_class(drawing: MaskFile) -> dict[str, Mask]:
    if drawing.path.suffix != ".npy":
        return {drawing.object: check_labels(read_values(drawing.path), drawing.path) > 0}
    stored = read_array(drawing.path)
    if stored.ndim == 2:
        return {drawing.object: binary(stored, MaskRules(), drawing.path)}
    return {drawing.object: _one_hot(stored, drawing.path)[..., 1:].any(axis=2)}


def _classes(drawing: MaskFile) -> dict[str, Mask]:
    if drawing.path.suffix != ".npy":
        labels = check_labels(read_values(drawing.path), drawing.path)
        return {name: labels == value for value, name in enumerate(CLASSES, start=1)}
    stored = _one_hot(read_array(drawing.path), drawing.path)
    return {name: stored[..., value] for value, name in enumerate(CLASSES, start=1)}


def _one_hot(stored: Any, path: Path) -> Any:
    """Return (H, W, 6) bool."""
    if stored.ndim != 3 or stored.shape[2] != len(CLASSES) + 1:
        raise DataError(
            f"{path} has the shape {stored.shape}; expected (H, W, {len(CLASSES) + 1}), a channel a class and the "
            "background first. Masks without classes are for MBHSeg_binary"
        )
    return stored != 0


def _slices(root: Path, part: str, shows: str) -> list[RaterEntry]:
    splits = [f for f in sub_folders(root) if any((f / name).is_dir() for name in _IMAGES)]
    chosen = [f for f in splits if part in ("all", f.name)]
    if part != "all" and not chosen:
        names = ", ".join(["all", *(f.name for f in splits)])
        raise ProtocolError(f"{root} has no split {part!r}; allowed for part: {names}")
    entries: list[RaterEntry] = []
    for split in chosen:
        images = [split / name for name in _IMAGES if (split / name).is_dir()]
        if len(images) > 1:
            raise DataError(f"{split} holds both {' and '.join(_IMAGES)}; keep one")
        cases = sub_folders(images[0])
        if strangers := sorted({f.name for f in sub_folders(split / "gt")} - {f.name for f in cases}):
            raise DataError(f"{split / 'gt'} has cases without images: {', '.join(strangers[:5])}")
        for case in cases:
            entries += _case(split, case, split / "gt" / case.name, shows)
    return entries


def _case(split: Path, images: Path, masks: Path, shows: str) -> list[RaterEntry]:
    pictures = {f.stem: f for f in sorted(list_files(images, (".png",)), key=lambda f: natural(f.name))}
    drawn: dict[tuple[str, str], Path] = {}
    for file in list_files(masks, (".png", ".npy")) if masks.is_dir() else []:
        name = _MASK.fullmatch(file.name)
        if name is None or name["slice"] not in pictures:
            raise DataError(f"{file} belongs to no image in {images}; expected slice_<i>_r<k>.png or .npy")
        slot = name["slice"], name["rater"]
        if slot in drawn:
            raise DataError(f"{file} and {drawn[slot]} are the same rater's; keep one")
        drawn[slot] = file
    # Who annotated the case should have a file of each slice, if only an empty one.
    raters = sorted({rater for _, rater in drawn}, key=natural)
    path: Callable[[str, str], Path] = lambda s, r: drawn.get((s, r), masks / f"{s}_r{r}.png")  # noqa: E731
    return [
        RaterEntry(
            f"{split.name}-{images.name}-{stem}",
            file,
            tuple(MaskFile(r, path(stem, r), shows) for r in raters),
            images.name,
        )
        for stem, file in pictures.items()
    ]


def _spacing(index: Path) -> dict[str, tuple[float, float]]:
    """Return the size of the pixels (row, column) in mm of each <split>/<case>; none where there is no index."""
    if not index.is_file():
        return {}
    try:
        cases = json.loads(index.read_text(encoding="utf-8"))["cases"]
        return {name: (float(facts["spacing"][0]), float(facts["spacing"][1])) for name, facts in cases.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{index} is damaged: {error!r}; prepare the data again, or remove it") from error
