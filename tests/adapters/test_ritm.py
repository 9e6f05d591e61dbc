"""RITM: networks, predictor and checkpoints against golden numbers of the original code."""

import csv
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rclicks.adapters import ritm  # noqa: E402
from rclicks.cards import ModelCard  # noqa: E402
from rclicks.errors import ProtocolError, WeightsError  # noqa: E402
from rclicks.interaction import Click  # noqa: E402
from rclicks.models.contract import State  # noqa: E402
from rclicks.models.early_fusion.click_maps import point_tensor  # noqa: E402
from rclicks.models.weights import load_into, synthetic_state  # noqa: E402
from rclicks.protocol import Protocol  # noqa: E402
from rclicks.sample import Sample  # noqa: E402
from support import (  # noqa: E402
    SHARED,
    crc32,
    golden,
    golden_arrays,
    needs_shared,
    previous_mask,
    rng_image,
    stored_view,
)

GOLDEN = {
    "h18s": "ritm_hrnet18s_itermask",
    "h18": "ritm_hrnet18_itermask",
    "h18-baseline": "ritm_hrnet18_baseline",
    "h32": "ritm_hrnet32_itermask",
}
KEYS = {
    "h18s": "ritm_h18s_itermask",
    "h18": "ritm_h18_itermask",
    "h18-baseline": "ritm_h18_baseline",
    "h32": "ritm_h32_itermask",
}


def card(variant: str) -> ModelCard:
    return next(c for c in ritm.CARDS if c.variant == variant)


