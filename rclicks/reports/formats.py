"""Write a table as Markdown, CSV, LaTeX or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable

import pandas as pd
from tabulate import tabulate

from rclicks.analysis.runs import Table
from rclicks.errors import UnknownNameError

__all__ = ["FORMATS", "render"]


def render(table: Table, kind: str) -> str:
    """Return a table as text that ends with a newline.

    Parameters
    ----------
    table : Table
    kind : {"md", "csv", "latex", "json"}
        Name of the format.

    Raises
    ------
    UnknownNameError
        If there is no such format.
    """
    if kind not in FORMATS:
        raise UnknownNameError("format", kind, FORMATS)
    return FORMATS[kind](table).rstrip("\n") + "\n"


def rounded(table: Table) -> pd.DataFrame:
    """Return the rows of a table as text, with the number of decimals of each column. Missing values become "-"."""
    frame = table.frame.copy().astype(object)
    for column in frame.columns:
        digits = table.digits.get(column)
        if digits is not None:
            frame[column] = [f"{v:.{digits}f}" if pd.notna(v) else "-" for v in table.frame[column]]
    return frame.fillna("-").astype(str)


def _markdown(table: Table) -> str:
    frame = rounded(table)
    numeric = [pd.api.types.is_numeric_dtype(table.frame[c]) for c in table.frame.columns]
    align = ["right" if n else "left" for n in numeric]
    body = tabulate(
        frame.to_numpy().tolist(), list(frame.columns), tablefmt="pipe", colalign=align, disable_numparse=True
    )
    notes = "".join(f"\n- {note}" for note in table.notes)
    return f"**{table.title}**\n\n{body}\n{notes}"


def _csv(table: Table) -> str:
    return table.frame.to_csv(index=False)


def _latex(table: Table) -> str:
    frame = rounded(table)
    for column, direction in table.better.items():
        if column in frame and len(frame) > 1 and "dataset" in frame:
            pick = "idxmax" if direction == "higher" else "idxmin"
            for _, part in table.frame.groupby("dataset", sort=False):
                values = pd.to_numeric(part[column], errors="coerce")
                if len(part) > 1 and values.notna().any():
                    best = values == values[getattr(values, pick)()]
                    for i in part.index[best]:
                        frame.loc[i, column] = rf"\textbf{{{frame.loc[i, column]}}}"
    keep = {c: _escape(c) for c in frame.columns}
    for column in frame.columns:
        if not pd.api.types.is_numeric_dtype(table.frame[column]):
            frame[column] = frame[column].map(_escape)
    columns = "".join("r" if pd.api.types.is_numeric_dtype(table.frame[c]) else "l" for c in frame.columns)
    text = (
        frame.rename(columns=keep)
        .style.hide(axis="index")
        .to_latex(column_format=columns, hrules=True, caption=_escape(table.title), position_float="centering")
    )
    return text + "".join(f"% {note}\n" for note in table.notes)


def _escape(text: str) -> str:
    for plain, safe in (
        ("\\", r"\textbackslash{}"),
        ("_", r"\_"),
        ("%", r"\%"),
        ("&", r"\&"),
        ("#", r"\#"),
        ("$", r"\$"),
    ):
        text = text.replace(plain, safe)
    return text


def _json(table: Table) -> str:
    rows = json.loads(table.frame.to_json(orient="records", double_precision=15))
    return json.dumps({"title": table.title, "rows": rows, "notes": list(table.notes)}, indent=2)


FORMATS: dict[str, Callable[[Table], str]] = {"md": _markdown, "csv": _csv, "latex": _latex, "json": _json}
