"""Human clicks on objects of PASCAL VOC 2012 (What's the Point, Bearman et al., ECCV 2016) in a folder with images.

The folder contains ``images/<id>.jpg``, ``labels/<id>.png`` (one channel: 0 background, 1 to 20 the class, 255 void)
and two tables:

* ``objects.csv``: split, image_id, cls, eligible, and more columns that are not used. `eligible` is 1 if the class has
  one instance in the image and several people clicked on it; then ``labels == cls`` is the mask of the object.
* ``clicks.csv``: image_id, cls, x, y and more. x and y are in pixels of the image; the centre of the first pixel is 0.

People were shown the class, not a mask, and each person clicked once. So there are first rounds only.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rclicks.data.images import check_size, read_image, read_labels
from rclicks.errors import DataError, ProtocolError
from rclicks.human_clicks.items import ClickItem, Scene

__all__ = ["NAME", "SPLITS", "eligible_objects", "read_clicks", "voc_items"]

NAME = "VOC_clicks"
SPLITS = ("train", "val")
OBJECT_COLUMNS = (
    "split",
    "image_id",
    "cls",
    "class_name",
    "eligible",
    "n_instances_main",
    "n_clicks",
    "area_px",
    "area_frac",
)
CLICK_COLUMNS = ("image_id", "cls", "worker_set", "rank", "x", "y", "x_orig", "y_orig", "on_object")


def _read(file: Path, expected: tuple[str, ...], numbers: tuple[str, ...]) -> pd.DataFrame:
    """Return a table after checking that it has exactly the expected columns and that those in `numbers` are finite."""
    try:
        table = pd.read_csv(file, keep_default_na=False, dtype=str)
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing; expected images/, labels/, objects.csv and clicks.csv there") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as a table: {error}") from error
    missing, unknown = (sorted(set(a) - set(b)) for a, b in ((expected, table), (table, expected)))
    if missing or unknown:
        raise DataError(
            f"{file}: missing columns: {', '.join(missing) or 'none'}; "
            f"unknown columns: {', '.join(unknown) or 'none'}. Expected: {', '.join(expected)}"
        )
    for column in numbers:
        values = pd.to_numeric(table[column], errors="coerce")
        bad = ~np.isfinite(values.to_numpy(np.float64))
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{file}, line {row + 2}: {column} is {table[column].iloc[row]!r}; expected a number")
        table[column] = values
    return table


def eligible_objects(folder: Path, split: str) -> pd.DataFrame:
    """Return the eligible rows of objects.csv of one split in the order of the file.

    Raises
    ------
    DataError
        If the table is missing or malformed.
    ProtocolError
        If the split is unknown.
    """
    if split not in SPLITS:
        raise ProtocolError(f"data set {NAME}: split is {split!r}; allowed: {', '.join(SPLITS)}")
    table = _read(folder / "objects.csv", OBJECT_COLUMNS, ("cls", "eligible"))
    return table[(table["split"] == split) & (table["eligible"] == 1)].reset_index(drop=True)


def read_clicks(folder: Path) -> pd.DataFrame:
    """Return the table clicks.csv; the columns cls, x and y contain numbers.

    Raises
    ------
    DataError
        If the file is missing or malformed.
    """
    return _read(folder / "clicks.csv", CLICK_COLUMNS, ("cls", "x", "y"))


def voc_items(folder: Path, split: str = "val") -> list[ClickItem]:
    """Return the clicks of people on each eligible object of one split.

    Clicks beside the object are kept, because they are real clicks as well.

    Parameters
    ----------
    folder : Path
        Folder of the data set, see the docstring of this module.
    split : {"train", "val"}
        Split of the objects.

    Raises
    ------
    DataError
        If a table is missing or malformed, or an object has no clicks. `ClickItem.load` raises it for a missing image
        and for a click outside the image.
    ProtocolError
        If the split is unknown.

    References
    ----------
    Bearman, Russakovsky, Ferrari, Fei-Fei: What's the point: semantic segmentation with point supervision, ECCV 2016.
    """
    clicks = read_clicks(folder)
    groups = dict(iter(clicks.groupby(["image_id", "cls"], sort=False)))
    items = []
    for name, cls in eligible_objects(folder, split)[["image_id", "cls"]].itertuples(index=False):
        rows = groups.get((name, cls))
        if rows is None:
            raise DataError(f"{folder / 'clicks.csv'} has no clicks on object {cls:g} of image {name}")
        points = np.rint(rows[["y", "x"]].to_numpy(np.float64)).astype(np.int64)
        load = partial(_scene, folder, str(name), int(cls), points)
        names = NAME, str(name), str(int(cls)), "first"
        items.append(ClickItem(f"{name}/{int(cls)}", *names, points, ("",) * len(points), load))
    return items


def _scene(folder: Path, name: str, cls: int, points: NDArray[np.int64]) -> Scene:
    """Decode one object and check that the clicks lie in the image."""
    image_path, label_path = folder / "images" / f"{name}.jpg", folder / "labels" / f"{name}.png"
    image, labels = read_image(image_path), read_labels(label_path)
    check_size(image, labels, image_path, label_path)
    outside = ((points < 0) | (points >= labels.shape)).any(axis=1)
    if outside.any():
        y, x = points[outside.argmax()].tolist()
        raise DataError(f"{folder / 'clicks.csv'}: click y, x = {y}, {x} lies outside the image {image_path}")
    mask = labels == cls
    if not mask.any():
        raise DataError(f"{label_path} has no pixel of class {cls}, which people clicked on")
    return Scene(image, mask, mask)
