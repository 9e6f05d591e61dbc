"""Figures: the mean of a metric after each click, with a bootstrap band over objects."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rclicks.analysis.effort import curves
from rclicks.analysis.tables import Runs
from rclicks.errors import ProtocolError
from rclicks.records.store import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["bootstrap_band", "curve_figure", "save_curves", "to_svg"]

# Okabe and Ito's palette: told apart by people with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
STYLES = ("-", "--", "-.", ":")
DRAWS = 1000


def bootstrap_band(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of the mean of each column of an (n, K) array, by bootstrap over rows."""
    rng = np.random.Generator(np.random.Philox(seed))
    picks = rng.integers(0, len(values), size=(DRAWS, len(values)))
    means = np.stack([values[p].mean(axis=0) for p in picks])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return low, high


def curve_figure(runs: Runs, dataset: str, metric: str = "iou") -> Figure:
    """Draw the mean of `metric` after each click on one data set, one line a model, user and group.

    Raises
    ------
    ProtocolError
        If the metric was not stored.
    """
    from matplotlib.figure import Figure as NewFigure
    from matplotlib.ticker import MaxNLocator

    records = runs.records[runs.records["dataset"] == dataset]
    if metric not in records or records[metric].isna().all():
        raise ProtocolError(
            f"metric {metric!r} was not stored by this run; stored: {runs.header['effective']['metrics']}"
        )
    figure = NewFigure(figsize=(7, 4.4), layout="constrained")
    axes = figure.add_subplot()
    wide = curves(records, runs.clicks, metric)
    names = ["run", "model", "user", "group"]
    varying = [n for n in names if wide.index.get_level_values(n).nunique() > 1] or ["model"]
    ends = []
    for i, (key, part) in enumerate(wide.groupby(level=names, sort=False)):
        words = dict(zip(names, key, strict=True))
        label = " ".join(words[n] for n in varying if words[n])
        values = part.to_numpy()
        mean = values.mean(axis=0)
        x = np.arange(1, values.shape[1] + 1)
        colour, style = COLOURS[i % len(COLOURS)], STYLES[i // len(COLOURS) % len(STYLES)]
        axes.plot(x, mean, style, color=colour, marker="o", markersize=2.5, linewidth=1.6, label=label)
        if len(values) > 1:
            axes.fill_between(x, *bootstrap_band(values), color=colour, alpha=0.13, linewidth=0)
        ends.append(mean[-1])
    for level in (0.85, 0.90):
        if metric == "iou":
            axes.axhline(level, color="0.6", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.set_xlabel("clicks")
    axes.set_ylabel({"iou": "mean IoU", "biou": "mean boundary IoU", "dice": "mean Dice"}.get(metric, f"mean {metric}"))
    n = len(wide.reset_index()[["sample", "object", "rater"]].drop_duplicates())
    axes.set_title(f"{dataset}, {n} objects; bands: 95 % bootstrap over trajectories", fontsize=10, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0.5, runs.clicks + 0.5)
    axes.set_ylim(top=1.0)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    order = np.argsort(ends)[::-1]
    handles, labels = axes.get_legend_handles_labels()
    axes.legend([handles[i] for i in order], [labels[i] for i in order], frameon=False, fontsize=9, loc="lower right")
    return figure


def to_svg(figure: Figure) -> str:
    """Return a figure as an SVG element without XML header, text as text; the same figure gives the same bytes."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rclicks"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save_curves(runs: Runs, folder: Path, metric: str = "iou") -> list[Path]:
    """Write ``<metric>_<data set>.png`` and ``.svg`` for each data set; return the paths."""
    files = []
    for dataset in runs.records["dataset"].unique():
        figure = curve_figure(runs, dataset, metric)
        safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in dataset)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=160)
        for suffix, data in (("png", picture.getvalue()), ("svg", to_svg(figure).encode())):
            path = folder / f"{metric}_{safe}.{suffix}"
            write_atomically(path, data)
            files.append(path)
    return files
