"""The command line end to end, as a user types it, in processes of their own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rclicks.cli.specs import split_specs
from support import REPOSITORY

PLUGINS = Path(__file__).parent.parent / "plugins"
HEAVY = {"torch", "torchvision", "pandas", "pyarrow", "cv2", "matplotlib", "scipy", "skimage", "sklearn", "numpy"}


def rclicks(*words: object, cwd: Path | None = None, code: int | None = 0, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "rclicks", *map(str, words)],
        cwd=cwd or REPOSITORY,
        env=os.environ | {"COLUMNS": "200", "PYTHONPATH": str(REPOSITORY)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if code is not None:
        assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("study") / "small.yaml"
    file.write_text("summary: small\nmodels: [toy]\ndatasets: [toy-set]\nprotocol: {clicks: 3}\n")
    return file


@pytest.fixture(scope="module")
def run(study: Path) -> Path:
    out = study.parent / "run"
    text = rclicks("run", study, "--plugins", PLUGINS, "--out", out)
    assert "6/6 units" in text
    assert "NoC@90" in text
    return out


@pytest.mark.parametrize("words", [["--help"], ["ls", "models"], ["ls", "datasets"], ["run", "--help"], ["--version"]])
def test_help_and_listings_import_nothing_heavy(words: list) -> None:
    code = f"import sys; sys.argv = ['rclicks', *{words!r}]\nfrom rclicks.cli.main import main\n"
    code += "try: main()\nexcept SystemExit as e: assert not e.code\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.partition("MODULES ")[2].split())


@pytest.mark.parametrize("kind", ["models", "datasets", "users", "metrics", "benchmarks"])
def test_ls_for_people_and_machines(kind: str) -> None:
    parsed = json.loads(rclicks("ls", kind, "--json"))
    assert parsed["broken"] == []
    text = rclicks("ls", kind)
    for row in parsed[kind]:
        assert row["name"] in text
        assert row["summary"]


def test_ls_lists_broken_plugins(tmp_path: Path) -> None:
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "bad.py").write_text("CARDS = (")
    assert re.search(r"broken: .*bad\.py", rclicks("ls", "models", "--plugins", tmp_path))


def test_show_cards_benchmarks_and_runs(run: Path) -> None:
    assert "Sofiiuk" in rclicks("show", "robot")
    assert json.loads(rclicks("show", "GrabCut", "--json"))["samples"] == 50
    assert "geodesic" in rclicks("show", "quickstart")
    assert "protocol" in rclicks("show", run)
    assert "Did you mean robot" in rclicks("show", "robbot", code=3)


def test_dry_run_writes_nothing(study: Path, tmp_path: Path) -> None:
    text = rclicks("run", study, "--plugins", PLUGINS, "--out", tmp_path / "x", "--dry-run", "--limit", 2)
    assert "2 encodings" in text
    assert not (tmp_path / "x").exists()
    facts = json.loads(rclicks("run", study, "--plugins", PLUGINS, "--out", tmp_path / "x", "--dry-run", "--json"))
    assert (facts["units"], facts["done"]) == (6, 0)


def test_run_again_plays_nothing(study: Path, run: Path) -> None:
    text = rclicks("run", study, "--plugins", PLUGINS, "--out", run)
    assert "6 of 6 units are done already" in text
    assert "0 of 6 units run in" in text


def test_table_plot_report(run: Path, tmp_path: Path) -> None:
    for kind, word in (("md", "| toy"), ("csv", "toy-set,toy"), ("latex", r"\toprule"), ("json", '"rows"')):
        assert word in rclicks("table", run, "--format", kind)
    rclicks("table", run, "--preset", "time", "--out", tmp_path / "t.md")
    assert "encode median" in (tmp_path / "t.md").read_text()
    listed = rclicks("plot", run, "-o", tmp_path / "figures").split()
    assert [Path(p).name for p in listed] == ["iou_toy-set.png", "iou_toy-set.svg"]
    assert (tmp_path / "figures" / "iou_toy-set.png").read_bytes().startswith(b"\x89PNG")
    page = Path(rclicks("report", run, "-o", tmp_path / "site").strip())
    assert "<svg" in page.read_text()


def test_failures_give_exit_code_nine_and_are_shown(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    arguments = ["--plugins", PLUGINS, "--out", out, "--datasets", "toy-set:damaged=1"]
    text = rclicks("run", study, *arguments, code=9)
    assert "failed: toy: toy-set:damaged=1/s1: DataError: image s1 is damaged" in text
    assert "1 failed, see `rclicks show" in text
    assert "image s1 is damaged" in rclicks("show", out)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["run", "quickstrat"], 3, "Did you mean quickstart"),
        (["run", "quickstart", "--models", "geodesik"], 6, "Did you mean geodesic"),
        (["run", "quickstart", "--models", "geodesic", "--limit", "0"], 6, "limit is 0"),
        (["run", "quickstart", "--protocol", "strict"], 6, "allowed: default, compat"),
        (["ls", "modells"], 3, "Did you mean models"),
        (["table", "nowhere"], 7, "not a run folder"),
        (["run", "classical-grabcut", "--data-root", "/nonexistent"], 4, "boundary_GT"),
        (["test", "/nonexistent"], 3, "does not exist"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_errors_are_one_line_with_their_exit_code(words: list, code: int, message: str, tmp_path: Path) -> None:
    clean = {"RCLICKS_DATA_ROOT": "", "RCLICKS_ROOT_GRABCUT": ""}
    text = rclicks(*words, code=code, cwd=tmp_path, **clean)
    assert message in text
    assert "Traceback" not in text


def test_read_only_folder_is_exit_code_seven(study: Path) -> None:
    text = rclicks("run", study, "--plugins", PLUGINS, "--out", "/proc/rclicks", code=7)
    assert "cannot write" in text


def test_doctor(tmp_path: Path) -> None:
    facts = json.loads(rclicks("doctor", "--json", RCLICKS_DATA_ROOT=str(tmp_path)))
    assert facts["datasets"]["quickstart"][0] is True
    assert facts["datasets"]["GrabCut"][0] is False
    assert str(tmp_path) in facts["datasets"]["GrabCut"][1]
    assert "PyMaxflow" in facts["extras"]
    assert "optional packages" in rclicks("doctor")


def test_conformance_from_the_command_line() -> None:
    assert "passed" in rclicks("test", PLUGINS)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a,b"], ["a", "b"]),
        (["a", "b,c"], ["a", "b", "c"]),
        (["r:file=x.csv,foo=1,s"], ["r:file=x.csv,foo=1", "s"]),
        (["box:jitters=[0,5],replicates=2,robot"], ["box:jitters=[0,5],replicates=2", "robot"]),
        ([" a , b "], ["a", "b"]),
    ],
)
def test_commas_split_names_but_not_options(values: list, expected: list) -> None:
    assert split_specs(values) == expected
