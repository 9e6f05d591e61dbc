"""``rclicks supervoxels``: divide volumes into supervoxels, write label maps and prompts, and measure them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rclicks.analysis.runs import Table
from rclicks.data.volumes import SUFFIXES, Volume, case_name, check_alike, read_volume, write_labels
from rclicks.errors import DataError, ProtocolError, RclicksError
from rclicks.models.weights import SYNTHETIC
from rclicks.seeds import keyed_rng
from rclicks.supervoxels.classical import METHODS, partition
from rclicks.supervoxels.quality import measure, sizes_of

__all__ = ["Job", "Made", "make", "plan", "sam_options"]

# Endings of file names that distinguish an image from its labels.
_IMAGE = re.compile(r"(_image|_0000)$")
_LABEL = re.compile(r"[_-](labels?|gt|seg|mask)$")

Maker = Callable[[Volume, str], NDArray[np.int32]]


@dataclass(frozen=True)
class Job:
    """One image and its files.

    Attributes
    ----------
    image : Path
        Volume to read.
    out : Path
        Label map of supervoxels to write.
    labels : Path or None
        Label map of objects to measure against; None measures nothing.
    foreground : Path or None
        File of foreground prompts to write; None writes none.
    """

    image: Path
    out: Path
    labels: Path | None = None
    foreground: Path | None = None

    @property
    def case(self) -> str:
        """Name of the case: the file name of the image without its ending."""
        return _case(self.image)


@dataclass(frozen=True)
class Made:
    """Result of a call.

    Attributes
    ----------
    table : Table
        Sizes and measurements, one row for each image.
    failed : tuple of (Path, RclicksError)
        Images that failed and their errors, in order.
    """

    table: Table
    failed: tuple[tuple[Path, RclicksError], ...]


def plan(images: Sequence[Path], out: Path, labels: Path | None, foreground: Path | None) -> list[Job]:
    """Find the images and their labels, and name the outputs.

    Parameters
    ----------
    images : sequence of Path
        Files, or folders. All volumes in a folder are used, except label maps.
    out : Path
        File for one image if it has the ending of a volume, else folder for CASE.nii.gz.
    labels : Path or None
        File for one image, or folder with one label map for each case.
    foreground : Path or None
        File .pkl for one image, or folder for CASE.pkl.

    Returns
    -------
    list of Job
        One job for each image.

    Raises
    ------
    DataError
        If there is no image, two images have the same case name, or labels are missing.
    ProtocolError
        If a single output file is given for several images, or an output is also an input.
    """
    found = [file for given in images for file in (_volumes(given) if given.is_dir() else [given])]
    found = [f for f in found if f in images or not _LABEL.search(case_name(f))]
    if not found:
        raise DataError(f"no volume in {', '.join(map(str, images))}; expected files that end in {', '.join(SUFFIXES)}")
    cases: dict[str, Path] = {}
    for file in found:
        if (first := cases.setdefault(_case(file), file)) != file:
            raise DataError(
                f"{first} and {file} have the same case name {_case(file)}, so their outputs would overwrite each other"
            )
    one = len(found) == 1
    single = out.name.lower().endswith(SUFFIXES)
    if not one and (single or (foreground is not None and foreground.suffix == ".pkl")):
        raise ProtocolError(f"{len(found)} images need folders for --out and --foreground, not single files")
    jobs = []
    for case, file in cases.items():
        target = out if single else out / f"{case}.nii.gz"
        pickled = None
        if foreground is not None:
            pickled = foreground if foreground.suffix == ".pkl" else foreground / f"{case}.pkl"
        job = Job(file, target, None if labels is None else _labels_of(case, labels, one), pickled)
        if any(target.resolve() == given.resolve() for given in (file, job.labels) if given is not None):
            raise ProtocolError(f"{target} is also an input; choose another --out")
        jobs.append(job)
    return jobs


def make(
    jobs: Sequence[Job],
    *,
    method: str = "slic",
    segments: int = 200,
    compactness: float | None = None,
    sam: dict[str, Any] | None = None,
    seed: int = 42,
    channel: int | None = None,
    tolerance: float = 1.0,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Made:
    """Compute the supervoxels that do not exist yet, and measure all.

    If there is one image, its error is raised. If there are several, an error of one does not stop the others.

    Parameters
    ----------
    jobs : sequence of Job
    sam : dict or None
        Options of the method "sam": keyword arguments of `load_networks`, and ``settings``.
    say : callable
        Function that is called with a line of text after each image.

    Raises
    ------
    RclicksError
        If the options are wrong, or the only image fails.
    """
    maker = _sam_maker(sam or {}, seed) if method == "sam" else _classical_maker(method, segments, compactness)
    rows, failed = [], []
    for job in jobs:
        try:
            rows.append(_do(job, maker, channel, tolerance, force))
            say(f"{job.case}: {rows[-1]['supervoxels']} supervoxels, {rows[-1]['state']}")
        except RclicksError as error:
            if len(jobs) == 1:
                raise
            failed.append((job.image, error))
            say(f"{job.case} FAILED: {error}")
    made = _table(rows, len(failed), method, segments, tolerance)
    if method == "sam" and SYNTHETIC in ((sam or {}).get("sam"), (sam or {}).get("sam2")):
        made = replace(made, notes=("SYNTHETIC WEIGHTS: these supervoxels have no meaning", *made.notes))
    return Made(made, tuple(failed))


def sam_options(
    sam: str | None, sam2: str | None, sam_model: str, sam2_model: str, device: str, **settings: int
) -> dict[str, Any]:
    """Return the argument `sam` of `make`; `settings` are fields of `rclicks.supervoxels.segment_anything.Settings`."""
    from rclicks.supervoxels.segment_anything import Settings

    names = {"sam_model": sam_model, "sam2_model": sam2_model, "device": device}
    return {"sam": sam, "sam2": sam2, **names, "settings": Settings(**settings)}


def _do(job: Job, maker: Maker, channel: int | None, tolerance: float, force: bool) -> dict[str, Any]:
    from rclicks.supervoxels.foreground import locations_of_labels, write_foreground

    volume = read_volume(job.image, channel=channel)
    reference = None if job.labels is None else read_volume(job.labels)
    if reference is not None and job.labels is not None:
        check_alike(volume, reference, job.image, job.labels)
        _integers(reference, job.labels)  # before the expensive part, so that an error appears early
    kept = job.out.exists() and not force
    if kept:
        old = read_volume(job.out)
        check_alike(volume, old, job.image, job.out)
        labels = _integers(old, job.out).astype(np.int32)
    else:
        labels = maker(volume, job.case)
    if job.foreground is not None and (force or not kept or not job.foreground.exists()):
        write_foreground(job.foreground, locations_of_labels(labels))
    if not kept:  # last, because this file marks a case as finished
        write_labels(job.out, labels, volume)
    sizes = sizes_of(labels, volume.spacing)
    row = {
        "case": job.case,
        "state": "kept" if kept else "made",
        "supervoxels": sizes.count,
        "smallest mm³": sizes.smallest,
        "median mm³": sizes.median,
        "largest mm³": sizes.largest,
        "covered": sizes.covered,
    }
    if reference is not None and job.labels is not None:
        found = asdict(measure(labels, _integers(reference, job.labels), volume.spacing, tolerance=tolerance))
        row |= {shown: found[name] for name, shown in _SHOWN.items()}
    return row


_SHOWN = {
    "accuracy": "achievable accuracy",
    "dice": "achievable Dice",
    "undersegmentation": "undersegmentation",
    "boundary_recall": "boundary recall",
}


def _table(rows: list[dict[str, Any]], failed: int, method: str, segments: int, tolerance: float) -> Table:
    frame = pd.DataFrame(rows)
    measured = "achievable Dice" in frame
    if len(rows) > 1:
        numbers = frame.select_dtypes("number").mean()
        frame = pd.concat([frame, pd.DataFrame([{"case": f"mean of {len(rows)}", "state": "", **numbers}])])
        frame = frame.reset_index(drop=True)
    notes = []
    if measured:
        notes.append(f"boundary recall within {tolerance:g} mm; the definitions are in docs/supervoxels.md")
    if "kept" in set(frame.get("state", ())):
        notes.append("kept: the file existed and was not changed; --force computes it again")
    if any(row["supervoxels"] == 0 for row in rows):
        notes.append("0 supervoxels: SAM found no mask on the chosen slices; try another --seed or more --slices")
    if failed:
        notes.append(f"{failed} failed and are left out")
    wanted = f", {segments} requested" if method in METHODS else ""
    digits = dict.fromkeys(("smallest mm³", "median mm³", "largest mm³"), 1) | dict.fromkeys(_SHOWN.values(), 4)
    digits |= {"supervoxels": 0, "covered": 3}
    return Table(
        f"Supervoxels: {method}{wanted}", frame, {k: v for k, v in digits.items() if k in frame}, {}, tuple(notes)
    )


def _classical_maker(method: str, segments: int, compactness: float | None) -> Maker:
    if method not in METHODS:
        raise ProtocolError(f"unknown method {method!r}; allowed: {', '.join((*METHODS, 'sam'))}")

    def maker(volume: Volume, case: str) -> NDArray[np.int32]:
        return partition(volume.values, volume.spacing, method, segments=segments, compactness=compactness)

    return maker


def _sam_maker(options: dict[str, Any], seed: int) -> Maker:
    """Return a function that computes the supervoxels of a volume. It loads the networks at the first call."""
    from rclicks.supervoxels.merging import merge
    from rclicks.supervoxels.segment_anything import Settings, load_networks, propagated_masks

    options = dict(options)
    settings: Settings = options.pop("settings", None) or Settings()
    loaded: list[Any] = []

    def maker(volume: Volume, case: str) -> NDArray[np.int32]:
        if not loaded:
            loaded.append(load_networks(**options))
        return merge(propagated_masks(volume.values, loaded[0], keyed_rng(seed, "supervoxels", case), settings))

    return maker


def _case(file: Path) -> str:
    return _IMAGE.sub("", case_name(file))


def _volumes(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.name.lower().endswith(SUFFIXES) and not f.name.startswith("."))


def _labels_of(case: str, labels: Path, one: bool) -> Path:
    if not labels.is_dir():
        if not one:
            raise ProtocolError(f"{labels} is a file; several images need a folder of labels")
        return labels
    fitting = [f for f in _volumes(labels) if _LABEL.sub("", case_name(f)) == case]
    exact = [f for f in fitting if _LABEL.search(case_name(f))] if len(fitting) > 1 else fitting
    if len(exact) != 1:
        raise DataError(
            f"{labels} has {len(exact)} label maps of {case}; expected one: {case}.nii.gz or {case}_label.nii.gz"
        )
    return exact[0]


def _integers(volume: Volume, path: Path) -> NDArray[Any]:
    """Return label values as integers. Label maps are often stored as floats.

    Raises
    ------
    DataError
        If a value is negative or not an integer.
    """
    values = volume.values
    integers = values if values.dtype.kind in "biu" else values.astype(np.int64)
    low, high = values.min(), values.max()
    if low < 0 or not np.array_equal(integers, values):
        raise DataError(f"{path} is not a label map: expected integers of 0 or more, found values from {low} to {high}")
    return integers
