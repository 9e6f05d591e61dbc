"""The run folder: one Parquet shard a unit of work, written atomically as the run goes.

::

    RUN/
      run.json              plan, arguments, provenance
      shards/<unit>.parquet rows of one (model, data set, sample); its presence means that the unit is done
      failures/<unit>.json  what failed in a unit
      records.parquet       all rows, once the run is complete (the shards are then deleted)
      failures.parquet      likewise

A shard appears by renaming a synced temporary file, so a run killed at any moment leaves whole units only. If a unit is
both in records.parquet and in a shard (killed between the two), the shard is ignored.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rclicks.errors import RunError
from rclicks.records.schema import FAILURE_SCHEMA, KEYS, SCHEMA, TIMES

__all__ = ["RunStore", "load_failures", "load_records", "load_run", "load_units", "same_records"]

_UNIT_META = b"rclicks.unit"
_UNITS_META = b"rclicks.units"
_RENAMED_FACTS = {"blank": "empty_references"}  # facts of units in old run folders -> their names now


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "permission is denied",
        }.get(error.errno or 0, str(error))
        raise RunError(
            f"cannot write {path}: {why}. All units finished so far are safe; free space or choose another folder "
            "with --out, then give the same command again to go on."
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that the file is whole or absent.

    Raises
    ------
    RunError
        If it cannot be written; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


class RunStore:
    """Reads and writes one run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def shards(self) -> Path:
        """Folder of the finished units."""
        return self.path / "shards"

    @property
    def masks(self) -> Path:
        """Where last masks go if they are kept."""
        return self.path / "masks"

    @property
    def failures(self) -> Path:
        """Folder of the failures by unit."""
        return self.path / "failures"

    def read_header(self) -> dict[str, Any] | None:
        """Return run.json, or None if there is none.

        Raises
        ------
        RunError
            If it is damaged.
        """
        file = self.path / "run.json"
        if not file.exists():
            return None
        try:
            header = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise RunError(
                f"{file} is damaged ({error}); use --fresh to start over or --out for another folder"
            ) from error
        return dict(header)

    def write_header(self, header: Mapping[str, Any]) -> None:
        """Write run.json atomically."""
        write_atomically(self.path / "run.json", json.dumps(header, indent=2, default=str).encode())

    def clear(self) -> None:
        """Delete the records of an earlier run; refuse a folder that is not a run.

        Raises
        ------
        RunError
            If the folder has files but no run.json.
        """
        if not self.path.exists():
            return
        if not (self.path / "run.json").exists() and any(not f.name.endswith(".tmp") for f in self.path.iterdir()):
            raise RunError(f"{self.path} is not a run folder (no run.json), so --fresh will not delete it")
        with _writing(self.path):
            for name in ("shards", "failures", "masks"):
                shutil.rmtree(self.path / name, ignore_errors=True)
            for name in ("records.parquet", "failures.parquet", "run.json"):
                (self.path / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what workers that were stopped in the middle of a file left behind; call when none is at work."""
        for folder in (self.path, self.shards, self.failures):
            for file in folder.glob(".*.tmp"):
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)

    def done(self) -> set[str]:
        """Return the keys of all finished units."""
        return {*(_units_of(self.path / "records.parquet")), *(f.stem for f in self.shards.glob("*.parquet"))}

    def write_unit(
        self,
        unit: str,
        rows: Sequence[Mapping[str, Any]],
        failures: Sequence[Mapping[str, Any]],
        facts: Mapping[str, Any],
    ) -> None:
        """Write what came of a unit: failures first, then the shard, whose presence ends the unit."""
        self.write_failures(unit, failures)
        table = pa.Table.from_pylist([dict(r) for r in rows], schema=SCHEMA)
        meta = {**(table.schema.metadata or {}), _UNIT_META: json.dumps(dict(facts) | {"unit": unit}).encode()}
        write_atomically(self.shards / f"{unit}.parquet", _to_bytes(table.replace_schema_metadata(meta)))

    def write_failures(self, unit: str, failures: Sequence[Mapping[str, Any]]) -> None:
        """Write the failures of a unit, or remove those of an earlier attempt."""
        file = self.failures / f"{unit}.json"
        if failures:
            write_atomically(file, json.dumps([dict(f) | {"unit": unit} for f in failures]).encode())
        else:
            file.unlink(missing_ok=True)

    def compact(self, order: Sequence[str]) -> None:
        """Merge all shards into records.parquet, rows in plan order, then delete the shards."""
        table, units = _read_all(self.path)
        rank = {unit: i for i, unit in enumerate(order)}
        position = pa.array([rank.get(u, len(rank)) for u in table["unit"].to_pylist()], pa.int64())
        table = table.append_column("_order", position).sort_by([("_order", "ascending")]).drop_columns(["_order"])
        units.sort(key=lambda u: rank.get(u["unit"], len(rank)))
        table = table.replace_schema_metadata({_UNITS_META: json.dumps(units).encode()})
        write_atomically(self.path / "records.parquet", _to_bytes(table))
        failures = pa.Table.from_pylist(_failures(self.path), schema=FAILURE_SCHEMA)
        write_atomically(self.path / "failures.parquet", _to_bytes(failures))
        shutil.rmtree(self.shards, ignore_errors=True)


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _units_of(file: Path) -> list[str]:
    if not file.exists():
        return []
    meta = pq.read_schema(file).metadata or {}
    return [str(u["unit"]) for u in json.loads(meta.get(_UNITS_META, b"[]"))]


def _read_all(path: Path) -> tuple[pa.Table, list[dict[str, Any]]]:
    tables, units, seen = [SCHEMA.empty_table()], [], set()
    merged = path / "records.parquet"
    try:
        if merged.exists():
            table = pq.read_table(merged)
            units += json.loads((table.schema.metadata or {}).get(_UNITS_META, b"[]"))
            seen = {u["unit"] for u in units}
            tables.append(_as_now(table))
        for file in sorted((path / "shards").glob("*.parquet")):
            if file.stem not in seen:
                table = pq.ParquetFile(file).read()
                units.append(json.loads(table.schema.metadata[_UNIT_META]))
                tables.append(_as_now(table))
    except (pa.ArrowInvalid, OSError) as error:
        raise RunError(f"the records in {path} cannot be read: {error}. Delete the damaged file to redo it.") from error
    return pa.concat_tables(tables).unify_dictionaries(), units


def _as_now(table: pa.Table) -> pa.Table:
    """Return records in the present schema; columns that are newer than the records are empty."""
    for place, column in enumerate(SCHEMA):
        if column.name not in table.column_names:
            table = table.add_column(place, column, pa.nulls(len(table), column.type))
    return table.replace_schema_metadata(None).select(SCHEMA.names).cast(SCHEMA)


def _failures(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for file in sorted((path / "failures").glob("*.json")):
        found += json.loads(file.read_text())
    return found


def load_run(path: str | Path) -> dict[str, Any]:
    """Return run.json of a run folder.

    Raises
    ------
    RunError
        If the folder is no run.
    """
    header = RunStore(Path(path)).read_header()
    if header is None:
        raise RunError(
            f"{path} is not a run folder: it has no run.json. Make one with `rclicks run BENCHMARK --out RUN`."
        )
    return header


def load_records(path: str | Path) -> pd.DataFrame:
    """Return all records of a run folder, finished or not, with a column `run`; one row a round."""
    load_run(path)
    frame = _read_all(Path(path))[0].to_pandas()
    frame.insert(0, "run", Path(path).name)
    for column in frame.columns:
        if isinstance(frame[column].dtype, pd.CategoricalDtype):
            frame[column] = frame[column].astype("str")
    return frame


def load_units(path: str | Path) -> pd.DataFrame:
    """Return one row for each finished unit: encoder and decoder calls, seconds, hash of the data.

    Facts that older versions stored under another name have their present name.
    """
    load_run(path)
    units = _read_all(Path(path))[1]
    # A resumed run may contain units of an older and of this version, so each unit is renamed on its own.
    return pd.DataFrame([{_RENAMED_FACTS.get(name, name): fact for name, fact in unit.items()} for unit in units])


def load_failures(path: str | Path) -> pd.DataFrame:
    """Return what failed, one row a trajectory or sample, with error, message and traceback."""
    load_run(path)
    return pa.Table.from_pylist(_failures(Path(path)), schema=FAILURE_SCHEMA).to_pandas()


def same_records(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Tell whether two sets of records are equal in every column but the run's name and the times."""
    drop = ["run", *TIMES]
    left, right = (
        f.drop(columns=[c for c in drop if c in f]).sort_values(list(KEYS)).reset_index(drop=True) for f in (a, b)
    )
    return left.equals(right)
