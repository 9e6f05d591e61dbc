"""What a data set and its module must do: list samples without decoding, and decode any one of them purely.

`Dataset` is the open data set, `DatasetModule` the module that opens it: one file or one folder of ``datasets/``.
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
    """A lazily decoded, indexable set of samples.

    Attributes
    ----------
    card : DatasetCard
    root : Path or None
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
        """Sample names in evaluation order; unique. Found by listing, never by decoding."""

    @abstractmethod
    def read(self, index: int) -> Sample:
        """Decode sample `index` (0-based): a pure function of (root, index).

        Raises
        ------
        DataError
            If a file is missing or damaged, or image and mask do not fit; names the file.
        """

    @property
    def groups(self) -> Sequence[str]:
        """The person or scan that each sample shows: what must not be parted between training and validation."""
        return self.ids

    @property
    def validation_ids(self) -> Sequence[str]:
        """The samples, of those in `ids`, that the publisher keeps for validation; empty if there is no such rule.

        Trainings do not learn from them unless they are told so.
        """
        return ()

    def files(self, index: int) -> Sequence[Path]:
        """Return the files sample `index` is read from, for the data hash; empty if none."""
        return ()

    @property
    def raters(self) -> Sequence[str]:
        """Names of all raters that the files name, in natural order; empty if they are known after decoding only."""
        return ()

    def present(self, index: int) -> Sequence[str]:
        """Return the raters who have a file of sample `index`, whether or not they drew anything; never decodes.

        Empty, as here, for a data set that does not keep raters in files of their own.
        """
        return ()

    def absent(self, index: int) -> Sequence[str]:
        """Return the raters of whom at least one expected file of sample `index` is not there; never decodes."""
        return ()

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for every run on this data, for example which files are absent; empty if all is complete."""
        return ()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.card.name} has {len(self)} samples, not index {index}")
        return self.read(index % len(self))

    def __iter__(self) -> Iterator[Sample]:
        return (self.read(i) for i in range(len(self)))


@dataclass(frozen=True)
class Prepared:
    """What the hook `DatasetModule.prepare` wrote.

    Attributes
    ----------
    out : Path
        Folder that was written.
    counts : mapping of str to int
        Number of units that were written, by their plural noun, such as ``{"cases": 2, "slices": 40}``.
    failed : tuple of (str, RclicksError)
        Units of the raw data that were left out, and why.
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
        Calls of `rclicks.cards.DatasetCard` with literal arguments; read without importing the module.
    """

    CARDS: tuple[DatasetCard, ...]

    def load(self, card: DatasetCard, root: Path | None, *, protocol: Rules | None = None, **options: Any) -> Dataset:
        """Open a data set. Called in the planning process and once in each worker process; must not decode samples.

        Parameters
        ----------
        card : DatasetCard
            One of `CARDS`.
        root : Path or None
            Existing folder of the data set; None if the card names no folder and the user gave none.
        protocol : rclicks.protocol.Protocol
            Passed on request: rules of the run, for a data set whose published form differs from its default form.
        **options
            Options of the spec.

        Raises
        ------
        DataError
            If files are missing, damaged or contradict each other.
        ProtocolError
            If an option is unknown or its value is not allowed.
        """

    @optional
    def prepare(
        self, card: DatasetCard, raw: Path | None, out: Path, *, report: Callable[[str], None], **options: Any
    ) -> Prepared:
        """Bring raw data into the form that `load` reads. Called by ``rclicks data prepare NAME:options RAW -o OUT``.

        A module has the hook if and only if its cards say ``prepares=True``.

        Parameters
        ----------
        card : DatasetCard
            The card of the name that the user gave.
        raw : Path or None
            Folder or file of raw data; None if the user gave none.
        out : Path
            Folder to write. It must be absent or empty before, and must appear only when all is done.
        report : callable (str) -> None
            Told the progress, a line at a time.
        **options
            Options of the spec, checked by `rclicks.options.read_options`.

        Raises
        ------
        ProtocolError
            If an option is unknown or its value is not allowed, or raw data is needed and was not given.
        DataError
            If nothing could be prepared, or `out` cannot be written. Units that fail while others succeed are
            returned in `Prepared.failed`.
        """
