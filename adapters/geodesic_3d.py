"""Geodesic segmentation of volumes (Bai and Sapiro 2007) driven by clicks, boxes, scribbles and lassos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.models.contract import State
from rclicks.models.seeded.base import OBJECT, SeedMap
from rclicks.models.seeded.grid import Links
from rclicks.models.seeded.intensity import INTENSITY_OPTIONS, IntensityModel, bins_of
from rclicks.models.seeded.volume import VOLUME_OPTIONS, VolumeModel
from rclicks.models.seeded.working_volume import WorkingVolume
from rclicks.options import Choice, Number, Option
from rclicks.protocol import Protocol

__all__ = ["CARDS", "Geodesic3D", "load"]

CARDS = (
    ModelCard(
        name="geodesic-3d",
        family="geodesic_3d",
        summary="Geodesic distances to the seeds over a map of grey-value likelihood in 3-D (Bai, Sapiro 2007)",
        source="https://doi.org/10.1109/ICCV.2007.4408931",
        licence="Apache-2.0",
        citation="X. Bai, G. Sapiro, A geodesic framework for fast interactive image and video segmentation, ICCV 2007",
        dims=3,
        prompts=("click", "box", "scribble", "lasso"),
        encodes_once=True,
    ),
)


def load(
    card: ModelCard,
    *,
    checkpoint: object = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: object,
) -> Geodesic3D:
    """Return the model. It always runs on the CPU; `device` and `protocol` have no effect.

    Raises
    ------
    ProtocolError
        If an option is unknown or out of bounds.
    """
    return Geodesic3D(card, checkpoint, options)


@dataclass(frozen=True, eq=False)
class _Graph:
    """The neighbour graph of a volume.

    Attributes
    ----------
    links : Links
        Links between neighbouring voxels.
    length : (e,) float32 array
        Length of each link in units of the shortest one.
    contrast : (e,) float32 array
        Weighted difference of the grey values at the ends of each link.
    bins : (z, y, x) uint8 array
        Grey-value bin of each voxel.
    """

    links: Links
    length: NDArray[np.float32]
    contrast: NDArray[np.float32]
    bins: NDArray[np.uint8]


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    return Geodesic3D.OPTIONS


class Geodesic3D(VolumeModel):
    """Bai and Sapiro's geodesic segmentation in 3-D, with Dijkstra's distances on the `neighbours` graph.

    `IntensityModel` learns densities of the grey values from the seeds; they give P = P(object | grey value). On a path
    from an object seed, a link of two neighbours costs
    ``|P1 - P2| + contrast * |I1 - I2| + (step + unlikely * (1 - mean P)) * length``. On a path from a background seed,
    mean P replaces 1 - mean P. I are the grey values of the working volume. The contrast term is not in the paper; it
    was added because P shows no edges any more after many interactions. Lengths are in units of the shortest link, so
    that thick slices cost more. The probability is d_background / (d_object + d_background). See `VolumeModel` for the
    conventions.

    Options in addition to the common ones: `contrast`, `step`, `unlikely`, `neighbours` and those of `IntensityModel`.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = {
        **VOLUME_OPTIONS,
        **INTENSITY_OPTIONS,
        "radius": Number(1.0, 0, 100),
        "contrast": Number(3.0, 0, 1e3),
        "step": Number(0.05, 1e-6, 1e3),
        "unlikely": Number(1.0, 0, 1e3),
        "neighbours": Choice("6", ("6", "18", "26")),
    }

    def prepare(self, working: WorkingVolume) -> _Graph:
        """Build the graph and assign the grey values to bins."""
        links = Links.of(working.shape, working.spacing, int(self.options["neighbours"]))
        shortest = links.length.min() if links.length.size else np.float32(1)
        flat = working.values.ravel()
        contrast = np.float32(self.options["contrast"]) * np.abs(flat[links.first] - flat[links.second])
        return _Graph(links, links.length / shortest, contrast, bins_of(working.values, self.options["bins"]))

    def solve(self, working: WorkingVolume, seeds: SeedMap, state: State) -> tuple[NDArray[np.floating[Any]], None]:
        """Compare the distances to the seeds of both labels."""
        graph: _Graph = working.extra
        if not (seeds < 0).any():  # without background seeds the whole volume is object
            return np.ones(working.shape, np.float32), None
        intensity = IntensityModel.learn(
            graph.bins, self.options["bins"], seeds, self.options["width"], self.options["floor"]
        )
        chance = intensity.probability(graph.bins).ravel()
        one, two = chance[graph.links.first], chance[graph.links.second]
        cost = np.abs(one - two) + graph.contrast + np.float32(self.options["step"]) * graph.length
        mean = (one + two) / 2
        other = np.float32(self.options["unlikely"]) * graph.length
        to_object = _distance(graph.links, cost + other * (1 - mean), seeds == OBJECT)
        to_background = _distance(graph.links, cost + other * mean, seeds < 0)
        return (to_background / (to_object + to_background)).reshape(working.shape), None


def _distance(links: Links, cost: NDArray[np.float32], sources: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distance of every voxel to the nearest source, (z * y * x,)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import dijkstra

    graph = csr_matrix((cost, links.second, links.starts), (sources.size, sources.size))
    # Both directions of every link are stored; so a directed search is correct and does not compute the transpose.
    return dijkstra(graph, directed=True, indices=np.flatnonzero(sources), min_only=True)
