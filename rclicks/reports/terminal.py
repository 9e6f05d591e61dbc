"""Tables in a terminal: what matters most fits, and numbers are never cut."""

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
# What a narrow terminal can do without, the first to go first.
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
    r"other raters",  # followed rater - gap
    r"identified",
)
_SHORTEST_NAME = 20
_SAID = {"dataset": "data set", "reference": "reference"}


def print_table(table: Table, console: Console) -> None:
    """Print a table for people.

    Columns that say the same in every row stand in the title, and the best value of each data set is bold. If the
    terminal is too narrow, headings are set in two lines. If that is not enough, the least important columns are left
    out and named. Names may fold, numbers never.
    """
    frame = rounded(table)
    same = [c for c in ("run", "dataset", "user", "group", "reference") if c in frame and frame[c].nunique() == 1]
    words = "".join(f", {_SAID.get(c, c)} {frame[c].iloc[0]}" for c in same)
    frame = frame.drop(columns=same)
    gone: list[str] = []
    fold = False
    for pattern in _DISPENSABLE:
        fold = _needed(frame) > console.width
        if _needed(frame, fold) <= console.width:
            break
        out = [c for c in frame.columns if re.fullmatch(pattern, c)]
        frame, gone = frame.drop(columns=out), gone + out
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in frame.columns:
        title, width = Text(_heading(column, fold)), _width(frame, column, fold)
        if _folds(frame, column):
            grid.add_column(title, overflow="fold")
        elif column == "metric":
            grid.add_column(title, no_wrap=True, min_width=width)
        else:
            grid.add_column(title, justify="right", no_wrap=True, min_width=width)
    best = best_cells(table)
    for i in frame.index:
        grid.add_row(*(Text(frame.loc[i, c], style="bold green" if (i, c) in best else "") for c in frame.columns))
    console.print(Text(table.title + words, style="bold"))
    console.print(grid)
    hidden = [c for c in table.frame.columns if c in gone]  # in the order of the table
    notes = [f"not shown in {console.width} columns: {', '.join(hidden)}"] if gone else []
    for note in (*table.notes, *notes):
        loud = any(w in note for w in ("SYNTHETIC", "failed", "not trained on", "overlaps", "has only"))
        console.print(Padding(Text(f"- {note}", style="yellow" if loud else "dim"), (0, 0)), soft_wrap=False)


def best_cells(table: Table) -> set[tuple[Any, str]]:
    """Return (row, column) of the best values of each data set, where rows differ."""
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
    """Tell whether a column holds words, which may fold, and not numbers, or names of metrics to be typed again."""
    return column in _NAMES or (column != "metric" and bool(frame[column].str.contains("[A-Za-z]{3}").any()))


def _heading(column: str, fold: bool) -> str:
    """Return the name of a column, in two lines at the space that makes them shortest if `fold` is set.

    >>> _heading("clicks to inter-rater", True).splitlines()
    ['clicks to', 'inter-rater']
    """
    spaces = [i for i, sign in enumerate(column) if sign == " "] if fold else []
    if not spaces:
        return column
    at = min(spaces, key=lambda i: max(i, len(column) - i - 1))
    return f"{column[:at]}\n{column[at + 1 :]}"


def _width(frame: Any, column: str, fold: bool = False) -> int:
    return max(len(text) for text in (*_heading(column, fold).splitlines(), *frame[column]))


def _needed(frame: Any, fold: bool = False) -> int:
    """Return the columns of the terminal that a table needs if long names fold."""
    widths = [
        min(_width(frame, c, fold), _SHORTEST_NAME) if _folds(frame, c) else _width(frame, c, fold) for c in frame
    ]
    return sum(widths) + 3 * len(widths)
