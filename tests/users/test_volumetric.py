"""Users of volumes: where they click and box, against goldens, a slow oracle of their rules, and real errors."""

import csv
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rclicks.errors import ProtocolError
from rclicks.interaction import Box, Click, Interaction, check_inside
from rclicks.metrics.depth import deepest
from rclicks.metrics.target import TargetReference
from rclicks.protocol import Protocol
from rclicks.sample import Sample, Target
from rclicks.users import random_clicks, volumetric
from rclicks.users.components import (
    challenge_click,
    corrected_click,
    errors_of,
    label,
    largest_component,
    largest_error,
)
from rclicks.users.contract import TrajectorySpec, User, View
from support import SHARED, needs_shared

CARDS = {card.name: card for card in volumetric.CARDS}
GOLDEN = SHARED / "reference" / "nninteractive" / "golden"
HIPPOCAMPUS = SHARED / "data" / "volumes" / "hippocampus"
Point = tuple[int, ...]


def user(name: str, protocol: str = "default", **options: object) -> User:
    return volumetric.load(CARDS[name], protocol=Protocol.named(protocol), **options)


def look(
    truth: np.ndarray,
    prediction: np.ndarray,
    history: tuple[Interaction, ...] = (),
    *,
    ignore: np.ndarray | None = None,
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    seed: int = 0,
) -> View:
    target = Target("1", (truth if ignore is None else truth & ~ignore,), ignore)
    sample = Sample("set", "case", np.zeros(truth.shape, np.int16), (target,), spacing)
    reference = TargetReference(target.masks[0], ignore, spacing)
    return View(sample, target, reference, prediction, history, TrajectorySpec(), np.random.default_rng(seed))


def blobs(seed: int, shape: Point = (7, 8, 9), level: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Return a truth and a prediction of it, both with several rough pieces."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((3, *shape)), (0, 1, 1, 1))
    noise /= noise.std()
    return noise[0] + noise[1] / 2 > level, noise[0] + noise[2] / 2 > level


# --- a slow oracle, from the text of the rules -----------------------------------------------------------------------


def flood(mask: np.ndarray) -> list[list[Point]]:
    """Pieces of a mask (26 neighbours), in the order of their first voxel; each a sorted list of voxels."""
    left, pieces = {tuple(int(i) for i in p) for p in np.argwhere(mask)}, []
    while left:
        stack = [min(left)]
        left.discard(stack[0])
        piece = []
        while stack:
            at = stack.pop()
            piece.append(at)
            for step in itertools.product((-1, 0, 1), repeat=3):
                near = tuple(a + b for a, b in zip(at, step, strict=True))
                if near in left:
                    left.discard(near)
                    stack.append(near)
        pieces.append(sorted(piece))
    return pieces


def depths(piece: list[Point], shape: Point, spacing: tuple[float, ...]) -> np.ndarray:
    """Squared distance of each voxel of a piece to the nearest voxel of the framed volume that is not in it."""
    outside = np.ones(tuple(n + 2 for n in shape), bool)
    outside[tuple((np.array(piece) + 1).T)] = False
    away = (np.array(piece)[:, None] + 1 - np.argwhere(outside)[None]) ** 2 * np.array(spacing) ** 2
    return away.sum(axis=2).min(axis=1)


def slow_challenge(truth: np.ndarray, prediction: np.ndarray) -> Click | None:
    pieces = flood(truth ^ prediction)
    if not pieces:
        return None
    piece = max(pieces, key=len)
    deep = depths(piece, truth.shape, (1, 1, 1))
    at = [p for p, d in zip(piece, deep, strict=True) if d == deep.max()]
    chosen = at[np.random.RandomState(42).choice(len(at))]
    return Click(chosen, bool(truth[chosen]))


def slow_corrected(
    truth: np.ndarray, prediction: np.ndarray, ignore: np.ndarray, spacing: tuple[float, ...], clicked: set[Point]
) -> Click | None:
    missed, wrong = flood(truth & ~prediction & ~ignore), flood(prediction & ~truth & ~ignore)
    for piece in sorted([*missed, *wrong], key=len, reverse=True):  # stable: missed ones first
        deep = depths(piece, truth.shape, spacing)
        open_ = [(-d, p) for p, d in zip(piece, deep, strict=True) if p not in clicked]
        if open_:
            return Click(min(open_)[1], piece in missed)
    return None


# --- the click rules -------------------------------------------------------------------------------------------------


@needs_shared
def test_the_challenge_rule_meets_all_golden_clicks() -> None:
    rows = list(csv.DictReader((GOLDEN / "click_expected.csv").open()))
    challenger = user("medsegfm", "compat", box=False)
    with np.load(GOLDEN / "click_cases.npz") as cases:
        for row in rows:
            number = f"{int(row['case']):02d}"
            view = look(cases[f"gt_{number}"] > 0, cases[f"seg_{number}"] > 0)
            found = challenger.next(view)
            if row["kind"] == "none":
                assert found is None
                continue
            assert found == Click(tuple(int(row[f"click_{a}"]) for a in "zyx"), row["kind"] == "fg"), row
            errors = errors_of(view.reference, view.prediction)
            piece = largest_component(errors.error)
            depth, at = deepest(piece.mask)
            assert piece.size == int(row["largest_component_voxels"])
            assert math.sqrt(depth) == pytest.approx(float(row["edt_max"]), abs=1e-6)
            assert len(at) == int(row["n_ties"])
            assert label(errors.error)[1] == int(row["n_components"])
    assert len(rows) == 20


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([(7, 8, 9), (1, 9, 9), (5, 4, 12)]), st.floats(-0.5, 1.2))
def test_the_challenge_rule_equals_its_oracle(seed: int, shape: Point, level: float) -> None:
    truth, prediction = blobs(seed, shape, level)
    errors = errors_of(TargetReference(truth), prediction)
    assert (None if errors is None else challenge_click(errors)) == slow_challenge(truth, prediction)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(1.0, 1.0, 1.0), (4.0, 1.0, 0.5), (0.5, 2.0, 2.0)]),
    st.floats(-0.5, 1.2),
    st.integers(0, 6),
)
def test_the_corrected_rule_equals_its_oracle(seed: int, spacing: tuple[float, ...], level: float, before: int) -> None:
    truth, prediction = blobs(seed, level=level)
    ignore = np.zeros_like(truth)
    ignore[:, : seed % 3] = True
    corrector = user("medsegfm", box=False, clicks=None)
    history: tuple[Interaction, ...] = ()
    for _ in range(before + 1):  # the prediction never changes: each click is the next best
        view = look(truth, prediction, history, ignore=ignore, spacing=spacing)
        expected = slow_corrected(truth, prediction, ignore, spacing, {c.point for c in history})
        assert corrector.next(view) == expected
        if expected is None:
            return
        history = (*history, expected)


