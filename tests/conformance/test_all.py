"""The conformance suite over everything that is registered, with the shared real data where it is present."""

import os
import subprocess
import sys
from pathlib import Path

from support import REPOSITORY, SHARED

if (SHARED / "data").is_dir():
    os.environ.setdefault("RCLICKS_DATA_ROOT", str(SHARED / "data"))

from rclicks.conformance.test_plugins import *  # noqa: F403

PLUGINS = Path(__file__).parent.parent / "plugins"


def suite(folder: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"RCLICKS_PLUGINS": str(folder), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "rclicks.conformance"]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_the_suite_passes_on_a_good_plugin_folder() -> None:
    done = suite(PLUGINS)
    assert done.returncode == 0, done.stdout
    assert "toy" in subprocess.list2cmdline(done.args) or "passed" in done.stdout


def test_the_suite_fails_on_a_model_that_breaks_its_contract(tmp_path: Path) -> None:
    folder = tmp_path / "adapters"
    folder.mkdir()
    source = (PLUGINS / "adapters" / "toy.py").read_text().replace('"toy', '"bad')
    (folder / "bad.py").write_text(source.replace("probability > 0.5", "probability >= 0.1"))
    done = suite(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "test_play[bad]" in done.stdout


def test_the_suite_fails_on_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "broken.py").write_text("CARDS = (")
    done = suite(tmp_path)
    assert done.returncode == 1
    assert "cannot be parsed" in done.stdout
