"""Several raters: the reference masks that trajectories follow, and the scores of a prediction on all raters.

`followed` lists the reference masks of an object. `RaterScorer` scores a prediction on every single rater.
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
    """Yield (name, mask) of each truth that trajectories follow: raters, or what they agree on.

    Parameters
    ----------
    target : Target
    reference : sequence of str
        "raters" for each rater, or consensus rules; of one rater all rules are that rater's mask, which comes once.
    key : (seed, data set, sample)
        Of the lots that the rule "majority-random" draws.

    Raises
    ------
    DataError
        If a rater is called what a rule is called: records could not tell them apart.
    """
    if len(target.raters) == 1:
        yield target.raters[0], target.masks[0]
        return
    if same := sorted({"raters", *RULES} & {*target.raters}):
        raise DataError(
            f"object {target.id} has a rater named {', '.join(same)}, which is a rule of `reference`; give the rater "
            "another name (in a folder of masks: rename the rater's folder or file)"
        )
    seed, *names = key
    for rule in reference:
        if rule == "raters":
            yield from zip(target.raters, target.masks, strict=True)
        else:
            yield rule, _agreed(target, rule, int(str(seed)), (*names, target.id))


def _agreed(target: Target, rule: str, seed: int, names: Sequence[object]) -> Mask:
    """Return a consensus; pixels to ignore have no say in it and are never part of it."""
    if target.ignore is None or not target.ignore.any():
        return consensus(list(target.masks), rule, seed=seed, names=names)
    counted = ~target.ignore
    found = np.zeros(counted.shape, bool)
    found[counted] = consensus([mask[counted] for mask in target.masks], rule, seed=seed, names=names)
    return found


RaterMasks = tuple[tuple[str, TargetReference], ...]


def rater_masks(target: Target, spacing: Sequence[float]) -> RaterMasks:
    """Return name and mask of each rater; one who drew nothing has an empty mask."""
    masks = (TargetReference(mask, target.ignore, spacing) for mask in target.masks)
    return tuple(zip(target.raters, masks, strict=True))


class RaterScorer:
    """All raters of an object, beside the truth that a trajectory follows.

    Parameters
    ----------
    raters : Panel
        See `rater_masks`.
    truth : bool array
        The mask followed: a rater's, or a consensus.
    """

    def __init__(self, raters: RaterMasks, truth: Mask) -> None:
        self._raters = raters
        self._same = {
            "raters": [name for name, _ in raters],
            "rater_area": [f.area for _, f in raters],
            "followed_dice": [dice(f, truth) for _, f in raters],
        }

    def score(self, prediction: Mask) -> dict[str, Any]:
        """Return the columns of a round: the scores of a prediction on each rater, and of the followed truth.

        Two empty masks agree (1), one empty mask shares nothing (0), under every protocol.
        """
        scores = {
            "rater_iou": [iou(f, prediction) for _, f in self._raters],
            "rater_dice": [dice(f, prediction) for _, f in self._raters],
        }
        return self._same | scores


class MultiRaterScorer:
    """The measures of one object; what its raters agree on is found once, when it is first asked for.

    Parameters
    ----------
    names : sequence of str
        Of `rclicks.metrics.raters.catalogue`.
    target : Target
        With several raters.
    spacing : sequence of float
        Of the image, in mm.
    """

    def __init__(self, names: Sequence[str], target: Target, spacing: Sequence[float]) -> None:
        from rclicks.metrics.raters.scores import (
            RaterReference,  # it needs SciPy's statistics, which are slow to import
        )

        self._names = tuple(names)
        self._of_sets = any(RATERS[name].level == "set" for name in names)
        self._facts = RaterReference(target.masks, target.ignore, spacing)

    def score(self, model: Model, embedding: Any, state: State) -> dict[str, Any]:
        """Return the columns of a round; a model is asked for its set only if a measure needs one.

        Raises
        ------
        InvalidPrediction
            If what the model answers is no set of probability maps.
        """
        from rclicks.metrics.raters.scores import score_raters

        samples = model.samples(embedding, state) if self._of_sets else None
        prediction = prediction_of(state, samples, model.card.threshold)
        size = {"set_size": len(prediction.masks)} if self._of_sets else {}
        return score_raters(self._names, self._facts, prediction) | size


def prediction_of(state: State, samples: NDArray[np.float32] | None, threshold: float) -> Prediction:
    """Return what a model says: its samples, or its one answer as a set of one.

    Parameters
    ----------
    state : State
        As `segment` returned it.
    samples : (M, ...) float array in [0, 1] or None
    threshold : float
        Masks of samples are what lies above it.

    Raises
    ------
    InvalidPrediction
        If the samples are none, of another shape, or not in [0, 1].
    """
    from rclicks.metrics.raters.scores import Prediction

    mask = state.mask
    assert mask is not None  # noqa: S101 - `segment` has made one
    if samples is not None:
        maps = _checked(samples, mask.shape)
        return Prediction(mask, maps > threshold, maps)
    one = state.probability
    return Prediction(mask, mask[None], None if one is None else _checked(one[None], mask.shape))


def _checked(maps: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    if maps.shape[1:] != shape or not len(maps) or maps.dtype.kind != "f":
        sides = ", ".join(map(str, shape))
        raise InvalidPrediction(f"samples of {maps.dtype} {maps.shape}, expected float (M, {sides}), M at least 1")
    if not (maps.min() >= 0 and maps.max() <= 1):
        raise InvalidPrediction(f"probabilities in {maps.min()}..{maps.max()}, expected 0..1")
    return maps
