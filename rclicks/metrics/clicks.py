"""Agreement of a click map, or of clicks sampled from it, with the clicks of real people.

Points are (n, 2) arrays of (row, column) in pixels; note that published files contain (x, y). Sets of sampled points
are (B, m, 2) arrays. Distances between points are in units of the height and width of the object's box, so that objects
of all sizes have equal weight. The definitions are those of RClicks (Antonov et al., NeurIPS 2024). The results are
exact; loops, and linear programs for sets of equal size, are replaced by faster methods.

>>> real = np.array([[0, 0], [2, 2]])
>>> pl1(real, real[None] + 1, box=(4, 4)).tolist()
[0.75]
>>> wasserstein(real, real[None] + 1, box=(3, 4)).round(4).tolist()
[0.2828]
"""

from __future__ import annotations

from math import lcm

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist
from scipy.stats import kstwobign

__all__ = ["ks2d", "nss", "pde", "pl1", "wasserstein"]

Floats = NDArray[np.float64]

# Sets of different sizes become an assignment problem if points are repeated; above this size a linear program is
# faster.
_MOST_REPEATED = 400
_CHUNK = 4_000_000  # number of comparisons in memory at the same time


def pl1(real: ArrayLike, sets: ArrayLike, box: tuple[float, float]) -> Floats:
    """Return the mean L1 distance over all pairs of a real and a sampled point, each axis in units of the box.

    Parameters
    ----------
    real : (n, 2) array
        Real points (row, column) in pixels; n >= 1.
    sets : (B, m, 2) array
        Sets of sampled points; m >= 1.
    box : (height, width)
        Size of the object's box in pixels, above 0.

    Returns
    -------
    (B,) float64 array
        Mean distance of each set. Lower is better; 0 only if all points are equal.

    Raises
    ------
    ValueError
        If there are no points, a point is not finite, or the box is empty.

    >>> pl1([[0, 0], [4, 8]], [[[2, 2]], [[0, 0]]], box=(4, 8)).tolist()
    [1.0, 1.0]
    """
    points, drawn = _checked(real, sets)
    size = _box(box)
    return np.asarray(np.array([(cdist(points / size, s / size, "cityblock")).mean() for s in drawn]))


def wasserstein(real: ArrayLike, sets: ArrayLike, box: tuple[float, float] | None = None) -> Floats:
    """Return the exact Wasserstein-1 distance between the real points and each set of sampled points.

    The distance between two points is Euclidean, and all points of a set have equal weight.

    Parameters
    ----------
    real : (n, 2) array
        Real points (row, column) in pixels; n >= 1.
    sets : (B, m, 2) array
        Sets of sampled points; m >= 1. With m = n the distance is the solution of an assignment problem (Birkhoff),
        which is exact and fast.
    box : (height, width) or None
        Size of the object's box in pixels. Distances are divided by its diagonal; None leaves them in pixels.

    Returns
    -------
    (B,) float64 array
        Distance of each set; lower is better.

    Raises
    ------
    ValueError
        If there are no points, a point is not finite, or the box is empty.

    >>> wasserstein([[0, 0], [0, 6]], [[[0, 3], [0, 4]], [[0, 6], [0, 0]]]).tolist()
    [2.5, 0.0]
    """
    points, drawn = _checked(real, sets)
    unit = 1.0 if box is None else float(np.hypot(*_box(box)))
    return np.asarray(np.array([_transport(cdist(points, s)) for s in drawn]) / unit)


