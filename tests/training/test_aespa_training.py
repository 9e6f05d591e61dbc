"""SPA's and AESPA's trainings: what learns, rules of clicks, following, resuming, files. Networks are small ones."""

import importlib.util
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
if importlib.util.find_spec("segment_anything") is None:
    pytest.skip("segment-anything is not installed", allow_module_level=True)

import rclicks  # noqa: E402
from rclicks.adapters import sam  # noqa: E402
from rclicks.adapters.aespa import CARDS, training_options  # noqa: E402
from rclicks.adapters.aespa import published_clicks as rules  # noqa: E402
from rclicks.adapters.aespa.design import SMALL, VIT_B, EncoderDesign  # noqa: E402
from rclicks.adapters.aespa.recipe import Recipe  # noqa: E402
from rclicks.adapters.aespa.training import (  # noqa: E402
    AespaTask,
    FollowTask,
    PublishedTask,
    gap_of,
    measured,
    play_raters,
    train_aespa,
    view_of,
    views_of,
)
from rclicks.adapters.aespa.weights import read_training_checkpoint  # noqa: E402
from rclicks.cli.main import app  # noqa: E402
from rclicks.data.contract import Dataset  # noqa: E402
from rclicks.engine.loading import open_dataset  # noqa: E402
from rclicks.errors import DataError, ProtocolError, WeightsError  # noqa: E402
from rclicks.interaction import Click  # noqa: E402
from rclicks.models.contract import State  # noqa: E402
from rclicks.models.weights import read_checkpoint, synthetic_state  # noqa: E402
from rclicks.protocol import Protocol  # noqa: E402
from rclicks.registry import Registry  # noqa: E402
from rclicks.sample import Sample, Target  # noqa: E402
from rclicks.specs import parse  # noqa: E402
from rclicks.training.examples import Example  # noqa: E402
from rclicks.training.loop import Progress, Settings  # noqa: E402
from support import SHARED, needs_shared  # noqa: E402

TINY = EncoderDesign(width=24, depth=4, heads=2)
QUICK = Recipe(size=64, components=4, encoder=TINY, clicks=2, samples=3, groups=2, lr=1e-3)
SETTINGS = Settings(epochs=2, batch_size=2, seed=5, workers=2)
SEEN = ("image_encoder.", "mask_decoder.")


def lidc_crops() -> Dataset:
    return open_dataset(Registry.discover(), parse("LIDC_crops"), SHARED / "data")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, so that results are the same whatever the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


