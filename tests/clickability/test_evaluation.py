"""Scoring click models: published draws, independence of order, devices, displays, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from rclicks.cards import ClickModelCard
from rclicks.clickability.contract import ClickModel
from rclicks.clickability.evaluation import compare_devices, compare_displays, draw_points, evaluate
from rclicks.clickability.simple import CARDS, load
from rclicks.errors import DataError, PluginError, ProtocolError
from rclicks.human_clicks.items import ClickItem, Scene
from rclicks.human_clicks.whats_the_point import voc_items
from rclicks.metrics.clicks import ks2d, nss, pde, pl1, wasserstein
from support import SHARED, needs_shared

SHAPE = (50, 60)


def scene(seed: int) -> Scene:
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = ((yy - 25) / 15) ** 2 + ((xx - 20 - seed % 9) / 12) ** 2 <= 1
    return Scene(np.zeros((*SHAPE, 3), np.uint8), mask, mask)


def item(seed: int, n: int = 12, devices: tuple[str, ...] | None = None, key: str = "") -> ClickItem:
    inside = np.argwhere(scene(seed).mask)
    points = inside[np.random.default_rng(seed).choice(len(inside), n)]
    return ClickItem(
        key or f"i{seed}", "toy", f"s{seed}", "0", "first", points, devices or ("",) * n, lambda: scene(seed)
    )


class Bell(ClickModel):
    """Clicks around the centre of the error, the same numbers in each call."""

    card = ClickModelCard(name="bell", summary="a Gaussian around the centre of the error")

    def maps(self, prepared, queries):
        return [self.bell(np.asarray(query.error, bool)) for query in queries]

    @staticmethod
    def bell(error: np.ndarray) -> np.ndarray:
        (cy, cx), (yy, xx) = np.argwhere(error).mean(axis=0), np.indices(error.shape)
        return np.exp(-((yy - cy) ** 2 + (xx - cx) ** 2) / 50).astype(np.float32)


def test_published_draws_are_one_stream_in_script_order() -> None:
    items = [item(0), item(1)]
    rows = evaluate(Bell(), items, draws="published", sets=20)
    stream = np.random.RandomState(42)
    for one, row in zip(items, rows.to_dict("records"), strict=True):
        found = Bell.bell(one.load().error)
        cumulative = np.cumsum(found.ravel(), dtype=np.float64)
        sets = [draw_points(cumulative, stream.random_sample((20, 12)), SHAPE[1]) for _ in range(3)]
        assert row["pl1"] == pl1(one.points, sets[0], (31, 25)).mean()
        assert row["ks"] == (ks2d(one.points, sets[1])[0] > 0.05).mean()
        assert row["wd"] == wasserstein(one.points, sets[2], (31, 25)).mean()
        assert (row["nss"], row["pde"]) == (nss(found, one.points), pde(found, one.points))
        assert row["on_error"] == pytest.approx(found[one.load().error].sum() / found.sum(), abs=1e-6)
        assert 0.5 < row["on_error"] < 1  # the map is scored as it is, not confined to the error


def test_keyed_rows_do_not_depend_on_order_or_company() -> None:
    items = [item(k) for k in range(4)]
    there = evaluate(Bell(), items, sets=10).set_index("key")
    back = evaluate(Bell(), items[::-1], sets=10).set_index("key")
    assert there.sort_index().equals(back.sort_index())
    assert evaluate(Bell(), items[2:3], sets=10).set_index("key").loc["i2"].equals(there.loc["i2"])
    assert not evaluate(Bell(), items, sets=10, seed=1)["wd"].equals(there.reset_index()["wd"])


def test_one_click_has_no_ks() -> None:
    (row,) = evaluate(Bell(), [item(0, n=1)], sets=5).to_dict("records")
    assert np.isnan(row["ks"])
    assert row["wd"] > 0


def test_phones_and_pcs() -> None:
    devices = ("pc",) * 12 + ("mobile",) * 12
    rows = compare_devices([item(0, 24, devices), item(1, 24, ("pc",) * 20 + ("mobile",) * 4)])
    (row,) = rows.to_dict("records")
    points = item(0, 24).points
    assert (row["key"], row["pc"], row["mobile"]) == ("i0", 12, 12)
    assert row["wd"] == wasserstein(points[:12], points[None, 12:], (31, 25))[0]
    (wrong,) = compare_devices([item(0, 24, devices)], published=True).to_dict("records")
    doubled = points[:12, [1, 1]]  # the published code takes the column twice
    assert wrong["wd"] == wasserstein(doubled, points[None, 12:], (31, 25))[0] != row["wd"]
    assert wrong["ks"] == row["ks"]


def test_displays_are_compared_with_the_description() -> None:
    text, other = item(0, key="a"), item(0, 20, key="a")
    rows = compare_displays({"Text_Description": [text], "Silhouette_Mask": [other, item(3, key="b")]})
    (row,) = rows.to_dict("records")
    assert (row["display"], row["key"], row["clicks"]) == ("Silhouette_Mask", "a", 20)
    assert row["wd"] == wasserstein(text.points, other.points[None], (31, 25))[0]
    with pytest.raises(DataError, match="no clicks of display mode 'Text_Description'; found Silhouette_Mask"):
        compare_displays({"Silhouette_Mask": [other]})


class Nothing(ClickModel):
    card = ClickModelCard(name="nothing", summary="zeros")

    def maps(self, prepared, queries):
        return [np.zeros(a.error.shape) for a in queries]


class Wrong(Nothing):
    def __init__(self, answer: np.ndarray) -> None:
        self.answer = answer

    def maps(self, prepared, queries):
        return [self.answer]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (np.ones((50, 59)), r"i0: click model nothing returned a map of shape \(50, 59\); expected \(50, 60\)"),
        (np.full(SHAPE, np.nan), "i0: click model nothing returned a map with negative"),
        (-np.ones(SHAPE), "i0: click model nothing returned a map with negative"),
    ],
)
def test_maps_that_break_the_contract_are_the_models_fault(answer: np.ndarray, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        evaluate(Wrong(answer), [item(0)])


def test_what_is_refused() -> None:
    with pytest.raises(ProtocolError, match="draws is 'legacy'"):
        evaluate(Bell(), [item(0)], draws="legacy")
    with pytest.raises(ProtocolError, match="sets is 0"):
        evaluate(Bell(), [item(0)], sets=0)
    aside = ClickItem("aside", "toy", "s", "0", "first", np.array([[50, 3]]), ("",), lambda: scene(0))
    with pytest.raises(DataError, match="toy, aside: a click lies outside the image of 50 x 60 pixels"):
        evaluate(Bell(), [aside])
    with pytest.raises(DataError, match="toy, i0: click model nothing returned a map of zeros"):
        evaluate(Nothing(), [item(0)])
    with pytest.raises(DataError, match="toy, i0: this item has no recorded click"):
        evaluate(Bell(), [item(0, n=0)])
    empty = Scene(np.zeros((*SHAPE, 3), np.uint8), np.zeros(SHAPE, bool), scene(0).mask)
    one = item(0)
    with pytest.raises(DataError, match="the mask of the object is empty"):
        evaluate(Bell(), [ClickItem(one.key, "toy", "s", "0", "first", one.points, one.devices, lambda: empty)])


@needs_shared
def test_distance_beats_uniform_on_real_clicks() -> None:
    items = voc_items(Path(SHARED / "data/clicks/voc_clicks"))
    deep, even = (evaluate(load(card), items, sets=20).mean(numeric_only=True) for card in (CARDS[1], CARDS[0]))
    assert len(items) == 92
    assert deep["nss"] > even["nss"]
    assert deep["wd"] < even["wd"]
