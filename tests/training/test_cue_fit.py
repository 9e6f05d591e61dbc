"""The fit of the embedded model: it finds the truth, is at its optimum, and tells how it does on held-out images."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rclicks.clickability.contract import ClickMapQuery
from rclicks.clickability.embedded import CARDS, CUES, WEIGHTS, CueModel, load
from rclicks.clickability.training.cues import RIDGE, cross_validate, evidence_of, fit, log_gain
from rclicks.clickability.training.network import train_cues
from rclicks.errors import DataError
from rclicks.human_clicks.items import ClickItem, Scene
from rclicks.human_clicks.whats_the_point import voc_items
from support import SHARED, needs_shared

TRUTH = np.array([1.5, -1.0, -0.4, -2.0, -4.0])


def scene(mask: np.ndarray) -> Scene:
    return Scene(np.zeros((*mask.shape, 3), np.uint8), mask, mask)


def blob(rng: np.random.Generator, side: int) -> np.ndarray:
    yy, xx = np.mgrid[0:side, 0:side] / side
    mask = np.zeros((side, side), bool)
    for _ in range(3):
        cy, cx, a, b = rng.uniform([0.2, 0.2, 0.08, 0.08], [0.8, 0.8, 0.35, 0.35])
        mask |= ((yy - cy) / a) ** 2 + ((xx - cx) / b) ** 2 <= 1
    return mask


def simulated(count: int, clicks: int, side: int = 48) -> list[ClickItem]:
    """Return items whose clicks are drawn from a cue model with the weights `TRUTH`."""
    rng = np.random.default_rng(0)
    model = CueModel(CARDS[0], TRUTH)
    items = []
    for i in range(count):
        mask = blob(rng, side)
        share = model.maps(None, [ClickMapQuery(mask, mask)])[0].astype(np.float64).ravel()
        drawn = rng.choice(share.size, clicks, p=share / share.sum())
        points = np.stack(np.divmod(drawn, side), 1)
        items.append(ClickItem(str(i), "sim", str(i // 2), "0", "first", points, ("",) * clicks, partial(scene, mask)))
    return items


def test_the_fit_finds_the_weights_that_made_the_clicks() -> None:
    evidence = evidence_of(simulated(60, 100), sigma=0)
    fitted = fit(evidence)
    assert fitted.clicks == 6000
    assert fitted.steps < 15
    np.testing.assert_allclose(fitted.weights, TRUTH, atol=0.35)
    assert log_gain(evidence, fitted.weights) >= log_gain(evidence, TRUTH)


def test_no_neighbour_is_better() -> None:
    evidence = evidence_of(simulated(10, 20), sigma=0)
    best = fit(evidence)
    for k in range(len(CUES)):
        for change in (-0.05, 0.05):
            moved = best.weights.copy()
            moved[k] += change
            loss, least = (RIDGE * w @ w - log_gain(evidence, w) for w in (moved, best.weights))
            assert loss > least


def test_a_part_of_the_cues_does_worse() -> None:
    items = simulated(20, 30)
    assert fit(evidence_of(items, 0, ["depth"])).gain < fit(evidence_of(items, 0)).gain


def test_large_scenes_are_shrunk_to_the_same_answer() -> None:
    def grown(item: ClickItem) -> ClickItem:
        large = np.kron(item.load().mask, np.ones((12, 12), bool))
        return ClickItem(
            item.key, "sim", item.sample, "0", "first", item.points * 12 + 6, item.devices, partial(scene, large)
        )

    items = simulated(20, 30)
    small, large = (fit(evidence_of(group, 0)).weights for group in (items, [grown(i) for i in items]))
    np.testing.assert_allclose(small, large, atol=0.3)


def test_clicks_beside_the_error_tell_nothing() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:5, 2:5] = True
    missed = ClickItem("a", "sim", "a", "0", "first", np.array([[8, 8]]), ("",), partial(scene, mask))
    hit = ClickItem("b", "sim", "b", "0", "first", np.array([[8, 8], [3, 3]]), ("", ""), partial(scene, mask))
    assert [(e.sample, e.clicks) for e in evidence_of([missed, hit])] == [("b", 1)]
    with pytest.raises(DataError, match="none of the 1 items"):
        evidence_of([missed])


def test_folds_hold_whole_images() -> None:
    evidence = evidence_of(simulated(8, 30), sigma=0)  # 4 images of 2 objects
    gains = cross_validate(evidence, 4)
    expected = []
    for sample in {e.sample for e in evidence}:
        weights = fit([e for e in evidence if e.sample != sample]).weights
        expected.append(log_gain([e for e in evidence if e.sample == sample], weights))
    assert sorted(gains) == pytest.approx(sorted(expected))
    for folds in (1, 5):
        with pytest.raises(DataError, match=f"{folds} folds"):
            cross_validate(evidence, folds)


def test_what_is_written_can_be_loaded(tmp_path: Path) -> None:
    items = simulated(10, 20)
    content = train_cues(items[:8], items[8:], tmp_path / "out", sigma=5, folds=2)
    assert json.loads((tmp_path / "out" / WEIGHTS.name).read_text()) == content
    assert content["trained"]["objects"] == 8
    assert {"gain", "cross_validated_gain", "held_out_gain"} <= set(content["trained"])
    assert load(CARDS[0], checkpoint=tmp_path / "out" / WEIGHTS.name).weights == pytest.approx(
        list(content["weights"].values())
    )


@needs_shared
@pytest.mark.slow
def test_the_shipped_weights_are_what_the_recipe_gives(tmp_path: Path) -> None:
    folder = SHARED / "data/clicks/voc_clicks"
    content = train_cues(voc_items(folder, "train"), voc_items(folder, "val"), tmp_path, sigma=5, folds=0)
    shipped = json.loads(WEIGHTS.read_text())
    assert content["weights"] == pytest.approx(shipped["weights"], abs=1e-4)
    for name in ("items", "objects", "clicks", "sigma", "gain", "held_out_gain"):
        assert content["trained"][name] == shipped["trained"][name]
