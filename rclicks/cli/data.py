"""``rclicks data``: prepare data sets from raw data, and compare their raters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rclicks.analysis.runs import Table
from rclicks.data.contract import Dataset, Prepared
from rclicks.data.multirater.listing import natural
from rclicks.engine.loading import open_dataset
from rclicks.engine.preparing import prepare_dataset
from rclicks.errors import ProtocolError
from rclicks.metrics.raters.agreement import inter_rater_agreement
from rclicks.metrics.raters.overlap import RATER_POLICIES
from rclicks.registry import Registry
from rclicks.specs import parse

__all__ = ["agreement_table", "prepare", "rater_presence"]


def prepare(
    name: str, raw: Path | None, out: Path, *, plugins: Sequence[Path], report: Callable[[str], None]
) -> Prepared:
    """Prepare a data set and report the progress, the failures and the result as lines of text.

    Raises
    ------
    RclicksError
        As `rclicks.engine.preparing.prepare_dataset`.
    """
    done = prepare_dataset(Registry.discover(plugins), parse(name), raw, out, report)
    for unit, error in done.failed:
        report(f"failed: {unit}: {error}")
    counts = ", ".join(f"{number} {noun}" for noun, number in done.counts.items())
    report(f"{counts} in {done.out}; {len(done.failed)} failed")
    return done


def rater_presence(name: str, *, data_root: Path | None, plugins: Sequence[Path]) -> Table:
    """Return a table with the numbers of samples in which each rater drew, drew nothing, or has no file.

    Raises
    ------
    RclicksError
        If the data set is unknown, missing or damaged.
    """
    data = _open(name, data_root, plugins)
    drew: Counter[str] = Counter()
    empty: Counter[str] = Counter()
    absent: Counter[str] = Counter()
    known = list(data.raters)
    for index, sample in enumerate(data):
        found = dict.fromkeys(data.present(index), False)
        for target in sample.targets:
            for rater, mask in zip(target.raters, target.masks, strict=True):
                found[rater] = found.get(rater, False) or bool(mask.any())
        drew.update(r for r, any_drawn in found.items() if any_drawn)
        empty.update(r for r, any_drawn in found.items() if not any_drawn)
        absent.update(set(data.absent(index)) - set(found))
    names = sorted({*known, *drew, *empty}, key=natural)
    rows = [
        {"rater": r, "drew": drew[r], "drew nothing": empty[r], "no file": absent[r], "samples": len(data)}
        for r in names
    ]
    identity = {
        "known": "a name means the same person in all samples",
        "within-sample": "a name means a person within one sample only",
    }
    notes = (
        f"raters: {identity.get(data.card.rater_identity, 'one reference mask for each object')}",
        *data.notes,
    )
    return Table(f"Raters of {data.card.name}", pd.DataFrame(rows), notes=notes)


def agreement_table(
    names: Sequence[str], *, policy: str, staple: bool, data_root: Path | None, plugins: Sequence[Path]
) -> Table:
    """Return a table of the agreement of raters with each other and with their consensus, one row for each data set.

    Parameters
    ----------
    names : sequence of str
        Data sets with their options.
    policy : {"present", "nonempty", "all"}
        Raters to count: those with a mask, even an empty one; those who drew something; or all, where a rater without
        a mask counts as an empty mask.
    staple : bool
        True adds the agreement with the STAPLE consensus.
    data_root : Path or None
        Folder that contains the folders of the data sets.
    plugins : sequence of Path
        Additional plug-in folders.

    Raises
    ------
    RclicksError
        If a data set is unknown, missing or damaged, or has no object with several raters.
    """
    if policy not in RATER_POLICIES:
        raise ProtocolError(f"--raters is {policy!r}; allowed: {', '.join(RATER_POLICIES)}")
    rows = []
    for name in names:
        found = inter_rater_agreement(_open(name, data_root, plugins), policy=policy, staple=staple)
        if not found.rows:
            raise ProtocolError(f"{name} has no object with at least two raters")
        row: dict[str, Any] = {"dataset": parse(name).label, "n": len(found.rows), "left out": found.skipped}
        rows.append(row | {m.replace("_", " "): v for m, v in found.summary().items() if staple or "staple" not in m})
    frame = pd.DataFrame(rows)
    digits = {c: 4 for c in frame.columns if c not in ("dataset", "n", "left out")}
    notes = (
        "means over objects; majority: mask of more than half of all raters, including the rater compared with it; "
        "others: mask of more than half of the other raters",
        f"raters: {policy}; objects with fewer than two are left out; two empty masks agree completely",
    )
    return Table("Agreement of raters", frame, digits, notes=notes)


def _open(name: str, data_root: Path | None, plugins: Sequence[Path]) -> Dataset:
    return open_dataset(Registry.discover(plugins), parse(name), data_root)
