"""Checks that every registered model, data set, user and benchmark must pass.

``rclicks test [PLUGIN_DIR]`` runs this file. The variable ``RCLICKS_PLUGINS`` contains the path of an extra plug-in
folder; then only the plug-ins in this folder are checked. New plug-ins are checked automatically, because this file
contains no names of plug-ins.

Models with weights use synthetic weights. Networks with more than `MOST` parameters are only built without memory (on
torch's meta device) and counted, because one pass takes minutes on a CPU, and a volume takes hours.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rclicks.benchmark import load_benchmark
from rclicks.cards import Card, ClickModelCard, DatasetCard, ModelCard, UserCard
from rclicks.clickability.contract import ClickMapQuery, ClickModel
from rclicks.config import load_config
from rclicks.conformance.inputs import map_of, play_rounds, prompts_of, sample_of
from rclicks.data.contract import Dataset
from rclicks.data.roots import resolve
from rclicks.engine.loading import load_click_model, load_dataset, load_model, load_user
from rclicks.errors import DataError, MissingPackageError, PluginError, ProtocolError, WeightsError
from rclicks.hooks import engine_arguments, hooks_of, option_names
from rclicks.interaction import KINDS, Box, Interaction, check_inside
from rclicks.metrics.target import TargetReference
from rclicks.models.contract import Model
from rclicks.models.weights import SYNTHETIC
from rclicks.protocol import Protocol
from rclicks.registry import Entry, Registry, contract_of, hook, is_missing_package
from rclicks.sample import Sample
from rclicks.seeds import keyed_rng
from rclicks.specs import Spec
from rclicks.users.contract import View

MOST = {2: 50_000_000, 3: 1_000_000}  # largest number of parameters of a network that is run, by dimensions
# Largest number of parameters of a click model that is run. The values of larger ones overflow with synthetic weights,
# because their batch norms are not calibrated.
DEEP = 20_000_000

_folder = os.environ.get("RCLICKS_PLUGINS")
REGISTRY = Registry.discover([_folder] if _folder else [])


def _tested(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries to test: all, or those of the extra folder."""
    return [e for e in entries if not _folder or Path(_folder).resolve() in e.file.resolve().parents]


def _named(entries: Iterable[Entry]) -> pytest.MarkDecorator:
    found = _tested(entries)
    return pytest.mark.parametrize("entry", found, ids=[e.name for e in found])


def _ready(entry: Entry, **options: Any) -> Model:
    assert isinstance(entry.card, ModelCard)
    if entry.card.needs and not options:
        pytest.skip(f"{entry.name} needs {', '.join(entry.card.needs)}")
    checkpoint = SYNTHETIC if entry.card.checkpoint else None
    try:
        return load_model(REGISTRY, Spec(entry.name, options, checkpoint))
    except PluginError as error:
        _skip_if_package_is_missing(error, entry)
        raise


def _skip_if_package_is_missing(error: PluginError, entry: Entry) -> None:
    """Skip a test if an optional package is missing, but not if the plug-in has a wrong import of its own files."""
    if isinstance(error.__cause__, ImportError) and is_missing_package(error.__cause__, entry):
        pytest.skip(str(error))


def _check_hooks(entry: Entry) -> None:
    """Import a module and check that the engine can call each of its hooks."""
    try:
        for name, required in hooks_of(contract_of(entry.kind)).items():
            if not required:
                hook(entry, name)
    except MissingPackageError as error:
        pytest.skip(str(error))


def _check_card(card: Card | None) -> None:
    assert card is not None
    assert card.name
    assert card.name == card.name.strip()
    assert card.summary
    assert len(card.summary) <= 120, "a summary has one line of at most 120 characters"


def _check_training(entry: Entry) -> None:
    """Check that a card is trainable if and only if its module can train, and that the hooks fulfil their contract."""
    card = entry.card
    assert isinstance(card, (ModelCard, ClickModelCard))
    try:
        options_of, train = hook(entry, "training_options"), hook(entry, "train")
    except MissingPackageError as error:
        pytest.skip(str(error))
    if not card.trainable:
        assert not card.starts_from, "a model that is not trainable must not have starts_from on its card"
        cards = [e.card for e in (*REGISTRY.models.values(), *REGISTRY.click_models.values()) if e.file == entry.file]
        known = any(isinstance(c, (ModelCard, ClickModelCard)) and c.trainable for c in cards)
        assert known or train is None, "the module has `train`, but none of its cards is trainable"
        return
    assert train is not None, "a trainable model needs a function train"
    assert options_of is not None, "a trainable model needs a function training_options"
    arguments = engine_arguments(contract_of(entry.kind), "train")
    known_options = option_names(train, contract_of(entry.kind), "train")
    for protocol in ("default", "compat"):
        for name, option in options_of(card, Protocol.named(protocol)).items():
            assert name.isidentifier(), name
            assert name not in arguments, f"{name} is a parameter of the hook, so it cannot be an option"
            assert not option.check(option.default), f"the default of {name} is not allowed: {option.expected}"
            assert option.help, f"the option {name} needs a help text"
            assert known_options is None or name in known_options, f"`train` does not take the option {name}"


