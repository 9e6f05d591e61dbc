"""Data sets on the real files, and on small files written here where the real ones are absent."""

import csv
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

import rclicks
from rclicks.data.contract import Dataset
from rclicks.data.images import read_image, read_mask, shrunk_size
from rclicks.datasets.pascal_voc import read_list
from rclicks.datasets.tetris import object_ids, shrink_labels
from rclicks.errors import DataError, ProtocolError
from support import SHARED, needs_shared

DATA = SHARED / "data"


def real(name: str, **options: object) -> Dataset:
    return rclicks.load_dataset(name, DATA / name, **options)


def put(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())
    return path


@needs_shared
@pytest.mark.parametrize(
    ("name", "samples", "step"), [("GrabCut", 50, 1), ("Berkeley", 100, 1), ("DAVIS", 345, 10), ("COCO_MVal", 80, 1)]
)
def test_masks_have_the_areas_that_rclicks_evaluated(name: str, samples: int, step: int) -> None:
    data = real(name)
    assert len(data) == samples
    assert data.ids == sorted(data.ids, key=lambda s: s.encode()) or name == "GrabCut"
    published = {}
    with (DATA / "clicks/rclicks_reference/first_round_human_stats.csv").open() as file:
        for row in csv.DictReader(file):
            published[row["dataset"], row["stem"]] = [int(row[k]) for k in ("height", "width", "mask_area")]
    key = {"COCO_MVal": "COCO"}.get(name, name)
    if (key, data.ids[0]) not in published:
        key = name
    for index in range(0, samples, step):
        sample = data[index]
        (target,) = sample.targets
        assert [*sample.shape, int(target.masks[0].sum())] == published[key, sample.id], sample.id


@needs_shared
def test_grabcut_ignores_its_band_where_there_is_one() -> None:
    without = [s.id for s in real("GrabCut") if s.targets[0].ignore is None]
    assert sorted(without) == ["106024", "153093", "181079", "189080", "208001", "376043", "llama", "teddy"]
    sample = next(s for s in real("GrabCut") if s.id == "bush")
    raw = read_mask(DATA / "GrabCut/boundary_GT/bush.bmp")
    raw = raw if raw.ndim == 2 else raw[..., 0]
    assert np.array_equal(sample.targets[0].ignore, raw == 128)
    assert np.array_equal(sample.targets[0].masks[0], raw == 255)


@needs_shared
def test_davis_takes_every_channel_above_zero() -> None:
    data = real("DAVIS")
    sample = data[data.ids.index("195")]
    raw = read_mask(DATA / "DAVIS/gt/195.png")
    assert set(np.unique(raw)) == {0, 128, 192, 224}
    assert np.array_equal(sample.targets[0].masks[0], raw.max(axis=2) > 0)


@needs_shared
def test_pascal_instances_and_void() -> None:
    data = real("PascalVOC", split="trainval")
    assert len(data) == 44
    samples = list(data)
    assert sum(len(s.targets) for s in samples) == 115
    from PIL import Image

    sample = samples[0]
    palette = np.asarray(Image.open(DATA / f"PascalVOC/SegmentationObject/{sample.id}.png"))
    assert np.array_equal(sample.targets[0].ignore, palette == 255)
    areas = sorted(int((palette == v).sum()) for v in np.unique(palette) if v not in {0, 255})
    assert sorted(int(t.masks[0].sum()) for t in sample.targets) == areas


def voc_folder(root: Path, pairs: object) -> Path:
    mask = np.zeros((6, 8, 3), np.uint8)
    mask[1:3, 1:4] = (0, 0, 128)  # red in OpenCV's order: gray 38
    mask[3:5, 4:7] = (0, 128, 0)  # green: gray 75
    mask[5] = (192, 224, 224)  # void: gray 220
    put(root / "JPEGImages" / "a.jpg", np.zeros((6, 8, 3), np.uint8))
    put(root / "SegmentationObject" / "a.png", mask)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "test.pickle").write_bytes(pickle.dumps(pairs))
    return root


def test_pascal_reads_the_published_list_and_groups_objects_by_image(tmp_path: Path) -> None:
    data = rclicks.load_dataset("PascalVOC", voc_folder(tmp_path, (["a", "a"], [75, np.int64(38)])))
    (sample,) = data
    assert [t.id for t in sample.targets] == ["75", "38"]
    assert [int(t.masks[0].sum()) for t in sample.targets] == [6, 6]
    assert sample.targets[0].ignore.sum() == 8


