"""A 2-D model slice by slice: prompted slices are the 2-D model's own answers, the others are carried from them."""

import csv
import hashlib
import importlib.util
import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import rclicks
from rclicks.adapters import slicewise
from rclicks.cards import ModelCard
from rclicks.data.volumes import read_volume
from rclicks.engine.episode import EpisodeConfig
from rclicks.engine.episode import play as play_all
from rclicks.engine.loading import checkpoint_of, load_user
from rclicks.errors import DataError, ProtocolError, UnknownNameError, WeightsError
from rclicks.intensity import gray_to_rgb, percentile_window, to_uint8
from rclicks.interaction import Box, Click, Interaction, Lasso, Scribble
from rclicks.models.contract import Model, State
from rclicks.models.slicewise.slices import most_interior
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.sample import Sample, Target
from rclicks.specs import Spec, parse
from support import SHARED, needs_shared, rng_image

INNER = "geodesic:radius=2"
VOLUMES = SHARED / "data" / "volumes"


def cases(count: int) -> list[tuple[Sample, np.ndarray]]:
    """Read the first training volumes of the hippocampus set with their whole object."""
    with (VOLUMES / "manifest.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["dataset"] == "hippocampus" and r["split"] == "train"]
    found = []
    for row in rows[:count]:
        image, label = read_volume(VOLUMES / row["image"]), read_volume(VOLUMES / row["label"])
        values = np.array(image.values)
        values.setflags(write=False)
        found.append((Sample("hippocampus", row["case"], values, spacing=image.spacing), np.asarray(label.values) > 0))
    return found


def blocks(shape: tuple[int, int, int] = (13, 40, 50)) -> tuple[Sample, np.ndarray]:
    """Return a volume with a bright bar through slices 2 to 10 and noise."""
    truth = np.zeros(shape, bool)
    truth[2:11, 12:28, 14:36] = True
    noise = np.random.default_rng(0).integers(0, 30, shape)
    volume = (noise + np.where(truth, 200, 20)).astype(np.int16)
    volume.setflags(write=False)
    return Sample("test", "blocks", volume, spacing=(3.0, 1.0, 1.0)), truth


def robot(prediction: np.ndarray, truth: np.ndarray) -> Click:
    """Return a click at the most interior voxel of the largest error."""
    best, sign = np.zeros_like(truth), True
    for error, positive in ((truth & ~prediction, True), (prediction & ~truth, False)):
        labels, count = ndimage.label(error)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        if count and sizes.max() > best.sum():
            best, sign = labels == int(sizes.argmax()) + 1, positive
    depth = ndimage.distance_transform_edt(np.pad(best, 1))[1:-1, 1:-1, 1:-1]
    return Click(tuple(int(v) for v in np.unravel_index(depth.argmax(), depth.shape)), sign)


def dice(one: np.ndarray, two: np.ndarray) -> float:
    return float(2 * (one & two).sum() / (one.sum() + two.sum()))


def play(model: Model, encoded: Any, rounds: list[Interaction]) -> list[State]:
    states = [State()]
    for interaction in rounds:
        before = states[-1]
        states += model.segment(encoded, [replace(before, interactions=(*before.interactions, interaction))])
    return states[1:]


def ready(**options: Any) -> Any:
    return rclicks.load_model("slicewise", **{"model": INNER, **options})


def same(one: State, two: State) -> bool:
    return np.array_equal(one.mask, two.mask)


class Bright(Model):
    """A 2-D model: bright pixels connected to the positive clicks, inside the boxes, without the negative clicks."""

    options: dict[str, Any]

    def __init__(self, takes: tuple[str, ...], threshold: float = 0.5) -> None:
        self.card = ModelCard(name="bright", family="bright", summary="", prompts=takes, threshold=threshold)
        self.options = {}
        self.seen: list[State] = []

    def embed(self, sample: Sample) -> Any:
        return sample.image[..., 0] > 100

    def segment(self, embedding: Any, states: Any) -> list[State]:
        self.seen += states
        return [self._next(embedding, state) for state in states]

    def _next(self, bright: np.ndarray, state: State) -> State:
        allowed = bright.copy()
        for box in (i for i in state.interactions if isinstance(i, Box)):
            inside = np.zeros_like(bright)
            inside[box.low[0] : box.high[0] + 1, box.low[1] : box.high[1] + 1] = True
            allowed &= inside
        labels = ndimage.label(allowed)[0]
        clicks = [i for i in state.interactions if isinstance(i, Click)]
        wanted = {int(labels[c.point]) for c in clicks if c.positive} - {0}
        mask = np.isin(labels, list(wanted)) if clicks else allowed
        for click in clicks:
            if not click.positive:
                mask[click.point] = False
        return State(state.interactions, mask, mask.astype(np.float32), len(self.seen))


def of(inner: Model, **options: Any) -> Any:
    return slicewise.load(slicewise.CARDS[0], models=lambda spec: inner, **options)


@needs_shared
def test_clicks_of_a_robot_help_on_real_volumes() -> None:
    model, scores = ready(), []
    for sample, truth in cases(6):
        encoded, state, found = model.embed(sample), State(mask=np.zeros_like(truth)), []
        for _ in range(5):
            click = robot(state.mask, truth)
            (state,) = model.segment(encoded, [replace(state, interactions=(*state.interactions, click))])
            found.append(dice(state.mask, truth))
        scores.append(found)
    mean = np.mean(scores, axis=0)
    assert mean[4] > mean[0] + 0.1, mean
    assert mean[4] > 0.6, mean
    plain = []
    for sample, truth in cases(6):  # what the first click gives if nothing is carried
        alone = ready(propagate="none")
        (state,) = alone.segment(alone.embed(sample), [State((robot(np.zeros_like(truth), truth),))])
        plain.append(dice(state.mask, truth))
    assert mean[0] > np.mean(plain) + 0.2, (mean, np.mean(plain))


@needs_shared
def test_a_prompted_slice_is_the_answer_of_the_2d_model() -> None:
    [(sample, truth)] = cases(1)
    z = int(truth.sum(axis=(1, 2)).argmax())
    y, x = most_interior(truth[z], (1, 1))
    clicks = [Click((z, y, x)), Click((z, y - 12, x), False), Click((z, y, x + 4))]
    model, flat = ready(), rclicks.load_model(INNER)
    low, high = percentile_window(sample.image)
    image = gray_to_rgb(to_uint8(sample.image[z], low, high))
    flat_states = play(
        flat, flat.embed(Sample("test", "slice", image)), [Click(c.point[1:], c.positive) for c in clicks]
    )
    for state, wanted in zip(play(model, model.embed(sample), clicks), flat_states, strict=True):
        assert np.array_equal(state.mask[z], wanted.mask)
        assert np.array_equal(state.memory.prompted[z].probability, wanted.probability)
        assert state.mask.dtype == np.bool_
        assert state.probability is None
    assert flat_states[0].mask.any()


def test_a_slice_belongs_to_its_nearest_prompted_slice() -> None:
    sample, truth = blocks()
    model = of(Bright(("click",)))
    encoded = model.embed(sample)
    first, second, both, even, odd = model.segment(
        encoded,
        [
            State((Click((4, 20, 20)),)),
            State((Box((8, 14, 16), (8, 20, 25)),)),
            State((Click((4, 20, 20)), Click((8, 20, 25), False))),
            State((Click((8, 20, 20)), Click((4, 20, 25), False))),
            State((Click((8, 20, 20)), Click((3, 20, 25), False))),
        ],
    )
    assert np.array_equal(first.mask, truth)
    assert np.array_equal(second.mask, truth), "a model without boxes gets the centre"
    # Slice 8 is said to be empty: nearer to it nothing is left, and slice 6, as far from both, is the lower one's.
    assert np.array_equal(np.flatnonzero(both.mask.any(axis=(1, 2))), [2, 3, 4, 5, 6])
    assert np.array_equal(both.mask[:7], truth[:7])
    assert np.array_equal(np.flatnonzero(even.mask.any(axis=(1, 2))), [7, 8, 9, 10])
    assert np.array_equal(np.flatnonzero(odd.mask.any(axis=(1, 2))), [6, 7, 8, 9, 10])


def test_an_early_prompted_slice_is_left_alone_by_a_later_one() -> None:
    sample, _ = blocks()
    model = ready()
    encoded = model.embed(sample)
    clicks = [Click((3, 20, 20)), Click((9, 20, 30), False), Click((3, 24, 16), False)]
    one, two, three = play(model, encoded, clicks)
    changed = [i for i in range(13) if not np.array_equal(one.mask[i], two.mask[i])]
    assert set(changed) <= set(range(7, 13))
    assert 9 in changed
    changed = [i for i in range(13) if not np.array_equal(two.mask[i], three.mask[i])]
    assert set(changed) <= set(range(7))
    assert 3 in changed


def test_a_negative_click_corrects_or_empties_a_carried_slice() -> None:
    sample, truth = blocks()
    inner = Bright(("click", "box"))
    model = of(inner, carry="click")
    encoded = model.embed(sample)
    start = Click((4, 20, 20))
    (carried,) = model.segment(encoded, [State((start,))])
    assert np.array_equal(carried.mask, truth)
    near = State((start, Click((9, 13, 34), False)))  # at the rim: a part of the mask is wrong
    middle = State((start, Click((9, 20, 25), False)))  # in the depth: all of it is wrong
    rim, empty = model.segment(encoded, [near, middle])
    wanted = truth.copy()
    wanted[9, 13, 34] = False
    assert np.array_equal(rim.mask[9], wanted[9])
    assert rim.memory.prompted[9].prompts == (Click((19, 21)), Click((13, 34), False))
    [question] = [seen for seen in inner.seen if len(seen.interactions) == 2]
    assert question.interactions == rim.memory.prompted[9].prompts
    assert np.array_equal(question.mask, truth[9]), "the carried mask is the one to be corrected"
    assert not empty.mask[7:].any(), "the slices nearer to the emptied one are empty, too"
    assert np.array_equal(empty.mask[:7], truth[:7])
    asked = len(inner.seen)
    (again,) = model.segment(encoded, [replace(empty, interactions=(*empty.interactions, Click((9, 21, 30))))])
    wanted = truth.copy()
    wanted[9, 20, 25] = False
    assert np.array_equal(again.mask, wanted)
    # The emptied slice starts afresh: its first question has no previous mask, and no click that was carried there.
    assert inner.seen[asked].interactions == (Click((20, 25), False), Click((21, 30)))
    assert inner.seen[asked].mask is None


def test_a_negative_click_where_nothing_is_asks_nobody() -> None:
    sample, _ = blocks()
    inner = Bright(("click",))
    model = of(inner)
    (state,) = model.segment(model.embed(sample), [State((Click((6, 2, 2), False),))])
    assert not state.mask.any()
    assert not inner.seen


def test_carrying_stops_at_the_reach_the_box_and_a_change() -> None:
    sample, _ = blocks()
    jump = sample.image.copy()
    jump[8, :, :] = 220  # all of the slice is bright
    sample = replace(sample, image=jump)

    def filled(interaction: Interaction, **options: Any) -> list[int]:
        model = of(Bright(("click", "box")), carry="click", **options)
        (state,) = model.segment(model.embed(sample), [State((interaction,))])
        return np.flatnonzero(state.mask.any(axis=(1, 2))).tolist()

    click = Click((5, 20, 20))
    assert filled(click) == [2, 3, 4, 5, 6, 7]
    assert filled(click, reach=2) == [3, 4, 5, 6, 7]
    assert filled(click, overlap=0) == list(range(2, 11))
    assert filled(click, propagate="none") == [5]
    assert filled(Box((4, 12, 14), (6, 27, 35))) == [4, 5, 6]
    assert filled(Box((5, 12, 14), (5, 27, 35))) == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("takes", "carry", "kinds"),
    [
        (("click", "box"), "both", ["box", "click"]),
        (("click", "box"), "click", ["click"]),
        (("click", "box"), "box", ["box"]),
        (("click",), "both", ["click"]),
        (("click",), "box", ["click"]),
        (("box",), "both", ["box"]),
    ],
)
def test_masks_are_carried_by_what_the_2d_model_takes(takes: tuple[str, ...], carry: str, kinds: list[str]) -> None:
    sample, truth = blocks()
    inner = Bright(takes)
    model = of(inner, carry=carry, margin=1)
    (state,) = model.segment(model.embed(sample), [State((Box((5, 12, 14), (5, 27, 35)),))])
    assert np.array_equal(state.mask, truth)
    for seen in inner.seen[1:]:
        assert [i.kind for i in seen.interactions] == kinds
        assert seen.mask is None, "a model that takes no masks starts each slice afresh"
        assert Box((11, 13), (28, 36)) in seen.interactions or "box" not in kinds


