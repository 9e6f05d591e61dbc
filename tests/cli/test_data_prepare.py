"""``rclicks data``: MBH-Seg's volumes become slices, and who drew what is counted."""

import hashlib
import json
from itertools import permutations, product
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

import rclicks
from rclicks.cli.main import app
from rclicks.data.contract import Prepared
from rclicks.data.volumes import read_volume
from rclicks.engine.preparing import prepare_dataset
from rclicks.errors import DataError, PluginError, ProtocolError, UnknownNameError
from rclicks.registry import Registry
from rclicks.specs import Spec
from support import SHARED, needs_shared

HU = np.random.default_rng(3).integers(-100, 200, (7, 5, 12)).astype(np.int16)  # (x, y, z)
PLACE = np.diag([0.25, 0.5, 5.0, 1.0])
BLEED = np.zeros(HU.shape, np.uint8)
BLEED[1:4, 2:4, 2] = 2
BLEED[2:6, 1:3, 10] = 5
OTHER = np.zeros_like(BLEED)
OTHER[0:2, 0:2, 4] = 1


def case(
    root: Path, name: str, labels: dict[int, np.ndarray], image: np.ndarray = HU, affine: np.ndarray = PLACE
) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image, affine), root / name / "image.nii.gz")
    for k, values in labels.items():
        nibabel.save(nibabel.Nifti1Image(values, affine), root / name / f"label_annot_{k}.nii.gz")


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["data", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def prepare(raw: Path, out: Path, **options: object) -> Prepared:
    return prepare_dataset(Registry.discover(), Spec("MBHSeg_multi", options), raw, out, print)


def png(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_prepared_slices_are_the_published_pictures_with_annotators(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    case(raw, "train/ID_a_ID_b", {1: BLEED, 5: OTHER})
    case(raw, "test/ID_c_ID_d", {3: OTHER})
    text = run("prepare", "MBHSeg_binary", raw, "--out", out)
    assert "train/ID_a_ID_b: 3 slices" in text
    assert "2 cases, 4 slices" in text
    images = out / "train/imgs/ID_a_ID_b"
    assert sorted(f.name for f in images.iterdir()) == ["slice_10.png", "slice_2.png", "slice_4.png"]
    assert np.array_equal(png(images / "slice_4.png"), np.trunc(np.clip(HU[:, :, 4], 0, 80) / 80 * 255))
    assert np.array_equal(png(out / "train/gt/ID_a_ID_b/slice_10_r1.png"), BLEED[:, :, 10])
    assert not png(out / "train/gt/ID_a_ID_b/slice_10_r5.png").any()

    data = rclicks.load_dataset("MBHSeg_multi", out, part="train")
    assert data.ids == [f"train-ID_a_ID_b-slice_{k}" for k in (2, 4, 10)]
    found = [{t.id: dict(zip(t.raters, (int(m.sum()) for m in t.masks), strict=True)) for t in s.targets} for s in data]
    assert found == [{"IPH": {"1": 6, "5": 0}}, {"EDH": {"1": 0, "5": 4}}, {"SDH": {"1": 8, "5": 0}}]
    assert data[0].spacing == (0.25, 0.5)
    assert [s.targets[0].raters for s in rclicks.load_dataset("MBHSeg_binary", out)] == [("3",), *[("1", "5")] * 3]

    index = json.loads((out / "prepared.json").read_text())
    assert (index["windows"], index["orientation"]) == ([[0, 80]], "stored")
    facts = index["cases"]["train/ID_a_ID_b"]
    image = raw / "train/ID_a_ID_b/image.nii.gz"
    assert facts["sha256"]["image.nii.gz"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert facts["raters"] == ["1", "5"]

    table = run("raters", f"MBHSeg_binary:root={out}", "--format", "csv").splitlines()
    assert table[:4] == ["rater,drew,drew nothing,no file,samples", "1,2,1,0,4", "3,1,0,0,4", "5,1,2,0,4"]


def test_three_windows_are_red_green_and_blue(tmp_path: Path) -> None:
    case(tmp_path / "raw", "train/a", {1: BLEED})
    spec = "MBHSeg_multi:window=[[0,80],[-20,180],[-100,0]]"
    run("prepare", spec, tmp_path / "raw", "-o", tmp_path / "out")
    image = rclicks.load_dataset("MBHSeg_binary", tmp_path / "out")[0].image
    for channel, (low, high) in enumerate([(0, 80), (-20, 180), (-100, 0)]):
        wanted = np.trunc(np.clip((HU[:, :, 2] - float(low)) / (high - low), 0, 1) * 255)
        assert np.array_equal(image[..., channel], wanted)
    wrong = ("80", "[80]", "[]", "[80,0]", "[0,80,90]", "[[0,80],[0,90]]", "[0,.nan]", "[no,80]", "[[0,80],5,6]", "")
    for window in wrong:
        with pytest.raises(ProtocolError, match=r"data set MBHSeg_multi: option 'window' is .*LOW,HIGH.*three"):
            run("prepare", f"MBHSeg_multi:window={window}", tmp_path / "raw", "-o", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_prepared_is_refused_and_told_what_can(tmp_path: Path) -> None:
    out = tmp_path / "out"
    can = r"Data sets that can be prepared: MBHSeg_binary, MBHSeg_multi\."
    with pytest.raises(ProtocolError, match=f"data set GrabCut reads its files as they are published. {can}"):
        run("prepare", "GrabCut", tmp_path, "-o", out)
    with pytest.raises(UnknownNameError, match=f"unknown dataset 'MBHSeg'. Did you mean MBHSeg_multi.*{can}"):
        run("prepare", "MBHSeg", tmp_path, "-o", out)
    with pytest.raises(ProtocolError, match="pass the folder with <split>/<case>/image.nii.gz as RAW"):
        run("prepare", "MBHSeg_binary", "-o", out)
    with pytest.raises(ProtocolError, match="unknown option 'windows'. Did you mean window"):
        run("prepare", "MBHSeg_binary:windows=[0,80]", tmp_path, "-o", out)
    with pytest.raises(ProtocolError, match="'report' is not an option; the engine passes it"):
        run("prepare", "MBHSeg_binary:report=1", tmp_path, "-o", out)
    with pytest.raises(ProtocolError, match="instead of root= or checkpoint="):
        run("prepare", f"MBHSeg_binary:root={tmp_path}", "-o", out)
    with pytest.raises(DataError, match="absent"):
        run("prepare", "MBHSeg_binary", tmp_path / "absent", "-o", out)
    assert not out.exists()


PLUGIN = """
from rclicks.cards import DatasetCard
from rclicks.data.contract import Prepared

CARDS = (DatasetCard(name="lines", summary="lines", prepares=True), DatasetCard(name="odd", summary="x", prepares=True))


def load(card, root):
    raise NotImplementedError


def prepare(card, raw, out, *, report, count=2):
    if card.name == "odd":
        return count
    out.mkdir()
    for k in range(count):
        (out / f"{k}.txt").write_text(card.name)
        report(f"line {k}")
    return Prepared(out, {"lines": count})
"""


def test_the_data_set_of_a_plug_in_is_prepared_without_raw_data(tmp_path: Path) -> None:
    file = tmp_path / "plugins" / "datasets" / "lines.py"
    file.parent.mkdir(parents=True)
    file.write_text(PLUGIN)
    plugins = "--plugins", tmp_path / "plugins"
    text = run("prepare", "lines:count=3", "-o", tmp_path / "out", *plugins)
    assert "line 2\n3 lines in" in text
    assert len(list((tmp_path / "out").iterdir())) == 3
    with pytest.raises(ProtocolError, match="has no option 'counts'; allowed: count"):
        run("prepare", "lines:counts=3", "-o", tmp_path / "again", *plugins)
    with pytest.raises(PluginError, match="returned int, expected a Prepared"):
        run("prepare", "odd", "-o", tmp_path / "again", *plugins)


def test_upright_pictures_do_not_hang_on_how_the_file_was_stored(tmp_path: Path) -> None:
    ras = nibabel.Nifti1Image(HU, PLACE)
    for number, (order, flips) in enumerate(product(permutations("LA"), product((False, True), repeat=2))):
        codes = "".join({"L": "R", "A": "P"}[c] if flip else c for c, flip in zip(order, flips, strict=True)) + "S"
        move = nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
        )
        stored = ras.as_reoriented(move)
        label = nibabel.Nifti1Image(BLEED, PLACE).as_reoriented(move)
        out = tmp_path / f"out{number}"
        case(
            tmp_path / f"raw{number}",
            "train/a",
            {1: np.asarray(label.dataobj)},
            np.asarray(stored.dataobj),
            stored.affine,
        )
        prepare(tmp_path / f"raw{number}", out, orientation="upright")
        image = png(out / "train/imgs/a/slice_10.png")
        # In RAS, x grows to the right of the patient and y to the front: front up, the patient's right at the left.
        wanted = np.trunc(np.clip(HU[::-1, ::-1, 10].T, 0, 80) / 80 * 255)
        assert np.array_equal(image, wanted), codes
        assert np.array_equal(png(out / "train/gt/a/slice_10_r1.png"), BLEED[::-1, ::-1, 10].T)
        assert rclicks.load_dataset("MBHSeg_binary", out)[0].spacing == (0.5, 0.25)
    sagittal = PLACE[[2, 0, 1, 3]]
    case(tmp_path / "sagittal", "train/a", {1: BLEED}, affine=sagittal)
    with pytest.raises(DataError, match="not stored in axial slices"):
        prepare(tmp_path / "sagittal", tmp_path / "none", orientation="upright")


@needs_shared
def test_a_real_ct_keeps_every_voxel_of_its_labels(tmp_path: Path) -> None:
    source = SHARED / "data/volumes/spleen_ct"
    image = next(iter(sorted(source.glob("*_image.nii.gz"))))
    label = image.with_name(image.name.replace("_image", "_label"))
    folder = tmp_path / "raw/train/spleen"
    folder.mkdir(parents=True)
    (folder / "image.nii.gz").write_bytes(image.read_bytes())
    (folder / "label_annot_4.nii.gz").write_bytes(label.read_bytes())
    done = prepare(tmp_path / "raw", tmp_path / "out")
    truth = read_volume(label).values
    data = rclicks.load_dataset("MBHSeg_binary", tmp_path / "out")
    assert len(data) == done.counts["slices"] == int(truth.any(axis=(1, 2)).sum())
    for sample in data:
        k = int(sample.id.rpartition("_")[2])
        assert np.array_equal(sample.targets[0].masks[0], truth[k].T > 0)
        assert sample.targets[0].raters == ("4",)
        assert sample.image.std() > 10


def test_cases_that_contradict_themselves_are_named_and_the_others_written(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    case(raw, "train/good", {1: BLEED})
    case(raw, "train/labels", {1: BLEED * 9})
    case(raw, "train/halves", {1: BLEED * np.float32(0.5)})
    case(raw, "train/bare", {})
    case(raw, "train/size", {})
    nibabel.save(nibabel.Nifti1Image(BLEED[:5], PLACE), raw / "train/size/label_annot_1.nii.gz")
    case(raw, "train/place", {})
    nibabel.save(nibabel.Nifti1Image(BLEED, np.diag([0.25, 0.5, 6, 1])), raw / "train/place/label_annot_1.nii.gz")
    case(raw, "train/twice", {1: BLEED})
    nibabel.save(nibabel.Nifti1Image(BLEED, PLACE), raw / "train/twice/label_annot_1.nii")
    case(raw, "train/nobody", {1: BLEED})
    (raw / "train/nobody/label_annot_1.nii.gz").rename(raw / "train/nobody/label.nii.gz")
    case(raw, "train/no_image", {1: BLEED})
    (raw / "train/no_image/image.nii.gz").unlink()
    case(raw, "train/damaged", {1: BLEED})
    label = raw / "train/damaged/label_annot_1.nii.gz"
    label.write_bytes(label.read_bytes()[:60])
    text = run("prepare", "MBHSeg_binary", raw, "--out", tmp_path / "out", code=9)
    for message in (
        "failed: train/labels: ",
        "holds the labels 18, 45; expected 0 (background) to 5 (SDH)",
        "train/halves/label_annot_1.nii.gz holds the labels 2.5",
        "train/bare contains an image but no label_annot_<k>.nii.gz",
        "train/size/label_annot_1.nii.gz has the shape (12, 5, 5)",
        "train/place/label_annot_1.nii.gz lies elsewhere",
        "are of the same annotator",
        "train/nobody/label.nii.gz contains no annotator",
        "train/no_image contains 0 files with `image` in their names",
        "train/damaged/label_annot_1.nii.gz is",
        "1 cases, 2 slices",
        "9 failed",
    ):
        assert message in text
    assert [f.name for f in (tmp_path / "out/train/imgs").iterdir()] == ["good"]
    assert len(json.loads((tmp_path / "out/prepared.json").read_text())["failed"]) == 9
    run("prepare", "MBHSeg_binary:geometry=image", raw, "--out", tmp_path / "loose", code=9)
    assert {f.name for f in (tmp_path / "loose/train/imgs").iterdir()} == {"good", "place"}


def test_what_is_there_is_not_overwritten_and_nothing_half_done_is_left(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    case(raw, "train/a", {1: BLEED * 9})
    with pytest.raises(DataError, match=r"no case of .* could be prepared; the first: .*labels 18, 45"):
        prepare(raw, out)
    assert [f.name for f in tmp_path.iterdir()] == ["raw"]
    case(raw, "train/a", {1: BLEED})
    out.mkdir()
    assert prepare(raw, out).counts == {"cases": 1, "slices": 2}
    before = {f: f.read_bytes() for f in out.rglob("*") if f.is_file()}
    with pytest.raises(DataError, match="is not empty; use a new folder"):
        prepare(raw, out)
    assert before == {f: f.read_bytes() for f in out.rglob("*") if f.is_file()}
    again = prepare(raw, tmp_path / "again").out
    assert before == {out / f.relative_to(again): f.read_bytes() for f in again.rglob("*") if f.is_file()}
    with pytest.raises(DataError, match="contains no case"):
        prepare(tmp_path / "raw" / "train" / "a", tmp_path / "other")
    with pytest.raises(ProtocolError, match="option 'orientation' is 'up'; allowed is one of stored, upright"):
        prepare(raw, tmp_path / "other", orientation="up")


def test_raters_of_a_folder_are_counted(tmp_path: Path) -> None:
    square = np.full((4, 4), 255, np.uint8)
    for name in ("a", "b", "c"):
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), square)
    for file, values in (
        ("r1/a", square),
        ("r1/b", square),
        ("r1/c", square * 0),
        ("r2/a", square * 0),
        ("r2/c", square * 0),
    ):
        path = tmp_path / "masks" / f"{file}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), values)
    text = run("raters", f"multirater-folder:root={tmp_path}", "--format", "csv")
    assert text.splitlines()[1:3] == ["r1,2,1,0,3", "r2,0,2,1,3"]
    text = run("raters", f"multirater-folder:root={tmp_path}", "--format", "md")
    assert "a name means the same person in all samples" in text
    assert "1 of 3 samples lack a rater's file: b (b.png)" in text
