"""What people see: tables that fit, a bar or plain lines, an interruption, the cost of a plan, the doctor."""

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import rclicks
from rclicks.analysis.runs import Table
from rclicks.reports.terminal import best_cells, print_table
from support import REPOSITORY

PLUGINS = Path(__file__).parent.parent / "plugins"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "rclicks", *map(str, words)]


def rclicks_command(*words: object, code: int = 0, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        command(*words), cwd=cwd, env=ENVIRONMENT | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def study(folder: Path, model: str = "toy", data: str = "toy-set") -> Path:
    file = folder / "small.yaml"
    file.write_text(f'models: ["{model}"]\ndatasets: ["{data}"]\nprotocol: {{clicks: 3}}\n')
    return file


def noc_like() -> Table:
    columns = ["NoC@80", "NoC@85", "NoC@90", "NoC@95", "NoF@80", "NoF@85", "NoF@90", "NoF@95", "IoU@1", "IoU@20", "AUC"]
    rows = [
        {"dataset": d, "model": m, "user": "robot", "n": 123} | {c: k + i / 8 for i, c in enumerate(columns)}
        for k, (d, m) in enumerate([("GrabCut", "a-model-of-long-name"), ("GrabCut", "b"), ("DAVIS", "b")])
    ]
    digits = dict.fromkeys(columns, 4)
    return Table("Title", pd.DataFrame(rows), digits, dict.fromkeys(columns, "lower"), ("a note",))


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_table_fits_and_its_numbers_are_whole(width: int) -> None:
    out = io.StringIO()
    print_table(noc_like(), Console(file=out, width=width, highlight=False))
    text = out.getvalue()
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    assert "…" not in text
    numbers = re.findall(r"\d+\.\d+", text)
    assert numbers
    assert all(len(n.partition(".")[2]) == 4 for n in numbers)
    assert "0.2500" in text, "NoC@90 is never left out"
    assert "user robot" in text.splitlines()[0], "what is the same in every row stands in the title"
    dropped = [c for c in noc_like().digits if c not in text.split("not shown")[0]]
    assert all(c in text.split("not shown")[1] for c in dropped)
    assert bool(dropped) == (width < 200)


def test_long_headings_are_set_in_two_lines_before_columns_are_left_out() -> None:
    columns = ["followed rater", "other raters", "gap", "identified", "inter-rater", "clicks to inter-rater"]
    rows = [{"model": m, "n": 12} | dict.fromkeys(columns, 0.25) for m in ("a-model-of-20-letters", "b")]
    table = Table("Title", pd.DataFrame(rows), dict.fromkeys(columns, 3), {}, ())
    wide, narrow = io.StringIO(), io.StringIO()
    print_table(table, Console(file=wide, width=140, highlight=False))
    print_table(table, Console(file=narrow, width=80, highlight=False))
    assert "clicks to inter-rater" in wide.getvalue()
    lines = narrow.getvalue().splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert lines[1].split()[-2:] == ["clicks", "to"]
    assert lines[2].split()[-2:] == ["inter-rater", "inter-rater"]
    assert "a-model-of-20-letter" in narrow.getvalue(), "columns of numbers leave room for the names"
    assert "not shown in 80 columns: n, other raters" in narrow.getvalue()


def test_the_best_is_marked_in_each_data_set_that_has_a_choice() -> None:
    assert {i for i, _ in best_cells(noc_like())} == {0}


def test_the_cost_of_a_plan_is_counted(tmp_path: Path) -> None:
    words = ["--plugins", PLUGINS, "--out", tmp_path / "r", "--dry-run", "--json"]
    facts = json.loads(rclicks_command("run", study(tmp_path), *words))
    # 6 images x 2 objects x 1 user, 3 clicks each
    assert (facts["trajectories"], facts["predictions_at_most"], facts["predictions_exact"]) == (12, 36, True)
    facts = json.loads(rclicks_command("run", study(tmp_path, data="toy-set:damaged=1,empty=2"), *words))
    # The empty object is not played; the damaged image is taken for a mean one.
    assert facts["predictions_exact"] is False
    assert facts["trajectories"] == round(6 * 9 / 5)
    assert "s1 is damaged" in facts["unreadable"][0]
    facts = json.loads(rclicks_command("run", study(tmp_path, data="toy-set:n=100"), *words))
    assert (facts["trajectories"], facts["predictions_exact"]) == (200, False)
    assert not (tmp_path / "r").exists()


def test_the_cost_leaves_out_what_is_done_and_knows_another_plan(tmp_path: Path) -> None:
    file = study(tmp_path)
    rclicks.evaluate(file, plugins=[PLUGINS], out=tmp_path / "r", limit=4)
    words = ["--plugins", PLUGINS, "--out", tmp_path / "r", "--dry-run"]
    facts = json.loads(rclicks_command("run", file, *words, "--json"))
    assert (facts["done"], facts["trajectories"]) == (4, 4)
    assert "contains a run of another plan" in rclicks_command("run", file, *words, "--seed", 7)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_says_how_to_go_on_and_does(tmp_path: Path, workers: int) -> None:
    file = study(tmp_path, "toy:slow=0.1")
    words = ["run", file, "--plugins", PLUGINS, "--out", tmp_path / "r", "--workers", workers]

    def allow() -> None:  # a test runner in the background may have switched the signal off
        signal.signal(signal.SIGINT, signal.default_int_handler)

    process = subprocess.Popen(command(*words), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, preexec_fn=allow)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "r").glob("shards/*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "To resume the run, enter the same command" in errors
    assert "Traceback" not in errors
    text = rclicks_command(*words[:-2])
    assert re.search(r"[1-5] of 6 units are done already", text)
    assert "6/6 units" in text


def test_a_terminal_gets_a_bar_and_a_file_plain_lines(tmp_path: Path) -> None:
    file = study(tmp_path, data="toy-set:damaged=1")
    plain = rclicks_command("run", file, "--plugins", PLUGINS, "--out", tmp_path / "a", code=9)
    assert "\x1b" not in plain
    assert len(re.findall(r"\d/6 units", plain)) <= 2, "short runs do not flood a log"
    main, side = pty.openpty()
    words = command("run", file, "--plugins", PLUGINS, "--out", tmp_path / "b")
    environment = ENVIRONMENT | {"TERM": "xterm-256color"}
    process = subprocess.Popen(words, stdout=side, stderr=side, env=environment, close_fds=True)
    os.close(side)
    seen = b""
    while True:
        try:
            block = os.read(main, 1 << 16)
        except OSError:  # the other side is closed
            break
        if not block:
            break
        seen += block
    assert process.wait() == 9
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert "━" in shown
    assert "6/6" in shown
    assert "clicks/s" in shown
    assert "1 failed" in shown
    assert "failed: toy: toy-set:damaged=1/s1: DataError: image s1 is damaged" in shown


def test_verbose_shows_where_an_error_came_from() -> None:
    for words in (["--verbose", "table", "nowhere"], ["table", "nowhere", "--verbose"]):
        text = rclicks_command(*words, code=7)
        assert "Traceback" in text
        assert "not a run folder" in text.splitlines()[-1]


def test_an_unexpected_error_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    source = "from rclicks.cards import UserCard\nCARDS = (UserCard(name='odd', summary='odd'),)\n"
    (tmp_path / "users" / "odd.py").write_text(source + "def load(card, *, protocol):\n    raise ZeroDivisionError\n")
    words = ["run", study(tmp_path), "--users", "odd", "--plugins", PLUGINS, "--plugins", tmp_path]
    text = rclicks_command(*words, "--out", tmp_path / "r", code=1)
    assert "Traceback" in text
    assert "ZeroDivisionError" in text


@pytest.mark.parametrize(("name", "start"), [("t.csv", "dataset,"), ("t.tex", r"\begin{table}"), ("t.json", "{")])
def test_the_ending_of_a_file_chooses_the_format(tmp_path: Path, name: str, start: str) -> None:
    rclicks.evaluate(study(tmp_path), plugins=[PLUGINS], out=tmp_path / "r", limit=1)
    rclicks_command("table", tmp_path / "r", "-o", tmp_path / name)
    assert (tmp_path / name).read_text().startswith(start)


def test_runs_of_two_protocols_are_mixed_only_on_request(tmp_path: Path) -> None:
    file = study(tmp_path)
    rclicks.evaluate(file, plugins=[PLUGINS], out=tmp_path / "a", limit=1)
    rclicks.evaluate(file, plugins=[PLUGINS], out=tmp_path / "b", limit=1, protocol="compat", clicks=3)
    assert "pass --mix" in rclicks_command("table", tmp_path / "a", tmp_path / "b", code=6)
    assert "toy" in rclicks_command("table", tmp_path / "a", tmp_path / "b", "--mix")


def test_show_tells_what_a_run_is(tmp_path: Path) -> None:
    file = study(tmp_path, data="toy-set:damaged=1")
    frame = rclicks.evaluate(file, plugins=[PLUGINS], out=tmp_path / "r", clicks=2)
    text = rclicks_command("show", tmp_path / "r")
    for words in (frame["protocol"][0], "clicks 2", "weights none", "5 samples", "seed 42", "image s1 is damaged"):
        assert words in text
    assert "nan" not in text.lower().split()


def test_a_broken_benchmark_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "bad.yaml").write_text("models: [")
    text = rclicks_command("ls", "benchmarks", "--plugins", tmp_path)
    assert re.search(r"bad +cannot be read", text)
    assert "quickstart" in text
    assert "Sofiiuk" in rclicks_command("show", "robot", "--plugins", tmp_path)


def test_the_doctor_survives_a_bad_configuration(tmp_path: Path) -> None:
    (tmp_path / "rclicks.yaml").write_text("data_rot: here\n")
    text = rclicks_command("doctor", cwd=tmp_path)
    assert "data_rot" in text
    assert re.search(r"quickstart +\d+ samples in the package", text)
    assert "current folder can be written" in text


def test_the_conformance_suite_passes_on_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "bad.py").write_text("CARDS = (")
    assert "cannot be parsed" in rclicks_command("test", tmp_path, code=1)
