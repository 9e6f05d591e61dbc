"""``rclicks supervoxels``: from files to files, and what it does with bad, old and half-written ones."""

import json
import resource
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from rclicks.cli.main import app
from rclicks.cli.supervoxels import plan
from rclicks.data.volumes import read_volume
from rclicks.errors import DataError, ProtocolError, RclicksError
from rclicks.supervoxels.foreground import locations_of_labels, read_foreground
from rclicks.supervoxels.quality import measure
from support import SHARED, needs_shared

VOLUMES = SHARED / "data" / "volumes"
AFFINE = np.array([[-2.0, 0, 0, 5], [0, 1, 0, -3], [0, 0, 3, 7], [0, 0, 0, 1]])


def save(path: Path, values: np.ndarray) -> Path:
    """Write a (z, y, x) array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.T, AFFINE), path)
    return path


def image(seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0, 1, (6, 9, 8)).astype(np.float32)
    values[2:5, 3:7, 2:6] += 9
    return values


def call(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["supervoxels", *map(str, words)])
    if isinstance(result.exception, RclicksError):
        raise result.exception
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def table(*words: object, code: int = 0) -> list[dict]:
    return json.loads(call(*words, "--format", "json", code=code).stdout)["rows"]


@needs_shared
@pytest.mark.parametrize("method", ["slic", "watershed", "felzenszwalb"])
def test_a_real_volume_with_labels(tmp_path: Path, method: str) -> None:
    folder = VOLUMES / "hippocampus"
    source, truth = (folder / kind / "hippocampus_007.nii.gz" for kind in ("images", "labels"))
    words = (source, "-o", tmp_path / "out.nii.gz", "--labels", truth, "--foreground", tmp_path / "out.pkl")
    (row,) = table(*words, "--method", method, "--segments", 300)
    before, after = nibabel.load(source), nibabel.load(tmp_path / "out.nii.gz")
    assert np.allclose(before.affine, after.affine)
    assert before.shape == after.shape
    assert before.header.get_zooms() == after.header.get_zooms()
    labels = read_volume(tmp_path / "out.nii.gz").values
    assert np.unique(labels).tolist() == list(range(1, row["supervoxels"] + 1))
    found = measure(labels, read_volume(truth).values.astype(int), (1, 1, 1))
    assert row["achievable Dice"] == pytest.approx(found.dice)
    assert row["achievable accuracy"] == pytest.approx(found.accuracy)
    assert row["undersegmentation"] == pytest.approx(found.undersegmentation)
    assert row["boundary recall"] == pytest.approx(found.boundary_recall)
    assert 0.93 < row["achievable accuracy"] < 1
    prompts = read_foreground(tmp_path / "out.pkl")
    assert len(prompts) == row["supervoxels"]
    for i, at in enumerate(prompts, 1):
        assert (labels[tuple(at.T)] == i).all()


def test_a_folder_of_images_and_labels(tmp_path: Path) -> None:
    for seed, case in enumerate(("a", "b")):
        save(tmp_path / "in" / f"{case}_0000.nii.gz", image(seed))
        save(tmp_path / "in" / f"{case}_label.nii.gz", (image(seed) > 5).astype(np.uint8))
    (tmp_path / "in" / "notes.txt").write_text("no volume")
    words = (tmp_path / "in", "-o", tmp_path / "out", "--segments", 20)
    rows = table(*words, "--labels", tmp_path / "in", "--foreground", tmp_path / "out")
    assert [r["case"] for r in rows] == ["a", "b", "mean of 2"]
    assert [r["state"] for r in rows] == ["made", "made", ""]
    assert rows[2]["achievable Dice"] == pytest.approx((rows[0]["achievable Dice"] + rows[1]["achievable Dice"]) / 2)
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["a.nii.gz", "a.pkl", "b.nii.gz", "b.pkl"]
    text = call(*words, "--table", tmp_path / "t.csv")
    assert text.stdout == ""
    assert (tmp_path / "t.csv").read_text().startswith("case,state,supervoxels")


def test_what_is_there_is_kept_unless_forced(tmp_path: Path) -> None:
    source, out = save(tmp_path / "a.nii.gz", image()), tmp_path / "out" / "a.nii.gz"
    words = (source, "-o", tmp_path / "out", "--segments", 20)
    (first,) = table(*words)
    save(out, np.ones((6, 9, 8), np.uint8))
    (kept,) = table(*words, "--foreground", tmp_path / "p.pkl")
    assert (kept["state"], kept["supervoxels"]) == ("kept", 1)
    assert len(read_foreground(tmp_path / "p.pkl")) == 1, "prompts belong to the map that is there"
    (made,) = table(*words, "--force", "--foreground", tmp_path / "p.pkl")
    assert (made["state"], made["supervoxels"]) == ("made", first["supervoxels"])
    prompts = locations_of_labels(read_volume(out).values.astype(np.int32))
    assert all(np.array_equal(a, b) for a, b in zip(prompts, read_foreground(tmp_path / "p.pkl"), strict=True))


def test_a_disk_that_fills_up_leaves_no_file_that_looks_finished(tmp_path: Path) -> None:
    source = save(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(30, 60, 60)).astype(np.float32))
    words = (source, "-o", tmp_path / "out" / "a.nii.gz", "--segments", 3000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(DataError, match="cannot be written"):
            call(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "out").iterdir()) == []
    (row,) = table(*words)
    assert row["state"] == "made"


def test_what_a_killed_process_left_is_no_input_and_no_output(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.nii.gz", image())
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / ".tmp-a.nii.gz").write_bytes(b"half")
    (row,) = table(tmp_path / "in", "-o", tmp_path / "out", "--segments", 20)
    assert row["state"] == "made"
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["a.nii.gz"]


def bad_images(folder: Path) -> dict[str, Path]:
    hole = image()
    hole[1, 2, 3] = np.nan
    (folder / "text.nii.gz").write_text("no volume")
    return {
        "3 axes": save(folder / "four.nii.gz", np.stack([image(0), image(1)])),
        "NaN": save(folder / "nan.nii.gz", hole),
        "NIfTI": folder / "text.nii.gz",
        "missing": folder / "none.nii.gz",
    }


def test_a_bad_image_is_a_data_error_and_others_go_on(tmp_path: Path) -> None:
    bad = bad_images(tmp_path)
    for word, path in bad.items():
        with pytest.raises(DataError, match=word):
            call(path, "-o", tmp_path / "out")
    good = save(tmp_path / "good.nii.gz", image())
    result = call(*bad.values(), good, "-o", tmp_path / "out", "--segments", 9, "--format", "json", code=9)
    made = json.loads(result.stdout)
    assert [r["case"] for r in made["rows"]] == ["good"]
    assert "4 failed and are left out" in made["notes"]
    assert result.stderr.count("FAILED") == 4
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["good.nii.gz"]
    (row,) = table(bad["3 axes"], "-o", tmp_path / "out", "--channel", 1, "--segments", 9)
    assert row["state"] == "made"


def test_tables_say_that_weights_are_synthetic_and_that_nothing_was_found(tmp_path: Path) -> None:
    source, out = save(tmp_path / "a.nii.gz", image()), save(tmp_path / "out.nii.gz", np.zeros((6, 9, 8), np.uint8))
    words = (source, "-o", out, "--method", "sam", "--format", "json")
    notes = json.loads(call(*words, "--sam", "synthetic").stdout)["notes"]
    assert any("SYNTHETIC" in note for note in notes)
    assert any("0 supervoxels" in note for note in notes)
    assert not any("SYNTHETIC" in note for note in json.loads(call(*words).stdout)["notes"])


def test_labels_must_fit(tmp_path: Path) -> None:
    source, out = save(tmp_path / "a.nii.gz", image()), tmp_path / "out.nii.gz"
    wrong = {
        "shape": save(tmp_path / "shape.nii.gz", np.zeros((6, 9, 7), np.uint8)),
        "not a label map": save(tmp_path / "half.nii.gz", np.full((6, 9, 8), 0.5, np.float32)),
    }
    for word, labels in wrong.items():
        with pytest.raises(DataError, match=word):
            call(source, "-o", out, "--labels", labels)
    assert not out.exists()
    floats = save(tmp_path / "floats.nii.gz", (image() > 5).astype(np.float32))
    (row,) = table(source, "-o", out, "--labels", floats, "--segments", 30)
    assert row["achievable Dice"] > 0.5


def test_plans_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    a, b = (save(tmp_path / name / "a.nii.gz", image()) for name in ("x", "y"))
    c = save(tmp_path / "c.nii.gz", image())
    with pytest.raises(DataError, match="the same case name a"):
        plan([a, b], tmp_path / "out", None, None)
    with pytest.raises(ProtocolError, match="folders"):
        plan([a, c], tmp_path / "out.nii.gz", None, None)
    with pytest.raises(ProtocolError, match="folders"):
        plan([a, c], tmp_path / "out", None, tmp_path / "p.pkl")
    with pytest.raises(ProtocolError, match="folder of labels"):
        plan([a, c], tmp_path / "out", b, None)
    with pytest.raises(ProtocolError, match="is also an input"):
        plan([a], a.parent, None, None)
    with pytest.raises(DataError, match="0 label maps of c"):
        plan([c], tmp_path / "out", a.parent, None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no volume"):
        plan([tmp_path / "empty"], tmp_path / "out", None, None)
    with pytest.raises(ProtocolError, match="watershed"):
        call(a, "-o", tmp_path / "out", "--method", "slick")
