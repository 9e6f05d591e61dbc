"""Fit the embedded click model by maximum likelihood of clicks of people, a convex problem with one solution.

With the cues c(x) of each pixel x of an error and the values E(x) of the error, the model is
p(x) = E(x) exp(w . c(x)) / Z. The loss is the mean cross-entropy of a click against the density of the clicks
(`rclicks.clickability.groundtruth`), plus a very small ridge penalty. Its Hessian is the mean covariance of the cues
under p, so Newton's method needs only a few steps.
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

LONG_SIDE = 256  # larger scenes are shrunk to this side, because all pixels are in memory; cues do not depend on size
RIDGE = 1e-4
STEPS, TOLERANCE = 50, 1e-10


@dataclass(frozen=True, eq=False)
class Evidence:
    """Data of one item for the fit.

    Attributes
    ----------
    sample : str
        Id of the image. All items of an image are in the same fold.
    weight : (n,) float64 array
        Weights of the pixels of the error, which sum to 1: the uniform density.
    values : (n, k) float32 array
        Cues of the pixels of the error.
    target : (k,) float64 array
        Mean of the cues under the density of the clicks.
    clicks : int
        Number of clicks on the error.
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
        Weights of the cues.
    gain : float
        Mean log-likelihood of a click minus that of the uniform density, in nats.
    objects : int
        Number of objects that were used.
    clicks : int
        Number of clicks that were used.
    steps : int
        Number of steps of Newton's method.
    """

    weights: Vector
    gain: float
    objects: int
    clicks: int
    steps: int


def evidence_of(items: Sequence[ClickItem], sigma: float = 5.0, names: Sequence[str] = CUES) -> list[Evidence]:
    """Return the data of items for the fit. Items without a click on the error are left out.

    Parameters
    ----------
    items : sequence of ClickItem
        Objects with recorded clicks.
    sigma : float
        Blur of the clicks in pixels of a 1920 x 1080 image, see `click_density`.
    names : sequence of str
        Cues to use, a subset of `CUES`.

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
        raise DataError(f"none of the {len(items)} items has a click on its error, so the weights cannot be fitted")
    return found


def _shrunk(item: ClickItem) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the error and the clicks of an item, shrunk so that the longer side has at most `LONG_SIDE` pixels."""
    error, points = np.asarray(item.load().error, np.float32), item.points
    height, width = error.shape
    scale = LONG_SIDE / max(height, width)
    if scale >= 1:
        return error, points
    small = max(1, round(height * scale)), max(1, round(width * scale))
    shrunk = cv2.resize(error, (small[1], small[0]), interpolation=cv2.INTER_AREA)
    return shrunk, (points * np.array(small) // (height, width)).astype(np.int64)


def _density(one: Evidence, weights: Vector) -> tuple[Vector, float]:
    """Return the density of the model over the pixels, and log Z relative to the uniform density."""
    score = one.values @ weights
    top = float(score.max())
    mass = one.weight * np.exp(score - top)
    total = float(mass.sum())
    return mass / total, top + float(np.log(total))


def fit(evidence: Sequence[Evidence]) -> Fit:
    """Return the weights of maximum likelihood, found by Newton's method with step halving; it is deterministic."""
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
    """Return the mean log-likelihood of a click minus that of the uniform density, in nats."""
    total = sum(e.clicks * (float(e.target @ weights) - _density(e, weights)[1]) for e in evidence)
    return total / sum(e.clicks for e in evidence)


def cross_validate(evidence: Sequence[Evidence], folds: int = 5, seed: int = 0) -> list[float]:
    """Return the gain (see `log_gain`) on each held-out fold; all objects of an image are in the same fold.

    Raises
    ------
    DataError
        If there are fewer images than folds, or fewer than two folds.
    """
    samples = sorted({e.sample for e in evidence})
    if len(samples) < folds or folds < 2:
        raise DataError(
            f"cross-validation needs at least two folds and one image for each fold; found {folds} folds and "
            f"{len(samples)} images"
        )
    order = np.random.default_rng(seed).permutation(len(samples))
    fold = {samples[j]: i % folds for i, j in enumerate(order)}
    gains = []
    for k in range(folds):
        fitted = fit([e for e in evidence if fold[e.sample] != k])
        gains.append(log_gain([e for e in evidence if fold[e.sample] == k], fitted.weights))
    return gains
