"""Sets of several raters: real trees, files that are not as they should be, raters who are absent or drew nothing."""

import csv
import os
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rclicks.data.contract import Dataset
from rclicks.data.multirater.dataset import RaterFiles
from rclicks.data.multirater.listing import natural
from rclicks.data.multirater.mask_files import MaskRules, binary, read_array, read_picture, read_values
from rclicks.engine.loading import load_dataset
from rclicks.errors import DataError, ProtocolError
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.specs import Spec
from support import SHARED, needs_shared

RATERS = SHARED / "data" / "multirater"
REGISTRY = Registry.discover()

DRAWN = np.zeros((6, 9), bool)
DRAWN[1:4, 2:7] = True
GRAY = np.arange(54, dtype=np.uint8).reshape(6, 9)


def opened(name: str, root: Path, **options: object) -> Dataset:
    return load_dataset(REGISTRY, Spec(name, options), root)


def save(path: Path, values: np.ndarray, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(values, np.diag([0.5, 2.0, 3.0, 1.0])), path)
    else:
        Image.fromarray(values).save(path, **how)
    return path


def mask(path: Path, drawn: np.ndarray = DRAWN, high: int = 255) -> Path:
    return save(path, drawn.astype(np.uint8) * np.uint8(high))


def folder(root: Path, files: dict[str, dict[str, np.ndarray]], **options: object) -> RaterFiles:
    """Write a set from image name -> rater -> what was drawn, and open it."""
    for name, raters in files.items():
        save(root / "images" / f"{name}.png", GRAY)
        for rater, drawn in raters.items():
            mask(root / "masks" / rater / f"{name}.png", drawn)
    return opened("multirater-folder", root, **options)


# Who is there, who is not, and who drew nothing


def test_an_empty_mask_is_not_an_absent_one(tmp_path: Path) -> None:
    nothing = np.zeros_like(DRAWN)
    data = folder(tmp_path, {"p2": {"ann": DRAWN, "bob": nothing}, "p10": {"ann": DRAWN, "cy": DRAWN}})
    assert data.ids == ["p2", "p10"]
    assert data.raters == ("ann", "bob", "cy")
    first, second = (s.targets[0] for s in data)
    assert (first.raters, [int(m.sum()) for m in first.masks]) == (("ann", "bob"), [15, 0])
    assert second.raters == ("ann", "cy")
    assert data.present(0) == ("ann", "bob")
    assert [d.path.parent.name for d in data.missing(0)] == ["cy"]
    assert [d.path.parent.name for d in data.missing(1)] == ["bob"]
    (note,) = data.notes
    assert note == "multirater-folder: 2 of 2 samples lack a rater's file: p2 (p2.png), p10 (p10.png)"
    assert [f.name for f in data.files(0)] == ["p2.png"] * 3
    assert np.array_equal(data[0].image, np.repeat(GRAY[..., None], 3, axis=2))


def test_an_absent_rater_can_be_an_error_of_that_sample(tmp_path: Path) -> None:
    data = folder(tmp_path, {"a": {"ann": DRAWN, "bob": DRAWN}, "b": {"ann": DRAWN}}, on_missing="refuse")
    assert len(data[0].targets[0].masks) == 2
    with pytest.raises(DataError, match=r"bob.b\.png is missing"):
        _ = data[1]
    with pytest.raises(ProtocolError, match="allowed: leave-out, refuse"):
        folder(tmp_path, {}, on_missing="guess")


def test_an_object_that_nobody_drew_is_left_out_or_kept(tmp_path: Path) -> None:
    files = {"a": {"ann": np.zeros_like(DRAWN), "bob": np.zeros_like(DRAWN)}}
    assert folder(tmp_path, files)[0].targets == ()
    (kept,) = folder(tmp_path, files, on_empty="keep")[0].targets
    assert kept.raters == ("ann", "bob")
    assert not any(m.any() for m in kept.masks)


