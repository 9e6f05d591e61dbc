"""``rclicks ls`` and ``rclicks show``: listings, and the facts about one model, data set, run, ..."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rclicks.cards import Card
from rclicks.errors import LISTED, PluginError, UnknownNameError
from rclicks.registry import Registry

__all__ = ["list_kind", "show_name"]

WIDE = 120  # columns of a terminal in which a listing has room for everything

_COLUMNS = {
    "models": ("name", "dims", "prompts", "parameters", "extra", "summary"),
    "datasets": ("name", "dims", "samples", "objects", "summary"),
    "users": ("name", "dims", "prompts", "summary"),
    "click-models": ("name", "parameters", "extra", "summary"),
    "metrics": ("name", "level", "higher_is_better", "summary"),
    "benchmarks": ("name", "summary"),
}

# Labels of `rclicks show` for fields of cards whose names do not say enough.
_LABELS = {"files": "file options", "file": "source file", "extra": "package extra"}


def counted(number: int, noun: str) -> str:
    """Return a number and a noun in the singular or plural.

    >>> counted(1, "worker"), counted(2, "worker")
    ('1 worker', '2 workers')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def list_kind(kind: str, as_json: bool, plugins: Sequence[Path]) -> None:
    """Print all entries of a kind, then the plug-in files that cannot be used.

    Raises
    ------
    UnknownNameError
        If the kind is not in `rclicks.errors.LISTED`.
    """
    if kind not in LISTED:
        raise UnknownNameError("kind", kind, LISTED)
    registry = Registry.discover(plugins)
    rows = _facts(kind, registry)
    if as_json:
        broken = [{"file": str(b.file), "reason": b.reason} for b in registry.broken]
        print(json.dumps({kind: rows, "broken": broken}, indent=2, default=str))
        return
    console = Console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    columns = [c for c in _COLUMNS[kind] if any(row.get(c) for row in rows)]
    if console.width < WIDE and "extra" in columns:
        columns.remove("extra")  # more room for the summary; `rclicks show` prints it
    for column in columns:
        right = column in {"parameters", "samples", "objects"}
        table.add_column(
            column.replace("_", " "),
            justify="right" if right else "left",
            no_wrap=column not in {"prompts", "summary"},
            max_width=16 if column == "prompts" and console.width < WIDE else None,
        )
    for row in rows:
        table.add_row(*(Text(_cell(row.get(c))) for c in columns))
    console.print(table)
    for b in registry.broken:
        console.print(Text.assemble(("broken: ", "red"), f"{b.file}: {b.reason}"), soft_wrap=True)


def show_name(name: str, as_json: bool, plugins: Sequence[Path]) -> None:
    """Print the facts about a run folder, or about everything that has this name.

    Raises
    ------
    UnknownNameError
        If nothing has this name.
    """
    console = Console()
    if (Path(name) / "run.json").is_file():
        _show_run(Path(name), as_json, console)
        return
    registry = Registry.discover(plugins)
    known: list[str] = []
    found: list[dict[str, Any]] = []
    for kind in LISTED:
        rows = {row["name"]: row for row in _facts(kind, registry)}
        known += rows
        if name not in rows:
            continue
        found.append({"kind": kind[:-1], **rows[name]})
    if not found:
        raise UnknownNameError("name", name, known)
    for facts in found:
        if facts.get("trainable"):
            facts["training_options"] = _training_options(registry, facts)
    if as_json:
        print(json.dumps(found[0] if len(found) == 1 else found, indent=2, default=str))
        return
    for facts in found:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for key, value in facts.items():
            if key == "checkpoint" and value:  # one row for each fact, because addresses are long
                for part, text in value.items():
                    if text not in ("", None):
                        table.add_row(f"weights {part}", Text(_cell(text)))
                continue
            if key == "options":
                value = ", ".join(f"{option}={_shown(default)}" for option, default in value.items())
            if key != "training_options" and value not in (None, "", 0, [], {}, ()):
                table.add_row(_LABELS.get(key, key.replace("_", " ")), Text(_cell(value)))
        console.print(table)
        if facts.get("trainable"):
            _print_training_options(facts, console)


def _print_training_options(facts: Mapping[str, Any], console: Console) -> None:
    options = facts["training_options"]
    if isinstance(options, str):
        console.print(Text.assemble(("training options ", "bold"), options))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for option, fact in options.items():
        default = _shown(fact["default"])
        allowed = "" if "|" in fact["metavar"] else fact["allowed"]  # the bars separate all allowed values
        parts = [fact["help"], allowed, "" if default == "none" else f"default {default}"]
        table.add_row(Text(f"  {option}={fact['metavar']}"), Text("; ".join(filter(None, parts))))
    console.print(
        Text.assemble(("training options", "bold"), f", as in `rclicks train {facts['name']}:OPTION=VALUE ...`")
    )
    console.print(table)


