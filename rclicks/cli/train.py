"""``rclicks train``: options, progress display and summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from rclicks.cli.options import DataRoot, Plugins
from rclicks.cli.specs import split_specs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from rclicks.cards import ClickModelCard, ModelCard
    from rclicks.training.contract import TrainingData
    from rclicks.training.loop import Progress, Result

__all__ = ["EXAMPLE", "ProgressDisplay", "print_summary", "train"]

EXAMPLE = "rclicks train probunet:size=64 LIDC -o runs/probunet --epochs 20 --seed 1"
_RECIPE = "Training"
_DATA = "Data and computation"


def train(
    model: Annotated[
        str, typer.Argument(metavar="MODEL[:OPTION=VALUE]", help="Trainable model or click model with its options.")
    ],
    datasets: Annotated[
        list[str],
        typer.Argument(metavar="DATASET[:OPTION=VALUE]", help="One or more data sets with their options."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the training: checkpoints and log.")
    ],
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", metavar="N", help="Number of epochs (default: of the recipe).", rich_help_panel=_RECIPE
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", metavar="N", help="Items in a batch (default: of the recipe).", rich_help_panel=_RECIPE
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            "--lr",
            metavar="RATE",
            help="Learning rate, the highest of a schedule (default: of the recipe).",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    init_weights: Annotated[
        Path | None,
        typer.Option(
            "--init-weights",
            metavar="FILE",
            help="Existing weights to start from (default: random weights).",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue from the last checkpoint in the folder.", rich_help_panel=_RECIPE),
    ] = False,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            metavar="N",
            help="Stop after N epochs without a better validation score (default: of the recipe).",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="NAME",
            help="default or compat (published recipe).",
            show_default=False,
            rich_help_panel=_RECIPE,
        ),
    ] = "default",
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of all random numbers.", rich_help_panel=_RECIPE)
    ] = 0,
    val_list: Annotated[
        Path | None,
        typer.Option(
            "--val-list",
            metavar="FILE",
            help="Text file with the samples, persons or scans for validation, one per line (default: the published "
            "validation part of the data set, or a fixed tenth).",
            rich_help_panel=_DATA,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="cpu, cuda or cuda:1.", rich_help_panel=_DATA)
    ] = "cpu",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help="Threads that prepare batches. Results do not depend on it.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            metavar="N",
            help="CPU threads of torch. Results depend on it (default: of the recipe).",
            rich_help_panel=_DATA,
        ),
    ] = None,
    data_root: DataRoot = None,
    plugins: Plugins = None,
) -> None:
    """Train a model or click model on data sets.

    A stopped training can be resumed with the same result. `rclicks show MODEL` lists the options of a training. The
    last line of the output is the path of the trained checkpoint.
    """
    from rclicks.engine.training import train as train_model
    from rclicks.registry import Registry
    from rclicks.training.contract import TrainingSettings

    settings = TrainingSettings(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        patience=patience,
        seed=seed,
        device=device,
        workers=workers,
        threads=threads,
        resume=resume,
    )
    console = Console(stderr=True)
    try:
        with ProgressDisplay(console) as display:
            result = train_model(
                Registry.discover(plugins or []),
                model,
                split_specs(datasets) or [],
                out,
                settings,
                protocol=protocol,
                init_weights=init_weights,
                val_list=val_list,
                data_root=data_root,
                on_data=lambda card, data: _print_start(console, card, data, init_weights),
                on_progress=display.update,
            )
    except KeyboardInterrupt:  # typer would exit without a message
        _print(console, "interrupted; finished epochs are kept. The same command with --resume continues the training")
        raise typer.Exit(130) from None
    print_summary(result, console)
    typer.echo(str(result.best))


def _print(console: Console, line: str) -> None:
    console.print(escape(line), highlight=False, soft_wrap=True)


def _print_start(
    console: Console, card: ModelCard | ClickModelCard, data: TrainingData, init_weights: Path | None
) -> None:
    """Print the numbers of samples, and a note if existing weights were not given although the model has some."""
    if data.overlaps:
        _print(
            console,
            f"{data.train_count} samples for both training and validation, because there are too few to separate",
        )
    else:
        _print(console, f"{data.train_count} samples for training, {data.validation_count} for validation")
    if card.starts_from and init_weights is None:
        _print(console, f"no --init-weights ({card.starts_from}): the network starts from random weights")


def print_summary(result: Result, console: Console) -> None:
    """Print the best epoch and its scores."""
    row = next(r for r in result.rows if r["epoch"] == result.best_epoch)
    early = " (stopped early)" if result.stopped_early else ""
    _print(console, f"best epoch {result.best_epoch + 1} of {result.epochs}{early}: {_values(row)}")


def _values(row: Mapping[str, float]) -> str:
    return ", ".join(f"{k} {v:.4f}" for k, v in row.items() if k not in {"epoch", "score"})


class ProgressDisplay:
    """Progress of a training: a bar for each epoch and one line after it; in a file or pipe only the lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Bars(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID | None = None

    def __enter__(self) -> ProgressDisplay:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, progress: Progress) -> None:
        """Show a report of the training loop."""
        if self._task is None:
            self._task = self._bars.add_task("", total=progress.steps)
        epoch = f"epoch {progress.epoch + 1}/{progress.epochs}"
        description = f"{epoch}, loss {progress.loss:.4f}"
        self._bars.update(self._task, completed=progress.step, total=progress.steps, description=description)
        if progress.row is not None:
            _print(self._console, f"{epoch}: {_values(progress.row)}")
