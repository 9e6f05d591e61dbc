"""Decoding: what users' files hold, and damage that decoders pass over in silence."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import rclicks
from rclicks.data.images import _truncated, find_by_stem, list_files, read_image, read_labels, read_mask
from rclicks.errors import DataError
from rclicks.intensity import percentile_window, to_uint8


def save(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    image.save(stream, {".jpg": "JPEG", ".png": "PNG"}[path.suffix], **options)
    path.write_bytes(stream.getvalue())
    return path


def test_an_opaque_alpha_channel_is_no_object(tmp_path: Path) -> None:
    drawn = np.zeros((6, 7, 4), np.uint8)
    drawn[..., 3], drawn[2, 3, :3] = 255, 255
    save(tmp_path / "img" / "a.png", Image.new("RGB", (7, 6)))
    save(tmp_path / "gt" / "a.png", Image.fromarray(drawn))
    (sample,) = rclicks.load_dataset("DAVIS", tmp_path)
    assert int(sample.targets[0].masks[0].sum()) == 1


def test_labels_of_a_palette_are_its_indices(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2], [3, 255, 0]], np.uint8)
    image = Image.fromarray(indices, mode="P")
    # Blue is 0 for every colour: whoever reads colours finds no object at all.
    image.putpalette([v for k in range(256) for v in (k, 255 - k, 0)])
    path = save(tmp_path / "masks" / "a.png", image)
    assert np.array_equal(read_labels(path), indices)
    save(tmp_path / "images" / "a.png", Image.new("RGB", (3, 2)))
    (sample,) = rclicks.load_dataset("folder", tmp_path, objects="ids", ignore=255)
    assert [t.id for t in sample.targets] == ["1", "2", "3"]
    assert int(sample.targets[0].ignore.sum()) == 1


def test_labels_of_16_bits_stay_and_colours_are_refused(tmp_path: Path) -> None:
    wide = np.array([[0, 300], [65535, 1]], np.uint16)
    assert np.array_equal(read_labels(save(tmp_path / "wide.png", Image.fromarray(wide))), wide)
    equal = Image.fromarray(np.full((2, 2, 3), 7, np.uint8))
    assert read_labels(save(tmp_path / "equal.png", equal)).tolist() == [[7, 7], [7, 7]]
    with pytest.raises(DataError, match=r"colour\.png is a colour image"):
        read_labels(save(tmp_path / "colour.png", Image.new("RGB", (2, 2), (1, 2, 3))))


def test_rotation_of_the_camera_is_applied_to_image_and_mask_alike(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # rotate by 90 degrees
    path = save(tmp_path / "x.jpg", Image.new("RGB", (40, 20)), exif=turned)
    assert read_image(path).shape == (40, 20, 3)
    assert read_mask(path).shape[:2] == (40, 20)


def test_a_thumbnail_does_not_hide_a_missing_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    small, large = (cv2.imencode(".jpg", rng.integers(0, 256, (n, n, 3)).astype(np.uint8))[1] for n in (8, 64))
    header = b"Exif\x00\x00" + small.tobytes()
    segment = b"\xff\xe1" + (len(header) + 2).to_bytes(2, "big") + header
    whole = b"\xff\xd8" + segment + large.tobytes()[2:]
    path = tmp_path / "x.jpg"
    path.write_bytes(whole)
    assert read_image(path).shape == (64, 64, 3)
    assert not _truncated(whole)
    for missing in (2, 20, len(whole) // 4, len(whole) // 2):
        path.write_bytes(whole[:-missing])
        assert _truncated(whole[:-missing]), "OpenCV 5 sees it by itself, OpenCV 4 fills the rest with grey"
        with pytest.raises(DataError, match=r"x\.jpg is damaged"):
            read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_flipped_bytes_and_cut_bitmaps_are_refused(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    data = bytearray(cv2.imencode(suffix, rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))[1].tobytes())
    path = tmp_path / f"x{suffix}"
    if suffix == ".png":
        data[len(data) // 2] ^= 255
    path.write_bytes(data if suffix == ".png" else data[: len(data) // 2])
    with pytest.raises(DataError, match=f"x{suffix} is damaged"):
        read_image(path)


def test_names_are_in_byte_order_and_may_have_blanks_and_umlauts(tmp_path: Path) -> None:
    for name in ("b.png", "B.PNG.png", "a b.png", "ä.png", "10.png", "9.png"):
        save(tmp_path / name, Image.new("RGB", (3, 2)))
    (tmp_path / "no_dot").write_text("")
    (tmp_path / ".hidden.png").write_text("")
    names = [f.name for f in list_files(tmp_path)]
    assert names == ["10.png", "9.png", "B.PNG.png", "a b.png", "b.png", "ä.png"]
    assert read_image(tmp_path / "ä.png").shape == (2, 3, 3)


def test_files_of_one_stem_cannot_be_paired() -> None:
    images, masks = [Path("i/a.1.png"), Path("i/a.2.png")], [Path("m/a.png")]
    with pytest.raises(DataError, match=r"share a stem .* a\.1\.png, a\.2\.png"):
        find_by_stem(images, masks)
    with pytest.raises(DataError, match=r"m share a stem"):
        find_by_stem(images[:1], [Path("m/a.png"), Path("m/a.bmp")])


def test_a_root_of_another_layout_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "GrabCut").mkdir()
    with pytest.raises(DataError, match=r"data_GT does not exist\. Data set GrabCut expects data_GT/.*RITM"):
        len(rclicks.load_dataset("GrabCut", tmp_path))


def test_an_empty_mask_is_read_as_an_object_without_pixels(tmp_path: Path) -> None:
    save(tmp_path / "images" / "a.png", Image.new("RGB", (3, 2)))
    save(tmp_path / "masks" / "a.png", Image.new("L", (3, 2)))
    (sample,) = rclicks.load_dataset("folder", tmp_path)
    assert [int(t.masks[0].sum()) for t in sample.targets] == [0]


def test_windows() -> None:
    # 255 * (-160 .. 240): 40 HU lies in the middle, 127.5, and rounds to the even 128.
    assert to_uint8(np.array([-1000, -160, 40, 240, 3000]), -160, 240).tolist() == [0, 0, 128, 255, 255]
    assert to_uint8(np.array([3, 4]), 5, 5).tolist() == [0, 0]
    assert np.array_equal(to_uint8(np.arange(256, dtype=np.uint8), 0, 255), np.arange(256))
    assert percentile_window(np.array([0] * 500 + list(range(1, 202)))) == (2.0, 200.0)
    assert percentile_window(np.full(4, -3.0)) == (-3.0, -3.0)


def test_a_header_that_claims_too_many_pixels_is_an_error_of_the_file(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    file = tmp_path / "huge.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b""))
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=r"huge\.png is damaged or too large"):
            read(file)
