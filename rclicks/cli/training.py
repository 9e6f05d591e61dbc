"""``rclicks train``: learn click models from people's clicks, and small 3-D networks from volumes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from rclicks.errors import DataError, ProtocolError

if TYPE_CHECKING:
    from rclicks.clickability.items import ClickItem
    from rclicks.data.contract import Dataset
    from rclicks.registry import Registry
    from rclicks.training.loop import Progress, Result

__all__ = ["train_clickability", "train_volume_demo"]

HELD_OUT = 0.1  # of the images, where no list says which
STEPS = 50  # of an epoch of volumes


def train_clickability(
    clicks: Path,
    out: Path,
    *,
    architecture: str = "mini",
    protocol: str = "default",
    sigma: float = 5.0,
    datasets: Sequence[str] = (),
    data_root: Path | None = None,
    masks: Path | None = None,
    held_out: Path | None = None,
    epochs: int | None = None,
    batch: int = 16,
    rate: float | None = None,
    patience: int | None = None,
    folds: int = 5,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 2,
    backbone: Path | None = None,
    resume: bool = False,
    plugins: Sequence[Path] = (),
) -> Path:
    """Train a click model as the command line asks, and return the file of its weights.

    Parameters
    ----------
    clicks : Path
        A What's the Point folder (with its own split), or a click table that `rclicks clicks score` reads too.
    out : Path
        Folder of the training.
    architecture : str
        "mini" fits the embedded model's cues in seconds; "mini-cnn", "segnext-t", "segnext-s" or "segnext-b" are
        networks.
    protocol : {"default", "compat"}
        See `rclicks.training.clickability`.
    sigma : float
        Of the clicks' blur, in pixels of a 1920 x 1080 image.
    datasets : sequence of str
        The data sets that a click table refers to (NAME or NAME:root=FOLDER).
    data_root, masks : Path or None
        Parent of the data sets; previous masks of clicks of later rounds.
    held_out : Path or None
        A list of image names, one a line, that a click table's training must not see; None takes a fixed tenth.
    epochs, batch, rate, patience, seed, device, workers, backbone, resume
        Of networks; None takes the recipe's own.
    folds : int
        Of the cross-validation of "mini"; 0 for none.
    plugins : sequence of Path

    Raises
    ------
    DataError, ProtocolError, WeightsError
    """
    console = Console(stderr=True)
    train, other = _items(clicks, datasets, data_root, masks, held_out, plugins)
    console.print(f"{len(train)} objects to learn from, {len(other)} held out", highlight=False)
    if architecture == "mini":
        return _fit_cues(train, other, out, sigma, folds, seed, protocol, console)
    from rclicks.training.clickability import Recipe, train_network
    from rclicks.training.loop import Settings

    compat = protocol == "compat"
    recipe = Recipe(
        architecture=architecture,
        protocol=protocol,  # type: ignore[arg-type]
        sigma=sigma,
        rate=rate or (0.01 if compat else 5e-4),
    )
    settings = Settings(
        epochs=epochs or 20,
        batch=batch,
        seed=seed,
        patience=patience or (None if compat else 8),
        keep_epochs=compat,
        workers=workers,
        mixed=not compat,
        device=device,
    )
    with _Watch(console, settings.epochs) as watch:
        result = train_network(
            train, other, recipe, settings, out, backbone=backbone, resume=resume, report=watch.report
        )
    _tell(result, out, console)
    return result.best


def train_volume_demo(
    dataset: str,
    out: Path,
    *,
    data_root: Path | None = None,
    plugins: Sequence[Path] = (),
    steps: int = 600,
    batch: int = 2,
    patch: int = 64,
    features: Sequence[int] = (8, 16, 32, 48),
    rate: float = 4e-3,
    licence: str = "",
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    resume: bool = False,
) -> Path:
    """Train a 3-D network as the command line asks, and return its model folder.

    A fixed tenth of the cases is held out to choose the best epoch; where that is none, all are used for both.

    Parameters
    ----------
    dataset : str
        A registered data set of volumes with its options, such as ``hippocampus:cases=manifest.csv@train``.
    out : Path
        The model folder.
    data_root, plugins
        Where data sets and further plug-ins are looked for.
    steps : int
        Rounded up to whole epochs of 50.
    batch : int
    patch : int
        Edge of the session's patch.
    features : sequence of int
        Channels of the network's stages.
    rate, seed, device, resume
    licence : str
        Of the weights, for the folder's LICENSE.
    threads : int
        Of the CPU; results are the same only for the same number.

    Raises
    ------
    DataError, ProtocolError, WeightsError
    """
    from rclicks.models.nninteractive_folder import Design
    from rclicks.training.loop import Settings
    from rclicks.training.volume import Recipe, read_objects, train_volume

    if steps < 1 or threads < 1:
        raise ProtocolError(f"{steps} steps on {threads} threads train nothing; expected at least 1 of each")
    an_epoch = min(STEPS, steps)
    strides = (1,) + (2,) * (len(features) - 1)
    design = Design(features=tuple(features), strides=strides, patch=(patch, patch, patch))
    recipe = Recipe(design=design, rate=rate)
    settings = Settings(epochs=-(-steps // an_epoch), batch=batch, seed=seed, workers=1, device=device)
    volumes = _volumes(dataset, data_root, plugins)
    other = [i for i, name in enumerate(volumes.ids) if _is_held_out(name, None)]
    learnt = [i for i, name in enumerate(volumes.ids) if not _is_held_out(name, None)]
    if not other or not learnt:
        learnt = other = list(range(len(volumes)))
    console = Console(stderr=True)
    console.print(f"{len(learnt)} volumes to learn from, {len(other)} held out", highlight=False)
    with _quick_cpu(threads), _Watch(console, settings.epochs) as watch:
        result = train_volume(
            read_objects(volumes[i] for i in learnt),
            read_objects(volumes[i] for i in other),
            recipe,
            settings,
            out,
            steps=an_epoch,
            licence=licence,
            resume=resume,
            report=watch.report,
        )
    _tell(result, out, console)
    return out


def _volumes(dataset: str, data_root: Path | None, plugins: Sequence[Path]) -> Dataset:
    from rclicks.cards import DatasetCard
    from rclicks.config import load_config
    from rclicks.data.roots import resolve
    from rclicks.engine.loading import load_dataset
    from rclicks.registry import Registry
    from rclicks.specs import parse

    registry = Registry.discover(plugins)
    spec = parse(dataset)
    card = registry.find("dataset", spec.name).card
    if not isinstance(card, DatasetCard) or card.dims != 3:
        raise ProtocolError(f"{spec.name} holds images; a 3-D network learns from volumes")
    root = resolve(card, None if spec.root is None else Path(spec.root), data_root, load_config())
    return load_dataset(registry, spec, root)


@contextmanager
def _quick_cpu(threads: int) -> Iterator[None]:
    """Use so many threads, and take numbers next to 0 for 0: a CPU needs a hundred times longer for them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)


