"""Figures: the mean of a metric after each click, with a bootstrap band over objects.

>>> low, high = bootstrap_band(np.array([[0.0, 1.0], [1.0, 1.0]]))
>>> low.tolist(), high.tolist()
([0.0, 1.0], [1.0, 1.0])
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rclicks.analysis.effort import curves
from rclicks.analysis.tables import Runs
from rclicks.errors import ProtocolError
from rclicks.records.store import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bootstrap_band", "curve_figure", "inline_svg", "save_curves", "to_svg"]

# Okabe and Ito's palette: told apart by people with any colour vision; markers tell them apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
STYLES = ("-", "--", "-.", ":")
INK, GRID = "#1c2430", "#e3e7ec"
NAMES = ["run", "model", "user", "group"]
OBJECT = ["sample", "object"]
DRAWS = 1000
LEGEND_CHARACTERS = 84


def bootstrap_band(
    values: np.ndarray, clusters: Sequence[object] | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of the mean of each column of an (n, K) array, by bootstrap over clusters of rows.

    Parameters
    ----------
    values : (n, K) float array
    clusters : n labels or None
        Rows of equal label are drawn together, for several trajectories on one object are not independent; None takes
        every row as its own.
    seed : int

    Returns
    -------
    low, high : (K,) float arrays
        Percentiles 2.5 and 97.5 of 1,000 draws (Efron 1979).
    """
    codes = np.arange(len(values)) if clusters is None else pd.factorize(np.asarray(clusters, dtype=object))[0]
    n = int(codes.max()) + 1
    sums = np.zeros((n, values.shape[1]))
    np.add.at(sums, codes, values)
    counts = np.bincount(codes, minlength=n)
    rng = np.random.Generator(np.random.Philox(seed))
    picked = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)
    means = (picked @ sums) / (picked @ counts)[:, None]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return low, high


def curve_figure(runs: Runs, dataset: str, metric: str = "iou") -> Figure:
    """Draw the mean of `metric` after each click on one data set, one line a model, user and group.

    Users that only draw a box are a single point, for nothing follows it.

    Parameters
    ----------
    runs : Runs
    dataset : str
        Label of the data set.
    metric : str
        A stored round metric.

    Raises
    ------
    ProtocolError
        If the metric was not stored.
    """
    from matplotlib.figure import Figure as NewFigure

    records = runs.records[runs.records["dataset"] == dataset]
    if metric not in records or records[metric].isna().all():
        raise ProtocolError(
            f"metric {metric!r} was not stored by this run; stored: {runs.header['effective']['metrics']}"
        )
    wide = curves(records, runs.clicks, metric)
    clicking = set(records.loc[records["kind"] == "click", NAMES].drop_duplicates().itertuples(index=False, name=None))
    varying = [n for n in NAMES if wide.index.get_level_values(n).nunique() > 1] or ["model"]
    figure = NewFigure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.add_subplot()
    drawn = []
    for i, (key, part) in enumerate(wide.groupby(level=NAMES, sort=False)):
        words = dict(zip(NAMES, key, strict=True))
        label = " ".join(str(words[n]) for n in varying if words[n])
        shown = part if key in clicking else part.iloc[:, :1]
        drawn.append((float(shown.mean().iloc[-1]), label, _draw(axes, shown, i)))
    _dress(axes, runs.clicks, metric)
    n = len(wide.reset_index()[OBJECT].drop_duplicates())
    title = f"{dataset}: {n} {'object' if n == 1 else 'objects'}, mean and 95 % bootstrap band over them"
    axes.set_title(title, fontsize=10, loc="left", color=INK, parse_math=False)
    drawn.sort(key=lambda entry: -entry[0])
    longest = max(len(label) for _, label, _ in drawn)
    legend = figure.legend(
        [artist for _, _, artist in drawn],
        [label for _, label, _ in drawn],
        loc="outside lower left",
        ncols=max(1, min(4, len(drawn), LEGEND_CHARACTERS // (longest + 6))),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may hold dollar signs
    return figure


def _draw(axes: Axes, part: pd.DataFrame, i: int) -> Any:
    """Draw one line with its band, or one point with its bar; return the artist for the legend."""
    values = part.to_numpy()
    x, mean = np.arange(1, values.shape[1] + 1), values.mean(axis=0)
    look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
    look |= {"linestyle": STYLES[i // len(COLOURS) % len(STYLES)]}
    clusters = [tuple(map(str, row)) for row in part.index.to_frame()[OBJECT].to_numpy()]
    low, high = bootstrap_band(values, ["\0".join(c) for c in clusters])
    if len(x) == 1:
        look |= {"linestyle": "none", "markersize": 6, "capsize": 3, "elinewidth": 1.2}
        return axes.errorbar(x, mean, yerr=[mean - low, high - mean], **look)
    axes.fill_between(x, low, high, color=look["color"], alpha=0.14, linewidth=0)
    return axes.plot(x, mean, markersize=3.6, linewidth=1.6, **look)[0]


def _dress(axes: Axes, clicks: int, metric: str) -> None:
    from matplotlib.ticker import MaxNLocator

    if metric == "iou":
        for level in (0.85, 0.90):
            axes.axhline(level, color=INK, alpha=0.45, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
            axes.text(clicks + 0.45, level, f".{round(100 * level)}", fontsize=8, color=INK, ha="right", va="bottom")
    axes.set_xlabel("number of clicks", color=INK)
    names = {"iou": "mean IoU", "biou": "mean boundary IoU", "dice": "mean Dice"}
    axes.set_ylabel(names.get(metric, f"mean {metric}"), color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.set_xlim(0.5, clicks + 0.5)
    axes.set_ylim(top=1.0)
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)


def to_svg(figure: Figure) -> str:
    """Return a figure as an SVG element without XML header, text as text; the same figure gives the same bytes."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rclicks"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def inline_svg(figure: Figure, prefix: str) -> str:
    """Return a figure as SVG to stand in a page: transparent, ink in the page's colours, ids that begin with `prefix`.

    The page gives the colours by ``color`` and the custom property ``--line``.
    """
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_visible(False)
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", to_svg(figure), flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace(INK, "currentColor").replace(GRID, "var(--line)")


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
