"""The table of measures that need all raters: of one mask against what they agree on, of sets of masks against all.

A sample counts once: its objects, followed truths and replicates are averaged first, then samples. Objects of a single
rater are left out, and so is what is undefined, which is counted.
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
    """Return one row a data set, model, user, group, kind of truth followed and measure, after the last interaction.

    Raises
    ------
    ProtocolError
        If no such measure was stored, or no object has several raters.
    """
    asked = {run: [m for m in runs.metrics_of(run) if m in RATERS] for run in runs.records["run"].unique()}
    if not any(asked.values()):
        raise ProtocolError(
            "this run stored no measure that needs all raters; name some under `metrics` of the benchmark, such as "
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
        "after the last interaction; means over samples of each sample's mean; CI: 95 % bootstrap over samples",
        "undefined: trajectories without a value, which are left out",
        "M: masks in the set; GED falls and coverage rises with M, so compare models of equal M only; levels without M "
        "are of the one mask",
    ]
    return build_table(_title(runs), rows, {"mean": DIGITS}, {}, notes, runs)


def _row(name: str, part: pd.DataFrame) -> dict[str, Any]:
    """Return one measure of trajectories of one kind."""
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
    """Return how many masks the sets hold, such as "16" or "1, 16"."""
    return ", ".join(str(int(size)) for size in sorted(part["set_size"].dropna().unique()))


def _title(runs: Runs) -> str:
    return f"Measures of all raters together ({runs.header['benchmark']}, protocol {runs.protocol['name']})"
