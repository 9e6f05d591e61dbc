"""Replay of recorded clicks, for example of real people.

The file is a CSV file in one of the layouts of `rclicks.human_clicks.tables`. Each person who clicked on an object is
one trajectory, which ends after the last click. The name of the person is the group in the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclicks.cards import UserCard
from rclicks.errors import DataError, ProtocolError
from rclicks.human_clicks.tables import HumanClicks
from rclicks.interaction import Interaction
from rclicks.protocol import Protocol
from rclicks.sample import Sample, Target
from rclicks.users.contract import TrajectorySpec, User, View

__all__ = ["CARDS", "Recorded", "load"]

CARDS = (
    UserCard(
        name="recorded",
        summary="replays the clicks of a CSV file, one trajectory for each person who clicked on the object",
        options={"file": "PATH"},
        files=("file",),
    ),
)


class Recorded(User):
    """Replay the clicks of people."""

    def __init__(self, card: UserCard, human_clicks: HumanClicks) -> None:
        self.card, self.human_clicks = card, human_clicks
        self.options = {"file": str(human_clicks.file)}

    def identity(self) -> dict[str, Any]:
        """Return the hash of the file, so that a run with an edited file has another identity."""
        return {"sha256": self.human_clicks.digest}

    def trajectories(self, sample: Sample, target: Target) -> Sequence[TrajectorySpec]:
        """Return one trajectory for each person who clicked on this object; () if there is none."""
        return [TrajectorySpec(person) for person in self.human_clicks.of(sample, target)]

    def next(self, view: View) -> Interaction | None:
        """Return the next click of the person, or None after the last click.

        Raises
        ------
        DataError
            If the click lies outside the image.
        """
        clicks = self.human_clicks.of(view.sample, view.target)[view.trajectory.group]
        if len(view.history) >= len(clicks):
            return None
        click = clicks[len(view.history)]
        height, width = view.reference.mask.shape
        if not (0 <= click.point[0] < height and 0 <= click.point[1] < width):
            raise DataError(
                f"{self.human_clicks.file}: click {len(view.history) + 1} of user {view.trajectory.group!r} on "
                f"{view.sample.dataset}/{view.sample.id}/{view.target.id} is at y, x = {click.point}, outside the "
                f"{height} x {width} image"
            )
        return click


def load(card: UserCard, *, protocol: Protocol, file: str | Path | None = None) -> Recorded:
    """Return a user that replays `file`.

    Raises
    ------
    ProtocolError
        If no file is given.
    DataError
        If the file cannot be read.
    """
    if file is None:
        raise ProtocolError("user recorded needs a file: recorded:file=clicks.csv")
    return Recorded(card, HumanClicks(Path(file).expanduser()))
