"""Read the published RClicks results into a run folder, so that published tables can be rebuilt from their rows.

The published archive contains one folder for each model and mode, with the files
``<checkpoint>_<mode>/plots/<Data set>_<...>_<clicks>.pickle``. The mode is ``Base``,
``Trajectory_BOUNDS_0.000_0.100`` (or other bounds), ``User`` or ``SamplingUsersCount``. Each file is a pickled dict of
the data set, the model and one array for each object. A row of the array has IoU, boundary IoU and the click. In the
modes ``Base`` and ``Trajectory`` a row is one click of a trajectory; in the other two modes it is the single click of
one person.

Pickles can run code when they are opened. The unpickler used here accepts only NumPy arrays, plain containers and a
replacement for the published click class, and rejects everything else.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rclicks import __version__
from rclicks.data.pickles import BROKEN, read_pickle
from rclicks.errors import DataError, RunError
from rclicks.protocol import Protocol
from rclicks.records.schema import SCHEMA_VERSION
from rclicks.records.store import RunStore

__all__ = ["Imported", "import_published", "read_published"]

_MODES = re.compile(
    r"^(?P<model>.+?)_(?P<mode>Base|User|SamplingUsersCount|Trajectory_BOUNDS_(?P<low>[\d.]+)_(?P<high>[\d.]+))$"
)
_FILE = re.compile(r"^(?P<dataset>GrabCut|Berkeley|DAVIS|COCO_MVal|COCO|TETRIS)_.*?(?P<clicks>\d+)$")
_OUR_NAMES = {"COCO": "COCO_MVal"}
_USERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Base": ("robot", "robot", {}),
    "Trajectory": ("groups", "sampled", {"model": "published", "groups": 10}),
    "User": ("people", "recorded", {"file": "published"}),
    "SamplingUsersCount": (
        "people-sampled",
        "sampled",
        {"model": "published", "groups": 1, "match_human_count": "published"},
    ),
}


class PublishedClick:
    """Replacement for the published click class: three attributes that a pickle may set, and no methods."""

    __slots__ = ("coords", "indx", "is_positive")
    coords: Any
    is_positive: Any

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("a click has no plain attributes")
        for name in self.__slots__:
            if name in state:
                setattr(self, name, state[name])


_NAMES = {
    ("pathlib", "PosixPath"): PurePosixPath,
    ("pathlib", "PurePosixPath"): PurePosixPath,
    ("pathlib._local", "PosixPath"): PurePosixPath,
    ("isegm.inference.clicker", "Click"): PublishedClick,
}


@dataclass(frozen=True)
class _Name:
    """Facts from the name of a file.

    Attributes
    ----------
    model : str
        Stem of the checkpoint file.
    dataset : str
    mode : {"Base", "Trajectory", "User", "SamplingUsersCount"}
    group : str
        G1..G10 or other bounds of the click group; "" in modes other than "Trajectory".
    clicks : int
        Budget of clicks.
    """

    model: str
    dataset: str
    mode: str
    group: str
    clicks: int = field(compare=False)

    @property
    def plays(self) -> bool:
        """True if the rows of an object are one trajectory, False if each row is the single click of one person."""
        return self.mode in ("Base", "Trajectory")


@dataclass(frozen=True, eq=False)
class Published:
    """One published file: the facts from its name, and its rows with those record columns that it contains."""

    name: _Name
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Imported:
    """Summary of an import: the run folder, the numbers of files and rows, and the models."""

    path: Path
    files: int
    rows: int
    models: tuple[str, ...]


def read_published(file: Path) -> Published:
    """Read one published file.

    Raises
    ------
    DataError
        If its name or content is not in the published form, or it contains anything but arrays, containers and clicks.
    """
    name = _name(file)
    content = _load(file)
    if not isinstance(content, dict) or not {"dataset_name", "model_name", "all_ious"} <= set(content):
        raise DataError(f"{file}: expected a dict with dataset_name, model_name and all_ious")
    if not isinstance(content["all_ious"], (list, tuple)):
        raise DataError(f"{file}: all_ious is not a list of objects")
    rows: list[dict[str, Any]] = []
    places: dict[tuple[str, str], int] = {}
    for position, entry in enumerate(content["all_ious"]):
        where = f"{file}, object {position}"
        own = list(_object_rows(entry, name.mode, name.group, where))
        if name.plays and len(own) > name.clicks:
            raise DataError(f"{where}: {len(own)} clicks, more than the {name.clicks} clicks in the name of the file")
        if own and (first := places.setdefault((own[0]["sample"], own[0]["object"]), position)) != position:
            raise DataError(f"{where} is the same as object {first}: {own[0]['sample']}, mask {own[0]['object']}")
        rows += own
    return Published(name, rows)


def _name(file: Path) -> _Name:
    """Return the facts from the names of a file and its folder."""
    folder = file.parent.parent.name if file.parent.name == "plots" else file.parent.name
    named, mode = _FILE.match(file.stem), _MODES.match(folder)
    if named is None or mode is None:
        raise DataError(
            f"{file} does not have a published name; expected "
            "<checkpoint>_<mode>/plots/<data set>_..._<clicks>.pickle with mode Base, User, SamplingUsersCount or "
            "Trajectory_BOUNDS_<low>_<high>"
        )
    group = _group(float(mode["low"]), float(mode["high"])) if mode["low"] else ""
    dataset = _OUR_NAMES.get(named["dataset"], named["dataset"])
    return _Name(mode["model"], dataset, mode["mode"].partition("_")[0], group, int(named["clicks"]))


def _load(file: Path) -> Any:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if not data:
        raise DataError(f"{file} is empty, so it is not a published result")
    try:
        return read_pickle(data, _NAMES)
    except pickle.UnpicklingError as error:
        if "it wants" in str(error):
            raise DataError(
                f"{file} was rejected: {error}, which could run code; published results contain only NumPy "
                "arrays, plain containers and isegm.inference.clicker.Click"
            ) from error
        raise DataError(f"{file} is damaged or not a published result: {error}") from error
    except BROKEN as error:
        raise DataError(f"{file} is damaged or not a published result: {error!r}") from error


def _group(low: float, high: float) -> str:
    number = round(high * 10)
    tenth = abs(high - number / 10) < 1e-6 and abs(low - (number - 1) / 10) < 1e-6
    return f"G{number}" if tenth else f"{low:.3f}-{high:.3f}"


def _object_rows(entry: Any, kind: str, group: str, where: str) -> Iterator[dict[str, Any]]:
    if not isinstance(entry, (list, tuple)) or len(entry) != 3 or not isinstance(entry[1], np.ndarray):
        raise DataError(f"{where}: expected [image, array, mask id]")
    name, array, mask_id = entry
    if not isinstance(name, (str, PurePosixPath)) or not isinstance(mask_id, (str, int, np.integer)):
        raise DataError(f"{where}: expected the name of the image and a mask id, got {type(name)} and {type(mask_id)}")
    if array.ndim != 2 or array.shape[1] != 3:
        raise DataError(f"{where}: the array has shape {array.shape}, expected (clicks, 3)")
    sample = PurePosixPath(str(name)).stem
    for k, (iou, biou, click) in enumerate(array.tolist() if array.dtype != object else array):
        try:
            scores = {"iou": float(iou), "biou": float(biou)}
            y, x, positive = _place(click, kind)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(f"{where}, row {k}: {error!r}; expected IoU, boundary IoU and a click") from error
        if not 0 <= scores["iou"] <= 1:
            raise DataError(f"{where}, row {k}: IoU is {scores['iou']}, expected 0 to 1")
        single = kind in ("User", "SamplingUsersCount")
        yield {
            "sample": sample,
            "object": str(mask_id),
            "group": f"p{k + 1}" if kind == "User" else group,
            "replicate": k if kind == "SamplingUsersCount" else 0,
            "round": 1 if single else k + 1,
            "kind": "click",
            "positive": positive,
            "y": y,
            "x": x,
            **scores,
        }


def _place(click: Any, kind: str) -> tuple[int, int, bool]:
    """Return row, column and sign. Clicks of people are stored as (x, y), all other clicks as (row, column)."""
    if isinstance(click, PublishedClick):
        y, x = click.coords
        return int(y), int(x), bool(click.is_positive)
    first, second = (int(v) for v in click)
    return (second, first, True) if kind == "User" else (first, second, True)


def import_published(path: Path, out: Path, on_file: Callable[[Path, int], None] = lambda file, rows: None) -> Imported:
    """Write all published files at or below `path` into one run folder.

    If the import fails, `out` is not created. The whole archive has about 28 million rows. To need less memory, collect
    the folders of one model in one folder, import each model on its own, and make the tables from several runs.

    Parameters
    ----------
    path : Path
        A published file, or a folder that contains such files at any depth.
    out : Path
        The run folder; must not exist yet.
    on_file : callable (file, rows) -> None
        Function that is called with the path of each file and its number of rows.

    Raises
    ------
    DataError
        If there are no files, a file cannot be read, two files contain the same results, or budgets differ.
    RunError
        If `out` exists or cannot be written.
    """
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*.pickle") if f.is_file())
    if not files:
        raise DataError(f"{path} contains no published results (<checkpoint>_<mode>/plots/*.pickle)")
    if out.exists():
        raise RunError(f"{out} exists already; choose a new folder for the imported results")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        done = _write_all(files, partial, path, on_file)
        os.replace(partial, out)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Imported(out, len(files), done[0], done[1])


def _write_all(
    files: list[Path], partial: Path, source: Path, on_file: Callable[[Path, int], None]
) -> tuple[int, tuple[str, ...]]:
    names: dict[_Name, Path] = {}
    budgets: dict[int, Path] = {}
    for file in files:
        name = _name(file)
        if (other := names.setdefault(name, file)) is not file:
            shown = ", ".join(filter(None, (name.model, name.dataset, name.mode, name.group)))
            raise DataError(f"{file} and {other} contain the same: {shown}")
        if name.plays:
            budgets.setdefault(name.clicks, file)
    if len(budgets) > 1:
        raise DataError(f"the budgets of clicks differ: {', '.join(f'{n} in {f}' for n, f in budgets.items())}")
    rules = Protocol.named("compat", clicks=next(iter(budgets), 1))
    store = RunStore(partial)
    units, total = [], 0
    for number, (name, file) in enumerate(names.items(), start=1):
        rows = read_published(file).rows
        unit = f"import-{number:05d}"
        base: dict[str, Any] = {"model": name.model, "checkpoint": "published", "dataset": name.dataset, "rater": "gt"}
        base |= {"protocol": rules.hash, "user": _USERS[name.mode][0], "flags": "", "cold": True, "unit": unit}
        facts = {"model": name.model, "dataset": name.dataset, "sample": unit, "data_sha256": "", "cold": True}
        facts |= {"clicks": len(rows), "file": str(file)}
        store.write_unit(unit, [base | row for row in rows], [], facts)
        units.append(unit)
        total += len(rows)
        on_file(file, len(rows))
    store.write_header(_header(names, rules, source))
    store.compact(units)
    return total, tuple(sorted({name.model for name in names}))


def _header(names: Collection[_Name], rules: Protocol, source: Path) -> dict[str, Any]:
    def spec(name: str, label: str, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": name, "options": dict(options), "checkpoint": None, "root": None, "label": label}

    models, datasets = sorted({n.model for n in names}), sorted({n.dataset for n in names})
    modes = {n.mode for n in names}
    users = [spec(name, label, options) for mode, (label, name, options) in _USERS.items() if mode in modes]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    machine: dict[str, Any] = dict.fromkeys(("system", "processor", "cores", "memory_gib"), "unknown")
    machine["devices"] = ["unknown"]
    return {
        "schema": SCHEMA_VERSION,
        "benchmark": "published results",
        "identity": f"import {source.name}",
        "effective": {
            "name": "published results",
            "summary": f"imported from {source.name}",
            "models": [spec(m, m, {}) for m in models],
            "datasets": [spec(d, d, {}) for d in datasets],
            "users": users,
            "metrics": ["iou", "biou"],
            "protocol": asdict(rules),
            "seed": 42,
            "limit": None,
            "skip_missing": False,
            "lanes": 1,
            "threads": 1,
            "devices": ["unknown"],
            "players": {m: [u["label"] for u in users] for m in models},
            "roots": {},
        },
        "protocol_hash": rules.hash,
        "checkpoints": dict.fromkeys(models, "published"),
        "users": {},
        "missing": [],
        "notes": ["these rows were imported from published results, not simulated here; they have no times"],
        "sessions": [
            {
                "started": now,
                "workers": 0,
                "arguments": {"import": str(source)},
                "packages": {"rclicks": __version__},
                "machine": machine,
                "source": {},
            }
        ],
        "finished": now,
        "data": {},
    }
