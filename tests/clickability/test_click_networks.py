"""The networks behind click models: published keys, golden numbers, batches, odd sizes and missing weights."""

import csv
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from rclicks.cards import ClickModelCard
from rclicks.clickability import saliency, segnext
from rclicks.clickability.contract import ClickMapQuery
from rclicks.clickability.letterbox import Letterbox
from rclicks.errors import DataError, ProtocolError, WeightsError
from rclicks.models.weights import synthetic_state
from support import SHARED, golden, golden_arrays, needs_shared, rng_image, stored_view

torch = pytest.importorskip("torch")

SEGNEXT = {card.variant: card for card in segnext.CARDS}
SALIENCY = {card.variant: card for card in saliency.CARDS}
GOLDEN = {"s": "models/rclicks_clickability_segnext_s", "b": "models/rclicks_clickability_segnext_b"}
TRANSALNET = "models/transalnet_res"
FIXTURES = SHARED / "reference/rclicks/fixtures"


def fixture(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def ellipses(seed: int, h: int, w: int) -> ClickMapQuery:
    """Return the object and error masks of the golden files' README."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[0:h, 0:w]
    cy, cx = rng.uniform(0.4, 0.6) * h, rng.uniform(0.4, 0.6) * w
    a, b = rng.uniform(0.2, 0.35) * h, rng.uniform(0.2, 0.35) * w
    mask = ((yy - cy) / a) ** 2 + ((xx - cx) / b) ** 2 <= 1
    return ClickMapQuery(mask.astype(np.float32), (mask & (xx > cx)).astype(np.float32))


def fixture_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return weights by the rule of the fixtures' README."""

    def value(key: str, tensor: torch.Tensor) -> torch.Tensor:
        last = key.rpartition(".")[2]
        if last == "num_batches_tracked":
            return torch.zeros_like(tensor)
        shape = tuple(tensor.shape)
        n = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(shape)
        if last == "running_var":
            n = 1 + 0.1 * np.abs(n)
        elif last == "weight" and len(shape) > 1:
            n = n / np.sqrt(np.prod(shape[1:]))
        elif last == "weight":
            n = 1 + 0.1 * n
        elif last in {"bases", "scale", "layer_scale_1", "layer_scale_2"}:
            n = 0.05 + 0.1 * np.abs(n)
        else:
            n = 0.1 * n
        return torch.from_numpy(n.astype(np.float32))

    return {key: value(key, tensor) for key, tensor in network.state_dict().items()}


def clickability(variant: str, state: str = "golden") -> torch.nn.Module:
    from rclicks.clickability.networks.segnext import ClickabilityNetwork

    network = ClickabilityNetwork(variant)
    if state == "fixture":
        network.load_state_dict(fixture_state(network))
    elif variant in GOLDEN:
        facts = golden(GOLDEN[variant])
        calibration, overrides = facts["bn_calibration"], facts["overrides"]
        network.load_state_dict(synthetic_state(network, bn_calibration=calibration, overrides=overrides))
    return network.eval().requires_grad_(False)


@cache
def small() -> torch.nn.Module:
    """Return the golden SegNeXt-S, shared by tests that do not change it."""
    return clickability("s")


@cache
def transalnet() -> torch.nn.Module:
    from rclicks.clickability.networks.transalnet import TranSalNet

    network = TranSalNet()
    network.load_state_dict(synthetic_state(network, bn_calibration=golden(TRANSALNET)["bn_calibration"]))
    return network.eval().requires_grad_(False)


def same_as_golden(name: str, key: str, found: np.ndarray) -> None:
    facts = golden(name)
    expected = golden_arrays(name)[key]
    tolerance = facts["tolerance"]
    view = stored_view(found, facts["outputs"][key]["stored"])
    assert view.shape == expected.shape
    np.testing.assert_allclose(view, expected, rtol=tolerance["rel"], atol=tolerance["abs"])


def same_as_fixture(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * float(expected.std()))


def published_keys(name: str) -> dict[str, str]:
    with (SHARED / "reference/rclicks/checkpoint_keys" / f"{name}.csv").open() as file:
        return {row["key"]: row["shape"] for row in csv.DictReader(file)}


def shapes(network: torch.nn.Module) -> dict[str, str]:
    return {key: "x".join(map(str, tensor.shape)) for key, tensor in network.state_dict().items()}


# Keys and weights


@needs_shared
@pytest.mark.parametrize("variant", ["s", "b"])
def test_the_click_model_has_the_published_keys_and_shapes(variant: str) -> None:
    from rclicks.clickability.networks.segnext import ClickabilityNetwork

    network = ClickabilityNetwork(variant)
    facts = golden(GOLDEN[variant])
    assert shapes(network) == {key: "x".join(map(str, shape)) for key, shape, _ in facts["state_dict"]}
    if variant == "b":
        assert shapes(network) == published_keys("clickability_segnext_b")


@needs_shared
def test_transalnet_has_the_published_keys_and_shapes() -> None:
    assert shapes(transalnet()) == published_keys("transalnet_res50")


@pytest.mark.parametrize("card", [*segnext.CARDS, saliency.CARDS[0]], ids=lambda c: c.name)
def test_cards_tell_the_number_of_weights(card: ClickModelCard) -> None:
    from rclicks.clickability.networks.segnext import ClickabilityNetwork
    from rclicks.clickability.networks.transalnet import TranSalNet

    with torch.device("meta"):
        network = TranSalNet() if card in saliency.CARDS else ClickabilityNetwork(card.variant)
    assert card.parameters == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("module", [segnext, saliency])
def test_missing_weights_are_said_so(module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = module.CARDS[0]
    monkeypatch.setenv("RCLICKS_CHECKPOINTS", str(tmp_path))
    with pytest.raises(WeightsError, match=card.checkpoint.file):
        module.load(card)
    with pytest.raises(WeightsError, match="does not exist"):
        module.load(card, checkpoint=tmp_path / "mine.pth")


@needs_shared
def test_a_plain_state_dict_is_loaded_and_another_size_refused(tmp_path: Path) -> None:
    file = tmp_path / "clickability_model_10.pth"
    torch.save(small().state_dict(), file)
    model = segnext.load(SEGNEXT["s"], checkpoint=file)
    assert model.checkpoint_id.startswith("clickability_model_10.pth@")
    key = "encoder_decoder.decode_head.0.hamburger.ham.bases"
    assert torch.equal(model.network.state_dict()[key], small().state_dict()[key])
    with pytest.raises(WeightsError, match="does not fit"):
        segnext.load(SEGNEXT["t"], checkpoint=file)


def test_options_are_checked() -> None:
    with pytest.raises(ProtocolError, match="benchmark, simulator"):
        segnext.load(SEGNEXT["t"], checkpoint="synthetic", wrapper="best")
    with pytest.raises(ProtocolError, match="antialias"):
        segnext.load(SEGNEXT["t"], checkpoint="synthetic", antialias="yes")


# The click model


def raw_input(case: dict) -> tuple[torch.Tensor, torch.Tensor]:
    h, w = case["hw"]
    image = (rng_image(case["image_seed"], h, w) / 255 - segnext.MEAN) / segnext.DEVIATION
    query = ellipses(case["mask_seed"], h, w)
    masks = np.stack([query.mask, query.error])
    return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None], torch.from_numpy(masks)[None]


@needs_shared
@pytest.mark.parametrize("case", [0, 1])
def test_the_small_click_model_has_the_golden_features_and_outputs(case: int) -> None:
    from rclicks.clickability.networks.segnext import min_max

    facts = golden(GOLDEN["s"])["raw"][case]
    image, masks = raw_input(facts)
    network, kept = small(), {}
    hooks = [
        network.encoder_decoder.register_forward_hook(lambda _, __, out: kept.update(logits=out)),
        network.encoder_decoder.backbone.register_forward_hook(lambda _, __, out: kept.update(stages=out)),
    ]
    with torch.inference_mode():
        without_error = min_max(network(image, masks * torch.tensor([1.0, 0.0])[:, None, None])).numpy()
        found = min_max(network(image, masks)).numpy()
    for hook in hooks:
        hook.remove()
    same_as_golden(GOLDEN["s"], f"{facts['tag']}.instances", found)
    same_as_golden(GOLDEN["s"], f"{facts['tag']}.decoder_logits_before_resize", kept["logits"].numpy())
    for i, stage in enumerate(kept["stages"]):
        same_as_golden(GOLDEN["s"], f"{facts['tag']}.backbone_feature{i}", stage[:, :8].numpy())
    change = float(np.abs(found - without_error).mean())
    assert change == pytest.approx(facts["mean_abs_change_when_error_mask_is_zeroed"], rel=1e-3)


@needs_shared
@pytest.mark.parametrize("variant", ["s", "b"])
def test_both_published_wrappers_give_the_golden_maps(variant: str) -> None:
    case = golden(GOLDEN[variant])["apply"][0]
    h, w = case["hw"]
    network = small() if variant == "s" else clickability("b")
    model = segnext.Clickability(SEGNEXT[variant], network, antialias=True)
    simulator = segnext.Clickability(SEGNEXT[variant], network, antialias=True, wrapper="simulator")
    prepared, query = model.prepare(rng_image(case["image_seed"], h, w)), ellipses(case["mask_seed"], h, w)
    boxed = model._boxed(prepared, [query])[0]  # one pass serves both wrappers
    same_as_golden(GOLDEN[variant], "apply0.segnext_apply", model._of_image(boxed, prepared.letterbox))
    same_as_golden(GOLDEN[variant], "apply0.clickability_model_call", simulator._of_image(boxed, prepared.letterbox))


@needs_shared
def test_the_published_click_model_has_the_outputs_of_the_fixture() -> None:
    from rclicks.clickability.networks.segnext import min_max

    data = fixture("clickability_forward")
    network = clickability("b", "fixture")
    with torch.inference_mode():
        raw = network(torch.from_numpy(data["image"]), torch.from_numpy(data["coord"]))
    same_as_fixture(raw.numpy(), data["raw"])
    same_as_fixture(min_max(raw).numpy(), data["normalized"])
    model = segnext.Clickability(SEGNEXT["b"], network)
    for name in ("wide", "tall"):
        prepared = model.prepare(data[f"{name}_image"])
        same_as_fixture(prepared.image[0, :, ::16, ::16].numpy(), data[f"{name}_padded_image_sub16"])
        found = model.maps(prepared, [ClickMapQuery(data[f"{name}_mask"], data[f"{name}_error"])])[0]
        same_as_fixture(found[::5, ::5], data[f"{name}_clickmap_sub5"])


@needs_shared
def test_the_fixtures_largest_image_is_boxed_alike() -> None:
    data = fixture("clickability_forward")
    image = data["big_image"]
    boxed = segnext.network_image(image, Letterbox.of(image.shape[:2], segnext.BOX))
    same_as_fixture(boxed[:, ::16, ::16], data["big_padded_image_sub16"])


@needs_shared
def test_asks_together_and_alone_give_the_same_maps() -> None:
    together = segnext.Clickability(SEGNEXT["s"], small(), together=True)
    alone = segnext.Clickability(SEGNEXT["s"], small())
    image, queries = rng_image(5, 90, 130), [ellipses(seed, 90, 130) for seed in (6, 7)]
    expected = alone.maps(alone.prepare(image), queries)
    for found, single in zip(together.maps(together.prepare(image), queries), expected, strict=True):
        np.testing.assert_allclose(found, single, rtol=0, atol=1e-4)
    assert np.abs(expected[0] - expected[1]).max() > 0.05  # the masks count


@needs_shared
def test_copies_of_an_ask_cost_nothing_on_the_cpu() -> None:
    passes = []
    hook = small().register_forward_hook(lambda _, inputs, __: passes.append(len(inputs[1])))
    model = segnext.Clickability(SEGNEXT["s"], small())
    query = ellipses(6, 40, 50)
    found = model.maps(model.prepare(rng_image(5, 40, 50)), [query] * 4)
    hook.remove()
    assert passes == [1]
    assert len(found) == 4


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (33, 57), (500, 1)])
@pytest.mark.parametrize("wrapper", segnext.WRAPPERS)
def test_click_maps_are_fine_for_odd_sizes_and_errors_of_one_pixel(size: tuple[int, int], wrapper: str) -> None:
    model = segnext.load(SEGNEXT["t"], checkpoint="synthetic", wrapper=wrapper, antialias=size == (33, 57))
    assert model.checkpoint_id == "synthetic"
    error = np.zeros(size, bool)
    error[-1, size[1] // 2] = True
    [found] = model.maps(model.prepare(rng_image(1, *size)), [ClickMapQuery(error, error)])
    assert found.shape == size
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-5


def test_a_constant_map_is_no_crash() -> None:
    from rclicks.clickability.networks.segnext import min_max

    assert torch.equal(min_max(torch.full((2, 1, 3, 4), 7.0)), torch.zeros(2, 1, 3, 4))


def test_training_mode_learns_drops_and_stops_a_step_earlier() -> None:
    from rclicks.clickability.networks.segnext import Block, ClickabilityNetwork, Factorisation

    torch.manual_seed(0)
    network = ClickabilityNetwork("t").train()
    found = network(torch.randn(2, 3, 64, 96), torch.rand(2, 2, 64, 96))
    assert found.shape == (2, 1, 64, 96)
    found.square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not silent

    rates = [block.drop for block in network.modules() if isinstance(block, Block)]
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 13), atol=1e-7)
    residual = torch.ones(4000, 1, 1, 1)
    kept = Block(8, 4, 0.1).train()._kept(residual)
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.9])
    assert float(kept.mean()) == pytest.approx(1, abs=0.03)

    factors, x = Factorisation(8), torch.rand(1, 8, 5, 6)
    seven, six = factors.eval()(x), factors.train()(x)
    flat, bases = x.flatten(2), factors.bases
    codes = (flat.mT @ bases).softmax(-1)
    for _ in range(6):
        codes = codes * (flat.mT @ bases) / (codes @ bases.mT @ bases + 1e-6)
        bases = bases * (flat @ codes) / (bases @ codes.mT @ codes + 1e-6)
    codes = codes * (flat.mT @ bases) / (codes @ bases.mT @ bases + 1e-6)
    torch.testing.assert_close(six, (bases @ codes.mT).reshape(x.shape))
    assert not torch.allclose(seven, six)


