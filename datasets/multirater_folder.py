"""Your own images with masks of several raters: a folder for each rater or for each sample, without conversion.

`multirater-folder` reads images/<name>.<any> and masks/<rater>/<name>.<any>. An image and a mask belong together if
their names up to the last dot are equal. `AESPA_demo` reads one sample, image.<any> and rater_<name>.<any> in the same
folder, or a folder with several such folders.
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
        summary="your own images with masks of several raters: a folder of images and a folder of masks for each rater",
        folder="multirater-folder",
        layout="images/<name>.<any> and masks/<rater>/<name>.<any>",
        rater_identity="known",
        source="your own",
        get="Put your images and the masks of each rater into these folders, or pass root=YOUR_FOLDER.",
    ),
    DatasetCard(
        name="AESPA_demo",
        summary="the sample of the AESPA demo, a CT crop with three raters; or your own samples in this layout",
        folder="multirater/aespa_demo",
        layout="image.<any> and rater_<name>.<any>, or folders that contain such files",
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
        Whether a rater's name means the same person in every sample. The default is "known" for `multirater-folder` and
        "within-sample" for `AESPA_demo`.
    objects : {"binary", "ids"}
        Kind of the masks. "binary": one object. "ids": every value above 0 is an object, the same object in the masks
        of all raters. Such masks have one channel or equal channels; of a palette PNG the index counts.
    threshold : int, optional
        Largest value of background pixels, for "binary" only. Without it masks must contain only 0 and one of the
        values 1, 255 and 65535.
    invert : bool
        True if the object is dark and the background bright, for "binary" only.
    window : list of float, optional
        Grey values [low, high] that become black and white in images of more than 8 bit. The default is percentiles.
    raters : str or list of str, optional
        Names of the raters to use. The default is all raters.
    on_missing : {"leave-out", "refuse"}
        Treatment of a missing mask file: the sample does not have this rater ("leave-out"), or an error ("refuse").
    on_empty : {"leave-out", "keep"}
        Treatment of an object that no rater drew: it is left out, or kept with empty masks.

    Raises
    ------
    ProtocolError
        If an option has an unknown value.
    """
    check_choice("objects", objects, ("binary", "ids"), card.name)
    if objects == "ids" and (threshold is not None or invert):
        raise ProtocolError(
            f"data set {card.name}: threshold and invert are for objects=binary, not for objects=ids; leave them out"
        )
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


def _ids(file: MaskFile) -> dict[str, Mask]:
    labels = read_values(file.path)
    if labels.min(initial=0) < 0:
        raise DataError(f"{file.path} holds values below 0, {labels.min()}; expected 0 and the numbers of objects")
    return {str(int(v)): labels == v for v in np.unique(labels) if v != 0}


def _by_rater(root: Path, target: str) -> list[RaterEntry]:
    images = _by_name(root / "images")
    folders = sub_folders(root / "masks")
    if not folders:
        raise DataError(
            f"{root / 'masks'} contains no folder; expected masks/<rater>/<name>.<any>, a folder for each rater"
        )
    masks = {folder.name: _by_name(folder) for folder in folders}
    for rater, files in masks.items():
        if unmatched := [f.name for name, f in files.items() if name not in images]:
            raise DataError(
                f"{len(unmatched)} masks of rater {rater} belong to no image in {root / 'images'}: "
                f"{', '.join(unmatched[:5])}; expected equal names up to the last dot"
            )
    return [
        RaterEntry(
            name,
            image,
            # If a rater has no file, the path is the one that it would have, for messages.
            tuple(
                MaskFile(r, files.get(name, root / "masks" / r / f"{name}.png"), target) for r, files in masks.items()
            ),
        )
        for name, image in images.items()
    ]


def _by_name(folder: Path) -> dict[str, Path]:
    # Broken links (such as those of git-annex before their content is fetched) and folders with the name of a mask
    # must not count as missing masks. They are listed here, and reading them gives an error with the reason.
    unreadable = [f for f in folder.glob("*.*") if not f.is_file() and (f.is_symlink() or f.name.startswith(PREFIX))]
    files = sorted([*list_files(folder), *unreadable], key=lambda f: natural(f.name))
    counts = Counter(f.stem for f in files)
    if equal := [f.name for f in files if counts[f.stem] > 1]:
        raise DataError(f"files of {folder} share a name up to the last dot: {', '.join(equal[:5])}; keep one of each")
    return {f.stem: f for f in files}


def _by_sample(root: Path, target: str) -> list[RaterEntry]:
    files = _by_name(root)
    if "image" in files:
        return [_sample("image", root, files, target)]
    return [_sample(folder.name, folder, _by_name(folder), target) for folder in sub_folders(root)]


def _sample(name: str, folder: Path, files: dict[str, Path], target: str) -> RaterEntry:
    if "image" not in files:
        raise DataError(
            f"{folder} has masks without an image, or is empty; expected image.<any> and rater_<name>.<any>"
        )
    mask_files = [MaskFile(s.removeprefix(PREFIX), f, target) for s, f in files.items() if s.startswith(PREFIX)]
    return RaterEntry(name, files["image"], tuple(mask_files))
