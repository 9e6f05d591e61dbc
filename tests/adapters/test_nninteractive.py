"""nnInteractive's adapter against the official session itself, with the tiny model that the shared data has."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rclicks.adapters import nninteractive
from rclicks.engine.episode import EpisodeConfig, play
from rclicks.engine.loading import checkpoint_of, load_model
from rclicks.errors import DataError, PluginError, ProtocolError, RclicksError, WeightsError
from rclicks.interaction import Box, Click, Interaction, Lasso, Scribble
from rclicks.models.contract import Model, State
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.sample import Sample, Target
from rclicks.specs import Spec
from support import SHARED, needs_shared

torch = pytest.importorskip("torch")
pytest.importorskip("nnInteractive.inference.inference_session")
pytestmark = needs_shared

REFERENCE = SHARED / "reference" / "nninteractive"
TINY = REFERENCE / "tiny_model"
LOCAL, REMOTE = nninteractive.CARDS


def as_sample(image: np.ndarray, name: str = "case") -> Sample:
    return Sample("synthetic", name, image, (), (1.0, 1.0, 1.0))


def advance(model: Model, volume: Any, state: State, prompt: Interaction) -> State:
    return model.segment(volume, [replace(state, interactions=(*state.interactions, prompt))])[0]


def replayed(model: Model, volume: Any, *prompts: Interaction) -> np.ndarray:
    mask = model.segment(volume, [State(prompts)])[0].mask
    assert mask is not None
    return mask


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


def ellipsoid(shape: tuple[int, ...], centre: tuple[int, ...], radii: tuple[int, ...]) -> np.ndarray:
    grid = np.indices(shape).astype(np.float32)
    return sum(((grid[i] - centre[i]) / radii[i]) ** 2 for i in range(3)) <= 1


def blob(
    shape: tuple[int, ...], centre: tuple[int, ...], radii: tuple[int, ...], seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = ellipsoid(shape, centre, radii)
    image = rng.normal(40, 8, shape) + 80 * target
    return image.clip(0, 255).astype(np.uint8), target


class Official:
    """The package's session, driven by hand as its read-me says; nothing of the adapter takes part."""

    def __init__(self, image: np.ndarray, **arguments: Any) -> None:
        from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

        with redirect_stdout(io.StringIO()):
            arguments = {"interactions_storage": "tensor", "torch_n_threads": torch.get_num_threads(), **arguments}
            self.session = nnInteractiveInferenceSession(device=torch.device("cpu"), **arguments)
            self.session.initialize_from_trained_model_folder(str(TINY))
            self.session.set_image(image[None].astype(np.float32))
            self.buffer = np.zeros(image.shape, np.uint8)
            self.session.set_target_buffer(self.buffer)

    def add(self, prompt: Interaction, seed: int = 0) -> np.ndarray:
        np.random.seed(seed)  # noqa: NPY002
        with redirect_stdout(io.StringIO()):
            if isinstance(prompt, Click):
                self.session.add_point_interaction(prompt.point, prompt.positive)
            elif isinstance(prompt, Box):
                sides = [[a, b + 1] for a, b in zip(prompt.low, prompt.high, strict=True)]
                self.session.add_bbox_interaction(sides, prompt.positive)
            else:
                whole = np.zeros(self.buffer.shape, np.uint8)
                whole[prompt.window] = prompt.mask
                add = {
                    "scribble": self.session.add_scribble_interaction,
                    "lasso": self.session.add_lasso_interaction,
                }
                add[prompt.kind](whole, prompt.positive)
        return self.buffer.astype(bool)


@pytest.fixture(scope="module")
def case() -> dict[str, Any]:
    with np.load(REFERENCE / "golden" / "session_case.npz") as file:
        image, labels, packed = file["image"], file["labels"], file["masks"]
    facts = json.loads((REFERENCE / "golden" / "session_case.json").read_text())
    masks = np.unpackbits(packed, axis=-1)[:, : image.size].reshape(-1, *image.shape).astype(bool)
    return {
        "image": image,
        "target": labels == facts["target_label"],
        "steps": facts["steps"],
        "masks": masks,
        "prompts": [as_prompt(step) for step in facts["steps"][:5]],
    }


def as_prompt(step: dict[str, Any]) -> Interaction:
    if step["kind"] == "point":
        return Click(tuple(step["coordinates"]), step["include"])
    low, high = tuple(a for a, _ in step["bbox"]), tuple(b - 1 for _, b in step["bbox"])
    if step["kind"] == "bbox":
        return Box(low, high, step["include"])
    shape = tuple(b - a for a, b in step["bbox"])
    mask = np.ones(shape, bool) if step["mask"] == "ones" else np.array(step["mask"], bool).reshape(shape)
    return (Lasso if step["kind"] == "lasso" else Scribble)(low, mask, step["include"])


@pytest.fixture(scope="module")
def model() -> Model:
    return nninteractive.load(LOCAL, checkpoint=TINY)


