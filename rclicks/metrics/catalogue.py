"""The metrics that a benchmark can name.

Round metrics are computed by the engine after every interaction and stored in the records. Derived metrics are computed
from the stored rounds by `rclicks.analysis`; they are never stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from rclicks.errors import UnknownNameError
from rclicks.metrics import boundary, overlap
from rclicks.metrics.surface import SurfacePair
from rclicks.metrics.target import TargetReference, bounding_box, widen
from rclicks.protocol import Protocol
from rclicks.sample import Mask

__all__ = ["DEFAULTS", "DERIVED", "ROUND", "Comparison", "MetricCard", "score"]


@dataclass(frozen=True, kw_only=True)
class MetricCard:
    """Facts about one metric.

    Attributes
    ----------
    name : str
        Name in benchmarks, records and tables.
    summary : str
        Definition in one line.
    level : str
        Unit that has one value of the metric: "round", "trajectory", "data set", "click map", or for several raters
        "raters" or "set".
    dims : tuple of int
        Numbers of axes of the samples: 2 for images, 3 for volumes.
    higher_is_better : bool or None
        Direction of the metric; None if neither higher nor lower is better.
    source : str
        Publication of the definition.
    """

    name: str
    summary: str
    level: str
    dims: tuple[int, ...] = (2,)
    higher_is_better: bool | None = True
    source: str = ""


class Comparison:
    """One prediction and its reference mask, with intermediate results that several metrics use.

    Parameters
    ----------
    reference : TargetReference
    prediction : bool array of the same shape
    protocol : Protocol
        Rules for empty masks, boundary band and tolerance.
    """

    def __init__(self, reference: TargetReference, prediction: Mask, protocol: Protocol) -> None:
        self.reference, self.prediction, self.protocol = reference, prediction, protocol
        self.empty = 1.0 if protocol.empty_union == "one" else math.nan

    @cached_property
    def surfel(self) -> SurfacePair:
        """Surface distances for the definition "surfel"."""
        return self._surfaces("surfel")

    @cached_property
    def voxel(self) -> SurfacePair:
        """Surface distances for the definition "voxel"."""
        return self._surfaces("voxel")

    def _surfaces(self, definition: str) -> SurfacePair:
        window = widen(self.reference.window, bounding_box(self.prediction)) or (slice(0, 1),) * self.prediction.ndim
        reference, prediction = self.reference.mask[window], self.prediction[window]
        if self.reference.ignore is not None:
            prediction = prediction & ~self.reference.ignore[window]
        return SurfacePair.of(reference, prediction, self.reference.spacing, definition)


Function = Callable[[Comparison], float]

_BOTH = (2, 3)
_NIKOLOV = "Nikolov et al. 2021"
_TAHA = "Taha and Hanbury 2015"

ROUND: dict[str, tuple[MetricCard, Function]] = {
    "iou": (
        MetricCard(name="iou", level="round", dims=_BOTH, summary="intersection over union, without ignored pixels"),
        lambda v: overlap.iou(v.reference, v.prediction, empty=v.empty),
    ),
    "biou": (
        MetricCard(
            name="biou",
            level="round",
            summary="boundary IoU, band width 2 % of the diagonal",
            source="Cheng et al. 2021",
        ),
        lambda v: boundary.boundary_iou(v.reference, v.prediction, ratio=v.protocol.boundary_ratio, empty=v.empty),
    ),
    "dice": (
        MetricCard(name="dice", level="round", dims=_BOTH, summary="Dice coefficient", source="Dice 1945"),
        lambda v: overlap.dice(v.reference, v.prediction, empty=v.empty),
    ),
    "nsd-surfel": (
        MetricCard(
            name="nsd-surfel",
            level="round",
            dims=_BOTH,
            summary="normalised surface distance, surface between voxels weighted by area (DeepMind, MedSegFM)",
            source=_NIKOLOV,
        ),
        lambda v: v.surfel.nsd(v.protocol.nsd_tolerance),
    ),
    "nsd-voxel": (
        MetricCard(
            name="nsd-voxel",
            level="round",
            dims=_BOTH,
            summary="normalised surface distance, border voxels with equal weight (MONAI, MetricsReloaded)",
            source="Maier-Hein et al. 2024",
        ),
        lambda v: v.voxel.nsd(v.protocol.nsd_tolerance),
    ),
    "hd95-surfel": (
        MetricCard(
            name="hd95-surfel",
            level="round",
            dims=_BOTH,
            higher_is_better=False,
            summary="95 % Hausdorff distance in mm, percentile weighted by area, larger direction (DeepMind)",
            source=_NIKOLOV,
        ),
        lambda v: v.surfel.hausdorff(95),
    ),
    "hd95-voxel": (
        MetricCard(
            name="hd95-voxel",
            level="round",
            dims=_BOTH,
            higher_is_better=False,
            summary="95 % Hausdorff distance in mm of border voxels, larger direction (MONAI, MetricsReloaded)",
            source="Maier-Hein et al. 2024",
        ),
        lambda v: v.voxel.hausdorff(95),
    ),
    "hd95-pooled": (
        MetricCard(
            name="hd95-pooled",
            level="round",
            dims=_BOTH,
            higher_is_better=False,
            summary="95 % Hausdorff distance in mm of border voxels, both directions pooled (MedPy)",
            source=_TAHA,
        ),
        lambda v: v.voxel.hausdorff_pooled(95),
    ),
    "assd-surfel": (
        MetricCard(
            name="assd-surfel",
            level="round",
            dims=_BOTH,
            higher_is_better=False,
            summary="average symmetric surface distance in mm, weighted by area",
            source=_NIKOLOV,
        ),
        lambda v: v.surfel.average(),
    ),
    "assd-voxel": (
        MetricCard(
            name="assd-voxel",
            level="round",
            dims=_BOTH,
            higher_is_better=False,
            summary="average symmetric surface distance in mm of border voxels",
            source=_TAHA,
        ),
        lambda v: v.voxel.average(),
    ),
    "volume-error": (
        MetricCard(
            name="volume-error",
            level="round",
            dims=_BOTH,
            higher_is_better=None,
            summary="(predicted - true volume) / true volume: -1 if nothing is predicted, 0 if equal, 1 if twice",
        ),
        lambda v: overlap.volume_error(v.reference, v.prediction),
    ),
}

DEFAULTS: dict[int, tuple[str, ...]] = {2: ("iou", "biou"), 3: ("iou", "dice", "nsd-surfel", "hd95-surfel")}

DERIVED: dict[str, MetricCard] = {
    "noc": MetricCard(
        name="noc",
        level="trajectory",
        higher_is_better=False,
        summary="number of clicks until the IoU reaches .80, .85, .90, .95; the budget if it never does",
    ),
    "nof": MetricCard(
        name="nof",
        level="data set",
        higher_is_better=False,
        summary="number of failures: trajectories that never reach the IoU (compat: with a NoC equal to the budget)",
    ),
    "iou@k": MetricCard(name="iou@k", level="data set", summary="mean IoU after click k"),
    "auc": MetricCard(name="auc", level="trajectory", summary="area under the IoU curve over clicks, 0 to 1"),
    "dsc-auc": MetricCard(
        name="dsc-auc",
        level="data set",
        dims=(3,),
        summary="area under the Dice curve over clicks, unit steps, without the box: 0 to 4 for five clicks; `full`: "
        "over all interactions, 0 to 1",
        source="CVPR 2025 MedSegFM challenge",
    ),
    "nsd-auc": MetricCard(
        name="nsd-auc",
        level="data set",
        dims=(3,),
        summary="area under the curve of the normalised surface distance, like dsc-auc; with the rule nsd_gate",
        source="CVPR 2025 MedSegFM challenge",
    ),
    "seconds": MetricCard(
        name="seconds",
        level="data set",
        higher_is_better=False,
        summary="seconds for each click, split into encode, decode, user and metric",
    ),
    "sample-noc": MetricCard(
        name="sample-noc",
        level="data set",
        higher_is_better=False,
        summary="mean NoC over click groups, and its standard deviation over groups",
        source="Antonov et al. 2024",
    ),
    "delta-sb": MetricCard(
        name="delta-sb",
        level="data set",
        higher_is_better=False,
        summary="effect of sampled clicks: click groups compared with the base rule (NoC in percent, NoF, IoU)",
        source="Antonov et al. 2024",
    ),
    "delta-gr": MetricCard(
        name="delta-gr",
        level="data set",
        higher_is_better=False,
        summary="effect of unlikely clicks: group G1 compared with the last group (NoC in percent, NoF, IoU)",
        source="Antonov et al. 2024",
    ),
    "delta-hh": MetricCard(
        name="delta-hh",
        level="data set",
        higher_is_better=False,
        summary="lower half of the groups compared with the upper half, paired (NoC in percent, NoF, IoU)",
        source="Antonov et al. 2024",
    ),
    "nsr": MetricCard(
        name="nsr",
        level="data set",
        higher_is_better=False,
        summary="noise-to-signal ratio: standard deviation over groups (or people) divided by the mean",
        source="Antonov et al. 2024",
    ),
    "user@1": MetricCard(
        name="user@1",
        level="data set",
        higher_is_better=True,
        summary="IoU after the first click, of real people and of equally many sampled clicks",
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
        summary="share of sampled sets that a 2-D Kolmogorov-Smirnov test does not distinguish from clicks of people",
        source="Fasano and Franceschini 1987",
    ),
    "wd": MetricCard(
        name="wd",
        level="click map",
        higher_is_better=False,
        summary="exact Wasserstein distance between real and sampled clicks, in diagonals of the object's box",
        source="Antonov et al. 2024",
    ),
    "nss": MetricCard(
        name="nss",
        level="click map",
        higher_is_better=True,
        summary="mean z-score of the click map at real clicks",
        source="Peters et al. 2005",
    ),
    "pde": MetricCard(
        name="pde",
        level="click map",
        higher_is_better=True,
        summary="mean probability of real clicks under the click map",
        source="Antonov et al. 2024",
    ),
}


def score(names: tuple[str, ...], reference: TargetReference, prediction: Mask, protocol: Protocol) -> dict[str, float]:
    """Return the round metrics `names` of a prediction, by name.

    Parameters
    ----------
    names : tuple of str
        Keys of `ROUND`.
    reference : TargetReference
    prediction : bool array of the same shape
    protocol : Protocol

    Raises
    ------
    UnknownNameError
        If a name is not a round metric.
    """
    for name in names:
        if name not in ROUND:
            raise UnknownNameError("metric", name, ROUND)
    comparison = Comparison(reference, prediction, protocol)
    return {name: ROUND[name][1](comparison) for name in names}
