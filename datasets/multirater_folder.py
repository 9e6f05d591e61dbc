"""Your own images drawn by several raters: a folder a rater, or a folder a sample; no conversion script.

`multirater-folder` holds images/<name>.<any> and masks/<rater>/<name>.<any>; images and masks belong together by their
names up to the last dot. AESPA_demo is one sample: image.<any> beside rater_*.<any>, or a folder of such folders.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np

from rclicks.cards import DatasetCard
from rclicks.data.images import list_files
from rclicks.data.multirater.dataset import RaterFiles, drawn_in
from rclicks.data.multirater.listing import MaskFile, RaterEntry, natural, sub_folders
from rclicks.data.multirater.mask_files import MaskRules, read_picture, read_values
from rclicks.data.multirater.options import RaterRules, check_choice, check_window, with_identity
from rclicks.errors import DataError, ProtocolError
from rclicks.sample import Mask

CARDS = (
    DatasetCard(
        name="multirater-folder",
        summary="your own images drawn by several raters: a folder of images and a folder of masks a rater",
        folder="multirater-folder",
        layout="images/<name>.<any> and masks/<rater>/<name>.<any>",
        rater_identity="known",
        source="your own",
        get="Put your images and each rater's masks there, or pass root=YOUR_FOLDER.",
    ),
    DatasetCard(
        name="AESPA_demo",
        summary="the fixed sample of the AESPA demo, a CT crop with three raters; or your own samples in that layout",
        folder="multirater/aespa_demo",
        layout="image.<any> and rater_<name>.<any>, or folders that hold these",
        samples=1,
        objects=1,
        rater_identity="within-sample",
        source="hmkhoi2701/DL_Repo_Interactive_Segmentation, demo/ (LIDC-IDRI)",
        licence="none stated",
        get="Take demo/ of hmkhoi2701/DL_Repo_Interactive_Segmentation, or pass root=YOUR_FOLDER.",
    ),
)

PREFIX = "rater_"


def load(
    card: DatasetCard,
    root: Path,
    *,
    identity: str | None = None,
    objects: Literal["binary", "ids"] = "binary",
    threshold: int | None = None,
    invert: bool = False,
    window: list[float] | None = None,
    raters: list[str] | str | None = None,
    on_missing: Literal["leave-out", "refuse"] = "leave-out",
    on_empty: Literal["leave-out", "keep"] = "leave-out",
) -> RaterFiles:
    """Open a folder of images and masks.

    Parameters
    ----------
    identity : {"known", "within-sample"}, optional
        Whether a rater's name stands for the same person in every sample. By default "known" for `multirater-folder`,
        "within-sample" for `AESPA_demo`.
    objects : {"binary", "ids"}
        "binary": one object. "ids": every value above 0 (one channel or equal ones; of a palette PNG the index) is an
        object, the same one in the masks of all raters.
    threshold : int, optional
        Drawn is what lies above it; without it masks must hold 0 and one of 1, 255, 65535. "binary" only.
    invert : bool
        True if the foreground is dark. "binary" only.
    window : list of float, optional
        Grey values [low, high] that become black and white, for images of more than 8 bit; percentiles if left out.
    raters : str or list of str, optional
        Those to take.
    on_missing : {"leave-out", "refuse"}
        What an absent mask file means: no rater of that sample, or an error of that sample.
    on_empty : {"leave-out", "keep"}
        Whether an object that nobody drew is one.

    Raises
    ------
    ProtocolError
        If an option has no such value.
    """
    check_choice("objects", objects, ("binary", "ids"), card.name)
    if objects == "ids" and (threshold is not None or invert):
        raise ProtocolError(f"data set {card.name}: threshold and invert are for objects=binary, not for ids")
    many = objects == "ids"
    levels = check_window(window, card.name)
    find = _by_rater if card.name == "multirater-folder" else _by_sample
    return RaterFiles(
        with_identity(card, identity),
        root,
        lambda r: find(r, "" if many else "0"),
        _ids if many else drawn_in(MaskRules(threshold, invert)),
        lambda f: read_picture(f, levels),
        RaterRules.of(raters, on_missing, on_empty),
    )


def _ids(drawing: MaskFile) -> dict[str, Mask]:
    labels = read_values(drawing.path)
    if labels.min(initial=0) < 0:
        raise DataError(f"{drawing.path} holds values below 0, {labels.min()}; expected 0 and the numbers of objects")
    return {str(int(v)): labels == v for v in np.unique(labels) if v != 0}


def _by_rater(root: Path, shows: str) -> list[RaterEntry]:
    images = _by_name(root / "images")
    folders = sub_folders(root / "masks")
    if not folders:
        raise DataError(f"{root / 'masks'} holds no folder; expected masks/<rater>/<name>.<any>, a folder a rater")
    masks = {folder.name: _by_name(folder) for folder in folders}
    for rater, files in masks.items():
        if strangers := [f.name for name, f in files.items() if name not in images]:
            raise DataError(
                f"{len(strangers)} masks of rater {rater} belong to no image in {root / 'images'}: "
                f"{', '.join(strangers[:5])}; expected equal names up to the last dot"
            )
    return [
        RaterEntry(
            name,
            image,
            # Where a rater has no file, the name that it would have, for messages.
            tuple(
                MaskFile(r, files.get(name, root / "masks" / r / f"{name}.png"), shows) for r, files in masks.items()
            ),
        )
        for name, image in images.items()
    ]


def _by_name(folder: Path) -> dict[str, Path]:
    # A link that leads nowhere (as those of git-annex do before their content is fetched) is no absent mask, nor is a
    # folder of a mask's name; reading says what is wrong.
    odd = [f for f in folder.glob("*.*") if not f.is_file() and (f.is_symlink() or f.name.startswith(PREFIX))]
    files = sorted([*list_files(folder), *odd], key=lambda f: natural(f.name))
    counts = Counter(f.stem for f in files)
    if twins := [f.name for f in files if counts[f.stem] > 1]:
        raise DataError(f"files of {folder} share a name up to the last dot: {', '.join(twins[:5])}; keep one of each")
    return {f.stem: f for f in files}


def _by_sample(root: Path, shows: str) -> list[RaterEntry]:
    own = _by_name(root)
    if "image" in own:
        return [_sample("image", root, own, shows)]
    return [_sample(folder.name, folder, _by_name(folder), shows) for folder in sub_folders(root)]


def _sample(name: str, folder: Path, files: dict[str, Path], shows: str) -> RaterEntry:
    if "image" not in files:
        raise DataError(f"{folder} has masks without an image, or nothing; expected image.<any> and rater_<name>.<any>")
    mask_files = [MaskFile(s.removeprefix(PREFIX), f, shows) for s, f in files.items() if s.startswith(PREFIX)]
    return RaterEntry(name, files["image"], tuple(mask_files))
