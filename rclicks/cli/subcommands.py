"""The verbs ``clicks``, ``data``, ``supervoxels``, ``import`` and ``reproduce``.

Each verb imports heavy packages only when it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rclicks.cli.help import HelpGroup, verb
from rclicks.cli.options import DataRoot, Plugins, PrintFormat, TableFile, TableFormat, emit_table
from rclicks.cli.specs import split_specs

__all__ = [
    "IMPORT_EXAMPLE",
    "REPRODUCE_EXAMPLE",
    "SUPERVOXELS_EXAMPLE",
    "clicks_app",
    "data_app",
    "import_published",
    "reproduce",
    "supervoxels",
]

IMPORT_EXAMPLE = "rclicks import rclicks PUBLISHED_RESULTS -o runs/published"
REPRODUCE_EXAMPLE = "rclicks reproduce click-models --reference RCLICKS_CHECKOUT"
SUPERVOXELS_EXAMPLE = "rclicks supervoxels VOLUME.nii.gz -o supervoxels.nii.gz --segments 200"

clicks_app = typer.Typer(
    cls=HelpGroup,
    help="Compare click models with clicks of real people, and compare groups of people.",
    epilog="Example: rclicks clicks score clickability-mini,distance --clicks CLICKS",
    no_args_is_help=True,
)

ClickFile = Annotated[
    Path,
    typer.Option(
        "--clicks",
        metavar="PATH",
        help="CSV file of real clicks (plain or RClicks layout), or a folder of What's the Point.",
    ),
]
ClickSets = Annotated[
    list[str] | None,
    typer.Option(
        "--datasets",
        metavar="NAME[:OPTION=VALUE]",
        help="Data sets, separated by commas (default: all that the file names).",
    ),
]
Masks = Annotated[
    Path | None,
    typer.Option("--masks", metavar="FOLDER", help="Masks before the click, for clicks of later rounds."),
]
Rules = Annotated[
    str,
    typer.Option(
        "--protocol", metavar="NAME", help="default or compat (published flaws included).", show_default=False
    ),
]
Split = Annotated[
    str,
    typer.Option("--split", metavar="NAME", help="train or val: part of What's the Point."),
]


@verb(clicks_app, "score", "rclicks clicks score clickability-mini,distance --clicks CLICKS")
def clicks_score(
    models: Annotated[
        list[str],
        typer.Argument(metavar="NAME[:OPTION=VALUE]", help="Click models, see `rclicks ls click-models`."),
    ],
    clicks: ClickFile,
    datasets: ClickSets = None,
    masks: Masks = None,
    data_root: DataRoot = None,
    split: Split = "val",
    by_kind: Annotated[
        bool,
        typer.Option("--by-kind", help="Separate first clicks from clicks on false negatives and false positives."),
    ] = False,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Use only the first N items.")] = None,
    protocol: Rules = "default",
    kind: TableFormat = None,
    out: TableFile = None,
    plugins: Plugins = None,
) -> None:
    """Score click models on real clicks by PL1, KS, WD, NSS and PDE."""
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
    emit_table(made, kind, out)


@verb(clicks_app, "devices", "rclicks clicks devices --clicks CLICKS")
def clicks_devices(
    clicks: ClickFile,
    datasets: ClickSets = None,
    masks: Masks = None,
    data_root: DataRoot = None,
    protocol: Rules = "default",
    kind: PrintFormat = None,
) -> None:
    """Compare clicks on a PC with clicks on a phone."""
    from rclicks.cli.clicks import devices

    made = devices(clicks, split_specs(datasets) or [], masks=masks, data_root=data_root, protocol=protocol)
    emit_table(made, kind, None)


@verb(clicks_app, "displays", "rclicks clicks displays --clicks PREVIEWS --root PREVIEW_FOLDER")
def clicks_displays(
    clicks: Annotated[Path, typer.Option("--clicks", metavar="FILE", help="File previews.csv of the RClicks data.")],
    root: Annotated[
        Path, typer.Option("--root", metavar="FOLDER", help="Folder with images/ and masks/ of the previews.")
    ],
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Data set that reads this folder.")] = "TETRIS",
    kind: PrintFormat = None,
) -> None:
    """Compare clicks for different ways of showing the target to people.

    The clicks for each way are compared with the clicks of people who read a description of the target.
    """
    from rclicks.cli.clicks import displays

    emit_table(displays(clicks, root, dataset=dataset), kind, None)


@verb(clicks_app, "draw", "rclicks clicks draw clickability-mini 2010_000238/1 --clicks VOC_CLICKS_FOLDER -o map.png")
def clicks_draw(
    model: Annotated[str, typer.Argument(metavar="NAME[:OPTION=VALUE]", help="Click model.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="Item to draw, such as 2009_002216/8.")],
    clicks: ClickFile,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="PNG file to write, with an SVG file beside it.")
    ] = Path("clicks.png"),
    datasets: ClickSets = None,
    masks: Masks = None,
    data_root: DataRoot = None,
    split: Split = "val",
    photo: Annotated[
        bool, typer.Option("--photo/--no-photo", help="Show the image, or only the outline of the object.")
    ] = True,
    count: Annotated[int, typer.Option(metavar="N", help="Number of clicks sampled from the map.")] = 50,
) -> None:
    """Draw the click map of one object with sampled and real clicks."""
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


data_app = typer.Typer(
    cls=HelpGroup,
    help="Prepare data sets from raw data, and compare their raters.",
    epilog="Example: rclicks data raters multirater-folder:root=MY_FOLDER",
    no_args_is_help=True,
)


@verb(data_app, "prepare", "rclicks data prepare MBHSeg_binary RAW -o OUT")
def data_prepare(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:OPTION=VALUE]",
            help="Data set that can be prepared: `rclicks show NAME` prints `prepares yes`.",
        ),
    ],
    raw: Annotated[
        Path | None, typer.Argument(metavar="RAW", help="Folder or file of raw data, if the data set needs it.")
    ] = None,
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write. It must be empty or not exist.")
    ],
    plugins: Plugins = None,
) -> None:
    """Convert raw data to the files that a data set reads."""
    from rclicks.cli.data import prepare

    done = prepare(dataset, raw, out, plugins=plugins or [], report=lambda line: typer.echo(line, err=True))
    if done.failed:
        raise typer.Exit(9)


@verb(data_app, "raters", "rclicks data raters multirater-folder:root=MY_FOLDER")
def data_raters(
    dataset: Annotated[str, typer.Argument(metavar="NAME[:OPTION=VALUE]", help="Data set with several raters.")],
    data_root: DataRoot = None,
    kind: TableFormat = None,
    out: TableFile = None,
    plugins: Plugins = None,
) -> None:
    """Count the samples in which each rater drew, drew nothing, or has no file."""
    from rclicks.cli.data import rater_presence

    emit_table(rater_presence(dataset, data_root=data_root, plugins=plugins or []), kind, out)


@verb(data_app, "agreement", "rclicks data agreement LIDC --raters nonempty")
def data_agreement(
    datasets: Annotated[
        list[str], typer.Argument(metavar="NAME[:OPTION=VALUE]", help="One or more data sets with several raters.")
    ],
    raters: Annotated[
        str,
        typer.Option(metavar="RULE", help="Raters to count: present, nonempty or all."),
    ] = "present",
    staple: Annotated[
        bool, typer.Option("--staple/--no-staple", help="Also compare with the STAPLE consensus (slow).")
    ] = True,
    data_root: DataRoot = None,
    kind: TableFormat = None,
    out: TableFile = None,
    plugins: Plugins = None,
) -> None:
    """Measure how well the raters of data sets agree with each other.

    A model that reaches this agreement is as close to a rater as another rater is.
    """
    from rclicks.cli.data import agreement_table

    made = agreement_table(datasets, policy=raters, staple=staple, data_root=data_root, plugins=plugins or [])
    emit_table(made, kind, out)


def import_published(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="Format of the results: rclicks.")],
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="Pickle file with published results, or a folder that contains such files."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Run folder to write. It must not exist.")],
) -> None:
    """Convert published results to a run folder.

    The pickle files are read without running any code in them.
    """
    from rclicks.cli.reproducing import import_results

    import_results(kind, path, out)


def reproduce(
    what: Annotated[str, typer.Argument(metavar="TABLES", help="all, click-models, robustness or base.")] = "all",
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN", help="Run folders to compare with published numbers.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Checkout of the repository emb-ai/rclicks with the published numbers (default: the folder in the "
            "environment variable RCLICKS_REFERENCE).",
        ),
    ] = None,
    kind: PrintFormat = None,
) -> None:
    """Rebuild published tables and compare them with the printed numbers.

    The output states what is missing for the tables that cannot be rebuilt.
    """
    from rclicks.cli.reproducing import reproduce as rebuild

    tables, agree = rebuild(what, reference, runs or [])
    for made in tables:
        emit_table(made, kind, None)
    if not agree:
        raise typer.Exit(9)


_METHOD, _SAM, _OUTPUT = "Method", "Options of the method sam", "Measurement and output"


def supervoxels(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="VOLUME", help="Volumes (NIfTI, NRRD, MetaImage), or folders that contain them."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="File for one volume, or folder for CASE.nii.gz.")
    ],
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="slic, felzenszwalb (slice by slice), watershed or sam.", rich_help_panel=_METHOD
        ),
    ] = "slic",
    segments: Annotated[
        int, typer.Option(metavar="N", help="Wanted number of supervoxels; not for sam.", rich_help_panel=_METHOD)
    ] = 200,
    compactness: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Weight of position against grey value (default: of the method).", rich_help_panel=_METHOD
        ),
    ] = None,
    channel: Annotated[
        int | None,
        typer.Option(metavar="N", help="Channel to use if there are several, from 0.", rich_help_panel=_METHOD),
    ] = None,
    sam: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Checkpoint of SAM (default: published file).", rich_help_panel=_SAM),
    ] = None,
    sam2: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Checkpoint of SAM 2 (default: published file).", rich_help_panel=_SAM),
    ] = None,
    sam_model: Annotated[
        str, typer.Option(metavar="NAME", help="Registered model of --sam.", rich_help_panel=_SAM)
    ] = "sam-vit-h",
    sam2_model: Annotated[
        str, typer.Option(metavar="NAME", help="Registered model of --sam2.", rich_help_panel=_SAM)
    ] = "sam2.1-video-large",
    masks: Annotated[
        int, typer.Option(metavar="N", help="Largest number of masks in a slice.", rich_help_panel=_SAM)
    ] = 20,
    slices: Annotated[
        int, typer.Option(metavar="N", help="Number of axial slices, drawn at random.", rich_help_panel=_SAM)
    ] = 1,
    points: Annotated[
        int, typer.Option(metavar="N", help="Points per side of the grid of clicks for SAM.", rich_help_panel=_SAM)
    ] = 48,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="cpu, cuda or cuda:1.", rich_help_panel=_SAM)] = "cpu",
    seed: Annotated[
        int,
        typer.Option(metavar="N", help="Seed of random numbers; the other methods use none.", rich_help_panel=_SAM),
    ] = 42,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Label map, or folder of label maps, to measure the supervoxels against.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(metavar="MM", help="Tolerance of the boundary recall, in mm.", rich_help_panel=_OUTPUT)
    ] = 1.0,
    foreground: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Write nnU-Net foreground prompts: FILE.pkl, or folder for CASE.pkl.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Compute again what exists already.", rich_help_panel=_OUTPUT)
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the table to a .csv, .json, .md or .tex file.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="md, csv, latex or json (default: by the ending of --table, else md).",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
) -> None:
    """Divide volumes into supervoxels.

    The methods are classical ones, and masks of SAM that SAM 2 propagates through the slices.
    """
    from rclicks.cli.supervoxels import make, plan, sam_options

    done = make(
        plan(images, out, labels, foreground),
        method=method,
        segments=segments,
        compactness=compactness,
        sam=sam_options(sam, sam2, sam_model, sam2_model, device, masks=masks, slices=slices, points=points),
        seed=seed,
        channel=channel,
        tolerance=tolerance,
        force=force,
        say=lambda line: typer.echo(line, err=True),
    )
    emit_table(done.table, kind, table)
    if done.failed:
        raise typer.Exit(9)
