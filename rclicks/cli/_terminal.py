"""What all commands share: consoles, tables that fit the terminal, names with options, files.

>>> split_names(["geodesic,graph-cut", "recorded:file=a.csv,person=3,robot"])
['geodesic', 'graph-cut', 'recorded:file=a.csv,person=3', 'robot']
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rclicks.errors import RunError

if TYPE_CHECKING:
    from rich.console import Console

    from rclicks.analysis.tables import Table

__all__ = [
    "Json",
    "Plugins",
    "Runs",
    "complain",
    "console",
    "print_json",
    "print_notes",
    "print_table",
    "split_names",
    "write_text",
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugins", metavar="DIR", help="Extra plug-in folder; may be given several times."),
]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, as `rclicks run` made them.")]

# A comma ends a name unless it stands in [brackets], or what follows it is another key=value of the same name.
_COMMA = re.compile(r",(?![^\[\]]*\])")
_OPTION = re.compile(r"\s*[A-Za-z_]\w*=")


def split_names(values: Sequence[str] | None) -> list[str] | None:
    """Return single names from options that may be repeated or hold several, separated by commas.

    A part that looks like ``key=value`` belongs to the name with options (``name:key=value``) before it.
    """
    if not values:
        return None
    found: list[str] = []
    for value in values:
        first = True
        for part in _COMMA.split(value):
            if not first and _OPTION.match(part) and ":" in found[-1]:
                found[-1] += f",{part}"
            elif part.strip():
                found.append(part.strip())
                first = False
    return found


def console(stderr: bool = False) -> Console:
    """Return a console; lines are never wrapped when the output is not a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    terminal = stream.isatty()
    return Console(stderr=stderr, highlight=False, soft_wrap=not terminal, width=None if terminal else 200)


def complain(message: str) -> None:
    """Print an error on stderr: the word in red where there are colours, and no markup in the message."""
    from rich.text import Text

    text = Text("Error: ", style="bold red")
    text.append(message, style="red")
    console(stderr=True).print(text)


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    typer.echo(json.dumps(value, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (set, tuple)) else str(value)


def print_notes(notes: Iterable[str], out: Console | None = None) -> None:
    """Print what a reader must know, one line each, every line once."""
    from rich.padding import Padding
    from rich.text import Text

    out = out or console()
    for note in dict.fromkeys(notes):
        style = "yellow" if "SYNTHETIC" in note or "failed" in note or "not trained" in note else "dim"
        out.print(Padding(Text(f"- {note}", style=style), (0, 0, 0, 1)))


# What a narrow terminal can do without, the first to go first.
_DISPENSABLE = [
    r"NoF@(80|95)", r"IoU@5", r".* p95", r"NoC@(80|95)", r"metric median", r"encodes/image", r"NoF@85", r"IoU@10",
    r"clicks", r"user median", r"interactions", r"biou.*", r"NoF@90", r"NoC@85", r"IoU@1", r"failed", r"n",
]  # fmt: skip


def print_table(table: Table, out: Console | None = None) -> None:
    """Print a table, leaving out the least important columns where the terminal is too narrow, and saying so.

    Columns of one and the same text move into the caption; the best value of each data set is bold.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    from rclicks.analysis.formats import rounded

    out = out or console()
    frame = rounded(table)
    text_columns = [c for c in ("run", "dataset", "user", "group") if c in frame]
    constant = {c: frame[c].iloc[0] for c in text_columns if frame[c].nunique() == 1}
    frame = frame.drop(columns=list(constant))
    left_out: list[str] = []
    for pattern in _DISPENSABLE:
        if _width(frame) <= out.width:
            break
        gone = [c for c in frame.columns if re.fullmatch(pattern, c)]
        frame, left_out = frame.drop(columns=gone), left_out + gone
    best = _best(table)
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, title=Text(table.title, style="bold"), title_justify="left")
    numbers = {*table.digits, *table.better, "n", "failed", "images", "clicks", "interactions"}
    for column in frame.columns:
        right = column in numbers
        shown.add_column(Text(column), justify="right" if right else "left", no_wrap=right, overflow="fold")
    for i, row in zip(frame.index, frame.itertuples(index=False), strict=True):
        cells = zip(frame.columns, row, strict=True)
        shown.add_row(*(Text(str(v), style="bold green" if (i, c) in best else "") for c, v in cells))
    out.print(shown)
    if constant:
        out.print(Text(" " + ", ".join(f"{k} {v}" for k, v in constant.items()), style="dim"))
    if left_out:
        out.print(Text(f" not shown for want of width: {', '.join(left_out)} (see --format md)", style="dim"))


def _width(frame: Any) -> int:
    return sum(2 + max([len(str(c)), *(len(v) for v in frame[c])]) for c in frame.columns)


def _best(table: Table) -> set[tuple[Any, str]]:
    """Return (row, column) of the best value of each data set, where there is a choice and a difference."""
    best: set[tuple[Any, str]] = set()
    frame = table.frame
    parts = [p for _, p in frame.groupby("dataset", sort=False)] if "dataset" in frame else [frame]
    for part in parts:
        for column, direction in table.better.items():
            if column not in part or part[column].nunique() < 2:
                continue
            top = part[column].max() if direction == "higher" else part[column].min()
            best |= {(i, column) for i in part.index[part[column] == top]}
    return best


def write_text(path: Path, text: str) -> None:
    """Write a text file and the folders above it.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