def _training_options(registry: Registry, facts: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return default, allowed values and meaning of each training option, or a text that says why there is no list."""
    from rclicks.engine.training import training_options

    try:
        options = training_options(registry.find(facts["kind"], facts["name"]))
    except PluginError as error:
        return f"cannot be listed: {error}"
    return {
        k: {"default": o.default, "metavar": o.metavar, "allowed": o.expected, "help": o.help}
        for k, o in options.items()
    }


def _shown(default: Any) -> str:
    """Return a default as it is written in a spec."""
    if isinstance(default, tuple):
        return "[" + " ".join(map(str, default)) + "]"
    if default in (None, ""):
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _facts(kind: str, registry: Registry) -> list[dict[str, Any]]:
    if kind == "metrics":
        from rclicks.metrics.catalogue import DERIVED
        from rclicks.metrics.raters.catalogue import STORED

        return [asdict(c) for c in (*STORED.values(), *DERIVED.values())]
    if kind == "benchmarks":
        import yaml

        found = []
        for entry in registry.benchmarks.values():
            try:
                raw = yaml.safe_load(entry.file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                raw = {"summary": f"cannot be read: {' '.join(str(error).split())}"}
            content = raw if isinstance(raw, dict) else {"summary": "cannot be read: it is not a mapping"}
            found.append({"name": entry.name, "summary": content.get("summary", ""), "file": str(entry.file)} | content)
        return found
    rows = []
    for entry in registry.table(kind[:-1]).values():
        assert isinstance(entry.card, Card)  # noqa: S101 - only benchmarks have none
        rows.append(asdict(entry.card) | {"file": str(entry.file)})
    return rows


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_cell(v)}" for k, v in value.items() if v not in ("", None))
    if isinstance(value, int) and value >= 100_000:
        return f"{value / 1e6:.1f} M"
    return "" if value in (None, 0) else str(value)


def _show_run(path: Path, as_json: bool, console: Console) -> None:
    from rclicks.records.store import load_failures, load_run, load_units

    header = load_run(path)
    units = load_units(path)
    counted = "empty_references" in units
    empty = int(units.groupby(["dataset", "sample"])["empty_references"].max().sum()) if counted else 0
    failed = load_failures(path)
    if as_json:
        print(json.dumps(header | {"failures": failed.to_dict("records")}, indent=2, default=str))
        return
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, words in _run_facts(header):
        grid.add_row(name, Text(words))
    console.print(grid)
    for note in [*header["notes"], *(f"left out: {m['kind']} {m['name']}: {m['reason']}" for m in header["missing"])]:
        console.print(Text.assemble(("note: ", "yellow"), note))
    if empty:
        console.print(
            f"{empty} empty reference mask{'s' * (empty != 1)} not followed: "
            "a rater drew nothing, or a consensus is empty"
        )
    console.print(f"{len(failed)} failures" if len(failed) else "no failures")
    for row in failed.astype(object).where(failed.notna(), "").to_dict("records"):
        where = "/".join(str(row[c]) for c in ("model", "dataset", "sample", "object", "user") if row[c] != "")
        console.print(Text.assemble(("  " + where, "red"), f": {row['error']}: {row['message']}"), soft_wrap=True)


def _run_facts(header: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (title, text) rows that describe a run and the origin of its numbers."""
    effective, last = header["effective"], header["sessions"][-1]
    source = last["source"]
    dirty = " with local changes" if source.get("dirty") else ""
    facts = [
        (
            "benchmark",
            f"{header['benchmark']}, {effective['summary']}" if effective["summary"] else header["benchmark"],
        ),
        ("protocol", f"{effective['protocol']['name']}, hash {header['protocol_hash']}"),
        ("rules", ", ".join(f"{k} {_shown(v)}" for k, v in effective["protocol"].items() if k != "name")),
        ("time", f"{header['sessions'][0]['started']} to {header.get('finished', '(not finished)')}"),
        ("sessions", str(len(header["sessions"]))),
    ]
    facts += [
        ("model", f"{m}, weights {header['checkpoints'][m]}, users {', '.join(u)}{_licence(header, m)}")
        for m, u in effective["players"].items()
    ]
    facts += [
        ("user", f"{label}: click model {f['click_model']['name']}, weights {f['click_model']['weights']}")
        for label, f in header.get("users", {}).items()
        if "click_model" in f
    ]
    facts += [
        ("data", f"{name}: {counted(d['samples'], 'sample')}, SHA-256 {d['sha256'][:12]}")
        for name, d in header.get("data", {}).items()
    ]
    machine = last["machine"]
    return [
        *facts,
        (
            "compute",
            f"seed {effective['seed']}, batch size {effective['lanes']}, "
            f"{counted(effective['threads'], 'CPU thread')} per worker, {counted(last['workers'], 'worker')} on "
            f"{', '.join(machine['devices'])}; {machine['processor']}",
        ),
        ("source", f"git {source['revision']}{dirty}" if source else "installed package"),
    ]


def _licence(header: Mapping[str, Any], model: str) -> str:
    licence = header.get("models", {}).get(model, {}).get("licence")
    return f", licence {licence}" if licence else ""
