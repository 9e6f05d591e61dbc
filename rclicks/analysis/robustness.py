"""How much a model depends on where people click: the robustness measures of RClicks, with intervals and paired tests.

Each object is clicked by the base rule (B) and by click groups (G1, the least likely clicks, to Gn, the most likely
ones). Optionally, real people and the same number of sampled people place one click each. `Played` contains the scores
of one model on one data set, and `measures` computes the measures from them.

The published measures (Antonov et al. 2024, RClicks; as in its notebook) are means over objects of a ratio for each
object. A single object with a small NoC of the base rule can dominate such a mean. Therefore ratios of means are also
computed. Differences of NoC are in percent, differences of IoU and AUC are in [-1, 1].

>>> played = Played(base=np.array([[0.5, 0.95]]), groups=np.array([[[[0.2, 0.4]]], [[[0.5, 0.92]]]]))
>>> measures(played)["delta_gr_noc_pct"]
0.0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.analysis.bootstrap import LEVEL, RESAMPLES, SEED, Interval, draw_counts, percentiles
from rclicks.analysis.effort import auc, failures, noc

__all__ = ["Interval", "Played", "holm", "intervals", "measures", "paired_test", "per_object_noc"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Played:
    """IoU of one model on one data set under all users.

    Attributes
    ----------
    base : (n, K) float array
        IoU of n objects after click 1..K of the base rule.
    groups : (G, R, n, K) float array
        IoU of the same objects after clicks 1..K of G groups (G1 first) and R replicates.
    people, sampled_people : sequence of (m_i,) float arrays
        IoU after the first click of each real or sampled person on object i; empty without such clicks. The objects
        may differ from those of `base`.
    asked : (n,) bool array or None
        True for the objects of `base` that people clicked on, so that `base_iou1` can be compared with the scores of
        people; None for all objects. (The published code leaves out two objects of TETRIS that nobody clicked on.)
    """

    base: Floats
    groups: Floats
    people: Sequence[Floats] = field(default=())
    sampled_people: Sequence[Floats] = field(default=())
    asked: NDArray[np.bool_] | None = None


def measures(played: Played, threshold: float = 0.9, nof_rule: str = "never-reached") -> dict[str, float]:
    """Return all measures of robustness by name.

    Parameters
    ----------
    played : Played
    threshold : float
        IoU in (0, 1] until which clicks are counted.
    nof_rule : {"never-reached", "equals-budget"}
        See `rclicks.analysis.effort.failures`.

    Returns
    -------
    dict of str to float
        base_*: base rule. sample_*: mean over groups. *_std: population standard deviation over the groups of each
        object, then mean over objects. delta_sb_*: groups minus base rule. delta_gr_*: G1 minus Gn. delta_hh_*: lower
        minus upper half of the groups, paired by rank. ratio_*: the same as a ratio of means. sample_nsr:
        noise-to-signal ratio over groups. base_iou1: IoU after the first click. user_iou1*, user_sample_iou1*: the
        same for real and sampled people. NaN where undefined.
    """
    found = {name: float(np.mean(values)) for name, values in _per_object(played, threshold).items()}
    g = _noc_groups(played, threshold)
    b = noc(played.base, threshold)
    first, last, (lower, upper) = g[0], g[-1], _halves(g)
    failed = _failed_groups(played, threshold, nof_rule)
    base_failed = float(failures(played.base, threshold, nof_rule).sum())
    low, high = _halves(failed[:, None])
    found |= {
        "base_iou1": float(played.base[slice(None) if played.asked is None else played.asked, 0].mean()),
        "base_nof": base_failed,
        "sample_nof": float(failed.mean()),
        "sample_nof_std": float(failed.std()),
        "delta_sb_nof": float(failed.mean()) - base_failed,
        "delta_gr_nof": float(failed[0] - failed[-1]),
        "delta_hh_nof": float((low - high).mean()) if low.size else float("nan"),
        "ratio_sb_noc_pct": 100 * (float(g.mean()) / float(b.mean()) - 1),
        "ratio_gr_noc_pct": 100 * (float(first.mean()) / float(last.mean()) - 1),
        "ratio_hh_noc_pct": 100 * (float(lower.mean()) / float(upper.mean()) - 1) if lower.size else float("nan"),
    }
    for name, people in (("user", played.people), ("user_sample", played.sampled_people)):
        kept = [np.asarray(p, float) for p in people if len(p)]
        found[f"{name}_iou1"] = _mean([p.mean() for p in kept])
        found[f"{name}_iou1_std"] = _mean([p.std() for p in kept])
        found[f"{name}_iou1_nsr"] = _mean([p.std() / (p.mean() + 1e-9) for p in kept])
    return found


def intervals(
    played: Played, threshold: float = 0.9, level: float = LEVEL, seed: int = SEED, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Return percentile bootstrap intervals of the measures that are means over objects, and of two ratios of means.

    Objects are drawn with replacement, each with all its trajectories. The result is deterministic for a seed.

    Parameters
    ----------
    played : Played
    threshold : float
        IoU in (0, 1] until which clicks are counted.
    level : float
        Confidence level.
    seed : int
    resamples : int
        Number of bootstrap resamples.

    Returns
    -------
    dict of str to Interval
        Names as in `measures`.
    """
    values = _per_object(played, threshold)
    g, b = _noc_groups(played, threshold), noc(played.base, threshold).astype(float)
    n = len(b)
    counts = draw_counts(n, resamples, seed)
    drawn = {name: counts @ v / n for name, v in values.items()}
    drawn["ratio_sb_noc_pct"] = 100 * ((counts @ g.mean(axis=0)) / (counts @ b) - 1)
    drawn["ratio_gr_noc_pct"] = 100 * ((counts @ g[0]) / (counts @ g[-1]) - 1)
    return {name: percentiles(d, level) for name, d in drawn.items()}


