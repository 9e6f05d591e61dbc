"""Sets of several raters with bad files, each family: what is wrong is named, the other samples go on."""

import os
import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

import rclicks
from rclicks.data.contract import Dataset
from rclicks.engine.loading import load_dataset
from rclicks.errors import DataError, ProtocolError
from rclicks.registry import Registry
from rclicks.specs import Spec

REGISTRY = Registry.discover()
DRAWN = np.zeros((12, 18), bool)
DRAWN[2:8, 4:14] = True
GRAY = np.arange(216, dtype=np.uint8).reshape(12, 18)
SAMPLES = ("01", "02")
LAST = 60  # pixels drawn


def save(path: Path, values: np.ndarray, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(values.T, np.eye(4)), path)
    else:
        Image.fromarray(values).save(path, **how)
    return path


@dataclass(frozen=True)
class Family:
    """A set in files: where sample n's image and the mask of its rater k (0 or 1) lie, and what it is opened with.

    `high` is how a mask says "drawn"; `absent` whether a mask that is not there means one rater less.
    """

    name: str
    image: str
    masks: tuple[str, str]
    options: tuple[tuple[str, Any], ...] = ()
    high: int = 255
    absent: bool = True
    odd: tuple[int, int] | None = (3, 253)

    def write(self, root: Path) -> Path:
        for n in SAMPLES:
            image = self.image.format(n=n)
            save(root / image, GRAY if image.endswith((".png", ".jpg", ".gz")) else np.dstack([GRAY] * 3))
            for k in range(2):
                save(self.mask(root, n, k), DRAWN.astype(np.uint8) * np.uint8(self.high))
        return root

    def mask(self, root: Path, n: str, k: int) -> Path:
        return root / self.masks[k].format(n=n)

    def open(self, root: Path, **more: Any) -> Dataset:
        return load_dataset(REGISTRY, Spec(self.name, dict(self.options) | more), root)


FAMILIES = (
    Family("multirater-folder", "images/{n}.png", ("masks/ann/{n}.png", "masks/bob/{n}.png")),
    Family("AESPA_demo", "c{n}/image.png", ("c{n}/rater_0.png", "c{n}/rater_1.png")),
    Family("LIDC", "test/images/s/z{n}_c0.png", ("test/gt/s/z{n}_c0_l0.png", "test/gt/s/z{n}_c0_l1.png")),
    Family(
        "MBHSeg_binary",
        "test/imgs/A/slice_{n}.png",
        ("test/gt/A/slice_{n}_r1.png", "test/gt/A/slice_{n}_r5.png"),
        high=1,
    ),
    Family(
        "MBHSeg_multi",
        "test/imgs/A/slice_{n}.png",
        ("test/gt/A/slice_{n}_r1.png", "test/gt/A/slice_{n}_r5.png"),
        high=2,
    ),
    Family(
        "REFUGE_multirater",
        "Test-400/{n}/{n}.jpg",
        ("Test-400/{n}/{n}_seg_cup_1.png", "Test-400/{n}/{n}_seg_cup_2.png"),
    ),
    Family(
        "QUBIQ",
        "kidney/Training/case{n}/image.nii.gz",
        (
            "kidney/Training/case{n}/task01_seg01.nii.gz",
            "kidney/Training/case{n}/task01_seg02.nii.gz",
        ),
        (("region", "kidney"),),
        high=1,
    ),
    Family("DRIVE", "test/images/{n}_test.tif", ("test/1st_manual/{n}_manual1.gif", "test/2nd_manual/{n}_manual2.gif")),
    Family("CHASE_DB1", "Image_{n}L.jpg", ("Image_{n}L_1stHO.png", "Image_{n}L_2ndHO.png"), absent=False),
    Family(
        "STARE",
        "stare-images/im{n}.png",
        ("labels-ah/im{n}.ah.png", "labels-vk/im{n}.vk.png"),
        absent=False,
    ),
    Family(
        "QUBIQ_brain_growth",
        "case{n}/image.png",
        ("case{n}/task01_seg01.png", "case{n}/task01_seg02.png"),
        absent=False,
    ),
)
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)


def areas(data: Dataset, index: int) -> dict[str, int]:
    (target,) = data[index].targets
    return {rater: int(mask.sum()) for rater, mask in zip(target.raters, target.masks, strict=True)}


