"""Uniform and distance-transform click models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from rclicks.clickability import simple
from rclicks.clickability.contract import ClickMapQuery
from rclicks.protocol import Protocol

ERRORS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=15))


def model(name: str, rules: str = "default") -> simple.ClickModel:
    card = next(c for c in simple.CARDS if c.name == name)
    return simple.load(card, protocol=Protocol.named(rules))


@given(ERRORS)
def test_distance_is_scipys(error: np.ndarray) -> None:
    (padded,) = model("distance").maps(None, [ClickMapQuery(error, error)])
    expected = ndimage.distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1]
    np.testing.assert_allclose(padded, expected / max(expected.max(), 1e-9), rtol=1e-6)
    if not error.all():
        (inside,) = model("distance", "compat").maps(None, [ClickMapQuery(error, error)])
        expected = ndimage.distance_transform_edt(error)
        np.testing.assert_allclose(inside, expected / max(expected.max(), 1e-9), rtol=1e-6)


def test_distances_are_the_same_wherever_the_array_lies_in_memory() -> None:
    rng = np.random.default_rng(0)
    for k in range(60):
        mask = ndimage.binary_dilation(rng.random((90, 110 + k)) < 0.01, iterations=9)
        expected = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1].astype(np.float32)
        for offset in range(5):
            buffer = np.zeros(mask.size + 64, bool)
            placed = buffer[offset : offset + mask.size].reshape(mask.shape)
            placed[:] = mask
            found = simple.distance_map(placed)
            np.testing.assert_array_equal(found, expected / np.float32(expected.max()))


def test_an_error_that_fills_the_image_is_even_without_a_border() -> None:
    full = np.ones((4, 6), bool)
    assert (model("distance", "compat").maps(None, [ClickMapQuery(full, full)])[0] == 1).all()
    assert model("distance").maps(None, [ClickMapQuery(full, full)])[0].min() == 0.5


@given(ERRORS)
def test_uniform_is_the_error_itself(error: np.ndarray) -> None:
    (found,) = model("uniform").maps(None, [ClickMapQuery(error, error)])
    np.testing.assert_array_equal(found, error.astype(np.float32))


def test_soft_errors() -> None:
    soft = np.array([[0.0, 0.001, 0.5, 1.0]], np.float32)
    (even,) = model("uniform").maps(None, [ClickMapQuery(soft, soft / 2)])
    np.testing.assert_array_equal(even, soft)
    (deep,) = model("distance").maps(None, [ClickMapQuery(soft, soft)])
    assert (deep > 0).tolist() == [[False, False, True, True]]  # .001 is 0 in 8 bit, as published


@pytest.mark.parametrize("name", ["uniform", "distance"])
def test_an_empty_error_has_no_mass(name: str) -> None:
    empty = np.zeros((3, 3), bool)
    assert not model(name).maps(None, [ClickMapQuery(empty, empty)])[0].any()
