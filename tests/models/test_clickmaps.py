"""Clicks as network input, against the golden maps."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rclicks.models.early_fusion.click_maps import disk_maps, mirrored, point_tensor, tanh_maps  # noqa: E402
from support import SHARED, golden, golden_arrays, needs_shared, stored_view  # noqa: E402


@needs_shared
def test_maps_equal_the_golden_ones() -> None:
    facts, arrays = golden("behaviour/click_encoding"), golden_arrays("behaviour/click_encoding")
    for item in facts["items"]:
        points, size = torch.tensor(item["points_row_col_order"]), tuple(item["hw"])
        for radius in (5, 3):
            name = f"{item['tag']}.disk{radius}"
            maps = disk_maps(points, size, radius).numpy()
            assert np.array_equal(stored_view(maps, facts["outputs"][name]["stored"]), arrays[name])
        name = f"{item['tag']}.tanh260"
        maps = tanh_maps(points, size, 260).numpy()
        assert np.abs(stored_view(maps, facts["outputs"][name]["stored"]) - arrays[name]).max() < 1e-6


@needs_shared
def test_maps_equal_the_fixture() -> None:
    with np.load(SHARED / "reference/rclicks/fixtures/dist_maps.npz") as fixture:
        points = torch.from_numpy(fixture["points"])
        assert np.array_equal(disk_maps(points, (40, 64), 5).numpy(), fixture["disk5"])
        assert np.abs(tanh_maps(points, (40, 64), 260).numpy() - fixture["tanh260"]).max() < 1e-6


def test_points_are_sorted_by_sign_and_padded() -> None:
    slots = [[(1.0, 2.0, 0, True), (3.0, 4.0, 1, False), (5.0, 6.0, 2, False)], [(7.0, 8.0, 0, True)]]
    expected = [
        [[1, 2, 0], [-1, -1, -1], [3, 4, 1], [5, 6, 2]],
        [[7, 8, 0], [-1, -1, -1], [-1, -1, -1], [-1, -1, -1]],
    ]
    assert point_tensor(slots).tolist() == expected
    assert point_tensor(slots, limit=2).shape == (2, 2, 3)
    assert point_tensor([[(7.0, 8.0, 0, True)]]).shape == (1, 2, 3)
    assert mirrored(slots[1], 10) == [(7.0, 1.0, 0, True)]


@pytest.mark.parametrize("maps", [disk_maps, tanh_maps])
def test_padding_changes_nothing(maps) -> None:
    slot = [(4.5, 7.25, 0, True), (9.0, 1.0, 1, False)]
    wide = [(float(i), float(i), i, True) for i in range(6)]
    alone = maps(point_tensor([slot]), (12, 16), 5)
    padded = maps(point_tensor([slot, wide]), (12, 16), 5)
    assert torch.equal(alone[0], padded[0])


def test_a_disk_at_the_border_is_cut() -> None:
    maps = disk_maps(point_tensor([[(0.0, 0.0, 0, True), (30.0, 30.0, 1, False)]]), (8, 8), 1)
    assert maps[0, 0].nonzero().tolist() == [[0, 0], [0, 1], [1, 0]]
    assert maps[0, 1].sum() == 0
