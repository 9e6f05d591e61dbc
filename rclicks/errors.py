"""Typed exceptions: each message says what was wrong, where, what was expected and what to do.

The command line maps every class to an exit code, so that scripts can tell them apart.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "DataError",
    "InvalidPrediction",
    "MissingDataError",
    "MissingPackageError",
    "MissingWeightsError",
    "OutOfMemory",
    "PluginError",
    "ProtocolError",
    "RclicksError",
    "RunError",
    "UnknownNameError",
    "WeightsError",
]


class RclicksError(Exception):
    """Base of all errors that rclicks raises on purpose."""

    exit_code = 1


class PluginError(RclicksError):
    """A plug-in file cannot be read or does not keep its contract."""

    exit_code = 3


class MissingPackageError(PluginError):
    """A plug-in needs an optional package that is not installed."""


class UnknownNameError(PluginError):
    """A model, data set, user, metric or benchmark of that name does not exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str], note: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
        super().__init__(
            f"unknown {kind} {name!r}.{hint} Known: {shown or 'none'}. See `rclicks ls {kind.replace(' ', '')}s`."
            + (f" {note}" if note else "")
        )


class DataError(RclicksError):
    """Data is missing, damaged or contradicts itself."""

    exit_code = 4


class MissingDataError(DataError):
    """A file of data does not exist; a file that exists and cannot be used is a plain `DataError`."""


class InvalidPrediction(RclicksError, ValueError):  # noqa: N818 - it names a fact that the failure table records
    """A model's prediction is not what its contract says: shape, dtype, range, or a value that is not finite."""


class WeightsError(RclicksError):
    """A checkpoint is missing, unsafe to load or does not fit its network."""

    exit_code = 5


class MissingWeightsError(WeightsError):
    """A checkpoint does not exist; one that exists and cannot be used is a plain `WeightsError`."""


class ProtocolError(RclicksError):
    """A benchmark, protocol or option is invalid, or results of unequal protocols would be mixed."""

    exit_code = 6


class RunError(RclicksError):
    """A run folder cannot be written or belongs to another plan."""

    exit_code = 7


class OutOfMemory(RclicksError):  # noqa: N818 - the name the design gives it
    """The device or the machine ran out of memory; the engine halves its lanes and retries."""

    exit_code = 8
