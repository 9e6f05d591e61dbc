"""Prepare MBH-Seg, CT volumes of brain haemorrhages with several annotators, for 2-D models: cut volumes into slices.

Options of ``rclicks data prepare``: `window` ([LOW,HIGH] or three such pairs in HU), `orientation` (stored or upright)
and `geometry` (check or image), see `cut_slices`.

Raw files: ``<split>/<case>/image.nii.gz`` and ``label_annot_<k>.nii.gz``, where k is the number of the annotator.
Prepared files: ``<split>/imgs/<case>/slice_<i>.png`` (8 bit), ``<split>/gt/<case>/slice_<i>_r<k>.png`` (0 background,
1 to 5 the classes) and ``prepared.json``, which contains the settings and the hashes of the raw files.

By default the slices are those of AESPA: the window 0 to 80 HU, truncated to 8 bit without rounding, along the third
axis of the file without rotation, and only slices in which at least one annotator drew an object.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rclicks.data.contract import Prepared
from rclicks.data.multirater.listing import natural, sub_folders
from rclicks.data.volumes import SUFFIXES, Volume, case_name, check_alike, read_volume
from rclicks.errors import DataError
from rclicks.options import Choice, Option

__all__ = ["CLASSES", "INDEX", "OPTIONS", "Window", "check_labels", "cut_slices"]

CLASSES = ("EDH", "IPH", "IVH", "SAH", "SDH")  # labels 1 to 5
INDEX = "prepared.json"
Window = tuple[float, float]
Orientation = Literal["stored", "upright"]
Geometry = Literal["check", "image"]

_ANNOTATOR = re.compile(r".*?(\d+)")


@dataclass(frozen=True)
class Windows(Option):
    """One window [LOW, HIGH] of grey values in HU, or a list of three windows."""

    default: tuple[float, float]
    help: str = ""

    @property
    def metavar(self) -> str:
        """[LOW,HIGH]."""
        return "[LOW,HIGH]"

    @property
    def expected(self) -> str:
        """Description of the notation."""
        return "[LOW,HIGH] in HU with LOW below HIGH, such as [0,80], or a list of three such pairs"

    def accepts(self, value: object) -> bool:
        """Return whether the value is one window or a list of three windows."""
        try:
            read_windows(value)
        except (TypeError, ValueError, LookupError):
            return False
        return True


OPTIONS: dict[str, Option] = {
    "window": Windows((0.0, 80.0)),
    "orientation": Choice("stored", ("stored", "upright")),
    "geometry": Choice("check", ("check", "image")),
}


def read_windows(value: Any) -> tuple[Window, ...]:
    """Return the one or three windows of the option `window`, each (low, high) in HU.

    Raises
    ------
    TypeError, ValueError, LookupError
        If the value is not allowed.

    >>> read_windows([-160, 240])
    ((-160.0, 240.0),)
    """
    pairs = value if isinstance(value[0], (list, tuple)) else [value]
    windows = []
    for low, high in pairs:
        if not all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in (low, high)):
            raise TypeError(f"{low!r} or {high!r} is not a number")
        windows.append((float(low), float(high)))
    if len(windows) not in (1, 3) or not all(low < high for low, high in windows):  # the comparison is false for NaN
        raise ValueError("expected one or three windows with LOW below HIGH")
    return tuple(windows)


def cut_slices(
    raw: Path,
    out: Path,
    *,
    windows: Sequence[Window],
    orientation: Orientation,
    geometry: Geometry,
    report: Callable[[str], None],
) -> Prepared:
    """Cut all volumes into slices.

    Parameters
    ----------
    raw : Path
        Folder with the raw files.
    out : Path
        Folder for the slices, absent or empty. It is created after all cases are done.
    windows : one or three (low, high)
        HU values that become black and white: one window for grey images, three for red, green and blue.
    orientation : {"stored", "upright"}
        Orientation of the slices. "stored": rows are the first axis of the file, columns the second. "upright":
        anterior is at the top and the patient's right is on the left, as in radiology.
    geometry : {"check", "image"}
        Whether a label map must have the geometry of its image ("check"), or only its shape ("image").
    report : callable (str) -> None
        Function that is called with the name and the number of slices after each case.

    Returns
    -------
    Prepared
        Numbers of cases and slices, and the cases that were left out because their files do not fit together.

    Raises
    ------
    DataError
        If there is no case, no case can be prepared, or `out` cannot be written.
    """
    cases = [(split, case) for split in sub_folders(raw) for case in sub_folders(split)]
    if not cases:
        raise DataError(f"{raw} contains no case; expected <split>/<case>/image.nii.gz and label_annot_<k>.nii.gz")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is not empty; use a new folder")
    partial = out.with_name(f".{out.name}.partial")
    facts: dict[str, Any] = {}
    failed = []
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for split, case in cases:
            name = f"{split.name}/{case.name}"
            try:
                facts[name] = _write_case(case, partial / split.name, windows, orientation, place=geometry == "check")
            except DataError as error:
                failed.append((name, error))
            else:
                report(f"{name}: {facts[name]['slices']} slices")
        if not facts:
            raise DataError(f"no case of {raw} could be prepared; the first: {failed[0][1]}")
        index = {
            "windows": [list(w) for w in windows],
            "orientation": orientation,
            "classes": CLASSES,
            "cases": facts,
            "failed": {name: str(error) for name, error in failed},
        }
        (partial / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
        if out.exists():
            out.rmdir()
        os.replace(partial, out)
    except OSError as error:
        raise DataError(f"cannot write {out}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    counts = {"cases": len(facts), "slices": sum(f["slices"] for f in facts.values())}
    return Prepared(out, counts, tuple(failed))


def check_labels(labels: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Return labels as uint8.

    Raises
    ------
    DataError
        If a value is not the number of a class; the message contains the values.
    """
    values = np.unique(labels)
    if unknown := [float(v) for v in values if v not in range(len(CLASSES) + 1)]:
        listed = ", ".join(f"{v:g}" for v in unknown[:5])
        raise DataError(f"{path} holds the labels {listed}; expected 0 (background) to {len(CLASSES)} ({CLASSES[-1]})")
    return np.asarray(labels, np.uint8)


