"""The click model that is included in the package: five cues with weights fitted to clicks of people.

The probability of a pixel x of the error E is E(x) exp(w . cues(x)), normalised over the error. The cues do not use the
content of the image, only its size:

* ``depth``: log(0.05 + d), where d is the distance to the outside of the error, divided by its maximum;
* ``spread``: distance to the centroid of the error in units of its extent in this direction (Mahalanobis distance);
* ``height``: signed height below the centroid in units of the vertical extent (people prefer the upper part);
* ``row``, ``column``: distance to the middle row and column of the image in units of its height and width.

The weights were fitted by maximum likelihood to clicks of the first round. Clicks of later rounds were not available,
so an error of a later round is treated like an object. docs/click-models.md describes data, recipe and results.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ClickModelCard
from rclicks.clickability.contract import ClickMap, ClickMapQuery, ClickModel
from rclicks.errors import WeightsError
from rclicks.models.weights import checkpoint_id
from rclicks.options import Option
from rclicks.protocol import Protocol

if TYPE_CHECKING:
    from rclicks.training.contract import TrainingData, TrainingSettings
    from rclicks.training.loop import Progress, Result

__all__ = [
    "CARDS",
    "CUES",
    "FORMAT",
    "WEIGHTS",
    "CueModel",
    "Cues",
    "cues",
    "load",
    "read_weights",
    "shipped_weights",
    "train",
    "training_options",
]

CARDS = (
    ClickModelCard(
        name="clickability-mini",
        summary="five geometric cues with weights fitted to 1,677 human clicks on VOC objects; included in the package",
        source="trained here on the What's the Point clicks",
        licence="Apache-2.0; the clicks have no stated licence, their authors ask for the citation",
        citation="Bearman et al.: What's the point: semantic segmentation with point supervision, ECCV 2016",
        parameters=5,
        trained_on=("VOC_clicks",),
        trainable=True,
    ),
)

CUES = ("depth", "spread", "height", "row", "column")
FORMAT = "rclicks cue model 1"
WEIGHTS = Path(__file__).parents[1] / "assets" / "clickability" / "clickability-mini.json"
DEPTH_FLOOR = 0.05
PIXEL_VARIANCE = 1 / 12  # variance of a point within its pixel; keeps the extent of a one-pixel-wide error above 0
INSIDE = 0.5  # pixels of a soft error above this value count as inside for the distance transform


@dataclass(frozen=True, eq=False)
class Cues:
    """The pixels of one error and their cues.

    Attributes
    ----------
    rows, columns : (n,) int arrays
        Indices of the pixels.
    weight : (n,) float64 array
        Degree to which each pixel belongs to the error, in (0, 1].
    values : (n, 5) float32 array
        Cues in the order of `CUES`.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    weight: NDArray[np.float64]
    values: NDArray[np.float32]

    def scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weighted sum of the cues, (n,): the logarithm of the density up to a constant."""
        total = np.zeros(len(self.values))
        for column, weight in zip(self.values.T, weights, strict=True):
            total += weight * column
        return total

    def density(self, scores: NDArray[np.floating[Any]], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the (H, W) map that is proportional to weight * exp(score) and sums to 1; all 0 without pixels."""
        made = np.zeros(shape, np.float32)
        if len(self.weight):
            mass = self.weight * np.exp(scores - scores.max())
            made[self.rows, self.columns] = mass / mass.sum()
        return made


def cues(error: NDArray[Any]) -> Cues:
    """Return the cues of the pixels of an (H, W) error, bool or float in [0, 1]; an empty error has no pixels."""
    height, width = error.shape
    box = _box(error > 0)
    part = error[box]
    rows, columns = np.nonzero(part > 0)
    weight = part[rows, columns].astype(np.float64)
    values = np.empty((len(rows), len(CUES)), np.float32)
    if not len(rows):
        return Cues(rows, columns, weight, values)
    inside = part if part.dtype == np.bool_ else part > INSIDE
    depth = _depth(inside if inside.any() else part > 0)[rows, columns]
    rows, columns = rows + box[0].start, columns + box[1].start
    share = weight / weight.sum()
    # There are no matrix products here, because their last bits depend on the memory alignment of the operands.
    down, right = rows - (share * rows).sum(), columns - (share * columns).sum()
    down_var = (share * down**2).sum() + PIXEL_VARIANCE
    right_var = (share * right**2).sum() + PIXEL_VARIANCE
    both = (share * down * right).sum()
    square = (right_var * down**2 - 2 * both * down * right + down_var * right**2) / (down_var * right_var - both**2)
    values[:, 0] = np.log(depth + DEPTH_FLOOR)
    values[:, 1] = np.sqrt(np.maximum(square, 0))
    values[:, 2] = down / math.sqrt(down_var)
    values[:, 3] = np.abs((rows + 0.5) / height - 0.5)
    values[:, 4] = np.abs((columns + 0.5) / width - 0.5)
    return Cues(rows, columns, weight, values)


