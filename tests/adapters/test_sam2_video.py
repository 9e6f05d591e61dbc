"""SAM 2 through the slices of a volume: equal to its package's own video predictor, which reads a folder of JPEGs."""

import hashlib
import importlib.util
import itertools
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rclicks
from rclicks.adapters import sam2
from rclicks.errors import DataError, ProtocolError, WeightsError
from rclicks.interaction import Box, Click, Interaction, Scribble
from rclicks.models.contract import Model, State
from rclicks.sample import Sample
from support import rng_image

torch = pytest.importorskip("torch")
if importlib.util.find_spec("sam2") is None:
    pytest.skip("sam2 is not installed", allow_module_level=True)

SIDE = 128  # instead of 1024, for speed; no weight depends on it
FRAMES, HEIGHT, WIDTH = 4, 60, 83
# A new object, a correction of a tracked frame, another prompt in it, a second click in the first, a box on top of it.
ROUNDS: list[Interaction] = [
    Click((1, 20, 30)),
    Click((2, 40, 60), False),
    Click((2, 15, 25)),
    Click((1, 50, 10), False),
    Box((1, 10, 20), (1, 45, 50)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write frames that change slowly, as JPEG files."""
    from PIL import Image

    place = tmp_path_factory.mktemp("frames")
    wide = rng_image(5, HEIGHT, WIDTH + 3 * FRAMES)[..., 0]
    for i in range(FRAMES):
        Image.fromarray(np.ascontiguousarray(wide[:, 3 * i : 3 * i + WIDTH])).save(place / f"{i}.jpg", quality=90)
    return place


@pytest.fixture(scope="module")
def sample(folder: Path) -> Sample:
    """Return the volume of what the files hold once they are decoded."""
    from PIL import Image

    slices = [np.array(Image.open(folder / f"{i}.jpg")) for i in range(FRAMES)]
    volume = np.stack(slices)
    volume.setflags(write=False)
    return Sample("test", "volume", volume, spacing=(5.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def model() -> Model:
    return rclicks.load_model("sam2.1-video-tiny", "synthetic", side=SIDE, window=[0, 255])


@pytest.fixture(scope="module")
def played(model: Any, sample: Sample) -> dict[str, Any]:
    """Play all rounds once; count the encoder's calls."""
    calls: list[int] = []
    hook = model.network.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    encoded = model.embed(sample)
    assert not calls, "encoded before anything was asked"
    history = play(model, encoded, ROUNDS)
    hook.remove()
    return {"encoded": encoded, "history": history, "calls": len(calls)}


def play(model: Model, encoded: Any, rounds: list[Interaction]) -> list[State]:
    states = [State()]
    for interaction in rounds:
        before = states[-1]
        states += model.segment(encoded, [replace(before, interactions=(*before.interactions, interaction))])
    return states[1:]


def official(model: Any, folder: Path) -> list[np.ndarray]:
    """Play the same rounds with the package alone: its builder, its loader, its session."""
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from sam2.build_sam import build_sam2_video_predictor

    if not GlobalHydra.instance().is_initialized():  # the package does so at its first import, which others may undo
        initialize_config_module("sam2", version_base="1.2")
    theirs = build_sam2_video_predictor(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        device="cpu",
        hydra_overrides_extra=[f"++model.image_size={SIDE}", "++model.add_all_frames_to_correct_as_cond=true"],
    )
    theirs.fill_hole_area = 0  # what it comes to where the package's extension is not compiled
    theirs.load_state_dict(model.network.state_dict())
    session = theirs.init_state(str(folder))
    found = []
    for interaction in ROUNDS:
        if isinstance(interaction, Click):
            z, y, x = interaction.point
            theirs.add_new_points_or_box(
                session,
                frame_idx=z,
                obj_id=1,
                points=[[x, y]],
                labels=[int(interaction.positive)],
                clear_old_points=False,
            )
        elif isinstance(interaction, Box):
            earlier = [c for c in ROUNDS if isinstance(c, Click) and c.point[0] == interaction.low[0]]
            theirs.add_new_points_or_box(
                session,
                frame_idx=interaction.low[0],
                obj_id=1,
                box=[interaction.low[2], interaction.low[1], interaction.high[2], interaction.high[1]],
                points=[[c.point[2], c.point[1]] for c in earlier],
                labels=[int(c.positive) for c in earlier],
            )
        logits = np.full((FRAMES, HEIGHT, WIDTH), np.nan, np.float32)
        for reverse in (False, True):
            for index, _, masks in theirs.propagate_in_video(session, reverse=reverse):
                logits[index] = masks[0, 0].numpy()
        found.append(logits)
    return found


@pytest.mark.slow
def test_it_equals_the_predictor_of_its_package(model: Any, folder: Path, played: dict[str, Any]) -> None:
    rounds = official(model, folder)
    for logits, state in zip(rounds, played["history"], strict=True):
        assert np.isfinite(logits).all()
        assert np.abs(1 / (1 + np.exp(-logits)) - state.probability).max() < 1e-5
        assert np.array_equal(logits > 0, state.mask)
    # The rounds are a test only if each of them changes something.
    changes = [np.abs(a - b).max() for a, b in itertools.pairwise(rounds)]
    assert min(changes) > 0.01, changes


def test_each_frame_is_encoded_once_a_volume(played: dict[str, Any]) -> None:
    assert played["calls"] == FRAMES


def test_few_remembered_frames_cost_time_but_change_nothing(sample: Sample, played: dict[str, Any], model: Any) -> None:
    from rclicks.adapters.sam2.video import Sam2VideoModel

    frugal = Sam2VideoModel(model.card, model.network, "cpu", "synthetic", {**model.options, "keep": 1})
    calls: list[int] = []
    hook = model.network.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    encoded = frugal.embed(sample)
    states = play(frugal, encoded, ROUNDS[:2])
    hook.remove()
    assert len(encoded._maps) == 1
    assert len(calls) > FRAMES
    for state, same in zip(states, played["history"], strict=False):
        assert np.array_equal(state.probability, same.probability)


@pytest.mark.slow
def test_answers_depend_on_the_interactions_alone(model: Any, played: dict[str, Any]) -> None:
    encoded, history = played["encoded"], played["history"]
    before = pickle.dumps(history[1].memory)
    slots = [State(tuple(ROUNDS[:3])), replace(history[1], interactions=tuple(ROUNDS[:3])), State(tuple(ROUNDS[:1]))]
    for order in (slots, slots[::-1]):
        answers = model.segment(encoded, order)
        for slot, answer in zip(order, answers, strict=True):
            same = history[len(slot.interactions) - 1]
            assert answer.interactions == slot.interactions
            assert np.array_equal(answer.probability, same.probability)
            assert np.array_equal(answer.mask, same.mask)
    assert pickle.dumps(history[1].memory) == before, "the memory was changed"
    thawed = replace(history[1], interactions=tuple(ROUNDS[:3]), memory=pickle.loads(before))
    assert np.array_equal(model.segment(encoded, [thawed])[0].probability, history[2].probability)


def test_a_memory_holds_every_frame_but_no_features(played: dict[str, Any]) -> None:
    memory = played["history"][-1].memory
    assert memory.done == len(ROUNDS)
    assert sorted(memory.outputs[0]) == [1, 2], "prompted frames condition the others"
    assert sorted(memory.outputs[1]) == [0, 3]
    tensors = [t for kind in memory.outputs for out in kind.values() for t in out]
    assert sum(t.numel() for t in tensors) < FRAMES * 50_000


def test_slices_may_be_stacked_along_another_axis(model: Any, sample: Sample, played: dict[str, Any]) -> None:
    from rclicks.adapters.sam2.video import Sam2VideoModel

    turned = Sample("test", "turned", np.moveaxis(sample.image, 0, 1), spacing=(1.0, 5.0, 1.0))
    auto = Sam2VideoModel(model.card, model.network, "cpu", "synthetic", {**model.options, "axis": "auto"})
    (state,) = auto.segment(auto.embed(turned), [State((Click((20, 1, 30)),))])
    assert np.array_equal(np.moveaxis(state.probability, 1, 0), played["history"][0].probability)


def test_boxes_and_drawings_become_prompts_of_slices(model: Any, played: dict[str, Any]) -> None:
    encoded = played["encoded"]
    deep, flat = Box((0, 10, 20), (3, 45, 50)), Box((1, 10, 20), (1, 45, 50))
    line = Scribble((2, 20, 30), np.ones((1, 1, 9), bool))
    of_deep, of_flat, of_line = model.segment(encoded, [State((deep,)), State((flat,)), State((line,))])
    assert np.array_equal(of_deep.probability, of_flat.probability)
    assert [p.point for p in of_line.memory.prompts[2]] == [(20, 34), (20, 30), (20, 38), (20, 32), (20, 36)]


def test_bad_input_is_refused(model: Any, sample: Sample, played: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="does not lie in"):
        model.segment(played["encoded"], [State((Click((FRAMES, 0, 0)),))])
    with pytest.raises(DataError, match="is not a volume"):
        model.embed(Sample("test", "image", rng_image(1, 20, 30)))
    with pytest.raises(ProtocolError, match="multiple of 32"):
        rclicks.load_model("sam2-video-tiny", "synthetic", side=250)
    with pytest.raises(ProtocolError, match="'window'"):
        rclicks.load_model("sam2-video-tiny", "synthetic", window=[3, 1])
    with pytest.raises(ProtocolError, match="allowed: "):
        sam2.build_network("sam2_hiera_xxl", side=512)


def test_cards_are_those_of_the_image_models() -> None:
    volumes = [card for card in sam2.CARDS if card.dims == 3]
    assert [(c.variant, c.checkpoint, c.parameters) for c in volumes] == [
        (c.variant, c.checkpoint, c.parameters) for c in sam2.CARDS if c.dims == 2
    ]
    assert len(volumes) == 8


@pytest.mark.slow
def test_checkpoints_of_the_package_load_strictly(tmp_path: Path) -> None:
    state = sam2.build_network("sam2.1_hiera_t").state_dict()
    file = tmp_path / "mine.pt"
    torch.save({"model": state}, file)
    model = rclicks.load_model("sam2.1-video-tiny", file, side=512)
    assert model.checkpoint_id == f"mine.pt@{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"
    with pytest.raises(WeightsError, match=r"0 keys missing \[\], [1-9]\d* unexpected"):
        rclicks.load_model("sam2-video-tiny", file)
