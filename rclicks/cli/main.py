"""The ``rclicks`` command: verbs, options and exit codes; everything heavy is imported by the verb that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rclicks.cli.demo import demo
from rclicks.cli.options import (
    Names,
    OnlyDatasets,
    OnlyModels,
    OnlyUsers,
    Plugins,
    RunFolders,
    TableFile,
    TableFormat,
    ThresholdMetric,
    ThresholdValue,
    emit_table,
)
from rclicks.cli.specs import split_specs
from rclicks.cli.subcommands import clicks_app, data_app, supervoxels
from rclicks.cli.train import EPILOG as TRAIN_EPILOG
from rclicks.cli.train import train
from rclicks.errors import RclicksError

__all__ = ["app", "main"]

EPILOG = (
    "Exit codes: 0 success, 1 unexpected error, 2 wrong usage, 3 unknown name or broken plug-in, 4 data, 5 weights, "
    "6 benchmark or protocol, 7 run folder, 8 out of memory, 9 some samples failed, 130 interrupted."
)

app = typer.Typer(
    help="Benchmark interactive segmentation: how many clicks models need, and how this depends on where people click.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(clicks_app, name="clicks")
app.add_typer(data_app, name="data")
app.command("train", epilog=TRAIN_EPILOG)(train)
app.command("supervoxels")(supervoxels)
app.command("demo")(demo)


def _version(wanted: bool) -> None:
    if wanted:
        from rclicks import __version__

        typer.echo(f"rclicks {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the traceback of errors; may stand anywhere.")
    ] = False,
) -> None:
    """Hold the options of all verbs; `main` itself looks for --verbose."""


@app.command("ls")
def list_things(
    kind: Annotated[str, typer.Argument(help="models, datasets, users, click-models, metrics or benchmarks")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    plugins: Plugins = None,
) -> None:
    """List what is registered."""
    from rclicks.cli.listing import list_kind

    list_kind(kind, as_json, plugins or [])


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A model, data set, user, metric, benchmark or run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    plugins: Plugins = None,
) -> None:
    """Show all that is known about one thing."""
    from rclicks.cli.listing import show_name

    show_name(name, as_json, plugins or [])


@app.command()
def run(
    benchmark: Annotated[str, typer.Argument(help="Name of a benchmark or path of a YAML file.")],
    models: Names = None,
    datasets: Names = None,
    users: Names = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="Reference masks with several raters: raters (each), majority, union, intersection or staple."
        ),
    ] = None,
    metrics: Annotated[list[str] | None, typer.Option(help="Round metrics, separated by commas.")] = None,
    protocol: Annotated[str | None, typer.Option(help="default or compat")] = None,
    clicks: Annotated[int | None, typer.Option(help="Budget of interactions.")] = None,
    limit: Annotated[int | None, typer.Option(help="Samples a data set, the first ones.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None,
    workers: Annotated[int, typer.Option(help="Processes; records do not depend on it.")] = 1,
    devices: Annotated[str, typer.Option(help="Separated by commas, such as cuda:0,cuda:1.")] = "cpu",
    batch_size: Annotated[
        int | None, typer.Option(help="Canonical batch of networks (default: 1 on a CPU, 16 otherwise).")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads a worker; part of the run's identity.")] = 1,
    data_root: Annotated[Path | None, typer.Option(help="Folder that holds the data sets' folders.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/BENCHMARK).")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run in that folder first.")] = False,
    skip_missing: Annotated[
        bool | None,
        typer.Option(
            "--skip-missing/--no-skip-missing",
            help="Leave out what has no data, weights or click file (default: as the benchmark says, but nothing that "
            "--models, --datasets or --users name).",
        ),
    ] = None,
    save_masks: Annotated[
        bool, typer.Option("--save-masks", help="Keep each last mask: NIfTI in the image's own space, or PNG.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show plan and cost, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary for machines.")] = False,
    plugins: Plugins = None,
) -> None:
    """Play users against models and write a record for each round; the same command goes on after an interruption."""
    from rclicks.cli.running import run_benchmark

    changes: dict[str, Any] = {
        "models": split_specs(models),
        "datasets": split_specs(datasets),
        "users": split_specs(users),
        "reference": split_specs(reference),
        "metrics": split_specs(metrics),
        "protocol": protocol,
        "clicks": clicks,
        "limit": limit,
        "seed": seed,
    }
    try:
        failed = run_benchmark(
            benchmark,
            changes,
            plan_options={
                "devices": tuple(d.strip() for d in devices.split(",")),
                "batch_size": batch_size,
                "threads": threads,
                "data_root": data_root,
                "skip_missing": skip_missing,
                "keep_masks": save_masks,
            },
            workers=workers,
            out=out,
            fresh=fresh,
            dry_run=dry_run,
            as_json=as_json,
            plugins=plugins or [],
        )
    except KeyboardInterrupt:  # caught here, because typer would end without a word
        again = "the same command" + (" without --fresh" if fresh else "")
        _complain(f"interrupted; all finished work is kept, and {again} goes on from here")
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(9)


@app.command()
def table(
    runs: RunFolders,
    preset: Annotated[
        str,
        typer.Option(help="noc, iou, time, robustness, volumes, raters, rater-matrix, rater-robustness or rater-sets."),
    ] = "noc",
    models: OnlyModels = None,
    datasets: OnlyDatasets = None,
    users: OnlyUsers = None,
    metric: ThresholdMetric = "iou",
    threshold: ThresholdValue = None,
    kind: TableFormat = None,
    out: TableFile = None,
    mix: Annotated[bool, typer.Option("--mix", help="Allow runs of different protocols in one table.")] = False,
) -> None:
    """Make a table from the records of one or more runs."""
    from rclicks.analysis.runs import Threshold, filter_runs, load_runs
    from rclicks.analysis.tables import make_table

    found = filter_runs(
        load_runs(runs, mix=mix),
        models=split_specs(models) or (),
        datasets=split_specs(datasets) or (),
        users=split_specs(users) or (),
    )
    emit_table(make_table(found, preset, Threshold(metric, threshold)), kind, out)


@app.command()
def compare(
    runs: RunFolders,
    models: OnlyModels = None,
    datasets: OnlyDatasets = None,
    users: OnlyUsers = None,
    metric: ThresholdMetric = "iou",
    threshold: ThresholdValue = None,
    kind: TableFormat = None,
    out: TableFile = None,
    mix: Annotated[bool, typer.Option("--mix", help="Allow runs of different protocols.")] = False,
) -> None:
    """Test models against each other, object by object, on their clicks in all groups."""
    from rclicks.analysis.robustness_table import compare_models
    from rclicks.analysis.runs import Threshold, filter_runs, load_runs

    found = filter_runs(
        load_runs(runs, mix=mix),
        models=split_specs(models) or (),
        datasets=split_specs(datasets) or (),
        users=split_specs(users) or (),
    )
    emit_table(compare_models(found, Threshold(metric, threshold)), kind, out)


@app.command("import")
def import_published(
    kind: Annotated[str, typer.Argument(help="rclicks")],
    path: Annotated[Path, typer.Argument(help="A published result pickle, or a folder with any number of them below.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to write; must not exist.")],
) -> None:
    """Read published results into a run folder; pickles are opened by a reader that runs no code."""
    from rclicks.cli.reproducing import import_results

    import_results(kind, path, out)


@app.command()
def reproduce(
    what: Annotated[str, typer.Argument(help="all, click-models, robustness or base")] = "all",
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders to compare with published numbers.")] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Folder of published numbers: a checkout of emb-ai/rclicks (default: what RCLICKS_REFERENCE names)."
        ),
    ] = None,
    kind: TableFormat = None,
) -> None:
    """Rebuild published tables and compare them to the printed digit; say what is missing for the others."""
    from rclicks.cli.reproducing import reproduce as rebuild

    tables, agree = rebuild(what, reference, runs or [])
    for made in tables:
        emit_table(made, kind, None)
    if not agree:
        raise typer.Exit(9)


@app.command()
def plot(
    runs: RunFolders,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder (default: RUN/figures).")] = None,
    metric: Annotated[str, typer.Option(help="A stored round metric.")] = "iou",
    mix: Annotated[bool, typer.Option("--mix", help="Allow runs of different protocols.")] = False,
) -> None:
    """Draw the mean IoU after each click, one figure a data set, as PNG and SVG; also click groups and raters."""
    from rclicks.analysis.runs import load_runs
    from rclicks.reports.figures import save_curves
    from rclicks.reports.rater_figure import save_rater_figures

    found, folder = load_runs(runs, mix=mix), out or runs[0] / "figures"
    for file in (*save_curves(found, folder, metric), *save_rater_figures(found, folder)):
        typer.echo(str(file))


@app.command()
def report(
    runs: RunFolders,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the page.")] = Path("site"),
    mix: Annotated[bool, typer.Option("--mix", help="Allow runs of different protocols.")] = False,
) -> None:
    """Write one static page with tables and curves; it works from disk without a network."""
    from rclicks.analysis.runs import load_runs
    from rclicks.records.store import load_run
    from rclicks.reports.site import write_site

    headers = {folder.name: load_run(folder) for folder in runs}
    typer.echo(str(write_site(load_runs(runs, mix=mix), out, headers)))


@app.command("test")
def check_plugins(
    folder: Annotated[Path | None, typer.Argument(help="A plug-in folder; without, everything registered.")] = None,
) -> None:
    """Run the conformance suite on plug-ins (needs pytest)."""
    from rclicks.cli.checking import run_conformance

    raise typer.Exit(run_conformance(folder))


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Say what is installed, which data and weights are found, and what is missing."""
    from rclicks.cli.checking import examine

    examine(as_json)


def main() -> None:
    """Run the command line; rclicks' own errors become one line and an exit code, others keep their traceback."""
    words = [w for w in sys.argv[1:] if w != "--verbose"]
    verbose = len(words) < len(sys.argv) - 1
    try:
        app(words, prog_name="rclicks")
    except RclicksError as error:
        if verbose:
            import traceback

            traceback.print_exc()
        _complain(str(error))
        sys.exit(error.exit_code)


def _complain(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble(("error: ", "bold red"), (message, "red"))
    Console(stderr=True, soft_wrap=True, highlight=False).print(text)
