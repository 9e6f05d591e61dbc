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
MODEL, DATASET = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
(STUDY,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def code_lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def test_a_model_takes_about_forty_lines_a_data_set_thirty_a_study_twelve() -> None:
    assert code_lines(MODEL) <= 40
    assert code_lines(DATASET) <= 30
    assert code_lines(STUDY) <= 12


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    for kind, name, text in (("adapters", "threshold", MODEL), ("datasets", "squares", DATASET)):
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