def per_object_noc(played: Played, threshold: float = 0.9) -> Floats:
    """Return the NoC of each object as the mean over groups and replicates, (n,) float64."""
    return np.asarray(_noc_groups(played, threshold).mean(axis=0))


def paired_test(a: Floats, b: Floats) -> tuple[float, float]:
    """Return the mean difference a - b and the two-sided p value of Wilcoxon's signed-rank test.

    Parameters
    ----------
    a, b : (n,) float arrays
        Values of the same objects in the same order. Pairs of equal values are ranked but not counted (Pratt's rule).
        If all pairs are equal, p is 1.
    """
    from scipy.stats import wilcoxon

    difference = np.asarray(a, float) - np.asarray(b, float)
    if not difference.any():
        return 0.0, 1.0
    return float(difference.mean()), float(wilcoxon(difference, zero_method="pratt").pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Return p values corrected for multiple tests (Holm 1979), in the given order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda j: p[j])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


def _per_object(played: Played, threshold: float) -> dict[str, Floats]:
    """Return the value of each object, (n,) float64, for each measure that is a mean over objects."""
    g, b = _noc_groups(played, threshold), noc(played.base, threshold).astype(float)
    a, base_auc = _auc_groups(played), auc(played.base)
    (noc_low, noc_high), (auc_low, auc_high) = _halves(g), _halves(a)
    mean_auc = a.mean(axis=0)
    found = {
        "base_noc": b,
        "sample_noc": g.mean(axis=0),
        "sample_noc_std": g.std(axis=0),
        "delta_sb_noc_pct": 100 * (g.mean(axis=0) - b) / b,
        "delta_gr_noc_pct": 100 * (g[0] - g[-1]) / g[-1],
        "base_auc": base_auc,
        "sample_auc": mean_auc,
        "sample_auc_std": a.std(axis=0),
        "delta_sb_auc": mean_auc - base_auc,
        "delta_gr_auc": a[0] - a[-1],
        "sample_nsr": np.divide(a.std(axis=0), mean_auc, out=np.full(len(b), np.nan), where=mean_auc > 0),
    }
    if noc_low.size:
        found["delta_hh_noc_pct"] = 100 * ((noc_low - noc_high) / noc_high).mean(axis=0)
        found["delta_hh_auc"] = (auc_low - auc_high).mean(axis=0)
    else:
        found |= {"delta_hh_noc_pct": np.full(len(b), np.nan), "delta_hh_auc": np.full(len(b), np.nan)}
    return {name: np.asarray(values, float) for name, values in found.items()}


def _noc_groups(played: Played, threshold: float) -> Floats:
    """Return the NoC of each group and object as the mean over replicates, (G, n)."""
    shape = played.groups.shape
    flat = noc(played.groups.reshape(-1, shape[-1]), threshold).reshape(shape[:-1])
    return np.asarray(flat.mean(axis=1))


def _auc_groups(played: Played) -> Floats:
    shape = played.groups.shape
    return np.asarray(auc(played.groups.reshape(-1, shape[-1])).reshape(shape[:-1]).mean(axis=1))


def _failed_groups(played: Played, threshold: float, rule: str) -> Floats:
    """Return the number of failed objects of each group as the mean over replicates, (G,)."""
    shape = played.groups.shape
    flat = failures(played.groups.reshape(-1, shape[-1]), threshold, rule).reshape(shape[:-1])
    return np.asarray(flat.sum(axis=2).mean(axis=1), float)


def _halves(values: Floats) -> tuple[Floats, Floats]:
    """Return the lower and the upper half of the groups, paired by rank. Both are empty if their number is odd."""
    count = len(values)
    return (values[:0], values[:0]) if count % 2 else (values[: count // 2], values[count // 2 :])


def _mean(values: Sequence[Any]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
