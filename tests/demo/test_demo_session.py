"""The core of the demo: what a visitor does, what the models answer, and logs that replay to the same numbers."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rclicks
from rclicks.demo.agreement import INTER_RATER, agreement, distinct
from rclicks.demo.bench import Bench
from rclicks.demo.drawing import compare, draw_clicks, pixel_at, scale_of
from rclicks.demo.files import datasets_found, open_files, open_sample, save
from rclicks.demo.session import Session
from rclicks.engine.loading import load_model
from rclicks.errors import DataError, PluginError, ProtocolError, UnknownNameError, WeightsError
from rclicks.interaction import Click
from rclicks.metrics.overlap import dice, iou
from rclicks.metrics.target import TargetReference
from rclicks.models.contract import State
from rclicks.registry import Registry
from rclicks.sample import Sample, Target
from rclicks.specs import parse
from rclicks.users.robot import next_click
from support import rng_image

SHAPE = (40, 56)
TRUTH = np.zeros(SHAPE, bool)
TRUTH[8:30, 10:38] = True


def photo(seed: int = 0) -> np.ndarray:
    image = rng_image(seed, *SHAPE) // 3
    image[TRUTH] += 120
    return image


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.fixture
def bench(registry: Registry) -> Bench:
    return Bench(registry)


@pytest.fixture
def session() -> Session:
    return Session(Sample("folder", "cat", photo(), (Target("0", (TRUTH,)),)), "geodesic")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make a data set `folder` of one image."""
    for kind, picture in (("images", photo()[..., ::-1]), ("masks", TRUTH.astype(np.uint8) * 255)):
        (tmp_path / kind).mkdir()
        assert cv2.imwrite(str(tmp_path / kind / "cat.png"), picture)
    return tmp_path


CLICKS = st.builds(
    lambda y, x, positive: Click((y, x), positive), st.integers(0, 39), st.integers(0, 55), st.booleans()
)
ACTS = st.lists(st.one_of(CLICKS, st.sampled_from(["undo", "redo", "clear"])), max_size=30)


@given(ACTS)
@settings(deadline=None)
def test_undo_redo_and_clear_act_like_two_lists(acts: list[Any]) -> None:
    session = Session(Sample("folder", "cat", photo()), "geodesic")
    clicks: list[Click] = []
    undone: list[Click] = []
    for act in acts:
        if isinstance(act, Click):
            session, clicks, undone = session.place(act), [*clicks, act], []
        elif act == "clear":
            session, clicks, undone = session.clear(), [], []
        elif act == "undo" and clicks:
            undone.append(clicks.pop())
            session = session.undo()
        elif act == "redo" and undone:
            clicks.append(undone.pop())
            session = session.redo()
        else:
            with pytest.raises(ProtocolError, match=f"no click to {act}"):
                getattr(session, act)()
        assert (session.clicks, session.undone) == (tuple(clicks), tuple(undone))


@pytest.mark.parametrize("name", ["geodesic", "random-walker", "opencv-grabcut"])
def test_the_prediction_is_that_of_the_rounds_one_after_the_other(name: str, bench: Bench, session: Session) -> None:
    model = rclicks.load_model(name)
    embedding, state = model.embed(session.sample.blind()), State()
    session = Session(session.sample, name)
    for click in (Click((19, 24)), Click((2, 50), False), Click((12, 14)), Click((33, 24), False)):
        session = session.place(click)
        state = model.segment(embedding, [State(session.clicks, state.mask, state.probability, state.memory)])[0]
        assert np.array_equal(bench.masks(session)[-1], state.mask)
    assert 0 < state.mask.sum() < state.mask.size
    alone = Bench(Registry.discover()).masks(session)  # at once, with nothing kept from earlier rounds
    assert all(np.array_equal(a, b) for a, b in zip(alone, bench.masks(session), strict=True))


def test_an_undone_click_leaves_no_trace(bench: Bench, session: Session) -> None:
    one = session.place(Click((19, 24)))
    before = bench.masks(one)[-1].copy()
    two = one.place(Click((20, 11), positive=False))
    assert not np.array_equal(bench.masks(two)[-1], before)
    assert np.array_equal(bench.masks(two.undo())[-1], before)
    assert np.array_equal(bench.masks(two.undo().redo())[-1], bench.masks(two)[-1])
    assert not bench.masks(two.clear())[-1].any()