class Evil:
    def __reduce__(self) -> tuple:
        return (eval, ("__import__('os').environ.__setitem__('RCLICKS_HACKED', '1')",))


def test_a_list_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv("RCLICKS_HACKED", raising=False)
    file = tmp_path / "test.pickle"
    file.write_bytes(pickle.dumps((["a"], [Evil()])))
    with pytest.raises(DataError, match="builtins.eval is not allowed"):
        read_list(file)
    assert "RCLICKS_HACKED" not in os.environ
    for junk in (b"", b"not a pickle", pickle.dumps((["a"], [1, 2])), pickle.dumps({"a": 1})):
        file.write_bytes(junk)
        with pytest.raises(DataError):
            read_list(file)


@given(st.integers(0, 2**24 - 1))
def test_tetris_ids_are_blue_green_red(value: int) -> None:
    pixel = np.array([[[value >> 16, (value >> 8) & 255, value & 255]]], np.uint8)
    assert object_ids(pixel)[0, 0] == value


@pytest.mark.parametrize(
    ("size", "expected"), [((100, 50), (100, 50)), ((4000, 3000), (2048, 1536)), ((3000, 4001), (1536, 2048))]
)
def test_tetris_sizes(size: tuple, expected: tuple) -> None:
    assert shrunk_size(*size, 2048) == expected


def test_tetris_paints_larger_ids_last_and_drops_what_vanishes() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[:, :21], labels[:, 21:] = 7, 3
    labels[0, 0] = 9
    small = shrink_labels(labels, (10, 10))
    assert set(np.unique(small)) == {3, 7}
    # Column 5 covers columns 20 to 23: each id gets half of two samples, which rounds up, so the larger id wins.
    for value in (3, 7):
        alone = cv2.resize((labels == value).astype(np.uint8), (10, 10), interpolation=cv2.INTER_LINEAR) > 0
        assert np.array_equal(small == 7, alone) if value == 7 else (small[alone] >= 3).all()


def test_tetris_reads_objects_of_one_image_as_one_sample(tmp_path: Path) -> None:
    coded = np.zeros((60, 90, 3), np.uint8)
    coded[5:20, 5:30] = (1, 0, 2)
    coded[30:50, 40:80] = (0, 1, 0)
    put(tmp_path / "images" / "x.jpg", np.full((60, 90, 3), 9, np.uint8))
    put(tmp_path / "masks" / "x.png", coded)
    (sample,) = rclicks.load_dataset("TETRIS", tmp_path)
    assert [t.id for t in sample.targets] == ["256", "65538"]
    assert [int(t.masks[0].sum()) for t in sample.targets] == [20 * 40, 15 * 25]
    (small,) = rclicks.load_dataset("TETRIS", tmp_path, max_side=45)
    assert small.shape == (30, 45)


def test_sbd_groups_instances(tmp_path: Path) -> None:
    labels = np.zeros((5, 7), np.uint8)
    labels[1, 1:3], labels[3, 4:7] = 2, 1
    put(tmp_path / "img" / "2008_1.jpg", np.zeros((5, 7, 3), np.uint8))
    (tmp_path / "inst").mkdir()
    savemat(tmp_path / "inst" / "2008_1.mat", {"GTinst": {"Segmentation": labels}})
    (tmp_path / "val.txt").write_text("2008_1\n")
    (sample,) = rclicks.load_dataset("SBD", tmp_path)
    assert [(t.id, int(t.masks[0].sum())) for t in sample.targets] == [("1", 3), ("2", 2)]
    (tmp_path / "inst" / "2008_1.mat").write_bytes(b"rubbish")
    with pytest.raises(DataError, match=r"2008_1\.mat is damaged"):
        rclicks.load_dataset("SBD", tmp_path)[0]
    with pytest.raises(ProtocolError, match="allowed: val, train"):
        rclicks.load_dataset("SBD", tmp_path, split="test")


