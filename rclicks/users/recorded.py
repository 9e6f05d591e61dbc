"""Replay of recorded clicks: real people, or an earlier run.

The file is a CSV with a header and the columns ``dataset, sample, object, user, round, y, x, positive`` in any order:
`dataset` is the registered name, `round` counts from 1 without gaps, `y` and `x` are the pixel (row, column) from 0,
`positive` is 1 or 0. Each `user` of an object plays one trajectory (the group in the records) and stops after the last
click.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from rclicks.cards import UserCard
from rclicks.errors import DataError, ProtocolError
from rclicks.interaction import Click, Interaction
from rclicks.protocol import Protocol
from rclicks.sample import Sample, Target
from rclicks.users.contract import Seat, User, View

__all__ = ["CARDS", "Recorded", "load"]

CARDS = (
    UserCard(
        name="recorded",
        summary="replays the clicks of a CSV file, one trajectory for each person who clicked on the object",
        options={"file": "PATH"},
    ),
)

COLUMNS = ("dataset", "sample", "object", "user", "round", "y", "x", "positive")
Key = tuple[str, str, str]


class Recorded(User):
    """Plays back what people did."""

    def __init__(self, card: UserCard, file: Path) -> None:
        self.card = card
        self.file = file
        self.options = {"file": str(file)}

    @cached_property
    def clicks(self) -> dict[Key, dict[str, list[Click]]]:
        """Clicks by (data set, sample, object) and person, in order; read at first use."""
        return read_clicks(self.file)

    def seats(self, sample: Sample, target: Target) -> Sequence[Seat]:
        """Return one seat a person who clicked on this object; none if nobody did."""
        return [Seat(person) for person in self.clicks.get((sample.dataset, sample.id, target.id), {})]

    def next(self, view: View) -> Interaction | None:
        """Return the person's next click, or None after the last.

        Raises
        ------
        DataError
            If the click lies outside the image.
        """
        clicks = self.clicks[(view.sample.dataset, view.sample.id, view.target.id)][view.seat.group]
        if len(view.history) >= len(clicks):
            return None
        click = clicks[len(view.history)]
        height, width = view.facts.mask.shape
        if not (0 <= click.point[0] < height and 0 <= click.point[1] < width):
            raise DataError(
                f"{self.file}: click {len(view.history) + 1} of user {view.seat.group!r} on {view.sample.dataset}/"
                f"{view.sample.id}/{view.target.id} is at y, x = {click.point}, outside the {height} x {width} image"
            )
        return click


def read_clicks(file: Path) -> dict[Key, dict[str, list[Click]]]:
    """Read a click file.

    Raises
    ------
    DataError
        If the file or a column is missing, a value is no number, or rounds have gaps; names file and line.
    """
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise DataError(
            f"click file {file} does not exist; expected a CSV with columns {', '.join(COLUMNS)}"
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"click file {file} is not a readable CSV: {error}") from error
    missing = [c for c in COLUMNS if c not in frame.columns]
    unknown = [c for c in frame.columns if c not in COLUMNS]
    if missing or unknown:
        raise DataError(
            f"click file {file}: missing columns {missing}, unknown columns {unknown}; expected {', '.join(COLUMNS)}"
        )
    for column in ("round", "y", "x", "positive"):
        numbers = pd.to_numeric(frame[column], errors="coerce")
        allowed = numbers.isin([0, 1]) if column == "positive" else numbers.notna() & (numbers % 1 == 0)
        if not allowed.all():
            line = int(allowed.to_numpy().argmin())
            raise DataError(
                f"click file {file}, line {line + 2}: {column} is {frame[column][line]!r}; expected "
                f"{'1 or 0' if column == 'positive' else 'a whole number'}"
            )
        frame[column] = numbers.astype(int)
    found: dict[Key, dict[str, list[Click]]] = {}
    for (dataset, sample, target, person), rows in frame.groupby(["dataset", "sample", "object", "user"], sort=False):
        ordered = rows.sort_values("round")
        if list(ordered["round"]) != list(range(1, len(ordered) + 1)):
            raise DataError(
                f"click file {file}: rounds of user {person!r} on {dataset}/{sample}/{target} are "
                f"{list(ordered['round'])}; expected 1, 2, 3 ... without gaps or repeats"
            )
        clicks = [Click((int(r.y), int(r.x)), bool(r.positive)) for r in ordered.itertuples()]
        found.setdefault((str(dataset), str(sample), str(target)), {})[str(person)] = clicks
    return found


def load(card: UserCard, *, protocol: Protocol, file: str | Path | None = None) -> Recorded:
    """Return a user that replays `file`.

    Raises
    ------
    ProtocolError
        If no file is named.
    """
    if file is None:
        raise ProtocolError("user recorded needs a file: recorded:file=clicks.csv")
    return Recorded(card, Path(file).expanduser())
