"""The torchvision shim, in processes of their own because a declared operator cannot be taken back."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import REPOSITORY

pytest.importorskip("torch")

DECLARE = """
import torch
_library = torch.library.Library("torchvision", "FRAGMENT")
_library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
NEEDS_DECLARATION = """
import torch
if not hasattr(torch.ops.torchvision, "nms"):
    raise RuntimeError("operator torchvision::nms does not exist")
"""
REPORT = """
import sys
import torch
from rclicks.models.torchvision_shim import import_torchvision
torch.version.cuda = {cuda!r}
for attempt in range(2):
    try:
        import_torchvision()
    except RuntimeError as error:
        print("failed:", error)
ours = "_rclicks_declared" in vars(sys.modules.get("torchvision", object))
print("imported", "torchvision" in sys.modules, "declared", hasattr(torch.ops.torchvision, "nms"), "by us", ours)
"""


def run(program: str, stand_in: Path | None = None) -> list[str]:
    """Run `program` in a new process that finds `stand_in` before the installed packages; return its lines."""
    folders = [str(f) for f in (stand_in, REPOSITORY) if f]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("source", "cuda", "expected"),
    [
        pytest.param(DECLARE, None, ["imported True declared True by us False"], id="healthy-cpu"),
        pytest.param(NEEDS_DECLARATION, None, ["imported True declared True by us True"], id="broken-cpu"),
        pytest.param(
            NEEDS_DECLARATION,
            "13.0",
            ["failed: operator torchvision::nms does not exist"] * 2 + ["imported False declared False by us False"],
            id="broken-cuda",
        ),
        pytest.param(
            "raise RuntimeError('something else')",
            None,
            ["failed: something else"] * 2 + ["imported False declared False by us False"],
            id="other-failure",
        ),
    ],
)
def test_it_declares_only_where_that_is_the_cure(
    tmp_path: Path, source: str, cuda: str | None, expected: list[str]
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(source)
    assert run(REPORT.format(cuda=cuda), tmp_path) == expected


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_the_installed_torchvision_resizes_afterwards() -> None:
    lines = run(
        "import torch\n"
        "from rclicks.models.torchvision_shim import import_torchvision\n"
        "import_torchvision(); import_torchvision()\n"
        "from torchvision.transforms import Resize\n"
        "print(*Resize((4, 6), antialias=True)(torch.ones(3, 8, 8)).shape)\n"
    )
    assert lines == ["3 4 6"]
