"""Contract of trainable families: their hooks, and the split data and the settings that the hooks receive.

A module whose cards say ``trainable=True`` has the two hooks of `TrainableModule`. The command line (``rclicks train``)
and `rclicks.train` call these hooks through `rclicks.engine.training`, which names no family.
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
    """A data set with its training and validation samples.

    Attributes
    ----------
    dataset : Dataset
        Opened data set.
    train, validation : tuple of int
        0-based indices of the samples of each part, in ascending order.
    """

    dataset: Dataset
    train: tuple[int, ...]
    validation: tuple[int, ...]

    @property
    def train_names(self) -> frozenset[str]:
        """Names of the training samples."""
        return frozenset(self.dataset.ids[i] for i in self.train)

    @property
    def validation_names(self) -> frozenset[str]:
        """Names of the validation samples."""
        return frozenset(self.dataset.ids[i] for i in self.validation)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """One or more data sets, split by `rclicks.training.split.train_val_split`; no image is decoded yet.

    Attributes
    ----------
    parts : tuple of SplitDataset
        Data sets with their split, in the caller's order.
    """

    parts: tuple[SplitDataset, ...]

    @property
    def train_count(self) -> int:
        """Number of training samples."""
        return sum(len(part.train) for part in self.parts)

    @property
    def validation_count(self) -> int:
        """Number of validation samples."""
        return sum(len(part.validation) for part in self.parts)

    @property
    def overlaps(self) -> bool:
        """Whether all samples are in both parts, because there are too few samples for a split."""
        return any(set(part.train) & set(part.validation) for part in self.parts)

    def train_samples(self) -> Iterator[Sample]:
        """Decode the training samples, one after the other."""
        return (part.dataset[i] for part in self.parts for i in part.train)

    def validation_samples(self) -> Iterator[Sample]:
        """Decode the validation samples, one after the other."""
        return (part.dataset[i] for part in self.parts for i in part.validation)


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The options that all trainings share; None stands for the default of the family's recipe.

    Attributes
    ----------
    epochs : int or None
        Number of epochs.
    batch_size : int or None
        Number of items in a batch.
    lr : float or None
        Learning rate; the highest one if the recipe has a schedule.
    patience : int or None
        Number of epochs without a better validation score after which the training stops.
    seed : int
        Seed of all random numbers, 0 or more.
    device : str
        "cpu", "cuda" or "cuda:1".
    workers : int or None
        Number of threads that prepare batches; results do not depend on it.
    threads : int or None
        Number of CPU threads of torch; results are equal only for equal numbers.
    resume : bool
        Whether to continue from the last checkpoint in the output folder, if there is one.

    Raises
    ------
    ProtocolError
        If a value is outside its range.
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
        """Refuse values outside their ranges."""
        for name in ("epochs", "batch_size", "patience", "workers", "threads"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ProtocolError(f"training setting {name} is {value!r}; expected a whole number, at least 1")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ProtocolError(f"training setting seed is {self.seed!r}; expected a whole number, 0 or more")
        if self.lr is not None and not self.lr > 0:
            raise ProtocolError(f"training setting lr (the learning rate) is {self.lr!r}; expected above 0")

    def lr_or(self, default: float) -> float:
        """Return the learning rate, or `default` if none was given."""
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
        """Return these settings in the form of `rclicks.training.loop`.

        The arguments are the defaults of the family's recipe; `mixed` and `keep_epochs` are described in `Settings`.
        """
        return Settings(
            epochs=self.epochs or epochs,
            batch_size=self.batch_size or batch_size,
            seed=self.seed,
            patience=self.patience or patience,
            keep_epochs=keep_epochs,
            workers=self.workers or workers,
            mixed=mixed,
            device=self.device,
        )

    def epochs_of_steps(self, steps: int | None, *, default: int, epoch_steps: int) -> tuple[int, int]:
        """Return the number of epochs and the steps of an epoch, for families whose epoch is a number of steps.

        Parameters
        ----------
        steps : int or None
            Steps of the whole training, given as an option of the family; rounded up to complete epochs.
        default : int
            Steps of the whole training if neither `steps` nor `epochs` is given.
        epoch_steps : int
            Steps of an epoch; a training with fewer steps is one epoch.

        Raises
        ------
        ProtocolError
            If both `steps` and `epochs` are given.
        """
        if self.epochs is not None:
            if steps is not None:
                raise ProtocolError(
                    f"steps={steps} and epochs={self.epochs} both set the length of the training; give one of them"
                )
            return self.epochs, epoch_steps
        total = default if steps is None else steps
        one = min(epoch_steps, total)
        return -(-total // one), one

    def refuse(self, names: tuple[str, ...], why: str) -> None:
        """Refuse settings that a recipe does not use; `why` is the reason for the message.

        Raises
        ------
        ProtocolError
            If one of the named settings is given.
        """
        given = [name for name in names if getattr(self, name) is not None]
        if given:
            raise ProtocolError(f"{why}; leave out {', '.join(given)}")


class TrainableModule(Protocol):
    """The hooks of a module whose cards say ``trainable=True``, beside its `load`."""

    def training_options(self, card: ModelCard | ClickModelCard, protocol: Rules) -> Mapping[str, Option]:
        """Return the family's own training options by name; the caller sets them in the spec of the model.

        Every option has a default and a `help`. The result depends on the card and the protocol alone, so that
        ``rclicks show`` can list the options. The function must not import slow packages such as torch.
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
        """Train a network and return the result; `load` takes `Result.best` as its checkpoint.

        Parameters
        ----------
        card : ModelCard or ClickModelCard
            Card of the model to train, one of the module's cards.
        data : TrainingData
            Split data sets with as many axes as the card says; no image is decoded yet.
        out : Path
            Folder of the training. The family creates it after it has checked the options and the data.
        settings : TrainingSettings
            Settings of the caller; a family refuses those that it does not use.
        protocol : rclicks.protocol.Protocol
            Protocol of the recipe. ``compat`` selects the published recipe; a family without one refuses it.
        start : Path or None
            Weights to start from; always None if the card's `starts_from` is empty.
        report : callable
            Function that takes the `Progress` after every step and every epoch.
        **options
            Values of all `training_options`, checked and converted.

        Raises
        ------
        DataError
            If the data cannot be trained on.
        ProtocolError
            If a setting, an option or the protocol is refused.
        WeightsError
            If `start` does not fit.
        """


def refuse_compat(card: ModelCard | ClickModelCard, protocol: Rules) -> None:
    """Refuse the protocol ``compat`` for a family without a published recipe.

    Raises
    ------
    ProtocolError
        If the protocol is not ``default``.
    """
    if protocol.name != "default":
        raise ProtocolError(f"{card.name} has no published training recipe; choose protocol default")
