"""``rclicks train clickability``: learn click models from people's clicks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from rclicks.cli.training_shared import Watch, is_held_out, read_names, tell
from rclicks.errors import ProtocolError

if TYPE_CHECKING:
    from rclicks.human_clicks.items import ClickItem

__all__ = ["train_clickability"]


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
        See `rclicks.clickability.training.network`.
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
    from rclicks.clickability.training.network import Recipe, train_network
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
    with Watch(console, settings.epochs) as watch:
        result = train_network(
            train, other, recipe, settings, out, backbone=backbone, resume=resume, report=watch.report
        )
    tell(result, out, console)
    return result.best


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
    from rclicks.clickability.training.network import train_cues

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
        from rclicks.human_clicks.whats_the_point import voc_items

        return voc_items(clicks, "train"), voc_items(clicks, "val")
    from rclicks.engine.loading import open_dataset
    from rclicks.human_clicks.pairing import human_items
    from rclicks.human_clicks.tables import read_table
    from rclicks.registry import Registry
    from rclicks.specs import parse

    if not datasets:
        raise ProtocolError(f"name the data sets that {clicks} refers to, such as TETRIS:root=FOLDER")
    table, registry = read_table(clicks), Registry.discover(plugins)
    items = [i for name in datasets for i in human_items(table, open_dataset(registry, parse(name), data_root), masks)]
    names = None if held_out is None else read_names(held_out)
    other = [is_held_out(i.sample) if names is None else i.sample in names for i in items]
    return [i for i, out in zip(items, other, strict=True) if not out], list(compress(items, other))
