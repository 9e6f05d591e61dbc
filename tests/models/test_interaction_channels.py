"""Channels and normalisation against what the official session writes, and against the measured ball."""

import contextlib
import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from rclicks.adapters.nninteractive.channels import (  # noqa: E402
    PREVIOUS,
    crop_padded,
    draw_channels,
    normalise,
    patch_windows,
    point_ball,
)
from rclicks.adapters.nninteractive.folder import write_synthetic_folder  # noqa: E402
from rclicks.errors import DataError, ProtocolError  # noqa: E402
from rclicks.interaction import Box, Click, Interaction, Lasso, Scribble  # noqa: E402
from support import SHARED, needs_shared  # noqa: E402

SHAPE = (40, 52, 37)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the official session with a volume; it computes no answers unless asked."""
    official = pytest.importorskip("nnInteractive.inference.inference_session")
    folder = write_synthetic_folder(tmp_path_factory.mktemp("model"))
    with contextlib.redirect_stdout(io.StringIO()):
        made = official.nnInteractiveInferenceSession(device=torch.device("cpu"), torch_n_threads=1, do_autozoom=False)
        made.initialize_from_trained_model_folder(str(folder))
    give(made, volume())
    yield made
    made.executor.shutdown()


def volume() -> np.ndarray:
    rng = np.random.default_rng(5)
    made = rng.normal(300, 80, SHAPE).astype(np.float32)
    made[:3] = made[:, :, 30:] = 0
    return made


def give(session: Any, image: np.ndarray) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        session.set_image(image[None].astype(np.float32))
        session.set_target_buffer(np.zeros(image.shape, np.uint8))
        session._finish_preprocessing_and_initialize_interactions()


def send(session: Any, interaction: Interaction, *, run: bool = False) -> None:
    sign, kind = interaction.positive, interaction.kind
    with contextlib.redirect_stdout(io.StringIO()):
        if isinstance(interaction, Click):
            session.add_point_interaction(interaction.point, sign, run_prediction=run)
        elif isinstance(interaction, Box):
            corners = [[a, b + 1] for a, b in zip(interaction.low, interaction.high, strict=True)]
            session.add_bbox_interaction(corners, sign, run_prediction=run)
        else:
            box = [[w.start, w.stop] for w in interaction.window]
            add = session.add_lasso_interaction if kind == "lasso" else session.add_scribble_interaction
            add(interaction.mask.astype(np.uint8), sign, run_prediction=run, interaction_bbox=box)


def stored(session: Any) -> np.ndarray:
    """Return the session's channels as its network would see them."""
    found = session.interactions.clone()
    session._normalize_interaction_channels_for_network_(found)
    return found.float().numpy()


def disk(radius: int) -> np.ndarray:
    axis = np.arange(-radius, radius + 1) ** 2
    return axis[:, None] + axis <= radius**2


DRAWN = [
    Click((20, 20, 20)),
    Click((22, 21, 20)),  # overlaps the first
    Click((0, 51, 36), positive=False),  # in a corner
    Box((5, 10, 4), (5, 30, 29)),
    Box((5, 20, 9), (18, 35, 9), positive=False),
    Lasso((12, 8, 6), disk(7)[None]),
    Lasso((2, 30, 6), disk(5)[:, None], positive=False),
    Scribble((30, 3, 3), np.eye(12, dtype=bool)[None]),
    Scribble((1, 1, 1), np.ones((6, 2, 1), bool), positive=False),
    Box((5, 12, 6), (5, 33, 20)),  # over an older one
    Lasso((5, 11, 5), disk(6)[None]),  # shares its channel with boxes
    Click((21, 20, 20)),
]


def test_every_kind_of_prompt_is_drawn_as_the_session_draws_it(session: Any) -> None:
    session.reset_interactions()
    for count, interaction in enumerate(DRAWN, start=1):
        send(session, interaction)
        np.testing.assert_array_equal(draw_channels(DRAWN[:count], SHAPE), stored(session))


@pytest.mark.slow
def test_hundreds_of_prompts_fade_as_in_the_session(session: Any) -> None:
    """Beyond 105 prompts the session's numbers leave half precision, so it rescales all it has."""
    session.reset_interactions()
    rng = np.random.default_rng(0)
    clicks: list[Interaction] = []
    for _ in range(230):
        clicks.append(Click(tuple(int(v) for v in rng.integers(SHAPE)), bool(rng.integers(2))))
        send(session, clicks[-1])
    np.testing.assert_array_equal(draw_channels(clicks, SHAPE), stored(session))


def test_the_previous_result_does_not_fade(session: Any) -> None:
    session.reset_interactions()
    for interaction in DRAWN[:3]:
        send(session, interaction, run=True)
    answer = session.target_buffer.astype(bool)
    assert answer.any()
    np.testing.assert_array_equal(draw_channels(DRAWN[:3], SHAPE, previous=answer), stored(session))


