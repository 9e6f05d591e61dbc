"""Benchmark files, protocols and configuration: messages name file, key and allowed values."""

from pathlib import Path

import pytest

from rclicks.benchmark import load_benchmark
from rclicks.config import Config, load_config
from rclicks.errors import ProtocolError, UnknownNameError
from rclicks.protocol import Protocol
from rclicks.registry import Registry

PLUGINS = Path(__file__).parent / "plugins"
GOOD = "summary: s\nmodels: [toy]\ndatasets: [toy-set]\n"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover([PLUGINS])


def test_a_good_file(tmp_path: Path, registry: Registry) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        GOOD + "protocol: {name: compat, clicks: 7}\nusers: [robot, {name: box, options: {jitters: [3]}}]\n"
    )
    benchmark = load_benchmark(file, registry)
    assert benchmark.name == "study"
    assert (benchmark.protocol.name, benchmark.protocol.clicks) == ("compat", 7)
    assert benchmark.users[1].options == {"jitters": [3]}
    assert benchmark.changed(registry, clicks=3).protocol.clicks == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models: [toy", "cannot be read"),
        ("- a\n", "must be a mapping"),
        (GOOD + "modles: [x]\n", "modles"),
        (GOOD + "modles: [x]\n", "Allowed keys: summary, protocol, models"),
        (GOOD + "protocol: strict\n", "unknown protocol 'strict'; allowed: default, compat"),
        (GOOD + "protocol: {name: default, clickz: 3}\n", "unknown protocol rule 'clickz'; allowed: boundary_ratio"),
        (GOOD + "protocol: {clicks: 0}\n", "protocol.clicks is 0"),
        (GOOD.replace("toy-set", "toy-sett"), "datasets: unknown dataset 'toy-sett'. Did you mean toy-set"),
        (GOOD + "users: [robbot]\n", "Did you mean robot"),
        (GOOD + "metrics: [iou, bioo]\n", "metrics: unknown metric 'bioo'"),
        (GOOD + "metrics: [dice]\n", "every table needs `iou`"),
        (GOOD.replace("[toy]", "[toy, toy]"), "is listed twice"),
        (GOOD.replace("[toy]", "[]"), "models"),
        (GOOD + "limit: 0\n", "limit"),
        (GOOD + "1: x\n", "text"),
    ],
)
def test_bad_files_name_the_trouble(tmp_path: Path, registry: Registry, text: str, words: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ProtocolError) as caught:
        load_benchmark(file, registry)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)


def test_unknown_benchmarks_and_missing_files(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean quickstart"):
        load_benchmark("quickstrat", registry)
    with pytest.raises(ProtocolError, match="does not exist"):
        load_benchmark(tmp_path / "no.yaml", registry)


def test_the_two_protocols_differ_in_their_named_rules_only() -> None:
    default, compat = Protocol.named("default"), Protocol.named("compat")
    changed = {k for k in vars(default) if getattr(default, k) != getattr(compat, k)}
    rules = {"perfect_mask", "empty_union", "nof", "mask_prompt", "zoom_after_empty"}
    assert changed == {"name", *rules, "mass_slices", "draws", "map_border", "distances", "nsd_gate"}
    assert default.hash != compat.hash
    assert default.hash == Protocol.named("default").hash


@pytest.mark.parametrize(
    "change",
    [
        {"clicks": 0},
        {"clicks": 7.5},
        {"clicks": "ten"},
        {"min_clicks": 0},
        {"stop_iou": 1.5},
        {"boundary_ratio": 0.0},
        {"boundary_ratio": "wide"},
        {"nof": "equals_budget"},
        {"distances": "cm"},
        {"nsd_tolerance": -1},
        {"nsd_tolerance": "two"},
        {"nsd_gate": 1},
        {"empty_union": 1},
    ],
)
def test_unplayable_protocols_are_refused(change: dict) -> None:
    with pytest.raises(ProtocolError):
        Protocol.named("default", **change)


def test_configuration_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("data_root: /data\nroots: {GrabCut: /sets/gc}\ncheckpoints: /weights\n")
    monkeypatch.setenv("RCLICKS_CONFIG", str(file))
    for name in ("RCLICKS_DATA_ROOT", "RCLICKS_CHECKPOINTS", "RCLICKS_ROOT_GRABCUT"):
        monkeypatch.delenv(name, raising=False)
    config = load_config()
    assert config.root_candidates("GrabCut", "GrabCut") == [Path("/sets/gc"), Path("/data/GrabCut")]
    monkeypatch.setenv("RCLICKS_ROOT_GRABCUT", "/env/gc")
    monkeypatch.setenv("RCLICKS_DATA_ROOT", "/env")
    wanted = ["/cli/GrabCut", "/env/gc", "/sets/gc", "/env/GrabCut", "/data/GrabCut"]
    assert [str(p) for p in config.root_candidates("GrabCut", "GrabCut", Path("/cli"))] == wanted
    assert config.checkpoint_folder() == Path("/weights")
    monkeypatch.setenv("RCLICKS_CHECKPOINTS", "/env/weights")
    assert config.checkpoint_folder() == Path("/env/weights")


@pytest.mark.parametrize(("text", "words"), [("dataroot: /x\n", "dataroot"), ("[1, 2]\n", "YAML"), ("a: [", "YAML")])
def test_bad_configuration_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    monkeypatch.setenv("RCLICKS_CONFIG", str(file))
    with pytest.raises(ProtocolError, match=words) as caught:
        load_config()
    assert str(file) in str(caught.value)


def test_no_configuration_means_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RCLICKS_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load_config() == Config()
