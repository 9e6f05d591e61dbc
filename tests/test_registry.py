"""Plug-ins are found without importing them, and broken ones break nothing else."""

import sys
from pathlib import Path

import pytest

from rclicks.engine.loading import load_model, load_user
from rclicks.errors import MissingPackageError, PluginError, ProtocolError, UnknownNameError
from rclicks.protocol import Protocol
from rclicks.registry import Registry, hook, load_module, read_cards
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
        ("CARDS = (DatasetCard(name='x', summary='s'),)", "does not belong in the folder adapters"),
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
    with pytest.raises(PluginError, match=r"e\.py, line 3, fails to import: ZeroDivisionError"):
        load_module(registry.find("model", "e"))
    with pytest.raises(MissingPackageError, match=r"no_such_package_at_all.*pip install 'rclicks\[torch\]'"):
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


def card(name: str, body: str = "") -> str:
    """Return the text of a module with one model card."""
    return (
        "from rclicks.cards import ModelCard\n"
        f"CARDS = (ModelCard(name={name!r}, family={name!r}, summary='s'),)\n"
        "def load(card, *, checkpoint=None, device='cpu', protocol=None): raise NotImplementedError\n" + body
    )


def module(folder: Path, name: str) -> dict[str, object]:
    registry = Registry.discover([folder])
    assert registry.broken == []
    return vars(load_module(registry.find("model", name)))


def test_the_modules_of_a_family_folder_import_each_other(tmp_path: Path) -> None:
    write(
        tmp_path, "adapters/mine", "__init__.py", "from .network import NET\nfrom .._shared import S\n" + card("mine")
    )
    write(tmp_path, "adapters/mine", "network.py", "from .layers import WIDTH\nNET = WIDTH + 1\n")
    write(tmp_path, "adapters/mine", "layers.py", "WIDTH = 3\n")
    write(tmp_path, "adapters", "flat.py", "from ._shared import S\nfrom ..common import C\n" + card("flat"))
    write(tmp_path, "adapters", "_shared.py", "S = 5\n")
    write(tmp_path, "", "common.py", "C = 7\n")
    mine, flat = module(tmp_path, "mine"), module(tmp_path, "flat")
    assert (mine["NET"], mine["S"], flat["S"], flat["C"]) == (4, 5, 5, 7)
    entry = Registry.discover([tmp_path / "adapters" / ".."]).find("model", "mine")
    assert entry.file == tmp_path / "adapters" / "mine" / "__init__.py"
    assert entry.module == mine["__name__"], "the name of the package depends on the folder, not on how it is written"


def test_families_of_equal_names_in_two_plugin_folders_are_two_modules(tmp_path: Path) -> None:
    for one in ("a", "b"):
        write(tmp_path / one, "adapters/mine", "__init__.py", "from .network import WHO\n" + card(f"mine-{one}"))
        write(tmp_path / one, "adapters/mine", "network.py", f"WHO = {one!r}\n")
    registry = Registry.discover([tmp_path / "a", tmp_path / "b", tmp_path / "a"])
    assert registry.broken == []
    assert registry.plugins == (tmp_path / "a", tmp_path / "b")
    assert [load_module(registry.find("model", f"mine-{one}")).WHO for one in ("a", "b")] == ["a", "b"]


def test_a_folder_without_init_is_listed_as_broken(tmp_path: Path) -> None:
    write(tmp_path, "adapters/mine", "network.py", card("mine"))
    write(tmp_path, "adapters/_helpers", "tools.py", "")
    write(tmp_path, "adapters/pictures", "readme.txt", "no Python here")
    (broken,) = Registry.discover([tmp_path]).broken
    assert broken.file == tmp_path / "adapters" / "mine"
    assert "needs an __init__.py" in broken.reason
    with pytest.raises(PluginError, match=r"model 'mine' is not available: .*needs an __init__\.py"):
        Registry.discover([tmp_path]).find("model", "mine")


def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "adapters", "mine.py", card("file"))
    write(tmp_path, "adapters/mine", "__init__.py", card("folder"))
    write(tmp_path, "adapters", "my.model.py", card("dotted"))
    registry = Registry.discover([tmp_path])
    assert not {"file", "folder", "dotted"} & set(registry.models)
    reasons = sorted(b.reason for b in registry.broken)
    assert "family 'mine' is both" in reasons[0]
    assert "'my.model' contains a dot" in reasons[1]


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("NET = 1 / 0\n", r"mine/network\.py, line 1, fails to import: ZeroDivisionError"),
        ("NET = (\n", r"mine/network\.py, line 1, fails to import: SyntaxError"),
        ("from .layers import NET\n", r"mine/network\.py, line 1, fails to import: No module named 'mine\.layers'"),
        ("NET_ = 1\n", r"mine/__init__\.py, line 1, fails to import: cannot import name 'NET' from 'mine\.network'"),
        ("\nfrom rclicks.models.nothing import NET\n", r"mine/network\.py, line 2, .*'rclicks\.models\.nothing'"),
    ],
)
def test_a_broken_inner_module_is_named_and_is_no_missing_package(tmp_path: Path, network: str, message: str) -> None:
    write(tmp_path, "adapters/mine", "__init__.py", "from .network import NET\n" + card("mine"))
    write(tmp_path, "adapters/mine", "network.py", network)
    with pytest.raises(PluginError, match=message) as caught:
        load_module(Registry.discover([tmp_path]).find("model", "mine"))
    assert not isinstance(caught.value, MissingPackageError)


