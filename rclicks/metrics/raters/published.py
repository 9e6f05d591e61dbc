"""Multi-rater scores exactly as published code computes them, with its flaws and under its names.

Use these functions only to compare with published tables, because the same name can mean different scores.
`TRANSLATION` gives the function of the other modules in `rclicks.metrics.raters` that corresponds to each score.

>>> raters = np.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool)
>>> round(aespa(raters, raters)["Dice_soft"], 6), round(dpersona(raters, raters)["Dice_max"], 6)
(0.75, 1.0)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rclicks.metrics.raters.diversity import prediction_fidelity, rater_coverage, squared_ged
from rclicks.metrics.raters.insight import collective_insight
from rclicks.metrics.raters.matching import matched, matched_raters
from rclicks.metrics.raters.ncc import uncertainty_maps
from rclicks.metrics.raters.overlap import Floats, Overlaps, Similarity
from rclicks.metrics.raters.soft import LEVELS
from rclicks.sample import Mask

__all__ = [
    "AESPA_DIVISORS",
    "TRANSLATION",
    "aespa",
    "ci",
    "dpersona",
    "hungarian_iou_lcm",
    "phiseg",
    "read_as_probability",
]

AESPA_DIVISORS = {"gt": "raters", "max": "larger", "match": "pairs"}
"""Rules of `rclicks.metrics.raters.matching.matched`, by AESPA's names of the divisor of Dice_match."""

TRANSLATION = {
    ("aespa", "GED"): "minus squared_ged(Dice, agree, all raters)",
    ("aespa", "Dice_max"): "rater_coverage(Dice, all raters)",
    ("aespa", "Dice_match"): "matched(Dice, all raters, 'raters')",
    ("aespa", "Dice_soft"): "plain_soft_dice",
    ("dpersona", "GED"): "squared_ged(IoU, zero)",
    ("dpersona", "Dice_max"): "prediction_fidelity(Dice)",
    ("dpersona", "Dice_max_reverse"): "rater_coverage(Dice)",
    ("dpersona", "Dice_match"): "matched(Dice, 'raters')",
    ("dpersona", "Dice_soft"): "thresholded_soft_dice(five levels)",
    ("phiseg", "GED"): "squared_ged(IoU, agree)",
    ("phiseg", "NCC"): "ncc",
    ("ci", "D_max"): "rater_coverage(Dice)",
    ("hungarian_iou_lcm", ""): "matched(IoU, 'repeated')",
}


def read_as_probability(values: ArrayLike) -> Floats:
    """Return the values unchanged if all lie in [0, 1], otherwise their sigmoid, as AESPA's code does."""
    x = np.asarray(values, float)
    if not x.size or (x.min() >= 0 and x.max() <= 1):
        return x
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))  # equal to the sigmoid, but without overflow


def aespa(
    predictions: ArrayLike,
    raters: ArrayLike,
    *,
    valid: Sequence[bool] | None = None,
    followed: int = 0,
    normalise: str = "gt",
) -> dict[str, float]:
    """Return the seven multi-rater scores of AESPA (2025) for one image.

    Reproduced flaws: GED has the wrong sign, so that 0 is best and worse values are negative. GED, Dice_max and
    Dice_match count padded and empty slots as raters. Dice_soft is not a proper score. Logits that all lie in [0, 1]
    are treated as probabilities.

    Parameters
    ----------
    predictions : (M, ...) float array
        Probabilities or logits. The four scores of a single prediction use the last one.
    raters : (R, ...) array
        Masks of the raters; a pixel is drawn if its value is above 1/2.
    valid : R bools or None
        Raters that count; None for the raters who drew something.
    followed : int
        Slot of the followed rater. If this slot is not valid, the first valid slot is used, or slot 0 if there is none.
    normalise : {"gt", "max", "match"}
        Divisor of Dice_match: R, max(M, R) or min(M, R).

    Raises
    ------
    ValueError
        If `normalise` has another value.
    """
    if normalise not in AESPA_DIVISORS:
        raise ValueError(f"normalise is {normalise!r}; expected one of {', '.join(AESPA_DIVISORS)}")
    given: Floats = np.asarray(predictions, float)
    y = _drawn(raters)
    dice = Overlaps.of(read_as_probability(given) > 0.5, y, policy="all").similarity("dice", "agree")
    # AESPA's code adds 1e-7 to the denominators of these scores. This changes no digit that it prints.
    use: Mask = np.asarray(y.any(axis=tuple(range(1, y.ndim))) if valid is None else valid, bool)
    last = read_as_probability(given[-1])  # checked alone, so the guess may differ from that for the whole set
    hard: Mask = np.asarray(last > 0.5)
    single = np.array([_smooth(hard, rater, 1e-7) for rater in y])
    mean = y[use].mean(axis=0) if use.any() else np.zeros(last.shape)
    soft_total = float(last.sum() + mean.sum())
    soft = (2 * float((last * mean).sum()) + 1e-7) / (soft_total + 1e-7) if soft_total else 1.0
    chosen = followed if 0 <= followed < len(y) and use[followed] else int(np.argmax(use))
    return {
        "GED": -squared_ged(dice).value,
        "Dice_max": rater_coverage(dice),
        "Dice_match": matched(dice, AESPA_DIVISORS[normalise]),
        "Dice_soft": soft,
        "Dice_personal_mean": float(single[use].mean()) if use.any() else 0.0,
        "Dice_follow": float(single[chosen]),
        "Delta_follow_vs_neutral": float(single[chosen]) - _smooth(hard, mean > 0.5, 1e-7),
    }


