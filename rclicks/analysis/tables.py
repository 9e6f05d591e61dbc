"""Tables from run folders: recomputed from rows each time, never stored as truth.

>>> from rclicks.analysis.tables import PRESETS
>>> sorted(PRESETS)
['iou', 'noc', 'time']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rclicks.analysis.effort import THRESHOLDS, auc, curves, failures, noc
from rclicks.cards import ModelCard
from rclicks.errors import ProtocolError, UnknownNameError
from rclicks.records.store import load_failures, load_records, load_run, load_units
from rclicks.registry import Registry

__all__ = ["PRESETS", "Runs", "Table", "load_runs", "make_table"]

GROUP = ["run", "dataset", "model", "user", "group"]


@dataclass(frozen=True, eq=False)
class Table:
    """A table ready to be printed.

    Attributes
    ----------
    title : str
    frame : pandas.DataFrame
        One row a line; text columns first.
    digits : dict of column -> decimals
    better : dict of column -> "higher" or "lower"
    notes : tuple of str
        What a reader must know: failures, synthetic weights, overlap of training and test data.
    """

    title: str
    frame: pd.DataFrame
    digits: dict[str, int] = field(default_factory=dict)
    better: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Runs:
    """Records of one or more runs of one protocol.

    Attributes
    ----------
    records, units, failures : pandas.DataFrame
    header : dict
        run.json of the first run.
    clicks : int
        Budget of the protocol.
    nof_rule : str
    """

    records: pd.DataFrame
    units: pd.DataFrame
    failures: pd.DataFrame
    header: Mapping[str, Any]

    @property
    def protocol(self) -> Mapping[str, Any]:
        """The protocol's rules."""
        rules: Mapping[str, Any] = self.header["effective"]["protocol"]
        return rules

    @property
    def clicks(self) -> int:
        """The protocol's budget of interactions."""
        return int(self.protocol["clicks"])


def load_runs(paths: Sequence[str | Path], *, mix: bool = False) -> Runs:
    """Read run folders whose records may stand in one table.

    Raises
    ------
    ProtocolError
        If their protocols differ and `mix` is off, or a run has no records.
    """
    headers = [load_run(p) for p in paths]
    hashes = {h["protocol_hash"] for h in headers}
    if len(hashes) > 1 and not mix:
        shown = ", ".join(f"{p}: {h['protocol_hash']}" for p, h in zip(paths, headers, strict=True))
        raise ProtocolError(
            f"these runs were played under different protocols ({shown}); pass --mix to put them together"
        )
    records = pd.concat([load_records(p) for p in paths], ignore_index=True)
    if records.empty:
        raise ProtocolError(f"{', '.join(map(str, paths))}: no records yet; `rclicks run` makes them")
    names = [Path(p).name for p in paths]
    if len(set(names)) < len(names):
        raise ProtocolError(f"two of the runs have the same folder name: {', '.join(names)}")
    units = pd.concat([load_units(p).assign(run=Path(p).name) for p in paths], ignore_index=True)
    failed = pd.concat([load_failures(p).assign(run=Path(p).name) for p in paths], ignore_index=True)
    return Runs(records, units, failed, headers[0])


def make_table(runs: Runs, preset: str = "noc") -> Table:
    """Return the table `preset` of some runs.

    Raises
    ------
    UnknownNameError
        If there is no such preset.
    """
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    return PRESETS[preset](runs)


def _noc(runs: Runs) -> Table:
    """NoC and NoF at four thresholds, IoU@k and AUC, for users that click."""
    clicking = _clicking(runs.records)
    skipped = sorted(set(runs.records["user"]) - set(clicking["user"]))
    if clicking.empty:
        raise ProtocolError("no user of this run clicks, so there is no NoC; try --preset iou")
    wide = curves(clicking, runs.clicks)
    rows = []
    for key, part in wide.groupby(level=GROUP, sort=False):
        ious = part.to_numpy()
        row = dict(zip(GROUP, key, strict=True)) | {"n": len(ious), "failed": _failed(runs, key)}
        row |= {f"NoC@{round(100 * q)}": noc(ious, q).mean() for q in THRESHOLDS}
        row |= {f"NoF@{round(100 * q)}": int(failures(ious, q, runs.protocol["nof"]).sum()) for q in THRESHOLDS}
        row |= {f"IoU@{k}": ious[:, k - 1].mean() for k in _marks(runs.clicks)} | {"AUC": auc(ious).mean()}
        rows.append(row)
    notes = [f"NoC and NoF of {runs.clicks} clicks, rule `{runs.protocol['nof']}`; n counts trajectories"]
    if skipped:
        notes.append(f"users that draw boxes only are left out ({', '.join(skipped)}); see the preset iou")
    digits = {f"NoC@{round(100 * q)}": 2 for q in THRESHOLDS}
    digits |= {f"IoU@{k}": 4 for k in _marks(runs.clicks)} | {"AUC": 4}
    better = {
        c: "lower" if c.startswith("No") else "higher"
        for c in (*digits, *(f"NoF@{round(100 * q)}" for q in THRESHOLDS))
    }
    title = f"Clicks to a good mask ({runs.header['benchmark']}, protocol {runs.protocol['name']})"
    return _finish(title, rows, digits, better, notes, runs)


