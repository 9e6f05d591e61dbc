"""Session of one visitor of the demo: an image, a model, clicks, and undone clicks.

A session is immutable. Each action returns a new session, and nothing else is stored. So visitors cannot influence each
other, and an undone click has no effect on later predictions.

>>> import numpy as np
>>> session = Session(Sample("folder", "cat", np.zeros((4, 6, 3), np.uint8)), "geodesic")
>>> session = session.place(Click((1, 5))).place(Click((3, 0), positive=False))
>>> session.undo().clicks, session.undo().redo() == session
((Click(point=(1, 5), positive=True),), True)
>>> print(session.log().strip())
dataset,sample,object,user,round,y,x,positive
folder,cat,0,demo,1,1,5,1
folder,cat,0,demo,2,3,0,0
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace

from rclicks.errors import DataError, ProtocolError
from rclicks.interaction import Click, check_inside
from rclicks.metrics.target import TargetReference
from rclicks.sample import Mask, Sample, Target
from rclicks.users.robot import next_click

__all__ = ["COLUMNS", "PERSON", "Session"]

COLUMNS = ("dataset", "sample", "object", "user", "round", "y", "x", "positive")
PERSON = "demo"


@dataclass(frozen=True)
class Session:
    """Session of one visitor.

    Attributes
    ----------
    sample : Sample
        2-D image. Its targets, if any, contain the reference masks for the scores.
    model : str
        Spec of the model, such as "geodesic" or "spa:checkpoint=FILE".
    clicks : tuple of Click
        Clicks, oldest first.
    undone : tuple of Click
        Undone clicks; `redo` places the last one of them first.
    object : int
        0-based index of the object among the targets of the sample.

    Raises
    ------
    DataError
        If the sample is a volume.
    ProtocolError
        If the sample has no object with this index.
    """

    sample: Sample
    model: str
    clicks: tuple[Click, ...] = ()
    undone: tuple[Click, ...] = ()
    object: int = 0

    def __post_init__(self) -> None:
        """Refuse volumes and objects that the sample does not have."""
        if len(self.sample.shape) != 2:
            raise DataError(
                f"{self.sample.dataset}/{self.sample.id} has shape {self.sample.shape}; the demo shows images with two "
                "axes, so open a slice of the volume"
            )
        if not 0 <= self.object < max(1, len(self.sample.targets)):
            raise ProtocolError(
                f"{self.sample.dataset}/{self.sample.id} has {len(self.sample.targets)} objects; there is no object "
                f"{self.object} (counted from 0)"
            )

    @property
    def target(self) -> Target | None:
        """The object to segment; None if there is no reference mask."""
        return self.sample.targets[self.object] if self.sample.targets else None

    def place(self, click: Click) -> Session:
        """Add a click, and drop all undone clicks.

        Raises
        ------
        ProtocolError
            If the click lies outside the image.
        """
        check_inside(click, self.sample.shape)
        return replace(self, clicks=(*self.clicks, click), undone=())

    def undo(self) -> Session:
        """Remove the last click, and keep it as an undone click.

        Raises
        ------
        ProtocolError
            If there is no click.
        """
        if not self.clicks:
            raise ProtocolError("there is no click to undo; place one first")
        return replace(self, clicks=self.clicks[:-1], undone=(*self.undone, self.clicks[-1]))

    def redo(self) -> Session:
        """Place the click that was undone last again.

        Raises
        ------
        ProtocolError
            If there is no undone click.
        """
        if not self.undone:
            raise ProtocolError("there is no click to redo; undo one first")
        return replace(self, clicks=(*self.clicks, self.undone[-1]), undone=self.undone[:-1])

    def clear(self) -> Session:
        """Remove all clicks and all undone clicks."""
        return replace(self, clicks=(), undone=())

    def reference(self, rater: str) -> TargetReference:
        """Return the reference mask of one rater in the form that metrics and users take.

        Raises
        ------
        DataError
            If there is no reference mask of this rater.
        """
        if self.target is None:
            raise DataError(f"{self.sample.id} has no reference mask; load one with the image")
        if rater not in self.target.raters:
            raise DataError(
                f"nobody named {rater!r} drew {self.sample.id}; its raters are {', '.join(self.target.raters)}"
            )
        return TargetReference(self.target.mask(rater), self.target.ignore, self.sample.spacing)

    def drew(self) -> dict[str, TargetReference]:
        """Return the reference masks of the raters who drew something, by rater; {} if there are none."""
        found = {} if self.target is None else {rater: self.reference(rater) for rater in self.target.raters}
        return {rater: reference for rater, reference in found.items() if reference.window is not None}

    def suggest(self, rater: str, mask: Mask) -> Click | None:
        """Return the click of the base rule: the centre of the largest error; None if no error pixel is left.

        Parameters
        ----------
        rater : str
            Name of the followed rater.
        mask : (H, W) bool array
            Current prediction.

        Raises
        ------
        DataError
            If there is no reference mask of this rater.
        """
        return next_click(self.reference(rater), mask, [c.point for c in self.clicks])

    def log(self) -> str:
        """Return the clicks as CSV in the plain layout, which the user `recorded` can replay."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        name = "0" if self.target is None else self.target.id
        for number, click in enumerate(self.clicks, 1):
            place = (self.sample.dataset, self.sample.id, name, PERSON, number)
            writer.writerow((*place, *click.point, int(click.positive)))
        return text.getvalue()