def test_no_plugin_is_broken() -> None:
    broken = [b for b in REGISTRY.broken if not _folder or Path(_folder).resolve() in b.file.resolve().parents]
    assert not broken, "\n".join(f"{b.file}: {b.reason}" for b in broken)


@_named(REGISTRY.models.values())
class TestModel:
    """Checks of every model."""

    def test_card(self, entry: Entry) -> None:
        card = entry.card
        _check_card(card)
        assert isinstance(card, ModelCard)
        assert card.prompts
        assert set(card.takes) >= set(card.prompts)
        assert set(card.takes) <= {*KINDS, "mask"}
        assert 0 < card.threshold < 1
        assert card.dims in {2, 3}
        if card.checkpoint:  # the reverse need not hold: the network of a session may be on a server
            assert card.parameters, "a card with a checkpoint needs the number of parameters"

    def test_hooks_can_be_called_as_the_contract_says(self, entry: Entry) -> None:
        _check_hooks(entry)

    def test_network_has_the_stated_number_of_parameters(self, entry: Entry) -> None:
        assert isinstance(entry.card, ModelCard)
        if not entry.card.parameters:
            return
        torch = pytest.importorskip("torch")
        build = hook(entry, "build_network")
        assert build is not None, "a card that states parameters needs a function build_network(variant)"
        try:
            with torch.device("meta"):  # needs no memory
                network = build(entry.card.variant)
        except (RuntimeError, NotImplementedError):  # a constructor that reads values does not work on this device
            network = build(entry.card.variant)
        assert sum(p.numel() for p in network.parameters()) == entry.card.parameters

    def test_training_hooks(self, entry: Entry) -> None:
        _check_training(entry)

    def test_missing_weights_say_what_to_do(self, entry: Entry, tmp_path: Path) -> None:
        assert isinstance(entry.card, ModelCard)
        if entry.card.checkpoint:
            with pytest.raises((WeightsError, PluginError), match=r"does not exist|needs a missing package"):
                load_model(REGISTRY, Spec(entry.name, {}, str(tmp_path / "absent.pth")))

    def test_unknown_option_is_refused(self, entry: Entry) -> None:
        with pytest.raises(ProtocolError, match="no_such_option"):
            _ready(entry, no_such_option=1)

    def test_play(self, entry: Entry) -> None:
        card = entry.card
        assert isinstance(card, ModelCard)
        if card.parameters > MOST[card.dims]:
            return
        model = _ready(entry)
        sample = sample_of(card.dims)
        image = sample.image.copy()
        embedding = model.embed(sample.blind())
        prompts = prompts_of(card)
        history = play_rounds(model, embedding, prompts, batch_size=2)
        for k, states in enumerate(history):
            for slot, state in zip(prompts, states, strict=True):
                assert state.interactions == tuple(slot[: k + 1])
                assert state.mask is not None
                assert state.mask.dtype == np.bool_
                assert state.mask.shape == sample.shape
                assert (state.probability is not None) == card.probabilities
                if state.probability is not None:
                    assert state.probability.dtype == np.float32
                    assert state.probability.shape == sample.shape
                    assert 0 <= state.probability.min() <= state.probability.max() <= 1
                    assert np.array_equal(state.mask, state.probability > card.threshold)
                pickle.loads(pickle.dumps(state.memory))  # noqa: S301 - its own bytes
                samples = model.samples(embedding, state)
                if samples is not None:
                    assert samples.dtype == np.float32
                    assert samples.shape == (len(samples), *sample.shape)
                    assert len(samples) >= 1
                    assert 0 <= samples.min() <= samples.max() <= 1
                    same = model.samples(embedding, state)
                    assert same is not None
                    assert np.array_equal(samples, same), "samples must be a pure function of state and embedding"
                few = model.candidates(embedding, state)
                if few is not None:
                    assert few.shape == (len(few), *sample.shape)
                    assert 0 <= few.min() <= few.max() <= 1
        assert np.array_equal(sample.image, image), "the image was changed"
        # Results do not depend on the order of the slots or on the other slots, and a repetition gives equal results.
        swapped = play_rounds(model, embedding, prompts[::-1], batch_size=2)
        alone = play_rounds(model, embedding, prompts[:1], batch_size=2)
        again = play_rounds(_ready(entry), _ready(entry).embed(sample.blind()), prompts, batch_size=2)
        for k, states in enumerate(history):
            for i, state in enumerate(states):
                assert np.array_equal(map_of(again[k][i]), map_of(state))
                assert np.allclose(map_of(swapped[k][1 - i]), map_of(state), atol=1e-5)
            assert np.allclose(map_of(alone[k][0]), map_of(states[0]), atol=1e-5)

    def test_box(self, entry: Entry) -> None:
        card = entry.card
        assert isinstance(card, ModelCard)
        if card.parameters > MOST[card.dims] or "box" not in card.takes:
            return
        model = _ready(entry)
        sample = sample_of(card.dims)
        box = Box((13, 13), (47, 43)) if card.dims == 2 else Box((6, 6, 6), (6, 24, 22))
        states = play_rounds(model, model.embed(sample.blind()), [[box]])[-1]
        assert states[0].mask is not None
        assert states[0].mask.shape == sample.shape


