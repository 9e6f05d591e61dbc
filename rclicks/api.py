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
    from rclicks.training.loop import Progress, Result

__all__ = ["evaluate", "load_dataset", "load_model", "train"]

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
    reference: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    protocol: str | Protocol | None = None,
    clicks: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    workers: int = 1,
    devices: Sequence[str] = ("cpu",),
    batch_size: int | None = None,
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
        reference=reference,
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
        batch_size=batch_size,
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


def train(
    model: str,
    dataset: str | Sequence[str],
    out: str | Path,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    init_weights: str | Path | None = None,
    resume: bool = False,
    val_list: str | Path | None = None,
    patience: int | None = None,
    protocol: str = "default",
    seed: int = 0,
    device: str = "cpu",
    workers: int | None = None,
    threads: int | None = None,
    data_root: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
    **options: Any,
) -> Result:
    """Train a registered model or click model.

    Parameters
    ----------
    model : str
        A trainable one, with or without ``:key=value`` options; `rclicks show` lists them.
    dataset : str or sequence of str
        One or more registered data sets with their options; all are learned from.
    out : path
        Folder of the training.
    epochs, batch_size : int or None
        None takes the default of the model's recipe, as for all that follow.
    lr : float or None
        Learning rate; of recipes with a schedule the highest one.
    init_weights : path or None
        Existing weights to start from; None starts from random ones.
    resume : bool
        Continue from the last checkpoint in `out`, if there is one.
    val_list : path or None
        Text file of the samples, persons or scans to validate with, one a line; None takes the published validation
        part of the data set, or a fixed tenth of its persons or scans.
    patience : int or None
        Epochs without a better validation after which the training stops.
    protocol : {"default", "compat"}
        ``compat`` is the published recipe, for models that have one.
    seed : int
        Of all random numbers.
    device : str
        "cpu", "cuda" or "cuda:1".
    workers : int or None
        Threads that prepare batches; results do not depend on it.
    threads : int or None
        CPU threads of torch; results are the same only for the same number.
    data_root : path or None
        Folder that holds the data sets' folders.
    plugins : sequence of paths
        Extra plug-in folders.
    on_progress : callable
        Takes a `rclicks.training.loop.Progress` after every step and every epoch.
    **options
        Training options of the model; they go before those in its name.

    Returns
    -------
    rclicks.training.loop.Result
        `best` is the checkpoint for `load_model`; `rows` is the log, one row an epoch.

    Raises
    ------
    UnknownNameError, PluginError, ProtocolError, DataError, WeightsError
    """
    from dataclasses import replace

    from rclicks.engine.training import train as train_model
    from rclicks.training.contract import TrainingSettings

    spec = parse(model)
    return train_model(
        Registry.discover(plugins),
        replace(spec, options=spec.options | options, label=""),
        [dataset] if isinstance(dataset, str) else list(dataset),
        Path(out),
        TrainingSettings(
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            patience=patience,
            seed=seed,
            device=device,
            workers=workers,
            threads=threads,
            resume=resume,
        ),
        protocol=protocol,
        init_weights=None if init_weights is None else Path(init_weights).expanduser(),
        val_list=None if val_list is None else Path(val_list).expanduser(),
        data_root=None if data_root is None else Path(data_root),
        on_progress=on_progress,
    )
