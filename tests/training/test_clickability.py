"""Training click models: losses by their formulas, both recipes on real clicks, resuming, and what they refuse."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

import rclicks  # noqa: E402
from rclicks.cli.main import app  # noqa: E402
from rclicks.clickability.contract import ClickMapQuery  # noqa: E402
from rclicks.clickability.embedded import CARDS as EMBEDDED  # noqa: E402
from rclicks.clickability.embedded import WEIGHTS, read_weights  # noqa: E402
from rclicks.clickability.embedded import load as load_embedded  # noqa: E402
from rclicks.clickability.groundtruth import click_map  # noqa: E402
from rclicks.clickability.letterbox import Letterbox  # noqa: E402
from rclicks.clickability.trained import ARCHITECTURES, CARDS, load  # noqa: E402
from rclicks.clickability.training.backbones import backbone_of, fill_backbone  # noqa: E402
from rclicks.clickability.training.hooks import read_items  # noqa: E402
from rclicks.clickability.training.network import (  # noqa: E402
    DensityTask,
    PublishedTask,
    Recipe,
    divergence,
    similarity,
    train_network,
)
from rclicks.data.contract import Dataset  # noqa: E402
from rclicks.engine.loading import load_click_model  # noqa: E402
from rclicks.errors import DataError, ProtocolError, WeightsError  # noqa: E402
from rclicks.human_clicks.items import ClickItem  # noqa: E402
from rclicks.human_clicks.whats_the_point import voc_items  # noqa: E402
from rclicks.models.weights import read_checkpoint  # noqa: E402
from rclicks.registry import Registry  # noqa: E402
from rclicks.specs import Spec  # noqa: E402
from rclicks.training.loop import Settings  # noqa: E402
from rclicks.training.split import train_val_split  # noqa: E402
from support import SHARED, needs_shared  # noqa: E402

FOLDER = SHARED / "data/clicks/voc_clicks"
MINI = Recipe(architecture="mini-cnn", lr=5e-3)
PUBLISHED = Recipe(architecture="segnext-t", protocol="compat", lr=0.01)
SETTINGS = Settings(epochs=4, batch_size=4, seed=1, workers=1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the networks, which take any size, see small boxes."""
    monkeypatch.setitem(ARCHITECTURES, "mini-cnn", (64, 64))
    monkeypatch.setitem(ARCHITECTURES, "segnext-t", (64, 64))
    torch.set_num_threads(1)


def voc_clicks(split: str) -> Dataset:
    return rclicks.load_dataset("VOC_clicks", FOLDER, split=split)


def real(split: str, count: int) -> list[ClickItem]:
    return voc_items(FOLDER, split)[:count]