def test_a_model_that_takes_masks_gets_that_of_the_slice_before() -> None:
    sample, truth = blocks()
    inner = Bright(("click", "mask"))
    model = of(inner)
    model.segment(model.embed(sample), [State((Click((4, 20, 20)),))])
    first, *carried = inner.seen
    assert first.mask is None
    assert all(np.array_equal(state.mask, truth[4]) for state in carried)
    assert [state.memory for state in carried[:6]] == [1, 2, 3, 4, 5, 6], "the memory of the slice before"
    assert carried[7].memory == 1, "downwards it starts from the prompted slice again"


def test_drawings_and_boxes_reach_the_2d_model() -> None:
    sample, _ = blocks()
    inner = Bright(("click", "box"))
    model = of(inner, propagate="none", strokes=3)
    encoded = model.embed(sample)
    line = Scribble((5, 20, 16), np.ones((1, 1, 15), bool))
    upright = Scribble((4, 20, 16), np.ones((5, 1, 1), bool))
    lasso = Lasso((6, 14, 16), np.ones((1, 11, 13), bool))
    states = model.segment(encoded, [State((i,)) for i in (line, upright, lasso)])
    seen = [state.interactions for state in inner.seen]
    assert seen[0] == (Click((20, 23)), Click((20, 16)), Click((20, 30)))
    assert seen[1:4] == [(Click((20, 16)),)] * 3
    assert sorted(states[1].memory.prompted) == [4, 6, 8]
    assert seen[4] == (Box((14, 16), (24, 28)), Click((19, 21)))
    with pytest.raises(ProtocolError, match="cannot be converted"):
        of(Bright(("box",))).segment(encoded, [State((line,))])
    with pytest.raises(ProtocolError, match="does not lie in"):
        model.segment(encoded, [State((Click((13, 0, 0)),))])