def raters_of(data: Dataset) -> list[str]:
    """Return the two raters that the first sample has."""
    return list(areas(data, 0))


def check_refused(family: Family, root: Path, path: Path, message: str = "", **options: Any) -> str:
    """Check that the second sample alone is refused, by a message that names the file."""
    data = family.open(root, **options)
    assert len(data) == 2
    assert list(areas(data, 0).values())[:2] == [LAST, LAST]
    with pytest.raises(DataError, match=message) as found:
        _ = data[1]
    assert str(path) in str(found.value)
    return str(found.value)


# Each family


@families
def test_a_sample_with_a_missing_rater(family: Family, tmp_path: Path) -> None:
    family.write(tmp_path)
    gone = family.mask(tmp_path, "02", 1)
    gone.unlink()
    if not family.absent:
        check_refused(family, tmp_path, gone, "is missing")
        return
    data = family.open(tmp_path)
    assert list(areas(data, 0).values())[:2] == [LAST, LAST]
    assert list(areas(data, 1).values())[:1] == [LAST]
    assert len(areas(data, 1)) == len(areas(data, 0)) - 1
    if family.name != "AESPA_demo":  # whose raters are those of the sample
        assert any(gone.name in note for note in data.notes)
        with pytest.raises(DataError, match=f"{gone.name} is missing"):
            _ = family.open(tmp_path, on_missing="refuse", raters=raters_of(data))[1]


@families
def test_an_empty_rater_stays_one(family: Family, tmp_path: Path) -> None:
    family.write(tmp_path)
    path = family.mask(tmp_path, "02", 1)
    save(path, np.zeros(DRAWN.shape, np.uint8))
    assert list(areas(family.open(tmp_path), 1).values())[:2] == [LAST, 0]
    save(family.mask(tmp_path, "02", 0), np.zeros(DRAWN.shape, np.uint8))
    data = family.open(tmp_path)
    assert data[1].targets == ()
    assert len(data[0].targets) == 1


@families
def test_a_mask_of_odd_values(family: Family, tmp_path: Path) -> None:
    family.write(tmp_path)
    path = save(family.mask(tmp_path, "02", 1), np.where(DRAWN, 253, 3).astype(np.uint8))
    labels = family.name.startswith("MBHSeg")
    check_refused(
        family, tmp_path, path, "holds the labels 253" if labels else r"holds 2 values \(3, 253\).*threshold="
    )
    if not labels:  # a class is no grey value
        low = family.high - 1 if family.name == "QUBIQ" else 127
        assert list(areas(family.open(tmp_path, threshold=low), 0).values())[:2] == [LAST, LAST]
        save(path, np.where(DRAWN, 253, 3).astype(np.uint8))
        assert list(areas(family.open(tmp_path, threshold=127), 1).values())[1] == LAST
        with pytest.raises(ProtocolError, match="threshold is 'high'; expected a number"):
            family.open(tmp_path, threshold="high")


@families
def test_masks_of_0_and_1_and_inverted_ones_are_taken_at_their_word(family: Family, tmp_path: Path) -> None:
    family.write(tmp_path)
    if not family.name.startswith("MBHSeg"):
        save(family.mask(tmp_path, "01", 1), DRAWN.astype(np.uint8))
        assert list(areas(family.open(tmp_path), 0).values())[:2] == [LAST, LAST]
    save(family.mask(tmp_path, "02", 1), (~DRAWN).astype(np.uint8) * np.uint8(family.high))
    assert list(areas(family.open(tmp_path), 1).values())[:2] == [LAST, DRAWN.size - LAST]


@families
def test_a_mask_of_another_size(family: Family, tmp_path: Path) -> None:
    family.write(tmp_path)
    path = save(family.mask(tmp_path, "02", 1), DRAWN[:, :17].astype(np.uint8) * np.uint8(family.high))
    check_refused(family, tmp_path, path, r"is 17 x 12 \(width x height\).* is 18 x 12; they must be equal")