def test_another_model_is_asked_anew(bench: Bench, registry: Registry) -> None:
    session = Session(Sample("folder", "cat", rng_image(1, *SHAPE)), "geodesic")
    clicked = session.place(Click((19, 24))).place(Click((2, 50), positive=False))
    first = bench.masks(clicked)[-1]
    second = Session(session.sample, "random-walker", clicked.clicks)
    assert np.array_equal(bench.masks(second)[-1], Bench(registry).masks(second)[-1])
    assert not np.array_equal(bench.masks(second)[-1], first)
    assert np.array_equal(bench.masks(clicked)[-1], first)


def test_two_sessions_do_not_disturb_each_other(registry: Registry) -> None:
    shared = Bench(registry)
    names = ("ann", "bob")  # the same name of a file for different images, too
    sessions = {n: Session(Sample("folder", "same", photo(i)), "geodesic") for i, n in enumerate(names)}
    clicks = {"ann": [Click((19, 24)), Click((2, 2), False)], "bob": [Click((35, 50)), Click((19, 24), False)]}
    for number in range(2):
        for name in names:
            sessions[name] = sessions[name].place(clicks[name][number])
            found = shared.masks(sessions[name])
            alone = Bench(registry).masks(sessions[name])
            assert all(np.array_equal(a, b) for a, b in zip(found, alone, strict=True))
    assert not np.array_equal(shared.masks(sessions["ann"])[-1], shared.masks(sessions["bob"])[-1])


@pytest.mark.parametrize("name", ["geodesic", "named"])
def test_a_log_replays_to_the_same_iou(name: str, root: Path, tmp_path: Path) -> None:
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "named.py").write_text(NAMED)
    bench = Bench(Registry.discover([tmp_path]))
    sample = open_files(root / "images" / "cat.png", [root / "masks" / "cat.png"])
    session = Session(sample, name).place(Click((11, 13)))
    session = session.place(Click((3, 50), False)).undo().place(Click((34, 20), False))
    while len(session.clicks) < 5 and (click := session.suggest("gt", bench.masks(session)[-1])):
        session = session.place(click)
    picture, log = save(tmp_path / "saved", session, bench.masks(session)[-1])
    frame = rclicks.evaluate(
        "quickstart",
        models=[name],
        datasets=[f"folder:root={root}"],
        users=[f"recorded:file={log}"],
        plugins=[tmp_path],
    )
    assert frame.attrs["failures"] == []
    facts = TargetReference(TRUTH)
    wanted = [iou(facts, mask) for mask in bench.masks(session)[1:]]
    assert frame.sort_values("round")["iou"].tolist() == pytest.approx(wanted, abs=1e-12)
    assert len(wanted) == len(session.clicks) >= 3
    stored = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(stored, bench.masks(session)[-1] * np.uint8(255))


def test_a_log_of_several_raters_replays_too(root: Path, bench: Bench, tmp_path: Path) -> None:
    other = np.zeros(SHAPE, np.uint8)
    other[14:26, 14:30] = 255
    (root / "masks" / "cat.png").unlink()
    for name, mask in (("ann", TRUTH.astype(np.uint8) * 255), ("bob", other)):
        (root / "masks" / name).mkdir()
        assert cv2.imwrite(str(root / "masks" / name / "cat.png"), mask)
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), mask)
    sample = open_files(root / "images" / "cat.png", [tmp_path / "ann.png", tmp_path / "bob.png"])
    session = Session(sample, "geodesic").place(Click((19, 24)))
    session = session.place(session.suggest("bob", bench.masks(session)[-1]))
    (tmp_path / "log.csv").write_text(session.log())
    frame = rclicks.evaluate(
        "quickstart",
        models=["geodesic"],
        datasets=[f"multirater-folder:root={root}"],
        users=[f"recorded:file={tmp_path / 'log.csv'}"],
    )
    last = frame[frame["round"] == 2].set_index("rater")["iou"].to_dict()
    scores = bench.scores(session, bench.masks(session)[-1])
    assert last == pytest.approx({rater: own["iou"] for rater, own in scores.items()}, abs=1e-12)
    assert last["ann"] != last["bob"]


