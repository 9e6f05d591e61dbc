"""What is missing is left out only where that was asked for, and always named; what is bad is an error."""

from pathlib import Path

import pytest

import rclicks
from rclicks.benchmark import Benchmark, load_benchmark
from rclicks.config import Config
from rclicks.data.roots import resolve_file
from rclicks.engine.plan import Plan, make_plan
from rclicks.errors import DataError, MissingDataError, PluginError, ProtocolError, WeightsError
from rclicks.records.store import load_run
from rclicks.registry import Registry

PLUGINS = Path(__file__).parent.parent / "plugins"
PLAIN = "dataset,sample,object,user,round,y,x,positive\n"
CLICKS = PLAIN + "toy-set,s0,0,ann,1,20,20,1\n"
STUDY = """
summary: s
models: [toy, mobilesam]
datasets: ["toy-set:n=1", GrabCut]
users:
  - robot
  - {name: recorded, options: {file: clicks.csv}, label: people}
  - {name: sampled, options: {model: distance, groups: 1, match_human_count: clicks.csv}, label: matched}
  - {name: sampled, options: {model: clickability, groups: 2}, label: groups}
protocol: {clicks: 2}
skip_missing: true
"""
ABSENT_USERS = ["people", "matched", "groups"]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover([PLUGINS])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty current folder, without data roots or weights from outside."""
    for name in ("RCLICKS_DATA_ROOT", "RCLICKS_ROOT_GRABCUT", "RCLICKS_CHECKPOINTS", "RCLICKS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-configuration"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def study(registry: Registry, here: Path, text: str = STUDY) -> Benchmark:
    file = here / "study.yaml"
    file.write_text(text)
    return load_benchmark(file, registry)


def left_out(plan: Plan) -> list[tuple[str, str]]:
    return [(m.kind, m.name) for m in plan.missing]


def test_what_a_file_asks_for_and_is_missing_is_left_out_and_named(registry: Registry, here: Path) -> None:
    root = here / "data"
    plan = make_plan(study(registry, here), registry, data_root=root)
    things = [("user", name) for name in ABSENT_USERS] + [("dataset", "GrabCut"), ("model", "mobilesam")]
    assert left_out(plan) == things
    assert [s.label for s in plan.benchmark.users] == ["robot"]
    people = plan.missing[0].reason
    assert f"{here / 'clicks.csv'}, {root / 'clicks.csv'}" in people
    assert "clickability_model.pth" in plan.missing[2].reason


def test_without_skip_missing_a_missing_click_file_is_an_error(registry: Registry, here: Path) -> None:
    text = STUDY.replace("skip_missing: true", "")
    with pytest.raises(MissingDataError, match=r"clicks\.csv does not exist: looked for .*no data root is set"):
        make_plan(study(registry, here, text), registry)
    with pytest.raises(MissingDataError, match=r"clicks\.csv does not exist"):
        make_plan(study(registry, here), registry, skip_missing=False)


@pytest.mark.parametrize(
    ("named", "kind", "error", "words"),
    [
        ({"users": ["robot", "recorded:file=clicks.csv"]}, "user", DataError, "clicks.csv does not exist"),
        (
            {"users": ["robot", "sampled:groups=1,match_human_count=clicks.csv"]},
            "user",
            DataError,
            "clicks.csv does not exist",
        ),
        ({"users": ["robot", "sampled:model=clickability"]}, "user", WeightsError, "no weights for clickability"),
        ({"models": ["toy", "mobilesam"]}, "model", WeightsError, "no weights for mobilesam"),
        ({"datasets": ["toy-set:n=1", "GrabCut"]}, "dataset", DataError, "data set GrabCut not found"),
    ],
)
def test_what_the_caller_names_is_never_left_out(
    registry: Registry, here: Path, named: dict, kind: str, error: type[Exception], words: str
) -> None:
    changed = study(registry, here).changed(registry, **named)
    with pytest.raises(error, match=rf"{words}.*You named {kind} .*--skip-missing"):
        make_plan(changed, registry)
    with pytest.raises(error, match=words):  # a later change of something else keeps what was named
        make_plan(changed.changed(registry, limit=1), registry)
    plan = make_plan(changed, registry, skip_missing=True)
    (wanted,) = named.values()
    assert (kind, changed.named[0]) == (kind, f"{kind}s")
    assert [name for what, name in left_out(plan) if what == kind] == [getattr(changed, f"{kind}s")[1].label]
    assert len(wanted) == 2


def test_the_python_interface_keeps_to_the_same_rule(registry: Registry, here: Path) -> None:
    file = here / "study.yaml"
    file.write_text(STUDY)
    with pytest.raises(WeightsError, match="You named model mobilesam"):
        rclicks.evaluate(file, models=["toy", "mobilesam"], plugins=[PLUGINS])
    frame = rclicks.evaluate(file, plugins=[PLUGINS])
    assert {note.split(":")[0] for note in frame.attrs["notes"]} >= {f"user {name}" for name in ABSENT_USERS}


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"models": ["toy", "geodesic-3d"]}, "geodesic-3d segments volumes"),
        ({"users": ["robot", "lasso"]}, "user lasso does not support images"),
        ({"users": ["robot", "box"]}, "user box makes box, but no model takes all of them"),
        (
            {"models": ["toy", "toy-box"], "users": ["box"]},
            "model toy takes click, but every user also makes other prompts",
        ),
    ],
)
def test_what_the_caller_names_and_cannot_be_played_is_an_error(
    registry: Registry, here: Path, named: dict, words: str
) -> None:
    changed = study(registry, here).changed(registry, **named)
    with pytest.raises(ProtocolError, match=rf"{words}.*--skip-missing"):
        make_plan(changed, registry)
    assert left_out(make_plan(changed, registry, skip_missing=True))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not a readable CSV"),
        ("dataset,foo\n", "missing columns"),
        (CLICKS.replace(",1,20,", ",2,20,"), "without gaps"),
        (CLICKS.replace("20,20", "20,x"), "line 2"),
        (None, "not a readable CSV"),  # a folder
    ],
)
@pytest.mark.parametrize("skip", [None, True])
def test_a_click_file_that_exists_and_is_bad_is_an_error(
    registry: Registry, here: Path, content: str | None, words: str, skip: bool | None
) -> None:
    file = here / "clicks.csv"
    file.mkdir() if content is None else file.write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        make_plan(study(registry, here), registry, skip_missing=skip)
    assert not isinstance(caught.value, MissingDataError)


@pytest.mark.parametrize(
    ("user", "error", "words"),
    [
        ("sampled:model=clikability", PluginError, "unknown click-model"),
        ("sampled:groups=0", ProtocolError, "groups"),
        ("recorded", ProtocolError, "needs a file"),
    ],
)
def test_a_slip_in_a_user_is_not_taken_for_something_missing(
    registry: Registry, here: Path, user: str, error: type[Exception], words: str
) -> None:
    changed = study(registry, here).changed(registry, users=["robot", user])
    with pytest.raises(error, match=words):
        make_plan(changed, registry, skip_missing=True)


def test_weights_of_a_click_model_that_exist_and_are_bad_are_no_reason_to_leave_a_user_out(
    registry: Registry, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCLICKS_CHECKPOINTS", str(here / "weights"))
    for folder in ("a", "b"):  # which of them is meant cannot be known
        (here / "weights" / folder).mkdir(parents=True)
        (here / "weights" / folder / "clickability_model.pth").write_bytes(b"weights")
    with pytest.raises(WeightsError, match="expected one file clickability_model.pth"):
        make_plan(study(registry, here), registry)

    (here / "own.json").write_text("{}")
    mini = "groups: 2, model: clickability-mini}, checkpoint: own.json"
    made = study(registry, here, STUDY.replace("model: clickability, groups: 2}", mini))
    frame = rclicks.evaluate(made, plugins=[PLUGINS])
    assert {(f["user"], f["error"]) for f in frame.attrs["failures"]} == {("groups", "WeightsError")}
    (here / "own.json").unlink()
    assert ("user", "groups") in left_out(make_plan(made, registry))


def test_a_click_file_is_found_in_the_current_folder_before_the_data_root(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    for folder in (root, other):
        folder.mkdir()
        (folder / "clicks.csv").write_text(CLICKS)
    config = Config(data_root=other)
    assert resolve_file("clicks.csv", None, config) == other / "clicks.csv"
    monkeypatch.setenv("RCLICKS_DATA_ROOT", str(root))
    assert resolve_file("clicks.csv", None, config) == root / "clicks.csv"
    assert resolve_file("clicks.csv", other, config) == other / "clicks.csv"
    (here / "clicks.csv").write_text(CLICKS)
    assert resolve_file("clicks.csv", root, config) == Path("clicks.csv")
    assert resolve_file(str(root / "clicks.csv"), other, config) == root / "clicks.csv"
    with pytest.raises(MissingDataError) as caught:
        resolve_file(str(here / "no.csv"), root, config)
    assert str(root) not in str(caught.value), "an absolute path is looked for in one place"


def test_a_run_does_not_depend_on_where_its_click_file_lies(registry: Registry, here: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "clicks.csv").write_text(CLICKS)
    made = study(registry, here)
    far = make_plan(made, registry, data_root=root)
    assert far.files["people"] == {"file": str(root / "clicks.csv")}
    (here / "clicks.csv").write_text(CLICKS)
    near = make_plan(made, registry, data_root=root)
    assert near.files["people"] == {"file": "clicks.csv"}
    assert (near.identity, near.units) == (far.identity, far.units)
    (here / "clicks.csv").write_text(CLICKS + "toy-set,s0,1,ann,1,20,20,1\n")
    assert make_plan(made, registry, data_root=root).identity != far.identity


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_read_the_file_from_the_data_root(here: Path, tmp_path: Path, workers: int) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "clicks.csv").write_text(CLICKS)
    (here / "study.yaml").write_text(STUDY)
    frame = rclicks.evaluate(here / "study.yaml", data_root=root, plugins=[PLUGINS], out=here / "run", workers=workers)
    assert frame.attrs["failures"] == []
    assert frame[frame["user"] == "people"][["y", "x"]].to_numpy().tolist() == [[20, 20]]
    assert (frame["user"] == "matched").sum() == 1
    assert load_run(here / "run")["effective"]["files"]["matched"] == {"match_human_count": str(root / "clicks.csv")}