@needs_shared
def test_order_company_and_memory_do_not_matter() -> None:
    [(sample, truth)] = cases(1)
    model = ready()
    encoded = model.embed(sample)
    at = [tuple(map(int, p)) for p in np.argwhere(truth)[:: truth.sum() // 5]]
    rounds: list[Interaction] = [Click(at[2]), Click(at[4]), Click((0, 0, 0), False), Box(at[1], at[1]), Click(at[3])]
    history = play(model, encoded, rounds)
    assert len({state.mask.tobytes() for state in history}) > 2
    third = history[2]
    before = pickle.dumps(third.memory), third.mask.copy()
    states = [State(tuple(rounds)), replace(third, interactions=tuple(rounds[:4])), State(tuple(rounds[:1]))]
    for order in (states, states[::-1]):
        for state, answer in zip(order, model.segment(encoded, order), strict=True):
            assert answer.interactions == state.interactions
            assert same(answer, history[len(state.interactions) - 1])
    thawed = replace(third, interactions=tuple(rounds[:4]), memory=pickle.loads(before[0]))
    assert same(model.segment(model.embed(sample), [thawed])[0], history[3])
    assert pickle.dumps(third.memory) == before[0], "the memory was changed"
    assert np.array_equal(third.mask, before[1])
    planes = sum(one.probability is not None for one in third.memory.prompted.values())
    assert len(before[0]) < 20_000 + planes * sample.image[0].size * 4, "more than a plane for each prompted slice"


def counted(model: Any) -> Counter[str]:
    """Count the slices that the inner model encodes, by name."""
    calls: Counter[str] = Counter()
    embed: Callable[[Sample], Any] = model.inner.embed

    def counting(sample: Sample) -> Any:
        calls[sample.id] += 1
        return embed(sample)

    model.inner.embed = counting
    return calls


def test_each_touched_slice_is_encoded_once_and_no_other() -> None:
    sample, _ = blocks()
    model = ready(reach=2)
    calls = counted(model)
    encoded = model.embed(sample)
    assert not calls, "encoded before anything was asked"
    states = [State((Click((4, 20, 20)), Click((4, 15, 20)))), State((Click((5, 20, 20)),))]
    model.segment(encoded, states)
    model.segment(encoded, states[::-1])
    assert calls == Counter({f"blocks/0/{i}": 1 for i in range(2, 8)})


def test_few_remembered_slices_cost_time_but_change_nothing() -> None:
    sample, _ = blocks()
    rounds: list[Interaction] = [Click((4, 20, 20)), Click((9, 14, 16)), Click((4, 2, 2), False)]
    rich, frugal = ready(), ready(keep=2)
    calls = counted(frugal)
    encoded = frugal.embed(sample)
    assert all(map(same, play(rich, rich.embed(sample), rounds), play(frugal, encoded, rounds)))
    assert len(encoded.encoded) == 2
    assert calls.total() > 13


def test_slices_may_be_stacked_along_another_axis() -> None:
    sample, _ = blocks()
    rounds: list[Interaction] = [Click((4, 20, 20)), Click((9, 14, 16), False)]
    turned_rounds: list[Interaction] = [Click((20, 20, 4)), Click((14, 16, 9), False)]
    turned = Sample("test", "blocks", np.moveaxis(sample.image, 0, 2), spacing=(1.0, 1.0, 3.0))
    upright = play(ready(), ready().embed(sample), rounds)[-1]
    for axis in ("auto", 2):
        model = ready(axis=axis)
        state = play(model, model.embed(turned), turned_rounds)[-1]
        assert np.array_equal(np.moveaxis(state.mask, 2, 0), upright.mask)
    other = ready(axis=0)
    assert not np.array_equal(np.moveaxis(play(other, other.embed(turned), turned_rounds)[-1].mask, 2, 0), upright.mask)


def test_the_window_decides_what_the_2d_model_sees() -> None:
    sample, truth = blocks()
    click = State((Click((4, 20, 20)),))
    for window, found in ((None, True), ([0, 255], True), ([0, 2000], False)):
        model = of(Bright(("click",)), **({} if window is None else {"window": window}))
        (state,) = model.segment(model.embed(sample), [click])
        assert np.array_equal(state.mask, truth) == found


def test_the_inner_models_threshold_and_weights_are_the_models_own() -> None:
    inner = Bright(("click",), threshold=0.3)
    inner.checkpoint_id = "mine.pt@123"
    model = of(inner)
    assert model.card.threshold == 0.3
    assert model.checkpoint_id == "mine.pt@123"
    assert ready().options["inner"] == rclicks.load_model(INNER).options


def test_weights_are_identified_without_loading_them(tmp_path: Path) -> None:
    registry = Registry.discover()
    file = tmp_path / "mine.pt"
    file.write_bytes(b"not read")
    for spec, identity in (
        ("slicewise", "none"),
        ("slicewise:model=mobilesam:checkpoint=synthetic", "synthetic"),
        (f"slicewise:model=mobilesam:checkpoint={file}", f"mine.pt@{hashlib.sha256(b'not read').hexdigest()[:12]}"),
        ("slicewise:model=[geodesic:radius=2,step=0.01]", "none"),
    ):
        assert checkpoint_of(registry, parse(spec)) == identity
    for spec in ("slicewise:checkpoint=synthetic", "slicewise:model=geodesic,checkpoint=x.pt"):
        with pytest.raises(WeightsError, match="inner model"):
            checkpoint_of(registry, parse(spec))
        with pytest.raises(WeightsError, match="inner model"):
            rclicks.load_model(spec)
    with pytest.raises(UnknownNameError, match="geodesik"):
        checkpoint_of(registry, parse("slicewise:model=geodesik"))


def test_wrong_options_are_refused() -> None:
    for options, words in (
        ({"model": "slicewise"}, "3-D"),
        ({"model": 3}, "name of a 2-D model"),
        ({"model": "geodesic:no_such=1"}, "no_such"),
        ({"axis": "x"}, "'axis'"),
        ({"window": [1]}, "'window'"),
        ({"carry": "mask"}, "one of both, click, box"),
        ({"no_such_option": 1}, "no_such_option"),
        ({"models": 1}, "models"),
    ):
        with pytest.raises(ProtocolError, match=words):
            rclicks.load_model("slicewise", **options)
    listed = rclicks.load_model("slicewise:model=[geodesic:radius=2,step=0.01]")
    assert (listed.inner.options["radius"], listed.inner.options["step"]) == (2, 0.01)
    with pytest.raises(DataError, match="is not a volume"):
        ready().embed(Sample("test", "image", rng_image(1, 20, 30)))


@pytest.mark.slow
def test_a_network_that_takes_masks_works_inside() -> None:
    for name in ("torch", "torchvision", "segment_anything", "timm"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    model = rclicks.load_model("slicewise", model="mobilesam:checkpoint=synthetic", overlap=0)
    assert model.checkpoint_id == "synthetic"
    sample, _ = blocks((2, 40, 50))
    rounds: list[Interaction] = [Click((1, 20, 20)), Click((1, 30, 40), False)]
    calls = counted(model)
    encoded = model.embed(sample)
    state = play(model, encoded, rounds)[-1]
    flat = play(model.inner, encoded.encoded[1], [Click((20, 20)), Click((30, 40), False)])[-1]
    assert sorted(calls.values()) == [1, 1]
    assert np.array_equal(state.memory.prompted[1].probability, flat.probability)
    assert np.array_equal(state.mask[1], flat.mask)
    assert state.mask[0].any()


def test_the_engine_asks_the_inner_model_once_a_round() -> None:
    """The engine keeps masks alone between rounds; that must not make the adapter play everything again."""
    sample, truth = blocks()
    inner = Bright(("click",))
    model = of(inner, propagate="none")
    user = load_user(Registry.discover(), Spec("robot"), Protocol())
    target = Target("1", (np.asarray(truth, bool),))
    rules = EpisodeConfig("m", Protocol.named("default", clicks=4), ("iou", "dice"), 42, 1, "unit")
    episode = play_all(model, replace(sample, targets=(target,)), [("robot", user)], rules)
    assert not episode.failures
    assert len(inner.seen) <= len(episode.rows)