def test_the_suggestion_is_the_base_rule(bench: Bench, session: Session) -> None:
    assert session.suggest("gt", bench.masks(session)[-1]) == next_click(TargetReference(TRUTH), np.zeros(SHAPE, bool))
    again = session.place(session.suggest("gt", np.zeros(SHAPE, bool)))
    assert again.suggest("gt", np.zeros(SHAPE, bool)) != again.clicks[0]  # never the same pixel twice
    assert session.suggest("gt", TRUTH) is None
    with pytest.raises(DataError, match="nobody named 'zoe'"):
        session.suggest("zoe", TRUTH)
    with pytest.raises(DataError, match="no reference mask"):
        Session(Sample("folder", "cat", photo()), "geodesic").suggest("gt", TRUTH)


def test_bad_files_are_refused(root: Path, tmp_path: Path) -> None:
    image = root / "images" / "cat.png"
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(image.read_bytes()[:200])
    assert cv2.imwrite(str(tmp_path / "small.png"), np.zeros((4, 5), np.uint8))
    for bad in ("text.png", "cut.png", "absent.png"):
        with pytest.raises(DataError, match=bad):
            open_files(tmp_path / bad)
    with pytest.raises(DataError, match="must be equal"):
        open_files(image, [tmp_path / "small.png"])
    with pytest.raises(DataError, match="several masks are named cat"):
        open_files(image, [root / "masks" / "cat.png", root / "masks" / "cat.png"])


@pytest.mark.parametrize("point", [(-1, 3), (40, 3), (3, 56), (3, -1), (1, 2, 3)])
def test_a_click_outside_is_refused(point: tuple[int, ...], session: Session) -> None:
    with pytest.raises(ProtocolError, match="does not lie in an image"):
        session.place(Click(point))


