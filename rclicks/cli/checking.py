"""``rclicks test`` and ``rclicks doctor``."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rclicks import __version__
from rclicks.cards import ClickModelCard, DatasetCard, ModelCard
from rclicks.config import Config, config_files, load_config
from rclicks.data.roots import resolve
from rclicks.engine.loading import find_weights, load_dataset
from rclicks.errors import PluginError, ProtocolError, RclicksError, WeightsError
from rclicks.registry import Registry
from rclicks.specs import Spec

__all__ = ["examine", "run_conformance"]


def run_conformance(folder: Path | None) -> int:
    """Run the suite of `rclicks.conformance` and return the exit code of pytest.

    Parameters
    ----------
    folder : Path or None
        Plug-in folder to test; None tests everything that is registered.

    Raises
    ------
    PluginError
        If pytest is not installed, or the folder does not exist, is not a plug-in folder, or has nothing to test.
    """
    if importlib.util.find_spec("pytest") is None:
        raise PluginError("the conformance suite needs pytest; install it with `pip install 'rclicks[test]'`")
    environment = dict(os.environ)
    if folder is not None:
        found = Registry.discover([folder])
        files = [e.file for kind in found.KINDS for e in found.table(kind).values()] + [b.file for b in found.broken]
        if not any(folder.resolve() in file.resolve().parents for file in files):
            raise PluginError(
                f"plug-in folder {folder} has nothing to test: it has no benchmark and no file with CARDS"
            )
        environment["RCLICKS_PLUGINS"] = str(folder.resolve())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "rclicks.conformance"]
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - fixed words


def examine(as_json: bool) -> None:
    """Print what is installed and what is missing. An error in one part does not hide the others."""
    config, trouble = _configuration()
    registry = Registry.discover()
    facts: dict[str, Any] = {
        "rclicks": __version__,
        "python": sys.version.split()[0],
        "extras": _extras(),
        "devices": _devices(),
        "configuration": [str(p) for p in config_files() if p.is_file()],
        "trouble": trouble,
        "datasets": _datasets(registry, config),
        "weights": _weights(registry, config),
        "writable": os.access(".", os.W_OK),
        "broken_plugins": [f"{b.file}: {b.reason}" for b in registry.broken],
    }
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    console = Console(highlight=False)
    console.print(f"rclicks {facts['rclicks']}, Python {facts['python']}, devices: {', '.join(facts['devices'])}")
    found = ", ".join(facts["configuration"]) or f"none (looked for {', '.join(map(str, config_files()))})"
    console.print(f"configuration: {found}", soft_wrap=True, markup=False)
    words = (
        "can be written" if facts["writable"] else "CANNOT be written; give `rclicks run` an --out in another folder"
    )
    console.print(f"current folder {words}")
    for line in (*trouble, *(f"broken plug-in {b}" for b in facts["broken_plugins"])):
        console.print(Text(line, style="red"), soft_wrap=True)
    for title, key in (("optional packages", "extras"), ("data sets", "datasets"), ("weights", "weights")):
        rows: dict[str, tuple[bool, str]] = facts[key]
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        absent: dict[str, list[str]] = {}
        for name, (good, about) in rows.items():
            if good:
                table.add_row(Text(name, style="green"), Text(about))
            else:
                absent.setdefault(_shorter(about, name) if key == "datasets" else about, []).append(name)
        console.print(f"\n[bold]{title}[/]: {sum(good for good, _ in rows.values())} of {len(rows)} found")
        console.print(table)
        for reason, names in absent.items():
            console.print(Text.assemble(("not found ", "yellow"), ", ".join(names), (f": {reason}", "dim")))


def _shorter(reason: str, name: str) -> str:
    return reason.replace(f"data set {name} not found. Looked for", "looked for")


def _configuration() -> tuple[Config, list[str]]:
    """Return the configuration and no errors, or an empty configuration and the error in its file."""
    try:
        return load_config(), []
    except ProtocolError as error:
        return Config(), [str(error)]


def _extras() -> dict[str, tuple[bool, str]]:
    found: dict[str, tuple[bool, str]] = {}
    for line in requires("rclicks") or []:
        name, _, marker = line.partition(";")
        extra = marker.partition("extra ==")[2].strip().strip("\"'")
        package = re.split(r"[^\w.-]", name.strip(), maxsplit=1)[0]  # "name" of "name[extra]<2,>=1"
        if not extra or package == "rclicks" or extra == "test":
            continue
        try:
            words, good = f"{version(package)} (extra {extra})", True
        except PackageNotFoundError:
            words, good = f"pip install 'rclicks[{extra}]'", False
        found[package] = (good, words)
    return found


def _devices() -> list[str]:
    if importlib.util.find_spec("torch") is None:
        return ["cpu"]
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:
        return ["cpu", f"no others, because torch cannot be imported: {error}"]
    found = ["cpu", *(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def _datasets(registry: Registry, config: Config) -> dict[str, tuple[bool, str]]:
    found: dict[str, tuple[bool, str]] = {}
    for name, entry in registry.datasets.items():
        assert isinstance(entry.card, DatasetCard)  # noqa: S101 - guaranteed by the registry
        try:
            root = resolve(entry.card, None, None, config)
            data = load_dataset(registry, Spec(name), root)
            whole = f" of {entry.card.samples}" if entry.card.samples not in {0, len(data)} else ""
            found[name] = (True, f"{len(data)}{whole} samples{f' in {root}' if root else ' in the package'}")
        except RclicksError as error:
            found[name] = (False, str(error).partition(". Expected")[0])
        except OSError as error:
            found[name] = (False, f"{error.filename}: {error.strerror}")
    return found


def _weights(registry: Registry, config: Config) -> dict[str, tuple[bool, str]]:
    found: dict[str, tuple[bool, str]] = {}
    folder = config.checkpoint_folder()
    where = f"below {folder}" if folder else "no checkpoint folder is set (RCLICKS_CHECKPOINTS, or rclicks.yaml)"
    for name, entry in (*registry.models.items(), *registry.click_models.items()):
        assert isinstance(entry.card, (ModelCard, ClickModelCard))  # noqa: S101 - guaranteed by the registry
        if entry.card.checkpoint is None:
            continue
        try:
            found[name] = (True, str(find_weights(entry)))
        except PluginError as error:
            found[name] = (False, str(error))
        except (WeightsError, ProtocolError):
            found[name] = (False, where)
    return found
