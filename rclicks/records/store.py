"""The run folder. Each unit of work has one Parquet file, a shard, which is written atomically when the unit is done.

::

    RUN/
      run.json              plan, arguments, provenance
      shards/<unit>.parquet rows of one (model, data set, sample); the unit is done if the file exists
      failures/<unit>.json  what failed in a unit
      records.parquet       all rows, when the run is complete (the shards are then deleted)
      failures.parquet      all failures, when the run is complete

A shard is first written to a temporary file, which is then renamed. So a run that is killed at any moment leaves only
complete units. If the run is killed after records.parquet was written and before the shards were deleted, a unit is in
both places; its shard is then ignored.
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
            f"cannot write {path}: {why}. All finished units are safe. Free space or choose another folder "
            "with --out, then enter the same command again to resume."
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that the file is either complete or absent.

    Raises
    ------
    RunError
        If the file cannot be written. The temporary file is removed.
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
    """Read and write one run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def shards(self) -> Path:
        """Folder with the rows of the finished units."""
        return self.path / "shards"

    @property
    def masks(self) -> Path:
        """Folder with the last mask of each trajectory, if masks are kept."""
        return self.path / "masks"

    @property
    def failures(self) -> Path:
        """Folder with the failures of each unit."""
        return self.path / "failures"

    def read_header(self) -> dict[str, Any] | None:
        """Return run.json, or None if there is none.

        Raises
        ------
        RunError
            If the file is damaged.
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
        """Delete the records of an earlier run.

        Raises
        ------
        RunError
            If the folder contains files but no run.json, and is therefore not a run folder.
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
        """Delete temporary files of workers that were stopped while writing. No worker may be running."""
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
        """Write the result of a unit: failures first, then the shard, because the unit is done if its shard exists.

        Parameters
        ----------
        unit : str
            Key of the unit.
        rows : sequence of mapping
            Records, one mapping from column to value for each round.
        failures : sequence of mapping
            Failures, one mapping from column to value for each trajectory or sample.
        facts : mapping
            Facts of the unit, such as encoder calls, seconds and the hash of the data; JSON types only.

        Raises
        ------
        RunError
            If a file cannot be written.
        """
        self.write_failures(unit, failures)
        table = pa.Table.from_pylist([dict(r) for r in rows], schema=SCHEMA)
        meta = {**(table.schema.metadata or {}), _UNIT_META: json.dumps(dict(facts) | {"unit": unit}).encode()}
        write_atomically(self.shards / f"{unit}.parquet", _to_bytes(table.replace_schema_metadata(meta)))

    def write_failures(self, unit: str, failures: Sequence[Mapping[str, Any]]) -> None:
        """Write the failures of a unit. Without failures, remove the file of an earlier attempt."""
        file = self.failures / f"{unit}.json"
        if failures:
            write_atomically(file, json.dumps([dict(f) | {"unit": unit} for f in failures]).encode())
        else:
            file.unlink(missing_ok=True)

    def compact(self, order: Sequence[str]) -> None:
        """Merge all shards into records.parquet, then delete the shards.

        Parameters
        ----------
        order : sequence of str
            Keys of all units. The rows are written in this order.

        Raises
        ------
        RunError
            If a shard is damaged or a file cannot be written.
        """
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
        raise RunError(
            f"the records in {path} cannot be read: {error}. Delete the damaged file and run the same command again."
        ) from error
    return pa.concat_tables(tables).unify_dictionaries(), units


def _as_now(table: pa.Table) -> pa.Table:
    """Return records in the present schema. Columns that did not exist when the records were written are empty."""
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
        If the folder is not a run folder.
    """
    header = RunStore(Path(path)).read_header()
    if header is None:
        raise RunError(
            f"{path} is not a run folder: it has no run.json. Make one with `rclicks run BENCHMARK --out RUN`."
        )
    return header


def load_records(path: str | Path) -> pd.DataFrame:
    """Return all records of a run folder, finished or not: one row for each round, with a column `run` (folder name).

    Raises
    ------
    RunError
        If the folder is not a run folder or a file is damaged.
    """
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
    """Return the failures of a run folder: one row for each trajectory or sample, with error, message and traceback."""
    load_run(path)
    return pa.Table.from_pylist(_failures(Path(path)), schema=FAILURE_SCHEMA).to_pandas()


def same_records(a: pd.DataFrame, b: pd.DataFrame) -> bool:
    """Return whether two sets of records are equal in every column except the name of the run and the times."""
    drop = ["run", *TIMES]
    left, right = (
        f.drop(columns=[c for c in drop if c in f]).sort_values(list(KEYS)).reset_index(drop=True) for f in (a, b)
    )
    return left.equals(right)
