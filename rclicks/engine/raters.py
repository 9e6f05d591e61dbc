"""Scoring on several raters: whom a trajectory follows, what each rater says to a prediction, what all say together.

`followed` lists the truths of an object, `Jury` scores a prediction on every single rater, and `Ballot` computes the
measures that need all raters at once, of the answer or of the set of answers that a model gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError
from rclicks.metrics.overlap import dice, iou
from rclicks.metrics.raters.catalogue import RATERS
from rclicks.metrics.raters.consensus import RULES, consensus
from rclicks.metrics.target import TargetFacts
from rclicks.models.contract import Model, State
from rclicks.sample import Mask, Target

if TYPE_CHECKING:
    from rclicks.metrics.raters.scores import Prediction

__all__ = ["AnswerError", "Ballot", "Jury", "Panel", "followed", "panel_of", "prediction_of"]


def followed(target: Target, follow: Sequence[str], key: tuple[object, ...]) -> Iterator[tuple[str, Mask]]:
    """Yield (name, mask) of each truth that trajectories follow: raters, or what they agree on.

    Parameters
    ----------
    target : Target
    follow : sequence of str
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
            f"object {target.id} has a rater named {', '.join(same)}, as a rule of `follow` is; give the rater another "
            "name (of a folder of masks, the folder's or the file's)"
        )
    seed, *names = key
    for rule in follow:
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


Panel = tuple[tuple[str, TargetFacts], ...]


def panel_of(target: Target, spacing: Sequence[float]) -> Panel:
    """Return name and mask of each rater; one who drew nothing has an empty mask."""
    masks = (TargetFacts(mask, target.ignore, spacing) for mask in target.masks)
    return tuple(zip(target.raters, masks, strict=True))


class Jury:
    """All raters of an object, beside the truth that a trajectory follows.

    Parameters
    ----------
    panel : Panel
        See `panel_of`.
    truth : bool array
        The mask followed: a rater's, or a consensus.
    """

    def __init__(self, panel: Panel, truth: Mask) -> None:
        self._panel = panel
        self._same = {
            "raters": [name for name, _ in panel],
            "rater_area": [f.area for _, f in panel],
            "followed_dice": [dice(f, truth) for _, f in panel],
        }

    def verdict(self, prediction: Mask) -> dict[str, Any]:
        """Return the columns of a round: the scores of a prediction on each rater, and of the followed truth.

        Two empty masks agree (1), one empty mask shares nothing (0), under every protocol.
        """
        scores = {
            "rater_iou": [iou(f, prediction) for _, f in self._panel],
            "rater_dice": [dice(f, prediction) for _, f in self._panel],
        }
        return self._same | scores


class AnswerError(ValueError):
    """A model's set of answers is not what its contract says."""


class Ballot:
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
        from rclicks.metrics.raters.scores import RaterFacts  # it needs SciPy's statistics, which are slow to import

        self._names = tuple(names)
        self._of_sets = any(RATERS[name].level == "set" for name in names)
        self._facts = RaterFacts(target.masks, target.ignore, spacing)

    def verdict(self, model: Model, embedding: Any, state: State) -> dict[str, Any]:
        """Return the columns of a round; a model is asked for its set only if a measure needs one.

        Raises
        ------
        AnswerError
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
    AnswerError
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
        raise AnswerError(f"samples of {maps.dtype} {maps.shape}, expected float (M, {sides}), M at least 1")
    if not (maps.min() >= 0 and maps.max() <= 1):
        raise AnswerError(f"probabilities in {maps.min()}..{maps.max()}, expected 0..1")
    return maps
