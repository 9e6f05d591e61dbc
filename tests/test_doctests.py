"""Examples in docstrings print what they say."""

import doctest
import importlib

import pytest

from support import REPOSITORY

FOLDERS = {"rclicks": "rclicks", "adapters": "rclicks.adapters", "datasets": "rclicks.datasets"}
FILES = sorted(
    file
    for folder in FOLDERS
    for file in (REPOSITORY / folder).rglob("*.py")
    if ">>> " in file.read_text() and not file.name.startswith("test_")
)


def test_examples_are_found() -> None:
    names = {f.name for f in FILES}
    assert {"overlap.py", "target.py", "robot.py", "box.py", "specs.py", "api.py", "effort.py"} <= names


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(REPOSITORY)))
def test_examples(file: object) -> None:
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    name = ".".join((FOLDERS[parts[0]], *parts[1:])).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
