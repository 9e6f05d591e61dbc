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
    """Convert published results to the run folder `out` and print what was read.

    Raises
    ------
    UnknownNameError
        If the format `kind` is not "rclicks".
    RclicksError
        If files are missing or damaged, or `out` exists.
    """
    if kind != "rclicks":
        raise UnknownNameError("format of results", kind, ["rclicks"])
    console = Console()
    done = import_published(path, out, lambda file, rows: console.print(f"{rows:8,} rows  {file}", highlight=False))
    console.print(f"{done.files} files, {done.rows:,} rows, {len(done.models)} models in {done.path}")
    console.print(f"next: rclicks table {done.path} --preset robustness", markup=False)


def reproduce(what: str, reference: Path | None, runs: Sequence[Path]) -> tuple[list[Table], bool]:
    """Return tables that compare published with rebuilt numbers, and True if all compared numbers agree.

    Parameters
    ----------
    what : str
        Tables to rebuild, one of WHAT.
    reference : Path or None
        Checkout of the repository emb-ai/rclicks; None takes the folder in RCLICKS_REFERENCE.
    runs : sequence of Path
        Run folders with the records to compare.

    Raises
    ------
    UnknownNameError
        If `what` is not in WHAT.
    DataError
        If a folder is not given or has no numbers to compare.
    """
    if what not in WHAT:
        raise UnknownNameError("table", what, WHAT)
    folder = reference or (Path(os.environ["RCLICKS_REFERENCE"]) if "RCLICKS_REFERENCE" in os.environ else None)
    if folder is None:
        raise DataError(
            "no folder of published numbers is given; pass --reference or set RCLICKS_REFERENCE to a checkout of the "
            "repository emb-ai/rclicks (its folder experiments/ has the numbers)"
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
            raise DataError(
                f"no run folder is given; enter `rclicks reproduce {what} RUN` (see `rclicks import --help`)"
            )
        compare, title = (robustness, "Published robustness") if what == "robustness" else (base_rule, "Base rule")
        cells = compare(played, folder)
        if cells.empty:
            raise DataError(
                f"{folder} has no published number for {', '.join(sorted(set(played.records['model'])))} on "
                f"{', '.join(sorted(set(played.records['dataset'])))} with {played.clicks} clicks"
            )
        return [as_table(cells, title)], bool(cells["equal"].all())
    found = overview(folder, played)
    frame = pd.DataFrame([(s.table, s.state, s.why) for s in found], columns=["table", "state", "why"])
    return [Table("Published tables", frame)], all(s.state != "differs" for s in found)
