"""Learning rates at given steps."""

import math

import pytest

from rclicks.training.schedules import published, warm_cosine

TOTAL = 2000


def test_the_published_rate_rises_over_a_tenth_of_the_steps() -> None:
    assert published(0, TOTAL, 0.01) == 0
    assert published(100, TOTAL, 0.01) == pytest.approx(0.005)
    assert published(200, TOTAL, 0.01) == pytest.approx(0.01)
    assert published(199, TOTAL, 0.01) < published(200, TOTAL, 0.01) > published(201, TOTAL, 0.01)


def test_the_published_rate_ends_at_nine_tenths_of_the_cosine() -> None:
    last = (1 + math.cos(0.9 * math.pi)) / 2
    assert last == pytest.approx(0.0245, abs=5e-5)
    assert published(TOTAL, TOTAL, 0.01) == pytest.approx(last * 0.01, rel=1e-12)
    assert published(TOTAL - 1, TOTAL, 0.01) == pytest.approx(0.0245 * 0.01, rel=0.01)


def test_the_published_rate_is_half_when_half_of_the_cosine_is_over() -> None:
    assert published(200 + TOTAL // 2, TOTAL, 0.01) == pytest.approx(0.005)


@pytest.mark.parametrize("total", [1, 2, 3, 10, TOTAL])
def test_our_rate_rises_to_its_peak_and_falls_to_zero(total: int) -> None:
    rates = [warm_cosine(s, total, 1.0) for s in range(total)]
    assert all(0 <= r <= 1 for r in rates)
    assert rates[0] > 0
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if total > 2:
        assert max(rates) == 1
        assert rates[-1] == 0
