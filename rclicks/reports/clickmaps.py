"""Figures of click maps: the map of a click model, clicks sampled from it, and the clicks of people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rclicks.clickability.contract import ClickMap
from rclicks.human_clicks.items import Scene
from rclicks.reports.figures import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["click_map_figure"]

HUMAN, SAMPLED = "#D55E00", "#0072B2"


def click_map_figure(
    scene: Scene,
    click_map: ClickMap,
    sampled: NDArray[np.int64],
    real: NDArray[np.int64],
    *,
    title: str = "",
    photo: bool = True,
) -> Figure:
    """Draw one object in two panels: with clicks sampled from its click map, and with the clicks of real people.

    Parameters
    ----------
    scene : Scene
    click_map : (H, W) float array
        Click map. The figure shows its product with the error, divided by the maximum.
    sampled, real : (n, 2) int64 arrays
        Clicks as (row, column) in pixels.
    title : str
        Title of the figure; "" for none.
    photo : bool
        Whether the image is shown in grey below the map. False shows only the outline of the object, for images that
        must not be published.
    """
    from matplotlib.figure import Figure as NewFigure

    error = np.asarray(scene.error, float)
    shown = click_map * error
    top, bottom, first, last = _view(error, sampled, real)
    height = min(5.0, 4.0 * (bottom - top) / (last - first))
    figure = NewFigure(figsize=(2 * height * (last - first) / (bottom - top) + 0.4, height + 0.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes in (left, right):
        _backdrop(axes, scene, shown / max(float(shown.max()), 1e-12), photo)
    left.set(xlim=(first, last), ylim=(bottom, top))
    _points(left, sampled, SAMPLED, "o")
    _points(right, real, HUMAN, "X")
    left.set_title(f"{len(sampled)} clicks sampled from the map", fontsize=10, loc="left", color=INK)
    people = "1 click of a person" if len(real) == 1 else f"{len(real)} clicks of people"
    right.set_title(people, fontsize=10, loc="left", color=INK)
    if title:
        figure.suptitle(title, fontsize=10, x=0.01, ha="left", color=INK, parse_math=False)
    return figure


def _view(error: NDArray[np.floating], *points: NDArray[np.int64]) -> tuple[float, float, float, float]:
    """Return top, bottom, left and right of the error and all clicks with a margin, in pixels."""
    inside = np.vstack([np.argwhere(error > 0), *points])
    low, high = inside.min(axis=0), inside.max(axis=0)
    margin = 0.12 * float((high - low).max()) + 3
    (top, left), (bottom, right) = (
        np.maximum(low - margin, -0.5),
        np.minimum(high + margin, np.array(error.shape) - 0.5),
    )
    return float(top), float(bottom), float(left), float(right)


def _backdrop(axes: Axes, scene: Scene, shown: NDArray[np.floating], photo: bool) -> None:
    if photo:
        axes.imshow(scene.image.mean(axis=2), cmap="gray", vmin=-60, vmax=300)
    else:
        axes.imshow(np.ones(shown.shape), cmap="gray", vmin=0, vmax=1)
    axes.imshow(shown, cmap="YlGnBu", alpha=np.clip(shown * 1.5, 0, 0.75), vmin=0, vmax=1)
    axes.contour(np.asarray(scene.error, float), levels=[0.5], colors=[INK], linewidths=1.0)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#c9d0d8")


def _points(axes: Axes, points: NDArray[np.int64], colour: str, marker: str) -> None:
    axes.scatter(
        points[:, 1],
        points[:, 0],
        s=44 if marker == "X" else 18,
        c=colour,
        marker=marker,
        linewidths=0.8,
        edgecolors="white",
    )
