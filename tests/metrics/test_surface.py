"""Surface distances: golden values of four libraries, brute force, empty masks."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rclicks.metrics.surface import SurfacePair, element_sizes
from support import SHARED, needs_shared

GOLDEN = SHARED / "reference" / "nninteractive" / "golden"
# column of the golden table: the definition that it has here
SAME = {
    "nsd_surfel_deepmind": lambda surfel, voxel, tau: surfel.nsd(tau),
    "nsd_monai_subvoxel": lambda surfel, voxel, tau: surfel.nsd(tau),
    "nsd_monai_voxel": lambda surfel, voxel, tau: voxel.nsd(tau),
    "nsd_metricsreloaded": lambda surfel, voxel, tau: voxel.nsd(tau),
    "hd95_deepmind": lambda surfel, voxel, tau: surfel.hausdorff(95),
    "hd95_metricsreloaded": lambda surfel, voxel, tau: voxel.hausdorff(95),
    "hd95_medpy": lambda surfel, voxel, tau: voxel.hausdorff_pooled(95),
}


@needs_shared
def test_golden_values() -> None:
    rows = list(csv.DictReader((GOLDEN / "metric_expected.csv").open()))
    with np.load(GOLDEN / "metric_cases.npz") as file:
        cases = {name: file[name].astype(bool) for name in file.files}
    assert len(rows) >= 28
    for row in rows:
        spacing = [float(s) for s in row["spacing"].split("/")]
        reference, prediction = (cases[f"{side}_{int(row['case']):02d}"] for side in ("gt", "pred"))
        pairs = [SurfacePair.of(reference, prediction, spacing, d) for d in ("surfel", "voxel")]
        for column, value in SAME.items():
            found = value(*pairs, float(row["tau_mm"]))
            assert found == pytest.approx(float(row[column]), abs=1e-6), (row["case"], column)  # six digits stored
        # MONAI interpolates this percentile in single precision.
        assert pairs[1].hausdorff(95) == pytest.approx(float(row["hd95_monai"]), rel=2e-6, abs=2e-6)


def border(mask: np.ndarray) -> np.ndarray:
    framed = np.pad(mask, 1)
    inside = framed.copy()
    for axis in range(mask.ndim):
        inside &= np.roll(framed, 1, axis) & np.roll(framed, -1, axis)
    return np.argwhere((framed & ~inside)[(slice(1, -1),) * mask.ndim])


MASKS = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)
SPACING = st.floats(0.25, 4)


@settings(deadline=None, max_examples=60)
@given(MASKS, st.tuples(SPACING, SPACING, SPACING), st.floats(0, 5))
def test_voxel_definition_is_brute_force(masks: tuple, steps: tuple, tolerance: float) -> None:
    reference, prediction = masks
    spacing = np.array(steps[: reference.ndim])
    found = SurfacePair.of(reference, prediction, spacing, "voxel")
    a, b = (border(m) * spacing for m in masks)
    if not len(a) or not len(b):
        assert found.nsd(tolerance) == float(len(a) == len(b))
        return
    distances = np.linalg.norm(a[:, None] - b[None], axis=2)
    there, back = distances.min(axis=1), distances.min(axis=0)
    away = np.abs(np.concatenate([there, back]) - tolerance).min() > 1e-9
    if away:
        near = (there <= tolerance).sum() + (back <= tolerance).sum()
        assert found.nsd(tolerance) == pytest.approx(near / (len(a) + len(b)))
    assert found.hausdorff(95) == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert found.average() == pytest.approx((there.mean() + back.mean()) / 2)


@settings(deadline=None, max_examples=40)
@given(MASKS, st.sampled_from(["surfel", "voxel"]))
def test_both_directions_are_alike_and_a_mask_agrees_with_itself(masks: tuple, definition: str) -> None:
    reference, prediction = masks
    spacing = (1.0, 2.0, 0.5)[: reference.ndim]
    there, back = (
        SurfacePair.of(reference, prediction, spacing, definition),
        SurfacePair.of(prediction, reference, spacing, definition),
    )
    for measure in (lambda p: p.nsd(1.0), lambda p: p.hausdorff(), lambda p: p.average()):
        assert measure(there) == pytest.approx(measure(back), nan_ok=True)
    own = SurfacePair.of(reference, reference, spacing, definition)
    assert (own.nsd(0.0), own.hausdorff(), own.average()) == (1.0, 0.0, 0.0)


def test_area_of_a_box_is_its_area_but_for_the_edges() -> None:
    mask = np.ones((40, 50, 60), bool)
    pair = SurfacePair.of(mask, mask, (1.0, 2.0, 3.0))
    box = 2 * (40 * 50 * 2 + 40 * 60 * 3 + 50 * 60 * 6)
    assert pair.reference_sizes.sum() == pytest.approx(box, rel=0.03)
    flat = SurfacePair.of(mask[0], mask[0], (2.0, 3.0))
    assert flat.reference_sizes.sum() == pytest.approx(2 * (50 * 2 + 60 * 3), rel=0.02)


def test_a_neighbourhood_and_its_complement_have_one_surface() -> None:
    for spacing in ((1.0, 2.0), (0.7, 1.3, 2.1)):
        sizes = element_sizes(spacing)
        assert (sizes == sizes[::-1]).all()
        assert (sizes[1:-1] > 0).all()
        assert sizes[0] == 0


@pytest.mark.parametrize("definition", ["surfel", "voxel"])
def test_empty_masks(definition: str) -> None:
    nothing, something = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    both = SurfacePair.of(nothing, nothing, (1, 1), definition)
    assert (both.nsd(1), both.hausdorff(95), both.hausdorff_pooled(), both.average()) == (1, 0, 0, 0)
    for pair in (
        SurfacePair.of(nothing, something, (1, 1), definition),
        SurfacePair.of(something, nothing, (1, 1), definition),
    ):
        assert pair.nsd(1) == 0
        assert all(math.isnan(v) for v in (pair.hausdorff(95), pair.hausdorff_pooled(), pair.average()))


@pytest.mark.parametrize(
    ("spacing", "definition", "words"),
    [
        ((1,), "voxel", "spacing is .1,., expected 2 numbers"),
        ((1, 0), "voxel", "above 0"),
        ((1, math.inf), "voxel", "above 0"),
        ((1, 1), "voxels", "definition is 'voxels'"),
    ],
)
def test_bad_input(spacing: tuple, definition: str, words: str) -> None:
    mask = np.ones((3, 3), bool)
    with pytest.raises(ValueError, match=words):
        SurfacePair.of(mask, mask, spacing, definition)
    with pytest.raises(ValueError, match="two bool masks"):
        SurfacePair.of(mask, mask.astype(int), (1, 1))
    with pytest.raises(ValueError, match="two bool masks"):
        SurfacePair.of(mask, mask[1:], (1, 1))
