"""Normalised cross-correlation of uncertainty maps (Baumgartner et al., PHiSeg, MICCAI 2019).

>>> rng = np.random.default_rng(0)
>>> p = rng.random((4, 8, 8))
>>> found = ncc(p, p > 0.5)
>>> 0.5 < found.value < 1, found.raters, found.undefined
(True, 4, 0)
>>> ncc(np.zeros((4, 8, 8)), p > 0.5)
Ncc(value=nan, raters=4, undefined=4)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rclicks.metrics.raters.overlap import Floats, mean_of, stack_masks
from rclicks.sample import Mask

__all__ = ["Ncc", "ncc", "uncertainty_maps"]


@dataclass(frozen=True)
class Ncc:
    """Correlation between the differences among predictions and the differences of predictions from a rater.

    Attributes
    ----------
    value : float
        Correlation, mean over raters; -1..1, higher is better. NaN if it is undefined for all raters.
    raters : int
        Number of raters.
    undefined : int
        Number of raters without a correlation, because one of the two maps is constant.
    """

    value: float
    raters: int
    undefined: int


def uncertainty_maps(probabilities: Floats, raters: Sequence[Mask] | Mask, eps: float = 1e-8) -> tuple[Floats, Floats]:
    """Return the maps ``E_ss``, (N,), and ``E_sy``, (R, N), over the N pixels.

    ``E_ss(x) = mean_m CE(s_m, mean s)`` and ``E_sy^j(x) = mean_m CE(s_m, y_j)``, where s = (1 - p, p) and
    ``CE(s, t) = -sum_c t_c log(s_c + eps)``. CE is linear in t, so the mean of the logarithms over m is computed once.

    Parameters
    ----------
    probabilities : (M, ...) float array in [0, 1]
        Probabilities of the set of predictions.
    raters : (R, ...) bool array or sequence of masks
        Masks of the raters; select raters with `choose_raters`.
    eps : float
        Number that is added to a probability before its logarithm is taken.

    Raises
    ------
    ValueError
        If the shapes differ, there is no prediction or no rater, or a probability is not in [0, 1].
    """
    masks = stack_masks(raters, "raters")
    p = np.asarray(probabilities, float)
    if p.shape[1:] != masks.shape[1:] or not len(p) or not len(masks):
        raise ValueError(f"probabilities have shape {p.shape}, raters {masks.shape}; expected (M, ...) and (R, ...)")
    if not (p.min() >= 0 and p.max() <= 1):
        raise ValueError(f"probabilities lie in {p.min()}..{p.max()}; expected 0..1, not logits")
    p, y = p.reshape(len(p), -1), masks.reshape(len(masks), -1)
    for_one, for_zero = -np.log(p + eps).mean(axis=0), -np.log(1 - p + eps).mean(axis=0)
    mean = p.mean(axis=0)
    return mean * for_one + (1 - mean) * for_zero, np.where(y, for_one, for_zero)


def ncc(probabilities: Floats, raters: Sequence[Mask] | Mask, eps: float = 1e-8) -> Ncc:
    """Return the Pearson correlation over pixels of ``E_ss`` and ``E_sy^j``, mean over raters j.

    Parameters and errors are those of `uncertainty_maps`. A correlation with a constant map is undefined and left out.
    The published code returns rounding noise in this case.
    """
    own, others = uncertainty_maps(probabilities, raters, eps)
    values = np.array([_correlation(own, other) for other in others])
    return Ncc(mean_of(values), len(values), int(np.isnan(values).sum()))


def _correlation(a: Floats, b: Floats) -> float:
    if np.ptp(a) <= 1e-12 or np.ptp(b) <= 1e-12:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
