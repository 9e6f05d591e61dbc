"""Published tables rebuilt to the printed digit, and honest words where they cannot be."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rclicks.analysis.reproduce import _cell, click_models, click_models_by_kind, overview
from rclicks.errors import DataError
from support import SHARED, needs_shared

REFERENCE = SHARED / "reference" / "rclicks"


@needs_shared
def test_all_printed_cells_are_rebuilt() -> None:
    cells = click_models(REFERENCE)
    assert cells.groupby("table").size().to_dict() == {
        "click models, all data sets": 125,
        "click models, TETRIS": 20,
        "ablation of sigma, TETRIS": 60,
    }
    assert cells["equal"].all(), cells[~cells["equal"]]


@needs_shared
def test_means_by_click_type() -> None:
    found = click_models_by_kind(REFERENCE).set_index(["dataset", "click", "model"])
    known = pd.read_csv(REFERENCE / "click_model_results.csv")
    known = known[known["table"] == "click_models_by_click_type_derived"]
    names = {"pl1": "l1", "ks_accept_rate": "ks", "wd": "wd", "nss": "nss", "pde": "pde"}
    models = {"ud": "UD", "dt": "DT", "si": "SI", "sm": "SM", "cm": "Ours"}
    assert len(known) == 5 * len(found)
    for row in known.to_dict("records"):
        key = (row["dataset"].replace("_", "-"), row["click_type"], models[row["source_key"]])
        assert found.loc[key, names[row["metric"]]] == pytest.approx(row["value"], rel=1e-6)


@needs_shared
def test_a_changed_score_is_found(tmp_path: Path) -> None:
    shutil.copytree(REFERENCE / "experiments", tmp_path / "experiments")
    file = tmp_path / "experiments" / "eval_cm" / "DAVIS_per_image.csv"
    scores = pd.read_csv(file)
    file.chmod(0o644)
    scores.assign(nss=scores["nss"] + 0.01).to_csv(file, index=False)
    cells = click_models(tmp_path)
    wrong = cells[~cells["equal"]]
    assert set(wrong["dataset"]) == {"DAVIS"}
    assert set(wrong["score"]) == {"NSS"}
    states = {s.table: s for s in overview(tmp_path)}
    assert states["click models, all data sets"].state == "differs"
    assert "DAVIS" in states["click models, all data sets"].why
    assert states["click models, TETRIS"].state == "reproduced"


@needs_shared
def test_every_published_table_has_a_word() -> None:
    found = overview(REFERENCE)
    assert sum(s.state == "reproduced" for s in found) == 4
    assert all(s.why for s in found)
    assert {s.state for s in found} == {"reproduced", "missing"}


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="eval_cm_all.csv; give a checkout"):
        click_models(tmp_path)
    assert overview(tmp_path)[0].state == "missing"
    (tmp_path / "eval_cm").mkdir()
    (tmp_path / "eval_cm" / "eval_cm_all.csv").write_text("Dataset,Model\n")
    with pytest.raises(DataError, match=r"GrabCut_mean.csv is missing"):
        click_models(tmp_path)
    (tmp_path / "eval_cm" / "GrabCut_mean.csv").write_text("model_name,l1\n")
    with pytest.raises(DataError, match="lacks the columns ks2d"):
        click_models(tmp_path)


@pytest.mark.parametrize(
    ("printed", "value", "rebuilt"),
    [("0.15", 0.1549, "0.15"), ("4.06E-05", 4.0649e-5, "4.06E-05"), ("0.408", 0.4078, "0.408"), ("0.10", 0.09, "0.09")],
)
def test_values_are_printed_the_published_way(printed: str, value: float, rebuilt: str) -> None:
    assert _cell(printed, value) == (printed, rebuilt, printed == rebuilt)
    assert not np.isnan(value)