def config(variant: str, **changes: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe that the original code writes, by its format and its published training settings."""
    chosen: dict[str, Any] = {**ritm.COMMON, **ritm.VARIANTS[variant], "with_aux_output": True}
    params = {name: {"type": "builtin", "value": value, "specified": True} for name, value in chosen.items()}
    defaults = {"backbone_lr_mult": 0.1, "clicks_groups": None, "cpu_dist_maps": False, "binary_prev_mask": False}
    defaults |= {"norm_mean_std": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}
    params |= {name: {"type": "builtin", "value": value, "specified": False} for name, value in defaults.items()}
    batch_norm = "torch.nn.modules.batchnorm.BatchNorm2d"
    params["norm_layer"] = {"type": "class", "value": batch_norm, "specified": False}
    return {"class": "isegm.model.is_hrnet_model.HRNetModel", "params": params | changes}


def checkpoint(path: Path, variant: str, state: dict[str, Any], **changes: dict[str, Any]) -> Path:
    torch.save({"config": config(variant, **changes), "state_dict": state}, path)
    return path


def golden_state(variant: str) -> dict[str, Any]:
    facts = golden(f"models/{GOLDEN[variant]}")
    return synthetic_state(
        ritm.build_network(variant),
        bn_calibration=facts["bn_calibration"],
        multipliers=facts["multipliers"],
        overrides=facts["overrides"],
    )


@needs_shared
@pytest.mark.parametrize("variant", KEYS)
def test_keys_are_those_of_the_published_checkpoints(variant: str) -> None:
    with (SHARED / f"reference/rclicks/checkpoint_keys/{KEYS[variant]}.csv").open() as file:
        published = {row["key"]: row["shape"] for row in csv.DictReader(file)}
    with torch.device("meta"):
        own = ritm.build_network(variant).state_dict()
    assert set(own) == set(published)
    for key, tensor in own.items():
        if tensor.ndim:
            assert "x".join(map(str, tensor.shape)) == published[key], key


@needs_shared
@pytest.mark.parametrize("variant", GOLDEN)
def test_the_network_gives_the_golden_logits(variant: str) -> None:
    facts, arrays = golden(f"models/{GOLDEN[variant]}"), golden_arrays(f"models/{GOLDEN[variant]}")
    network = ritm.build_network(variant).eval()
    load_into(network, golden_state(variant), "golden")
    (case,) = facts["raw"]
    pixels = rng_image(case["image_seed"], *case["hw"])
    assert crc32(pixels) == case["image_crc32"]
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    if network.with_prev_mask:
        image = torch.cat([image, torch.from_numpy(previous_mask(case["prev_mask_seed"], *case["hw"]))[None, None]], 1)
    rows = [(*p, True) for p in case["pos"]] + [(*p, False) for p in case["neg"]]
    points = point_tensor([rows])
    with torch.inference_mode():
        outputs = network(image, points)
        assert torch.equal(network.logits(image, points), outputs["instances"])
    for name, tensor in outputs.items():
        stored = facts["outputs"][f"raw0.{name}"]["stored"]
        assert np.abs(stored_view(tensor.numpy(), stored) - arrays[f"raw0.{name}"]).max() < 1e-4


@needs_shared
@pytest.mark.parametrize("variant", KEYS)
def test_the_network_gives_the_fixture_logits(variant: str) -> None:
    """Another set of synthetic weights, whose rule is in the fixtures' README."""
    network = ritm.build_network(variant).eval()
    state = {}
    for key, tensor in network.state_dict().items():
        last, shape = key.rpartition(".")[2], tuple(tensor.shape)
        if last == "num_batches_tracked":
            state[key] = torch.zeros_like(tensor)
            continue
        n = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(shape)
        if last == "running_var":
            n = 1 + 0.1 * np.abs(n)
        elif last == "weight" and len(shape) >= 2:
            n = n / np.sqrt(np.prod(shape[1:]))
        elif last == "weight":
            n = 1 + 0.1 * n
        elif last == "scale":
            n = 0.05 + 0.1 * np.abs(n)
        else:
            n = 0.1 * n
        state[key] = torch.from_numpy(np.asarray(n, np.float32))
    load_into(network, state, "fixture")
    with np.load(SHARED / "reference/rclicks/fixtures/hrnet_forward.npz") as fixture:
        image = torch.from_numpy(fixture["image"])
        if network.with_prev_mask:
            image = torch.cat([image, torch.from_numpy(fixture["prev"])], 1)
        with torch.inference_mode():
            outputs = network(image, torch.from_numpy(fixture["points"]))
        for name, key in (("instances", "instances"), ("aux", "instances_aux")):
            expected = fixture[f"{KEYS[variant]}_{name}"]
            # as its README suggests: these weights make some outputs large
            assert np.abs(outputs[key].numpy() - expected).max() < 1e-3 * expected.std()


@needs_shared
@pytest.mark.parametrize("variant", GOLDEN)
def test_the_adapter_gives_the_golden_predictions(variant: str, tmp_path: Path) -> None:
    facts, arrays = golden(f"models/{GOLDEN[variant]}"), golden_arrays(f"models/{GOLDEN[variant]}")
    path = checkpoint(tmp_path / "official.pth", variant, golden_state(variant))
    for case in facts["predictor"]:
        zoom = case["zoom_in_params"]
        model = ritm.load(
            card(variant),
            checkpoint=path,
            zoom_size=zoom["target_size"],
            skip_clicks=zoom["skip_clicks"],
            protocol=Protocol.named("compat"),
        )
        assert model.checkpoint_id.startswith("official.pth@")
        embedding = model.embed(Sample("any", "x", rng_image(case["image_seed"], *case["hw"])))
        state = State()
        for k, (step, (row, column, positive)) in enumerate(zip(case["steps"], case["clicks"], strict=True), 1):
            click = Click((row, column), bool(positive))
            state = State((*state.interactions, click), state.mask, state.probability, state.memory)
            batch, points = model.inputs(embedding, [model.slot(embedding, state)])
            assert model.batch_key(embedding, state) == tuple(step["net_input_shape"][2:])
            assert list(batch.shape) == step["net_input_shape"]
            assert np.abs(points.numpy() - np.array(step["net_points"])).max() < 1e-4
            (state,) = model.segment(embedding, [state])
            region = step["roi_rmin_rmax_cmin_cmax"]
            assert state.memory.region == (tuple(region) if region else None)
            name = f"{case['tag']}.prob{k}"
            found = stored_view(state.probability, facts["outputs"][name]["stored"])
            assert np.abs(found - arrays[name]).max() < 1e-4
            assert np.array_equal(state.mask, state.probability > 0.49)
            # a pixel whose probability is the threshold but for 1e-5 may fall on either side
            unsure = np.count_nonzero(np.abs(state.probability - 0.49) < 1e-5)
            assert abs(np.count_nonzero(state.mask) - step["n_pixels_above_0.49"]) <= unsure


def slots() -> list[State]:
    clicks = [[(20, 30, 1), (60, 90, 0)], [(70, 20, 1), (10, 10, 1)], [(50, 100, 1), (20, 30, 0)]]
    return [State(tuple(Click((r, c), bool(p)) for r, c, p in slot)) for slot in clicks]


@pytest.mark.parametrize("flip", [True, False])
def test_three_lanes_agree_with_three_single_ones(flip: bool) -> None:
    model = ritm.load(card("h18s"), checkpoint="synthetic", zoom_size=96, skip_clicks=-1, flip=flip)
    embedding = model.embed(Sample("any", "x", rng_image(5, 90, 130)))
    together = model.segment(embedding, slots())
    again = [State((*s.interactions, Click((40, 64))), s.mask, s.probability, s.memory) for s in together]
    assert len({model.batch_key(embedding, s) for s in again}) == 1
    for batch in (slots(), again):
        for state, one in zip(batch, model.segment(embedding, batch), strict=True):
            (alone,) = model.segment(embedding, [state])
            assert np.abs(alone.probability - one.probability).max() < 1e-5


def zoom_of(dataset: str, **options: Any) -> Any:
    model = ritm.load(card("h18s"), checkpoint="synthetic", **options)
    return model.embed(Sample(dataset, "x", rng_image(5, 40, 50))).zoom


def test_published_zoom_depends_on_the_data_set() -> None:
    assert (zoom_of("GrabCut").target, zoom_of("GrabCut").skip_clicks) == (400, 1)
    assert (zoom_of("DAVIS").target, zoom_of("DAVIS").skip_clicks) == (600, 1)
    assert (zoom_of("TETRIS").target, zoom_of("TETRIS").skip_clicks) == (400, -1)
    assert zoom_of("DAVIS", zoom_size=320, skip_clicks=0).target == 320
    assert zoom_of("DAVIS", zoom_size=[320, 256]).size((0, 9, 0, 9)) == (320, 256)
    assert zoom_of("DAVIS", zoom_size="none") is None
    assert zoom_of("DAVIS").published_paste is False
    assert zoom_of("DAVIS", protocol=Protocol.named("compat")).published_paste is True


@pytest.mark.parametrize(
    "option",
    [{"zoom_size": "big"}, {"zoom_size": 3}, {"zoom_size": [400]}, {"skip_clicks": -2}, {"flip": 1}, {"brs": "yes"}],
)
def test_invalid_options_are_named(option: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match=next(iter(option))):
        ritm.load(card("h18s"), checkpoint="synthetic", **option)


class Foreign:
    """Anything but a tensor or a plain value."""


@pytest.fixture(scope="module")
def weights() -> dict[str, Any]:
    return synthetic_state(ritm.build_network("h18s"))


def test_a_foreign_class_is_not_loaded(tmp_path: Path, weights: dict[str, Any]) -> None:
    path = tmp_path / "bad.pth"
    torch.save({"config": config("h18s"), "state_dict": weights, "extra": Foreign()}, path)
    with pytest.raises(WeightsError, match="run code"):
        ritm.load(card("h18s"), checkpoint=path)


def entry(value: object, specified: bool = True) -> dict[str, Any]:
    return {"type": "builtin", "value": value, "specified": specified}


def test_an_unknown_parameter_matters_only_if_it_was_set(tmp_path: Path, weights: dict[str, Any]) -> None:
    set_one = checkpoint(tmp_path / "set.pth", "h18s", weights, new_trick=entry(3))
    with pytest.raises(WeightsError, match="new_trick"):
        ritm.load(card("h18s"), checkpoint=set_one)
    default = checkpoint(tmp_path / "default.pth", "h18s", weights, new_trick=entry(3, specified=False))
    assert ritm.load(card("h18s"), checkpoint=default).network


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clicks_groups": entry([1, 2])}, "clicks_groups"),
        ({"width": entry(32)}, "of another shape"),
        ({"ocr_width": entry(0)}, "ocr_width is 0"),
        ({"norm_layer": {"type": "class", "value": "other.Norm", "specified": True}}, "other.Norm"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(
    tmp_path: Path, weights: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    path = checkpoint(tmp_path / "x.pth", "h18s", weights, **change)
    with pytest.raises(WeightsError, match=words):
        ritm.load(card("h18s"), checkpoint=path)


def test_other_formats_are_refused(tmp_path: Path, weights: dict[str, Any]) -> None:
    path = tmp_path / "x.pth"
    wrong = {"config": {"class": "isegm.model.is_deeplab_model.DeeplabModel", "params": {}}, "state_dict": weights}
    for content, words in ((weights, "published format"), ([wrong, wrong], "2 models"), (wrong, "DeeplabModel")):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=words):
            ritm.load(card("h18s"), checkpoint=path)


def test_older_fusions_can_be_built() -> None:
    from rclicks.adapters.ritm.network import HRNetModel

    image, points = torch.rand(1, 4, 40, 56), point_tensor([[(9.0, 9.0, 0, True)]])
    for options in ({"use_rgb_conv": True}, {"use_rgb_conv": False, "conv_extend": True, "use_disks": False}):
        network = HRNetModel(18, 48, True, with_prev_mask=True, binary_prev_mask=True, **options).eval()
        with torch.inference_mode():
            assert network.logits(image, points).shape == (1, 1, 40, 56)
