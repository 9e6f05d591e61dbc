"""Turn specs into live models, data sets and users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rclicks.cards import ClickModelCard, DatasetCard, ModelCard, UserCard
from rclicks.clickability.contract import ClickModel
from rclicks.clickability.provider import ClickMapProvider
from rclicks.config import load_config
from rclicks.data.contract import Dataset
from rclicks.data.roots import resolve, resolve_file
from rclicks.errors import MissingWeightsError, PluginError, ProtocolError, WeightsError
from rclicks.hooks import engine_arguments, option_names, select_arguments
from rclicks.models.contract import Model
from rclicks.models.precision import set_precision, split_precision
from rclicks.models.weights import SYNTHETIC, checkpoint_id, find_checkpoint
from rclicks.protocol import Protocol
from rclicks.registry import Entry, Registry, contract_of, hook, load_module
from rclicks.specs import Spec, parse
from rclicks.users.contract import User

__all__ = [
    "ClickModelPool",
    "check_options",
    "checkpoint_of",
    "find_weights",
    "load_click_model",
    "load_dataset",
    "load_model",
    "load_user",
    "locate_files",
    "open_dataset",
]


def load_model(registry: Registry, spec: Spec, device: str = "cpu", protocol: Protocol | None = None) -> Model:
    """Build a model; one that is made of other models loads them with the same device and protocol.

    Raises
    ------
    UnknownNameError, PluginError, WeightsError, ProtocolError
    """
    entry = registry.find("model", spec.name)
    offered = {
        "checkpoint": spec.checkpoint,
        "device": device,
        "protocol": protocol or Protocol(),
        "models": lambda inner: load_model(registry, parse(inner), device, protocol),
    }
    options, precision = split_precision(spec.options)
    model: Model = _load(entry, replace(spec, options=options), Model, offered)
    set_precision(model, precision)
    return model


def load_dataset(registry: Registry, spec: Spec, root: Path | None, protocol: Protocol | None = None) -> Dataset:
    """Open a data set whose root is known; one whose published form differs is told the protocol."""
    entry = registry.find("dataset", spec.name)
    return _load(entry, spec, Dataset, {"protocol": protocol or Protocol()}, root)


def open_dataset(registry: Registry, spec: Spec, data_root: Path | None = None) -> Dataset:
    """Find a data set's files and open it.

    Parameters
    ----------
    registry : Registry
    spec : Spec
        Its own root, if it names one, goes before all else.
    data_root : Path or None
        Parent of the data sets' folders; None takes the settings'.

    Raises
    ------
    UnknownNameError, PluginError, DataError, ProtocolError
    """
    card = registry.find("dataset", spec.name).card
    assert isinstance(card, DatasetCard)  # noqa: S101 - the registry's own promise
    root = resolve(card, None if spec.root is None else Path(spec.root), data_root, load_config())
    return load_dataset(registry, spec, root)


def locate_files(registry: Registry, spec: Spec, data_root: Path | None = None) -> dict[str, str]:
    """Return where the files lie that a user's options name, by option; see `rclicks.data.roots.resolve_file`.

    Raises
    ------
    UnknownNameError, MissingDataError
    """
    card = registry.find("user", spec.name).card
    assert isinstance(card, UserCard)  # noqa: S101 - the registry's own promise
    named = {option: spec.options[option] for option in card.files if spec.options.get(option) is not None}
    return {option: str(resolve_file(str(value), data_root, load_config())) for option, value in named.items()}


def load_user(registry: Registry, spec: Spec, protocol: Protocol, click_models: ClickModelPool | None = None) -> User:
    """Build a user; users that ask click models get them from `click_models`, a pool of their own if None."""
    entry = registry.find("user", spec.name)
    offered: dict[str, Any] = {"protocol": protocol, "click_models": click_models or ClickModelPool(registry, protocol)}
    if spec.checkpoint is not None:
        offered["checkpoint"] = spec.checkpoint
        if "checkpoint" not in select_arguments(load_module(entry).load, contract_of("user"), "load", offered):
            raise ProtocolError(f"user {spec.label} has no weights, so checkpoint={spec.checkpoint!r} makes no sense")
    return _load(entry, spec, User, offered)


def load_click_model(
    registry: Registry, spec: Spec, device: str = "cpu", protocol: Protocol | None = None
) -> ClickModel:
    """Build a click model.

    Raises
    ------
    UnknownNameError, PluginError, WeightsError, ProtocolError
    """
    entry = registry.find("click-model", spec.name)
    assert isinstance(entry.card, ClickModelCard)  # noqa: S101 - the registry's own promise
    _refuse_weights(entry.card, spec)
    offered = {"checkpoint": spec.checkpoint, "device": device, "protocol": protocol or Protocol()}
    return _load(entry, spec, ClickModel, offered)


class ClickModelPool:
    """The click models of one worker: each is built once, at its first map, and shared by all users that ask it.

    Parameters
    ----------
    registry : Registry
    protocol : Protocol
    device : str
    batch_size : int
        Canonical batch of networks.
    """

    def __init__(self, registry: Registry, protocol: Protocol, device: str = "cpu", batch_size: int = 1) -> None:
        self._registry, self._protocol, self._device, self._batch_size = registry, protocol, device, batch_size
        self._sources: dict[tuple[str, str | None], ClickMapProvider] = {}

    def __call__(self, name: str, checkpoint: str | None = None) -> ClickMapProvider:
        """Return the source of maps of the click model that `name` (with options) means.

        Raises
        ------
        UnknownNameError, PluginError, ProtocolError
            If there is no such click model or option.
        WeightsError
            If its weights are missing.
        """
        spec = parse(name)
        spec = replace(spec, checkpoint=checkpoint or spec.checkpoint, label="")
        key = spec.label, spec.checkpoint
        if key not in self._sources:
            facts = {"name": spec.label, "weights": checkpoint_of(self._registry, spec, "click-model")}
            card = self._registry.find("click-model", spec.name).card
            assert isinstance(card, ClickModelCard)  # noqa: S101 - the registry's own promise
            self._sources[key] = ClickMapProvider(lambda: self._build(spec), facts, self._batch_size, card=card)
        return self._sources[key]

    @property
    def sources(self) -> tuple[ClickMapProvider, ...]:
        """All sources handed out so far."""
        return tuple(self._sources.values())

    def _build(self, spec: Spec) -> ClickModel:
        return load_click_model(self._registry, spec, self._device, self._protocol)


def checkpoint_of(registry: Registry, spec: Spec, kind: str = "model") -> str:
    """Return the identity of the weights a spec means, without loading them.

    A model made of another one (hook `inner_model`) has that one's weights.

    Raises
    ------
    WeightsError
        If there is no such file.
    """
    entry = registry.find(kind, spec.name)
    options = split_precision(spec.options)[0] if kind == "model" else spec.options
    check_options(entry, load_module(entry).load, "load", options)
    if isinstance(entry.card, ClickModelCard):
        return _click_model_weights(entry, entry.card, spec)
    card = entry.card
    assert isinstance(card, ModelCard)  # noqa: S101 - the registry's own promise
    if inner := hook(entry, "inner_model"):
        if spec.checkpoint is not None:
            raise WeightsError(
                f"{card.name} has no weights of its own, so checkpoint={spec.checkpoint!r} makes no sense here; "
                f"give it to the inner model: model=NAME:checkpoint={spec.checkpoint}"
            )
        return checkpoint_of(registry, parse(inner(spec.options)), kind)
    if card.checkpoint is None and spec.checkpoint is None:
        return "none"
    if spec.checkpoint == SYNTHETIC:
        return SYNTHETIC
    identify = hook(entry, "checkpoint_identity") or checkpoint_id
    return str(identify(find_weights(entry, spec.checkpoint), card))


def find_weights(entry: Entry, checkpoint: str | None = None) -> Path:
    """Return the file or folder of weights of a model or click model: the one given, else the published one.

    Raises
    ------
    WeightsError
        If it is not there.
    PluginError
        If the module of the model cannot be imported.
    """
    if entry.kind == "model" and (find := hook(entry, "checkpoint_path")):
        return Path(find(entry.card, checkpoint))
    assert isinstance(entry.card, (ModelCard, ClickModelCard))  # noqa: S101 - the registry's own promise
    return find_checkpoint(entry.card, checkpoint)


def _click_model_weights(entry: Entry, card: ClickModelCard, spec: Spec) -> str:
    if spec.checkpoint is None and (shipped := hook(entry, "shipped_weights")):
        return str(shipped(card))
    if card.checkpoint is None and spec.checkpoint is None:
        return "none"
    _refuse_weights(card, spec)
    if spec.checkpoint == SYNTHETIC:
        return SYNTHETIC
    if card.checkpoint is None and spec.checkpoint is not None:
        file = Path(spec.checkpoint).expanduser()  # weights of the user's own; there are no published ones
        if not file.is_file():
            raise MissingWeightsError(f"checkpoint {file} of {card.name} does not exist")
        return checkpoint_id(file, card)
    return checkpoint_id(find_weights(entry, spec.checkpoint), card)


def _refuse_weights(card: ClickModelCard, spec: Spec) -> None:
    if spec.checkpoint is not None and not card.parameters:
        raise WeightsError(f"click model {card.name} has no weights, so checkpoint={spec.checkpoint!r} makes no sense")


def check_options(entry: Entry, function: Callable[..., Any], name: str, options: Mapping[str, Any]) -> None:
    """Refuse options of a spec that a hook of the entry's module cannot be given.

    Raises
    ------
    ProtocolError
        Naming the option and what is allowed.
    """
    contract = contract_of(entry.kind)
    given, known = engine_arguments(contract, name), option_names(function, contract, name)
    for option in options:
        if option in ("checkpoint", "root"):
            raise ProtocolError(f"{entry.kind} {entry.name!r}: `{option}` stands beside `options`, not in it")
        if option in given:
            raise ProtocolError(f"{entry.kind} {entry.name!r}: {option!r} is no option; the engine gives it")
        if known is not None and option not in known:
            allowed = ", ".join(known) or "none"
            raise ProtocolError(f"{entry.kind} {entry.name!r} has no option {option!r}; allowed: {allowed}")


def _load(entry: Entry, spec: Spec, wanted: type[Any], offered: Mapping[str, Any], *root: Path | None) -> Any:
    """Call `load` of an entry's module with what its contract says, and check what it returns."""
    load = load_module(entry).load
    check_options(entry, load, "load", spec.options)
    thing = load(entry.card, *root, **select_arguments(load, contract_of(entry.kind), "load", offered), **spec.options)
    if not isinstance(thing, wanted):
        raise PluginError(f"load of {entry.file} returned {type(thing).__name__}, expected a {wanted.__name__}")
    return thing
