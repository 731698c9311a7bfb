"""Object masks from files: formats, sizes, and what goes wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from protoanomalyncd.core.errors import ConfigurationError, ImageError
from protoanomalyncd.core.records import Sample
from protoanomalyncd.localisation import FolderMasks, Located
from protoanomalyncd.localisation.folder import read_object_mask


@pytest.fixture
def shape() -> np.ndarray:
    """A disc in a picture that is wider than high."""
    ys, xs = np.mgrid[:24, :40]
    return np.asarray((ys - 12) ** 2 + (xs - 20) ** 2 < 80)


def _save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        assert cv2.imwrite(str(path), values)
    return path


@pytest.mark.parametrize(
    ("suffix", "kind", "top"),
    [
        (".png", np.uint8, 1),
        (".png", np.uint8, 255),
        (".png", np.uint16, 65535),
        (".png", np.uint16, 3),
        (".bmp", np.uint8, 255),
        (".tif", np.uint16, 700),
        (".tiff", np.float32, 1),
        (".npy", np.bool_, 1),
        (".npy", np.int64, 7),
        (".npy", np.float64, 0.5),
    ],
)
def test_formats(tmp_path: Path, shape: np.ndarray, suffix: str, kind: type, top: float) -> None:
    path = _save(tmp_path / f"mask{suffix}", (shape * top).astype(kind))
    np.testing.assert_array_equal(read_object_mask(path), shape, strict=True)


def test_soft_masks_are_cut_at_one_half_and_colours_count(
    tmp_path: Path, shape: np.ndarray
) -> None:
    soft = _save(tmp_path / "soft.npy", np.where(shape, 0.8, 0.3))
    np.testing.assert_array_equal(read_object_mask(soft), shape)
    colours = np.zeros((*shape.shape, 3), np.uint8)
    colours[shape, 2] = 9
    Image.fromarray(colours).save(tmp_path / "colour.png")
    np.testing.assert_array_equal(read_object_mask(tmp_path / "colour.png"), shape)
    indexed = Image.fromarray(shape.astype(np.uint8), mode="P")
    indexed.putpalette([200] * 6)
    indexed.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_object_mask(tmp_path / "palette.png"), shape)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.npy", b"\x93NUMPY cut off", "expected an object mask, got: "),
        ("b.png", b"\x89PNG\r\n\x1a\n", "truncated or damaged|another or a damaged"),
        ("c.png", b"", "empty file"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, name: str, content: bytes, part: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=part) as caught:
        read_object_mask(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [np.zeros((2, 5, 5)), np.zeros((0, 4)), np.array(["a", "b"])])
def test_arrays_of_another_kind_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = _save(tmp_path / "mask.npy", values)
    with pytest.raises(ImageError, match="expected an object mask of numbers"):
        read_object_mask(path)


def test_what_cannot_be_used_makes_the_whole_image_count(tmp_path: Path, shape: np.ndarray) -> None:
    folder = tmp_path / "masks"
    _save(folder / "good.png", shape.astype(np.uint8))
    _save(folder / "full.png", np.ones((3, 3), np.uint8))
    _save(folder / "empty.png", np.zeros((9, 9), np.uint8))
    (folder / "damaged.png").write_bytes(b"nothing")
    names = ("good", "full", "empty", "damaged", "absent")
    samples = [Sample(tmp_path / "nowhere.jpg", f"{name}.jpg") for name in names]
    found = {
        sample.name.removesuffix(".jpg"): located
        for sample, located in FolderMasks(folder).locate(samples)
        if isinstance(located, Located)
    }
    assert sorted(found) == sorted(names)  # the images themselves are not read
    mask = found["good"].mask
    assert mask is not None
    np.testing.assert_array_equal(mask, shape)
    assert all(found[name].mask is None for name in names[1:])
    assert found["good"].warning == found["full"].warning == ""
    for name, part in (("empty", "is empty"), ("damaged", "damaged"), ("absent", "no object")):
        assert part in found[name].warning
        assert "the whole image is used" in found[name].warning
        assert "\n" not in found[name].warning


def test_a_folder_that_does_not_fit_is_refused_at_once(tmp_path: Path, shape: np.ndarray) -> None:
    samples = [Sample(tmp_path / "x.jpg", f"{i}.jpg") for i in range(5)]
    with pytest.raises(ConfigurationError, match="--object-masks FOLDER"):
        FolderMasks().locate(samples)
    with pytest.raises(ImageError, match="expected a folder of object masks"):
        FolderMasks(tmp_path / "absent").locate(samples)
    (tmp_path / "masks").mkdir()
    with pytest.raises(ImageError, match=r"expected object masks \(.png, .bmp"):
        FolderMasks(tmp_path / "masks").locate(samples)
    _save(tmp_path / "masks" / "0.png", shape.astype(np.uint8))
    with pytest.raises(ImageError, match="object mask for each image, 4 of 5 have none"):
        FolderMasks(tmp_path / "masks").locate(samples)
