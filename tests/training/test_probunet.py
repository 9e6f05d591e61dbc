"""Training the probabilistic U-Net: what is learnt, resuming, clicks, the command, and what is refused."""

import csv
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

import rclicks  # noqa: E402
from rclicks.adapters.probunet.checkpoint import Design, network_input, read_network  # noqa: E402
from rclicks.adapters.probunet.network import divergence  # noqa: E402
from rclicks.adapters.probunet.training import Play, ProbUNetTask, Recipe, foreground, train_probunet  # noqa: E402
from rclicks.cli.main import app  # noqa: E402
from rclicks.errors import DataError, ProtocolError  # noqa: E402
from rclicks.interaction import Click  # noqa: E402
from rclicks.metrics.raters.diversity import squared_ged  # noqa: E402
from rclicks.metrics.raters.overlap import Overlaps  # noqa: E402
from rclicks.models.contract import State  # noqa: E402
from rclicks.models.weights import read_checkpoint  # noqa: E402
from rclicks.sample import Sample  # noqa: E402
from rclicks.training.cpu import cpu_settings  # noqa: E402
from rclicks.training.examples import Example  # noqa: E402
from rclicks.training.loop import Progress, Settings  # noqa: E402

SIZE = 24
DESIGN = Design(features=(8, 16), latent=2, radius=2)
RECIPE = Recipe(design=DESIGN, size=SIZE, lr=5e-3)
SETTINGS = Settings(epochs=3, batch_size=4, seed=1, workers=2)


@pytest.fixture(autouse=True, scope="module")
def quickly() -> Iterator[None]:
    with cpu_settings(1):
        yield


def picture(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey.astype(np.uint8)] * 3, -1)


def nodule(seed: int) -> Example:
    """Return a bright disc that one rater draws tightly and another with a wide margin."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:30, :28]
    distance = np.hypot(yy - rng.uniform(11, 18), xx - rng.uniform(11, 16))
    radius = rng.uniform(3, 4)
    image = 60 + 120 * (distance <= radius) + rng.integers(0, 20, distance.shape)
    masks = np.stack([distance <= radius, distance <= radius + 4])
    return Example(f"nodule{seed}", picture(image), masks, np.ones(distance.shape, bool))


def two_discs() -> Example:
    """Return a bright and a dark disc; one rater draws the bright one alone, another the dark one alone."""
    yy, xx = np.mgrid[:SIZE, :SIZE]
    masks = np.stack([np.hypot(yy - 6, xx - 7) <= 4, np.hypot(yy - 16, xx - 17) <= 5])
    return Example("discs", picture(100 + 100 * masks[0] - 80 * masks[1]), masks, np.ones((SIZE, SIZE), bool))


NODULES = [nodule(i) for i in range(6)]
HELD_OUT = [nodule(i) for i in (10, 11)]


def learn(task: ProbUNetTask, steps: int) -> None:
    """Take optimizer steps as the loop does, without its files."""
    task.network.train()
    for step in range(steps):
        task.optimizer.param_groups[0]["lr"] = task.lr(step, steps)
        loss = task.loss([task.item(0, np.random.default_rng([step, i])) for i in range(2)])
        task.optimizer.zero_grad()
        loss.backward()
        task.optimizer.step()
    task.network.eval()


def test_two_raters_who_disagree_are_both_sampled_and_a_click_chooses_one(tmp_path: Path) -> None:
    discs = two_discs()
    task = ProbUNetTask([discs], [discs], replace(RECIPE, rounds=(0.6, 0.4)), SETTINGS, 1)
    learn(task, 250)
    torch.save(task.weights(), tmp_path / "learnt.pth")
    model = rclicks.load_model("probunet", checkpoint=str(tmp_path / "learnt.pth"))
    embedding = model.embed(Sample("test", "discs", discs.image))
    samples = model.samples(embedding, State()) > 0.5
    found = Overlaps.of(samples, discs.masks)
    assert found.similarity("dice").across.max(0).min() > 0.8  # each rater is met by some sample
    one_mask = min(squared_ged(Overlaps.of(m[None], discs.masks).similarity("iou")).value for m in answers(discs))
    assert squared_ged(found.similarity("iou")).value < one_mask - 0.1
    for rater, point in enumerate(((6, 7), (16, 17))):
        (state,) = model.segment(embedding, [State((Click(point),))])
        dice = Overlaps.of(state.mask[None], discs.masks).similarity("dice").across[0]
        assert dice[rater] > 0.8
        assert dice[1 - rater] < 0.2
    with torch.inference_mode():
        _, row = task.validate()
    assert row["rebuilt"] > 0.8
    assert row["own_3"] > 0.7 > 0.2 > row["others_3"]
    assert row["raters"] == 0.5


def answers(discs: Example) -> list[np.ndarray]:
    """Return what a network without samples might say: nothing, all, or one rater's mask."""
    return [np.zeros_like(discs.masks[0]), discs.masks.any(0), *discs.masks]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, float]]]:
    """Train on raters of two styles, for seconds."""
    folder = tmp_path_factory.mktemp("probunet")
    recipe = replace(RECIPE, design=replace(DESIGN, clicks=False))  # as published
    result = train_probunet(NODULES, HELD_OUT, recipe, replace(SETTINGS, epochs=3, batch_size=2), folder, steps=60)
    return folder, list(result.rows)


