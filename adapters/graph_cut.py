"""Interactive graph cut (Boykov and Jolly 2001) driven by clicks and boxes; needs PyMaxflow, the extra ``graphcut``."""

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
from rclicks.options import Choice, Number
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

_HARD = 1e6  # more than all finite links of a pixel together, whatever the options: a seed is never cut off


def load(
    card: ModelCard,
    *,
    checkpoint: object = None,
    device: str = "cpu",
    protocol: Protocol | None = None,
    **options: object,
) -> GraphCut:
    """Return the model; it runs on the CPU whatever `device` says and knows no protocol rules.

    Raises
    ------
    PluginError
        If PyMaxflow is not installed.
    ProtocolError
        If an option is unknown or out of bounds.
    """
    try:
        import maxflow  # noqa: F401 - asked for here so that a run fails before it starts
    except ImportError as error:
        raise PluginError(
            f"model {card.name} needs PyMaxflow, which is not installed (it is GPL, hence optional); "
            "install the extra: pip install 'rclicks[graphcut]'"
        ) from error
    return GraphCut(card, checkpoint, options)


@dataclass(frozen=True, eq=False)
class _Links:
    """Neighbour links by direction, as PyMaxflow takes them, and every pixel's colour bin."""

    weights: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]
    bins: NDArray[np.int32]


class GraphCut(SeededModel):
    """Boykov and Jolly's graph cut, solved exactly by the Boykov-Kolmogorov algorithm of PyMaxflow.

    The mask minimises the sum of -log p(colour | label) over pixels and, over 8-neighbours of unequal label,
    ``smoothness * exp(-beta * |d|^2 / mean |d|^2) / distance``, where d is the difference in L*a*b*. The colour
    densities are smoothed histograms of the seed pixels (the frame's and the outside of the box included). Seeds are
    hard. See `SeededModel` for the conventions. Probabilities are 0 or 1 but for the interpolated rim.

    Options beside the common ones: `smoothness` (0 = colour alone), `beta`, and those of `ColourModel`.
    """

    OPTIONS: ClassVar[Mapping[str, Number | Choice]] = {
        **COMMON_OPTIONS,
        **COLOUR_OPTIONS,
        "smoothness": Number(10.0, 0, 1e4),
        "beta": Number(1.0, 0, 1e3),
    }

    def prepare(self, working: WorkingImage) -> _Links:
        """Weigh the links between neighbours and bin the colours."""
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
        """Return 1 on the object side of the minimum cut."""
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
