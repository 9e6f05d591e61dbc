"""Check command lines against the live command line and registry.

Options come from the command line itself, names from the registry. The rules for words that need not exist:

- a word or a part of a path in upper case, such as DATA or MY_IMAGES, stands for something of the reader's; in place of
  a registered name only a general word (MODEL, SET, STUDY, ...) or one that begins with MY_ does;
- a file is fine if the repository ships it, if an earlier line of the page makes it, if an earlier code span or other
  command of the page names it, or if a card or a help text knows it as a published file;
- a code span that holds a verb and at most bare options, such as ``rclicks run --metrics``, mentions them; both must
  exist. So does a code span that stops before the last argument, such as ``rclicks train probunet``; what it names must
  exist;
- the options of a model that ``rclicks train`` names are those of its training.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import typer
from command_lines import NAME, SHELLS, Block, Line, Span

from rclicks.analysis.tables import PRESETS
from rclicks.cards import ModelCard
from rclicks.cli.main import app
from rclicks.cli.specs import split_specs
from rclicks.engine.loading import load_model
from rclicks.engine.training import is_trainable, training_options
from rclicks.metrics.raters.catalogue import STORED
from rclicks.options import PathOption, read_options
from rclicks.registry import Entry, Registry, load_module
from rclicks.specs import Spec, parse
from support import REPOSITORY

KINDS = {"model": ("model", "click-model"), "dataset": ("dataset",), "user": ("user",), "benchmark": ("benchmark",)}
TABLES = ("model", "click-model", "dataset", "user", "benchmark")
STANDS_FOR_A_NAME = {"NAME", "SET", "STUDY"} | {kind.upper() for kind in KINDS}
_UPPER = re.compile(r"[A-Z][A-Z0-9_]*")
_FILE = re.compile(r"[\w./*-]*\w\.(pth|pt|csv|json|yaml|txt|png|md|tex|nii\.gz|pkl)")


class WrongLine(Exception):
    """What is wrong with a command line."""


@cache
def root() -> Any:
    """Return the live command line."""
    return typer.main.get_command(app)


def find_verb(words: Sequence[str]) -> tuple[Any, str, list[str]]:
    """Return the command that words name, its path ("clicks score") and the words that are left for it.

    Raises
    ------
    WrongLine
        If there is no such command.
    """
    command, path, rest = root(), [], list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            raise WrongLine(f"no command {' '.join([*path, rest[0]])!r}; known: {', '.join(command.commands)}")
        command = command.commands[rest[0]]
        path.append(rest.pop(0))
    return command, " ".join(path), rest


def all_options(page: Path) -> set[str]:
    """Return the long options of all commands, and on a page beside scripts those of the scripts."""
    found: set[str] = {"--help"}
    queue = [root()]
    while queue:
        command = queue.pop()
        queue += getattr(command, "commands", {}).values()
        found |= options_of(command)
    for script in page.parent.glob("*.py"):
        found |= set(re.findall(r'add_argument\(\s*"(--[\w-]+)"', script.read_text(encoding="utf-8")))
    return found


def options_of(command: Any) -> set[str]:
    """Return the options of one command as they are typed."""
    return {option for p in command.params for option in (*p.opts, *p.secondary_opts) if option.startswith("-")}


@dataclass
class Parsed:
    """A command line as the command line itself reads it.

    Attributes
    ----------
    verb : str
        Such as "clicks score".
    values : dict of parameter -> value
        As typed; what was left out is not in it.
    mention : bool
        Whether it is a code span that only names a verb, its first arguments or options.
    """

    verb: str
    command: Any
    values: dict[str, Any] = field(default_factory=dict)
    mention: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the command by name."""
        return {p.name: p for p in self.command.params}

    def is_path(self, name: str) -> bool:
        """Whether a parameter takes a path."""
        hints = typing.get_type_hints(inspect.unwrap(self.command.callback), include_extras=True)
        return "Path" in str(typing.get_args(hints[name])[:1])

    def is_output(self, name: str) -> bool:
        """Whether a parameter names what is to be written."""
        return name == "out" or (getattr(self.parameters[name], "help", "") or "").startswith("Write")