def test_the_networks_input_is_the_sessions(session: Any) -> None:
    session.reset_interactions()
    for interaction in DRAWN[:4]:
        send(session, interaction)
    for centre in ((20, 20, 20), (0, 51, 36), (5, 21, 17)):
        expected = session._build_network_input(centre, 1)[0].numpy()
        whole = np.concatenate([normalise(volume())[None], draw_channels(DRAWN[:4], SHAPE)])
        np.testing.assert_array_equal(crop_padded(whole, centre, (64, 64, 64)), expected)


@pytest.mark.parametrize("name", ["spread", "whole", "negative", "bytes"])
def test_normalisation_is_the_sessions(session: Any, name: str) -> None:
    image = {
        "spread": volume(),
        "whole": np.random.default_rng(1).normal(5, 1, (9, 30, 11)),
        "negative": np.random.default_rng(2).integers(-1024, 2000, (20, 21, 22)).astype(np.int16),
        "bytes": np.random.default_rng(3).integers(0, 200, (20, 21, 22)).astype(np.uint8),
    }[name]
    before = image.copy()
    try:
        give(session, image)
        np.testing.assert_array_equal(normalise(image), session.preprocessed_image[0].numpy())
    finally:
        give(session, volume())
    np.testing.assert_array_equal(image, before)


def test_normalised_by_the_box_of_what_is_not_zero() -> None:
    image = np.zeros((6, 7, 8), np.float32)
    image[1:4, 2:5, 3:6] = np.arange(27).reshape(3, 3, 3)  # the zero in the corner of the box counts
    made = normalise(image)
    inner = made[1:4, 2:5, 3:6].astype(np.float64)
    assert inner.mean() == pytest.approx(0, abs=1e-6)
    assert inner.std(ddof=1) == pytest.approx(1, abs=1e-6)
    assert made[0, 0, 0] == pytest.approx(-13 / np.arange(27).std(ddof=1))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 4)), "all 0"),
        (np.ones((4, 4, 4)), "constant"),
        (np.array([[[1.0, np.nan]]]), "infinite or NaN"),
        (np.array([[[1.0, np.inf]]]), "infinite or NaN"),
        (np.ones((4, 4)), "expected .z, y, x."),
    ],
)
def test_volumes_that_cannot_be_normalised_are_refused(image: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        normalise(image)


@needs_shared
def test_the_ball_is_the_measured_one() -> None:
    with (SHARED / "reference/nninteractive/point_ball_radius4_profile.csv").open() as file:
        rows = list(csv.DictReader(file))
    ball = point_ball(4)
    assert len(rows) == 9
    for row in rows:
        at = 4 + int(row["offset_along_axis"])
        for line in (ball[at, 4, 4], ball[4, at, 4], ball[4, 4, at]):
            assert round(float(line), 3) == float(row["value"])
    assert (ball > 0).sum() == 257


points = st.tuples(*(st.integers(0, n - 1) for n in (11, 9, 13)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(points, st.booleans()), min_size=1, max_size=6), st.floats(0.3, 1))
def test_the_newest_has_one_and_every_older_one_its_share(
    clicks: list[tuple[tuple[int, ...], bool]], decay: float
) -> None:
    made = draw_channels([Click(p, s) for p, s in clicks], (11, 9, 13), decay=decay)
    for age, (point, sign) in enumerate(reversed(clicks)):
        assert made[3 if sign else 4][point] >= decay**age * (1 - 2e-3)
    assert made.max() <= 1 + 2e-3
    assert made[[PREVIOUS, 1, 2, 5, 6]].max() == 0


def test_wrong_prompts_are_refused() -> None:
    with pytest.raises(ProtocolError, match="does not lie"):
        draw_channels([Click((0, 0, 40))], (40, 40, 40))
    with pytest.raises(ProtocolError, match="decay"):
        draw_channels([], (4, 4, 4), decay=0)


def test_patches_are_zero_outside_and_cut_and_pasted_alike() -> None:
    array = np.arange(1, 61, dtype=np.float32).reshape(3, 4, 5)
    patch = crop_padded(array, (0, 3, 2), (4, 5, 6))
    assert patch[2, 2, 3] == array[0, 3, 2]  # the centre is voxel size // 2
    assert (patch[:2] == 0).all()
    assert (patch[:, 3:] == 0).all()
    pasted = np.zeros_like(array)
    here, there = patch_windows(array.shape, (0, 3, 2), patch.shape)
    pasted[here] = patch[there]
    np.testing.assert_array_equal(pasted[:2, 1:], array[:2, 1:])
    assert (crop_padded(array, (40, 3, 2), (4, 4, 4)) == 0).all()
