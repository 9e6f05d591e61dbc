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
from rclicks.analysis.robustness_table import roles
from rclicks.analysis.runs import Runs
from rclicks.clickability.groups import group_number
from rclicks.errors import ProtocolError
from rclicks.records.store import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "bootstrap_band",
    "curve_figure",
    "dress",
    "file_name",
    "group_figure",
    "inline_svg",
    "save_curves",
    "save_figure",
    "to_svg",
]

# The palette of Okabe and Ito can be distinguished with any colour vision; the markers, also in grey.
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
    """Return the 95 % bootstrap interval of the mean of each column.

    Parameters
    ----------
    values : (n, K) float array
    clusters : sequence of n labels, or None
        Label of the cluster of each row. The rows of a cluster are drawn together, because several trajectories on one
        object are not independent. With None every row is a cluster of its own.
    seed : int
        Seed of the random draws.

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
    """Draw the mean of a metric after each click on one data set, with one line for each model, user and group.

    All click groups of a user are drawn as one line, their mean; `group_figure` draws each of them. Users that place
    only one interaction, such as a box or a single click, are drawn as one point.

    Parameters
    ----------
    runs : Runs
    dataset : str
        Label of the data set.
    metric : str
        Name of a stored metric of single rounds.

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
    role = roles(runs.header)
    pooled = [u for u, r in role.items() if r in ("groups", "human")]
    once = {
        u
        for u, r in role.items()
        if r in ("human", "human-matched") and records.loc[records["user"] == u, "round"].max() == 1
    }
    replicates = records["group"] + "/" + records["replicate"].astype(str)
    names = {"group": records["group"].where(~records["user"].isin(pooled), "")}
    wide = curves(records.assign(replicate=replicates, **names), runs.clicks, metric)
    records = records.assign(**names)
    clicking = set(records.loc[records["kind"] == "click", NAMES].drop_duplicates().itertuples(index=False, name=None))
    varying = [n for n in NAMES if wide.index.get_level_values(n).nunique() > 1] or ["model"]
    figure = NewFigure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.add_subplot()
    drawn = []
    for i, (key, part) in enumerate(wide.groupby(level=NAMES, sort=False)):
        words = dict(zip(NAMES, key, strict=True))
        label = " ".join(str(words[n]) for n in varying if words[n])
        shown = part if key in clicking and words["user"] not in once else part.iloc[:, :1]
        drawn.append((float(shown.mean().iloc[-1]), label, _draw(axes, shown, i)))
    dress(axes, runs.clicks, metric)
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
        text.set_parse_math(False)  # a name may contain dollar signs
    return figure


def group_figure(runs: Runs, dataset: str, metric: str = "iou") -> Figure:
    """Draw the mean of a metric after each click for every click group and the base rule, one panel for each model.

    Parameters
    ----------
    runs : Runs
    dataset : str
        Label of the data set.
    metric : str
        Name of a stored metric of single rounds.

    Raises
    ------
    ProtocolError
        If the runs contain no click groups on the data set.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as NewFigure

    role = roles(runs.header)
    records = runs.records[
        (runs.records["dataset"] == dataset) & runs.records["user"].map(role).isin(["base", "groups"])
    ]
    users = [u for u, r in role.items() if r == "groups" and (records["user"] == u).any()]
    if not users:
        raise ProtocolError(f"these runs have no click groups on {dataset}; add the user sampled")
    wide = curves(records, runs.clicks, metric)
    panels = [(m, u) for m in records["model"].unique() for u in users]
    columns = min(len(panels), 2 if len(panels) <= 4 else 3)
    rows = -(-len(panels) // columns)
    figure = NewFigure(figsize=(4.1 * columns + 0.6, 3.1 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    numbers = sorted({n for g in records["group"] if (n := group_number(g))})
    colours = mpl.colormaps["viridis"]
    for axes, (model, user) in zip(grid.flat, panels, strict=False):
        x = np.arange(1, runs.clicks + 1)
        own = wide.xs(model, level="model")
        for n in numbers:
            part = own[(own.index.get_level_values("user") == user) & (own.index.get_level_values("group") == f"G{n}")]
            shade = (n - 1) / max(1, numbers[-1] - 1)
            axes.plot(x, part.mean(), color=colours(0.95 * shade), linewidth=1.2)
        base = own[own.index.get_level_values("user").map(role) == "base"]
        if len(base):
            axes.plot(x, base.mean(), color=INK, linewidth=2.2, linestyle=(0, (5, 2)), label="base rule")
            axes.legend(frameon=False, fontsize=9, loc="lower right", labelcolor=INK)
        dress(axes, runs.clicks, metric)
        name = model if len(users) == 1 else f"{model}, {user}"
        axes.set_title(name, fontsize=10, loc="left", color=INK, parse_math=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid.flat:
        axes.label_outer()
    for axes in grid.flat[len(panels) - columns : len(panels)]:  # the lowest visible panel of each column
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("number of clicks", color=INK)
    lowest = min(float(np.min(line.get_ydata())) for axes in grid.flat for line in axes.lines)
    grid.flat[0].set_ylim(max(0.0, lowest - 0.03), 1.0)  # the panels share their limits, so these must fit all of them
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(numbers[0], numbers[-1]), colours)
    bar = figure.colorbar(scale, ax=list(grid.flat), pad=0.02, ticks=[numbers[0], numbers[-1]])
    bar.ax.set_yticklabels([f"G{numbers[0]}\nunlikely\nclicks", f"G{numbers[-1]}\npeaks"], fontsize=8, color=INK)
    bar.outline.set_visible(False)
    figure.suptitle(f"{dataset}: click groups, mean over objects", fontsize=10, x=0.01, ha="left", color=INK)
    return figure


def _draw(axes: Axes, part: pd.DataFrame, i: int) -> Any:
    """Draw one line with its band, or one point with its error bar, and return the artist for the legend."""
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


def dress(axes: Axes, clicks: int, metric: str) -> None:
    """Set labels, ticks, limits and colours of axes that show a metric over clicks."""
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
    """Return a figure as an SVG element without XML header. Text stays text. Equal figures give equal bytes."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rclicks"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def inline_svg(figure: Figure, prefix: str) -> str:
    """Return a figure as an SVG element for an HTML page: transparent, in the colours of the page.

    The page sets the colours with the CSS property ``color`` and the custom property ``--line``. All ids begin with
    `prefix`, so that several figures can be on one page.
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
    """Write ``<metric>_<data set>.png`` and ``.svg`` for each data set, and return the paths.

    For data sets with click groups, ``groups_<metric>_<data set>`` is written too.

    Raises
    ------
    ProtocolError
        If the metric was not stored.
    RunError
        If a file cannot be written.
    """
    files = []
    grouped = {u for u, role in roles(runs.header).items() if role == "groups"}
    for dataset, rows in runs.records.groupby("dataset", sort=False):
        safe = file_name(str(dataset))
        files += save_figure(curve_figure(runs, str(dataset), metric), folder / f"{metric}_{safe}")
        if grouped & set(rows["user"]):
            files += save_figure(group_figure(runs, str(dataset), metric), folder / f"groups_{metric}_{safe}")
    return files


def file_name(dataset: str) -> str:
    """Return the label of a data set with "_" for characters that do not belong in a file name."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in dataset)


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure to `path` with the suffixes .png and .svg, and return both paths."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=160)
    files = [path.with_name(f"{path.name}.{ending}") for ending in ("png", "svg")]
    for file, data in zip(files, (picture.getvalue(), to_svg(figure).encode()), strict=True):
        write_atomically(file, data)
    return files
