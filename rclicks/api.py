"""The Python API: load models and data sets, run a benchmark, train a model.

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
        Name of the model as listed by `rclicks ls models`, with or without ``:key=value`` options.
    checkpoint : path, "synthetic" or None
        File of the weights. None searches the configured checkpoint folder for the published file. "synthetic" fills
        the network with weights computed from the names of its parameters, for tests only.
    device : str
        Device of the network: "cpu", "cuda", "cuda:1" or "mps".
    protocol : Protocol or str
        Evaluation rules, or their name: "default" or "compat".
    plugins : sequence of paths
        Additional plug-in folders.
    **options
        Options of the model. They replace options of the same name in `name`.

    Returns
    -------
    Model
        Model that is ready to predict.

    Raises
    ------
    UnknownNameError
        If no model has this name.
    PluginError
        If the adapter cannot be imported.
    WeightsError
        If the weights are missing, unsafe to load or do not fit the network.
    ProtocolError
        If an option or the protocol is unknown or has a value that is not allowed.
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
        Name of the data set as listed by `rclicks ls datasets`, with or without ``:key=value`` options.
    root : path or None
        Folder of the data set itself. None takes the folder from the environment or the configuration file.
    plugins : sequence of paths
        Additional plug-in folders.
    **options
        Options of the data set. They replace options of the same name in `name`.

    Returns
    -------
    Dataset
        Data set whose files were found.

    Raises
    ------
    UnknownNameError
        If no data set has this name.
    DataError
        If files are missing or damaged. The message names the files, the folders searched and the source of the data.
    ProtocolError
        If an option is unknown or has a value that is not allowed.
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
    """Run a benchmark and return its records, one row for each round.

    Parameters
    ----------
    benchmark : str, path or Benchmark
        Name of a registered benchmark, path of a YAML file, or a benchmark object.
    models, datasets, users : sequence of str or mapping, or None
        Names with options, as in a benchmark file. None keeps those of the benchmark, here and for the arguments below
        up to `seed`.
    reference : sequence of str or None
        Reference masks where several raters drew: "raters" (each of them), or rules of consensus such as "majority".
    metrics : sequence of str or None
        Metrics to store after each round; "iou" must be one of them.
    protocol : str, Protocol or None
        Evaluation rules, or their name: "default" or "compat".
    clicks : int or None
        Budget: the largest number of interactions in a trajectory.
    limit : int or None
        Number of samples taken from the start of each data set.
    seed : int or None
        Seed of all random numbers.
    workers : int
        Number of processes. Records do not depend on it.
    devices : sequence of str
        Devices of the networks, such as ("cuda:0", "cuda:1"). The workers share them.
    batch_size : int or None
        Number of trajectories that a network predicts in one call. None means 1 on a CPU and 16 elsewhere.
    threads : int
        CPU threads of each worker. Records can depend on it.
    data_root : path or None
        Folder that contains the folders of the data sets.
    plugins : sequence of paths
        Additional plug-in folders.
    out : path or None
        Run folder. A second call with the same folder resumes an interrupted run. None uses a temporary folder.
    fresh : bool
        True deletes an earlier run in `out` first.
    skip_missing : bool or None
        True leaves out models, data sets and users whose files are missing; False raises an error instead. None follows
        the benchmark, but never leaves out what `models`, `datasets` or `users` name.
    save_masks : bool
        True keeps the last mask of each trajectory in the run folder: PNG for images; NIfTI, aligned with the image,
        for volumes.
    on_report : callable
        Function that is called with a `rclicks.engine.worker.Report` after each unit.

    Returns
    -------
    pandas.DataFrame
        Columns as in `rclicks.records.schema.SCHEMA`, plus `run`. ``frame.attrs["failures"]`` lists the failures.
        ``frame.attrs["notes"]`` lists notes, for example missing data or prompts that a model was not trained on.

    Raises
    ------
    RclicksError
        One of the classes in `rclicks.errors`.
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
        Name of a trainable model, with or without ``:key=value`` options. `rclicks show NAME` lists the options.
    dataset : str or sequence of str
        One or more registered data sets with their options. The training uses all of them.
    out : path
        Folder of the training: checkpoints and log.
    epochs, batch_size : int or None
        Number of epochs, and items in a batch. None takes the default of the recipe, here and for the arguments below.
    lr : float or None
        Learning rate. If the recipe has a schedule, this is its highest rate.
    init_weights : path or None
        File of existing weights to start from. None starts from random weights.
    resume : bool
        True continues from the last checkpoint in `out`, if there is one.
    val_list : path or None
        Text file that lists the samples, persons or scans for validation, one per line. None takes the published
        validation part of the data set, or a fixed tenth of its persons or scans.
    patience : int or None
        Number of epochs without a better validation score after which the training stops.
    protocol : {"default", "compat"}
        Rules of the training. "compat" is the published recipe, for models that have one.
    seed : int
        Seed of all random numbers.
    device : str
        Device of the network: "cpu", "cuda" or "cuda:1".
    workers : int or None
        Number of threads that prepare batches. Results do not depend on it.
    threads : int or None
        CPU threads of torch. Only the same number gives the same results.
    data_root : path or None
        Folder that contains the folders of the data sets.
    plugins : sequence of paths
        Additional plug-in folders.
    on_progress : callable
        Function that is called with a `rclicks.training.loop.Progress` after every step and every epoch.
    **options
        Training options of the model. They replace options of the same name in `model`.

    Returns
    -------
    rclicks.training.loop.Result
        `best` is the path of the checkpoint for `load_model`. `rows` is the log, one row for each epoch.

    Raises
    ------
    UnknownNameError
        If a model or data set is unknown.
    PluginError
        If the adapter or data set cannot be imported.
    ProtocolError
        If the model cannot be trained, or an option has a value that is not allowed.
    DataError, WeightsError
        If data or initial weights are missing or damaged.
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
