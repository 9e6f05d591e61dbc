"""Split of data sets into a training part and a validation part; the validation part selects the best epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rclicks.data.contract import Dataset
from rclicks.errors import DataError
from rclicks.training.contract import SplitDataset, TrainingData

__all__ = ["is_held_out", "read_names", "train_val_split"]

HELD_OUT = 0.1  # share of persons or scans that are held out if neither the caller nor the publisher names them

Key = tuple[int, str]  # index of the data set, and the name of one of its groups


def train_val_split(datasets: Sequence[Dataset], val_list: Path | None = None) -> TrainingData:
    """Return the training and the validation samples; no person or scan is in both parts.

    The list of the caller has priority over the validation part of the publisher (`Dataset.validation_ids`). Without
    either, a fixed tenth of the groups (`Dataset.groups`) is held out. If one part is empty after that, all samples
    are in both parts.

    Parameters
    ----------
    datasets : sequence of Dataset
    val_list : Path or None
        Text file with the names of validation samples, or of groups, one on each line.

    Raises
    ------
    DataError
        If the list cannot be read, names nothing in the data sets, or splits the samples of one group; or if all
        samples belong to the published validation part.
    """
    known = [(k, s, g) for k, data in enumerate(datasets) for s, g in zip(data.ids, data.groups, strict=True)]
    if val_list is not None:
        chosen = _listed(known, val_list, datasets)
    else:
        published = [frozenset(data.validation_ids) for data in datasets]
        chosen = {(k, g) for k, s, g in known if (s in published[k] if published[k] else is_held_out(g))}
    parts = []
    for k, data in enumerate(datasets):
        held = [(k, group) in chosen for group in data.groups]
        train = tuple(i for i, out in enumerate(held) if not out)
        parts.append(SplitDataset(data, train, tuple(i for i, out in enumerate(held) if out)))
    found = TrainingData(tuple(parts))
    if found.train_count and found.validation_count:
        return found
    for data in datasets:
        if val_list is None and data.validation_ids:
            raise DataError(
                f"data set {data.card.name} as it is opened here has no training sample: all {len(data)} are its "
                "published validation part; open the other part too (see its option `split`), or pass a list of "
                "validation samples"
            )
    return TrainingData(tuple(SplitDataset(d, tuple(range(len(d))), tuple(range(len(d)))) for d in datasets))


def _listed(known: Sequence[tuple[int, str, str]], val_list: Path, datasets: Sequence[Dataset]) -> set[Key]:
    """Return the groups that a list names, either directly or by the names of all their samples."""
    names = read_names(val_list)
    chosen = {(k, group) for k, sample, group in known if sample in names or group in names}
    split = sorted({g for k, s, g in known if (k, g) in chosen and g not in names and s not in names})
    if not chosen or split:
        why = f"splits the samples of {', '.join(split[:3])}" if split else "names no sample of the data set"
        sets = ", ".join(data.card.name for data in datasets)
        raise DataError(f"list of validation samples {val_list} {why}; name samples or groups of {sets}")
    return chosen


def read_names(file: Path) -> frozenset[str]:
    """Return the names in a text file, one on each line.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    try:
        return frozenset(file.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"list of validation samples {file} cannot be read: {error}") from error


def is_held_out(name: str) -> bool:
    """Return whether a name belongs to the fixed tenth that is held out; its SHA-256 decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") < HELD_OUT * 2**32