def test_chosen_raters(tmp_path: Path) -> None:
    files = {"a": {"ann": DRAWN, "bob": DRAWN}, "b": {"ann": DRAWN}}
    data = folder(tmp_path, files, raters=["bob"])
    assert data.ids == ["a"]
    assert data[0].targets[0].raters == ("bob",)
    assert data.notes == (
        "multirater-folder: 1 samples were left out, because none of the chosen raters has a file for them: b",
    )
    assert folder(tmp_path, files, raters=["bob", "ann"])[0].targets[0].raters == ("bob", "ann")
    with pytest.raises(ProtocolError, match="no rater dora; there are ann, bob"):
        _ = folder(tmp_path, files, raters="dora").ids
    with pytest.raises(ProtocolError, match="one or more different names"):
        folder(tmp_path, files, raters=["bob", "bob"])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["drew", "nothing", "absent"]), min_size=3, max_size=3), min_size=1, max_size=4)
)
def test_every_pattern_of_raters_comes_back(tmp_path_factory: pytest.TempPathFactory, plan: list[list[str]]) -> None:
    root = tmp_path_factory.mktemp("set")
    (root / "images").mkdir()
    (root / "masks" / "r0").mkdir(parents=True)
    mask_files = {"drew": DRAWN, "nothing": np.zeros_like(DRAWN)}
    files = {
        f"s{i}": {f"r{k}": mask_files[word] for k, word in enumerate(words) if word != "absent"}
        for i, words in enumerate(plan)
    }
    data = folder(root, files, on_empty="keep")
    if any(not own for own in files.values()):
        with pytest.raises(DataError, match="have no mask of any rater"):
            _ = data.ids
        return
    assert len(data) == len(plan)
    for sample, own in zip(data, files.values(), strict=True):
        (target,) = sample.targets
        assert target.raters == tuple(sorted(own))
        assert [bool(m.any()) for m in target.masks] == [own[r].any() for r in target.raters]


def test_identity_is_declared(tmp_path: Path) -> None:
    files = {"a": {"1": DRAWN}}
    assert folder(tmp_path, files).card.rater_identity == "known"
    assert folder(tmp_path, files, identity="within-sample").card.rater_identity == "within-sample"
    with pytest.raises(ProtocolError, match="identity is 'same'; allowed: known, within-sample"):
        folder(tmp_path, files, identity="same")


