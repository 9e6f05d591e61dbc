"""The medical sets on the real files, with the areas and traps that their README and indices state."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import rclicks
from rclicks.data.contract import Dataset
from rclicks.errors import DataError, ProtocolError
from support import SHARED, needs_shared

RATERS, VOLUMES = SHARED / "data" / "multirater", SHARED / "data" / "volumes"


def areas(data: Dataset, index: int) -> list[int]:
    return [int(m.sum()) for m in data[index].targets[0].masks]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@needs_shared
@pytest.mark.parametrize(
    ("name", "folder", "samples", "raters"),
    [
        ("CHASE_DB1", "chase_db1", 28, 2),
        ("STARE", "stare", 20, 2),
        ("LIDC_crops", "lidc", 71, 4),
        ("LIDC_jpg", "lidc_jpg", 28, 4),
        ("QUBIQ_brain_growth", "qubiq_brain_growth", 39, 7),
    ],
)
def test_samples_and_raters(name: str, folder: str, samples: int, raters: int) -> None:
    data = rclicks.load_dataset(name, RATERS / folder)
    assert len(data) == samples
    for index in (0, samples // 2, samples - 1):
        (target,) = data[index].targets
        assert len(target.masks) == len(target.raters) == raters
        assert all(f.is_file() for f in data.files(index))


@needs_shared
def test_lidc_keeps_the_slot_of_a_rater_who_drew_nothing() -> None:
    data = rclicks.load_dataset("LIDC_crops", RATERS / "lidc")
    index = rows(RATERS / "lidc/index.csv")
    found = [areas(data, i) for i in range(len(data))]
    assert found == [[int(r[f"area_l{k}"]) for k in range(4)] for r in index]
    assert [sum(sum(a > 0 for a in f) == n for f in found) for n in (1, 2, 3, 4)] == [17, 18, 18, 18]
    assert any(f[0] == 0 for f in found)
    for i in range(len(data)):
        stored = cv2.imread(str(RATERS / f"lidc/test/images/{index[i]['case']}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(data[i].image[..., 1], stored)


@needs_shared
def test_qubiq_has_the_areas_of_its_index() -> None:
    data = rclicks.load_dataset("QUBIQ_brain_growth", RATERS / "qubiq_brain_growth")
    index = rows(RATERS / "qubiq_brain_growth/index.csv")
    assert list(data.ids) == [r["case"] for r in index]
    assert [areas(data, i) for i in range(39)] == [[int(r[f"area_seg0{k}"]) for k in range(1, 8)] for r in index]


@needs_shared
def test_jpeg_labels_agree_as_much_as_stated() -> None:
    # Mean pairwise Dice over the 28 cases, two empty masks agreeing fully: 0.755 in the README.
    data = rclicks.load_dataset("LIDC_jpg", RATERS / "lidc_jpg")
    assert data.ids[:3] == ["training-0", "training-1", "training-2"]
    dice = []
    for sample in data:
        masks = sample.targets[0].masks
        pairs = [(a, b) for i, a in enumerate(masks) for b in masks[i + 1 :]]
        dice.append(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else 1.0 for a, b in pairs]))
    assert np.mean(dice) == pytest.approx(0.755, abs=5e-4)


@needs_shared
def test_bu_bil_leaves_copies_out_and_shows_16_bits() -> None:
    data = rclicks.load_dataset("BU_BIL", RATERS / "bu_bil")
    assert len(data) == 50
    sizes = {"dataset1_full": (5, 9), "dataset1_crop": (15, 9), "dataset3_crop": (30, 10)}
    for part, (samples, raters) in sizes.items():
        some = rclicks.load_dataset("BU_BIL", RATERS / "bu_bil", part=part)
        assert len(some) == samples
        target = some[0].targets[0]
        assert len(target.raters) == raters
        assert len({m.tobytes() for m in target.masks}) == raters
    image = some[0].image
    assert (image.dtype, image.min(), image.max()) == (np.uint8, 0, 255)
    gold = {r["case"]: int(r["gold_area"]) for r in rows(RATERS / "bu_bil/dataset3_crop/index.csv")}
    for sample in some:
        name = sample.id.removeprefix("dataset3_crop-")
        assert int(sample.targets[0].mask("Person2_ImageJ").sum()) == gold[name]


@needs_shared
def test_chase_is_split_as_usual() -> None:
    root = RATERS / "chase_db1"
    train, test = (list(rclicks.load_dataset("CHASE_DB1", root, part=p).ids) for p in ("train", "test"))
    assert (len(train), len(test), test[0]) == (20, 8, "Image_11L")
    with pytest.raises(ProtocolError, match="part is 'val'; allowed: all, train, test"):
        rclicks.load_dataset("CHASE_DB1", root, part="val")
    with pytest.raises(ProtocolError, match="allowed: all"):
        rclicks.load_dataset("STARE", RATERS / "stare", part="test")


@needs_shared
def test_camus_masks_have_the_areas_of_the_manifest() -> None:
    data = rclicks.load_dataset("CAMUS_4ch", VOLUMES / "camus_4ch")
    stated = {r["case"]: r for r in rows(VOLUMES / "manifest.csv") if r["dataset"] == "camus_4ch"}
    assert len(data) == 48
    for index in range(0, 48, 12):
        sample = data[index]
        facts = stated[sample.id]
        assert {t.id: int(t.masks[0].sum()) for t in sample.targets} == json.loads(facts["label_voxels"])
        assert [int(n) for n in facts["shape"].split("x")] == [sample.shape[1], sample.shape[0]]
        assert sample.spacing == pytest.approx((0.308, 0.308), abs=1e-6)
        # Rows are depth: the cavity lies above the atrium, and the tip of the cone is black to both sides.
        left, _, atrium = (np.argwhere(t.masks[0]).mean(axis=0) for t in sample.targets)
        assert left[0] < atrium[0]
        assert sample.image[0, 0].max() == sample.image[0, -1].max() == 0


@needs_shared
def test_small_camus_and_echo_have_the_areas_of_their_indices() -> None:
    data = rclicks.load_dataset("CAMUS_4ch_small", VOLUMES / "camus_4ch_small")
    index = {r["case"]: r for r in rows(VOLUMES / "camus_4ch_small/index.csv")}
    for k in range(0, 300, 30):
        sample = data[k]
        stated = [int(index[sample.id][c]) for c in ("lv_px", "myo_px", "la_px")]
        assert [int(t.masks[0].sum()) for t in sample.targets] == stated
    stated = {r["case"]: json.loads(r["label_voxels"]) for r in rows(VOLUMES / "manifest.csv") if "psax" in r["image"]}
    for sample in rclicks.load_dataset("echo_psax", VOLUMES / "echo_psax"):
        assert {t.id: int(t.masks[0].sum()) for t in sample.targets} == stated[sample.id]


@needs_shared
@pytest.mark.parametrize(
    ("name", "folder", "samples"),
    [
        ("spleen_ct_slice", "spleen_ct", 1),
        ("hippocampus_slice", "hippocampus", 160),
        ("prostate_slice", "prostate_deepreg", 28),
    ],
)
def test_volumes_give_their_fullest_slice(name: str, folder: str, samples: int) -> None:
    data = rclicks.load_dataset(name, VOLUMES / folder)
    stated = {r["case"]: r for r in rows(VOLUMES / "manifest.csv") if r["dataset"] == folder}
    assert len(data) == samples == len(stated)
    for index in range(0, samples, 16):
        sample = data[index]
        width, height, depth = (int(n) for n in stated[sample.id]["shape"].split("x"))
        assert sample.shape == (height, width)
        total = sum(json.loads(stated[sample.id]["label_voxels"]).values())
        assert total / depth <= sum(int(t.masks[0].sum()) for t in sample.targets) <= total
        assert sample.image.std() > 10


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    for name in ("CHASE_DB1", "STARE", "LIDC_crops", "LIDC_jpg", "QUBIQ_brain_growth", "BU_BIL", "spleen_ct_slice"):
        with pytest.raises(DataError, match=str(tmp_path.name)):
            len(rclicks.load_dataset(name, tmp_path))
    masks = np.zeros((2, 3, 4, 5), np.uint8)
    masks[0, 1, 2] = 1
    file = tmp_path / "lidc_subset.npz"
    np.savez_compressed(file, images=np.zeros((2, 4, 5), np.float32), masks=masks, keys=np.array(["a", "b"]))
    first, second = rclicks.load_dataset("LIDC_crops", tmp_path)
    assert [int(m.sum()) for m in first.targets[0].masks] == [0, 5, 0]
    assert second.targets == (), "what nobody drew is no object"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DataError, match=r"lidc_subset\.npz is damaged"):
        len(rclicks.load_dataset("LIDC_crops", tmp_path))
