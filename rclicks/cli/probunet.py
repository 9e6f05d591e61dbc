"""``rclicks train probunet``: its options, and the work behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rclicks.cli.options import DataRoot, Plugins
from rclicks.errors import ProtocolError

__all__ = ["probunet", "train_probunet"]

STEPS = 100  # of an epoch


def probunet(
    dataset: Annotated[str, typer.Argument(help="Data set of images, such as LIDC_crops or multirater-folder:...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the training; best.pth is the checkpoint.")],
    data_root: DataRoot = None,
    plugins: Plugins = None,
    held_out: Annotated[
        Path | None,
        typer.Option(help="List of samples, persons or scans that are for validation (default: a fixed tenth)."),
    ] = None,
    steps: Annotated[int, typer.Option(help="Training steps, rounded up to epochs of 100.")] = 4000,
    batch: Annotated[int, typer.Option(help="Crops a step, each with two raters.")] = 4,
    size: Annotated[int, typer.Option(help="Side of the crops in pixels; they lie around what raters drew.")] = 48,
    features: Annotated[str, typer.Option(help="Channels of each stage, by commas.")] = "8,16,24,32",
    latent: Annotated[int, typer.Option(help="Numbers in a latent.")] = 6,
    clicks: Annotated[
        bool, typer.Option("--clicks/--no-clicks", help="Whether clicks and previous mask are input.")
    ] = True,
    beta: Annotated[float, typer.Option(help="Weight of the divergence of posterior and prior.")] = 1.0,
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 2e-3,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    mixed: Annotated[bool, typer.Option("--mixed/--no-mixed", help="Compute in bfloat16 on a GPU.")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
) -> None:
    """Train a probabilistic U-Net with clicks on images that one or more raters have drawn."""
    from rclicks.cli.training_shared import numbers

    file = train_probunet(
        dataset,
        out,
        data_root=data_root,
        plugins=plugins or [],
        held_out=held_out,
        steps=steps,
        batch=batch,
        size=size,
        features=numbers("--features", features),
        latent=latent,
        clicks=clicks,
        beta=beta,
        rate=rate,
        seed=seed,
        threads=threads,
        device=device,
        mixed=mixed,
        resume=resume,
    )
    typer.echo(str(file))


def train_probunet(
    dataset: str,
    out: Path,
    *,
    data_root: Path | None = None,
    plugins: Sequence[Path] = (),
    held_out: Path | None = None,
    steps: int = 4000,
    batch: int = 4,
    size: int = 48,
    features: Sequence[int] = (8, 16, 24, 32),
    latent: int = 6,
    clicks: bool = True,
    beta: float = 1.0,
    rate: float = 2e-3,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    mixed: bool = True,
    resume: bool = False,
) -> Path:
    """Train as the command line asks, and return the checkpoint for the model `probunet`.

    Parameters
    ----------
    dataset : str
        A registered data set of images with its options.
    out : Path
        Folder of the training.
    data_root, plugins
        Where data sets and further plug-ins are looked for.
    held_out : Path or None
        See `rclicks.cli.training_shared.parted`.
    steps : int
        Rounded up to whole epochs of 100.
    size, features, latent, clicks, beta, rate
        See `rclicks.adapters.probunet.training.Recipe` and `rclicks.adapters.probunet.checkpoint.Design`.
    batch, seed, device, mixed
        See `rclicks.training.loop.Settings`.
    threads : int
        Of the CPU; results are the same only for the same number.
    resume : bool

    Raises
    ------
    DataError, ProtocolError, WeightsError
    """
    from rich.console import Console

    from rclicks.adapters.probunet import training
    from rclicks.adapters.probunet.checkpoint import Design
    from rclicks.cli.training_shared import Watch, open_for_training, parted, quick_cpu, tell
    from rclicks.training.examples import read_examples
    from rclicks.training.loop import Settings

    if steps < 1 or threads < 1:
        raise ProtocolError(f"{steps} steps on {threads} threads train nothing; expected at least 1 of each")
    an_epoch = min(STEPS, steps)
    design = Design(features=tuple(features), latent=latent, clicks=clicks)
    recipe = training.Recipe(design=design, size=size, beta=beta, rate=rate)
    settings = Settings(epochs=-(-steps // an_epoch), batch=batch, seed=seed, workers=1, mixed=mixed, device=device)
    images = open_for_training(dataset, data_root, plugins, 2)
    learnt, other = parted(images, held_out)
    console = Console(stderr=True)
    console.print(f"{len(learnt)} images to learn from, {len(other)} held out", highlight=False)
    with quick_cpu(threads), Watch(console, settings.epochs) as watch:
        result = training.train_probunet(
            read_examples(images[i] for i in learnt),
            read_examples(images[i] for i in other),
            recipe,
            settings,
            out,
            steps=an_epoch,
            resume=resume,
            report=watch.report,
        )
    tell(result, out, console)
    return result.best
