"""The ``rclicks`` command: verbs, options and exit codes. Each verb imports heavy packages only when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rclicks.cli.demo import EXAMPLE as DEMO_EXAMPLE
from rclicks.cli.demo import demo
from rclicks.cli.help import HelpGroup, verb
from rclicks.cli.options import (
    NAME,
    DataRoot,
    Json,
    MixedProtocols,
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
from rclicks.cli.subcommands import (
    IMPORT_EXAMPLE,
    REPRODUCE_EXAMPLE,
    SUPERVOXELS_EXAMPLE,
    clicks_app,
    data_app,
    import_published,
    reproduce,
    supervoxels,
)
from rclicks.cli.train import EXAMPLE as TRAIN_EXAMPLE
from rclicks.cli.train import train
from rclicks.errors import RclicksError

__all__ = ["app", "main"]

EPILOG = (
    "Exit codes: 0 success, 1 unexpected error, 2 wrong usage, 3 unknown name or broken plug-in, 4 data, 5 weights, "
    "6 benchmark or protocol, 7 run folder, 8 out of memory, 9 some samples failed, 130 interrupted."
    "\n\nExample: rclicks run quickstart --models geodesic,graph-cut --limit 3"
)
# Headings of the list of verbs.
RUNS, LOOK_UP, EXTEND, DATA = "Benchmarks", "Information", "Your own models", "Data, clicks and published results"
# Headings of the options of `run`.
WHAT, RULES, COMPUTING, FILES = "What to run", "Rules", "Computation", "Files and output"

app = typer.Typer(
    cls=HelpGroup,
    help="Measure interactive segmentation: how many clicks a model needs, and how much it depends on where users "
    "click.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from rclicks import __version__

        typer.echo(f"rclicks {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print the traceback of errors. May stand anywhere in the command.")
    ] = False,
) -> None:
    """Define the options of all verbs. `main` itself looks for --verbose."""


@verb(app, "run", "rclicks run quickstart --models geodesic,graph-cut --limit 3", panel=RUNS)
def run(
    benchmark: Annotated[str, typer.Argument(metavar="BENCHMARK", help="Name of a benchmark, or path of a YAML file.")],
    models: Annotated[
        list[str] | None,
        typer.Option(
            metavar=NAME, help="Models, separated by commas (default: of the benchmark).", rich_help_panel=WHAT
        ),
    ] = None,
    datasets: Annotated[
        list[str] | None, typer.Option(metavar=NAME, help="Data sets, separated by commas.", rich_help_panel=WHAT)
    ] = None,
    users: Annotated[
        list[str] | None, typer.Option(metavar=NAME, help="Users, separated by commas.", rich_help_panel=WHAT)
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="Reference masks if several raters drew: raters (each of them), majority, union, intersection or "
            "staple.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC", help="Metrics to store after each round, separated by commas.", rich_help_panel=WHAT
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Use only the first N samples of each data set.", rich_help_panel=WHAT),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="default or compat (published flaws included).", rich_help_panel=RULES),
    ] = None,
    clicks: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Budget: largest number of interactions in a trajectory.", rich_help_panel=RULES
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of all random numbers.", rich_help_panel=RULES)
    ] = None,
    workers: Annotated[
        int,
        typer.Option(metavar="N", help="Number of processes. Records do not depend on it.", rich_help_panel=COMPUTING),
    ] = 1,
    devices: Annotated[
        str,
        typer.Option(metavar="DEVICE", help="One or more devices, such as cuda:0,cuda:1.", rich_help_panel=COMPUTING),
    ] = "cpu",
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Trajectories per network call (default: 1 on a CPU, else 16).",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(metavar="N", help="CPU threads per worker. Records can depend on it.", rich_help_panel=COMPUTING),
    ] = 1,
    data_root: DataRoot = None,
    skip_missing: Annotated[
        bool | None,
        typer.Option(
            "--skip-missing/--no-skip-missing",
            help="Leave out what has no data, weights or click file (default: as the benchmark says, except for names "
            "given by --models, --datasets or --users).",
            rich_help_panel=FILES,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Run folder (default: runs/BENCHMARK).", rich_help_panel=FILES
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete an earlier run in this folder first.", rich_help_panel=FILES)
    ] = False,
    save_masks: Annotated[
        bool,
        typer.Option(
            "--save-masks", help="Keep the last mask of each trajectory as PNG or NIfTI.", rich_help_panel=FILES
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the plan and its cost. Run and write nothing.", rich_help_panel=FILES),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON.", rich_help_panel=FILES)] = False,
    plugins: Plugins = None,
) -> None:
    """Run a benchmark: simulate users, run models and record every round.

    If a run was interrupted, the same command resumes it.
    """
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
    except KeyboardInterrupt:  # typer would exit without a message
        again = "the same command" + (" without --fresh" if fresh else "")
        _complain(f"interrupted; all finished work is kept. To resume the run, enter {again}")
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(9)


@verb(app, "table", "rclicks table runs/quickstart --preset noc --format latex", panel=RUNS)
def table(
    runs: RunFolders,
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="noc, iou, time, robustness, volumes, raters, rater-matrix, rater-robustness or rater-sets.",
        ),
    ] = "noc",
    models: OnlyModels = None,
    datasets: OnlyDatasets = None,
    users: OnlyUsers = None,
    metric: ThresholdMetric = "iou",
    threshold: ThresholdValue = None,
    kind: TableFormat = None,
    out: TableFile = None,
    mix: MixedProtocols = False,
) -> None:
    """Make a table from one or more runs."""
    from rclicks.analysis.runs import Threshold, filter_runs, load_runs
    from rclicks.analysis.tables import make_table

    found = filter_runs(
        load_runs(runs, mix=mix),
        models=split_specs(models) or (),
        datasets=split_specs(datasets) or (),
        users=split_specs(users) or (),
    )
    emit_table(make_table(found, preset, Threshold(metric, threshold)), kind, out)


@verb(app, "compare", "rclicks compare runs/rclicks --threshold 0.9", panel=RUNS)
def compare(
    runs: RunFolders,
    models: OnlyModels = None,
    datasets: OnlyDatasets = None,
    users: OnlyUsers = None,
    metric: ThresholdMetric = "iou",
    threshold: ThresholdValue = None,
    kind: TableFormat = None,
    out: TableFile = None,
    mix: MixedProtocols = False,
) -> None:
    """Compare models by paired tests on the same objects.

    The tests compare the number of clicks of each object, averaged over all click groups.
    """
    from rclicks.analysis.robustness_table import compare_models
    from rclicks.analysis.runs import Threshold, filter_runs, load_runs

    found = filter_runs(
        load_runs(runs, mix=mix),
        models=split_specs(models) or (),
        datasets=split_specs(datasets) or (),
        users=split_specs(users) or (),
    )
    emit_table(compare_models(found, Threshold(metric, threshold)), kind, out)


@verb(app, "plot", "rclicks plot runs/quickstart -o figures", panel=RUNS)
def plot(
    runs: RunFolders,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the figures (default: RUN/figures)."),
    ] = None,
    metric: Annotated[str, typer.Option(metavar="METRIC", help="Metric to draw, stored after each round.")] = "iou",
    mix: MixedProtocols = False,
) -> None:
    """Draw the mean score after each click as PNG and SVG figures.

    Each data set has its own figure. Further figures show click groups and raters, if the runs have them.
    """
    from rclicks.analysis.runs import load_runs
    from rclicks.reports.figures import save_curves
    from rclicks.reports.rater_figure import save_rater_figures

    found, folder = load_runs(runs, mix=mix), out or runs[0] / "figures"
    for file in (*save_curves(found, folder, metric), *save_rater_figures(found, folder)):
        typer.echo(str(file))


@verb(app, "report", "rclicks report runs/quickstart -o site", panel=RUNS)
def report(
    runs: RunFolders,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the page.")] = Path("site"),
    mix: MixedProtocols = False,
) -> None:
    """Write an HTML page with tables and curves.

    The page opens from disk, without a network connection.
    """
    from rclicks.analysis.runs import load_runs
    from rclicks.records.store import load_run
    from rclicks.reports.site import write_site

    headers = {folder.name: load_run(folder) for folder in runs}
    typer.echo(str(write_site(load_runs(runs, mix=mix), out, headers)))


@verb(app, "ls", "rclicks ls models", panel=LOOK_UP)
def list_things(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="models, datasets, users, click-models, metrics or benchmarks.")
    ],
    as_json: Json = False,
    plugins: Plugins = None,
) -> None:
    """List models, data sets, users, click models, metrics or benchmarks."""
    from rclicks.cli.listing import list_kind

    list_kind(kind, as_json, plugins or [])


@verb(app, "show", "rclicks show ritm-h18s", panel=LOOK_UP)
def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name of anything that `rclicks ls` lists, or a run folder."),
    ],
    as_json: Json = False,
    plugins: Plugins = None,
) -> None:
    """Show the facts about one model, data set, user, metric, benchmark or run."""
    from rclicks.cli.listing import show_name

    show_name(name, as_json, plugins or [])


@verb(app, "doctor", "rclicks doctor", panel=LOOK_UP)
def doctor(as_json: Json = False) -> None:
    """Check the installation: packages, devices, data and weights."""
    from rclicks.cli.checking import examine

    examine(as_json)


verb(app, "train", TRAIN_EXAMPLE, panel=EXTEND)(train)


@verb(app, "test", "rclicks test MY_PLUGINS", panel=EXTEND)
def check_plugins(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Plug-in folder (default: all registered plug-ins).")
    ] = None,
) -> None:
    """Check plug-ins with the conformance suite (needs pytest)."""
    from rclicks.cli.checking import run_conformance

    raise typer.Exit(run_conformance(folder))


verb(app, "demo", DEMO_EXAMPLE, panel=LOOK_UP)(demo)
app.add_typer(data_app, name="data", rich_help_panel=DATA)
app.add_typer(clicks_app, name="clicks", rich_help_panel=DATA)
verb(app, "supervoxels", SUPERVOXELS_EXAMPLE, panel=DATA)(supervoxels)
verb(app, "import", IMPORT_EXAMPLE, panel=DATA)(import_published)
verb(app, "reproduce", REPRODUCE_EXAMPLE, panel=DATA)(reproduce)


def main() -> None:
    """Run the command line. An `RclicksError` becomes one line and an exit code; other errors keep their traceback."""
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
