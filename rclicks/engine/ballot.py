"""Measures that need all raters of an object at once, and the set of answers that a model gives to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rclicks.metrics.raters.catalogue import RATERS
from rclicks.models.contract import Model, State
from rclicks.sample import Target

if TYPE_CHECKING:
    from rclicks.metrics.raters.scores import Prediction

__all__ = ["AnswerError", "Ballot", "prediction_of"]


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
