"""Score a click model, or one group of people against another, by real clicks.

For each item (an object in one round) sets of as many points as there are real clicks are drawn from the model's map
and compared with the real ones: PL1, the share of sets that a Kolmogorov-Smirnov test accepts (KS), the Wasserstein
distance (WD), and the map's value at the real clicks (NSS, PDE); see `rclicks.metrics.clicks`. The map is taken as the
model gives it, not confined to the error.

``draws="keyed"`` draws the sets of an item once, from numbers keyed by seed, data set and item. ``"published"`` draws
anew for each of the three measures from one generator that all items share in order.
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
    """Score a click model on real clicks, one row an item.

    Parameters
    ----------
    model : ClickModel
    items : sequence of ClickItem
        Items of one image should follow each other, so that the image is prepared once.
    sets : int
        Sampled sets an item.
    seed : int
    draws : {"keyed", "published"}
        See the module's text; the rows depend on the order of the items only if published. Protocols name it `draws`.
    on_item : callable
        Told each item when it is done.

    Returns
    -------
    pandas.DataFrame
        dataset, key, kind, clicks (number of real ones), pl1, ks, wd, nss, pde, on_error (share of the map's mass on
        the error). ks is NaN for an item with a single click, which no mean over items counts; other sets without a
        p value count as rejected.

    Raises
    ------
    DataError
        If an item has no clicks or one outside the image, its object is empty, or the model answers a map without any
        mass; names the item.
    PluginError
        If the map has another shape than the image, negative values or values that are not finite.
    ProtocolError
        If `draws` or `sets` is none of those allowed.
    """
    if draws not in ("keyed", "published") or sets < 1:
        raise ProtocolError(f"draws is {draws!r} and sets {sets}; allowed: keyed or published, and at least 1")
    stream = np.random.RandomState(seed) if draws == "published" else None
    rows = []
    prepared: Any = None
    image: tuple[str, str] | None = None
    for item in items:
        scene = item.load()
        if not len(item.points):
            raise DataError(f"{item.dataset}, {item.key}: nobody clicked on this item")
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
        raise DataError(f"{where}: a click lies outside of the image of {shape[0]} x {shape[1]} pixels")
    if found.shape != shape:
        raise PluginError(f"{where}: click model {name} answered a map of shape {found.shape}, expected {shape}")
    if not np.isfinite(found).all() or found.min() < 0:
        raise PluginError(f"{where}: click model {name} answered a map with negative or other than finite values")


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
        raise DataError(f"{item.dataset}, {item.key}: click model {name} answered a map of zeros, nothing to draw from")

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
    """Return points (row, column) drawn with replacement from a map.

    Parameters
    ----------
    cumulative : (H * W,) float64 array
        Cumulative sums of the map in row-major order; the last is above 0.
    uniform : (...) float array
        Numbers in [0, 1); equal numbers give NumPy's legacy `choice`.
    width : int
        W.

    Returns
    -------
    (..., 2) int64 array
    """
    at = np.searchsorted(cumulative / cumulative[-1], uniform, side="right")
    return np.stack(np.divmod(at, width), axis=-1).astype(np.int64)


def _box_of(scene: Scene, item: ClickItem) -> tuple[int, int]:
    window = bounding_box(np.asarray(scene.mask) > 0)
    if window is None:
        raise DataError(f"{item.dataset}, {item.key}: the object has no pixel")
    return window[0].stop - window[0].start, window[1].stop - window[1].start


def compare_devices(items: Sequence[ClickItem], *, least: int = 10, published: bool = False) -> pd.DataFrame:
    """Compare clicks made on a PC with those made on a phone, for items with at least `least` clicks of each.

    Parameters
    ----------
    items : sequence of ClickItem
    least : int
    published : bool
        Published code puts the column of the PC clicks in the place of their row as well, so that its PL1 and WD are
        wrong; its KS is not affected.

    Returns
    -------
    pandas.DataFrame
        dataset, key, kind, pc, mobile (numbers of clicks), pl1, ks (accepted), wd.
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
    """Compare clicks under each way of showing the target with those of people who read its description.

    Parameters
    ----------
    items : dict of display mode -> items
        Items of equal key belong together.
    reference : str

    Returns
    -------
    pandas.DataFrame
        display, key, clicks, pl1, ks (accepted), wd.

    Raises
    ------
    DataError
        If the reference is missing.
    """
    if reference not in items:
        raise DataError(f"no clicks of display mode {reference!r}; found {', '.join(items) or 'none'}")
    known = {item.key: item for item in items[reference]}
    rows = []
    for display, own in items.items():
        for item in own:
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
