"""The Python API: five lines in a notebook.

>>> import rclicks
>>> model = rclicks.load_model("geodesic")
>>> data = rclicks.load_dataset("quickstart")
>>> frame = rclicks.evaluate("quickstart", models=["geodesic"], limit=1, clicks=2)
>>> sorted(frame["round"].unique().tolist())
[1, 2]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclicks.registry import Registry
from rclicks.specs import parse

if TYPE_CHECKING:
    import pandas as pd

    from rclicks.benchmark import Benchmark
    from rclicks.data.contract import Dataset
    from rclicks.engine.worker import Report
    from rclicks.models.contract import Model
    from rclicks.protocol import Protocol

__all__ = ["evaluate", "load_dataset", "load_model"]

Item = str | dict[str, Any]


def load_model(
    name: str,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    *,
    protocol: Protocol | str = "default",
    plugins: Sequence[str | Path] = (),
    **options: Any,
) -> Model:
    """Build a registered model.

    Parameters
    ----------
    name : str
        As `rclicks ls models` lists it, with or without ``:key=value`` options.
    checkpoint : path, "synthetic" or None
        None searches the configured checkpoint folder for the published file.
    device : str
        "cpu", "cuda", "cuda:1" or "mps".
    protocol : Protocol or str
    plugins : sequence of paths
        Extra plug-in folders.
    **options
        Options of the adapter.

    Raises
    ------
    UnknownNameError, PluginError, WeightsError, ProtocolError
    """
    from dataclasses import replace

    from rclicks.engine import loading
    from rclicks.protocol import Protocol as Rules

    spec = parse(name)
    spec = replace(
        spec,
        options=spec.options | options,
        checkpoint=spec.checkpoint if checkpoint is None else str(checkpoint),
        label="",
    )
    rules = Rules.named(protocol) if isinstance(protocol, str) else protocol
    return loading.load_model(Registry.discover(plugins), spec, device, rules)


def load_dataset(
    name: str, root: str | Path | None = None, *, plugins: Sequence[str | Path] = (), **options: Any
) -> Dataset:
    """Open a registered data set.

    Parameters
    ----------
    name : str
        As `rclicks ls datasets` lists it.
    root : path or None
        Folder of the set itself; None looks in the environment and the configuration file.
    plugins : sequence of paths
    **options
        Options of the data set.

    Raises
    ------
    DataError
        If the files are missing; says what was looked for, where, and how to get it.
    """
    from dataclasses import replace

    from rclicks.engine.loading import open_dataset

    spec = parse(name)
    where = spec.root if root is None else str(root)
    chosen = replace(spec, root=where, options=spec.options | options)
    return open_dataset(Registry.discover(plugins), chosen)


def evaluate(
    benchmark: str | Path | Benchmark = "quickstart",
    *,
    models: Sequence[Item] | None = None,
    datasets: Sequence[Item] | None = None,
    users: Sequence[Item] | None = None,
    follow: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    protocol: str | Protocol | None = None,
    clicks: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    workers: int = 1,
    devices: Sequence[str] = ("cpu",),
    lanes: int | None = None,
    threads: int = 1,
    data_root: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
    out: str | Path | None = None,
    fresh: bool = False,
    skip_missing: bool | None = None,
    save_masks: bool = False,
    on_report: Callable[[Report], None] = lambda report: None,
) -> pd.DataFrame:
    """Run a benchmark and return its records, one row a round.

    Every argument that is None keeps what the benchmark file says. Models, data sets and users that are named here are
    never left out, unless `skip_missing` is True. With `out` the run folder is kept and a second
    call goes on where the first was stopped; without, it is temporary. `save_masks` keeps the last mask of each
    trajectory in the run folder: NIfTI in the image's own space for volumes, PNG for images.

    Returns
    -------
    pandas.DataFrame
        Columns as in `rclicks.records.schema.SCHEMA`, plus `run`. Failures are in ``frame.attrs["failures"]``, notes
        (missing data, untrained prompts) in ``frame.attrs["notes"]``.

    Raises
    ------
    RclicksError
        One of its kinds; see `rclicks.errors`.
    """
    from rclicks.benchmark import Benchmark as Study
    from rclicks.benchmark import load_benchmark
    from rclicks.engine.plan import make_plan
    from rclicks.engine.run import run_plan
    from rclicks.records.store import load_failures, load_records

    registry = Registry.discover(plugins)
    study = benchmark if isinstance(benchmark, Study) else load_benchmark(benchmark, registry)
    study = study.changed(
        registry,
        models=models,
        datasets=datasets,
        users=users,
        follow=follow,
        metrics=metrics,
        protocol=protocol,
        clicks=clicks,
        limit=limit,
        seed=seed,
    )
    plan = make_plan(
        study,
        registry,
        data_root=None if data_root is None else Path(data_root),
        devices=devices,
        lanes=lanes,
        threads=threads,
        skip_missing=skip_missing,
        keep_masks=save_masks,
    )
    with tempfile.TemporaryDirectory(prefix="rclicks-") as temporary:
        folder = Path(temporary) / "run" if out is None else Path(out)
        run_plan(plan, folder, workers=workers, fresh=fresh, arguments={"api": "evaluate"}, on_report=on_report)
        frame = load_records(folder)
        frame.attrs["failures"] = load_failures(folder).to_dict("records")
        frame.attrs["notes"] = [*plan.notes, *(f"{m.kind} {m.name}: {m.short}" for m in plan.missing)]
    return frame
