"""Classical supervoxels are partitions, the same every time, and know the size of a voxel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rclicks.data.volumes import read_volume
from rclicks.errors import ProtocolError
from rclicks.supervoxels.classical import METHODS, even_markers, felzenszwalb, partition, restrict, scaled
from rclicks.supervoxels.merging import merge
from rclicks.supervoxels.quality import measure
from support import SHARED, needs_shared

HIPPOCAMPUS = SHARED / "data" / "volumes" / "hippocampus" / "images" / "hippocampus_006.nii.gz"


def phantom(seed: int = 0, shape: tuple[int, int, int] = (12, 24, 20)) -> np.ndarray:
    """Return two bright balls on noise."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(shape)
    image = rng.normal(100, 5, shape)
    image[(z - 4) ** 2 + (y - 8) ** 2 + (x - 6) ** 2 < 16] += 80
    image[(z - 8) ** 2 + (y - 16) ** 2 + (x - 13) ** 2 < 20] += 150
    return image.astype(np.float32)


def check_partition(labels: np.ndarray, shape: tuple[int, ...]) -> None:
    assert labels.shape == shape
    assert labels.dtype == np.int32
    assert np.unique(labels).tolist() == list(range(1, labels.max() + 1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["float32", "int16", "big-endian", "constant"])
def test_every_voxel_has_one_label_and_labels_have_no_gap(method: str, kind: str) -> None:
    image = phantom()
    given_image = {
        "float32": image,
        "int16": image.astype(np.int16),
        "big-endian": image.astype(">i2"),
        "constant": np.full(image.shape, 7, np.uint8),
    }[kind]
    before = given_image.copy()
    given_image.setflags(write=False)
    labels = partition(given_image, (1, 1, 1), method, segments=40)
    check_partition(labels, image.shape)
    assert (given_image == before).all()
    if kind == "int16":
        assert 20 <= labels.max() <= 80


@pytest.mark.parametrize("method", METHODS)
def test_a_real_volume_is_cut_the_same_every_time_into_connected_parts(method: str) -> None:
    if not HIPPOCAMPUS.is_file():
        pytest.skip("the shared volumes are absent")
    volume = read_volume(HIPPOCAMPUS)
    first = partition(volume.values, volume.spacing, method, segments=150)
    partition(phantom(3), (1, 1, 1), method, segments=9)
    assert (partition(volume.values, volume.spacing, method, segments=150) == first).all()
    check_partition(first, volume.values.shape)
    assert 100 <= first.max() <= 200
    for i, window in enumerate(ndimage.find_objects(first), 1):
        assert ndimage.label(first[window] == i, np.ones((3, 3, 3)))[1] == 1, f"supervoxel {i} is in pieces"


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=10, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 7)] * 3), segments=st.integers(1, 30), steps=st.tuples(*[st.floats(0.2, 9)] * 3)
)
def test_any_small_volume_is_partitioned(method: str, shape: tuple, segments: int, steps: tuple) -> None:
    image = np.random.default_rng(1).normal(size=shape)
    labels = partition(image, steps, method, segments=min(segments, image.size))
    check_partition(labels, shape)


@pytest.mark.parametrize("method", METHODS)
def test_only_ratios_of_the_spacing_matter(method: str) -> None:
    image = phantom()
    small = partition(image, (0.5, 0.25, 0.25), method, segments=60)
    assert (small == partition(image, (8, 4, 4), method, segments=60)).all()


@pytest.mark.parametrize("method", METHODS)
def test_thick_slices_give_flatter_supervoxels(method: str) -> None:
    """Count slices and rows of supervoxels in plain noise: with voxels of 6 x 1 x 1 mm they are flatter in voxels."""
    image = np.random.default_rng(0).normal(size=(24, 48, 48)).astype(np.float32)
    slimness = []
    for steps in ((1, 1, 1), (6, 1, 1)):
        labels = partition(image, steps, method, segments=100)
        windows = ndimage.find_objects(labels)
        slices, rows = (np.mean([w[axis].stop - w[axis].start for w in windows]) for axis in (0, 1))
        slimness.append(slices / rows)
    assert slimness[1] < 0.6 * slimness[0]


@pytest.mark.parametrize(
    ("steps", "counts"), [((1, 1, 1), (4, 4, 4)), ((4, 1, 1), (10, 3, 3)), ((1, 1, 8), (2, 2, 16))]
)
def test_markers_are_even_in_millimetres(steps: tuple, counts: tuple) -> None:
    """The edge of a cell is (16³ * volume of a voxel / 64) ** (1/3): 4, 6.35 and 8 mm."""
    markers = even_markers((16, 16, 16), steps, 64)
    at = np.argwhere(markers)
    assert tuple(len(np.unique(axis)) for axis in at.T) == counts
    assert sorted(markers[markers > 0]) == list(range(1, np.prod(counts) + 1))


