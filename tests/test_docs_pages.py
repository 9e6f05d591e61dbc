"""Links lead to existing sections, the README stays short, and its figure can be made from the package alone."""

import re
import runpy
from pathlib import Path

import pytest
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
