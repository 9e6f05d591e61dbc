"""The figure of several raters: lines are the means that the table has, and data without raters get none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import rclicks
from rclicks.analysis.rater_tables import by_click, rater_summary
from rclicks.analysis.runs import load_runs
from rclicks.errors import ProtocolError
from rclicks.reports.rater_figure import rater_figure, save_rater_figures
from support import REPOSITORY

PLUGINS = REPOSITORY / "tests" / "plugins"


def test_lines_end_at_the_numbers_of_the_table(tmp_path: Path) -> None:
    rclicks.evaluate(
        "quickstart",
        models=["geodesic", "toy:radius=9"],
        datasets=["toy-raters", "toy-set"],
        users=["robot"],
        metrics=["iou"],
        reference=["raters", "majority"],
        clicks=3,
        plugins=[PLUGINS],
        out=tmp_path / "r",
    )
    runs = load_runs([tmp_path / "r"])
    table = rater_summary(runs).frame
    table = table[table["reference"] == "raters"].set_index("model")
    figure = rater_figure(runs, "toy-raters")
    drawn = [line for line in figure.axes[0].lines if len(line.get_ydata()) == 3]
    assert len(drawn) == 4
    for model, own, others in (("geodesic", *drawn[:2]), ("toy:radius=9", *drawn[2:])):
        assert own.get_ydata()[-1] == pytest.approx(table.loc[model, "followed rater"])
        assert others.get_ydata()[-1] == pytest.approx(table.loc[model, "other raters"])
        assert (own.get_linestyle(), others.get_linestyle()) == ("-", "--")
    level = [line.get_ydata()[0] for line in figure.axes[0].lines if len(line.get_ydata()) == 2]
    assert level == pytest.approx([table["inter-rater"].iloc[0]])
    first = by_click(runs, "toy-raters", ["robot"])
    records = runs.records[(runs.records["dataset"] == "toy-raters") & (runs.records["rater"] != "majority")]
    begun = records[(records["round"] == 1) & (records["model"] == "geodesic")]
    mean = first[(first["model"] == "geodesic") & (first["round"] == 1)]["followed rater"].mean()
    assert mean == pytest.approx(np.mean(2 * begun["iou"] / (1 + begun["iou"])))
    assert [f.name for f in save_rater_figures(runs, tmp_path)] == ["raters_toy-raters.png", "raters_toy-raters.svg"]
    with pytest.raises(ProtocolError, match="the base rule followed no rater of toy-set"):
        rater_figure(runs, "toy-set")


def test_two_users_of_one_model_are_two_lines(tmp_path: Path) -> None:
    rclicks.evaluate(
        "quickstart",
        models=["geodesic"],
        datasets=["toy-raters"],
        users=["robot", {"name": "robot", "label": "twin"}],
        metrics=["iou"],
        clicks=2,
        plugins=[PLUGINS],
        out=tmp_path / "r",
    )
    runs = load_runs([tmp_path / "r"])
    records = runs.records.copy()
    twin = records["user"] == "twin"
    records.loc[twin, "rater_dice"] = records.loc[twin, "rater_dice"].map(lambda scores: scores / 2)
    figure = rater_figure(replace(runs, records=records), "toy-raters")
    drawn = [np.asarray(line.get_ydata(), float) for line in figure.axes[0].lines if len(line.get_xdata()) == 2][:4]
    np.testing.assert_allclose(drawn[2], drawn[0] / 2)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["robot", "twin"]
