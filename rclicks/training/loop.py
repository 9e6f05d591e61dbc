"""A training loop that can be stopped anywhere and goes on as if nothing had happened.

All random numbers come from (seed, epoch, item), and after every epoch the whole state is written in one atomic step;
so a resumed training gives bit by bit what an undisturbed one gives, on the same machine with the same threads.

The folder of a training holds ``settings.json``, ``log.csv`` (a row an epoch), ``last.pth`` (to resume), ``best.pth``
(the network at its best validation) and, if TensorBoard is installed, ``tensorboard/``.
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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long and how to train.

    Attributes
    ----------
    epochs, batch : int
    seed : int
    patience : int or None
        Stop after so many epochs without a better validation; None never stops early.
    keep_epochs : bool
        Also keep ``epoch_<n>.pth`` of every epoch, n from 0.
    workers : int
        Threads that prepare batches; results do not depend on it.
    mixed : bool
        Compute in bfloat16 where that is safe; only done on a GPU.
    device : str
    """

    epochs: int
    batch: int
    seed: int = 0
    patience: int | None = None
    keep_epochs: bool = False
    workers: int = 2
    mixed: bool = True
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse settings that train nothing."""
        for name in ("epochs", "batch", "workers"):
            if getattr(self, name) < 1:
                raise ProtocolError(f"training setting {name} is {getattr(self, name)}; expected at least 1")
        if self.patience is not None and self.patience < 1:
            raise ProtocolError(f"training setting patience is {self.patience}; expected at least 1, or none")


@dataclass(frozen=True)
class Progress:
    """Where a training is: after `step` of `steps` of epoch `epoch`; `row` is the epoch's log row at its end.

    Epochs are counted from 0, steps from 1; `epochs` is how many are planned.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    row: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Result:
    """How a training ended.

    Attributes
    ----------
    best : Path
        The network at its best.
    best_epoch, epochs : int
        The epoch of it, and how many were trained.
    rows : tuple of dict
        The log.
    stopped_early : bool
    """

    best: Path
    best_epoch: int
    epochs: int
    rows: tuple[dict[str, float], ...]
    stopped_early: bool


class TrainingTask(ABC):
    """What is trained: data, network, loss, validation.

    Attributes
    ----------
    network : torch.nn.Module
        On the device, all of it saved and restored.
    optimizer : torch.optim.Optimizer
        Its groups' learning rates are set each step to ``rate * group["share"]`` (share 1 if it has none).
    size : int
        Number of training items.
    """

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    size: int

    @abstractmethod
    def rate(self, step: int, total: int) -> float:
        """Return the learning rate of a step, both counted over the whole training."""

    @abstractmethod
    def item(self, index: int, rng: np.random.Generator) -> Any:
        """Return one training item as a tuple of arrays; called by several threads."""

    def loss(self, items: Sequence[Any]) -> torch.Tensor:
        """Return the mean loss of a batch; a task with an `update` of its own needs none."""
        raise NotImplementedError

    def update(self, items: Sequence[Any]) -> float:
        """Learn from a batch and return its loss: one step down the gradient of `loss`, unless a task says otherwise.

        All that an update carries over to the next must lie in the network and the optimizer, which are restored when
        a training is resumed; all random numbers must come with the items.
        """
        loss = self.loss(items)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    @abstractmethod
    def validate(self) -> tuple[float, dict[str, float]]:
        """Return a score, higher being better, and what else to log; without random numbers."""

    @abstractmethod
    def weights(self) -> dict[str, Any]:
        """Return what ``best.pth`` shall hold: tensors and plain values."""


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
    task : Task
    settings : Settings
    folder : Path
        Made if absent.
    identity : mapping
        All else that decides the result (recipe, data), as JSON values; a resumed training must have the same.
    resume : bool
        Go on from ``last.pth`` if there is one.
    report : callable
        Called after every step and at the end of every epoch.

    Raises
    ------
    ProtocolError
        If the folder holds a training that is not to be resumed, or one of other settings.
    DataError
        If there is less than one batch of items, or the loss is not finite.
    WeightsError
        If ``last.pth`` is damaged.
    """
    if task.size < settings.batch:
        raise DataError(f"training needs a batch of {settings.batch} items, found {task.size}; name a smaller batch")
    state = _open(folder, {**asdict(settings), **identity}, resume)
    if state:
        _restore(task, state, folder / LAST)
    rows: list[dict[str, float]] = list(state.get("rows", []))
    best, best_epoch = float(state.get("best", -np.inf)), int(state.get("best_epoch", -1))
    steps = task.size // settings.batch
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
    order = np.random.default_rng([settings.seed, epoch]).permutation(task.size)[: steps * settings.batch]
    mixed = settings.mixed and settings.device.startswith("cuda")
    task.network.train()
    total = 0.0
    for step, batch in enumerate(_batches(task, settings, epoch, order.tolist())):
        rate = task.rate(epoch * steps + step, settings.epochs * steps)
        for group in task.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        with translate_memory_errors(), torch.autocast(settings.device.split(":")[0], torch.bfloat16, enabled=mixed):
            value = task.update(batch)
        if not np.isfinite(value):
            raise DataError(f"the loss of epoch {epoch}, step {step} is {value}; a smaller learning rate may help")
        total += value
        report(Progress(epoch, settings.epochs, step + 1, steps, total / (step + 1)))
    return total / steps


def _batches(task: TrainingTask, settings: Settings, epoch: int, order: list[int]) -> Iterator[list[Any]]:
    """Yield batches whose items threads prepare ahead, in order."""

    def make(index: int) -> Any:
        return task.item(index, np.random.default_rng([settings.seed, epoch, index]))

    with ThreadPoolExecutor(settings.workers) as pool:
        ahead = 2 * settings.batch
        waiting = [pool.submit(make, i) for i in order[:ahead]]
        rest: Iterable[int] = iter(order[ahead:])
        while waiting:
            batch, waiting = waiting[: settings.batch], waiting[settings.batch :]
            yield [future.result() for future in batch]
            waiting += [pool.submit(make, i) for i in islice(rest, settings.batch)]


def _open(folder: Path, settings: dict[str, Any], resume: bool) -> dict[str, Any]:
    """Make the folder or check that its training is the same; return the state to go on from."""
    file, last = folder / SETTINGS, folder / LAST
    told = json.loads(json.dumps(settings))
    if last.is_file() and not resume:
        raise ProtocolError(f"{folder} holds a training already; resume it, or name another folder")
    if last.is_file():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ProtocolError(f"{file} cannot be read, so the training cannot be resumed: {error}") from error
        free = {"workers", "device"}  # they may change between sittings
        other = sorted(k for k in {*before, *told} - free if before.get(k) != told.get(k))
        if other:
            raise ProtocolError(
                f"{folder} holds a training with another {', '.join(other)}; resume with the same settings, or name "
                "another folder"
            )
        state = read_checkpoint(last)
        if not isinstance(state, dict) or not {"network", "optimizer", "rows", "best", "best_epoch"} <= set(state):
            raise WeightsError(f"{last} is no training state; begin anew in another folder")
        return state
    folder.mkdir(parents=True, exist_ok=True)
    _write(file, lambda path: path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8"))
    return {}


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
    """Write a file whole or not at all."""
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
