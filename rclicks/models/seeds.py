"""What the classical, weight-free models share: a working grid, seeds drawn from clicks, colour models, tidying.

All of them follow one recipe. `embed` shrinks the image to a *canvas*; `segment` draws the interactions as seeds
on the canvas, lets the method label it, enlarges the answer and tidies it. A method says only how seeds become
probabilities, in `SeededModel.solve`.

>>> stamp([Click((2, 2))], (5, 5), radius=1).tolist()[2]
[0, 1, 1, 1, 0]
"""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.errors import DataError, ProtocolError, WeightsError
from rclicks.interaction import Box, Click, Interaction, clicks_of
from rclicks.models.contract import Model, State
from rclicks.sample import Mask, Sample

__all__ = [
    "BACKGROUND",
    "COLOUR_OPTIONS",
    "COMMON_OPTIONS",
    "OBJECT",
    "Canvas",
    "Choice",
    "ColourModel",
    "Number",
    "SeededModel",
    "Seeds",
    "Step",
    "colour_bins",
    "neighbours",
    "read_options",
    "stamp",
    "tidy",
]

OBJECT, BACKGROUND = 1, -1

Seeds = NDArray[np.int8]
Probability = NDArray[np.float32]


@dataclass(frozen=True)
class Number:
    """An option that is a number within bounds (both allowed); `whole` asks for an integer."""

    default: float
    low: float
    high: float
    whole: bool = False

    def check(self, value: object) -> str:
        """Return what is allowed if `value` is not, else an empty string."""
        number = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        good = isinstance(value, (int, float)) and number and self.low <= value <= self.high
        return "" if good else f"{'an integer' if self.whole else 'a number'} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """An option that is one of a few values."""

    default: str | bool
    allowed: tuple[str | bool, ...]

    def check(self, value: object) -> str:
        """Return what is allowed if `value` is not, else an empty string."""
        good = any(value is a if isinstance(a, bool) else value == a for a in self.allowed)
        return "" if good else "one of " + ", ".join(str(a).lower() for a in self.allowed)


def read_options(model: str, known: Mapping[str, Number | Choice], given: Mapping[str, object]) -> dict[str, Any]:
    """Fill up the options given by a benchmark or caller with the defaults, and refuse what is not allowed.

    Raises
    ------
    ProtocolError
        If an option's name is unknown or its value is not allowed; the message names model, option, value and
        what is allowed.
    """
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ProtocolError(f"model {model}: unknown option {name!r}.{hint} Allowed: {', '.join(sorted(known))}")
        allowed = known[name].check(value)
        if allowed:
            raise ProtocolError(f"model {model}: option {name!r} is {value!r}; allowed is {allowed}")
    return {name: given.get(name, option.default) for name, option in known.items()}


@dataclass(frozen=True, eq=False)
class Canvas:
    """An image at the size a method works at.

    Attributes
    ----------
    full : tuple of int
        (height, width) of the original image.
    image : (h, w, 3) uint8 array, RGB
        Area-averaged; the original itself if that is no larger than asked for.
    lab : (h, w, 3) float32 array
        CIE L*a*b* of `image` (L 0..100), about equally spaced to the eye.
    extra : object
        What else the method computes from the image alone.
    """

    full: tuple[int, int]
    image: NDArray[np.uint8]
    lab: NDArray[np.float32]
    extra: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the canvas."""
        return self.image.shape[0], self.image.shape[1]

    @classmethod
    def of(cls, image: NDArray[np.generic], long_side: int) -> Canvas:
        """Shrink `image`, (H, W, 3) uint8 RGB, so that its longer side has at most `long_side` pixels.

        Raises
        ------
        DataError
            If the image is not (H, W, 3) uint8.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise DataError(
                f"classical models need an (H, W, 3) uint8 RGB image, not {image.dtype} of shape {image.shape}; "
                "slice volumes and convert grey or 16-bit images in the data set"
            )
        height, width = image.shape[:2]
        scale = min(1.0, long_side / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = np.ascontiguousarray(image)
        small = pixels if scale == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
        return cls((height, width), small, lab)


def stamp(clicks: Sequence[Click], shape: tuple[int, int], radius: float, full: tuple[int, int] | None = None) -> Seeds:
    """Draw every click as a disk of seeds.

    Where disks overlap, a pixel goes to the nearest click and, at equal distance, to the later one: so a click always
    labels its own pixel, and a click beside one of the other sign is not drowned by it.

    Parameters
    ----------
    clicks : sequence of Click
        Points in (row, column) of an image of shape `full`.
    shape : tuple of int
        (height, width) of the array to draw in.
    radius : float
        In pixels of that array; the click's own pixel is labelled whatever the radius.
    full : tuple of int, optional
        Shape of the clicks' own image if it differs from `shape`.

    Returns
    -------
    (h, w) int8 array
        `OBJECT` (1), `BACKGROUND` (-1) or 0 where no click is near.
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


