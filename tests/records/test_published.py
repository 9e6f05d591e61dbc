"""Published result pickles: read as published, rebuilt tables, and everything that must be refused."""

import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from rclicks.analysis.robustness import Played, measures
from rclicks.analysis.robustness_table import robustness_table
from rclicks.analysis.runs import Threshold, load_runs
from rclicks.analysis.tables import make_table
from rclicks.errors import DataError, ProtocolError, RunError
from rclicks.records.published import import_published, read_published
from rclicks.records.store import load_failures, load_records
from rclicks.reports.site import write_site

OBJECTS = 4


class Click:
    """Pickled under the published name, as published code does."""

    __module__ = "isegm.inference.clicker"

    def __init__(self, is_positive, coords, indx):
        self.is_positive, self.coords, self.indx = is_positive, coords, indx


@pytest.fixture(autouse=True)
def isegm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pickle find the class while the test files are written; the reader never imports it."""
    for name in ("isegm", "isegm.inference", "isegm.inference.clicker"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["isegm.inference.clicker"].Click = Click


def curves(seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).random((OBJECTS, 20)), axis=1)


def rows_of(ious: np.ndarray, click) -> np.ndarray:
    array = np.empty((len(ious), 3), object)
    for k, value in enumerate(ious):
        array[k] = [np.float64(value), value / 2, click(k)]
    return array


def write(root: Path, folder: str, name: str, objects: list, protocol: int = 4) -> Path:
    file = root / folder / "plots" / f"{name}.pickle"
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"dataset_name": name.split("_")[0], "model_name": f"{folder}_NoBRS", "all_ious": objects}
    file.write_bytes(pickle.dumps(content, protocol=protocol))
    return file


def published(root: Path, protocol: int = 4) -> Path:
    """Write all thirteen modes of one model on one data set, 4 objects."""

    def played(seed: int) -> list:
        return [
            [f"img {i}.jpg", rows_of(c, lambda k: Click(k % 2 == 0, (k, k + 1), k)), 1]
            for i, c in enumerate(curves(seed))
        ]

    write(root, "model_h18_Base", "COCO_MVal_cvpr_NoBRS_20", played(0), protocol)
    for g in range(10):
        folder = f"model_h18_Trajectory_BOUNDS_{g / 10:.3f}_{(g + 1) / 10:.3f}"
        write(root, folder, "COCO_MVal_cvpr_NoBRS_20", played(g + 1), protocol)
    people = [[f"img {i}.jpg", rows_of(curves(50)[i][: 3 + i], lambda k: np.array([7, k])), 1] for i in range(OBJECTS)]
    write(root, "model_h18_User", "COCO_MVal_cvpr_NoBRS_1", people, protocol)
    sampled = [[f"img {i}.jpg", rows_of(curves(60)[i][: 3 + i], lambda k: (k, 7)), 1] for i in range(OBJECTS)]
    write(root, "model_h18_SamplingUsersCount", "COCO_MVal_cvpr_NoBRS_1", sampled, protocol)
    return root


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tables_are_rebuilt_from_published_rows(tmp_path: Path, protocol: int) -> None:
    done = import_published(published(tmp_path / "archive", protocol), tmp_path / "run")
    assert (done.files, done.models) == (13, ("model_h18",))
    runs = load_runs([tmp_path / "run"])
    assert (runs.protocol["name"], runs.clicks) == ("compat", 20)
    (row,) = robustness_table(runs, Threshold()).frame.to_dict("records")
    groups = np.stack([curves(g + 1) for g in range(10)])[:, None]
    people, sampled = ([curves(s)[i][: 3 + i] for i in range(OBJECTS)] for s in (50, 60))
    expected = measures(Played(curves(0), groups, people, sampled), nof_rule="equals-budget")
    assert row["Sample NoC"] == expected["sample_noc"]
    assert row["ΔGR NoC %"] == pytest.approx(expected["delta_gr_noc_pct"])
    assert row["User IoU@1"] == pytest.approx(100 * expected["user_iou1"])
    assert row["NSR Sample %"] == pytest.approx(100 * expected["user_sample_iou1_nsr"])
    assert make_table(runs, "noc").frame["n"].tolist() == [OBJECTS] * 11
    with pytest.raises(ProtocolError, match="no times"):
        make_table(runs, "time")
    assert "published results" in write_site(runs, tmp_path / "site").read_text()
    assert set(runs.records["protocol"]) == {runs.header["protocol_hash"]}
    assert load_failures(tmp_path / "run").empty


def test_rows_keep_place_sign_and_person(tmp_path: Path) -> None:
    import_published(published(tmp_path / "archive"), tmp_path / "run")
    records = load_records(tmp_path / "run")
    base = records[(records["user"] == "robot") & (records["sample"] == "img 0")]
    assert base[["y", "x"]].to_numpy().tolist() == [[k, k + 1] for k in range(20)]
    assert base["positive"].tolist() == [True, False] * 10
    person = records[(records["user"] == "people") & (records["sample"] == "img 2")]
    assert person["group"].tolist() == ["p1", "p2", "p3", "p4", "p5"]
    assert person[["y", "x"]].to_numpy().tolist() == [[k, 7] for k in range(5)]  # (x, y) in the file
    like = records[(records["user"] == "people-sampled") & (records["sample"] == "img 2")]
    assert like["replicate"].tolist() == [0, 1, 2, 3, 4]
    assert like[["y", "x"]].to_numpy().tolist() == [[k, 7] for k in range(5)]  # (y, x) in the file
    assert set(records["dataset"]) == {"COCO_MVal"}


def test_names_of_numpy_1_and_numpy_2_read_the_same(tmp_path: Path) -> None:
    file = published(tmp_path, protocol=2) / "model_h18_User" / "plots" / "COCO_MVal_cvpr_NoBRS_1.pickle"
    new, data = read_published(file).rows, file.read_bytes()
    old, other = (b"numpy.core.", b"numpy._core.") if b"numpy._core." in data else (b"numpy._core.", b"numpy.core.")
    assert other in data
    file.write_bytes(data.replace(other, old))
    assert read_published(file).rows == new


class Evil:
    def __init__(self, *reduced: object) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple:
        return self.reduced


class Widened(np.ndarray):
    pass


EVILS = {
    "os.system": (Evil(os.system, ("touch {target}",)), r"wants (posix|os|nt).system"),
    "eval": (Evil(eval, ("open('{target}', 'w')",)), "wants builtins.eval"),
    "getattr": (Evil(getattr, (np.ndarray, "tofile")), "wants builtins.getattr"),
    "load": (Evil(np.load, ("{target}",)), "wants numpy"),
    "another array class": (np.zeros(2).view(Widened), "wants .*Widened"),
}


@pytest.mark.parametrize("name", EVILS)
def test_what_could_run_code_is_refused_before_it_runs(tmp_path: Path, name: str) -> None:
    evil, words = EVILS[name]
    target = tmp_path / "pwned"
    if isinstance(evil, Evil):
        evil.reduced = (
            evil.reduced[0],
            tuple(a.format(target=target) if isinstance(a, str) else a for a in evil.reduced[1]),
        )
    file = write(tmp_path, "m_Base", "GrabCut_cvpr_NoBRS_20", [["a.jpg", evil, 1]])
    with pytest.raises(DataError, match=words) as caught:
        import_published(tmp_path / "m_Base", tmp_path / "run")
    assert str(file) in str(caught.value)
    assert not target.exists()
    assert not (tmp_path / "run").exists()


def test_allowed_names_cannot_be_turned_into_something_else(tmp_path: Path) -> None:
    scalar = np.float64(1).__reduce__()[0]
    reconstruct = np.zeros(1).__reduce__()[0]
    forged = Evil(np.dtype, ("V8", False, True), (3, "|", None, ("f",), {"f": (np.dtype(object), 0)}, 8, 1, 0))
    flagless = Evil(np.dtype, ("f8", False, True), (3, "<", None, ("f",), {"f": (np.dtype(object), 0)}, 8, 8, 0))
    empty = (np.ndarray, (0,), b"b")
    for evil, words in (
        (Evil(scalar, (np.dtype(object), b"cos\nsystem\n.")), "a scalar that is no plain number"),
        (Evil(scalar, (np.dtype(float), "text")), "a scalar that is no plain number"),
        (Evil(reconstruct, (Click, (0,), b"b")), "an array of a class other than numpy.ndarray"),
        (Evil(np.ndarray, ((1 << 40,), np.dtype(float))), "not callable"),  # named by every array, but not to be called
        (Evil(reconstruct, empty, (1, (1,), np.dtype("V8"), False, b"\x41" * 8)), "an array of 'V8'"),
        (Evil(reconstruct, empty, (1, (1,), forged, False, b"\x41" * 8)), "an array of 'V8'"),  # addresses in the file
        (Evil(reconstruct, empty, (1, (1,), flagless, False, b"\x41" * 8)), "an array of records"),
        (Evil(reconstruct, empty, (1, (1,), np.dtype(object), False, b"\x41" * 8)), "content has another size"),
        (Evil(reconstruct, empty, (1, (3,), np.dtype(float), False, b"\x41" * 8)), "content has another size"),
        (Evil(reconstruct, empty, (1, (-1,), np.dtype(float), False, b"")), "an array of an unknown form"),
    ):
        write(tmp_path, "m_Base", "GrabCut_cvpr_NoBRS_20", [["a.jpg", evil, 1]])
        with pytest.raises(DataError, match=f"damaged or not a published result.*{words}"):
            import_published(tmp_path / "m_Base", tmp_path / "run")
        assert not (tmp_path / "run").exists()


GOOD = rows_of(np.linspace(0.1, 0.9, 20), lambda k: Click(True, (1, 2), k))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (["a.jpg", GOOD[:, :2], 1], r"shape \(20, 2\), expected \(clicks, 3\)"),
        (["a.jpg", GOOD.tolist(), 1], r"expected \[image, array, mask id\]"),
        (["a.jpg", GOOD], r"expected \[image, array, mask id\]"),
        (["a.jpg", rows_of(np.array([1.5]), lambda k: (1, 2)), 1], "row 0: IoU is 1.5"),
        ([b"a.jpg", GOOD, 1], "expected the name of the image and a mask id"),
        (["a.jpg", GOOD, 1], "same as object 0: a, mask 1"),
        (["b.jpg", np.concatenate([GOOD, GOOD[:1]]), 1], "21 clicks, more than the 20"),
        (["a.jpg", rows_of(np.array([np.nan]), lambda k: (1, 2)), 1], "IoU is nan"),
        (
            ["a.jpg", rows_of(np.array([0.5]), lambda k: "no click"), 1],
            "row 0: .*expected IoU, boundary IoU and a click",
        ),
    ],
)
def test_wrong_content_names_file_object_and_row(tmp_path: Path, entry: list, words: str) -> None:
    write(tmp_path, "m_Base", "GrabCut_cvpr_NoBRS_20", [["a.jpg", GOOD, 1], entry])
    with pytest.raises(DataError, match=f"object 1.*{words}"):
        import_published(tmp_path / "m_Base", tmp_path / "run")


def test_truncated_doubled_misnamed_and_mixed_files(tmp_path: Path) -> None:
    file = write(tmp_path / "a", "m_Base", "GrabCut_cvpr_NoBRS_20", [["a.jpg", GOOD, 1]])
    write(tmp_path / "b", "m_Base", "GrabCut_cvpr_NoBRS_20", [["a.jpg", GOOD, 1]])
    with pytest.raises(DataError, match="contain the same: m, GrabCut, Base"):
        import_published(tmp_path, tmp_path / "run")
    write(tmp_path / "b", "n_Base", "GrabCut_cvpr_NoBRS_10", [["a.jpg", GOOD[:10], 1]])
    (tmp_path / "b" / "m_Base" / "plots" / file.name).unlink()
    with pytest.raises(DataError, match="budgets of clicks differ: 20 in .*, 10 in"):
        import_published(tmp_path, tmp_path / "run")
    for cut in (0, 10, len(file.read_bytes()) // 2, -1):
        whole = file.read_bytes()
        (tmp_path / "c").mkdir(exist_ok=True)
        broken = write(tmp_path / "c", "m_Base", "GrabCut_cvpr_NoBRS_20", [])
        broken.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="empty" if cut == 0 else "damaged or not a published result"):
            read_published(broken)
    with pytest.raises(DataError, match="does not have a published name"):
        read_published(file.rename(file.with_name("results.pickle")))
    with pytest.raises(DataError, match="no published results"):
        import_published(tmp_path / "nothing", tmp_path / "run")
    (tmp_path / "run").mkdir()
    with pytest.raises(RunError, match="exists"):
        import_published(tmp_path / "a", tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []
