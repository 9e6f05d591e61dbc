"""``rclicks train volume-demo``: its options; the work is in `rclicks.cli.training`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rclicks.cli.options import DataRoot, Plugins

__all__ = ["volume_demo"]


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
    from rclicks.cli.training import train_volume_demo

    folder = train_volume_demo(
        dataset,
        out,
        data_root=data_root,
        plugins=plugins or [],
        steps=steps,
        batch=batch,
        patch=patch,
        features=_numbers("--features", features),
        rate=rate,
        licence=licence,
        seed=seed,
        threads=threads,
        device=device,
        resume=resume,
    )
    typer.echo(str(folder))


def _numbers(option: str, text: str) -> list[int]:
    """Read whole numbers between commas."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"{option} is {text!r}; expected whole numbers separated by commas") from error
