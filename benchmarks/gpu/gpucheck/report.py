"""From what the steps found to one JSON and one Markdown file; Python's own library only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpucheck.extrapolate import PROTOCOL, engine_estimates, estimates

__all__ = ["bad", "line", "markdown", "table", "write"]


def bad(step: Mapping[str, Any]) -> bool:
    """Tell whether a step found something wrong; a step that had too little time did not."""
    wrong = any(str(row.get("result", "")).startswith("WRONG") for row in step["rows"])
    return wrong or bool(step["errors"]) or step["status"].startswith("failed")


def write(
    folder: Path,
    name: str,
    facts: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
    places: Mapping[str, str] | None = None,
) -> None:
    """Write ``<name>.json`` and ``<name>.md`` into a folder, each whole or not at all.

    `places` says how folders of this machine, which notes and tracebacks may name, are to be called.
    """
    measured = steps if facts["device"] != "cpu" else []  # the target is one of a GPU
    content = {**facts, "steps": list(steps), "estimates": estimates(measured), "engine": engine_estimates(measured)}
    for suffix, text in (("json", json.dumps(content, indent=1) + "\n"), ("md", markdown(content))):
        for place, word in (places or {}).items():
            text = text.replace(place, word)
        partial = folder / f"{name}.{suffix}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / f"{name}.{suffix}")


def line(step: Mapping[str, Any]) -> str:
    """Return one line about a step for the terminal."""
    counts = f"{len(step['rows'])} rows, {len(step['errors'])} errors"
    first = f" ({step['errors'][0]['what']}: {step['errors'][0]['error']})" if step["errors"] else ""
    return f"{step['step']}: {step['status']}, {step['seconds']} of {step['box_s']} s, {counts}{first}"


def markdown(content: Mapping[str, Any]) -> str:
    """Return the whole report."""
    machine = content["machine"]
    versions = machine["packages"]
    shown = ", ".join(
        f"{name} {versions[name]}" for name in ("torch", "numpy", "opencv-python-headless") if name in versions
    )
    parts = [
        f"# {machine['card'] if content['device'] != 'cpu' else 'CPU form'}, {content['started']}",
        f"Python {machine['python']}, {shown}; {machine['cores']} cores, {machine['system']}. "
        f"{content.get('seconds', '?')} s of {60 * content['minutes']:.0f} s. "
        f"Revision {content['source'].get('revision', 'unknown')}.",
        f"Missing on the machine: {', '.join(content['missing']) or 'nothing'}. "
        f"Missing also after the {len(content['carried'])} carried wheels were unpacked: "
        f"{', '.join(content['still_missing']) or 'nothing'}.",
    ]
    parts += _estimates(content["estimates"], content["engine"])
    for step in content["steps"]:
        parts += [f"## {step['about']}", f"`{step['step']}`: {step['status']} ({step['seconds']} s)."]
        tables: dict[str, list[Mapping[str, Any]]] = {}
        for row in step["rows"]:
            tables.setdefault(row["table"], []).append({k: v for k, v in row.items() if k != "table"})
        for title, rows in tables.items():
            parts += [f"### {title}", table(rows)]
        parts += ["\n".join(f"- {note}" for note in step["notes"])] if step["notes"] else []
        for error in step["errors"]:
            parts += [f"**Error** in {error['what']}: {error['error']}", f"```\n{error['traceback'].strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _estimates(parts: Sequence[Mapping[str, Any]], engine: Sequence[Mapping[str, Any]]) -> list[str]:
    if not parts and not engine:
        return []
    found = [
        "## The whole published protocol",
        f"{PROTOCOL.predictions:,} predictions and {PROTOCOL.encodes:,} encodes a model; the target is 15 minutes on "
        "one GPU with 16 cores.",
    ]
    if parts:
        found += [
            "From the times of the parts: encoding and decoding at the best batch; clicks, metrics and all else as the "
            "engine's step measured them on one worker, shared out to 16. `one worker` adds all up; `overlapped` takes "
            "the larger of the model's time and the rest. The bottleneck is the largest part.",
            table(parts),
        ]
    if engine:
        found += ["From the clicks a second of the engine itself, with its 110 predictions an encode:", table(engine)]
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table with all columns that occur, in the order of their first occurrence.

    >>> print(table([{"a": "x", "b": 1.23456}, {"a": "y", "c": None}]))
    | a | b | c |
    | --- | ---: | ---: |
    | x | 1.23 |  |
    | y |  |  |
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    words = [c for c in columns if any(isinstance(row.get(c), str) for row in rows)]
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("| " + " | ".join("---" if c in words else "---:" for c in columns) + " |")
    lines += ["| " + " | ".join(_cell(row.get(c)) for c in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, list):
        return " to ".join(_cell(item) for item in value)
    return str(value).replace("|", "\\|").replace("\n", " ")
