"""Find the folder of a data set, or say what was looked for, where, and how to get it."""

from __future__ import annotations

from pathlib import Path

from rclicks.cards import DatasetCard
from rclicks.config import Config
from rclicks.errors import DataError

__all__ = ["resolve"]


def resolve(card: DatasetCard, root: Path | None, data_root: Path | None, config: Config) -> Path | None:
    """Return the root of a data set, or None for one that needs no files.

    Parameters
    ----------
    card : DatasetCard
    root : Path or None
        The set's own folder if the caller knows it; nothing else is then tried.
    data_root : Path or None
        Parent folder of several sets (``--data-root``).
    config : Config

    Raises
    ------
    DataError
        If no folder exists.
    """
    if not card.folder and root is None:
        return None
    looked = [root.expanduser()] if root is not None else config.root_candidates(card.name, card.folder, data_root)
    for path in looked:
        if path.is_dir():
            return path
    variable = "RCLICKS_ROOT_" + "".join(c if c.isalnum() else "_" for c in card.name).upper()
    where = ", ".join(str(p) for p in looked) or "no folder, for none is configured"
    raise DataError(
        f"data set {card.name} not found. Looked for {where}. Expected there: {card.layout}. {card.get} "
        f"Then name the folder by {variable} (or root=FOLDER), its parent by --data-root or RCLICKS_DATA_ROOT, or "
        "either in rclicks.yaml."
    )
