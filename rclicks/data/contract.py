"""Contract of data sets. A data set lists its samples without decoding them, and decodes each by a pure function.

`Dataset` is the class of open data sets. `DatasetModule` describes the module that opens one: a file or a folder in
``datasets/``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rclicks.cards import DatasetCard
from rclicks.errors import RclicksError
from rclicks.hooks import optional
from rclicks.sample import Sample

if TYPE_CHECKING:
    from rclicks.protocol import Protocol as Rules

__all__ = ["Dataset", "DatasetModule", "Prepared"]


class Dataset(ABC):
    """An open data set: a sequence of samples that are decoded when they are needed.

    Attributes
    ----------
    card : DatasetCard
        Facts about the data set.
    root : Path or None
        Folder of the data set; None if it needs no files.
    max_side : int or None
        Longer side in pixels to which larger images are shrunk; None, the default, if images keep their size. Human
        clicks that were stored in pixels of the original image are scaled by the same rule
        (`rclicks.data.images.shrunk_size`).
    """

    card: DatasetCard
    root: Path | None = None
    max_side: int | None = None

    @property
    @abstractmethod
    def ids(self) -> Sequence[str]:
        """Unique names of the samples in evaluation order, found without decoding a sample."""

    @abstractmethod
    def read(self, index: int) -> Sample:
        """Decode the sample with this index, counted from 0. It is a pure function of (root, index).

        Raises
        ------
        DataError
            If a file is missing or damaged, or image and mask do not fit. The message names the file.
        """

    @property
    def groups(self) -> Sequence[str]:
        """Person or scan of each sample. A training never splits a group between training and validation."""
        return self.ids

    @property
    def validation_ids(self) -> Sequence[str]:
        """Names of the samples in `ids` that the publisher reserves for validation; empty if there is no such rule.

        Trainings do not learn from these samples unless the user says so.
        """
        return ()

    def files(self, index: int) -> Sequence[Path]:
        """Return the files from which a sample is read, for the hash of the data; empty if there are none."""
        return ()

    @property
    def raters(self) -> Sequence[str]:
        """Names of all raters in natural order; empty if they are only known after decoding."""
        return ()

    def present(self, index: int) -> Sequence[str]:
        """Return the raters who have a mask file of a sample, also an empty one, without decoding it.

        The result is empty for a data set that has no separate file for each rater.
        """
        return ()

    def absent(self, index: int) -> Sequence[str]:
        """Return the raters with at least one missing file of a sample, without decoding it."""
        return ()

    @property
    def notes(self) -> Sequence[str]:
        """Notes for runs on this data set, for example about missing files; empty if the data set is complete."""
        return ()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.card.name} has {len(self)} samples; the index {index} does not exist")
        return self.read(index % len(self))

    def __iter__(self) -> Iterator[Sample]:
        return (self.read(i) for i in range(len(self)))


@dataclass(frozen=True)
class Prepared:
    """Result of the hook `DatasetModule.prepare`.

    Attributes
    ----------
    out : Path
        Folder that was written.
    counts : mapping of str to int
        Number of written units of each kind, for example ``{"cases": 2, "slices": 40}``.
    failed : tuple of (str, RclicksError)
        Units of the raw data that were left out, each with its error.
    """

    out: Path
    counts: Mapping[str, int]
    failed: tuple[tuple[str, RclicksError], ...] = ()


class DatasetModule(Protocol):
    """The module of a family of data sets: its cards, and the functions that the engine calls in it.

    `CARDS` and `load` are required. The hooks marked as optional may be absent. `rclicks.hooks` explains which
    arguments are passed.

    Attributes
    ----------
    CARDS : tuple of DatasetCard
        Cards, written as calls of `rclicks.cards.DatasetCard` with literal arguments. They are read without importing
        the module.
    """

    CARDS: tuple[DatasetCard, ...]

    def load(self, card: DatasetCard, root: Path | None, *, protocol: Rules | None = None, **options: Any) -> Dataset:
        """Open a data set. It is called in the planning process and once in each worker process.

        It must not decode samples.

        Parameters
        ----------
        card : DatasetCard
            One of `CARDS`.
        root : Path or None
            Existing folder of the data set; None if the card names no folder and the user gave none.
        protocol : rclicks.protocol.Protocol
            Rules of the run, for data sets whose published form differs from the default form. It is passed only if
            the function has this parameter.
        **options
            Options of the spec.

        Raises
        ------
        DataError
            If files are missing, damaged or do not fit together.
        ProtocolError
            If an option is unknown or its value is not allowed.
        """

    @optional
    def prepare(
        self, card: DatasetCard, raw: Path | None, out: Path, *, report: Callable[[str], None], **options: Any
    ) -> Prepared:
        """Convert raw data to the form that `load` reads.

        It is called by ``rclicks data prepare NAME:options RAW -o OUT``. A module must have this hook if and only if
        its cards say ``prepares=True``.

        Parameters
        ----------
        card : DatasetCard
            Card of the data set that the user named.
        raw : Path or None
            Folder or file with the raw data; None if the user gave none.
        out : Path
            Folder to write. It is absent or empty before the call, and must be created only after all work is done.
        report : callable (str) -> None
            Function that is called with one line of progress at a time.
        **options
            Options of the spec, which the hook checks with `rclicks.options.read_options`.

        Raises
        ------
        ProtocolError
            If an option is unknown or its value is not allowed, or if raw data is needed and was not given.
        DataError
            If no unit could be prepared, or `out` cannot be written. If only some units fail, they are returned in
            `Prepared.failed`.
        """
