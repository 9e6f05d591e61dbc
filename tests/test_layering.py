"""The arrows between the rooms of the package go down only, and heavy packages are imported lazily."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from support import REPOSITORY

PACKAGE = REPOSITORY / "rclicks"

# Who may import whom; every room may import the nouns at the top level.
ALLOWED = {
    "metrics": set(),
    "data": {"metrics"},
    "records": {"metrics", "data"},
    "models": set(),
    "users": {"metrics", "clickability"},
    "clickability": {"metrics", "models", "data", "training"},
    "engine": {"users", "clickability", "models", "metrics", "records", "data", "training"},
    "analysis": {"records", "metrics"},
    "reports": {"analysis", "records", "metrics", "clickability"},
    "training": {"models", "data"},
    "supervoxels": {"data", "models", "metrics"},
    "demo": {"engine", "models", "data", "users", "metrics"},
    "conformance": {"engine", "clickability", "users", "models", "metrics", "data", "training"},
}
NOUNS = {
    "sample",
    "interaction",
    "cards",
    "errors",
    "protocol",
    "config",
    "specs",
    "registry",
    "benchmark",
    "seeds",
    "options",
}
HEAVY = {
    "torch",
    "torchvision",
    "segment_anything",
    "sam2",
    "timm",
    "maxflow",
    "pycocotools",
    "monai",
    "matplotlib",
} | {
    "nibabel",
    "SimpleITK",
    "pydicom",
    "nnInteractive",
    "httpx",
    "cc3d",
    "dynamic_network_architectures",
    "gradio",
}


def imports(file: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(file.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "rclicks":
                found |= {f"rclicks.{alias.name}" for alias in node.names}
    return found


def rooms() -> list[Path]:
    return sorted(f for f in PACKAGE.glob("*/*.py") if f.parent.name in ALLOWED)


@pytest.mark.parametrize("file", rooms(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_below_it(file: Path) -> None:
    room = file.parent.name
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "rclicks" and len(parts) > 1 and parts[1] not in {room, *NOUNS, "__version__"}:
            assert parts[1] in ALLOWED[room], f"{file} imports {name}"


def test_nobody_imports_the_command_line_or_a_plugin() -> None:
    for file in PACKAGE.rglob("*.py"):
        for name in imports(file):
            second = [*name.split("."), ""][1] if name.startswith("rclicks") else ""
            if "cli" not in file.relative_to(PACKAGE).parts and file.name != "__main__.py":
                assert second != "cli", f"{file} imports {name}"
            assert second not in {"adapters", "datasets", "benchmarks"}, f"{file} imports {name}"


def test_nouns_import_no_room() -> None:
    for name in NOUNS - {"benchmark", "registry"}:
        for found in imports(PACKAGE / f"{name}.py"):
            parts = found.split(".")
            assert parts[0] != "rclicks" or parts[1] in NOUNS, f"{name} imports {found}"


@pytest.mark.parametrize("folder", ["adapters", "datasets", "rclicks"])
def test_heavy_packages_are_imported_lazily(folder: str) -> None:
    for file in (REPOSITORY / folder).rglob("*.py"):
        if file.name.startswith("_") and file.name != "__init__.py":
            continue  # networks; imported inside functions only
        for name in imports(file, top_level_only=True):
            assert name.split(".")[0] not in HEAVY, f"{file} imports {name} at its top"


def test_there_is_no_init_in_the_catalogue_folders() -> None:
    for folder in ("adapters", "datasets", "benchmarks"):
        assert not (REPOSITORY / folder / "__init__.py").exists()


def test_importing_the_package_is_light() -> None:
    code = "import sys, rclicks; print(','.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert not HEAVY & set(done.stdout.strip().split(","))
    assert "pandas" not in done.stdout.split(",")