@pytest.fixture(scope="module")
def prompts() -> list[Interaction]:
    """One of every kind and sign, in one trajectory on the golden case."""
    thin = np.zeros((1, 2, 9), bool)
    thin[0, 1, :] = thin[0, 0, 2] = True
    disc = ellipsoid((1, 13, 15), (0, 6, 7), (1, 6, 7))
    return [
        Click((39, 31, 35)),
        Lasso((36, 40, 52), disc, False),
        Scribble((39, 30, 30), thin),
        Box((28, 23, 35), (47, 46, 35)),
        Click((36, 38, 42), False),
        Lasso((39, 25, 28), disc),
        Scribble((30, 20, 50), thin, False),
        Box((39, 40, 45), (39, 50, 60), False),
    ]


@pytest.fixture(scope="module")
def official_masks(case: dict[str, Any], prompts: list[Interaction]) -> list[np.ndarray]:
    session = Official(case["image"])
    return [session.add(prompt) for prompt in prompts]


class TestAgainstTheOfficialSession:
    def test_recorded_steps(self, case: dict[str, Any], model: Model) -> None:
        volume = model.embed(as_sample(case["image"]))
        state = State()
        for prompt, step, expected in zip(case["prompts"], case["steps"], case["masks"], strict=False):
            state = advance(model, volume, state, prompt)
            assert dice(state.mask, expected) >= 0.99, step["kind"]
            assert dice(state.mask, case["target"]) == pytest.approx(step["dice"], abs=0.01)
        undone = model.segment(volume, [State(state.interactions[:4])])[0]
        assert dice(undone.mask, case["masks"][5]) >= 0.99
        start = model.start_from(volume, np.roll(case["target"], 3, axis=2), refine=True)
        assert dice(start.mask, case["masks"][6]) >= 0.99

    def test_every_kind_and_sign_gives_identical_masks(
        self, case: dict[str, Any], model: Model, prompts: list[Interaction], official_masks: list[np.ndarray]
    ) -> None:
        volume = model.embed(as_sample(case["image"]))
        state = State()
        for prompt, expected in zip(prompts, official_masks, strict=True):
            state = advance(model, volume, state, prompt)
            np.testing.assert_array_equal(state.mask, expected)
            assert state.probability is None
        assert len({mask.tobytes() for mask in official_masks}) == len(prompts), "prompts without effect prove nothing"

    def test_a_mask_to_start_from(self, case: dict[str, Any], model: Model, prompts: list[Interaction]) -> None:
        given = np.roll(case["target"], 3, axis=2)
        session = Official(case["image"])
        with redirect_stdout(io.StringIO()):
            session.session.add_initial_seg_interaction(given.astype(np.uint8))
        first, second = session.add(prompts[0]), session.add(prompts[4])
        volume = model.embed(as_sample(case["image"]))
        state = model.start_from(volume, given)
        np.testing.assert_array_equal(state.mask, given)
        state = replace(state, memory=pickle.loads(pickle.dumps(state.memory)))
        one = advance(model, volume, state, prompts[0])
        np.testing.assert_array_equal(one.mask, first)
        without = replayed(model, volume, prompts[0])
        assert not np.array_equal(without, first)
        np.testing.assert_array_equal(advance(model, volume, one, prompts[4]).mask, second)

    @pytest.mark.slow
    def test_autozoom_and_its_random_refinement(self) -> None:
        image, _ = blob((80, 90, 130), (40, 45, 65), (12, 12, 50), seed=3)
        far = [Click((40, 45, 65)), Click((46, 45, 107))]
        session = Official(image)
        expected = [session.add(prompt, seed=5) for prompt in far]
        before = np.random.RandomState(5).get_state()[1:3]
        drawn = np.random.get_state()[1:3]  # noqa: NPY002
        assert drawn[1] != before[1] or not np.array_equal(drawn[0], before[0]), "this case was to draw random numbers"
        options = {"seed": 5, "autozoom": True}
        model = nninteractive.load(LOCAL, checkpoint=TINY, **options)
        volume = model.embed(as_sample(image))
        np.random.seed(99)  # noqa: NPY002 - the adapter must not care
        np.testing.assert_array_equal(replayed(model, volume, *far), expected[1])
        plain = nninteractive.load(LOCAL, checkpoint=TINY, autozoom=False)
        assert not np.array_equal(replayed(plain, plain.embed(as_sample(image)), *far), expected[1])

    def test_a_long_box_is_seen_from_further_away_and_refined(self, model: Model) -> None:
        image, target = blob((64, 64, 72), (32, 32, 36), (8, 8, 9))
        box = Box((32, 30, 12), (32, 36, 58))  # 47 voxels, more than two thirds of 64
        mask = replayed(model, model.embed(as_sample(image)), box)
        np.testing.assert_array_equal(mask, Official(image).add(box))
        assert dice(mask, target) > 0.9


