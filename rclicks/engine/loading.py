"""Build models, data sets, users and click models from their specs."""

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
from rclicks.options import read_options
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
    """Build a model. A model that contains another model builds it with the same device and protocol.

    Raises
    ------
    UnknownNameError, PluginError
        If there is no such model, its module cannot be imported, or it does not fulfil its contract.
    WeightsError
        If its weights are missing or do not fit.
    ProtocolError
        If an option is unknown or not allowed.
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
    """Open a data set whose root folder is known.

    Parameters
    ----------
    registry : Registry
    spec : Spec
    root : Path or None
        Folder of the data set; None for a data set without files.
    protocol : Protocol or None
        Rules of the run, for data sets that differ between the protocols; None for the default protocol.

    Raises
    ------
    UnknownNameError, PluginError, DataError, ProtocolError
    """
    entry = registry.find("dataset", spec.name)
    return _load(entry, spec, Dataset, {"protocol": protocol or Protocol()}, root)


def open_dataset(registry: Registry, spec: Spec, data_root: Path | None = None) -> Dataset:
    """Find a data set's files and open it.

    Parameters
    ----------
    registry : Registry
    spec : Spec
        Name and options. A root in the spec takes precedence over `data_root`.
    data_root : Path or None
        Parent folder of the data sets; None for the configured one.

    Raises
    ------
    UnknownNameError, PluginError, DataError, ProtocolError
    """
    card = registry.find("dataset", spec.name).card
    assert isinstance(card, DatasetCard)  # noqa: S101 - the registry guarantees it
    root = resolve(card, None if spec.root is None else Path(spec.root), data_root, load_config())
    return load_dataset(registry, spec, root)


def locate_files(registry: Registry, spec: Spec, data_root: Path | None = None) -> dict[str, str]:
    """Return the paths of the files in a user's options, by option name; see `rclicks.data.roots.resolve_file`.

    Raises
    ------
    UnknownNameError
        If there is no such user.
    MissingDataError
        If a file does not exist.
    """
    card = registry.find("user", spec.name).card
    assert isinstance(card, UserCard)  # noqa: S101 - the registry guarantees it
    named = {option: spec.options[option] for option in card.files if spec.options.get(option) is not None}
    return {option: str(resolve_file(str(value), data_root, load_config())) for option, value in named.items()}


def load_user(registry: Registry, spec: Spec, protocol: Protocol, click_models: ClickModelPool | None = None) -> User:
    """Build a user.

    Parameters
    ----------
    registry : Registry
    spec : Spec
    protocol : Protocol
    click_models : ClickModelPool or None
        Source of the click models of the user; None for a new pool on the CPU.

    Raises
    ------
    UnknownNameError, PluginError, DataError, WeightsError, ProtocolError
    """
    entry = registry.find("user", spec.name)
    offered: dict[str, Any] = {"protocol": protocol, "click_models": click_models or ClickModelPool(registry, protocol)}
    if spec.checkpoint is not None:
        offered["checkpoint"] = spec.checkpoint
        if "checkpoint" not in select_arguments(load_module(entry).load, contract_of("user"), "load", offered):
            raise ProtocolError(f"user {spec.label} has no weights; leave out checkpoint={spec.checkpoint!r}")
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
    assert isinstance(entry.card, ClickModelCard)  # noqa: S101 - the registry guarantees it
    _refuse_weights(entry.card, spec)
    offered = {"checkpoint": spec.checkpoint, "device": device, "protocol": protocol or Protocol()}
    return _load(entry, spec, ClickModel, offered)


class ClickModelPool:
    """The click models of one worker. Each is built once, when its first map is needed, and is shared by all users.

    Parameters
    ----------
    registry : Registry
    protocol : Protocol
    device : str
    batch_size : int
        Number of slots in a call of a network.
    """

    def __init__(self, registry: Registry, protocol: Protocol, device: str = "cpu", batch_size: int = 1) -> None:
        self._registry, self._protocol, self._device, self._batch_size = registry, protocol, device, batch_size
        self._sources: dict[tuple[str, str | None], ClickMapProvider] = {}

    def __call__(self, name: str, checkpoint: str | None = None) -> ClickMapProvider:
        """Return the provider of the click maps of a click model.

        Parameters
        ----------
        name : str
            Spec of the click model: a name with options.
        checkpoint : str or None
            Weights; None for the checkpoint in `name`, or else the published weights.

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
            assert isinstance(card, ClickModelCard)  # noqa: S101 - the registry guarantees it
            self._sources[key] = ClickMapProvider(lambda: self._build(spec), facts, self._batch_size, card=card)
        return self._sources[key]

    @property
    def sources(self) -> tuple[ClickMapProvider, ...]:
        """All providers returned so far."""
        return tuple(self._sources.values())

    def _build(self, spec: Spec) -> ClickModel:
        return load_click_model(self._registry, spec, self._device, self._protocol)


