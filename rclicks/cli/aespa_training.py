"""``rclicks train aespa`` and ``rclicks train spa``: their options, and the work behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rclicks.cli.options import DataRoot, Plugins
from rclicks.errors import ProtocolError

__all__ = ["aespa", "spa", "train_raters"]

PUBLISHED_SAMPLES, SAMPLES = 48, 8

Dataset = Annotated[str, typer.Argument(help="Data set of several raters, such as LIDC_crops.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the training; best.pth is the checkpoint.")]
HeldOut = Annotated[
    Path | None, typer.Option(help="List of samples or patients for validation (default: a fixed tenth).")
]
Rules = Annotated[str, typer.Option("--protocol", help="default, or compat for the published recipe.")]
Start = Annotated[Path | None, typer.Option(help="Weights of SAM or MedSAM ViT-B (default: random ones).")]
Size = Annotated[int, typer.Option(help="Side of the network's input: 128 or 256, or another multiple of 16.")]
Patch = Annotated[
    int | None, typer.Option(help="Learn from random crops with a side of so many pixels (default: whole images).")
]
Encoder = Annotated[str, typer.Option(help="vit_b, or small for a reduced one that a CPU can train.")]
Epochs = Annotated[int, typer.Option(help="Passes over all images, or over up to 16 patches of each.")]
Batch = Annotated[int, typer.Option(help="Images a step; published: 64.")]
Rate = Annotated[float, typer.Option(help="Learning rate; of the default protocol the highest.")]
Clicks = Annotated[int, typer.Option(help="Of a session.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")]
Threads = Annotated[int, typer.Option(help="CPU threads.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")]


def aespa(
    dataset: Dataset,
    out: Out,
    data_root: DataRoot = None,
    plugins: Plugins = None,
    held_out: HeldOut = None,
    protocol: Rules = "default",
    start: Start = None,
    size: Size = 128,
    patch: Patch = None,
    encoder: Encoder = "vit_b",
    epochs: Epochs = 20,
    batch: Batch = 8,
    rate: Rate = 1e-4,
    clicks: Clicks = 5,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = 1,
    resume: Resume = False,
) -> None:
    """Train AESPA, which follows the clicks of one rater with one mask, on images of several raters."""
    file = train_raters(
        "aespa",
        dataset,
        out,
        data_root=data_root,
        plugins=plugins or [],
        held_out=held_out,
        protocol=protocol,
        start=start,
        size=size,
        patch=patch,
        encoder=encoder,
        epochs=epochs,
        batch=batch,
        rate=rate,
        clicks=clicks,
        seed=seed,
        device=device,
        threads=threads,
        resume=resume,
    )
    typer.echo(str(file))


def spa(
    dataset: Dataset,
    out: Out,
    data_root: DataRoot = None,
    plugins: Plugins = None,
    held_out: HeldOut = None,
    protocol: Rules = "default",
    start: Start = None,
    size: Size = 128,
    patch: Patch = None,
    encoder: Encoder = "vit_b",
    epochs: Epochs = 20,
    batch: Batch = 8,
    rate: Rate = 1e-4,
    clicks: Clicks = 5,
    samples: Annotated[int | None, typer.Option(help="Latents a round (default: 8; of compat 48).")] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    threads: Threads = 1,
    resume: Resume = False,
) -> None:
    """Train SPA, which samples many masks and lets the clicks choose, on images of several raters."""
    file = train_raters(
        "spa",
        dataset,
        out,
        data_root=data_root,
        plugins=plugins or [],
        held_out=held_out,
        protocol=protocol,
        start=start,
        size=size,
        patch=patch,
        encoder=encoder,
        epochs=epochs,
        batch=batch,
        rate=rate,
        clicks=clicks,
        samples=samples,
        seed=seed,
        device=device,
        threads=threads,
        resume=resume,
    )
    typer.echo(str(file))


def train_raters(
    model: str,
    dataset: str,
    out: Path,
    *,
    data_root: Path | None = None,
    plugins: Sequence[Path] = (),
    held_out: Path | None = None,
    protocol: str = "default",
    start: Path | None = None,
    size: int = 128,
    patch: int | None = None,
    encoder: str = "vit_b",
    epochs: int = 20,
    batch: int = 8,
    rate: float = 1e-4,
    clicks: int = 5,
    samples: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 1,
    resume: bool = False,
) -> Path:
    """Train as the command line asks, and return the checkpoint for the models `aespa` and `spa`.

    Parameters
    ----------
    model : {"aespa", "spa"}
    dataset : str
        A registered data set of images with its options.
    out : Path
        Folder of the training.
    data_root, plugins
        Where data sets and further plug-ins are looked for.
    held_out : Path or None
        A list of samples or groups, one a line, that the best epoch is chosen by; None takes a fixed tenth of the
        patients.
    protocol, size, patch, clicks, samples, rate
        See `rclicks.adapters.aespa.recipe.Recipe`.
    start : Path or None
        Weights of SAM or MedSAM.
    encoder : {"vit_b", "small"}
    epochs, batch, seed, device, resume
    threads : int
        Of the CPU; results are the same only for the same number.

    Raises
    ------
    DataError, ProtocolError, UnknownNameError, WeightsError
    """
    from rich.console import Console

    from rclicks.adapters.aespa.design import SMALL, VIT_B
    from rclicks.adapters.aespa.recipe import Recipe
    from rclicks.adapters.aespa.training import train_aespa
    from rclicks.cli.training_shared import Watch, open_for_training, parted, quick_cpu, tell
    from rclicks.training.examples import read_examples
    from rclicks.training.loop import Settings

    designs = {"vit_b": VIT_B, "small": SMALL}
    if encoder not in designs:
        raise ProtocolError(f"unknown encoder {encoder!r}; allowed: {', '.join(designs)}")
    if threads < 1:
        raise ProtocolError(f"training on {threads} threads; expected at least 1")
    if samples is None:
        samples = PUBLISHED_SAMPLES if protocol == "compat" else SAMPLES
    recipe = Recipe(
        model=model,
        protocol=protocol,
        size=size,
        patch=patch,
        encoder=designs[encoder],
        clicks=clicks,
        samples=samples,
        rate=rate,
    )
    settings = Settings(epochs=epochs, batch=batch, seed=seed, workers=1, device=device)
    data = open_for_training(dataset, data_root, plugins, 2)
    learnt, other = parted(data, held_out)
    console = Console(stderr=True)
    console.print(f"{len(learnt)} images to learn from, {len(other)} held out", highlight=False)
    if start is None:
        console.print("no weights to start from (--start): the network starts from random ones", highlight=False)
    with quick_cpu(threads), Watch(console, settings.epochs) as watch:
        result = train_aespa(
            read_examples(data[i] for i in learnt),
            read_examples(data[i] for i in other),
            recipe,
            settings,
            out,
            start=start,
            resume=resume,
            report=watch.report,
        )
    tell(result, out, console)
    return result.best
