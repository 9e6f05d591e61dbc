"""Base of the classical 2-D models without weights: working image, seeds, and corrections of the result.

All of them have the same steps. `embed` shrinks the image to a *working image*. `segment` draws the interactions as
seeds on the working image, calls the method, enlarges its probabilities, and makes the result agree with the clicks. A
method defines only how seeds become probabilities, in `SeededModel.solve`.

>>> rasterize_clicks([Click((2, 2))], (5, 5), radius=1).tolist()[2]
[0, 1, 1, 1, 0]
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError
from rclicks.interaction import Box, Click, check_inside, clicks_of
from rclicks.models.contract import State
from rclicks.models.seeded.base import BACKGROUND, OBJECT, Classical, Probability, SeedMap
from rclicks.options import Choice, Number
from rclicks.sample import Mask, Sample

__all__ = ["COLOUR_OPTIONS", "COMMON_OPTIONS", "SeededModel", "WorkingImage", "enforce_seeds", "rasterize_clicks"]


@dataclass(frozen=True, eq=False)
class WorkingImage:
    """An image at the size at which a method computes.

    Attributes
    ----------
    full : tuple of int
        (height, width) of the original image.
    image : (h, w, 3) uint8 array
        RGB image, shrunk by area averaging; the original image if it is small enough.
    lab : (h, w, 3) float32 array
        CIE L*a*b* colours of `image` (L from 0 to 100). Equal distances look about equally different.
    extra : object
        Further data that the method computes from the image alone.
    """

    full: tuple[int, int]
    image: NDArray[np.uint8]
    lab: NDArray[np.float32]
    extra: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the working image."""
        return self.image.shape[0], self.image.shape[1]

    @classmethod
    def of(cls, image: NDArray[np.generic], long_side: int) -> WorkingImage:
        """Shrink `image`, (H, W, 3) uint8 RGB, so that its longer side has at most `long_side` pixels.

        Raises
        ------
        DataError
            If the image is not (H, W, 3) uint8.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise DataError(
                f"classical models need an (H, W, 3) uint8 RGB image, not {image.dtype} of shape {image.shape}; "
                "use a slice-wise model for volumes, and convert grey or 16-bit images in the data set"
            )
        height, width = image.shape[:2]
        scale = min(1.0, long_side / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = np.ascontiguousarray(image)
        small = pixels if scale == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
        return cls((height, width), small, lab)


def rasterize_clicks(
    clicks: Sequence[Click], shape: tuple[int, int], radius: float, full: tuple[int, int] | None = None
) -> SeedMap:
    """Draw every click as a disk of seeds.

    Where disks overlap, a pixel gets the label of the nearest click, and at equal distance that of the later click. So
    every click labels its own pixel, also beside a click of the other sign.

    Parameters
    ----------
    clicks : sequence of Click
        Clicks at (row, column) positions of an image of shape `full`.
    shape : tuple of int
        (height, width) of the seed map.
    radius : float
        Radius of the disks in pixels of the seed map. The pixel of the click is labelled at any radius.
    full : tuple of int, optional
        (height, width) of the image that was clicked, if it differs from `shape`.

    Returns
    -------
    (h, w) int8 array
        `OBJECT` (1), `BACKGROUND` (-1), or 0 where no click is near.
    """
    height, width = shape
    seeds = np.zeros(shape, np.int8)
    nearest = np.full(shape, np.inf)
    reach = int(radius)
    for click in clicks:
        row, column = click.point
        if full is not None:
            row, column = row * height // full[0], column * width // full[1]
        top, left = max(0, row - reach), max(0, column - reach)
        window = np.s_[top : row + reach + 1, left : column + reach + 1]
        rows, columns = np.ogrid[top : min(height, row + reach + 1), left : min(width, column + reach + 1)]
        distance = (rows - row) ** 2 + (columns - column) ** 2
        wins = (distance <= radius**2) & (distance <= nearest[window])
        nearest[window][wins] = distance[wins]
        seeds[window][wins] = OBJECT if click.positive else BACKGROUND
    return seeds


def enforce_seeds(
    probability: Probability, clicks: Sequence[Click], radius: float, connected: bool
) -> tuple[Mask, Probability]:
    """Make a result of full size agree with the clicks.

    1. The disk of every click (see `rasterize_clicks`) gets the label of the click: probability 1 or 0.
    2. If `connected`, object parts (4-connected, probability > .5) without a positive click are removed: their
       probability becomes .5, the highest value that does not count as object.

    Parameters
    ----------
    probability : (H, W) float32 array
        Probabilities of the object; changed in place.
    clicks : sequence of Click
        Clicks in pixels of the array. Without a positive click no part is removed.
    radius : float
        Radius of the disks in pixels.
    connected : bool
        Whether parts without a positive click are removed.

    Returns
    -------
    mask : (H, W) bool array
    probability : (H, W) float32 array
    """
    seeds = rasterize_clicks(clicks, (probability.shape[0], probability.shape[1]), radius)
    probability[seeds == OBJECT] = 1
    probability[seeds == BACKGROUND] = 0
    mask = probability > 0.5
    positive = [click.point for click in clicks if click.positive]
    if connected and positive:
        count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
        keep = np.zeros(count, bool)
        keep[[labels[point] for point in positive]] = True
        keep[0] = False
        kept = keep[labels]
        np.putmask(probability, mask & ~kept, np.float32(0.5))
        mask = kept
    return mask, probability


COMMON_OPTIONS: dict[str, Number | Choice] = {
    "long_side": Number(320, 32, 4096, whole=True),
    "radius": Number(5, 0, 50),
    "frame": Choice("always", ("auto", "always", "never")),
    "connected": Choice(True, (True, False)),
}
COLOUR_OPTIONS: dict[str, Number | Choice] = {
    "bins": Number(24, 4, 64, whole=True),
    "width": Number(1.0, 0, 10),
    "floor": Number(0.1, 1e-6, 1),
}


class SeededModel(Classical):
    """Base of the classical 2-D models, which compute probabilities from seeds.

    All of them follow these rules:

    * They compute on a working image whose longer side is at most `long_side` pixels. Probabilities are enlarged
      bilinearly.
    * Each click is a disk of `radius` pixels of the working image. Where disks overlap, the nearer and then the later
      click decides (`rasterize_clicks`).
    * Methods need seeds of both labels. ``frame`` says whether the outermost pixels of the image are background seeds:
      "always" (the default, by far the best on held-out images), "auto" as long as there is neither a negative click
      nor a box, or "never". The disk of a positive click has priority over the frame. Without any background seed the
      whole image is object.
    * Everything outside the latest box is background, except the disks of positive clicks.
    * Without a positive click or a box the result is the empty mask with probability 0 everywhere.
    * ``connected`` removes parts without a positive click (`enforce_seeds`).

    Attributes
    ----------
    OPTIONS : dict
        Options of the model with defaults and bounds.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = COMMON_OPTIONS

    def embed(self, sample: Sample) -> WorkingImage:
        """Return the working image with everything that depends on the image alone."""
        working = WorkingImage.of(sample.image, self.options["long_side"])
        return replace(working, extra=self.prepare(working))

    def prepare(self, working: WorkingImage) -> Any:
        """Return further data that the method computes from the image alone; None by default."""
        return None

    @abstractmethod
    def solve(self, working: WorkingImage, seeds: SeedMap, state: State) -> NDArray[np.floating[Any]]:
        """Return the probability of the object at every pixel of the working image, (h, w) floats.

        There is at least one positive click or a box.
        """

    def segment(self, embedding: WorkingImage, states: Sequence[State]) -> list[State]:
        """Predict every state independently."""
        return [self._answer(embedding, state) for state in states]

    def _answer(self, working: WorkingImage, state: State) -> State:
        for interaction in state.interactions:
            check_inside(interaction, working.full)
        clicks = clicks_of(state.interactions)
        boxes = [i for i in state.interactions if isinstance(i, Box)]
        if not boxes and not any(click.positive for click in clicks):
            return replace(state, mask=np.zeros(working.full, bool), probability=np.zeros(working.full, np.float32))
        small = np.clip(self.solve(working, self.seeds(working, clicks, boxes), state), 0, 1).astype(np.float32)
        height, width = working.full
        large = (
            cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR) if small.shape != working.full else small
        )
        if boxes:
            large[~_box_mask(boxes[-1], working.full)] = 0
        radius = self.options["radius"] * max(working.full) / max(working.shape)
        mask, probability = enforce_seeds(large, clicks, radius, self.options["connected"])
        return replace(state, mask=mask, probability=probability)

    def seeds(self, working: WorkingImage, clicks: Sequence[Click], boxes: Sequence[Box]) -> SeedMap:
        """Return the seed map of the interactions on the working image: `OBJECT`, `BACKGROUND` or 0."""
        seeds = rasterize_clicks(clicks, working.shape, self.options["radius"], working.full)
        free = seeds == 0
        negative = any(not click.positive for click in clicks)
        frame: Literal["auto", "always", "never"] = self.options["frame"]
        if frame == "always" or (frame == "auto" and not negative and not boxes):
            edge = np.ones(working.shape, bool)
            edge[1:-1, 1:-1] = False
            seeds[edge & free] = BACKGROUND
        if boxes:
            outside = ~_box_mask(boxes[-1], working.full, working.shape)
            seeds[outside & free] = BACKGROUND
        return seeds


def _box_mask(box: Box, full: tuple[int, int], shape: tuple[int, int] | None = None) -> Mask:
    """Return the inside of `box` as a mask of `shape`, which covers the same image as `full`."""
    height, width = shape or full
    mask = np.zeros((height, width), bool)
    top, left = box.low[0] * height // full[0], box.low[1] * width // full[1]
    bottom, right = box.high[0] * height // full[0], box.high[1] * width // full[1]
    mask[top : bottom + 1, left : right + 1] = True
    return mask
