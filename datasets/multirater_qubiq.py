"""QUBIQ as the challenge distributes it, in NIfTI: several raters, and in some regions several tasks an image.

A task is an object of the sample. `QUBIQ_brain_growth` of `medical` is one region as PNG files.
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
    part : {"all", "Training", "Validation"}
        "all" takes the folders that exist.
    task : str, optional
        Such as "task02"; each task is an object of its own if left out.
    channel : int, optional
        Which modality of an image that has several, along the last axis of the file.
    window : list of float, optional
        Grey values [low, high] that become black and white; the 0.5 and 99.5 percentiles above 0 if left out.
    threshold, raters, on_missing, on_empty
        See `rclicks.data.multirater.mask_files.MaskRules` and `rclicks.data.multirater.options.RaterRules`.

    Raises
    ------
    ProtocolError
        If an option has no such value.
    """
    check_choice("region", region, REGIONS, card.name)
    check_choice("part", part, ("all", *PARTS), card.name)
    levels = check_window(window, card.name)
    mask_rules = MaskRules(threshold)

    def picture(path: Path) -> ImageWithSpacing:
        found = read_volume(path, axes=(2,), channel=channel)
        return gray_picture(found.values, path, levels, (found.spacing[0], found.spacing[1]))

    def decode(drawing: MaskFile) -> dict[str, Mask]:
        return {drawing.object: binary(read_volume(drawing.path, axes=(2,)).values, mask_rules, drawing.path)}

    def find(where: Path) -> list[RaterEntry]:
        found = _cases(where / region, part)
        if task is None:
            return found
        chosen = [RaterEntry(e.id, e.image, tuple(d for d in e.mask_files if d.object == task)) for e in found]
        if not any(e.mask_files for e in chosen):
            tasks = sorted({d.object for e in found for d in e.mask_files})
            raise ProtocolError(f"data set {card.name}: {region} has no task {task!r}; there are {', '.join(tasks)}")
        return chosen

    return RaterFiles(card, root, find, decode, picture, RaterRules.of(raters, on_missing, on_empty))


def _cases(base: Path, part: str) -> list[RaterEntry]:
    parts = [p for p in PARTS if (base / p).is_dir()] if part == "all" else [part]
    if not parts:
        raise DataError(f"{base} holds neither of {', '.join(PARTS)}; expected <region>/Training/case01/image.nii.gz")
    cases = [(name, folder) for name in parts for folder in sub_folders(base / name)]
    # Who should have drawn what: all raters of a task anywhere in the region.
    slots = sorted({slot for _, folder in cases for slot in _slots(folder)}, key=lambda s: natural("_".join(s)))
    return [_entry(name, folder, slots) for name, folder in cases]


def _slots(folder: Path) -> dict[tuple[str, str], Path]:
    """Return the mask file of each (task, rater) of a case."""
    found: dict[tuple[str, str], Path] = {}
    for file in sorted(folder.iterdir()):
        if name := _MASK.fullmatch(file.name):
            slot = name["task"], name["rater"]
            if slot in found:
                raise DataError(f"{file} and {found[slot]} are the same rater's; keep one")
            found[slot] = file
    return found


def _entry(part: str, folder: Path, slots: list[tuple[str, str]]) -> RaterEntry:
    images = [f for f in (folder / "image.nii.gz", folder / "image.nii") if f.is_file()]
    if len(images) != 1:
        raise DataError(f"{folder} holds {len(images)} images; expected one image.nii.gz beside its masks")
    files = _slots(folder)
    mask_files = (MaskFile(r, files.get((t, r), folder / f"{t}_{r}.nii.gz"), t) for t, r in slots)
    return RaterEntry(f"{part}-{folder.name}", images[0], tuple(mask_files))