def test_when_the_largest_piece_is_all_clicked_the_next_one_is_taken() -> None:
    truth = np.zeros((3, 3, 9), bool)
    truth[1, 1, 0:2] = truth[1, 1, 8] = True
    history: tuple[Interaction, ...] = ()
    for point in ((1, 1, 0), (1, 1, 1), (1, 1, 8)):
        found = user("medsegfm", box=False).next(look(truth, np.zeros_like(truth), history))
        assert found == Click(point, True)
        history = (*history, found)
    assert user("medsegfm", box=False).next(look(truth, np.zeros_like(truth), history)) is None
    # The published rule has no memory.
    again = user("medsegfm", box=False, rule="challenge").next(look(truth, np.zeros_like(truth), history))
    assert again.point in {(1, 1, 0), (1, 1, 1)}


@pytest.mark.parametrize("library", ["cc3d", "scipy"])
def test_of_equal_pieces_the_first_in_c_order_is_the_largest(library: str) -> None:
    if library == "cc3d":
        pytest.importorskip("cc3d")
    mask = np.zeros((6, 6, 6), bool)
    mask[4, 0, 0:3] = True  # first along the other axes, but not in C order
    mask[1, 5, 3:6] = True
    found = largest_component(mask, library=library)
    assert (found.low, found.size) == ((1, 5, 3), 3)
    with_errors = largest_error(errors_of(TargetReference(mask), np.roll(mask, 1, axis=1)))
    assert with_errors.positive  # missed and wrong pieces of one size


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.05, 0.6), st.integers(1, 3))
def test_both_libraries_give_the_same_labels(seed: int, density: float, reach: int) -> None:
    pytest.importorskip("cc3d")
    rng = np.random.default_rng(seed)
    for axes in (2, 3):
        shape = rng.integers(1, 11, axes)
        shape[rng.random(axes) < 0.2] = 1  # cc3d itself fails on some lines and planes
        mask = rng.random(tuple(shape)) < density
        for view in (mask, np.asfortranarray(mask), mask.T):
            one, many = (label(view, min(reach, axes), library) for library in ("cc3d", "scipy"))
            assert np.array_equal(one[0], many[0])
            assert one[1] == many[1]


