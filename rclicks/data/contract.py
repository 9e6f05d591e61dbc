"""What a data set must do: know its samples without decoding them, and decode any one of them purely.

A data set module (one file of datasets/) has ``CARDS`` (tuple of `rclicks.cards.DatasetCard`) and
``load(card, root, **options) -> Dataset``; `root` is a `pathlib.Path`, or None for sets without files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from rclicks.cards import DatasetCard
from rclicks.sample import Sample

__all__ = ["Dataset"]


class Dataset(ABC):
    """A lazily decoded, indexable set of samples.

    Attributes
    ----------
    card : DatasetCard
    root : Path or None
    """

    card: DatasetCard
    root: Path | None = None

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

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.card.name} has {len(self)} samples, not index {index}")
        return self.read(index % len(self))

    def __iter__(self) -> Iterator[Sample]:
        return (self.read(i) for i in range(len(self)))
