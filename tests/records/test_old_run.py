"""Run folders of older versions still load: a run of commit 96ae5d6, see its README.md."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from rclicks.analysis.robustness_table import roles
from rclicks.analysis.runs import load_runs
from rclicks.analysis.tables import make_table
from rclicks.cli.main import app
from rclicks.records.store import RunStore, load_failures, load_records, load_run, load_units

OLD = Path(__file__).parent.parent / "fixtures" / "run-96ae5d6"


def rclicks(*words: object) -> str:
    """Return what a command prints."""
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_fixture_has_the_old_names() -> None:
    header = load_run(OLD)
    assert "follow" in header["effective"]
    assert [u["options"].get("like") for u in header["effective"]["users"]] == [None, None, None, "clicks.csv"]
    units = json.loads(pq.read_schema(OLD / "records.parquet").metadata[b"rclicks.units"])
    assert [unit["blank"] for unit in units] == [0, 1, 0, 1]
    assert not any("empty_references" in unit for unit in units)


def test_records_of_an_old_run_load() -> None:
    frame = load_records(OLD)
    assert len(frame) == 96
    assert set(frame["rater"]) == {"anna", "ben", "cleo", "majority"}


def test_the_old_name_of_empty_references_is_read() -> None:
    units = load_units(OLD)
    assert units["empty_references"].tolist() == [0, 1, 0, 1]
    assert "blank" not in units


def test_units_of_an_older_and_of_this_version_share_one_column(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "run")
    facts = {"model": "geodesic", "dataset": "multirater-folder", "sample": "c", "empty_references": 2}
    RunStore(tmp_path / "run").write_unit("0123456789abcdef", [], [], facts)
    units = load_units(tmp_path / "run")
    assert units["empty_references"].tolist() == [0, 1, 0, 1, 2]
    RunStore(tmp_path / "run").compact([])
    assert sorted(load_units(tmp_path / "run")["empty_references"]) == [0, 0, 1, 1, 2]


def test_the_old_option_like_means_clicks_matched_to_people() -> None:
    assert roles(load_run(OLD)) == {
        "robot": "base",
        "groups": "groups",
        "people": "human",
        "people-sampled": "human-matched",
    }


def test_failures_with_the_old_name_load() -> None:
    failures = load_failures(OLD)
    assert set(failures["error"]) == {"BadPrediction"}
    assert len(failures) == 15


def test_tables_of_an_old_run_have_the_numbers_of_the_old_version() -> None:
    runs = load_runs([OLD])
    noc = make_table(runs, "noc").frame
    assert noc["NoC@90"].round(2).tolist() == [1.86, 1.71, 1.71, 1.75, 1.75, 1.75]
    raters = make_table(runs, "raters")
    row = raters.frame.query("model == 'geodesic' and user == 'robot' and reference == 'raters'").iloc[0]
    found = row[["followed rater", "other raters", "inter-rater", "clicks to inter-rater"]].tolist()
    assert found == pytest.approx([0.8966767517987974, 0.8361829548235616, 0.8293935877306755, 1.2], abs=1e-12)
    assert sum("1 of multirater-folder" in note for note in raters.notes) == 1
    row = make_table(runs, "robustness").frame.query("model == 'geodesic'").iloc[0]
    found = row[["Sample NoC", "ΔGR NoC %", "User IoU@1", "Sample IoU@1"]].tolist()
    expected = [1.7857142857142858, 14.285714285714286, 80.97198254542256, 80.31768696640249]
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "preset", ["iou", "noc", "rater-matrix", "rater-robustness", "rater-sets", "raters", "robustness", "time"]
)
def test_table_prints_every_preset_of_an_old_run(preset: str) -> None:
    assert "geodesic" in rclicks("table", OLD, "--preset", preset, "--format", "md")


def test_show_prints_an_old_run() -> None:
    text = rclicks("show", OLD)
    assert "15 failures" in text
    assert "BadPrediction" in text
    assert "1 empty reference mask not followed" in text
    assert json.loads(rclicks("show", OLD, "--json"))["failures"][0]["error"] == "BadPrediction"


def test_report_shows_an_old_run(tmp_path: Path) -> None:
    rclicks("report", OLD, "-o", tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "BadPrediction" in page
    assert "Several raters" in page
