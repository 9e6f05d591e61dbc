"""Metrics of a round that need all raters of an object; `rclicks.metrics.raters.scores` computes them.

There are two levels. Metrics of the level "raters" compare the single prediction of the model with a consensus. Metrics
of the level "set" compare all predictions of the model for the same interactions with all raters; a model with one
prediction has a set of one. Objects with a single rater have neither. docs/raters.md lists the names that other
publications use.

In all metrics, raters who drew nothing count, two empty masks agree (similarity 1, distance 0), ignored pixels do not
count, and undefined values are NaN.
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
    """Return the card of a metric of a set of masks, which is also available in volumes."""
    return MetricCard(
        name=name, level="set", dims=_BOTH, higher_is_better=_HIGHER[better], summary=summary, source=source
    )


def _of_maps(name: str, better: str, summary: str, source: str = "") -> MetricCard:
    """Return the card of a metric of probabilities, which the engine does not keep in volumes."""
    return MetricCard(
        name=name, level="set", dims=(2,), higher_is_better=_HIGHER[better], summary=summary, source=source
    )


_HIGHER = {"higher": True, "lower": False, "neither": None}

_CARDS = (
    _raters("dice-majority", "Dice with the pixels that more than half of the raters drew (of two: both)"),
    _raters("dice-majority-half-up", "Dice with the pixels that at least half of the raters drew"),
    _raters("dice-union", "Dice with the pixels that any rater drew"),
    _raters("dice-intersection", "Dice with the pixels that all raters drew"),
    _raters("dice-staple", "Dice with the STAPLE consensus; needs SimpleITK", "Warfield et al. 2004"),
    _of_masks("ged", "lower", "squared generalised energy distance with d = 1 - IoU; falls with M", _KOHL),
    _of_masks("ged-dice", "lower", "squared generalised energy distance with d = 1 - Dice"),
    _of_masks(
        "ged-unbiased", "lower", "ged without distances of a mask to itself; can be negative; undefined if M = 1"
    ),
    _of_masks("sample-rater-distance", "lower", "mean 1 - IoU between a mask of the set and a rater; a term of ged"),
    _of_masks("sample-diversity", "neither", "mean 1 - IoU of two masks of the set, including equal masks"),
    _of_masks("human-diversity", "neither", "mean 1 - IoU of two raters, including equal raters"),
    _of_masks("rater-coverage", "higher", "mean over raters of the best Dice with any mask of the set"),
    _of_masks("prediction-fidelity", "higher", "mean over masks of the set of the best Dice with any rater"),
    _of_masks("coverage-fidelity", "higher", "mean of rater-coverage and prediction-fidelity"),
    _of_masks(
        "matched-dice", "higher", "mean Dice of the min(M, R) pairs of the best one-to-one matching of masks and raters"
    ),
    _of_masks("matched-dice-per-rater", "higher", "sum of the Dice of the matched pairs, divided by R"),
    _of_masks("matched-dice-larger", "higher", "sum of the Dice of the matched pairs, divided by max(M, R)"),
    _of_masks(
        "matched-dice-or-best", "higher", "matched-dice-per-rater, where raters without a pair use their best mask"
    ),
    _of_masks("matched-iou", "higher", "mean IoU of the min(M, R) matched pairs"),
    _of_masks(
        "matched-iou-lcm",
        "higher",
        "Hungarian-matched IoU of both sets, repeated to lcm(M, R) masks",
        "Kohl et al. 2019",
    ),
    _of_masks("distinct-masks", "neither", "number of groups of masks of the set that are linked by an IoU above .9"),
    _of_masks("effective-masks", "neither", "exponential of the entropy of the shares of these groups: 1 to M"),
    _of_masks("ci", "higher", "collective insight, 3 S D A / (S + D + A); D is rater-coverage", _RAHMAN),
    _of_masks("ci-harmonic", "higher", "collective insight, harmonic mean of S, D and A", _RAHMAN),
    _of_masks("ci-sensitivity", "higher", "S: share of the raters' union that the union of the set covers", _RAHMAN),
    _of_masks("ci-diversity", "higher", "A: similarity of the spread of the set and the spread of the raters", _RAHMAN),
    _of_masks(
        "crps-volume",
        "lower",
        "continuous ranked probability score of the set's areas (mm2) or volumes (mm3), mean over raters",
        "Gneiting and Raftery 2007",
    ),
    _of_maps(
        "crps-volume-normal", "lower", "CRPS of the sum of p under the normal distribution of the raters' areas (mm2)"
    ),
    _of_maps(
        "soft-dice",
        "higher",
        "Dice of p > t and g > t, mean over t = .1 .3 .5 .7 .9; p: mean probability, g: share of votes",
        "Wu et al. 2024",
    ),
    _of_maps("soft-dice-9", "higher", "Dice of p > t and g > t, mean over t = .1 .2 ... .9", "QUBIQ 2021"),
    _of_maps(
        "soft-dice-semimetric", "higher", "2 sum min(p, g) / (sum p + sum g); 1 only if p = g", "Wang et al. 2023"
    ),
    _of_maps(
        "soft-dice-plain", "higher", "2 sum p g / (sum p + sum g); not a proper score, only for comparison with AESPA"
    ),
    _of_maps("brier", "lower", "mean over the image of (p - g)^2"),
    _of_maps("vote-cross-entropy", "lower", "mean over the image of the cross-entropy of p to g, in nats"),
    _of_maps("ece-image", "lower", "expected calibration error of p to g, 15 bins of equal width, whole image"),
    _of_maps("ece-near", "lower", "ece-image near the masks: within 2 % of the diagonal of any mask"),
    _of_maps("ece-adaptive-near", "lower", "ece-near with 15 bins of equally many pixels", "Nixon et al. 2019"),
    _of_maps("ece-single-near", "lower", "ece-near to each rater alone, mean over raters"),
    _of_maps("mce-near", "lower", "largest calibration error of a bin, near the masks"),
    _of_maps("entropy-correlation-near", "higher", "Spearman's correlation of the entropies of p and g near the masks"),
    _of_maps(
        "risk-coverage-near",
        "lower",
        "area under the risk-coverage curve near the masks: mean risk if people decide the least certain pixels",
        "Geifman and El-Yaniv 2017",
    ),
    _of_maps("ncc", "higher", "normalised cross-correlation of uncertainty maps; undefined for one mask", _BAUMGARTNER),
)

RATERS: dict[str, MetricCard] = {card.name: card for card in _CARDS}

STORED: dict[str, MetricCard] = {name: card for name, (card, _) in ROUND.items()} | RATERS
"""All metrics that a benchmark can name and that records can contain."""
