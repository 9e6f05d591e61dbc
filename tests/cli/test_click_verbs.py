"""Click groups, click scores, import and reproduction from the command line."""

from pathlib import Path

import pytest
from cli.test_verbs import PLUGINS, rclicks

from support import SHARED, needs_shared

VOC = SHARED / "data" / "clicks" / "voc_clicks"
USERS = "robot,sampled:model=uniform,groups=4,label=groups"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("groups")
    study = folder / "groups.yaml"
    study.write_text("summary: s\nmodels: [toy, 'toy:radius=9']\ndatasets: [toy-set]\nprotocol: {clicks: 4}\n")
    rclicks("run", study, "--users", USERS, "--out", folder / "run", "--plugins", PLUGINS)
    return folder / "run"


def test_robustness_table_comparison_and_figures(run: Path, tmp_path: Path) -> None:
    table = rclicks("table", run, "--preset", "robustness")
    assert "ΔGR NoC %" in table
    assert table.count("| toy-set") == 2
    assert "User IoU@1" not in table
    compared = rclicks("compare", run)
    assert "p (Holm)" in compared
    assert "toy:radius=9" in compared
    files = rclicks("plot", run, "--out", tmp_path).split()
    assert {Path(f).name for f in files} >= {"iou_toy-set.png", "groups_iou_toy-set.svg"}
    assert "groups: click model uniform, weights none" in rclicks("show", run)
    rclicks("report", run, "-o", tmp_path / "site")
    assert "ΔSB" in (tmp_path / "site" / "index.html").read_text()


def test_a_run_without_groups_says_what_it_lacks(tmp_path: Path) -> None:
    study = tmp_path / "plain.yaml"
    study.write_text("summary: s\nmodels: [toy]\ndatasets: [toy-set]\nprotocol: {clicks: 2}\nlimit: 1\n")
    rclicks("run", study, "--out", tmp_path / "run", "--plugins", PLUGINS)
    assert "needs the users robot" in rclicks("table", tmp_path / "run", "--preset", "robustness", code=6)
    assert "needs the users robot" in rclicks("compare", tmp_path / "run", code=6)


def test_click_models_are_listed_and_shown() -> None:
    listed = rclicks("ls", "click-models")
    assert "distance" in listed
    assert "clickability-s" in listed
    assert "emb-ai/rclicks" in rclicks("show", "clickability")


@needs_shared
def test_scores_and_figures_on_real_clicks(tmp_path: Path) -> None:
    table = rclicks("clicks", "score", "uniform,distance", "--clicks", VOC, "--limit", "5")
    assert "| VOC_clicks | uniform" in table
    assert "|       5 |" in table
    out = rclicks("clicks", "draw", "distance", "2009_002382/15", "--clicks", VOC, "-o", tmp_path / "map.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.png", "map.svg"]
    assert "map.svg" in out
    assert "similar keys: 2009_002382/15" in rclicks(
        "clicks", "draw", "distance", "2009_002382/1", "--clicks", VOC, "-o", tmp_path / "x.png", code=4
    )


def test_click_files_that_are_wrong_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "clicks.csv"
    assert "does not exist" in rclicks("clicks", "score", "uniform", "--clicks", file, code=4)
    file.write_text("dataset,sample,object,user,round,y,x,positive\nmoon,s,0,p,1,1,1,1\n")
    assert "no clicks on a registered data set; its data sets are moon" in rclicks(
        "clicks", "score", "uniform", "--clicks", file, code=4
    )


@needs_shared
def test_reproduction_and_import() -> None:
    reference = SHARED / "reference" / "rclicks"
    assert "205 cells: 205 equal" in rclicks("reproduce", "click-models", "--reference", reference)
    assert "| missing" in rclicks("reproduce", RCLICKS_REFERENCE=str(reference))
    assert "no folder of published numbers is given" in rclicks("reproduce", code=4)
    assert "unknown table" in rclicks("reproduce", "moon", code=3)
    assert "contains no published results" in rclicks("import", "rclicks", SHARED / "golden", "-o", "nowhere", code=4)
    assert "unknown format of results" in rclicks("import", "moon", SHARED, "-o", "nowhere", code=3)
