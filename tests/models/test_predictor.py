"""The predictor around a network (zoom, flip, previous mask), against golden numbers of the original code."""

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.functional import avg_pool2d  # noqa: E402

from rclicks.cards import ModelCard  # noqa: E402
from rclicks.errors import DataError  # noqa: E402
from rclicks.interaction import Click  # noqa: E402
from rclicks.metrics.target import TargetReference  # noqa: E402
from rclicks.models.contract import State  # noqa: E402
from rclicks.models.early_fusion.click_maps import disk_maps  # noqa: E402
from rclicks.models.early_fusion.predictor import EarlyFusionModel  # noqa: E402
from rclicks.models.early_fusion.zoom import ZoomRule  # noqa: E402
from rclicks.sample import Sample  # noqa: E402
from rclicks.users.robot import next_click  # noqa: E402
from support import SHARED, crc32, golden, golden_arrays, needs_shared, rng_image, stored_view  # noqa: E402

CARD = ModelCard(name="analytic", family="analytic", summary="a formula", threshold=0.49, batched=True)


class Recorder:
    """Calls a network and remembers what it was given."""

    def __init__(self, network: Callable) -> None:
        self.network, self.calls = network, []

    def __call__(self, batch, points):
        self.calls.append((list(batch.shape), points.numpy().copy()))
        return self.network(batch, points)


def analytic(batch, points):
    """The network that golden/README.md defines."""
    size, half = batch.shape[2:], points.shape[1] // 2
    yy, xx = torch.meshgrid(torch.arange(size[0]).float(), torch.arange(size[1]).float(), indexing="ij")
    result = []
    for image, slot in zip(batch, points, strict=True):
        logits = torch.full(tuple(size), -4.0)
        distances = []
        for rows in (slot[:half], slot[half:]):
            valid = [p for p in rows if max(p[0], p[1]) >= 0]
            distances.append([torch.sqrt((yy - p[0]) ** 2 + (xx - p[1]) ** 2) for p in valid])
        if distances[0]:
            logits = torch.maximum(logits, 4 - 0.12 * torch.stack(distances[0]).amin(0))
        logits = logits + 0.8 * (image[:3].mean(0) - 0.5) + 1.5 * image[3]
        if distances[1]:
            logits = torch.minimum(logits, -4 + 0.15 * torch.stack(distances[1]).amin(0))
        result.append(logits)
    return torch.stack(result)[:, None]


def pooled(batch, points):
    """The network that fixtures/README.md defines."""
    disks = disk_maps(points, tuple(batch.shape[2:]), 5)
    disks = avg_pool2d(avg_pool2d(disks, (31, 1), 1, (15, 0)), (1, 31), 1, (0, 15))  # two passes: 15 times faster
    return (
        60 * disks[:, :1]
        - 60 * disks[:, 1:]
        + 2 * (batch[:, 3:] - 0.5)
        + 6 * (batch[:, :3].mean(1, keepdim=True) - 0.5)
    )


def model(network: Callable, zoom: ZoomRule | None, flip: bool = True) -> EarlyFusionModel:
    return EarlyFusionModel(CARD, network, previous=True, zoom=lambda dataset: zoom, flip=flip)


def rule(facts: dict | None) -> ZoomRule | None:
    if facts is None:
        return None
    target = facts["target_size"]
    return ZoomRule(tuple(target) if isinstance(target, list) else target, facts["skip_clicks"], published_paste=True)


def added(state: State, click: Click) -> State:
    return State((*state.interactions, click), state.mask, state.probability, state.memory)


ITEMS = golden("behaviour/predictor_fakenet")["items"] if (SHARED / "golden").is_dir() else []


@needs_shared
@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["tag"])
def test_every_step_equals_the_golden_predictor(item: dict) -> None:
    facts, arrays = golden("behaviour/predictor_fakenet"), golden_arrays("behaviour/predictor_fakenet")
    image = rng_image(item["image_seed"], *item["hw"])
    assert crc32(image) == item["image_crc32"]
    recorder = Recorder(analytic)
    predictor = model(recorder, rule(item["zoom_in_params"]), item["with_flip"])
    embedding = predictor.embed(Sample("any", "x", image))
    state = State()
    for k, (step, (row, column, positive)) in enumerate(zip(item["steps"], item["clicks"], strict=True), 1):
        recorder.calls.clear()
        state = added(state, Click((row, column), bool(positive)))
        changed = predictor.slot(embedding, state).look.changed
        (state,) = predictor.segment(embedding, [state])
        assert state.memory.region == (tuple(step["roi"]) if step["roi"] else None)
        assert len(recorder.calls) == len(step["net_calls"])
        assert changed is step["net_calls"][0]["image_changed"]
        for (shape, points), call in zip(recorder.calls, step["net_calls"], strict=True):
            assert shape == call["shape"]
            assert np.abs(points - np.array(call["points"])).max() < 1e-4
        name = f"{item['tag']}.prob{k}"
        assert np.abs(stored_view(state.probability, facts["outputs"][name]["stored"]) - arrays[name]).max() < 1e-5
        assert np.count_nonzero(state.probability > 0.5) == step["n_above_0.5"]
        assert np.count_nonzero(state.mask) == step["n_above_0.49"]
        assert state.probability.sum(dtype=np.float64) == pytest.approx(step["prob_sum"], rel=1e-5)


