"""Functions that compute the metrics of `rclicks.metrics.raters.catalogue` from a prediction and all raters.

A set of M predictions is compared with the R raters of one object. p is the mean of the probabilities of the set, g the
share of raters that drew a pixel.

>>> facts = RaterReference((np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 0]], bool)))
>>> mask = facts.masks[0]
>>> prediction = Prediction(mask, mask[None], mask[None].astype(np.float32))
>>> score_raters(("rater-coverage", "dice-union"), facts, prediction)
{'rater-coverage': 0.75, 'dice-union': 0.8}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import UnknownNameError
from rclicks.metrics.raters import calibration, diversity, soft
from rclicks.metrics.raters.catalogue import RATERS
from rclicks.metrics.raters.consensus import consensus
from rclicks.metrics.raters.insight import CollectiveInsight, collective_insight
from rclicks.metrics.raters.matching import matched
from rclicks.metrics.raters.ncc import ncc
from rclicks.metrics.raters.overlap import Floats, Overlaps, Similarity, stack_masks, vote_fraction
from rclicks.metrics.target import band_width
from rclicks.sample import Mask

__all__ = ["NEAR", "Prediction", "RaterReference", "score_raters"]

NEAR = 0.02  # distance up to which a pixel is near a mask, relative to the diagonal; equal to the band of boundary IoU
NINE = tuple(i / 10 for i in range(1, 10))


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predictions of a model for the same interactions.

    Attributes
    ----------
    mask : (...) bool array
        Single prediction of the model.
    masks : (M, ...) bool array
        Set of predictions. For a model with one prediction, the set contains `mask` alone.
    probabilities : (M, ...) float array in [0, 1] or None
        Probabilities of the set; None uses the masks as probabilities 0 and 1.
    """

    mask: Mask
    masks: Mask
    probabilities: NDArray[np.floating[Any]] | None


class RaterReference:
    """Masks of all raters of one object, with properties that are computed once for each object.

    Parameters
    ----------
    masks : sequence of (...) bool arrays
        Mask of each rater; empty masks count.
    ignore : (...) bool array or None
        Pixels that do not count.
    spacing : sequence of float or None
        Size of a pixel or voxel along each axis, in mm; None for 1 along all axes.
    """

    def __init__(
        self, masks: Sequence[Mask], ignore: Mask | None = None, spacing: Sequence[float] | None = None
    ) -> None:
        self._valid = None if ignore is None or not ignore.any() else ~ignore
        stacked = stack_masks(masks, "raters")
        self.masks: Mask = stacked if self._valid is None else stacked & self._valid
        self.unit = math.prod(spacing or ())
        self._agreed: dict[str, Mask] = {}

    def flat(self, stack: NDArray[Any]) -> NDArray[Any]:
        """Return the N pixels that count of (n, ...) arrays, (n, N)."""
        return stack.reshape(len(stack), -1) if self._valid is None else stack[:, self._valid]

    @cached_property
    def drawn(self) -> Mask:
        """Masks of the raters at the N pixels that count, (R, N) bool."""
        return np.asarray(self.flat(self.masks), bool)

    @cached_property
    def votes(self) -> Floats:
        """Share of raters that drew each pixel that counts, (N,) float64."""
        return vote_fraction(self.drawn)

    def agreed(self, rule: str) -> Mask:
        """Return the consensus by a rule of `consensus` at the pixels that count, (N,) bool; the result is cached."""
        if rule not in self._agreed:
            self._agreed[rule] = consensus(self.drawn, rule)
        return self._agreed[rule]

    def near(self, masks: Mask) -> Mask:
        """Return which of the N pixels that count are near one of (M, ...) masks or one of the raters, (N,) bool."""
        union: Mask = np.asarray(masks.any(axis=0) | self.masks.any(axis=0))
        if self._valid is not None:
            union &= self._valid
        region = calibration.dilated_union([union], band_width(union.shape, NEAR))
        return np.asarray(self.flat(region[None])[0], bool)


class _Comparison:
    """One prediction and all raters, with intermediate results that several metrics use."""

    def __init__(self, reference: RaterReference, prediction: Prediction) -> None:
        self.reference, self.prediction = reference, prediction

    @property
    def votes(self) -> Floats:
        return self.reference.votes

    @cached_property
    def masks(self) -> Mask:
        return np.asarray(self.reference.flat(self.prediction.masks), bool)

    @cached_property
    def maps(self) -> NDArray[Any]:
        given = self.prediction.probabilities
        return self.masks if given is None else self.reference.flat(given)

    @cached_property
    def p(self) -> Floats:
        return np.asarray(self.maps.mean(axis=0, dtype=np.float64))

    @cached_property
    def overlaps(self) -> Overlaps:
        return Overlaps.of(self.masks, self.reference.drawn)

    @cached_property
    def iou(self) -> Similarity:
        return self.overlaps.similarity("iou")

    @cached_property
    def dice(self) -> Similarity:
        return self.overlaps.similarity("dice")

    @cached_property
    def ged(self) -> diversity.EnergyDistance:
        return diversity.squared_ged(self.iou)

    @cached_property
    def insight(self) -> CollectiveInsight:
        return collective_insight(self.masks, self.reference.drawn)

    @cached_property
    def curve(self) -> calibration.Reliability:
        return calibration.reliability(self.p, self.votes, region=self.near)

    @cached_property
    def near(self) -> Mask:
        return self.reference.near(self.prediction.masks)

    def dice_to(self, rule: str) -> float:
        one = self.reference.flat(self.prediction.mask[None])
        return float(Overlaps.of(one, self.reference.agreed(rule)[None], policy="all").similarity("dice").across[0, 0])

    def volume_crps(self) -> float:
        sizes = (self.overlaps.areas * self.reference.unit).tolist()
        return calibration.volume_crps(sizes[: len(self.masks)], sizes[len(self.masks) :])

    def normal_crps(self) -> float:
        raters = (self.reference.drawn.sum(axis=1) * self.reference.unit).tolist()
        return calibration.gaussian_volume_crps(float(self.p.sum()) * self.reference.unit, raters)