def test_regions_of_neighbouring_slices_join_where_they_share_more_than_half() -> None:
    """A square that shifts by one of 8 columns stays one supervoxel; one that jumps by 5 becomes another."""
    image = np.zeros((4, 24, 24), np.float32)
    for z, left in enumerate((4, 5, 10, 11)):
        image[z, 8:16, left : left + 8] = 100
    labels = felzenszwalb(image, (1, 1, 1), segments=3)
    inside = [set(np.unique(labels[z, 10:14, left + 2 : left + 6])) for z, left in enumerate((4, 5, 10, 11))]
    assert inside[0] == inside[1]
    assert inside[2] == inside[3]
    assert len(inside[0]) == len(inside[2]) == 1
    assert inside[1] != inside[2]


@pytest.mark.parametrize(("thickness", "slices"), [(1, 4), (2, 3), (8, 1)])
def test_a_column_ends_where_it_is_as_thick_as_a_cube_of_the_wanted_volume(thickness: float, slices: int) -> None:
    """12 x 20 x 20 voxels in 75 parts: cubes of 4 mm, of 5.04 mm = 2.5 slices, of 8 mm = 1 slice."""
    image = np.zeros((12, 20, 20), np.float32)
    image[:, 5:15, 5:15] = 100
    labels = felzenszwalb(image, (thickness, 1, 1), segments=75)
    assert {w[0].stop - w[0].start for w in ndimage.find_objects(labels)} == {slices}
    assert len(np.unique(labels[:slices, 10, 10])) == 1


@pytest.mark.parametrize("method", METHODS)
def test_supervoxels_follow_the_image(method: str) -> None:
    """Two balls are the union of supervoxels of their image, and not of those of noise."""
    image = phantom()
    truth = (image > 150).astype(np.uint8)
    noise = np.random.default_rng(9).normal(100, 5, image.shape)
    own, other = (measure(partition(i, (1, 1, 1), method, segments=200), truth, (1, 1, 1)).dice for i in (image, noise))
    assert own > 0.85
    assert own > other + 0.1


def test_a_mask_leaves_0_outside_and_no_gap() -> None:
    image, mask = phantom(), np.zeros((12, 24, 20), bool)
    mask[2:9, 3:20, 4:15] = True
    labels = partition(image, (1, 1, 1), segments=60, mask=mask)
    assert ((labels == 0) == ~mask).all()
    assert np.unique(labels).tolist() == list(range(labels.max() + 1))
    assert restrict(np.array([[5, 9, 2]]), np.array([[True, True, False]])).tolist() == [[1, 2, 0]]


def test_scaling_ignores_outliers_and_keeps_order() -> None:
    image = np.arange(1000, dtype=np.int16).reshape(10, 10, 10)
    image[0, 0, 0], image[9, 9, 9] = -30000, 30000
    found = scaled(image)
    assert found.dtype == np.float32
    assert found.min() == 0
    assert found.max() == 1
    assert found[5, 0, 0] == pytest.approx(0.5, abs=0.01)
    assert set(np.unique(scaled(np.array([[[0] * 999 + [1]]])))) == {0, 1}, "a rare voxel is not lost"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"method": "slick"}, "slic"),
        ({"segments": 0}, "segments"),
        ({"segments": 10**6}, "segments"),
        ({"compactness": -1}, "compactness"),
        ({"compactness": 0}, "compactness"),
        ({"compactness": float("nan")}, "compactness"),
        ({"method": "felzenszwalb", "compactness": 1}, "felzenszwalb"),
        ({"spacing": (1, 0, 1)}, "spacing"),
        ({"spacing": (1, 1)}, "spacing"),
        ({"mask": np.ones((2, 2, 2), bool)}, "mask"),
    ],
)
def test_wrong_arguments_are_refused(options: dict, word: str) -> None:
    with pytest.raises(ProtocolError, match=word):
        partition(phantom(), **{"spacing": (1, 1, 1)} | options)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_voxel_goes_to_the_smallest_mask_that_covers_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = rng.random((rng.integers(1, 6), 2, 4, 3)) < rng.random()
    labels = merge(masks)
    sizes = masks.reshape(len(masks), -1).sum(1)
    owner = np.full(labels.shape, -1)
    for at in np.ndindex(*labels.shape):
        covering = [i for i in range(len(masks)) if masks[(i, *at)]]
        if covering:
            owner[at] = min(covering, key=lambda i: (sizes[i], i))
    seen = sorted(set(owner.ravel()) - {-1})
    expected = np.vectorize(lambda i: 0 if i < 0 else seen.index(i) + 1)(owner)
    assert (labels == expected).all()
    assert labels.dtype == np.int32


def test_no_mask_gives_an_empty_map() -> None:
    assert merge(np.zeros((0, 2, 3, 4), bool)).sum() == 0
    with pytest.raises(ValueError, match="n, z, y, x"):
        merge(np.zeros((2, 3, 4), bool))


@needs_shared
def test_thick_real_slices() -> None:
    """On 0.8 x 0.8 x 5 mm, watershed supervoxels span fewer slices than columns."""
    volume = read_volume(SHARED / "data" / "volumes" / "spleen_ct" / "spleen2_image.nii.gz")
    labels = partition(volume.values, volume.spacing, "watershed", segments=300)
    windows = ndimage.find_objects(labels)
    slices, columns = (np.mean([w[axis].stop - w[axis].start for w in windows]) for axis in (0, 2))
    assert slices * 2 < columns
