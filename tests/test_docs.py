"""The tutorials work as written, and are as short as promised."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

import rclicks
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from support import REPOSITORY

TEXT = (REPOSITORY / "docs" / "extending.md").read_text()
MODEL, DATASET, USER = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
(STUDY,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def code_lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def test_a_model_takes_about_forty_lines_a_data_set_and_a_user_thirty_a_study_twelve() -> None:
    assert code_lines(MODEL) <= 40
    assert code_lines(DATASET) <= 30
    assert code_lines(USER) <= 30
    assert code_lines(STUDY) <= 12


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    files = (("adapters", "threshold", MODEL), ("datasets", "squares", DATASET), ("users", "anywhere", USER))
    for kind, name, text in files:
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.py").write_text(text)
    return tmp_path


def test_the_tutorial_plays(plugins: Path, tmp_path: Path) -> None:
    assert Registry.discover([plugins]).broken == []
    study = tmp_path / "study.yaml"
    clicks = tmp_path / "clicks.csv"
    clicks.write_text("dataset,sample,object,user,round,y,x,positive\nsquares,square0,0,ann,1,30,40,1\n")
    study.write_text(yaml.safe_dump(yaml.safe_load(STUDY)).replace("clicks.csv", str(clicks)))
    frame = rclicks.evaluate(study, models=["threshold"], plugins=[plugins], limit=2)
    assert frame.attrs["failures"] == []
    assert frame.groupby("user")["sample"].nunique().to_dict() == {"recorded:file=clicks.csv": 1, "robot": 2}
    assert frame.loc[frame["round"] == 1, "iou"].min() > 0.9


def test_the_user_of_the_tutorial_clicks_on_errors_and_gives_all_its_clicks_again(plugins: Path) -> None:
    given = {"models": ["threshold"], "users": ["anywhere"], "datasets": ["squares"], "plugins": [plugins], "clicks": 4}
    first, again = (rclicks.evaluate("quickstart", **given) for _ in range(2))
    assert first.attrs["failures"] == []
    assert first["sample"].nunique() == 8
    assert first[["y", "x", "positive"]].equals(again[["y", "x", "positive"]])
    begin = first[first["round"] == 1]
    assert begin["positive"].all(), "at first the whole object is the error"
    number = begin["sample"].str.removeprefix("square").astype(int)
    assert begin["y"].between(20, 49 + number).all()
    assert begin["x"].between(30, 69 + number).all()
    assert begin[["y", "x"]].drop_duplicates().shape[0] > 4, "samples have random numbers of their own"


def test_every_protocol_rule_that_differs_is_in_the_docs() -> None:
    text = (REPOSITORY / "docs" / "differences.md").read_text()
    default, compat = (asdict(Protocol.named(name)) for name in ("default", "compat"))
    differing = [rule for rule in default if default[rule] != compat[rule] and rule != "name"]
    assert len(differing) == 10
    for rule in differing:
        assert f"| `{rule}` |" in text


def test_links_between_pages_lead_somewhere() -> None:
    for page in (REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").rglob("*.md")):
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
