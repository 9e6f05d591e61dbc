"""Train any trainable model or click model on any data set.

This module finds the plug-in, checks the options, splits the data and calls the training hook. It contains nothing that
is specific to a model family. A model is trainable if its card says so. Its module then has the hooks of
`rclicks.training.contract.TrainableModule`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rclicks.cards import ClickModelCard, DatasetCard, ModelCard
from rclicks.engine.loading import open_dataset
from rclicks.errors import PluginError, ProtocolError, UnknownNameError, WeightsError
from rclicks.options import Option, read_options
from rclicks.protocol import Protocol
from rclicks.registry import Entry, Registry, hook
from rclicks.specs import Spec, parse
from rclicks.training.contract import TrainingData, TrainingSettings
from rclicks.training.loop import Progress, Result
from rclicks.training.split import train_val_split

__all__ = ["HOOKS", "is_trainable", "train", "trainable_names", "training_options"]

HOOKS = ("training_options", "train")
_AXES = {2: "images", 3: "volumes"}


def train(
    registry: Registry,
    model: str | Spec,
    datasets: Sequence[str | Spec],
    out: Path,
    settings: TrainingSettings,
    *,
    protocol: str = "default",
    init_weights: Path | None = None,
    val_list: Path | None = None,
    data_root: Path | None = None,
    on_data: Callable[[ModelCard | ClickModelCard, TrainingData], None] = lambda card, data: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Train a model and return the result of the training.

    All options are checked before data is opened, and data is checked before anything is written.

    Parameters
    ----------
    registry : Registry
    model : str or Spec
        A trainable model or click model with its training options, such as ``NAME:size=64``.
    datasets : sequence of str or Spec
        One or more data sets with as many axes as the model.
    out : Path
        Output folder of the training.
    settings : TrainingSettings
    protocol : {"default", "compat"}
    init_weights : Path or None
        Existing weights to start from.
    val_list : Path or None
        List of the validation samples, see `rclicks.training.split.train_val_split`.
    data_root : Path or None
        Parent folder of the data sets; None for the configured one.
    on_data : callable (card, data) -> None
        Function that is called with the card of the model and the split data before the training begins.
    on_progress : callable (progress) -> None
        Function that is called after every step and every epoch.

    Raises
    ------
    UnknownNameError, PluginError
        If a name is unknown, or the module breaks its contract or needs a missing package.
    ProtocolError
        If the model cannot be trained, an option is not allowed, a data set has another number of axes, or the folder
        contains another training.
    DataError
        If the data is missing or damaged.
    WeightsError
        If the weights to start from are missing or do not fit.
    """
    spec = parse(model)
    entry = _find(registry, spec.name)
    card = _card(entry)
    options_of, train_hook = _hooks(entry)
    rules = Protocol.named(protocol)
    for word, value, instead in (
        ("checkpoint", spec.checkpoint, "pass weights to start from as init_weights (--init-weights)"),
        ("root", spec.root, "folders belong to data sets"),
    ):
        if value is not None:
            raise ProtocolError(f"training of {spec.name}: {word}={value!r} is not an option of a training; {instead}")
    options = read_options(spec.name, options_of(card, rules), spec.options, kind="training of")
    if init_weights is not None:
        if not card.starts_from:
            raise ProtocolError(f"training of {spec.name} always starts from random weights; leave out init_weights")
        if not init_weights.exists():
            raise WeightsError(f"weights {init_weights} to start from do not exist; expected: {card.starts_from}")
    if not datasets:
        raise ProtocolError(f"training of {spec.name} needs at least one data set")
    sets = [parse(dataset) for dataset in datasets]
    for one in sets:
        _check_axes(registry, one, card)
    data = train_val_split([open_dataset(registry, one, data_root) for one in sets], val_list)
    on_data(card, data)
    try:
        result = train_hook(
            card, data, out, settings=settings, protocol=rules, start=init_weights, report=on_progress, **options
        )
    except ImportError as error:
        hint = f" Install it with `pip install 'rclicks[{card.extra}]'`." if card.extra else ""
        raise PluginError(f"training of {spec.name} needs a missing package: {error}.{hint}") from error
    if not isinstance(result, Result):
        raise PluginError(f"train of {entry.file} returned {type(result).__name__}, expected a Result")
    return result


def is_trainable(entry: Entry) -> bool:
    """Return whether the card of an entry says that it can be trained."""
    return isinstance(entry.card, (ModelCard, ClickModelCard)) and entry.card.trainable


def trainable_names(registry: Registry) -> list[str]:
    """Return the names of all models and click models that can be trained, sorted."""
    return sorted(e.name for table in _tables(registry) for e in table.values() if is_trainable(e))


def training_options(entry: Entry, protocol: str = "default") -> Mapping[str, Option]:
    """Return the training options of a trainable entry that are specific to its family, by name.

    Raises
    ------
    PluginError
        If its module cannot be imported or lacks a hook.
    """
    options_of, _ = _hooks(entry)
    return options_of(_card(entry), Protocol.named(protocol))


def _tables(registry: Registry) -> tuple[dict[str, Entry], dict[str, Entry]]:
    return registry.models, registry.click_models


def _find(registry: Registry, name: str) -> Entry:
    found = [table[name] for table in _tables(registry) if name in table]
    trainable = [entry for entry in found if is_trainable(entry)]
    if trainable:
        return trainable[0]
    names = trainable_names(registry)
    if registry.broken and not found:
        registry.find("model", name)  # its error names the file if the plug-in of the model is broken
    if found:
        raise ProtocolError(f"{name} cannot be trained; trainable: {', '.join(names) or 'none'}")
    raise UnknownNameError("model", name, names)


def _card(entry: Entry) -> ModelCard | ClickModelCard:
    assert isinstance(entry.card, (ModelCard, ClickModelCard))  # noqa: S101 - the registry guarantees it
    return entry.card


def _hooks(entry: Entry) -> tuple[Callable[..., Mapping[str, Option]], Callable[..., Any]]:
    options, train_hook = (hook(entry, name) for name in HOOKS)
    if options is None or train_hook is None:
        missing = " and ".join(name for name, found in zip(HOOKS, (options, train_hook), strict=True) if found is None)
        raise PluginError(
            f"the card of {entry.name} in {entry.file} says trainable=True, but the module has no function {missing}"
        )
    return options, train_hook


def _check_axes(registry: Registry, dataset: Spec, card: ModelCard | ClickModelCard) -> None:
    own = registry.find("dataset", dataset.name).card
    allowed = card.dims if isinstance(card.dims, tuple) else (card.dims,)
    if isinstance(own, DatasetCard) and own.dims not in allowed:
        wanted = " or ".join(_AXES[dims] for dims in allowed)
        raise ProtocolError(f"{dataset.name} contains {_AXES[own.dims]}; {card.name} is trained on {wanted}")
