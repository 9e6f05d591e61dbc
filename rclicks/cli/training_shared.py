"""What the verbs of ``rclicks train`` share: who learns from what, and what is shown meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from rclicks.errors import DataError, ProtocolError

if TYPE_CHECKING:
    from rclicks.data.contract import Dataset
    from rclicks.training.loop import Progress, Result

__all__ = ["Watch", "is_held_out", "numbers", "open_for_training", "parted", "quick_cpu", "read_names", "tell"]

HELD_OUT = 0.1  # of the persons or scans, where no list says which
KINDS = {2: "images", 3: "volumes"}


def open_for_training(name: str, data_root: Path | None, plugins: Sequence[Path], dims: int) -> Dataset:
    """Open the data set that a training is to learn from.

    Raises
    ------
    UnknownNameError, PluginError, DataError
    ProtocolError
        If it holds volumes and `dims` is 2, or images and `dims` is 3.
    """
    from rclicks.cards import DatasetCard
    from rclicks.engine.loading import open_dataset
    from rclicks.registry import Registry
    from rclicks.specs import parse

    registry, spec = Registry.discover(plugins), parse(name)
    card = registry.find("dataset", spec.name).card
    if isinstance(card, DatasetCard) and card.dims != dims:
        raise ProtocolError(f"{spec.name} holds {KINDS[card.dims]}; this network learns from {KINDS[dims]}")
    return open_dataset(registry, spec, data_root)


def parted(data: Dataset, held_out: Path | None = None) -> tuple[list[int], list[int]]:
    """Return the samples to learn from and those to validate with; no person or scan is in both.

    Parameters
    ----------
    data : Dataset
    held_out : Path or None
        A list of samples (or of the data set's groups) to validate with, one a line; None takes a fixed tenth of the
        groups. Where either part would be empty, all samples are in both.

    Raises
    ------
    DataError
        If the list cannot be read, names nothing of the data set, or parts the samples of one group.
    """
    names = None if held_out is None else read_names(held_out)
    known = list(zip(data.ids, data.groups, strict=True))
    if names is None:
        chosen = {group for _, group in known if is_held_out(group)}
    else:
        chosen = {group for sample, group in known if sample in names or group in names}
        whole = {group for group in chosen if group in names}
        torn = sorted({g for s, g in known if g in chosen - whole and s not in names})
        if not chosen or torn:
            why = f"parts the samples of {', '.join(torn[:3])}" if torn else "names no sample of the data set"
            raise DataError(f"list of held-out samples {held_out} {why}; name samples or groups of {data.card.name}")
    other = [i for i, (_, group) in enumerate(known) if group in chosen]
    learnt = [i for i, (_, group) in enumerate(known) if group not in chosen]
    everything = list(range(len(known)))
    return (learnt, other) if learnt and other else (everything, everything)


def read_names(file: Path) -> frozenset[str]:
    """Return the names in a text file, one a line.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    try:
        return frozenset(file.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"list of held-out images {file} cannot be read: {error}") from error


def is_held_out(name: str) -> bool:
    """Tell whether a name belongs to the fixed tenth."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") < HELD_OUT * 2**32


def numbers(option: str, text: str) -> list[int]:
    """Read whole numbers between commas."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"{option} is {text!r}; expected whole numbers separated by commas") from error


@contextmanager
def quick_cpu(threads: int) -> Iterator[None]:
    """Use so many threads, and take numbers next to 0 for 0: a CPU needs a hundred times longer for them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


def tell(result: Result, out: Path, console: Console) -> None:
    """Say how a training ended."""
    row = next(r for r in result.rows if r["epoch"] == result.best_epoch)
    measured = ", ".join(f"{k} {v:.4f}" for k, v in row.items() if k not in {"epoch", "score"})
    early = " (stopped early)" if result.stopped_early else ""
    console.print(f"{result.epochs} epochs{early}; best was {result.best_epoch}: {measured}", highlight=False)
    console.print(f"written: {escape(str(out))}", highlight=False, soft_wrap=True)


class Watch:
    """Shows a bar an epoch and prints its log row; on a file or pipe only the rows."""

    def __init__(self, console: Console, epochs: int) -> None:
        self._console, self._epochs = console, epochs
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Bars(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID | None = None

    def __enter__(self) -> Watch:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def report(self, progress: Progress) -> None:
        """Take what the loop says."""
        if self._task is None:
            self._task = self._bars.add_task("", total=progress.steps)
        told = f"epoch {progress.epoch + 1}/{self._epochs}, loss {progress.loss:.4f}"
        self._bars.update(self._task, completed=progress.step, total=progress.steps, description=told)
        if progress.row is not None:
            told = ", ".join(f"{k} {v:.4f}" for k, v in progress.row.items() if k not in {"epoch", "score"})
            self._console.print(f"epoch {progress.epoch + 1}/{self._epochs}: {told}", highlight=False)
