"""What one visitor of the demo has done: an image, a model, clicks, and what was undone.

A session is a value. Each act returns a new one, nothing is kept elsewhere, so visitors cannot disturb each other and
an undone click leaves no trace.

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
    """Where one visitor stands.

    Attributes
    ----------
    sample : Sample
        An image of two axes; its targets, if any, are what the clicks are scored against.
    model : str
        A model as the command line names it, such as "geodesic" or "spa:checkpoint=FILE".
    clicks : tuple of Click
        Oldest first.
    undone : tuple of Click
        What `redo` brings back, the next one last.
    object : int
        Which of the sample's targets is meant, from 0.
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
                f"{self.sample.dataset}/{self.sample.id} has shape {self.sample.shape}; the demo shows images of two "
                "axes, so give it a slice"
            )
        if not 0 <= self.object < max(1, len(self.sample.targets)):
            raise ProtocolError(
                f"{self.sample.dataset}/{self.sample.id} has {len(self.sample.targets)} objects, so there is no "
                f"number {self.object}; they are counted from 0"
            )

    @property
    def target(self) -> Target | None:
        """The object that is to be segmented; None if no reference is known."""
        return self.sample.targets[self.object] if self.sample.targets else None

    def place(self, click: Click) -> Session:
        """Add a click; what was undone is forgotten.

        Raises
        ------
        ProtocolError
            If it lies outside of the image.
        """
        check_inside(click, self.sample.shape)
        return replace(self, clicks=(*self.clicks, click), undone=())

    def undo(self) -> Session:
        """Take the last click back.

        Raises
        ------
        ProtocolError
            If there is none.
        """
        if not self.clicks:
            raise ProtocolError("there is no click to undo; place one first")
        return replace(self, clicks=self.clicks[:-1], undone=(*self.undone, self.clicks[-1]))

    def redo(self) -> Session:
        """Place the click again that was undone last.

        Raises
        ------
        ProtocolError
            If there is none.
        """
        if not self.undone:
            raise ProtocolError("there is no click to redo; undo one first")
        return replace(self, clicks=(*self.clicks, self.undone[-1]), undone=self.undone[:-1])

    def clear(self) -> Session:
        """Forget all clicks."""
        return replace(self, clicks=(), undone=())

    def reference(self, rater: str) -> TargetReference:
        """Return a rater's mask of the object, as metrics and users want it.

        Raises
        ------
        DataError
            If there is no reference, or not of that rater.
        """
        if self.target is None:
            raise DataError(f"{self.sample.id} has no reference mask; load one with the image")
        if rater not in self.target.raters:
            raise DataError(
                f"nobody named {rater!r} drew {self.sample.id}; its raters are {', '.join(self.target.raters)}"
            )
        return TargetReference(self.target.mask(rater), self.target.ignore, self.sample.spacing)

    def drew(self) -> dict[str, TargetReference]:
        """Return the masks of the raters who drew something, by rater; {} without a reference."""
        found = {} if self.target is None else {rater: self.reference(rater) for rater in self.target.raters}
        return {rater: reference for rater, reference in found.items() if reference.window is not None}

    def suggest(self, rater: str, mask: Mask) -> Click | None:
        """Return the click of the base rule: the centre of the largest error; None if no error pixel is left.

        Parameters
        ----------
        rater : str
            Whose mask is the truth.
        mask : (H, W) bool array
            The present prediction.

        Raises
        ------
        DataError
            If there is no reference, or not of that rater.
        """
        return next_click(self.reference(rater), mask, [c.point for c in self.clicks])

    def log(self) -> str:
        """Return the clicks as CSV in the plain layout, which the user `recorded` plays back."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        name = "0" if self.target is None else self.target.id
        for number, click in enumerate(self.clicks, 1):
            place = (self.sample.dataset, self.sample.id, name, PERSON, number)
            writer.writerow((*place, *click.point, int(click.positive)))
        return text.getvalue()
