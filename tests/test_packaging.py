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
    "kinds = ('model', 'dataset', 'user', 'click-model', 'benchmark');"
    "print(json.dumps({k: {n: e.module for n, e in r.table(k).items()} for k in kinds}));"
    "import rclicks; print(rclicks.__file__)"
)
FAMILY = {
    "adapters/new_family/__init__.py": "CARDS = (ModelCard(name='new', family='new_family', summary='s'),)\n",
    "adapters/new_family/network.py": "NET = 1\n",
    "datasets/new_set/__init__.py": "CARDS = (DatasetCard(name='new-set', summary='s'),)\n",
}


def listing(python: str, cwd: Path, **environment: str) -> tuple[dict, str]:
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | environment
    done = subprocess.run([python, "-c", CODE], cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names, place = done.stdout.strip().splitlines()
    return json.loads(names), place


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the present files and two new families, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "rclicks", "adapters", "datasets", "benchmarks"):
        subprocess.run(["cp", "-r", str(REPOSITORY / name), str(copy / name)], check=True)
    for name, text in FAMILY.items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(text)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_and_path_list_the_same_plugins(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    installed, place = listing(sys.executable, tmp_path, PYTHONPATH=str(site))
    assert place.startswith(str(site))
    assert installed["model"].pop("new") == "rclicks.adapters.new_family"
    assert installed["dataset"].pop("new-set") == "rclicks.datasets.new_set"
    checkout, place = listing(sys.executable, tmp_path, PYTHONPATH=str(REPOSITORY))
    assert place.startswith(str(REPOSITORY))
    editable, _ = listing(sys.executable, tmp_path)
    assert installed == checkout == editable
    assert "geodesic" in installed["model"]
    assert "quickstart" in installed["dataset"]
    assert "quickstart" in installed["benchmark"]


def test_the_wheel_holds_every_module_of_every_family(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if n.startswith(("rclicks/adapters/", "rclicks/datasets/"))}
    kept = {f"rclicks/{f.relative_to(REPOSITORY)}" for c in ("adapters", "datasets") for f in files(REPOSITORY / c)}
    assert names == kept | {f"rclicks/{name}" for name in FAMILY}
    assert {"rclicks/adapters/ritm/__init__.py", "rclicks/adapters/ritm/network.py"} <= names


def files(folder: Path) -> list[Path]:
    """Return all files of a folder of families; one that is no Python would need a line in pyproject.toml."""
    return [f for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts]


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
