"""Find the command lines in Markdown pages, notebooks and shell scripts.

Nothing is listed here: commands are found in code blocks, indented blocks and code spans. See `command_checks` for what
they may say.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from support import REPOSITORY

NAME = "rclicks"
SHELLS = {"", "bash", "sh", "shell", "console"}
_NAMED_BLOCK = re.compile(r"`([\w./-]+\.\w+)`:$")


@dataclass(frozen=True)
class Line:
    """One command line of a page: where it stands, its words after ``rclicks``, and whether it is a code span."""

    place: str
    words: tuple[str, ...]
    span: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {shlex.join((NAME, *self.words))}"


@dataclass(frozen=True)
class Block:
    """A code block that is no command: its language, text, and the file that the sentence before it names, or ""."""

    place: str
    language: str
    text: str
    file: str = ""


@dataclass(frozen=True)
class Span:
    """A code span that is no command."""

    place: str
    text: str


Item = Line | Block | Span


def pages() -> list[Path]:
    """Return the pages whose commands must work: all Markdown of the repository but the history, and notebooks."""
    found = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("benchmarks/**/*.md")]
    found += [*REPOSITORY.glob("rclicks/assets/**/*.md"), *REPOSITORY.glob("notebooks/*.ipynb")]
    return sorted(p for p in found if p.name != "CHANGELOG.md")


def read_page(page: Path) -> list[Item]:
    """Return what stands on a page in code, in order."""
    name = str(page.relative_to(REPOSITORY))
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".sh":
        plain = re.sub(r'"\$\w+"', "1", text.replace(f'"$venv/bin/{NAME}"', NAME))  # its variables are numbers
        return list(read_shell(name, plain, 1))
    if page.suffix != ".ipynb":
        return list(read_markdown(name, text))
    items: list[Item] = []
    for number, cell in enumerate(json.loads(text)["cells"]):
        source, place = "".join(cell["source"]), f"{name}, cell {number + 1}"
        if cell["cell_type"] == "markdown":
            items += read_markdown(place, source)
        elif source.startswith(("%%bash", "%%sh", "%%script")):
            items += read_shell(place, source, 1)
        else:
            lines = (row.strip().removeprefix("!") for row in source.splitlines() if row.strip().startswith("!"))
            items += read_shell(place, "\n".join(lines), 1)
    return items


def read_markdown(place: str, text: str) -> Iterator[Item]:
    """Yield command lines, other blocks and other spans of a Markdown text, in order."""
    before = ""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        number = token.map[0] + 1 if token.map else 0
        if token.type in {"fence", "code_block"}:
            first = number + (token.type == "fence")
            language, named, before = token.info.strip(), _NAMED_BLOCK.search(before), ""
            yield Block(f"{place}:{number}", language, token.content, named[1] if named else "")
            if language in SHELLS:
                yield from read_shell(place, token.content, first)
        elif token.type == "inline":
            before = token.content.strip()
            for child in token.children or ():
                if child.type == "code_inline" and child.content.startswith(f"{NAME} "):
                    for words in commands(child.content):
                        yield Line(f"{place}:{number}", words, span=True)
                elif child.type == "code_inline":
                    yield Span(f"{place}:{number}", child.content)


def read_shell(place: str, text: str, first: int) -> Iterator[Line]:
    """Yield the command lines among lines of a shell; a line that ends with a backslash goes on."""
    rows = text.splitlines()
    number = 0
    while number < len(rows):
        start, row = number, rows[number].strip().removeprefix("$ ")
        while row.endswith("\\") and number + 1 < len(rows):
            number += 1
            row = row[:-1] + rows[number].strip()
        number += 1
        if row.startswith(f"{NAME} "):
            for words in commands(row):
                yield Line(f"{place}:{first + start}", words)


def commands(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each rclicks command of a line; the shell's signs part commands, # begins a comment."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;<>"):
            if words[:1] == [NAME]:
                yield tuple(words[1:])
            words = []
        else:
            words.append(word)