def _drawn(raters: ArrayLike) -> Mask:
    return np.asarray(np.asarray(raters) > 0.5)


def _smooth(a: Mask, b: Mask, eps: float) -> float:
    return float((2.0 * np.count_nonzero(a & b) + eps) / (np.count_nonzero(a) + np.count_nonzero(b) + eps))


def dpersona(probabilities: ArrayLike, raters: ArrayLike) -> dict[str, float | list[float]]:
    """Return the scores of D-Persona (CVPR 2024) for one image.

    GED counts two empty masks as distance 1, because the published rule for them is never applied. With fewer
    predictions than raters the matching of the published code fails, so only GED and Dice_soft are returned.

    Parameters
    ----------
    probabilities : (M, ...) float array in [0, 1]
        Probabilities of the set of predictions.
    raters : (R, ...) array
        Masks of the raters; a pixel is drawn if its value is above 1/2.
    """
    p, y = np.asarray(probabilities, float), _drawn(raters)
    overlaps = Overlaps.of(p > 0.5, y, policy="all")
    # Single precision as in the published code: a mean of 0.1 may then be slightly above the level 0.1.
    mean_p, mean_y = p.astype(np.float32).mean(axis=0), y.mean(axis=0)
    found: dict[str, float | list[float]] = {
        "GED": squared_ged(overlaps.similarity("iou", "zero")).value,
        "Dice_soft": float(np.mean([_smooth(mean_p > t, mean_y > t, 1e-8) for t in LEVELS])),
    }
    if len(p) < len(y):
        return found
    dice = _smoothed(overlaps, 1e-8)
    each = matched_raters(dice)
    return found | {
        "Dice_max": prediction_fidelity(dice),
        "Dice_max_reverse": rater_coverage(dice),
        "Dice_match": float(each.mean()),
        "Dice_each": each.tolist(),
    }


def _smoothed(overlaps: Overlaps, eps: float) -> Similarity:
    m, area = overlaps.predictions, overlaps.areas
    values = (2 * overlaps.shared + eps) / (area[:, None] + area[None, :] + eps)
    return Similarity(values[:m, :m], values[:m, m:], values[m:, m:], "dice", "agree")


def phiseg(probabilities: ArrayLike, raters: ArrayLike) -> dict[str, float]:
    """Return GED and NCC of PHiSeg (2019) for the foreground of one image; NCC of constant maps is rounding noise.

    Parameters
    ----------
    probabilities : (M, ...) float array in [0, 1]
        Probabilities of the set of predictions.
    raters : (R, ...) array
        Masks of the raters; a pixel is drawn if its value is above 1/2.
    """
    p, y = np.asarray(probabilities, float), _drawn(raters)
    own, others = uncertainty_maps(p, y)
    return {
        "GED": squared_ged(Overlaps.of(p > 0.5, y, policy="all").similarity("iou", "agree")).value,
        "NCC": float(np.mean([_published_ncc(own, other) for other in others])),
    }


def _published_ncc(a: Floats, b: Floats) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        a = (a - np.mean(a)) / (np.std(a) * len(a))
        b = (b - np.mean(b)) / np.std(b)
    return float(np.correlate(a, b)[0])


def ci(probabilities: ArrayLike, raters: ArrayLike) -> dict[str, float]:
    """Return the collective insight and its parts for one image (CIMD, CVPR 2023), with empty and padded raters.

    Parameters
    ----------
    probabilities : (M, ...) float array in [0, 1]
        Probabilities of the set of predictions.
    raters : (R, ...) array
        Masks of the raters; a pixel is drawn if its value is above 1/2.
    """
    found = collective_insight(np.asarray(probabilities) > 0.5, _drawn(raters), policy="all")
    return {
        "S_c": found.sensitivity,
        "D_max": found.coverage,
        "D_a": found.diversity,
        "CI": found.product_over_sum,
        "CI_harmonic": found.harmonic,
    }


def hungarian_iou_lcm(probabilities: ArrayLike, raters: ArrayLike) -> float:
    """Return the Hungarian-matched IoU of the HPU-Net (2019), with empty and padded raters.

    Parameters
    ----------
    probabilities : (M, ...) float array in [0, 1]
        Probabilities of the set of predictions.
    raters : (R, ...) array
        Masks of the raters; a pixel is drawn if its value is above 1/2.
    """
    overlaps = Overlaps.of(np.asarray(probabilities) > 0.5, _drawn(raters), policy="all")
    return matched(overlaps.similarity("iou", "agree"), "repeated")
