"""Fit the embedded click model: maximum likelihood of people's clicks, a convex problem with one answer.

With the cues c(x) of each pixel x of an error and weights E(x), the model is p(x) = E(x) exp(w . c(x)) / Z. The loss is
the mean cross entropy of a click, taken against the clicks' density (`rclicks.clickability.groundtruth`), plus a tiny
ridge. Its Hessian is the mean covariance of the cues under p, so Newton's method needs a handful of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rclicks.clickability.embedded import CUES, cues
from rclicks.clickability.groundtruth import click_density
from rclicks.errors import DataError
from rclicks.human_clicks.items import ClickItem

__all__ = ["Evidence", "Fit", "cross_validate", "evidence_of", "fit", "log_gain"]

Vector = NDArray[np.float64]

LONG_SIDE = 256  # cues do not depend on size, so larger scenes are shrunk: the fit keeps all pixels in memory
RIDGE = 1e-4
STEPS, TOLERANCE = 50, 1e-10


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one item tells the fit.

    Attributes
    ----------
    sample : str
        The image, by which folds are made.
    weight : (n,) float64 array
        Of the error's pixels, summing to 1: the uniform density.
    values : (n, k) float32 array
        Cues of the error's pixels.
    target : (k,) float64 array
        Mean cues under the clicks' density.
    clicks : int
        How many clicks fell on the error.
    """

    sample: str
    weight: Vector
    values: NDArray[np.float32]
    target: Vector
    clicks: int


@dataclass(frozen=True, eq=False)
class Fit:
    """Fitted weights.

    Attributes
    ----------
    weights : (k,) float64 array
    gain : float
        Mean log-likelihood of a click above that of the uniform density, in nats.
    objects, clicks : int
        Used in the fit.
    steps : int
        Of Newton's method.
    """

    weights: Vector
    gain: float
    objects: int
    clicks: int
    steps: int


def evidence_of(items: Sequence[ClickItem], sigma: float = 5.0, names: Sequence[str] = CUES) -> list[Evidence]:
    """Decode items; those without a click on the error tell nothing and are left out.

    Raises
    ------
    DataError
        If a scene cannot be read or no item has a click on its error.
    """
    picked = [CUES.index(name) for name in names]
    found = []
    for item in items:
        error, points = _shrunk(item)
        on_error = points[error[tuple(points.T)] > 0]
        if not len(on_error):
            continue
        pixels = cues(error)
        values = np.ascontiguousarray(pixels.values[:, picked])
        density = click_density(on_error, error, sigma)[pixels.rows, pixels.columns]
        share = pixels.weight / pixels.weight.sum()
        found.append(Evidence(item.sample, share, values, density @ values.astype(np.float64), len(on_error)))
    if not found:
        raise DataError(f"none of {len(items)} items has a click on its error, so there is nothing to learn from")
    return found


def _shrunk(item: ClickItem) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the error and the clicks of an item, at most `LONG_SIDE` pixels."""
    error, points = np.asarray(item.load().error, np.float32), item.points
    height, width = error.shape
    scale = LONG_SIDE / max(height, width)
    if scale >= 1:
        return error, points
    small = max(1, round(height * scale)), max(1, round(width * scale))
    shrunk = cv2.resize(error, (small[1], small[0]), interpolation=cv2.INTER_AREA)
    return shrunk, (points * np.array(small) // (height, width)).astype(np.int64)


def _density(one: Evidence, weights: Vector) -> tuple[Vector, float]:
    """Return the model's density over the pixels and log Z against the uniform density."""
    score = one.values @ weights
    top = float(score.max())
    mass = one.weight * np.exp(score - top)
    total = float(mass.sum())
    return mass / total, top + float(np.log(total))


def fit(evidence: Sequence[Evidence]) -> Fit:
    """Return the weights of maximum likelihood by Newton's method with halved steps; deterministic."""
    clicks = sum(e.clicks for e in evidence)
    size = evidence[0].values.shape[1]
    weights = np.zeros(size)
    loss = _loss(evidence, weights)
    steps = 0
    while steps < STEPS:
        steps += 1
        gradient, curvature = 2 * RIDGE * weights, 2 * RIDGE * np.eye(size)
        for one in evidence:
            density, _ = _density(one, weights)
            mean = density @ one.values
            centred = one.values - mean
            gradient += one.clicks / clicks * (mean - one.target)
            curvature += one.clicks / clicks * (centred * density[:, None]).T @ centred
        move = np.linalg.solve(curvature, gradient)
        expected = float(gradient @ move)
        length, reached = 1.0, _loss(evidence, weights - move)
        while reached > loss and length > 1e-6:
            length /= 2
            reached = _loss(evidence, weights - length * move)
        weights, loss = weights - length * move, reached
        if expected < TOLERANCE:
            break
    return Fit(weights, log_gain(evidence, weights), len(evidence), clicks, steps)


def _loss(evidence: Sequence[Evidence], weights: Vector) -> float:
    return RIDGE * float(weights @ weights) - log_gain(evidence, weights)


def log_gain(evidence: Sequence[Evidence], weights: Vector) -> float:
    """Return the mean log-likelihood of a click above that of the uniform density, in nats."""
    total = sum(e.clicks * (float(e.target @ weights) - _density(e, weights)[1]) for e in evidence)
    return total / sum(e.clicks for e in evidence)


def cross_validate(evidence: Sequence[Evidence], folds: int = 5, seed: int = 0) -> list[float]:
    """Return the gain on each held-out fold; all objects of an image are in one fold.

    Raises
    ------
    DataError
        If there are fewer images than folds.
    """
    samples = sorted({e.sample for e in evidence})
    if len(samples) < folds or folds < 2:
        raise DataError(
            f"cross-validation with {folds} folds needs at least that many images, and two; found {len(samples)}"
        )
    order = np.random.default_rng(seed).permutation(len(samples))
    fold = {samples[j]: i % folds for i, j in enumerate(order)}
    gains = []
    for k in range(folds):
        fitted = fit([e for e in evidence if fold[e.sample] != k])
        gains.append(log_gain([e for e in evidence if fold[e.sample] == k], fitted.weights))
    return gains