class TestStateless:
    def test_replaying_is_adding(
        self, case: dict[str, Any], prompts: list[Interaction], official_masks: list[np.ndarray]
    ) -> None:
        fresh = nninteractive.load(LOCAL, checkpoint=TINY, interactions_storage="tensor")
        volume = fresh.embed(as_sample(case["image"]))
        np.testing.assert_array_equal(replayed(fresh, volume, *prompts), official_masks[-1])
        np.testing.assert_array_equal(replayed(fresh, volume, *prompts[:3]), official_masks[2])

    def test_interleaved_trajectories_are_those_played_alone(
        self, case: dict[str, Any], model: Model, prompts: list[Interaction], official_masks: list[np.ndarray]
    ) -> None:
        volume = model.embed(as_sample(case["image"]))
        other = [prompts[3], prompts[4], prompts[2]]
        alone = [replayed(model, volume, *other[: k + 1]) for k in range(3)]
        mine, theirs = State(), State()
        for k in range(3):
            order = [
                replace(mine, interactions=(*mine.interactions, prompts[k])),
                replace(theirs, interactions=(*theirs.interactions, other[k])),
            ]
            answer = model.segment(volume, order[:: 1 - 2 * (k % 2)])[:: 1 - 2 * (k % 2)]
            mine, theirs = answer
            np.testing.assert_array_equal(mine.mask, official_masks[k])
            np.testing.assert_array_equal(theirs.mask, alone[k])

    def test_a_branch_is_played_after_taking_one_prompt_back(
        self, case: dict[str, Any], model: Model, prompts: list[Interaction], official_masks: list[np.ndarray]
    ) -> None:
        volume = model.embed(as_sample(case["image"]))
        replayed(model, volume, *prompts[:3])
        calls = counted(model)
        branch = replayed(model, volume, *prompts[:2], prompts[4])
        assert calls == ["undo", "add"]
        replayed(model, volume, *prompts[:2], prompts[4])
        assert calls == ["undo", "add"], "a repeated state costs nothing"
        np.testing.assert_array_equal(replayed(model, volume, *prompts[:2]), official_masks[1])
        assert calls == ["undo", "add", "undo"]
        np.testing.assert_array_equal(replayed(model, volume, *prompts[:3]), official_masks[2])
        fresh = nninteractive.load(LOCAL, checkpoint=TINY)
        again = replayed(fresh, fresh.embed(as_sample(case["image"])), *prompts[:2], prompts[4])
        np.testing.assert_array_equal(branch, again)

    def test_another_embedding_is_set_again(
        self, case: dict[str, Any], model: Model, prompts: list[Interaction]
    ) -> None:
        flipped = np.ascontiguousarray(case["image"][:, ::-1])
        first, second = model.embed(as_sample(case["image"])), model.embed(as_sample(flipped))
        here, there = replayed(model, first, prompts[0]), replayed(model, second, prompts[0])
        np.testing.assert_array_equal(there, Official(flipped).add(prompts[0]))
        assert not np.array_equal(here, there)
        np.testing.assert_array_equal(replayed(model, first, prompts[0]), here)

    def test_after_a_failure_the_session_starts_anew(
        self, case: dict[str, Any], model: Model, prompts: list[Interaction], official_masks: list[np.ndarray]
    ) -> None:
        volume = model.embed(as_sample(case["image"]))
        replayed(model, volume, prompts[0])
        raw = model._session.raw
        network, raw.network = raw.network, BreaksAfter(raw.network, 1)
        with pytest.raises(RuntimeError, match="broken"):
            replayed(model, volume, *prompts[:3])
        raw.network = network
        np.testing.assert_array_equal(replayed(model, volume, *prompts[:3]), official_masks[2])

    def test_the_returned_mask_is_a_copy(self, case: dict[str, Any], model: Model, prompts: list[Interaction]) -> None:
        volume = model.embed(as_sample(case["image"]))
        first = replayed(model, volume, prompts[0])
        kept = first.copy()
        replayed(model, volume, prompts[3])
        np.testing.assert_array_equal(first, kept)
        first[:] = True
        np.testing.assert_array_equal(replayed(model, volume, prompts[0]), kept)


class BreaksAfter:
    """A network that answers `count` times and then fails."""

    def __init__(self, network: Any, count: int) -> None:
        self.network, self.count = network, count

    def __call__(self, batch: Any) -> Any:
        if not self.count:
            raise RuntimeError("broken")
        self.count -= 1
        return self.network(batch)


KEYS = st.lists(st.integers(1, 4), max_size=5).map(tuple)


@given(KEYS, st.booleans(), KEYS)
def test_steps_always_arrive(held: tuple[int, ...], undoable: bool, wanted: tuple[int, ...]) -> None:
    from rclicks.adapters.nninteractive.model import Held, Steps, steps_to

    have = tuple(Click((k, k, k)) for k in held)
    want = tuple(Click((k, k, k)) for k in wanted)
    steps = steps_to(Held(None, have, undoable and bool(have)), None, want)
    assert not (steps.undo and steps.reset)
    assert undoable or not steps.undo
    arrived = () if steps.reset else have[: len(have) - steps.undo]
    assert arrived + steps.add == want
    if want[: len(have)] == have:
        assert steps == Steps(False, False, want[len(have) :]), "what is held already is not done again"


VERBS = ("add", "undo", "reset", "show", "start")


def counted(model: Model) -> list[str]:
    """Record which verbs the session of `model` is told from now on; they still do their work."""
    calls: list[str] = []
    session = model._session

    def watch(name: str) -> None:
        real = getattr(type(session), name)

        def wrapped(*given: Any) -> Any:
            calls.append(name)
            return real(session, *given)

        setattr(session, name, wrapped)

    for name in VERBS:
        watch(name)
    return calls


def uncounted(model: Model) -> None:
    for name in VERBS:
        vars(model._session).pop(name, None)


@pytest.fixture(autouse=True)
def unwatched(model: Model) -> Iterator[None]:
    yield
    uncounted(model)