def disc(side: int, centre: tuple[int, int], radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def example(number: int = 0, side: int = 64, raters: int = 3) -> Example:
    """A bright disc on noise that each rater draws larger than the one before."""
    rng = np.random.default_rng(number)
    centre = (int(rng.integers(side // 3, 2 * side // 3)), int(rng.integers(side // 3, 2 * side // 3)))
    masks = np.stack([disc(side, centre, side / 9 + side / 20 * r) for r in range(raters)])
    grey = rng.integers(0, 60, (side, side)) + 60 * masks.sum(0)
    image = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, 2)
    return Example(f"{number}", image, masks, np.ones((side, side), bool), tuple("abcd"[:raters]))


def blank(number: int) -> Example:
    some = example(number)
    return replace(some, masks=np.zeros_like(some.masks))


EXAMPLES = [example(i) for i in range(5)]


def made(recipe: Recipe, examples: Sequence[Example] = EXAMPLES, **settings: Any) -> AespaTask:
    kind = FollowTask if recipe.protocol == "default" else PublishedTask
    return kind(examples, examples[:2], recipe, replace(SETTINGS, **settings), None)


def batch_of(task: AespaTask, count: int = 2, seed: int = 0) -> list[Any]:
    return [task.item(i, np.random.default_rng([seed, i])) for i in range(count)]


# What learns


def unchanged(task: AespaTask, seeds: Sequence[int] = (0,)) -> set[str]:
    before = {k: v.clone() for k, v in task.network.state_dict().items()}
    for seed in seeds:
        task.update(batch_of(task, seed=seed))
    return {k for k, v in task.network.state_dict().items() if torch.equal(v, before[k])}


def named(task: AespaTask, *parts: str) -> set[str]:
    found = {k for k in task.network.state_dict() if any(p in k for p in parts)}
    assert all(any(p in k for k in found) for p in parts)
    return found


NEVER = ("point_embeddings.2", "point_embeddings.3", "positional_encoding_gaussian_matrix", "iou_prediction_head.")
NEVER = (*NEVER, *(f"output_hypernetworks_mlps.{i}." for i in (1, 2, 3)))
FROZEN = {
    "aespa": ("EM_mean_variance.", "mask_downscaling.", "no_mask_embed"),
    "spa": ("no_mask_embed",),
}


@pytest.mark.parametrize("model", ["aespa", "spa"])
def test_the_published_recipe_leaves_exactly_the_published_parts_as_they_are(model: str) -> None:
    """Two runs on two crops, of one of which nobody drew anything, so that there are clicks of both signs."""
    task = made(replace(QUICK, model=model, protocol="compat", clicks=1), [EXAMPLES[0], blank(1)])
    assert unchanged(task) == named(task, *NEVER, *FROZEN[model])


@pytest.mark.slow
@needs_shared
def test_the_published_recipe_on_the_published_network_and_real_crops() -> None:
    from rclicks.training.examples import read_examples

    data = lidc_crops()
    task = made(Recipe(protocol="compat", clicks=1), read_examples(data[i] for i in (0, 40)))
    assert sum(p.numel() for p in task.network.parameters()) == 94521920
    left = unchanged(task, range(2))
    assert left - named(task, "point_embeddings.0", "point_embeddings.1") == named(task, *NEVER, *FROZEN["aespa"])


@pytest.mark.parametrize("model", ["aespa", "spa"])
def test_the_mended_recipe_teaches_the_mixture_and_the_encoding_of_logits_too(model: str) -> None:
    task = made(replace(QUICK, model=model))
    assert unchanged(task, range(4)) == named(task, *NEVER)


def test_padded_raters_count_as_raters_who_drew_nothing() -> None:
    """Published code fills slots up with empty masks, and its first target is the mean of all slots."""
    few, many = (view_of(example(1, raters=n), 64) for n in (2, 3))
    padded = replace(few, masks=np.concatenate([few.masks, np.zeros((1, 64, 64), bool)]))
    losses = []
    for first in (few, padded, replace(few, masks=few.masks[[0, 1, 1]])):
        task = made(replace(QUICK, protocol="compat"))
        losses.append(task.update([(first, 1), (many, 2)]))
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_published_batches_share_their_mixture_and_mended_ones_do_not() -> None:
    from rclicks.adapters.aespa.session import Session, Slot, on_device

    views = [view_of(e, 64) for e in EXAMPLES[:2]]

    def play(chosen: Sequence[int]) -> Any:
        slots = [Slot(views[i].masks[i], views[i].counted, np.random.default_rng(i)) for i in chosen]
        features = network.encode(on_device(np.stack([views[i].image for i in chosen]), torch.zeros(1)))
        session = Session(network, features, slots, recipe)
        logits = [session.advance(range(len(slots)))]
        for _ in range(2):
            assert all(slot.click() for slot in slots)
            logits.append(session.advance(range(len(slots))))
        return torch.stack(logits)

    for model in ("aespa", "spa"):
        recipe = replace(QUICK, model=model)
        network = made(recipe).network.eval()
        with torch.inference_mode():
            together, alone = play([0, 1]), [play([0]), play([1])]
        assert torch.allclose(together, torch.cat(alone, 2), atol=1e-5)


# Rules of clicks of the published recipes


def test_the_followed_rater_drew_something_and_seldom_changes() -> None:
    valid = np.array([True, False, True, True])
    draws = [rules.followed_rater(valid, 2, 0.2, np.random.default_rng(i)) for i in range(3000)]
    share = {k: v / 3000 for k, v in Counter(draws).items()}
    assert set(share) == {0, 2, 3}
    assert share[2] == pytest.approx(0.8, abs=0.03)
    assert share[0] == pytest.approx(0.1, abs=0.02)
    firsts = {rules.followed_rater(valid, None, 0.2, np.random.default_rng(i)) for i in range(50)}
    assert firsts == {0, 2, 3}
    assert {rules.followed_rater(valid, 1, 0.0, np.random.default_rng(i)) for i in range(50)} == {0, 2, 3}


def test_who_is_alone_stays_and_where_nobody_drew_all_may_be_followed() -> None:
    alone, nobody = np.array([False, True]), np.array([False, False])
    assert {rules.followed_rater(alone, 1, 1.0, np.random.default_rng(i)) for i in range(20)} == {1}
    assert {rules.followed_rater(nobody, 1, 0.0, np.random.default_rng(i)) for i in range(50)} == {0, 1}


def test_any_of_the_twenty_largest_differences_is_clicked() -> None:
    difference = np.zeros((9, 11))
    difference[2:4, 1:11] = np.arange(20).reshape(2, 10) + 1
    difference[8, 10] = 0.5  # the 21st
    clicked = {rules.differing_pixel(difference, np.random.default_rng(i)) for i in range(600)}
    assert clicked == {(r, c) for r in (2, 3) for c in range(1, 11)}
    even = {rules.differing_pixel(np.zeros((9, 11)), np.random.default_rng(i)) for i in range(600)}
    assert even == {divmod(i, 11) for i in range(20)}, "a click is made even if nothing differs"
    assert {rules.differing_pixel(np.zeros((2, 2)), np.random.default_rng(i)) for i in range(50)} == {
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    }


def test_the_new_target_is_the_mean_of_those_who_agree_at_the_click() -> None:
    masks = np.zeros((4, 3, 3), bool)
    masks[0, 0], masks[1, :, 0], masks[2, 2] = True, True, True
    valid = masks.any((1, 2))
    assert np.array_equal(rules.agreeing(masks, valid, (0, 0), True), masks[:2].mean(0, dtype=np.float32))
    assert np.array_equal(rules.agreeing(masks, valid, (0, 0), False), masks[2].astype(np.float32)), "not the empty one"
    assert np.array_equal(rules.agreeing(masks, valid, (2, 2), True), masks[2].astype(np.float32))
    assert not rules.agreeing(masks, valid, (1, 1), True).any()


def test_spa_begins_where_all_agree_and_means_those_who_gave_the_label() -> None:
    masks = np.zeros((3, 4, 4), bool)
    masks[:, 1, 1] = True  # all
    masks[:2, 1, 2] = True  # two of three
    masks[0, 3, 3] = True  # one of three
    seen = Counter()
    for seed in range(3000):
        first = rules.first_click(masks, np.random.default_rng(seed))
        assert first.click == Click((1, 1))
        assert np.array_equal(first.target, masks[first.raters].mean(0) >= 0.5)
        seen[tuple(first.raters.tolist())] += 1
    share = {k: v / 3000 for k, v in seen.items()}
    everybody, two, last = (True, True, True), (True, True, False), (False, False, True)
    one, others = (True, False, False), (False, True, True)
    assert set(share) == {everybody, two, last, one, others}
    # 0 and 1 are asked for in half of the draws, of which a fifth stays; the others share the rest evenly.
    assert share[everybody] == pytest.approx(0.1, abs=0.02)
    assert share[two] == pytest.approx(0.45 * 0.8, abs=0.03), "most raters drew, so the label is mostly positive"
    assert share[last] == pytest.approx(0.45 * 0.2, abs=0.02)
    assert share[others] == pytest.approx(0.45 * 0.8, abs=0.03), "most raters did not draw"
    assert share[one] == pytest.approx(0.45 * 0.2, abs=0.02)


def test_spa_clicks_background_where_raters_share_nothing() -> None:
    masks = np.zeros((2, 2, 2), bool)
    masks[0, 0, 0] = masks[1, 1, 1] = True
    clicks = {rules.first_click(masks, np.random.default_rng(i)).click for i in range(50)}
    assert clicks == {Click((0, 1), False), Click((1, 0), False)}
    half = [rules.first_click(masks, np.random.default_rng(i)) for i in range(500)]
    once = [f for f in half if f.raters.sum() == 1]
    assert 0.7 < len(once) / 500 <= 1, "a level between 0 and 1 is mostly asked for"
    assert all(f.target.sum() == 1 for f in once)
    nowhere = np.stack([np.eye(2, dtype=bool), ~np.eye(2, dtype=bool)])
    assert rules.first_click(nowhere, np.random.default_rng(0)).click == Click((0, 0), False)


# Sessions, and what is measured


def test_the_first_click_goes_to_the_middle_of_the_raters_object_and_others_to_errors() -> None:
    from rclicks.adapters.aespa.session import Slot

    truth = disc(64, (30, 40), 9)
    counted = np.ones_like(truth)
    slot = Slot(truth, counted, np.random.default_rng(0), answer=disc(64, (10, 10), 12))
    assert slot.click()
    assert slot.clicks == [Click((30, 40))], "the answer before the first click is not shown to users"
    assert slot.click()
    assert slot.clicks[1] == Click((10, 10), False)
    counted[:25, :25] = False
    ignoring = Slot(truth & counted, counted, np.random.default_rng(0), [Click((30, 40))], truth | ~counted)
    assert not ignoring.click(), "where nothing counts nothing is wrong"
    assert not Slot(np.zeros_like(truth), counted, np.random.default_rng(0), answer=truth).click()


def test_the_gap_is_own_minus_other_and_nought_for_answers_that_follow_nobody() -> None:
    rng = np.random.default_rng(1)
    table = rng.random((3, 2, 3))
    own = np.mean([table[i, :, i] for i in range(3)], 0)
    other = np.mean([table[i, :, j] for i in range(3) for j in range(3) if i != j], 0)
    assert np.allclose(gap_of(table), own - other)
    same = np.broadcast_to(rng.random((1, 2, 3)), (3, 2, 3))
    assert np.allclose(gap_of(same), 0)
    lonely = np.full((1, 2, 1), 0.25)
    found = measured([table, lonely, np.zeros((0, 2, 0))])
    assert found["own_1"] == pytest.approx((own[1] + 0.25) / 2)
    assert found["other_1"] == pytest.approx(other[1]), "one rater has no others"
    assert found["gap_1"] == pytest.approx(own[1] - other[1])
    assert set(measured([lonely])) == {"own_0", "own_1"}
    assert set(measured([np.full((2, 8, 2), 0.5)])) == {
        f"{k}_{n}" for k in ("own", "other", "gap") for n in (0, 1, 3, 5, 7)
    }


def test_spa_has_no_answer_before_a_click() -> None:
    task = made(replace(QUICK, model="spa"))
    assert set(task.validate()[1]) == {f"{k}_{n}" for k in ("own", "other", "gap") for n in (1, 2)}


def test_only_raters_who_drew_something_are_followed() -> None:
    some = example(2, raters=4)
    some.masks[[0, 3]] = False
    task = made(QUICK, [some, some])
    (view,) = views_of(some, QUICK)
    assert play_raters(task.network, view, QUICK).shape == (2, 3, 2)
    for model in ("aespa", "spa"):
        none = made(replace(QUICK, model=model), [blank(0), blank(1)])
        assert np.isfinite(none.update(batch_of(none)))


# Results


@pytest.mark.parametrize(("model", "steps"), [("aespa", 16), ("spa", 10)])
def test_what_is_to_be_learnt_by_heart_is_learnt(model: str, steps: int) -> None:
    task = made(replace(QUICK, model=model), EXAMPLES[:2])
    before = task.validate()[0]
    losses = [task.update(batch_of(task, seed=step)) for step in range(steps)]
    assert np.mean(losses[-4:]) < 0.75 * np.mean(losses[:2])
    task.network.eval()
    assert task.validate()[0] > max(before, 0.3)


def pulled(recipe: Recipe, folder: Path) -> None:
    class Stop(Exception):
        pass

    def pull(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (1, 2) and progress.row is None:
            raise Stop

    with pytest.raises(Stop):
        train_aespa(EXAMPLES, EXAMPLES[:1], recipe, SETTINGS, folder, report=pull)


@pytest.mark.parametrize(("model", "protocol"), [("aespa", "default"), ("aespa", "compat"), ("spa", "compat")])
def test_a_resumed_training_equals_an_undisturbed_one(tmp_path: Path, model: str, protocol: str) -> None:
    recipe = replace(QUICK, model=model, protocol=protocol, clicks=1)
    whole = train_aespa(EXAMPLES, EXAMPLES[:1], recipe, SETTINGS, tmp_path / "whole")
    pulled(recipe, tmp_path / "cut")
    again = replace(SETTINGS, workers=1)
    cut = train_aespa(EXAMPLES, EXAMPLES[:1], recipe, again, tmp_path / "cut", resume=True)
    assert cut.rows == whole.rows
    first, second = (read_checkpoint(tmp_path / f / "last.pth") for f in ("whole", "cut"))
    assert all(torch.equal(first["network"][k], second["network"][k]) for k in first["network"])
    moments = [s["optimizer"]["state"] for s in (first, second)]
    assert all(torch.equal(moments[0][i]["exp_avg"], moments[1][i]["exp_avg"]) for i in moments[0])
    assert len({r["loss"] for r in whole.rows}) == 2


def test_results_follow_the_seed(tmp_path: Path) -> None:
    quick = replace(QUICK, protocol="compat", clicks=1)
    rows = [
        train_aespa(EXAMPLES, EXAMPLES[:1], quick, replace(SETTINGS, epochs=1, seed=s), tmp_path / f"{i}").rows
        for i, s in enumerate((1, 1, 2))
    ]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_rates_are_constant_as_published_or_rise_and_fall() -> None:
    published, mended = made(replace(QUICK, protocol="compat")), made(QUICK)
    assert {published.lr(s, 100) for s in range(100)} == {1e-3}
    rates = [mended.lr(s, 100) for s in range(100)]
    assert rates[0] < max(rates) == pytest.approx(1e-3)
    assert rates[-1] == 0


def test_published_examples_are_never_mirrored_and_patches_have_their_own_scale() -> None:
    published = made(replace(QUICK, protocol="compat"))
    found = {published.item(0, np.random.default_rng(s))[0].image.tobytes() for s in range(4)}
    assert found == {view_of(EXAMPLES[0], 64).image.tobytes()}
    mended = made(QUICK)
    assert len({mended.item(0, np.random.default_rng(s))[0].image.tobytes() for s in range(40)}) == 8
    patched = replace(QUICK, patch=32)
    task = made(patched, [example(3, side=96)] * 2)
    assert task.size == 2 * 9, "nine patches cover each image"
    (view, _) = task.item(17, np.random.default_rng(0))
    assert view.image.shape == (3, 64, 64)
    first, again = views_of(example(3, side=96), patched), views_of(example(3, side=96), patched)
    assert len(first) == 4
    assert all(np.array_equal(a.masks, b.masks) for a, b in zip(first, again, strict=True))
    whole = view_of(example(3, side=96), 64)
    assert first[0].masks[2].mean() > 2 * whole.masks[2].mean(), "a patch shows a part of the image larger"


def as_sample(some: Example) -> Sample:
    return Sample("test", some.name, some.image, (Target("0", tuple(some.masks), None, some.raters),))


@pytest.mark.parametrize("model", ["aespa", "spa"])
def test_the_checkpoint_plays_as_validation_did(tmp_path: Path, model: str) -> None:
    """The registered model gives the sessions of the training: same clicks, same masks."""
    from rclicks.adapters.aespa.session import Session, Slot, on_device

    recipe = replace(QUICK, model=model, clicks=3)
    task = made(recipe)
    task.network.load_state_dict(synthetic_state(task.network))  # strong enough for answers that are not empty
    torch.save(task.weights(), tmp_path / "best.pth")
    read = read_training_checkpoint(tmp_path / "best.pth")
    assert (read.encoder, read.components) == (TINY, 4)
    options = {"style": "training", "samples": 3, "clusters": 2} if model == "spa" else {}
    player = rclicks.load_model(model, tmp_path / "best.pth", **options)
    some = example(8)
    embedding = player.embed(as_sample(some))
    view, network = view_of(some, 64), player.network
    slot = Slot(view.masks[1], view.counted, np.random.default_rng(3))
    noise = np.random.default_rng(3)
    memory, state, sizes = None, State(), []
    with torch.inference_mode():
        session = Session(network, network.encode(on_device(view.image[None], torch.zeros(1))), [slot], recipe)
        if model == "aespa":
            session.advance([0])
        for _ in range(3):
            assert slot.click()
            logits = session.advance([0])
            if model == "spa":
                drawn = noise.standard_normal((3, 64), np.float32)
                memory = player.advance(embedding, memory, tuple(slot.clicks), drawn)
                state = State(tuple(slot.clicks), memory=memory)
            else:
                state = State(tuple(slot.clicks), state.mask, state.probability, state.memory)
            (state,) = player.segment(embedding, [state])
            assert np.abs(state.probability - torch.sigmoid(logits.mean(0)[0]).numpy()).max() < 1e-4
            assert (state.mask != slot.answer).mean() < 1e-3
            sizes.append(int(slot.answer.sum()))
    assert len(set(sizes)) > 1, "answers that are all the same prove nothing"


# The command line


@pytest.mark.parametrize(
    ("model", "protocol", "options"),
    [
        ("aespa", "default", {"components": 8, "groups": 3}),
        ("spa", "compat", {"components": 4, "groups": 2, "samples": 3}),
        ("spa", "default", {"patch": 16}),
    ],
)
def test_the_ablations_of_the_originals_can_be_asked_for(
    tmp_path: Path, model: str, protocol: str, options: dict[str, int]
) -> None:
    """Fewer components, samples and groups reach the recipe that the folder records, beside its own defaults."""
    from PIL import Image

    for part in ("images", "masks/ann"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for name in ("a", "b"):
        picture = np.zeros((32, 32), np.uint8)
        picture[8:24, 8:24] = 255
        Image.fromarray(picture).convert("RGB").save(tmp_path / "data/images" / f"{name}.png")
        Image.fromarray(picture).save(tmp_path / "data/masks/ann" / f"{name}.png")
    given = {"encoder": "small", "size": 32, "clicks": 1, **options}
    data = f"multirater-folder:root={tmp_path / 'data'}"
    result = rclicks.train(model, data, tmp_path / "out", epochs=1, batch_size=1, protocol=protocol, **given)
    told = json.loads((tmp_path / "out/settings.json").read_text())
    recipe = Recipe(model=model, protocol=protocol, **{**given, "encoder": SMALL})
    values = json.loads(json.dumps(asdict(recipe)))
    values["rate"] = values.pop("lr")  # the key that older versions wrote
    assert told["recipe"] == values
    assert read_training_checkpoint(result.best).components == recipe.components


@pytest.mark.parametrize(("protocol", "samples"), [("default", 8), ("compat", 48)])
def test_defaults_of_the_options_are_those_of_the_recipe(protocol: str, samples: int) -> None:
    known = training_options(CARDS[1], Protocol.named(protocol))
    given = {name: option.default for name, option in known.items() if name != "encoder"}
    assert Recipe(**given) == Recipe(samples=samples)


@needs_shared
@pytest.mark.parametrize("model", ["aespa", "spa"])
def test_the_command_line_trains_a_network_that_plays(tmp_path: Path, model: str) -> None:
    held = tmp_path / "held.txt"
    data = lidc_crops()
    held.write_text("\n".join(sorted(set(data.groups))[2:]))
    words = ["train", f"{model}:encoder=small,size=64,clicks=1", "LIDC_crops", "--out", str(tmp_path / "out")]
    words += ["--data-root", str(SHARED / "data"), "--val-list", str(held), "--epochs", "1", "--batch-size", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "starts from random weights" in done.output
    best = tmp_path / "out" / "best.pth"
    assert str(best) in done.output
    read = read_training_checkpoint(best)
    assert read.encoder == SMALL
    player = rclicks.load_model(model, best)
    state = State((Click((60, 60)),))
    (answer,) = player.segment(player.embed(data[0]), [state])
    assert answer.mask.shape == (128, 128)


def test_medsam_weights_start_a_training_and_compat_loses_its_mlps(tmp_path: Path) -> None:
    from rclicks.adapters.aespa.training import _weights

    with torch.device("meta"):
        shapes = sam.build_network("vit_b")
    file = tmp_path / "medsam.pth"
    torch.save({k: torch.full(v.shape, 0.5) for k, v in shapes.state_dict().items()}, file)
    state = _weights(file)
    mlp = "mask_decoder.transformer.layers.0.mlp.fc.weight"
    for protocol, loaded in (("default", True), ("compat", False)):
        kind = FollowTask if loaded else PublishedTask
        task = kind(EXAMPLES, EXAMPLES[:1], Recipe(protocol=protocol, size=64), SETTINGS, state)
        own = task.network.state_dict()
        assert bool((own[mlp] == 0.5).all()) == loaded
        assert bool((own["image_encoder.blocks.2.attn.rel_h"] == 0.5).all())
        assert own["image_encoder.blocks.2.attn.rel_h"].shape == (7, 64)
    with pytest.raises(ProtocolError, match="set encoder=vit_b"):
        train_aespa(EXAMPLES, EXAMPLES, QUICK, SETTINGS, tmp_path / "out", start=file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "sam"}, "unknown model 'sam'"),
        ({"protocol": "parity"}, "unknown protocol 'parity'"),
        ({"size": 100}, "multiple of 16"),
        ({"size": 0}, "multiple of 16"),
        ({"clicks": 0}, "number of clicks"),
        ({"samples": 0}, "number of samples"),
        ({"components": 0}, "number of components"),
        ({"lr": float("nan")}, "learning rate"),
        ({"patch": 8}, "at least 16"),
        ({"patch": 64, "protocol": "compat"}, "resizes whole images"),
        ({"encoder": EncoderDesign(width=24, depth=3, heads=2), "lr": 0.0}, "learning rate"),
    ],
)
def test_recipes_that_train_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        replace(QUICK, **changes)


@pytest.mark.parametrize("design", [(24, 2, 2), (24, 65, 2), (25, 3, 2), (0, 3, 0), (4096, 3, 2)])
def test_encoders_that_cannot_be_built_are_refused(design: tuple[int, int, int]) -> None:
    with pytest.raises(ProtocolError, match="encoder of"):
        EncoderDesign(*design)


def test_bad_options_and_data_are_refused(tmp_path: Path) -> None:
    for spec, changes, message in (
        ("aespa:encoder=tiny", {}, "option 'encoder' is 'tiny'; allowed is one of vit_b, small"),
        ("aespa", {"threads": 0}, "threads is 0"),
        ("aespa", {"lr": 0.0}, "learning rate"),
        ("spa:samples=0", {}, "option 'samples' is 0"),
        ("spa:group=3", {}, "Did you mean groups"),
        ("aespa:checkpoint=best.pth", {}, "init_weights"),
    ):
        with pytest.raises(ProtocolError, match=message):
            rclicks.train(spec, "LIDC_crops", tmp_path / "none", data_root=tmp_path / "absent", **changes)
    assert not (tmp_path / "none").exists()
    with pytest.raises(DataError, match="masks of the . held-out objects are empty"):
        train_aespa(EXAMPLES, [blank(0)], QUICK, SETTINGS, tmp_path / "blank")
    torch.save([1], tmp_path / "list.pth")
    large = replace(QUICK, encoder=VIT_B)
    for name, message in (("absent.pth", "cannot be read"), ("list.pth", "tensors of SAM")):
        with pytest.raises(WeightsError, match=message):
            train_aespa(EXAMPLES, EXAMPLES, large, SETTINGS, tmp_path / "bad", start=tmp_path / name)


def test_damaged_checkpoints_of_reduced_networks_are_refused(tmp_path: Path) -> None:
    weights = made(QUICK).weights()
    state = dict(weights["state_dict"])
    for name, bad, message in (
        ("image_encoder.pos_embed", torch.zeros(1, 64, 64, 25), "multiple of the head"),
        ("image_encoder.blocks.99.attn.rel_h", None, "missing"),
    ):
        broken = {**state, name: torch.zeros(3) if bad is None else bad}
        torch.save({**weights, "state_dict": broken}, tmp_path / "bad.pth")
        with pytest.raises(WeightsError, match=message):
            read_training_checkpoint(tmp_path / "bad.pth").build()
