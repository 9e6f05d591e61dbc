"""Specs: a name with options, written ``name`` or ``name:key=value,key=value`` on the command line.

>>> parse("ritm-h18s:brs=f-brs-b,checkpoint=synthetic")
Spec(name='ritm-h18s', options={'brs': 'f-brs-b'}, checkpoint='synthetic', root=None, label='ritm-h18s:brs=f-brs-b')
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from rclicks.errors import ProtocolError

__all__ = ["Spec", "parse", "split_commas"]


@dataclass(frozen=True)
class Spec:
    """A name with options.

    Attributes
    ----------
    name : str
        Registered name.
    options : dict of str to value
        Options: keyword arguments of the function `load` of the plug-in.
    checkpoint : str or None
        Weights of a model: a path, "synthetic", or None for the published file.
    root : str or None
        Folder of a data set; None takes it from the configuration.
    label : str
        Name in records and tables, unique within a benchmark. An empty label is replaced by the name with its options.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    root: str | None = None
    label: str = ""

    def __post_init__(self) -> None:
        """Derive the label from the name and options if none was given."""
        if not self.label:
            shown = ",".join(f"{k}={_plain(v)}" for k, v in sorted(self.options.items()))
            object.__setattr__(self, "label", f"{self.name}:{shown}" if shown else self.name)


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(map(_plain, value)) + "]"
    return re.sub(r"[^\s=:,\[\]]*/", "", str(value))  # a label shows only the file name of a path


def split_commas(text: str) -> list[str]:
    """Split a text at commas, except at commas inside brackets, which may be nested.

    >>> split_commas("a=1,b=[[1,2],[3,4]],c=[5]")
    ['a=1', 'b=[[1,2],[3,4]]', 'c=[5]']
    """
    parts, depth = [""], 0
    for letter in text:
        depth = max(0, depth + (letter == "[") - (letter == "]"))
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def parse(value: str | Mapping[str, Any] | Spec) -> Spec:
    """Return the Spec for a string, or for a YAML mapping with the keys name, options, checkpoint, root and label.

    Raises
    ------
    ProtocolError
        If an option is not of the form key=value, or a mapping has no name or other keys.
    """
    if isinstance(value, Spec):
        return value
    if isinstance(value, str):
        name, _, rest = value.partition(":")
        options: dict[str, Any] = {}
        for part in filter(None, split_commas(rest)):
            key, sign, text = part.partition("=")
            if not sign or not key.strip():
                raise ProtocolError(f"{value!r}: {part!r} is not of the form key=value")
            try:
                options[key.strip()] = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ProtocolError(f"{value!r}: {text!r} is not a YAML value") from error
        value = {key: options.pop(key) for key in ("checkpoint", "root", "label") if key in options}
        value |= {"name": name.strip(), "options": options}
    allowed = {"name", "options", "checkpoint", "root", "label"}
    if "name" not in value or not set(value) <= allowed:
        raise ProtocolError(
            f"{dict(value)!r} must have `name`; the other allowed keys are {', '.join(sorted(allowed - {'name'}))}"
        )
    checkpoint, root = (None if value.get(k) is None else str(value[k]) for k in ("checkpoint", "root"))
    return Spec(str(value["name"]), dict(value.get("options") or {}), checkpoint, root, str(value.get("label") or ""))
