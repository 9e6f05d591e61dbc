"""Number of clicks until a prediction agrees with the followed rater.

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
    """Return the number of clicks until Dice with the followed rater reaches a level, (n,) int64. Fewer is better.

    Parameters
    ----------
    dice : (n, K) float array
        Dice with the followed rater after clicks 1..K. K is the budget.
    level : float or (n,) float array
        Dice to reach, one number or one for each trajectory. To measure clicks relative to the inter-rater agreement,
        pass the agreement of each object (`rclicks.metrics.raters.agreement`) or a share of it.
    failed : int or None
        Number of clicks that counts for a trajectory that never reaches the level; None for K, as in `effort.noc`.
        SPA has a budget of 6 and counts 10.

    Raises
    ------
    ValueError
        If `failed` is less than the budget, because then a failure would count as fewer clicks than a success.
    """
    reached = _reached(dice, level)
    budget = reached.shape[1]
    if failed is not None and failed < budget:
        raise ValueError(f"failed is {failed}, less than the budget of {budget} clicks; expected at least the budget")
    clicks = effort.noc(reached, 1.0)
    return clicks if failed is None else np.where(effort.failures(reached, 1.0), failed, clicks)


def _reached(dice: Floats, level: float | Floats) -> Floats:
    """Return 1 where Dice reaches the level of its trajectory, else 0, (n, K). `effort` accepts only one level."""
    values = np.asarray(dice, float)
    return (values >= np.broadcast_to(np.asarray(level, float), (len(values),))[:, None]).astype(float)