def test_objects_by_value_are_the_same_for_all_raters(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", GRAY)
    save(tmp_path / "masks/ann/a.png", DRAWN.astype(np.uint8) * np.uint8(10))
    labels = DRAWN.astype(np.uint8) * np.uint8(2)
    labels[5] = 10
    save(tmp_path / "masks/bob/a.png", labels)
    targets = opened("multirater-folder", tmp_path, objects="ids")[0].targets
    assert [(t.id, [int(m.sum()) for m in t.masks]) for t in targets] == [("2", [0, 15]), ("10", [15, 9])]
    (tmp_path / "masks/ann/a.png").unlink()
    save(tmp_path / "masks/ann/a.npy", DRAWN.astype(np.int64) * 10)
    targets = opened("multirater-folder", tmp_path, objects="ids")[0].targets
    assert [(t.id, [int(m.sum()) for m in t.masks]) for t in targets] == [("2", [0, 15]), ("10", [15, 9])]
    save(tmp_path / "masks/ann/a.npy", DRAWN * 0.5)
    with pytest.raises(DataError, match=r"a\.npy holds float64 .* expected integers"):
        _ = opened("multirater-folder", tmp_path, objects="ids")[0]
    with pytest.raises(ProtocolError, match="for objects=binary"):
        opened("multirater-folder", tmp_path, objects="ids", invert=True)


# Files that are not as they should be


@pytest.mark.parametrize(
    ("name", "values", "how"),
    [
        ("plain.png", DRAWN.astype(np.uint8) * np.uint8(255), {}),
        ("ones.png", DRAWN.astype(np.uint8), {}),
        ("bits.png", DRAWN, {}),
        ("deep.png", DRAWN.astype(np.uint16) * np.uint16(65535), {}),
        ("deep.tif", DRAWN.astype(np.uint16), {}),
        ("grey.png", np.repeat(DRAWN[..., None].astype(np.uint8) * np.uint8(255), 3, axis=2), {}),
        ("opaque.png", np.dstack([DRAWN.astype(np.uint8) * np.uint8(255)] * 3 + [np.full((6, 9), 255, np.uint8)]), {}),
        ("one.gif", DRAWN.astype(np.uint8) * np.uint8(255), {}),
        ("array.npy", DRAWN, {}),
        ("array8.npy", DRAWN.astype(np.uint8) * np.uint8(255), {}),
    ],
)
def test_masks_of_two_values_in_any_form(tmp_path: Path, name: str, values: np.ndarray, how: dict) -> None:
    path = save(tmp_path / name, values, **how)
    assert np.array_equal(binary(read_array(path), MaskRules(), path), DRAWN)
    assert np.array_equal(binary(read_array(path), MaskRules(invert=True), path), ~DRAWN)


def test_lossy_masks_need_a_threshold(tmp_path: Path) -> None:
    path = save(tmp_path / "lossy.png", np.where(DRAWN, 253, 3).astype(np.uint8))
    with pytest.raises(DataError, match=r"lossy\.png holds 2 values \(3, 253\).*pass threshold=VALUE"):
        binary(read_array(path), MaskRules(), path)
    assert np.array_equal(binary(read_array(path), MaskRules(127), path), DRAWN)
    assert np.array_equal(binary(read_array(path), MaskRules(127, invert=True), path), ~DRAWN)
    speckle = save(tmp_path / "speckle.png", np.full((6, 9), 3, np.uint8))
    with pytest.raises(DataError, match="holds 1 values"):
        binary(read_array(speckle), MaskRules(), speckle)
    assert not binary(read_array(speckle), MaskRules(127), speckle).any()
    real = save(tmp_path / "real.jpg", np.kron(DRAWN, np.ones((15, 15))).astype(np.uint8) * np.uint8(255), quality=60)
    assert len(np.unique(read_array(real))) > 2
    assert np.array_equal(binary(read_array(real), MaskRules(127), real)[7::15, 7::15], DRAWN)


def test_dark_foreground_is_never_guessed(tmp_path: Path) -> None:
    files = {"a": {"ann": ~DRAWN}}
    assert np.array_equal(folder(tmp_path, files)[0].targets[0].masks[0], ~DRAWN)
    assert np.array_equal(folder(tmp_path, files, invert=True)[0].targets[0].masks[0], DRAWN)


def test_palettes_and_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(DRAWN.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0, *[0] * 750])
    image.save(tmp_path / "palette.png")
    path = tmp_path / "palette.png"
    with pytest.raises(DataError, match="is a colour image.*threshold=VALUE"):
        binary(read_array(path), MaskRules(), path)
    assert np.array_equal(binary(read_array(path), MaskRules(0), path), DRAWN)
    image.save(tmp_path / "clear.png", transparency=0)
    level = Image.fromarray(DRAWN.astype(np.uint8) * np.uint8(255))
    Image.merge("LA", (Image.new("L", (9, 6)), level)).save(tmp_path / "hidden.png")
    for name in ("clear.png", "hidden.png"):
        with pytest.raises(DataError, match=rf"{name} has transparent parts"):
            read_array(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name} has transparent parts"):
            read_values(tmp_path / name)
    assert np.array_equal(read_values(path), DRAWN)
    # Of an image, transparency is no question.
    Image.merge("LA", (Image.fromarray(GRAY), level)).save(tmp_path / "picture.png")
    assert np.array_equal(read_picture(tmp_path / "picture.png").pixels[..., 0], GRAY)


