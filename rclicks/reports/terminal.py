"""Tables in a terminal. If the terminal is too narrow, the least important columns are left out."""

from __future__ import annotations

import re
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from rclicks.analysis.runs import Table
from rclicks.reports.formats import rounded

__all__ = ["best_cells", "print_table"]

_NAMES = ("run", "dataset", "model", "user", "group")
# Columns that are left out in a narrow terminal, in this order.
_DISPENSABLE = (
    r"Δ(SB|GR|HH) NoF",
    r"± NoF",
    r"ΔHH IoU",
    r"± (User|Sample@1)|NSR (User|Sample) %",
    r"(SB|GR) ratio %",
    r"ΔSB IoU",
    r"Sample NoC CI|ΔSB NoC % CI",
    r"NSR %",
    r"(Base|Sample) NoF",
    r"ΔHH NoC %",
    r"± IoU|ΔGR IoU",
    r"(Base|User|Sample) IoU@1",
    r"(Base|Sample) IoU",
    r"ΔGR NoC % CI",
    r"NoF@(80|95)",
    r"IoU@5",
    r".* p95",
    r"NoC@(80|95)",
    r"NoF@85",
    r"IoU@10",
    r"metric median|encodes/image",
    r"(DSC|NSD)(-| voxel-)AUC full",
    r"NSD voxel.*",
    r"(assd|volume-error).* final",
    r"(DSC|NSD)@5",
    r"NSD@\d+",
    r"NSD-AUC",
    r"(DSC|NSD)@box",
    r"volumes",
    r"s/interaction",
    r"hd95.* final",
    r"DSC-AUC",
    r"DSC@\d+",
    r"interactions|clicks",
    r"user median",
    r"(biou|dice)@1",
    r"NoF@90",
    r"NoC@85",
    r"(biou|dice) final",
    r"IoU@1",
    r"followed / inter-rater|reached",
    r"better|undefined",
    r"(followed rater|gap) CI",
    r"failed",
    r"n|images",
    r"samples",
    r"95 % CI",
)
_SHORTEST_NAME = 20
_TITLE_NAMES = {"dataset": "data set"}


def print_table(table: Table, console: Console) -> None:
    """Print a table in a terminal.

    Columns with one value in all rows are moved to the title. The best value of each data set is bold. If the terminal
    is too narrow, the least important columns are left out, and a note lists them. Names may be folded, numbers not.
    """
    frame = rounded(table)
    same = [c for c in ("run", "dataset", "user", "group", "reference") if c in frame and frame[c].nunique() == 1]
    words = "".join(f", {_TITLE_NAMES.get(c, c)} {frame[c].iloc[0]}" for c in same)
    frame = frame.drop(columns=same)
    hidden: list[str] = []
    for pattern in _DISPENSABLE:
        if _needed(frame) <= console.width:
            break
        out = [c for c in frame.columns if re.fullmatch(pattern, c)]
        frame, hidden = frame.drop(columns=out), hidden + out
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in frame.columns:
        if _folds(frame, column):
            grid.add_column(Text(column), overflow="fold")
        elif column == "metric":
            grid.add_column(Text(column), no_wrap=True, min_width=_width(frame, column))
        else:
            grid.add_column(Text(column), justify="right", no_wrap=True, min_width=_width(frame, column))
    best = best_cells(table)
    for i in frame.index:
        grid.add_row(*(Text(frame.loc[i, c], style="bold green" if (i, c) in best else "") for c in frame.columns))
    console.print(Text(table.title + words, style="bold"))
    console.print(grid)
    notes = [f"not shown at a width of {console.width} characters: {', '.join(hidden)}"] if hidden else []
    for note in (*table.notes, *notes):
        warning = any(w in note for w in ("SYNTHETIC", "failed", "not trained on", "overlaps", "has only"))
        console.print(Padding(Text(f"- {note}", style="yellow" if warning else "dim"), (0, 0)), soft_wrap=False)


def best_cells(table: Table) -> set[tuple[Any, str]]:
    """Return (row, column) of the best values of each data set, if rows differ."""
    best: set[tuple[Any, str]] = set()
    frame = table.frame
    parts = [p for _, p in frame.groupby("dataset", sort=False)] if "dataset" in frame else [frame]
    for part in parts:
        for column, direction in table.better.items():
            if column in part and part[column].nunique() > 1:
                top = part[column].max() if direction == "higher" else part[column].min()
                best |= {(i, column) for i in part.index[part[column] == top]}
    return best


def _folds(frame: Any, column: str) -> bool:
    """Return whether a column may be folded: it contains words, but not names of metrics, which users copy."""
    return column in _NAMES or (column != "metric" and bool(frame[column].str.contains("[A-Za-z]{3}").any()))


def _width(frame: Any, column: str) -> int:
    return max([len(column), *(len(v) for v in frame[column])])


def _needed(frame: Any) -> int:
    """Return the width in characters that a table needs if long names are folded."""
    folding = [_folds(frame, c) for c in frame.columns]
    widths = [
        min(_width(frame, c), _SHORTEST_NAME) if f else _width(frame, c) for c, f in zip(frame, folding, strict=True)
    ]
    return sum(widths) + 3 * len(widths)
