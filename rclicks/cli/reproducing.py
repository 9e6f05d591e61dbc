"""``rclicks import`` and ``rclicks reproduce``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from rclicks.analysis.reproduce import as_table, base_rule, click_models, click_models_by_kind, overview, robustness
from rclicks.analysis.runs import Table, load_runs
from rclicks.errors import DataError, UnknownNameError
from rclicks.records.published import import_published

__all__ = ["WHAT", "import_results", "reproduce"]

WHAT = ("all", "click-models", "robustness", "base")


def import_results(kind: str, path: Path, out: Path) -> None:
    """Import published results into a run folder and say what was read.

    Raises
    ------
    UnknownNameError
        If there is no reader for `kind`.
    """
    if kind != "rclicks":
        raise UnknownNameError("kind of results", kind, ["rclicks"])
    console = Console()
    done = import_published(path, out, lambda file, rows: console.print(f"{rows:8,} rows  {file}", highlight=False))
    console.print(f"{done.files} files, {done.rows:,} rows, {len(done.models)} models in {done.path}")
    console.print(f"next: rclicks table {done.path} --preset robustness", markup=False)


def reproduce(what: str, reference: Path | None, runs: Sequence[Path]) -> tuple[list[Table], bool]:
    """Return tables that compare published numbers with rebuilt ones, and whether all that could be compared agree.

    Raises
    ------
    UnknownNameError
        If `what` is none of WHAT.
    DataError
        If no reference folder is given, or it lacks files.
    """
    if what not in WHAT:
        raise UnknownNameError("table", what, WHAT)
    folder = reference or (Path(os.environ["RCLICKS_REFERENCE"]) if "RCLICKS_REFERENCE" in os.environ else None)
    if folder is None:
        raise DataError(
            "name the folder of published numbers by --reference or RCLICKS_REFERENCE: a checkout of the RClicks "
            "repository (emb-ai/rclicks), whose experiments/ has them"
        )
    played = load_runs(runs) if runs else None
    if what == "click-models":
        cells = click_models(folder)
        kinds = click_models_by_kind(folder)
        digits = {"ks": 2, "l1": 3, "wd": 3, "nss": 2, "pde": 7}
        by_kind = Table("Click models by click type (rebuilt from the scores of items)", kinds, digits)
        return [as_table(cells, "Published click-model tables"), by_kind], bool(cells["equal"].all())
    if what in ("robustness", "base"):
        if played is None:
            raise DataError(f"name the run folders to compare: rclicks reproduce {what} RUN (see rclicks import)")
        compare, title = (robustness, "Published robustness") if what == "robustness" else (base_rule, "Base rule")
        cells = compare(played, folder)
        if cells.empty:
            raise DataError(
                f"{folder} has no printed number for {', '.join(sorted(set(played.records['model'])))} on "
                f"{', '.join(sorted(set(played.records['dataset'])))} with {played.clicks} clicks"
            )
        return [as_table(cells, title)], bool(cells["equal"].all())
    found = overview(folder, played)
    frame = pd.DataFrame([(s.table, s.state, s.why) for s in found], columns=["table", "state", "why"])
    return [Table("Published tables", frame)], all(s.state != "differs" for s in found)