def _fit_cues(
    train: Sequence[ClickItem],
    other: Sequence[ClickItem],
    out: Path,
    sigma: float,
    folds: int,
    seed: int,
    protocol: str,
    console: Console,
) -> Path:
    from rclicks.clickability.embedded import WEIGHTS
    from rclicks.training.clickability import train_cues

    if protocol != "default":
        raise ProtocolError("the cues of architecture mini have no published recipe; choose protocol default")
    with console.status("fitting"):
        content = train_cues(train, other, out, sigma=sigma, folds=folds, seed=seed)
    for name, weight in content["weights"].items():
        console.print(f"  {name:7s} {weight:+.3f}", highlight=False)
    facts = {k: v for k, v in content["trained"].items() if k.endswith("gain")}
    told = ", ".join(f"{name.replace('_', '-').replace('-gain', '')} {value:.3f}" for name, value in facts.items())
    console.print(f"log-likelihood of a click above uniform, in nats: {told}", highlight=False)
    console.print(f"written: {escape(str(out / WEIGHTS.name))}", highlight=False, soft_wrap=True)
    return out / WEIGHTS.name


def _items(
    clicks: Path,
    datasets: Sequence[str],
    data_root: Path | None,
    masks: Path | None,
    held_out: Path | None,
    plugins: Sequence[Path],
) -> tuple[list[ClickItem], list[ClickItem]]:
    """Return items to learn from and items to validate with; no image is in both."""
    if clicks.is_dir():
        from rclicks.clickability.voc import voc_items

        return voc_items(clicks, "train"), voc_items(clicks, "val")
    from rclicks.clickability.human import human_items
    from rclicks.clickability.people import read_table
    from rclicks.registry import Registry

    if not datasets:
        raise ProtocolError(f"name the data sets that {clicks} refers to, such as TETRIS:root=FOLDER")
    table, registry = read_table(clicks), Registry.discover(plugins)
    items = [i for name in datasets for i in human_items(table, _dataset(name, registry, data_root), masks)]
    names = None if held_out is None else _names(held_out)
    train = [i for i in items if not _is_held_out(i.sample, names)]
    return train, [i for i in items if _is_held_out(i.sample, names)]


def _dataset(name: str, registry: Registry, data_root: Path | None) -> Any:
    from rclicks.cards import DatasetCard
    from rclicks.config import load_config
    from rclicks.data.roots import resolve
    from rclicks.engine.loading import load_dataset
    from rclicks.specs import parse

    spec = parse(name)
    card = registry.find("dataset", spec.name).card
    assert isinstance(card, DatasetCard)  # noqa: S101 - the registry's own promise
    root = None if spec.root is None else Path(spec.root)
    return load_dataset(registry, spec, resolve(card, root, data_root, load_config()))


def _names(file: Path) -> frozenset[str]:
    try:
        return frozenset(file.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"list of held-out images {file} cannot be read: {error}") from error


def _is_held_out(sample: str, names: frozenset[str] | None) -> bool:
    if names is not None:
        return sample in names
    return int.from_bytes(hashlib.sha256(sample.encode()).digest()[:4], "big") < HELD_OUT * 2**32


def _tell(result: Result, out: Path, console: Console) -> None:
    row = next(r for r in result.rows if r["epoch"] == result.best_epoch)
    measured = ", ".join(f"{k} {v:.4f}" for k, v in row.items() if k not in {"epoch", "score"})
    early = " (stopped early)" if result.stopped_early else ""
    console.print(f"{result.epochs} epochs{early}; best was {result.best_epoch}: {measured}", highlight=False)
    console.print(f"written: {escape(str(out))}", highlight=False, soft_wrap=True)


class _Watch:
    """Shows a bar an epoch and prints its log row; on a file or pipe only the rows."""

    def __init__(self, console: Console, epochs: int) -> None:
        self._console, self._epochs = console, epochs
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Bars(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID | None = None

    def __enter__(self) -> _Watch:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def report(self, progress: Progress) -> None:
        """Take what the loop says."""
        if self._task is None:
            self._task = self._bars.add_task("", total=progress.steps)
        told = f"epoch {progress.epoch + 1}/{self._epochs}, loss {progress.loss:.4f}"
        self._bars.update(self._task, completed=progress.step, total=progress.steps, description=told)
        if progress.row is not None:
            told = ", ".join(f"{k} {v:.4f}" for k, v in progress.row.items() if k not in {"epoch", "score"})
            self._console.print(f"epoch {progress.epoch + 1}/{self._epochs}: {told}", highlight=False)
