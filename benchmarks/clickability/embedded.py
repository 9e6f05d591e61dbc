"""Reprint every figure of docs/click-models.md from the shipped weights and the human clicks.

    python benchmarks/clickability/embedded.py --data-root DATA

DATA holds clicks/voc_clicks (held-out clicks), clicks/rclicks_reference (statistics of the RClicks people) and the sets
GrabCut, Berkeley, DAVIS and COCO_MVal.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rclicks.clickability.contract import ClickMapQuery, ClickModel
from rclicks.clickability.embedded import CARDS, CueModel, load
from rclicks.clickability.simple import distance_map
from rclicks.clickability.trained import CARDS as TRAINED
from rclicks.clickability.trained import load as load_trained
from rclicks.clickability.training.cues import cross_validate, evidence_of, fit
from rclicks.engine.loading import load_dataset
from rclicks.errors import DataError
from rclicks.human_clicks.items import ClickItem, Scene
from rclicks.human_clicks.whats_the_point import voc_items
from rclicks.metrics.clicks import nss, pl1, wasserstein
from rclicks.registry import Registry
from rclicks.seeds import keyed_rng
from rclicks.specs import Spec

Density = Callable[[Scene], NDArray[np.float64]]
REFERENCE = {"GrabCut": "GrabCut", "Berkeley": "Berkeley", "DAVIS": "DAVIS", "COCO_MVal": "COCO"}
HIGHER = {"NSS": True, "log-likelihood": True, "WD": False, "PL1": False}


def normalised(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return a map of sum 1."""
    return weights.astype(np.float64) / weights.sum(dtype=np.float64)


def of_model(model: ClickModel) -> Density:
    """Return what a click model says of the first round."""
    return lambda scene: normalised(model.maps(model.prepare(scene.image), [ClickMapQuery(scene.mask, scene.error)])[0])


def models(folder: Path, network: Path | None = None) -> dict[str, Density]:
    """Return the densities to compare; DT^g has its exponent from the train clicks."""
    depth = fit(evidence_of(voc_items(folder, "train"), names=["depth"])).weights[0]
    found: dict[str, Density] = {
        "uniform": lambda scene: normalised(scene.error),
        "DT": lambda scene: normalised(distance_map(scene.error)),
        f"(DT + .05)^{depth:.2f}": of_model(CueModel(CARDS[0], np.array([depth, 0, 0, 0, 0]))),
        "clickability-mini": of_model(load(CARDS[0])),
    }
    if network is not None:
        found["network"] = of_model(load_trained(TRAINED[0], checkpoint=network))
    return found


def scores(name: str, density: Density, item: ClickItem, sets: int, seed: int) -> dict[str, float]:
    """Return the scores of one model on one item; all clicks count but for the likelihood, which needs clicks on E."""
    scene, points = item.load(), item.points
    share = density(scene)
    rows, columns = np.nonzero(scene.mask)
    box = float(np.ptp(rows) + 1), float(np.ptp(columns) + 1)
    rng = keyed_rng(seed, "embedded", item.key, name)
    drawn = rng.choice(share.size, (sets, len(points)), p=share.ravel())
    drawn = np.stack(np.divmod(drawn, share.shape[1]), -1)
    at = share[tuple(points.T)][scene.error[tuple(points.T)] > 0]
    ratio = distance_map(scene.error)
    return {
        "NSS": nss(share, points),
        "log-likelihood": float(np.log(at * scene.error.sum()).mean()),
        "WD": float(wasserstein(points, drawn, box).mean()),
        "PL1": float(pl1(points, drawn, box).mean()),
        "DT ratio": float((share * ratio).sum()),
        "people's DT ratio": float(ratio[tuple(points.T)].mean()),
    }


def interval(values: NDArray[np.float64], seed: int) -> str:
    """Return the mean and its 95 % percentile bootstrap interval."""
    draws = np.random.default_rng(seed).choice(values, (10000, len(values))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def held_out(folder: Path, sets: int, seed: int, network: Path | None) -> None:
    """Print scores on the val clicks."""
    items = voc_items(folder, "val")
    on = sum(int((i.load().error[tuple(i.points.T)] > 0).sum()) for i in items)
    total = sum(len(i.points) for i in items)
    print(f"held-out clicks: {len(items)} objects, {total} clicks, {on} of them on the object; B = {sets}\n")
    frames = {
        name: pd.DataFrame([scores(name, density, item, sets, seed) for item in items])
        for name, density in models(folder, network).items()
    }
    print(pd.DataFrame({name: frame.mean() for name, frame in frames.items()}).T.round(4).to_string())
    print("\nclickability-mini minus the other, paired, 95 % bootstrap interval over objects")
    own = frames["clickability-mini"]
    for name, frame in frames.items():
        if frame is not own:
            for score in HIGHER:
                print(f"  {score:15s} {name:16s} {interval((own[score] - frame[score]).to_numpy(), seed)}")


def benchmarks(root: Path) -> None:
    """Print mean DT ratio (precise L2, not padded) of people and of models on the benchmark objects."""
    table = pd.read_csv(root / "clicks/rclicks_reference/first_round_human_stats.csv", dtype={"stem": str})
    registry = Registry.discover()
    compared = models(root / "clicks/voc_clicks")
    print("\nbenchmark objects: mean DT ratio, not padded at the border\n")
    rows = []
    for name, reference in REFERENCE.items():
        known = table[table["dataset"] == reference].set_index("stem")
        folder = registry.find("dataset", name).card.folder  # type: ignore[union-attr]
        try:
            dataset = load_dataset(registry, Spec(name, {}, None), root / folder)
            names: Sequence[str] = dataset.ids
        except DataError as error:
            print(f"{name}: {error}")
            continue
        found = []
        for index, stem in enumerate(names):
            if stem not in known.index:
                continue
            sample = dataset[index]
            mask = np.logical_or.reduce([t.masks[0] for t in sample.targets])
            scene = Scene(np.asarray(sample.image, np.uint8), mask, mask)
            ratio = distance_map(mask, border_is_outside=False)
            human = known.loc[stem]
            found.append(
                {
                    "people": human["human_mean_dt_ratio"],
                    "people on object": human["human_on_object_frac"],
                    "uniform (file)": human["uniform_mean_dt_ratio"],
                    "same area": float(mask.sum() == human["mask_area"]),
                    **{k: float((density(scene) * ratio).sum()) for k, density in compared.items()},
                }
            )
        rows.append({"set": name, "objects": len(found), **pd.DataFrame(found).mean().round(4).to_dict()})
    print(pd.DataFrame(rows).to_string(index=False))


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation on the train clicks; 0 skips it")
    parser.add_argument("--network", type=Path, help="best.pth of `rclicks train clickability-trained`")
    given = parser.parse_args()
    folder = given.data_root / "clicks/voc_clicks"
    held_out(folder, given.sets, given.seed, given.network)
    if given.folds:
        gains = cross_validate(evidence_of(voc_items(folder, "train")), given.folds)
        print(
            f"\ncross-validation on train: {np.mean(gains):.4f} nats a click above uniform; folds {np.round(gains, 3)}"
        )
    benchmarks(given.data_root)


if __name__ == "__main__":
    main()
