"""One static page for one or more runs: tables, curves, provenance. Works from disk; nothing is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from rclicks.analysis.formats import rounded
from rclicks.analysis.tables import PRESETS, Runs, Table, make_table
from rclicks.errors import ProtocolError
from rclicks.records.store import write_atomically
from rclicks.reports.figures import curve_figure, to_svg

__all__ = ["write_site"]

MOST_FAILURES = 200


@dataclass(frozen=True)
class _Cell:
    text: str
    sort: str
    numeric: bool
    best: bool


def write_site(runs: Runs, folder: Path) -> Path:
    """Write ``index.html`` into `folder` and return its path."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rclicks.reports"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    tables = []
    for preset in PRESETS:
        try:
            tables.append(_cells(make_table(runs, preset)))
        except ProtocolError:  # a run without clicks has no NoC table
            continue
    datasets = list(runs.records["dataset"].unique())
    figures = [(name, Markup(to_svg(curve_figure(runs, name)))) for name in datasets]  # noqa: S704 - escaped by matplotlib
    session = runs.header["sessions"][-1]
    failures = runs.failures.head(MOST_FAILURES).astype(object).fillna("").to_dict("records")
    text = environment.get_template("index.html").render(
        header=runs.header,
        protocol=runs.protocol,
        session=session,
        tables=tables,
        figures=figures,
        failures=failures,
        failed=len(runs.failures),
        trajectories=len(
            runs.records.drop_duplicates(
                ["run", "model", "dataset", "sample", "object", "rater", "user", "group", "replicate"]
            )
        ),
        rounds=len(runs.records),
    )
    path = folder / "index.html"
    write_atomically(path, text.encode())
    return path


def _cells(table: Table) -> dict[str, object]:
    """Return a table as rows of cells with sort keys; the best value of each data set is marked."""
    text = rounded(table)
    best = pd.DataFrame(False, index=table.frame.index, columns=table.frame.columns)
    for column, direction in table.better.items():
        if column not in table.frame:
            continue
        values = pd.to_numeric(table.frame[column], errors="coerce")
        for _, part in table.frame.groupby("dataset", sort=False):
            own = values[part.index].dropna()
            if len(own) > 1 and own.nunique() > 1:
                best.loc[own.index, column] = own == (own.max() if direction == "higher" else own.min())
    rows = []
    for i in table.frame.index:
        row = []
        for column in table.frame.columns:
            value = table.frame.loc[i, column]
            numeric = pd.api.types.is_number(value)
            row.append(
                _Cell(
                    text.loc[i, column],
                    repr(float(value)) if numeric else str(value),
                    numeric,
                    bool(best.loc[i, column]),
                )
            )
        rows.append(row)
    return {"title": table.title, "columns": list(table.frame.columns), "rows": rows, "notes": table.notes}
