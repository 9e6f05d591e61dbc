"""Make a plan from a benchmark: units of work, one for each (model, data set, sample).

The key of a unit depends only on the facts that decide its records.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rclicks import __version__
from rclicks.benchmark import Benchmark
from rclicks.cards import DatasetCard, ModelCard
from rclicks.config import load_config
from rclicks.data.contract import Dataset
from rclicks.data.roots import resolve
from rclicks.engine.loading import ClickModelPool, checkpoint_of, load_dataset, load_user, locate_files
from rclicks.errors import (
    DataError,
    MissingDataError,
    MissingPackageError,
    MissingWeightsError,
    PluginError,
    ProtocolError,
    RclicksError,
    UnknownNameError,
    WeightsError,
)
from rclicks.metrics.catalogue import DEFAULTS
from rclicks.metrics.raters.catalogue import STORED
from rclicks.models import precision
from rclicks.records.schema import SCHEMA_VERSION
from rclicks.registry import Registry
from rclicks.specs import Spec
from rclicks.users.contract import User

__all__ = ["Missing", "Plan", "Unit", "make_plan"]

CPU_BATCH_SIZE, GPU_BATCH_SIZE = 1, 16
_IMAGES = {2: "images", 3: "volumes"}


@dataclass(frozen=True)
class Missing:
    """A model, data set or user that is left out of a plan, or a pair of model and user that do not fit.

    Attributes
    ----------
    kind : str
        "model", "dataset", "user" or "pair".
    name : str
        Label of the model, data set or user; "MODEL x USER" for a pair.
    reason : str
        Reason, with the place where it was looked for and how to get it.
    """

    kind: str
    name: str
    reason: str

    @property
    def short(self) -> str:
        """The reason without the instructions how to get what is missing."""
        return re.split(r"\. (?:Expected|Put) ", self.reason)[0]


@dataclass(frozen=True)
class _LeftOut:
    """Collect what is left out of a plan, and raise an error if it must not be left out.

    Attributes
    ----------
    skip_missing : bool or None
        Whether missing things are left out; None for the setting of the benchmark.
    benchmark : Benchmark
    found : list of Missing
    """

    skip_missing: bool | None
    benchmark: Benchmark
    found: list[Missing] = field(default_factory=list)

    def missing(self, kind: str, label: str, error: RclicksError) -> None:
        """Leave out something whose files, weights or packages are missing, or raise `error` if this is not allowed."""
        skip = self.benchmark.skip_missing if self.skip_missing is None else self.skip_missing
        if not skip or isinstance(error, UnknownNameError):
            raise error
        self.refuse_named(kind, label, error)
        self.found.append(Missing(kind, label, str(error)))

    def unfit(self, kind: str, label: str, reason: str) -> None:
        """Leave out something that does not fit the data sets. Raise ProtocolError if the caller named it."""
        self.refuse_named(kind, label, ProtocolError(reason))
        self.found.append(Missing(kind, label, reason))

    def refuse_named(self, kind: str, label: str, error: RclicksError) -> None:
        """Raise `error` if the caller named this thing, unless the caller also set `skip_missing`."""
        if f"{kind}s" in self.benchmark.named and not self.skip_missing:
            error.args = (f"{error} (You named {kind} {label}, so it is left out only with --skip-missing.)",)
            raise error


@dataclass(frozen=True)
class Unit:
    """One model on one sample.

    Attributes
    ----------
    key : str
        16 hex digits. Equal facts give equal keys.
    model, dataset : str
        Labels of the specs.
    index : int
        0-based index of the sample in its data set.
    sample : str
        Name of the sample.
    """

    key: str
    model: str
    dataset: str
    index: int
    sample: str


@dataclass(frozen=True)
class Plan:
    """Everything that a worker needs. A plan is small and can be pickled.

    Attributes
    ----------
    benchmark : Benchmark
        The benchmark without the models, data sets and users that cannot be run.
    players : dict of str to tuple of str
        Labels of the users that each model can be run with, by label of the model.
    roots : dict of str to Path or None
        Folder of each data set, by label; None for a data set without files.
    checkpoints : dict of str to str
        Identity of the weights of each model, by label.
    users : dict of str to dict
        Hashes of files and weights of click models that decide the clicks of each user, by label.
    files : dict of str to dict of str to str
        Paths of the files in the options of each user, by label and option.
    plugins : tuple of Path
        Folders with plug-ins.
    devices : tuple of str
        PyTorch devices of one kind.
    batch_size : int
        Number of slots in a call of a batched model.
    threads : int
        Number of CPU threads of each worker.
    units : tuple of Unit
    dims : int
        Number of axes: 2 for images, 3 for volumes.
    rater_identity : dict of str to str
        Meaning of rater names (`DatasetCard.rater_identity`) of each data set, by label.
    missing : tuple of Missing
    notes : tuple of str
        Warnings, such as prompts that a model was not trained on, or absent files of raters.
    keep_masks : bool
        Whether the last mask of each trajectory is written into the run folder. Records do not depend on it.
    """

    benchmark: Benchmark
    players: dict[str, tuple[str, ...]]
    roots: dict[str, Path | None]
    checkpoints: dict[str, str]
    users: dict[str, dict[str, Any]]
    files: dict[str, dict[str, str]]
    plugins: tuple[Path, ...]
    devices: tuple[str, ...]
    batch_size: int
    threads: int
    units: tuple[Unit, ...]
    dims: int = 2
    rater_identity: dict[str, str] = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()
    keep_masks: bool = False

    @property
    def identity(self) -> str:
        """Hash of everything that decides the records of a run folder, except models, data sets and samples.

        Models, data sets and samples may be added to a run later. They are part of the key of each unit. Files of users
        are part of the hash with their content and with their name in the benchmark, but not with their full path.
        """
        return _hash(
            {
                "version": __version__,
                "schema": SCHEMA_VERSION,
                "users": [asdict(s) | self.users[s.label] for s in self.benchmark.users],
                "follow": self.benchmark.reference,
                "metrics": self.benchmark.metrics,
                "protocol": self.benchmark.protocol.hash,
                "seed": self.benchmark.seed,
                "lanes": self.batch_size,
                "threads": self.threads,
                "device": _kind(self.devices),
            }
        )

    @property
    def user_specs(self) -> tuple[Spec, ...]:
        """The specs of the users, in which file options are replaced by the full paths."""
        return tuple(replace(s, options=s.options | self.files.get(s.label, {})) for s in self.benchmark.users)

    def spec(self, kind: str, label: str) -> Spec:
        """Return the spec with a label. `kind` is "models", "datasets" or "users"."""
        return next(s for s in getattr(self.benchmark, kind) if s.label == label)


def make_plan(
    benchmark: Benchmark,
    registry: Registry,
    *,
    data_root: Path | None = None,
    devices: Sequence[str] = ("cpu",),
    batch_size: int | None = None,
    threads: int = 1,
    skip_missing: bool | None = None,
    keep_masks: bool = False,
) -> Plan:
    """Find folders, files, weights and samples, and list the units model by model.

    Parameters
    ----------
    benchmark : Benchmark
    registry : Registry
    data_root : Path or None
        Parent folder of the data sets; None for the configured one.
    devices : sequence of str
        PyTorch devices of one kind.
    batch_size : int or None
        Number of slots in a call of a batched model; None for 1 on CPUs and 16 on other devices.
    threads : int
        Number of CPU threads of each worker.
    skip_missing : bool or None
        Whether a model, data set or user whose files, weights or packages are missing is left out and listed in
        `Plan.missing`. None means the setting of the benchmark; then it is an error if something that the caller named
        (`Benchmark.named`) is missing. A click file that exists but cannot be used is always an error.
    keep_masks : bool
        See `Plan`.

    Raises
    ------
    DataError, WeightsError, PluginError
        If a data set, a file of a user or weights are missing and may not be left out.
    ProtocolError
        If nothing is left to run, something that the caller named does not fit the rest, or a value is not allowed.
    """
    if (batch_size is not None and batch_size < 1) or threads < 1:
        raise ProtocolError(f"the batch size is {batch_size} and threads is {threads}; expected 1 or more")
    _kind(devices)
    left_out = _LeftOut(skip_missing, benchmark)
    notes: list[str] = []
    roots: dict[str, Path | None] = {}
    samples: dict[str, Sequence[str]] = {}
    identity: dict[str, str] = {}
    users, files = _load_users(registry, benchmark, data_root, left_out)
    for spec in benchmark.datasets:
        try:
            entry = registry.find("dataset", spec.name)
            assert isinstance(entry.card, DatasetCard)  # noqa: S101 - the registry guarantees it
            roots[spec.label] = resolve(
                entry.card, None if spec.root is None else Path(spec.root), data_root, load_config()
            )
            dataset = load_dataset(registry, spec, roots[spec.label], benchmark.protocol)
            if len(dataset) == 0:
                raise DataError(f"data set {spec.label} at {dataset.root} has no samples")
            samples[spec.label] = dataset.ids[: benchmark.limit]
            identity[spec.label] = dataset.card.rater_identity
            notes += _absent_raters(dataset)
        except (DataError, PluginError) as error:
            left_out.missing("dataset", spec.label, error)
    dims = _dims(registry, [s for s in benchmark.datasets if s.label in samples], benchmark)
    for label, user in list(users.items()):
        if dims not in user.dims:
            left_out.unfit("user", label, f"user {label} does not support {_IMAGES[dims]}")
            del users[label]
    playing = tuple(s for s in benchmark.users if s.label in users)
    checkpoints: dict[str, str] = {}
    players: dict[str, tuple[str, ...]] = {}
    for spec in benchmark.models:
        card = registry.find("model", spec.name).card
        assert isinstance(card, ModelCard)  # noqa: S101 - the registry guarantees it
        if card.dims != dims:
            reason = f"{spec.label} segments {_IMAGES[card.dims]}, the data sets contain {_IMAGES[dims]}"
            left_out.unfit("model", spec.label, reason)
            continue
        for device in devices:
            precision.check_precision(card, spec.options.get(precision.OPTION), device)
        try:
            checkpoints[spec.label] = checkpoint_of(registry, spec, protocol=benchmark.protocol)
        except (WeightsError, PluginError) as error:
            left_out.missing("model", spec.label, error)
            continue
        players[spec.label] = _players(registry, spec, users, left_out.found, notes)
        if users and not players[spec.label]:
            why = f"model {spec.label} takes {', '.join(card.takes)}, but every user also makes other prompts"
            left_out.refuse_named("model", spec.label, ProtocolError(why))
    played = {label for labels in players.values() for label in labels}
    for label in users if players else ():
        if label not in played:
            why = f"user {label} makes {', '.join(users[label].prompts)}, but no model takes all of them"
            left_out.refuse_named("user", label, ProtocolError(why))
    runnable = replace(
        benchmark,
        models=tuple(s for s in benchmark.models if players.get(s.label)),
        datasets=tuple(s for s in benchmark.datasets if s.label in samples),
        users=playing,
        metrics=_metrics(benchmark, dims),
    )
    if not runnable.models or not runnable.datasets:
        reasons = "\n".join(f"  {m.kind} {m.name}: {m.short}" for m in left_out.found)
        raise ProtocolError(f"nothing is left to run:\n{reasons}")
    wanted = batch_size or (GPU_BATCH_SIZE if any(d != "cpu" for d in devices) else CPU_BATCH_SIZE)
    plan = Plan(
        benchmark=runnable,
        players=players,
        roots={k: v for k, v in roots.items() if k in samples},
        checkpoints=checkpoints,
        users={label: user.identity() for label, user in users.items()},
        files={label: files[label] for label in users if files[label]},
        plugins=registry.plugins,
        devices=tuple(devices),
        batch_size=wanted,
        threads=threads,
        units=(),
        dims=dims,
        rater_identity=identity,
        missing=tuple(left_out.found),
        notes=tuple(notes),
        keep_masks=keep_masks,
    )
    return replace(plan, units=tuple(_units(plan, samples)))


def _load_users(
    registry: Registry, benchmark: Benchmark, data_root: Path | None, left_out: _LeftOut
) -> tuple[dict[str, User], dict[str, dict[str, str]]]:
    """Return the users by label, and the paths of their files by label and option.

    The users are built before the run starts, so that a wrong option or a damaged file is found early.
    """
    users: dict[str, User] = {}
    files: dict[str, dict[str, str]] = {}
    pool = ClickModelPool(registry, benchmark.protocol)
    for spec in benchmark.users:
        try:
            files[spec.label] = locate_files(registry, spec, data_root)
            found = replace(spec, options=spec.options | files[spec.label])
            users[spec.label] = load_user(registry, found, benchmark.protocol, pool)
        except (MissingDataError, MissingWeightsError, MissingPackageError) as error:
            left_out.missing("user", spec.label, error)
    return users, files


def _absent_raters(dataset: Dataset) -> list[str]:
    """Return the notes of a data set on absent files, and the number of samples without a file of each rater."""
    if not (notes := dataset.notes):
        return []
    count = Counter(rater for index in range(len(dataset)) for rater in dataset.absent(index))
    by_rater = ", ".join(f"{rater} in {n} of {len(dataset)} samples" for rater, n in sorted(count.items()))
    return [*notes, *([f"{dataset.card.name}: raters without a file: {by_rater}"] if by_rater else [])]


def _dims(registry: Registry, datasets: Sequence[Spec], benchmark: Benchmark) -> int:
    """Return 2 for data sets of images, 3 for volumes. If all are missing, the first one of the benchmark decides."""
    found = {}
    for spec in datasets or benchmark.datasets[:1]:
        card = registry.find("dataset", spec.name).card
        assert isinstance(card, DatasetCard)  # noqa: S101 - the registry guarantees it
        found[spec.label] = card.dims
    if len(set(found.values())) > 1:
        words = ", ".join(f"{label} contains {_IMAGES[dims]}" for label, dims in found.items())
        raise ProtocolError(f"a benchmark can contain images or volumes, not both: {words}; run them separately")
    return next(iter(found.values()))


def _metrics(benchmark: Benchmark, dims: int) -> tuple[str, ...]:
    if unsupported := [name for name in benchmark.metrics if dims not in STORED[name].dims]:
        known = ", ".join(name for name, card in STORED.items() if dims in card.dims)
        raise ProtocolError(f"metrics: {', '.join(unsupported)} is not defined for {_IMAGES[dims]}; allowed: {known}")
    return benchmark.metrics or DEFAULTS[dims]


def _players(
    registry: Registry, model: Spec, users: Mapping[str, User], missing: list[Missing], notes: list[str]
) -> tuple[str, ...]:
    card = registry.find("model", model.name).card
    assert isinstance(card, ModelCard)  # noqa: S101
    found = []
    for label, user in users.items():
        kinds = set(user.prompts)
        if unsupported := sorted(kinds - set(card.takes)):
            reason = f"{model.label} takes {', '.join(card.takes)}, but user {label} makes {', '.join(unsupported)}"
            missing.append(Missing("pair", f"{model.label} x {label}", reason))
            continue
        if untrained := sorted(kinds - set(card.prompts)):
            notes.append(
                f"{model.label} was not trained on {', '.join(untrained)} prompts (only on {', '.join(card.prompts)}); "
                f"its rows with user {label} carry the flag untrained-prompt"
            )
        found.append(label)
    return tuple(found)


def _units(plan: Plan, samples: dict[str, Sequence[str]]) -> list[Unit]:
    units = []
    for model in plan.benchmark.models:
        users = [asdict(plan.spec("users", u)) | plan.users[u] for u in plan.players[model.label]]
        for dataset in plan.benchmark.datasets:
            for index, sample in enumerate(samples[dataset.label]):
                facts = {
                    "version": __version__,
                    "schema": SCHEMA_VERSION,
                    "model": asdict(model),
                    "checkpoint": plan.checkpoints[model.label],
                    "dataset": asdict(dataset),
                    "sample": sample,
                    "users": users,
                    "follow": plan.benchmark.reference,
                    "metrics": plan.benchmark.metrics,
                    "protocol": plan.benchmark.protocol.hash,
                    "seed": plan.benchmark.seed,
                    "lanes": plan.batch_size,
                    "threads": plan.threads,
                    "device": _kind(plan.devices),
                }
                units.append(Unit(_hash(facts), model.label, dataset.label, index, sample))
    return units


def _kind(devices: Sequence[str]) -> str:
    """Return the kind of the devices. Kinds are never mixed, because the last bits of results differ between kinds."""
    kinds = {d.partition(":")[0] for d in devices}
    if len(kinds) != 1:
        raise ProtocolError(f"devices {', '.join(devices)} are of several kinds; choose devices of one kind")
    return kinds.pop()


def _hash(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
