"""SAM masks carried by SAM 2, with small networks of seeded weights: the steps fit together, no more."""

import importlib.util
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from rclicks.data.volumes import read_volume
from rclicks.errors import DataError, ProtocolError, WeightsError
from rclicks.models.torchvision_shim import import_torchvision
from rclicks.models.weights import synthetic_state
from rclicks.supervoxels.merging import merge
from rclicks.supervoxels.segment_anything import (
    Networks,
    Settings,
    automatic_masks,
    load_networks,
    one_component,
    propagate,
    propagated_masks,
    slice_odds,
    spread,
    suppress,
)
from support import SHARED, needs_shared

torch = pytest.importorskip("torch")
for package in ("sam2", "segment_anything"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

SIDE = 64
# Weights that were never trained are sure of nothing, so no mask may be refused for that.
LOOSE = Settings(points=3, masks=4, quality=0, stability=0, overlap=0.999, smallest=4)


@pytest.fixture(scope="module")
def networks() -> Networks:
    """Build both networks as their packages do, only much smaller."""
    import_torchvision()
    from hydra.utils import instantiate
    from omegaconf import OmegaConf
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    grid = SIDE // 16
    encoder = ImageEncoderViT(
        img_size=SIDE, embed_dim=32, depth=2, num_heads=2, window_size=2, global_attn_indexes=(1,), use_rel_pos=True
    )
    prompts = PromptEncoder(256, (grid, grid), (SIDE, SIDE), 16)
    decoder = MaskDecoder(transformer_dim=256, transformer=TwoWayTransformer(2, 256, 8, 64))
    sam = Sam(encoder, prompts, decoder)
    config = OmegaConf.load(str(files("sam2") / "configs" / "sam2.1" / "sam2.1_hiera_t.yaml"))
    changes = {
        "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
        "image_size": SIDE,
        "binarize_mask_from_pts_for_mem_enc": True,
        "image_encoder.trunk.embed_dim": 8,
        "image_encoder.trunk.stages": [1, 1, 2, 1],
        "image_encoder.trunk.global_att_blocks": [3],
        "image_encoder.neck.backbone_channel_list": [64, 32, 16, 8],
        "memory_attention.num_layers": 1,
        "memory_attention.layer.dim_feedforward": 32,
    }
    for key, value in changes.items():
        OmegaConf.update(config, f"model.{key}", value, force_add=True)
    video = instantiate(config.model, _recursive_=True)
    for network in (sam, video):
        network.load_state_dict(synthetic_state(network))
        network.eval().requires_grad_(False)
    return Networks(sam, video)


def volume() -> np.ndarray:
    rng = np.random.default_rng(0)
    z, y, x = np.indices((6, 30, 40))
    return (rng.normal(0, 20, z.shape) + 300 * ((y - 15) ** 2 + (x - 15 - z) ** 2 < 60)).astype(np.float32)


def discs(*places: tuple[int, int]) -> np.ndarray:
    y, x = np.indices((30, 40))
    return np.stack([(y - a) ** 2 + (x - b) ** 2 < 50 for a, b in places])


def test_the_published_settings() -> None:
    published = Settings()
    assert (published.points, published.batch_size, published.masks, published.slices) == (48, 256, 20, 1)
    assert (published.quality, published.stability, published.overlap) == (0.85, 0.92, 0.6)
    assert (published.crops, published.crop_downscale, published.smallest) == (1, 2, 192)
    with pytest.raises(ProtocolError, match="at least 1"):
        Settings(masks=0)
    with pytest.raises(ProtocolError, match="at least 4"):
        Settings(points=3, crops=2)


def test_the_middle_slice_is_drawn_most_often() -> None:
    odds = slice_odds(41)
    assert odds.sum() == pytest.approx(1)
    assert odds.argmax() == 20
    assert np.allclose(odds, odds[::-1])
    assert odds[20] / odds[0] == pytest.approx(np.exp(2))
    assert odds[20] / odds[10] == pytest.approx(np.exp(0.5))
    assert slice_odds(1).tolist() == [1]


def test_scaling_is_by_5_and_95_percent_and_does_not_clip() -> None:
    found = spread(np.arange(101, dtype=np.int16).reshape(1, 1, 101))
    assert found.dtype == np.float32
    assert found[0, 0, [5, 50, 95]] == pytest.approx([0, 0.5, 1])
    assert found.min() == pytest.approx(-5 / 90)
    with pytest.raises(DataError, match="no contrast"):
        spread(np.ones((3, 4, 5)))


def test_one_random_component_that_touches_the_slice_stays() -> None:
    mask = np.zeros((4, 6, 6), bool)
    mask[1, 0, 0] = mask[2, 1, 1] = True  # touch at a corner: one component of 26 neighbours
    mask[1:3, 4, 4] = True
    mask[3, 0, 5] = True  # does not touch slice 1
    found = [one_component(mask, 1, np.random.default_rng(i)) for i in range(20)]
    assert {tuple(map(tuple, np.argwhere(f))) for f in found} == {
        ((1, 0, 0), (2, 1, 1)),
        ((1, 4, 4), (2, 4, 4)),
    }
    assert one_component(mask, 0, np.random.default_rng(0)) is None


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_suppression_drops_the_worse_of_two_boxes_that_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 6, (8, 2))
    boxes = np.concatenate([low, low + rng.integers(0, 6, (8, 2))], 1).astype(float)
    scores, limit = rng.integers(0, 4, 8), rng.choice([0.0, 0.3, 0.6, 1.0])

    def iou(a: np.ndarray, b: np.ndarray) -> float:
        shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
        union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
        return shared / union if union else 0.0

    expected: list[int] = []
    for i in sorted(range(8), key=lambda i: (-scores[i], i)):
        if all(iou(boxes[i], boxes[k]) <= limit for k in expected):
            expected.append(i)
    assert suppress(boxes, scores, limit).tolist() == expected


