"""Recorded clicks of people, read from a CSV file in one of three layouts.

*Plain*: the columns ``dataset, sample, object, user, round, y, x, positive`` and no others. `dataset`, `sample` and
`object` are names and ids of the data sets of rclicks. `round` counts from 1 without gaps. `y` and `x` are the row and
column of the pixel, counted from 0. `positive` is 1 or 0. A click outside the image is an error when it is replayed.

*RClicks* (``clicks.csv`` and ``previews.csv`` of the RClicks data): at least the columns ``dataset, image_stem,
full_stem, object_stem, click_type, model_type, device, x, y, w, h``; other columns are not used. Each row is the single
click of one person: ``first`` on an object, ``fn`` or ``fp`` on an error of a previous mask. Coordinates refer to an
image of w x h pixels. They are clipped to this image, scaled to the image of the data set and rounded down, as
published. The data set COCO in these files is COCO_MVal of rclicks.

*What's the Point* (``clicks.csv`` of the data set VOC_clicks): the columns ``image_id, cls, worker_set, rank, x, y``
and others. Each row is the click of one person on the object of a class. Coordinates are rounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rclicks.errors import DataError, MissingDataError
from rclicks.interaction import Click
from rclicks.sample import Sample, Target

__all__ = ["PLAIN", "RCLICKS", "HumanClicks", "read_table", "scale_points"]

PLAIN = ("dataset", "sample", "object", "user", "round", "y", "x", "positive")
RCLICKS = (
    "dataset",
    "image_stem",
    "full_stem",
    "object_stem",
    "click_type",
    "model_type",
    "device",
    "x",
    "y",
    "w",
    "h",
)
POINTS = ("image_id", "cls", "worker_set", "rank", "x", "y")
_KINDS = ("first", "fn", "fp")
_OUR_NAMES = {"COCO": "COCO_MVal"}

Trajectory = tuple[Click, ...]


def scale_points(points: NDArray[np.int64], size: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return points that are clipped to an image of `size`, scaled to an image of `shape` and rounded down.

    Parameters
    ----------
    points : (n, 2) int64 array
        Points as (row, column) in pixels.
    size : (int, int)
        Height and width of the image to which the points refer.
    shape : (int, int)
        Height and width of the image in the data set.

    Returns
    -------
    (n, 2) int64 array
        Points as (row, column) in pixels of the image in the data set.
    """
    inside = np.clip(points, 0, np.asarray(size) - 1)
    return inside * np.asarray(shape) // np.asarray(size)