@pytest.mark.parametrize("seed", range(8))
def test_large_errors_are_halved_as_published(seed: int) -> None:
    from skimage.measure import block_reduce

    truth, prediction = blobs(seed, (19 + seed, 22, 25 - seed), level=-0.3)
    errors = errors_of(TargetReference(truth), prediction)
    piece = largest_component(errors.error)
    margin = [max(int(n * 0.25), 1) for n in piece.mask.shape]
    small = block_reduce(np.pad(piece.mask, [(m, m) for m in margin]).astype(np.uint8), 2, np.max)
    large = ndimage.distance_transform_edt(small).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    inner = tuple(slice(m, m + n) for m, n in zip(margin, piece.mask.shape, strict=True))
    large = large[inner] * piece.mask
    at = np.argwhere(large == large.max())
    chosen = at[np.random.RandomState(42).choice(len(at))] + piece.low + np.array(errors.low)
    found = challenge_click(errors, limit=1000)
    assert found == Click(tuple(int(i) for i in chosen), bool(truth[tuple(chosen)]))
    size = math.prod(n + 2 * m for n, m in zip(piece.mask.shape, margin, strict=True))
    assert challenge_click(errors, limit=size) == challenge_click(errors)  # the limit itself is not halved
    assert challenge_click(errors, limit=size - 1) == found


def mixed() -> tuple[np.ndarray, np.ndarray]:
    """Missed and wrong voxels that touch (75 + 75 voxels), and a missed piece (100) apart from them."""
    truth, prediction = np.zeros((2, 9, 12, 22), bool)
    truth[1:4, 1:6, 1:6] = True
    prediction[1:4, 1:6, 6:11] = True
    truth[5:9, 1:6, 15:20] = True
    return truth, prediction


def test_touching_errors_of_both_signs_are_one_piece_for_the_challenge_only() -> None:
    truth, prediction = mixed()
    published = user("medsegfm", "compat", box=False).next(look(truth, prediction))
    assert published.point[2] < 11
    assert published.positive == truth[published.point]
    assert published == slow_challenge(truth, prediction)
    corrected = user("medsegfm", box=False).next(look(truth, prediction))
    assert corrected == Click((6, 2, 16), True)  # the first of the deepest


def test_the_corrected_rule_measures_in_mm() -> None:
    truth = np.zeros((9, 9, 30), bool)
    truth[3:6, :, :9] = True  # three thick slices
    truth[1:8, 2:7, 9:20] = True  # a bar, five by seven voxels across
    spacing = (5.0, 1.0, 1.0)
    empty = np.zeros_like(truth)
    published = user("medsegfm", box=False, rule="challenge").next(look(truth, empty, spacing=spacing))
    corrected = user("medsegfm", box=False).next(look(truth, empty, spacing=spacing))
    isotropic = user("medsegfm", box=False).next(look(truth, empty))
    assert published.point[2] >= 9
    assert isotropic.point[2] >= 9
    assert corrected.point == (3, 4, 4)  # in the broad slices, where the border is farther off in mm


def test_without_a_rule_the_protocol_decides() -> None:
    assert user("medsegfm").options["rule"] == "corrected"
    assert user("medsegfm", "compat").options["rule"] == "challenge"
    assert user("medsegfm", "compat", rule="corrected").options["rule"] == "corrected"
    assert user("medsegfm").options["box_jitter"] == 0
    assert user("medsegfm", "compat").options["box_jitter"] == 5


# --- the challenge's course ------------------------------------------------------------------------------------------