def test_pictures_of_16_bits_are_stretched(tmp_path: Path) -> None:
    deep = save(tmp_path / "deep.png", GRAY.astype(np.uint16) * np.uint16(100) + np.uint16(300))
    stretched = read_picture(deep).pixels
    assert (stretched.dtype, stretched.min(), stretched.max()) == (np.uint8, 0, 255)
    assert np.array_equal(read_picture(deep, (300, 5600)).pixels[..., 2], np.rint(GRAY / 53 * 255).astype(np.uint8))
    colours = np.dstack([GRAY, GRAY[::-1], GRAY // 2])
    for name in ("colours.png", "colours.gif", "colours.ppm"):
        assert np.array_equal(read_picture(save(tmp_path / name, colours)).pixels, colours), name


def test_original_sizes_are_kept_and_must_fit(tmp_path: Path) -> None:
    data = folder(tmp_path, {"a": {"ann": DRAWN}, "b": {"ann": DRAWN[:, :8]}})
    assert data[0].shape == (6, 9)
    with pytest.raises(DataError, match=r"b\.png is 8 x 6 .* is 9 x 6; they must be equal"):
        _ = data[1]


def test_names_that_do_not_pair(tmp_path: Path) -> None:
    files = {"z-105.0_c0": {"ann": DRAWN}, "z-105.5_c0": {"ann": DRAWN}}
    assert folder(tmp_path, files).ids == ["z-105.0_c0", "z-105.5_c0"]
    lone = save(tmp_path / "images/lone.png", GRAY)
    with pytest.raises(DataError, match=r"1 images have no mask of any rater: .*lone\.png"):
        _ = folder(tmp_path, {}).ids
    lone.unlink()
    stray = mask(tmp_path / "masks/ann/stray.png")
    with pytest.raises(DataError, match=r"1 masks of rater ann belong to no image in .*: stray\.png"):
        _ = folder(tmp_path, {}).ids
    stray.unlink()
    for twin in ("images/z-105.0_c0.jpg", "masks/ann/z-105.0_c0.gif"):
        mask(tmp_path / twin)
        with pytest.raises(DataError, match="share a name up to the last dot: z-105"):
            _ = folder(tmp_path, {}).ids
        (tmp_path / twin).unlink()


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    data = folder(tmp_path, {"a": {"ann": DRAWN}})
    png = tmp_path / "masks/ann/a.png"
    png.write_bytes(png.read_bytes()[:40])
    with pytest.raises(DataError, match=r"a\.png is damaged"):
        _ = data[0]
    for name, content in (("x.gif", b"GIF89a"), ("x.npy", b"\x93NUMPY"), ("x.tif", b"II*")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name} is damaged"):
            read_array(tmp_path / name)
        with pytest.raises(DataError, match=r"is missing"):
            read_array(tmp_path / "absent" / name)
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"o\.npy is damaged or no plain NumPy array"):
        read_array(tmp_path / "o.npy")
    (tmp_path / "empty/images").mkdir(parents=True)
    (tmp_path / "empty/masks").mkdir()
    with pytest.raises(DataError, match="a folder for each rater"):
        _ = opened("multirater-folder", tmp_path / "empty").ids


# LIDC


def index_rows() -> list[dict[str, str]]:
    with (RATERS / "lidc/index.csv").open() as file:
        return list(csv.DictReader(file))


@needs_shared
def test_lidc_tree_has_the_areas_of_its_index() -> None:
    data = opened("LIDC", RATERS / "lidc")
    stated = {f"test-{r['case'].replace('/', '-')}": [int(r[f"area_l{k}"]) for k in range(4)] for r in index_rows()}
    found = {s.id: [int(m.sum()) for m in s.targets[0].masks] for s in data}
    assert found == stated
    assert [sum(sum(a > 0 for a in f) == n for f in found.values()) for n in (1, 2, 3, 4)] == [17, 18, 18, 18]
    assert data.ids == sorted(data.ids, key=natural)
    assert data.notes == ()
    assert data.card.rater_identity == "within-sample"


@needs_shared
def test_lidc_published_subset_is_the_rule_not_a_listing() -> None:
    data = opened("LIDC", RATERS / "lidc", published=True)
    wanted = [r["case"] for r in index_rows() if all(int(r[f"area_l{k}"]) > 0 for k in range(3))]
    assert sorted(data.ids) == sorted(f"test-{c.replace('/', '-')}" for c in wanted)
    assert len(data) == 23
    assert all(s.targets[0].raters == ("0", "1", "2") for s in data)
    folder = RATERS / "lidc"
    assert load_dataset(REGISTRY, Spec("LIDC"), folder, Protocol.named("compat")).ids == data.ids
    assert len(load_dataset(REGISTRY, Spec("LIDC"), folder, Protocol.named("default"))) == 71
    assert len(load_dataset(REGISTRY, Spec("LIDC", {"published": False}), folder, Protocol.named("compat"))) == 71
    with pytest.raises(ProtocolError, match="do not pass raters"):
        opened("LIDC", RATERS / "lidc", published=True, raters=1)
    with pytest.raises(DataError, match="train"):
        _ = opened("LIDC", RATERS / "lidc", part="train").ids


def lidc(root: Path, names: list[str], raters: int = 4) -> None:
    for name in names:
        save(root / "test/images/LIDC-IDRI-0001" / f"{name}.png", GRAY)
        for r in range(raters):
            mask(root / "test/gt/LIDC-IDRI-0001" / f"{name}_l{r}.png")


def test_lidc_names_may_be_negative_places(tmp_path: Path) -> None:
    lidc(tmp_path, ["z-105.0_c0", "z-105.0_c1", "z-105.5_c0", "z12.5_c0"])
    data = opened("LIDC", tmp_path)
    assert len(data) == 4
    assert "test-LIDC-IDRI-0001-z-105.5_c0" in data.ids
    gone = tmp_path / "test/gt/LIDC-IDRI-0001/z12.5_c0_l1.png"
    gone.unlink()
    data = opened("LIDC", tmp_path)
    index = data.ids.index("test-LIDC-IDRI-0001-z12.5_c0")
    assert data[index].targets[0].raters == ("0", "2", "3")
    assert "z12.5_c0_l1.png" in data.notes[0]
    with pytest.raises(DataError, match=r"z12\.5_c0_l1\.png is missing"):
        _ = opened("LIDC", tmp_path, published=True).ids
    mask(gone.with_name("z99_c0_l1.png"))
    with pytest.raises(DataError, match=r"z99_c0_l1\.png belongs to no image"):
        _ = opened("LIDC", tmp_path).ids
    gone.with_name("z99_c0_l1.png").unlink()
    mask(tmp_path / "test/gt/LIDC-IDRI-0007/z1_c0_l0.png")
    with pytest.raises(DataError, match="cases without images: LIDC-IDRI-0007"):
        _ = opened("LIDC", tmp_path).ids


def pickled(root: Path, content: object) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "data_lidc.pickle").write_bytes(pickle.dumps(content, protocol=4))
    return root


