"""Reading images and masks: every kind that turns up in practice, and every bad input."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from protoanomalyncd.core.errors import ImageError
from protoanomalyncd.datasets import content_key, read_image, read_mask
from protoanomalyncd.datasets.images import MAX_PIXELS


@pytest.fixture
def grey() -> np.ndarray:
    return np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)


@pytest.fixture
def colour(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)


def one_line(error: pytest.ExceptionInfo[ImageError], path: Path) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    assert "expected" in message
    return message


def test_rgb_is_read_as_it_is(tmp_path: Path, colour: np.ndarray) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(colour).save(path)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, colour)
    np.testing.assert_array_equal(read_image(str(path)), colour)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "pgm"])
def test_grey_fills_three_channels(tmp_path: Path, grey: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(grey).save(path, **options)
    np.testing.assert_array_equal(read_image(path), np.repeat(grey[..., None], 3, 2))


def test_one_bit_becomes_black_and_white(tmp_path: Path, grey: np.ndarray) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(grey > 90).save(path)
    np.testing.assert_array_equal(read_image(path)[..., 0], np.where(grey > 90, 255, 0))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_by_the_full_range(tmp_path: Path, suffix: str) -> None:
    # A dim image stays dim: no stretching to its own minimum and maximum.
    values = np.full((10, 10), 257 * 3, np.uint16)
    values[0, :4] = [0, 257, 257 * 200, 65535]
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), values)
    image = read_image(path)
    assert image.shape == (10, 10, 3)
    np.testing.assert_array_equal(image[0, :5, 1], [0, 1, 200, 255, 3])


def test_sixteen_bit_colour(tmp_path: Path, colour: np.ndarray) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), (colour.astype(np.uint16) * 257)[..., ::-1])
    np.testing.assert_array_equal(read_image(path), colour)


def test_alpha_is_dropped_and_not_blended(tmp_path: Path, colour: np.ndarray) -> None:
    alpha = np.zeros((12, 16, 1), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(np.concatenate([colour, alpha], 2)).save(path)
    np.testing.assert_array_equal(read_image(path), colour)


def test_palette_and_transparent_palette(tmp_path: Path) -> None:
    index = np.tile(np.array([0, 1, 2, 1], np.uint8), (8, 2))
    picture = Image.new("P", (8, 8))
    picture.putdata(index.ravel().tolist())
    picture.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0])
    expected = np.array([[10, 20, 30], [200, 100, 50], [0, 255, 0]], np.uint8)[index]
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.png", transparency=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), expected)


def test_cmyk(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.new("CMYK", (10, 10), (0, 255, 255, 0)).save(path)
    np.testing.assert_array_equal(read_image(path)[5, 5], [255, 0, 0])


def test_exif_orientation_turns_the_image_upright(tmp_path: Path, colour: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    path = tmp_path / "a.png"
    Image.fromarray(colour).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path), np.rot90(colour, -1))


def test_first_page_of_several(tmp_path: Path, grey: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    pages = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(read_image(path)[..., 2], grey)


def test_name_with_any_characters(tmp_path: Path, colour: np.ndarray) -> None:
    path = tmp_path / "Bild ä 日本 #1.PNG"
    Image.fromarray(colour).save(path)
    np.testing.assert_array_equal(read_image(path), colour)


def test_float_values_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.random.default_rng(0).random((10, 10)).astype(np.float32)).save(path)
    with pytest.raises(ImageError, match="float values") as error:
        read_image(path)
    one_line(error, path)


@pytest.mark.parametrize("value", [-1, 70_000])
def test_integers_beyond_sixteen_bits_are_refused(tmp_path: Path, value: int) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((10, 10), value, np.int32)).save(path)
    with pytest.raises(ImageError, match="32-bit integer values") as error:
        read_image(path)
    one_line(error, path)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", r"empty file \(0 bytes\)"),
        (b"hello, I am a text\n" * 50, "another or a damaged format"),
        (b"\x89PNG\r\n\x1a\n", "another or a damaged format"),
        (bytes(4096), "another or a damaged format"),
    ],
)
def test_not_an_image(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=part) as error:
        read_image(path)
    one_line(error, path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageError) as error:
        read_image(path)
    one_line(error, path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp", "pgm"])
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    draw = np.random.default_rng(1)
    Image.fromarray(draw.integers(0, 256, (32, 32), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        for at in draw.integers(0, min(len(whole), 200), 4):
            damaged[at] = draw.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(ImageError):
            assert read_image(path).ndim == 3


@pytest.mark.parametrize("shape", [(7, 20), (20, 7), (1, 1)])
def test_too_small(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros(shape, np.uint8)).save(path)
    with pytest.raises(ImageError, match=f"at least 8 x 8 .* got {shape[1]} x {shape[0]}") as error:
        read_image(path)
    one_line(error, path)


def test_eight_pixels_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    assert read_image(path).shape == (8, 8, 3)


@pytest.mark.parametrize("side", [11_000, 20_000, 60_000])
def test_a_small_file_that_unpacks_to_gigabytes(tmp_path: Path, side: int) -> None:
    assert side * side > MAX_PIXELS
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    path = tmp_path / "a.png"
    body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + b"\0\0\0\0IDAT" + b"\0" * 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="at most 100 million pixels") as error:
            read_image(path)
    one_line(error, path)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file") as error:
        read_image(tmp_path / "a.png")
    one_line(error, tmp_path / "a.png")
    with pytest.raises(ImageError, match="got a folder") as error:
        read_image(tmp_path)
    one_line(error, tmp_path)


# Masks


def test_any_non_zero_value_is_an_anomaly(tmp_path: Path) -> None:
    values = np.zeros((9, 11), np.uint8)
    values[2, 3:6] = [1, 128, 255]
    path = tmp_path / "m.png"
    Image.fromarray(values).save(path)
    mask = read_mask(path, (9, 11))
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, values > 0)


def test_masks_of_other_kinds(tmp_path: Path) -> None:
    truth = np.zeros((9, 11), np.bool_)
    truth[4:6, 2:9] = True
    blue = np.zeros((9, 11, 3), np.uint8)
    blue[truth, 2] = 1
    opaque = np.full((9, 11, 1), 255, np.uint8)
    palette = Image.new("P", (11, 9))
    palette.putpalette([255, 255, 255, 90, 0, 0])  # index 0 is the background, whatever its colour
    palette.putdata(truth.astype(int).ravel().tolist())
    pictures = {
        "blue.png": Image.fromarray(blue),
        "alpha.png": Image.fromarray(np.concatenate([blue, opaque], 2)),
        "bits.png": Image.fromarray(truth),
        "palette.png": palette,
        "deep.png": Image.fromarray(truth.astype(np.uint16) * 7),
        "float.tif": Image.fromarray(truth.astype(np.float32)),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
        np.testing.assert_array_equal(read_mask(tmp_path / name, (9, 11)), truth, err_msg=name)


def test_mask_of_another_size(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(np.zeros((9, 11), np.uint8)).save(path)
    with pytest.raises(ImageError, match=r"mask of 9 x 11 pixels .* got 11 x 9") as error:
        read_mask(path, (11, 9))
    one_line(error, path)


def test_damaged_mask(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((90, 90), np.uint8)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[:60])
    with pytest.raises(ImageError) as error:
        read_mask(path, (90, 90))
    one_line(error, path)


# Identity


def test_content_key_depends_on_the_bytes_only(tmp_path: Path) -> None:
    for name, content in (("a.png", b"one"), ("b.jpg", b"one"), ("c.png", b"two")):
        (tmp_path / name).write_bytes(content)
    keys = [content_key(tmp_path / name) for name in ("a.png", "b.jpg", "c.png")]
    assert keys[0] == keys[1] != keys[2]
    # sha256sum of the three letters
    assert keys[0] == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    with pytest.raises(ImageError, match="readable file"):
        content_key(tmp_path / "absent.png")
