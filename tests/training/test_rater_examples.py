"""Examples of several raters: what is cut, what is counted, and that persons are not parted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rclicks.data.contract import Dataset
from rclicks.engine.loading import open_dataset
from rclicks.errors import DataError
from rclicks.registry import Registry
from rclicks.sample import Sample, Target
from rclicks.specs import parse
from rclicks.training.examples import Example, central_crop, evenly, fingerprint, random_crop, read_examples
from rclicks.training.split import train_val_split
from support import SHARED, needs_shared

DATA = SHARED / "data"


def opened(name: str) -> Dataset:
    return open_dataset(Registry.discover(), parse(name), DATA)


def example(height: int, width: int, seed: int = 0) -> Example:
    """Return an image whose red channel tells where a pixel lies, with two raters, the second of whom drew nothing."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 1 + np.arange(height * width).reshape(height, width) % 251
    masks = np.zeros((2, height, width), bool)
    masks[0] = rng.random((height, width)) < 0.1
    counted = rng.random((height, width)) < 0.9
    return Example("a/0", image, masks, counted, ("x", "y"))


@given(st.integers(3, 40), st.integers(3, 40), st.sampled_from([8, 16, 32]), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_image_and_masks_of_a_random_crop_stay_together(height: int, width: int, size: int, seed: int) -> None:
    whole = example(height, width, seed)
    crop = random_crop(whole, size, np.random.default_rng(seed))
    assert crop.image.shape == (size, size, 3)
    assert crop.masks.shape == (2, size, size)
    assert crop.inside.sum() == min(size, height) * min(size, width)
    assert np.array_equal(crop.image[..., 0] > 0, crop.inside)
    assert not (crop.counted & ~crop.inside).any()
    where = np.zeros((height, width), bool)
    if height * width <= 250:  # then the red channel names each pixel
        at = crop.image[..., 0][crop.inside].astype(int) - 1
        where.ravel()[at] = True
        assert where.sum() == crop.inside.sum()
        assert np.array_equal(whole.masks[0].ravel()[at], crop.masks[0][crop.inside])
        assert np.array_equal(whole.counted.ravel()[at], crop.counted[crop.inside])
    assert not crop.masks[1].any()


def test_random_crops_come_in_all_eight_positions() -> None:
    whole = example(8, 8)
    seen = {random_crop(whole, 8, np.random.default_rng(seed)).image.tobytes() for seed in range(200)}
    assert len(seen) == 8


def test_central_crop_holds_what_was_drawn() -> None:
    whole = example(64, 64)
    drawn = np.zeros((64, 64), bool)
    drawn[50:58, 2:10] = True
    crop = central_crop(Example("b/0", whole.image, np.stack([drawn, drawn]), whole.counted), 16)
    assert crop.masks.sum(axis=(1, 2)).tolist() == [64, 64]
    assert crop.inside.all()


def test_fingerprint_changes_with_any_rater() -> None:
    one = example(20, 20)
    masks = one.masks.copy()
    masks[1, 3, 4] = True
    assert fingerprint([one]) == fingerprint([example(20, 20)])
    assert fingerprint([one]) != fingerprint([Example(one.name, one.image, masks, one.counted, one.raters)])
    assert fingerprint([one]) != fingerprint([Example(one.name, one.image, one.masks, one.counted, ("x", "z"))])


def test_examples_keep_ignored_pixels_and_empty_raters() -> None:
    whole = example(9, 11)
    target = Target("0", tuple(whole.masks), ~whole.counted, ("x", "y"))
    (made,) = read_examples([Sample("set", "a", whole.image, (target,))])
    assert made.name == "a/0"
    assert made.raters == ("x", "y")
    assert np.array_equal(made.masks, whole.masks)
    assert np.array_equal(made.counted, whole.counted)
    with pytest.raises(DataError, match="no object"):
        read_examples([Sample("set", "a", whole.image)])


def test_evenly_takes_first_and_last() -> None:
    many = [Example(str(i), *[np.zeros((1, 1))] * 3) for i in range(10)]
    assert [e.name for e in evenly(many, 4)] == ["0", "3", "6", "9"]
    assert len(evenly(many, 40)) == 10


@needs_shared
@pytest.mark.parametrize(("name", "count", "groups"), [("LIDC_crops", 71, 59), ("CHASE_DB1", 28, 14), ("LIDC", 71, 59)])
def test_no_scan_and_no_child_is_parted(name: str, count: int, groups: int) -> None:
    data = opened(name)
    (part,) = train_val_split([data]).parts
    learnt, other = part.train, part.validation
    assert len(learnt) + len(other) == count
    assert len(set(data.groups)) == groups
    assert other
    assert not {data.groups[i] for i in learnt} & {data.groups[i] for i in other}


@needs_shared
def test_a_list_may_name_samples_or_groups_but_not_part_them(tmp_path: Path) -> None:
    data = opened("CHASE_DB1")
    names = tmp_path / "held_out.txt"
    names.write_text("Image_01L\nImage_01R\nImage_14\n", encoding="utf-8")
    (part,) = train_val_split([data], names).parts
    assert [data.ids[i] for i in part.validation] == ["Image_01L", "Image_01R", "Image_14L", "Image_14R"]
    assert len(part.train) == 24
    names.write_text("Image_01L\n", encoding="utf-8")
    with pytest.raises(DataError, match="splits the samples of Image_01"):
        train_val_split([data], names)
    names.write_text("Image_99\n", encoding="utf-8")
    with pytest.raises(DataError, match="names no sample"):
        train_val_split([data], names)
