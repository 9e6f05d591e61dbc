"""A trainable model for tests of trainings: a threshold of the red channel, fitted without any network."""

import json

import numpy as np

from rclicks.cards import ModelCard
from rclicks.errors import ProtocolError
from rclicks.models.contract import Model, State
from rclicks.options import Choice, Number, Numbers, PathOption, Text
from rclicks.training.loop import Progress, Result

CARDS = (
    ModelCard(
        name="toy-trained",
        family="toy-trained",
        summary="pixels above a threshold that a training found",
        trainable=True,
        starts_from="a threshold of an earlier training",
    ),
    ModelCard(name="toy-fixed", family="toy-trained", summary="pixels above a threshold that nobody can train"),
)


class Threshold(Model):
    def __init__(self, card, threshold):
        self.card, self.threshold, self.options = card, threshold, {}

    def embed(self, sample):
        return sample.image[..., 0]

    def segment(self, embedding, states):
        probability = np.where(embedding > self.threshold, 0.9, 0.1).astype(np.float32)
        return [State(s.interactions, probability > 0.5, probability) for s in states]


def load(card, *, checkpoint=None, device="cpu", protocol=None):
    return Threshold(card, 100 if checkpoint is None else json.loads(open(checkpoint).read())["threshold"])


def training_options(card, protocol):
    return {
        "step": Number(50, 1, 255, whole=True, help="distance of the thresholds that are tried"),
        "ends": Numbers((0, 250), 0, 255, 2, 2, help="first and last threshold"),
        "measure": Choice("dice", ("dice", "iou"), help="what is maximised"),
        "note": Text("", help="kept in the file"),
        "extra": PathOption(None, help="a file that must exist if it is given"),
        "fault": Choice("", ("", "import", "result"), help="what goes wrong on purpose"),
    }


def train(card, data, out, *, settings, protocol, start, report, step, ends, measure, note, extra, fault):
    if fault == "import":
        import no_such_package  # noqa: F401
    if fault == "result":
        return "trained"
    if extra is not None and not extra.is_file():
        raise ProtocolError(f"extra={extra} does not exist")
    grid = list(range(ends[0], ends[1] + 1, step))[: settings.epochs]
    if start is not None:
        grid.insert(0, json.loads(start.read_text())["threshold"])
    samples = {"train": list(data.train_samples()), "validation": list(data.validation_samples())}
    rows = []
    for epoch, threshold in enumerate(grid):
        score, seen = ([_score(s, threshold, measure) for s in samples[part]] for part in ("validation", "train"))
        rows.append({"epoch": epoch, "score": float(np.mean(score)), "train": float(np.mean(seen))})
        report(Progress(epoch, len(grid), 1, 1, 1 - rows[-1]["train"], rows[-1]))
    best = int(np.argmax([row["score"] for row in rows]))
    out.mkdir(parents=True, exist_ok=True)
    file = out / "best.json"
    file.write_text(json.dumps({"threshold": grid[best], "note": note, "seed": settings.seed}))
    return Result(file, best, len(rows), tuple(rows), False)


def _score(sample, threshold, measure):
    found, mask = sample.image[..., 0] > threshold, sample.targets[0].masks[0]
    both = (found & mask).sum()
    dice = 2 * both / max(1, found.sum() + mask.sum())
    return dice if measure == "dice" else dice / (2 - dice)