def read_table(file: Path) -> pd.DataFrame:
    """Return the rows of a click file in the same form for all layouts.

    Returns
    -------
    pandas.DataFrame
        Columns dataset, sample, object, person, round, kind ("first", "fn", "fp"), device, y, x, positive; height and
        width of the image to which y and x refer (0 for the image of the data set); and stem, the key of object, round
        and previous mask in the RClicks data ("" in the plain layout).

    Raises
    ------
    MissingDataError
        If the file does not exist.
    DataError
        If a column is missing or unknown, or a value is no number. The message contains the file and the line.
    """
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise MissingDataError(
            f"click file {file} does not exist; expected a CSV with columns {', '.join(PLAIN)}"
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise DataError(f"click file {file} is not a readable CSV: {error}") from error
    if "full_stem" in frame.columns:
        return _rclicks(frame, file)
    if "worker_set" in frame.columns:
        return _whats_the_point(frame, file)
    return _plain(frame, file)


def _plain(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    missing = [c for c in PLAIN if c not in frame.columns]
    unknown = [c for c in frame.columns if c not in PLAIN]
    if missing or unknown:
        raise DataError(
            f"click file {file}: missing columns {missing}, unknown columns {unknown}; expected {', '.join(PLAIN)}, "
            f"or the RClicks layout with {', '.join(RCLICKS)}"
        )
    numbers = {c: _numbers(frame, c, file) for c in ("round", "y", "x", "positive")}
    invalid = ~np.isin(numbers["positive"], (0, 1))
    if invalid.any():
        line = int(invalid.argmax())
        raise DataError(f"click file {file}, line {line + 2}: positive is {frame['positive'][line]!r}; expected 1 or 0")
    table = frame.rename(columns={"user": "person"}).assign(**numbers)
    return table.assign(positive=numbers["positive"].astype(bool), kind="first", device="", height=0, width=0, stem="")


def _rclicks(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    missing = [c for c in RCLICKS if c not in frame.columns]
    if missing:
        raise DataError(f"click file {file}: missing columns {missing}; the RClicks layout has {', '.join(RCLICKS)}")
    unknown = ~frame["click_type"].isin(_KINDS)
    if unknown.any():
        line = int(unknown.to_numpy().argmax())
        raise DataError(
            f"click file {file}, line {line + 2}: click_type is {frame['click_type'][line]!r}; expected "
            f"{', '.join(_KINDS)}"
        )
    numbers = {c: _numbers(frame, c, file) for c in ("x", "y", "w", "h")}
    for column in ("w", "h"):
        if (numbers[column] < 1).any():
            line = int((numbers[column] < 1).argmax())
            raise DataError(
                f"click file {file}, line {line + 2}: {column} is {frame[column][line]}; expected at least 1"
            )
    person = frame.groupby(["dataset", "full_stem", "click_type"], sort=False).cumcount() + 1
    return pd.DataFrame(
        {
            "dataset": frame["dataset"].replace(_OUR_NAMES),
            "sample": frame["image_stem"],
            "object": frame["object_stem"],
            "person": "p" + person.astype(str),
            "round": 1,
            "kind": frame["click_type"],
            "device": frame["device"],
            "y": numbers["y"],
            "x": numbers["x"],
            "positive": frame["click_type"] != "fp",
            "height": numbers["h"],
            "width": numbers["w"],
            "stem": frame["full_stem"],
        }
    )


def _whats_the_point(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    missing = [c for c in POINTS if c not in frame.columns]
    if missing:
        raise DataError(f"click file {file}: missing columns {missing}; What's the Point has {', '.join(POINTS)}")
    numbers = {c: _numbers(frame, c, file, whole=False) for c in ("x", "y")}
    person = frame.groupby(["image_id", "cls"], sort=False).cumcount() + 1
    same = {"dataset": "VOC_clicks", "round": 1, "kind": "first", "device": "", "positive": True}
    same |= {"height": 0, "width": 0, "stem": ""}
    names = {"sample": frame["image_id"], "object": frame["cls"], "person": "p" + person.astype(str)}
    return pd.DataFrame(names | numbers).assign(**same)


def _numbers(frame: pd.DataFrame, column: str, file: Path, *, whole: bool = True) -> NDArray[np.int64]:
    numbers = pd.to_numeric(frame[column], errors="coerce")
    allowed = (numbers.notna() & np.isfinite(numbers) & ((numbers % 1 == 0) | (not whole))).to_numpy(bool)
    if not allowed.all():
        line = int(allowed.argmin())
        wanted = "an integer" if whole else "a number"
        raise DataError(f"click file {file}, line {line + 2}: {column} is {frame[column][line]!r}; expected {wanted}")
    return np.rint(numbers.to_numpy(np.float64)).astype(np.int64)


class HumanClicks:
    """Recorded clicks of people, arranged as trajectories on objects.

    Parameters
    ----------
    file : Path
        Click file. It is read and checked immediately, so that errors are raised before a run starts.

    Raises
    ------
    DataError
        As `read_table`; also if the rounds of a person have gaps or repetitions.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._tables = _by_sample(read_table(file), file)
        self._now: tuple[Sample, dict[str, dict[str, Trajectory]]] | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file in hexadecimal digits."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def of(self, sample: Sample, target: Target) -> Mapping[str, Trajectory]:
        """Return the clicks of each person on an object, in the order of the file; empty if there are none.

        In the RClicks layout, all clicks on an image with one object belong to this object, independent of its name.
        """
        if self._now is None or self._now[0] is not sample:
            self._now = (sample, {})
        known = self._now[1]
        if target.id not in known:
            known[target.id] = self._find(sample, target)
        return known[target.id]

    def _find(self, sample: Sample, target: Target) -> dict[str, Trajectory]:
        part = self._tables.get((sample.dataset, sample.id))
        if part is None:
            return {}
        alone = len(sample.targets) == 1 and bool(part["stem"].iloc[0])
        chosen = part if alone else part[part["object"] == target.id]
        return {str(person): _clicks(rows, sample.shape) for person, rows in chosen.groupby("person", sort=False)}


def _by_sample(table: pd.DataFrame, file: Path) -> dict[tuple[str, str], pd.DataFrame]:
    keys = ["dataset", "sample", "object", "person"]
    table = table[table["kind"] == "first"]
    ordered = table.sort_values("round", kind="stable")
    gaps = ordered["round"] != ordered.groupby(keys, sort=False).cumcount() + 1
    if gaps.any():
        where = ordered[gaps].iloc[0]
        rows = ordered[(ordered[keys] == where[keys]).all(axis=1)]
        raise DataError(
            f"click file {file}: rounds of user {where['person']!r} on {where['dataset']}/{where['sample']}/"
            f"{where['object']} are {list(rows['round'])}; expected 1, 2, 3 ... without gaps or repetitions"
        )
    return {(str(d), str(s)): part for (d, s), part in table.groupby(["dataset", "sample"], sort=False)}


def _clicks(rows: pd.DataFrame, shape: tuple[int, ...]) -> Trajectory:
    rows = rows.sort_values("round", kind="stable")
    points = rows[["y", "x"]].to_numpy(np.int64)
    size = (int(rows["height"].iloc[0]), int(rows["width"].iloc[0]))
    if size != (0, 0):
        points = scale_points(points, size, (shape[0], shape[1]))
    return tuple(Click((int(y), int(x)), bool(p)) for (y, x), p in zip(points, rows["positive"], strict=True))
