"""Published tables rebuilt to the printed digit, and honest words where they cannot be."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from records.test_published import OBJECTS, curves, isegm, published  # noqa: F401 - isegm is a fixture

from rclicks.analysis.reproduce import _cell, base_rule, click_models, click_models_by_kind, overview, robustness
from rclicks.analysis.runs import Runs, load_runs
from rclicks.errors import DataError
from rclicks.records.published import import_published
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
    with pytest.raises(DataError, match="eval_cm_all.csv; pass a checkout"):
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


@pytest.fixture
def imported(tmp_path: Path) -> Runs:
    import_published(published(tmp_path / "archive"), tmp_path / "run")
    return load_runs([tmp_path / "run"])


def noc(curve: np.ndarray, threshold: float) -> int:
    return next((k for k, iou in enumerate(curve, start=1) if iou >= threshold), 20)


def printed(folder: Path) -> dict[str, str]:
    """Write printed numbers of the imported model, by the words of the specification; return them by metric."""
    base, groups = curves(0), [curves(g + 1) for g in range(10)]
    counts = np.array([[noc(c, 0.9) for c in g] for g in groups])
    by_base = np.array([noc(c, 0.9) for c in base])
    areas = {"G1": groups[0], "G10": groups[9], "base": base}
    people = [curves(50)[i][: 3 + i] for i in range(OBJECTS)]
    cells = {
        "noc20_90_sample_mean": f"{counts.mean():.2f}",
        "noc20_90_sample_std": f"{counts.std(axis=0).mean():.2f}",
        "delta_sb_noc_pct": f"{100 * ((counts.mean(axis=0) - by_base) / by_base).mean():.2f}",
        "delta_gr_noc_pct": f"{100 * ((counts[0] - counts[9]) / counts[9]).mean():.2f}",
        "nsr_user_iou1": f"{np.mean([p.std() / p.mean() for p in people]):.6f}",
    }
    cells |= {
        f"iou_auc20_pct_{name}": f"{100 * np.mean([(c.sum() - (c[0] + c[-1]) / 2) / 19 for c in part]):.2f}"
        for name, part in areas.items()
    }
    rows = [("t", "COCO_MVal", "" if "nsr" in name else "model_h18", name, value) for name, value in cells.items()]
    columns = ["table", "dataset", "checkpoint", "metric", "value"]
    pd.DataFrame([*rows, rows[0]], columns=columns).to_csv(folder / "benchmark_results.csv", index=False)
    readme = [
        ("r", "COCO_MVal", "model_h18", f"noc20_{q}", f"{np.mean([noc(c, q / 100) for c in base]):.2f}")
        for q in (85, 90)
    ]
    readme.append(("r", "GrabCut", "model_h18", "noc20_90", "1.50"))
    pd.DataFrame(readme, columns=columns).to_csv(folder / "base_strategy_results_third_party.csv", index=False)
    return cells


def test_played_tables_are_rebuilt_from_a_run(tmp_path: Path, imported: Runs) -> None:
    known = printed(tmp_path)
    cells = robustness(imported, tmp_path)
    assert dict(zip(cells["score"], cells["rebuilt"], strict=True)) == known
    assert cells["equal"].all()
    base = base_rule(imported, tmp_path)
    assert base["score"].tolist() == ["noc20_85", "noc20_90"]
    assert base["equal"].all()
    states = {s.table: s.state for s in overview(tmp_path, imported)}
    assert states["robustness (table 4), COCO_MVal"] == "reproduced"
    assert states["area under the IoU curves (fig. 6)"] == "reproduced"
    assert states["noise-to-signal ratio of data sets (fig. 7)"] == "reproduced"
    assert states["base rule (RITM and ClickSEG)"] == "reproduced"
    assert states["robustness (table 4), TETRIS"] == states["click models"] == "missing"


def test_played_tables_that_differ_are_told_apart(tmp_path: Path, imported: Runs) -> None:
    printed(tmp_path)
    file = tmp_path / "benchmark_results.csv"
    frame = pd.read_csv(file, dtype=str)
    frame.loc[frame["metric"] == "noc20_90_sample_mean", "value"] = "3.40"  # the last zero counts
    other = pd.DataFrame([("t", "COCO_MVal", "another", "noc20_90_sample_mean", "1.00")], columns=frame.columns)
    pd.concat([frame, other]).to_csv(file, index=False)
    states = {s.table: s for s in overview(tmp_path, imported)}
    assert "printed 3.40, got " in states["robustness (table 4), COCO_MVal"].why
    assert states["noise-to-signal ratio of data sets (fig. 7)"].state == "missing"  # it takes all models
    (tmp_path / "base_strategy_results_third_party.csv").unlink()
    with pytest.raises(DataError, match="base_strategy_results_third_party.csv is missing"):
        base_rule(imported, tmp_path)


@needs_shared
def test_a_model_is_known_by_its_checkpoint_file(imported: Runs) -> None:
    records = imported.records.assign(model="ritm-h18", checkpoint="coco_lvis_h18_itermask.pth@0123456789ab")
    played = Runs(records, imported.units, imported.failures, imported.header)
    cells = base_rule(played, REFERENCE)
    assert set(cells["model"]) == {"coco_lvis_h18_itermask"}
    assert dict(zip(cells["score"], cells["printed"], strict=True)) == {"noc20_90": "2.98"}  # as RITM prints it
    assert not cells["equal"].any()  # the curves are made up
