"""The figure of several raters: Dice with the followed and the other raters after each click, and their agreement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclicks.analysis.rater_tables import by_click
from rclicks.analysis.robustness_table import roles
from rclicks.analysis.runs import Runs
from rclicks.errors import ProtocolError
from rclicks.reports.figures import COLOURS, INK, MARKERS, bootstrap_band, dress, file_name, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["rater_figure", "save_rater_figures"]


def rater_figure(runs: Runs, dataset: str) -> Figure:
    """Draw Dice with the followed rater (solid) and with the other raters (dashed) after each click of the base rule.

    Bands are 95 % bootstrap intervals over samples. The grey line is the inter-rater agreement.

    Parameters
    ----------
    runs : Runs
    dataset : str
        Label of the data set.

    Raises
    ------
    ProtocolError
        If the base rule followed no rater of an object with several raters.
    """
    from matplotlib.figure import Figure as NewFigure
    from matplotlib.lines import Line2D

    base = [user for user, role in roles(runs.header).items() if role == "base"]
    found = by_click(runs, dataset, base)
    if found.empty:
        raise ProtocolError(
            f"the base rule followed no rater of {dataset}; run the benchmark with `reference: [raters]`"
        )
    figure = NewFigure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    entries = []
    names = ["run", "model", "user"]
    varying = [n for n in names if found[n].nunique() > 1] or ["model"]
    for i, (key, rows) in enumerate(found.groupby(names, sort=False)):
        label = " ".join(str(word) for name, word in zip(names, key, strict=True) if name in varying)
        look: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        for name, style in (("followed rater", "-"), ("other raters", "--")):
            wide = rows.pivot_table(index="sample", columns="round", values=name)
            x, mean = wide.columns.to_numpy(), wide.mean().to_numpy()
            axes.plot(x, mean, linestyle=style, linewidth=1.6, markersize=3.6, **look)
            if name == "followed rater":
                axes.fill_between(x, *bootstrap_band(wide.to_numpy()), color=look["color"], alpha=0.14, linewidth=0)
        entries.append(Line2D([], [], linewidth=1.6, markersize=3.6, label=label, **look))
    dress(axes, runs.clicks, "dice")
    agreement = float(found.groupby("sample")["inter-rater"].mean().mean())
    axes.axhline(agreement, color=INK, alpha=0.6, linewidth=1.2, zorder=1)
    axes.text(0.55, agreement, "inter-rater agreement", fontsize=8, color=INK, ha="left", va="bottom")
    axes.set_ylim(bottom=0.0)
    entries += [
        Line2D([], [], color=INK, linestyle=s, label=w) for s, w in (("-", "followed rater"), ("--", "other raters"))
    ]
    legend = figure.legend(
        handles=entries, loc="outside lower left", ncols=4, frameon=False, fontsize=9, labelcolor=INK
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may contain dollar signs
    title = f"{dataset}: Dice with the followed and the other raters, mean over {found['sample'].nunique()} samples"
    axes.set_title(title, fontsize=10, loc="left", color=INK, parse_math=False)
    return figure


def save_rater_figures(runs: Runs, folder: Path) -> list[Path]:
    """Write ``raters_<data set>.png`` and ``.svg`` for each data set whose raters the base rule followed.

    Returns
    -------
    list of Path
        The written files.

    Raises
    ------
    RunError
        If a file cannot be written.
    """
    base = [user for user, role in roles(runs.header).items() if role == "base"]
    files = []
    for dataset in runs.records["dataset"].unique():
        if not by_click(runs, dataset, base).empty:
            files += save_figure(rater_figure(runs, dataset), folder / f"raters_{file_name(dataset)}")
    return files
