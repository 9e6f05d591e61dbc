"""SPA and AESPA: golden numbers under synthetic weights, trajectories, rules of models, checkpoints."""

import importlib.util
import json
import math
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import rclicks
from rclicks.adapters import aespa
from rclicks.errors import ProtocolError, WeightsError
from rclicks.interaction import Click
from rclicks.models.contract import Model, State
from rclicks.models.weights import synthetic_state
from rclicks.protocol import Protocol
from rclicks.sample import Sample
from support import SHARED, golden, golden_arrays, needs_shared, rng_image, stored_view

torch = pytest.importorskip("torch")
if importlib.util.find_spec("segment_anything") is None:
    pytest.skip("segment-anything is not installed", allow_module_level=True)

CARDS = {card.name: card for card in aespa.CARDS}
REFERENCE = SHARED / "reference" / "aespa" / "golden"
SPA = {"style": "validation", "samples": 48, "clusters": 4, "choice": "clicks", "seed": 0}
CLICKS = (Click((30, 28)), Click((5, 75), False), Click((44, 28)))


def sample(image: np.ndarray, name: str = "image") -> Sample:
    return Sample("test", name, image)


def published_rule(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the weights of the reference numbers: another rule than the golden files'."""
    drawn = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    parts = key.split(".")
    if key.endswith("positional_encoding_gaussian_matrix"):
        factor, offset = 1.0, 0.0
    elif len(shape) == 1:
        factor, offset = (0.02, 0.0) if parts[-1] == "bias" else (0.1, 1.0)
    elif "pos_embed" in key or "rel_" in key:
        factor, offset = 0.02, 0.0
    elif "embed" in key or "token" in parts[-2]:
        factor, offset = 0.5, 0.0
    else:
        factor, offset = 1 / math.sqrt(math.prod(shape[1:])), 0.0
    return (offset + factor * drawn).astype(np.float32)


def manifest(size: int) -> dict[str, list]:
    return json.loads((REFERENCE / "state_dict_manifest.json").read_text())[str(size)]


@pytest.fixture(scope="module")
def reference_state() -> dict:
    """Make the reference weights at 128 and the tables that differ at 256, once."""
    made: dict[Any, Any] = {}
    for size in (128, 256):
        for key, (shape, *_) in manifest(size).items():
            if (key, tuple(shape)) not in made:
                made[key, tuple(shape)] = torch.from_numpy(published_rule(key, tuple(shape)))
    return made


@pytest.fixture(scope="module")
def network() -> Any:
    """Build the network with the weights of the golden files once; models share it and change nothing."""
    made = aespa.build_network("vit_b_128")
    made.load_state_dict(synthetic_state(made, multipliers=golden("models/aespa_medsam_vit_b_128")["multipliers"]))
    return made


def model(network: Any, name: str, mode: str = "correct", **options: Any) -> Any:
    from rclicks.adapters.aespa.model import AespaModel, SpaModel

    defaults = {"style": "validation"} if name == "aespa" else SPA
    kind = AespaModel if name == "aespa" else SpaModel
    return kind(CARDS[name], network, "cpu", "synthetic", {"mode": mode, "size": 128, **defaults, **options})


def play(model: Model, embedding: Any, clicks: tuple[Click, ...]) -> list[State]:
    states, state = [], State()
    for click in clicks:
        given = State((*state.interactions, click), state.mask, state.probability, state.memory)
        (state,) = model.segment(embedding, [given])
        states.append(state)
    return states


# The network


@needs_shared
@pytest.mark.parametrize("size", [128, 256])
def test_state_dict_has_the_published_keys_and_shapes(size: int) -> None:
    with torch.device("meta"):
        built = aespa.build_network(f"vit_b_{size}")
    assert {k: list(v.shape) for k, v in built.state_dict().items()} == {k: v[0] for k, v in manifest(size).items()}
    assert sum(p.numel() for p in built.parameters()) == {128: 94521920, 256: 94530112}[size]


@needs_shared
def test_other_numbers_of_components_have_the_published_parameters() -> None:
    from rclicks.adapters.aespa.network import MixtureSam

    with torch.device("meta"):
        for components, weights, shapes in ((16, 84624, 545408), (8, 83592, 544368), (4, 83076, 543848)):
            built = MixtureSam(128, components)
            assert sum(p.numel() for p in built.EM_weights.parameters()) == weights
            assert sum(p.numel() for p in built.EM_mean_variance.parameters()) == shapes


@needs_shared
@pytest.mark.parametrize("size", [128, 256])
def test_reference_forward(size: int, reference_state: dict) -> None:
    from rclicks.adapters.aespa.network import responsibilities

    expected = manifest(size)
    network = aespa.build_network(f"vit_b_{size}").eval()
    state = {key: reference_state[key, tuple(shape)] for key, (shape, *_) in expected.items()}
    for key in ("image_encoder.blocks.2.attn.rel_h", "mask_decoder.transformer.layers.0.mlp.fc.weight"):
        assert state[key].sum().item() == pytest.approx(expected[key][1], abs=1e-2), "the rule of the weights"
    network.load_state_dict(state)
    checked = []

    def check(name: str, found: Any) -> None:
        checked.append(name)
        assert found.shape == arrays[name].shape
        assert np.abs(found.numpy() - arrays[name]).max() < 1e-4, name

    with np.load(REFERENCE / "forward.npz") as file, torch.inference_mode():
        arrays = {k.partition("/")[2]: file[k] for k in file.files if k.startswith(f"{size}/")}
        image = np.random.RandomState(size).rand(2, 3, size, size).astype(np.float32)
        features = network.encode(torch.from_numpy(image))
        check("neck", features)
        check("dense_pe", network.places())
        start = torch.from_numpy(arrays["in/w0"]).float().expand(2, -1)
        random = np.random.RandomState(size + 1)
        previous = torch.from_numpy(random.standard_normal((2, 1, size // 4, size // 4)).astype(np.float32))
        for case, count in (("c0", 0), ("c1", 1), ("c3", 3), ("c3m", 3)):
            points = torch.from_numpy(arrays["in/clicks_yx"][:, :count])
            labels = torch.from_numpy(arrays["in/labels"][:, :count])
            sparse, dense = network.prompts(points, labels, previous if case == "c3m" else None)
            check(f"{case}/sparse", sparse)
            if f"{case}/dense_mean" in arrays:
                check(f"{case}/dense_mean", dense.mean((2, 3)))
            mixture = network.mixture(sparse, start)
            check(f"{case}/mu", mixture.means)
            check(f"{case}/var", mixture.variances)
            check(f"{case}/w", mixture.weights)
            mixed = network.combine(features, network.latent(mixture, torch.zeros(2, 64)))
            check(f"{case}/fcomb", mixed)
            low = network.decode(mixed, sparse, dense)
            check(f"{case}/lowres", low)
            values = torch.sigmoid(torch.nn.functional.interpolate(low, (size, size))).flatten(1)
            check(f"{case}/resp", responsibilities(values, mixture))
        latents = network.latent(mixture, torch.from_numpy(arrays["spa3/noise"]))
        sampled = [network.combine(features, z) for z in latents]
        check("spa3/fcomb_mean", torch.stack(sampled).mean((3, 4)))
        check("spa3/lowres1", network.decode(sampled[1], sparse, dense))
    assert set(checked) == {k for k in arrays if not k.startswith("in/") and k != "spa3/noise"}


@needs_shared
def test_golden_components(network: Any) -> None:
    from rclicks.adapters.aespa.network import responsibilities

    facts, arrays = golden("models/aespa_medsam_vit_b_128"), golden_arrays("models/aespa_medsam_vit_b_128")

    def check(name: str, found: Any) -> None:
        view = stored_view(found.squeeze().numpy(), facts["outputs"][f"comp.{name}"]["stored"])
        assert np.abs(view - arrays[f"comp.{name}"].squeeze()).max() < 1e-5, name

    given = facts["components"]
    with torch.inference_mode():
        image = torch.from_numpy(rng_image(given["image_seed"], 128, 128)).permute(2, 0, 1)[None] / 255
        sparse, dense = network.prompts(
            torch.tensor(given["points_y_x_as_given_to_the_prompt_encoder"]), torch.tensor(given["labels"])
        )
        check("sparse_embeddings", sparse)
        mixture = network.mixture(sparse, torch.from_numpy(network.start).float()[None])
        check("em_means", mixture.means)
        check("em_variances", mixture.variances)
        check("em_weights_out", mixture.weights)
        torch.manual_seed(given["torch_manual_seed_before_image_encoder"])
        noise = torch.cat([torch.randn(1, 64) for _ in range(4)])
        features = network.encode(image)
        mixed = network.combine(features.expand(4, -1, -1, -1), network.latent(mixture, noise))
        check("image_embeddings_sample0", mixed[:1, :16])
        quiet = network.combine(features, network.latent(mixture, torch.zeros(1, 64)))
        check("image_embedding_num_sample_1_seed123", quiet[:, :16])
        masks, quality = network.mask_decoder(
            mixed, network.places(), sparse.expand(4, -1, -1), dense.expand(4, -1, -1, -1)
        )
        check("low_res_logits_4samples_seed123", masks[:, 0])
        check("iou_multimask", quality[:1, 1:])
        values = torch.sigmoid(torch.nn.functional.interpolate(masks[:1, :1], (128, 128))).flatten(1)
        check("compute_weights_from_sample0", responsibilities(values, mixture))


def test_training_reaches_what_is_used_and_nothing_else(network: Any) -> None:
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    try:
        features = network.encode(torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1)))
        points, labels = torch.tensor([[[10.0, 20.0]], [[90.0, 30.0]]]), torch.tensor([[1], [0]])
        sparse, dense = network.prompts(points, labels)
        mixture = network.mixture(sparse, torch.from_numpy(network.start).float().expand(2, -1))
        mixed = network.combine(features, network.latent(mixture, torch.zeros(2, 64)))
        network.decode(mixed, sparse, dense).square().mean().backward()
        still = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    finally:
        for parameter in network.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
    unused = ("mask_downscaling.", "point_embeddings.2", "point_embeddings.3", "iou_prediction_head.")
    unused = (*unused, *(f"output_hypernetworks_mlps.{i}." for i in (1, 2, 3)))
    assert still == {n for n, _ in network.named_parameters() if any(u in n for u in unused)}


# Golden trajectories


@needs_shared
@pytest.mark.parametrize("tag", [0, 1])
def test_golden_demo(network: Any, tag: int) -> None:
    facts, arrays = golden("models/aespa_medsam_vit_b_128"), golden_arrays("models/aespa_medsam_vit_b_128")
    played = facts["inferencer"][tag]
    inferencer = model(network, "aespa", "parity", style="demo")
    encoded = inferencer.embed(sample(rng_image(played["image_seed"], *played["hw"])))
    clicks = tuple(Click((r, c), bool(label)) for r, c, label in played["clicks_y_x_label"])
    for k, (state, step) in enumerate(zip(play(inferencer, encoded, clicks), played["steps"], strict=True)):
        view = stored_view(state.probability, facts["outputs"][f"infer{tag}.prob{k + 1}"]["stored"])
        assert np.abs(view - arrays[f"infer{tag}.prob{k + 1}"]).max() < 1e-5
        assert abs(int(state.mask.sum()) - step["n_above_0.5"]) <= 1
        found = inferencer.preference(encoded, state.memory, ())
        assert np.abs(found - np.array(step["em_weights_for_next"])).max() < 1e-5


def clicks_passed(call: list) -> tuple[Click, ...]:
    """Return the clicks of one recorded call: nested lists of points (row, column), and of labels."""
    points, labels = np.array(call[0]).reshape(-1, 2).astype(int), np.array(call[1]).ravel()
    return tuple(Click((int(r), int(c)), bool(label)) for (r, c), label in zip(points, labels, strict=True))


@needs_shared
def test_golden_validation_of_aespa(network: Any) -> None:
    facts, arrays = golden("models/aespa_medsam_vit_b_128"), golden_arrays("models/aespa_medsam_vit_b_128")
    loop = facts["validation_loop"]
    validated = model(network, "aespa", "parity")
    encoded = validated.embed(sample(rng_image(loop["image_seed"], 128, 128)))
    clicks = clicks_passed(loop["prompt_points_passed_each_call"][1])
    assert len(clicks) == 1
    rounds = [State(), State(clicks)]
    for k, state in enumerate(validated.segment(encoded, rounds)):
        assert np.array_equal(np.packbits(state.mask), arrays[f"val.binary_output_run{k}"])
        found = validated.preference(encoded, state.memory, ())
        assert np.abs(found - np.array(loop["em_weights_after_each_run"][k])).max() < 1e-5


@needs_shared
def test_golden_validation_of_spa(network: Any) -> None:
    """The oracle of the recorded loop knew the target; the clicks alone point to the same groups."""
    facts, arrays = golden("models/spa_sam_vit_b_128"), golden_arrays("models/spa_sam_vit_b_128")
    loop = facts["validation_loop"]
    validated = model(network, "spa", "parity")
    encoded = validated.embed(sample(rng_image(loop["image_seed"], 128, 128)))
    clicks = clicks_passed(loop["prompt_points_passed_each_call"][-1])
    assert len(clicks) == 3
    memory = None
    torch.manual_seed(loop["torch_manual_seed"])
    for k in range(2):
        noise = torch.cat([torch.randn(1, 64) for _ in range(48)]).numpy()
        memory = validated.advance(encoded, memory, clicks[: k + 1], noise)
        (state,) = validated.segment(encoded, [State(clicks[: k + 1], memory=memory)])
        assert np.array_equal(np.packbits(state.mask), arrays[f"val.binary_output_run{k}"])
        found = validated.preference(encoded, memory, clicks[: k + 2])
        assert np.abs(found - np.array(loop["em_weights_after_each_run"][k])).max() < 1e-5


# Rules of models


@pytest.fixture(scope="module", params=["aespa", "spa", "aespa-demo", "spa-training"])
def case(request: pytest.FixtureRequest, network: Any) -> tuple[Any, Any, list[State]]:
    """Play three clicks on an image of odd size."""
    name, _, style = request.param.partition("-")
    played = model(network, name, **({"style": style} if style else {}), **({"samples": 6} if name == "spa" else {}))
    encoded = played.embed(sample(rng_image(5, 61, 83)))
    return played, encoded, play(played, encoded, CLICKS)


def test_states_keep_the_contract(case: tuple[Any, Any, list[State]]) -> None:
    played, _, states = case
    for k, state in enumerate(states):
        assert state.interactions == CLICKS[: k + 1]
        assert state.mask.dtype == np.bool_
        assert state.mask.shape == state.probability.shape == (61, 83)
        assert state.probability.dtype == np.float32
        assert 0 <= state.probability.min() < state.probability.max() <= 1
        assert np.array_equal(state.mask, state.probability > played.card.threshold)
        twin = pickle.loads(pickle.dumps(state.memory))
        assert np.array_equal(twin.logits, state.memory.logits)
    assert not np.array_equal(states[0].probability, states[1].probability)


def test_order_and_company_do_not_matter(case: tuple[Any, Any, list[State]]) -> None:
    played, encoded, states = case
    other = State((Click((50, 60)),))
    slot = State(CLICKS, states[1].mask, states[1].probability, states[1].memory)
    for slots in ([slot], [slot, other], [other, slot], [other, other, slot, slot]):
        for given, found in zip(slots, played.segment(encoded, slots), strict=True):
            if given is slot:
                assert np.array_equal(found.probability, states[2].probability)


def test_undo_equals_playing_again_and_the_past_can_be_left_out(case: tuple[Any, Any, list[State]]) -> None:
    played, encoded, states = case
    last = states[-1]
    stale = [
        State(CLICKS[:2], last.mask, last.probability, last.memory),  # an undo that kept the later memory
        State(CLICKS[:2]),
        State(CLICKS[:2], memory=played.segment(encoded, [State()])[0].memory),
        State(CLICKS[:2], memory=played.segment(encoded, [State(CLICKS[1:])])[0].memory),  # of another trajectory
    ]
    for found in played.segment(encoded, stale):
        assert np.array_equal(found.probability, states[1].probability)
    (again,) = played.segment(encoded, [State(CLICKS, memory=states[1].memory)])
    assert np.array_equal(again.probability, last.probability)


def test_the_past_matters(case: tuple[Any, Any, list[State]]) -> None:
    """Later rounds know more than the clicks: the same clicks as a first round give something else."""
    played, encoded, states = case
    direct = played.advance(encoded, None, CLICKS)
    assert np.abs(direct.logits - states[-1].memory.logits).max() > 1e-3


def test_the_encoder_runs_once_an_image(network: Any) -> None:
    calls: list[int] = []
    hook = network.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        for name in ("aespa", "spa"):
            played = model(network, name, **({"samples": 4} if name == "spa" else {}))
            encoded = played.embed(sample(rng_image(5, 61, 83)))
            play(played, encoded, CLICKS)
    finally:
        hook.remove()
    assert len(calls) == 2


def points_given(network: Any, played: Any, shape: tuple[int, int], click: Click) -> tuple[Any, Any, Any]:
    """Return points, labels and mask prompts that the prompt encoder saw in the round of `click`."""
    seen: list[dict] = []
    encoded = played.embed(sample(rng_image(5, *shape)))
    hook = network.prompt_encoder.register_forward_pre_hook(lambda _, __, given: seen.append(given), with_kwargs=True)
    try:
        played.advance(encoded, encoded.start, (click,))
    finally:
        hook.remove()
    given = seen[0]
    return *given["points"], given["masks"]


def test_clicks_are_given_as_row_and_column_of_the_input(network: Any) -> None:
    click = Click((16, 48), False)
    points, labels, masks = points_given(network, model(network, "aespa", "parity"), (64, 256), click)
    assert points.tolist() == [[[32.0, 24.0]]]
    assert labels.tolist() == [[0]]
    assert masks.shape == (1, 1, 32, 32)
    points, _, masks = points_given(network, model(network, "aespa", style="demo"), (64, 256), click)
    assert points.tolist() == [[[32.5, 23.75]]], "centres of pixels: (16 + .5) * 2 - .5 and (48 + .5) / 2 - .5"
    assert masks is None
    points, _, masks = points_given(network, model(network, "spa", samples=4), (128, 128), click)
    assert points.tolist() == [[[16.0, 48.0]]]
    assert masks is None


def test_upsampling_is_blocky_in_parity_only(network: Any) -> None:
    found = {}
    for mode in ("parity", "correct"):
        played = model(network, "aespa", mode)
        encoded = played.embed(sample(rng_image(5, 128, 128)))
        (state,) = played.segment(encoded, [State(CLICKS[:1])])
        found[mode] = state.probability, state.memory.logits
    probability, logits = found["parity"]
    assert np.abs(probability - np.kron(1 / (1 + np.exp(-logits)), np.ones((4, 4)))).max() < 1e-6
    probability, logits = found["correct"]
    smooth = cv2.resize(logits, (128, 128), interpolation=cv2.INTER_LINEAR)
    assert np.abs(probability - 1 / (1 + np.exp(-smooth))).max() < 1e-5


def test_published_spa_compares_logits_with_a_half(network: Any) -> None:
    played = {mode: model(network, "spa", mode, samples=4) for mode in ("parity", "correct")}
    assert {mode: p.card.threshold for mode, p in played.items()} == {
        "parity": pytest.approx(0.6224593),
        "correct": 0.5,
    }
    encoded = played["parity"].embed(sample(rng_image(5, 128, 128)))
    (state,) = played["parity"].segment(encoded, [State(CLICKS[:1])])
    assert np.array_equal(state.mask, np.kron(state.memory.logits > 0.5, np.ones((4, 4), bool)))


def test_sampling_depends_on_names_clicks_and_seed_alone(network: Any) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    image = rng_image(5, 61, 83)

    def logits(name: str = "image", seed: int = 0, clicks: tuple[Click, ...] = CLICKS[:1]) -> np.ndarray:
        played = model(network, "spa", samples=4, seed=seed)
        (state,) = played.segment(played.embed(sample(image, name)), [State(clicks)])
        return state.memory.samples

    first = logits()
    assert np.array_equal(first, logits())
    assert np.abs(first - logits(seed=1)).max() > 1e-4
    assert np.abs(first - logits(name="other")).max() > 1e-4
    assert np.ptp(first, axis=0).max() > 1e-4, "the samples are all the same"
    drawn = [model(network, "spa")._noise(("test", "image"), CLICKS[:k]) for k in (1, 2, 2)]
    assert np.abs(drawn[0] - drawn[1]).max() > 1
    assert np.array_equal(drawn[1], drawn[2])
    assert drawn[0].shape == (48, 64)
    assert abs(float(drawn[0].mean())) < 0.1
    assert float(drawn[0].std()) == pytest.approx(1, abs=0.1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_candidates_of_spa(network: Any) -> None:
    played = model(network, "spa", samples=12)
    encoded = played.embed(sample(rng_image(5, 61, 83)))
    (state,) = played.segment(encoded, [State(CLICKS[:1])])
    samples, candidates = played.samples(encoded, state), played.candidates(encoded, state)
    groups = state.memory.groups
    assert samples.shape == (12, 61, 83)
    assert candidates.shape == (4, 61, 83)
    assert sorted(set(groups.tolist())) == [0, 1, 2, 3]
    for k in range(4):
        assert np.abs(candidates[k] - samples[groups == k].mean(0)).max() < 1e-6
    within = sum(((samples[groups == k] - candidates[k]) ** 2).sum() for k in range(4))
    assert within < 0.6 * ((samples - samples.mean(0)) ** 2).sum(), "the groups do not explain the samples"
    assert np.abs(state.memory.samples.mean(0) - state.memory.logits).max() < 1e-6


def test_equal_samples_are_one_group(network: Any) -> None:
    played = model(network, "spa", samples=5)
    encoded = played.embed(sample(rng_image(5, 61, 83)))
    memory = played.advance(encoded, None, CLICKS[:1], np.zeros((5, 64), np.float32))
    assert memory.groups.tolist() == [0] * 5
    assert played.chosen(encoded, memory, CLICKS[:2]) == 0


def test_clicks_choose_the_group_that_contradicts_them_least(network: Any) -> None:
    from rclicks.adapters.aespa.model import Memory

    played = model(network, "spa")
    encoded = played.embed(sample(rng_image(5, 64, 256)))
    logits = np.full((3, 32, 32), -5, np.float32)
    logits[1, :16], logits[2, :, :16] = 5, 5  # nothing, the upper half, the left half
    memory = Memory((), logits.mean(0), played.network.start.astype(np.float32), logits, np.arange(3))
    upper_right, lower_left, lower_right = (5, 250), (60, 5), (60, 250)
    assert played.chosen(encoded, memory, (Click(upper_right, False), Click(lower_left, False))) == 0
    assert played.chosen(encoded, memory, (Click(upper_right), Click(lower_left, False))) == 1
    assert played.chosen(encoded, memory, (Click(lower_right, False), Click(lower_left))) == 2
    clicks = (Click(upper_right, True),)
    by_clicks = played.preference(encoded, memory, clicks)
    by_mean = model(network, "spa", choice="mean").preference(encoded, memory, clicks)
    assert np.abs(by_clicks - by_mean).max() > 1e-3


# Options and loading


def test_the_protocol_decides_the_mode_unless_told(monkeypatch: pytest.MonkeyPatch, network: Any) -> None:
    from rclicks.models import weights

    monkeypatch.setattr(aespa, "build_network", lambda *_: network)
    monkeypatch.setattr(weights, "fill", lambda *_: "synthetic")  # these weights will do
    default, compat = Protocol.named("default"), Protocol.named("compat")

    def mode(protocol: Protocol | None, **options: object) -> str:
        return aespa.load(CARDS["aespa"], checkpoint="synthetic", protocol=protocol, **options).options["mode"]

    assert [mode(None), mode(default), mode(compat)] == ["correct", "correct", "parity"]
    assert mode(compat, mode="correct") == "correct"
    found = aespa.load(CARDS["spa"], checkpoint="synthetic", samples=7).options
    assert found == {"mode": "correct", "size": 128, **SPA, "samples": 7}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("aespa", {"samples": 3}, "unknown option 'samples'"),
        ("aespa", {"style": "training"}, "validation, demo"),
        ("spa", {"style": "demo"}, "validation, training"),
        ("spa", {"mode": "exact"}, "correct, parity"),
        ("spa", {"samples": 3}, "3 samples cannot form 4 clusters"),
        ("aespa", {"size": 100}, "multiples of 16"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        aespa.load(CARDS[name], checkpoint="synthetic", **options)


def test_unknown_variants_are_refused() -> None:
    with pytest.raises(ProtocolError, match="allowed: vit_b_128"):
        aespa.build_network("vit_h_128")


# Weights


def numbered(size: int, components: int = 16, table: int | None = None) -> dict:
    """Return a state_dict of the right shapes in which each tensor is its own number, in no space at all."""
    from rclicks.adapters.aespa.network import MixtureSam

    with torch.device("meta"):
        shapes = MixtureSam(size, components, table).state_dict()
    return {k: torch.tensor(float(i)).expand(v.shape) for i, (k, v) in enumerate(shapes.items(), 1)}


def training_file(path: Path, **changes: Any) -> Path:
    """Write a checkpoint in the published form."""
    drawn = np.random.default_rng(3).random(4)
    whole: dict[str, Any] = {
        "epoch": 20,
        "model": "sam",
        "state_dict": numbered(256, 4),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
        "path_helper": {"log_path": "logs/run"},
        "EM_weights": drawn / drawn.sum(),
        "EM_means": drawn * 100,
        "EM_variances": drawn,
    }
    torch.save({k: v for k, v in {**whole, **changes}.items() if v is not None}, path)
    return path


def test_a_published_checkpoint_loads_with_its_size_and_components(tmp_path: Path) -> None:
    path = training_file(tmp_path / "checkpoint_best.pth")
    loaded: Any = rclicks.load_model("aespa", path)
    state = loaded.network.state_dict()
    assert all(v.min() == v.max() == i for i, v in enumerate(state.values(), 1))
    assert (loaded.network.size, loaded.network.components, loaded.options["size"]) == (256, 4, 256)
    drawn = np.random.default_rng(3).random(4)
    assert np.array_equal(loaded.network.start, drawn / drawn.sum() / (drawn / drawn.sum()).sum())
    assert loaded.network.start.dtype == np.float64
    assert loaded.checkpoint_id.startswith("checkpoint_best.pth@")


def test_tables_of_another_length_are_kept_and_interpolated(tmp_path: Path) -> None:
    from rclicks.adapters.aespa.weights import read_training_checkpoint

    state = {k.replace(".attn.rel_", ".attn.rel_pos_"): v for k, v in numbered(128, 4, 127).items()}
    found = read_training_checkpoint(training_file(tmp_path / "long.pth", state_dict=state))
    assert found.table == 127
    network = found.build(128)
    assert network.image_encoder.blocks[2].attn.rel_h.shape == (127, 64)
    assert network.size == 128
    assert torch.equal(network.mask_decoder.iou_token.weight, state["mask_decoder.iou_token.weight"])
    ramp = torch.linspace(-1, 1, 127)[:, None].expand(127, 64)
    attention = network.image_encoder.blocks[2].attn
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) / 30)
        attention.rel_h.copy_(ramp)
        x = torch.randn(1, 8, 8, 768, generator=torch.Generator().manual_seed(2))
        long = attention(x)
        places = (np.arange(15) + 0.5) * 127 / 15 - 0.5
        short = torch.from_numpy(np.interp(places, np.arange(127), ramp[:, 0].numpy())).float()[:, None].expand(15, 64)
        attention.rel_h = torch.nn.Parameter(short.contiguous())
        assert torch.allclose(attention(x), long, atol=1e-5)


class Evil:
    """What a hostile file would hold."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("where", ["EM_weights", "path_helper", "state_dict", "inside"])
def test_files_that_run_code_are_refused(tmp_path: Path, where: str) -> None:
    bad: Any = Evil(tmp_path / "owned")
    if where == "inside":
        where, bad = "EM_weights", np.array([bad], object)
    path = training_file(tmp_path / "evil.pth", **{where: bad})
    with pytest.raises(WeightsError, match="could run code"):
        rclicks.load_model("aespa", path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EM_weights": None}, "no checkpoint of SPA or AESPA"),
        ({"state_dict": None}, "no checkpoint of SPA or AESPA"),
        ({"state_dict": {}}, "checkpoint of SPA or AESPA with"),
        ({"EM_weights": np.ones(5)}, "expected 4 mixture weights"),
        ({"EM_weights": np.array([1, np.nan, 1, 1])}, "expected 4 mixture weights"),
        ({"EM_weights": np.zeros(4)}, "expected 4 mixture weights"),
        ({"EM_weights": [0.25] * 4}, "expected 4 mixture weights"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path = training_file(tmp_path / "other.pth", **changes)
    with pytest.raises(WeightsError, match=message):
        rclicks.load_model("spa", path)


def test_plain_or_incomplete_weights_are_refused(tmp_path: Path) -> None:
    torch.save(numbered(128), tmp_path / "plain.pth")
    with pytest.raises(WeightsError, match="--init-weights"):
        rclicks.load_model("aespa", tmp_path / "plain.pth")
    state = numbered(128, 4)
    state["mask_decoder.iou_token.wight"] = state.pop("mask_decoder.iou_token.weight")
    path = training_file(tmp_path / "misspelt.pth", state_dict=state)
    with pytest.raises(WeightsError, match="1 keys missing.*1 unexpected"):
        rclicks.load_model("aespa", path)
    state = numbered(128, 4) | {"image_encoder.blocks.2.attn.rel_h": torch.zeros(2**20 + 1, 1).expand(-1, 64)}
    with pytest.raises(WeightsError, match="g <= 64"):
        rclicks.load_model("aespa", training_file(tmp_path / "huge.pth", state_dict=state))


@pytest.fixture(scope="module")
def sam_state() -> dict:
    """Return numbered tensors with the names and shapes of SAM ViT-B at 1024, as its own package builds it."""
    from rclicks.adapters import sam

    with torch.device("meta"):
        shapes = sam.build_network("vit_b").state_dict()
    return {k: torch.tensor(float(i)).expand(v.shape) for i, (k, v) in enumerate(shapes.items(), 1)}


@pytest.mark.parametrize("size", [128, 256, 1024])
def test_every_tensor_of_medsam_lands(sam_state: dict, size: int) -> None:
    from rclicks.adapters.aespa.weights import remap

    assert len(sam_state) == 314
    found = remap(sam_state, size)
    assert {float(v.flatten()[0]) for v in found.values()} == {float(i) for i in range(1, 315)}, "one is lost"
    assert all(v.max() == v.min() for v in found.values())
    own = {k: v.shape for k, v in numbered(size).items()}
    assert {k: v.shape for k, v in found.items()} == {k: own[k] for k in found}
    new = ("image_encoder.fcomb.", "EM_weights.", "EM_mean_variance.")
    assert own.keys() - found.keys() == {k for k in own if k.startswith(new)}
    for own_name, sam_name in {
        "mask_decoder.transformer.layers.1.mlp.layers.0.0.weight": "mask_decoder.transformer.layers.1.mlp.lin1.weight",
        "mask_decoder.transformer.layers.0.mlp.fc.bias": "mask_decoder.transformer.layers.0.mlp.lin2.bias",
        "image_encoder.blocks.5.attn.rel_w": "image_encoder.blocks.5.attn.rel_pos_w",
        "image_encoder.blocks.5.mlp.lin2.bias": "image_encoder.blocks.5.mlp.lin2.bias",
    }.items():
        assert found[own_name].flatten()[0] == sam_state[sam_name].flatten()[0]


def test_only_global_tables_are_resized_and_linearly(sam_state: dict) -> None:
    from rclicks.adapters.aespa.weights import remap

    ramp = torch.linspace(-3, 5, 127)
    key = "image_encoder.blocks.8.attn.rel_pos_h"
    found = remap(sam_state | {key: ramp[:, None].expand(127, 64)}, 128)["image_encoder.blocks.8.attn.rel_h"]
    places = (np.arange(15) + 0.5) * 127 / 15 - 0.5
    assert found.shape == (15, 64)
    assert np.abs(found[:, 63].numpy() - np.interp(places, np.arange(127), ramp.numpy())).max() < 1e-5
    assert sum(v.shape == (15, 64) for v in remap(sam_state, 128).values()) == 8
    assert not any(v.shape == (127, 64) for v in remap(sam_state, 128).values())


@pytest.mark.parametrize("fault", ["missing", "misspelt", "extra", "shape", "window"])
def test_remapping_drops_nothing(sam_state: dict, fault: str) -> None:
    from rclicks.adapters.aespa.weights import remap

    state, key = dict(sam_state), "mask_decoder.transformer.layers.0.mlp.lin1.weight"
    if fault == "missing":
        del state[key]
    elif fault == "misspelt":
        state[key.replace("lin1", "lin3")] = state.pop(key)
    elif fault == "extra":
        state["image_encoder.blocks.0.adapter.weight"] = torch.zeros(3)
    elif fault == "shape":
        state[key] = torch.zeros(2048, 255)
    else:
        state["image_encoder.blocks.0.attn.rel_pos_h"] = torch.zeros(13, 64)
    with pytest.raises(WeightsError, match="not the weights of SAM ViT-B"):
        remap(state, 128)


def test_a_training_starts_from_medsam(sam_state: dict) -> None:
    from rclicks.adapters.aespa.network import MixtureSam
    from rclicks.adapters.aespa.weights import initialise

    mlps = {f"mask_decoder.transformer.layers.{i}.mlp.{n}" for i in (0, 1) for n in ("layers.0.0", "fc")}
    network = MixtureSam(128, 4)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    initialise(network, sam_state, decoder_mlps=False)
    kept = {k for k, v in network.state_dict().items() if torch.equal(v, before[k])}
    new = {k for k in before if k.startswith(("image_encoder.fcomb.", "EM_weights.", "EM_mean_variance."))}
    assert kept - new == {f"{m}.{p}" for m in mlps for p in ("weight", "bias")}
    initialise(network, sam_state)
    after = network.state_dict()
    assert {k for k, v in after.items() if torch.equal(v, before[k])} == new
    assert len({float(after[k].flatten()[0]) for k in after.keys() - new}) == 314
