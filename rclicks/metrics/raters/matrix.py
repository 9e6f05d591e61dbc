"""The rater-by-rater matrix: who is served by following whom.

Entry (i, j) of a sample's (R, R) matrix is the score, against rater j, of the mask that clicks of rater i led to. A
model that takes up what the user wants scores higher on the diagonal than beside it.

Within one sample, slot i is one person, so the diagonal means, the gap and the identification rate need no more. To
average row by row over samples, slot i must be the same person everywhere: `rater_table` refuses otherwise.

>>> raters = np.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool)
>>> matrix = rater_matrix(raters, raters)
>>> matrix.tolist()
[[1.0, 0.5], [0.5, 1.0]]
>>> found = personalisation([matrix])
>>> found.own, found.other, found.gap, found.identified
(1.0, 0.5, 0.5, 1.0)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rclicks.errors import ProtocolError
from rclicks.metrics.raters.overlap import Floats, Overlaps, mean_of
from rclicks.sample import Mask

__all__ = ["Personalisation", "RaterTable", "personalisation", "rater_matrix", "rater_table"]


def rater_matrix(
    predictions: Sequence[Mask] | Mask,
    raters: Sequence[Mask] | Mask,
    *,
    kind: str = "dice",
    empty: str = "agree",
    ignore: Mask | None = None,
) -> Floats:
    """Return the (R, R) scores of one sample: row = rater followed, column = rater scored on; 0..1, higher is better.

    Parameters
    ----------
    predictions, raters : (R, ...) bool arrays or sequences of masks
        Prediction i was made from the clicks of rater i.
    kind, empty : str
        As for `Overlaps.similarity`; a pair skipped is NaN.

    Raises
    ------
    ValueError
        If there is not one prediction a rater.
    """
    if len(predictions) != len(raters):
        raise ValueError(f"{len(predictions)} predictions for {len(raters)} raters; expected one a rater followed")
    return Overlaps.of(predictions, raters, policy="all", ignore=ignore).similarity(kind, empty).across


@dataclass(frozen=True)
class Personalisation:
    """What following one rater brings, as means over samples of the mean within each.

    Attributes
    ----------
    own : float
        Mean of the diagonal: the score on the rater followed. 0..1, higher is better.
    other : float
        Mean beside the diagonal: the score on the other raters. 0..1.
    gap : float
        Personalisation gain, own - other; -1..1, 0 for a model that ignores whom it follows.
    identified : float
        Share of followed raters whose mask scores best on themselves; k raters that share the best score count 1 / k.
        Chance is 1 / R. 0..1, higher is better.
    samples, skipped : int
        Samples used; samples left out because they lack a second rater or scores.
    """

    own: float
    other: float
    gap: float
    identified: float
    samples: int
    skipped: int


def personalisation(matrices: Sequence[Floats]) -> Personalisation:
    """Return the means over samples of what their (R, R) matrices say; R may differ. NaN entries do not count.

    A sample with fewer than two raters, or without a number on or beside its diagonal, is left out and counted.
    """
    rows = []
    for matrix in matrices:
        values = _square(matrix)
        on = np.eye(len(values), dtype=bool)
        own, other = mean_of(values[on]), mean_of(values[~on])
        if not (math.isnan(own) or math.isnan(other)):
            rows.append((own, other, own - other, _identified(values)))
    means = np.mean(rows, axis=0) if rows else np.full(4, math.nan)
    own, other, gap, identified = (float(v) for v in means)
    return Personalisation(own, other, gap, identified, len(rows), len(matrices) - len(rows))


def _identified(values: Floats) -> float:
    filled = np.where(np.isnan(values), -np.inf, values)
    best = filled == filled.max(axis=1, keepdims=True)
    rows = ~np.isnan(values.diagonal())
    return mean_of((best.diagonal() / best.sum(axis=1))[rows])


def _square(matrix: Floats) -> Floats:
    values = np.asarray(matrix, float)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"a rater matrix has shape {values.shape}; expected (R, R)")
    return values


@dataclass(frozen=True, eq=False)
class RaterTable:
    """The rater-by-rater matrix of a data set.

    Attributes
    ----------
    raters : tuple of str
        Names, in order of first appearance.
    mean : (R, R) float64 array
        Mean score over samples; row = rater followed, column = rater scored on; NaN where no sample has both.
    samples : (R, R) int64 array
        Samples in each mean.
    """

    raters: tuple[str, ...]
    mean: Floats
    samples: np.ndarray


def rater_table(matrices: Sequence[Floats], raters: Sequence[Sequence[str]], identity: str) -> RaterTable:
    """Average matrices of samples rater by rater.

    Parameters
    ----------
    matrices : sequence of (R, R) arrays
        One a sample; NaN where there is no score.
    raters : sequence of sequence of str
        Names of each sample's raters, in the order of its matrix.
    identity : str
        The data set card's `rater_identity`.

    Raises
    ------
    ProtocolError
        If identity is not "known": slots of unlike people must not be averaged.
    """
    if identity != "known":
        raise ProtocolError(
            f"a table rater by rater needs rater_identity 'known', the data set says {identity!r}: the same name may "
            "be another person in the next sample. Use `personalisation`, which compares raters within each sample"
        )
    if len(matrices) != len(raters):
        raise ValueError(f"{len(matrices)} matrices but {len(raters)} lists of raters")
    names = tuple(dict.fromkeys(name for sample in raters for name in sample))
    total = np.zeros((len(names), len(names)))
    count = np.zeros(total.shape, np.int64)
    for matrix, own in zip(matrices, raters, strict=True):
        values = _square(matrix)
        if len(own) != len(values) or len(set(own)) != len(own):
            raise ValueError(f"a matrix of {len(values)} raters has the names {list(own)}; expected one name each")
        at = np.ix_(*[[names.index(n) for n in own]] * 2)
        total[at] += np.nan_to_num(values)
        count[at] += ~np.isnan(values)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return RaterTable(names, mean, count)
