"""Help of the command line: one layout for all verbs, the same for every version of typer.

A page has the usage, the description, the arguments and options in groups, and an example. Options show a word for
their value, such as FOLDER or N. Typer itself prints Python types, such as ``<bool>``.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

__all__ = ["HelpCommand", "HelpGroup", "verb"]

F = TypeVar("F", bound=Callable[..., Any])

WIDEST = 100  # columns; longer lines are hard to read
LABELS = 36  # columns of the names and metavars; the text stands to the right of them
OTHERS = "Options"  # heading of the options that name no other
UNBROKEN = "\xa0"  # a space at which no line is broken


class HelpCommand(TyperCommand):
    """A verb."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page, as typer does. After a group without a verb, typer relies on this and prints nothing else."""
        typer.echo(_page(self, ctx), color=ctx.color)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line, required options included."""
        return ["[OPTIONS]", *_usage(self.get_params(ctx))]


class HelpGroup(TyperGroup):
    """A verb with verbs of its own, or the command itself."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page."""
        typer.echo(_page(self, ctx), color=ctx.color)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line."""
        return ["[OPTIONS]", "COMMAND ..."]


def verb(app: typer.Typer, name: str, example: str, *, panel: str | None = None) -> Callable[[F], F]:
    """Return a decorator that adds a function to `app` as the verb `name`.

    Parameters
    ----------
    app : typer.Typer
        Command or group that gets the verb.
    name : str
        Word that is typed.
    example : str
        Complete command line that works, for the end of the help.
    panel : str or None
        Heading under which the help of the group lists the verb.
    """
    return app.command(name, cls=HelpCommand, epilog=f"Example: {example}", rich_help_panel=panel)


def _page(command: Any, ctx: Any) -> str:
    width = min(shutil.get_terminal_size().columns, WIDEST)
    usage = f"{_bold('Usage:')} {ctx.command_path} {' '.join(command.collect_usage_pieces(ctx))}"
    parts = [usage, *(_wrapped(text, width) for text in _paragraphs(command.help))]
    shown = [p for p in command.get_params(ctx) if not p.hidden]
    groups: dict[str, list[tuple[str, str]]] = {}
    for param in shown:
        groups.setdefault(_heading(param), []).append((_label(param), _text(param)))
    verbs: dict[str, Any] = dict(command.commands) if isinstance(command, TyperGroup) else {}
    for name, inner in verbs.items():
        groups.setdefault(inner.rich_help_panel or "Commands", []).append((name, _paragraphs(inner.help)[0]))
    groups[OTHERS] = groups.pop(OTHERS)  # the last heading; --help stands there at least
    longest = max(len(label) for rows in groups.values() for label, _ in rows)
    column = min(longest + 2, LABELS, width // 2)
    for heading, rows in groups.items():
        lines = [line for label, text in rows for line in _row(label, text, column, width)]
        parts.append("\n".join([_bold(heading), *lines]))
    parts += [_wrapped(text, width, indent="") for text in _paragraphs(command.epilog)]
    return "\n\n".join(parts).replace(UNBROKEN, " ")


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in (text or "").split("\n\n") if part.strip()]


def _bold(text: str) -> str:
    return text if os.environ.get("NO_COLOR") else typer.style(text, bold=True)


def _wrapped(text: str, width: int, indent: str = "  ") -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _row(label: str, text: str, column: int, width: int) -> Iterator[str]:
    """Yield the lines of an argument, option or verb; a label that is too long gets a line of its own."""
    lines = textwrap.wrap(text, width - column - 2, break_on_hyphens=False, break_long_words=False) or [""]
    if len(label) + 2 > column:
        yield f"  {label}"
    else:
        yield f"  {label.ljust(column)}{lines.pop(0)}".rstrip()
    yield from (" " * (column + 2) + line for line in lines)


def _heading(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    # The option --help is no option of typer in some of its versions.
    return (param.rich_help_panel if isinstance(param, TyperOption) else None) or OTHERS


def _metavar(param: Any) -> str:
    """Return the word for the value of an argument or option; "" for a flag."""
    if param.param_type_name == "option" and param.is_flag:
        return ""
    return str(param.metavar or param.name.upper())


def _label(param: Any) -> str:
    if param.param_type_name == "argument":
        return _metavar(param) + ("..." if param.nargs != 1 else "")
    names = "/".join([*sorted(param.opts, key=len)[-1:], *param.secondary_opts])
    short = "".join(f"{name}, " for name in param.opts if not name.startswith("--"))
    return f"{short}{names} {_metavar(param)}".rstrip()


def _text(param: Any) -> str:
    marks = ["[required]"] if param.required and param.param_type_name == "option" else []
    if param.show_default and (default := _default(param)):
        marks.append(f"[default:{UNBROKEN}{default}]")
    return " ".join([param.help or "", *marks])


def _default(param: Any) -> str:
    """Return the default as it is typed, or "" if there is none to show."""
    value = param.default
    if isinstance(value, bool):
        chosen = param.opts if value else param.secondary_opts
        return str(chosen[0]) if param.secondary_opts else ""
    return str(value) if isinstance(value, (str, int, float, Path)) else ""


def _usage(params: list[Any]) -> Iterator[str]:
    for param in params:
        if param.param_type_name == "argument":
            yield _label(param) if param.required else f"[{_label(param)}]"
    for param in params:
        if param.param_type_name == "option" and param.required:
            yield f"{sorted(param.opts, key=len)[-1]} {_metavar(param)}"
