"""Geodesic segmentation (Bai and Sapiro 2007) driven by clicks and boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.models.contract import State
from rclicks.models.seeded.base import BACKGROUND, OBJECT, SeedMap
from rclicks.models.seeded.colours import ColourModel, colour_bins, neighbours
from rclicks.models.seeded.image import COLOUR_OPTIONS, COMMON_OPTIONS, SeededModel, WorkingImage
from rclicks.options import Choice, Number, Option
from rclicks.protocol import Protocol

__all__ = ["CARDS", "Geodesic", "load"]

CARDS = (
    ModelCard(
        name="geodesic",
        family="geodesic",
        summary="Geodesic distances to the seeds over a map of colour likelihood (Bai, Sapiro 2007)",
        source="https://doi.org/10.1109/ICCV.2007.4408931",
        licence="Apache-2.0",
        citation="X. Bai, G. Sapiro, A geodesic framework for fast interactive image and video segmentation, ICCV 2007",
        prompts=("click", "box"),
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
) -> Geodesic:
    """Return the model. It always runs on the CPU; `device` and `protocol` have no effect.

    Raises
    ------
    ProtocolError
        If an option is unknown or out of bounds.
    """
    return Geodesic(card, checkpoint, options)


@dataclass(frozen=True, eq=False)
class _Grid:
    """The 8-neighbour graph in compressed rows.

    Attributes
    ----------
    first : (e,) int array
        Flat index of the first pixel of each edge, sorted.
    second : (e,) int32 array
        Flat index of the second pixel of each edge.
    starts : (h * w + 1,) int32 array
        Index of the first edge of each pixel.
    length : (e,) float64 array
        Length of each edge in pixels.
    bins : (h, w) int32 array
        Colour bin of each pixel.
    """

    first: NDArray[np.intp]
    second: NDArray[np.int32]
    starts: NDArray[np.int32]
    length: NDArray[np.float64]
    bins: NDArray[np.int32]


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    return Geodesic.OPTIONS


class Geodesic(SeededModel):
    """Bai and Sapiro's geodesic labelling, with exact distances from Dijkstra's algorithm on 8-neighbours (SciPy).

    The colour densities of the seeds (smoothed histograms) give P, the probability that a pixel with this colour is
    object, with equal priors. The cost of an edge between neighbours is the change of P, as in the paper, plus
    ``length * (step + unlikely * q)``. Here q is the probability of the other label, averaged over both ends; Price et
    al. (CVPR 2010) weight the region term in this way. D is the distance to the nearest seed of a label, and
    P(object) = D_background / (D_object + D_background). See `SeededModel` for the conventions.

    Options in addition to the common ones: `step`, `unlikely`, and those of `ColourModel`.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = {
        **COMMON_OPTIONS,
        **COLOUR_OPTIONS,
        "step": Number(0.003, 1e-6, 10),
        "unlikely": Number(0.05, 0, 10),
    }

    def prepare(self, working: WorkingImage) -> _Grid:
        """Build the graph and assign the colours to bins."""
        height, width = working.shape
        index = np.arange(height * width).reshape(height, width)
        pairs = [(*step.ends(index), step.length) for step in neighbours(working.lab)]
        first = np.concatenate([one.ravel() for one, _, _ in pairs])
        second = np.concatenate([two.ravel() for _, two, _ in pairs])
        length = np.concatenate([np.full(one.size, distance) for one, _, distance in pairs])
        order = np.lexsort((second, first))
        first = first[order]
        starts = np.searchsorted(first, np.arange(height * width + 1)).astype(np.int32)
        bins = colour_bins(working.lab, self.options["bins"])
        return _Grid(first, second[order].astype(np.int32), starts, length[order], bins)

    def solve(self, working: WorkingImage, seeds: SeedMap, state: State) -> NDArray[np.float64]:
        """Compare the distances to the seeds of both labels."""
        inside, outside = seeds == OBJECT, seeds == BACKGROUND
        if not outside.any() or not inside.any():  # a single box gives no object seeds: its inside is the object
            return (~outside).astype(np.float64)
        grid: _Grid = working.extra
        colours = ColourModel.learn(
            grid.bins, self.options["bins"], inside, outside, self.options["width"], self.options["floor"]
        )
        chance = colours.probability(grid.bins).ravel()
        one, two = chance[grid.first], chance[grid.second]
        cost = np.abs(one - two) + self.options["step"] * grid.length
        other = self.options["unlikely"] * grid.length
        mean = (one + two) / 2
        to_object = _distance(grid, cost + other * (1 - mean), inside)
        to_background = _distance(grid, cost + other * mean, outside)
        return (to_background / (to_object + to_background)).reshape(working.shape)


def _distance(grid: _Grid, cost: NDArray[np.float64], sources: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distance of every pixel to the nearest source, (h * w,)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import dijkstra

    graph = csr_matrix((cost, grid.second, grid.starts), (sources.size, sources.size))
    return dijkstra(graph, directed=False, indices=np.flatnonzero(sources), min_only=True)