def test_models_that_cannot_be_played_are_refused(
    bench: Bench, session: Session, registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RCLICKS_CHECKPOINTS", str(tmp_path))
    with pytest.raises(UnknownNameError, match="geodesic"):
        bench.load("geodesik")
    with pytest.raises(ProtocolError, match="models of images"):
        bench.masks(Session(session.sample, "geodesic-3d").place(Click((1, 1))))
    with pytest.raises(WeightsError):
        bench.load("geodesic:checkpoint=absent.pth")
    with pytest.raises(UnknownNameError):
        Bench(registry, ["no-such-model"])
    assert "geodesic" in bench.names
    assert not {"geodesic-3d", "sam-vit-b", "slicewise"} & set(bench.names)
    (tmp_path / "sam_vit_b_01ec64.pth").touch()
    assert "sam-vit-b" in bench.names
    assert Bench(registry, ["spa:checkpoint=FILE"]).names[0] == "spa:checkpoint=FILE"


def test_volumes_and_absent_objects_are_refused(session: Session) -> None:
    with pytest.raises(DataError, match="two axes"):
        Session(Sample("v", "ct", np.zeros((3, 4, 5), np.int16), spacing=(1.0, 1.0, 1.0)), "geodesic")
    with pytest.raises(ProtocolError, match="has 1 objects"):
        Session(session.sample, "geodesic", object=1)


def test_samples_of_data_sets(registry: Registry, root: Path) -> None:
    assert "quickstart" in datasets_found(registry)
    assert open_sample(registry, f"folder:root={root}", 0).id == "cat"
    with pytest.raises(ProtocolError, match="has 1 samples"):
        open_sample(registry, f"folder:root={root}", 1)
    with pytest.raises(UnknownNameError):
        open_sample(registry, "no-such-set", 0)
    with pytest.raises(DataError, match="not found"):
        open_sample(registry, f"folder:root={root / 'nowhere'}", 0)


NAMED = '''
"""A model whose answer depends on the names and, like SPA and RITM, on the round before."""
import numpy as np
from rclicks.cards import ModelCard
from rclicks.models.contract import Model, State
from rclicks.seeds import keyed_rng
CARDS = (ModelCard(name="named", family="named", summary="depends on names and memory"),)


class Named(Model):
    def __init__(self, card):
        self.card, self.options = card, {}

    def embed(self, sample):
        return sample.dataset, sample.id, sample.shape

    def segment(self, embedding, states):
        return [self.next(embedding, state) for state in states]

    def next(self, embedding, state):
        rounds = 1 + (state.memory or 0)
        noise = keyed_rng(rounds, *embedding[:2], *state.interactions).random(embedding[2], np.float32)
        found = noise if state.probability is None else (noise + state.probability) / 2
        return State(state.interactions, found > 0.5, found, rounds)


def load(card, *, checkpoint=None, device="cpu", protocol=None):
    return Named(card)
'''
PLUGIN = '''
"""A model with three answers."""
import numpy as np
from rclicks.cards import ModelCard
from rclicks.models.contract import Model, State
CARDS = (ModelCard(name="three", family="three", summary="three answers", threshold=0.25),)


class Three(Model):
    def __init__(self, card):
        self.card, self.options = card, {}

    def embed(self, sample):
        return sample.shape

    def segment(self, embedding, states):
        return [State(s.interactions, np.zeros(embedding, bool), np.zeros(embedding, np.float32)) for s in states]

    def candidates(self, embedding, state):
        row = state.interactions[-1].point[0]
        return np.stack([np.full(embedding, value + row, np.float32) for value in (0.25, 0.3, 0.0)])


def load(card, *, checkpoint=None, device="cpu", protocol=None, needs_absent=False):
    if needs_absent:
        import a_package_that_nobody_has
    return Three(card)
'''


def test_candidates_of_a_model_that_has_several(tmp_path: Path, session: Session) -> None:
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "three.py").write_text(PLUGIN)
    bench = Bench(Registry.discover([tmp_path]))
    three = Session(session.sample, "three")
    assert bench.candidates(three) == {}
    found = bench.candidates(three.place(Click((0, 3))))
    assert {name: mask.mean() for name, mask in found.items()} == {
        "candidate 1": 0,
        "candidate 2": 1,
        "candidate 3": 0,
    }
    assert all(mask.all() for mask in bench.candidates(three.place(Click((1, 3)))).values())
    assert bench.candidates(session.place(Click((0, 3)))) == {}
    with pytest.raises(PluginError, match="a_package_that_nobody_has"):
        bench.load("three:needs_absent=true")


SAMPLER = '''
"""A model that draws six samples, of which two are alike twice."""
import numpy as np
from rclicks.cards import ModelCard
from rclicks.models.contract import Model, State
CARDS = (ModelCard(name="sampler", family="sampler", summary="six samples"),)


class Sampler(Model):
    def __init__(self, card):
        self.card, self.options = card, {}

    def embed(self, sample):
        return sample.shape

    def segment(self, embedding, states):
        means = [self.samples(embedding, state).mean(0) for state in states]
        return [State(state.interactions, mean > 0.5, mean) for state, mean in zip(states, means)]

    def samples(self, embedding, state):
        made = np.zeros((6, *embedding), np.float32)
        for number, rows in enumerate((20, 19, 20, 10, 19, 40)):
            made[number, :rows] = 0.75
        return made


def load(card, *, checkpoint=None, device="cpu", protocol=None):
    return Sampler(card)
'''


def test_of_a_model_that_draws_samples_a_few_different_ones_are_shown(tmp_path: Path, session: Session) -> None:
    """The most typical first, then the one least like it, and so on; equal ones once."""
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "sampler.py").write_text(SAMPLER)
    bench = Bench(Registry.discover([tmp_path]))
    drawn = Session(session.sample, "sampler")
    assert bench.candidates(drawn) == {}
    found = bench.candidates(drawn.place(Click((0, 3))))
    areas = {name: int(mask[:, 0].sum()) for name, mask in found.items()}
    assert areas == {"sample 2 of 6": 19, "sample 6 of 6": 40, "sample 4 of 6": 10, "sample 1 of 6": 20}


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=9), st.integers(1, 5))
@settings(deadline=None)
def test_distinct_masks_are_distinct_and_as_many_as_there_are(rows: list[list[bool]], count: int) -> None:
    masks = np.array(rows)[:, None]
    chosen = distinct(masks, count)
    assert len(chosen) == len({masks[i].tobytes() for i in chosen}) == min(count, len({m.tobytes() for m in masks}))
    assert distinct(masks, 1) == chosen[:1]


