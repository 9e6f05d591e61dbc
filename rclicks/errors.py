"""Exceptions. Each message says what is wrong, where, what was expected and what to do.

Every class has its own exit code of the command line, so that scripts can tell errors apart.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "LISTED",
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

# What ``rclicks ls`` lists.
LISTED = ("models", "datasets", "users", "click-models", "metrics", "benchmarks")


class RclicksError(Exception):
    """Base of all errors that rclicks raises on purpose."""

    exit_code = 1


class PluginError(RclicksError):
    """A plug-in cannot be read or violates its contract."""

    exit_code = 3


class MissingPackageError(PluginError):
    """A plug-in needs an optional package that is not installed."""


class UnknownNameError(PluginError):
    """A name is unknown. The message names similar and known names.

    Parameters
    ----------
    kind : str
        Kind of thing that was looked for, such as "model".
    name : str
        Unknown name.
    known : iterable of str
        All names of this kind.
    note : str
        Sentence to add to the message, or "".
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], note: str = "") -> None:
        names = sorted(set(known))
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        listing = kind.replace("data set", "dataset").replace(" ", "-") + "s"
        more = f" See `rclicks ls {listing}`." if listing in LISTED else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Known: {shown or 'none'}.{more}{f' {note}' if note else ''}")


class DataError(RclicksError):
    """Data are missing, damaged or inconsistent."""

    exit_code = 4


class MissingDataError(DataError):
    """A data file does not exist. A file that exists but cannot be used raises `DataError` itself."""


class InvalidPrediction(RclicksError, ValueError):  # noqa: N818 - the table of failures stores this name
    """A prediction violates the contract of models: wrong shape or dtype, out of range, or not finite."""


class WeightsError(RclicksError):
    """A checkpoint is missing, unsafe to load or does not fit its network."""

    exit_code = 5


class MissingWeightsError(WeightsError):
    """A checkpoint does not exist. A checkpoint that exists but cannot be used raises `WeightsError` itself."""


class ProtocolError(RclicksError):
    """A benchmark, protocol or option is invalid, or results of different protocols would be mixed."""

    exit_code = 6


class RunError(RclicksError):
    """A run folder cannot be read or written, or it belongs to another plan."""

    exit_code = 7


class OutOfMemory(RclicksError):  # noqa: N818 - the usual name of this error
    """The device or the machine ran out of memory. The engine halves the batch size and tries again."""

    exit_code = 8
