"""``rclicks clicks``: compare click models with clicks of real people, and compare groups of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress, TaskID

from rclicks.analysis.runs import Table
from rclicks.cards import ClickModelCard
from rclicks.clickability.contract import ClickMapQuery
from rclicks.clickability.evaluation import SCORES, compare_devices, compare_displays, draw_points, evaluate
from rclicks.engine.loading import load_click_model, load_dataset, open_dataset
from rclicks.errors import DataError
from rclicks.human_clicks.items import ClickItem
from rclicks.human_clicks.pairing import human_items
from rclicks.human_clicks.tables import read_table
from rclicks.human_clicks.whats_the_point import NAME as VOC
from rclicks.human_clicks.whats_the_point import voc_items
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.reports.clickmaps import click_map_figure
from rclicks.reports.figures import save_figure
from rclicks.specs import parse

__all__ = ["devices", "displays", "draw", "score"]

_DIGITS = {"pl1": 3, "ks": 2, "wd": 3, "nss": 2, "on_error": 3}
_BETTER = {"pl1": "lower", "wd": "lower", "ks": "higher", "nss": "higher", "pde": "higher"}


def score(
    models: Sequence[str],
    clicks: Path,
    datasets: Sequence[str],
    *,
    masks: Path | None,
    data_root: Path | None,
    split: str,
    by_kind: bool,
    limit: int | None,
    protocol: str,
    plugins: Sequence[Path],
) -> Table:
    """Return a table of scores with one row for each data set, click type (if `by_kind`) and click model.

    Parameters
    ----------
    models : sequence of str
        Click models with their options.
    clicks : Path
        CSV file of real clicks, or folder of What's the Point.
    datasets : sequence of str
        Data sets with their options; empty for all registered data sets that the file names.
    masks : Path or None
        Folder of the masks before the click, for clicks of later rounds.
    data_root : Path or None
        Folder that contains the folders of the data sets.
    split : {"train", "val"}
        Part of the folder of What's the Point.
    by_kind : bool
        True separates first clicks from clicks on false negatives and false positives.
    limit : int or None
        Number of items taken from the start.
    protocol : {"default", "compat"}
        Evaluation rules.
    plugins : sequence of Path
        Additional plug-in folders.

    Raises
    ------
    RclicksError
        If a name is unknown, or files are missing or damaged.
    """
    registry = Registry.discover(plugins)
    items = _items(registry, clicks, datasets, masks, data_root, split)[:limit]
    rules = Protocol.named(protocol)
    parts, notes = [], []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for spec in map(parse, models):
            task = progress.add_task(spec.label, total=len(items))
            model = load_click_model(registry, spec, protocol=rules)
            rows = evaluate(model, items, draws=rules.draws, on_item=partial(_advance, progress, task))
            parts.append(rows.assign(model=spec.label))
            if model.checkpoint_id == "synthetic":
                notes.append(f"SYNTHETIC WEIGHTS, not a result: {spec.label}")
            card = registry.find("click-model", spec.name).card
            assert isinstance(card, ClickModelCard)  # noqa: S101 - guaranteed by the registry
            if seen := sorted({i.dataset for i in items} & set(card.trained_on)):
                which = (
                    " (train split; these are clicks of the val split)" if clicks.is_dir() and split == "val" else ""
                )
                notes.append(f"{spec.label} was trained on clicks of {', '.join(seen)}{which}")
    rows = pd.concat(parts, ignore_index=True)
    keys = ["dataset", *(["kind"] if by_kind else []), "model"]
    frame = rows.groupby(keys, sort=False).agg(items=("key", "size"), clicks=("clicks", "sum"), **_means(rows))
    frame = frame.reset_index()
    frame["pde"] = [f"{v:.2e}" for v in frame["pde"]]
    notes.append(
        "means over items; 100 sampled sets of clicks per item; WD in units of the diagonal of the box of the object"
    )
    return Table("Click models on real clicks", frame, _DIGITS, _BETTER, tuple(notes))


def _advance(progress: Progress, task: TaskID, item: ClickItem) -> None:
    progress.advance(task)


def devices(
    clicks: Path, datasets: Sequence[str], *, masks: Path | None, data_root: Path | None, protocol: str
) -> Table:
    """Return a table that compares clicks on a PC with clicks on a phone.

    Raises
    ------
    DataError
        If files are missing, or no item has at least 10 clicks on each device.
    """
    items = _items(Registry.discover([]), clicks, datasets, masks, data_root, "val")
    rows = compare_devices(items, published=protocol == "compat")
    if rows.empty:
        raise DataError(f"{clicks}: no item has at least 10 clicks on a PC (pc) and at least 10 on a phone (mobile)")
    frame = rows.groupby("dataset", sort=False).agg(items=("key", "size"), **_means(rows)).reset_index()
    note = (
        "published form: it takes the column for the row of clicks on a PC, so PL1 and WD are wrong"
        if protocol == "compat"
        else ""
    )
    return Table(
        "Clicks on a PC and on a phone",
        frame,
        _DIGITS,
        notes=tuple(filter(None, ["items with 10 clicks of each", note])),
    )


def displays(clicks: Path, root: Path, *, dataset: str) -> Table:
    """Return a table that compares each way of showing a target with a description in words.

    Raises
    ------
    DataError
        If files are missing or damaged.
    """
    registry = Registry.discover([])
    table = read_table(clicks)
    images = load_dataset(registry, parse(dataset), root)
    by_display = {
        str(display): human_items(rows.assign(dataset=images.card.name), images)
        for display, rows in table.groupby("dataset", sort=False)
    }
    rows = compare_displays(by_display)
    frame = rows.groupby("display", sort=False).agg(items=("key", "size"), **_means(rows)).reset_index()
    return Table("Ways of showing the target, compared with its description", frame, _DIGITS)


def draw(
    model: str,
    clicks: Path,
    key: str,
    datasets: Sequence[str],
    *,
    masks: Path | None,
    data_root: Path | None,
    split: str,
    out: Path,
    photo: bool,
    count: int,
) -> list[Path]:
    """Draw the click map of one item with sampled and real clicks; return the files that were written.

    Raises
    ------
    DataError
        If no item has this key, or the click map is 0 on the whole error.
    """
    registry = Registry.discover([])
    items = {item.key: item for item in _items(registry, clicks, datasets, masks, data_root, split)}
    if key not in items:
        near = get_close_matches(key, items) or list(items)[:5]
        raise DataError(
            f"{clicks} does not have the item {key!r} among {len(items)} items; similar keys: {', '.join(near)}"
        )
    item = items[key]
    scene = item.load()
    spec = parse(model)
    built = load_click_model(registry, spec)
    (found,) = built.maps(built.prepare(scene.image), [ClickMapQuery(scene.mask, scene.error)])
    weights = np.cumsum((found * np.asarray(scene.error, float)).ravel())
    if not weights[-1] > 0:
        raise DataError(f"{item.dataset}, {key}: the click map of {spec.label} is 0 on the whole error")
    points = draw_points(weights, np.random.default_rng(42).random(count), found.shape[1])
    figure = click_map_figure(
        scene, found, points, item.points, title=f"{item.dataset} {key}, {spec.label}", photo=photo
    )
    return save_figure(figure, out.with_suffix("") if out.suffix in (".png", ".svg") else out)


def _means(rows: pd.DataFrame) -> Mapping[str, Any]:
    return {name: (name, "mean") for name in (*SCORES, "on_error") if name in rows}


def _items(
    registry: Registry,
    clicks: Path,
    datasets: Sequence[str],
    masks: Path | None,
    data_root: Path | None,
    split: str,
) -> list[ClickItem]:
    """Read real clicks from a folder of What's the Point, or from a CSV file that refers to registered data sets."""
    if clicks.is_dir():
        return voc_items(clicks, split)
    table = read_table(clicks)
    names = list(datasets) or [d for d in table["dataset"].unique() if d in registry.datasets and d != VOC]
    if not names:
        raise DataError(
            f"{clicks} has no clicks on a registered data set; its data sets are {', '.join(table['dataset'].unique())}"
        )
    items: list[ClickItem] = []
    for spec in map(parse, names):
        items += human_items(table, open_dataset(registry, spec, data_root), masks)
    return items
