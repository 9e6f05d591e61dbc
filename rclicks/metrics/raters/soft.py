"""Scores of a probability map against the share of raters that drew each pixel.

All functions take two float arrays of one shape with values in [0, 1]: the probabilities p, and the vote fraction g
(see `rclicks.metrics.raters.overlap.vote_fraction`). Pixels in `ignore` (bool array of the same shape) do not count.

>>> g = np.array([0.0, 0.25, 0.75, 1.0])
>>> soft_dice(g, g), round(plain_soft_dice(g, g), 4)
(1.0, 0.8125)
>>> brier(g, g), brier(g.round(), g)
(0.0, 0.03125)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rclicks.metrics.raters.overlap import EMPTY_POLICIES, Floats, mean_of
from rclicks.sample import Mask

__all__ = ["LEVELS", "brier", "cross_entropy", "entropy_bits", "plain_soft_dice", "soft_dice", "thresholded_soft_dice"]

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


def valid_pair(probability: Floats, votes: Floats, ignore: Mask | None) -> tuple[Floats, Floats]:
    """Return both maps as flat float64 arrays without ignored pixels.

    Raises
    ------
    ValueError
        If shapes differ or a value is not in [0, 1].
    """
    p, g = np.asarray(probability, float), np.asarray(votes, float)
    if p.shape != g.shape or (ignore is not None and ignore.shape != p.shape):
        raise ValueError(f"probability has shape {p.shape}, votes {g.shape}; expected one shape, also of `ignore`")
    for name, values in (("probability", p), ("votes", g)):
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(f"{name} lies in {values.min()}..{values.max()}; expected 0..1, not logits")
    keep = slice(None) if ignore is None else ~ignore
    return p[keep].ravel(), g[keep].ravel()


def _ratio(over: float, under: float, empty: str) -> float:
    if empty not in EMPTY_POLICIES:
        raise ValueError(f"empty policy is {empty!r}; expected one of {', '.join(EMPTY_POLICIES)}")
    return over / under if under else {"agree": 1.0, "skip": math.nan, "zero": 0.0}[empty]


def thresholded_soft_dice(
    probability: Floats,
    votes: Floats,
    levels: Sequence[float] = LEVELS,
    *,
    empty: str = "agree",
    ignore: Mask | None = None,
) -> float:
    """Return the mean over `levels` t of Dice(p > t, g > t); 0..1, higher is better.

    If both masks of a level are empty, the empty policy decides. "skip" leaves the level out; the result is NaN if no
    level is left. D-Persona and MBH-Seg use the five levels .1, .3, .5, .7, .9 ("Dice_soft"), QUBIQ 2021 the nine
    levels .1, .2, ..., .9.
    """
    p, g = valid_pair(probability, votes, ignore)
    values = []
    for level in levels:
        a, b = p > level, g > level
        both, total = int(np.count_nonzero(a & b)), int(np.count_nonzero(a) + np.count_nonzero(b))
        values.append(_ratio(2 * both, total, empty))
    return mean_of(values)


def soft_dice(probability: Floats, votes: Floats, *, empty: str = "agree", ignore: Mask | None = None) -> float:
    """Return ``2 sum min(p, g) / (sum p + sum g)``; 0..1, higher is better, 1 if and only if p = g.

    This is the semimetric form of Wang et al., Dice semimetric losses, 2023. If both maps are zero everywhere, the
    empty policy decides.
    """
    p, g = valid_pair(probability, votes, ignore)
    return _ratio(2 * float(np.minimum(p, g).sum()), float(p.sum() + g.sum()), empty)


def plain_soft_dice(probability: Floats, votes: Floats, *, empty: str = "agree", ignore: Mask | None = None) -> float:
    """Return ``2 sum p g / (sum p + sum g)``, which is not a proper score; use it only to compare published numbers.

    With p = g it does not reach 1, and a map of 0 and 1 scores higher than a map of true probabilities. Example: k of
    four raters drew the same pixels and the others drew nothing. Then p = g scores k / 4, but a p of 1 at these pixels
    scores 2 k / (4 + k).
    """
    p, g = valid_pair(probability, votes, ignore)
    return _ratio(2 * float((p * g).sum()), float(p.sum() + g.sum()), empty)


def brier(probability: Floats, votes: Floats, *, ignore: Mask | None = None) -> float:
    """Return the mean over pixels of ``(p - g)**2``; 0..1, lower is better, 0 if and only if p = g.

    It is the mean Brier score against the single raters minus their own variance ``mean g (1 - g)``. NaN without
    pixels.
    """
    p, g = valid_pair(probability, votes, ignore)
    return mean_of((p - g) ** 2)


def cross_entropy(probability: Floats, votes: Floats, *, eps: float = 1e-7, ignore: Mask | None = None) -> float:
    """Return the mean over pixels of ``-g log p - (1 - g) log(1 - p)`` in nats; lower is better.

    Its smallest value is the mean vote entropy, at p = g. p is clipped to [eps, 1 - eps], so that a pixel with a
    certain but wrong prediction costs at most -log(eps). NaN without pixels.
    """
    p, g = valid_pair(probability, votes, ignore)
    p = np.clip(p, eps, 1 - eps)
    return mean_of(-g * np.log(p) - (1 - g) * np.log1p(-p))


def entropy_bits(fraction: Floats) -> Floats:
    """Return the binary entropy in bits of each value in [0, 1]: 0 at the values 0 and 1, and 1 at 1/2."""
    x = np.asarray(fraction, float)
    inside = (x > 0) & (x < 1)
    safe = np.where(inside, x, 0.5)
    return np.where(inside, -safe * np.log2(safe) - (1 - safe) * np.log2(1 - safe), 0.0)
