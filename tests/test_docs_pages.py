"""Links, modules and files that pages name exist, the README stays short, and its figure can be made."""

import importlib
import re
import runpy
from pathlib import Path

import pytest
from command_lines import Span, pages, read_page
from matplotlib.image import imread

from support import REPOSITORY

PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page (headings inside code blocks are none)."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        repeated = sum(n == name or re.fullmatch(re.escape(name) + r"-\d+", n) is not None for n in found)
        found.add(f"{name}-{repeated}" if repeated else name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_sections_lead_to_a_heading(page: Path) -> None:
    for file, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        target = page.parent / file if file else page
        assert anchor in anchors(target), f"{page.name} links to #{anchor} of {target.name}"


def test_all_pages_are_in_the_index() -> None:
    index = (REPOSITORY / "docs" / "README.md").read_text()
    for page in (REPOSITORY / "docs").rglob("*.md"):
        name = page.relative_to(REPOSITORY / "docs").as_posix()
        assert name == "README.md" or f"({name})" in index, f"docs/README.md does not list {name}"


def is_importable(name: str) -> bool:
    """Return whether a dotted name is a module of the package or something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("rclicks"):
                return True  # an optional package is not installed
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_modules_and_files_in_code_spans_exist() -> None:
    wrong, modules, files = [], 0, 0
    for span in (item for page in pages() for item in read_page(page) if isinstance(item, Span)):
        name = re.fullmatch(r"(rclicks(?:\.\w+)+)(?:\(.*\))?", span.text)
        if name and name[1] not in {"rclicks.plugins", "rclicks.yaml"}:  # an entry point, a file
            modules += 1
            wrong += [] if is_importable(name[1]) else [f"{span.place}: {span.text}"]
        folder = re.match(r"(adapters|benchmarks|datasets|docs|notebooks|rclicks|tests)/\w", span.text)
        if folder and not re.search(r"[A-Z]{4}", span.text):
            files += 1
            wrong += [] if (REPOSITORY / span.text).exists() else [f"{span.place}: {span.text}"]
    assert modules > 10
    assert files > 10
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "found"), [("rclicks.api.evaluate", True), ("rclicks.api.evaluat", False), ("rclicks.ap", False)]
)
def test_names_that_do_not_exist_are_seen(name: str, found: bool) -> None:
    assert is_importable(name) == found


def test_the_readme_is_short_and_defines_its_terms() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    for term in ("reference mask", "base rule", "click group", "trajectory"):
        assert re.search(rf"\*\*{term}s?\*\*", text), term


@pytest.mark.slow
def test_the_overview_figure_can_be_made(tmp_path: Path) -> None:
    script = runpy.run_path(str(REPOSITORY / "docs" / "figures" / "make_overview.py"))
    script["main"](tmp_path / "overview.png")  # it raises if a mask has another IoU than its record
    made, kept = imread(tmp_path / "overview.png"), imread(REPOSITORY / "docs" / "figures" / "overview.png")
    assert made.shape == kept.shape