def test_box_then_clicks_then_stop() -> None:
    truth = np.zeros((12, 20, 30), bool)
    truth[2:4, 5:9, 6:12] = truth[8:10, 3:10, 6:20] = True  # slices 2 3 8 9: the later middle one is 8
    challenger, empty = user("medsegfm", clicks=2), np.zeros((12, 20, 30), bool)
    assert challenger.rounds == 3
    box = challenger.next(look(truth, empty))
    assert box == Box((8, 3, 6), (8, 9, 19))
    first = challenger.next(look(truth, empty, (box,)))
    second = challenger.next(look(truth, empty, (box, first)))
    assert isinstance(first, Click)
    assert isinstance(second, Click)
    assert first != second
    assert challenger.next(look(truth, empty, (box, first, second))) is None
    assert user("medsegfm", clicks=None).rounds is None
    assert user("medsegfm", box=False, clicks=2).rounds == 2
    assert isinstance(user("medsegfm", box=False).next(look(truth, empty)), Click)


def test_the_box_of_the_challenge_grows_by_one_number_for_all_sides() -> None:
    truth = np.zeros((3, 512, 256), bool)
    truth[1, 100:200, 2:250] = True
    seen = set()
    for seed in range(60):
        box = user("medsegfm", "compat").next(look(truth, np.zeros_like(truth), seed=seed))
        assert (box.low[0], box.high[0]) == (1, 1)
        grown = 100 - box.low[1]
        assert box.high[1] == 199 + grown
        assert (box.low[2], box.high[2]) == (max(0, 2 - grown // 2), min(255, 249 + grown // 2))
        seen.add(grown)
    assert seen == {0, 2, 4, 6, 8, 10}


def test_replicates_are_played_only_where_random_numbers_are_drawn() -> None:
    sample = look(*blobs(0)).sample
    counts = {
        len(user(name, protocol, replicates=3, **options).trajectories(sample, sample.targets[0]))
        for name, protocol, options in [
            ("medsegfm", "compat", {}),
            ("random-error", "default", {}),
            ("slice-box", "default", {"jitter": 2}),
            ("scribble", "default", {"warp": 2.0}),
        ]
    }
    assert counts == {3}
    for name in ("medsegfm", "slice-box", "scribble"):
        assert user(name, replicates=3).trajectories(sample, sample.targets[0]) == [TrajectorySpec()]


# --- random error voxels ---------------------------------------------------------------------------------------------


def test_random_clicks_are_uniform_over_both_kinds_of_error() -> None:
    truth, prediction = np.zeros((2, 4, 5, 6), bool)
    truth[1:3, 1, 1:4], prediction[2, 1:4, 3] = True, True
    ignore = np.zeros_like(truth)
    ignore[2, 3, 3] = True
    error = {tuple(p) for p in np.argwhere((truth ^ prediction) & ~ignore)}
    assert len(error) == 6
    clicker, counts = user("random-error"), dict.fromkeys(error, 0)
    for seed in range(1200):
        click = clicker.next(look(truth, prediction, ignore=ignore, seed=seed))
        assert click.positive == truth[click.point]
        counts[click.point] += 1
    spread = math.sqrt(1200 * (1 / 6) * (5 / 6))
    assert all(abs(count - 200) < 5 * spread for count in counts.values()), counts


@pytest.mark.parametrize("weights", ["uniform", "exp-distance"])
def test_random_clicks_never_repeat_and_end_with_the_error(weights: str) -> None:
    truth, prediction = blobs(3, (3, 4, 4))
    error = {tuple(int(i) for i in p) for p in np.argwhere(truth ^ prediction)}
    history: tuple[Interaction, ...] = ()
    for k in range(len(error)):
        click = user("random-error", weights=weights).next(look(truth, prediction, history, seed=k))
        assert click.positive == truth[click.point]
        history = (*history, click)
    assert {c.point for c in history} == error
    assert user("random-error", weights=weights).next(look(truth, prediction, history)) is None


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([(9, 10, 11), (1, 8, 8), (2, 3, 20)]))
def test_chessboard_depth_equals_that_of_scipy(seed: int, shape: Point) -> None:
    mask = np.random.default_rng(seed).random(shape) < 0.97
    expected = ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1, 1:-1]
    assert np.array_equal(random_clicks._chessboard_depth(mask), expected)


