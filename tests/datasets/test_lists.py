"""PascalVOC and SBD: object lists and instance files, whole, damaged and absent."""

import contextlib
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import rclicks
from rclicks.datasets.pascal_voc import read_list
from rclicks.errors import DataError
from support import SHARED, needs_shared

VOC = SHARED / "data" / "PascalVOC"


@needs_shared
def test_every_pascal_instance_has_the_pixels_of_its_palette_index() -> None:
    # The grays of the palette's colours differ from each other and from void, so areas must match index by index.
    objects = 0
    for sample in rclicks.load_dataset("PascalVOC", VOC, split="trainval"):
        indices = np.asarray(Image.open(VOC / "SegmentationObject" / f"{sample.id}.png"))
        values = [v for v in np.unique(indices) if v not in {0, 255}]
        assert len(sample.targets) == len(values)
        drawn = {m.masks[0].tobytes() for m in sample.targets}
        assert drawn == {(indices == v).tobytes() for v in values}
        assert [int(t.id) for t in sample.targets] == sorted(int(t.id) for t in sample.targets)
        assert all(np.array_equal(t.ignore, indices == 255) for t in sample.targets)
        objects += len(sample.targets)
    assert objects == 115


@needs_shared
def test_without_a_list_the_validation_split_is_taken() -> None:
    names = (VOC / "ImageSets/Segmentation/val.txt").read_text().split()
    assert list(rclicks.load_dataset("PascalVOC", VOC).ids) == names
    with pytest.raises(DataError, match=r"test\.pickle cannot be read: .*choose a split"):
        len(rclicks.load_dataset("PascalVOC", VOC, split="test"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_lists_of_any_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    numbers = [np.int64(38), np.uint8(220), 75, np.int16(-2), np.array(513, ">i4")[()]]
    file = tmp_path / "test.pickle"
    file.write_bytes(pickle.dumps((list("abcde"), numbers), protocol))
    assert read_list(file) == [("a", 38), ("b", 220), ("c", 75), ("d", -2), ("e", 513)]


@pytest.mark.parametrize(
    "value",
    [
        (["a"], [1.0]),
        (["a"], [np.float64(1)]),
        (["a"], [True]),
        ([1], [1]),
        (["a", "a"], [3, 3]),
        (["a"], [np.array([1])]),
        ("a", "b", "c"),
        None,
    ],
)
def test_lists_of_anything_else_are_refused(tmp_path: Path, value: object) -> None:
    file = tmp_path / "test.pickle"
    file.write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match=r"test\.pickle is not a list"):
        read_list(file)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_damaged_lists_give_an_error_or_a_list(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(protocol)
    whole = pickle.dumps((["a", "b"], [np.int64(3), 4]), protocol)
    file = tmp_path / "test.pickle"
    for _ in range(200):
        data = bytearray(whole)
        data[rng.integers(len(data))] = rng.integers(256)
        file.write_bytes(data)
        with contextlib.suppress(DataError):
            assert all(isinstance(n, str) and isinstance(i, int) for n, i in read_list(file))


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_instance_files_are_named(tmp_path: Path, compressed: bool) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (20, 30)).astype(np.uint8)
    (tmp_path / "img").mkdir()
    (tmp_path / "inst").mkdir()
    (tmp_path / "val.txt").write_text("a\n")
    (tmp_path / "img" / "a.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes())
    file = tmp_path / "inst" / "a.mat"
    savemat(file, {"GTinst": {"Segmentation": labels}}, do_compression=compressed)
    (sample,) = rclicks.load_dataset("SBD", tmp_path)
    assert [np.array_equal(t.masks[0], labels == int(t.id)) for t in sample.targets] == [True, True]
    whole = file.read_bytes()
    broken = [whole[: len(whole) * part // 20] for part in range(1, 20)]
    if compressed:  # only then has the file a checksum
        middle = len(whole) // 2
        broken.append(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    for data in broken:
        file.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.mat is damaged"):
            rclicks.load_dataset("SBD", tmp_path)[0]
    file.unlink()
    with pytest.raises(DataError, match=r"a\.mat is missing"):
        rclicks.load_dataset("SBD", tmp_path)[0]
