"""Names -> things, found by reading plug-in files without importing them.

A plug-in folder has the sub-folders ``adapters``, ``datasets``, ``users``, ``clickability`` (click models) and
``benchmarks``. The package's own catalogue is one; others come from installed packages (entry points of the group
``rclicks.plugins`` whose value is a package) and from ``--plugins DIR``. Python files hold a literal ``CARDS`` tuple,
benchmarks are YAML files.

>>> "robot" in Registry.discover().users
True
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import rclicks
from rclicks.cards import Card, Checkpoint, ClickModelCard, DatasetCard, ModelCard, UserCard
from rclicks.errors import MissingPackageError, PluginError, UnknownNameError

__all__ = ["Broken", "Entry", "Registry", "load_module"]

_CARDS: dict[str, type[Any]] = {
    "ModelCard": ModelCard,
    "DatasetCard": DatasetCard,
    "UserCard": UserCard,
    "ClickModelCard": ClickModelCard,
    "Checkpoint": Checkpoint,
}
_KINDS: dict[str, tuple[str, type[Card]]] = {
    "model": ("adapters", ModelCard),
    "dataset": ("datasets", DatasetCard),
    "user": ("users", UserCard),
    "click-model": ("clickability", ClickModelCard),
}


@dataclass(frozen=True)
class Entry:
    """One registered thing.

    Attributes
    ----------
    kind : {"model", "dataset", "user", "click-model", "benchmark"}
    card : Card or None
        None for benchmarks, which are described by their file.
    file : Path
    module : str
        Importable name of the module; "" for benchmarks.
    """

    kind: str
    name: str
    file: Path
    module: str = ""
    card: Card | None = None


@dataclass(frozen=True)
class Broken:
    """A plug-in file that could not be used, and why; it breaks nothing else."""

    file: Path
    reason: str


@dataclass
class Registry:
    """All plug-ins found at one moment.

    Attributes
    ----------
    models, datasets, users, click_models, benchmarks : dict of str -> Entry
    broken : list of Broken
    plugins : tuple of Path
        The extra folders it was built with, so that worker processes can build the same.
    """

    plugins: tuple[Path, ...] = ()
    models: dict[str, Entry] = field(default_factory=dict)
    datasets: dict[str, Entry] = field(default_factory=dict)
    users: dict[str, Entry] = field(default_factory=dict)
    click_models: dict[str, Entry] = field(default_factory=dict)
    benchmarks: dict[str, Entry] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    @classmethod
    def discover(cls, plugins: Sequence[Path | str] = ()) -> Registry:
        """Scan the built-in catalogue, installed plug-in packages and the folders `plugins`.

        Raises
        ------
        PluginError
            If a folder of `plugins` does not exist.
        """
        folders = tuple(Path(p).resolve() for p in plugins)
        registry = cls(plugins=folders)
        for base in rclicks.__path__:
            registry._scan(Path(base), "rclicks")
        for point in entry_points(group="rclicks.plugins"):
            try:
                spec = importlib.util.find_spec(point.value)
            except (ImportError, ValueError) as error:
                registry.broken.append(Broken(Path(point.value), f"entry point cannot be found: {error}"))
                continue
            locations = list(spec.submodule_search_locations or []) if spec else []
            if not locations:
                registry.broken.append(Broken(Path(point.value), "entry point names no importable package"))
            for location in locations:
                registry._scan(Path(location), point.value)
        for folder in folders:
            if not folder.is_dir():
                raise PluginError(f"plug-in folder {folder} does not exist")
            registry._scan(folder, "")
        return registry

    def find(self, kind: str, name: str) -> Entry:
        """Return the entry `name` of a kind.

        Raises
        ------
        UnknownNameError
            With the nearest names.
        """
        table = self.table(kind)
        if name not in table:
            hidden = [b for b in self.broken if name in b.reason or name.split("-")[0] in b.file.stem]
            if hidden:
                raise PluginError(f"{kind} {name!r} is not available: {hidden[0].file}: {hidden[0].reason}")
            raise UnknownNameError(kind, name, table)
        return table[name]

    def table(self, kind: str) -> dict[str, Entry]:
        """Return the names of one kind."""
        return {
            "model": self.models,
            "dataset": self.datasets,
            "user": self.users,
            "click-model": self.click_models,
            "benchmark": self.benchmarks,
        }[kind]

    def _scan(self, base: Path, package: str) -> None:
        for kind, (folder, card_type) in _KINDS.items():
            for file in _python_files(base / folder):
                module = f"{package}.{folder}.{file.stem}" if package else _module_name(base, folder, file.stem)
                try:
                    cards = read_cards(file)
                except PluginError as error:
                    self.broken.append(Broken(file, str(error)))
                    continue
                for card in cards:
                    if isinstance(card, card_type):
                        self._add(Entry(kind, card.name, file, module, card))
                    else:
                        self.broken.append(Broken(file, f"{type(card).__name__} {card.name!r} does not belong here"))
        if (base / "benchmarks").is_dir():
            for file in sorted((base / "benchmarks").glob("*.yaml")):
                self._add(Entry("benchmark", file.stem, file))

    def _add(self, entry: Entry) -> None:
        table = self.table(entry.kind)
        if entry.name in table:
            other = table[entry.name].file
            if other != entry.file or entry.kind != "benchmark":
                self.broken.append(Broken(entry.file, f"{entry.kind} {entry.name!r} is already taken by {other}"))
            return
        table[entry.name] = entry


def _python_files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (f for f in sorted(folder.glob("*.py")) if not f.name.startswith(("_", ".")))


def _module_name(base: Path, folder: str, stem: str) -> str:
    tag = hashlib.sha256(str(base).encode()).hexdigest()[:8]
    return f"rclicks_plugin_{tag}_{folder}_{stem}"


def read_cards(file: Path) -> list[Card]:
    """Return the cards of a plug-in file, read from its syntax tree.

    Raises
    ------
    PluginError
        If the file is no Python, a card has other fields than its class, or a value is not a literal.
    """
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    except (SyntaxError, UnicodeDecodeError, OSError) as error:
        raise PluginError(f"cannot be parsed: {error}") from error
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(t, ast.Name) and t.id == "CARDS" for t in targets):
            value = node.value  # type: ignore[attr-defined]
            if not isinstance(value, (ast.Tuple, ast.List)):
                raise PluginError(f"line {node.lineno}: CARDS must be a tuple of card calls")
            return [_card(call) for call in value.elts]
    return []


def _card(node: ast.expr) -> Any:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in _CARDS:
        raise PluginError(f"line {node.lineno}: expected a call of {', '.join(_CARDS)}")
    facts: dict[str, Any] = {}
    for keyword in node.keywords:
        if keyword.arg is None or node.args:
            raise PluginError(f"line {node.lineno}: cards take named, literal arguments only")
        if isinstance(keyword.value, ast.Call):
            facts[keyword.arg] = _card(keyword.value)
            continue
        try:
            facts[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError) as error:
            raise PluginError(f"line {keyword.value.lineno}: {keyword.arg} is not a literal") from error
    try:
        return _CARDS[node.func.id](**facts)
    except TypeError as error:
        raise PluginError(f"line {node.lineno}: {error}") from error


def load_module(entry: Entry) -> ModuleType:
    """Import the module of an entry.

    Raises
    ------
    MissingPackageError
        If a package is not installed that it imports; names the extra that brings it.
    PluginError
        If it fails to import for another reason, or has no `load`.
    """
    try:
        module = sys.modules.get(entry.module)
        if module is None and entry.module.startswith("rclicks_plugin_"):
            spec = importlib.util.spec_from_file_location(entry.module, entry.file)
            assert spec is not None  # noqa: S101 - a file path always gives a spec
            assert spec.loader is not None  # noqa: S101
            module = importlib.util.module_from_spec(spec)
            sys.modules[entry.module] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[entry.module]
                raise
        elif module is None:
            module = importlib.import_module(entry.module)
    except ImportError as error:
        extra = getattr(entry.card, "extra", "")
        hint = f" Install it with `pip install 'rclicks[{extra}]'`." if extra else ""
        raise MissingPackageError(
            f"{entry.kind} {entry.name!r} ({entry.file}) needs a missing package: {error}.{hint}"
        ) from error
    except Exception as error:
        raise PluginError(f"{entry.kind} {entry.name!r}: {entry.file} fails to import: {error!r}") from error
    if not callable(getattr(module, "load", None)):
        raise PluginError(f"{entry.file} has cards but no load(card, ...) function")
    return module
