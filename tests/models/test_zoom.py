"""Zoom-in: regions of the golden table, and what the golden numbers cannot show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rclicks.interaction import Click
from rclicks.models.early_fusion.zoom import ZoomRule, bounds, holds_positive, object_region, overlap
from support import golden, needs_shared


@needs_shared
def test_regions_equal_the_golden_ones() -> None:
    for item in golden("behaviour/zoom_in_roi")["items"]:
        mask = np.zeros(item["hw"], bool)
        top, bottom, left, right = item["mask_rect_rmin_rmax_cmin_cmax"]
        mask[top : bottom + 1, left : right + 1] = True
        clicks = [Click((r, c), bool(positive)) for r, c, positive in item["clicks_row_col_positive"]]
        region = object_region(mask, clicks, item["expansion_ratio"], item["min_crop_size"])
        other = tuple(item["other_roi"])
        assert region == tuple(item["roi"])
        assert overlap(region, other) == pytest.approx(item["bbox_iou"], abs=1e-12)
        assert holds_positive(other, clicks) is item["other_roi_contains_positive_clicks"]


@given(st.integers(0, 59), st.integers(0, 89), st.integers(1, 30), st.integers(1, 30))
def test_bounds_are_tight(row: int, column: int, height: int, width: int) -> None:
    mask = np.zeros((60, 90), bool)
    mask[row : row + height, column : column + width] = True
    assert bounds(mask) == (row, min(row + height, 60) - 1, column, min(column + width, 90) - 1)


def test_an_empty_mask_has_no_region() -> None:
    assert object_region(np.zeros((5, 6), bool), [Click((1, 1))]) is None


def test_a_clicked_pixel_on_the_last_row_of_a_region_counts_as_outside() -> None:
    assert holds_positive((0, 10, 0, 10), [Click((9, 9)), Click((10, 10), positive=False)])
    assert not holds_positive((0, 10, 0, 10), [Click((10, 5))])


def probability(rows: slice, columns: slice, shape: tuple[int, int] = (400, 600)) -> np.ndarray:
    p = np.zeros(shape, np.float32)
    p[rows, columns] = 0.9
    return p


def test_the_first_round_is_not_zoomed_but_resized_with_skip_minus_one() -> None:
    click = [Click((5, 5))]
    plain = ZoomRule().look((400, 600), None, None, click)
    assert (plain.region, plain.size, plain.changed) == (None, (400, 600), False)
    resized = ZoomRule(skip_clicks=-1).look((400, 600), None, None, click)
    assert (resized.region, resized.size, resized.changed) == ((0, 399, 0, 599), (267, 400), True)
    fixed = ZoomRule(target=(448, 448), skip_clicks=-1).look((400, 600), None, None, click)
    assert fixed.size == (448, 448)


def test_a_region_is_kept_while_it_fits() -> None:
    rule = ZoomRule()
    clicks = [Click((150, 250)), Click((160, 260))]
    first = rule.look((400, 600), None, probability(slice(100, 200), slice(200, 300)), clicks)
    assert first.changed
    assert first.region == (50, 250, 150, 350)
    kept = rule.look((400, 600), first.region, probability(slice(100, 210), slice(200, 310)), clicks)
    assert not kept.changed
    assert kept.region == first.region
    outside = [*clicks, Click((380, 580))]
    moved = rule.look((400, 600), first.region, probability(slice(100, 210), slice(200, 310)), outside)
    assert moved.changed
    grown = rule.look((400, 600), first.region, probability(slice(0, 400), slice(0, 600)), clicks)
    assert grown.changed


def test_a_vanished_object_shows_the_whole_image_again() -> None:
    clicks = [Click((150, 250)), Click((160, 260), False)]
    region, empty = (50, 250, 150, 350), np.zeros((400, 600), np.float32)
    corrected = ZoomRule().look((400, 600), region, empty, clicks)
    assert (corrected.region, corrected.paste, corrected.size) == (None, None, (400, 600))
    published = ZoomRule(published_paste=True).look((400, 600), region, empty, clicks)
    assert (published.region, published.paste, published.size) == (None, region, (400, 600))
