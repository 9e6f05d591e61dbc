"""Interactive graph cut (Boykov and Jolly 2001) driven by clicks and boxes; needs PyMaxflow (extra ``graphcut``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import ModelCard
from rclicks.errors import PluginError
from rclicks.models.contract import State
from rclicks.models.seeded.base import BACKGROUND, OBJECT, SeedMap
from rclicks.models.seeded.colours import ColourModel, colour_bins, neighbours
from rclicks.models.seeded.image import COLOUR_OPTIONS, COMMON_OPTIONS, SeededModel, WorkingImage
from rclicks.options import Choice, Number, Option
from rclicks.protocol import Protocol

__all__ = ["CARDS", "GraphCut", "load"]

CARDS = (
    ModelCard(
        name="graph-cut",
        family="graph_cut",
        summary="Min-cut of colour models learned from the seeds and contrast-weighted neighbours (Boykov, Jolly 2001)",
        source="https://doi.org/10.1109/ICCV.2001.937505",
        licence="GPL-3.0-or-later",
        citation=(
            "Y. Boykov and M.-P. Jolly, Interactive graph cuts for optimal boundary & region segmentation of objects "
            "in N-D images, ICCV 2001"
        ),
        prompts=("click", "box"),
        encodes_once=True,
        extra="graphcut",
    ),
)

_HARD = 1e6  # larger than the sum of a pixel's other links for all allowed options, so that seeds keep their label


def load(
    card: ModelCard,
    *,
    checkpoint: object = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: object,
) -> GraphCut:
    """Return the model. It always runs on the CPU; `device` and `protocol` have no effect.

    Raises
    ------
    PluginError
        If PyMaxflow is not installed.
    ProtocolError
        If an option is unknown or out of bounds.
    """
    try:
        import maxflow  # noqa: F401 - imported here so that a run without it fails before it starts
    except ImportError as error:
        raise PluginError(
            f"model {card.name} needs PyMaxflow, which is not installed (it is optional because of its licence, GPL); "
            "install the extra: pip install 'rclicks[graphcut]'"
        ) from error
    return GraphCut(card, checkpoint, options)


@dataclass(frozen=True, eq=False)
class _Links:
    """Links between neighbours and colour bins.

    Attributes
    ----------
    weights : tuple of pairs of arrays
        For each direction the (h, w) weights of the links and the (3, 3) structure that PyMaxflow needs.
    bins : (h, w) int32 array
        Colour bin of each pixel.
    """

    weights: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]
    bins: NDArray[np.int32]


def load_options(card: ModelCard, protocol: Protocol) -> Mapping[str, Option]:
    """Return the options of `load`."""
    return GraphCut.OPTIONS


class GraphCut(SeededModel):
    """Boykov and Jolly's graph cut, solved exactly by the Boykov-Kolmogorov algorithm of PyMaxflow.

    The mask minimises the sum of -log p(colour | label) over pixels and, over 8-neighbours of unequal label,
    ``smoothness * exp(-beta * |d|^2 / mean |d|^2) / distance``, where d is the difference in L*a*b*. The colour
    densities are smoothed histograms of the seed pixels, including those of the frame and of the outside of a box.
    Seeds always keep their label. Probabilities are 0 or 1, except for the interpolated border. See `SeededModel` for
    the conventions.

    Options in addition to the common ones: `smoothness` (0 = colour only), `beta`, and those of `ColourModel`.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = {
        **COMMON_OPTIONS,
        **COLOUR_OPTIONS,
        "smoothness": Number(10.0, 0, 1e4),
        "beta": Number(1.0, 0, 1e3),
    }

    def prepare(self, working: WorkingImage) -> _Links:
        """Compute the weights of the links between neighbours and assign the colours to bins."""
        steps = neighbours(working.lab)
        mean = max(float(np.mean([step.contrast.mean() for step in steps if step.contrast.size] or [0])), 1e-9)
        height, width = working.shape
        weights = []
        for step in steps:
            link = np.zeros(working.shape)
            left = max(0, -step.columns)
            window = np.s_[: height - step.rows, left : left + width - abs(step.columns)]
            link[window] = (
                np.exp(-self.options["beta"] / mean * step.contrast) * self.options["smoothness"] / step.length
            )
            structure = np.zeros((3, 3))
            structure[1 + step.rows, 1 + step.columns] = 1
            weights.append((link, structure))
        return _Links(tuple(weights), colour_bins(working.lab, self.options["bins"]))

    def solve(self, working: WorkingImage, seeds: SeedMap, state: State) -> NDArray[np.float64]:
        """Return 1 on the object side of the minimum cut, else 0."""
        import maxflow

        links: _Links = working.extra
        colours = ColourModel.learn(
            links.bins,
            self.options["bins"],
            seeds == OBJECT,
            seeds == BACKGROUND,
            self.options["width"],
            self.options["floor"],
        )
        odds = colours.log_odds(links.bins)
        inside = np.where(seeds == OBJECT, _HARD, np.where(seeds == BACKGROUND, 0, np.maximum(odds, 0)))
        outside = np.where(seeds == BACKGROUND, _HARD, np.where(seeds == OBJECT, 0, np.maximum(-odds, 0)))
        graph = maxflow.GraphFloat(odds.size, 4 * odds.size)
        nodes = graph.add_grid_nodes(working.shape)
        for weights, structure in links.weights:
            graph.add_grid_edges(nodes, weights, structure=structure, symmetric=True)
        graph.add_grid_tedges(nodes, inside, outside)
        graph.maxflow()
        return 1.0 - graph.get_grid_segments(nodes)