def test_a_missing_package_of_an_inner_module_names_the_line(tmp_path: Path) -> None:
    write(tmp_path, "adapters/mine", "__init__.py", "from .network import NET\n" + card("mine"))
    write(tmp_path, "adapters/mine", "network.py", "import numpy\nimport no_such_package_at_all\n")
    with pytest.raises(MissingPackageError, match=r"network\.py, line 2,.*needs a missing package: .*no_such_package"):
        load_module(Registry.discover([tmp_path]).find("model", "mine"))


def test_a_folder_that_is_no_plugin_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "adapters/mine", "__init__.py", card("mine"))
    for folder in (tmp_path / "adapters", tmp_path / "adapters" / "mine"):
        with pytest.raises(PluginError, match=rf"is not a plug-in folder: .*; did you mean {tmp_path}\?"):
            Registry.discover([folder])
    (tmp_path / "empty").mkdir()
    with pytest.raises(PluginError, match="expected at least one of the sub-folders adapters, datasets, users"):
        Registry.discover([tmp_path / "empty"])


def test_a_card_that_stands_twice_in_a_file_is_told(tmp_path: Path) -> None:
    text = "CARDS = (ModelCard(name='x', family='x', summary='s'), ModelCard(name='x', family='x', summary='t'))"
    write(tmp_path, "adapters", "x.py", text)
    (broken,) = Registry.discover([tmp_path]).broken
    assert "already taken" in broken.reason


def test_a_module_that_is_not_the_file_of_the_card_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "adapters", "mine.py", card("mine"))
    entry = Registry.discover([tmp_path]).find("model", "mine")
    monkeypatch.setitem(sys.modules, entry.module, sys.modules[__name__])
    with pytest.raises(PluginError, match=r"gave .*test_registry\.py and not .*mine\.py"):
        load_module(entry)


def test_hooks_that_the_engine_cannot_call_are_refused(tmp_path: Path) -> None:
    hooks = (
        "def inner_model(): return 'geodesic'\ncheckpoint_path = 'x.pth'\ndef build_network(variant): return variant\n"
    )
    write(tmp_path, "adapters", "odd.py", card("odd", hooks))
    write(tmp_path, "adapters", "no_device.py", card("no-device").replace("device='cpu', ", ""))
    write(tmp_path, "adapters", "no_load.py", card("no-load").replace("def load", "def lode"))
    registry = Registry.discover([tmp_path])
    odd = registry.find("model", "odd")
    build = hook(odd, "build_network")
    assert build is not None
    assert build("v") == "v"
    assert hook(odd, "checkpoint_identity") is None
    with pytest.raises(PluginError, match=r"inner_model cannot be called as inner_model\(options\): too many"):
        hook(odd, "inner_model")
    with pytest.raises(PluginError, match="checkpoint_path is not a function"):
        hook(odd, "checkpoint_path")
    with pytest.raises(UnknownNameError, match=r"unknown hook 'inner_modle'.*Did you mean inner_model.*ModelModule"):
        hook(odd, "inner_modle")
    with pytest.raises(UnknownNameError, match="unknown hook 'load'"):
        hook(odd, "load")
    with pytest.raises(PluginError, match=r"no_device\.py: load cannot be called as load\(card, .*'device'"):
        load_module(registry.find("model", "no-device"))
    with pytest.raises(PluginError, match=r"no load\(card, \.\.\.\) function"):
        load_module(registry.find("model", "no-load"))


def test_load_is_given_what_it_asks_for_and_no_option_may_have_that_name(tmp_path: Path) -> None:
    text = (
        card("asks")
        .replace("protocol=None)", "protocol=None, models, depth=1)")
        .replace("raise NotImplementedError", "return models")
    )
    write(tmp_path, "adapters", "asks.py", text)
    registry = Registry.discover([tmp_path])
    with pytest.raises(PluginError, match=r"load of .*asks\.py returned function, expected a Model"):
        load_model(registry, parse("asks"))
    with pytest.raises(ProtocolError, match="has no option 'width'; allowed: depth"):
        load_model(registry, parse("asks:width=1"))
    for given in ("models", "device", "card"):
        with pytest.raises(ProtocolError, match=f"'{given}' is not an option; the engine passes it"):
            load_model(registry, Spec("asks", {given: 1}))
    with pytest.raises(ProtocolError, match=r"user robot has no weights; leave out checkpoint='x\.pth'"):
        load_user(registry, Spec("robot", checkpoint="x.pth"), Protocol())