def _transport(cost: Floats) -> float:
    n, m = cost.shape
    common = lcm(n, m)
    if common <= max(n, m, _MOST_REPEATED):
        repeated = np.repeat(np.repeat(cost, common // n, axis=0), common // m, axis=1)
        return float(repeated[linear_sum_assignment(repeated)].mean())
    rows = sparse.kron(sparse.eye_array(n), np.ones((1, m)))
    columns = sparse.kron(np.ones((1, n)), sparse.eye_array(m))
    weights = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    found = linprog(cost.ravel(), A_eq=sparse.vstack([rows, columns], "csr"), b_eq=weights, method="highs")
    return float(found.fun)


def ks2d(real: ArrayLike, sets: ArrayLike) -> tuple[Floats, Floats]:
    """Return the p-value and the statistic of the two-sample Kolmogorov-Smirnov test in two dimensions.

    For each point of one sample, the shares of both samples in the four quadrants around the point are compared. The
    largest difference is averaged over the two choices of this sample (Peacock 1983; Fasano and Franceschini 1987). The
    p-value is their approximation with the Kolmogorov distribution and the correlations of the coordinates. As in the
    published code, the point itself is not counted in the first quadrant.

    Parameters
    ----------
    real : (n, 2) array
        Real points (row, column); n >= 2.
    sets : (B, m, 2) array
        Sets of sampled points; m >= 2.

    Returns
    -------
    p, statistic : (B,) float64 arrays
        p-value and statistic of each set. The p-value is NaN if a coordinate is equal in all points of a sample,
        because the correlation is then undefined. Published code counts such a set as rejected (NaN > .05 is false).

    Raises
    ------
    ValueError
        If a sample has fewer than two points, or a point is not finite.

    >>> p, statistic = ks2d([[0, 0], [1, 3], [2, 1]], [[[0, 0], [1, 3], [2, 1]], [[7, 8], [8, 7], [9, 9]]])
    >>> p.round(3).tolist(), statistic.round(3).tolist()
    ([0.836, 0.003], [0.333, 1.0])
    """
    points, drawn = _checked(real, sets)
    n, m = len(points), drawn.shape[1]
    if min(n, m) < 2:
        raise ValueError(f"the test needs at least two points in each sample, got {n} and {m}")
    step = max(1, _CHUNK // (max(n, m) * (n + m)))
    both = [
        (_quadrants(points[None].repeat(len(part), 0), part) + _quadrants(part, points[None].repeat(len(part), 0))) / 2
        for part in (drawn[i : i + step] for i in range(0, len(drawn), step))
    ]
    statistic = np.concatenate(both)
    scale = np.sqrt(n * m / (n + m))
    shared = np.sqrt(1 - 0.5 * (_correlation(points[None]) ** 2 + _correlation(drawn) ** 2))
    p = kstwobign.sf(statistic * scale / (1 + shared * (0.25 - 0.75 / scale)))
    return np.asarray(p), statistic


def _quadrants(own: Floats, other: Floats) -> Floats:
    """Return for each set the largest difference of shares in the quadrants around the points of `own`, (B,)."""
    n = own.shape[1]
    around_own, around_other = (_shares(own, points) for points in (own, other))
    difference = around_own - around_other
    difference[..., 0] -= 1 / n
    return np.maximum(-difference.min(axis=(1, 2)), difference.max(axis=(1, 2)) + 1 / n)


def _shares(centres: Floats, points: Floats) -> Floats:
    """Return the shares of `points` in the four quadrants around each of `centres`, (B, n, 4).

    The quadrants are left above, left below, right above and right below.
    """
    left = points[:, None, :, 1] <= centres[:, :, None, 1]
    above = points[:, None, :, 0] <= centres[:, :, None, 0]
    count = points.shape[1]
    a = (left & above).sum(axis=2)
    b = left.sum(axis=2) - a
    c = above.sum(axis=2) - a
    return np.stack([a, b, c, count - a - b - c], axis=2) / count


def _correlation(sets: Floats) -> Floats:
    """Return Pearson's correlation of row and column in each set, (B,); NaN if one of them is constant."""
    centred = sets - sets.mean(axis=1, keepdims=True)
    rows, columns = centred[..., 0], centred[..., 1]
    product = np.sqrt((rows**2).sum(axis=1) * (columns**2).sum(axis=1))
    constant = (np.ptp(sets, axis=1) == 0).any(axis=1)
    covered = np.where(constant, 1.0, product)
    r = np.clip((rows * columns).sum(axis=1) / covered, -1.0, 1.0)
    return np.where(constant, np.nan, r)


def pde(click_map: ArrayLike, points: ArrayLike) -> float:
    """Return the mean probability of real clicks under a click map; higher is better.

    Parameters
    ----------
    click_map : (H, W) array
        Map without negative values; it is normalised to the sum 1. A map of zeros gives 0.
    points : (n, 2) int array
        Real clicks (row, column) inside the map; n >= 1.

    Raises
    ------
    ValueError
        If there are no points, a point lies outside the map, or a value of the map is negative or not finite.

    >>> round(pde([[0, 1], [1, 2]], [[1, 1], [0, 1]]), 6)
    0.375
    """
    _, at = _at(click_map, points)
    return float(at.mean())


def nss(click_map: ArrayLike, points: ArrayLike) -> float:
    """Return the mean z-score of a click map at real clicks (normalised scanpath saliency); higher is better.

    Parameters
    ----------
    click_map : (H, W) array
        Map without negative values. A constant map gives 0.
    points : (n, 2) int array
        Real clicks (row, column) inside the map; n >= 1.

    Raises
    ------
    ValueError
        If there are no points, a point lies outside the map, or a value of the map is negative or not finite.

    >>> round(nss([[0, 1], [1, 2]], [[1, 1]]), 4)
    1.4142
    """
    share, at = _at(click_map, points)
    return float(((at - share.mean()) / (share.std() + 1e-9)).mean())


def _at(click_map: ArrayLike, points: ArrayLike) -> tuple[Floats, Floats]:
    values, where = np.asarray(click_map, np.float64), np.asarray(points)
    if values.ndim != 2 or not values.size or not (np.isfinite(values.sum()) and values.min() >= 0):
        raise ValueError(f"the click map has shape {values.shape}; expected (H, W) with finite values, none negative")
    if where.ndim != 2 or where.shape[1] != 2 or not len(where):
        raise ValueError(f"points have shape {where.shape}; expected (n, 2) with n >= 1")
    if (where < 0).any() or (where >= values.shape).any():
        raise ValueError(f"a point lies outside the {values.shape[0]} x {values.shape[1]} map")
    share = values / (values.sum() + 1e-9)
    return share, share[where[:, 0], where[:, 1]]


def _checked(real: ArrayLike, sets: ArrayLike) -> tuple[Floats, Floats]:
    points, drawn = np.asarray(real, np.float64), np.asarray(sets, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or drawn.ndim != 3 or drawn.shape[2] != 2:
        raise ValueError(f"points and sets have shapes {points.shape} and {drawn.shape}, expected (n, 2) and (B, m, 2)")
    if not len(points) or not drawn.shape[1]:
        raise ValueError("there are no points to compare")
    if not (np.isfinite(points).all() and np.isfinite(drawn).all()):
        raise ValueError("a point is not finite")
    return points, drawn


def _box(box: tuple[float, float]) -> Floats:
    size = np.asarray(box, np.float64)
    if size.shape != (2,) or not (size > 0).all():
        raise ValueError(f"the object's box is {box}, expected a height and a width above 0")
    return size
