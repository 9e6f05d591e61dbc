"""``rclicks run``: plan, progress display and summary."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from rclicks.analysis.runs import load_runs
from rclicks.analysis.tables import make_table
from rclicks.benchmark import load_benchmark
from rclicks.cli.listing import counted
from rclicks.engine.cost import estimate
from rclicks.engine.plan import Plan, make_plan
from rclicks.engine.run import run_plan
from rclicks.engine.worker import Report
from rclicks.errors import DataError, ProtocolError
from rclicks.records.store import RunStore
from rclicks.registry import Registry
from rclicks.reports.terminal import print_table

__all__ = ["run_benchmark"]

LINE_EVERY_S = 5.0  # seconds between two lines of progress in a file or pipe


def run_benchmark(
    name: str,
    changes: Mapping[str, Any],
    *,
    plan_options: Mapping[str, Any],
    workers: int,
    out: Path | None,
    fresh: bool,
    dry_run: bool,
    as_json: bool,
    plugins: Sequence[Path],
) -> int:
    """Run a benchmark with the options of the command line; return the number of failures.

    Parameters
    ----------
    name : str
        Name of a benchmark, or path of a YAML file.
    changes : mapping
        Arguments of `Benchmark.changed`.
    plan_options : mapping
        Arguments of `make_plan`.
    workers : int
        Number of processes.
    out : Path or None
        Run folder; None means ``runs/`` and the name of the benchmark.
    fresh : bool
        True deletes an earlier run in the folder first.
    dry_run : bool
        True prints the plan and its cost, and writes nothing.
    as_json : bool
        True prints JSON on standard output, and everything else on standard error.
    plugins : sequence of Path
        Additional plug-in folders.

    Raises
    ------
    RclicksError
        One of the classes in `rclicks.errors`.
    """
    console = Console(stderr=as_json)
    registry = Registry.discover(plugins)
    benchmark = load_benchmark(name, registry).changed(registry, **changes)
    plan = make_plan(benchmark, registry, **plan_options)
    folder = out or Path("runs") / benchmark.name
    if dry_run:
        _show_plan(plan, registry, folder, as_json, console)
        return 0
    for note in _notes(plan):
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    started = time.monotonic()
    with _ProgressDisplay(console) as display:
        summary = run_plan(
            plan,
            folder,
            workers=workers,
            fresh=fresh,
            arguments={"argv": sys.argv[1:]},
            on_start=display.start,
            on_report=display.report,
        )
    seconds = time.monotonic() - started
    if as_json:
        facts = {"run": str(folder), "units": summary.units, "played": summary.played, "failures": summary.failed}
        print(json.dumps(facts | {"clicks": summary.clicks, "seconds": seconds}))
        return summary.failed
    if not summary.failed and not summary.clicks and summary.played == summary.units:
        raise DataError(
            f"nothing was recorded in {summary.units} units: the data sets have no object (check their options, "
            "such as labels), or no user made an interaction"
        )
    if plan.keep_masks and summary.played < summary.units:
        count = summary.units - summary.played
        note = f"the masks of {count} units that were done before are not written; --fresh runs these units again"
        console.print(f"[yellow]note:[/] {note}", highlight=False, soft_wrap=True)
    _show_table(folder, plan, console)
    rate = f", {summary.clicks / seconds:.1f} clicks/s" if summary.clicks else ""
    console.print(f"{summary.played} of {summary.units} units run in {seconds:.1f} s{rate}", highlight=False)
    console.print(f"records  {folder / 'records.parquet'}", highlight=False, soft_wrap=True)
    if summary.failed:
        console.print(
            f"[red]{summary.failed} failed[/], see `rclicks show {folder}`; the same command runs failed images again",
            highlight=False,
            soft_wrap=True,
        )
    return summary.failed


def _show_table(folder: Path, plan: Plan, console: Console) -> None:
    try:
        runs = load_runs([folder])
    except ProtocolError as error:  # no records: everything failed, or no user made an interaction
        console.print(f"[yellow]note:[/] {error}", highlight=False, soft_wrap=True)
        return
    try:
        table = make_table(runs, "volumes" if plan.dims == 3 else "noc")
    except ProtocolError:  # no user clicks, or Dice was not stored
        table = make_table(runs, "iou")
    print_table(table, console)


def _notes(plan: Plan) -> list[str]:
    return [*plan.notes, *(f"left out: {m.kind} {m.name}: {m.short}" for m in plan.missing)]


def _show_plan(plan: Plan, registry: Registry, folder: Path, as_json: bool, console: Console) -> None:
    header = RunStore(folder).read_header()
    mine = header is not None and header.get("identity") == plan.identity
    done = RunStore(folder).done() if mine else set()
    cost = estimate(plan, registry, done)
    todo = [u for u in plan.units if u.key not in done]
    facts = {
        "benchmark": plan.benchmark.name,
        "protocol": plan.benchmark.protocol.name,
        "protocol_hash": plan.benchmark.protocol.hash,
        "identity": plan.identity,
        "models": {m: {"weights": plan.checkpoints[m], "users": list(u)} for m, u in plan.players.items()},
        "users": {u: facts | {"files": plan.files.get(u, {})} for u, facts in plan.users.items()},
        "datasets": {d: sum(u.dataset == d for u in plan.units) // len(plan.players) for d in plan.roots},
        "units": len(plan.units),
        "done": len(plan.units) - len(todo),
        "encodings": len(todo),
        "trajectories": cost.trajectories,
        "predictions_at_most": cost.predictions,
        "predictions_exact": cost.exact,
        "unreadable": list(cost.unreadable),
        "rounds_per_trajectory": plan.benchmark.protocol.clicks,
        "batch_size": plan.batch_size,
        "threads": plan.threads,
        "devices": list(plan.devices),
        "out": str(folder),
        "notes": _notes(plan),
    }
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    grid = RichTable(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("benchmark", f"{facts['benchmark']}, protocol {facts['protocol']} ({facts['protocol_hash']})")
    for model, users in plan.players.items():
        grid.add_row("model", f"{model} (weights: {plan.checkpoints[model]}), users: {', '.join(users)}")
    for user in plan.users:
        if words := _user_words(plan, user):
            grid.add_row("user", f"{user}: {words}")
    for dataset, root in plan.roots.items():
        n = sum(u.dataset == dataset for u in plan.units) // len(plan.players)
        grid.add_row("data set", f"{dataset}: {counted(n, 'sample')}{f' in {root}' if root else ''}")
    about = "" if cost.exact else "about "
    clicks = plan.benchmark.protocol.clicks
    grid.add_row("units", f"{len(plan.units):,} (one model on one image); {facts['done']:,} of them are done")
    trajectories = f"{cost.trajectories:,} {'trajectory' if cost.trajectories == 1 else 'trajectories'}"
    words = f"{counted(len(todo), 'encoding')}, {about}{trajectories} of at most {counted(clicks, 'round')}: "
    grid.add_row("to run", f"{words}at most {about}{cost.predictions:,} predictions")
    grid.add_row(
        "compute",
        f"{', '.join(plan.devices)}; batch size {plan.batch_size}, {counted(plan.threads, 'CPU thread')} per worker",
    )
    grid.add_row("out", f"{folder} (dry run: nothing is written)")
    console.print(grid, highlight=False)
    if header is not None and not mine:
        console.print(
            f"[red]{folder} contains a run of another plan[/]; choose another --out, or --fresh to delete this run"
        )
    for note in [*_notes(plan), *(f"cannot be decoded: {words}" for words in cost.unreadable)]:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)


def _user_words(plan: Plan, label: str) -> str:
    """Return the click model and the files of a user as text; "" for a user without either."""
    model = plan.users[label].get("click_model")
    words = [f"click model {model['name']} (weights: {model['weights']})"] if model else []
    return ", ".join([*words, *(f"{option} {place}" for option, place in plan.files.get(label, {}).items())])


class _ProgressDisplay(AbstractContextManager["_ProgressDisplay"]):
    """Progress of a run: a bar in a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.clicks = self.failed = self.played = self.total = self.done = 0
        self.started = self.last = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} clicks/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[red]{task.fields[failed]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("images x models", rate="-", failed="", total=None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def start(self, total: int, done: int) -> None:
        """Start the display with the total number of units and the number of those done before."""
        self.total, self.done = total, done
        self.bar.start()
        self.bar.update(self.task, total=total, completed=done)
        if done and not self.console.is_terminal:
            print(f"{done} of {total} units are done already", flush=True, file=self.console.file)

    def report(self, report: Report) -> None:
        """Count a unit that has ended, and show its failure."""
        self.played += 1
        self.clicks += report.clicks
        self.failed += report.failures
        now = time.monotonic()
        rate = self.clicks / max(now - self.started, 1e-9)
        if self.console.is_terminal:
            failed = f"{self.failed} failed" if self.failed else ""
            self.bar.update(self.task, advance=1, rate=f"{rate:.1f}", failed=failed)
            if report.message:
                self.bar.console.print(f"failed: {report.unit.model}: {report.message}", markup=False, highlight=False)
            return
        if report.message:
            print(f"failed: {report.unit.model}: {report.message}", flush=True, file=self.console.file)
        finished = self.done + self.played
        if now - self.last > LINE_EVERY_S or finished == self.total:
            self.last = now
            left = (now - self.started) / self.played * (self.total - finished)
            words = f"{finished}/{self.total} units, {rate:.1f} clicks/s, {self.failed} failed, {left:.0f} s left"
            print(words, flush=True, file=self.console.file)
