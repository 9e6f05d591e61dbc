"""Inter-rater agreement: how well human raters agree with each other. The scores of a model are compared with it.

A model can agree with the raters better than they agree with each other, because it predicts their mean. Such a score
does not mean that the model is better than a human.

>>> from rclicks.sample import Sample, Target
>>> drawn = (np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 0]], bool))
>>> image = np.zeros((1, 4, 3), np.uint8)
>>> found = inter_rater_agreement([Sample("set", "a", image, (Target("0", drawn, raters=("x", "y")),))], staple=False)
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

__all__ = [
    "AgreementRow",
    "InterRaterAgreement",
    "agreement_measures",
    "agreement_normalised",
    "fleiss_kappa",
    "inter_rater_agreement",
]


@dataclass(frozen=True, kw_only=True)
class AgreementRow:
    """Inter-rater agreement for one object. Dice and IoU lie in 0..1; higher means more agreement.

    Attributes
    ----------
    dataset, sample, target : str
        Names of the data set, the sample and the object.
    raters : int
        Number of raters used, at least two.
    pairwise_dice, min_pairwise_dice, pairwise_iou : float
        Mean and lowest Dice, and mean IoU, over all pairs of two raters.
    rater_distance : float
        Mean of 1 - IoU over all ordered pairs of raters including pairs of equal raters: the rater term of the squared
        GED.
    rater_vs_majority_dice : float
        Mean Dice between a rater and the majority of all raters; the majority includes the rater's own vote.
    rater_vs_others_dice : float
        Mean Dice between a rater and the majority of the other raters. Compare this value with the score of a model on
        a consensus.
    rater_vs_staple_dice : float
        Mean Dice between a rater and the STAPLE consensus; NaN if STAPLE was not computed.
    fleiss_kappa : float
        Fleiss' kappa, see `fleiss_kappa`.
    foreground : float
        Share of pixels that a rater drew, mean over raters.
    vote_entropy_bits : float
        Binary entropy of the vote fraction in bits, mean over pixels.
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


MEASURES = tuple(f.name for f in fields(AgreementRow) if f.name not in ("dataset", "sample", "target", "raters"))


@dataclass(frozen=True)
class InterRaterAgreement:
    """Inter-rater agreement for a data set.

    Attributes
    ----------
    rows : tuple of AgreementRow
        Agreement for each object with at least two raters that count.
    skipped : int
        Number of objects with fewer raters.
    policy, empty : str
        Rater policy and empty policy, see `rclicks.metrics.raters.overlap`.
    """

    rows: tuple[AgreementRow, ...]
    skipped: int
    policy: str
    empty: str

    def mean(self, measure: str) -> float:
        """Return the mean of a measure over all objects that have a value."""
        return mean_of([getattr(row, measure) for row in self.rows])

    def summary(self) -> dict[str, float]:
        """Return the mean of every measure, by name."""
        return {measure: self.mean(measure) for measure in MEASURES}


def inter_rater_agreement(
    samples: Iterable[Sample], *, policy: str = "present", empty: str = "agree", staple: bool = True
) -> InterRaterAgreement:
    """Return the inter-rater agreement for each object of the samples.

    Parameters
    ----------
    samples : iterable of Sample
        Samples, for example a `Dataset`; each sample is read once.
    policy : {"present", "nonempty", "all"}
        Rater policy: which raters count, see `rclicks.metrics.raters.overlap`.
    empty : {"agree", "skip", "zero"}
        Empty policy: the similarity of two empty masks, see `rclicks.metrics.raters.overlap`.
    staple : bool
        Whether to compute the STAPLE consensus, which takes much longer than all other measures and needs SimpleITK.

    Raises
    ------
    ValueError
        If a policy is unknown.
    PluginError
        If STAPLE is computed and SimpleITK is not installed.
    """
    if policy not in RATER_POLICIES or empty not in EMPTY_POLICIES:
        raise ValueError(
            f"rater policy is {policy!r}, empty policy {empty!r}; expected one of {', '.join(RATER_POLICIES)}, and one "
            f"of {', '.join(EMPTY_POLICIES)}"
        )
    rows, skipped = [], 0
    for sample in samples:
        for target in sample.targets:
            masks = stack_masks(target.masks, f"masks of {sample.dataset}/{sample.id}")
            masks = masks[list(choose_raters(masks, policy))]
            if len(masks) < 2:
                skipped += 1
                continue
            values = agreement_measures(masks, empty=empty, staple=staple, ignore=target.ignore)
            rows.append(
                AgreementRow(dataset=sample.dataset, sample=sample.id, target=target.id, raters=len(masks), **values)
            )
    return InterRaterAgreement(tuple(rows), skipped, policy, empty)


def agreement_measures(
    raters: Sequence[Mask] | Mask, *, empty: str = "agree", staple: bool = True, ignore: Mask | None = None
) -> dict[str, float]:
    """Return the measures of an `AgreementRow` for the masks of one object, an (R, ...) bool array with R >= 2."""
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
    how_many = np.bincount(
        masks.sum(axis=0, dtype=np.int64).ravel(), minlength=r + 1
    )  # number of pixels with 0..R votes
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

    Kappa is ``(P - E) / (1 - E)``. P is the mean share of agreeing pairs of raters, E the share expected by chance for
    the same share of foreground. Kappa is at most 1, and 0 for agreement by chance; higher is better. It rises if
    background is added around the object. It is NaN if all masks are empty or all are full, because E is then 1, and
    for fewer than two raters.
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


def agreement_normalised(score: float, agreement: float) -> float:
    """Return the score of a model divided by the inter-rater agreement.

    The result is 1 if the model agrees with the raters as well as they agree with each other. It is NaN if the
    agreement is 0 or NaN. Both numbers must be the same measure on the same samples and the same kind of reference:
    divide the mean Dice with single raters by `pairwise_dice`, and the Dice with the majority by
    `rater_vs_others_dice`.
    """
    return score / agreement if agreement > 0 else math.nan
