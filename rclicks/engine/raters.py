"""Several raters: the reference masks that trajectories follow, and the scores of a prediction with all raters.

`followed` lists the reference masks of an object. `RaterScorer` scores a prediction with each single rater.
`MultiRaterScorer` computes the metrics that need all raters at once, for one prediction or for a set of predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError, InvalidPrediction
from rclicks.metrics.overlap import dice, iou
from rclicks.metrics.raters.catalogue import RATERS
from rclicks.metrics.raters.consensus import RULES, consensus
from rclicks.metrics.target import TargetReference
from rclicks.models.contract import Model, State
from rclicks.sample import Mask, Target

if TYPE_CHECKING:
    from rclicks.metrics.raters.scores import Prediction

__all__ = [
    "MultiRaterScorer",
    "RaterMasks",
    "RaterScorer",
    "followed",
    "prediction_of",
    "rater_masks",
]


def followed(target: Target, reference: Sequence[str], key: tuple[object, ...]) -> Iterator[tuple[str, Mask]]:
    """Yield (name, mask) of each reference mask that trajectories follow: raters or consensus masks.

    Parameters
    ----------
    target : Target
    reference : sequence of str
        "raters" for each rater, or names of consensus rules. If the object has one rater, the mask of this rater is
        yielded once for all rules.
    key : (seed, data set, sample)
        Key of the random numbers that the rule "majority-random" draws.

    Yields
    ------
    (str, bool array)
        Name of the rater or rule, and a mask of the shape of the image.

    Raises
    ------
    DataError
        If a rater has the name of a rule, because records could not distinguish them.
    """
    if len(target.raters) == 1:
        yield target.raters[0], target.masks[0]
        return
    if same := sorted({"raters", *RULES} & {*target.raters}):
        raise DataError(
            f"object {target.id} has a rater named {', '.join(same)}, which is the name of a consensus rule; give the "
            "rater another name (in a folder of masks: rename the rater's folder or file)"
        )
    seed, *names = key
    for rule in reference:
        if rule == "raters":
            yield from zip(target.raters, target.masks, strict=True)
        else:
            yield rule, _agreed(target, rule, int(str(seed)), (*names, target.id))


def _agreed(target: Target, rule: str, seed: int, names: Sequence[object]) -> Mask:
    """Return a consensus mask. Ignored pixels are not used to compute it and are never part of it."""
    if target.ignore is None or not target.ignore.any():
        return consensus(list(target.masks), rule, seed=seed, names=names)
    counted = ~target.ignore
    found = np.zeros(counted.shape, bool)
    found[counted] = consensus([mask[counted] for mask in target.masks], rule, seed=seed, names=names)
    return found


RaterMasks = tuple[tuple[str, TargetReference], ...]


def rater_masks(target: Target, spacing: Sequence[float]) -> RaterMasks:
    """Return (name, mask with cached facts) of each rater. A rater who drew nothing has an empty mask."""
    masks = (TargetReference(mask, target.ignore, spacing) for mask in target.masks)
    return tuple(zip(target.raters, masks, strict=True))


class RaterScorer:
    """Score predictions of one object with each of its raters.

    Parameters
    ----------
    raters : RaterMasks
        Result of `rater_masks`.
    truth : bool array
        The followed reference mask: the mask of a rater or a consensus.
    """

    def __init__(self, raters: RaterMasks, truth: Mask) -> None:
        self._raters = raters
        self._same = {
            "raters": [name for name, _ in raters],
            "rater_area": [f.area for _, f in raters],
            "followed_dice": [dice(f, truth) for _, f in raters],
        }

    def score(self, prediction: Mask) -> dict[str, Any]:
        """Return the columns of a round: raters, their areas, and the scores of prediction and followed mask with each.

        Under every protocol, two empty masks have the score 1, and one empty mask has the score 0.
        """
        scores = {
            "rater_iou": [iou(f, prediction) for _, f in self._raters],
            "rater_dice": [dice(f, prediction) for _, f in self._raters],
        }
        return self._same | scores


class MultiRaterScorer:
    """Compute metrics of all raters for one object. Consensus masks are computed once, when they are first needed.

    Parameters
    ----------
    names : sequence of str
        Names of metrics of `rclicks.metrics.raters.catalogue`.
    target : Target
        Object with several raters.
    spacing : sequence of float
        Size of a pixel or voxel along each axis in mm.
    """

    def __init__(self, names: Sequence[str], target: Target, spacing: Sequence[float]) -> None:
        from rclicks.metrics.raters.scores import (
            RaterReference,  # it needs SciPy's statistics, which are slow to import
        )

        self._names = tuple(names)
        self._of_sets = any(RATERS[name].level == "set" for name in names)
        self._facts = RaterReference(target.masks, target.ignore, spacing)

    def score(self, model: Model, embedding: Any, state: State) -> dict[str, Any]:
        """Return the columns of a round. The model computes a set of predictions only if a metric needs one.

        Parameters
        ----------
        model : Model
        embedding : object
            Result of `model.embed`.
        state : State
            The state with the prediction to be scored.

        Raises
        ------
        InvalidPrediction
            If the samples of the model are not a set of probability maps.
        """
        from rclicks.metrics.raters.scores import score_raters

        samples = model.samples(embedding, state) if self._of_sets else None
        prediction = prediction_of(state, samples, model.card.threshold)
        size = {"set_size": len(prediction.masks)} if self._of_sets else {}
        return score_raters(self._names, self._facts, prediction) | size


def prediction_of(state: State, samples: NDArray[np.float32] | None, threshold: float) -> Prediction:
    """Return a prediction with its set of masks: the samples of the model, or a set of one mask.

    Parameters
    ----------
    state : State
        State that `segment` returned.
    samples : (M, H, W) or (M, Z, H, W) float array in [0, 1], or None
        Probability maps of a set; None for a model with one answer.
    threshold : float
        Probability above which a pixel belongs to the mask of a sample.

    Raises
    ------
    InvalidPrediction
        If the set is empty, its maps have another shape, or a value is not in [0, 1].
    """
    from rclicks.metrics.raters.scores import Prediction

    mask = state.mask
    assert mask is not None  # noqa: S101 - `validate_prediction` has checked it
    if samples is not None:
        maps = _checked(samples, mask.shape)
        return Prediction(mask, maps > threshold, maps)
    one = state.probability
    return Prediction(mask, mask[None], None if one is None else _checked(one[None], mask.shape))


def _checked(maps: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if maps.shape[1:] != shape or not len(maps) or maps.dtype.kind != "f":
        sides = ", ".join(map(str, shape))
        raise InvalidPrediction(f"samples of {maps.dtype} {maps.shape}, expected float (M, {sides}) with M at least 1")
    if not (maps.min() >= 0 and maps.max() <= 1):
        raise InvalidPrediction(f"probabilities in {maps.min()}..{maps.max()}, expected 0..1")
    return maps