def parse_line(line: Line) -> Parsed:
    """Parse a command line as the program does.

    Raises
    ------
    WrongLine
        If a command or option is unknown, an argument is missing or a value is of the wrong kind.
    """
    command, verb, rest = find_verb(line.words)
    if line.span and all(re.fullmatch(r"--?[a-z][\w-]*", word) for word in rest):
        if unknown := [word for word in rest if word not in options_of(command) | {"--help"}]:
            raise WrongLine(f"`{verb}` has no option {', '.join(unknown)}")
        return Parsed(verb, command, mention=True)
    arguments = [p.name for p in command.params if p.param_type_name == "argument" and p.required]
    if line.span and len(rest) < len(arguments) and not any(word.startswith("-") for word in rest):
        return Parsed(verb, command, dict(zip(arguments, rest, strict=False)), mention=True)
    if hasattr(command, "commands"):
        raise WrongLine(f"`{verb}` needs one of {', '.join(command.commands)}")
    try:
        context = command.make_context(verb, list(rest))
    except Exception as error:
        if not hasattr(error, "format_message"):  # no error of usage
            raise
        raise WrongLine(error.format_message()) from error
    given = {p.name: context.params[p.name] for p in command.params if context.params.get(p.name) not in (None, ())}
    return Parsed(verb, command, {k: v for k, v in given.items() if str(v) != str(_default(command, k))})


def _default(command: Any, name: str) -> object:
    return next(p.default for p in command.params if p.name == name)


@cache
def published_files() -> frozenset[str]:
    """Return names of files that cards, benchmarks and help texts know."""
    registry = Registry.discover()
    texts = [repr(e.card) for kind in TABLES for e in registry.table(kind).values()]
    texts += [e.file.read_text(encoding="utf-8") for e in registry.benchmarks.values()]
    queue = [root()]
    while queue:
        command = queue.pop()
        queue += getattr(command, "commands", {}).values()
        texts += [getattr(p, "help", "") or "" for p in command.params]
    return frozenset(PurePosixPath(m[0]).name for text in texts for m in _FILE.finditer(text))


