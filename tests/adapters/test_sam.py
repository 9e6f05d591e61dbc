"""SAM and MobileSAM: golden numbers under synthetic weights, batching, prompts, checkpoints."""

import hashlib
import importlib.util
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

import rclicks
from rclicks.adapters import sam
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
    from rclicks.models.promptable.predictor import SamModel

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
            xy = model._tensor(encoded.geometry.scale(np.array([prompt["pts"]])))
            points = (xy, torch.tensor([prompt["labels"]]))
        if prompt.get("box"):
            boxes = model._tensor(encoded.geometry.scale(np.array([prompt["box"]]).reshape(1, 2, 2)).reshape(1, 4))
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
        check(case, f"raw0.{prompt['tag']}.low_res_logits", low.numpy(), 1e-4)
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
    slots = [State((Click((60 + 20 * i, 80 + 30 * i)), Click((10, 10 + i), False))) for i in range(4)]
    together = model.segment(encoded, slots)
    for slot, state in zip(slots, together, strict=True):
        (alone,) = model.segment(encoded, [slot])
        assert np.abs(alone.probability - state.probability).max() < 1e-4
        assert slot.memory is None
        assert slot.mask is None


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
    with pytest.raises(WeightsError, match="contains a list"):
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


def test_unknown_variants_are_refused() -> None:
    with pytest.raises(ProtocolError, match="allowed: "):
        sam.build_network("vit_xxl")


@pytest.mark.parametrize(("variant", "blocks", "width"), [("vit_l", 24, 1024), ("vit_h", 32, 1280)])
def test_the_large_networks_have_the_official_shapes(variant: str, blocks: int, width: int) -> None:
    with torch.device("meta"):
        network = sam.build_network(variant)
    assert len(network.image_encoder.blocks) == blocks
    assert network.image_encoder.pos_embed.shape == (1, 64, 64, width)
    (card,) = [c for c in sam.CARDS if c.variant == variant]
    assert sum(p.numel() for p in network.parameters()) == card.parameters


PLUS, MINUS = Click((40, 60)), Click((10, 10), False)
BOX = Box((20, 30), (70, 90))


@pytest.mark.parametrize(
    ("interactions", "keep", "published"),
    [
        pytest.param((PLUS, MINUS), True, False, id="second-click-negative"),
        pytest.param((MINUS, PLUS), True, False, id="second-click-positive-after-negative"),
        pytest.param((PLUS, PLUS), True, True, id="second-click-of-the-same-sign"),
        pytest.param((PLUS, MINUS, PLUS), True, True, id="third-click"),
        pytest.param((BOX, PLUS), True, False, id="first-click-after-box"),
    ],
)
def test_when_previous_logits_are_dropped(interactions: tuple, keep: bool, published: bool) -> None:
    from rclicks.models.promptable.predictor import SamModel

    memory = np.zeros((256, 256), np.float32)
    for protocol, expected in (("default", keep), ("compat", published)):
        model = SamModel(sam.CARDS[0], torch.nn.Identity(), "cpu", "synthetic", Protocol.named(protocol))
        clicks = sum(i.kind == "click" for i in interactions)
        assert model.batch_key(None, State(interactions, memory=memory)) == (clicks, BOX in interactions, expected)
        assert model.batch_key(None, State(interactions)) == (clicks, BOX in interactions, False)


@pytest.fixture(scope="module")
def mobile() -> dict:
    """Build MobileSAM once; encode one image, which counts the encoder's calls."""
    model = rclicks.load_model("mobilesam", "synthetic")
    calls: list[int] = []
    model.network.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    return {"model": model, "encoded": model.embed(sample(rng_image(3, 96, 128))), "calls": calls}


def test_each_lane_takes_its_own_best_mask(mobile: dict) -> None:
    # The golden sequence of MobileSAM cannot tell: there the first of the three masks is always the best.
    model, encoded = mobile["model"], mobile["encoded"]
    network = model.network
    slots = [State((Click((10 + 9 * i, 120 - 13 * i)),)) for i in range(8)]

    def decode() -> tuple:
        xy = np.array([[[120 - 13 * i, 10 + 9 * i]] for i in range(8)], np.float64)
        points = (model._tensor(encoded.geometry.scale(xy)), torch.ones(8, 1, dtype=torch.int64))
        sparse, dense = network.prompt_encoder(points=points, boxes=None, masks=None)
        return network.mask_decoder(
            image_embeddings=encoded.features,
            image_pe=network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )

    bias = network.mask_decoder.iou_prediction_head.layers[-1].bias
    kept = bias.detach().clone()
    try:
        with torch.inference_mode():
            bias[1:] -= decode()[1].mean(0)  # now none of the three is best for all
            low, quality = decode()
        best = quality.argmax(1).tolist()
        found = [s.memory for s in model.segment(encoded, slots)]
    finally:
        with torch.inference_mode():
            bias.copy_(kept)
    assert len(set(best)) > 1
    for slot, chosen in enumerate(best):
        assert np.abs(found[slot] - low[slot, chosen].numpy()).max() < 1e-4
        others = [k for k in range(3) if k != chosen]
        assert all(np.abs(found[slot] - low[slot, k].numpy()).max() > 1e-2 for k in others)


def test_protocols_boxes_and_masks_with_one_encoding(mobile: dict) -> None:
    from rclicks.models.promptable.predictor import SamModel

    model, encoded = mobile["model"], mobile["encoded"]
    compat = SamModel(model.card, model.network, "cpu", "synthetic", Protocol.named("compat"))
    single = SamModel(model.card, model.network, "cpu", "synthetic", Protocol(), multimask=False)

    def play(model: object, *interactions: object) -> list[State]:
        states = [State()]
        for one in interactions:
            last = states[-1]
            (state,) = model.segment(
                encoded, [State((*last.interactions, one), last.mask, last.probability, last.memory)]
            )
            states.append(state)
        return states[1:]

    ours, theirs = play(model, PLUS, MINUS), play(compat, PLUS, MINUS)
    assert np.array_equal(ours[0].probability, theirs[0].probability)
    assert not np.array_equal(ours[1].probability, theirs[1].probability)
    same, also = play(model, PLUS, Click((60, 60)), MINUS), play(compat, PLUS, Click((60, 60)), MINUS)
    assert all(np.array_equal(a.probability, b.probability) for a, b in zip(same, also, strict=True))
    assert not np.array_equal(play(single, PLUS)[0].probability, ours[0].probability)

    # A box, then a click: each prompt counts, and slots of unequal keys may share a call in any order.
    boxed = play(model, BOX, PLUS)
    assert not np.array_equal(boxed[1].probability, ours[0].probability)
    slots = [State((BOX, PLUS), memory=boxed[0].memory), State((PLUS,)), State((BOX,)), State((PLUS, MINUS))]
    for slot, state in zip(slots, model.segment(encoded, slots), strict=True):
        (alone,) = model.segment(encoded, [slot])
        assert state.interactions == slot.interactions
        assert np.abs(alone.probability - state.probability).max() < 1e-4
        assert state.memory.shape == (256, 256)
        assert state.memory.dtype == np.float32
    assert len(mobile["calls"]) == 1, "the encoder ran again"
