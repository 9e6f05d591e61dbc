"""Clicks that each followed rater needs, by the effort measures of `rclicks.analysis.effort`.

>>> dice = np.array([[0.5, 0.92, 0.95], [0.1, 0.2, 0.3]])
>>> clicks_to_reach(dice, 0.9, failed=10).tolist()
[2, 10]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rclicks.analysis import effort

__all__ = ["clicks_to_reach"]

Floats = NDArray[np.float64]


def clicks_to_reach(dice: Floats, level: float | Floats, *, failed: int | None = None) -> NDArray[np.int64]:
    """Return the clicks each trajectory needs to reach a Dice to the rater it follows, (n,) int64; fewer is better.

    Parameters
    ----------
    dice : (n, K) float array
        Dice after clicks 1..K against the followed rater. K is the cap.
    level : float or (n,) float array
        The Dice to reach. For clicks relative to the raters' own agreement give each object's
        `rclicks.metrics.raters.agreement` value, or a share of it.
    failed : int or None
        What a trajectory that never reaches it counts: None for K (as `effort.noc`). SPA caps at 6 and counts 10.

    Raises
    ------
    ValueError
        If `failed` is below the cap: failing would pay.
    """
    reached = _reached(dice, level)
    cap = reached.shape[1]
    if failed is not None and failed < cap:
        raise ValueError(f"a failure counts {failed} clicks, fewer than the cap of {cap}; expected at least the cap")
    clicks = effort.noc(reached, 1.0)
    return clicks if failed is None else np.where(effort.failures(reached, 1.0), failed, clicks)


def _reached(dice: Floats, level: float | Floats) -> Floats:
    """Return 1 where a Dice is at least its trajectory's own level and 0 elsewhere, (n, K): `effort` has one level."""
    values = np.asarray(dice, float)
    return (values >= np.broadcast_to(np.asarray(level, float), (len(values),))[:, None]).astype(float)
