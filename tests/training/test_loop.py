"""The loop: resuming, early stopping, files, and what it refuses. The task is a small regression with dropout."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rclicks.errors import DataError, ProtocolError, WeightsError  # noqa: E402
from rclicks.models.weights import read_checkpoint  # noqa: E402
from rclicks.training.loop import Progress, Settings, TrainingTask, train  # noqa: E402
from rclicks.training.schedules import warm_cosine  # noqa: E402


class Line(TrainingTask):
    """Learns y = 2 x from noisy points; validation may be scripted."""

    def __init__(self, scores: Sequence[float] = (), poison: int | None = None) -> None:
        torch.manual_seed(0)
        self.network = torch.nn.Sequential(
            torch.nn.Linear(1, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1)
        )
        self.optimizer = torch.optim.AdamW(
            [{"params": self.network[0].parameters(), "share": 0.1}, {"params": self.network[3].parameters()}], 1e-2
        )
        self.size, self.scores, self.poison, self.seen = 21, list(scores), poison, []

    def lr(self, step: int, total: int) -> float:
        self.seen.append((step, total))
        return warm_cosine(step, total, 1e-2)

    def item(self, index: int, rng: np.random.Generator) -> Any:
        x = np.float32(index / self.size)
        return x, np.float32(2 * x + rng.normal(0, 0.1))

    def loss(self, items: Sequence[Any]) -> Any:
        x, y = (torch.tensor(np.array(values))[:, None] for values in zip(*items, strict=True))
        if self.poison == len(self.seen):
            y = y * float("nan")
        return ((self.network(x) - y) ** 2).mean()

    def validate(self) -> tuple[float, dict[str, float]]:
        with torch.inference_mode():
            x = torch.linspace(0, 1, 9)[:, None]
            error = float(((self.network(x) - 2 * x) ** 2).mean())
        return (self.scores.pop(0) if self.scores else -error), {"error": error}

    def weights(self) -> dict[str, Any]:
        return dict(self.network.state_dict())


SETTINGS = Settings(epochs=6, batch_size=5, seed=3, workers=2)


class Stop(Exception):
    """Pulls the plug."""


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return set(a) == set(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)


@pytest.mark.parametrize("step", [1, 3, 4])
@pytest.mark.parametrize("epoch", [0, 2, 5])
def test_a_resumed_training_equals_an_undisturbed_one(tmp_path: Path, epoch: int, step: int) -> None:
    def pull(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (epoch, step) and progress.row is None:
            raise Stop

    whole = train(Line(), SETTINGS, tmp_path / "whole", identity={})
    with pytest.raises(Stop):
        train(Line(), SETTINGS, tmp_path / "cut", identity={}, report=pull)
    cut = train(Line(), replace(SETTINGS, workers=1), tmp_path / "cut", identity={}, resume=True)
    assert cut.rows == whole.rows
    assert cut.best_epoch == whole.best_epoch
    for name in ("last.pth", "best.pth"):
        assert equal(*(read_checkpoint(tmp_path / f / name) for f in ("whole", "cut")))
    assert (tmp_path / "whole/log.csv").read_text() == (tmp_path / "cut/log.csv").read_text()


def test_a_finished_training_resumes_to_itself(tmp_path: Path) -> None:
    first = train(Line(), SETTINGS, tmp_path, identity={})
    again = train(Line(), SETTINGS, tmp_path, identity={}, resume=True)
    assert again == first


def test_the_loss_falls_and_files_say_so(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=30)
    result = train(Line(), settings, tmp_path, identity={"data": "line"})
    assert result.rows[-1]["loss"] < result.rows[0]["loss"] / 2
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(r["epoch"]) for r in rows] == list(range(30))
    assert float(rows[4]["error"]) == result.rows[4]["error"]
    told = json.loads((tmp_path / "settings.json").read_text())
    assert told["data"] == "line"
    assert told["seed"] == 3
    assert not list(tmp_path.glob("*.partial"))


def test_every_step_gets_its_rate_and_every_group_its_share(tmp_path: Path) -> None:
    task = Line()
    train(task, SETTINGS, tmp_path, identity={})
    assert task.seen == [(s, 24) for s in range(24)]  # 21 items make 4 batches of 5
    assert [g["lr"] for g in task.optimizer.param_groups] == [0.0, 0.0]
    first = Line()
    with pytest.raises(Stop):
        train(first, SETTINGS, tmp_path / "one", identity={}, report=lambda p: (_ for _ in ()).throw(Stop))
    slow, fast = (g["lr"] for g in first.optimizer.param_groups)
    assert slow == pytest.approx(0.1 * fast)


def test_it_stops_when_validation_gets_no_better_and_keeps_the_best(tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=9, patience=2, keep_epochs=True)
    result = train(Line([1, 3, 2, 2, 9]), settings, tmp_path, identity={})
    assert (result.epochs, result.best_epoch, result.stopped_early) == (4, 1, True)
    assert sorted(p.name for p in tmp_path.glob("epoch_*")) == [f"epoch_{i}.pth" for i in range(4)]
    assert equal(read_checkpoint(result.best), read_checkpoint(tmp_path / "epoch_1.pth"))
    assert not equal(read_checkpoint(result.best), read_checkpoint(tmp_path / "epoch_3.pth"))


def test_results_follow_the_seed(tmp_path: Path) -> None:
    rows = [
        train(Line(), replace(SETTINGS, seed=s), tmp_path / f"{i}", identity={}).rows for i, s in enumerate((1, 1, 2))
    ]
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_a_folder_in_use_is_not_overwritten(tmp_path: Path) -> None:
    train(Line(), SETTINGS, tmp_path, identity={"sigma": 5})
    with pytest.raises(ProtocolError, match="already contains a training"):
        train(Line(), SETTINGS, tmp_path, identity={"sigma": 5})
    with pytest.raises(ProtocolError, match="different seed, sigma"):
        train(Line(), replace(SETTINGS, seed=4), tmp_path, identity={"sigma": 6}, resume=True)


def test_settings_keep_the_keys_of_older_versions(tmp_path: Path) -> None:
    """Older versions wrote the keys ``batch`` and ``rate``; their trainings are resumed, or refused with a reason."""
    recipe = {"model": "line", "lr": 0.01}
    whole = train(Line(), SETTINGS, tmp_path, identity={"recipe": recipe})
    older = {"epochs": 6, "batch": 5, "seed": 3, "patience": None, "keep_epochs": False, "workers": 2, "mixed": True}
    older |= {"device": "cpu", "recipe": {"model": "line", "rate": 0.01}}
    assert json.loads((tmp_path / "settings.json").read_text()) == older
    assert train(Line(), SETTINGS, tmp_path, identity={"recipe": recipe}, resume=True) == whole
    with pytest.raises(ProtocolError, match="different batch_size;"):
        train(Line(), replace(SETTINGS, batch_size=4), tmp_path, identity={"recipe": recipe}, resume=True)
    with pytest.raises(ProtocolError, match="different recipe;"):
        train(Line(), SETTINGS, tmp_path, identity={"recipe": recipe | {"lr": 0.02}}, resume=True)


def test_damaged_states_are_refused(tmp_path: Path) -> None:
    train(Line(), SETTINGS, tmp_path, identity={})
    last = tmp_path / "last.pth"
    whole = last.read_bytes()
    last.write_bytes(whole[:200])
    with pytest.raises(WeightsError, match="damaged"):
        train(Line(), SETTINGS, tmp_path, identity={}, resume=True)
    torch.save({"network": {}}, last)
    with pytest.raises(WeightsError, match="not a training state"):
        train(Line(), SETTINGS, tmp_path, identity={}, resume=True)
    torch.save({"network": {}, "optimizer": {}, "rows": [], "best": 0.0, "best_epoch": 0}, last)
    with pytest.raises(WeightsError, match="does not fit"):
        train(Line(), SETTINGS, tmp_path, identity={}, resume=True)
    last.write_bytes(whole)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ProtocolError, match="cannot be read"):
        train(Line(), SETTINGS, tmp_path, identity={}, resume=True)


def test_a_loss_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="epoch 0, step 2 is nan"):
        train(Line(poison=3), SETTINGS, tmp_path, identity={})


def test_too_few_items_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs 22 items, but the training has only 21"):
        train(Line(), replace(SETTINGS, batch_size=22), tmp_path, identity={})


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"batch_size": 0}, {"workers": 0}, {"patience": 0}])
def test_settings_that_train_nothing_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ProtocolError, match=next(iter(bad))):
        replace(SETTINGS, **bad)
