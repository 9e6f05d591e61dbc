"""The rater-by-rater matrix: what it measures, and when it refuses."""

import math

import numpy as np
import pytest

from rclicks.errors import ProtocolError
from rclicks.metrics.raters.matrix import personalisation, rater_matrix, rater_table


def styles() -> np.ndarray:
    raters = np.zeros((3, 10, 10), bool)
    for i, size in enumerate((4, 6, 8)):
        raters[i, :size, :size] = True
    return raters


def test_a_model_that_obeys_and_one_that_does_not() -> None:
    raters = styles()
    obeys = personalisation([rater_matrix(raters, raters)])
    assert obeys.own == 1
    assert obeys.identified == 1
    assert obeys.gap > 0.2
    deaf = personalisation([rater_matrix(raters[[1, 1, 1]], raters)])
    assert deaf.gap == pytest.approx(0, abs=1e-12)
    assert deaf.identified == pytest.approx(1 / 3), "it always serves one of three"
    assert deaf.own == pytest.approx(deaf.other)


def test_rows_are_followed_and_columns_scored() -> None:
    raters = styles()
    matrix = rater_matrix(raters[[0, 0, 2]], raters)
    assert matrix[1, 0] == 1
    assert matrix[0, 1] == matrix[1, 1] == 2 * 16 / (16 + 36)
    with pytest.raises(ValueError, match="one for each followed rater"):
        rater_matrix(raters[:2], raters)


def test_equal_best_raters_share_the_identification() -> None:
    same = np.ones((2, 3, 3), bool)
    assert personalisation([rater_matrix(same, same)]).identified == 0.5


def test_samples_count_alike_whatever_their_number_of_raters() -> None:
    two, four = np.eye(2), np.full((4, 4), 0.5)
    found = personalisation([two, four, np.ones((1, 1)), np.full((2, 2), math.nan)])
    assert (found.own, found.other, found.gap) == (0.75, 0.25, 0.5)
    assert (found.samples, found.skipped) == (2, 2)
    assert found.identified == pytest.approx((1 + 1 / 4) / 2)
    nothing = personalisation([])
    assert math.isnan(nothing.gap)
    assert nothing.samples == 0


@pytest.mark.parametrize("identity", ["within-sample", "single"])
def test_table_needs_known_people(identity: str) -> None:
    with pytest.raises(ProtocolError, match="another person"):
        rater_table([np.eye(2)], [["a", "b"]], identity)


def test_table_puts_the_same_person_together() -> None:
    first = np.array([[0.9, 0.5], [0.4, 0.8]])
    second = np.array([[0.6, 0.1], [0.2, 0.7]])
    table = rater_table([first, second], [["a", "b"], ["b", "c"]], "known")
    assert table.raters == ("a", "b", "c")
    np.testing.assert_allclose(table.mean, [[0.9, 0.5, np.nan], [0.4, 0.7, 0.1], [np.nan, 0.2, 0.7]])
    assert table.samples.tolist() == [[1, 1, 0], [1, 2, 1], [0, 1, 1]]
    with pytest.raises(ValueError, match="one name each"):
        rater_table([first], [["a", "a"]], "known")
    with pytest.raises(ValueError, match="lists of raters"):
        rater_table([first], [], "known")
