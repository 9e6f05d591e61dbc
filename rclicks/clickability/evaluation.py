"""Compare a click model with recorded clicks of people, or the clicks of one group of people with those of another.

An item is an object in one round. For each item, sets of points are drawn from the map of the model. A set has as many
points as the item has recorded clicks. The sets are compared with the recorded clicks by PL1, the share of sets that a
Kolmogorov-Smirnov test accepts (KS) and the Wasserstein distance (WD). Two more metrics use the value of the map at the
recorded clicks (NSS, PDE). See `rclicks.metrics.clicks`. The map is used as the model returns it; it is not restricted
to the error.

``draws="keyed"`` draws the sets of an item once; the random numbers depend on seed, data set and item.
``draws="published"`` draws new sets for each of PL1, KS and WD, from one generator for all items in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rclicks.clickability.contract import ClickMap, ClickMapQuery, ClickModel
from rclicks.errors import DataError, PluginError, ProtocolError
from rclicks.human_clicks.items import ClickItem, Scene
from rclicks.metrics.clicks import ks2d, nss, pde, pl1, wasserstein
from rclicks.metrics.target import bounding_box
from rclicks.seeds import keyed_rng

__all__ = ["SCORES", "compare_devices", "compare_displays", "draw_points", "evaluate"]

SCORES = ("pl1", "ks", "wd", "nss", "pde")
ACCEPTED = 0.05
SETS = 100


def evaluate(
    model: ClickModel,
    items: Sequence[ClickItem],
    *,
    sets: int = SETS,
    seed: int = 42,
    draws: str = "keyed",
    on_item: Callable[[ClickItem], None] = lambda item: None,
) -> pd.DataFrame:
    """Compare a click model with recorded clicks.

    Parameters
    ----------
    model : ClickModel
        Click model to evaluate.
    items : sequence of ClickItem
        Objects with recorded clicks. Items of the same image should follow each other, so that the image is prepared
        once.
    sets : int
        Number of sets of points that are drawn for each item.
    seed : int
        Seed of the random numbers.
    draws : {"keyed", "published"}
        Way of drawing, see the docstring of this module. It is the rule `draws` of the protocol. Only with "published"
        do the rows depend on the order of the items.
    on_item : callable
        Function that is called with each item when it is done.

    Returns
    -------
    pandas.DataFrame
        One row for each item with the columns dataset, key, kind, clicks (number of recorded clicks), pl1, ks, wd, nss,
        pde, and on_error (share of the map's mass on the error). ks is NaN for an item with a single click, and means
        over items leave such items out. Other sets without a p value count as rejected.

    Raises
    ------
    DataError
        If an item has no clicks, a click outside the image or an empty object, or if the model returns a map without
        any mass. The message names the item.
    PluginError
        If the map has another shape than the image, negative values or values that are not finite.
    ProtocolError
        If `draws` or `sets` has a value that is not allowed.
    """
    if draws not in ("keyed", "published") or sets < 1:
        raise ProtocolError(
            f"draws is {draws!r} and sets is {sets}; allowed: draws keyed or published, and sets of at least 1"
        )
    stream = np.random.RandomState(seed) if draws == "published" else None
    rows = []
    prepared: Any = None
    image: tuple[str, str] | None = None
    for item in items:
        scene = item.load()
        if not len(item.points):
            raise DataError(f"{item.dataset}, {item.key}: this item has no recorded click")
        if image != (item.dataset, item.sample):
            prepared, image = model.prepare(scene.image), (item.dataset, item.sample)
        (found,) = model.maps(prepared, [ClickMapQuery(scene.mask, scene.error)])
        _check(found, item, scene, model.card.name)
        row = {"dataset": item.dataset, "key": item.key, "kind": item.kind, "clicks": len(item.points)}
        rows.append(row | _scores(found, item, _box_of(scene, item), sets, seed, stream, model.card.name))
        rows[-1]["on_error"] = float(
            (found * (np.asarray(scene.error) > 0)).sum(dtype=np.float64) / found.sum(dtype=np.float64)
        )
        on_item(item)
    return pd.DataFrame(rows, columns=["dataset", "key", "kind", "clicks", *SCORES, "on_error"])


def _check(found: ClickMap, item: ClickItem, scene: Scene, name: str) -> None:
    shape, where = scene.image.shape[:2], f"{item.dataset}, {item.key}"
    if (item.points < 0).any() or (item.points >= shape).any():
        raise DataError(f"{where}: a click lies outside the image of {shape[0]} x {shape[1]} pixels")
    if found.shape != shape:
        raise PluginError(f"{where}: click model {name} returned a map of shape {found.shape}; expected {shape}")
    if not np.isfinite(found).all() or found.min() < 0:
        raise PluginError(
            f"{where}: click model {name} returned a map with negative, infinite or NaN values; expected finite values "
            "of at least 0"
        )


def _scores(
    found: ClickMap,
    item: ClickItem,
    box: tuple[int, int],
    sets: int,
    seed: int,
    stream: np.random.RandomState | None,
    name: str,
) -> dict[str, float]:
    n = len(item.points)
    shares = np.cumsum(found.ravel(), dtype=np.float64)
    if not shares[-1] > 0:
        raise DataError(
            f"{item.dataset}, {item.key}: click model {name} returned a map of zeros, from which no click can be drawn"
        )

    def drawn() -> NDArray[np.int64]:
        uniform = stream.random_sample((sets, n)) if stream is not None else keyed.random((sets, n))
        return draw_points(shares, uniform, found.shape[1])

    keyed = keyed_rng(seed, item.dataset, item.key)
    first = drawn()
    second, third = (drawn(), drawn()) if stream is not None else (first, first)
    accepted = ks2d(item.points, second)[0] > ACCEPTED if n > 1 else np.array([np.nan])
    return {
        "pl1": float(pl1(item.points, first, box).mean()),
        "ks": float(np.mean(accepted)),
        "wd": float(wasserstein(item.points, third, box).mean()),
        "nss": nss(found, item.points),
        "pde": pde(found, item.points),
    }


def draw_points(cumulative: NDArray[np.float64], uniform: NDArray[np.float64], width: int) -> NDArray[np.int64]:
    """Return points drawn with replacement from a map.

    Parameters
    ----------
    cumulative : (H * W,) float64 array
        Cumulative sums of the map in row-major order; the last one is above 0.
    uniform : (...) float array
        Random numbers in [0, 1). For the same numbers the result equals that of NumPy's legacy `choice`.
    width : int
        Width W of the map in pixels.

    Returns
    -------
    (..., 2) int64 array
        Points as (row, column) in pixels.
    """
    at = np.searchsorted(cumulative / cumulative[-1], uniform, side="right")
    return np.stack(np.divmod(at, width), axis=-1).astype(np.int64)


def _box_of(scene: Scene, item: ClickItem) -> tuple[int, int]:
    window = bounding_box(np.asarray(scene.mask) > 0)
    if window is None:
        raise DataError(f"{item.dataset}, {item.key}: the mask of the object is empty")
    return window[0].stop - window[0].start, window[1].stop - window[1].start


def compare_devices(items: Sequence[ClickItem], *, least: int = 10, published: bool = False) -> pd.DataFrame:
    """Compare clicks made on a PC with clicks made on a phone.

    Parameters
    ----------
    items : sequence of ClickItem
        Objects with recorded clicks.
    least : int
        Smallest number of clicks from each kind of device; items with fewer clicks are left out.
    published : bool
        True repeats an error of the published code. It uses the column of the PC clicks also as their row, so that its
        PL1 and WD are wrong; KS is not affected.

    Returns
    -------
    pandas.DataFrame
        One row for each item with the columns dataset, key, kind, pc and mobile (numbers of clicks), pl1, ks (1 if
        accepted, else 0) and wd.
    """
    rows = []
    for item in items:
        pc, mobile = (item.points[np.array(item.devices) == d] for d in ("pc", "mobile"))
        if min(len(pc), len(mobile)) < least:
            continue
        box = _box_of(item.load(), item)
        placed = np.stack([pc[:, 1], pc[:, 1]], axis=1) if published else pc
        row = {"dataset": item.dataset, "key": item.key, "kind": item.kind, "pc": len(pc), "mobile": len(mobile)}
        rows.append(row | _compared(placed, mobile, pc, box))
    return pd.DataFrame(rows, columns=["dataset", "key", "kind", "pc", "mobile", "pl1", "ks", "wd"])


def compare_displays(items: Mapping[str, Sequence[ClickItem]], reference: str = "Text_Description") -> pd.DataFrame:
    """Compare the clicks of each display mode with those of a reference mode.

    A display mode is a way in which people were shown their target, for example by a text or by an outline.

    Parameters
    ----------
    items : dict of str -> sequence of ClickItem
        Items of each display mode; items with the same key belong together.
    reference : str
        Display mode with which the others are compared.

    Returns
    -------
    pandas.DataFrame
        One row for each mode and item with the columns display, key, clicks, pl1, ks (1 if accepted, else 0) and wd.

    Raises
    ------
    DataError
        If there are no items of the reference mode.
    """
    if reference not in items:
        raise DataError(f"there are no clicks of display mode {reference!r}; found {', '.join(items) or 'none'}")
    known = {item.key: item for item in items[reference]}
    rows = []
    for display, shown in items.items():
        for item in shown:
            if display == reference or item.key not in known:
                continue
            box = _box_of(item.load(), item)
            row = {"display": display, "key": item.key, "clicks": len(item.points)}
            rows.append(row | _compared(known[item.key].points, item.points, known[item.key].points, box))
    return pd.DataFrame(rows, columns=["display", "key", "clicks", "pl1", "ks", "wd"])


def _compared(
    a: NDArray[np.int64], b: NDArray[np.int64], a_for_ks: NDArray[np.int64], box: tuple[int, int]
) -> dict[str, float]:
    accepted = float(ks2d(a_for_ks, b[None])[0][0] > ACCEPTED) if min(len(a), len(b)) > 1 else float("nan")
    return {"pl1": float(pl1(a, b[None], box)[0]), "ks": accepted, "wd": float(wasserstein(a, b[None], box)[0])}
