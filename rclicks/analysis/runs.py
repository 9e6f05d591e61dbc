"""Input and output of the tables: the records of some runs, and a table with its notes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from rclicks.cards import ModelCard
from rclicks.errors import ProtocolError
from rclicks.metrics.catalogue import ROUND
from rclicks.records.store import load_failures, load_records, load_run, load_units
from rclicks.registry import Registry

__all__ = [
    "GROUP",
    "Runs",
    "Table",
    "Threshold",
    "build_table",
    "count_failures",
    "filter_runs",
    "iter_groups",
    "last_rounds",
    "load_runs",
    "multi_reference_note",
]

GROUP = ["run", "dataset", "model", "user", "group"]


@dataclass(frozen=True)
class Threshold:
    """The score that counts as good enough when clicks are counted.

    Attributes
    ----------
    metric : str
        Name of a stored metric of single rounds. Higher values must be better, and 1 the best value.
    value : float or None
        Score in (0, 1]; None for the default of the table.
    """

    metric: str = "iou"
    value: float | None = None

    @property
    def word(self) -> str:
        """Name of the metric in tables."""
        return {"iou": "IoU", "biou": "BIoU", "dice": "Dice"}.get(self.metric, self.metric)

    def check(self, runs: Runs) -> None:
        """Check that this threshold can be used with `runs`.

        Raises
        ------
        ProtocolError
            If the metric was not stored, lower values are better, or the value is not above 0 and at most 1.
        """
        stored = [m for m in runs.header["effective"]["metrics"] if m in ROUND and ROUND[m][0].higher_is_better]
        if self.metric not in stored:
            raise ProtocolError(
                f"clicks cannot be counted with the metric {self.metric!r}; these runs allow {', '.join(stored)}"
            )
        if self.value is not None and not 0 < self.value <= 1:
            raise ProtocolError(f"the threshold is {self.value}; expected above 0 and at most 1")


@dataclass(frozen=True, eq=False)
class Table:
    """A table that can be printed or written.

    Attributes
    ----------
    title : str
    frame : pandas.DataFrame
        The rows; text columns first.
    digits : dict of str to int
        Number of decimals, by column.
    better : dict of str to str
        Which values are better, "higher" or "lower", by column.
    notes : tuple of str
        Explanations and warnings, for example of failures, synthetic weights, or overlap of training and test data.
    """

    title: str
    frame: pd.DataFrame
    digits: dict[str, int] = field(default_factory=dict)
    better: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Runs:
    """Records of one or more runs with one protocol.

    Attributes
    ----------
    records : pandas.DataFrame
        One row for each round, with a column `run`.
    units : pandas.DataFrame
        One row for each unit, with a column `run`.
    failures : pandas.DataFrame
        One row for each failed trajectory or sample, with a column `run`.
    header : dict
        run.json of the first run, with the models, data sets and users of all runs.
    asked : dict of str to tuple of str
        Metrics that each run stored, by name of the run.
    """

    records: pd.DataFrame
    units: pd.DataFrame
    failures: pd.DataFrame
    header: Mapping[str, Any]
    asked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def metrics_of(self, run: str) -> tuple[str, ...]:
        """Return the metrics that a run stored."""
        return self.asked.get(run, tuple(self.header["effective"]["metrics"]))

    @property
    def protocol(self) -> Mapping[str, Any]:
        """The rules of the protocol, by name."""
        rules: Mapping[str, Any] = self.header["effective"]["protocol"]
        return rules

    @property
    def clicks(self) -> int:
        """Budget of the protocol: the number of interactions."""
        return int(self.protocol["clicks"])


def load_runs(paths: Sequence[str | Path], *, mix: bool = False) -> Runs:
    """Read run folders for one table.

    Parameters
    ----------
    paths : sequence of path
        Run folders with different names.
    mix : bool
        Whether runs with different protocols are allowed.

    Raises
    ------
    ProtocolError
        If the protocols differ and `mix` is False, there are no records, or two folders have the same name.
    RunError
        If a folder is not a run folder or a file is damaged.
    """
    headers = [load_run(p) for p in paths]
    hashes = {h["protocol_hash"] for h in headers}
    if len(hashes) > 1 and not mix:
        shown = ", ".join(f"{p}: {h['protocol_hash']}" for p, h in zip(paths, headers, strict=True))
        raise ProtocolError(f"these runs have different protocols ({shown}); pass --mix to combine them anyway")
    records = pd.concat([load_records(p) for p in paths], ignore_index=True)
    if records.empty:
        raise ProtocolError(f"{', '.join(map(str, paths))}: no records yet; run the benchmark with `rclicks run` first")
    names = [Path(p).name for p in paths]
    if len(set(names)) < len(names):
        raise ProtocolError(f"two of the runs have the same folder name: {', '.join(names)}")
    units = pd.concat([load_units(p).assign(run=Path(p).name) for p in paths], ignore_index=True)
    failed = pd.concat([load_failures(p).assign(run=Path(p).name) for p in paths], ignore_index=True)
    asked = {name: tuple(h["effective"]["metrics"]) for name, h in zip(names, headers, strict=True)}
    return Runs(records, units, failed, _joined(headers), asked)


def _joined(headers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first header with the models, data sets and users of all headers."""
    effective = dict(headers[0]["effective"])
    for kind in ("models", "datasets", "users"):
        known = {s["label"]: s for h in reversed(headers) for s in h["effective"].get(kind, [])}
        effective[kind] = list(known.values())
    identity = {k: v for h in reversed(headers) for k, v in h["effective"].get("rater_identity", {}).items()}
    users = {k: v for h in reversed(headers) for k, v in h.get("users", {}).items()}
    return {**headers[0], "users": users, "effective": effective | ({"rater_identity": identity} if identity else {})}