class TestManners:
    def test_nothing_is_printed_and_the_process_is_left_alone(
        self, case: dict[str, Any], prompts: list[Interaction], capfd: pytest.CaptureFixture[str]
    ) -> None:
        threads = torch.get_num_threads()
        np.random.seed(123)  # noqa: NPY002
        state = np.random.get_state()[1:3]  # noqa: NPY002
        environment = dict(os.environ)
        model = nninteractive.load(LOCAL, checkpoint=TINY, threads=threads + 1)
        replayed(model, model.embed(as_sample(case["image"])), prompts[0])
        assert torch.get_num_threads() == threads
        after = np.random.get_state()[1:3]  # noqa: NPY002
        assert np.array_equal(after[0], state[0])
        assert after[1] == state[1]
        assert dict(os.environ) == environment
        assert capfd.readouterr() == ("", "")

    def test_a_read_only_memory_map_is_not_touched(
        self, case: dict[str, Any], model: Model, prompts: list[Interaction], tmp_path: Path
    ) -> None:
        np.save(tmp_path / "volume.npy", case["image"].astype(np.float32))
        mapped = np.load(tmp_path / "volume.npy", mmap_mode="r")
        mask = replayed(model, model.embed(as_sample(mapped)), prompts[0])
        assert mapped.dtype == np.float32
        np.testing.assert_array_equal(np.load(tmp_path / "volume.npy"), case["image"])
        np.testing.assert_array_equal(mask, replayed(model, model.embed(as_sample(case["image"])), prompts[0]))

    def test_an_embedding_does_not_keep_the_image_alive(self, case: dict[str, Any], model: Model) -> None:
        import gc
        import weakref

        image = case["image"].copy()
        embedding = model.embed(as_sample(image))
        watched = weakref.ref(image)
        del image, embedding
        gc.collect()
        assert watched() is None

    def test_facts_for_the_records(self, model: Model) -> None:
        assert model.options["licence"] == "CC0-1.0"
        assert model.options["session_version"].startswith(("1.", "2."))
        assert model.options["package"].startswith("nninteractive ")
        assert model.options["interactions_storage"] == "blosc2"
        json.dumps(model.options)


@pytest.fixture(scope="module")
def volume(model: Model) -> Any:
    return model.embed(as_sample(blob((24, 26, 28), (12, 13, 14), (5, 6, 7))[0]))