def test_the_published_divergence_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    made, target = rng.random((2, 3, 5, 7))
    target[2] = 0
    p = made / (made.sum((1, 2), keepdims=True) + 1e-9)
    t = target / (target.sum((1, 2), keepdims=True) + 1e-9)
    expected = (t * np.log(1e-9 + t / (1e-9 + p))).sum((1, 2))
    found = divergence(torch.from_numpy(made), torch.from_numpy(target)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found[2] == 0
    assert divergence(torch.from_numpy(made), torch.from_numpy(made)).abs().max() < 1e-6


def test_similarity_is_one_for_equal_maps_whatever_their_scale() -> None:
    made = torch.from_numpy(np.random.default_rng(0).random((6, 5)))
    assert similarity(made, 3 * made + 1) == pytest.approx((1, 1))
    left, right = torch.zeros(2, 6, dtype=torch.float64), torch.zeros(2, 6, dtype=torch.float64)
    left[:, :3], right[:, 3:] = 1, 1
    assert similarity(left, right) == pytest.approx((-1, 0), abs=1e-6)


@needs_shared
@pytest.mark.usefixtures("small")
def test_the_published_recipe_is_adam_on_all_weights_and_mirrors_only() -> None:
    task = PublishedTask(real("train", 3), [], PUBLISHED, "cpu")
    assert type(task.optimizer) is torch.optim.Adam
    (group,) = task.optimizer.param_groups
    assert group["weight_decay"] == 0
    assert sum(p.numel() for p in group["params"]) == sum(p.numel() for p in task.network.parameters())
    scene, letterbox = task.items[0].load(), Letterbox.of(task.items[0].load().error.shape, (64, 64))
    expected = letterbox.put(click_map(task.items[0].points, scene.error, 5.0))
    plain = mirrored = 0
    for seed in range(12):
        _, masks, target = task.item(0, np.random.default_rng(seed))
        assert np.array_equal(masks[0], masks[1])
        plain += np.array_equal(target, expected)
        mirrored += np.allclose(target[:, ::-1], expected, atol=1e-5)
    assert plain + mirrored == 12
    assert plain > 2
    assert mirrored > 2


@needs_shared
@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_the_published_recipe_trains_and_resumes(tmp_path: Path) -> None:
    items = real("train", 8)

    def run(name: str, epochs: int, *, resume: bool = False) -> tuple[dict[str, float], ...]:
        settings = Settings(epochs=epochs, batch_size=4, seed=1, workers=1, keep_epochs=True)
        return train_network(items, items[:2], PUBLISHED, settings, tmp_path / name, resume=resume).rows

    rows = run("whole", 6)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert {"kl", "cc", "sim"} <= set(rows[0])
    assert all(r["score"] == r["sim"] for r in rows)
    assert len(list((tmp_path / "whole").glob("epoch_*.pth"))) == 6
    state = read_checkpoint(tmp_path / "whole/best.pth")
    assert "maps_transform.5.scale" in state  # plain, with the published keys


@needs_shared
@pytest.mark.usefixtures("small")
def test_untrained_the_network_is_the_embedded_model(tmp_path: Path) -> None:
    items = real("train", 4)
    train_network(items, items, MINI, replace(SETTINGS, epochs=1), tmp_path)
    task = DensityTask(items, items, MINI, "cpu", weights=read_weights(WEIGHTS), backbone=None)
    content = task.weights()
    torch.save(content, tmp_path / "untrained.pth")
    model, own = load(CARDS[0], checkpoint=tmp_path / "untrained.pth"), load_embedded(EMBEDDED[0])
    for item in items:
        scene = item.load()
        query = ClickMapQuery(scene.mask, scene.error)
        np.testing.assert_allclose(
            model.maps(model.prepare(scene.image), [query])[0], own.maps(None, [query])[0], rtol=1e-4, atol=1e-9
        )


@needs_shared
@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_the_default_recipe_learns_resumes_and_its_best_is_a_density(tmp_path: Path) -> None:
    items, others = real("train", 8), real("val", 3)
    whole = train_network(items, others, MINI, SETTINGS, tmp_path / "whole")

    class Stop(Exception):
        pass

    def pull(progress: object) -> None:
        if getattr(progress, "epoch", 0) == 2:
            raise Stop

    with pytest.raises(Stop):
        train_network(items, others, MINI, SETTINGS, tmp_path / "cut", report=pull)
    cut = train_network(items, others, MINI, SETTINGS, tmp_path / "cut", resume=True)
    assert cut.rows == whole.rows
    a, b = (read_checkpoint(tmp_path / f / "last.pth")["network"] for f in ("whole", "cut"))
    assert all(torch.equal(a[k], b[k]) for k in a)
    long = train_network(items, items, replace(MINI, lr=2e-3), replace(SETTINGS, epochs=20), tmp_path / "long")
    # On the training items, without augmentation and dropout, the gain is the negative loss up to a constant.
    assert long.rows[-1]["gain"] > long.rows[0]["gain"] + 0.02
    model = load(CARDS[0], checkpoint=long.best)
    scene = items[0].load()
    half = scene.error.copy()
    half[:, : scene.error.shape[1] // 2] = False
    queries = [
        ClickMapQuery(scene.mask, scene.error),
        ClickMapQuery(scene.mask, half),
        ClickMapQuery(scene.mask, np.zeros_like(half)),
    ]
    for query, found in zip(queries, model.maps(model.prepare(scene.image), queries), strict=True):
        assert found.sum(dtype=np.float64) == pytest.approx(float(query.error.any()), abs=1e-5)
        assert (found[~query.error] == 0).all()


@needs_shared
@pytest.mark.usefixtures("small")
def test_the_target_is_a_density_inside_the_error() -> None:
    task = DensityTask(real("train", 5), [], MINI, "cpu", weights=read_weights(WEIGHTS), backbone=None)
    for index in range(5):
        for seed in range(4):
            image, masks, prior, target = task.item(index, np.random.default_rng(seed))
            assert image.shape == (3, 64, 64)
            assert prior.shape == (1, 64, 64)
            assert target.sum() == pytest.approx(1, abs=1e-5)
            assert (target[masks[1] == 0] == 0).all()


@pytest.mark.usefixtures("small")
def test_a_pretrained_backbone_is_used_and_learns_slowly(tmp_path: Path) -> None:
    task = PublishedTask([], [], PUBLISHED, "cpu")
    state = {
        f"backbone.{k}": v + 1 if v.is_floating_point() else v
        for k, v in backbone_of(task.network).state_dict().items()
    }
    torch.save({"state_dict": {**state, "head.weight": torch.zeros(2)}}, tmp_path / "mscan.pth")
    recipe = Recipe(architecture="segnext-t")
    weights = read_weights(WEIGHTS)
    made = DensityTask([], [], recipe, "cpu", weights=weights, backbone=tmp_path / "mscan.pth")
    found = backbone_of(made.network).state_dict()
    assert all(torch.equal(found[k], state[f"backbone.{k}"]) for k in found)
    shares = {g["share"] for g in made.optimizer.param_groups}
    assert shares == {0.1, 1.0}
    slow = {id(p) for g in made.optimizer.param_groups if g["share"] == 0.1 for p in g["params"]}
    assert slow == {id(p) for p in backbone_of(made.network).parameters()}
    assert {g["weight_decay"] for g in made.optimizer.param_groups} == {0.0, recipe.decay}


def test_batch_norms_are_folded_into_the_small_encoder() -> None:
    from rclicks.clickability.networks.embedded import Encoder

    torch.manual_seed(0)
    encoder, state = Encoder(), {}
    conv, norm = torch.nn.Conv2d(3, 32, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(32, eps=1e-3)

    def put(keys: tuple[str, str], layer: torch.nn.Module, own: torch.nn.Module) -> None:
        state[f"{keys[0]}.weight"] = layer.weight.detach()
        state.update({f"{keys[1]}.{k}": v for k, v in own.state_dict().items()})

    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    torch.nn.init.uniform_(norm.weight)
    torch.nn.init.uniform_(norm.bias)
    put(("_conv_stem", "_bn0"), conv, norm)
    for i, block in enumerate(encoder.blocks):
        pairs = [("_depthwise_conv", "_bn1", block.depthwise), ("_project_conv", "_bn2", block.project)]
        if block.expand is not None:
            pairs.append(("_expand_conv", "_bn0", block.expand))
        for name, own, layer in pairs:
            put((f"_blocks.{i}.{name}", f"_blocks.{i}.{own}"), layer, torch.nn.BatchNorm2d(layer.out_channels))
    encoder.fill(state, "test")
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(encoder.stem(x), norm.eval()(conv(x)), rtol=1e-5, atol=1e-5)
    with pytest.raises(WeightsError, match="EfficientNet-Lite0"):
        encoder.fill({"a": x}, "test")


def test_wrong_backbones_are_refused(tmp_path: Path) -> None:
    task = SimpleNamespace(network=DensityTask([], [], MINI, "cpu", weights=np.zeros(5), backbone=None).network)
    with pytest.raises(WeightsError, match="does not exist"):
        fill_backbone(task.network, tmp_path / "none.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="contains a list"):
        fill_backbone(task.network, tmp_path / "list.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not contain the weights of EfficientNet-Lite0"):
        fill_backbone(task.network, tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"architecture": "vgg"}, "allowed: mini-cnn"),
        ({"architecture": "mini-cnn", "protocol": "compat"}, "does not train mini-cnn"),
        ({"architecture": "segnext-t", "protocol": "old"}, "allowed: default, compat"),
        ({"architecture": "segnext-t", "lr": 0.0}, "learning rate"),
    ],
)
def test_recipes_that_do_not_exist_are_refused(bad: dict[str, object], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        Recipe(**bad)


def test_wrong_checkpoints_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "plain.pth")
    with pytest.raises(WeightsError, match="belong to the click models"):
        load(CARDS[0], checkpoint=tmp_path / "plain.pth")
    head = {"format": "rclicks trained click model 1", "cues": [0.0] * 5, "state": {}}
    torch.save({**head, "architecture": "vgg"}, tmp_path / "vgg.pth")
    with pytest.raises(WeightsError, match="'vgg'"):
        load(CARDS[0], checkpoint=tmp_path / "vgg.pth")
    torch.save({**head, "architecture": "mini-cnn"}, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match="keys missing"):
        load(CARDS[0], checkpoint=tmp_path / "empty.pth")


def test_training_needs_items_on_both_sides(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 0 and 0"):
        train_network([], [], MINI, SETTINGS, tmp_path)
    item = ClickItem("a", "d", "s", "0", "first", np.zeros((1, 2), np.int64), ("",), lambda: None)
    with pytest.raises(ProtocolError, match="random weights"):
        train_network([item], [item], PUBLISHED, SETTINGS, tmp_path, backbone=tmp_path / "b.pth")


@needs_shared
@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_the_command_line_trains(tmp_path: Path) -> None:
    folder = tmp_path / "clicks"
    folder.mkdir()
    for name in ("images", "labels", "clicks.csv"):
        (folder / name).symlink_to(FOLDER / name)
    lines = (FOLDER / "objects.csv").read_text().splitlines()
    kept = [lines[0], *[r for r in lines if r.startswith("train")][:12], *[r for r in lines if r.startswith("val")][:4]]
    (folder / "objects.csv").write_text("\n".join(kept) + "\n")
    data = f"VOC_clicks:split=all,root={folder}"

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(app, ["train", *words])

    done = invoke("clickability-mini:folds=2", data, "-o", str(tmp_path / "mini"))
    assert done.exit_code == 0, done.output
    for word in ("depth", "held_out_gain", "cross_validated_gain", str(tmp_path / "mini" / WEIGHTS.name)):
        assert word in done.output
    assert read_weights(tmp_path / "mini" / WEIGHTS.name).shape == (5,)
    options = ["--epochs", "2", "--batch-size", "4", "--workers", "1"]
    done = invoke("clickability-trained", data, "-o", str(tmp_path / "cnn"), *options)
    assert done.exit_code == 0, done.output
    assert "epoch 2/2" in done.output
    assert load(CARDS[0], checkpoint=tmp_path / "cnn" / "best.pth").card.name == "clickability-trained"
    done = invoke(
        "clickability-t", data, "-o", str(tmp_path / "seg"), "--protocol", "compat", *options[2:], "--epochs", "1"
    )
    assert done.exit_code == 0, done.output
    published = load_click_model(
        Registry.discover(), Spec("clickability-t", checkpoint=str(tmp_path / "seg" / "best.pth"))
    )
    assert published.checkpoint_id.startswith("best.pth@")


@needs_shared
def test_the_items_of_voc_clicks_are_those_of_its_own_split() -> None:
    train, validation = read_items(EMBEDDED[0], train_val_split([voc_clicks("all")]), None, None)
    for found, split in ((train, "train"), (validation, "val")):
        assert [(i.key, i.points.tolist()) for i in found] == [
            (i.key, i.points.tolist()) for i in voc_items(FOLDER, split)
        ]


@needs_shared
def test_what_the_trainings_of_click_models_refuse(tmp_path: Path) -> None:
    voc, other = f"VOC_clicks:split=all,root={FOLDER}", "quickstart"
    for model, data, changes, message in (
        ("clickability-mini", voc, {"protocol": "compat"}, "no published training recipe"),
        ("clickability-mini", voc, {"epochs": 3, "lr": 0.1}, "leave out epochs, lr"),
        ("clickability-mini", voc, {"init_weights": FOLDER / "clicks.csv"}, "always starts from random"),
        ("clickability-mini", other, {}, "contains no clicks"),
        ("clickability-mini", voc, {"clicks": FOLDER}, "VOC_clicks:split=all,root="),
        ("clickability-trained", voc, {"protocol": "compat"}, "clickability-s or clickability-t"),
        ("clickability-trained", voc, {"architecture": "vit"}, "one of mini-cnn, segnext-t"),
        ("clickability-s", voc, {}, "architecture=segnext-s"),
        ("distance", voc, {}, "distance cannot be trained; trainable: .*clickability-mini"),
    ):
        with pytest.raises(ProtocolError, match=message):
            rclicks.train(model, data, tmp_path / "out", **changes)
    with pytest.raises(DataError, match="published validation part"):
        rclicks.train("clickability-mini", f"VOC_clicks:root={FOLDER}", tmp_path / "out")
    with pytest.raises(DataError, match="is missing"):
        rclicks.train("clickability-mini", f"VOC_clicks:split=all,root={tmp_path}", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@needs_shared
def test_a_click_table_is_split_by_image(tmp_path: Path) -> None:
    listed = tmp_path / "held.txt"
    names = sorted({i.sample for i in voc_items(FOLDER, "train")})
    listed.write_text("\n".join(names[:20]) + "\n")
    table = tmp_path / "clicks.csv"
    rows = (FOLDER / "clicks.csv").read_text().splitlines()
    wanted = {(i.sample, i.object) for i in voc_items(FOLDER, "train")}
    table.write_text("\n".join([rows[0], *[r for r in rows if tuple(r.split(",")[:2]) in wanted]]) + "\n")
    data = voc_clicks("train")

    def split(val_list: Path | None = None) -> list[set[str]]:
        found = read_items(EMBEDDED[0], train_val_split([data], val_list), table, None)
        return [{item.sample for item in items} for items in found]

    assert split(listed) == [set(names[20:]), set(names[:20])]
    train, other = split()
    assert train | other == set(names)
    assert not train & other
    assert 0 < len(other) < len(names) / 4
    with pytest.raises(DataError, match="cannot be read"):
        split(tmp_path / "none.txt")
