"""Tables: numbers that can be traced to rows, notes that a reader needs, four formats."""

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest

import rclicks
from rclicks.analysis.runs import Runs, Table, load_runs
from rclicks.analysis.tables import make_table
from rclicks.errors import ProtocolError, RunError, UnknownNameError
from rclicks.reports.formats import render

PLUGINS = Path(__file__).parent.parent / "plugins"
BENCHMARK = "summary: s\nmodels: [toy]\ndatasets: [toy-set]\nprotocol: {clicks: 4}\nmetrics: [iou, biou]\n"


def play(folder: Path, **changes: object) -> pd.DataFrame:
    file = folder.parent / "study_x.yaml"
    file.write_text(BENCHMARK)
    return rclicks.evaluate(file, plugins=[PLUGINS], out=folder, **changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs") / "r"
    play(folder, models=["toy", "toy:radius=9"], datasets=["toy-set:damaged=1"], users=["robot"])
    return load_runs([folder])


def test_noc_table_agrees_with_the_rows(runs: Runs) -> None:
    frame = make_table(runs, "noc").frame
    assert frame["model"].tolist() == ["toy", "toy:radius=9"]
    assert frame["n"].tolist() == [10, 10]
    assert frame["failed"].tolist() == [1, 1]
    rows = runs.records[runs.records["model"] == "toy"]
    first = rows[rows["round"] == 1]["iou"]
    assert frame.loc[0, "IoU@1"] == pytest.approx(first.mean())
    by_hand = []
    for _, part in rows.groupby(["sample", "object"]):
        good = part[part["iou"] >= 0.8]["round"]
        by_hand.append(good.min() if len(good) else 4)
    assert frame.loc[0, "NoC@80"] == pytest.approx(sum(by_hand) / len(by_hand))


def test_notes_name_failures(runs: Runs) -> None:
    assert any("2 samples or trajectories failed" in note for note in make_table(runs, "noc").notes)


def test_iou_and_time_presets(runs: Runs) -> None:
    overlap = make_table(runs, "iou").frame
    assert {"iou@1", "iou final", "biou@1", "biou final", "interactions"} <= set(overlap.columns)
    times = make_table(runs, "time").frame
    assert times["encodes/image"].tolist() == [1.0, 1.0]
    assert (times["decode p95"] >= times["decode median"]).all()
    with pytest.raises(UnknownNameError, match="preset 'nocc'"):
        make_table(runs, "nocc")


def test_every_format_carries_every_row(runs: Runs) -> None:
    table = make_table(runs, "noc")
    markdown = render(table, "md")
    assert markdown.count("\n| toy-set") == 2
    read = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert [float(r["IoU@4"]) for r in read] == pytest.approx(table.frame["IoU@4"].tolist(), abs=0)
    latex = render(table, "latex")
    assert r"\toprule" in latex
    assert latex.count("toy-set") == 2
    assert r"\textbf{" in latex
    parsed = json.loads(render(table, "json"))
    assert parsed["rows"][0]["n"] == 10
    assert parsed["notes"] == list(table.notes)
    with pytest.raises(UnknownNameError, match="format"):
        render(table, "docx")


def test_latex_escapes_and_missing_values_are_dashes() -> None:
    frame = pd.DataFrame({"dataset": ["a_b&c", "a_b&c"], "x": [0.5, None]})
    table = Table("50 % of_all", frame, {"x": 2}, {"x": "higher"})
    latex = render(table, "latex")
    assert r"a\_b\&c" in latex
    assert r"50 \% of\_all" in latex
    assert "-" in render(table, "md").splitlines()[-1]


def test_runs_of_other_protocols_are_not_mixed_unless_told(tmp_path: Path) -> None:
    play(tmp_path / "a")
    play(tmp_path / "b", clicks=3)
    with pytest.raises(ProtocolError, match="different protocols.*--mix"):
        load_runs([tmp_path / "a", tmp_path / "b"])
    frame = make_table(load_runs([tmp_path / "a", tmp_path / "b"], mix=True), "noc").frame
    assert frame["run"].tolist() == ["a", "b"]


def test_boxes_have_no_noc(tmp_path: Path) -> None:
    play(tmp_path / "r", models=["toy-box"], users=["box:jitters=[0,5],replicates=2"])
    runs = load_runs([tmp_path / "r"])
    with pytest.raises(ProtocolError, match="--preset iou"):
        make_table(runs, "noc")
    frame = make_table(runs, "iou").frame
    assert frame["group"].tolist() == ["j0", "j5"]
    assert frame["n"].tolist() == [12, 24]
    assert frame.loc[0, "iou@1"] >= frame.loc[1, "iou@1"]


def test_an_empty_or_foreign_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        load_runs([tmp_path])