class TestOddInputs:
    """Every row of the table of odd inputs, answered by errors of our own before the session sees them."""

    SHAPE = (24, 26, 28)

    PROMPTS = {  # noqa: RUF012
        "bbox with a zero-size axis": Box((5, 5, 5), (5, 4, 9)),
        "bbox start > end": Box((5, 9, 5), (5, 5, 9)),
        "bbox completely outside the image": Box((5, 30, 30), (5, 40, 40)),
        "point just outside (within the ball radius)": Click((24, 5, 5)),
        "point far outside (patch does not touch the image)": Click((5, 5, 500)),
        "scribble/lasso all zero": Lasso((5, 5, 5), np.zeros((1, 3, 3), bool)),
        "scribble with values 255": Scribble((5, 5, 5), np.full((1, 3, 3), 255, np.uint8)),
        "lasso with 0.5": Lasso((5, 5, 5), np.full((1, 3, 3), 0.5)),
        "mask crop outside image": Scribble((5, 5, 27), np.ones((1, 3, 3), bool)),
        "negative coordinate": Click((-1, 5, 5)),
        "half coordinate": Click((5.5, 5, 5)),
        "another number of axes": Click((5, 5)),
        "lasso in several slices": Lasso((5, 5, 5), np.ones((2, 3, 3), bool)),
    }
    IMAGES = {  # noqa: RUF012
        "all-zero image": np.zeros(SHAPE, np.int16),
        "constant non-zero image": np.full(SHAPE, 7, np.int16),
        "image with NaN": np.where(np.arange(28) == 3, np.nan, np.ones(SHAPE)),
        "2-channel image with a 1-channel model": np.zeros((2, *SHAPE)),
        "infinite": np.where(np.arange(28) == 3, np.inf, np.ones(SHAPE)),
        "beyond float32": np.where(np.arange(28) == 3, 1e300, np.ones(SHAPE)),
        "constant in float32": np.where(np.arange(28) == 3, 1.0, np.ones(SHAPE) + 1e-12),
        "constant within a border of zeros": np.pad(np.full((4, 4, 4), 7), 3),
        "one voxel": np.pad(np.full((1, 1, 1), 7), 3),
        "complex": np.zeros(SHAPE, complex),
        "no voxel": np.zeros((0, 5, 5)),
    }
    ELSEWHERE = {  # noqa: RUF012
        "bbox with no axis of size 1",  # test_boxes_with_no_flat_axis
        "initial seg wrong shape",  # test_masks_to_start_from
        "initial seg with value 2",
        "image smaller than the patch",  # test_small_and_flat_volumes_work
        "single-slice volume 1 x H x W",
        "patch edge <= 48 with autozoom, or a prompt larger than 2/3 of the patch",  # test_small_patches
    }
    IMPOSSIBLE = {  # noqa: RUF012 - a drawing has one shape, and the buffer is the adapter's own
        "mask shape != bbox size",
        "target buffer not 3D",
        "target buffer 3D but wrong size",
        "no target buffer set",
    }

    def test_no_row_is_forgotten(self) -> None:
        with (REFERENCE / "session_edge_cases_2_6_0.csv").open(newline="") as file:
            rows = {row["input"] for row in csv.DictReader(file)}
        assert rows - {*self.PROMPTS, *self.IMAGES, *self.ELSEWHERE, *self.IMPOSSIBLE} == set()
        assert rows >= self.ELSEWHERE | self.IMPOSSIBLE

    @pytest.mark.parametrize("name", PROMPTS)
    def test_prompts(self, model: Model, volume: Any, name: str) -> None:
        calls = counted(model)
        with pytest.raises(ProtocolError):
            model.segment(volume, [State((Click((12, 13, 14)), self.PROMPTS[name]))])
        assert calls == []

    @pytest.mark.parametrize("name", IMAGES)
    def test_images(self, model: Model, name: str) -> None:
        calls = counted(model)
        with pytest.raises(DataError, match="synthetic/case"):
            model.embed(as_sample(self.IMAGES[name]))
        assert calls == []

    def test_masks_to_start_from(self, model: Model, volume: Any) -> None:
        for bad in (np.ones((5, 5, 5), bool), np.full(self.SHAPE, 2, np.uint8), np.zeros(self.SHAPE, bool)):
            with pytest.raises(ProtocolError, match="the start mask is"):
                model.start_from(volume, bad)

    @pytest.mark.parametrize("shape", [(20, 30, 30), (1, 40, 50)])
    def test_small_and_flat_volumes_work(self, model: Model, shape: tuple[int, ...]) -> None:
        centre = tuple(n // 2 for n in shape)
        image, target = blob(shape, centre, (8, 8, 8))
        mask = replayed(model, model.embed(as_sample(image)), Click(centre))
        assert mask.shape == shape
        assert dice(mask, target) > 0.7 or shape[0] == 1

    def test_boxes_with_no_flat_axis(self, model: Model, volume: Any, tmp_path: Path) -> None:
        box, flat = Box((8, 8, 8), (17, 18, 20)), Box((12, 8, 8), (12, 18, 20))
        state = model.segment(volume, [State((box,))])[0]
        assert state.interactions == (box,)
        np.testing.assert_array_equal(state.mask, replayed(model, volume, flat))
        for how in ("refuse", "whole"):  # this checkpoint does not declare 3-D boxes
            other = nninteractive.load(LOCAL, checkpoint=TINY, box=how)
            with pytest.raises(ProtocolError, match="middle-slice"):
                replayed(other, other.embed(as_sample(volume.image)), box)
        folder = edited(tmp_path, "inference_info.json", lambda f: f | {"supported_interactions": {"bbox3d": True}})
        declared = nninteractive.load(LOCAL, checkpoint=folder, box="whole")
        whole = replayed(declared, declared.embed(as_sample(volume.image)), box)
        assert not np.array_equal(whole, state.mask)

    def test_kinds_that_the_checkpoint_lacks(self, volume: Any, tmp_path: Path) -> None:
        none = {"points": False, "lasso": False}
        change = {"supported_interactions": none, "supports_initial_label": False}
        folder = edited(tmp_path, "inference_info.json", lambda f: f | change)
        model = nninteractive.load(LOCAL, checkpoint=folder)
        here = model.embed(as_sample(volume.image))
        for prompt in (Click((12, 13, 14)), Lasso((5, 5, 5), np.ones((1, 3, 3), bool))):
            with pytest.raises(ProtocolError, match="does not take"):
                replayed(model, here, prompt)
        with pytest.raises(ProtocolError, match="cannot start from a mask"):
            model.start_from(here, np.ones(self.SHAPE, bool))

    def test_small_patches(self, tmp_path: Path) -> None:
        def smaller(facts: dict[str, Any]) -> dict[str, Any]:
            facts["configurations"]["3d_fullres_tiny"]["patch_size"] = [48, 48, 48]
            return facts

        folder = edited(tmp_path, "plans.json", smaller)
        with pytest.raises(ProtocolError, match="autozoom=false"):
            nninteractive.load(LOCAL, checkpoint=folder)
        model = nninteractive.load(LOCAL, checkpoint=folder, autozoom=False)
        volume = model.embed(as_sample(blob((40, 60, 70), (20, 30, 35), (8, 9, 9))[0]))
        assert replayed(model, volume, Box((20, 20, 20), (20, 51, 51))).any()
        with pytest.raises(ProtocolError, match="two thirds"):
            replayed(model, volume, Box((20, 20, 20), (20, 52, 52)))


def copied(folder: Path) -> Path:
    """Return a writable copy of the tiny model below `folder`."""
    copy = folder / "model"
    (copy / "fold_0").mkdir(parents=True)
    for file in TINY.rglob("*"):
        if file.is_file():
            shutil.copyfile(file, copy / file.relative_to(TINY))
    return copy


def edited(folder: Path, file: str, change: Any) -> Path:
    copy = copied(folder)
    (copy / file).write_text(json.dumps(change(json.loads((copy / file).read_text()))))
    return copy


def repacked(folder: Path, **changes: Any) -> Path:
    copy = copied(folder)
    weights = copy / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(weights, weights_only=True) | changes, weights)
    return copy


