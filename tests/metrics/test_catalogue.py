"""The metrics a benchmark can name: each is the function it says, in 2-D and 3-D, with ignored voxels left out."""

import math

import numpy as np
import pytest

from rclicks.metrics.catalogue import DEFAULTS, ROUND, score
from rclicks.metrics.surface import SurfacePair
from rclicks.metrics.target import TargetReference
from rclicks.protocol import Protocol

SPACING = (3.0, 1.0, 0.5)
RNG = np.random.default_rng(3)
TRUTH = np.zeros((7, 14, 16), bool)
TRUTH[2:5, 3:10, 4:12] = True
GUESS = np.roll(TRUTH, (1, 2, -1), (0, 1, 2)) & (RNG.random(TRUTH.shape) > 0.1)
GUESS[0, :3, :3] = True


def test_surface_metrics_are_those_of_the_whole_frame_in_mm() -> None:
    protocol = Protocol.named("default", nsd_tolerance=1.5)
    found = score(tuple(n for n in ROUND if n != "biou"), TargetReference(TRUTH, None, SPACING), GUESS, protocol)
    surfel, voxel = (SurfacePair.of(TRUTH, GUESS, SPACING, d) for d in ("surfel", "voxel"))
    expected = {
        "nsd-surfel": surfel.nsd(1.5),
        "nsd-voxel": voxel.nsd(1.5),
        "hd95-surfel": surfel.hausdorff(95),
        "hd95-voxel": voxel.hausdorff(95),
        "hd95-pooled": voxel.hausdorff_pooled(95),
        "assd-surfel": surfel.average(),
        "assd-voxel": voxel.average(),
        "iou": (TRUTH & GUESS).sum() / (TRUTH | GUESS).sum(),
        "dice": 2 * (TRUTH & GUESS).sum() / (TRUTH.sum() + GUESS.sum()),
        "volume-error": (int(GUESS.sum()) - int(TRUTH.sum())) / TRUTH.sum(),
    }
    assert found == pytest.approx(expected)
    assert len({round(v, 9) for v in found.values()}) == len(found), "two names for one number"
    wrong_order = score(("nsd-surfel",), TargetReference(TRUTH, None, SPACING[::-1]), GUESS, protocol)
    assert wrong_order["nsd-surfel"] != pytest.approx(found["nsd-surfel"], abs=1e-3)


def test_ignored_voxels_count_for_nothing() -> None:
    ignore = np.zeros_like(TRUTH)
    ignore[:, 9:] = True
    kept = score(tuple(DEFAULTS[3]), TargetReference(TRUTH, ignore, SPACING), GUESS, Protocol())
    cut = score(tuple(DEFAULTS[3]), TargetReference(TRUTH & ~ignore, None, SPACING), GUESS & ~ignore, Protocol())
    assert kept == cut


def test_empty_masks() -> None:
    nothing = np.zeros_like(TRUTH)
    one = score(tuple(n for n in ROUND if n != "biou"), TargetReference(TRUTH, None, SPACING), nothing, Protocol())
    assert (one["iou"], one["dice"], one["nsd-surfel"], one["nsd-voxel"], one["volume-error"]) == (0, 0, 0, 0, -1)
    assert all(math.isnan(one[n]) for n in ("hd95-surfel", "hd95-voxel", "hd95-pooled", "assd-surfel", "assd-voxel"))
    both = score(tuple(n for n in ROUND if n != "biou"), TargetReference(nothing, None, SPACING), nothing, Protocol())
    assert (both["iou"], both["dice"], both["nsd-surfel"], both["hd95-surfel"], both["assd-voxel"]) == (1, 1, 1, 0, 0)
    assert math.isnan(both["volume-error"])


def test_images_have_them_too_but_volumes_have_no_boundary_iou() -> None:
    truth, guess = TRUTH[3], GUESS[3]
    found = score(tuple(ROUND), TargetReference(truth, None, SPACING[1:]), guess, Protocol())
    assert found["nsd-voxel"] == SurfacePair.of(truth, guess, SPACING[1:], "voxel").nsd(2.0)
    with pytest.raises(ValueError, match=r"expected one shape \(H, W\)"):
        score(("biou",), TargetReference(TRUTH, None, SPACING), GUESS, Protocol())
    assert ROUND["biou"][0].dims == (2,)
    for dims, names in DEFAULTS.items():
        assert all(dims in ROUND[name][0].dims for name in names)