@families
def test_a_mask_cut_short(family: Family, tmp_path: Path) -> None:
    family.write(tmp_path)
    path = family.mask(tmp_path, "02", 1)
    noise = np.random.default_rng(0).choice([0, family.high], DRAWN.shape).astype(np.uint8)
    content = save(path, noise).read_bytes()
    for length in (len(content) // 2, 0):
        path.write_bytes(content[:length])
        check_refused(family, tmp_path, path)


@families
def test_a_mask_that_is_a_link_to_nowhere_is_not_an_absent_one(family: Family, tmp_path: Path) -> None:
    """As in a copy by git-annex whose content was not fetched; a rater must not vanish silently."""
    family.write(tmp_path)
    path = family.mask(tmp_path, "02", 1)
    for target in (tmp_path / "nowhere.png", path):
        path.unlink()
        path.symlink_to(target)
        check_refused(family, tmp_path, path)


@families
def test_a_mask_that_is_a_folder(family: Family, tmp_path: Path) -> None:
    family.write(tmp_path)
    path = family.mask(tmp_path, "02", 1)
    path.unlink()
    path.mkdir()
    check_refused(family, tmp_path, path)


# The folder, which stands for all that read images


def folder(root: Path) -> tuple[Family, Path, Path]:
    family = FAMILIES[0]
    family.write(root)
    path = family.mask(root, "02", 1)
    return family, path, path.with_suffix(".npy")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def huge_gif(path: Path) -> None:
    size = struct.pack("<HH", 60_000, 60_000)
    path.write_bytes(b"GIF89a" + size + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0" + size + b"\0\2\2D\1\0;")


def huge_npy(path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**7, 10**7)})


@pytest.mark.parametrize("write", [huge_png, huge_gif, huge_npy], ids=lambda f: f.__name__)
def test_a_file_that_claims_to_be_huge(tmp_path: Path, write: Callable[[Path], None]) -> None:
    family, path, _ = folder(tmp_path)
    path.unlink()
    path = path.with_suffix("." + write.__name__.removeprefix("huge_"))
    write(path)
    check_refused(family, tmp_path, path, "download it again")


def test_an_image_that_claims_to_be_huge(tmp_path: Path) -> None:
    family, _, _ = folder(tmp_path)
    huge_png(tmp_path / "images/02.png")
    check_refused(family, tmp_path, tmp_path / "images/02.png", "too large to be decoded")


def test_several_frames_are_no_mask(tmp_path: Path) -> None:
    family, path, _ = folder(tmp_path)
    other = Image.fromarray((~DRAWN).astype(np.uint8) * np.uint8(255))
    path.unlink()
    for suffix in (".gif", ".tif"):
        made = save(
            path.with_suffix(suffix), DRAWN.astype(np.uint8) * np.uint8(255), save_all=True, append_images=[other]
        )
        check_refused(family, tmp_path, made, "holds 2 frames")
        check_refused_ids(family, tmp_path, made)
        made.unlink()


def check_refused_ids(family: Family, root: Path, path: Path) -> None:
    with pytest.raises(DataError, match="holds 2 frames") as found:
        _ = family.open(root, objects="ids")[1]
    assert str(path) in str(found.value)


@pytest.mark.parametrize("options", [{}, {"threshold": 0}, {"threshold": 0, "invert": True}])
def test_values_that_are_no_numbers(tmp_path: Path, options: dict[str, Any]) -> None:
    family, path, array = folder(tmp_path)
    path.unlink()
    save(array, np.where(DRAWN, 1.0, np.nan))
    with pytest.raises(DataError, match=r"02\.npy has values that are NaN or infinite"):
        _ = family.open(tmp_path, **options)[1]


def test_objects_below_0(tmp_path: Path) -> None:
    family, path, array = folder(tmp_path)
    path.unlink()
    save(array, np.where(DRAWN, -1, 0).astype(np.int16))
    with pytest.raises(DataError, match=r"02\.npy holds values below 0, -1"):
        _ = family.open(tmp_path, objects="ids")[1]


