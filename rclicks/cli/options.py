"""Options that several verbs share, and the output of tables. Heavy packages are imported only when a table is made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "NAME",
    "DataRoot",
    "Device",
    "Json",
    "MixedProtocols",
    "OnlyDatasets",
    "OnlyModels",
    "OnlyUsers",
    "Plugins",
    "PrintFormat",
    "RunFolders",
    "TableFile",
    "TableFormat",
    "ThresholdMetric",
    "ThresholdValue",
    "emit_table",
]

NAME = "NAME[:OPTION=VALUE]"

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugins", metavar="FOLDER", help="Additional plug-in folder. May be repeated."),
]
TableFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="md, csv, latex or json (default: ending of --out, else text in a terminal or md).",
    ),
]
PrintFormat = Annotated[
    str | None,
    typer.Option("--format", metavar="FORMAT", help="md, csv, latex or json (default: text in a terminal, else md)."),
]
TableFile = Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the table to this file.")]
RunFolders = Annotated[list[Path], typer.Argument(metavar="RUN", help="One or more run folders.")]
ThresholdMetric = Annotated[
    str,
    typer.Option("--metric", metavar="METRIC", help="Score that has to reach the threshold, such as dice."),
]
ThresholdValue = Annotated[
    float | None,
    typer.Option("--threshold", metavar="X", help="Score that counts as good enough (default: 0.9; noc: four values)."),
]
OnlyModels = Annotated[
    list[str] | None,
    typer.Option("--models", metavar="NAME", help="Only these models, as the tables name them, separated by commas."),
]
OnlyDatasets = Annotated[
    list[str] | None, typer.Option("--datasets", metavar="NAME", help="Only these data sets, separated by commas.")
]
OnlyUsers = Annotated[
    list[str] | None, typer.Option("--users", metavar="NAME", help="Only these users, separated by commas.")
]
MixedProtocols = Annotated[bool, typer.Option("--mix", help="Allow runs with different protocols.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", metavar="FOLDER", help="Folder that contains the folders of the data sets."),
]
Device = Annotated[str, typer.Option("--device", metavar="DEVICE", help="cpu, cuda or cuda:1.")]


def emit_table(made: Any, kind: str | None, out: Path | None) -> None:
    """Print a table, or write it to a file.

    Parameters
    ----------
    made : rclicks.analysis.runs.Table
        Table.
    kind : str or None
        Format: "md", "csv", "latex" or "json". None takes the format from the ending of `out`, else "md"; in a terminal
        without `out` it prints a coloured table that fits the width.
    out : Path or None
        File to write; None prints to standard output.

    Raises
    ------
    UnknownNameError
        If the format is unknown.
    """
    from rclicks.records.store import write_atomically
    from rclicks.reports.formats import render

    if kind is None and out is None and sys.stdout.isatty():
        from rich.console import Console

        from rclicks.reports.terminal import print_table

        print_table(made, Console(highlight=False))
        return
    ending = "" if out is None else out.suffix.removeprefix(".")
    text = render(made, kind or {"tex": "latex", "csv": "csv", "json": "json"}.get(ending, "md"))
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, text.encode())