def filter_runs(runs: Runs, *, models: Sequence[str], datasets: Sequence[str], users: Sequence[str]) -> Runs:
    """Return the part of the runs with these models, data sets and users.

    Parameters
    ----------
    runs : Runs
    models, datasets, users : sequence of str
        Labels to keep; () keeps all.

    Raises
    ------
    ProtocolError
        If the runs have no such label, or no records with this combination of labels.
    """
    records, *others = runs.records, runs.units, runs.failures
    for column, wanted in (("model", models), ("dataset", datasets), ("user", users)):
        known = sorted(runs.records[column].unique())
        if unknown := [name for name in wanted if name not in known]:
            raise ProtocolError(f"these runs have no {column} {', '.join(unknown)}; they have {', '.join(known)}")
        if wanted:
            records = records[records[column].isin(wanted)]
            # Units have no column `user`. Failures of whole samples have an empty one.
            others = [f[f[column].isin(wanted) | f[column].isna()] if column in f else f for f in others]
    if records.empty:
        raise ProtocolError("these runs have no records with this combination of models, data sets and users")
    return Runs(records, others[0], others[1], runs.header, runs.asked)


def last_rounds(records: pd.DataFrame) -> pd.DataFrame:
    """Return the last round of each trajectory."""
    ordered = records.sort_values("round", kind="stable")
    return ordered.drop_duplicates([*GROUP, "sample", "object", "rater", "replicate"], keep="last")


def iter_groups(frame: pd.DataFrame) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Return ((run, data set, model, user, group), records) pairs in natural order, so that G2 precedes G10."""
    parts = [(tuple(map(str, key)), part) for key, part in frame.groupby(GROUP, sort=False)]
    return sorted(parts, key=lambda item: (*item[0][:-1], len(item[0][-1]), item[0][-1]))


def count_failures(runs: Runs, key: Sequence[str]) -> int:
    """Return the number of failures of a table row: failed trajectories, and samples that failed for the whole model.

    Parameters
    ----------
    runs : Runs
    key : sequence of str
        Run, data set, model, user and group of the row.
    """
    if runs.failures.empty:
        return 0
    f = runs.failures
    own = (f["run"] == key[0]) & (f["dataset"] == key[1]) & (f["model"] == key[2])
    for column, value in zip(("user", "group"), key[3:], strict=True):
        own &= f[column].isna() | (f[column] == value)
    return int(own.sum())


def build_table(
    title: str,
    rows: list[dict[str, Any]],
    digits: dict[str, int],
    better: dict[str, str],
    notes: list[str],
    runs: Runs,
) -> Table:
    """Return a table of `rows`, with the warnings that every table of `runs` needs.

    The column `run` is dropped if there is one run, `group` if all are empty, and `failed` if there are no failures.
    """
    frame = pd.DataFrame(rows)
    if frame["run"].nunique() == 1:
        frame = frame.drop(columns="run")
    if "group" in frame and (frame["group"] == "").all():
        frame = frame.drop(columns="group")
    if "failed" in frame and (frame["failed"] == 0).all():
        frame = frame.drop(columns="failed")
    return Table(title, frame, digits, better, tuple(notes + warnings_of(runs)))


def multi_reference_note(runs: Runs) -> list[str]:
    """Return a note for tables that count each followed reference mask as an object; [] if every object has one."""
    records = runs.records
    if "raters" not in records:
        return []
    references = records.loc[records["raters"].notna(), ["dataset", "sample", "object", "rater"]].drop_duplicates()
    objects = len(references.drop_duplicates(["dataset", "sample", "object"]))
    if len(references) == objects:
        return []
    return [
        f"{len(references)} reference masks were followed in {objects} objects, and each counts as an object in this "
        "table; the presets raters, rater-matrix and rater-robustness distinguish them"
    ]


def _reduced_precisions(units: pd.DataFrame) -> set[tuple[str, str]]:
    """Return (model, precision) of the models whose network did not compute in float32."""
    if "model_options" not in units:
        return set()
    known = units[["model", "model_options"]].dropna().drop_duplicates()
    pairs = {(str(row.model), str(json.loads(str(row.model_options)).get("precision"))) for row in known.itertuples()}
    return {(model, precision) for model, precision in pairs if precision not in ("None", "float32")}


def warnings_of(runs: Runs) -> list[str]:
    """Return the warnings that every table of these runs must show."""
    notes = []
    records = runs.records
    if synthetic_models := sorted(set(records.loc[records["checkpoint"] == "synthetic", "model"])):
        notes.append(f"SYNTHETIC WEIGHTS, not a result: {', '.join(synthetic_models)}")
    notes += [
        f"{model} computed in {precision}, not in float32 (option precision)"
        for model, precision in sorted(_reduced_precisions(runs.units))
    ]
    clicked = {u: f.get("click_model", {}) for u, f in runs.header.get("users", {}).items()}
    if synthetic := sorted(u for u, f in clicked.items() if f.get("weights") == "synthetic"):
        notes.append(f"SYNTHETIC WEIGHTS of the click model, not a result: {', '.join(synthetic)}")
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