def test_weighted_clicks_follow_exp_distance_minus_one() -> None:
    truth = np.zeros((3, 3, 12), bool)
    truth[:, :, :3] = True  # depth 1 all round (the volume ends there), 2 in the middle
    prediction = np.zeros_like(truth)
    prediction[1, 1, 8:11] = True  # fewer wrong voxels: never clicked
    errors, rng, middle = errors_of(TargetReference(truth), prediction), np.random.default_rng(0), 0
    for _ in range(3000):
        click = random_clicks.distance_weighted_click(errors, rng)
        assert click.positive
        middle += click.point == (1, 1, 1)
    share = math.expm1(2) / (math.expm1(2) + 26 * math.expm1(1))
    assert abs(middle - 3000 * share) < 5 * math.sqrt(3000 * share * (1 - share))


# --- boxes in slices -------------------------------------------------------------------------------------------------


def bar() -> np.ndarray:
    """An object in slices 2 to 8 whose section grows from slice to slice."""
    truth = np.zeros((12, 16, 16), bool)
    for z in range(2, 9):
        truth[z, 3 : 4 + z, 5:8] = True
    return truth


def test_slice_boxes_go_where_most_is_wrong_and_never_twice() -> None:
    truth = bar()
    prediction = truth.copy()
    prediction[4, 3:8] = prediction[10] = False
    prediction[6, 3:5], prediction[11] = False, True  # nothing to box in slice 11, however wrong
    history: tuple[Interaction, ...] = ()
    for expected in (Box((4, 3, 5), (4, 7, 7)), Box((6, 3, 5), (6, 9, 7))):
        box = user("slice-box").next(look(truth, prediction, history))
        assert box == expected
        history = (*history, box)
    assert user("slice-box").next(look(truth, prediction, history)) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slice_boxes_are_tight_across_any_axis(axis: int) -> None:
    truth = np.moveaxis(bar(), 0, axis)
    box = user("slice-box", axis=axis).next(look(truth, np.zeros_like(truth)))
    assert box.low[axis] == box.high[axis] == 8
    window = tuple(slice(a, b + 1) for a, b in zip(box.low, box.high, strict=True))
    plane = truth.take(8, axis=axis)
    assert truth[window].sum() == plane.sum()
    for side in np.argwhere(plane).min(axis=0), np.argwhere(plane).max(axis=0):
        assert tuple(side) in {tuple(np.delete(box.low, axis)), tuple(np.delete(box.high, axis))}


def test_key_slices_come_first_equally_spaced() -> None:
    truth, empty = bar(), np.zeros((12, 16, 16), bool)
    history: tuple[Interaction, ...] = ()
    for _ in range(7):
        history = (*history, user("slice-box", spacing="key-slices", slices=3).next(look(truth, empty, history)))
    assert [b.low[0] for b in history] == [2, 5, 8, 7, 6, 4, 3]
    assert user("slice-box", spacing="key-slices", slices=3).next(look(truth, empty, history)) is None
    assert user("slice-box", spacing="key-slices", slices=1).next(look(truth, empty)).low[0] == 5


# --- all of them -----------------------------------------------------------------------------------------------------

EVERYBODY = [
    ("medsegfm", "default", {}),
    ("medsegfm", "compat", {}),
    ("medsegfm", "default", {"box": False}),
    ("medsegfm", "compat", {"box": False}),
    ("random-error", "default", {}),
    ("random-error", "default", {"weights": "exp-distance"}),
    ("slice-box", "default", {}),
    ("slice-box", "default", {"jitter": 3, "axis": 1}),
    ("scribble", "default", {}),
    ("scribble", "default", {"axis": None, "warp": 3.0, "thickness": 3}),
    ("lasso", "default", {}),
    ("lasso", "default", {"axis": None, "dilation": 2}),
]


@pytest.mark.parametrize(("name", "protocol", "options"), EVERYBODY)
def test_nobody_acts_when_nothing_is_wrong(name: str, protocol: str, options: dict[str, object]) -> None:
    player = user(name, protocol, **options)
    truth, _ = blobs(1)
    empty = np.zeros_like(truth)
    assert player.next(look(truth, truth.copy())) is None
    assert player.next(look(empty, empty)) is None
    rim = ndimage.binary_dilation(truth) & ~ndimage.binary_erosion(truth)
    for inexact in (truth | rim, truth & ~rim):  # only ignored voxels differ
        assert player.next(look(truth, inexact, ignore=rim)) is None