def test_masks_of_16_bits_and_of_colours(tmp_path: Path) -> None:
    family, path, _ = folder(tmp_path)
    for values, ok in (
        (DRAWN.astype(np.uint16) * np.uint16(65535), True),
        (DRAWN.astype(np.uint16) * np.uint16(257), False),
        (np.dstack([DRAWN.astype(np.uint8) * np.uint8(255)] * 3 + [np.full(DRAWN.shape, 255, np.uint8)]), True),
        (np.dstack([np.zeros(DRAWN.shape, np.uint8)] * 3 + [DRAWN.astype(np.uint8) * np.uint8(255)]), False),
        (np.dstack([DRAWN.astype(np.uint8) * np.uint8(255), *[np.zeros(DRAWN.shape, np.uint8)] * 2]), False),
    ):
        save(path, values)
        if ok:
            assert areas(family.open(tmp_path), 1) == {"ann": LAST, "bob": LAST}
        else:
            check_refused(family, tmp_path, path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    family, path, _ = folder(tmp_path)
    path.chmod(0)
    check_refused(family, tmp_path, path, "cannot be read")


def test_names_in_any_script(tmp_path: Path) -> None:
    root = tmp_path / "Bilder für 漢字"
    family, _, _ = folder(root)
    for kind in ("images", "masks/ann", "masks/bob"):
        (root / kind / "02.png").rename(root / kind / "Häß 漢.png")
    (root / "masks/bob").rename(root / "masks/Żółć")
    data = family.open(root)
    assert data.ids == ["01", "Häß 漢"]
    assert areas(data, 1) == {"ann": LAST, "Żółć": LAST}


def test_a_folder_that_holds_itself(tmp_path: Path) -> None:
    """It is one more rater, without any file; nothing is read in circles."""
    family, _, _ = folder(tmp_path)
    (tmp_path / "masks/loop").symlink_to(tmp_path / "masks")
    data = family.open(tmp_path)
    assert [areas(data, i) for i in range(2)] == [{"ann": LAST, "bob": LAST}] * 2
    assert "2 of 2 samples lack a rater's file" in data.notes[0]


@pytest.mark.parametrize("name", ["multirater-folder", "QUBIQ"])
@pytest.mark.parametrize("window", [[5], ["a", "b"], [2, 1], 7, [0, float("nan")], [True, 4]])
def test_windows_that_are_none(name: str, window: Any, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"window is .*; expected \[low, high\]"):
        load_dataset(REGISTRY, Spec(name, {"window": window}), tmp_path)


def test_neither_true_nor_false(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="invert is 'no'; expected true or false"):
        FAMILIES[0].open(tmp_path, invert="no")


# One file for all crops: pickle and npz


def crops(**changes: Any) -> dict[str, dict[str, Any]]:
    made = {n: {"image": GRAY / 255, "masks": [DRAWN, DRAWN], "series_uid": "s"} for n in "ab"}
    made["b"] |= changes
    return made


def opened_pickle(root: Path, content: object, **options: Any) -> Dataset:
    (root / "data_lidc.pickle").write_bytes(pickle.dumps(content))
    return load_dataset(REGISTRY, Spec("LIDC_pickle", options), root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": [DRAWN, DRAWN[:5]]}, "do not fit"),
        ({"masks": [DRAWN, None]}, "do not fit"),
        ({"masks": []}, "do not fit"),
        ({"masks": [DRAWN, np.where(DRAWN, 253, 3)]}, r"holds 2 values \(3, 253\).*threshold="),
        ({"masks": [DRAWN, np.where(DRAWN, 1.0, np.nan)]}, "NaN or infinite"),
        ({"image": GRAY * np.nan}, "grey values from nan"),
        ({"image": GRAY.astype(float)}, "image_max=VALUE"),
        ({"image": "photo"}, "as arrays of numbers"),
    ],
)
def test_a_bad_crop_of_a_pickle_leaves_the_others(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    data = opened_pickle(tmp_path, crops(**changes))
    assert (data.ids, list(data.groups)) == (["a", "b"], ["s", "b"])
    assert areas(data, 0) == {"0": LAST, "1": LAST}
    with pytest.raises(DataError, match=f"crop b.*{message}"):
        _ = data[1]


def test_crops_of_a_pickle_with_missing_and_empty_raters(tmp_path: Path) -> None:
    nothing = DRAWN & False
    assert areas(opened_pickle(tmp_path, crops(masks=[DRAWN])), 1) == {"0": LAST}
    assert areas(opened_pickle(tmp_path, crops(masks=[nothing, DRAWN])), 1) == {"0": 0, "1": LAST}
    inverted = [~DRAWN, np.uint8(255) * DRAWN.astype(np.uint8)]
    assert areas(opened_pickle(tmp_path, crops(masks=inverted)), 1) == {"0": DRAWN.size - LAST, "1": LAST}
    odd = opened_pickle(tmp_path, crops(masks=[np.where(DRAWN, 253, 3)]), threshold=127)
    assert areas(odd, 1) == {"0": LAST}
    with pytest.raises(ProtocolError, match="image_max is 'white'"):
        opened_pickle(tmp_path, crops(), image_max="white")


def opened_npz(root: Path, **changes: Any) -> Dataset:
    arrays = {
        "images": np.stack([GRAY / 255] * 2).astype(np.float32),
        "masks": np.array([[DRAWN, DRAWN]] * 2).astype(np.uint8),
        "keys": np.array(["a", "b"]),
        "series_uid": np.array(["s", "s"]),
    }
    np.savez(root / "lidc_subset.npz", **arrays | changes)
    return load_dataset(REGISTRY, Spec("LIDC_crops"), root)


def test_a_bad_crop_of_the_npz_leaves_the_others(tmp_path: Path) -> None:
    images = np.stack([GRAY / 255] * 2).astype(np.float32)
    for bad, message in ((np.nan, "grey values from nan"), (7.0, "grey values from .* to 7, expected 0 to 1")):
        images[1, 0, 0] = bad
        data = opened_npz(tmp_path, images=images)
        assert areas(data, 0) == {"0": LAST, "1": LAST}
        with pytest.raises(DataError, match=f"crop b: {message}"):
            _ = data[1]
    masks = np.array([[DRAWN, DRAWN], [np.where(DRAWN, 253, 3), DRAWN * 255]]).astype(np.uint8)
    data = opened_npz(tmp_path, masks=masks)
    with pytest.raises(DataError, match=r"crop b holds 2 values \(3, 253\).*threshold="):
        _ = data[1]
    assert areas(load_dataset(REGISTRY, Spec("LIDC_crops", {"threshold": 127}), tmp_path), 1) == {"0": LAST, "1": LAST}


def test_an_npz_that_cannot_be_used_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="several crops named a"):
        len(opened_npz(tmp_path, keys=np.array(["a", "a"])))
    with pytest.raises(DataError, match="do not fit"):
        _ = opened_npz(tmp_path, keys=np.array(["a"]))[0]
    with pytest.raises(DataError, match="do not fit"):
        _ = opened_npz(tmp_path, masks=np.zeros((2, 2, 3, 4), np.uint8))[0]
    data = opened_npz(tmp_path)
    file = tmp_path / "lidc_subset.npz"
    for content in (b"", file.read_bytes()[:200], b"PK\3\4 no zip"):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"lidc_subset\.npz is damaged or lacks keys.*download it again"):
            len(load_dataset(REGISTRY, Spec("LIDC_crops"), tmp_path))
    assert len(data.card.layout) > 0


