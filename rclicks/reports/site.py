"""One static HTML page for one or more runs: tables, curves, failures and provenance.

The page opens from disk and loads nothing from the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from rclicks.analysis.runs import Runs, Table
from rclicks.analysis.tables import PRESETS, make_table
from rclicks.errors import ProtocolError
from rclicks.records.schema import TRAJECTORY
from rclicks.records.store import write_atomically
from rclicks.reports.figures import curve_figure, inline_svg
from rclicks.reports.formats import rounded

__all__ = ["write_site"]

MOST_FAILURES = 200
_NAMES = ("model", "dataset", "run", "user", "group")


@dataclass(frozen=True)
class _Cell:
    text: str
    sort: str
    numeric: bool
    best: bool


@dataclass(frozen=True)
class _Grid:
    """A table for the page.

    Attributes
    ----------
    title : str
    columns : list of str
    numeric : list of bool
        Whether each column contains numbers.
    rows : list of list of _Cell
    same : dict of str to str
        Value of each column that has one value in all rows; such columns are not in `columns`.
    notes : list of str
        Notes that are not common to all tables.
    """

    title: str
    columns: list[str]
    numeric: list[bool]
    rows: list[list[_Cell]]
    same: dict[str, str]
    notes: list[str]


def write_site(runs: Runs, folder: Path, headers: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
    """Write ``index.html`` into `folder` and return its path.

    Parameters
    ----------
    runs : Runs
        One or more runs. The tables and curves contain all of them.
    folder : Path
        Output folder.
    headers : mapping of str to dict, or None
        Content of run.json by name of the run, shown as provenance; None for the header of the first run.

    Raises
    ------
    RunError
        If the page cannot be written.
    ProtocolError
        If a metric that a curve needs was not stored.
    """
    sources = dict(headers) if headers else {str(runs.records["run"].iloc[0]): runs.header}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tables = []
    for preset in PRESETS:
        try:
            tables.append(make_table(runs, preset))
        except ProtocolError:  # the runs do not contain what this table needs
            continue
    common = [note for note in tables[0].notes if all(note in t.notes for t in tables)]
    warnings = [*common, *(w for h in sources.values() for w in _left_out(h))]
    figures = [
        (name, Markup(inline_svg(curve_figure(runs, name), f"f{i}")))  # noqa: S704 - matplotlib has escaped it
        for i, name in enumerate(runs.records["dataset"].unique())
    ]
    records = runs.records
    text = environment.get_template("index.html").render(
        title=" + ".join(dict.fromkeys(str(h["benchmark"]) for h in sources.values())),
        header=runs.header,
        protocol=runs.protocol,
        hashes=sorted({str(h["protocol_hash"]) for h in sources.values()}),
        sources=sources,
        tables=[_grid(t, common) for t in tables],
        warnings=list(dict.fromkeys(warnings)),
        figures=figures,
        failures=runs.failures.head(MOST_FAILURES).astype(object).fillna("").to_dict("records"),
        failed=len(runs.failures),
        images=len(records[["dataset", "sample"]].drop_duplicates()),
        objects=len(records[["dataset", "sample", "object"]].drop_duplicates()),
        trajectories=len(records[["run", *TRAJECTORY]].drop_duplicates()),
        rounds=len(records),
    )
    path = folder / "index.html"
    write_atomically(path, text.encode())
    return path


def _left_out(header: Mapping[str, Any]) -> list[str]:
    missing = [f"left out: {m['kind']} {m['name']}: {m['reason']}" for m in header.get("missing", [])]
    return [*header.get("notes", []), *missing]


def _grid(table: Table, common: list[str]) -> _Grid:
    """Return a table as cells with sort keys. Columns with one value in all rows are moved to the title."""
    frame, text = table.frame, rounded(table)
    several = len(frame) > 1
    same = {c: text[c].iloc[0] for c in _NAMES[1:] if several and c in frame and text[c].nunique() == 1}
    columns = [c for c in _NAMES if c in frame and c not in same]
    columns += [c for c in frame.columns if c not in _NAMES]
    numeric = {c: pd.api.types.is_numeric_dtype(frame[c]) for c in columns}
    best = _best(table)
    rows = [
        [
            _Cell(
                text.loc[i, c],
                ("" if pd.isna(frame.loc[i, c]) else repr(float(frame.loc[i, c]))) if numeric[c] else text.loc[i, c],
                numeric[c],
                bool(best.loc[i, c]),
            )
            for c in columns
        ]
        for i in frame.index
    ]
    notes = [note for note in table.notes if note not in common]
    return _Grid(table.title, columns, [numeric[c] for c in columns], rows, same, notes)


def _best(table: Table) -> pd.DataFrame:
    """Return a bool frame that is True for the best value of each data set in each column, if rows differ."""
    frame = table.frame
    best = pd.DataFrame(False, index=frame.index, columns=frame.columns)
    for column, direction in table.better.items():
        if column not in frame:
            continue
        for _, part in frame.groupby("dataset", sort=False):
            values = part[column].dropna()
            if values.nunique() > 1:
                best.loc[values.index, column] = values == (values.max() if direction == "higher" else values.min())
    return best
