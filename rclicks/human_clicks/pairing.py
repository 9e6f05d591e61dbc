"""Combine a click table and a data set to items: all recorded clicks on one object in one round, with their scene.

Later rounds of the RClicks data (``fn``: false negatives, ``fp``: false positives) refer to a previous mask, stored as
``<full_stem>.png`` in a folder of masks. Its red channel divided by 255 is the previous mask P. With the object mask M,
the error that people saw is M in the first round, M (1 - P) for ``fn`` and (1 - M) P for ``fp``. Ignored pixels count
as background.
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
    """Return one item for each object and round with recorded clicks, in the order of the file.

    Parameters
    ----------
    table : pandas.DataFrame
        Result of `rclicks.human_clicks.tables.read_table`; rows of other data sets are not used.
    dataset : Dataset
        Data set with the images. If it shrinks images to its `max_side`, the clicks are scaled in the same way.
    masks : Path or None
        Folder of previous masks; without it clicks of later rounds are an error.

    Raises
    ------
    DataError
        If the table has no clicks on this data set, contains an image that the data set does not have, or a previous
        mask is missing.
    """
    part = table[table["dataset"] == dataset.card.name]
    if part.empty:
        known = ", ".join(sorted(set(table["dataset"]))) or "none"
        raise DataError(f"the click file has no clicks on {dataset.card.name}; it has clicks on {known}")
    places = {name: i for i, name in enumerate(dataset.ids)}
    items = []
    for (sample, target, kind, stem), rows in part.groupby(["sample", "object", "kind", "stem"], sort=False):
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
    """Return the (height, width) that the image in the data set must have; None if the table does not contain it."""
    height, width = int(rows["height"].iloc[0]), int(rows["width"].iloc[0])
    if not height:
        return None
    most = dataset.max_side
    return (height, width) if most is None else shrunk_size(height, width, most)


def _previous(masks: Path | None, key: str) -> Path:
    if masks is None:
        raise DataError(
            f"clicks {key} belong to a later round and correct a previous mask; pass the folder of previous masks "
            "(SUBSEC_MASKS)"
        )
    file = masks / f"{key}.png"
    if not file.is_file():
        raise DataError(f"the previous mask {file} of clicks {key} is missing")
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
    """Decode the scene that people saw and check that the clicks fit it."""
    sample = dataset[index]
    height, width = sample.shape
    if shape is not None and shape != (height, width):
        raise DataError(
            f"clicks {key} are on an image of {shape} pixels (height, width), but the image of the data set has "
            f"{height, width}"
        )
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
        raise DataError(f"the previous mask {previous} has the shape {red.shape}, but its image has {mask.shape}")
    error = mask * (1 - red) if kind == "fn" else (1 - mask) * red
    return Scene(np.asarray(sample.image, np.uint8), mask, np.asarray(error, np.float32))
