"""Run a plan: skip the finished units, run the others, merge the shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rclicks.engine.plan import Plan
from rclicks.engine.pool import run_here, run_processes
from rclicks.engine.provenance import describe_machine, describe_packages, describe_source, now
from rclicks.engine.worker import Report
from rclicks.errors import RunError
from rclicks.records.schema import SCHEMA_VERSION
from rclicks.records.store import RunStore, load_failures, load_units

__all__ = ["Summary", "run_plan"]


@dataclass(frozen=True)
class Summary:
    """Summary of a call of `run_plan`.

    Attributes
    ----------
    path : Path
        The run folder.
    units : int
        Number of units of the plan.
    played : int
        Number of units that this call ran.
    failed : int
        Number of units and trajectories that failed in the whole run.
    clicks : int
        Number of rounds that this call recorded.
    """

    path: Path
    units: int
    played: int
    failed: int
    clicks: int


def run_plan(
    plan: Plan,
    out: Path,
    *,
    workers: int = 1,
    fresh: bool = False,
    arguments: Mapping[str, Any] | None = None,
    on_start: Callable[[int, int], None] = lambda total, done: None,
    on_report: Callable[[Report], None] = lambda report: None,
) -> Summary:
    """Run all units of `plan` that are not in the run folder `out` yet.

    Parameters
    ----------
    plan : Plan
    out : Path
        The run folder. It is created if it does not exist.
    workers : int
        Number of worker processes; 1 runs in this process. The records do not depend on it.
    fresh : bool
        Whether the records of an earlier run in `out` are deleted first.
    arguments : mapping
        Arguments as passed by the caller; stored for provenance.
    on_start : callable (total, done) -> None
        Function that is called once with the number of units of the plan and the number of units already done.
    on_report : callable (Report) -> None
        Function that is called after each unit.

    Raises
    ------
    RunError
        If there are fewer workers than devices, or the folder belongs to another plan or cannot be written. Finished
        units are never lost.
    """
    if workers < max(1, len(plan.devices)):
        raise RunError(f"workers is {workers}; expected at least one for each of {', '.join(plan.devices)}")
    store = RunStore(out)
    if fresh:
        store.clear()
    header = store.read_header()
    if header is None and out.exists() and any(not f.name.endswith(".tmp") for f in out.iterdir()):
        raise RunError(f"{out} contains files but is not a run folder; choose another folder with --out")
    if header is not None and header.get("identity") != plan.identity:
        raise RunError(
            f"{out} contains a run of another plan (benchmark {header.get('benchmark')!r}, identity "
            f"{header.get('identity')}, now {plan.identity}): other users, metrics, protocol, seed, batch size, "
            "threads, kind of device or version. Choose another folder with --out, or delete the run with --fresh."
        )
    _check_labels(plan, header or {}, out)
    done = store.done()
    todo = [u for u in plan.units if u.key not in done]
    store.write_header(_header(plan, workers, arguments or {}, header))
    on_start(len(plan.units), len(plan.units) - len(todo))
    clicks = 0

    def count(report: Report) -> None:
        nonlocal clicks
        clicks += report.clicks
        on_report(report)

    if todo:
        try:
            if workers == 1:
                run_here(plan, store, todo, count)
            else:
                run_processes(plan, store, todo, workers, count)
        finally:
            store.sweep()
    if todo or store.shards.exists() or not (out / "failures.parquet").exists():
        store.compact([u.key for u in plan.units])
    header = store.read_header() or {}
    store.write_header(header | {"finished": now(), "data": _data_hashes(out), "models": _model_facts(out)})
    return Summary(out, len(plan.units), len(todo), len(load_failures(out)), clicks)


def _check_labels(plan: Plan, header: Mapping[str, Any], out: Path) -> None:
    """Raise RunError if a label means something else in the folder, because different rows would have one label."""
    before = header.get("effective", {})
    now = json.loads(json.dumps(asdict(plan.benchmark), default=str))
    for key in ("models", "datasets"):
        known = {spec["label"]: spec for spec in before.get(key, [])}
        for spec in now[key]:
            if known.get(spec["label"], spec) != spec:
                raise RunError(
                    f"{out} already has other {key[:-1]} settings under the label {spec['label']!r}; choose another one"
                )
    for label, weights in plan.checkpoints.items():
        if header.get("checkpoints", {}).get(label, weights) != weights:
            raise RunError(
                f"{out} has rows of {label} with other weights; choose another label, or another folder with --out"
            )


def _merged(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the specs of the earlier plans of a folder and of this plan, one for each label."""
    return list({spec["label"]: spec for spec in (*before, *now)}.values())


def _header(plan: Plan, workers: int, arguments: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    session = {
        "started": now(),
        "workers": workers,
        "arguments": dict(arguments),
        "packages": describe_packages(),
        "machine": describe_machine(plan.devices),
        "source": describe_source(),
    }
    earlier = before or {}
    old = earlier.get("effective", {})
    sessions = [*earlier.get("sessions", []), session]
    study = asdict(plan.benchmark)
    study |= {key: _merged(old.get(key, []), study[key]) for key in ("models", "datasets")}
    return {
        "schema": SCHEMA_VERSION,
        "benchmark": plan.benchmark.name,
        "identity": plan.identity,
        "effective": study
        | {
            "lanes": plan.batch_size,
            "threads": plan.threads,
            "devices": list(plan.devices),
            "rater_identity": old.get("rater_identity", {}) | plan.rater_identity,
            "players": old.get("players", {}) | plan.players,
            "roots": {k: str(v) if v else None for k, v in plan.roots.items()},
            "files": plan.files,
        },
        "protocol_hash": plan.benchmark.protocol.hash,
        "checkpoints": earlier.get("checkpoints", {}) | plan.checkpoints,
        "users": plan.users,
        "missing": [asdict(m) for m in plan.missing],
        "notes": list(plan.notes),
        "sessions": sessions,
    }


def _model_facts(out: Path) -> dict[str, dict[str, Any]]:
    """Return the licence and the effective options of each model of the run, by label."""
    units = load_units(out)
    if "model_options" not in units:
        return {}
    last = units.dropna(subset=["model_options"]).drop_duplicates("model", keep="last")
    return {
        str(row.model): {"licence": str(row.licence), "options": json.loads(str(row.model_options))}
        for row in last.itertuples()
    }


def _data_hashes(out: Path) -> dict[str, dict[str, Any]]:
    """Return the number of samples of the run and a hash of their decoded content, by data set."""
    units = load_units(out)
    found: dict[str, dict[str, Any]] = {}
    if units.empty:
        return found
    for name, rows in units.groupby("dataset"):
        pairs = sorted(set(zip(rows["sample"], rows["data_sha256"], strict=True)))
        found[str(name)] = {
            "samples": len(pairs),
            "sha256": hashlib.sha256(repr(pairs).encode()).hexdigest(),
        }
    return found
