"""The figure of click groups: one panel a model, one line a group, the base rule, and nothing cut off."""

from pathlib import Path

import numpy as np
import pytest

import rclicks
from rclicks.analysis.runs import Runs, load_runs
from rclicks.errors import ProtocolError
from rclicks.reports.figures import curve_figure, group_figure

PLUGINS = Path(__file__).parent.parent / "plugins"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("groups")
    study = folder / "study.yaml"
    study.write_text(
        "summary: s\nmodels: [toy, 'toy:radius=9', 'toy:radius=2']\ndatasets: [toy-set]\nprotocol: {clicks: 4}\n"
    )
    users = ["robot", "sampled:model=distance,groups=4,replicates=2,label=groups"]
    rclicks.evaluate(study, users=users, plugins=[PLUGINS], out=folder / "run")
    return load_runs([folder / "run"])


def test_each_line_is_the_mean_of_its_group(runs: Runs) -> None:
    figure = group_figure(runs, "toy-set")
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["toy", "toy:radius=9", "toy:radius=2"]
    for axes in panels:
        records = runs.records[runs.records["model"] == axes.get_title(loc="left")]
        means = records.groupby(["user", "group", "round"])["iou"].mean()
        lines = [np.asarray(line.get_ydata(), float) for line in axes.lines if len(line.get_ydata()) == 4]
        expected = [means["groups", f"G{g}"].to_numpy() for g in range(1, 5)] + [means["robot", ""].to_numpy()]
        np.testing.assert_allclose(lines, expected)
        low, high = axes.get_ylim()
        assert low <= np.min(lines)
        assert high >= np.max(lines)


def test_the_overview_pools_the_groups(runs: Runs) -> None:
    labels = {text.get_text() for text in curve_figure(runs, "toy-set").legends[0].get_texts()}
    assert labels == {f"{m} {u}" for m in ("toy", "toy:radius=9", "toy:radius=2") for u in ("robot", "groups")}


def test_without_groups_there_is_no_such_figure(runs: Runs) -> None:
    with pytest.raises(ProtocolError, match="these runs have no click groups on moon"):
        group_figure(runs, "moon")
