"""Tables from run folders. Tables are computed from the records each time and never stored in a run folder.

>>> from rclicks.analysis.tables import PRESETS
>>> sorted(PRESETS)
['iou', 'noc', 'rater-matrix', 'rater-robustness', 'rater-sets', 'raters', 'robustness', 'time', 'volumes']
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from rclicks.analysis.effort import THRESHOLDS, auc, curves, failures, noc
from rclicks.analysis.rater_set_table import rater_set_table
from rclicks.analysis.rater_tables import rater_matrices, rater_robustness, rater_summary
from rclicks.analysis.robustness_table import robustness_table, roles
from rclicks.analysis.runs import (
    GROUP,
    Runs,
    Table,
    Threshold,
    build_table,
    count_failures,
    iter_groups,
    last_rounds,
    multi_reference_note,
)
from rclicks.analysis.volume_table import volume_table
from rclicks.errors import ProtocolError, UnknownNameError
from rclicks.metrics.catalogue import ROUND
from rclicks.metrics.raters.catalogue import RATERS

__all__ = ["IOU", "PRESETS", "make_table"]

IOU = Threshold()


def make_table(runs: Runs, preset: str = "noc", threshold: Threshold = IOU) -> Table:
    """Return a table of some runs.

    Parameters
    ----------
    runs : Runs
    preset : str
        Name of the table, one of `PRESETS`.
    threshold : Threshold
        Metric and score until which clicks are counted, for the presets noc, robustness and rater-robustness. The
        default is IoU with the thresholds of the preset.

    Raises
    ------
    UnknownNameError
        If there is no such preset.
    ProtocolError
        If a threshold is given for a preset that counts no clicks, or the runs do not contain what the preset needs.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    if preset not in COUNTING and threshold != IOU:
        raise ProtocolError(f"the preset {preset} counts no clicks, so it takes no metric or threshold")
    threshold.check(runs)
    return COUNTING[preset](runs, threshold) if preset in COUNTING else PRESETS[preset](runs)


def _noc(runs: Runs, threshold: Threshold) -> Table:
    """Return NoC and NoF at four thresholds (or the given one), IoU@k and AUC, for users that click."""
    clicking = _clicking(runs.records)
    skipped = sorted(set(runs.records["user"]) - set(clicking["user"]))
    single = [u for u, role in roles(runs.header).items() if role in ("human", "human-matched")]
    last = clicking.groupby("user")["round"].max()
    single = [u for u in single if runs.clicks > 1 and last.get(u) == 1]
    clicking = clicking[~clicking["user"].isin(single)]
    if clicking.empty:
        raise ProtocolError("no user of this run clicks, so there is no NoC; try --preset iou")
    wide = curves(clicking, runs.clicks, threshold.metric)
    thresholds = THRESHOLDS if threshold.value is None else (threshold.value,)
    rows = []
    for key, part in iter_groups(wide):
        ious = part.to_numpy()
        row = dict(zip(GROUP, key, strict=True)) | {"n": len(ious), "failed": count_failures(runs, key)}
        row |= {f"NoC@{round(100 * q)}": noc(ious, q).mean() for q in thresholds}
        row |= {f"NoF@{round(100 * q)}": int(failures(ious, q, runs.protocol["nof"]).sum()) for q in thresholds}
        row |= {f"{threshold.word}@{k}": ious[:, k - 1].mean() for k in _marks(runs.clicks)} | {"AUC": auc(ious).mean()}
        rows.append(row)
    notes = [
        f"NoC and NoF: {threshold.word}, {runs.clicks} clicks, rule `{runs.protocol['nof']}`; n counts trajectories"
    ]
    notes += multi_reference_note(runs)
    if single:
        notes.append(f"users that click once are left out ({', '.join(single)}); see the preset robustness")
    if skipped:
        notes.append(f"users that draw boxes only are left out ({', '.join(skipped)}); see the preset iou")
    digits = {f"NoC@{round(100 * q)}": 2 for q in thresholds}
    digits |= {f"{threshold.word}@{k}": 4 for k in _marks(runs.clicks)} | {"AUC": 4}
    better = {
        c: "lower" if c.startswith("No") else "higher"
        for c in (*digits, *(f"NoF@{round(100 * q)}" for q in thresholds))
    }
    title = f"Clicks to a good mask ({runs.header['benchmark']}, protocol {runs.protocol['name']})"
    return build_table(title, rows, digits, better, notes, runs)