@cache
def shipped_files() -> frozenset[str]:
    """Return the files and folders of the repository that git knows, or all where there is no git."""
    command = ["git", "-C", str(REPOSITORY), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    files = [PurePosixPath(row) for row in done.stdout.splitlines()]
    if done.returncode:
        files = [PurePosixPath(f.relative_to(REPOSITORY)) for f in REPOSITORY.rglob("*")]
    return frozenset(str(path) for file in files for path in (file, *file.parents))


@dataclass
class PageState:
    """What a reader who has come to a line of a page has: what earlier lines made, and what the page showed.

    Attributes
    ----------
    made : list of str
        Files and folders that earlier lines write.
    shown : list of str
        Earlier code spans and other commands.
    """

    made: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def see(self, item: Block | Span) -> None:
        """Note what a block or code span shows: a file's content, other commands of a shell, or a name."""
        if isinstance(item, Span):
            self.shown.append(item.text)
        elif item.file:
            self.made.append(item.file)
        elif item.language in SHELLS:
            rows = [row.strip().removeprefix("$ ") for row in item.text.splitlines()]
            self.shown += [row for row in rows if not row.startswith(f"{NAME} ")]

    def check_file(self, word: str) -> bool:
        """Return whether a file that a line names is at hand: shipped or made; False if the reader has to bring it.

        Raises
        ------
        WrongLine
            If nothing says where it comes from.
        """
        path = PurePosixPath(word.partition("@")[0])
        if any(path == PurePosixPath(m) or PurePosixPath(m) in path.parents for m in self.made):
            return True
        if any(_UPPER.fullmatch(part.partition(".")[0]) for part in path.parts):
            return False
        if str(path) in shipped_files():
            return True
        whole = re.compile(rf"(?<![\w./-]){re.escape(str(path))}(?![\w-])")
        if path.name in published_files() or any(whole.search(text) for text in self.shown):
            return False
        raise WrongLine(
            f"{word} is no file of the repository, and neither a line before it makes it nor does the page show it; "
            "write what the reader has to bring in upper case"
        )


def named_things(parsed: Parsed) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of each registered name in a line; labels of the rows of a run are none."""
    for name, value in parsed.values.items():
        kind = next((k for k in KINDS if name.removesuffix("s") == k or name.endswith(f"_{k}")), "")
        if kind and not ("runs" in parsed.parameters and kind != "benchmark"):
            texts = [value] if isinstance(value, str) else list(value)
            for text in split_specs(texts) or []:
                yield kind, text


def find_entry(kind: str, name: str, registry: Registry) -> Entry | None:
    """Return the registered thing that a line names, or None for a word that stands for any.

    Raises
    ------
    WrongLine
        If there is none.
    """
    for table in KINDS[kind]:
        if name in registry.table(table):
            return registry.table(table)[name]
    if name in STANDS_FOR_A_NAME or name.startswith("MY_"):
        return None
    raise WrongLine(f"no {' or '.join(KINDS[kind])} {name!r}")


def check_spec(kind: str, text: str, registry: Registry, protocol: str = "") -> list[str]:
    """Check a name with options; return the files that its options name.

    Parameters
    ----------
    kind, text : str
    registry : Registry
    protocol : str
        If the name is one of a model to be trained: the protocol of the training. Otherwise empty.

    Raises
    ------
    WrongLine, ProtocolError
        If there is no such thing, or it has no such option.
    """
    spec = parse(text)
    entry = find_entry(kind, spec.name, registry)
    files = [value for value in (spec.checkpoint, spec.root) if value not in (None, "synthetic")]
    if entry is None:
        return files
    if kind == "benchmark":
        if spec != Spec(spec.name):
            raise WrongLine(f"benchmark {spec.name} takes no options: {text}")
        return []
    if protocol and kind == "model":
        return check_training(spec, entry, protocol)
    taken = inspect.signature(load_module(entry).load).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        unknown = [option for option in spec.options if option not in taken]
        if unknown:
            raise WrongLine(f"{entry.kind} {spec.name} has no option {', '.join(unknown)}; known: {', '.join(taken)}")
    elif isinstance(entry.card, ModelCard) and not (entry.card.parameters or entry.card.needs or "models" in taken):
        load_model(registry, spec)  # it reads its options itself, and needs neither weights nor another model
    for option, value in spec.options.items():
        if option == "model":
            files += check_spec("model", ",".join(value) if isinstance(value, list) else str(value), registry)
        elif option in getattr(entry.card, "files", ()) or _FILE.fullmatch(str(value).partition("@")[0]):
            files.append(str(value))
    return files


def check_training(spec: Spec, entry: Entry, protocol: str) -> list[str]:
    """Check the training options of a model; return the files that they name.

    Raises
    ------
    WrongLine, ProtocolError
        If the model cannot be trained, or its training does not take these options and values.
    """
    if not is_trainable(entry):
        raise WrongLine(f"{spec.name} cannot be trained")
    if spec.checkpoint or spec.root:
        raise WrongLine(f"a training takes neither checkpoint nor root: {spec.name}")
    options = training_options(entry, protocol)
    read_options(spec.name, options, spec.options, kind="training of")
    return [str(value) for name, value in spec.options.items() if isinstance(options[name], PathOption)]


def check_choice(parsed: Parsed, name: str, texts: Sequence[str]) -> None:
    """Check words of a closed list: presets, metrics, and what a help text counts up together with the default.

    Raises
    ------
    WrongLine
    """
    if name == "preset" or name.removesuffix("s") == "metric":
        known = set(PRESETS if name == "preset" else STORED)
    else:
        counted = (getattr(parsed.parameters[name], "help", "") or "").partition(". ")[0]
        known = set(re.findall(r"[\w-]+", counted)) if " or " in counted else set()
        default = parsed.parameters[name].default
        if not isinstance(default, str) or default not in known:
            return
    if unknown := [text for text in split_specs(texts) or [] if re.split(r"[:.]", text)[0] not in known]:
        raise WrongLine(f"{name} {', '.join(unknown)} is none of {', '.join(sorted(known))}")


def check_line(parsed: Parsed, state: PageState, registry: Registry) -> list[str]:
    """Check all names and files of a line; return what the reader has to bring.

    Raises
    ------
    WrongLine
    """
    files: list[str] = []
    names, words = set(), set()
    training = str(parsed.values.get("protocol", "default")) if parsed.verb == "train" else ""
    for kind, text in named_things(parsed):
        names.add(text)
        files += [text] if kind == "benchmark" and _FILE.fullmatch(text) else check_spec(kind, text, registry, training)
    for name, value in parsed.values.items():
        texts = [str(v) for v in (value if isinstance(value, (list, tuple)) else [value])]
        if parsed.is_path(name) and not parsed.is_output(name):
            files += texts
        elif not parsed.is_path(name):
            check_choice(parsed, name, texts)
            files += [t for t in texts if _FILE.fullmatch(t) and t not in names]
            words |= {t for t in texts if _UPPER.fullmatch(t)}
    absent = [file for file in files if not state.check_file(file)]
    return absent + sorted(word for word in words if not any(word in registry.table(kind) for kind in TABLES))


def outputs(parsed: Parsed) -> list[str]:
    """Return what a line writes."""
    if parsed.values.get("dry_run"):
        return []
    made = [str(v) for name, v in parsed.values.items() if parsed.is_path(name) and parsed.is_output(name)]
    if "benchmark" in parsed.values and "out" in parsed.parameters and not made:
        made = [f"runs/{Path(parsed.values['benchmark']).stem}"]
    return made
