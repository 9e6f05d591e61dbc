"""The adapter of the probabilistic U-Net: samples from a keyed generator, answers, options, checkpoints."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rclicks
from rclicks.adapters.probunet.checkpoint import FORMAT, Design, build, checkpoint_of, read_network
from rclicks.errors import ProtocolError, WeightsError
from rclicks.interaction import Click
from rclicks.models.contract import State
from rclicks.models.weights import synthetic_state
from rclicks.sample import Sample
from support import rng_image

torch = pytest.importorskip("torch")

DESIGN = Design(features=(8, 16, 16), latent=3)
IMAGE = Sample("test", "image", rng_image(3, 37, 45))
FIRST = State((Click((15, 20)),))
SECOND = State((Click((15, 20)), Click((3, 40), False)), np.eye(37, 45, dtype=bool))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def checkpoint(folder: Path, design: Design = DESIGN) -> Path:
    """Write a checkpoint with synthetic weights, its logits shifted so that masks are neither empty nor full."""
    network = build(design)
    network.load_state_dict(synthetic_state(network, overrides={"join.4.bias": [-0.9]}))
    file = folder / "mine.pth"
    torch.save(checkpoint_of(network, design), file)
    return file


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("weights"))


def model(file: Path, **options: Any) -> Any:
    return rclicks.load_model("probunet", checkpoint=str(file), **{"samples": 5, **options})


def test_answer_is_the_mean_of_the_samples_or_the_most_central_one(file: Path) -> None:
    mean, central = model(file), model(file, prediction="central")
    embedding = mean.embed(IMAGE)
    for state in (FIRST, SECOND):
        (found,), (one,) = mean.segment(embedding, [state]), central.segment(embedding, [state])
        samples = mean.samples(embedding, found)
        assert samples.shape == (5, 37, 45)
        assert samples.dtype == np.float32
        assert len({s.tobytes() for s in samples}) == 5
        assert np.array_equal(found.probability, samples.mean(0))
        assert np.array_equal(found.mask, found.probability > 0.5)
        masks = samples > 0.5
        iou = [np.mean([(a & b).sum() / max(1, (a | b).sum()) for b in masks]) for a in masks]
        assert np.array_equal(one.probability, samples[int(np.argmax(iou))])
        assert np.array_equal(central.samples(embedding, one), samples)


def test_samples_hang_on_names_clicks_seed_and_previous_mask_and_on_nothing_else(file: Path) -> None:
    torch.manual_seed(1)
    base = model(file)
    embedding = base.embed(IMAGE)

    def drawn(made: Any, state: State, sample: Sample = IMAGE) -> bytes:
        return made.segment(made.embed(sample), [state])[0].memory.noise.tobytes()

    noise = drawn(base, FIRST)
    torch.manual_seed(2)
    np.random.seed(5)  # noqa: NPY002 - the point is that it does not matter
    assert drawn(model(file), FIRST) == noise
    others = [
        drawn(model(file, seed=1), FIRST),
        drawn(base, SECOND),
        drawn(base, State((Click((15, 20), False),))),
        drawn(base, State((Click((15, 21)),))),
        drawn(base, FIRST, replace(IMAGE, id="other")),
        drawn(base, FIRST, replace(IMAGE, dataset="other")),
    ]
    assert len({noise, *others}) == len(others) + 1
    (with_mask,) = base.segment(embedding, [SECOND])
    (without,) = base.segment(embedding, [replace(SECOND, mask=None)])
    assert with_mask.memory.noise.tobytes() == without.memory.noise.tobytes()
    assert not np.array_equal(with_mask.probability, without.probability)


def test_more_samples_begin_with_the_same_ones_and_order_and_company_do_not_matter(file: Path) -> None:
    few, many = model(file), model(file, samples=9)
    embedding = few.embed(IMAGE)
    alone = [few.segment(embedding, [s])[0] for s in (FIRST, SECOND)]
    more = many.segment(embedding, [FIRST])[0]
    assert np.array_equal(many.samples(embedding, more)[:5], few.samples(embedding, alone[0]))
    together = few.segment(embedding, [SECOND, FIRST, SECOND])
    for state, wanted in zip(together, (alone[1], alone[0], alone[1]), strict=True):
        assert np.array_equal(state.probability, wanted.probability)


def test_samples_before_the_first_click(file: Path) -> None:
    made = model(file)
    embedding = made.embed(IMAGE)
    samples = made.samples(embedding, State())
    assert samples.shape == (5, 37, 45)
    assert np.array_equal(samples, made.samples(embedding, State()))
    assert not np.array_equal(samples, made.samples(embedding, made.segment(embedding, [FIRST])[0]))


def test_padding_is_below_and_to_the_right_and_is_cut_off(file: Path) -> None:
    made = model(file)
    image = np.zeros((40, 48, 3), np.uint8)
    image[:37, :45] = IMAGE.image
    embedding = made.embed(IMAGE)
    assert embedding.image.shape == (3, 40, 48)
    assert not embedding.image[:, 37:].any()
    assert np.allclose(embedding.image[:, :37, :45], np.moveaxis(IMAGE.image / 127.5 - 1, 2, 0), atol=1e-6)
    assert made.segment(embedding, [FIRST])[0].mask.shape == (37, 45)


def test_a_network_without_clicks_answers_the_same_whatever_is_clicked(tmp_path: Path) -> None:
    made = model(checkpoint(tmp_path, replace(DESIGN, clicks=False)))
    embedding = made.embed(IMAGE)
    first, second = made.segment(embedding, [FIRST, SECOND])
    assert np.array_equal(first.probability, second.probability)


def test_the_checkpoint_says_its_sizes_and_is_named(file: Path) -> None:
    made = model(file)
    assert made.design == DESIGN
    assert made.checkpoint_id.startswith("mine.pth@")
    assert made.options == {"samples": 5, "prediction": "mean", "seed": 0}
    network, _ = read_network(file)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), made.network.parameters(), strict=True))


class Harm:
    def __reduce__(self) -> tuple:
        return print, ("run",)


def wrong_checkpoints() -> dict[str, tuple[Any, str]]:
    good = checkpoint_of(build(DESIGN), DESIGN)
    state = good["state"]
    small = {k: v for k, v in state.items() if k != "prior_head.bias"}
    return {
        "code": ({**good, "design": Harm()}, "could run code"),
        "plain": (state, "no checkpoint of a probabilistic"),
        "list": ([1, 2], "no checkpoint of a probabilistic"),
        "format": ({**good, "format": FORMAT + "0"}, "no checkpoint of a probabilistic"),
        "nodesign": ({"format": FORMAT, "state": state}, "sizes of its network"),
        "odd": ({**good, "design": {**good["design"], "depth": 3}}, "sizes of its network"),
        "huge": ({**good, "design": {**good["design"], "features": [10**9, 8]}}, "sizes of its network"),
        "word": ({**good, "design": {**good["design"], "latent": "6"}}, "sizes of its network"),
        "missing": ({**good, "state": small}, "1 keys missing"),
        "other": ({**good, "design": {**good["design"], "latent": 4}}, "of another shape"),
    }


@pytest.mark.parametrize(
    "kind", ["code", "plain", "list", "format", "nodesign", "odd", "huge", "word", "missing", "other"]
)
def test_a_wrong_checkpoint_is_refused(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = wrong_checkpoints()[kind]
    torch.save(content, tmp_path / "wrong.pth")
    with pytest.raises(WeightsError, match=message):
        model(tmp_path / "wrong.pth")
    assert "run" not in capsys.readouterr().out


def test_a_damaged_file_and_wrong_options_are_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged.pth").write_bytes(file.read_bytes()[:2000])
    with pytest.raises(WeightsError, match="damaged"):
        model(tmp_path / "damaged.pth")
    for wrong in ({"samples": 0}, {"prediction": "best"}, {"seed": -1}, {"clusters": 4}):
        with pytest.raises(ProtocolError):
            model(file, **wrong)