def _iou(runs: Runs) -> Table:
    """Mean of every stored metric after the first and the last interaction."""
    metrics = [m for m in runs.header["effective"]["metrics"] if m in runs.records]
    first = runs.records[runs.records["round"] == 1]
    last = runs.records.sort_values("round", kind="stable").drop_duplicates(
        [*GROUP, "sample", "object", "rater", "replicate"], keep="last"
    )
    rows = []
    for key, part in last.groupby(GROUP, sort=False):
        begun = first[(first[GROUP] == list(key)).all(axis=1)]
        row = dict(zip(GROUP, key, strict=True)) | {"n": len(part), "failed": _failed(runs, key)}
        row |= {f"{m}@1": begun[m].mean() for m in metrics} | {f"{m} final": part[m].mean() for m in metrics}
        row["interactions"] = part["round"].mean()
        rows.append(row)
    digits = {c: 4 for m in metrics for c in (f"{m}@1", f"{m} final")} | {"interactions": 2}
    better = {c: "higher" for c in digits if c != "interactions"}
    what = f"{runs.header['benchmark']}, protocol {runs.protocol['name']}"
    title = f"Overlap after the first and the last interaction ({what})"
    return _finish(title, rows, digits, better, [], runs)


def _time(runs: Runs) -> Table:
    """Seconds an image to encode and seconds a click, warm units only."""
    warm = runs.units[~runs.units["cold"].astype(bool) & (runs.units["clicks"] > 0)]
    notes = ["first image of each worker left out (warm-up); encode is per image, the rest per click, in milliseconds"]
    if warm.empty:
        warm = runs.units[runs.units["clicks"] > 0]
        notes = ["only one image a worker was played, so these times INCLUDE the warm-up; in milliseconds"]
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
    return _finish(f"Time ({runs.header['benchmark']})", rows, digits, dict.fromkeys(digits, "lower"), notes, runs)


PRESETS: dict[str, Callable[[Runs], Table]] = {"noc": _noc, "iou": _iou, "time": _time}


def _spread(name: str, seconds: pd.Series) -> dict[str, float]:
    values = 1000 * seconds.to_numpy(float)
    return {f"{name} median": float(np.median(values)), f"{name} p95": float(np.percentile(values, 95))}


def _marks(clicks: int) -> list[int]:
    return sorted({k for k in (1, 5, 10, clicks) if k <= clicks})


def _clicking(records: pd.DataFrame) -> pd.DataFrame:
    kinds = records.groupby("user")["kind"].agg(set)
    return records[records["user"].isin([u for u, k in kinds.items() if "click" in k])]


def _failed(runs: Runs, key: Sequence[str]) -> int:
    """Count failures of a table row: its own trajectories, and whole samples that failed for its model."""
    if runs.failures.empty:
        return 0
    f = runs.failures
    own = (f["run"] == key[0]) & (f["dataset"] == key[1]) & (f["model"] == key[2])
    for column, value in zip(("user", "group"), key[3:], strict=True):
        own &= f[column].isna() | (f[column] == value)
    return int(own.sum())


def _finish(
    title: str,
    rows: list[dict[str, Any]],
    digits: dict[str, int],
    better: dict[str, str],
    notes: list[str],
    runs: Runs,
) -> Table:
    frame = pd.DataFrame(rows)
    if frame["run"].nunique() == 1:
        frame = frame.drop(columns="run")
    if "group" in frame and (frame["group"] == "").all():
        frame = frame.drop(columns="group")
    if "failed" in frame and (frame["failed"] == 0).all():
        frame = frame.drop(columns="failed")
    return Table(title, frame, digits, better, tuple(notes + _warnings(runs)))


def _warnings(runs: Runs) -> list[str]:
    """Return what every table of these runs must say."""
    notes = []
    records = runs.records
    if made_up := sorted(set(records.loc[records["checkpoint"] == "synthetic", "model"])):
        notes.append(f"SYNTHETIC WEIGHTS, not a result: {', '.join(made_up)}")
    flagged = records[records["flags"].str.contains("untrained-prompt")]
    notes += [
        f"{model} was given {kind} prompts that it was not trained on"
        for model, kind in sorted(set(zip(flagged["model"], flagged["kind"], strict=True)))
    ]
    if len(runs.failures):
        notes.append(f"{len(runs.failures)} samples or trajectories failed and are left out; see `rclicks show RUN`")
    played = runs.units.groupby(["dataset", "model"])["sample"].nunique()
    for dataset, most in played.groupby(level="dataset").max().items():
        fewer = played[dataset][played[dataset] < most]
        notes += [f"{model} has only {n} of {most} samples of {dataset}" for model, n in fewer.items()]
    registry = Registry.discover()
    names = {s["label"]: s["name"] for s in runs.header["effective"]["models"]}
    sets = {s["label"]: s["name"] for s in runs.header["effective"]["datasets"]}
    for model in sorted(set(records["model"])):
        entry = registry.models.get(names.get(model, model))
        if entry is not None and isinstance(entry.card, ModelCard):
            played_on = {sets.get(d, d) for d in records.loc[records["model"] == model, "dataset"]}
            seen = sorted(set(entry.card.trained_on) & played_on)
            notes += [f"{model} was trained on data that overlaps with {', '.join(seen)}"] if seen else []
    return notes