@needs_shared
def test_lidc_pickle_gives_the_same_crops_as_the_npz(tmp_path: Path) -> None:
    with np.load(RATERS / "lidc/lidc_subset.npz") as file:
        arrays = {k: file[k] for k in ("images", "masks", "series_uid", "keys")}
    content = {
        str(k): {"image": i, "masks": list(m), "series_uid": str(u)}
        for k, i, m, u in zip(arrays["keys"], arrays["images"], arrays["masks"], arrays["series_uid"], strict=True)
    }
    crops = {s.id: s for s in opened("LIDC_crops", RATERS / "lidc")}
    data = opened("LIDC_pickle", pickled(tmp_path, content))
    assert sorted(data.ids) == sorted(crops)
    for sample in data:
        other = crops[sample.id]
        assert np.array_equal(sample.image, other.image)
        assert sample.targets[0].raters == other.targets[0].raters == ("0", "1", "2", "3")
        for a, b in zip(sample.targets[0].masks, other.targets[0].masks, strict=True):
            assert np.array_equal(a, b)
    two = opened("LIDC_pickle", tmp_path, raters=[3, 1])[0].targets
    assert not two or two[0].raters == ("3", "1")


class Bomb:
    def __reduce__(self) -> tuple:
        return os.mkdir, (os.environ["BOMB"],)


