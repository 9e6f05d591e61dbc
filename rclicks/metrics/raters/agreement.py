"""How well human raters agree: the score that a model can be measured against.

A model that scores higher against the raters than they do against each other has learnt their mean, not their task.

>>> from rclicks.sample import Sample, Target
>>> drawn = (np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 0]], bool))
>>> image = np.zeros((1, 4, 3), np.uint8)
>>> found = human_ceiling([Sample("set", "a", image, (Target("0", drawn, raters=("x", "y")),))], staple=False)
>>> found.mean("pairwise_dice"), found.mean("rater_vs_majority_dice")
(0.5, 0.6666666666666666)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from rclicks.metrics.raters import consensus as raters_consensus
from rclicks.metrics.raters.overlap import (
    EMPTY_POLICIES,
    RATER_POLICIES,
    Overlaps,
    choose_raters,
    mean_of,
    stack_masks,
)
from rclicks.metrics.raters.soft import entropy_bits
from rclicks.sample import Mask, Sample

__all__ = ["CeilingRow", "HumanCeiling", "agreement_normalised", "fleiss_kappa", "human_ceiling", "rater_agreement"]


@dataclass(frozen=True, kw_only=True)
class CeilingRow:
    """Agreement of the raters of one object; similarities 0..1, higher is more alike.

    Attributes
    ----------
    dataset, sample, target : str
        Which object.
    raters : int
        Raters used, at least two.
    pairwise_dice, min_pairwise_dice, pairwise_iou : float
        Mean and least Dice, and mean IoU, of all pairs of two raters.
    rater_distance : float
        Mean of 1 - IoU over all ordered pairs, each rater with itself too: the rater term of the squared GED.
    rater_vs_majority_dice : float
        Mean Dice of a rater to the mask of more than half of all raters; the rater's own vote is in it.
    rater_vs_others_dice : float
        Mean Dice of a rater to the mask of more than half of the others: the fair ceiling for a consensus target.
    rater_vs_staple_dice : float
        Mean Dice of a rater to the STAPLE consensus; NaN if not asked for.
    fleiss_kappa : float
        See `fleiss_kappa`.
    foreground : float
        Mean share of pixels that a rater drew.
    vote_entropy_bits : float
        Mean over pixels of the binary entropy of the vote fraction.
    """

    dataset: str
    sample: str
    target: str
    raters: int
    pairwise_dice: float
    min_pairwise_dice: float
    pairwise_iou: float
    rater_distance: float
    rater_vs_majority_dice: float
    rater_vs_others_dice: float
    rater_vs_staple_dice: float
    fleiss_kappa: float
    foreground: float
    vote_entropy_bits: float


MEASURES = tuple(f.name for f in fields(CeilingRow) if f.name not in ("dataset", "sample", "target", "raters"))


@dataclass(frozen=True)
class HumanCeiling:
    """Agreement of raters over a data set.

    Attributes
    ----------
    rows : tuple of CeilingRow
        One an object with at least two raters that count.
    skipped : int
        Objects with fewer.
    policy, empty : str
        Rater policy and empty policy.
    """

    rows: tuple[CeilingRow, ...]
    skipped: int
    policy: str
    empty: str

    def mean(self, measure: str) -> float:
        """Return the mean of a measure over objects; those without a value do not count."""
        return mean_of([getattr(row, measure) for row in self.rows])

    def summary(self) -> dict[str, float]:
        """Return the mean of every measure."""
        return {measure: self.mean(measure) for measure in MEASURES}


def human_ceiling(
    samples: Iterable[Sample], *, policy: str = "present", empty: str = "agree", staple: bool = True
) -> HumanCeiling:
    """Return how well the raters of each object of the samples agree.

    Parameters
    ----------
    samples : iterable of Sample
        A `Dataset` is one; it is gone through once.
    policy : {"present", "nonempty", "all"}
        Which raters count; see `rclicks.metrics.raters.overlap`.
    empty : {"agree", "skip", "zero"}
        What two empty masks have in common.
    staple : bool
        Whether to make the STAPLE consensus, which takes far longer than the rest and needs SimpleITK.

    Raises
    ------
    ValueError
        If a policy is unknown.
    """
    if policy not in RATER_POLICIES or empty not in EMPTY_POLICIES:
        raise ValueError(
            f"rater policy is {policy!r}, empty policy {empty!r}; expected one of {', '.join(RATER_POLICIES)} and of "
            f"{', '.join(EMPTY_POLICIES)}"
        )
    rows, skipped = [], 0
    for sample in samples:
        for target in sample.targets:
            masks = stack_masks(target.masks, f"masks of {sample.dataset}/{sample.id}")
            masks = masks[list(choose_raters(masks, policy))]
            if len(masks) < 2:
                skipped += 1
                continue
            values = rater_agreement(masks, empty=empty, staple=staple, ignore=target.ignore)
            rows.append(
                CeilingRow(dataset=sample.dataset, sample=sample.id, target=target.id, raters=len(masks), **values)
            )
    return HumanCeiling(tuple(rows), skipped, policy, empty)


def rater_agreement(
    raters: Sequence[Mask] | Mask, *, empty: str = "agree", staple: bool = True, ignore: Mask | None = None
) -> dict[str, float]:
    """Return the measures of a `CeilingRow` for the raters of one object, (R, ...) bool with R of at least 2."""
    masks = stack_masks(raters, "raters")
    if ignore is not None:
        masks = masks[:, ~ignore]
    r = len(masks)
    targets = [raters_consensus.consensus(masks), *raters_consensus.leave_one_out_majorities(masks)]
    if staple:
        targets.append(raters_consensus.staple(masks).mask)
    overlaps = Overlaps.of(targets, masks, policy="all")
    dice, iou = overlaps.similarity("dice", empty), overlaps.similarity("iou", empty)
    upper = np.triu_indices(r, 1)
    pairs = dice.raters[upper]
    how_many = np.bincount(masks.sum(axis=0, dtype=np.int64).ravel(), minlength=r + 1)  # pixels with 0..R votes
    bits = entropy_bits(np.arange(r + 1) / r)
    return {
        "pairwise_dice": mean_of(pairs),
        "min_pairwise_dice": float(np.nanmin(pairs)) if not np.isnan(pairs).all() else math.nan,
        "pairwise_iou": mean_of(iou.raters[upper]),
        "rater_distance": mean_of(1 - iou.raters),
        "rater_vs_majority_dice": mean_of(dice.across[0]),
        "rater_vs_others_dice": mean_of(dice.across[1 : r + 1].diagonal()),
        "rater_vs_staple_dice": mean_of(dice.across[r + 1]) if staple else math.nan,
        "fleiss_kappa": _kappa(how_many),
        "foreground": float(overlaps.areas[r + 1 + staple :].mean() / overlaps.pixels) if overlaps.pixels else math.nan,
        "vote_entropy_bits": float(how_many @ bits / how_many.sum()) if overlaps.pixels else math.nan,
    }


def fleiss_kappa(raters: Sequence[Mask] | Mask, *, ignore: Mask | None = None) -> float:
    """Return Fleiss' kappa (1971) with pixels as subjects and drawn / not drawn as categories.

    ``(P - E) / (1 - E)``: P the mean share of agreeing pairs of raters, E what their foreground share leads to by
    chance. At most 1, higher is better, 0 by chance. It rises as background is added round the object. NaN if all masks
    are empty or full, where chance already agrees, and for fewer than two raters.
    """
    masks = stack_masks(raters, "raters")
    votes = masks.sum(axis=0, dtype=np.int64)
    return _kappa(np.bincount((votes if ignore is None else votes[~ignore]).ravel(), minlength=len(masks) + 1))


def _kappa(how_many: np.ndarray) -> float:
    r, n = len(how_many) - 1, int(how_many.sum())
    if r < 2 or n == 0:
        return math.nan
    k = np.arange(r + 1)
    agree = float(how_many @ (k * (k - 1) + (r - k) * (r - k - 1))) / (n * r * (r - 1))
    share = float(how_many @ k) / (n * r)
    chance = share**2 + (1 - share) ** 2
    return (agree - chance) / (1 - chance) if 0 < share < 1 else math.nan


def agreement_normalised(score: float, ceiling: float) -> float:
    """Return ``score / ceiling``: 1 is what the raters reach, above 1 is more; NaN if the ceiling is 0 or NaN.

    Both must be the same measure of the same samples against the same kind of target: a model's mean Dice to the single
    raters over `pairwise_dice`, its Dice to the majority over `rater_vs_others_dice`.
    """
    return score / ceiling if ceiling > 0 else math.nan
