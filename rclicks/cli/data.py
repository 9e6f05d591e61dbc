"""``rclicks data``: bring raw data into the form that data sets read, and say who drew what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd

from rclicks.analysis.runs import Table
from rclicks.data.contract import Dataset
from rclicks.data.multirater.dataset import RaterFiles
from rclicks.data.multirater.listing import natural
from rclicks.datasets.multirater_mbhseg.preparation import Orientation, Prepared, Window, prepare
from rclicks.engine.loading import open_dataset
from rclicks.errors import ProtocolError
from rclicks.metrics.raters.agreement import human_ceiling
from rclicks.metrics.raters.overlap import RATER_POLICIES
from rclicks.registry import Registry
from rclicks.specs import parse

__all__ = ["ceilings", "prepare_mbhseg", "read_window", "who_drew"]


def prepare_mbhseg(
    raw: Path, out: Path, *, windows: Sequence[str], orientation: str, geometry: str, say: Callable[[str], None]
) -> Prepared:
    """Cut MBH-Seg's volumes into slices, and say what happens to each case."""
    done = prepare(
        raw.expanduser(),
        out.expanduser(),
        windows=[read_window(w) for w in windows],
        orientation=cast(Orientation, orientation),
        geometry=cast(Literal["check", "image"], geometry),
        on_case=lambda name, slices: say(f"{name}: {slices} slices"),
    )
    for folder, error in done.failed:
        say(f"failed: {folder.parent.name}/{folder.name}: {error}")
    say(f"{done.cases} cases, {done.slices} slices in {done.out}; {len(done.failed)} cases failed")
    return done


def read_window(text: str) -> Window:
    """Return the numbers of LOW,HIGH.

    Raises
    ------
    ProtocolError
        If it is none.

    >>> read_window("-160,240")
    (-160.0, 240.0)
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ProtocolError(f"window {text!r} is not LOW,HIGH in HU, such as 0,80") from error
    return low, high


def who_drew(name: str, *, data_root: Path | None, plugins: Sequence[Path]) -> Table:
    """Count for each rater of a data set in how many samples they drew, drew nothing, or have no file.

    Raises
    ------
    RclicksError
        If the data set is unknown, not there or damaged.
    """
    data = _open(name, data_root, plugins)
    drew: Counter[str] = Counter()
    empty: Counter[str] = Counter()
    absent: Counter[str] = Counter()
    known = list(data.raters) if isinstance(data, RaterFiles) else []
    for index, sample in enumerate(data):
        found = dict.fromkeys(data.present(index) if isinstance(data, RaterFiles) else (), False)
        for target in sample.targets:
            for rater, mask in zip(target.raters, target.masks, strict=True):
                found[rater] = found.get(rater, False) or bool(mask.any())
        drew.update(r for r, any_drawn in found.items() if any_drawn)
        empty.update(r for r, any_drawn in found.items() if not any_drawn)
        if isinstance(data, RaterFiles):
            absent.update({d.rater for d in data.missing(index)} - set(found))
    names = sorted({*known, *drew, *empty}, key=natural)
    rows = [
        {"rater": r, "drew": drew[r], "drew nothing": empty[r], "no file": absent[r], "samples": len(data)}
        for r in names
    ]
    identity = {"known": "a name is one person", "within-sample": "a name is a slot, not a person"}
    notes = (
        f"raters: {identity.get(data.card.rater_identity, 'a single truth')}",
        *(data.notes if isinstance(data, RaterFiles) else ()),
    )
    return Table(f"Raters of {data.card.name}", pd.DataFrame(rows), notes=notes)


def ceilings(
    names: Sequence[str], *, policy: str, staple: bool, data_root: Path | None, plugins: Sequence[Path]
) -> Table:
    """Measure how well the raters of data sets agree with each other and with their consensus.

    Raises
    ------
    RclicksError
        If a data set is unknown, not there or damaged, or has no object of several raters.
    """
    if policy not in RATER_POLICIES:
        raise ProtocolError(f"raters to count are {policy!r}; allowed: {', '.join(RATER_POLICIES)}")
    rows = []
    for name in names:
        found = human_ceiling(_open(name, data_root, plugins), policy=policy, staple=staple)
        if not found.rows:
            raise ProtocolError(f"{name} has no object that two raters drew")
        row: dict[str, Any] = {"dataset": parse(name).label, "n": len(found.rows), "left out": found.skipped}
        rows.append(row | {m.replace("_", " "): v for m, v in found.summary().items() if staple or "staple" not in m})
    frame = pd.DataFrame(rows)
    digits = {c: 4 for c in frame.columns if c not in ("dataset", "n", "left out")}
    notes = (
        "means over objects; majority: more than half of all raters, the rater's own vote among them; others: more "
        "than half of the other raters",
        f"raters: {policy}; objects of fewer than two are left out; two empty masks agree",
    )
    return Table("How well raters agree", frame, digits, notes=notes)


def _open(name: str, data_root: Path | None, plugins: Sequence[Path]) -> Dataset:
    return open_dataset(Registry.discover(plugins), parse(name), data_root)
