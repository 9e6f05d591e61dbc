"""The sampled user: published trajectories to the bit, groups, replicates, shared maps, and odd maps."""

import json
from pathlib import Path

import numpy as np
import pytest

from rclicks.clickability.contract import ClickMapQuery
from rclicks.engine.episode import EpisodeConfig, play
from rclicks.engine.loading import ClickModelPool, load_model, load_user
from rclicks.errors import DataError, ProtocolError, UnknownNameError, WeightsError
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.sample import Sample, Target
from rclicks.specs import parse
from support import REPOSITORY, golden, golden_arrays, needs_shared

PLUGINS = REPOSITORY / "tests" / "plugins"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover([PLUGINS])


def golden_truth(name: str) -> Sample:
    values = golden_arrays("behaviour/grabcut_masks")[name]
    image = np.zeros((*values.shape, 3), np.uint8)
    return Sample("golden", name, image, (Target("0", (values > 128,), values == 128),))


def two_discs(size: int = 64) -> Sample:
    yy, xx = np.mgrid[0:size, 0:size]
    masks = [(yy - size // 2) ** 2 + (xx - c) ** 2 <= 100 for c in (size // 4, 3 * size // 4)]
    targets = tuple(Target(str(i), (m,)) for i, m in enumerate(masks))
    return Sample("toy", "discs", np.zeros((size, size, 3), np.uint8), targets)


def played(
    registry: Registry, sample: Sample, *users: str, rules: Protocol | None = None, radius: int = 4, seed: int = 42
):
    rules = rules or Protocol(clicks=4)
    pool = ClickModelPool(registry, rules)
    named = [(u, load_user(registry, parse(u), rules, pool)) for u in users]
    model = load_model(registry, parse(f"toy:radius={radius}"))
    episode = play(model, sample, named, EpisodeConfig("toy", rules, ("iou", "biou"), seed, 1, "u"))
    return episode, pool


@needs_shared
def test_published_trajectories_are_golden(registry: Registry) -> None:
    items = [i for i in golden("behaviour/trajectories")["items"] if "prob_low" in i]
    assert len(items) == 16
    slices = {"sampled:model=centroid,groups=[0,0.1,0.4,0.5,0.9,1]": {0.0: "G1", 0.4: "G3", 0.9: "G5"}}
    rules = Protocol.named("compat")
    for mask in sorted({i["mask"] for i in items}):
        users = (*slices, "sampled:model=centroid,groups=1")
        episode, _ = played(registry, golden_truth(mask), *users, rules=rules, radius=40)
        assert not episode.failures
        for item in (i for i in items if i["mask"] == mask):
            whole = item["prob_high"] - item["prob_low"] == 1
            group = "" if whole else slices[users[0]][item["prob_low"]]
            rows = [r for r in episode.rows if r["group"] == group]
            assert item["radius"] == 40
            assert [[r["y"], r["x"], int(r["positive"])] for r in rows] == item["clicks_row_col_positive"], (
                mask,
                group,
            )
            assert [r["iou"] for r in rows] == pytest.approx(item["iou"], abs=1e-12)
            assert [r["biou"] for r in rows] == pytest.approx(item["boundary_iou"], abs=1e-12)


def test_later_objects_of_an_image_go_on_in_the_published_sequence(registry: Registry) -> None:
    rules = Protocol.named("compat", clicks=3)
    rows = played(registry, two_discs(), "sampled:model=uniform,groups=1", rules=rules, radius=2)[0].rows
    numbers = np.random.RandomState(42).random_sample(6)
    for i, target in enumerate(two_discs().targets):
        pixels = np.argwhere(target.masks[0])
        first = next(r for r in rows if r["object"] == target.id and r["round"] == 1)
        assert [first["y"], first["x"]] == pixels[int(numbers[3 * i] * len(pixels))].tolist()


def test_ten_groups_and_replicates_are_seats_and_G10_lies_deeper_than_G1(registry: Registry) -> None:
    rows = played(registry, two_discs(), "sampled:model=distance,groups=10,replicates=5")[0].rows
    first = [r for r in rows if r["round"] == 1 and r["object"] == "0"]
    assert len(first) == 50
    assert {(r["group"], r["replicate"]) for r in first} == {(f"G{g}", k) for g in range(1, 11) for k in range(5)}
    assert len({(r["y"], r["x"]) for r in first}) > 30  # fresh numbers for each
    depth = {g: np.mean([np.hypot(r["y"] - 32, r["x"] - 16) for r in first if r["group"] == g]) for g in ("G1", "G10")}
    assert depth["G1"] > 8
    assert depth["G10"] < 4


def test_records_do_not_depend_on_who_else_plays(registry: Registry) -> None:
    sampled = "sampled:model=distance,groups=3"
    alone = played(registry, two_discs(), sampled)[0].rows
    other = played(registry, two_discs(), "robot", "sampled:model=distance,groups=1,replicates=2", sampled)[0].rows

    def clicks(rows: list) -> list:
        return [(r["object"], r["group"], r["round"], r["y"], r["x"]) for r in rows if r["user"] == sampled]

    assert clicks(alone) == clicks(other)
    assert clicks(alone) != clicks(played(registry, two_discs(), sampled, seed=43)[0].rows)


def test_first_round_maps_are_computed_once_an_object_for_all_users(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    lines = [f"toy,discs,{o},p{i},1,32,{16 + 32 * o},1" for o in (0, 1) for i in range(4)]
    file.write_text("dataset,sample,object,user,round,y,x,positive\n" + "\n".join(lines) + "\n")
    users = (
        "sampled:model=centroid,groups=10",
        "sampled:model=centroid,groups=1,replicates=3",
        f"sampled:model=centroid,groups=1,match_human_count={file}",
    )
    episode, pool = played(registry, two_discs(), "robot", *users)
    assert not episode.failures
    (source,) = pool.sources
    assert source.counts.first_maps == 2
    later = sum(r["round"] > 1 and r["user"].startswith("sampled") for r in episode.rows)
    assert source.counts.later_maps <= later
    like = [r for r in episode.rows if "match_human_count" in r["user"]]
    assert len(like) == 8  # as many one-click trajectories as there are people
    assert {r["round"] for r in like} == {1}


def test_without_mass_the_base_rule_places_the_click(registry: Registry) -> None:
    for rules in (Protocol(clicks=3), Protocol.named("compat", clicks=3)):
        both = played(registry, two_discs(), "robot", "sampled:model='centroid:answer=zeros',groups=1", rules=rules)
        rows = both[0].rows
        robot = [(r["object"], r["y"], r["x"]) for r in rows if r["user"] == "robot"]
        assert [(r["object"], r["y"], r["x"]) for r in rows if r["user"] != "robot"] == robot


@pytest.mark.parametrize(
    ("answer", "words"), [("nan", "infinite or NaN"), ("negative", "negative"), ("small", "shape")]
)
def test_a_broken_map_fails_the_sampled_user_only(registry: Registry, answer: str, words: str) -> None:
    episode, _ = played(registry, two_discs(), "robot", f"sampled:model='centroid:answer={answer}',groups=2")
    assert len(episode.failures) == 4
    assert all(words in f["message"] for f in episode.failures)
    assert {r["user"] for r in episode.rows} == {"robot"}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ("groups=0", ProtocolError, "groups is 0"),
        ("replicates=0", ProtocolError, "replicates is 0"),
        ("rounds=1.5", ProtocolError, "rounds is 1.5"),
        ("match_human_count=absent.csv", DataError, "does not exist"),
        ("match_human_count=x.csv,replicates=2", ProtocolError, "leave out `replicates`"),
        ("model=distanse", UnknownNameError, "distance"),
        ("model='distance:gamma=2'", ProtocolError, "no option 'gamma'"),
        ("checkpoint=weights.pth", WeightsError, "distance has no weights"),
    ],
)
def test_bad_options(registry: Registry, options: str, error: type, words: str) -> None:
    model = "" if "model" in options else ",model=distance"
    with pytest.raises(error, match=words):
        load_user(registry, parse(f"sampled:{options}{model}"), Protocol())


def test_an_error_pixel_is_never_clicked_twice_and_ignored_pixels_never(registry: Registry) -> None:
    yy, xx = np.mgrid[0:20, 0:20]
    mask, band = (abs(yy - 10) <= 1) & (abs(xx - 10) <= 1), (xx == 10)
    sample = Sample("toy", "tiny", np.zeros((20, 20, 3), np.uint8), (Target("0", (mask,), band),))
    rows = played(registry, sample, "sampled:model=uniform,groups=2", rules=Protocol(clicks=6), radius=0)[0].rows
    for group in ("G1", "G2"):
        points = [(r["y"], r["x"]) for r in rows if r["group"] == group]
        assert len(points) == len(set(points)) > 1
        assert all(mask[p] and not band[p] for p in points)


def test_weights_of_ones_own_are_used_and_recorded(registry: Registry, tmp_path: Path) -> None:
    shipped = load_user(registry, parse("sampled"), Protocol())
    assert shipped.identity()["click_model"]["weights"].startswith("clickability-mini.json@")
    own = tmp_path / "own.json"
    cues = dict.fromkeys(("depth", "spread", "height", "row", "column"), 0.0)
    own.write_text(json.dumps({"format": "rclicks cue model 1", "weights": cues}))
    user = load_user(registry, parse(f"sampled:checkpoint={own}"), Protocol())
    assert user.identity()["click_model"]["weights"].startswith("own.json@")
    mask = two_discs().targets[0].masks[0]
    (even,) = user.source.maps(two_discs(), [ClickMapQuery(mask, mask)])
    assert np.ptp(even[mask]) == 0  # without weights every pixel is as likely
    with pytest.raises(ProtocolError, match="write `checkpoint` beside `options`"):
        load_user(registry, parse({"name": "sampled", "options": {"checkpoint": str(own)}}), Protocol())
    with pytest.raises(WeightsError, match=r"absent.json of clickability-mini does not exist"):
        load_user(registry, parse("sampled:checkpoint=absent.json"), Protocol())