def tidy(probability: Probability, clicks: Sequence[Click], radius: float, connected: bool) -> tuple[Mask, Probability]:
    """Make a full-size answer obey the clicks.

    1. Every click's own disk (see `stamp`) gets its label, probability 1 or 0.
    2. If `connected`, object parts (4-connected, probability > .5) without a positive click are dropped: their
       probability becomes .5, the most that does not count as object.

    Parameters
    ----------
    probability : (H, W) float32 array
        Changed in place.
    clicks : sequence of Click
        In pixels of the array. Without a positive click nothing is dropped.
    radius : float
        Of the disks, in pixels.
    connected : bool

    Returns
    -------
    mask : (H, W) bool array
    probability : (H, W) float32 array
    """
    seeds = stamp(clicks, (probability.shape[0], probability.shape[1]), radius)
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


@dataclass(frozen=True, eq=False)
class ColourModel:
    """Colour densities of the two labels: smoothed histograms, a fast form of Parzen windows.

    Attributes
    ----------
    object, background : (n, n, n) float64 arrays
        Density over the bins of `colour_bins`; each sums to one.
    """

    object: NDArray[np.float64]
    background: NDArray[np.float64]

    @classmethod
    def learn(
        cls, bins: NDArray[np.int32], count: int, inside: Mask, outside: Mask, width: float, floor: float
    ) -> ColourModel:
        """Learn from the pixels of two masks.

        Parameters
        ----------
        bins : (h, w) int32 array
            Flat bin of every pixel, see `colour_bins`.
        count : int
            Bins an axis.
        inside, outside : (h, w) bool arrays
            Where object and background are known; an empty one gives the uniform density.
        width : float
            Standard deviation of the smoothing, in bins.
        floor : float
            Share of the uniform density mixed into both, so that an unseen colour speaks for neither.
        """
        from scipy.ndimage import gaussian_filter

        densities = []
        for region in (inside, outside):
            density = np.bincount(bins[region], minlength=count**3).astype(np.float64).reshape(count, count, count)
            total = density.sum()
            if total:
                density = gaussian_filter(density / total, width, mode="nearest", truncate=3.0)
            densities.append(density * (1 - floor) + floor / count**3 if total else np.full_like(density, count**-3.0))
        return cls(*densities)

    def probability(self, bins: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return P(object | colour) of every pixel, at equal priors."""
        share = self.object / (self.object + self.background)
        return share.ravel()[bins]

    def log_odds(self, bins: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return log p(colour | object) - log p(colour | background) of every pixel."""
        return np.log(self.object / self.background).ravel()[bins]


def colour_bins(lab: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """Give every pixel the number of its bin in a cube of `count` bins a side that spans the colours of this image.

    Parameters
    ----------
    lab : (h, w, 3) float32 array
    count : int

    Returns
    -------
    (h, w) int32 array
        Flat index into a (count, count, count) array. All axes share one bin size: the longest extent / count.
    """
    low = lab.reshape(-1, 3).min(axis=0)
    extent = max(float((lab.reshape(-1, 3).max(axis=0) - low).max()), 1e-6)
    index = np.minimum(((lab - low) * np.float32(count / extent)).astype(np.int32), count - 1)
    return np.asarray((index[..., 0] * count + index[..., 1]) * count + index[..., 2], np.int32)


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


@dataclass(frozen=True, eq=False)
class Step:
    """All pairs of neighbours along one direction.

    Attributes
    ----------
    rows, columns : int
        From the first pixel of a pair to the second: (0, 1), (1, 0), (1, 1) or (1, -1).
    contrast : (h - rows, w - |columns|) float64 array
        Squared colour difference of every pair.
    """

    rows: int
    columns: int
    contrast: NDArray[np.float64]

    @property
    def length(self) -> float:
        """Distance of the two pixels."""
        return float(np.hypot(self.rows, self.columns))

    def ends(self, grid: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the values of an (h, w, ...) array at the first and at the second pixel of every pair."""
        height, width = grid.shape[:2]
        left, right = max(0, -self.columns), max(0, self.columns)
        first = grid[: height - self.rows, left : width - right]
        return first, grid[self.rows :, right : width - left]


def neighbours(lab: NDArray[np.float32], diagonal: bool = True) -> list[Step]:
    """List the neighbour pairs of an (h, w, 3) colour image, each pair once: 4 directions, or 2 without diagonals."""
    colours = lab.astype(np.float64)
    steps = []
    for rows, columns in ((0, 1), (1, 0), (1, 1), (1, -1))[: 4 if diagonal else 2]:
        first, second = Step(rows, columns, np.empty((0, 0))).ends(colours)
        steps.append(Step(rows, columns, np.square(first - second).sum(axis=-1)))
    return steps


class SeededModel(Model):
    """Base of the classical models: seeds in, probabilities out.

    Conventions shared by all:

    * Work is done on a copy whose longer side is `long_side` pixels, probabilities are enlarged bilinearly.
    * Each click is a disk of `radius` working pixels; nearer and later clicks win (`stamp`).
    * Methods need seeds of both labels. ``frame`` says whether the outermost pixels of the image are background seeds:
      "always" (the default, best by far on held-out images), "auto" as long as there is neither a negative click nor
      a box, or "never". A positive click's disk overrules the frame. Without any background seed all is object.
    * Outside of a box everything is background but for the disks of positive clicks; the latest box counts.
    * Without a positive click or a box the answer is the empty mask with probability 0 everywhere.
    * ``connected`` drops parts that hold no positive click (`tidy`).

    Attributes
    ----------
    OPTIONS : dict
        The options that the model takes, with defaults and bounds.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = COMMON_OPTIONS

    def __init__(self, card: ModelCard, checkpoint: object, options: Mapping[str, object]) -> None:
        if checkpoint is not None:
            raise WeightsError(
                f"model {card.name} has no weights, but checkpoint={checkpoint!r} was given; leave it out"
            )
        self.card = card
        self.device = "cpu"
        self.checkpoint_id = "none"
        self.options = read_options(card.name, self.OPTIONS, options)

    def embed(self, sample: Sample) -> Canvas:
        """Shrink the image and do what depends on it alone."""
        canvas = Canvas.of(sample.image, self.options["long_side"])
        return replace(canvas, extra=self.prepare(canvas))

    def prepare(self, canvas: Canvas) -> Any:
        """Return the method's own image-only work; nothing by default."""
        return None

    @abstractmethod
    def solve(self, canvas: Canvas, seeds: Seeds, state: State) -> NDArray[np.floating[Any]]:
        """Return P(object) of every canvas pixel, given `seeds` with at least one of either label or of a box."""

    def segment(self, embedding: Canvas, states: Sequence[State]) -> list[State]:
        """Answer every state by itself."""
        return [self._answer(embedding, state) for state in states]

    def _answer(self, canvas: Canvas, state: State) -> State:
        for interaction in state.interactions:
            _inside(interaction, canvas.full)
        clicks = clicks_of(state.interactions)
        boxes = [i for i in state.interactions if isinstance(i, Box)]
        if not boxes and not any(click.positive for click in clicks):
            return replace(state, mask=np.zeros(canvas.full, bool), probability=np.zeros(canvas.full, np.float32))
        small = np.clip(self.solve(canvas, self.seeds(canvas, clicks, boxes), state), 0, 1).astype(np.float32)
        height, width = canvas.full
        large = (
            cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR) if small.shape != canvas.full else small
        )
        if boxes:
            large[~_box_mask(boxes[-1], canvas.full)] = 0
        radius = self.options["radius"] * max(canvas.full) / max(canvas.shape)
        mask, probability = tidy(large, clicks, radius, self.options["connected"])
        return replace(state, mask=mask, probability=probability)

    def seeds(self, canvas: Canvas, clicks: Sequence[Click], boxes: Sequence[Box]) -> Seeds:
        """Draw the interactions on the canvas: `OBJECT`, `BACKGROUND` or 0."""
        seeds = stamp(clicks, canvas.shape, self.options["radius"], canvas.full)
        free = seeds == 0
        negative = any(not click.positive for click in clicks)
        frame: Literal["auto", "always", "never"] = self.options["frame"]
        if frame == "always" or (frame == "auto" and not negative and not boxes):
            edge = np.ones(canvas.shape, bool)
            edge[1:-1, 1:-1] = False
            seeds[edge & free] = BACKGROUND
        if boxes:
            outside = ~_box_mask(boxes[-1], canvas.full, canvas.shape)
            seeds[outside & free] = BACKGROUND
        return seeds


def _inside(interaction: Interaction, full: tuple[int, int]) -> None:
    """Refuse an interaction that does not lie in the image."""
    corners = (interaction.low, interaction.high) if isinstance(interaction, Box) else (interaction.point,)
    if not all(len(p) == 2 and 0 <= p[0] < full[0] and 0 <= p[1] < full[1] for p in corners):
        raise ProtocolError(
            f"{interaction} does not lie in an image of {full[0]} rows and {full[1]} columns; "
            "coordinates are (row, column) from (0, 0)"
        )


def _box_mask(box: Box, full: tuple[int, int], shape: tuple[int, int] | None = None) -> Mask:
    """Return the inside of `box` as a mask of `shape`, which covers the same image as `full`."""
    height, width = shape or full
    mask = np.zeros((height, width), bool)
    top, left = box.low[0] * height // full[0], box.low[1] * width // full[1]
    bottom, right = box.high[0] * height // full[0], box.high[1] * width // full[1]
    mask[top : bottom + 1, left : right + 1] = True
    return mask
