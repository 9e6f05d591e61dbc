"""Prepare a data set: convert raw data into the files that the data set reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rclicks.cards import DatasetCard
from rclicks.data.contract import Prepared
from rclicks.engine.loading import check_options
from rclicks.errors import PluginError, ProtocolError, UnknownNameError
from rclicks.registry import Registry, hook
from rclicks.specs import Spec

__all__ = ["prepare_dataset"]


def prepare_dataset(
    registry: Registry, spec: Spec, raw: Path | None, out: Path, report: Callable[[str], None]
) -> Prepared:
    """Call the hook `prepare` of a data set.

    Parameters
    ----------
    registry : Registry
    spec : Spec
        Name of a data set whose card says ``prepares=True``, with the options of the preparation.
    raw : Path or None
        Raw data; None if the data set needs none.
    out : Path
        Output folder; must be absent or empty.
    report : callable (str) -> None
        Function that is called with one line of progress text at a time.

    Raises
    ------
    UnknownNameError
        If there is no such data set.
    ProtocolError
        If the data set needs no preparation (the message lists the data sets that do), or an option is unknown or not
        allowed.
    DataError
        If the raw data is missing or damaged, or `out` cannot be written.
    PluginError
        If the module of the data set does not fulfil its contract.
    """
    names = [n for n, e in registry.datasets.items() if isinstance(e.card, DatasetCard) and e.card.prepares]
    known = f"Data sets that can be prepared: {', '.join(sorted(names)) or 'none'}."
    try:
        entry = registry.find("dataset", spec.name)
    except UnknownNameError as error:
        raise UnknownNameError("dataset", spec.name, registry.datasets, known) from error
    if spec.name not in names:
        raise ProtocolError(f"data set {spec.name} reads its files as they are published. {known}")
    prepare = hook(entry, "prepare")
    if prepare is None:
        raise PluginError(f"{entry.file}: the card of {spec.name} says prepares=True, but there is no function prepare")
    if spec.root is not None or spec.checkpoint is not None:
        raise ProtocolError(f"data set {spec.name}: pass the raw data and -o OUT instead of root= or checkpoint=")
    check_options(entry, prepare, "prepare", spec.options)
    done = prepare(entry.card, raw and raw.expanduser(), out.expanduser(), report=report, **spec.options)
    if not isinstance(done, Prepared):
        raise PluginError(f"prepare of {entry.file} returned {type(done).__name__}, expected a Prepared")
    return done