# Saliency


@needs_shared
def test_transalnet_has_the_golden_features_and_outputs() -> None:
    network, kept = transalnet(), {}
    hook = network.encoder.register_forward_hook(lambda _, __, out: kept.update(stages=out))
    image = (rng_image(golden(TRANSALNET)["raw"][0]["image_seed"], 288, 384) / 255).astype(np.float32)
    with torch.inference_mode():
        found = network(torch.from_numpy(image).permute(2, 0, 1)[None])
    hook.remove()
    same_as_golden(TRANSALNET, "raw0.saliency", found.numpy())
    for i, stage in enumerate(kept["stages"]):
        same_as_golden(TRANSALNET, f"raw0.encoder{i}", stage[:, :6].numpy())


@needs_shared
def test_transalnet_has_the_output_of_the_fixture() -> None:
    from rclicks.clickability.networks.transalnet import TranSalNet

    data = fixture("transalnet_forward")
    network = TranSalNet().eval()
    network.load_state_dict(fixture_state(network))
    noise = np.random.default_rng(int(data["image_seed"])).random((3, 288, 384)).astype(np.float32)
    image = gaussian_filter(noise, (0, 3, 3))
    with torch.inference_mode():
        found = network(torch.from_numpy(image)[None])[0, 0, ::4, ::4]
    same_as_fixture(found.numpy(), data["output_sub4"])


