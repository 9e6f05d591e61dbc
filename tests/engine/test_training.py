"""Training by name: checks before data is read, options, several data sets, splits, and broken modules."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import rclicks
from rclicks.cli.main import app
from rclicks.engine.training import trainable_names, training_options
from rclicks.errors import DataError, PluginError, ProtocolError, UnknownNameError, WeightsError
from rclicks.registry import Registry
from rclicks.training.loop import Progress, Result

PLUGINS = Path(__file__).parent.parent / "plugins"


def trained(out: Path, model: str = "toy-trained", data: Any = "toy-set:n=30", **given: Any) -> Result:
    return rclicks.train(model, data, out, plugins=[PLUGINS], **given)


def test_a_plugin_is_trained_by_name_and_its_result_is_a_checkpoint(tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = trained(tmp_path, step=100, note="mine", seed=4, on_progress=seen.append)
    assert [(p.epoch, p.epochs) for p in seen] == [(0, 3), (1, 3), (2, 3)]
    assert json.loads(result.best.read_text()) == {"threshold": 0, "note": "mine", "seed": 4}
    model = rclicks.load_model("toy-trained", result.best, plugins=[PLUGINS])
    assert model.threshold == 0


def test_options_stand_in_the_spec_or_are_arguments_and_arguments_go_first(tmp_path: Path) -> None:
    spec = "toy-trained:ends=[10 20],step=5,note=spec"
    result = trained(tmp_path, spec, step=10, measure="iou")
    assert json.loads(result.best.read_text())["note"] == "spec"
    assert result.epochs == 2  # 10 and 20, not 10, 15 and 20


@pytest.mark.parametrize(
    ("model", "given", "error", "words"),
    [
        ("toy-traned", {}, UnknownNameError, "Did you mean toy-trained"),
        ("toy-fixed", {}, ProtocolError, "toy-fixed cannot be trained; trainable: .*toy-trained"),
        ("toy", {}, ProtocolError, "toy cannot be trained"),
        ("toy-trained:stp=3", {}, ProtocolError, "training of toy-trained: unknown option 'stp'. Did you mean step"),
        ("toy-trained", {"step": 2.5}, ProtocolError, "'step' is 2.5; allowed is an integer from 1 to 255"),
        ("toy-trained:ends=[1 2 3]", {}, ProtocolError, "2 integers from 0 to 255"),
        ("toy-trained:ends=7", {}, ProtocolError, "in brackets"),
        ("toy-trained:note=3", {}, ProtocolError, "allowed is a text"),
        ("toy-trained", {"extra": 1}, ProtocolError, "the path of a file or folder"),
        ("toy-trained", {"step": None}, ProtocolError, "an integer"),
        ("toy-trained:root=x", {}, ProtocolError, "folders belong to data sets"),
        ("toy-trained:checkpoint=x", {}, ProtocolError, "init_weights"),
        ("toy-trained", {"protocol": "paper"}, ProtocolError, "unknown protocol"),
        ("toy-trained", {"epochs": 0}, ProtocolError, "epochs is 0"),
        ("toy-trained", {"batch_size": 1.5}, ProtocolError, "batch_size is 1.5"),
        ("toy-trained", {"patience": 0}, ProtocolError, "patience is 0"),
        ("toy-trained", {"seed": -1}, ProtocolError, "seed is -1"),
        ("toy-trained", {"lr": float("nan")}, ProtocolError, "learning rate"),
        ("toy-trained", {"init_weights": "absent.json"}, WeightsError, "absent.json to start from do not exist"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_data_is_opened(
    tmp_path: Path, model: str, given: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        trained(tmp_path / "out", model, f"folder:root={tmp_path / 'absent'}", **given)
    assert not (tmp_path / "out").exists()


def test_data_sets_of_other_axes_and_none_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="volumes contains volumes; toy-trained is trained on images"):
        trained(tmp_path / "out", data=f"volumes:root={tmp_path}")
    with pytest.raises(ProtocolError, match="needs at least one data set"):
        trained(tmp_path / "out", data=[])
    with pytest.raises(UnknownNameError, match="unknown dataset 'toy-sets'"):
        trained(tmp_path / "out", data="toy-sets")


def test_modules_that_break_the_contract_are_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="needs a missing package: No module named 'no_such_package'"):
        trained(tmp_path, fault="import")
    with pytest.raises(PluginError, match="returned str, expected a Result"):
        trained(tmp_path, fault="result")
    (tmp_path / "adapters").mkdir()
    source = (PLUGINS / "adapters" / "toy_trained.py").read_text()
    (tmp_path / "adapters" / "hookless.py").write_text(source.replace("def train(", "def fit(").replace("toy-", "no-"))
    with pytest.raises(
        PluginError, match="the card of no-trained in .* says trainable=True, but the module has no function train"
    ):
        rclicks.train("no-trained", "quickstart", tmp_path / "out", plugins=[tmp_path])


def test_a_validation_list_and_weights_to_start_from_reach_the_training(tmp_path: Path) -> None:
    names = tmp_path / "val.txt"
    names.write_text("s0\ns1\n")
    first = trained(tmp_path / "first", val_list=names)
    other = trained(tmp_path / "other")  # a fixed tenth
    assert first.rows != other.rows
    (tmp_path / "start.json").write_text('{"threshold": 77}')
    again = trained(tmp_path / "again", epochs=2, init_weights=tmp_path / "start.json", val_list=names)
    assert [row["score"] for row in again.rows[1:]] == [row["score"] for row in first.rows[:2]]
    names.write_text("s99\n")
    with pytest.raises(DataError, match="names no sample"):
        trained(tmp_path / "bad", val_list=names)


def test_several_data_sets_are_learned_from_together(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["train", "toy-trained:step=100", "toy-set:n=30,quickstart", "-o", str(tmp_path), "--plugins", str(PLUGINS)],
    )
    assert done.exit_code == 0, done.output
    assert "no --init-weights (a threshold of an earlier training)" in done.output
    assert "best epoch" in done.output
    alone = trained(tmp_path / "alone", step=100)
    both = trained(tmp_path / "both", data=["toy-set:n=30", "quickstart"], step=100)
    assert alone.rows != both.rows


def test_too_few_samples_are_used_twice_and_the_command_says_so(tmp_path: Path) -> None:
    words = ["train", "toy-trained", "toy-set:n=2", "-o", str(tmp_path), "--plugins", str(PLUGINS)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "2 samples for both training and validation" in done.output


def test_what_is_trainable_is_known_from_cards_and_options_from_modules() -> None:
    registry = Registry.discover([PLUGINS])
    names = trainable_names(registry)
    assert "toy-trained" in names
    assert "toy-fixed" not in names
    options = training_options(registry.models["toy-trained"])
    assert {name: option.default for name, option in options.items()} == {
        "step": 50,
        "ends": (0, 250),
        "measure": "dice",
        "note": "",
        "extra": None,
        "fault": "",
    }


def test_show_lists_training_options_with_defaults_and_allowed_values() -> None:
    words = ["show", "toy-trained", "--plugins", str(PLUGINS)]
    text = " ".join(CliRunner().invoke(app, words).output.split())
    assert "step=N distance of the thresholds that are tried; an integer from 1 to 255; default 50" in text
    assert "ends=[N ...] first and last threshold; 2 integers from 0 to 255 in brackets, such as [0 250]" in text
    assert "measure=dice|iou what is maximised; default dice" in text
    assert "extra=PATH a file that must exist if it is given; the path of a file or folder" in text
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert told["training_options"]["measure"] == {
        "default": "dice",
        "metavar": "dice|iou",
        "allowed": "one of dice, iou",
        "help": "what is maximised",
    }
    fixed = json.loads(CliRunner().invoke(app, ["show", "toy-fixed", "--json", "--plugins", str(PLUGINS)]).output)
    assert fixed["trainable"] is False
    assert "training_options" not in fixed