_SCORES: dict[str, Callable[[_Comparison], float]] = {
    "dice-majority": lambda v: v.dice_to("majority"),
    "dice-majority-half-up": lambda v: v.dice_to("majority-half-up"),
    "dice-union": lambda v: v.dice_to("union"),
    "dice-intersection": lambda v: v.dice_to("intersection"),
    "dice-staple": lambda v: v.dice_to("staple"),
    "ged": lambda v: v.ged.value,
    "ged-dice": lambda v: diversity.squared_ged(v.dice).value,
    "ged-unbiased": lambda v: diversity.squared_ged(v.iou, unbiased=True).value,
    "sample-rater-distance": lambda v: v.ged.across,
    "sample-diversity": lambda v: v.ged.samples,
    "human-diversity": lambda v: v.ged.raters,
    "rater-coverage": lambda v: diversity.rater_coverage(v.dice),
    "prediction-fidelity": lambda v: diversity.prediction_fidelity(v.dice),
    "coverage-fidelity": lambda v: diversity.coverage_fidelity_mean(v.dice),
    "matched-dice": lambda v: matched(v.dice, "pairs"),
    "matched-dice-per-rater": lambda v: matched(v.dice, "raters"),
    "matched-dice-larger": lambda v: matched(v.dice, "larger"),
    "matched-dice-or-best": lambda v: matched(v.dice, "raters-or-best"),
    "matched-iou": lambda v: matched(v.iou, "pairs"),
    "matched-iou-lcm": lambda v: matched(v.iou, "repeated"),
    "distinct-masks": lambda v: float(diversity.distinct_masks(v.iou).clusters),
    "effective-masks": lambda v: diversity.distinct_masks(v.iou).effective,
    "ci": lambda v: v.insight.product_over_sum,
    "ci-harmonic": lambda v: v.insight.harmonic,
    "ci-sensitivity": lambda v: v.insight.sensitivity,
    "ci-diversity": lambda v: v.insight.diversity,
    "crps-volume": _Comparison.volume_crps,
    "crps-volume-normal": _Comparison.normal_crps,
    "soft-dice": lambda v: soft.thresholded_soft_dice(v.p, v.votes),
    "soft-dice-9": lambda v: soft.thresholded_soft_dice(v.p, v.votes, NINE),
    "soft-dice-semimetric": lambda v: soft.soft_dice(v.p, v.votes),
    "soft-dice-plain": lambda v: soft.plain_soft_dice(v.p, v.votes),
    "brier": lambda v: soft.brier(v.p, v.votes),
    "vote-cross-entropy": lambda v: soft.cross_entropy(v.p, v.votes),
    "ece-image": lambda v: calibration.reliability(v.p, v.votes).ece,
    "ece-near": lambda v: v.curve.ece,
    "ece-adaptive-near": lambda v: calibration.reliability(v.p, v.votes, adaptive=True, region=v.near).ece,
    "ece-single-near": lambda v: calibration.ece_of_single_raters(v.p, v.reference.drawn, region=v.near),
    "mce-near": lambda v: v.curve.mce,
    "entropy-correlation-near": lambda v: calibration.entropy_correlation(v.p, v.votes, region=v.near),
    "risk-coverage-near": lambda v: calibration.area_under_risk_coverage(v.p, v.votes, region=v.near),
    "ncc": lambda v: ncc(v.maps, v.reference.drawn).value,
}


def score_raters(names: Iterable[str], reference: RaterReference, prediction: Prediction) -> dict[str, float]:
    """Return metrics of `rclicks.metrics.raters.catalogue` for one prediction, by name; NaN if undefined.

    Raises
    ------
    UnknownNameError
        If a name is not a metric of several raters.
    ValueError
        If a probability is not in [0, 1], or the shapes differ.
    """
    comparison = _Comparison(reference, prediction)
    found = {}
    for name in names:
        if name not in RATERS:
            raise UnknownNameError("metric", name, RATERS)
        found[name] = _SCORES[name](comparison)
    return found
