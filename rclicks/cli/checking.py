"""``rclicks test`` and ``rclicks doctor``."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rclicks.cards import DatasetCard, ModelCard
from rclicks.config import config_files, load_config
from rclicks.data.roots import resolve
from rclicks.engine.loading import load_dataset
from rclicks.errors import DataError, PluginError, RclicksError, WeightsError
from rclicks.models.weights import find_checkpoint
from rclicks.registry import Registry, load_module
from rclicks.specs import Spec

__all__ = ["examine", "run_conformance"]


def run_conformance(folder: Path | None) -> int:
    """Run the suite of `rclicks.conformance` and return pytest's exit code.

    Raises
    ------
    PluginError
        If pytest is not installed or the folder does not exist.
    """
    if importlib.util.find_spec("pytest") is None:
        raise PluginError("the conformance suite needs pytest: pip install 'rclicks[test]', or pytest alone")
    if folder is not None and not folder.is_dir():
        raise PluginError(f"plug-in folder {folder} does not exist")
    environment = dict(os.environ)
    if folder is not None:
        environment["RCLICKS_PLUGINS"] = str(folder.resolve())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "rclicks.conformance"]
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - fixed words


def examine(as_json: bool) -> None:
    """Print what works here and what is missing."""
    facts = {
        "python": sys.version.split()[0],
        "extras": _extras(),
        "devices": _devices(),
        "configuration": [str(p) for p in config_files() if p.is_file()],
        "datasets": _datasets(),
        "weights": _weights(),
        "broken_plugins": [f"{b.file}: {b.reason}" for b in Registry.discover().broken],
    }
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    console = Console()
    console.print(f"Python {facts['python']}, devices: {', '.join(facts['devices'])}", highlight=False)
    found = ", ".join(facts["configuration"]) or f"none ({', '.join(map(str, config_files()))})"
    console.print(f"configuration: {found}", highlight=False, soft_wrap=True)
    for title, key in (("optional packages", "extras"), ("data sets", "datasets"), ("weights", "weights")):
        table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        rows: dict[str, Any] = facts[key]  # type: ignore[assignment]
        for name, (good, words) in rows.items():
            table.add_row("[green]yes[/]" if good else "[yellow]no[/]", name, words)
        console.print(table)
    for words in facts["broken_plugins"]:
        console.print(f"[red]broken:[/] {words}", highlight=False)


def _extras() -> dict[str, tuple[bool, str]]:
    found: dict[str, tuple[bool, str]] = {}
    for line in requires("rclicks") or []:
        name, _, marker = line.partition(";")
        extra = marker.partition("extra ==")[2].strip().strip("\"'")
        package = name.split(">")[0].split("=")[0].split("[")[0].strip()
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
    import torch

    return ["cpu", *(f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count()))]


def _datasets() -> dict[str, tuple[bool, str]]:
    registry, config = Registry.discover(), load_config()
    found: dict[str, tuple[bool, str]] = {}
    for name, entry in registry.datasets.items():
        assert isinstance(entry.card, DatasetCard)  # noqa: S101 - the registry's own promise
        try:
            root = resolve(entry.card, None, None, config)
            data = load_dataset(registry, Spec(name), root)
            whole = f" of {entry.card.samples}" if entry.card.samples not in {0, len(data)} else ""
            found[name] = (True, f"{len(data)}{whole} samples{f' in {root}' if root else ' in the package'}")
        except RclicksError as error:
            found[name] = (False, str(error).partition(". Expected")[0])
        except OSError as error:
            found[name] = (False, str(DataError(str(error))))
    return found


def _weights() -> dict[str, tuple[bool, str]]:
    found: dict[str, tuple[bool, str]] = {}
    for name, entry in Registry.discover().models.items():
        assert isinstance(entry.card, ModelCard)  # noqa: S101
        if entry.card.checkpoint is None:
            continue
        try:
            find = getattr(load_module(entry), "checkpoint_path", find_checkpoint)
            found[name] = (True, str(find(entry.card, None)))
        except (WeightsError, PluginError):
            found[name] = (False, entry.card.checkpoint.file)
    return found
