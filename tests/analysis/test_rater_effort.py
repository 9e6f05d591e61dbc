"""Clicks needed by each followed rater."""

import numpy as np
import pytest

from rclicks.analysis import effort
from rclicks.analysis.rater_effort import clicks_to_reach

DICE = np.array([[0.5, 0.8, 0.9], [0.2, 0.3, 0.4], [0.9, 0.9, 0.9], [0.5, 0.7, 0.8]])


def test_same_as_noc_where_it_is_defined() -> None:
    assert np.array_equal(clicks_to_reach(DICE, 0.8), effort.noc(DICE, 0.8))


def test_failures_are_counted_as_published() -> None:
    assert clicks_to_reach(DICE, 0.8, failed=10).tolist() == [2, 10, 1, 3], "the last click reaches it: no failure"
    with pytest.raises(ValueError, match="less than the budget"):
        clicks_to_reach(DICE, 0.8, failed=2)


def test_each_trajectory_may_have_a_threshold_of_its_own() -> None:
    assert clicks_to_reach(DICE, np.array([0.9, 0.2, 0.95, 0.6]), failed=10).tolist() == [3, 1, 10, 2]