@needs_shared
@pytest.mark.parametrize(("variant", "case"), [("cutout", 0), ("image", 1)])
def test_the_saliency_click_models_give_the_golden_maps(variant: str, case: int) -> None:
    facts = golden(TRANSALNET)["saliency_model"][case]
    h, w = facts["hw"]
    query = ellipses(facts["mask_seed"], h, w)
    rows, columns = saliency.frame_of(query.error)
    assert [rows.start, rows.stop - 1, columns.start, columns.stop - 1] == facts["frame_rmin_rmax_cmin_cmax"]
    model = saliency.Saliency(SALIENCY[variant], transalnet())
    [found] = model.maps(model.prepare(rng_image(facts["image_seed"], h, w)), [query])
    same_as_golden(TRANSALNET, facts["tag"], found * 1e4)
    assert float(found.sum(dtype=np.float64)) == pytest.approx(1, abs=1e-6)
    assert not found[query.error == 0].any()


@needs_shared
def test_saliency_maps_together_are_those_alone_also_at_borders_and_for_one_pixel() -> None:
    size = (37, 61)
    pixel, border = np.zeros(size, bool), np.zeros(size, bool)
    pixel[20, 60], border[:, :2] = True, True
    queries = [ClickMapQuery(error, error) for error in (pixel, border)]
    image = rng_image(2, *size)
    alone = saliency.Saliency(SALIENCY["cutout"], transalnet()).maps(image, queries)
    together = saliency.Saliency(SALIENCY["cutout"], transalnet(), together=True).maps(image, queries)
    for query, single, joint in zip(queries, alone, together, strict=True):
        # The network's map is rounded to 256 levels, and a value near a step can fall to either side.
        np.testing.assert_allclose(joint, single, rtol=0.02, atol=0)
        assert float(single.sum()) == pytest.approx(1, abs=1e-6)
        assert not single[~query.error].any()
    assert alone[0][20, 60] == 1


def test_the_frame_is_enlarged_within_the_image() -> None:
    error = np.zeros((100, 50))
    error[20:40, 0:10] = 1
    error[60, 30] = 0.999  # soft: not certain
    assert saliency.frame_of(error) == (slice(16, 44), slice(0, 12))


@pytest.mark.parametrize("error", [np.zeros((4, 5), bool), np.full((4, 5), 0.99), np.zeros((0, 5))])
def test_an_error_without_a_certain_pixel_is_refused(error: np.ndarray) -> None:
    with pytest.raises(DataError, match="at least one pixel equal to 1"):
        saliency.frame_of(error)


def test_the_cutout_blends_with_grey() -> None:
    image = np.full((1, 3, 3), 200, np.uint8)
    found = saliency.cut_out(image, np.array([[1, 0, 0.5]]))
    assert found[0, :, 0].tolist() == [200, 127, 163]


def test_a_map_without_saliency_is_the_error_itself() -> None:
    error = np.zeros((10, 12), np.float32)
    error[2:6, 3:7] = 1
    found = saliency._pasted(np.zeros((288, 384), np.uint8), error, saliency.frame_of(error))
    np.testing.assert_array_equal(found, error)
