"""The help of every verb: an example that works, words for values instead of types, and lines that fit."""

import re
import shlex
from typing import Any

import pytest
from command_checks import PageState, check_line, parse_line, root
from command_lines import NAME, Line
from typer.testing import CliRunner

from rclicks.cli.main import app
from rclicks.registry import Registry

# Words that typer or click print for the type of a value.
TYPES = re.compile(r"<[\w\[\], ]+>|\b(TEXT|INTEGER|FLOAT|BOOLEAN|STR|INT|BOOL|LIST)\b")


def commands(command: Any = None, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Return (path, command) of the command itself and of all verbs, from the live command line."""
    command = root() if command is None else command
    inner = getattr(command, "commands", {})
    return [(path, command), *(found for name, verb in inner.items() for found in commands(verb, (*path, name)))]


ALL = commands()
each = pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join((NAME, *path)) for path, _ in ALL])


def page(path: tuple[str, ...], width: int) -> str:
    done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": str(width)}, prog_name=NAME)
    assert done.exit_code == 0, done.output
    return done.output


def test_all_verbs_are_found() -> None:
    assert {"run", "table", "compare", "train", "clicks", "data"} <= {path[0] for path, _ in ALL if path}
    assert ("clicks", "draw") in dict(ALL)


@each
def test_help_ends_with_an_example_that_works(path: tuple[str, ...], command: Any) -> None:
    last = page(path, 200).strip().splitlines()[-1]
    name, *words = shlex.split(last.removeprefix("Example: "))
    assert last.startswith("Example: ")
    assert name == NAME
    assert tuple(words[: len(path)]) == path
    parsed = parse_line(Line("help", tuple(words)))
    check_line(parsed, PageState(made=["runs"]), Registry.discover())


@each
def test_help_shows_words_for_values_and_no_types(path: tuple[str, ...], command: Any) -> None:
    assert TYPES.search(page(path, 100)) is None
    for param in command.params:
        if not getattr(param, "is_flag", False):
            assert param.metavar, f"{param.name} has no metavar"
            assert re.fullmatch(r"[A-Z]+(\[:OPTION=VALUE\])?", param.metavar)
        assert param.help, f"{param.name} has no help"


@each
@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_help_fits_and_is_complete(path: tuple[str, ...], command: Any, width: int) -> None:
    text = page(path, width)
    found = text.split()
    assert all(
        len(line) <= min(width, 100) for line in text.splitlines() if not line.startswith(("Usage: ", "Example: "))
    )
    for param in command.params:
        assert [word for word in (param.help or "").split() if word not in found] == []
        assert all(option in text for option in (*param.opts, *param.secondary_opts) if option.startswith("-"))
    for verb, inner in getattr(command, "commands", {}).items():
        assert verb in found
        assert [word for word in inner.help.split("\n\n")[0].split() if word not in found] == []


def test_defaults_are_shown_as_they_are_typed() -> None:
    assert "[default: noc]" in page(("table",), 100)
    assert "[default: --photo]" in page(("clicks", "draw"), 100)
    assert "[required]" in page(("train",), 100)


@pytest.mark.parametrize("path", [(), ("clicks",), ("data",)])
def test_a_group_without_a_verb_shows_its_help(path: tuple[str, ...]) -> None:
    text = CliRunner().invoke(app, list(path), prog_name=NAME).output
    assert f"Usage: {' '.join((NAME, *path))} [OPTIONS] COMMAND" in text
    assert "Example: " in text
