"""What the trainings of click models share: where the clicks come from, and which of them are for validation.

The clicks are a table of real clicks (option ``clicks``) on the data sets of the training, or, without one, those that
the data set VOC_clicks brings along.
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
    "clicks": PathOption(None, help=f"CSV of real clicks on the data sets (default: those that {NAME} brings along)"),
    "masks": PathOption(None, help="folder of previous masks, for clicks of later rounds"),
    "sigma": Number(5.0, 0.001, 1000, help="blur of the clicks, in pixels of a 1920 x 1080 image"),
}
FOLDS = Number(5, 0, 1000, whole=True, help="folds of the cross-validation; 0 for none")

EPOCHS, BATCH_SIZE, WORKERS = 20, 16, 2
LR = {"default": 5e-4, "compat": 0.01}
PATIENCE = {"default": 8, "compat": None}


def read_items(
    card: ClickModelCard, data: TrainingData, clicks: Path | None, masks: Path | None
) -> tuple[list[ClickItem], list[ClickItem]]:
    """Return items to learn from and items to validate with; no image is in both.

    Where the data sets have too few images to hold any out, there are no items to validate with.

    Parameters
    ----------
    card : ClickModelCard
        For messages.
    data : TrainingData
    clicks, masks : Path or None
        See `COMMON_OPTIONS`.

    Raises
    ------
    ProtocolError
        If no clicks are named and a data set brings none along, or a folder is named in place of a table.
    DataError
        If the clicks cannot be read or do not fit the data sets.
    """
    if clicks is not None and clicks.is_dir():
        raise ProtocolError(
            f"training of {card.name}: clicks={clicks} is a folder; expected a CSV file. A What's the Point folder is "
            f"the data set {NAME}:split=all,root={clicks}, which brings its clicks along: leave out the option"
        )
    table = None if clicks is None else read_table(clicks)
    train: list[ClickItem] = []
    validation: list[ClickItem] = []
    for part in data.parts:
        items = _own_clicks(card, part) if table is None else human_items(table, part.dataset, masks)
        train += [item for item in items if item.sample in part.train_names]
        validation += [item for item in items if item.sample in part.validation_names]
    return train, [] if data.overlaps else validation


def _own_clicks(card: ClickModelCard, part: SplitDataset) -> list[ClickItem]:
    """Return the clicks that a data set brings along."""
    name, root = part.dataset.card.name, part.dataset.root
    if name != NAME or root is None:
        raise ProtocolError(
            f"training of {card.name}: {name} brings no clicks along; name a file of real clicks on it: "
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

    The fit is one convex problem with one answer, so the result has a single epoch. Its row holds the weights and the
    mean log-likelihood of a click above that of the uniform density, in nats: on the clicks learned from (``gain``),
    in cross-validation, and on the clicks held out.

    Raises
    ------
    DataError, ProtocolError
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
    """Train a network by the recipe of the protocol; see `rclicks.clickability.training.network`.

    Raises
    ------
    DataError, ProtocolError, WeightsError
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

    if settings.threads is None:  # torch's own number, and denormal numbers as they are
        return learn()
    with cpu_settings(settings.threads):
        return learn()
