"""What a trainable family must do, and what it gets: the data, already split, and the settings of the caller.

A module whose cards say ``trainable=True`` has the two hooks of `TrainableModule`. The command line (``rclicks train``)
and `rclicks.train` find them through `rclicks.engine.training`, which names no family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rclicks.cards import ClickModelCard, ModelCard
from rclicks.data.contract import Dataset
from rclicks.errors import ProtocolError
from rclicks.options import Option
from rclicks.protocol import Protocol as Rules
from rclicks.sample import Sample
from rclicks.training.loop import Progress, Result, Settings

__all__ = ["SplitDataset", "TrainableModule", "TrainingData", "TrainingSettings", "refuse_compat"]


@dataclass(frozen=True, eq=False)
class SplitDataset:
    """A data set, and which of its samples are for what.

    Attributes
    ----------
    dataset : Dataset
    train, validation : tuple of int
        0-based indices of samples, rising.
    """

    dataset: Dataset
    train: tuple[int, ...]
    validation: tuple[int, ...]

    @property
    def train_names(self) -> frozenset[str]:
        """Names of the samples to learn from."""
        return frozenset(self.dataset.ids[i] for i in self.train)

    @property
    def validation_names(self) -> frozenset[str]:
        """Names of the samples to validate with."""
        return frozenset(self.dataset.ids[i] for i in self.validation)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """One or more data sets, split by `rclicks.training.split.train_val_split`; nothing is decoded yet.

    Attributes
    ----------
    parts : tuple of SplitDataset
        One for each data set, in the caller's order.
    """

    parts: tuple[SplitDataset, ...]

    @property
    def train_count(self) -> int:
        """Number of samples to learn from."""
        return sum(len(part.train) for part in self.parts)

    @property
    def validation_count(self) -> int:
        """Number of samples to validate with."""
        return sum(len(part.validation) for part in self.parts)

    @property
    def overlaps(self) -> bool:
        """Whether all samples are in both halves, because there are too few to hold any out."""
        return any(set(part.train) & set(part.validation) for part in self.parts)

    def train_samples(self) -> Iterator[Sample]:
        """Decode the samples to learn from, one after the other."""
        return (part.dataset[i] for part in self.parts for i in part.train)

    def validation_samples(self) -> Iterator[Sample]:
        """Decode the samples to validate with, one after the other."""
        return (part.dataset[i] for part in self.parts for i in part.validation)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The options that all trainings share; None stands for the default of the family's recipe.

    Attributes
    ----------
    epochs, batch_size : int or None
    lr : float or None
        Learning rate; of recipes with a schedule the highest one.
    patience : int or None
        Epochs without a better validation after which the training stops.
    seed : int
    device : str
        "cpu", "cuda" or "cuda:1".
    workers : int or None
        Threads that prepare batches; results do not depend on it.
    threads : int or None
        CPU threads of torch; results are the same only for the same number.
    resume : bool
        Continue from the last checkpoint in the output folder, if there is one.

    Raises
    ------
    ProtocolError
        If a value trains nothing.
    """

    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    patience: int | None = None
    seed: int = 0
    device: str = "cpu"
    workers: int | None = None
    threads: int | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        """Refuse values that train nothing."""
        for name in ("epochs", "batch_size", "patience", "workers", "threads"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ProtocolError(f"training setting {name} is {value!r}; expected a whole number, at least 1")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ProtocolError(f"training setting seed is {self.seed!r}; expected a whole number, 0 or more")
        if self.lr is not None and not self.lr > 0:
            raise ProtocolError(f"training setting lr (the learning rate) is {self.lr!r}; expected above 0")

    def lr_or(self, default: float) -> float:
        """Return the learning rate, or the recipe's."""
        return default if self.lr is None else self.lr

    def for_loop(
        self,
        *,
        epochs: int,
        batch_size: int,
        patience: int | None = None,
        workers: int = 1,
        mixed: bool = True,
        keep_epochs: bool = False,
    ) -> Settings:
        """Return the settings of `rclicks.training.loop`; the arguments are the defaults of the family's recipe."""
        return Settings(
            epochs=self.epochs or epochs,
            batch=self.batch_size or batch_size,
            seed=self.seed,
            patience=self.patience or patience,
            keep_epochs=keep_epochs,
            workers=self.workers or workers,
            mixed=mixed,
            device=self.device,
        )

    def epochs_of_steps(self, steps: int | None, *, default: int, epoch_steps: int) -> tuple[int, int]:
        """Return the number of epochs and the steps of one, for families whose epoch is a number of steps.

        Parameters
        ----------
        steps : int or None
            Steps of the whole training, as an option of the family; rounded up to whole epochs.
        default : int
            Steps if neither `steps` nor `epochs` is given.
        epoch_steps : int
            Steps of an epoch; a shorter training is one epoch.

        Raises
        ------
        ProtocolError
            If both `steps` and `epochs` are given.
        """
        if self.epochs is not None:
            if steps is not None:
                raise ProtocolError(f"steps={steps} and {self.epochs} epochs both say how long to train; leave out one")
            return self.epochs, epoch_steps
        total = default if steps is None else steps
        one = min(epoch_steps, total)
        return -(-total // one), one

    def refuse(self, names: tuple[str, ...], why: str) -> None:
        """Refuse settings that a recipe has no use for.

        Raises
        ------
        ProtocolError
            If one of them is given.
        """
        given = [name for name in names if getattr(self, name) is not None]
        if given:
            raise ProtocolError(f"{why}; leave out {', '.join(given)}")


class TrainableModule(Protocol):
    """The hooks of a module whose cards say ``trainable=True``, beside its `load`."""

    def training_options(self, card: ModelCard | ClickModelCard, protocol: Rules) -> Mapping[str, Option]:
        """Return the family's own training options, which stand in the model's spec.

        Every option has a default and a `help`. The result depends on the card and the protocol alone, so that
        ``rclicks show`` can list it; no heavy package is imported.
        """

    def train(
        self,
        card: ModelCard | ClickModelCard,
        data: TrainingData,
        out: Path,
        *,
        settings: TrainingSettings,
        protocol: Rules,
        start: Path | None,
        report: Callable[[Progress], None],
        **options: Any,
    ) -> Result:
        """Train a network and return how it went; `Result.best` is what `load` takes as its checkpoint.

        Parameters
        ----------
        card : ModelCard or ClickModelCard
            Which of the module's cards.
        data : TrainingData
            Of as many axes as the card says; nothing is decoded.
        out : Path
            Folder of the training; made by the family, and only once options and data are found good.
        settings : TrainingSettings
            A family refuses those that it has no use for.
        protocol : rclicks.protocol.Protocol
            ``compat`` asks for the published recipe; a family without one refuses it.
        start : Path or None
            Existing weights to start from; always None if the card's `starts_from` is empty.
        report : callable
            Takes the progress after every step and every epoch.
        **options
            All of `training_options`, checked and converted.

        Raises
        ------
        DataError, ProtocolError, WeightsError
        """


def refuse_compat(card: ModelCard | ClickModelCard, protocol: Rules) -> None:
    """Refuse the protocol ``compat`` for a family without a published recipe.

    Raises
    ------
    ProtocolError
    """
    if protocol.name != "default":
        raise ProtocolError(f"{card.name} has no published recipe of its own; choose protocol default")
