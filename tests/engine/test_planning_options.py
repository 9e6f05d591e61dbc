"""A wrong option of a model is an error of the plan, also for models that check their options themselves."""

from pathlib import Path

import pytest

from rclicks.benchmark import load_benchmark
from rclicks.cards import ModelCard
from rclicks.engine.loading import checkpoint_of
from rclicks.engine.plan import make_plan
from rclicks.errors import ProtocolError
from rclicks.hooks import option_names
from rclicks.models.contract import ModelModule
from rclicks.options import Option
from rclicks.protocol import Protocol
from rclicks.registry import Registry, hook, load_module
from rclicks.specs import parse

REGISTRY = Registry.discover()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("graph-cut:foo=1", "model graph-cut: unknown option 'foo'.* Allowed: beta, bins"),
        ("graph-cut:long_side=-3", "'long_side' is -3; allowed is an integer from 32"),
        ("ritm-h18s:foo=1", "has no option 'foo'; allowed: brs"),
        ("aespa:samples=3", "unknown option 'samples'"),
    ],
)
def test_a_plan_with_a_wrong_option_is_refused(spec: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f'summary: s\nmodels: ["{spec}"]\ndatasets: [quickstart]\nusers: [robot]\n')
    with pytest.raises(ProtocolError, match=words):
        make_plan(load_benchmark(file, REGISTRY), REGISTRY)


@pytest.mark.parametrize("spec", ["slicewise:model=graph-cut:foo=1", "slicewise:foo=1", "nninteractive-remote:foo=1"])
def test_options_of_models_of_volumes_and_of_inner_models(spec: str) -> None:
    with pytest.raises(ProtocolError, match="unknown option 'foo'"):
        checkpoint_of(REGISTRY, parse(spec))


def test_options_that_only_load_can_check_are_accepted() -> None:
    assert checkpoint_of(REGISTRY, parse("slicewise:model=graph-cut,axis=1,reach=3")) == "none"
    assert checkpoint_of(REGISTRY, parse("nninteractive-remote:server=http://127.0.0.1:1,key_variable=KEY")) == "none"


@pytest.mark.parametrize("name", sorted(REGISTRY.models))
@pytest.mark.parametrize("protocol", ["default", "compat"])
def test_every_model_states_its_options(name: str, protocol: str) -> None:
    entry = REGISTRY.models[name]
    assert isinstance(entry.card, ModelCard)
    stated = hook(entry, "load_options")
    if option_names(load_module(entry).load, ModelModule, "load") is None:
        assert stated is not None
    if stated is not None:
        options = stated(entry.card, Protocol.named(protocol))
        assert all(isinstance(option, Option) for option in options.values())
        assert not any(option.check(option.default) for option in options.values())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("geodesic:precision=bf16", "geodesic has no network"),
        ("mobilesam:precision=fp16,checkpoint=synthetic", "makes no sense on the device 'cpu'"),
        ("mobilesam:precision=half,checkpoint=synthetic", "allowed is one of float32"),
    ],
)
def test_a_precision_that_is_not_allowed_is_refused_before_the_run(model: str, message: str) -> None:
    registry = Registry.discover()
    study = load_benchmark("quickstart", registry).changed(registry, models=[model], limit=1)
    with pytest.raises(ProtocolError, match=message):
        make_plan(study, registry)