MODES = {
    "cvpr400": ZoomRule(400, 1),
    "tetris400": ZoomRule(400, -1),
    "davis600": ZoomRule(600, 1),
    "fixed448": ZoomRule((448, 448), -1),
    "nozoom": None,
    "small_cvpr400": ZoomRule(400, 1),
    "small_tetris400": ZoomRule(400, -1),
    "small_fixed448": ZoomRule((448, 448), -1),
}


@needs_shared
@pytest.mark.parametrize("mode", MODES)
def test_clicker_and_predictor_play_the_golden_loop(mode: str) -> None:
    with np.load(SHARED / "reference/rclicks/fixtures/predictor_loop.npz") as file:
        fixture = {key.removeprefix(f"{mode}_"): file[key] for key in file.files if key.startswith(f"{mode}_")}
    truth, ignore = fixture["gt"] == 1, fixture["gt"] == -1
    facts = TargetReference(truth, ignore if ignore.any() else None)
    predictor = model(pooled, MODES[mode])
    embedding = predictor.embed(Sample("any", "x", fixture["image"]))
    state, mask = State(), np.zeros(truth.shape, bool)
    for k, (positive, row, column) in enumerate(fixture["clicks"]):
        click = next_click(facts, mask, [c.point for c in state.interactions])
        assert click == Click((row, column), bool(positive))
        (state,) = predictor.segment(embedding, [added(state, click)])
        mask = state.mask
        assert (state.memory.region or (-1, -1, -1, -1)) == tuple(fixture["roi"][k])
        assert np.abs(state.probability[::25, ::25] - fixture["probs_sub25"][k]).max() < 1e-4
        intersection = np.count_nonzero(mask & truth & ~ignore)
        union = np.count_nonzero((mask | truth) & ~ignore)
        assert intersection / union == pytest.approx(fixture["iou"][k], abs=1e-6)


def lanes_of(count: int) -> list[State]:
    clicks = [[(20, 30, 1), (60, 90, 0)], [(70, 20, 1), (10, 10, 1)], [(50, 100, 1), (20, 30, 0)]]
    return [State(tuple(Click((r, c), bool(p)) for r, c, p in slot)) for slot in clicks[:count]]


def test_lanes_of_one_shape_share_a_call_and_agree_with_single_ones() -> None:
    recorder = Recorder(analytic)
    predictor = model(recorder, ZoomRule(120, -1))
    embedding = predictor.embed(Sample("any", "x", rng_image(3, 90, 130)))
    states = lanes_of(3)
    together = predictor.segment(embedding, states)
    assert len(recorder.calls) == 1
    assert len({predictor.batch_key(embedding, s) for s in states}) == 1
    again = [State((*s.interactions, Click((45, 65))), s.mask, s.probability, s.memory) for s in together]
    for batch in (states, again):
        together = predictor.segment(embedding, batch)
        swapped = predictor.segment(embedding, batch[::-1])[::-1]
        for state, other, one in zip(batch, swapped, together, strict=True):
            (alone,) = predictor.segment(embedding, [state])
            assert np.abs(alone.probability - one.probability).max() < 1e-5
            assert np.abs(other.probability - one.probability).max() < 1e-5


def test_states_are_not_changed() -> None:
    predictor = model(analytic, ZoomRule(120, 1))
    embedding = predictor.embed(Sample("any", "x", rng_image(3, 90, 130)))
    (state,) = predictor.segment(embedding, lanes_of(1))
    before = state.probability.copy()
    predictor.segment(embedding, [added(state, Click((3, 3), False))])
    assert np.array_equal(state.probability, before)


def test_a_given_probability_starts_the_first_round() -> None:
    predictor = model(analytic, ZoomRule(120, 1))
    embedding = predictor.embed(Sample("any", "x", rng_image(3, 90, 130)))
    start = np.zeros((90, 130), np.float32)
    start[60:, :20] = 1
    click = (Click((20, 30)),)
    (plain,) = predictor.segment(embedding, [State(click)])
    (given,) = predictor.segment(embedding, [State(click, start > 0.5, start)])
    assert given.probability[70, 10] > plain.probability[70, 10]


@pytest.mark.parametrize("interactions", [(), (Click((90, 0)),)])
def test_a_click_inside_the_image_is_needed(interactions: tuple) -> None:
    predictor = model(analytic, None)
    embedding = predictor.embed(Sample("any", "x", rng_image(3, 90, 130)))
    with pytest.raises(DataError, match="at least one click"):
        predictor.segment(embedding, [State(interactions)])


def test_only_colour_images_are_taken() -> None:
    with pytest.raises(DataError, match="uint8 RGB"):
        model(analytic, None).embed(Sample("any", "x", np.zeros((4, 4), np.uint8)))
