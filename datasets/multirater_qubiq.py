"""QUBIQ in NIfTI files, as the challenge distributes it: several raters, and several tasks for images of some regions.

A task is an object of the sample. `QUBIQ_brain_growth` in `datasets.medical` reads one region from PNG files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from rclicks.cards import DatasetCard
from rclicks.data.multirater.dataset import RaterFiles
from rclicks.data.multirater.listing import MaskFile, RaterEntry, natural, sub_folders
from rclicks.data.multirater.mask_files import ImageWithSpacing, MaskRules, binary, gray_picture
from rclicks.data.multirater.options import RaterRules, check_choice, check_window
from rclicks.data.volumes import read_volume
from rclicks.errors import DataError, ProtocolError
from rclicks.sample import Mask

CARDS = (
    DatasetCard(
        name="QUBIQ",
        summary="one region of the QUBIQ challenge in NIfTI, three to seven raters (option region)",
        folder="qubiq",
        layout="<region>/{Training,Validation}/case<NN>/image.nii.gz and task<TT>_seg<MM>.nii.gz",
        rater_identity="within-sample",
        source="QUBIQ challenge 2020/2021",
        licence="terms of the challenge",
        citation="Li et al.: QUBIQ, uncertainty quantification for biomedical image segmentation challenge, 2024",
        get="Register for the QUBIQ challenge and unpack its training and validation data.",
    ),
)

REGIONS = ("brain-growth", "brain-tumor", "kidney", "prostate")
PARTS = ("Training", "Validation")
_MASK = re.compile(r"(?P<task>task\d+)_(?P<rater>seg\d+)\.nii(\.gz)?")


def load(
    card: DatasetCard,
    root: Path,
    *,
    region: str = "brain-growth",
    part: str = "all",
    task: str | None = None,
    channel: int | None = None,
    window: list[float] | None = None,
    threshold: int | None = None,
    raters: list[str] | str | None = None,
    on_missing: Literal["leave-out", "refuse"] = "leave-out",
    on_empty: Literal["leave-out", "keep"] = "leave-out",
) -> RaterFiles:
    """Open one region.

    Parameters
    ----------
    region : {"brain-growth", "brain-tumor", "kidney", "prostate"}
        Region of the body.
    part : {"all", "Training", "Validation"}
        Part of the data set; "all" uses all folders that exist.
    task : str, optional
        Name of a task, such as "task02". By default every task is an object.
    channel : int, optional
        Index of the modality along the last axis of the file, for images with several modalities.
    window : list of float, optional
        Grey values [low, high] that become black and white. The default is the 0.5 and 99.5 percentiles of the values
        above 0.
    threshold, raters, on_missing, on_empty
        See `rclicks.data.multirater.mask_files.MaskRules` and `rclicks.data.multirater.options.RaterRules`.

    Raises
    ------
    ProtocolError
        If an option has an unknown value.
    """
    check_choice("region", region, REGIONS, card.name)
    check_choice("part", part, ("all", *PARTS), card.name)
    levels = check_window(window, card.name)
    mask_rules = MaskRules(threshold)

    def picture(path: Path) -> ImageWithSpacing:
        found = read_volume(path, axes=(2,), channel=channel)
        return gray_picture(found.values, path, levels, (found.spacing[0], found.spacing[1]))

    def decode(file: MaskFile) -> dict[str, Mask]:
        return {file.object: binary(read_volume(file.path, axes=(2,)).values, mask_rules, file.path)}

    def find(where: Path) -> list[RaterEntry]:
        found = _cases(where / region, part)
        if task is None:
            return found
        chosen = [RaterEntry(e.id, e.image, tuple(f for f in e.mask_files if f.object == task)) for e in found]
        if not any(e.mask_files for e in chosen):
            tasks = sorted({f.object for e in found for f in e.mask_files})
            raise ProtocolError(f"data set {card.name}: {region} has no task {task!r}; there are {', '.join(tasks)}")
        return chosen

    return RaterFiles(card, root, find, decode, picture, RaterRules.of(raters, on_missing, on_empty))


def _cases(base: Path, part: str) -> list[RaterEntry]:
    parts = [p for p in PARTS if (base / p).is_dir()] if part == "all" else [part]
    if not parts:
        raise DataError(
            f"{base} contains none of the folders {', '.join(PARTS)}; expected <region>/Training/case01/image.nii.gz"
        )
    cases = [(name, folder) for name in parts for folder in sub_folders(base / name)]
    # Every case is expected to have a mask of all raters who drew this task in any case of the region.
    pairs = sorted({pair for _, folder in cases for pair in _masks(folder)}, key=lambda p: natural("_".join(p)))
    return [_entry(name, folder, pairs) for name, folder in cases]


def _masks(folder: Path) -> dict[tuple[str, str], Path]:
    """Return the mask file of each pair (task, rater) of a case."""
    found: dict[tuple[str, str], Path] = {}
    for file in sorted(folder.iterdir()):
        if name := _MASK.fullmatch(file.name):
            pair = name["task"], name["rater"]
            if pair in found:
                raise DataError(f"{file} and {found[pair]} are masks of the same rater; keep one")
            found[pair] = file
    return found


def _entry(part: str, folder: Path, pairs: list[tuple[str, str]]) -> RaterEntry:
    images = [f for f in (folder / "image.nii.gz", folder / "image.nii") if f.is_file()]
    if len(images) != 1:
        raise DataError(f"{folder} holds {len(images)} images; expected one image.nii.gz beside its masks")
    files = _masks(folder)
    mask_files = (MaskFile(r, files.get((t, r), folder / f"{t}_{r}.nii.gz"), t) for t, r in pairs)
    return RaterEntry(f"{part}-{folder.name}", images[0], tuple(mask_files))
