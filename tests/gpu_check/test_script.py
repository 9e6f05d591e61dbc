"""check.py as a whole, on the CPU and in little time."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support import REPOSITORY

SCRIPT = REPOSITORY / "benchmarks" / "gpu" / "check.py"


def check(out: Path, *words: str) -> tuple[subprocess.CompletedProcess, dict]:
    answer = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(out), "--pack", str(out / "no-pack"), *words],
        capture_output=True,
        text=True,
        timeout=300,
    )
    (file,) = out.glob("*.json")
    assert file.with_suffix(".md").is_file()
    return answer, json.loads(file.read_text())


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_the_cpu_form_compares_records(tmp_path: Path) -> None:
    answer, found = check(tmp_path, "--cpu", "--minutes", "0.7", "--steps", "records")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (step,) = found["steps"]
    assert step["status"] in ("done", "stopped at the end of its time box")
    assert step["errors"] == []
    played = [row for row in step["rows"] if not row["result"].startswith("not run")]
    assert played
    assert all(row["equal clicks"] == row["trajectories"] > 0 for row in played)
    assert all(row["largest logit difference"] < 1e-3 for row in played)


def test_what_has_no_time_or_no_gpu_is_said(tmp_path: Path) -> None:
    answer, found = check(tmp_path, "--cpu", "--minutes", "0.05", "--steps", "compiled,records")
    assert [step["status"] for step in found["steps"]] == ["not run: no time left", "not run: it needs a GPU"]
    assert answer.returncode == 3
    assert "no step was run" in answer.stderr


def test_an_unknown_step_is_refused() -> None:
    answer = subprocess.run([sys.executable, str(SCRIPT), "--steps", "x"], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 2
    assert "no step x; there are tests, records" in answer.stderr
