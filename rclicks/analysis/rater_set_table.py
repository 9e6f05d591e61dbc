"""The table of the metrics that need all raters: metrics of one mask, and metrics of a set of predictions.

Each sample has the same weight: the objects, followed reference masks and replicates of a sample are averaged first,
then the samples. Objects with a single rater are left out. Undefined values are left out and counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from rclicks.analysis.bootstrap import mean_interval
from rclicks.analysis.rater_tables import by_rule
from rclicks.analysis.runs import GROUP, Runs, Table, build_table, count_failures, iter_groups, last_rounds
from rclicks.errors import ProtocolError
from rclicks.metrics.raters.catalogue import RATERS

__all__ = ["rater_set_table"]

DIGITS = 4
_BETTER = {True: "higher", False: "lower", None: ""}


def rater_set_table(runs: Runs) -> Table:
    """Return the metrics of all raters after the last interaction.

    The table has one row for each data set, model, user, group, kind of followed reference mask and metric.

    Raises
    ------
    ProtocolError
        If no such metric was stored, or no object has several raters.
    """
    asked = {run: [m for m in runs.metrics_of(run) if m in RATERS] for run in runs.records["run"].unique()}
    if not any(asked.values()):
        raise ProtocolError(
            "this run stored no metric that needs all raters; add some to `metrics` of the benchmark, such as "
            "ged, rater-coverage or dice-majority (`rclicks ls metrics`, levels `raters` and `set`)"
        )
    records = runs.records[runs.records["raters"].notna()]
    if records.empty:
        raise ProtocolError("no object of this run has several raters")
    rows: list[dict[str, Any]] = []
    for key, part in iter_groups(last_rounds(records)):
        place, failed = dict(zip(GROUP, key, strict=True)), {"failed": count_failures(runs, key)}
        for rule, own in by_rule(part):
            rows += [place | {"reference": rule} | _row(name, own) | failed for name in asked[key[0]]]
    notes = [
        "after the last interaction; values are averaged within each sample, then over samples; "
        "CI: 95 % bootstrap over samples",
        "undefined: number of trajectories without a value, which are left out",
        "M: number of masks in the set; GED decreases and coverage increases with M, so compare only models with equal "
        "M; metrics without M score the single mask",
    ]
    return build_table(_title(runs), rows, {"mean": DIGITS}, {}, notes, runs)


def _row(name: str, part: pd.DataFrame) -> dict[str, Any]:
    """Return the row of one metric."""
    values = part.groupby("sample")[name].mean().dropna().to_numpy(float)
    return {
        "metric": name,
        "better": _BETTER[RATERS[name].higher_is_better],
        "mean": float(values.mean()) if values.size else np.nan,
        "95 % CI": mean_interval(values).text(DIGITS),
        "samples": len(values),
        "undefined": int(part[name].isna().sum()),
        "M": _sizes(part) if RATERS[name].level == "set" else None,
    }


def _sizes(part: pd.DataFrame) -> str:
    """Return the numbers of masks in the sets as text, such as "16" or "1, 16"."""
    return ", ".join(str(int(size)) for size in sorted(part["set_size"].dropna().unique()))


def _title(runs: Runs) -> str:
    return f"Metrics of all raters ({runs.header['benchmark']}, protocol {runs.protocol['name']})"