def test_masks_of_a_slice_are_found_and_the_package_is_left_as_it_was(networks: Networks) -> None:
    from segment_anything import automatic_mask_generator as module

    before = module.batched_nms
    image = spread(volume())
    found = automatic_masks(image[2], networks.masks, LOOSE)
    assert module.batched_nms is before
    assert found.dtype == bool
    assert found.shape[1:] == (30, 40)
    assert len(found) >= 1
    assert found.any(axis=(1, 2)).all()
    assert (found == automatic_masks(image[2], networks.masks, LOOSE)).all()
    assert automatic_masks(image[2], networks.masks, Settings(points=2, quality=1e9)).shape == (0, 30, 40)


def test_masks_are_carried_as_the_package_carries_them(networks: Networks, tmp_path: Path) -> None:
    """Its own session, made from a folder of pictures and given our frames, tracks the same masks."""
    from PIL import Image

    image, (mask,) = spread(volume()), discs((15, 17))
    for i in range(len(image)):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{i:05d}.jpg")
    expected = np.zeros(image.shape, bool)
    for step in (1, -1):
        session = networks.video.init_state(str(tmp_path))
        low, high = image.min(), image.max()
        frames = torch.from_numpy((image[::step] - low) / (high - low))[:, None]
        frames = torch.nn.functional.interpolate(frames, (SIDE, SIDE), mode="bilinear", align_corners=False)
        session["images"] = frames.expand(-1, 3, -1, -1)
        session["cached_features"] = {}
        start = 2 if step == 1 else len(image) - 3
        networks.video.add_new_mask(session, start, 1, mask)
        for index, _, logits in networks.video.propagate_in_video(session, start_frame_idx=start):
            expected[::step][index] = (logits[0, 0] > 0).numpy()
    found = propagate(image, mask[None], 2, networks.video)[0]
    assert (found == expected).all()
    both = found[2] & mask
    assert 2 * both.sum() / (found[2].sum() + mask.sum()) > 0.85, "the slice itself keeps its mask"


def test_masks_in_company_are_carried_as_alone_and_up_as_down(networks: Networks) -> None:
    image, masks = spread(volume()), discs((15, 17), (10, 30), (20, 8))
    together = propagate(image, masks, 2, networks.video)
    assert together.shape == (3, 6, 30, 40)
    for mask, found in zip(masks, together, strict=True):
        assert (propagate(image, mask[None], 2, networks.video)[0] == found).all()
    assert (propagate(image[::-1], masks, 3, networks.video)[:, ::-1] == together).all()
    assert len({found.tobytes() for found in together}) == 3
    assert propagate(image, masks[:0], 2, networks.video).shape == (0, 6, 30, 40)


@needs_shared
def test_a_real_crop_from_slices_to_one_label_map(networks: Networks) -> None:
    path = SHARED / "data" / "volumes" / "hippocampus" / "images" / "hippocampus_006.nii.gz"
    crop = read_volume(path).values[12:18]

    def play(seed: int, chosen: Settings = LOOSE) -> np.ndarray:
        return propagated_masks(crop, networks, np.random.default_rng(seed), chosen)

    masks = play(1)
    assert masks.dtype == bool
    assert masks.shape[1:] == crop.shape
    assert 1 <= len(masks) <= LOOSE.masks
    for mask in masks:
        assert ndimage.label(mask, np.ones((3, 3, 3)))[1] == 1
    assert (play(1) == masks).all(), "the same seed draws the same"
    assert len({play(seed).tobytes() for seed in range(5)}) > 1, "other seeds draw others"
    labels = merge(masks)
    assert np.unique(labels[labels > 0]).tolist() == list(range(1, labels.max() + 1))
    assert ((labels > 0) == masks.any(axis=0)).all()
    more = play(1, Settings(**{**vars(LOOSE), "slices": 3, "masks": 1}))
    assert len(more) <= 3
    none = play(1, Settings(points=2, quality=1e9))
    assert none.shape == (0, *crop.shape)


def test_networks_come_from_the_registry(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="family"):
        load_networks("synthetic", "synthetic", sam_model="sam2-tiny")
    with pytest.raises(WeightsError, match="does not exist"):
        load_networks(tmp_path / "none.pth", "synthetic", sam_model="mobilesam")


def test_a_gpu_gives_the_same_steps(networks: Networks) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    moved: Any = [n.to("cuda") for n in (networks.masks, networks.video)]
    try:
        masks = propagated_masks(volume(), Networks(*moved), np.random.default_rng(0), LOOSE)
        assert masks.shape[1:] == volume().shape
    finally:
        for network in moved:
            network.to("cpu")
