"""Options that several verbs share, and how a table leaves the command line; nothing heavy is imported here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "DataRoot",
    "Names",
    "OnlyDatasets",
    "OnlyModels",
    "OnlyUsers",
    "Plugins",
    "RunFolders",
    "TableFile",
    "TableFormat",
    "ThresholdMetric",
    "ThresholdValue",
    "emit_table",
]

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugins", help="Extra folder with adapters/, datasets/, users/, clickability/ or benchmarks/."),
]
Names = Annotated[
    list[str] | None, typer.Option(help="Names, separated by commas or repeated; name:key=value for options.")
]
TableFormat = Annotated[
    str | None,
    typer.Option(
        "--format", help="md, csv, latex or json (default: by the ending of --out; else a view in a terminal, or md)."
    ),
]
TableFile = Annotated[Path | None, typer.Option("--out", "-o", help="Write to a file instead.")]
RunFolders = Annotated[list[Path], typer.Argument(help="Run folders.")]
ThresholdMetric = Annotated[
    str, typer.Option("--metric", help="Round metric by which clicks are counted, such as dice.")
]
ThresholdValue = Annotated[
    float | None, typer.Option("--threshold", help="What counts as good (default: 0.9; noc: four of them).")
]
OnlyModels = Annotated[list[str] | None, typer.Option("--models", help="Only these models, as the table calls them.")]
OnlyDatasets = Annotated[list[str] | None, typer.Option("--datasets", help="Only these data sets.")]
OnlyUsers = Annotated[list[str] | None, typer.Option("--users", help="Only these users.")]
DataRoot = Annotated[Path | None, typer.Option("--data-root", help="Folder that holds the data sets' folders.")]


def emit_table(made: Any, kind: str | None, out: Path | None) -> None:
    """Print a table, or write it to a file."""
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