# Through the engine


def test_a_run_goes_on_and_says_what_failed(tmp_path: Path) -> None:
    """One bad sample of four: its file is in the failures, the others are played with all their raters."""
    _, path, _ = folder(tmp_path / "data")
    for n, drawn in (("03", DRAWN), ("04", DRAWN & False)):
        save(tmp_path / f"data/images/{n}.png", GRAY)
        save(tmp_path / f"data/masks/ann/{n}.png", DRAWN.astype(np.uint8) * np.uint8(255))
        save(tmp_path / f"data/masks/bob/{n}.png", drawn.astype(np.uint8) * np.uint8(255))
    (tmp_path / "data/masks/bob/03.png").unlink()
    path.unlink()
    path.symlink_to(tmp_path / "nowhere.png")
    frame = rclicks.evaluate(
        "quickstart",
        models=["geodesic"],
        datasets=[f"multirater-folder:root={tmp_path / 'data'}"],
        clicks=1,
        reference=["raters"],
    )
    played = {(row.sample, row.rater) for row in frame.itertuples()}
    assert played == {("01", "ann"), ("01", "bob"), ("03", "ann"), ("04", "ann")}
    assert {row.sample: list(row.raters) for row in frame.itertuples() if row.raters is not None} == {
        "01": ["ann", "bob"],
        "04": ["ann", "bob"],
    }
    failed = {(f["sample"], f["error"]): f["message"] for f in frame.attrs["failures"]}
    assert set(failed) == {("02", "DataError")}  # that bob drew nothing in 04 is his answer, not a failure
    assert f"{path} is a broken link; download the file" in failed["02", "DataError"]
    assert any("lack a rater's file: 03 (03.png)" in note for note in frame.attrs["notes"])