def _write_case(
    case: Path, out: Path, windows: Sequence[Window], orientation: Orientation, *, place: bool
) -> dict[str, Any]:
    """Write the slices of one case after checking all its files; return its entry of the index."""
    image_path, label_paths = _files(case)
    image = read_volume(image_path)
    labels = {}
    for rater, path in label_paths.items():
        found = read_volume(path)
        check_alike(image, found, image_path, path, place=place)
        labels[rater] = check_labels(found.values, path)
    turn, spacing = _turning(image, image_path, orientation)
    drawn = [k for k in range(len(image.values)) if any(m[k].any() for m in labels.values())]
    for k in drawn:
        gray = [_window(turn(image.values[k]), w) for w in windows]
        _write_png(out / "imgs" / case.name / f"slice_{k}.png", gray[0] if len(gray) == 1 else np.dstack(gray[::-1]))
        for rater, values in labels.items():
            _write_png(out / "gt" / case.name / f"slice_{k}_r{rater}.png", turn(values[k]))
    return {
        "slices": len(drawn),
        "spacing": list(spacing),
        "raters": sorted(labels, key=natural),
        "sha256": {f.name: _sha256(f) for f in (image_path, *label_paths.values())},
    }


def _files(case: Path) -> tuple[Path, dict[str, Path]]:
    """Return the CT and each annotator's label map of a case."""
    volumes = sorted(f for f in case.iterdir() if f.name.lower().endswith(SUFFIXES) and not f.name.startswith("."))
    images = [f for f in volumes if "image" in f.name]
    if len(images) != 1:
        raise DataError(f"{case} contains {len(images)} files with `image` in their names; expected one image.nii.gz")
    labels: dict[str, Path] = {}
    for file in (f for f in volumes if f not in images):
        name = _ANNOTATOR.fullmatch(case_name(file))
        if name is None:
            raise DataError(
                f"the name of {file} contains no annotator; expected label_annot_<k>.nii.gz with a number k"
            )
        if name[1] in labels:
            raise DataError(f"{file} and {labels[name[1]]} are of the same annotator; keep one")
        labels[name[1]] = file
    if not labels:
        raise DataError(f"{case} contains an image but no label_annot_<k>.nii.gz")
    return images[0], labels


def _turning(
    image: Volume, path: Path, orientation: Orientation
) -> tuple[Callable[[NDArray[Any]], NDArray[Any]], tuple[float, float]]:
    """Return the function from a slice (y, x) to the prepared image, and the pixel size (row, column) in mm."""
    _, y, x = image.spacing
    if orientation == "stored":
        return (lambda a: a.T), (x, y)
    affine = np.array(image.affine)[:3, :3]
    first, second, third = np.abs(affine / np.linalg.norm(affine, axis=0)).argmax(axis=0)
    if third != 2 or {first, second} != {0, 1}:
        raise DataError(f"{path} is not stored in axial slices, so it cannot be turned upright; use orientation=stored")
    across = affine[0, 0 if first == 0 else 1]  # component towards the patient's right, which must be on the left
    down = affine[1, 1 if first == 0 else 0]  # component towards anterior, which must be at the top

    def turn(values: NDArray[Any]) -> NDArray[Any]:
        upright = values if first == 0 else values.T
        return upright[:: -1 if down > 0 else 1, :: -1 if across > 0 else 1]

    return turn, (y, x) if first == 0 else (x, y)


def _window(values: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """Return HU values as 8 bit, truncated instead of rounded, as in the published slices."""
    low, high = window
    return np.asarray(np.clip((np.asarray(values, np.float64) - low) / (high - low), 0, 1) * 255, np.uint8)


def _write_png(path: Path, values: NDArray[np.uint8]) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".png", np.ascontiguousarray(values))
    path.write_bytes(data.tobytes())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
