"""The ``rclicks`` command: verbs, options and exit codes; everything heavy is imported by the verb that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rclicks.cli.words import split_specs
from rclicks.errors import RclicksError

__all__ = ["app", "main"]

EPILOG = (
    "Exit codes: 0 success, 1 unexpected error, 2 wrong usage, 3 unknown name or broken plug-in, 4 data, 5 weights, "
    "6 benchmark or protocol, 7 run folder, 8 out of memory, 9 some samples failed, 130 interrupted."
)

app = typer.Typer(
    help="Benchmark interactive segmentation: how well it works in real hands, and how much it depends on clicks.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugins", help="Extra folder with adapters/, datasets/, users/, clickability/ or benchmarks/."),
]
Names = Annotated[
    list[str] | None, typer.Option(help="Names, separated by commas or repeated; name:key=value for options.")
]
TableFormat = Annotated[
    str | None,
    typer.Option("--format", help="md, csv, latex or json [by the ending of --out; else a view in a terminal, or md]."),
]
TableFile = Annotated[Path | None, typer.Option("--out", "-o", help="Write to a file instead.")]
RunFolders = Annotated[list[Path], typer.Argument(help="Run folders.")]


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
    metrics: Annotated[list[str] | None, typer.Option(help="Round metrics, separated by commas.")] = None,
    protocol: Annotated[str | None, typer.Option(help="default or compat")] = None,
    clicks: Annotated[int | None, typer.Option(help="Budget of interactions.")] = None,
    limit: Annotated[int | None, typer.Option(help="Samples a data set, the first ones.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None,
    workers: Annotated[int, typer.Option(help="Processes; records do not depend on it.")] = 1,
    devices: Annotated[str, typer.Option(help="Separated by commas, such as cuda:0,cuda:1.")] = "cpu",
    lanes: Annotated[int | None, typer.Option(help="Canonical batch of networks [1 on a CPU, 16 otherwise].")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads a worker; part of the run's identity.")] = 1,
    data_root: Annotated[Path | None, typer.Option(help="Folder that holds the data sets' folders.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder [runs/BENCHMARK].")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run in that folder first.")] = False,
    skip_missing: Annotated[
        bool | None, typer.Option("--skip-missing/--no-skip-missing", help="Leave out what has no data or weights.")
    ] = None,
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
                "lanes": lanes,
                "threads": threads,
                "data_root": data_root,
                "skip_missing": skip_missing,
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
    preset: Annotated[str, typer.Option(help="noc, iou, time or rclicks (robustness)")] = "noc",
    kind: TableFormat = None,
    out: TableFile = None,
    mix: Annotated[bool, typer.Option("--mix", help="Allow runs of different protocols in one table.")] = False,
) -> None:
    """Make a table from the records of one or more runs."""
    from rclicks.analysis.runs import load_runs
    from rclicks.analysis.tables import make_table

    _put_out(make_table(load_runs(runs, mix=mix), preset), kind, out)


@app.command()
def compare(
    runs: RunFolders,
    kind: TableFormat = None,
    out: TableFile = None,
    mix: Annotated[bool, typer.Option("--mix", help="Allow runs of different protocols.")] = False,
) -> None:
    """Test models against each other, object by object, on their clicks in all groups."""
    from rclicks.analysis.robustness_table import compare_models
    from rclicks.analysis.runs import load_runs

    _put_out(compare_models(load_runs(runs, mix=mix)), kind, out)


def _put_out(made: Any, kind: str | None, out: Path | None) -> None:
    """Print a table, or write it to a file."""
    from rclicks.analysis.formats import render
    from rclicks.records.store import write_atomically

    if kind is None and out is None and sys.stdout.isatty():
        from rich.console import Console

        from rclicks.cli.tables import print_table

        print_table(made, Console(highlight=False))
        return
    ending = "" if out is None else out.suffix.removeprefix(".")
    text = render(made, kind or {"tex": "latex", "csv": "csv", "json": "json"}.get(ending, "md"))
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, text.encode())


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
        Path | None, typer.Option(help="Folder of published numbers: a checkout of emb-ai/rclicks [RCLICKS_REFERENCE].")
    ] = None,
    kind: TableFormat = None,
) -> None:
    """Rebuild published tables and compare them to the printed digit; say what is missing for the others."""
    from rclicks.cli.reproducing import reproduce as rebuild

    tables, agree = rebuild(what, reference, runs or [])
    for made in tables:
        _put_out(made, kind, None)
    if not agree:
        raise typer.Exit(9)


clicks_app = typer.Typer(help="Score click models on real clicks, and compare groups of people.", no_args_is_help=True)
app.add_typer(clicks_app, name="clicks")

ClickFile = Annotated[
    Path, typer.Option("--clicks", help="CSV of real clicks (plain or RClicks layout), or a What's the Point folder.")
]
ClickSets = Annotated[list[str] | None, typer.Option("--datasets", help="Data sets [all that the file names].")]
Masks = Annotated[Path | None, typer.Option("--masks", help="Folder of previous masks of later rounds.")]
DataRoot = Annotated[Path | None, typer.Option("--data-root", help="Folder that holds the data sets' folders.")]
Rules = Annotated[str, typer.Option("--protocol", help="default or compat")]


@clicks_app.command("score")
def clicks_score(
    models: Annotated[list[str], typer.Argument(help="Click models, as `rclicks ls click-models` lists them.")],
    clicks: ClickFile,
    datasets: ClickSets = None,
    masks: Masks = None,
    data_root: DataRoot = None,
    split: Annotated[str, typer.Option(help="Of a What's the Point folder: train or val.")] = "val",
    by_kind: Annotated[bool, typer.Option("--by-kind", help="A row for each of first, fn and fp.")] = False,
    limit: Annotated[int | None, typer.Option(help="Items, the first ones.")] = None,
    protocol: Rules = "default",
    kind: TableFormat = None,
    out: TableFile = None,
    plugins: Plugins = None,
) -> None:
    """Score click models by PL1, KS, WD, NSS and PDE on real clicks."""
    from rclicks.cli.clicks import score

    made = score(
        split_specs(models) or [],
        clicks,
        split_specs(datasets) or [],
        masks=masks,
        data_root=data_root,
        split=split,
        by_kind=by_kind,
        limit=limit,
        protocol=protocol,
        plugins=plugins or [],
    )
    _put_out(made, kind, out)


@clicks_app.command("devices")
def clicks_devices(
    clicks: ClickFile,
    datasets: ClickSets = None,
    masks: Masks = None,
    data_root: DataRoot = None,
    protocol: Rules = "default",
    kind: TableFormat = None,
) -> None:
    """Compare clicks made on a PC with clicks made on a phone."""
    from rclicks.cli.clicks import devices

    made = devices(clicks, split_specs(datasets) or [], masks=masks, data_root=data_root, protocol=protocol)
    _put_out(made, kind, None)


@clicks_app.command("displays")
def clicks_displays(
    clicks: Annotated[Path, typer.Option("--clicks", help="previews.csv of the RClicks data.")],
    root: Annotated[Path, typer.Option("--root", help="Folder with images/ and masks/ of the previews.")],
    dataset: Annotated[str, typer.Option(help="Layout of that folder.")] = "TETRIS",
    kind: TableFormat = None,
) -> None:
    """Compare clicks under each way of showing the target with those of people who read its description."""
    from rclicks.cli.clicks import displays

    _put_out(displays(clicks, root, dataset=dataset), kind, None)


@clicks_app.command("draw")
def clicks_draw(
    model: Annotated[str, typer.Argument(help="A click model.")],
    key: Annotated[str, typer.Argument(help="The item, such as 2009_002216/8.")],
    clicks: ClickFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG and SVG are written.")] = Path("clicks.png"),
    datasets: ClickSets = None,
    masks: Masks = None,
    data_root: DataRoot = None,
    split: Annotated[str, typer.Option(help="Of a What's the Point folder: train or val.")] = "val",
    photo: Annotated[bool, typer.Option(help="Show the image, or only the object's outline.")] = True,
    count: Annotated[int, typer.Option(help="Clicks drawn from the map.")] = 50,
) -> None:
    """Draw one object's click map with clicks drawn from it, beside the clicks of real people."""
    from rclicks.cli.clicks import draw

    files = draw(
        model,
        clicks,
        key,
        split_specs(datasets) or [],
        masks=masks,
        data_root=data_root,
        split=split,
        out=out,
        photo=photo,
        count=count,
    )
    typer.echo("\n".join(map(str, files)))


@app.command()
def plot(
    runs: RunFolders,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder [RUN/figures].")] = None,
    metric: Annotated[str, typer.Option(help="A stored round metric.")] = "iou",
    mix: Annotated[bool, typer.Option("--mix", help="Allow runs of different protocols.")] = False,
) -> None:
    """Draw the mean IoU after each click, one figure a data set, as PNG and SVG."""
    from rclicks.analysis.runs import load_runs
    from rclicks.reports.figures import save_curves

    for file in save_curves(load_runs(runs, mix=mix), out or runs[0] / "figures", metric):
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
