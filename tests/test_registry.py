"""Plug-ins are found without importing them, and broken ones break nothing else."""

import sys
from pathlib import Path

import pytest

from rclicks.errors import PluginError, ProtocolError, UnknownNameError
from rclicks.registry import Registry, load_module, read_cards
from rclicks.specs import Spec, parse

PLUGINS = Path(__file__).parent / "plugins"


def write(folder: Path, kind: str, name: str, text: str) -> Path:
    file = folder / kind / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_cards_are_read_without_running_the_file(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "adapters",
        "x.py",
        "raise SystemExit('imported!')\n"
        "CARDS = (ModelCard(name='x', family='x', summary='s', checkpoint=Checkpoint(file='x.pth')),)\n",
    )
    (card,) = read_cards(file)
    assert card.name == "x"
    assert card.checkpoint.file == "x.pth"
    registry = Registry.discover([tmp_path])
    assert registry.models["x"].file == file
    assert registry.broken == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("CARDS = (", "cannot be parsed"),
        ("CARDS = (ModelCard(name=f()),)", "ModelCard, DatasetCard"),
        ("CARDS = (ModelCard(name=some_name, family='x', summary='s'),)", "name is not a literal"),
        ("CARDS = (ModelCard(name='x', family='x', summary='s', colour='red'),)", "colour"),
        ("CARDS = [c for c in ()]", "must be a tuple"),
        ("CARDS = (DatasetCard(name='x', summary='s'),)", "does not belong here"),
    ],
)
def test_broken_files_are_listed_and_break_nothing(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, "adapters", "bad.py", text)
    write(tmp_path, "adapters", "good.py", "CARDS = (ModelCard(name='good', family='g', summary='s'),)")
    registry = Registry.discover([tmp_path])
    assert reason in registry.broken[0].reason
    assert "good" in registry.models


def test_a_file_that_fails_to_import_names_itself_and_its_error(tmp_path: Path) -> None:
    write(
        tmp_path,
        "adapters",
        "e.py",
        "from rclicks.cards import ModelCard\nCARDS = (ModelCard(name='e', family='e', summary='s'),)\n1 / 0\n",
    )
    write(
        tmp_path,
        "adapters",
        "m.py",
        "import no_such_package_at_all\nCARDS = (ModelCard(name='m', family='e', summary='s', extra='torch'),)\n",
    )
    registry = Registry.discover([tmp_path])
    with pytest.raises(PluginError, match=r"e\.py fails to import: ZeroDivisionError"):
        load_module(registry.find("model", "e"))
    with pytest.raises(PluginError, match=r"no_such_package_at_all.*pip install 'rclicks\[torch\]'"):
        load_module(registry.find("model", "m"))


def test_unknown_names_suggest_the_nearest() -> None:
    registry = Registry.discover([PLUGINS])
    with pytest.raises(UnknownNameError, match="Did you mean toy"):
        registry.find("model", "tois")


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    write(tmp_path, "adapters", "again.py", "CARDS = (ModelCard(name='geodesic', family='x', summary='s'),)")
    registry = Registry.discover([tmp_path])
    assert "already taken" in registry.broken[0].reason
    assert registry.models["geodesic"].module == "rclicks.adapters.geodesic"


def test_an_installed_package_joins_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path, "their_rclicks/adapters", "theirs.py", "CARDS = (ModelCard(name='theirs', family='t', summary='s'),)"
    )
    write(tmp_path, "their_rclicks", "__init__.py", "")
    write(tmp_path, "theirs-1.0.dist-info", "METADATA", "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    write(tmp_path, "theirs-1.0.dist-info", "entry_points.txt", "[rclicks.plugins]\ntheirs = their_rclicks\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = Registry.discover().find("model", "theirs")
    assert entry.module == "their_rclicks.adapters.theirs"
    assert "their_rclicks" not in sys.modules


def test_missing_plugin_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="does not exist"):
        Registry.discover([tmp_path / "absent"])


def test_specs_read_options_lists_and_checkpoints() -> None:
    spec = parse("box:jitters=[0,5],replicates=2")
    assert spec == Spec("box", {"jitters": [0, 5], "replicates": 2}, None, None, "box:jitters=[0 5],replicates=2")
    assert parse("m:checkpoint=a.pth") == Spec("m", {}, "a.pth", None, "m")
    assert parse("folder:root=/x,label=mine") == Spec("folder", {}, None, "/x", "mine")
    assert parse({"name": "m", "label": "mine"}).label == "mine"
    for bad in ("m:novalue", {"nom": "m"}, {"name": "m", "colour": 1}, "m:x=[0"):
        with pytest.raises(ProtocolError):
            parse(bad)
