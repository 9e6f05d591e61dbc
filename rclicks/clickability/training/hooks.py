"""Parts that the trainings of all click models share: reading of the clicks, and the split for validation.

The clicks come from a table of recorded clicks on the data sets of the training (option ``clicks``). Without a table
they are the clicks that are part of the data set VOC_clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from rclicks.cards import ClickModelCard
from rclicks.clickability.training.network import Recipe, train_cues, train_network
from rclicks.errors import ProtocolError
from rclicks.human_clicks.items import ClickItem
from rclicks.human_clicks.pairing import human_items
from rclicks.human_clicks.tables import read_table
from rclicks.human_clicks.whats_the_point import NAME, SPLITS, voc_items
from rclicks.options import Number, Option, PathOption
from rclicks.protocol import Protocol
from rclicks.training.contract import SplitDataset, TrainingData, TrainingSettings, refuse_compat
from rclicks.training.cpu import cpu_settings
from rclicks.training.loop import Progress, Result

__all__ = ["COMMON_OPTIONS", "FOLDS", "fit_cues", "read_items", "train_click_network"]

COMMON_OPTIONS: Mapping[str, Option] = {
    "clicks": PathOption(None, help=f"CSV file of recorded clicks on the data sets (default: the clicks in {NAME})"),
    "masks": PathOption(None, help="folder of previous masks, for clicks of later rounds"),
    "sigma": Number(5.0, 0.001, 1000, help="standard deviation of the clicks' blur in pixels of a 1920 x 1080 image"),
}
FOLDS = Number(5, 0, 1000, whole=True, help="number of folds of the cross-validation; 0 for none")

EPOCHS, BATCH_SIZE, WORKERS = 20, 16, 2
LR = {"default": 5e-4, "compat": 0.01}
PATIENCE = {"default": 8, "compat": None}


def read_items(
    card: ClickModelCard, data: TrainingData, clicks: Path | None, masks: Path | None
) -> tuple[list[ClickItem], list[ClickItem]]:
    """Return the items for training and the items for validation; no image is in both.

    If the data sets have too few images for a split, there are no items for validation.

    Parameters
    ----------
    card : ClickModelCard
        Card of the click model, for messages.
    data : TrainingData
        Data sets with their split.
    clicks : Path or None
        Table of recorded clicks, see `COMMON_OPTIONS`.
    masks : Path or None
        Folder of previous masks, see `COMMON_OPTIONS`.

    Raises
    ------
    ProtocolError
        If no table is given and a data set contains no clicks, or if a folder is given instead of a table.
    DataError
        If the clicks cannot be read or do not fit the data sets.
    """
    if clicks is not None and clicks.is_dir():
        raise ProtocolError(
            f"training of {card.name}: clicks={clicks} is a folder; expected a CSV file. For a What's the Point folder "
            f"use the data set {NAME}:split=all,root={clicks}, which contains its clicks, and leave out the option"
        )
    table = None if clicks is None else read_table(clicks)
    train: list[ClickItem] = []
    validation: list[ClickItem] = []
    for part in data.parts:
        items = _contained_clicks(card, part) if table is None else human_items(table, part.dataset, masks)
        train += [item for item in items if item.sample in part.train_names]
        validation += [item for item in items if item.sample in part.validation_names]
    return train, [] if data.overlaps else validation


def _contained_clicks(card: ClickModelCard, part: SplitDataset) -> list[ClickItem]:
    """Return the clicks that are part of a data set."""
    name, root = part.dataset.card.name, part.dataset.root
    if name != NAME or root is None:
        raise ProtocolError(
            f"training of {card.name}: the data set {name} contains no clicks; pass a file of recorded clicks on it: "
            f"{card.name}:clicks=FILE.csv"
        )
    return [item for split in SPLITS for item in voc_items(root, split)]


def fit_cues(
    card: ClickModelCard,
    data: TrainingData,
    out: Path,
    file: str,
    *,
    settings: TrainingSettings,
    protocol: Protocol,
    report: Callable[[Progress], None],
    clicks: Path | None,
    masks: Path | None,
    sigma: float,
    folds: int,
) -> Result:
    """Fit the weights of the embedded model's cues and write them to `file` in the folder `out`.

    The fit is a convex problem with one solution, so the result has a single epoch. Its row contains the weights and
    the mean log-likelihood of a click minus that of the uniform density, in nats: on the training clicks (``gain``), in
    the cross-validation, and on the held-out clicks.

    Raises
    ------
    DataError
        If the clicks cannot be read, do not fit the data sets, or are all outside their errors.
    ProtocolError
        If the protocol is "compat" or an option does not apply to this training.
    """
    refuse_compat(card, protocol)
    settings.refuse(("epochs", "batch_size", "lr", "patience"), f"{card.name} is fitted in one step, without epochs")
    train, validation = read_items(card, data, clicks, masks)
    content = train_cues(train, validation, out, sigma=sigma, folds=folds, seed=settings.seed)
    facts = {name: float(value) for name, value in content["trained"].items() if name.endswith("gain")}
    row = {"epoch": 0.0, "score": facts.get("held_out_gain", facts["gain"]), **content["weights"], **facts}
    report(Progress(0, 1, 1, 1, -facts["gain"], row))
    return Result(out / file, 0, 1, (row,), stopped_early=False)


def train_click_network(
    card: ClickModelCard,
    data: TrainingData,
    out: Path,
    architecture: str,
    *,
    settings: TrainingSettings,
    protocol: Protocol,
    start: Path | None,
    report: Callable[[Progress], None],
    clicks: Path | None,
    masks: Path | None,
    sigma: float,
) -> Result:
    """Train a network with the recipe of the protocol, see `rclicks.clickability.training.network`.

    Raises
    ------
    DataError, ProtocolError, WeightsError
        As `read_items` and `rclicks.clickability.training.network.train_network`.
    """
    name = protocol.name
    recipe = Recipe(architecture=architecture, protocol=name, sigma=sigma, lr=settings.lr_or(LR[name]))
    loop = settings.for_loop(
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        patience=PATIENCE[name],
        workers=WORKERS,
        mixed=name != "compat",
        keep_epochs=name == "compat",
    )
    train, validation = read_items(card, data, clicks, masks)

    def learn() -> Result:
        return train_network(
            train, validation, recipe, loop, out, backbone=start, resume=settings.resume, report=report
        )

    if settings.threads is None:  # do not change torch's number of threads and its treatment of denormal numbers
        return learn()
    with cpu_settings(settings.threads):
        return learn()