def two_raters() -> Sample:
    other = np.zeros(SHAPE, bool)
    other[14:26, 14:30] = True
    masks = (TRUTH, other, np.zeros(SHAPE, bool))
    return Sample("multirater-folder", "cat", photo(), (Target("0", masks, raters=("ann", "bob", "eve")),))


def test_each_rater_could_have_clicked(bench: Bench) -> None:
    """The same as clicking suggestion after suggestion; who drew nothing cannot click."""
    session = Session(two_raters(), "geodesic").place(Click((2, 2)))
    assert list(session.drew()) == ["ann", "bob"]
    for rater in ("ann", "bob"):
        by_hand = session.clear()
        for _ in range(3):
            by_hand = by_hand.place(by_hand.suggest(rater, bench.masks(by_hand)[-1]))
        assert bench.led(session, rater, 3) == by_hand
    assert bench.led(session, "ann", 3).clicks != bench.led(session, "bob", 3).clicks
    assert bench.led(session, "eve", 3).clicks == ()
    assert bench.led(session, "ann", 0).clicks == ()


def test_the_table_says_what_everybody_has_in_common() -> None:
    """Dice by hand: ann drew 22 x 28 pixels, bob 12 x 16 of them, the answer 22 x 14 of ann's."""
    sample, answer = two_raters(), TRUTH.copy()
    answer[:, 24:] = False
    raters = {name: facts.mask for name, facts in Session(sample, "geodesic").drew().items()}
    table = agreement({"now": answer}, raters)
    inside = 12 * 10
    now = (f"{2 * 308 / (308 + 616):.3f}", f"{2 * inside / (308 + 192):.3f}")
    between = f"{2 * 192 / (616 + 192):.3f}"
    assert table.header == ("Dice", "ann", "bob")
    assert table.rows == (
        ("now", *now),
        ("ann", "", between),
        ("bob", between, ""),
        (INTER_RATER, between, between),
    )
    ignore = np.zeros(SHAPE, bool)
    ignore[:, 24:] = True
    assert agreement({"now": answer}, raters, ignore).rows[0][1] == "1.000"
    assert [row[0] for row in agreement({"now": answer}, {"ann": raters["ann"]}).rows] == ["now"]


def written(sample: Sample, root: Path) -> Path:
    """Write a sample as a data set `multirater-folder`."""
    (root / "images").mkdir(parents=True)
    assert cv2.imwrite(str(root / "images" / f"{sample.id}.png"), sample.image[..., ::-1])
    (target,) = sample.targets
    for rater, mask in zip(target.raters, target.masks, strict=True):
        (root / "masks" / rater).mkdir(parents=True)
        assert cv2.imwrite(str(root / "masks" / rater / f"{sample.id}.png"), mask * np.uint8(255))
    return root


def check_replay(session: Session, bench: Bench, folder: Path) -> None:
    """Compare the masks of a replay by `rclicks run` with the demo's, pixel by pixel, for each rater who drew."""
    data = written(session.sample, folder / "data")
    (folder / "log.csv").write_text(session.log())
    frame = rclicks.evaluate(
        "quickstart",
        models=[session.model],
        datasets=[f"multirater-folder:root={data}"],
        users=[f"recorded:file={folder / 'log.csv'}"],
        out=folder / "run",
        save_masks=True,
    )
    wanted = bench.masks(session)
    for rater, facts in session.drew().items():
        own = frame[frame["rater"] == rater].sort_values("round")
        assert own["dice"].tolist() == pytest.approx([dice(facts, mask) for mask in wanted[1:]], abs=1e-12)
        (file,) = (folder / "run").rglob(f"0_{rater}_*.png")
        assert np.array_equal(cv2.imread(str(file), cv2.IMREAD_UNCHANGED) > 0, wanted[-1])
    assert set(frame["rater"]) == set(session.drew())