def test_a_pickle_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "exploded"))
    root = pickled(tmp_path / "p", {"a": Bomb()})
    with pytest.raises(DataError, match="was not opened further: it wants .*mkdir, which could run code"):
        _ = opened("LIDC_pickle", root).ids
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "contains a list; expected"),
        ({}, "contains a dict; expected"),
        ({"a": {"image": GRAY / 255}}, "crop a: expected image and masks"),
        ({"a": {"image": GRAY / 255, "masks": [DRAWN[:3]]}}, "do not fit"),
        ({"a": {"image": GRAY.astype(float), "masks": [DRAWN]}}, "pass it as image_max=VALUE, for example 255"),
        ({"a": {"image": GRAY / 255, "masks": [DRAWN * 7]}}, "crop a holds 2 values"),
        ({"a": {"image": GRAY * np.nan, "masks": [DRAWN]}}, "grey values from nan"),
    ],
)
def test_pickles_of_another_form(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _ = opened("LIDC_pickle", pickled(tmp_path, content)).ids


def test_pickles_missing_damaged_or_of_255_greys(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data_lidc\.pickle is missing\. Take"):
        _ = opened("LIDC_pickle", tmp_path).ids
    root = pickled(tmp_path, {"a": {"image": GRAY.astype(float), "masks": [DRAWN, DRAWN & False]}})
    (sample,) = opened("LIDC_pickle", root, image_max=255)
    assert np.array_equal(sample.image[..., 0], GRAY)
    assert [int(m.sum()) for m in sample.targets[0].masks] == [15, 0]
    with pytest.raises(ProtocolError, match="raters 0 to 1, but not the requested raters 4"):
        _ = opened("LIDC_pickle", root, image_max=255, raters=4)[0]
    file = root / "data_lidc.pickle"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DataError, match="is damaged or is no pickle"):
        _ = opened("LIDC_pickle", root).ids


# MBH-Seg, REFUGE, DRIVE, QUBIQ, AESPA's demo

CLASSES = ("EDH", "IPH", "IVH", "SAH", "SDH")


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.stack([(labels == c) for c in range(6)], axis=2).astype(np.uint8) * np.uint8(255)


def test_mbhseg_keeps_annotators_and_reads_the_published_arrays(tmp_path: Path) -> None:
    """Case A was drawn by 1 and 5, case B by 2 and 3; slices count as numbers."""
    ich = DRAWN.astype(np.uint8) * np.uint8(2)
    both = ich.copy()
    both[5] = 5
    nothing = np.zeros_like(ich)
    plan = {
        "A": {"slice_2": {1: ich, 5: nothing}, "slice_10": {1: both, 5: ich}},
        "B": {"slice_0": {2: ich, 3: both}},
    }
    roots = {kind: tmp_path / kind for kind in ("png", "one-hot", "binary")}
    for case, slices in plan.items():
        for name, raters in slices.items():
            for root in roots.values():
                save(root / "train/imgs" / case / f"{name}.png", GRAY)
            for r, labels in raters.items():
                save(roots["png"] / "train/gt" / case / f"{name}_r{r}.png", labels)
                save(roots["one-hot"] / "train/gt" / case / f"{name}_r{r}.npy", one_hot(labels))
                save(roots["binary"] / "train/gt" / case / f"{name}_r{r}.npy", (labels > 0) * np.uint8(255))
    for root in roots.values():
        data = opened("MBHSeg_binary", root)
        assert data.ids == ["train-A-slice_2", "train-A-slice_10", "train-B-slice_0"]
        assert data.card.rater_identity == "known"
        assert [s.targets[0].raters for s in data] == [("1", "5"), ("1", "5"), ("2", "3")]
        assert [[int(m.sum()) for m in s.targets[0].masks] for s in data] == [[15, 0], [24, 15], [15, 24]]
        four = opened("MBHSeg_binary", root, raters=[1, 2, 3])
        assert [s.targets[0].raters for s in four] == [("1",), ("1",), ("2", "3")]
    for root in (roots["png"], roots["one-hot"]):
        data = opened("MBHSeg_multi", root)
        found = [{t.id: [int(m.sum()) for m in t.masks] for t in s.targets} for s in data]
        assert found == [{"IPH": [15, 0]}, {"IPH": [15, 15], "SDH": [9, 0]}, {"IPH": [15, 15], "SDH": [0, 9]}]
        kept = opened("MBHSeg_multi", root, on_empty="keep")[0].targets
        assert [t.id for t in kept] == list(CLASSES)
    with pytest.raises(DataError, match="Masks without classes are for MBHSeg_binary"):
        _ = opened("MBHSeg_multi", roots["binary"])[0]
    (roots["png"] / "train/gt/A/slice_10_r5.png").unlink()
    data = opened("MBHSeg_multi", roots["png"])
    assert data[1].targets[0].raters == ("1",)
    assert "train-A-slice_10 (slice_10_r5.png)" in data.notes[0]
    save(roots["png"] / "train/gt/A/slice_2_r1.png", DRAWN.astype(np.uint8) * np.uint8(9))
    with pytest.raises(DataError, match=r"labels 9; expected 0 \(background\) to 5 \(SDH\)"):
        _ = data[0]


def test_mbhseg_trees_that_contradict_themselves(tmp_path: Path) -> None:
    save(tmp_path / "test/images/A/slice_1.png", GRAY)
    save(tmp_path / "test/gt/A/slice_1_r5.png", DRAWN.astype(np.uint8))
    data = opened("MBHSeg_binary", tmp_path, part="test")
    assert (data.ids, data.raters) == (["test-A-slice_1"], ("5",))
    with pytest.raises(ProtocolError, match="no split 'val'; allowed for part: all, test"):
        _ = opened("MBHSeg_binary", tmp_path, part="val").ids
    for stray, message in (
        ("gt/A/slice_1_r5.npy", "are masks of the same rater"),
        ("gt/A/slice_2_r5.png", "belongs to no image"),
        ("gt/A/mask.png", "expected slice_<i>_r<k>"),
        ("gt/B/slice_1_r1.png", "cases without images: B"),
        ("imgs/A/slice_1.png", "contains both folders imgs and images"),
    ):
        path = save(tmp_path / "test" / stray, DRAWN.astype(np.uint8))
        with pytest.raises(DataError, match=message):
            _ = opened("MBHSeg_binary", tmp_path).ids
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
        if stray.startswith("imgs"):
            path.parent.parent.rmdir()
    (tmp_path / "prepared.json").write_text('{"cases": {"test/A": {"spacing": [0.4, 0.5]}}}')
    assert opened("MBHSeg_binary", tmp_path)[0].spacing == (0.4, 0.5)
    (tmp_path / "prepared.json").write_text('{"cases": 3}')
    with pytest.raises(DataError, match=r"prepared\.json is damaged"):
        _ = opened("MBHSeg_binary", tmp_path)[0]


def test_refuge_cup_and_disc(tmp_path: Path) -> None:
    for split, case in (("Training-400", "0002"), ("Training-400", "0010"), ("Test-400", "T0001")):
        save(tmp_path / split / case / f"{case}.jpg", GRAY, quality=95)
        for r in range(1, 8):
            mask(tmp_path / split / case / f"{case}_seg_cup_{r}.png", DRAWN if r != 3 else DRAWN & False)
            mask(tmp_path / split / case / f"{case}_seg_disc_{r}.png", ~DRAWN)
    data = opened("REFUGE_multirater", tmp_path)
    assert data.ids == ["Training-400-0002", "Training-400-0010", "Test-400-T0001"]
    (cup,) = data[0].targets
    assert (cup.id, cup.raters) == ("cup", tuple("1234567"))
    assert [int(m.sum()) for m in cup.masks] == [15, 15, 0, 15, 15, 15, 15]
    disc = opened("REFUGE_multirater", tmp_path, structure="disc", part="Test", identity="known")
    assert (len(disc), disc.card.rater_identity, disc[0].targets[0].id) == (1, "known", "disc")
    assert all(int(m.sum()) == 39 for m in disc[0].targets[0].masks)
    with pytest.raises(ProtocolError, match="structure is 'fovea'; allowed: cup, disc"):
        opened("REFUGE_multirater", tmp_path, structure="fovea")
    (tmp_path / "Test-400/T0001/T0001_seg_cup_6.png").rename(tmp_path / "Test-400/T0001/T0001_seg_cup_8.png")
    with pytest.raises(DataError, match=r"T0001_seg_cup_8\.png does not belong here"):
        _ = opened("REFUGE_multirater", tmp_path).ids


def test_drive_has_gif_masks(tmp_path: Path) -> None:
    for n in ("01", "02"):
        save(tmp_path / "test/images" / f"{n}_test.tif", np.dstack([GRAY] * 3))
        mask(tmp_path / "test/1st_manual" / f"{n}_manual1.gif")
        mask(tmp_path / "test/2nd_manual" / f"{n}_manual2.gif", ~DRAWN)
    data = opened("DRIVE", tmp_path)
    assert data.ids == ["01", "02"]
    (target,) = data[1].targets
    assert np.array_equal(target.mask("1"), DRAWN)
    assert np.array_equal(target.mask("2"), ~DRAWN)
    mask(tmp_path / "test/2nd_manual/03_manual2.gif")
    with pytest.raises(DataError, match=r"03_manual2\.gif belongs to no image"):
        _ = opened("DRIVE", tmp_path).ids


def test_qubiq_regions_have_tasks_and_raters(tmp_path: Path) -> None:
    """Arrays are (x, y) in the file; case02 of the validation lacks one file of the second task."""
    base = tmp_path / "prostate"
    gray = (np.arange(54).reshape(9, 6) * 40 - 500).astype(np.int16)
    for part, case in (("Training", "case01"), ("Training", "case10"), ("Validation", "case02")):
        save(base / part / case / "image.nii.gz", gray)
        for task, drawn in (("task01", DRAWN), ("task02", ~DRAWN)):
            for seg in ("seg01", "seg02", "seg03"):
                save(base / part / case / f"{task}_{seg}.nii.gz", drawn.T.astype(np.float32))
    (base / "Validation/case02/task02_seg02.nii.gz").unlink()
    data = opened("QUBIQ", tmp_path, region="prostate")
    assert data.ids == ["Training-case01", "Training-case10", "Validation-case02"]
    sample = data[0]
    assert (sample.shape, sample.spacing) == ((6, 9), (2.0, 0.5))
    assert [(t.id, t.raters) for t in sample.targets] == [
        (t, ("seg01", "seg02", "seg03")) for t in ("task01", "task02")
    ]
    assert np.array_equal(sample.targets[0].masks[0], DRAWN)
    assert [t.raters for t in data[2].targets] == [("seg01", "seg02", "seg03"), ("seg01", "seg03")]
    assert "Validation-case02 (task02_seg02.nii.gz)" in data.notes[0]
    window = opened("QUBIQ", tmp_path, region="prostate", window=[-500, 1620])[0].image
    assert np.array_equal(window[..., 0], np.rint((gray.T + 500) / 2120 * 255).astype(np.uint8))
    one = opened("QUBIQ", tmp_path, region="prostate", task="task02", part="Validation")
    assert [(t.id, t.raters) for t in one[0].targets] == [("task02", ("seg01", "seg03"))]
    with pytest.raises(ProtocolError, match="no task 'task03'; there are task01, task02"):
        _ = opened("QUBIQ", tmp_path, region="prostate", task="task03").ids
    with pytest.raises(DataError, match="kidney"):
        _ = opened("QUBIQ", tmp_path, region="kidney").ids
    save(base / "Training/case01/task01_seg01.nii.gz", DRAWN.T * np.float32(0.5))
    with pytest.raises(DataError, match=r"task01_seg01\.nii\.gz holds 2 values \(0, 0\.5\)"):
        _ = data[0]
    (base / "Training/case10/image.nii.gz").unlink()
    with pytest.raises(DataError, match="case10 holds 0 images"):
        _ = opened("QUBIQ", tmp_path, region="prostate").ids


@needs_shared
def test_aespa_demo_sample() -> None:
    data = opened("AESPA_demo", RATERS / "aespa_demo")
    (sample,) = data
    assert sample.shape == (180, 180)
    (target,) = sample.targets
    assert target.raters == ("0", "1", "2")
    for name, drawn in zip(target.raters, target.masks, strict=True):
        stored = np.asarray(Image.open(RATERS / f"aespa_demo/rater_{name}.png").convert("L"))
        assert np.array_equal(drawn, stored > 127)
        assert drawn.any()


def test_own_samples_in_the_demo_layout(tmp_path: Path) -> None:
    for case, raters in (("c10", ("a",)), ("c9", ("b", "a"))):
        save(tmp_path / case / "image.jpg", GRAY)
        for r in raters:
            mask(tmp_path / case / f"rater_{r}.png")
    data = opened("AESPA_demo", tmp_path)
    assert data.ids == ["c9", "c10"]
    assert [s.targets[0].raters for s in data] == [("a", "b"), ("a",)]
    mask(tmp_path / "c11/rater_a.png")
    with pytest.raises(DataError, match="c11 has masks without an image"):
        _ = opened("AESPA_demo", tmp_path).ids
