"""Letterbox of the click models, against golden files and fixtures, and what it promises for every size."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rclicks.clickability.letterbox import Letterbox, cover
from support import SHARED, crc32, golden, golden_arrays, needs_shared, rng_image, stored_view

BOX = (416, 416)
ITEMS = range(5)


def padding_item(i: int) -> tuple[str, np.ndarray, np.ndarray, dict]:
    item = golden("behaviour/padding_416")["items"][i]
    image = rng_image(item["image_seed"], *item["hw"])
    mask = np.zeros(item["hw"], np.float32)
    top, bottom, left, right = item["mask_rect"]
    mask[top:bottom, left:right] = 1
    return item["tag"], (image / 255).astype(np.float32), mask, item


def same(array: np.ndarray, key: str, tolerance: float) -> None:
    stored = golden("behaviour/padding_416")["outputs"][key]["stored"]
    expected = golden_arrays("behaviour/padding_416")[key]
    np.testing.assert_allclose(stored_view(array, stored), expected, rtol=0, atol=tolerance)


@needs_shared
@pytest.mark.parametrize("i", ITEMS)
def test_an_image_and_a_mask_are_boxed_as_published(i: int) -> None:
    tag, image, mask, item = padding_item(i)
    letterbox = Letterbox.of(mask.shape, BOX)
    first_row, last_row, first_column, last_column = item["nonzero_rows_cols"]
    assert letterbox.rows == (first_row, last_row + 1)
    assert letterbox.columns == (first_column, last_column + 1)
    same(letterbox.put(image).transpose(2, 0, 1), f"{tag}.image", 1e-6)
    same(letterbox.put(mask), f"{tag}.mask", 1e-6)


@needs_shared
@pytest.mark.parametrize("i", ITEMS)
def test_a_map_comes_back_as_with_the_torchvision_of_the_golden_files(i: int) -> None:
    tag, _, mask, _ = padding_item(i)
    letterbox = Letterbox.of(mask.shape, BOX)
    same(letterbox.take(letterbox.put(mask), antialias=True), f"{tag}.mask_unpadded", 1e-5)


@needs_shared
@pytest.mark.parametrize("name", ["wide", "tall", "big"])
def test_a_mask_is_boxed_as_in_the_fixture(name: str) -> None:
    with np.load(SHARED / "reference/rclicks/fixtures/clickability_forward.npz") as fixture:
        mask, expected = fixture[f"{name}_mask"], fixture[f"{name}_padded_mask_sub8"]
    boxed = Letterbox.of(mask.shape, BOX).put(mask.astype(np.float32))
    np.testing.assert_allclose(boxed[::8, ::8], expected, rtol=0, atol=1e-6)


def test_antialiasing_matters_only_to_images_smaller_than_the_box() -> None:
    boxed = np.random.default_rng(0).random(BOX, np.float32)
    large, small = Letterbox.of((700, 900), BOX), Letterbox.of((100, 150), BOX)
    np.testing.assert_allclose(large.take(boxed), large.take(boxed, antialias=True), atol=1e-5)
    assert np.abs(small.take(boxed) - small.take(boxed, antialias=True)).max() > 0.1


sizes = st.tuples(st.integers(1, 700), st.integers(1, 700))


@given(size=sizes, box=st.sampled_from([BOX, (288, 384)]), antialias=st.booleans())
@example(size=(1, 1000), box=BOX, antialias=False)
@example(size=(1000, 1), box=BOX, antialias=True)
@settings(max_examples=60, deadline=None)
def test_every_size_fits_and_comes_back(size: tuple[int, int], box: tuple[int, int], antialias: bool) -> None:
    letterbox = Letterbox.of(size, box)
    (top, bottom), (left, right) = letterbox.rows, letterbox.columns
    assert 0 <= top < bottom <= box[0]
    assert 0 <= left < right <= box[1]
    assert (top, bottom) == (0, box[0]) or (left, right) == (0, box[1])
    boxed = letterbox.put(np.ones(size, np.float32))
    assert boxed.sum() == (bottom - top) * (right - left)
    back = letterbox.take(boxed, antialias=antialias)
    assert back.shape == size
    np.testing.assert_allclose(back, 1, atol=1e-6)


@given(size=sizes, rgb=st.booleans())
@settings(max_examples=40, deadline=None)
def test_bytes_stay_bytes_and_bars_have_the_asked_value(size: tuple[int, int], rgb: bool) -> None:
    letterbox = Letterbox.of(size, (288, 384))
    boxed = letterbox.put(np.full((*size, 3) if rgb else size, 200, np.uint8), 1)
    assert boxed.dtype == np.uint8
    assert boxed.shape == ((288, 384, 3) if rgb else (288, 384))
    assert set(np.unique(boxed)) <= {1, 200}
    assert (boxed == 200).any()


@given(size=sizes)
@settings(max_examples=60, deadline=None)
def test_cover_has_the_asked_size_and_is_centred(size: tuple[int, int]) -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 384, dtype=np.float32), (288, 384))
    found = cover(ramp, size)
    assert found.shape == size
    assert abs(float(found.mean()) - 0.5) < 0.5 / size[1] + 0.01


def test_cover_undoes_the_box() -> None:
    image = rng_image(3, 90, 60)
    back = cover(Letterbox.of((90, 60), (288, 384)).put(image[..., 0]), (90, 60))
    assert np.abs(back.astype(int) - image[..., 0]).mean() < 6
    assert crc32(cover(image[..., 0], (90, 60))) == crc32(image[..., 0])
