"""From a click table and a data set to items: all real clicks on one object in one round, with what people saw.

Later rounds of RClicks (``fn``: mend what is missing, ``fp``: mend what is too much) refer to a previous mask, stored
as ``<full_stem>.png`` in a folder of masks; its red channel over 255 is the previous mask P. With the object mask M,
people saw the error M (first), M (1 - P) (fn) or (1 - M) P (fp). Ignored pixels count as background.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rclicks.data.contract import Dataset
from rclicks.data.images import read_mask, shrunk_size
from rclicks.errors import DataError
from rclicks.human_clicks.items import ClickItem, Scene
from rclicks.human_clicks.tables import scale_points

__all__ = ["human_items"]


def human_items(table: pd.DataFrame, dataset: Dataset, masks: Path | None = None) -> list[ClickItem]:
    """Return one item an object and round that people clicked on, in file order.

    Parameters
    ----------
    table : pandas.DataFrame
        From `rclicks.human_clicks.tables.read_table`; rows of other data sets are left alone.
    dataset : Dataset
        Its images may be shrunk to its `max_side`; clicks follow.
    masks : Path or None
        Folder of previous masks; without it later rounds are an error.

    Raises
    ------
    DataError
        If the table has no clicks on this data set, names an image that it lacks, or a previous mask is missing.
    """
    own = table[table["dataset"] == dataset.card.name]
    if own.empty:
        known = ", ".join(sorted(set(table["dataset"]))) or "none"
        raise DataError(f"the click file has no clicks on {dataset.card.name}; it has clicks on {known}")
    places = {name: i for i, name in enumerate(dataset.ids)}
    items = []
    for (sample, target, kind, stem), rows in own.groupby(["sample", "object", "kind", "stem"], sort=False):
        key = str(stem) or f"{sample}/{target}"
        if sample not in places:
            raise DataError(f"clicks {key} are on image {sample!r}, which {dataset.card.name} at {dataset.root} lacks")
        previous = None if kind == "first" else _previous(masks, key)
        shape = _shape(rows, dataset)
        points = rows[["y", "x"]].to_numpy(np.int64)
        if shape is not None:
            points = scale_points(points, (int(rows["height"].iloc[0]), int(rows["width"].iloc[0])), shape)
        load = partial(_scene, dataset, places[sample], str(target), str(kind), previous, shape, points, key)
        names = dataset.card.name, str(sample), str(target), str(kind)
        items.append(ClickItem(key, *names, points, tuple(rows["device"].astype(str)), load))
    return items


def _shape(rows: pd.DataFrame, dataset: Dataset) -> tuple[int, int] | None:
    """Return the (height, width) that our image of these clicks must have; None if the table does not say."""
    height, width = int(rows["height"].iloc[0]), int(rows["width"].iloc[0])
    if not height:
        return None
    most = dataset.max_side
    return (height, width) if most is None else shrunk_size(height, width, most)


def _previous(masks: Path | None, key: str) -> Path:
    if masks is None:
        raise DataError(f"clicks {key} mend a previous mask; name the folder of previous masks (SUBSEC_MASKS)")
    file = masks / f"{key}.png"
    if not file.is_file():
        raise DataError(f"previous mask {file} of clicks {key} is missing")
    return file


def _scene(
    dataset: Dataset,
    index: int,
    target: str,
    kind: str,
    previous: Path | None,
    shape: tuple[int, int] | None,
    points: NDArray[np.int64],
    key: str,
) -> Scene:
    """Decode what people saw and check that the clicks fit."""
    sample = dataset[index]
    height, width = sample.shape
    if shape is not None and shape != (height, width):
        raise DataError(f"clicks {key} are on an image of {shape} pixels (height, width), but ours has {height, width}")
    outside = ((points < 0) | (points >= (height, width))).any(axis=1)
    if outside.any():
        at = tuple(points[outside.argmax()].tolist())
        raise DataError(f"clicks {key}: a click at y, x = {at} lies outside the {height} x {width} image")
    chosen = [t for t in sample.targets if t.id == target] or (
        list(sample.targets) if len(sample.targets) == 1 or not target else []
    )
    if not chosen:
        raise DataError(f"clicks {key} are on object {target!r}; the image has {[t.id for t in sample.targets]}")
    mask = np.logical_or.reduce([t.masks[0] for t in chosen])
    if previous is None:
        return Scene(np.asarray(sample.image, np.uint8), mask, mask)
    stored = read_mask(previous)
    red = (stored if stored.ndim == 2 else stored[..., 2]).astype(np.float32) / 255
    if red.shape != mask.shape:
        raise DataError(f"previous mask {previous} has {red.shape} pixels, the image {mask.shape}")
    error = mask * (1 - red) if kind == "fn" else (1 - mask) * red
    return Scene(np.asarray(sample.image, np.uint8), mask, np.asarray(error, np.float32))
