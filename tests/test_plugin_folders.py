"""A family that is a folder plays from ``--plugins`` and from an installed package, in workers, and in the suite."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from support import REPOSITORY

TOY = Path(__file__).parent / "plugins" / "adapters"


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Return a plug-in folder with one family folder and the helper that it imports."""
    folder = tmp_path / "my_plugins"
    shutil.copytree(
        TOY / "toy_folder", folder / "adapters" / "toy_folder", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(TOY / "_discs.py", folder / "adapters")
    return folder


def rclicks(*words: object, cwd: Path, code: int = 0, path: str = "") -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), path]))}
    command = [sys.executable, "-m", "rclicks", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def records(run: Path) -> pd.DataFrame:
    columns = ["model", "sample", "object", "round", "y", "x", "iou"]
    frame = pd.concat(pd.read_parquet(file) for file in sorted(run.rglob("*.parquet")) if "records" in str(file))
    return frame[columns].sort_values(columns[:4]).reset_index(drop=True)


def install(plugins: Path, site: Path) -> None:
    """Lay the plug-in folder out as an installed package with an entry point."""
    shutil.copytree(plugins, site / "their_models")
    (site / "their_models" / "__init__.py").write_text("")
    facts = site / "their_models-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: their-models\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[rclicks.plugins]\ntheirs = their_models\n")


def test_workers_play_a_family_folder_from_plugins_and_from_an_installed_package(plugins: Path, tmp_path: Path) -> None:
    play = ("run", "quickstart", "--models", "toy-folder", "--limit", 1, "--clicks", 2)
    rclicks(*play, "--plugins", plugins, "--workers", 2, "--out", tmp_path / "two", cwd=tmp_path)
    rclicks(*play, "--plugins", "my_plugins", "--out", tmp_path / "one", cwd=tmp_path)
    install(plugins, tmp_path / "site")
    rclicks(*play, "--workers", 2, "--out", tmp_path / "installed", cwd=tmp_path, path=str(tmp_path / "site"))
    two, one, installed = (records(tmp_path / name) for name in ("two", "one", "installed"))
    assert set(two["model"]) == {"toy-folder"}
    assert len(two)
    pd.testing.assert_frame_equal(two, one)
    pd.testing.assert_frame_equal(two, installed)


def test_an_installed_package_may_be_named_as_a_plugin_folder_too(plugins: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install(plugins, site)
    found = rclicks("ls", "models", "--json", "--plugins", site / "their_models", cwd=tmp_path, path=str(site))
    listed = json.loads(found)
    assert "toy-folder" in {model["name"] for model in listed["models"]}
    assert listed["broken"] == []


def test_the_suite_checks_a_family_folder_and_finds_its_faults(plugins: Path, tmp_path: Path) -> None:
    text = rclicks("test", "my_plugins", cwd=tmp_path)
    assert "toy-folder" not in text, "nothing failed or was skipped"
    network = plugins / "adapters" / "toy_folder" / "network.py"
    good = network.read_text()
    network.write_text(good.replace("from .._discs import disc", "from .._discs import disk"))
    text = rclicks("test", plugins, cwd=tmp_path, code=1)
    assert "toy_folder/network.py, line 5, fails to import: cannot import name 'disk'" in text
    network.write_text(good)
    text = rclicks("test", plugins / "adapters", cwd=tmp_path, code=3)
    assert "is not a plug-in folder" in text
    assert f"did you mean {plugins}?" in text
    (tmp_path / "other" / "adapters").mkdir(parents=True)
    assert "has nothing to test" in rclicks("test", "other", cwd=tmp_path, code=3)
    (plugins / "adapters" / "toy_folder" / "__init__.py").unlink()
    assert "needs an __init__.py" in rclicks("test", plugins, cwd=tmp_path, code=1)


DATASET = """
from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset

CARDS = (DatasetCard(name="says", summary="s", prepares=True), DatasetCard(name="hides", summary="s"))


def load(card, root):
    raise NotImplementedError
"""


def test_the_suite_compares_the_fact_prepares_with_the_hook(tmp_path: Path) -> None:
    file = tmp_path / "p" / "datasets" / "set.py"
    file.parent.mkdir(parents=True)
    file.write_text(DATASET)
    text = rclicks("test", "p", cwd=tmp_path, code=1)
    assert "prepares=True, but the module has no function prepare" in text
    file.write_text(DATASET + "def prepare(card, raw, out, *, report): ...\n")
    text = rclicks("test", "p", cwd=tmp_path, code=1)
    assert "prepares=False, but the module has a function prepare" in text