@pytest.mark.parametrize(("name", "protocol", "options"), EVERYBODY)
def test_random_numbers_come_from_the_view_alone(name: str, protocol: str, options: dict[str, object]) -> None:
    player = user(name, protocol, **options)
    shown = [blobs(s, (12, 300, 40), 1.0) for s in range(2)]
    for truth, _ in shown:
        truth[:, [0, 1, 2, 3, -4, -3, -2, -1]] = False  # a box has room to grow
    state = np.random.get_state()[1].tolist()  # noqa: NPY002 - the global generator must not be touched
    alone = [player.next(look(*shown[i], seed=i)) for i in (0, 1)]
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    mixed_up = player.next_batch([look(*shown[i], seed=i) for i in (1, 0)])
    assert alone == mixed_up[::-1]
    others = [player.next(look(*shown[0], seed=s)) for s in range(1, 9)]
    draws = (
        name == "random-error"
        or (name, protocol, options.get("box")) == ("medsegfm", "compat", None)
        or bool(options.get("jitter") or options.get("warp"))
    )
    assert any(o != alone[0] for o in others) == draws
    assert not draws or player.card.stochastic


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("medsegfm", {"clicks": -1}),
        ("medsegfm", {"clicks": 0, "box": False}),
        ("medsegfm", {"box": 1}),
        ("medsegfm", {"rule": "own"}),
        ("medsegfm", {"box_jitter": 1.5}),
        ("medsegfm", {"jitter": 3}),
        ("random-error", {"weights": "exp"}),
        ("random-error", {"replicates": 0}),
        ("slice-box", {"axis": 3}),
        ("slice-box", {"axis": None}),
        ("slice-box", {"spacing": "all"}),
        ("slice-box", {"slices": 0}),
        ("scribble", {"thickness": 0}),
        ("scribble", {"warp": -1}),
        ("scribble", {"warp": math.nan}),
        ("lasso", {"dilation": True}),
    ],
)
def test_senseless_options_are_refused(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ProtocolError, match=f"{name}.*{next(iter(options))}"):
        user(name, **options)


@needs_shared
@pytest.mark.parametrize(("name", "protocol", "options"), EVERYBODY)
def test_on_a_real_volume_everybody_acts_where_something_is_wrong(
    name: str, protocol: str, options: dict[str, object]
) -> None:
    nibabel = pytest.importorskip("nibabel")
    file = sorted(HIPPOCAMPUS.rglob("labels/*.nii*"))[0]
    truth = np.ascontiguousarray(np.asarray(nibabel.load(file).dataobj).T == 1)
    prediction = np.roll(truth, (2, 3), axis=(0, 1))
    player = user(name, protocol, **options)
    history: tuple[Interaction, ...] = ()
    for k in range(4):
        done = player.next(look(truth, prediction, history, seed=k))
        check_inside(done, truth.shape)
        history = (*history, done)
        if isinstance(done, Click):
            assert truth[done.point] == done.positive
            assert prediction[done.point] != done.positive
        elif isinstance(done, Box):
            assert truth[tuple(slice(a, b + 1) for a, b in zip(done.low, done.high, strict=True))].any()
        elif name == "scribble":
            assert (truth[done.window][done.mask] == done.positive).all()
            assert (prediction[done.window][done.mask] != done.positive).all()
        else:
            assert (truth ^ prediction)[done.window][done.mask].any()
            assert done.positive or not truth[done.window][done.mask].any()
        prediction = np.roll(truth, (2 - k, 3 + k), axis=(1, 2))


def test_corrected_clicks_that_are_obeyed_lead_to_the_truth() -> None:
    truth, prediction = blobs(5, (12, 14, 16))
    corrector, history, wrong = user("medsegfm", box=False, clicks=None), (), [10**9]
    while (click := corrector.next(look(truth, prediction, history))) is not None:
        piece = largest_error(errors_of(TargetReference(truth), prediction))
        crop = tuple(slice(i, i + n) for i, n in zip(piece.low, piece.mask.shape, strict=True))
        prediction = prediction.copy()
        prediction[crop][piece.mask] = click.positive
        history = (*history, click)
        wrong.append(int((truth ^ prediction).sum()))
        assert wrong[-1] < wrong[-2]
    assert wrong[-1] == 0


def test_clicks_of_the_corrected_rule_know_only_errors() -> None:
    truth, prediction = blobs(2)
    errors = errors_of(TargetReference(truth), prediction)
    assert corrected_click(errors.without(map(tuple, np.argwhere(truth ^ prediction))), (1.0, 1.0, 1.0)) is None