def checkpoint_of(registry: Registry, spec: Spec, kind: str = "model", protocol: Protocol | None = None) -> str:
    """Check the options of a spec and return the identity of its weights, without loading it.

    A model that contains another model (hook `inner_model`) has the weights of the inner model.

    Returns
    -------
    str
        File name and hash, "synthetic", or "none" without weights.

    Raises
    ------
    UnknownNameError, PluginError, ProtocolError
        If there is no such model or click model, or an option is unknown or not allowed.
    WeightsError
        If the file does not exist, or the model has no weights.
    """
    entry = registry.find(kind, spec.name)
    options = split_precision(spec.options)[0] if kind == "model" else spec.options
    check_options(entry, load_module(entry).load, "load", options)
    if kind == "model" and (load_options := hook(entry, "load_options")):
        read_options(entry.name, load_options(entry.card, protocol or Protocol()), options)
    if isinstance(entry.card, ClickModelCard):
        return _click_model_weights(entry, entry.card, spec)
    card = entry.card
    assert isinstance(card, ModelCard)  # noqa: S101 - the registry guarantees it
    if inner := hook(entry, "inner_model"):
        if spec.checkpoint is not None:
            raise WeightsError(
                f"{card.name} has no weights of its own; instead of checkpoint={spec.checkpoint!r} pass the weights "
                f"to the inner model: model=NAME:checkpoint={spec.checkpoint}"
            )
        return checkpoint_of(registry, parse(inner(spec.options)), kind, protocol)
    if card.checkpoint is None and spec.checkpoint is None:
        return "none"
    if spec.checkpoint == SYNTHETIC:
        return SYNTHETIC
    identify = hook(entry, "checkpoint_identity") or checkpoint_id
    return str(identify(find_weights(entry, spec.checkpoint), card))


def find_weights(entry: Entry, checkpoint: str | None = None) -> Path:
    """Return the path of the weights of a model or click model: `checkpoint`, or the published weights if None.

    Raises
    ------
    WeightsError
        If the file or folder does not exist.
    PluginError
        If the module of the model cannot be imported.
    """
    if entry.kind == "model" and (find := hook(entry, "checkpoint_path")):
        return Path(find(entry.card, checkpoint))
    assert isinstance(entry.card, (ModelCard, ClickModelCard))  # noqa: S101 - the registry guarantees it
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
        file = Path(spec.checkpoint).expanduser()  # there are no published weights; the caller gives a file
        if not file.is_file():
            raise MissingWeightsError(f"checkpoint {file} of {card.name} does not exist")
        return checkpoint_id(file, card)
    return checkpoint_id(find_weights(entry, spec.checkpoint), card)


def _refuse_weights(card: ClickModelCard, spec: Spec) -> None:
    if spec.checkpoint is not None and not card.parameters:
        raise WeightsError(f"click model {card.name} has no weights; leave out checkpoint={spec.checkpoint!r}")


def check_options(entry: Entry, function: Callable[..., Any], name: str, options: Mapping[str, Any]) -> None:
    """Check that a hook of a module takes the options of a spec.

    Parameters
    ----------
    entry : Entry
        The plug-in.
    function : callable
        The hook.
    name : str
        Name of the hook, such as "load".
    options : mapping of str to value

    Raises
    ------
    ProtocolError
        If an option is not allowed. The message lists the allowed options.
    """
    contract = contract_of(entry.kind)
    given, known = engine_arguments(contract, name), option_names(function, contract, name)
    for option in options:
        if option in ("checkpoint", "root"):
            raise ProtocolError(f"{entry.kind} {entry.name!r}: write `{option}` beside `options`, not in it")
        if option in given:
            raise ProtocolError(f"{entry.kind} {entry.name!r}: {option!r} is not an option; the engine passes it")
        if known is not None and option not in known:
            allowed = ", ".join(known) or "none"
            raise ProtocolError(f"{entry.kind} {entry.name!r} has no option {option!r}; allowed: {allowed}")


def _load(entry: Entry, spec: Spec, wanted: type[Any], offered: Mapping[str, Any], *root: Path | None) -> Any:
    """Call the hook `load` of a module with the arguments of its contract, and check the type of the result."""
    load = load_module(entry).load
    check_options(entry, load, "load", spec.options)
    thing = load(entry.card, *root, **select_arguments(load, contract_of(entry.kind), "load", offered), **spec.options)
    if not isinstance(thing, wanted):
        raise PluginError(f"load of {entry.file} returned {type(thing).__name__}, expected a {wanted.__name__}")
    return thing
