"""Back-propagating refinement: it must lower its own loss and obey the published stopping rules."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rclicks.adapters import ritm  # noqa: E402
from rclicks.adapters.ritm import brs  # noqa: E402
from rclicks.adapters.ritm.brs import NETWORK_CLICKS, ClickObjective, click_boxes  # noqa: E402
from rclicks.interaction import Click  # noqa: E402
from rclicks.models.contract import State  # noqa: E402
from rclicks.sample import Sample  # noqa: E402
from support import rng_image  # noqa: E402

CARD = next(c for c in ritm.CARDS if c.name == "ritm-h18s")
CLICKS = [Click((20, 30)), Click((60, 90), False), Click((45, 20)), Click((0, 64)), Click((80, 110), False)]


def play(model: Any, clicks: list[Click]) -> list[State]:
    embedding = model.embed(Sample("any", "x", rng_image(5, 90, 130)))
    history = [State()]
    for click in clicks:
        last = history[-1]
        state = State((*last.interactions, click), last.mask, last.probability, last.memory)
        history += model.segment(embedding, [state])
    return history[1:]


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("mode", NETWORK_CLICKS)
def test_the_click_loss_falls(mode: str, flip: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ritm.load(CARD, checkpoint="synthetic", brs=mode, zoom_size=96, skip_clicks=-1, flip=flip)
    plain = ritm.load(CARD, checkpoint="synthetic", zoom_size=96, skip_clicks=-1, flip=flip)
    first, second = play(model, CLICKS[:2])
    (unrefined,) = play(plain, CLICKS[:1])
    assert np.abs(first.probability - unrefined.probability).max() < 1e-5, "nothing is optimised after one click"
    assert not first.memory.extra.vector.any()
    assert second.memory.extra.vector.any()

    # The same slot once more, by hand, with the whole history of the loss.
    embedding = model.embed(Sample("any", "x", rng_image(5, 90, 130)))
    seen: list[ClickObjective] = []

    class Watched(ClickObjective):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            seen.append(self)

    monkeypatch.setattr(brs, "ClickObjective", Watched)
    state = State((*first.interactions, CLICKS[1]), first.mask, first.probability, first.memory)
    (again,) = model.segment(embedding, [state])
    (objective,) = seen
    assert np.array_equal(again.probability, second.probability)
    assert 1 < len(objective.losses) <= 21
    assert min(objective.losses) < 0.97 * objective.losses[0]


def test_companions_do_not_matter() -> None:
    model = ritm.load(CARD, checkpoint="synthetic", brs="f-brs-c", zoom_size=96, skip_clicks=-1)
    embedding = model.embed(Sample("any", "x", rng_image(5, 90, 130)))
    states = [State(tuple(CLICKS[:2])), State(tuple(CLICKS[1:4])), State((CLICKS[0],))]
    for state, one in zip(states, model.segment(embedding, states), strict=True):
        (alone,) = model.segment(embedding, [state])
        assert np.array_equal(alone.probability, one.probability)


def test_the_vector_is_kept_between_clicks() -> None:
    model = ritm.load(CARD, checkpoint="synthetic", brs="f-brs-c", zoom_size=96, skip_clicks=-1)
    history = play(model, CLICKS)
    kept = [state.memory.extra.vector.copy() for state in history]
    embedding = model.embed(Sample("any", "x", rng_image(5, 90, 130)))
    last = history[-2]
    cold = State((*last.interactions, CLICKS[-1]), last.mask, last.probability, None)
    warm = State(cold.interactions, last.mask, last.probability, last.memory)
    (from_cold,) = model.segment(embedding, [cold])
    (from_warm,) = model.segment(embedding, [warm])
    assert np.array_equal(from_warm.probability, history[-1].probability)
    assert not np.array_equal(from_cold.probability, from_warm.probability)
    for state, vector in zip(history, kept, strict=True):
        assert np.array_equal(state.memory.extra.vector, vector), "a state was changed"


def test_features_are_frozen_once_the_network_sees_no_new_clicks() -> None:
    model = ritm.load(CARD, checkpoint="synthetic", brs="f-brs-c", zoom_size="none")
    history = play(model, [Click((5 + 9 * k, 10 + 11 * k), k % 2 == 0) for k in range(9)])
    previous = [state.memory.extra.previous for state in history]
    assert previous[0] is None
    assert all(now is before.probability for now, before in zip(previous[1:8], history, strict=False))
    assert previous[8] is previous[7]


def test_boxes_are_cut_at_the_border() -> None:
    positive, negative = click_boxes([[(0.0, 0.0, 0, True), (4.4, 5.6, 1, False)]], (6, 7))
    assert positive[0, 0].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert negative.sum() == 6
    assert negative[0, 0, 3:6, 5:7].all()


def test_the_search_ends_when_the_clicks_are_obeyed() -> None:
    positive, negative = click_boxes([[(3.0, 3.0, 0, True)]], (8, 8))

    def evaluate(vector):
        return vector.sum() + torch.zeros(1, 1, 8, 8), vector.square().sum()

    objective = ClickObjective(evaluate, positive, negative, 0.49)
    value, gradient = objective(np.array([1.0, 1.0]))
    assert not gradient.any()
    assert value == pytest.approx((1 - 1 / (1 + np.exp(-2))) ** 2 * 9 / (9 + 1e-5) + 2, rel=1e-5)
    value, gradient = objective(np.array([-1.0, -1.0]))
    assert gradient.any()
    assert objective.losses[0] < value
    assert objective.best is not None
    assert objective.best.mean() == 2
