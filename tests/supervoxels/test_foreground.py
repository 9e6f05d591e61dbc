"""Foreground prompts are what nnU-Net reads, and a forged file runs nothing."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rclicks.errors import DataError
from rclicks.supervoxels.foreground import (
    locations_of_labels,
    locations_of_masks,
    read_foreground,
    write_foreground,
)


def masks() -> np.ndarray:
    """Return a large mask, a small one and an empty one."""
    stack = np.zeros((3, 9, 10, 11), np.uint8)
    stack[0] = np.random.default_rng(0).random((9, 10, 11)) < 0.4
    stack[1, 3:5, 2:4, 7] = 1
    return stack


def test_it_is_the_published_form(tmp_path: Path) -> None:
    """A list with {1: up to 100 coordinates} a mask, drawn as RandomState(1234) of old draws them; [] for none."""
    write_foreground(tmp_path / "a.pkl", locations_of_masks(masks()))
    content = pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert isinstance(content, list)
    assert [list(entry) for entry in content] == [[1]] * 3
    for mask, entry in zip(masks()[:2], content, strict=False):
        at = np.argwhere(mask)
        order = np.random.RandomState(1234).permutation(len(at))[:100]  # what choice without replacement does
        assert isinstance(entry[1], np.ndarray)
        assert entry[1].dtype == np.int64
        assert (entry[1] == at[order]).all()
    assert content[2][1] == []
    assert len(content[0][1]) == 100
    assert len(content[1][1]) == 4


@pytest.mark.slow
def test_it_draws_what_nnunet_draws() -> None:
    preprocessing = pytest.importorskip("nnunetv2.preprocessing.preprocessors.default_preprocessor")
    draw = preprocessing.DefaultPreprocessor._sample_foreground_locations
    for mask, ours in zip(masks(), locations_of_masks(masks()), strict=True):
        theirs = draw(mask, [1], min_num_samples=100, min_percent_coverage=0)[1]
        assert np.array_equal(np.reshape(theirs, (-1, 3)), ours)


def test_a_large_mask_is_thinned_by_a_whole_step() -> None:
    mask = np.zeros((1, 5, 10), bool)
    mask[0, :, :5] = True  # 25 voxels
    for considered, step in ((25, 1), (24, 1), (13, 1), (12, 2), (8, 3)):
        (found,) = locations_of_masks([mask], count=100, considered=considered)
        assert sorted(map(tuple, found)) == sorted(map(tuple, np.argwhere(mask)[::step])), considered


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_label_map_gives_the_coordinates_of_its_masks(seed: int) -> None:
    labels = np.random.default_rng(seed).choice([0, 1, 2, 4], (4, 6, 5)).astype(np.int32)
    one_by_one = locations_of_masks([labels == i for i in range(1, labels.max() + 1)], count=7)
    together = locations_of_labels(labels, count=7)
    assert len(one_by_one) == len(together)
    for a, b in zip(one_by_one, together, strict=True):
        assert np.array_equal(a, b)
        assert a.shape[1] == 3


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint16, ">i8"])
def test_it_is_read_back_whoever_wrote_it(tmp_path: Path, protocol: int, kind: object) -> None:
    expected = locations_of_masks(masks())
    content = [{1: at.astype(kind) if len(at) else []} for at in expected]
    content[1][1] = np.asfortranarray(content[1][1])
    file = tmp_path / "theirs.pkl"
    file.write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_foreground(file)
    assert [f.dtype for f in found] == [np.int64] * 3
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


class Evil:
    """Makes a file when it is unpickled by the wrong reader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def forged_shape() -> bytes:
    """Return a pickle whose array claims 1000 rows and brings 2."""
    plain = pickle.dumps([{1: np.zeros((2, 3), np.int64)}], protocol=2)
    assert plain.count(b"K\x02K\x03\x86") == 1
    return plain.replace(b"K\x02K\x03\x86", b"M\xe8\x03K\x03\x86")


@pytest.mark.parametrize("where", ["alone", "in the list", "as coordinates", "in an array"])
def test_a_malicious_file_is_refused_and_runs_nothing(tmp_path: Path, where: str) -> None:
    evil = Evil(tmp_path / "owned")
    held = np.empty(1, object)
    held[0] = evil
    content = {"alone": evil, "in the list": [evil], "as coordinates": [{1: evil}], "in an array": [{1: held}]}[where]
    file = tmp_path / "evil.pkl"
    for protocol in range(6):
        file.write_bytes(pickle.dumps(content, protocol=protocol))
        with pytest.raises(DataError, match="not a foreground file"):
            read_foreground(file)
        assert not (tmp_path / "owned").exists()
    pickle.loads(file.read_bytes())
    assert (tmp_path / "owned").exists(), "the trap does not work, so the test proves nothing"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps([{1: np.zeros((5, 3), np.int64)}])[:-20],
        pickle.dumps({1: []}),
        pickle.dumps([{2: []}]),
        pickle.dumps([[1, 2, 3]]),
        pickle.dumps([{1: [1, 2, 3]}]),
        pickle.dumps([{1: np.zeros((5, 2), np.int64)}]),
        pickle.dumps([{1: np.zeros((5, 3), np.float64)}]),
        pickle.dumps([{1: np.full((5, 3), -1)}]),
        pickle.dumps([{1: np.zeros(3, "i8,i8")}]),
        b"cnumpy.ma.core\nMaskedArray\n.",
        pickle.dumps([{1: np.int64(3)}]),
        forged_shape(),
        b"\x80\x04B" + struct.pack("<I", 2**31 - 1) + b".",
        b"\x80\x05\x8e" + struct.pack("<Q", 2**62) + b".",
        b"cnumpy\nndarray\n(tR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(I1\nI2\nI3\ntR.",
        b"(lp0\nPsomewhere else\na.",
    ],
)
def test_what_has_another_form_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.pkl"
    file.write_bytes(content)
    with pytest.raises(DataError, match="not a foreground file"):
        read_foreground(file)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_an_answer_or_a_data_error(tmp_path: Path, data: st.DataObject) -> None:
    good = bytearray(pickle.dumps([{1: np.arange(12).reshape(4, 3)}, {1: []}], protocol=data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / "damaged.pkl"
    file.write_bytes(good)
    try:
        found = read_foreground(file)
    except DataError:
        return
    assert all(at.ndim == 2 and at.shape[1] == 3 and at.dtype == np.int64 for at in found)


def test_a_missing_file_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        read_foreground(tmp_path / "none.pkl")
    (tmp_path / "taken.pkl").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        write_foreground(tmp_path / "taken.pkl", locations_of_masks(masks()))
    assert [f.name for f in tmp_path.iterdir()] == ["taken.pkl"], "something half done was left"