def _iou(runs: Runs) -> Table:
    """Return the mean of every metric with the followed reference mask, after the first and the last interaction."""
    metrics = [m for m in runs.header["effective"]["metrics"] if m in runs.records and m not in RATERS]
    first = runs.records[runs.records["round"] == 1]
    last = last_rounds(runs.records)
    rows = []
    for key, part in iter_groups(last):
        begun = first[(first[GROUP] == list(key)).all(axis=1)]
        row = dict(zip(GROUP, key, strict=True)) | {"n": len(part), "failed": count_failures(runs, key)}
        row |= {f"{m}@1": begun[m].mean() for m in metrics} | {f"{m} final": part[m].mean() for m in metrics}
        row["interactions"] = part["round"].mean()
        rows.append(row)
    digits = {c: 4 for m in metrics for c in (f"{m}@1", f"{m} final")} | {"interactions": 2}
    higher = {m: ROUND[m][0].higher_is_better for m in metrics}
    ends = {m: "higher" if up else "lower" for m, up in higher.items() if up is not None}
    better = {c: end for m, end in ends.items() for c in (f"{m}@1", f"{m} final")}
    what = f"{runs.header['benchmark']}, protocol {runs.protocol['name']}"
    title = f"Overlap after the first and the last interaction ({what})"
    return build_table(title, rows, digits, better, multi_reference_note(runs), runs)


def _time(runs: Runs) -> Table:
    """Return the time to encode an image and the time of a click. First units of workers are left out."""
    if "wall_s" not in runs.units or runs.units["wall_s"].isna().all():
        raise ProtocolError("these records were imported from published results and have no times")
    warm = runs.units[~runs.units["cold"].astype(bool) & (runs.units["clicks"] > 0)]
    notes = [
        "the first image of each worker is left out (warm-up); encode is per image, the rest per click, in milliseconds"
    ]
    if warm.empty:
        warm = runs.units[runs.units["clicks"] > 0]
        notes = ["each worker had only one image, so these times INCLUDE the warm-up; in milliseconds"]
    records = runs.records[runs.records["unit"].isin(warm["unit"])]
    rows = []
    for key, part in records.groupby(GROUP[:3], sort=False):
        own = warm[(warm[GROUP[:3]] == list(key)).all(axis=1)]
        row: dict[str, Any] = dict(zip(GROUP, key, strict=False)) | {"images": len(own), "clicks": len(part)}
        row["encodes/image"] = own["encoder_calls"].mean()
        row |= _spread("encode", own["encode_s"])
        for what in ("decode", "user", "metric"):
            row |= _spread(what, part[f"{what}_s"])
        own_time = own["wall_s"].sum() - own["encode_s"].sum() - own["decode_s"].sum()
        row["overhead/click"] = 1000 * own_time / own["clicks"].sum()
        row["s/click"] = own["wall_s"].sum() / own["clicks"].sum()
        rows.append(row)
    digits = {f"{w} {s}": 2 for w in ("encode", "decode", "user", "metric") for s in ("median", "p95")}
    digits |= {"encodes/image": 2, "overhead/click": 2, "s/click": 4}
    return build_table(f"Time ({runs.header['benchmark']})", rows, digits, dict.fromkeys(digits, "lower"), notes, runs)


COUNTING: dict[str, Callable[[Runs, Threshold], Table]] = {
    "noc": _noc,
    "robustness": robustness_table,
    "rater-robustness": rater_robustness,
}
PRESETS: dict[str, Callable[..., Table]] = {
    **COUNTING,
    "iou": _iou,
    "time": _time,
    "volumes": volume_table,
    "raters": rater_summary,
    "rater-matrix": rater_matrices,
    "rater-sets": rater_set_table,
}


def _spread(name: str, seconds: pd.Series) -> dict[str, float]:
    values = 1000 * seconds.to_numpy(float)
    return {f"{name} median": float(np.median(values)), f"{name} p95": float(np.percentile(values, 95))}


def _marks(clicks: int) -> list[int]:
    return sorted({k for k in (1, 5, 10, clicks) if k <= clicks})


def _clicking(records: pd.DataFrame) -> pd.DataFrame:
    kinds = records.groupby("user")["kind"].agg(set)
    return records[records["user"].isin([u for u, k in kinds.items() if "click" in k])]
