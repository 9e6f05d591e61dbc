"""Find the folder of a data set or a file of clicks; errors say which places were searched and how to get the data."""

from __future__ import annotations

import os
from pathlib import Path

from rclicks.cards import DatasetCard
from rclicks.config import Config
from rclicks.errors import DataError, MissingDataError

__all__ = ["resolve", "resolve_file"]


def resolve(card: DatasetCard, root: Path | None, data_root: Path | None, config: Config) -> Path | None:
    """Return the folder of a data set, or None for a data set that needs no files.

    Parameters
    ----------
    card : DatasetCard
        Facts about the data set.
    root : Path or None
        Folder of the data set, if the caller knows it. Then no other place is searched.
    data_root : Path or None
        Parent folder of several data sets (``--data-root``).
    config : Config
        Configuration with further places.

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
    where = ", ".join(str(p) for p in looked) or "no folder, because none is configured"
    raise DataError(
        f"data set {card.name} not found. Looked for {where}. Expected there: {card.layout}. {card.get} "
        f"Then set the folder by {variable} (or root=FOLDER), or its parent by --data-root or RCLICKS_DATA_ROOT, or "
        "either in rclicks.yaml."
    )


def resolve_file(name: str, data_root: Path | None, config: Config) -> Path:
    """Return the path of a file: an absolute path itself, else in the current folder, else in the data root.

    Parameters
    ----------
    name : str
        Path as written in a benchmark; ``~`` is the home folder.
    data_root : Path or None
        Parent folder of the data sets (``--data-root``); it is searched before those of the configuration.
    config : Config
        Configuration with further places.

    Returns
    -------
    Path
        Path that exists; it may still be unreadable.

    Raises
    ------
    MissingDataError
        If there is no such file. The message contains every place that was searched.
    """
    path = Path(name).expanduser()
    roots = [] if path.is_absolute() else config.data_roots(data_root)
    looked = [path, *(root / path for root in roots)]
    for place in looked:
        if os.path.exists(place):  # unlike Path.exists, it returns False in a folder without search permission
            return place
    where = ", ".join(str(Path.cwd() / place) for place in looked)
    root = "" if roots or path.is_absolute() else ", and no data root is set"
    raise MissingDataError(
        f"file {name} does not exist: looked for {where}{root}. Put it there, or pass its path; the data root is set "
        "by --data-root, RCLICKS_DATA_ROOT or rclicks.yaml."
    )
