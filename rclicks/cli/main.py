"""The command `rclicks`: parse, call, print. Nothing heavy is imported before a command needs it.

>>> main(["--version"])  # doctest: +ELLIPSIS
rclicks ...
0
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from rclicks import __version__
from rclicks.cli import _doctor, _ls, _run, _show, _table, _test
from rclicks.cli._terminal import complain
from rclicks.errors import RclicksError

__all__ = ["app", "main"]

EPILOG = (
    "Exit codes: 0 done; 1 another error; 2 wrong usage; 3 plug-in or unknown name; 4 data; 5 weights; "
    "6 benchmark, protocol or option; 7 run folder; 8 out of memory; 130 interrupted (the same command goes on). "
    "`rclicks test` passes on pytest's code; `rclicks doctor` ends with 1 if something is wrong."
)

app = typer.Typer(
    name="rclicks",
    help="Benchmark interactive segmentation: how well it works in real hands, and how much it depends on the clicks.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rclicks {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_version, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks of errors.")] = False,
) -> None:
    """Take the options that stand before the command."""


_HOW_IT_WORKS = "Work"
_WHAT_THERE_IS = "Look"
_WHAT_CAME_OUT = "Results"

app.command("ls", rich_help_panel=_WHAT_THERE_IS)(_ls.ls)
app.command("show", rich_help_panel=_WHAT_THERE_IS)(_show.show)
app.command("doctor", rich_help_panel=_WHAT_THERE_IS)(_doctor.doctor)
app.command("run", rich_help_panel=_HOW_IT_WORKS, epilog=_run.EPILOG)(_run.run)
app.command("test", rich_help_panel=_HOW_IT_WORKS)(_test.test)
app.command("table", rich_help_panel=_WHAT_CAME_OUT)(_table.table)
app.command("plot", rich_help_panel=_WHAT_CAME_OUT)(_table.plot)
app.command("report", rich_help_panel=_WHAT_CAME_OUT)(_table.report)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str or None
        What stands after ``rclicks``; None takes those of the process. ``--verbose`` may stand anywhere.

    Returns
    -------
    int
        0, or as the epilog of ``rclicks --help`` says. Errors that rclicks raises on purpose end in one message on
        stderr; anything else is a bug and keeps its traceback.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    plain = [w for w in words if w not in {"--verbose", "-v"}]
    verbose = len(plain) < len(words)
    try:
        app(args=(["--verbose", *plain] if verbose else plain), prog_name="rclicks")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except RclicksError as error:
        if verbose:
            import traceback

            traceback.print_exc()
        complain(str(error))
        return error.exit_code
    return 0