class Trap:
    """Runs code when it is unpickled: leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


class TestModelFolder:
    def test_identity_covers_what_sets_results(self, tmp_path: Path) -> None:
        copy = copied(tmp_path)
        name, _, before = nninteractive.checkpoint_identity(copy, LOCAL).partition("@")
        assert (name, len(before)) == ("model", 12)
        assert nninteractive.checkpoint_identity(TINY, LOCAL) == f"tiny_model@{before}"
        (copy / "LICENSE").write_text("another\n")
        (copy / "README.md").write_text("hello\n")
        assert nninteractive.checkpoint_identity(copy, LOCAL).endswith(before)
        for file in ("dataset.json", "plans.json", "inference_info.json", "fold_0/checkpoint_final.pth"):
            original = (copy / file).read_bytes()
            (copy / file).write_bytes(original + b" ")
            assert not nninteractive.checkpoint_identity(copy, LOCAL).endswith(before), file
            (copy / file).write_bytes(original)

    def test_the_engine_plans_with_the_same_identity(self, model: Model) -> None:
        registry = Registry.discover()
        spec = Spec("nninteractive", {}, str(TINY))
        assert checkpoint_of(registry, spec) == model.checkpoint_id
        assert load_model(registry, spec).checkpoint_id == model.checkpoint_id

    def test_where_it_is_looked_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NNINTERACTIVE_MODEL_DIR", str(tmp_path))
        monkeypatch.delenv("RCLICKS_CHECKPOINTS", raising=False)
        with pytest.raises(WeightsError, match="nninteractive-download-model"):
            nninteractive.checkpoint_path(LOCAL, None)
        wanted = tmp_path / "models" / "nnInteractive_v1.0"
        wanted.parent.mkdir()
        copied(tmp_path / "elsewhere").rename(wanted)
        assert nninteractive.checkpoint_path(LOCAL, None) == wanted
        monkeypatch.setenv("NNINTERACTIVE_MODEL_DIR", str(wanted))
        assert nninteractive.checkpoint_path(LOCAL, None) == wanted

    def test_a_folder_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="does not exist"):
            nninteractive.load(LOCAL, checkpoint=tmp_path / "absent")
        copy = copied(tmp_path)
        (copy / "inference_info.json").unlink()
        with pytest.raises(WeightsError, match=r"inference_info\.json or inference_session_class\.json"):
            nninteractive.load(LOCAL, checkpoint=copy)
        (copy / "inference_session_class.json").write_text('"nnInteractiveInferenceSession"')
        assert nninteractive.checkpoint_path(LOCAL, copy) == copy
        (copy / "fold_1").mkdir()
        with pytest.raises(WeightsError, match="2 folders"):
            nninteractive.load(LOCAL, checkpoint=copy)
        with pytest.raises(WeightsError, match="synthetic"):
            nninteractive.load(LOCAL, checkpoint="synthetic")

    def test_a_checkpoint_that_would_run_code_is_not_opened(self, tmp_path: Path) -> None:
        folder = repacked(tmp_path, logging=Trap(tmp_path / "sprung"))
        with pytest.raises(WeightsError, match="trust=true"):
            nninteractive.load(LOCAL, checkpoint=folder)
        assert not (tmp_path / "sprung").exists()
        nninteractive.load(LOCAL, checkpoint=folder, trust=True)
        assert (tmp_path / "sprung").exists()

    def test_numbers_of_a_training_log_are_plain(self, tmp_path: Path) -> None:
        log = {"dice": [np.float64(0.5), np.float32(1)], "epoch": np.int64(3)}
        nninteractive.load(LOCAL, checkpoint=repacked(tmp_path, logging=log))

    def test_weights_of_another_network(self, tmp_path: Path) -> None:
        weights = torch.load(TINY / "fold_0" / "checkpoint_final.pth", weights_only=True)["network_weights"]
        weights.popitem()
        with pytest.raises(WeightsError, match="cannot be loaded"):
            nninteractive.load(LOCAL, checkpoint=repacked(tmp_path, network_weights=weights))

    def test_options(self) -> None:
        with pytest.raises(ProtocolError, match="no_such"):
            nninteractive.load(LOCAL, checkpoint=TINY, no_such=1)
        with pytest.raises(ProtocolError, match="one of"):
            nninteractive.load(LOCAL, checkpoint=TINY, box="3d")

    def test_the_published_network_has_the_stated_size(self) -> None:
        with torch.device("meta"):
            network = nninteractive.build_network(LOCAL.variant)
        assert sum(p.numel() for p in network.parameters()) == LOCAL.parameters


@pytest.mark.slow
def test_a_trainer_of_another_name_does_not_break_on_torchvision(tmp_path: Path) -> None:
    """In a process of its own, as torchvision may be whole in this one."""
    folder = repacked(tmp_path, trainer_name="SomebodysTrainer")
    code = (
        "from rclicks.adapters import nninteractive as n; "
        f"print(n.load(n.CARDS[0], checkpoint={str(folder)!r}).options['licence'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "CC0-1.0\n", done.stderr


class OldSession:
    """A stand-in with the signatures of 1.x, as that version cannot be installed beside 2.x. It paints its prompts.

    The one fake here: it shows which calls the adapter makes, not what nnInteractive 1.x answers.
    """

    def __init__(
        self,
        device: Any = None,
        use_torch_compile: bool = False,
        verbose: bool = False,
        torch_n_threads: int = 8,
        do_autozoom: bool = True,
        use_pinned_memory: bool = True,
    ) -> None:
        print("noise")
        torch.set_num_threads(min(torch_n_threads, os.cpu_count() or 1))
        assert not use_torch_compile
        self.do_autozoom = do_autozoom

    def initialize_from_trained_model_folder(
        self, model_training_output_dir: str, use_fold: Any = None, checkpoint_name: str = "checkpoint_final.pth"
    ) -> None:
        assert (Path(model_training_output_dir) / "fold_0" / checkpoint_name).is_file()

    def set_image(self, image: np.ndarray, image_properties: Any = None) -> None:
        assert image.ndim == 4
        self.shape = image.shape[1:]

    def set_target_buffer(self, target_buffer: np.ndarray) -> None:
        self.buffer = target_buffer

    def reset_interactions(self) -> None:
        self.buffer.fill(0)

    def add_bbox_interaction(self, bbox_coords: Any, include_interaction: bool, run_prediction: bool = True) -> None:
        self.buffer[tuple(slice(a, b) for a, b in bbox_coords)] = include_interaction

    def add_point_interaction(self, coordinates: Any, include_interaction: bool, run_prediction: bool = True) -> None:
        self.buffer[tuple(coordinates)] = include_interaction

    def add_scribble_interaction(
        self, scribble_image: np.ndarray, include_interaction: bool, run_prediction: bool = True
    ) -> None:
        assert scribble_image.shape == self.shape
        self.buffer[scribble_image == 1] = include_interaction

    def add_lasso_interaction(
        self, lasso_image: np.ndarray, include_interaction: bool, run_prediction: bool = True
    ) -> None:
        assert lasso_image.shape == self.shape
        self.buffer[lasso_image == 1] = include_interaction


def test_sessions_of_1_x_get_the_calls_they_know(monkeypatch: pytest.MonkeyPatch, case: dict[str, Any]) -> None:
    module = sys.modules["nnInteractive.inference.inference_session"]
    monkeypatch.setattr(module, "nnInteractiveInferenceSession", OldSession)
    model = nninteractive.load(LOCAL, checkpoint=TINY, box="whole")
    assert model.options["licence"] == "not stated"
    assert model.options["interactions_storage"] == "the package's own"
    volume = model.embed(as_sample(case["image"]))
    drawing = np.array([[[True, False], [True, True]]])
    prompts = [
        Box((10, 10, 10), (20, 20, 20)),
        Click((15, 15, 15), False),
        Scribble((30, 5, 6), drawing),
        Lasso((12, 12, 12), drawing, False),
    ]
    expected = np.zeros(case["image"].shape, bool)
    expected[10:21, 10:21, 10:21] = True
    expected[15, 15, 15] = False
    expected[30, 5:7, 6:8] = drawing[0]
    expected[12, 12:14, 12:14] &= ~drawing[0]
    np.testing.assert_array_equal(replayed(model, volume, *prompts), expected)
    expected[12, 12:14, 12:14] = True
    np.testing.assert_array_equal(replayed(model, volume, *prompts[:3]), expected)


SECRET = "a-key-for-this-test"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The package's own server on a free port of this machine, with the tiny model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "nnInteractive.inference.server.main", "--model-dir", str(TINY), "--fold", "0"]
    command += ["--device", "cpu", "--torch-n-threads", str(torch.get_num_threads()), "--port", str(port)]
    environment = os.environ | {"NN_INTERACTIVE_API_KEY": SECRET}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(600):
            try:
                opener.open(f"{url}/healthz", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert process.poll() is None, log.read_text()
                time.sleep(0.2)
        else:
            pytest.fail(f"the server did not start: {log.read_text()}")
        yield url, process
    finally:
        process.kill()
        process.wait(timeout=30)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("RCLICKS_TEST_KEY", SECRET)
    monkeypatch.delenv("NN_INTERACTIVE_API_KEY", raising=False)
    return "RCLICKS_TEST_KEY"


@pytest.mark.slow
class TestRemote:
    def test_masks_are_those_of_a_local_session(
        self,
        server: tuple[str, Any],
        key: str,
        case: dict[str, Any],
        prompts: list[Interaction],
        official_masks: list[np.ndarray],
    ) -> None:
        model = nninteractive.load(REMOTE, server=server[0], key_variable=key)
        assert model.options["licence"] == "CC0-1.0"
        assert model.options["session_version"].startswith("2.")
        assert SECRET not in json.dumps(model.options)
        volume = model.embed(as_sample(case["image"].astype(np.int16)))
        state = State()
        for prompt, expected in zip(prompts, official_masks, strict=True):
            state = advance(model, volume, state, prompt)
            np.testing.assert_array_equal(state.mask, expected)
        calls = counted(model)
        np.testing.assert_array_equal(replayed(model, volume, *prompts[:7]), official_masks[6])
        assert calls == ["undo"]
        uncounted(model)
        np.testing.assert_array_equal(replayed(model, volume, *prompts[:2]), official_masks[1])
        start = model.start_from(volume, case["target"])
        np.testing.assert_array_equal(start.mask, case["target"])

    def test_a_lost_session_is_opened_and_played_again(
        self,
        server: tuple[str, Any],
        key: str,
        case: dict[str, Any],
        prompts: list[Interaction],
        official_masks: list[np.ndarray],
    ) -> None:
        model = nninteractive.load(REMOTE, server=server[0], key_variable=key)
        volume = model.embed(as_sample(case["image"]))
        replayed(model, volume, prompts[0])
        assert model._session.raw._http.post("/release").status_code == 200  # as after the server's idle time
        np.testing.assert_array_equal(replayed(model, volume, *prompts[:2]), official_masks[1])

    def test_autozoom_is_told_to_the_server(self, server: tuple[str, Any], key: str) -> None:
        model = nninteractive.load(REMOTE, server=server[0], key_variable=key, autozoom=False)
        image, _ = blob((80, 90, 130), (40, 45, 65), (12, 12, 50), seed=3)
        far = [Click((40, 45, 65)), Click((46, 45, 107))]
        session = Official(image, do_autozoom=False)
        expected = [session.add(prompt) for prompt in far]
        np.testing.assert_array_equal(replayed(model, model.embed(as_sample(image)), *far), expected[1])

    def test_a_wrong_key(self, server: tuple[str, Any], key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(key, "wrong")
        with pytest.raises(ProtocolError, match=r"refuses the key.*RCLICKS_TEST_KEY") as caught:
            nninteractive.load(REMOTE, server=server[0], key_variable=key)
        assert "wrong" not in str(caught.value)
        monkeypatch.delenv(key)
        with pytest.raises(ProtocolError, match="is not set"):
            nninteractive.load(REMOTE, server=server[0], key_variable=key)
        with pytest.raises(ProtocolError, match="refuses the key"):
            nninteractive.load(REMOTE, server=server[0])

    def test_a_dropped_model_gives_its_place_back(self, server: tuple[str, Any], key: str) -> None:
        for _ in range(5):  # the server has three places
            nninteractive.load(REMOTE, server=server[0], key_variable=key)
        held = [nninteractive.load(REMOTE, server=server[0], key_variable=key) for _ in range(3)]
        with pytest.raises(PluginError, match="is full"):
            nninteractive.load(REMOTE, server=server[0], key_variable=key)
        del held

    def test_the_declared_folder_is_hashed(self, server: tuple[str, Any], key: str) -> None:
        spec = Spec("nninteractive-remote", {"server": server[0], "key_variable": key}, str(TINY))
        assert load_model(Registry.discover(), spec).checkpoint_id == checkpoint_of(Registry.discover(), spec)

    def test_the_server_goes_away(
        self, server: tuple[str, subprocess.Popen[bytes]], key: str, case: dict[str, Any], prompts: list[Interaction]
    ) -> None:
        """Last of its class: it ends the server that the others use."""
        model = nninteractive.load(REMOTE, server=server[0], key_variable=key)
        volume = model.embed(as_sample(case["image"]))
        server[1].kill()
        server[1].wait(timeout=30)
        with pytest.raises(PluginError, match=r"does not answer.*nninteractive-server") as caught:
            replayed(model, volume, prompts[0])
        assert isinstance(caught.value, RclicksError)


class TestRemoteWithoutServer:
    def test_options_hold_no_secret(self) -> None:
        with pytest.raises(ProtocolError, match="server=http") as caught:
            nninteractive.load(REMOTE, server="http://me:secret@127.0.0.1:1")
        assert "secret" not in str(caught.value)
        with pytest.raises(ProtocolError, match="environment variable") as caught:
            nninteractive.load(REMOTE, server="http://127.0.0.1:1", key_variable="se-cret")
        assert "se-cret" not in str(caught.value)
        with pytest.raises(ProtocolError, match="server"):
            nninteractive.load(REMOTE)
        with pytest.raises(ProtocolError, match="unknown option 'seed'"):
            nninteractive.load(REMOTE, server="http://127.0.0.1:1", seed=1)

    def test_nobody_there(self, key: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with pytest.raises(PluginError, match=r"does not answer.*nninteractive-server"):
            nninteractive.load(REMOTE, server=f"http://127.0.0.1:{port}", key_variable=key)


def test_the_engine_plays_it(case: dict[str, Any], model: Model, official_masks: list[np.ndarray]) -> None:
    from rclicks.engine.loading import load_user

    registry = Registry.discover()
    protocol = Protocol(clicks=3)
    user = load_user(registry, Spec("robot"), protocol)
    sample = replace(as_sample(case["image"]), targets=(Target("1", (case["target"],)),))
    rules = EpisodeConfig("nninteractive", protocol, ("iou", "dice"), 0, 1, "unit")
    episode = play(model, sample, [("robot", user)], rules)
    assert episode.failures == []
    clicks = [Click((row["z"], row["y"], row["x"]), row["positive"]) for row in episode.rows]
    session = Official(case["image"])
    expected = [dice(session.add(click), case["target"]) for click in clicks]
    assert [row["dice"] for row in episode.rows] == pytest.approx(expected, abs=1e-9)
    assert episode.rows[0]["dice"] > 0.8