def test_without_clicks_the_loss_falls_and_samples_are_better_than_one_perfect_mask(
    trained: tuple[Path, list[dict[str, float]]],
) -> None:
    folder, rows = trained
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    best = max(rows, key=lambda r: r["score"])
    assert best["ged"] == -best["score"]
    one_style = [squared_ged(Overlaps.of(e.masks[:1], e.masks).similarity("iou")).value for e in HELD_OUT]
    assert best["ged"] < 0.9 * np.mean(one_style)  # better than one of the two styles, drawn perfectly
    assert best["samples"] > 0.1
    with (folder / "log.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    network, design = read_network(folder / "best.pth")
    assert not design.clicks
    assert network.down[0][0].in_channels == 3


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (1, 2):
            raise Stop

    kept = {}
    for name in ("straight", "stopped", "again", "other"):
        chosen = replace(SETTINGS, seed=2) if name == "other" else SETTINGS
        if name == "stopped":
            with pytest.raises(Stop):
                train_probunet(NODULES, HELD_OUT, RECIPE, chosen, tmp_path / name, steps=4, report=stop)
        resume = name == "stopped"
        train_probunet(NODULES, HELD_OUT, RECIPE, chosen, tmp_path / name, steps=4, resume=resume)
        state = read_checkpoint(tmp_path / name / "last.pth")
        kept[name] = {k: v.numpy().tobytes() for k, v in state["network"].items()}, repr(state["rows"])
    assert kept["straight"] == kept["stopped"] == kept["again"]
    assert kept["other"][0] != kept["straight"][0]


def test_building_a_task_leaves_the_global_random_state_alone_and_begins_at_the_share_that_is_drawn() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    task = ProbUNetTask(NODULES, HELD_OUT, RECIPE, SETTINGS, 1)
    assert torch.equal(torch.rand(1), wanted)
    drawn = np.mean([e.masks.mean() * e.counted.size / SIZE**2 for e in NODULES])
    assert foreground(NODULES, SIZE) == pytest.approx(drawn, rel=0.01)
    assert float(torch.sigmoid(task.network.join[-1].bias.detach())) == pytest.approx(
        foreground(NODULES, SIZE), rel=1e-4
    )
    nothing = replace(NODULES[0], masks=np.zeros_like(NODULES[0].masks), counted=np.zeros((30, 28), bool))
    assert 0 < foreground([nothing], SIZE) < 1


def test_items_hold_two_raters_of_one_crop_and_keep_image_and_mask_together() -> None:
    three = [replace(e, masks=np.stack([*e.masks, np.zeros_like(e.masks[0])])) for e in NODULES]
    task = ProbUNetTask(three, HELD_OUT, replace(RECIPE, size=40), SETTINGS, 1)
    pairs = set()
    for seed in range(60):
        found = task.item(0, np.random.default_rng(seed))
        bright = found[0].image[0] > 0.2
        styles = []
        for play in found:
            assert play.image.shape == (3, 40, 40)
            assert play.image.dtype == np.float32
            assert play.counted.sum() == 30 * 28
            assert not play.image[:, ~play.counted].any()
            assert not play.truth[~play.counted].any()
            assert not play.truth.any() or (bright & ~play.truth).sum() == 0  # both styles hold the disc
            assert play.rounds == found[0].rounds
            styles.append(0 if not play.truth.any() else 1 + bool(play.truth.sum() > 1.5 * bright.sum()))
        assert np.array_equal(found[0].image, found[1].image)
        assert found[0].rng.random() != found[1].rng.random()
        pairs.add(tuple(styles))
    assert pairs == {(a, b) for a in range(3) for b in range(3) if a != b}
    one, two = (task.item(0, np.random.default_rng(5)) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        assert np.array_equal(first.image, second.image)
        assert np.array_equal(first.truth, second.truth)
        assert first.rng.random() == second.rng.random()
    alone = ProbUNetTask([replace(NODULES[0], masks=NODULES[0].masks[:1])], HELD_OUT, RECIPE, SETTINGS, 1)
    assert len(alone.item(0, np.random.default_rng(0))) == 1


def test_clicks_begin_on_no_answer_and_the_answer_is_that_before_the_newest_click() -> None:
    truth = np.zeros((12, 12), bool)
    truth[2:7, 3:8] = True
    play = Play(np.zeros((3, 12, 12), np.float32), truth, np.ones_like(truth), np.random.default_rng(0))
    play.follow(np.ones_like(truth))  # the network's opinion before the first click is not shown to it
    assert (play.clicks, play.answer) == ([Click((4, 5))], None)
    too_much = truth.copy()
    too_much[8:11, 8:11] = True
    play.follow(too_much)
    assert play.clicks[1:] == [Click((9, 9), positive=False)]
    assert np.array_equal(play.answer, too_much)
    play.follow(truth)  # nothing is wrong: no click, and what the network saw stays as it was
    assert len(play.clicks) == 2
    assert np.array_equal(play.answer, too_much)


def test_ignored_pixels_change_nothing_and_a_rater_who_drew_nothing_has_no_say_where_clicks_were_due() -> None:
    item = ProbUNetTask(NODULES, HELD_OUT, RECIPE, SETTINGS, 1).item(0, np.random.default_rng(0))[0]
    counted = item.counted.copy()
    counted[:5] = False
    other = item.truth.copy()
    other[:5] ^= True

    def play(mask: np.ndarray, rounds: int) -> Play:
        return Play(item.image, mask, counted, np.random.default_rng(7), rounds)

    for rounds in (0, 2):
        task = ProbUNetTask(NODULES, HELD_OUT, RECIPE, SETTINGS, 1)
        alone = float(task.loss([[play(item.truth, rounds)]]).detach())
        assert float(task.loss([[play(other, rounds)]]).detach()) == alone
        nobody = play(np.zeros_like(other), rounds)
        both = float(task.loss([[play(item.truth, rounds), nobody]]).detach())
        assert (both == pytest.approx(alone, rel=1e-5)) == (rounds > 0)
    unseen = Play(item.image, item.truth, np.zeros_like(counted), np.random.default_rng(7))
    assert float(task.loss([[unseen]]).detach()) == 0  # prior and posterior begin alike
    task.loss([[nobody]]).backward()  # nobody to learn from
    assert all(p.grad is None or not p.grad.any() for p in task.network.parameters())


def test_mixed_precision_gives_every_weight_a_gradient() -> None:
    task = ProbUNetTask(NODULES, HELD_OUT, replace(RECIPE, rounds=(0.0, 1.0)), SETTINGS, 1)
    learn(task, 3)  # the heads of the Gaussians begin with zeros, behind which there is no gradient
    task.optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.loss([task.item(0, np.random.default_rng(i)) for i in range(3)])
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.any() for name, p in task.network.named_parameters() if "weight" in name)


def test_the_divergence_is_that_of_torch() -> None:
    torch.manual_seed(0)
    one, two = ((torch.randn(5, 3), torch.randn(5, 3)) for _ in range(2))
    first, second = (torch.distributions.Normal(mean, log.exp()) for mean, log in (one, two))
    wanted = torch.distributions.kl_divergence(first, second).sum(1)
    assert torch.allclose(divergence(one, two), wanted, rtol=1e-4)
    assert torch.allclose(divergence(one, one), torch.zeros(5), atol=1e-6)


def test_clicks_and_the_previous_mask_are_what_the_network_sees() -> None:
    image = np.zeros((3, 12, 16), np.float32)
    previous = np.zeros((12, 16), bool)
    previous[3, 4] = True
    clicks = [Click((2, 3)), Click((8, 9), False), Click((2, 12))]
    made = network_input(DESIGN, image, clicks, previous).numpy()
    assert made.shape == (6, 12, 16)
    yy, xx = np.mgrid[:12, :16]
    near = [np.hypot(yy - c.point[0], xx - c.point[1]) <= DESIGN.radius for c in clicks]
    assert np.array_equal(made[3] > 0, near[0] | near[2])
    assert np.array_equal(made[4] > 0, near[1])
    assert np.array_equal(made[5] > 0, previous)
    assert network_input(replace(DESIGN, clicks=False), image, clicks, previous).shape == (3, 12, 16)


def test_an_image_of_one_rater_and_one_that_nobody_drew_can_validate(tmp_path: Path) -> None:
    single = [replace(e, masks=e.masks[:1]) for e in HELD_OUT[:1]]
    nobody = [replace(e, masks=np.zeros_like(e.masks)) for e in HELD_OUT[:1]]
    for number, held_out in enumerate((single, nobody)):
        result = train_probunet(NODULES, held_out, RECIPE, replace(SETTINGS, epochs=1), tmp_path / str(number), steps=1)
        assert result.best.is_file()
        assert np.isfinite(result.rows[0]["score"])
        assert np.isnan(result.rows[0]["others_3"])


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    for wrong in ({"lr": 0.0}, {"beta": -1.0}, {"size": 25}, {"rounds": ()}, {"rounds": (-1.0, 2.0)}):
        with pytest.raises(ProtocolError):
            replace(RECIPE, **wrong)
    for wrong in (
        {"features": (8,)},
        {"features": (8, 0)},
        {"latent": 0},
        {"clicks": 1},
        {"leak": 1.0},
        {"leak": True},
    ):
        with pytest.raises(ProtocolError):
            replace(DESIGN, **wrong)
    assert replace(RECIPE, design=replace(DESIGN, clicks=False)).shares.tolist() == [1.0]
    with pytest.raises(DataError, match="found 6 and 0"):
        train_probunet(NODULES, [], RECIPE, SETTINGS, tmp_path, steps=1)
    with pytest.raises(ProtocolError, match="0 steps"):
        train_probunet(NODULES, HELD_OUT, RECIPE, SETTINGS, tmp_path, steps=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write three images with two raters each."""
    from PIL import Image

    root = tmp_path / "data"
    for part in ("images", "masks/ann", "masks/bob"):
        (root / part).mkdir(parents=True)
    for example in NODULES[:3]:
        Image.fromarray(example.image).save(root / "images" / f"{example.name}.png")
        for rater, mask in zip(("ann", "bob"), example.masks, strict=True):
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / rater / f"{example.name}.png")
    return root


def test_the_command_trains_on_a_folder_and_goes_on(folder: Path, tmp_path: Path) -> None:
    out, held_out = tmp_path / "out", tmp_path / "held_out.txt"
    held_out.write_text("nodule1\n")
    spec = "probunet:steps=2,size=24,features=[4 8],latent=3,mixed=false"
    options = [f"multirater-folder:root={folder}", "--out", str(out), "--batch-size", "2", "--seed", "5"]
    options += ["--val-list", str(held_out), "--threads", "1"]

    def invoke(model: str, *more: str) -> Result:
        return CliRunner().invoke(app, ["train", model, *options, *more])

    done = invoke(spec)
    assert done.exit_code == 0, done.output
    assert "2 samples for training, 1 for validation" in done.output
    assert "epoch 1/1" in done.output
    assert str(out / "best.pth") in done.output
    assert read_network(out / "best.pth")[1] == Design(features=(4, 8), latent=3)
    assert isinstance(invoke(spec).exception, ProtocolError)
    assert invoke(spec, "--resume").exit_code == 0
    assert isinstance(invoke(f"{spec},beta=2", "--resume").exception, ProtocolError)
    assert isinstance(invoke("probunet:features=[a]").exception, ProtocolError)


def test_every_option_of_the_command_changes_the_training(folder: Path, tmp_path: Path) -> None:
    usual = {"steps": 3, "batch_size": 1, "size": 16, "features": (4, 8), "latent": 3}
    changes = [
        {},
        {"steps": 4},
        {"batch_size": 2},
        {"size": 18},
        {"features": (4, 6)},
        {"latent": 2},
        {"clicks": False},
    ]
    changes += [{"beta": 0.1}, {"lr": 1e-2}, {"seed": 1}]
    made = []
    for number, change in enumerate(changes):
        data, out = f"multirater-folder:root={folder}", tmp_path / str(number)
        best = rclicks.train("probunet", data, out, **{**usual, **change}).best
        made.append(b"".join(v.numpy().tobytes() for v in read_checkpoint(best)["state"].values()))
    assert all(a != b for a, b in itertools.combinations(made, 2))
