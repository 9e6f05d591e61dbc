"""How many clicks a user needs: NoC, NoF, IoU@k and the area under the curve.

All functions take an (n, K) float array: the IoU after clicks 1..K of n trajectories. A trajectory that ended early
keeps its last value. `curves` builds such arrays from records.

>>> noc(np.array([[0.5, 0.92, 0.95], [0.1, 0.2, 0.3]]), 0.9).tolist()
[2, 3]
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rclicks.records.schema import TRAJECTORY

__all__ = ["THRESHOLDS", "area", "auc", "curves", "failures", "noc"]

THRESHOLDS = (0.80, 0.85, 0.90, 0.95)

Curves = NDArray[np.float64]


def curves(records: pd.DataFrame, clicks: int, metric: str = "iou") -> pd.DataFrame:
    """Return a metric after each click: one row for each trajectory and one column for each click 1..`clicks`.

    A trajectory that ended before `clicks` keeps its last value, because its mask does not change any more.

    Parameters
    ----------
    records : pandas.DataFrame
        Records with the columns of `TRAJECTORY`, `run` and `round`.
    clicks : int
        Number of columns.
    metric : str
        Column of the metric.

    Raises
    ------
    ValueError
        If a round of a trajectory is missing or occurs twice. This never happens in the records of one run.
    """
    columns = ["run", *TRAJECTORY]
    if records.duplicated([*columns, "round"]).any():
        raise ValueError("the records contain a round twice; do two runs have the same name?")
    wide = records.pivot(index=columns, columns="round", values=metric)
    counted = records.groupby(columns)["round"].agg(["max", "count"])
    if (counted["max"] != counted["count"]).any():
        raise ValueError("the records of a trajectory lack a round in the middle")
    wide = wide.reindex(columns=range(1, max(clicks, int(counted["max"].max())) + 1))
    rounds = np.asarray(wide.columns)[None, :]
    stopped = rounds > counted["max"].reindex(wide.index).to_numpy()[:, None]
    last = wide.to_numpy()[np.arange(len(wide)), counted["max"].reindex(wide.index).to_numpy() - 1]
    values = np.where(stopped, last[:, None], wide.to_numpy())
    return pd.DataFrame(values, index=wide.index, columns=wide.columns).iloc[:, :clicks]


def noc(ious: Curves, threshold: float) -> NDArray[np.int64]:
    """Return the number of clicks until IoU >= `threshold`, (n,) int64 in 1..K; K if never (Xu et al. 2016)."""
    reached = np.asarray(ious) >= threshold
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, reached.shape[1]).astype(np.int64)


def failures(ious: Curves, threshold: float, rule: str = "never-reached") -> NDArray[np.bool_]:
    """Return which trajectories fail, as an (n,) bool array. Their number is the NoF.

    Parameters
    ----------
    ious : (n, K) float array
    threshold : float
    rule : {"never-reached", "equals-budget"}
        "never-reached" counts trajectories that never reach the threshold. "equals-budget" is the published rule: it
        also counts trajectories that reach the threshold with the last click.
    """
    if rule == "equals-budget":
        return np.asarray(noc(ious, threshold) == np.asarray(ious).shape[1])
    return np.asarray(~(np.asarray(ious) >= threshold).any(axis=1))


def area(values: Curves) -> Curves:
    """Return the area under each curve by the trapezoid rule with unit steps, (n,) in [0, K - 1] for scores in [0, 1].

    >>> area(np.array([[0.1655, 0.4246, 0.5909, 0.6386, 0.755]])).round(5).tolist()
    [2.11435]
    """
    return np.asarray(np.trapezoid(np.asarray(values, float), dx=1.0, axis=1))


def auc(ious: Curves) -> Curves:
    """Return the area under each curve over clicks 1..K by the trapezoid rule, divided by K - 1, (n,) in [0, 1].

    If K is 1, the area is the value itself.
    """
    values = np.asarray(ious, float)
    if values.shape[1] == 1:
        return values[:, 0]
    return area(values) / (values.shape[1] - 1)
