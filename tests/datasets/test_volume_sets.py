"""Sets of volumes: layouts, objects, and sets that contradict themselves."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

import rclicks
from rclicks.data.labelled import LabelledVolumes
from rclicks.errors import DataError, ProtocolError
from support import SHARED, needs_shared

LABELS = np.zeros((6, 5, 4), np.uint8)  # (x, y, z)
LABELS[0:2, 0:2, 0:2] = 1
LABELS[4:6, 3:5, 2:4] = 1
LABELS[0, 4, 3] = 3


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    place = np.diag([1, 2, 3, 1.0]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(values, place, dtype=values.dtype), path)


def folder_set(root: Path, **options: object) -> LabelledVolumes:
    save(root / "images" / "b.1.nii.gz", np.ones(LABELS.shape, np.int16))
    save(root / "labels" / "b.1.nii.gz", LABELS)
    return rclicks.load_dataset("volumes", root, **options)


def test_a_folder_of_volumes(tmp_path: Path) -> None:
    data = folder_set(tmp_path)
    assert data.ids == ["b.1"]
    sample = data[0]
    assert sample.image.shape == sample.shape == (4, 5, 6)
    assert sample.spacing == (3, 2, 1)
    assert [t.id for t in sample.targets] == ["1", "3"]
    assert np.array_equal(sample.targets[0].masks[0], LABELS.T == 1)
    assert sample.targets[0].masks[-1].sum() == 16
    assert len(sample.targets[0].masks) == 1
    with pytest.raises(ValueError, match="read-only"):
        sample.image[0, 0, 0] = 7


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({"min_voxels": 2}, ["1"]),
        ({"labels": 3}, ["3"]),
        ({"labels": [1, 3], "split": "components"}, ["1-1", "1-2", "3-1"]),
        ({"split": "components", "min_voxels": 8}, ["1-1", "1-2"]),
        ({"min_voxels": 99}, []),
    ],
)
def test_which_objects_count(tmp_path: Path, options: dict[str, object], ids: list[str]) -> None:
    sample = folder_set(tmp_path, **options)[0]
    assert [t.id for t in sample.targets] == ids
    for target in sample.targets:
        if options.get("split") == "components" and target.id.startswith("1"):
            assert target.masks[0].sum() == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [({"split": "x"}, "labels, components"), ({"min_voxels": 0}, "at least 1"), ({"geometry": "no"}, "check, image")],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        folder_set(tmp_path, **options)


def test_contradictions(tmp_path: Path) -> None:
    data = folder_set(tmp_path)
    save(tmp_path / "images" / "c.nii.gz", np.ones((3, 3, 3), np.int16))
    with pytest.raises(DataError, match=r"c\.nii\.gz"):
        _ = rclicks.load_dataset("volumes", tmp_path).ids
    save(tmp_path / "labels" / "c.nii.gz", np.ones((3, 3, 2), np.uint8))
    data = rclicks.load_dataset("volumes", tmp_path)
    with pytest.raises(DataError, match="they must be equal"):
        data[1]
    save(tmp_path / "labels" / "c.nii.gz", np.ones((3, 3, 3), np.uint8), np.diag([1, 2, 4, 1.0]))
    with pytest.raises(DataError, match="lies elsewhere"):
        data[1]
    assert rclicks.load_dataset("volumes", tmp_path, geometry="image")[1].spacing == (3, 2, 1)
    save(tmp_path / "labels" / "c.nii.gz", np.full((3, 3, 3), 0.5, np.float32))
    with pytest.raises(DataError, match="fractions"):
        data[1]
    save(tmp_path / "labels" / "c.nii.gz", np.full((3, 3, 3), -1, np.int16))
    with pytest.raises(DataError, match="label -1"):
        data[1]
    save(tmp_path / "labels" / "c.nii.gz", np.full((3, 3, 3), 2, np.float64))
    assert [t.id for t in data[1].targets] == ["2"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="images does not exist"):
        _ = rclicks.load_dataset("volumes", tmp_path / "empty").ids


def test_nnunet_raw(tmp_path: Path) -> None:
    for channel in (0, 1):
        save(tmp_path / "imagesTr" / f"case_{channel:04d}.nii.gz", np.full(LABELS.shape, channel, np.int16))
    save(tmp_path / "labelsTr" / "case.nii.gz", LABELS)
    with pytest.raises(DataError, match=r"dataset\.json is missing"):
        _ = rclicks.load_dataset("nnunet", tmp_path).ids
    about = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    assert rclicks.load_dataset("nnunet", tmp_path).ids == ["case"]
    assert rclicks.load_dataset("nnunet", tmp_path, channel=1)[0].image.max() == 1
    with pytest.raises(ProtocolError, match=r"no channel 2; there are 0 \(T1\), 1 \(T2\)"):
        _ = rclicks.load_dataset("nnunet", tmp_path, channel=2).ids
    with pytest.raises(ProtocolError, match="Tr, Ts"):
        _ = rclicks.load_dataset("nnunet", tmp_path, part="Va").ids


def test_decathlon_task_with_resource_forks_and_channels(tmp_path: Path) -> None:
    save(tmp_path / "imagesTr" / "brats_1.nii.gz", np.stack([np.zeros(LABELS.shape), np.ones(LABELS.shape)], -1))
    save(tmp_path / "labelsTr" / "brats_1.nii.gz", LABELS)
    (tmp_path / "imagesTr" / "._brats_1.nii.gz").write_bytes(b"fork")
    assert rclicks.load_dataset("msd", tmp_path).ids == ["brats_1"]
    with pytest.raises(DataError, match="channel=0"):
        rclicks.load_dataset("msd", tmp_path)[0]
    assert rclicks.load_dataset("msd", tmp_path, channel=1)[0].image.max() == 1


def test_challenge_files(tmp_path: Path) -> None:
    image, truth = np.full((4, 5, 6), 7, np.uint8), LABELS.T
    np.savez_compressed(tmp_path / "CT_a.npz", imgs=image, gts=truth, spacing=np.array([3.0, 2.0, 1.0]))
    np.savez_compressed(tmp_path / "MR_b.npz", imgs=image, spacing=(3.0, 2.0, 1.0))
    np.savez_compressed(tmp_path / "PET_c.npz", imgs=image, gts=truth, boxes=np.array([{"z_min": 1}], dtype=object))
    (tmp_path / "gts").mkdir()
    np.savez_compressed(tmp_path / "gts" / "MR_b.npz", gts=truth, spacing=(3.0, 2.0, 1.0))
    data = rclicks.load_dataset("medsegfm", tmp_path)
    assert data.ids == ["CT_a", "MR_b", "PET_c"]
    for index in (0, 1):
        assert data[index].spacing == (3, 2, 1)
        assert [t.id for t in data[index].targets] == ["1", "3"]
    with pytest.raises(DataError, match="has no spacing; it holds imgs, gts, boxes"):
        data[2]
    assert rclicks.load_dataset("medsegfm", tmp_path, spacing_order="xyz")[0].spacing == (1, 2, 3)
    np.savez_compressed(tmp_path / "PET_c.npz", imgs=image, gts=truth, spacing=np.array([{}, 1, 2], dtype=object))
    with pytest.raises(DataError, match="pickled objects"):
        data[2]
    np.savez_compressed(tmp_path / "PET_c.npz", imgs=image[:2], gts=truth, spacing=(1, 1, 1))
    with pytest.raises(DataError, match="expected equal shapes"):
        data[2]
    np.savez_compressed(tmp_path / "PET_c.npz", imgs=image, gts=truth, spacing=(1, 0, 1))
    with pytest.raises(DataError, match="three numbers above 0"):
        data[2]
    (tmp_path / "PET_c.npz").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match="damaged"):
        data[2]


@needs_shared
def test_real_sets() -> None:
    folder = SHARED / "data" / "volumes"
    whole = rclicks.load_dataset("hippocampus", folder / "hippocampus")
    assert len(whole) == 160
    test = rclicks.load_dataset("hippocampus", folder / "hippocampus", cases="manifest.csv@test")
    assert len(test) == 71
    assert {t.id for t in test[0].targets} == {"1", "2"}
    with pytest.raises(DataError, match="no case of split 'tset'"):
        _ = rclicks.load_dataset("hippocampus", folder / "hippocampus", cases="manifest.csv@tset").ids
    counts = {"spleen_ct": 1, "totalsegmentator": 41, "pyradiomics": 7, "spinal_cord": 5, "prostate_deepreg": 28}
    names = {"totalsegmentator": "totalsegmentator_ct", "prostate_deepreg": "prostate_mr_trus"}
    for place, objects in counts.items():
        data = rclicks.load_dataset(names.get(place, place), folder / place)
        assert sum(len(sample.targets) for sample in data) == objects, place


def test_two_files_of_one_case(tmp_path: Path) -> None:
    folder_set(tmp_path)
    save(tmp_path / "images" / "b.1.nii", np.ones(LABELS.shape, np.int16))
    with pytest.raises(DataError, match=r"two files of one case: b\.1\.nii(\.gz)? and b\.1\.nii"):
        _ = rclicks.load_dataset("volumes", tmp_path).ids


@pytest.mark.parametrize("labels", ["1 7", "1", [1, "2"], [0], [1.5], [True], {"a": 1}])
def test_labels_that_are_no_numbers(tmp_path: Path, labels: object) -> None:
    with pytest.raises(ProtocolError, match="labels is .* expected integers above 0"):
        folder_set(tmp_path, labels=labels)


def test_an_ignore_label_of_nnunet_is_no_object(tmp_path: Path) -> None:
    save(tmp_path / "imagesTr" / "case_0000.nii.gz", np.ones(LABELS.shape, np.int16))
    save(tmp_path / "labelsTr" / "case.nii.gz", LABELS)
    about = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "a": 1, "ignore": 3}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    (target,) = rclicks.load_dataset("nnunet", tmp_path)[0].targets
    assert target.id == "1"
    assert np.array_equal(target.ignore, LABELS.T == 3)


def test_label_messages_offer_only_what_labels_have(tmp_path: Path) -> None:
    data = folder_set(tmp_path)
    save(tmp_path / "labels" / "b.1.nii.gz", np.stack([LABELS, LABELS], -1))
    with pytest.raises(DataError, match=r"expected 3 axes$"):
        data[0]
    save(tmp_path / "labels" / "b.1.nii.gz", np.full(LABELS.shape, np.nan, np.float32))
    with pytest.raises(DataError, match=r"correct the file$"):
        data[0]


def test_large_and_nearly_whole_labels(tmp_path: Path) -> None:
    data = folder_set(tmp_path)
    save(tmp_path / "labels" / "b.1.nii.gz", LABELS.astype(np.int64) * 300_000_000)
    assert [t.id for t in data[0].targets] == ["300000000", "900000000"]
    assert data[0].targets[1].masks[0].sum() == 1
    save(tmp_path / "labels" / "b.1.nii.gz", LABELS.astype(np.float32) - np.float32(1e-9) - np.float32(1e-4))
    assert [t.id for t in data[0].targets] == ["1", "3"]
    save(tmp_path / "labels" / "b.1.nii.gz", np.full(LABELS.shape, 2**63, np.uint64))
    with pytest.raises(DataError, match=r"expected integers from 0 to 2\^32"):
        data[0]


def test_many_structures_are_not_held_as_many_volumes(tmp_path: Path) -> None:
    import tracemalloc

    labels = np.zeros((48, 48, 48), np.uint8)
    for k in range(40):
        labels[k, k : k + 6, 2:40] = k + 1
    save(tmp_path / "images" / "a.nii.gz", np.ones(labels.shape, np.float32))
    save(tmp_path / "labels" / "a.nii.gz", labels)
    for split in ("labels", "components"):
        data = rclicks.load_dataset("volumes", tmp_path, split=split)
        assert len(data[0].targets) == 40
        tracemalloc.start()
        try:
            sample = data[0]
            assert sum(int(t.masks[0].sum()) for t in sample.targets) == np.count_nonzero(labels)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 3 * 4 * labels.size, split