def _depth(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distance to the outside divided by its maximum; pixels beyond the image border count as outside.

    The last bits of OpenCV's square roots depend on the memory alignment. Squared distances are integers, so rounding
    them removes this difference.
    """
    framed = cv2.copyMakeBorder(inside.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    rough = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1].astype(np.float64)
    exact = np.sqrt(np.rint(rough**2))
    return np.asarray(exact / exact.max())


def _box(inside: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the smallest rectangle that contains all true pixels; it is empty if there are none."""
    left, top, width, height = cv2.boundingRect(inside.view(np.uint8))
    return slice(top, top + height), slice(left, left + width)


def read_weights(path: Path) -> NDArray[np.float64]:
    """Return the (5,) weights of the cues in the order of `CUES`.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or of another format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"weights {path} of clickability-mini cannot be read: {error}") from error
    except ValueError as error:
        raise WeightsError(f"weights {path} are damaged: no JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise WeightsError(f"{path} is no weight file of a cue model: expected JSON with format {FORMAT!r}")
    weights = content.get("weights")
    if not isinstance(weights, dict) or set(weights) != set(CUES):
        raise WeightsError(f"{path}: expected weights for exactly {', '.join(CUES)}; found {weights!r}")
    values = [weights[name] for name in CUES]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values):
        raise WeightsError(f"{path}: weights must be finite numbers; found {weights!r}")
    return np.array(values, np.float64)


class CueModel(ClickModel):
    """A log-linear density over the pixels of the error.

    Parameters
    ----------
    card : ClickModelCard
        Facts about the click model.
    weights : (5,) float64 array
        Weights in the order of `CUES`.
    identity : str
        Identity of the weight file.
    """

    def __init__(self, card: ClickModelCard, weights: NDArray[np.float64], identity: str = "none") -> None:
        self.card, self.weights, self.checkpoint_id = card, weights, identity

    def maps(self, prepared: Any, queries: Sequence[ClickMapQuery]) -> list[ClickMap]:
        """Return one (H, W) float32 density for each query. It sums to 1, and it is all 0 for an empty error."""
        found = [cues(query.error) for query in queries]
        return [c.density(c.scores(self.weights), a.error.shape) for c, a in zip(found, queries, strict=True)]


def load(
    card: ClickModelCard,
    *,
    checkpoint: str | Path | None = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
) -> CueModel:
    """Return the click model. It needs no network library and always runs on the CPU.

    Parameters
    ----------
    checkpoint : path or None
        Weight file that `rclicks train clickability-mini` wrote; None uses the file in the package.

    Raises
    ------
    WeightsError
        If the file is missing, damaged or of another format.
    """
    path = WEIGHTS if checkpoint is None else Path(checkpoint).expanduser()
    weights = read_weights(path)
    return CueModel(card, weights, checkpoint_id(path, card))


def shipped_weights(card: ClickModelCard) -> str:
    """Return the identity of the weights in the package, for the records."""
    return checkpoint_id(WEIGHTS, card)


def training_options(card: ClickModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of a training."""
    from rclicks.clickability.training.hooks import COMMON_OPTIONS, FOLDS

    return {**COMMON_OPTIONS, "folds": FOLDS}


def train(
    card: ClickModelCard,
    data: TrainingData,
    out: Path,
    *,
    settings: TrainingSettings,
    protocol: Protocol,
    start: Path | None,
    report: Callable[[Progress], None],
    **options: Any,
) -> Result:
    """Fit the weights of the cues to recorded clicks, which takes seconds; `load` takes the written file as checkpoint.

    Raises
    ------
    DataError, ProtocolError
        As `rclicks.clickability.training.hooks.fit_cues`.
    """
    from rclicks.clickability.training.hooks import fit_cues

    return fit_cues(card, data, out, WEIGHTS.name, settings=settings, protocol=protocol, report=report, **options)
