"""The parts of benchmarks/gpu that need no GPU: comparison, gate, estimates, report, time boxes, wheels."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gpucheck import extrapolate, machine, plan, report
from gpucheck.compare import compare, first_divergence, largest_logit_difference
from gpucheck.context import Step
from gpucheck.parity import LIMIT, interval, parity, verdict


def row(round_: int, y: int, iou: float, *, sample: str = "a", group: str = "") -> dict:
    where = {"dataset": "d", "sample": sample, "object": "0", "rater": "", "user": "robot", "group": group}
    return where | {"replicate": 0, "round": round_, "y": y, "x": 7, "positive": True, "iou": iou}


def test_equal_plays_are_equal_and_their_scores_are_compared() -> None:
    found = compare([row(1, 3, 0.5), row(2, 4, 0.6)], [row(1, 3, 0.5), row(2, 4, 0.625)])
    assert (found.trajectories, found.equal, found.first_round, found.only_one) == (1, 1, None, 0)
    assert found.iou == pytest.approx(0.025)


def test_rounds_from_the_first_other_click_on_are_not_compared() -> None:
    a = [row(1, 3, 0.5), row(2, 4, 0.6), row(3, 9, 0.7)]
    b = [row(1, 3, 0.5), row(2, 5, 0.1), row(3, 9, 0.2)]
    found = compare(a, b)
    assert (found.equal, found.first_round, found.iou) == (0, 2, 0.0)


def test_trajectories_of_one_side_are_counted() -> None:
    found = compare([row(1, 3, 0.5)], [row(1, 3, 0.5), row(1, 3, 0.5, group="G1")])
    assert (found.trajectories, found.only_one) == (1, 1)


def test_an_earlier_end_is_a_difference() -> None:
    assert first_divergence([row(1, 3, 0.5), row(2, 4, 0.5)], [row(1, 3, 0.5)]) == 2


def test_logits_are_compared_where_they_are_clear_and_answers_to_equal_clicks_only() -> None:
    a = {"one": np.array([0.0, 12.0, -3.0]), "two": np.array([1.0])}
    b = {"one": np.array([0.25, 15.0, -3.5]), "three": np.array([9.0])}
    assert largest_logit_difference(a, b) == 0.5
    assert largest_logit_difference({"one": np.array([12.0])}, {"one": np.array([13.0])}) is None


def played(ious: list[list[float]], move: int = 0) -> list[dict]:
    return [
        row(n, n + move * (n > 1), iou, sample=f"s{number}")
        for number, values in enumerate(ious)
        for n, iou in enumerate(values, start=1)
    ]


def test_the_gate_passes_equal_plays() -> None:
    rows = played([[0.5, 0.9], [0.85, 0.9], [0.2, 0.3]])
    found = parity(rows, rows, threshold=0.8, budget=5)
    assert found.noc == pytest.approx((2 + 1 + 5) / 3)
    assert (found.noc_change, found.noc_interval, found.verdict) == (0.0, (0.0, 0.0), "pass")
    assert (found.equal_clicks, found.drift) == (1.0, 0.0)


def test_the_gate_flags_a_change_of_noc() -> None:
    exact, reduced = played([[0.5, 0.9]] * 4), played([[0.5, 0.7], [0.5, 0.9], [0.5, 0.9], [0.5, 0.9]], move=3)
    found = parity(exact, reduced, threshold=0.8, budget=5)
    assert found.noc_change == pytest.approx(3 / 4)
    assert found.iou_change == pytest.approx(-0.05)
    assert found.verdict == "flagged"
    assert found.equal_clicks == 0.0
    assert found.drift == pytest.approx(1.5)  # three pixels in every second click


def test_the_gate_does_not_decide_what_the_interval_leaves_open() -> None:
    assert verdict(LIMIT / 2, (-1.0, 1.0)) == "undecided"
    assert verdict(float(np.mean([0, 0])), interval(np.zeros(1), ["one"])) == "undecided"  # no interval of one picture


def test_the_interval_draws_whole_pictures() -> None:
    values = np.array([0.0, 0.0, 1.0, 1.0])
    low, high = interval(values, ["a", "a", "b", "b"])
    assert (low, high) == (0.0, 1.0)
    narrow = interval(np.tile([0.0, 1.0], 200), [f"p{i}" for i in range(400)])
    assert 0.4 < narrow[0] < 0.5 < narrow[1] < 0.6


def test_the_gate_refuses_other_trajectories() -> None:
    with pytest.raises(ValueError, match="not the same ones"):
        parity(played([[0.5]]), played([[0.5], [0.5]]), threshold=0.8, budget=5)


MEASURED = [
    {
        "step": "throughput",
        "rows": [
            {
                "table": "encode and decode",
                "model": "m",
                "precision": "bf16",
                "encode ms": 60.0,
                "ms a click, batch 1": 5.0,
                "ms a click, batch 32": 0.5,
                "ms a click, batch 64": None,
            }
        ],
    },
    {
        "step": "engine",
        "rows": [
            {
                "table": "engine",
                "model": "m",
                "workers": 1,
                "clicks/s": 1000.0,
                "model, ms a click": 0.6,
                "beside the model, ms a click": 1.6,
            },
            {"table": "engine", "model": "m", "workers": 2, "clicks/s": None},
        ],
    },
]


def test_estimates_take_the_best_batch_and_name_the_bottleneck() -> None:
    (found,) = extrapolate.estimates(MEASURED)
    assert found["best batch"] == 32
    assert found["encoding, min"] == pytest.approx(3291 * 0.060 / 60)
    assert found["decoding, min"] == pytest.approx(841720 * 0.0005 / 60)
    assert found["clicks and metrics on 16 cores, min"] == pytest.approx(841720 * 0.0016 / 16 / 60)
    assert found["overlapped, min"] == pytest.approx(found["encoding, min"] + found["decoding, min"])
    assert found["within 15 min"] is True
    assert found["bottleneck"] == "decoding"


def test_estimates_of_the_engine_are_the_measured_rate() -> None:
    (found,) = extrapolate.engine_estimates(MEASURED)
    assert found["whole protocol, min"] == pytest.approx(841720 / 1000 / 60)
    assert (found["within 15 min"], found["bottleneck"]) == (True, "clicks and metrics")


def test_without_an_engine_run_the_rest_is_left_empty() -> None:
    (found,) = extrapolate.estimates(MEASURED[:1])
    assert found["clicks and metrics on 16 cores, min"] is None


def test_the_report_shows_tables_notes_and_errors(tmp_path: Path) -> None:
    steps = [
        {
            "step": "records",
            "about": "Records",
            "status": "done",
            "seconds": 1.5,
            "box_s": 3,
            "rows": [{"table": "records", "family": "a|b", "equal": True, "range": [0.1, None]}],
            "notes": ["a note"],
            "errors": [{"what": "c", "error": "E: m", "traceback": "line 1\nline 2"}],
        }
    ]
    facts = {
        "started": "2026-01-02T03:04:05+00:00",
        "device": "cpu",
        "minutes": 2.0,
        "machine": {"python": "3.12", "cores": 16, "system": "s", "card": "cpu", "packages": {"torch": "2.11"}},
        "missing": ["x"],
        "carried": [],
        "still_missing": [],
        "source": {},
    }
    steps[0]["errors"][0]["traceback"] += f"\nin {tmp_path}/file.py"
    report.write(tmp_path, "cpu-2026-01-02", facts, steps, {str(tmp_path): "HERE"})
    steps[0]["errors"][0]["traceback"] = "line 1\nline 2\nin HERE/file.py"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["cpu-2026-01-02.json", "cpu-2026-01-02.md"]
    assert json.loads((tmp_path / "cpu-2026-01-02.json").read_text())["steps"] == steps
    text = (tmp_path / "cpu-2026-01-02.md").read_text()
    for part in ("| a\\|b | yes | 0.1 to  |", "- a note", "**Error** in c: E: m", "line 2", "torch 2.11"):
        assert part in text
    assert report.bad(steps[0])
    assert report.bad(steps[0] | {"errors": [], "rows": [{"table": "t", "result": "WRONG: records differ"}]})
    assert not report.bad(steps[0] | {"errors": [], "status": "stopped at the end of its time box"})


def test_time_that_a_step_leaves_over_goes_to_the_others() -> None:
    steps = plan.chosen([])
    first = plan.box(steps[0], steps[1:], 480)
    assert first == pytest.approx(480 * steps[0].share / sum(s.share for s in steps))
    assert plan.box(steps[-1], [], 100) == 100
    assert plan.box(steps[0], steps[1:], 480, on_gpu=False) == 0  # it has nothing to do there
    assert plan.box(steps[-2], [steps[-1]], -3) == 0


def test_an_unknown_step_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no step nothing; there are tests, records"):
        plan.chosen(["nothing", "records"])


def wheel(folder: Path, name: str, files: dict[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)


def test_wheels_are_unpacked_but_for_installed_ones(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheel(
        wheels,
        "made_up_thing-1.0-py3-none-any.whl",
        {
            "made_up/__init__.py": "",
            "made_up_thing-1.0.dist-info/METADATA": "Name: made-up-thing\n",
            "made_up_thing-1.0.data/purelib/more.py": "x = 1\n",
            "made_up_thing-1.0.data/scripts/tool": "#!",
        },
    )
    wheel(wheels, "numpy-0.1-py3-none-any.whl", {"numpy/__init__.py": "raise SystemExit"})
    assert machine.unpack(wheels, tmp_path / "site") == ["made-up-thing 1.0"]
    found = sorted(p.relative_to(tmp_path / "site").as_posix() for p in (tmp_path / "site").rglob("*") if p.is_file())
    assert found == ["made_up/__init__.py", "made_up_thing-1.0.dist-info/METADATA", "more.py"]
    assert machine.unpack(tmp_path / "absent", tmp_path / "site") == []


def test_two_versions_and_paths_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    wheel(tmp_path / "bad", "made_up-1.0-py3-none-any.whl", {"../made_up.py": ""})
    with pytest.raises(RuntimeError, match="unsafe path"):
        machine.unpack(tmp_path / "bad", tmp_path / "site")
    for number in ("1.0", "2.0"):
        wheel(tmp_path / "two", f"made_up-{number}-py3-none-any.whl", {"made_up.py": ""})
    with pytest.raises(RuntimeError, match=r"two wheels of made-up .*: 1\.0 and 2\.0"):
        machine.unpack(tmp_path / "two", tmp_path / "site")


def test_what_is_missing_is_found_without_importing() -> None:
    assert machine.missing(["json", "made_up_thing"]) == ["made_up_thing"]


def test_a_step_writes_what_it_finds_at_once_and_outlives_errors(tmp_path: Path) -> None:
    step = Step("records", tmp_path / "records.json", "cpu", until=0.0, pack=tmp_path)
    step.row("t", number=np.float32(0.5), nothing=float("inf"), pair=(1, 2))
    with step.attempt("the second row"):
        raise ValueError("broken")
    assert not step.has_time("the third row")
    found = json.loads(step.file.read_text())
    assert found["rows"] == [{"table": "t", "number": 0.5, "nothing": None, "pair": [1, 2]}]
    assert found["errors"][0]["what"] == "the second row"
    assert "ValueError: broken" in found["errors"][0]["error"]
    assert found["notes"] == ["not run, no time left: the third row"]
