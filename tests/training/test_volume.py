"""Training 3-D networks: prompts, the play as the session sees it, the loss, resuming, cases, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("dynamic_network_architectures")
nibabel = pytest.importorskip("nibabel")

import rclicks  # noqa: E402
from rclicks.adapters.nninteractive import prompts  # noqa: E402
from rclicks.adapters.nninteractive.folder import CHECKPOINT, Design  # noqa: E402
from rclicks.adapters.nninteractive.training import (  # noqa: E402
    Example,
    Play,
    Recipe,
    VolumeTask,
    read_objects,
    segmentation_loss,
    train_volume,
)
from rclicks.errors import DataError, ProtocolError  # noqa: E402
from rclicks.interaction import Box, Click, Lasso, Scribble, check_inside  # noqa: E402
from rclicks.models.weights import read_checkpoint  # noqa: E402
from rclicks.sample import Mask  # noqa: E402
from rclicks.training.loop import Progress, Settings  # noqa: E402
from support import SHARED, needs_shared  # noqa: E402

HIPPOCAMPUS = SHARED / "data/volumes/hippocampus"
DESIGN = Design(features=(4, 8), strides=(1, 2), patch=(50, 50, 50))
RECIPE = Recipe(design=DESIGN, small=24, lr=2e-2)
SETTINGS = Settings(epochs=3, batch_size=2, seed=1, workers=1)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def blob(seed: int, shape: tuple[int, int, int] = (20, 24, 22)) -> Example:
    """Return a bright ellipsoid in noise."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    centre, radii = rng.uniform(8, 12, 3), rng.uniform(4, 7, 3)
    mask = (((grid - centre) / radii) ** 2).sum(-1) <= 1
    image = (mask * 2 + rng.normal(0, 0.4, shape)).astype(np.float32)
    return Example(f"blob{seed}", image, mask)


BLOBS = [blob(i) for i in range(4)]


