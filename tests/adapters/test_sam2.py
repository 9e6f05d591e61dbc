"""SAM 2: equal to its package's own predictor under synthetic weights, batching, prompts, checkpoints."""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import rclicks
from rclicks.adapters import sam2
from rclicks.errors import ProtocolError, WeightsError
from rclicks.interaction import Box, Click
from rclicks.models.contract import State
from rclicks.protocol import Protocol
from rclicks.sample import Sample
from support import rng_image

torch = pytest.importorskip("torch")
if importlib.util.find_spec("sam2") is None:
    pytest.skip("sam2 is not installed", allow_module_level=True)

PLUS, MINUS = Click((60, 75)), Click((100, 15), False)
BOX = Box((30, 25), (90, 100))


@pytest.fixture(scope="module")
def played() -> dict:
    """Build the tiny network once; encode one image, which counts the encoder's calls."""
    model = rclicks.load_model("sam2.1-tiny", "synthetic")
    calls: list[int] = []
    model.network.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    image = rng_image(5, 120, 160)
    return {"model": model, "image": image, "encoded": model.embed(Sample("test", "image", image)), "calls": calls}


def test_it_equals_the_predictor_of_its_package(played: dict) -> None:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    model, encoded = played["model"], played["encoded"]
    before = len(played["calls"])
    (clicked,) = model.segment(encoded, [State((PLUS, MINUS))])
    (again,) = model.segment(encoded, [clicked])
    (boxed,) = model.segment(encoded, [State((BOX,))])
    (both,) = model.segment(encoded, [State((BOX, MINUS), memory=boxed.memory)])
    assert len(played["calls"]) == before, "the encoder ran again"

    theirs = SAM2ImagePredictor(model.network)
    theirs.set_image(played["image"])

    def check(ours: State, **prompt: object) -> np.ndarray:
        logits, _, low = theirs.predict(**prompt, multimask_output=False, return_logits=True)
        assert np.abs(torch.sigmoid(torch.from_numpy(logits[0])).numpy() - ours.probability).max() < 1e-5
        assert np.abs(low[0] - ours.memory).max() < 1e-4
        return low

    points = {"point_coords": np.array([[75, 60], [15, 100]]), "point_labels": np.array([1, 0])}
    low = check(clicked, **points)
    check(again, **points, mask_input=low)
    corners = np.array([25, 30, 100, 90])
    low = check(boxed, box=corners)
    check(both, box=corners, point_coords=points["point_coords"][1:], point_labels=np.array([0]), mask_input=low)


def test_lanes_equal_single_lanes_in_any_company(played: dict) -> None:
    model, encoded = played["model"], played["encoded"]
    (first,) = model.segment(encoded, [State((PLUS,))])
    slots = [State((Click((20 + 20 * i, 30 + 30 * i)), MINUS)) for i in range(4)]
    slots += [State((BOX,)), State((PLUS, MINUS), first.mask, first.probability, first.memory), State((BOX, PLUS))]
    for slot, state in zip(slots, model.segment(encoded, slots), strict=True):
        (alone,) = model.segment(encoded, [slot])
        assert state.interactions == slot.interactions
        assert np.abs(alone.probability - state.probability).max() < 1e-4
        assert state.memory.shape == (256, 256)
        assert state.memory.dtype == np.float32
    keys = {model.batch_key(encoded, slot) for slot in slots}
    assert keys == {(2, False, False), (0, True, False), (2, False, True), (1, True, False)}


def test_protocols_differ_only_when_both_signs_have_one_click(played: dict) -> None:
    from rclicks.adapters.sam2.images import Sam2Model

    model, encoded = played["model"], played["encoded"]
    compat = Sam2Model(model.card, model.network, "cpu", "synthetic", Protocol.named("compat"), feed_back=True)
    (first,) = model.segment(encoded, [State((PLUS,))])
    for second, equal in ((MINUS, False), (Click((60, 60)), True)):
        state = State((PLUS, second), first.mask, first.probability, first.memory)
        maps = [m.segment(encoded, [state])[0].probability for m in (model, compat)]
        assert np.array_equal(*maps) == equal


def test_an_embedding_survives_the_next_image(played: dict) -> None:
    model, encoded = played["model"], played["encoded"]
    (before,) = model.segment(encoded, [State((PLUS,))])
    other = model.embed(Sample("test", "other", rng_image(6, 90, 70)))
    (elsewhere,) = model.segment(other, [State((Click((45, 35)),))])
    (after,) = model.segment(encoded, [State((PLUS,))])
    assert elsewhere.probability.shape == (90, 70)
    assert np.array_equal(before.probability, after.probability)


def test_official_checkpoints_load_strictly(tmp_path: Path) -> None:
    state = sam2.build_network("sam2.1_hiera_t").state_dict()
    file = tmp_path / "mine.pt"
    torch.save({"model": state}, file)
    model = rclicks.load_model("sam2.1-tiny", file)
    assert model.checkpoint_id == f"mine.pt@{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"
    # SAM 2 lacks two modules of SAM 2.1, so its checkpoints must not pass for one.
    with pytest.raises(WeightsError, match=r"0 keys missing \[\], [1-9]\d* unexpected"):
        rclicks.load_model("sam2-tiny", file)


def test_building_needs_no_global_state_of_hydra() -> None:
    from hydra.core.global_hydra import GlobalHydra

    sam2.build_network("sam2.1_hiera_t")  # the package initialises hydra when it is imported
    GlobalHydra.instance().clear()
    network = sam2.build_network("sam2.1_hiera_t")
    assert network.sam_mask_decoder.dynamic_multimask_via_stability


def test_unknown_variants_are_refused() -> None:
    with pytest.raises(ProtocolError, match="allowed: "):
        sam2.build_network("sam2_hiera_xxl")
