"""Volumes through the real engine: order, memory, geometry, bad users and models, the MedSegFM protocol."""

import csv
import tracemalloc
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

import rclicks
from rclicks.analysis.effort import area
from rclicks.analysis.runs import load_runs
from rclicks.analysis.tables import make_table
from rclicks.cards import UserCard
from rclicks.engine.episode import EpisodeConfig, play
from rclicks.engine.loading import load_user
from rclicks.errors import ProtocolError
from rclicks.interaction import Box, Click, Lasso, Scribble
from rclicks.metrics.surface import element_sizes
from rclicks.models.contract import State
from rclicks.protocol import Protocol
from rclicks.records.store import load_records, load_run, same_records
from rclicks.registry import Registry, load_module
from rclicks.sample import Sample, Target
from rclicks.specs import Spec, parse
from rclicks.users.contract import TrajectorySpec, User
from support import REPOSITORY, SHARED, needs_shared

PLUGINS = REPOSITORY / "tests" / "plugins"
REGISTRY = Registry.discover([PLUGINS])
SPACING = (3.0, 1.0, 1.0)


def ellipsoid(shape: tuple[int, ...], centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


def volume(shape: tuple[int, ...] = (10, 30, 32)) -> Sample:
    a, b = ellipsoid(shape, (4, 10, 10), (3, 8, 7)), ellipsoid(shape, (6, 22, 23), (2, 6, 6))
    image = (100 * a + 50 * b + np.random.default_rng(0).normal(0, 5, shape)).astype(np.float32)
    image.setflags(write=False)
    affine = ((-1.0, 0.0, 0.0, 5.0), (0.0, 1.0, 0.0, -7.0), (0.0, 0.0, 3.0, 2.0), (0.0, 0.0, 0.0, 1.0))
    return Sample("toy", "v", image, (Target("1", (a,)), Target("2", (b,))), SPACING, affine)


def model(name: str, **options: object) -> object:
    entry = REGISTRY.find("model", name)
    return load_module(entry).load(entry.card, **options)


def calls() -> list[list[int]]:
    """What the toy models were given: for each call the round of each state."""
    found = load_module(REGISTRY.find("model", "ball")).CALLS
    found.clear()
    return found


def rules(
    clicks: int = 4, batch_size: int = 1, metrics: tuple[str, ...] = ("iou", "dice"), **changes: object
) -> EpisodeConfig:
    return EpisodeConfig("m", Protocol.named("default", clicks=clicks), metrics, 42, batch_size, "unit", **changes)


def robot(protocol: Protocol | None = None) -> User:
    return load_user(REGISTRY, Spec("robot"), protocol or Protocol())


class Script(User):
    """Gives a list of interactions."""

    card = UserCard(name="script", summary="a list", dims=(3,), prompts=("click", "box", "scribble", "lasso"))

    def __init__(self, answers: dict[str, list]) -> None:
        self.answers = answers

    def trajectories(self, sample: Sample, target: Target) -> list[TrajectorySpec]:
        return [TrajectorySpec(group=name) for name in self.answers]

    def next(self, view: object) -> object:
        own = self.answers[view.trajectory.group]
        return own[len(view.history)] if len(view.history) < len(own) else None


def test_trajectories_of_a_volume_are_played_one_after_the_other() -> None:
    users = [("robot", robot()), ("groups", load_user(REGISTRY, parse("sampled:model=distance,groups=3"), Protocol()))]
    seen = calls()
    one = play(model("ball"), volume(), users, rules())
    assert seen == [[1], [2], [3], [4]] * 8, (
        "two objects, base rule and three groups, each from its first click to its last"
    )
    assert one.decode_calls == len(one.rows) == len(seen)
    assert not one.failures
    assert {(r["object"], r["user"], r["group"]) for r in one.rows} == {
        (o, *u) for o in "12" for u in [("robot", ""), ("groups", "G1"), ("groups", "G2"), ("groups", "G3")]
    }
    seen.clear()
    many = play(model("ball-batch"), volume(), users, rules(batch_size=3))
    assert [len(states) for states in seen] == [3] * len(seen)
    assert seen[0] == [1, 1, 1]
    keys = ("object", "user", "group", "round", "z", "y", "x", "iou", "dice")
    assert [[r[k] for k in keys] for r in many.rows] == [[r[k] for k in keys] for r in one.rows]


def test_distances_are_in_mm_by_default_and_in_voxels_under_compat() -> None:
    """A slab of few thick slices beside a smaller cube: which is deeper depends on the unit."""
    slab, cube = np.zeros((12, 40, 40), bool), np.zeros((12, 40, 40), bool)
    slab[1:4, 2:18, 2:38] = True  # 3 slices of 6 mm: half thickness 2 voxels or 12 mm
    cube[5:10, 22:33, 20:31] = True  # 5 slices: 3 voxels or, across, 6 mm
    sample = Sample("toy", "v", np.zeros(slab.shape, np.float32), (Target("1", (slab | cube,)),), (6.0, 1.0, 1.0))
    clicks = {}
    for name in ("default", "compat"):
        protocol = Protocol.named(name, clicks=1)
        (row,) = play(model("ball"), sample, [("robot", robot(protocol))], replace(rules(), protocol=protocol)).rows
        clicks[name] = (row["z"], row["y"], row["x"])
    assert slab[clicks["default"]]
    assert cube[clicks["compat"]]


def test_base_rule_is_the_deepest_voxel_by_brute_force() -> None:
    sample = volume()
    truth = sample.targets[0].masks[0]
    rows = [r for r in play(model("ball"), sample, [("robot", robot())], rules(6)).rows if r["object"] == "1"]
    mask = np.zeros_like(truth)
    grid = np.ogrid[tuple(slice(n) for n in truth.shape)]
    clicked: list[tuple[int, ...]] = []
    for row in rows:
        depths = []
        for error in (truth & ~mask, mask & ~truth):
            depth = ndimage.distance_transform_edt(np.pad(error, 1), sampling=SPACING)[1:-1, 1:-1, 1:-1]
            for point in clicked:
                depth[point] = 0
            depths.append(depth)
        positive = depths[0].max() > depths[1].max()
        depth = depths[0] if positive else depths[1]
        point = tuple(map(int, np.unravel_index(depth.argmax(), depth.shape)))
        assert (row["z"], row["y"], row["x"], row["positive"]) == (*point, positive)
        clicked.append(point)
        mask[sum(((g - p) * s) ** 2 for g, p, s in zip(grid, point, SPACING, strict=True)) <= 16] = positive
        assert row["iou"] == pytest.approx((mask & truth).sum() / (mask | truth).sum())


def test_all_kinds_are_recorded_so_that_they_can_be_played_again() -> None:
    line = Scribble((4, 10, 5), np.eye(4, dtype=bool)[None])
    patch = Lasso((6, 20, 20), np.array([[[1, 1, 0], [1, 1, 1]]], bool), positive=False)
    given = [Click((4, 10, 10)), Box((4, 3, 4), (4, 16, 15)), line, patch]
    sample = replace(volume(), targets=volume().targets[:1])
    rows = play(model("ball-session"), sample, [("script", Script({"": given}))], rules()).rows
    assert [r["kind"] for r in rows] == ["click", "box", "scribble", "lasso"]
    assert [r["positive"] for r in rows] == [True, True, True, False]
    for row, drawn in zip(rows[2:], given[2:], strict=True):
        low, high = (row["z"], row["y"], row["x"]), (row["z1"], row["y1"], row["x1"])
        shape = tuple(b - a + 1 for a, b in zip(low, high, strict=True))
        bits = np.unpackbits(np.frombuffer(row["region"], np.uint8), count=int(np.prod(shape)))
        assert type(drawn)(low, bits.reshape(shape).astype(bool), row["positive"]) == drawn
    assert "region" not in rows[0]
    assert "region" not in rows[1]


@pytest.mark.parametrize(
    "bad",
    [
        Click((10, 0, 0)),
        Click((0, -1, 0)),
        Click((3, 3)),
        Box((0, 0, 0), (0, 30, 3)),
        Box((4, 5, 5), (4, 4, 9)),
        Scribble((0, 0, 30), np.ones((1, 1, 3), bool)),
        Lasso((2, 2, 2), np.zeros((1, 3, 3), bool)),
    ],
)
def test_an_interaction_outside_fails_its_trajectory_only(bad: object) -> None:
    sample = replace(volume(), targets=volume().targets[:1])
    script = Script({"good": [Click((4, 10, 10))] * 2, "bad": [Click((4, 10, 10)), bad]})
    episode = play(model("ball-session"), sample, [("script", script)], rules())
    assert {r["group"] for r in episode.rows} == {"good"}
    (failure,) = episode.failures
    assert (failure["error"], failure["group"]) == ("ProtocolError", "bad")
    assert "does not lie in an image of shape (10, 30, 32)" in failure["message"] or "no pixel" in failure["message"]


def test_an_object_missing_from_every_slice() -> None:
    sample = volume()
    empty = Target("9", (np.zeros(sample.shape, bool),))
    episode = play(model("ball"), replace(sample, targets=(empty, *sample.targets)), [("robot", robot())], rules())
    assert [(f["object"], f["error"]) for f in episode.failures] == [("9", "EmptyTarget")]
    assert {r["object"] for r in episode.rows} == {"1", "2"}


def test_probabilities_are_as_the_card_says() -> None:
    class Liar(type(model("ball"))):
        def segment(self, embedding: object, states: list[State]) -> list[State]:
            return [replace(s, probability=self.wrong) for s in super().segment(embedding, states)]

    for name, wrong, words in (
        ("ball", None, "no probability map"),
        ("ball-session", np.zeros((10, 30, 32), np.float32), "although its card says probabilities=False"),
    ):
        liar = Liar(REGISTRY.find("model", name).card, 4)
        liar.wrong = wrong
        failures = play(liar, volume(), [("robot", robot())], rules()).failures
        assert {f["error"] for f in failures} == {"InvalidPrediction"}
        assert words in failures[0]["message"]


def test_peak_memory_is_less_than_three_volumes() -> None:
    """Numbers of 4 bytes: the image itself, masks, probabilities, users, surfaces, click maps, all together."""
    shape = (96, 160, 160)
    truth = ellipsoid(shape, (50, 80, 80), (30, 50, 45))
    users = [("robot", robot()), ("groups", load_user(REGISTRY, parse("sampled:model=distance,groups=2"), Protocol()))]
    metrics = ("iou", "dice", "nsd-surfel", "hd95-surfel")
    play(model("ball"), volume(), users, rules(1, metrics=metrics))  # imports take memory too
    tracemalloc.start()
    try:
        image = np.zeros(shape, np.float32)
        targets = tuple(Target(str(i), (truth,)) for i in range(2))
        sample = Sample("toy", "v", image, targets, (2.0, 1.0, 1.0))
        episode = play(model("ball", radius=30), sample, users, rules(3, metrics=metrics))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(episode.rows) == 2 * 3 * 3
    assert peak < 3 * image.nbytes, f"{peak / image.nbytes:.2f} volumes"


def hippocampus(**changes: object) -> dict[str, object]:
    root = SHARED / "data" / "volumes" / "hippocampus"
    return {"name": "hippocampus", "root": str(root), "options": {"cases": "manifest.csv@test"} | changes}


@needs_shared
def test_records_do_not_depend_on_workers_and_masks_lie_where_the_image_does(tmp_path: Path) -> None:
    users = ["robot", {"name": "sampled", "options": {"model": "distance", "groups": 2}}]
    common = {"models": ["ball-session"], "datasets": [hippocampus()], "users": users, "plugins": [PLUGINS]}
    for workers in (1, 2):
        out = {"out": tmp_path / f"{workers}", "save_masks": workers == 2}
        rclicks.evaluate("quickstart", **common, metrics=[], clicks=3, limit=3, workers=workers, **out)
    one, two = (load_records(tmp_path / f"{w}") for w in (1, 2))
    assert same_records(one, two)
    assert len(one) == 3 * 2 * 3 * 3
    assert {"iou", "dice", "nsd-surfel", "hd95-surfel"} <= set(one.columns[one.notna().any()])
    assert one["biou"].isna().all()
    assert load_run(tmp_path / "1")["models"] == {"ball-session": {"licence": "MIT", "options": {"radius": 4}}}
    assert not (tmp_path / "1" / "masks").exists()
    files = sorted((tmp_path / "2" / "masks").rglob("*.nii.gz"))
    assert len(files) == 3 * 2 * 3
    last = two[two["round"] == 3]
    for file in files:
        case, name = file.parent.name, file.name.removesuffix(".nii.gz").removesuffix("_0")
        kept, label = nibabel.load(file), nibabel.load(Path(hippocampus()["root"]) / "labels" / f"{case}.nii.gz")
        assert np.array_equal(kept.affine, label.affine)
        mask, truth = np.asarray(kept.dataobj) > 0, np.asarray(label.dataobj) == int(name[0])
        group = "" if name.endswith("robot") else name[-2:]
        rows = last[(last["sample"] == case) & (last["object"] == name[0]) & (last["group"] == group)]
        assert (mask & truth).sum() / (mask | truth).sum() == pytest.approx(rows["iou"].item())


@needs_shared
def test_a_run_refuses_what_does_not_fit_volumes(tmp_path: Path) -> None:
    def run(**changes: object) -> object:
        given = {
            "models": ["ball"],
            "datasets": [hippocampus()],
            "users": ["robot"],
            "metrics": [],
            "plugins": [PLUGINS],
        }
        return rclicks.evaluate("quickstart", **given | {"limit": 1, "clicks": 1} | changes)

    with pytest.raises(ProtocolError, match="biou is not defined for volumes; allowed: iou, dice"):
        run(metrics=["iou", "biou"])
    with pytest.raises(ProtocolError, match="toy segments images, the data sets contain volumes"):
        run(models=["toy"])
    with pytest.raises(ProtocolError, match="images or volumes, not both"):
        run(datasets=[hippocampus(), "quickstart"])
    with pytest.raises(ProtocolError, match="clickability-mini does not support volumes"):
        run(users=["sampled:model=clickability-mini"])
    with pytest.raises(ProtocolError, match="is left out only with --skip-missing"):
        run(users=["robot", "sampled:model=clickability-mini"])
    notes = run(users=["robot", "sampled:model=clickability-mini"], skip_missing=True).attrs["notes"]
    assert any("does not support volumes" in note for note in notes)


def surface_by_hand(truth: np.ndarray, guess: np.ndarray, spacing: tuple[float, ...], tolerance: float) -> float:
    """NSD with surface elements between voxels, by distance transforms of the whole frame (Nikolov et al. 2021)."""
    found = []
    for mask in (truth, guess):
        framed = np.pad(mask, 1).astype(int)
        corners = [
            framed[tuple(slice(c, n - 1 + c) for c, n in zip(corner, framed.shape, strict=True))]
            for corner in np.ndindex(2, 2, 2)
        ]
        code = sum(part << (7 - i) for i, part in enumerate(corners))
        found.append(((code > 0) & (code < 255), element_sizes(spacing)[code]))  # the areas have golden values
    (a, a_size), (b, b_size) = found
    to_a, to_b = (ndimage.distance_transform_edt(~s, sampling=spacing) for s in (a, b))
    near = a_size[a & (to_b <= tolerance)].sum() + b_size[b & (to_a <= tolerance)].sum()
    return near / (a_size[a].sum() + b_size[b].sum())


@needs_shared
def test_medsegfm_protocol_equals_a_hand_computed_reference(tmp_path: Path) -> None:
    """A recorded sequence of predictions on real volumes, through the protocol file, against plain sums."""
    root = Path(hippocampus()["root"])
    data = rclicks.load_dataset("hippocampus", root, cases="manifest.csv@test", labels=1)
    rng = np.random.default_rng(5)
    tapes, dsc, nsd = {}, [], []
    for index in range(4):
        sample = data[index]
        truth = sample.targets[0].masks[0]
        masks = [np.roll(truth, 14, axis=1), ndimage.binary_dilation(truth, iterations=3)]
        masks += [ndimage.binary_erosion(truth, iterations=int(rng.integers(1, 3)))]
        masks += [np.roll(truth, int(rng.integers(1, 4)), 2), truth & (rng.random(truth.shape) > 0.2)]
        masks += [truth ^ (rng.random(truth.shape) > 0.995)]
        if index == 3:
            masks[2:] = [truth] * 4  # perfect after the second click: nobody clicks any more, and the score stands
        tapes[sample.id] = np.stack(masks)
        overlaps = [2 * (m & truth).sum() / (m.sum() + truth.sum()) for m in masks]
        surfaces = [surface_by_hand(truth, m, sample.spacing, 2.0) for m in masks]
        dsc.append(overlaps)
        nsd.append([s if d > 0.2 else 0.0 for s, d in zip(surfaces, overlaps, strict=True)])
    assert np.min(dsc) <= 0.2 < np.max(dsc), "the forced zero is not in this sequence"
    np.savez_compressed(tmp_path / "tape.npz", **tapes)
    tape = {"name": "tape", "options": {"file": str(tmp_path / "tape.npz")}, "label": "tape"}
    run = {"models": [tape], "datasets": [hippocampus(labels=1)], "limit": 4, "plugins": [PLUGINS]}
    frame = rclicks.evaluate("medsegfm", **run, out=tmp_path / "run")
    assert frame["kind"].tolist().count("box") == 4
    assert len(frame) == 3 * 6 + 3
    (row,) = make_table(load_runs([tmp_path / "run"]), "volumes").frame.to_dict("records")
    for name, scores in (("DSC", np.array(dsc)), ("NSD", np.array(nsd))):
        clicks = scores[:, 1:]
        by_hand = (clicks[:, 0] / 2 + clicks[:, 1] + clicks[:, 2] + clicks[:, 3] + clicks[:, 4] / 2).mean()
        assert row[f"{name}-AUC"] == pytest.approx(by_hand, abs=1e-12)
        assert row[f"{name} final"] == pytest.approx(clicks[:, 4].mean(), abs=1e-12)
        assert row[f"{name}@box"] == pytest.approx(scores[:, 0].mean(), abs=1e-12)


@needs_shared
def test_published_areas() -> None:
    golden = SHARED / "reference" / "nninteractive" / "golden" / "auc_expected.csv"
    rows = list(csv.DictReader(golden.open()))
    assert len(rows) >= 6
    for row in rows:
        clicks = np.array([[float(row[f"v{k}"]) for k in range(2, 7)]])
        assert area(clicks)[0] == pytest.approx(float(row["auc_clicks"]), abs=1e-9)
        assert clicks[0, -1] == float(row["final"])
