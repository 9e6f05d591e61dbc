"""The metrics of a round that need all raters of an object; what computes them is in `rclicks.metrics.raters.scores`.

Two levels. "raters": the model's one mask against what the raters agree on. "set": all masks that the model has for the
same interactions (one, if it has no more) against all raters. Objects of a single rater have neither. One name has one
meaning; docs/raters.md says what others call the same.

Everywhere: raters who drew nothing count, two empty masks agree (similarity 1, distance 0), ignored pixels count
nowhere, and what is undefined is NaN.
"""

from __future__ import annotations

from rclicks.metrics.catalogue import ROUND, MetricCard

__all__ = ["RATERS", "STORED"]

_BOTH = (2, 3)
_KOHL = "Kohl et al. 2018"
_RAHMAN = "Rahman et al. 2023"
_BAUMGARTNER = "Baumgartner et al. 2019"


def _raters(name: str, summary: str, source: str = "") -> MetricCard:
    return MetricCard(name=name, level="raters", dims=_BOTH, summary=summary, source=source)


def _of_masks(name: str, better: str, summary: str, source: str = "") -> MetricCard:
    """Return the card of a measure of a set of masks, which volumes can have, too."""
    return MetricCard(
        name=name, level="set", dims=_BOTH, higher_is_better=_HIGHER[better], summary=summary, source=source
    )


def _of_maps(name: str, better: str, summary: str, source: str = "") -> MetricCard:
    """Return the card of a measure of probabilities, of which the engine keeps none of volumes."""
    return MetricCard(
        name=name, level="set", dims=(2,), higher_is_better=_HIGHER[better], summary=summary, source=source
    )


_HIGHER = {"higher": True, "lower": False, "neither": None}

_CARDS = (
    _raters("dice-majority", "Dice with the mask of more than half of the raters (of two: both)"),
    _raters("dice-majority-half-up", "Dice with the mask of at least half of the raters"),
    _raters("dice-union", "Dice with what any rater drew"),
    _raters("dice-intersection", "Dice with what all raters drew"),
    _raters("dice-staple", "Dice with the STAPLE consensus; needs SimpleITK", "Warfield et al. 2004"),
    _of_masks("ged", "lower", "squared generalised energy distance by 1 - IoU, diagonals in; falls with M", _KOHL),
    _of_masks("ged-dice", "lower", "the same by 1 - Dice"),
    _of_masks("ged-unbiased", "lower", "the same by 1 - IoU, diagonals out; may be below 0; undefined if M = 1"),
    _of_masks("sample-rater-distance", "lower", "mean 1 - IoU of a mask of the set to a rater; a term of ged"),
    _of_masks("sample-diversity", "neither", "mean 1 - IoU of two masks of the set, each with itself too"),
    _of_masks("human-diversity", "neither", "mean 1 - IoU of two raters, each with itself too"),
    _of_masks("rater-coverage", "higher", "mean over raters of the best Dice that any mask of the set has"),
    _of_masks("prediction-fidelity", "higher", "mean over masks of the set of the best Dice with any rater"),
    _of_masks("coverage-fidelity", "higher", "mean of rater-coverage and prediction-fidelity"),
    _of_masks("matched-dice", "higher", "best one-to-one matching of masks and raters: mean Dice of min(M, R) pairs"),
    _of_masks("matched-dice-per-rater", "higher", "sum of Dice of the matched pairs by R"),
    _of_masks("matched-dice-larger", "higher", "sum of Dice of the matched pairs by max(M, R)"),
    _of_masks("matched-dice-or-best", "higher", "the same by R, where raters without a pair take their best mask"),
    _of_masks("matched-iou", "higher", "mean IoU of the min(M, R) matched pairs"),
    _of_masks(
        "matched-iou-lcm", "higher", "Hungarian-matched IoU: both sets repeated to lcm(M, R) masks", "Kohl et al. 2019"
    ),
    _of_masks("distinct-masks", "neither", "groups of masks of the set linked by an IoU above .9"),
    _of_masks("effective-masks", "neither", "the same, weighed by size: exp of the entropy of the groups' shares"),
    _of_masks("ci", "higher", "collective insight, 3 S D A / (S + D + A), D being rater-coverage", _RAHMAN),
    _of_masks("ci-harmonic", "higher", "collective insight, harmonic mean of S, D and A", _RAHMAN),
    _of_masks("ci-sensitivity", "higher", "S: share of the raters' union that the union of the set covers", _RAHMAN),
    _of_masks("ci-diversity", "higher", "A: how alike the spreads of the set and of the raters are", _RAHMAN),
    _of_masks(
        "crps-volume",
        "lower",
        "continuous ranked probability score of the set's areas (mm2) or volumes (mm3), mean over raters",
        "Gneiting and Raftery 2007",
    ),
    _of_maps("crps-volume-normal", "lower", "CRPS of the mean map's sum under the normal of the raters' areas (mm2)"),
    _of_maps("soft-dice", "higher", "Dice of mean map and votes above .1 .3 .5 .7 .9, mean", "Wu et al. 2024"),
    _of_maps("soft-dice-9", "higher", "the same above .1 .2 ... .9", "QUBIQ 2021"),
    _of_maps(
        "soft-dice-semimetric", "higher", "2 sum min(p, g) / (sum p + sum g); 1 only if p = g", "Wang et al. 2023"
    ),
    _of_maps("soft-dice-plain", "higher", "2 sum p g / (sum p + sum g); not proper, to compare with AESPA only"),
    _of_maps("brier", "lower", "mean over the image of (p - g)^2"),
    _of_maps("vote-cross-entropy", "lower", "mean over the image of the cross-entropy of p to g, in nats"),
    _of_maps("ece-image", "lower", "expected calibration error of p to g, 15 equal bins, whole image"),
    _of_maps("ece-near", "lower", "the same near the masks: within 2 % of the diagonal of any mask"),
    _of_maps("ece-adaptive-near", "lower", "the same, 15 bins of equally many pixels", "Nixon et al. 2019"),
    _of_maps("ece-single-near", "lower", "calibration error to each rater alone, mean over raters, near the masks"),
    _of_maps("mce-near", "lower", "largest calibration error of a bin, near the masks"),
    _of_maps("entropy-correlation-near", "higher", "Spearman's correlation of the entropies of p and g near the masks"),
    _of_maps(
        "risk-coverage-near",
        "lower",
        "mean risk when the least certain pixels near the masks are left to people",
        "Geifman and El-Yaniv 2017",
    ),
    _of_maps("ncc", "higher", "normalised cross-correlation of uncertainty maps; one hard mask has none", _BAUMGARTNER),
)

RATERS: dict[str, MetricCard] = {card.name: card for card in _CARDS}

STORED: dict[str, MetricCard] = {name: card for name, (card, _) in ROUND.items()} | RATERS
"""Every metric that a benchmark can name and a record can hold."""
