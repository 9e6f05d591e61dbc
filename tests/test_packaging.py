"""Wheel, editable install and PYTHONPATH see the same plug-ins, and `datasets` shadows nothing."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support import REPOSITORY

CODE = (
    "import json; from rclicks.registry import Registry; r = Registry.discover();"
    "print(json.dumps({k: sorted(r.table(k)) for k in ('model', 'dataset', 'user', 'benchmark')}));"
    "import rclicks; print(rclicks.__file__)"
)


def listing(python: str, cwd: Path, **environment: str) -> tuple[dict, str]:
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | environment
    done = subprocess.run([python, "-c", CODE], cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names, place = done.stdout.strip().splitlines()
    return json.loads(names), place


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the committed and present files, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "rclicks", "adapters", "datasets", "benchmarks"):
        subprocess.run(["cp", "-r", str(REPOSITORY / name), str(copy / name)], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_and_path_list_the_same_plugins(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    installed, place = listing(sys.executable, tmp_path, PYTHONPATH=str(site))
    assert place.startswith(str(site))
    checkout, place = listing(sys.executable, tmp_path, PYTHONPATH=str(REPOSITORY))
    assert place.startswith(str(REPOSITORY))
    editable, _ = listing(sys.executable, tmp_path)
    assert installed == checkout == editable
    assert "geodesic" in installed["model"]
    assert "quickstart" in installed["dataset"]
    assert "quickstart" in installed["benchmark"]


def test_the_wheel_carries_data_and_types_and_no_loose_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "rclicks/py.typed" in names
    assert any(n.startswith("rclicks/assets/quickstart/") and n.endswith(".png") for n in names)
    assert any(n.startswith("rclicks/reports/templates/") for n in names)
    assert "rclicks/benchmarks/quickstart.yaml" in names
    assert "rclicks/adapters/geodesic.py" in names
    tops = {n.split("/")[0] for n in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"rclicks"}


def test_a_package_named_datasets_is_not_shadowed(tmp_path: Path) -> None:
    stand_in = tmp_path / "datasets"
    stand_in.mkdir()
    (stand_in / "__init__.py").write_text("WHO = 'the stand-in'\n")
    code = "import datasets, rclicks.datasets; print(datasets.WHO)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for command in ([sys.executable, "-c", code], [sys.executable, "-m", "check_it"]):
        (tmp_path / "check_it.py").write_text(code)
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "the stand-in"
