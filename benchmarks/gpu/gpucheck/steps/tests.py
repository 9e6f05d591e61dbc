"""Step 0: the tests that are marked ``gpu``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from gpucheck.context import Step

ROOT = Path(__file__).resolve().parents[4]


def run(step: Step) -> None:
    """Run pytest on ``tests/gpu`` and write down its summary, and the output if a test failed."""
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    try:
        answer = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=max(5.0, step.left()), check=False
        )
    except subprocess.TimeoutExpired:
        step.note("the tests did not end in time")
        return
    lines = answer.stdout.strip().splitlines() or ["no output"]
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", lines[-1])}
    step.row("tests", **{"exit code": answer.returncode}, **counts)
    if answer.returncode not in (0, 5):  # 5: nothing was collected
        raise RuntimeError("tests failed:\n" + answer.stdout[-3000:] + answer.stderr[-500:])
