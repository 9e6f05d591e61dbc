"""What a step is given: device, data, time; and where it writes what it finds, at once."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Step", "plain"]


@dataclass
class Step:
    """One running step.

    Attributes
    ----------
    name : str
    file : Path
        JSON file that `save` writes after every row.
    device : str
        "cuda" or "cpu".
    until : float
        Time (seconds since 1970) after which nothing new is begun; the step is killed soon after it.
    pack : Path
        Folder that ``prepare.sh`` made; it may be absent.
    rows : list of dict
        Each with the key ``table``.
    """

    name: str
    file: Path
    device: str
    until: float
    pack: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.startswith("cuda")

    def left(self) -> float:
        """Return the seconds left."""
        return self.until - time.time()

    def row(self, table: str, **facts: Any) -> None:
        """Add a row to a table and write it."""
        self.rows.append({"table": table, **plain(facts)})
        self.save()

    def note(self, text: str) -> None:
        """Add a sentence that readers must know."""
        if text not in self.notes:
            self.notes.append(text)
        self.save()

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Write down an error of the block, with its traceback, and go on after it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the next measurement shall run
            text = "".join(traceback.format_exception(error))
            message = f"{type(error).__name__}: {str(error)[:500]}"
            self.errors.append({"what": what, "error": message, "traceback": text[-4000:]})
            self.save()

    def has_time(self, what: str, seconds: float = 0.0) -> bool:
        """Tell whether `seconds` are left; if not, write down that `what` was left out."""
        if self.left() > seconds:
            return True
        self.note(f"not run, no time left: {what}")
        return False

    def save(self, status: str = "running") -> None:
        """Write all that was found so far, whole or not at all."""
        content = {
            "step": self.name,
            "status": status,
            "rows": self.rows,
            "notes": self.notes,
            "errors": self.errors,
        }
        partial = self.file.with_name(self.file.name + ".partial")
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(self.file)


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: NumPy numbers as Python's, what is not finite as None.

    >>> plain({"a": (1.23456789, float("nan"))})
    {'a': [1.23456789, None]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, bool)) or value is None:
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (int, str, bool)) else str(value)
