"""A benchmark: models, data sets, users, metrics and the protocol of a run, read from a YAML file.

Example of a file::

    summary: two baselines on GrabCut
    protocol: default
    models: [geodesic, graph-cut]
    datasets: [GrabCut]
    users: [robot]
    metrics: [iou, biou]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rclicks.errors import ProtocolError, UnknownNameError
from rclicks.metrics.raters.catalogue import STORED
from rclicks.metrics.raters.consensus import RULES
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.specs import Spec, parse

__all__ = ["Benchmark", "load_benchmark"]

Item = str | dict[str, Any]


class _File(BaseModel):
    """The keys of a benchmark file."""

    model_config = ConfigDict(extra="forbid")

    summary: str = ""
    protocol: str | dict[str, Any] = "default"
    models: list[Item] = Field(min_length=1)
    datasets: list[Item] = Field(min_length=1)
    users: list[Item] = Field(default=["robot"], min_length=1)
    reference: list[str] = Field(default=["raters"], min_length=1)
    metrics: list[str] = Field(default=[])
    seed: int = 42
    limit: int | None = Field(default=None, ge=1)
    skip_missing: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A validated benchmark.

    Attributes
    ----------
    name, summary : str
        Name (the file name without its ending) and one line for listings.
    models, datasets, users : tuple of Spec
        Names with options. Every model runs on every data set with every user that fits.
    metrics : tuple of str
        Names of the metrics to store after each round. Empty means the usual metrics of images or of volumes; the plan
        adds their names.
    protocol : Protocol
        Evaluation rules.
    reference : tuple of str
        Reference masks of the trajectories where several raters drew: "raters" (the mask of each rater), or rules of
        `rclicks.metrics.raters.consensus` such as "majority", "union", "intersection" or "staple".
    seed : int
        Seed of all random numbers.
    limit : int or None
        Number of samples taken from the start of each data set; None for all samples.
    skip_missing : bool
        True leaves out models, data sets and users whose files are missing, with a note. False raises an error.
    named : tuple of str
        Those of "models", "datasets" and "users" that the caller gave instead of the file. `skip_missing` of the file
        does not hold for them: a caller who names a model expects it to run.
    """

    name: str
    summary: str
    models: tuple[Spec, ...]
    datasets: tuple[Spec, ...]
    users: tuple[Spec, ...]
    metrics: tuple[str, ...]
    protocol: Protocol
    reference: tuple[str, ...] = ("raters",)
    seed: int = 42
    limit: int | None = None
    skip_missing: bool = False
    named: tuple[str, ...] = ()

    def changed(
        self,
        registry: Registry,
        *,
        models: Sequence[Item | Spec] | None = None,
        datasets: Sequence[Item | Spec] | None = None,
        users: Sequence[Item | Spec] | None = None,
        reference: Sequence[str] | None = None,
        metrics: Sequence[str] | None = None,
        protocol: str | Protocol | None = None,
        clicks: int | None = None,
        limit: int | None = None,
        seed: int | None = None,
    ) -> Benchmark:
        """Return a validated copy in which the given parts are replaced; None keeps a part.

        Raises
        ------
        ProtocolError
            As `check`.
        """
        rules = (
            self.protocol if protocol is None else Protocol.named(protocol) if isinstance(protocol, str) else protocol
        )
        if clicks is not None:
            rules = replace(rules, clicks=clicks)
        chosen = {"models": models, "datasets": datasets, "users": users}
        changed = replace(
            self,
            named=tuple(kind for kind, specs in chosen.items() if specs is not None or kind in self.named),
            models=self.models if models is None else tuple(map(parse, models)),
            datasets=self.datasets if datasets is None else tuple(map(parse, datasets)),
            users=self.users if users is None else tuple(map(parse, users)),
            reference=self.reference if reference is None else tuple(reference),
            metrics=self.metrics if metrics is None else tuple(metrics),
            protocol=rules,
            limit=self.limit if limit is None else limit,
            seed=self.seed if seed is None else seed,
        )
        changed.check(registry, "the arguments")
        return changed

    def check(self, registry: Registry, where: str) -> None:
        """Check all names, labels and limits.

        Raises
        ------
        ProtocolError
            If one is wrong. The message names `where` (the file or "the arguments"), the key and the allowed values.
        """
        for key, specs in (("models", self.models), ("datasets", self.datasets), ("users", self.users)):
            for spec in specs:
                try:
                    registry.find(key[:-1], spec.name)
                except UnknownNameError as error:
                    raise ProtocolError(f"{where}: {key}: {error}") from error
            labels = [s.label for s in specs]
            if twice := {x for x in labels if labels.count(x) > 1}:
                raise ProtocolError(f"{where}: {key}: {', '.join(twice)} is listed twice; give each its own `label`")
        known = ("raters", *RULES)
        if (
            not self.reference
            or len(set(self.reference)) < len(self.reference)
            or not set(self.reference) <= set(known)
        ):
            raise ProtocolError(
                f"{where}: reference is {list(self.reference)}; expected one or more of {', '.join(known)}, each once"
            )
        for name in self.metrics:
            if name not in STORED:
                raise ProtocolError(f"{where}: metrics: {UnknownNameError('metric', name, STORED)}")
        if self.metrics and "iou" not in self.metrics:
            raise ProtocolError(f"{where}: metrics: every table needs `iou`; add it")
        if self.limit is not None and self.limit < 1:
            raise ProtocolError(f"{where}: limit is {self.limit}; expected 1 or more")


def load_benchmark(name: str | Path, registry: Registry) -> Benchmark:
    """Return the registered benchmark `name`, or the one in a YAML file if `name` ends in .yaml or .yml.

    Raises
    ------
    UnknownNameError
        If no benchmark has this name.
    ProtocolError
        If the file does not exist or is invalid. The message names the file, the key and the allowed values.
    """
    file = Path(name)
    if file.suffix not in {".yaml", ".yml"}:
        file = registry.find("benchmark", str(name)).file
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProtocolError(f"benchmark file {file} does not exist") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProtocolError(f"benchmark file {file} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise ProtocolError(f"benchmark file {file} must be a mapping with keys {', '.join(_File.model_fields)}")
    try:
        parsed = _File(**raw)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ProtocolError(f"{file}: {problems}. Allowed keys: {', '.join(_File.model_fields)}") from error
    except TypeError as error:
        raise ProtocolError(f"{file}: keys must be text: {error}") from error
    rules: dict[str, Any] = {"name": parsed.protocol} if isinstance(parsed.protocol, str) else dict(parsed.protocol)
    try:
        benchmark = Benchmark(
            name=file.stem,
            summary=parsed.summary,
            models=tuple(map(parse, parsed.models)),
            datasets=tuple(map(parse, parsed.datasets)),
            users=tuple(map(parse, parsed.users)),
            metrics=tuple(parsed.metrics),
            protocol=Protocol.named(rules.pop("name", "default"), **rules),
            reference=tuple(parsed.reference),
            seed=parsed.seed,
            limit=parsed.limit,
            skip_missing=parsed.skip_missing,
        )
    except ProtocolError as error:
        raise ProtocolError(f"{file}: {error}") from error
    benchmark.check(registry, str(file))
    return benchmark
