"""``rclicks train volume-demo``: its options and the work behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rclicks.cli.options import DataRoot, Plugins
from rclicks.errors import ProtocolError

__all__ = ["train_volume_demo", "volume_demo"]

STEPS = 50  # of an epoch


def volume_demo(
    dataset: Annotated[str, typer.Argument(help="Data set of volumes, such as hippocampus:cases=manifest.csv@train.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model folder to write; the training lies in it.")],
    data_root: DataRoot = None,
    plugins: Plugins = None,
    steps: Annotated[int, typer.Option(help="Training steps, rounded up to epochs of 50.")] = 600,
    batch: Annotated[int, typer.Option(help="Objects a step.")] = 2,
    patch: Annotated[int, typer.Option(help="Edge of the session's patch; 64 or more.")] = 64,
    features: Annotated[str, typer.Option(help="Channels of each stage, by commas.")] = "8,16,32,48",
    rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 4e-3,
    licence: Annotated[str, typer.Option(help="Of the weights; follows that of the data.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads; more than one is often slower.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
) -> None:
    """Train a small 3-D network that the nnInteractive session can load."""
    from rclicks.cli.training_shared import numbers

    folder = train_volume_demo(
        dataset,
        out,
        data_root=data_root,
        plugins=plugins or [],
        steps=steps,
        batch=batch,
        patch=patch,
        features=numbers("--features", features),
        rate=rate,
        licence=licence,
        seed=seed,
        threads=threads,
        device=device,
        resume=resume,
    )
    typer.echo(str(folder))


def train_volume_demo(
    dataset: str,
    out: Path,
    *,
    data_root: Path | None = None,
    plugins: Sequence[Path] = (),
    steps: int = 600,
    batch: int = 2,
    patch: int = 64,
    features: Sequence[int] = (8, 16, 32, 48),
    rate: float = 4e-3,
    licence: str = "",
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    resume: bool = False,
) -> Path:
    """Train a 3-D network as the command line asks, and return its model folder.

    A fixed tenth of the cases is held out to choose the best epoch; where that is none, all are used for both.

    Parameters
    ----------
    dataset : str
        A registered data set of volumes with its options, such as ``hippocampus:cases=manifest.csv@train``.
    out : Path
        The model folder.
    data_root, plugins
        Where data sets and further plug-ins are looked for.
    steps : int
        Rounded up to whole epochs of 50.
    batch : int
    patch : int
        Edge of the session's patch.
    features : sequence of int
        Channels of the network's stages.
    rate, seed, device, resume
    licence : str
        Of the weights, for the folder's LICENSE.
    threads : int
        Of the CPU; results are the same only for the same number.

    Raises
    ------
    DataError, ProtocolError, WeightsError
    """
    from rich.console import Console

    from rclicks.adapters.nninteractive.folder import Design
    from rclicks.adapters.nninteractive.training import Recipe, read_objects, train_volume
    from rclicks.cli.training_shared import Watch, open_for_training, parted, quick_cpu, tell
    from rclicks.training.loop import Settings

    if steps < 1 or threads < 1:
        raise ProtocolError(f"{steps} steps on {threads} threads train nothing; expected at least 1 of each")
    an_epoch = min(STEPS, steps)
    strides = (1,) + (2,) * (len(features) - 1)
    design = Design(features=tuple(features), strides=strides, patch=(patch, patch, patch))
    recipe = Recipe(design=design, rate=rate)
    settings = Settings(epochs=-(-steps // an_epoch), batch=batch, seed=seed, workers=1, device=device)
    volumes = open_for_training(dataset, data_root, plugins, 3)
    learnt, other = parted(volumes)
    console = Console(stderr=True)
    console.print(f"{len(learnt)} volumes to learn from, {len(other)} held out", highlight=False)
    with quick_cpu(threads), Watch(console, settings.epochs) as watch:
        result = train_volume(
            read_objects(volumes[i] for i in learnt),
            read_objects(volumes[i] for i in other),
            recipe,
            settings,
            out,
            steps=an_epoch,
            licence=licence,
            resume=resume,
            report=watch.report,
        )
    tell(result, out, console)
    return out