def test_coco_polygons_run_lengths_and_crowds(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    put(tmp_path / "images" / "i.png", np.zeros((10, 12, 3), np.uint8))
    box = [[2, 2, 8, 2, 8, 6, 2, 6]]
    runs = {"size": [10, 12], "counts": [0, 10, 110]}
    notes = [
        {"id": 5, "image_id": 1, "segmentation": runs, "area": 10, "category_id": 1},
        {"id": 3, "image_id": 1, "segmentation": box, "area": 24, "category_id": 1},
        {"id": 4, "image_id": 1, "segmentation": runs, "area": 10, "iscrowd": 1, "category_id": 1},
    ]
    images = [{"id": 1, "file_name": "i.png", "height": 10, "width": 12}, {"id": 2, "file_name": "none.png"}]
    (tmp_path / "annotations.json").write_text(json.dumps({"images": images, "annotations": notes, "categories": []}))
    (sample,) = rclicks.load_dataset("coco", tmp_path)
    assert [(t.id, int(t.masks[0].sum())) for t in sample.targets] == [("3", 24), ("5", 10)]
    assert len(rclicks.load_dataset("coco", tmp_path, min_area=20)[0].targets) == 1
    assert len(rclicks.load_dataset("coco", tmp_path, max_objects=1)[0].targets) == 1
    (tmp_path / "annotations.json").write_text("{}")
    with pytest.raises(DataError, match="no COCO annotation file"):
        len(rclicks.load_dataset("coco", tmp_path))


def folder(root: Path, mask: np.ndarray | None = None) -> Path:
    put(root / "images" / "cat 1.v2.png", np.full((8, 9, 3), 50, np.uint8))
    if mask is None:
        mask = np.zeros((8, 9), np.uint8)
        mask[1:4, 1:5], mask[5:7, 5:8], mask[0] = 1, 200, 255
    put(root / "masks" / "cat 1.png", mask)
    return root


def test_folder_binary_ids_and_ignore(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (sample,) = rclicks.load_dataset("folder", root)
    assert sample.id == "cat 1"
    assert int(sample.targets[0].masks[0].sum()) == 12 + 6 + 9
    (lossy,) = rclicks.load_dataset("folder", root, threshold=127)
    assert int(lossy.targets[0].masks[0].sum()) == 6 + 9
    (named,) = rclicks.load_dataset("folder", root, objects="ids", ignore=255)
    assert [(t.id, int(t.masks[0].sum())) for t in named.targets] == [("1", 12), ("200", 6)]
    assert int(named.targets[0].ignore.sum()) == 9
    with pytest.raises(ProtocolError, match="objects is 'many'"):
        rclicks.load_dataset("folder", root, objects="many")
    with pytest.raises(ProtocolError, match="no option 'colour'; allowed: ignore, images"):
        rclicks.load_dataset("folder", root, colour=1)


def test_missing_masks_and_other_sizes_name_the_files(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", np.zeros((8, 10), np.uint8))
    with pytest.raises(DataError, match=r"cat 1\.png is 10 x 8 .* its image .* is 9 x 8"):
        rclicks.load_dataset("folder", root)[0]
    (root / "masks" / "cat 1.png").rename(root / "masks" / "dog.png")
    with pytest.raises(DataError, match=r"1 images have no mask .* cat 1\.v2\.png"):
        len(rclicks.load_dataset("folder", root))


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_damaged_files_are_refused_not_filled_with_gray(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    path = put(tmp_path / f"x{suffix}", rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    assert read_image(path).shape == (64, 64, 3)
    whole = path.read_bytes()
    for part in (whole[: len(whole) // 2], whole[: len(whole) - 20], whole[:10], b""):
        path.write_bytes(part)
        with pytest.raises(DataError, match=f"x{suffix} is damaged"):
            read_image(path)
    with pytest.raises(DataError, match="is missing"):
        read_image(tmp_path / "absent.png")


def test_missing_roots_say_what_was_looked_for_where_and_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCLICKS_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("RCLICKS_ROOT_GRABCUT", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError) as caught:
        rclicks.load_dataset("GrabCut")
    for word in (str(tmp_path / "elsewhere"), str(tmp_path / "GrabCut"), "data_GT", "RITM", "RCLICKS_ROOT_GRABCUT"):
        assert word in str(caught.value)


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    path = put(tmp_path / "red.png", np.full((4, 4, 3), (0, 0, 255), np.uint8))
    assert read_image(path)[0, 0].tolist() == [255, 0, 0]


def test_quickstart_has_at_least_twelve_objects_on_real_photographs() -> None:
    samples = list(rclicks.load_dataset("quickstart"))
    assert sum(len(s.targets) for s in samples) >= 12
    for sample in samples:
        assert min(sample.shape) > 100
        assert sample.image.std() > 5
        for target in sample.targets:
            assert 200 < target.masks[0].sum() < 0.8 * sample.image[..., 0].size
