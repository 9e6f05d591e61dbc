"""Changes of a scene keep clicks on what they were on."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rclicks.clickability.training.augment import colours, crop, flip, outline
from rclicks.human_clicks.items import Scene


def made(seed: int) -> tuple[Scene, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    h, w = rng.integers(8, 70, 2)
    error = np.zeros((h, w), bool)
    top, left = rng.integers(0, h), rng.integers(0, w)
    error[top : top + 1 + rng.integers(0, 30), left : left + 1 + rng.integers(0, 30)] = True
    points = np.stack([rng.integers(0, n, 4) for n in (h, w)], 1)
    return Scene(rng.integers(0, 256, (h, w, 3), np.uint8), error | (rng.random((h, w)) < 0.1), error), points, rng


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99999))
def test_a_mirror_image_of_a_mirror_image_is_the_scene(seed: int) -> None:
    scene, points, _ = made(seed)
    once, moved = flip(scene, points)
    assert np.array_equal(once.image[tuple(moved.T)], scene.image[tuple(points.T)])
    assert np.array_equal(once.error[tuple(moved.T)], scene.error[tuple(points.T)])
    twice, back = flip(once, moved)
    assert np.array_equal(back, points)
    for name in ("image", "mask", "error"):
        assert np.array_equal(getattr(twice, name), getattr(scene, name))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99999))
def test_a_crop_holds_the_error_and_all_clicks(seed: int) -> None:
    scene, points, rng = made(seed)
    (image, error), moved = crop((scene.image, scene.error), scene.error, points, rng)
    assert image.shape[:2] == error.shape
    assert error.sum() == scene.error.sum()
    assert (moved >= 0).all()
    assert (moved < error.shape).all()
    assert np.array_equal(image[tuple(moved.T)], scene.image[tuple(points.T)])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 99999))
def test_an_outline_changes_a_little_and_never_vanishes(seed: int) -> None:
    scene, _, rng = made(seed)
    other = outline(scene, rng)
    assert other.error.dtype == bool
    assert other.error.any()
    assert other.image is scene.image
    assert (other.error >= scene.error).all() or (other.error <= scene.error).all()


def test_outlines_do_change() -> None:
    error = np.zeros((200, 200), bool)
    error[40:160, 40:160] = True
    scene = Scene(np.zeros((200, 200, 3), np.uint8), error, error)
    areas = [int(outline(scene, np.random.default_rng(i)).error.sum()) for i in range(20)]
    assert min(areas) < error.sum() < max(areas)
    assert 0.9 * error.sum() < min(areas)
    assert max(areas) < 1.1 * error.sum()


def test_colours_stay_in_range_and_differ() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    other = colours(image, np.random.default_rng(1))
    assert other.dtype == np.uint8
    assert not np.array_equal(other, image)
    assert np.array_equal(other, colours(image, np.random.default_rng(1)))