def _open(entry: Entry) -> Dataset:
    card = entry.card
    assert isinstance(card, DatasetCard)
    try:
        return load_dataset(REGISTRY, Spec(entry.name), resolve(card, None, None, load_config()))
    except PluginError as error:
        _skip_if_package_is_missing(error, entry)
        raise
    except (DataError, ProtocolError) as error:
        pytest.skip(str(error).splitlines()[0])


@_named(REGISTRY.datasets.values())
class TestDataset:
    """Checks of every data set; they are skipped, with the reason, if its files are missing."""

    def test_card(self, entry: Entry) -> None:
        _check_card(entry.card)
        assert isinstance(entry.card, DatasetCard)
        if entry.card.folder:
            assert entry.card.layout, "the card needs a layout, the expected files"
            assert entry.card.get, "the card needs a text `get` that says how to get the data"

    def test_hooks_can_be_called_as_the_contract_says(self, entry: Entry) -> None:
        assert isinstance(entry.card, DatasetCard)
        _check_hooks(entry)
        has = hook(entry, "prepare") is not None
        assert entry.card.prepares == has, (
            f"the card says prepares={entry.card.prepares}, but the module has {'a' if has else 'no'} function prepare"
        )

    def test_missing_root_is_one_clear_error(self, entry: Entry, tmp_path: Path) -> None:
        card = entry.card
        assert isinstance(card, DatasetCard)
        if card.folder:
            with pytest.raises(DataError) as caught:
                resolve(card, tmp_path / "absent", None, load_config())
            assert "absent" in str(caught.value)
            assert card.get in str(caught.value)

    def test_reading(self, entry: Entry) -> None:
        data = _open(entry)
        ids = list(data.ids)
        assert len(ids) == len(data) == len(set(ids))
        assert ids == list(data.ids)
        for index in {0, len(data) // 2, len(data) - 1}:
            sample, again = data[index], data[index]
            assert (sample.dataset, sample.id) == (entry.name, ids[index])
            assert np.array_equal(sample.image, again.image)
            assert isinstance(entry.card, DatasetCard)
            assert len(sample.spacing) == entry.card.dims
            assert sample.image.ndim == 3
            assert sample.image.dtype == np.uint8 or entry.card.dims == 3
            assert len({t.id for t in sample.targets}) == len(sample.targets)
            for target, repeated in zip(sample.targets, again.targets, strict=True):
                assert len(target.masks) == len(target.raters) == len(set(target.raters))
                for mask, other in zip(target.masks, repeated.masks, strict=True):
                    assert mask.dtype == np.bool_
                    assert mask.shape == sample.shape
                    assert np.array_equal(mask, other)
                if target.ignore is not None:
                    assert target.ignore.dtype == np.bool_
                    assert target.ignore.shape == sample.shape
                    assert not any((mask & target.ignore).any() for mask in target.masks)
            assert all(Path(f).exists() for f in data.files(index))
            drew = {rater for target in sample.targets for rater in target.raters}
            if data.present(index):
                assert drew <= set(data.present(index)), "a rater without a file has a mask"
            if data.raters:
                assert {*data.present(index), *data.absent(index)} <= set(data.raters)
            if data.max_side is not None:
                assert max(sample.shape) <= data.max_side
        with pytest.raises(IndexError):
            data[len(data)]


@_named(REGISTRY.users.values())
class TestUser:
    """Checks of every user."""

    def test_card(self, entry: Entry) -> None:
        _check_card(entry.card)
        assert isinstance(entry.card, UserCard)
        assert entry.card.prompts
        _check_hooks(entry)
        assert set(entry.card.files) <= set(entry.card.options)

    @pytest.mark.parametrize("protocol", ["default", "compat"])
    def test_playing(self, entry: Entry, protocol: str, tmp_path: Path) -> None:
        card = entry.card
        assert isinstance(card, UserCard)
        options: dict[str, Any] = {}
        if "file" in card.options:
            options["file"] = str(tmp_path / "clicks.csv")
            Path(options["file"]).write_text(
                "dataset,sample,object,user,round,y,x,positive\nconformance,ellipse,1,ann,1,30,28,1\n"
                "conformance,ellipse,1,ann,2,2,3,0\nconformance,ellipse,2,bob,1,30,65,1\n"
            )
        user = load_user(REGISTRY, Spec(entry.name, options), Protocol.named(protocol))
        for sample, target in [(s, t) for dims in user.dims for s in [sample_of(dims)] for t in s.targets]:
            reference = TargetReference(target.masks[0], target.ignore, sample.spacing)
            for trajectory in user.trajectories(sample, target):
                made: list[list[Interaction | None]] = []
                for _ in range(2):
                    history: tuple[Interaction, ...] = ()
                    prediction = np.zeros(sample.shape, bool)
                    answers: list[Interaction | None] = []
                    while len(history) < 6:
                        rng = keyed_rng(1, target.id, trajectory.group, trajectory.replicate, len(history))
                        before = prediction.copy()
                        answer = user.next(View(sample, target, reference, prediction, history, trajectory, rng))
                        assert np.array_equal(before, prediction), "the prediction was changed"
                        answers.append(answer)
                        if answer is None:
                            break
                        assert answer.kind in {*card.prompts, "click"}
                        check_inside(answer, sample.shape)
                        history = (*history, answer)
                        prediction = np.roll(reference.mask, len(history), axis=-1)
                    made.append(answers)
                assert made[0] == made[1], "the same random numbers must give the same interactions"


@_named(REGISTRY.click_models.values())
class TestClickModel:
    """Checks of every click model."""

    def _ready(self, entry: Entry) -> ClickModel:
        assert isinstance(entry.card, ClickModelCard)
        checkpoint = SYNTHETIC if entry.card.checkpoint else None
        try:
            return load_click_model(REGISTRY, Spec(entry.name, {}, checkpoint))
        except PluginError as error:
            _skip_if_package_is_missing(error, entry)
            raise

    def test_card(self, entry: Entry) -> None:
        _check_card(entry.card)
        assert isinstance(entry.card, ClickModelCard)
        assert entry.card.parameters or not entry.card.checkpoint
        _check_hooks(entry)

    def test_training_hooks(self, entry: Entry) -> None:
        _check_training(entry)

    def test_wrong_weights_and_options_are_refused(self, entry: Entry, tmp_path: Path) -> None:
        with pytest.raises((WeightsError, PluginError)):
            load_click_model(REGISTRY, Spec(entry.name, {}, str(tmp_path / "absent.pth")))
        with pytest.raises(ProtocolError, match="no_such_option"):
            load_click_model(REGISTRY, Spec(entry.name, {"no_such_option": 1}))

    def test_maps(self, entry: Entry) -> None:
        assert isinstance(entry.card, ClickModelCard)
        if entry.card.parameters > DEEP:
            return
        for dims in entry.card.dims:
            self._check_maps(entry, sample_of(dims))

    def _check_maps(self, entry: Entry, sample: Sample) -> None:
        model = self._ready(entry)
        image: Any = sample.image
        mask = sample.targets[0].masks[0]
        half, beside, point = mask.copy(), ~mask, np.zeros_like(mask)
        half[: len(half) // 2] = False
        beside[:, 40:] = False
        point[tuple(np.argwhere(mask)[7])] = True
        queries = [ClickMapQuery(mask, error) for error in (mask, half, beside, point)]
        before = [a.error.copy() for a in queries]
        prepared = model.prepare(image)
        together = model.maps(prepared, queries)
        for query, error, found in zip(queries, before, together, strict=True):
            assert found.shape == mask.shape
            assert np.isfinite(found).all()
            assert found.min() >= 0
            assert np.array_equal(query.error, error), "the error was changed"
        (alone,), (again,) = (model.maps(prepared, queries[1:2]) for _ in range(2))
        assert np.array_equal(alone, again), "equal queries must have equal maps"
        tolerance = 1e-3 * float(alone.max())
        assert np.allclose(alone, together[1], atol=tolerance), "a map must not depend on the other queries"


@_named(REGISTRY.benchmarks.values())
def test_benchmark_is_valid(entry: Entry) -> None:
    benchmark = load_benchmark(entry.file, REGISTRY)
    assert benchmark.summary, "a benchmark needs a summary of one line"
