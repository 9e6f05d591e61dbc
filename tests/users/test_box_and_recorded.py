"""The box user and the replay of recorded clicks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rclicks.errors import DataError, ProtocolError
from rclicks.interaction import Box, Click
from rclicks.metrics.target import TargetReference
from rclicks.protocol import Protocol
from rclicks.sample import Sample, Target
from rclicks.users import box, recorded
from rclicks.users.contract import TrajectorySpec, View

MASK = np.zeros((20, 30), bool)
MASK[5:12, 7:20] = True
TARGET = Target("0", (MASK,))
SAMPLE = Sample("set", "s", np.zeros((20, 30, 3), np.uint8), (TARGET,))
HEADER = "dataset,sample,object,user,round,y,x,positive\n"


def view(trajectory: TrajectorySpec, history: tuple = (), prediction: np.ndarray | None = None, seed: int = 0) -> View:
    shown = np.zeros_like(MASK) if prediction is None else prediction
    return View(SAMPLE, TARGET, TargetReference(MASK), shown, history, trajectory, np.random.default_rng(seed))


def test_tight_box_then_clicks_then_stop() -> None:
    user = box.load(box.CARDS[0], protocol=Protocol(), clicks=1)
    (trajectory,) = user.trajectories(SAMPLE, TARGET)
    first = user.next(view(trajectory))
    assert first == Box((5, 7), (11, 19))
    second = user.next(view(trajectory, (first,)))
    assert second == Click((8, 10), True)
    assert user.next(view(trajectory, (first, second))) is None
    assert user.next(view(trajectory, (first,), MASK)) is None  # nothing left to correct


def test_groups_are_jitter_levels_and_tight_boxes_are_not_repeated() -> None:
    user = box.load(box.CARDS[0], protocol=Protocol(), jitters=[0, 10], replicates=3)
    trajectories = user.trajectories(SAMPLE, TARGET)
    assert trajectories == [
        TrajectorySpec("j0", 0),
        TrajectorySpec("j10", 0),
        TrajectorySpec("j10", 1),
        TrajectorySpec("j10", 2),
    ]
    assert user.next(view(trajectories[1], seed=1)) != user.next(view(trajectories[1], seed=2))


@given(st.integers(0, 60), st.integers(0, 10_000))
def test_jittered_boxes_stay_inside_and_near(jitter: int, seed: int) -> None:
    window = (slice(5, 12), slice(7, 20))
    found = box.jittered_box(window, MASK.shape, jitter, np.random.default_rng(seed))
    for axis in (0, 1):
        low, high = found.low[axis], found.high[axis]
        assert 0 <= low <= high < MASK.shape[axis]
        assert abs(low - window[axis].start) <= jitter + (window[axis].stop - window[axis].start)
    if jitter == 0:
        assert found == Box((5, 7), (11, 19))


@pytest.mark.parametrize("options", [{"jitters": [-1]}, {"jitters": []}, {"jitters": [1.5]}, {"replicates": 0}])
def test_bad_box_options(options: dict) -> None:
    with pytest.raises(ProtocolError):
        box.load(box.CARDS[0], protocol=Protocol(), **options)


def recorded_user(tmp_path: Path, text: str) -> recorded.Recorded:
    file = tmp_path / "clicks.csv"
    file.write_text(text)
    return recorded.load(recorded.CARDS[0], protocol=Protocol(), file=file)


def test_each_person_plays_one_trajectory_in_order(tmp_path: Path) -> None:
    user = recorded_user(
        tmp_path, HEADER + "set,s,0,ann,2,3,4,0\nset,s,0,ann,1,8,9,1\nset,s,0,bob,1,6,7,1\nset,t,0,eve,1,0,0,1\n"
    )
    ann, bob = user.trajectories(SAMPLE, TARGET)
    assert (ann.group, bob.group) == ("ann", "bob")
    first = user.next(view(ann))
    assert first == Click((8, 9), True)
    second = user.next(view(ann, (first,)))
    assert second == Click((3, 4), False)
    assert user.next(view(ann, (first, second))) is None
    assert user.next(view(bob)) == Click((6, 7), True)
    assert list(user.trajectories(SAMPLE, Target("9", (MASK,)))) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dataset,sample\na,b\n", "missing columns"),
        (HEADER.replace("positive", "positive,colour") + "set,s,0,a,1,1,1,1,red\n", "unknown columns .*colour"),
        (HEADER + "set,s,0,a,1,1,one,1\n", "line 2: x is 'one'"),
        (HEADER + "set,s,0,a,1,1,1,1\nset,s,0,a,2,1,1.5,1\n", "line 3: x is '1.5'"),
        (HEADER + "set,s,0,a,1,1,1,2\n", "positive is '2'; expected 1 or 0"),
        (HEADER + "set,s,0,a,1,1,1,1\nset,s,0,a,3,1,1,1\n", "without gaps"),
        ("", "not a readable CSV"),
    ],
)
def test_bad_click_files(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        recorded_user(tmp_path, text).trajectories(SAMPLE, TARGET)


def test_a_click_outside_the_image_names_itself(tmp_path: Path) -> None:
    user = recorded_user(tmp_path, HEADER + "set,s,0,ann,1,25,4,1\n")
    with pytest.raises(DataError, match=r"user 'ann' on set/s/0 is at y, x = \(25, 4\), outside the 20 x 30"):
        user.next(view(TrajectorySpec("ann")))


def test_a_missing_file_and_a_missing_option(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="recorded:file="):
        recorded.load(recorded.CARDS[0], protocol=Protocol())
    with pytest.raises(DataError, match="does not exist"):
        recorded.load(recorded.CARDS[0], protocol=Protocol(), file=tmp_path / "absent.csv")
