"""Every command line and YAML block of the docs works: parsed by the program itself, and played where that is cheap.

See `command_lines` for how lines are found and `command_checks` for what they may name. A line is played in an empty
folder of its page, after the files that the page shows were written there. What would take long is made short by the
command's own options (one sample, two clicks); benchmarks are planned, and played if a later line reads their records.
"""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
import yaml
from command_checks import (
    KINDS,
    PageState,
    Parsed,
    WrongLine,
    all_options,
    check_line,
    check_spec,
    find_verb,
    outputs,
    parse_line,
    root,
)
from command_lines import NAME, Block, Line, Span, pages, read_markdown, read_page

from rclicks.benchmark import load_benchmark
from rclicks.config import Config
from rclicks.errors import DataError, MissingWeightsError, ProtocolError, RclicksError, WeightsError
from rclicks.registry import Registry, read_cards
from rclicks.specs import parse
from support import REPOSITORY, SHARED

READ_CARDS = cache(read_cards)
PLUGINS = Path(__file__).parent / "plugins"
PAGES = [*pages(), REPOSITORY / "run_all.sh"]
# Lines of these commands are parsed and checked, but not played.
NOT_PLAYED = {
    "train": "takes minutes",
    "data agreement": "compares all raters of all samples",
    "demo": "serves until it is stopped",
    "test": "is a test suite of its own, see tests/conformance",
    "supervoxels": "takes volumes of the reader",
}
SHORTER = {"--limit": "1", "--workers": "1"}
# What stands for things of the reader, where the shared data are at hand.
STAND_INS = {
    "DATA": SHARED / "data",
    "CLICKS": SHARED / "data" / "clicks" / "voc_clicks",
    "VOC_CLICKS_FOLDER": SHARED / "data" / "clicks" / "voc_clicks",
    "RCLICKS_CHECKOUT": SHARED / "reference" / "rclicks",
}
STUDIES = {2: "quickstart", 3: "volumes"}  # what stands for STUDY and BENCHMARK, by the axes of the models named
has_data = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the shared data are absent")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take data from the shared folder only, and weights from nowhere."""
    for name in [n for n in os.environ if n.startswith("RCLICKS_") and n != "RCLICKS_SHARED"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-configuration"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("rclicks.registry.read_cards", READ_CARDS)  # the same, once a file and not once a command
    if (SHARED / "data").is_dir():
        monkeypatch.setenv("RCLICKS_DATA_ROOT", str(SHARED / "data"))
    (tmp_path / "page").mkdir()
    monkeypatch.chdir(tmp_path / "page")


def call(words: Sequence[str]) -> str:
    """Run the command line in this process; return what it prints. Its own errors pass through."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = root().main(list(words), prog_name=NAME, standalone_mode=False)
    assert code in (None, 0), f"exit code {code}: {printed.getvalue()}"
    return printed.getvalue()


def write_shown(items: Sequence[object]) -> None:
    """Write the files that a page shows into the current folder."""
    for item in items:
        if isinstance(item, Block) and item.file:
            file = Path(item.file)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(item.text)


def registry_of(parsed: Parsed) -> Registry:
    """Return what is registered, with the plug-ins of a line as far as the page shows them."""
    return _discover(tuple(Path(p).resolve() for p in parsed.values.get("plugins", ()) if Path(p).is_dir()))


@cache
def _discover(plugins: tuple[Path, ...]) -> Registry:
    return Registry.discover(plugins)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_command_lines_are_understood_and_name_what_exists(page: Path) -> None:
    items = read_page(page)
    write_shown(items)
    state, wrong = PageState(), []
    for item in items:
        if not isinstance(item, Line):
            state.see(item)
            continue
        try:
            parsed = parse_line(item)
            check_line(parsed, state, registry_of(parsed))
            state.made += outputs(parsed)
        except (WrongLine, RclicksError) as error:
            wrong.append(f"{item}\n    {error}")
    assert not wrong, "\n".join(wrong)


def test_options_in_code_spans_exist() -> None:
    wrong = []
    for page in PAGES:
        known = all_options(page)
        for item in read_page(page):
            if isinstance(item, Span) and item.text.startswith("--"):
                option = item.text.split()[0].partition("=")[0]
                wrong += [f"{item.place}: {item.text}"] if option not in known else []
    assert not wrong, "\n".join(wrong)


def test_names_with_options_in_code_spans_are_understood() -> None:
    """A span such as `sampled:model=distance,groups=3` has options that the thing of that name takes."""
    registry, wrong, found = _discover(()), [], 0
    for item in (item for page in PAGES for item in read_page(page)):
        name = re.match(r"([\w.-]+):[\w-]+=[^=\s]", item.text) if isinstance(item, Span) else None
        kinds = [kind for kind, tables in KINDS.items() for t in tables if name and name[1] in registry.table(t)]
        for kind in kinds:
            found += 1
            try:
                check_spec(kind, item.text, registry)
            except (WrongLine, ProtocolError) as error:
                wrong.append(f"{item.place}: {item.text}\n    {error}")
    assert found > 10
    assert not wrong, "\n".join(wrong)


@dataclass
class Reader:
    """Plays the lines of a page one after the other.

    Attributes
    ----------
    cache : dict of words -> run folder
        Short runs that were played for any page.
    folder : Path
        Where they are kept.
    done : set of tuple of str
        Other lines that were played for any page, with the runs that they read.
    played : dict of folder -> run folder
        Folders of the page that hold the records of the lines so far, and the run that they are a copy of.
    """

    cache: dict[tuple[str, ...], Path]
    folder: Path
    done: set[tuple[str, ...]]
    played: dict[str, Path] = field(default_factory=dict)

    def play(self, line: Line, parsed: Parsed, absent: Sequence[str], later: Sequence[Line]) -> None:
        """Play a line if it is cheap and nothing of the reader's is missing."""
        words, missing = self._with_stand_ins(line, parsed, absent)
        if "benchmark" in parsed.values:
            self._run(words, parsed, missing, later)
            return
        runs = [str(v) for v in parsed.values.get("runs", ())]
        if (
            missing
            or not set(runs) <= set(self.played)
            or any(f"{parsed.verb} ".startswith(f"{v} ") for v in NOT_PLAYED)
        ):
            return
        key = (*words, *(str(self.played[run]) for run in runs))
        if key not in self.done:
            self.done.add(key)
            call([*words, *_shorter(parsed)])

    def _with_stand_ins(self, line: Line, parsed: Parsed, absent: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the words with real things for placeholders, and what is still missing."""
        known = {name: str(place) for name, place in STAND_INS.items() if place.exists()}
        models = [m.partition(":")[0] for m in parsed.values.get("models", ())]
        cards = [e.card for name, e in registry_of(parsed).models.items() if name in models]
        known["STUDY"] = known["BENCHMARK"] = STUDIES[cards[0].dims if cards else 2]
        words = [known.get(word, word) for word in line.words]
        return words, [word for word in absent if word not in known]

    def _run(self, words: list[str], parsed: Parsed, missing: Sequence[str], later: Sequence[Line]) -> None:
        """Plan a benchmark; play it shortly if a later line reads its records."""
        folder = "".join(outputs(parsed))
        try:
            facts = json.loads(call([*words, *_shorter(parsed), "--dry-run", "--json", "--out", "planned"]))
        except (DataError, WeightsError, ProtocolError) as error:
            if isinstance(error, ProtocolError) and "nothing is left to run" not in str(error):
                raise
            if not (SHARED / "data").is_dir():
                return
            wanted = [Path(word.partition("@")[0]).name for word in [*missing, *_in_options(words)]]
            if isinstance(error, MissingWeightsError):  # published ones, which a reader has to get
                wanted += [parse(m).name for m in parsed.values.get("models", ())]
            if not any(name in str(error) for name in wanted):
                raise
            if {"users", "metrics", "reference", "protocol", "clicks", "seed"} & set(parsed.values):
                self.played.pop(folder, None)  # the lines to come speak of records that cannot be made here
            return
        if not folder or not any(folder in line.words for line in later):
            return
        registry = registry_of(parsed)
        for kind, most in (("model", 2), ("dataset", 2)):
            known = [label for label in facts[f"{kind}s"] if parse(label).name in registry.table(kind)]
            if f"{kind}s" not in parsed.values and known:
                words += [f"--{kind}s", ",".join(known[:most])]
        key = tuple(words)
        if key not in self.cache:
            self.cache[key] = self.folder / str(len(self.cache))
            call([*words, *_shorter(parsed), "--clicks", "2", "--out", str(self.cache[key])])
        shutil.copytree(self.cache[key], folder, dirs_exist_ok=True)
        self.played[folder] = self.cache[key]


def _shorter(parsed: Parsed) -> list[str]:
    known = {option for p in parsed.command.params for option in (*p.opts, *p.secondary_opts)}
    return [word for option, value in SHORTER.items() if option in known for word in (option, value)]


def _in_options(words: Sequence[str]) -> list[str]:
    """Return the values of the options of names, such as weights that an earlier line trains, and inner models."""
    return [part.partition("=")[2] for word in words for part in word.replace(":", ",").split(",") if "=" in part]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """Return what readers of several pages share, so that a line that stands on two pages is played once."""
    return {}, tmp_path_factory.mktemp("runs"), set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_command_lines_work(page: Path, shared: tuple) -> None:
    items = read_page(page)
    write_shown(items)
    state, reader = PageState(), Reader(*shared)
    lines = [item for item in items if isinstance(item, Line)]
    for item in items:
        if not isinstance(item, Line):
            state.see(item)
            continue
        later = lines[lines.index(item) + 1 :]
        parsed = parse_line(item)
        if parsed.mention:
            continue
        absent = check_line(parsed, state, registry_of(parsed))
        state.made += outputs(parsed)
        try:
            reader.play(item, parsed, absent, later)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{item}\n    {type(error).__name__}: {error}") from error


@has_data
@pytest.mark.parametrize("name", sorted(Registry.discover().benchmarks))
def test_every_benchmark_can_be_planned_with_the_real_data(name: str) -> None:
    facts = json.loads(call(["run", name, "--dry-run", "--json", "--limit", "1"]))
    benchmark = load_benchmark(name, Registry.discover())
    assert facts["units"] > 0
    named = " ".join(facts["notes"])
    for kind, specs in (("models", benchmark.models), ("datasets", benchmark.datasets), ("users", benchmark.users)):
        for spec in specs:
            assert spec.label in facts[kind] or f"left out: {kind[:-1]} {spec.label}:" in named
    assert list(Path.cwd().iterdir()) == [], "a plan writes nothing"


def test_yaml_blocks_are_benchmarks_or_configurations(tmp_path: Path) -> None:
    found = 0
    for page in PAGES:
        items = read_page(page)
        write_shown(items)
        plugins = [PLUGINS, *(f for f in Path.cwd().iterdir() if f.is_dir())]
        for number, block in enumerate(b for b in items if isinstance(b, Block)):
            content = read_yaml(block)
            if content is None:
                continue
            found += 1
            if set(content) <= set(Config.model_fields):
                Config(**content)
                continue
            file = tmp_path / f"study{number}.yaml"
            file.write_text(yaml.safe_dump({"models": ["toy"], "datasets": ["toy-set"]} | content))
            try:
                load_benchmark(file, Registry.discover(plugins))
            except RclicksError as error:
                raise AssertionError(f"{block.place}: {error}") from error
    assert found > 2


def read_yaml(block: Block) -> dict | None:
    """Return what a block says if it is YAML: one that says so, or an indented one that is a mapping of lists."""
    if block.language == "yaml":
        return yaml.safe_load(block.text)
    text = block.text.partition(f"\n{NAME} ")[0]
    if block.language or not text.startswith(("metrics:", "users:", "models:", "datasets:", "reference:")):
        return None
    return yaml.safe_load(text)


def test_nothing_that_belongs_to_the_repository_is_hidden_from_git() -> None:
    """An ignored file works for its author and is missing for everybody else."""
    folders = ["adapters", "benchmarks", "datasets", "docs", "notebooks", "rclicks", "tests"]
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--", *folders]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    made = {"__pycache__", ".ipynb_checkpoints", "runs", "site"}
    hidden = [f for f in done.stdout.splitlines() if not made & set(Path(f).parts)]
    assert hidden == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("    rclicks run no-such-study", "no benchmark 'no-such-study'"),
        ("    rclicks rum quickstart", "no command 'rum'"),
        ("    rclicks run quickstart --modles geodesic", "No such option"),
        ("    rclicks run", "Missing argument"),
        ("    rclicks run quickstart --limit many", "--limit"),
        ("    rclicks run quickstart --models geodesik", "no model or click-model 'geodesik'"),
        ("    rclicks run quickstart --models geodesic:stepp=1", "unknown option 'stepp'"),
        ("    rclicks run quickstart --datasets STARES", "no dataset 'STARES'"),
        ("    rclicks run quickstart --users sampled:model=clickability-maxi", "no model or click-model"),
        ("    rclicks run quickstart --users recorded:file=my.csv", "my.csv is no file"),
        ("    rclicks run quickstart --metrics iou,bioo", "metrics bioo is none of"),
        ("    rclicks table RUN --preset nocc", "preset nocc is none of"),
        ("    rclicks table RUN --metric dicee", "metric dicee is none of"),
        ("    rclicks run my_study.yaml", "my_study.yaml is no file"),
        ("    rclicks run quickstart \\\n        --modles geodesic", "No such option"),
        ("```bash\nls | rclicks table runs/a # b\n```", None),
        ("```bash\n$ rclicks table runs/a\n```", "runs/a is no file"),
        ("Text `rclicks run quickstart --modles` more", "No such option"),
        ("Text `rclicks frob` more", "no command 'frob'"),
        ("Text `rclicks run quickstart --modles geodesic` more", "No such option"),
        ("| a |\n| --- |\n| `rclicks show` and `rclicks runn` |", "no command 'runn'"),
        ("Text `rclicks run --metrics` and `rclicks train` more", None),
        ("Text `rclicks train probunet` and `rclicks data raters` more", None),
        ("Text `rclicks train probunett` more", "no model or click-model 'probunett'"),
        ("    rclicks train probunet", "Missing argument"),
        ("    rclicks train probunet:steps=9 LIDC:part=train -o OUT", None),
        ("    rclicks train probunet:stepps=9 LIDC:part=train -o OUT", "stepps"),
        ("    rclicks train probunet:steps=many LIDC:part=train -o OUT", "steps"),
        ("    rclicks train probunet:samples=9 LIDC:part=train -o OUT", "samples"),
        ("    rclicks train geodesic LIDC:part=train -o OUT", "geodesic cannot be trained"),
        ("    rclicks train clickability-mini:clicks=my.csv,sigma=5 LIDC -o OUT", "my.csv is no file"),
        ("```python\nrclicks frob\n```", None),
        ("    rclicks run quickstart --datasets folder:root=MY_IMAGES  # comment --frob", None),
        ("    rclicks run quickstart -o mine\n    rclicks table mine --preset noc", None),
        ("    rclicks run quickstart --out mine\n    rclicks table mine runs/b", "runs/b is no file"),
    ],
)
def test_the_reader_of_the_docs_sees_what_is_wrong(text: str, words: str | None) -> None:
    state, wrong = PageState(), []
    for item in read_markdown("page", text):
        if not isinstance(item, Line):
            state.see(item)
            continue
        try:
            parsed = parse_line(item)
            check_line(parsed, state, Registry.discover())
            state.made += outputs(parsed)
        except (WrongLine, ProtocolError) as error:
            wrong.append(str(error))
    if words is None:
        assert wrong == []
    else:
        assert words in " ".join(wrong)


def test_the_commands_that_are_not_played_exist() -> None:
    for verb in NOT_PLAYED:
        find_verb(verb.split())