def test_several_masks_are_read_as_the_data_set_reads_them(root: Path, tmp_path: Path) -> None:
    """A grey image of 16 bit is stretched, and a lossy mask refused, or a log would not replay."""
    deep = (photo()[..., 0].astype(np.uint16) * np.uint16(200)) + np.uint16(7)
    (root / "images" / "cat.png").unlink()
    (root / "masks" / "cat.png").unlink()
    assert cv2.imwrite(str(root / "images" / "cat.png"), deep)
    masks = []
    for rater, high in (("ann", 255), ("bob", 1)):
        (root / "masks" / rater).mkdir()
        masks.append(tmp_path / f"{rater}.png")
        for file in (root / "masks" / rater / "cat.png", masks[-1]):
            assert cv2.imwrite(str(file), TRUTH * np.uint8(high))
    opened = open_files(root / "images" / "cat.png", masks)
    (stored,) = rclicks.load_dataset("multirater-folder", root)
    assert np.array_equal(opened.image, stored.image)
    assert (opened.dataset, opened.id) == (stored.dataset, stored.id)
    assert opened.targets[0].raters == stored.targets[0].raters
    for a, b in zip(opened.targets[0].masks, stored.targets[0].masks, strict=True):
        assert np.array_equal(a, b)
    assert cv2.imwrite(str(masks[1]), np.where(TRUTH, 253, 3).astype(np.uint8))
    with pytest.raises(DataError, match=r"bob\.png holds 2 values \(3, 253\)"):
        open_files(root / "images" / "cat.png", masks)


def test_masks_of_a_log_of_several_raters_replay(bench: Bench, tmp_path: Path) -> None:
    check_replay(bench.led(Session(two_raters(), "geodesic"), "bob", 4), bench, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spa:checkpoint=synthetic,samples=6", "aespa:checkpoint=synthetic"])
def test_undo_and_replay_are_exact_for_models_that_remember(
    name: str, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SPA and AESPA take along from click to click is that of the clicks that are left, not of those undone."""
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    network = load_model(registry, parse(name), "cpu")  # large, so that it is built once
    for user in ("demo.bench", "engine.worker"):
        monkeypatch.setattr(f"rclicks.{user}.load_model", lambda *_: network)
    bench = Bench(registry, [name])
    straight = Session(two_raters(), name).place(Click((19, 24))).place(Click((3, 50), False))
    bench.rounds(straight)
    detour = straight.place(Click((30, 5), False)).place(Click((1, 1)))
    answers = {s: bench.masks(s)[-1] for s in (detour, detour.undo())}
    back = detour.undo().undo().place(Click((28, 30)))
    found, candidates = bench.masks(back), bench.candidates(back)
    anew = Bench(registry, [name])  # which never saw the undone clicks
    wanted = Session(two_raters(), name, back.clicks)
    assert all(np.array_equal(a, b) for a, b in zip(found, anew.masks(wanted), strict=True))
    again = anew.candidates(wanted)
    assert list(candidates) == list(again)
    assert len(again) == (4 if name.startswith("spa") else 0)
    assert all(np.array_equal(candidates[k], again[k]) for k in again)
    assert all(np.array_equal(bench.masks(s)[-1], mask) for s, mask in answers.items())
    check_replay(back, bench, tmp_path)


def test_pictures() -> None:
    image, mask, truth = photo(), np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    scale = scale_of(SHAPE)
    assert scale == 11
    assert scale_of((4000, 100)) == 1
    shown = draw_clicks(image, mask, [], scale)
    assert shown.shape == (440, 616, 3)
    assert np.array_equal(shown[::scale, ::scale], image)
    clicked = draw_clicks(image, mask, [Click((20, 30))], scale)
    rows, columns = np.nonzero((clicked != shown).any(axis=2))
    assert pixel_at((columns.mean(), rows.mean()), scale) == (20, 30)
    mask[:2], truth[1:3] = True, True
    drawn = compare(np.zeros((*SHAPE, 3), np.uint8), truth, mask)
    assert [tuple(drawn[row, 0]) for row in range(4)] == [(104, 27, 27), (108, 94, 27), (18, 90, 36), (0, 0, 0)]
