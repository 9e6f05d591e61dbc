"""Slices of a volume: axis, grey window, and 3-D interactions said in clicks and boxes of slices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclicks.errors import DataError, ProtocolError
from rclicks.interaction import Box, Click, Lasso, Scribble, check_inside
from rclicks.models.slicewise.slices import (
    Recent,
    depth_in,
    drop,
    grey_window,
    most_interior,
    read_window,
    slice_axis,
    take_slice,
    to_slices,
)

SHAPE = (7, 9, 11)


def test_the_automatic_axis_is_that_of_the_thickest_slices() -> None:
    assert slice_axis("auto", (0.5, 0.5, 7.5)) == 2
    assert slice_axis("auto", (1.0, 1.0, 1.0)) == 0
    assert slice_axis(1, (0.5, 0.5, 7.5)) == 1
    for wrong in (3, -1, "z", True, 1.0, None):
        with pytest.raises(ProtocolError, match="'axis'"):
            slice_axis(wrong, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_the_window_is_two_percentiles_of_what_is_above_zero(dtype: type) -> None:
    rng = np.random.default_rng(3)
    volume = np.maximum(rng.normal(20, 40, (9, 20, 30)), 0 if dtype is np.uint8 else -100).clip(max=250).astype(dtype)
    before = volume.copy()
    volume.setflags(write=False)
    low, high = grey_window(volume, "percentiles")
    assert (low, high) == pytest.approx(tuple(np.percentile(volume[volume > 0].astype(float), (0.5, 99.5))), rel=1e-6)
    assert grey_window(volume, (-160.0, 240.0)) == (-160.0, 240.0)
    assert np.array_equal(volume, before)


def test_a_volume_without_positive_values_is_windowed_by_all_of_them() -> None:
    volume = -np.arange(1001, dtype=np.float32).reshape(7, 11, 13)
    before = volume.copy()
    assert grey_window(volume, "percentiles") == pytest.approx((-995, -5))
    assert np.array_equal(volume, before), "the volume was sorted in place"


def test_values_that_are_not_finite_are_refused() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        volume = np.ones((2, 3, 4), np.float32)
        volume[1, 2, 3] = bad
        with pytest.raises(DataError, match="not finite"):
            grey_window(volume, (0.0, 1.0))


def test_window_options_are_checked() -> None:
    assert read_window([-160, 240]) == (-160.0, 240.0)
    assert read_window("percentiles") == "percentiles"
    for wrong in ("ct", [1, 1], [2, 1], [1], [0, np.nan], [True, 2], None):
        with pytest.raises(ProtocolError, match="'window'"):
            read_window(wrong)


def test_depth_is_the_distance_to_the_nearest_outside_in_mm() -> None:
    mask = np.random.default_rng(1).random((8, 10)) < 0.8
    spacing = (2.0, 0.5)
    depth = depth_in(mask, spacing)
    framed = np.pad(mask, 1)
    outside = np.argwhere(~framed) * spacing
    for row, column in np.ndindex(mask.shape):
        place = np.array([row + 1, column + 1]) * spacing
        nearest = np.linalg.norm(outside - place, axis=1).min() if mask[row, column] else 0
        assert depth[row, column] == pytest.approx(nearest)
    assert depth[most_interior(mask, spacing)] == depth.max()


def test_a_slice_is_a_view() -> None:
    volume = np.arange(24).reshape(2, 3, 4)
    for axis in range(3):
        part = take_slice(volume, axis, 1)
        assert np.array_equal(part, np.take(volume, 1, axis))
        assert np.shares_memory(part, volume)


def test_clicks_and_flat_boxes_belong_to_their_slice() -> None:
    [part] = to_slices(Click((2, 3, 4), False), axis=1)
    assert (part.index, part.prompts, part.extent) == (3, (Click((2, 4), False),), None)
    [part] = to_slices(Box((5, 1, 2), (5, 6, 7)), axis=0)
    assert (part.index, part.prompts, part.extent) == (5, (Box((1, 2), (6, 7)),), None)


def test_a_deep_box_is_that_of_its_middle_slice() -> None:
    [part] = to_slices(Box((1, 1, 2), (4, 6, 7)), axis=0)
    assert (part.index, part.prompts, part.extent) == (2, (Box((1, 2), (6, 7)),), (1, 4))
    [part] = to_slices(Box((1, 1, 2), (4, 6, 7)), axis=0, takes=("click",))
    assert (part.index, part.prompts, part.extent) == (2, (Click((3, 4)),), (1, 4))
    [part] = to_slices(Box((1, 1, 2), (4, 6, 7), positive=False), axis=0)
    assert (part.prompts, part.extent) == ((Click((3, 4), False),), None)


def test_a_box_drawn_in_another_view_is_its_centre() -> None:
    [part] = to_slices(Box((1, 3, 2), (5, 3, 8)), axis=0)
    assert (part.index, part.prompts, part.extent) == (3, (Click((3, 5)),), (1, 5))


def test_a_lasso_is_the_box_and_the_deepest_pixel_of_its_region() -> None:
    region = np.zeros((1, 5, 7), bool)
    region[0, 1:4, 1:6] = True
    region[0, 0, 0] = region[0, 4, 6] = True  # far corners, so that the crop touches its sides
    [part] = to_slices(Lasso((2, 1, 3), region), axis=0)
    assert (part.index, part.prompts) == (2, (Box((1, 3), (5, 9)), Click((3, 5))))
    [part] = to_slices(Lasso((2, 1, 3), region, positive=False), axis=0)
    assert part.prompts == (Click((3, 5), False),)
    [part] = to_slices(Lasso((2, 1, 3), region), axis=0, takes=("box",))
    assert part.prompts == (Box((1, 3), (5, 9)),)
    # Seen from another axis it is a line in every slice; the longest, then the first of them, counts.
    [part] = to_slices(Lasso((2, 1, 3), region), axis=1)
    assert (part.index, part.prompts) == (2, (Click((2, 4)),))


def test_a_scribble_is_clicks_spread_over_it() -> None:
    line = Scribble((3, 2, 1), np.ones((1, 1, 9), bool))
    [part] = to_slices(line, axis=0, strokes=3)
    assert (part.index, part.prompts) == (3, (Click((2, 5)), Click((2, 1)), Click((2, 9))))
    parts = to_slices(line, axis=2, strokes=3)
    assert [(p.index, p.prompts) for p in parts] == [(x, (Click((3, 2)),)) for x in (1, 5, 9)]
    assert sum(len(p.prompts) for p in to_slices(line, axis=0, strokes=100)) == 9


def test_distances_along_a_scribble_are_in_mm() -> None:
    bend = np.zeros((1, 3, 5), bool)
    bend[0, :, 0] = bend[0, 0, :] = True
    ends = {
        tuple(spacing): to_slices(Scribble((0, 0, 0), bend), 0, spacing=spacing, strokes=2)[0].prompts[1].point
        for spacing in ((1.0, 1.0, 1.0), (1.0, 9.0, 1.0))
    }
    assert ends == {(1.0, 1.0, 1.0): (0, 4), (1.0, 9.0, 1.0): (2, 0)}


def test_what_a_model_does_not_take_is_refused() -> None:
    for interaction in (Click((1, 1, 1)), Scribble((3, 2, 1), np.ones((1, 1, 9), bool)), Box((0, 0, 0), (0, 0, 5))):
        with pytest.raises(ProtocolError, match=r"cannot be converted to the prompts of the 2-D model \(box\)"):
            to_slices(interaction, axis=0, takes=("box",))


@st.composite
def interactions(draw: st.DrawFn) -> Click | Box | Scribble | Lasso:
    low = [draw(st.integers(0, n - 1)) for n in SHAPE]
    high = [draw(st.integers(a, n - 1)) for a, n in zip(low, SHAPE, strict=True)]
    positive = draw(st.booleans())
    kind = draw(st.sampled_from(["click", "box", "scribble", "lasso"]))
    if kind == "click":
        return Click(tuple(low), positive)
    if kind == "box":
        return Box(tuple(low), tuple(high), positive)
    size = [b - a + 1 for a, b in zip(low, high, strict=True)]
    mask = np.random.default_rng(draw(st.integers(0, 9))).random(size) < 0.4
    mask[0, 0, 0] = mask[-1, -1, -1] = True
    return (Scribble if kind == "scribble" else Lasso)(tuple(low), mask, positive)


@settings(max_examples=200, deadline=None)
@given(interactions(), st.integers(0, 2), st.sampled_from([("click", "box"), ("click",)]), st.integers(1, 6))
def test_prompts_lie_in_the_interaction(
    interaction: Click | Box | Scribble | Lasso, axis: int, takes: tuple[str, ...], strokes: int
) -> None:
    parts = to_slices(interaction, axis, takes, (3.0, 1.0, 0.5), strokes)
    assert [p.index for p in parts] == sorted({p.index for p in parts})
    assert sum(len(p.prompts) for p in parts) <= max(2, strokes)
    for part in parts:
        for prompt in part.prompts:
            assert prompt.kind in takes
            assert prompt.positive == interaction.positive
            check_inside(prompt, drop(SHAPE, axis))
            if isinstance(prompt, Click) and isinstance(interaction, (Scribble, Lasso)):
                point = [*prompt.point[:axis], part.index, *prompt.point[axis:]]
                assert tuple(point) in set(map(tuple, interaction.points.tolist()))


def test_recent_answers_are_made_once_and_no_more_than_asked_are_kept() -> None:
    made: list[int] = []
    recent = Recent(lambda i: made.append(i) or 10 * i, keep=2)
    assert [recent[i] for i in (1, 2, 1, 1)] == [10, 20, 10, 10]
    assert made == [1, 2]
    assert recent[3] == 30  # 2 goes, as it was asked for longest ago
    assert len(recent) == 2
    assert [recent[1], recent[2]] == [10, 20]
    assert made == [1, 2, 3, 2]
