"""The table of volumes: Dice and surface distances after some interactions, areas under their curves, and times.

Objects are averaged within a volume first, then over volumes, as in MedSegFM and RadioActive.

The table has two areas under a curve. ``DSC-AUC`` and ``NSD-AUC`` are defined as in the MedSegFM challenge: the
trapezoid rule with unit steps over the clicks, without a box in the first round. For five clicks they lie in [0, 4].
``AUC full`` includes every interaction and is divided by the number of interactions minus one, so that it lies in
[0, 1]. A trajectory that ended early keeps its last value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from rclicks.analysis.effort import area, auc, curves
from rclicks.analysis.runs import GROUP, Runs, Table, build_table, count_failures
from rclicks.errors import ProtocolError

__all__ = ["NSD", "gated", "volume_table"]

NSD = ("nsd-surfel", "nsd-voxel")
_LAST = {"hd95-surfel": 2, "hd95-voxel": 2, "hd95-pooled": 2, "assd-surfel": 2, "assd-voxel": 2, "volume-error": 3}


def gated(records: pd.DataFrame, gate: float) -> pd.DataFrame:
    """Return the records with NSD set to 0 where Dice is at most `gate`. A gate of 0 changes nothing."""
    if gate == 0:
        return records
    poor = records["dice"] <= gate
    return records.assign(**{name: records[name].mask(poor & records[name].notna(), 0.0) for name in NSD})


def volume_table(runs: Runs) -> Table:
    """Return the table of volumes: one row for each data set, model, user and group.

    Raises
    ------
    ProtocolError
        If the Dice coefficient was not stored.
    """
    stored = runs.header["effective"]["metrics"]
    if "dice" not in stored:
        raise ProtocolError(f"the table of volumes needs the metric dice; this run stored {', '.join(stored)}")
    gate = float(runs.protocol.get("nsd_gate", 0.0))
    records = gated(runs.records, gate)
    shown = ["dice", *(m for m in NSD if m in stored)]
    wide = {metric: curves(records, runs.clicks, metric) for metric in shown}
    first, later = (records[records["round"] == 1], records[records["round"] > 1])
    boxed = {u for u, kinds in first.groupby("user")["kind"].agg(set).items() if kinds == {"box"}}
    boxed -= {u for u, kinds in later.groupby("user")["kind"].agg(set).items() if "box" in kinds}
    undefined: list[str] = []
    rows = []
    for key, part in wide["dice"].groupby(level=GROUP, sort=False):
        row: dict[str, Any] = dict(zip(GROUP, key, strict=True))
        row |= {"volumes": _count(part, ["sample"]), "n": len(part), "failed": count_failures(runs, key)}
        begin = 1 if key[3] in boxed and runs.clicks > 1 else 0
        for metric in shown:
            own = wide[metric].loc[part.index]
            row |= _curve_columns(metric, own, begin, begin == 1)
        last = records[(records[GROUP] == list(key)).all(axis=1)].sort_values("round", kind="stable")
        row["s/interaction"] = _per_volume(last.assign(unit_time=last["decode_s"] + last["encode_s"]), "unit_time")
        last = last.drop_duplicates(["sample", "object", "rater", "replicate"], keep="last")
        for metric in (m for m in _LAST if m in stored):
            row[f"{metric} final"] = _per_volume(last.dropna(subset=[metric]), metric)
            if missing := int(last[metric].isna().sum()):
                undefined.append(
                    f"{metric} of {' '.join(k for k in key[2:] if k)} is undefined (empty mask): {missing} times"
                )
        rows.append(row)
    notes = [
        f"objects are averaged within a volume, then over volumes; {runs.clicks} interactions; the tolerance of NSD is "
        f"{runs.protocol.get('nsd_tolerance', 2.0):g} mm"
        + (f", and NSD is set to 0 where Dice is {gate:g} or less" if gate else ""),
        "DSC-AUC, NSD-AUC: trapezoid rule over clicks with unit steps, without a box; full: all interactions, 0 to 1",
        *undefined,
    ]
    digits = {c: 4 for row in rows for c in row if c not in (*GROUP, "volumes", "n", "failed")}
    digits |= {f"{m} final": d for m, d in _LAST.items()} | {"s/interaction": 3}
    digits = {c: d for c, d in digits.items() if any(c in row for row in rows)}
    better = {c: "lower" if c.startswith(("hd95", "assd", "s/")) else "higher" for c in digits}
    better.pop("volume-error final", None)
    title = f"Volumes ({runs.header['benchmark']}, protocol {runs.protocol['name']})"
    return build_table(title, rows, digits, better, notes, runs)


def _curve_columns(metric: str, curve: pd.DataFrame, begin: int, boxed: bool) -> Mapping[str, float]:
    name = {"dice": "DSC", "nsd-surfel": "NSD", "nsd-voxel": "NSD voxel"}[metric]
    values = curve.to_numpy(float)
    clicks = values.shape[1] - begin
    found = {f"{name}@box": values[:, 0]} if boxed else {}
    found |= {f"{name}@{k}": values[:, begin + k - 1] for k in (1, 3, 5, 10) if k < clicks}
    unknown = np.full(len(values), np.nan)  # the area is undefined for a single score
    found |= {f"{name}-AUC": area(values[:, begin:]) if clicks > 1 else unknown, f"{name}-AUC full": auc(values)}
    found[f"{name} final"] = values[:, -1]
    frame = pd.DataFrame(found, index=curve.index).groupby(level="sample", sort=False).mean()
    return {str(k): float(v) for k, v in frame.mean().items()}


def _per_volume(records: pd.DataFrame, column: str) -> float:
    return float(records.groupby("sample", sort=False)[column].mean().mean()) if len(records) else float(np.nan)


def _count(part: pd.DataFrame, levels: list[str]) -> int:
    return len(part.index.to_frame(index=False)[levels].drop_duplicates())
