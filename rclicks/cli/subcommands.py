"""The verbs that have verbs of their own (``rclicks clicks`` and ``data``), and ``rclicks supervoxels``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rclicks.cli.options import DataRoot, Plugins, TableFile, TableFormat, emit_table
from rclicks.cli.specs import split_specs

__all__ = ["clicks_app", "data_app", "supervoxels"]

clicks_app = typer.Typer(help="Score click models on real clicks, and compare groups of people.", no_args_is_help=True)

ClickFile = Annotated[
    Path, typer.Option("--clicks", help="CSV of real clicks (plain or RClicks layout), or a What's the Point folder.")
]
ClickSets = Annotated[
    list[str] | None, typer.Option("--datasets", help="Data sets (default: all that the file names).")
]
Masks = Annotated[Path | None, typer.Option("--masks", help="Folder of previous masks of later rounds.")]
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
    emit_table(made, kind, out)


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
    emit_table(made, kind, None)


@clicks_app.command("displays")
def clicks_displays(
    clicks: Annotated[Path, typer.Option("--clicks", help="previews.csv of the RClicks data.")],
    root: Annotated[Path, typer.Option("--root", help="Folder with images/ and masks/ of the previews.")],
    dataset: Annotated[str, typer.Option(help="Layout of that folder.")] = "TETRIS",
    kind: TableFormat = None,
) -> None:
    """Compare clicks under each way of showing the target with those of people who read its description."""
    from rclicks.cli.clicks import displays

    emit_table(displays(clicks, root, dataset=dataset), kind, None)


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


data_app = typer.Typer(help="Bring data into the form that data sets read.", no_args_is_help=True)


@data_app.command("prepare")
def data_prepare(
    dataset: Annotated[str, typer.Argument(help="A data set with `prepares: yes` in `rclicks show`, and options.")],
    raw: Annotated[Path | None, typer.Argument(help="Folder or file of raw data, where the data set needs it.")] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; absent or empty.")],
    plugins: Plugins = None,
) -> None:
    """Bring raw data into the form that a data set reads, such as MBHSeg_binary:window=[0,80] RAW -o OUT."""
    from rclicks.cli.data import prepare

    done = prepare(dataset, raw, out, plugins=plugins or [], report=lambda line: typer.echo(line, err=True))
    if done.failed:
        raise typer.Exit(9)


@data_app.command("raters")
def data_raters(
    dataset: Annotated[str, typer.Argument(help="A data set, such as multirater-folder:root=MY_FOLDER.")],
    data_root: DataRoot = None,
    kind: TableFormat = None,
    out: TableFile = None,
    plugins: Plugins = None,
) -> None:
    """Say how often each rater of a data set drew, drew nothing, or has no file."""
    from rclicks.cli.data import rater_presence

    emit_table(rater_presence(dataset, data_root=data_root, plugins=plugins or []), kind, out)


@data_app.command("agreement")
def data_ceiling(
    datasets: Annotated[list[str], typer.Argument(help="Data sets of several raters.")],
    raters: Annotated[str, typer.Option(help="present, nonempty or all.")] = "present",
    staple: Annotated[bool, typer.Option(help="Also the agreement with STAPLE, which takes longest.")] = True,
    data_root: DataRoot = None,
    kind: TableFormat = None,
    out: TableFile = None,
    plugins: Plugins = None,
) -> None:
    """Say how well people agree with each other: what no model needs to exceed."""
    from rclicks.cli.data import agreement_table

    made = agreement_table(datasets, policy=raters, staple=staple, data_root=data_root, plugins=plugins or [])
    emit_table(made, kind, out)


def supervoxels(
    images: Annotated[list[Path], typer.Argument(help="Volumes (NIfTI, NRRD, MetaImage), or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A file for one volume, or a folder for CASE.nii.gz.")],
    method: Annotated[str, typer.Option(help="slic, felzenszwalb (slice by slice), watershed or sam.")] = "slic",
    segments: Annotated[int, typer.Option(help="Supervoxels to aim at; not for sam.")] = 200,
    compactness: Annotated[
        float | None, typer.Option(help="Place against grey value (default: of the method).")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label map, or a folder of them, to measure the supervoxels against.")
    ] = None,
    foreground: Annotated[
        Path | None, typer.Option(help="Write nnU-Net foreground prompts: FILE.pkl, or a folder for CASE.pkl.")
    ] = None,
    sam: Annotated[str | None, typer.Option(help="Checkpoint of SAM (default: published file).")] = None,
    sam2: Annotated[str | None, typer.Option(help="Checkpoint of SAM 2 (default: published file).")] = None,
    sam_model: Annotated[str, typer.Option(help="Registered model that --sam belongs to.")] = "sam-vit-h",
    sam2_model: Annotated[str, typer.Option(help="Registered model that --sam2 belongs to.")] = "sam2.1-video-large",
    masks: Annotated[int, typer.Option(help="sam: the most masks of a slice.")] = 20,
    slices: Annotated[int, typer.Option(help="sam: axial slices that are drawn.")] = 1,
    points: Annotated[int, typer.Option(help="sam: points a side of the grid that SAM is asked at.")] = 48,
    device: Annotated[str, typer.Option(help="sam: cpu, cuda or cuda:1.")] = "cpu",
    seed: Annotated[int, typer.Option(help="sam: seed of what is drawn; slic and the others draw nothing.")] = 42,
    channel: Annotated[int | None, typer.Option(help="Which one of several to take; the first is 0.")] = None,
    tolerance: Annotated[float, typer.Option(help="Of the boundary recall, in mm.")] = 1.0,
    force: Annotated[bool, typer.Option("--force", help="Make anew what is there already.")] = False,
    table: Annotated[Path | None, typer.Option(help="Write the table to a .csv, .json, .md or .tex file.")] = None,
    kind: TableFormat = None,
) -> None:
    """Cut volumes into supervoxels, classical ones or masks of SAM carried through the slices by SAM 2."""
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
