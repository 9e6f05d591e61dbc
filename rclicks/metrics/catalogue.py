"""The metrics a benchmark can name.

Round metrics are computed by the engine after every interaction and stored; derived metrics are computed from the
stored rounds by `rclicks.analysis` and are never stored as truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rclicks.errors import UnknownNameError
from rclicks.metrics import overlap
from rclicks.metrics.facts import TargetFacts
from rclicks.protocol import Protocol
from rclicks.sample import Mask

__all__ = ["DERIVED", "ROUND", "MetricCard", "score"]


@dataclass(frozen=True, kw_only=True)
class MetricCard:
    """Facts about one metric: its name, meaning, direction and source."""

    name: str
    summary: str
    level: str
    higher_is_better: bool = True
    source: str = ""


Function = Callable[[TargetFacts, Mask, Protocol], float]


def _empty(protocol: Protocol) -> float:
    return 1.0 if protocol.empty_union == "one" else math.nan


ROUND: dict[str, tuple[MetricCard, Function]] = {
    "iou": (
        MetricCard(name="iou", level="round", summary="intersection over union, ignored pixels left out"),
        lambda facts, mask, p: overlap.iou(facts, mask, empty=_empty(p)),
    ),
    "biou": (
        MetricCard(
            name="biou", level="round", summary="boundary IoU, band of 2 % of the diagonal", source="Cheng et al. 2021"
        ),
        lambda facts, mask, p: overlap.boundary_iou(facts, mask, ratio=p.boundary_ratio, empty=_empty(p)),
    ),
    "dice": (
        MetricCard(name="dice", level="round", summary="Dice coefficient", source="Dice 1945"),
        lambda facts, mask, p: overlap.dice(facts, mask, empty=_empty(p)),
    ),
}

DERIVED: dict[str, MetricCard] = {
    "noc": MetricCard(
        name="noc",
        level="trajectory",
        higher_is_better=False,
        summary="number of clicks to an IoU of .80, .85, .90, .95; the budget if never",
    ),
    "nof": MetricCard(
        name="nof",
        level="data set",
        higher_is_better=False,
        summary="number of failures: trajectories that never reach the IoU (compat: whose NoC equals the budget)",
    ),
    "iou@k": MetricCard(name="iou@k", level="data set", summary="mean IoU after click k"),
    "auc": MetricCard(name="auc", level="trajectory", summary="area under the IoU curve over clicks, 0 to 1"),
    "seconds": MetricCard(
        name="seconds",
        level="data set",
        higher_is_better=False,
        summary="seconds a click, split into encode, decode, user and metric",
    ),
    "sample-noc": MetricCard(
        name="sample-noc",
        level="data set",
        higher_is_better=False,
        summary="mean NoC over click groups, and its deviation over groups",
        source="Antonov et al. 2024",
    ),
    "delta-sb": MetricCard(
        name="delta-sb",
        level="data set",
        higher_is_better=False,
        summary="effect of sampled clicks: groups against the base rule (NoC in percent, NoF, IoU)",
        source="Antonov et al. 2024",
    ),
    "delta-gr": MetricCard(
        name="delta-gr",
        level="data set",
        higher_is_better=False,
        summary="effect of unlikely clicks: group G1 against the last (NoC in percent, NoF, IoU)",
        source="Antonov et al. 2024",
    ),
    "delta-hh": MetricCard(
        name="delta-hh",
        level="data set",
        higher_is_better=False,
        summary="lower half of the groups against the upper half, paired (NoC in percent, NoF, IoU)",
        source="Antonov et al. 2024",
    ),
    "nsr": MetricCard(
        name="nsr",
        level="data set",
        higher_is_better=False,
        summary="noise-to-signal ratio: deviation over groups (or people) by their mean",
        source="Antonov et al. 2024",
    ),
    "user@1": MetricCard(
        name="user@1",
        level="data set",
        higher_is_better=True,
        summary="IoU after the first click of real people, and of as many sampled people",
        source="Antonov et al. 2024",
    ),
    "pl1": MetricCard(
        name="pl1",
        level="click map",
        higher_is_better=False,
        summary="mean L1 distance between real and sampled clicks, in units of the object's box",
        source="Antonov et al. 2024",
    ),
    "ks": MetricCard(
        name="ks",
        level="click map",
        higher_is_better=True,
        summary="share of sampled sets that a two-dimensional Kolmogorov-Smirnov test takes for people",
        source="Fasano and Franceschini 1987",
    ),
    "wd": MetricCard(
        name="wd",
        level="click map",
        higher_is_better=False,
        summary="exact Wasserstein distance of real and sampled clicks, in diagonals of the object's box",
        source="Antonov et al. 2024",
    ),
    "nss": MetricCard(
        name="nss",
        level="click map",
        higher_is_better=True,
        summary="z score of the click map at real clicks",
        source="Peters et al. 2005",
    ),
    "pde": MetricCard(
        name="pde",
        level="click map",
        higher_is_better=True,
        summary="probability of real clicks under the click map",
        source="Antonov et al. 2024",
    ),
}


def score(names: tuple[str, ...], facts: TargetFacts, prediction: Mask, protocol: Protocol) -> dict[str, float]:
    """Return the round metrics `names` of a prediction.

    Raises
    ------
    UnknownNameError
        If a name is not a round metric.
    """
    for name in names:
        if name not in ROUND:
            raise UnknownNameError("metric", name, ROUND)
    return {name: ROUND[name][1](facts, prediction, protocol) for name in names}