def noisy(seed: int) -> Mask:
    """Return a mask of a few odd pieces, one of them a single voxel."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((9, 12, 10), bool)
    for _ in range(int(rng.integers(1, 4))):
        low = rng.integers(0, (9, 12, 10))
        mask[tuple(slice(a, a + b) for a, b in zip(low, rng.integers(1, 6, 3), strict=True))] = True
    return mask


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_prompts_lie_where_they_should(shape: int, seed: int) -> None:
    mask = noisy(shape)

    def rng() -> np.random.Generator:
        return np.random.default_rng(seed)

    for make in (prompts.random_click, prompts.random_box, prompts.random_lasso, prompts.random_scribble):
        made = make(mask, rng())
        check_inside(made, mask.shape)
        assert made.positive
        assert make(mask, rng()) == made
    click = prompts.random_click(mask, rng())
    assert mask[click.point]
    scribble = prompts.random_scribble(mask, rng())
    assert mask[tuple(scribble.points.T)].all()
    lasso, box = prompts.random_lasso(mask, rng()), prompts.random_box(mask, rng())
    for drawn in (lasso, scribble):
        assert 1 in drawn.mask.shape  # of one slice
        for axis in range(3):  # the crop touches its sides
            sides = drawn.mask.any(tuple(a for a in range(3) if a != axis))
            assert sides[0]
            assert sides[-1]
    assert any(box.low[a] == box.high[a] and np.take(mask, box.low[a], a).any() for a in range(3))
    window = lasso.window
    assert (lasso.mask & mask[window]).sum() > 0


def test_a_lasso_holds_the_whole_section_and_a_box_is_at_most_one_voxel_short() -> None:
    mask = BLOBS[0].mask
    for seed in range(40):
        lasso = prompts.random_lasso(mask, np.random.default_rng(seed))
        axis = lasso.mask.shape.index(1)
        whole = np.zeros_like(mask)
        whole[lasso.window] = lasso.mask
        section = np.take(mask, lasso.low[axis], axis)
        assert not (section & ~np.take(whole, lasso.low[axis], axis)).any()
        box = prompts.random_box(mask, np.random.default_rng(seed))
        flat = [a for a in range(3) if box.low[a] == box.high[a]]
        if len(flat) > 1:
            continue  # a slice of the rim, where a section is one voxel wide
        (axis,) = flat
        places = np.argwhere(np.take(mask, box.low[axis], axis))
        low, high = (np.delete(corner, axis) for corner in (box.low, box.high))
        assert (low <= places.min(0) + 1).all()
        assert (low >= places.min(0) - 3).all()
        assert (high >= places.max(0) - 1).all()
        assert (high <= places.max(0) + 3).all()


def test_corrections_go_to_the_largest_piece_with_its_sign() -> None:
    truth = np.zeros((12, 20, 20), bool)
    truth[3:9, 3:9, 3:9] = True
    answer = truth.copy()
    answer[3:9, 3:9, 3:5] = False  # 72 voxels missing
    answer[5:7, 13:16, 13:16] = True  # 18 too many
    kinds = set()
    for seed in range(60):
        made = prompts.later_prompt(truth, answer, np.random.default_rng(seed))
        assert made.positive
        points = np.array([made.point]) if isinstance(made, Click) else made.points
        assert (truth & ~answer)[tuple(points.T)].all()
        kinds.add(made.kind)
    assert kinds == {"click", "scribble"}
    answer[4:8, 12:18, 12:18] = True  # now 144 too many
    made = prompts.later_prompt(truth, answer, np.random.default_rng(0))
    assert not made.positive
    perfect = prompts.later_prompt(truth, truth, np.random.default_rng(0))
    assert perfect.positive
    assert truth[perfect.point]


def test_first_prompts_are_of_all_kinds_about_as_often_as_said() -> None:
    kinds = [prompts.first_prompt(BLOBS[0].mask, np.random.default_rng(i)).kind for i in range(400)]
    for kind, share in prompts.KINDS.items():
        assert abs(kinds.count(kind) / 400 - share) < 0.08


def test_a_play_sees_and_writes_what_the_session_does() -> None:
    play = Play(BLOBS[0].image, BLOBS[0].mask, np.random.default_rng(0))
    play.interactions = [Click((10, 10, 10)), Box((4, 3, 5), (4, 8, 16))]
    assert play.centre == (4, 6, 11)  # round(4.5), round((3 + 9) / 2), round((5 + 17) / 2)
    view = play.view((24, 24, 24))
    assert view.shape == (8, 24, 24, 24)
    assert BLOBS[0].image.shape == (20, 24, 22)
    np.testing.assert_array_equal(view[0, 12 - 4 :, 12 - 6 :, 12 - 11 : 23], BLOBS[0].image[:16, :18, :22])
    assert (view[:, :, :, 23:] == 0).all()
    assert (view[:, : 12 - 4] == 0).all()
    assert view[2, 12, 12, 12] == pytest.approx(1, abs=1e-3)  # the box, positive, newest
    assert view[4, 12 + 6, 12 + 4, 12 - 1] == pytest.approx(0.9, abs=1e-3)  # the click before it
    assert view[[1, 3, 5, 6, 7]].max() == 0
    play.answer[:] = True
    patch = np.zeros((24, 24, 24), bool)
    play.take(patch)
    assert not play.answer[:16, :18, :22].any()
    assert play.answer[16:].all()
    for drawn in (Lasso((7, 2, 3), np.ones((1, 4, 7), bool)), Scribble((7, 2, 3), np.ones((1, 4, 7), bool))):
        play.interactions.append(drawn)
        assert play.centre == (8, 4, 6)  # 7.5 and 6.5 go to the even neighbour


def test_the_loss_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    scores, wanted = rng.normal(size=(2, 2, 3, 4, 5)), rng.integers(0, 2, (2, 3, 4, 5))
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    entropy = -np.log(np.where(wanted == 1, shares[:, 1], shares[:, 0])).mean()
    dice = [(2 * (s * t).sum() + 1) / (s.sum() + t.sum() + 1) for s, t in zip(shares[:, 1], wanted, strict=True)]
    found = segmentation_loss(torch.from_numpy(scores), torch.from_numpy(wanted))
    assert float(found) == pytest.approx(entropy + 1 - np.mean(dice), rel=1e-9)


def test_items_follow_their_random_numbers_and_leave_the_volume_alone() -> None:
    before = [b.image.copy() for b in BLOBS]
    task = VolumeTask(BLOBS, BLOBS[:1], RECIPE, SETTINGS, steps=3)
    assert task.size == 6
    first, again, other = (task.item(0, np.random.default_rng(s)) for s in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    for image, mask, _ in (first, other):  # changed together: the object is still the bright part
        assert image[mask].mean() > image[~mask].mean() + 1
    assert all(np.array_equal(a, b.image) for a, b in zip(before, BLOBS, strict=True))


@pytest.mark.slow
def test_a_training_learns_and_resumes_bit_by_bit(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def pull(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (1, 3) and progress.row is None:
            raise Stop

    def run(name: str, *, resume: bool = False, **options: object) -> tuple[dict[str, float], ...]:
        folder = tmp_path / name
        return train_volume(BLOBS, BLOBS[:1], RECIPE, SETTINGS, folder, steps=5, resume=resume, **options).rows

    whole = run("whole")
    assert whole[-1]["loss"] < 0.9 * whole[0]["loss"]
    with pytest.raises(Stop):
        run("cut", report=pull)
    assert not (tmp_path / "cut" / CHECKPOINT).exists()  # a folder that is half trained is none
    assert run("cut", resume=True) == whole
    a, b = (read_checkpoint(tmp_path / name / CHECKPOINT)["network_weights"] for name in ("whole", "cut"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    best = read_checkpoint(tmp_path / "whole/training/best.pth")
    assert all(torch.equal(a[k], best[k]) for k in a)
    other = replace(RECIPE, lr=1e-3)
    with pytest.raises(ProtocolError, match="different recipe"):
        train_volume(BLOBS, BLOBS[:1], other, SETTINGS, tmp_path / "cut", steps=5, resume=True)
    with pytest.raises(ProtocolError, match="different objects"):
        train_volume(BLOBS[:2], BLOBS[:1], RECIPE, SETTINGS, tmp_path / "cut", steps=5, resume=True)


@needs_shared
def test_objects_are_the_labels_of_real_volumes() -> None:
    sample = rclicks.load_dataset("hippocampus", HIPPOCAMPUS)[0]
    objects = read_objects([sample])
    assert [o.name for o in objects] == ["hippocampus_001/1", "hippocampus_001/2"]
    assert [int(o.mask.sum()) for o in objects] == [1324, 1624]  # of the manifest
    assert objects[0].image.shape == objects[0].mask.shape == (35, 51, 35)
    assert objects[0].image.mean() == pytest.approx(0, abs=1e-5)
    with pytest.raises(DataError, match="no object"):
        read_objects([rclicks.load_dataset("hippocampus", HIPPOCAMPUS, labels=7)[0]])


def save(folder: Path, kind: str, name: str, values: np.ndarray) -> None:
    (folder / kind).mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / kind / f"{name}.nii.gz")


def test_bad_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="is trained on volumes"):
        rclicks.train("nninteractive", "GrabCut", tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        rclicks.train("nninteractive", f"volumes:root={tmp_path}", tmp_path / "out")
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="holds no volume"):
        rclicks.train("nninteractive", f"volumes:root={tmp_path}", tmp_path / "out")
    save(tmp_path, "images", "a", np.ones((9, 9, 9), np.float32))
    save(tmp_path, "labels", "b", np.ones((9, 9, 9), np.uint8))
    with pytest.raises(DataError, match="no label map"):
        rclicks.train("nninteractive", f"volumes:root={tmp_path}", tmp_path / "out")
    save(tmp_path, "labels", "a", np.ones((9, 9, 9), np.uint8))
    with pytest.raises(DataError, match=r"volumes/a.*constant"):
        rclicks.train("nninteractive", f"volumes:root={tmp_path}", tmp_path / "out")
    save(tmp_path, "labels", "a", np.ones((9, 9, 8), np.uint8))
    with pytest.raises(DataError, match="shape"):
        rclicks.train("nninteractive", f"volumes:root={tmp_path}", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"patch": 48}, "an integer from 49"),
        ({"features": ()}, "2 to 8 integers"),
        ({"steps": 0}, "an integer from 1"),
        ({"threads": 0}, "at least 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"lr": 0.0}, "learning rate"),
        ({"licence": 1.0}, "a text"),
        ({"init_weights": "model"}, "always starts from random weights"),
    ],
)
def test_bad_options_are_refused_before_data_is_read(tmp_path: Path, bad: dict[str, object], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        rclicks.train("nninteractive", f"volumes:root={tmp_path}", tmp_path / "out", **bad)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"patch": 60}, "multiples of 8"),
        ({"steps": 100, "epochs": 2}, "give one of them"),
        ({"protocol": "compat"}, "no published training recipe"),
    ],
)
def test_options_that_do_not_fit_together_are_refused_before_data_is_decoded(
    tmp_path: Path, bad: dict[str, object], words: str
) -> None:
    save(tmp_path, "images", "a", np.ones((9, 9, 9), np.float32))  # constant, so that decoding it would be an error
    save(tmp_path, "labels", "a", np.ones((9, 9, 9), np.uint8))
    with pytest.raises(ProtocolError, match=words):
        rclicks.train("nninteractive", f"volumes:root={tmp_path}", tmp_path / "out", **bad)


@pytest.mark.parametrize("bad", [{"small": 25}, {"small": 0}, {"rounds": ()}, {"rounds": (-1.0, 2.0)}, {"lr": -1.0}])
def test_bad_recipes_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        Recipe(design=DESIGN, **{"small": 24, **bad})
