"""The registry: all models, data sets, users, click models and benchmarks by name.

Plug-in files are read without importing them. A plug-in folder has the sub-folders ``adapters``, ``datasets``,
``users``, ``clickability`` (click models) and ``benchmarks``. The folders of rclicks itself are found first, then those
of installed packages (entry points of the group ``rclicks.plugins`` whose value is a package), then those given by
``--plugins DIR``. A family is one Python file, or one folder with an ``__init__.py``; this file has a literal tuple
``CARDS``. Benchmarks are YAML files.

A folder given by ``--plugins`` is imported as a package whose name depends only on its path, so that all worker
processes use the same module names. The modules of a family can import each other (``from .network import Net``). An
``__init__.py`` of the plug-in folder itself is not run.

>>> "robot" in Registry.discover().users
True
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import rclicks
from rclicks.cards import Card, Checkpoint, ClickModelCard, DatasetCard, ModelCard, UserCard
from rclicks.errors import MissingPackageError, PluginError, UnknownNameError
from rclicks.hooks import hooks_of, mismatch

__all__ = ["Broken", "Entry", "Registry", "contract_of", "hook", "is_missing_package", "load_module", "read_cards"]

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
    """One registered model, data set, user, click model or benchmark.

    Attributes
    ----------
    kind : {"model", "dataset", "user", "click-model", "benchmark"}
        Kind of the entry.
    name : str
        Registered name.
    file : Path
        Python file with the card, or YAML file of the benchmark.
    module : str
        Name under which Python imports the module; "" for benchmarks.
    card : Card or None
        Facts about the entry; None for benchmarks, whose facts stand in their file.
    """

    kind: str
    name: str
    file: Path
    module: str = ""
    card: Card | None = None


@dataclass(frozen=True)
class Broken:
    """A plug-in file that cannot be used, and the reason. All other plug-ins remain usable."""

    file: Path
    reason: str


@dataclass
class Registry:
    """All plug-ins that were found.

    Attributes
    ----------
    plugins : tuple of Path
        Folders given by the caller. Worker processes build the same registry from them.
    models, datasets, users, click_models, benchmarks : dict of str to Entry
        Entries of each kind by name.
    broken : list of Broken
        Files that cannot be used.
    """

    plugins: tuple[Path, ...] = ()
    models: dict[str, Entry] = field(default_factory=dict)
    datasets: dict[str, Entry] = field(default_factory=dict)
    users: dict[str, Entry] = field(default_factory=dict)
    click_models: dict[str, Entry] = field(default_factory=dict)
    benchmarks: dict[str, Entry] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    KINDS: ClassVar[tuple[str, ...]] = (*_KINDS, "benchmark")

    @classmethod
    def discover(cls, plugins: Sequence[Path | str] = ()) -> Registry:
        """Read the folders of rclicks, of installed plug-in packages, and those in `plugins`.

        Raises
        ------
        PluginError
            If a folder in `plugins` does not exist or is not a plug-in folder.
        """
        folders = tuple(dict.fromkeys(Path(p).expanduser().resolve() for p in plugins))
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
                registry.broken.append(
                    Broken(Path(point.value), "entry point does not name a package that can be imported")
                )
            for location in locations:
                registry._scan(Path(location), point.value)
        for folder in folders:
            _check_plugin_folder(folder)
            registry._scan(folder, "")
        return registry

    def find(self, kind: str, name: str) -> Entry:
        """Return the entry `name` of a kind.

        Raises
        ------
        UnknownNameError
            If there is no such entry. The message names similar ones.
        PluginError
            If a broken plug-in file seems to contain this entry. The message says what is wrong with the file.
        """
        table = self.table(kind)
        if name not in table:
            hidden = [b for b in self.broken if name in b.reason or name.split("-")[0] in _family_name(b.file)]
            if hidden:
                raise PluginError(f"{kind} {name!r} is not available: {hidden[0].file}: {hidden[0].reason}")
            raise UnknownNameError(kind, name, table)
        return table[name]

    def table(self, kind: str) -> dict[str, Entry]:
        """Return the entries of one kind by name."""
        return {
            "model": self.models,
            "dataset": self.datasets,
            "user": self.users,
            "click-model": self.click_models,
            "benchmark": self.benchmarks,
        }[kind]

    def _scan(self, base: Path, package: str) -> None:
        for kind, (folder, card_type) in _KINDS.items():
            if not (base / folder).is_dir():
                continue
            files, broken = _family_files(base / folder)
            self.broken += broken
            for file in files:
                module = f"{package or _package_of(base)}.{folder}.{_family_name(file)}"
                try:
                    cards = read_cards(file)
                except PluginError as error:
                    self.broken.append(Broken(file, str(error)))
                    continue
                for card in cards:
                    if isinstance(card, card_type):
                        self._add(Entry(kind, card.name, file, module, card))
                    else:
                        self.broken.append(
                            Broken(file, f"{type(card).__name__} {card.name!r} does not belong in the folder {folder}/")
                        )
        if (base / "benchmarks").is_dir():
            for file in sorted((base / "benchmarks").glob("*.yaml")):
                self._add(Entry("benchmark", file.stem, file))

    def _add(self, entry: Entry) -> None:
        other = self.table(entry.kind).setdefault(entry.name, entry)
        twice = other.module == entry.module  # one file has two cards with this name
        if other is not entry and (other.file.resolve() != entry.file.resolve() or (twice and entry.module)):
            self.broken.append(Broken(entry.file, f"{entry.kind} {entry.name!r} is already taken by {other.file}"))


def _check_plugin_folder(folder: Path) -> None:
    """Check that `folder` is a plug-in folder; otherwise its plug-ins would be missing without a message.

    Raises
    ------
    PluginError
        If it does not exist or has none of the sub-folders.
    """
    if not folder.is_dir():
        raise PluginError(f"plug-in folder {folder} does not exist")
    names = [name for name, _ in _KINDS.values()] + ["benchmarks"]
    if any((folder / name).is_dir() for name in names):
        return
    expected = f"expected at least one of the sub-folders {', '.join(names)}"
    parents = [p.parent for p in (folder, *folder.parents) if p.name in names]
    hint = f"; did you mean {parents[0]}?" if parents else ""
    raise PluginError(f"{folder} is not a plug-in folder: {expected}{hint}")


def _family_name(file: Path) -> str:
    return file.parent.name if file.name == "__init__.py" else file.stem


def _family_files(folder: Path) -> tuple[list[Path], list[Broken]]:
    """Return the files that may contain cards, ``NAME.py`` or ``NAME/__init__.py``, and those that cannot be used.

    Names that begin with an underscore (helpers of the families) or a dot are left out.
    """
    found: dict[str, Path] = {}
    broken: list[Broken] = []
    try:
        entries = sorted(e for e in folder.iterdir() if not e.name.startswith(("_", ".")))
    except OSError as error:
        return [], [Broken(folder, f"cannot be listed: {error}")]
    for file in filter(None, map(_family_file, entries)):
        name = _family_name(file)
        if file.name == "__init__.py" and not file.is_file():
            reason = "a family folder needs an __init__.py with its CARDS; the names of folders of helpers begin with _"
            broken.append(Broken(file.parent, reason))
        elif "." in name:
            broken.append(Broken(file, f"the name {name!r} contains a dot, so Python cannot import it; rename it"))
        elif name in found:
            other = found.pop(name)
            reason = (
                f"family {name!r} is both {file} and {other}; Python would import only the folder; keep one of them"
            )
            broken.append(Broken(file, reason))
        else:
            found[name] = file
    return list(found.values()), broken


def _family_file(entry: Path) -> Path | None:
    """Return the file with the cards of a family, which may not exist; None if the path is not a family."""
    if entry.is_dir():
        return entry / "__init__.py" if (entry / "__init__.py").is_file() or any(entry.glob("*.py")) else None
    return entry if entry.suffix == ".py" and entry.is_file() else None


def _package_of(base: Path) -> str:
    """Make a plug-in folder importable as a package in this process, and return the name of the package.

    The name depends only on the path of the folder, so that all worker processes use the same module names.
    """
    name = f"rclicks_plugin_{hashlib.sha256(str(base).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(base)]
        importlib.invalidate_caches()  # the folder may have just been written
        sys.modules[name] = importlib.util.module_from_spec(spec)
    return name


def read_cards(file: Path) -> list[Card]:
    """Return the cards of a plug-in file, read from its syntax tree; an empty list if it has no ``CARDS``.

    Raises
    ------
    PluginError
        If the file is not valid Python, a card has unknown or missing fields, or a value is not a literal.
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
            raise PluginError(f"line {node.lineno}: cards take only keyword arguments with literal values")
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
        If it needs a package that is not installed. The message names the group of optional dependencies.
    PluginError
        If the module or one that it imports fails to import (the message names file and line), comes from another file
        than the entry, has no function `load`, or has one that the engine cannot call.
    """
    what = f"{entry.kind} {entry.name!r}"
    try:
        module = importlib.import_module(entry.module)
    except ImportError as error:
        if not is_missing_package(error, entry):
            raise PluginError(f"{what}: {_where(error, entry)} fails to import: {_plain(error, entry)}") from error
        extra = entry.card.extra if isinstance(entry.card, (ModelCard, ClickModelCard)) else ""
        hint = f" Install it with `pip install 'rclicks[{extra}]'`." if extra else ""
        raise MissingPackageError(
            f"{what} ({_where(error, entry)}) needs a missing package: {_plain(error, entry)}.{hint}"
        ) from error
    except Exception as error:
        raise PluginError(f"{what}: {_where(error, entry)} fails to import: {error!r}") from error
    if Path(module.__file__ or "").resolve() != entry.file.resolve():
        raise PluginError(
            f"{what}: importing {entry.module} gave {module.__file__} and not {entry.file}; two installed packages "
            "have the same name, or the file was replaced"
        )
    load = vars(module).get("load")
    if not callable(load):
        raise PluginError(f"{entry.file} has cards but no load(card, ...) function")
    if wrong := mismatch(load, contract_of(entry.kind), "load"):
        raise PluginError(f"{what}: {entry.file}: {wrong}")
    return module


def hook(entry: Entry, name: str) -> Callable[..., Any] | None:
    """Import the module of an entry and return its optional hook `name`; None if the module does not have it.

    Raises
    ------
    UnknownNameError
        If the contract of the entry's kind has no such optional hook.
    PluginError
        If the module cannot be imported, or the engine cannot call what has this name.
    """
    contract = contract_of(entry.kind)
    known = [h for h, required in hooks_of(contract).items() if not required]
    if name not in known:
        raise UnknownNameError(
            "hook", name, known, f"They are documented in {contract.__module__}.{contract.__name__}."
        )
    found: Callable[..., Any] | None = vars(load_module(entry)).get(name)
    if found is None:
        return None
    wrong = mismatch(found, contract, name) if callable(found) else f"{name} is not a function"
    if wrong:
        raise PluginError(f"{entry.kind} {entry.name!r}: {entry.file}: {wrong}")
    return found


def contract_of(kind: str) -> type:
    """Return the Protocol class that documents the hooks of a kind of plug-in."""
    from rclicks.clickability.contract import ClickModelModule
    from rclicks.data.contract import DatasetModule
    from rclicks.models.contract import ModelModule
    from rclicks.users.contract import UserModule

    contracts: dict[str, type] = {
        "model": ModelModule,
        "dataset": DatasetModule,
        "user": UserModule,
        "click-model": ClickModelModule,
    }
    return contracts[kind]


def is_missing_package(error: ImportError, entry: Entry) -> bool:
    """Return whether an import failed because a package is not installed, not because of an error in the plug-in."""
    top = (error.name or "").partition(".")[0]
    return top not in {entry.module.partition(".")[0], "rclicks"}


def _where(error: Exception, entry: Entry) -> str:
    """Return file and line at which an import failed, in the innermost module of the plug-in itself."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno},"
    own = f"{entry.module.partition('.')[0]}."
    places = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith(own) and frame.f_globals is not globals()
    ]
    return "{}, line {},".format(*places[-1]) if places else str(entry.file)


def _plain(error: ImportError, entry: Entry) -> str:
    """Return the message of an import error with the module names that the author of the plug-in uses."""
    return str(error).replace(f"{entry.module.rpartition('.')[0]}.", "")
