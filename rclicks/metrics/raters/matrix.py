"""The rater-by-rater matrix: scores on every rater after following every rater.

Entry (i, j) of the (R, R) matrix of a sample is the score on rater j of the prediction after the clicks of rater i. A
model that adapts to the user has higher scores on the diagonal than outside it.

Within one sample, slot i is one person. This is enough for the means on and outside the diagonal, their gap and the
identification rate. Means of single entries over samples are valid only if slot i is the same person in all samples;
`rater_table` refuses other data sets.

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
    """Return the (R, R) scores of one sample: row = followed rater, column = scored rater; 0..1, higher is better.

    Parameters
    ----------
    predictions, raters : (R, ...) bool arrays or sequences of masks
        Predictions and masks of the raters; prediction i was made from the clicks of rater i.
    kind, empty : str
        Kind of similarity and empty policy, see `Overlaps.similarity`; skipped pairs are NaN.
    ignore : (...) bool array or None
        Pixels that do not count.

    Raises
    ------
    ValueError
        If the numbers of predictions and raters differ.
    """
    if len(predictions) != len(raters):
        raise ValueError(
            f"{len(predictions)} predictions for {len(raters)} raters; expected one for each followed rater"
        )
    return Overlaps.of(predictions, raters, policy="all", ignore=ignore).similarity(kind, empty).across


@dataclass(frozen=True)
class Personalisation:
    """Effect of following one rater. All values are means within each sample, averaged over samples.

    Attributes
    ----------
    own : float
        Score on the followed rater (mean of the diagonal); 0..1, higher is better.
    other : float
        Score on the other raters (mean outside the diagonal); 0..1.
    gap : float
        Personalisation gain, own - other; -1..1. It is 0 for a model whose prediction does not depend on the followed
        rater.
    identified : float
        Share of followed raters whose prediction scores highest on themselves. If k raters share the highest score,
        the followed rater counts 1 / k. The value expected by chance is 1 / R. 0..1, higher is better.
    samples, skipped : int
        Number of samples used, and number of samples without a second rater or without scores.
    """

    own: float
    other: float
    gap: float
    identified: float
    samples: int
    skipped: int


def personalisation(matrices: Sequence[Floats]) -> Personalisation:
    """Return the effect of following one rater from the (R, R) matrices of samples; R may differ between samples.

    NaN entries do not count. A sample with fewer than two raters, or without a number on or outside its diagonal, is
    skipped and counted.

    Raises
    ------
    ValueError
        If a matrix is not square.
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
        Names of the raters in the order of their first appearance.
    mean : (R, R) float64 array
        Mean score over samples; row = followed rater, column = scored rater. NaN if no sample has both raters.
    samples : (R, R) int64 array
        Number of samples in each mean.
    """

    raters: tuple[str, ...]
    mean: Floats
    samples: np.ndarray


def rater_table(matrices: Sequence[Floats], raters: Sequence[Sequence[str]], identity: str) -> RaterTable:
    """Return the means of the matrices of all samples for each pair of raters.

    Parameters
    ----------
    matrices : sequence of (R, R) arrays
        Matrix of each sample; NaN where there is no score.
    raters : sequence of sequence of str
        Names of the raters of each sample, in the order of its matrix.
    identity : str
        `rater_identity` of the data set card.

    Raises
    ------
    ProtocolError
        If the identity is not "known". Scores of different people must not be averaged.
    ValueError
        If a matrix is not square or does not fit its names.
    """
    if identity != "known":
        raise ProtocolError(
            f"a rater-by-rater table needs rater_identity 'known', but that of the data set is {identity!r}: the same "
            "name may mean another person in another sample. Use `personalisation`, which compares raters within each "
            "sample"
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
