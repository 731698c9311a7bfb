"""Descriptors: known shapes have known values, every input gives finite ones."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from protoanomalyncd.config import CropConfig
from protoanomalyncd.core.records import Region
from protoanomalyncd.regions import DESCRIPTORS, describe, phrase, propose_regions

GREY = np.full((200, 200, 3), 120, np.uint8)


def described(mask: np.ndarray, image: np.ndarray = GREY) -> dict[str, float]:
    box = cv2.boundingRect(mask.astype(np.uint8))
    fy, fx = image.shape[0] / mask.shape[0], image.shape[1] / mask.shape[1]
    x0, y0, x1, y1 = box[0] * fx, box[1] * fy, (box[0] + box[2]) * fx, (box[1] + box[3]) * fy
    whole = (int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1)))
    return describe(image, mask, Region("a", 0, whole, whole, float(mask.mean()), 1.0))


def disc(radius: int = 30, side: int = 200) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return (y - side // 2) ** 2 + (x - side // 2) ** 2 <= radius**2


def bar(angle: float, side: int = 200) -> np.ndarray:
    box = cv2.boxPoints(((side / 2, side / 2), (120 * side / 200, 10 * side / 200), angle))
    return cv2.fillPoly(np.zeros((side, side), np.uint8), [np.round(box).astype(int)], 1) > 0


def test_disc() -> None:
    value = described(disc())
    assert value["log_area"] == pytest.approx(np.log10(np.pi * 30**2 / 200**2), abs=0.01)
    assert value["extent"] == pytest.approx(np.pi / 4, abs=0.03)
    assert value["elongation"] == pytest.approx(0, abs=0.02)
    assert value["solidity"] == pytest.approx(1, abs=0.05)
    assert value["thickness"] == pytest.approx(60 / 200, abs=0.02)
    assert value["components"] == 0
    assert value["border"] == 0


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 120])
def test_bar_is_elongated_whatever_its_orientation(angle: float) -> None:
    value = described(bar(angle))
    assert value["elongation"] == pytest.approx(1 - 10 / 120, abs=0.02)
    assert value["thickness"] == pytest.approx(10 / 200, abs=0.015)
    assert value["solidity"] > 0.85


def test_resolution_of_mask_and_image_matters_little() -> None:
    coarse, fine = described(bar(30)), described(bar(30, 800))
    for name in ("log_area", "extent", "elongation", "thickness"):
        assert coarse[name] == pytest.approx(fine[name], abs=0.06), name
    large = described(bar(30, 800), np.full((1600, 1600, 3), 120, np.uint8))
    assert large["log_area"] == pytest.approx(fine["log_area"], abs=0.02)


def test_ring_is_not_solid_and_pieces_are_counted() -> None:
    assert described(disc() & ~disc(25))["solidity"] < 0.4
    four = np.zeros((200, 200), bool)
    for y, x in ((20, 20), (20, 60), (60, 20), (60, 60)):
        four[y : y + 9, x : x + 9] = True
    assert described(four)["components"] == 2  # log2


@pytest.mark.parametrize(("rows", "border"), [(slice(0, 9), 0.25), (slice(None), 0.5)])
def test_contact_with_the_border(rows: slice, border: float) -> None:
    mask = np.zeros((200, 200), bool)
    mask[rows, 50:60] = True
    assert described(mask)["border"] == border


def test_contrast_has_a_sign_and_colour_is_apart_from_it() -> None:
    for value, sign in ((20, -1), (220, 1)):
        image = GREY.copy()
        image[disc()] = value
        contrast = described(disc(), image)["contrast"]
        assert contrast == pytest.approx((value - 120) / 255, abs=0.01)
        assert np.sign(contrast) == sign
    image = GREY.copy()
    image[disc()] = (200, 90, 70)  # as bright as the grey around it
    coloured = described(disc(), image)
    assert abs(coloured["contrast"]) < 0.02
    assert coloured["colourfulness"] > 0.2
    assert described(disc())["colourfulness"] == pytest.approx(0, abs=1e-6)


def test_roughness(rng: np.random.Generator) -> None:
    image = GREY.copy()
    noise = rng.integers(80, 160, (200, 200, 1), dtype=np.uint8)
    inside = described(disc(), np.where(disc()[..., None], noise, image))
    outside = described(disc(), np.where(disc()[..., None], image, noise))
    assert inside["roughness"] == pytest.approx(80 / 255 / np.sqrt(12), rel=0.1)
    assert inside["roughness_ratio"] > 0.8
    assert outside["roughness_ratio"] < -0.8


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (100, 650), (1300, 900)])
@pytest.mark.parametrize("kind", ["empty", "pixel", "full", "line", "noise"])
def test_every_value_is_finite_and_in_range(
    rng: np.random.Generator, size: tuple[int, int], kind: str
) -> None:
    mask = {
        "empty": np.zeros((64, 64), bool),
        "pixel": np.eye(1, 4096, 2000, dtype=bool).reshape(64, 64),
        "full": np.ones((64, 64), bool),
        "line": np.repeat(np.eye(1, 64, 40, dtype=bool), 64, axis=0),
        "noise": rng.random((64, 64)) < 0.02,
    }[kind]
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for region in propose_regions("a", mask, mask.astype(np.float32), size, CropConfig()):
        value = describe(image, mask, region)
        assert tuple(value) == DESCRIPTORS
        assert all(np.isfinite(v) and type(v) is float for v in value.values())
        assert -7 <= value["log_area"] <= 0
        for name in ("extent", "elongation", "solidity", "thickness", "border", "roughness"):
            assert 0 <= value[name] <= 1, name
        for name in ("contrast", "roughness_ratio"):
            assert -1 <= value[name] <= 1, name
        assert value["components"] >= 0
        assert (value["log_area"] == -7) == (kind == "empty")


def test_phrases() -> None:
    image = GREY.copy()
    image[disc(12)] = 30
    assert phrase(described(disc(12), image)) == "small, round, darker than its surroundings"
    image = GREY.copy()
    image[bar(20)] = 220
    assert (
        phrase(described(bar(20), image))
        == "medium-sized, line-like, brighter than its surroundings"
    )
    assert phrase(described(np.zeros((9, 9), bool))) == "nothing stands out"
    assert phrase({}) == "nothing stands out"
    edge = np.zeros((200, 200), bool)
    edge[:40, :90] = edge[60:90, 10:20] = True
    assert "in several pieces, at the image's edge" in phrase(described(edge))


def test_size_is_a_share_of_the_object_and_the_ring_lies_on_it() -> None:
    image, spot = np.full((200, 200, 3), 250, np.uint8), disc(10)
    body = disc(40)
    image[body] = 100
    image[spot] = 60
    region = Region("a", 0, (90, 90, 111, 111), (90, 90, 111, 111), float(spot.mean()), 1.0)
    alone, measured = describe(image, spot, region), describe(image, spot, region, body)
    assert measured["log_area"] == pytest.approx(np.log10(10**2 / 40**2), abs=0.03)
    assert alone["log_area"] == pytest.approx(np.log10(spot.sum() / 200**2), abs=1e-6)
    assert measured["contrast"] == pytest.approx((60 - 100) / 255, abs=1e-4)
    everything = np.ones((7, 9), np.bool_)
    assert describe(image, spot, region, everything) == alone
    # At the object's edge the bright background lies in the ring, but not in that of the object.
    tight = disc(14)
    image[~tight] = 250
    assert describe(image, spot, region, tight)["contrast"] == pytest.approx(-40 / 255, abs=1e-4)
    assert describe(image, spot, region)["contrast"] < -60 / 255
    # A region that reaches beyond what is left of the object is all of it, not more.
    assert describe(image, disc(20), region, disc(3))["log_area"] == 0
