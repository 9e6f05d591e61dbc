"""Compare click placement and boundary IoU with the plain full-frame forms, in pairs on the same masks.

    python benchmarks/speed/placement.py --data-root DATA [--dataset GrabCut] [--repeats 5]

The plain forms are what published evaluation scripts compute: two precise distance transforms of the whole frame, and
iterated 3 x 3 erosions of prediction and target. Scores must agree, or this script fails. Clicks are counted where they
differ: OpenCV's square roots differ in the last bit with the width of the array, so that whole-frame code can break an
exact tie either way; ours is the first pixel of the exact maximum.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import rclicks
from rclicks.metrics.boundary import boundary_iou
from rclicks.metrics.target import TargetReference
from rclicks.users.robot import next_click


def plain_click(truth: np.ndarray, ignore: np.ndarray, prediction: np.ndarray) -> tuple[bool, tuple[int, int]]:
    """Return sign and pixel of the base rule by whole-frame transforms."""
    depths = []
    for error in (truth & ~prediction & ~ignore, ~truth & prediction & ~ignore):
        framed = np.pad(error, 1).astype(np.uint8)
        depths.append(cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1])
    positive = bool(depths[0].max() > depths[1].max())
    chosen = depths[0 if positive else 1]
    rows, columns = np.where(chosen == chosen.max())
    return positive, (int(rows[0]), int(columns[0]))


def plain_boundary_iou(truth: np.ndarray, ignore: np.ndarray, prediction: np.ndarray) -> float:
    """Return boundary IoU by iterated erosions of the whole frame."""
    width = max(1, round(0.02 * math.hypot(*truth.shape)))
    bands = []
    for mask in (prediction, truth):
        framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
        bands.append(mask.astype(np.uint8) - eroded > 0)
    both, either = bands[0] & bands[1] & ~ignore, (bands[0] | bands[1]) & ~ignore
    return float(both.sum() / either.sum())


def main() -> None:
    """Print median milliseconds and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--dataset", default="GrabCut")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    times: dict[str, list[float]] = {"plain click": [], "click": [], "plain boundary": [], "boundary": []}
    different = 0
    for sample in rclicks.load_dataset(arguments.dataset, arguments.data_root / arguments.dataset):
        target = sample.targets[0]
        truth, ignore = target.masks[0], target.ignore
        shown = np.zeros_like(truth) if ignore is None else ignore
        # A prediction with the usual kinds of error: a soft, shifted copy of the object.
        soft = cv2.blur(np.roll(truth, (7, -9), axis=(0, 1)).astype(np.float32), (31, 31))
        prediction = soft > 0.4
        facts = TargetReference(truth, ignore)
        for _ in range(arguments.repeats):
            for name, call in (
                ("plain click", partial(plain_click, truth, shown, prediction)),
                ("click", partial(next_click, facts, prediction)),
                ("plain boundary", partial(plain_boundary_iou, truth, shown, prediction)),
                ("boundary", partial(boundary_iou, facts, prediction)),
            ):
                start = time.perf_counter()
                found = call()
                times[name].append(1000 * (time.perf_counter() - start))
                if name == "plain click":
                    plain = found
                elif name == "click":
                    different += (found.positive, found.point) != plain
                elif name == "plain boundary":
                    score = found
                else:
                    assert abs(found - score) < 1e-12, (sample.id, found, score)
    medians = {name: round(statistics.median(values), 3) for name, values in times.items()}
    print(json.dumps(medians))
    ratios = {
        what: round(statistics.median(a / b for a, b in zip(times[f"plain {what}"], times[what], strict=True)), 2)
        for what in ("click", "boundary")
    }
    print(json.dumps({"median_ratio_plain_to_ours": ratios, "clicks_that_differ": different // arguments.repeats}))


if __name__ == "__main__":
    main()
