"""A training loop that can be interrupted at any time and resumed with the same result.

All random numbers depend on (seed, epoch, item) alone. After every epoch the whole state is written in one atomic step.
A resumed training therefore gives the same result, to the last bit, as an uninterrupted one on the same machine with
the same number of threads.

The folder of a training contains ``settings.json``, ``log.csv`` (one row for each epoch), ``last.pth`` (to resume),
``best.pth`` (the network of the epoch with the best validation score) and, if TensorBoard is installed,
``tensorboard/``.
"""

from __future__ import annotations

import csv
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rclicks.errors import DataError, ProtocolError, WeightsError
from rclicks.models.devices import translate_memory_errors
from rclicks.models.weights import read_checkpoint

if TYPE_CHECKING:
    import torch

__all__ = ["Progress", "Result", "Settings", "TrainingTask", "train"]

LAST, BEST, LOG, SETTINGS = "last.pth", "best.pth", "log.csv", "settings.json"

# Keys of settings.json by attribute name. They keep their first names, so that older trainings can be resumed.
SETTINGS_KEYS, RECIPE_KEYS = {"batch_size": "batch"}, {"lr": "rate"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Length and settings of one training.

    Attributes
    ----------
    epochs : int
        Number of epochs.
    batch_size : int
        Number of items in a batch.
    seed : int
        Seed of all random numbers.
    patience : int or None
        Number of epochs without a better validation score after which the training stops; None never stops early.
    keep_epochs : bool
        Whether the network of every epoch n (from 0) is also written to ``epoch_<n>.pth``.
    workers : int
        Number of threads that prepare batches; results do not depend on it.
    mixed : bool
        Whether a GPU computes in bfloat16 where this is safe; a CPU always computes in float32.
    device : str
        Device name of torch, such as "cpu" or "cuda:1".

    Raises
    ------
    ProtocolError
        If a number is below 1.
    """

    epochs: int
    batch_size: int
    seed: int = 0
    patience: int | None = None
    keep_epochs: bool = False
    workers: int = 2
    mixed: bool = True
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse numbers below 1."""
        for name in ("epochs", "batch_size", "workers"):
            if getattr(self, name) < 1:
                raise ProtocolError(f"training setting {name} is {getattr(self, name)}; expected at least 1")
        if self.patience is not None and self.patience < 1:
            raise ProtocolError(f"training setting patience is {self.patience}; expected at least 1, or None")


@dataclass(frozen=True)
class Progress:
    """Progress of a training.

    Attributes
    ----------
    epoch, epochs : int
        Current epoch, counted from 0, and number of planned epochs.
    step, steps : int
        Steps done in this epoch, and steps of an epoch.
    loss : float
        Mean loss of the steps done in this epoch.
    row : mapping or None
        Log row of the epoch at its end; None before.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    row: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Result:
    """Result of a training.

    Attributes
    ----------
    best : Path
        File of the network of the best epoch.
    best_epoch, epochs : int
        Epoch with the best validation score, counted from 0, and number of epochs that were trained.
    rows : tuple of dict
        Log, one row for each epoch.
    stopped_early : bool
        Whether the training ended before the planned number of epochs (see `Settings.patience`).
    """

    best: Path
    best_epoch: int
    epochs: int
    rows: tuple[dict[str, float], ...]
    stopped_early: bool


class TrainingTask(ABC):
    """Data, network, loss and validation of one training.

    Attributes
    ----------
    network : torch.nn.Module
        Network on the device; its whole state is saved and restored.
    optimizer : torch.optim.Optimizer
        Optimizer of the network. Before each step the loop sets the learning rate of each parameter group to
        ``lr * group["share"]``; the share is 1 if the group has none.
    size : int
        Number of training items.
    """

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    size: int

    @abstractmethod
    def lr(self, step: int, total: int) -> float:
        """Return the learning rate of step `step` (0-based) of the `total` steps of the whole training."""

    @abstractmethod
    def item(self, index: int, rng: np.random.Generator) -> Any:
        """Return the training item `index` as a tuple of arrays; several threads call this method at once."""

    def loss(self, items: Sequence[Any]) -> torch.Tensor:
        """Return the mean loss of a batch; not needed by a task that overrides `update`."""
        raise NotImplementedError

    def update(self, items: Sequence[Any]) -> float:
        """Update the network with one batch and return the loss of the batch.

        By default this is one optimizer step on `loss`. Everything that an update passes on to the next one must be
        part of the network or the optimizer, because a resumed training restores only these two. All random numbers
        must come from the items.
        """
        loss = self.loss(items)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    @abstractmethod
    def validate(self) -> tuple[float, dict[str, float]]:
        """Return a score (higher is better) and further values for the log. It must not draw random numbers."""

    @abstractmethod
    def weights(self) -> dict[str, Any]:
        """Return the content of ``best.pth``: tensors and plain values by name."""


def train(
    task: TrainingTask,
    settings: Settings,
    folder: Path,
    *,
    identity: Mapping[str, Any],
    resume: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Train `task` and keep its best network.

    Parameters
    ----------
    task : TrainingTask
    settings : Settings
    folder : Path
        Folder of the training; it is created if it does not exist.
    identity : mapping
        Everything else that the result depends on (recipe, data), as JSON values. A resumed training must have the
        same values.
    resume : bool
        Whether to continue from ``last.pth`` if this file exists.
    report : callable
        Function that takes the `Progress` after every step and at the end of every epoch.

    Raises
    ------
    ProtocolError
        If the folder contains a training and `resume` is False, or a training with other settings.
    DataError
        If there are fewer items than one batch needs, or the loss is not finite.
    WeightsError
        If ``last.pth`` is damaged.
    """
    if task.size < settings.batch_size:
        raise DataError(
            f"one batch needs {settings.batch_size} items, but the training has only {task.size}; choose a smaller "
            "batch size"
        )
    state = _open(folder, {**asdict(settings), **identity}, resume)
    if state:
        _restore(task, state, folder / LAST)
    rows: list[dict[str, float]] = list(state.get("rows", []))
    best, best_epoch = float(state.get("best", -np.inf)), int(state.get("best_epoch", -1))
    steps = task.size // settings.batch_size
    stopped = _should_stop(rows, best_epoch, settings)
    for epoch in range(len(rows), settings.epochs):
        if stopped:
            break
        loss = _epoch(task, settings, epoch, steps, report)
        task.network.eval()
        score, measured = task.validate()
        rows.append({"epoch": epoch, "loss": loss, "score": score, **measured})
        if score > best:
            best, best_epoch = score, epoch
            _save(folder / BEST, task.weights())
        if settings.keep_epochs:
            _save(folder / f"epoch_{epoch}.pth", task.weights())
        _save(folder / LAST, _state(task, rows, best, best_epoch))
        _log(folder, rows)
        report(Progress(epoch, settings.epochs, steps, steps, loss, rows[-1]))
        stopped = _should_stop(rows, best_epoch, settings)
    return Result(folder / BEST, best_epoch, len(rows), tuple(rows), stopped and len(rows) < settings.epochs)


def _should_stop(rows: Sequence[Mapping[str, float]], best_epoch: int, settings: Settings) -> bool:
    return settings.patience is not None and len(rows) - 1 - best_epoch >= settings.patience


def _epoch(task: TrainingTask, settings: Settings, epoch: int, steps: int, report: Callable[[Progress], None]) -> float:
    """Train one epoch and return its mean loss."""
    import torch

    torch.manual_seed(int(np.random.SeedSequence([settings.seed, epoch]).generate_state(1)[0]))  # for dropout
    order = np.random.default_rng([settings.seed, epoch]).permutation(task.size)[: steps * settings.batch_size]
    mixed = settings.mixed and settings.device.startswith("cuda")
    task.network.train()
    total = 0.0
    for step, batch in enumerate(_batches(task, settings, epoch, order.tolist())):
        lr = task.lr(epoch * steps + step, settings.epochs * steps)
        for group in task.optimizer.param_groups:
            group["lr"] = lr * group.get("share", 1.0)
        with translate_memory_errors(), torch.autocast(settings.device.split(":")[0], torch.bfloat16, enabled=mixed):
            value = task.update(batch)
        if not np.isfinite(value):
            raise DataError(f"the loss of epoch {epoch}, step {step} is {value}; a smaller learning rate may help")
        total += value
        report(Progress(epoch, settings.epochs, step + 1, steps, total / (step + 1)))
    return total / steps


def _batches(task: TrainingTask, settings: Settings, epoch: int, order: list[int]) -> Iterator[list[Any]]:
    """Yield the batches in order; threads prepare their items in advance."""

    def make(index: int) -> Any:
        return task.item(index, np.random.default_rng([settings.seed, epoch, index]))

    with ThreadPoolExecutor(settings.workers) as pool:
        ahead = 2 * settings.batch_size
        waiting = [pool.submit(make, i) for i in order[:ahead]]
        rest: Iterable[int] = iter(order[ahead:])
        while waiting:
            batch, waiting = waiting[: settings.batch_size], waiting[settings.batch_size :]
            yield [future.result() for future in batch]
            waiting += [pool.submit(make, i) for i in islice(rest, settings.batch_size)]


def _open(folder: Path, settings: dict[str, Any], resume: bool) -> dict[str, Any]:
    """Create the folder, or check that it contains the same training; return the state to continue from."""
    file, last = folder / SETTINGS, folder / LAST
    given = _as_stored(settings)
    if last.is_file() and not resume:
        raise ProtocolError(f"{folder} already contains a training; resume it, or choose another folder")
    if last.is_file():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ProtocolError(f"{file} cannot be read, so the training cannot be resumed: {error}") from error
        changeable = {"workers", "device"}  # a resumed training may change these two
        other = {k for k in {*before, *given} - changeable if before.get(k) != given.get(k)}
        if other:
            names = {stored: name for name, stored in SETTINGS_KEYS.items()}
            raise ProtocolError(
                f"{folder} contains a training with different {', '.join(sorted(names.get(k, k) for k in other))}; "
                "resume with the same settings, or choose another folder"
            )
        state = read_checkpoint(last)
        if not isinstance(state, dict) or not {"network", "optimizer", "rows", "best", "best_epoch"} <= set(state):
            raise WeightsError(f"{last} is not a training state; start again in another folder")
        return state
    folder.mkdir(parents=True, exist_ok=True)
    _write(file, lambda path: path.write_text(json.dumps(given, indent=1) + "\n", encoding="utf-8"))
    return {}


def _as_stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings and identity as the JSON values and with the keys of ``settings.json``."""
    plain = {SETTINGS_KEYS.get(k, k): v for k, v in json.loads(json.dumps(settings)).items()}
    if isinstance(plain.get("recipe"), dict):
        plain["recipe"] = {RECIPE_KEYS.get(k, k): v for k, v in plain["recipe"].items()}
    return plain


def _state(task: TrainingTask, rows: list[dict[str, float]], best: float, best_epoch: int) -> dict[str, Any]:
    return {
        "network": task.network.state_dict(),
        "optimizer": task.optimizer.state_dict(),
        "rows": rows,
        "best": best,
        "best_epoch": best_epoch,
    }


def _restore(task: TrainingTask, state: Mapping[str, Any], file: Path) -> None:
    try:
        task.network.load_state_dict(state["network"])
        task.optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise WeightsError(f"{file} does not fit the network: {error}") from error


def _save(file: Path, content: dict[str, Any]) -> None:
    import torch

    _write(file, lambda path: torch.save(content, path))


def _write(file: Path, put: Callable[[Path], Any]) -> None:
    """Write a file completely or not at all."""
    partial = file.with_name(file.name + ".partial")
    put(partial)
    os.replace(partial, file)


def _log(folder: Path, rows: Sequence[Mapping[str, float]]) -> None:
    def put(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    _write(folder / LOG, put)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return
    with SummaryWriter(str(folder / "tensorboard")) as board:
        for name, value in rows[-1].items():
            if name != "epoch":
                board.add_scalar(name, value, int(rows[-1]["epoch"]))
