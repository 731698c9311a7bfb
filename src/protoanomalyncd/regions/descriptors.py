"""What a crop loses: size, shape, position and contrast of a region, as a few plain numbers.

Ours (METHOD 2.10): a crop is always scaled to the same size, so that the embedding does not know
how large or how elongated the region was, nor whether it touched the border.

===================  ==============  ======================================================
name                 range           meaning
===================  ==============  ======================================================
``log_area``         [-7, 0]         log10 of the share of the object that it covers
``extent``           [0, 1]          foreground share of its bounding box
``elongation``       [0, 1)          1 - minor / major axis of its ellipse of inertia
``solidity``         [0, 1]          foreground share of its convex hull
``thickness``        [0, 1]          twice the largest distance to its edge / image side
``components``       [0, inf)        log2 of the number of its separate pieces
``border``           [0, 1]          share of the image's four sides that it touches
``contrast``         [-1, 1]         mean brightness inside minus in the ring around it
``colourfulness``    [0, 1]          distance of mean chroma inside and in the ring
``roughness``        [0, 1]          standard deviation of brightness inside
``roughness_ratio``  [-1, 1]         (inside - ring) / (inside + ring) of that deviation
===================  ==============  ======================================================

The object is the whole image where none was localised; where one was, the ring lies on it, as far
as there is any object around the region. None depends on the resolution, rounding apart, nor on the
region's orientation (but ``extent``) or place (but ``border``). A region without foreground (a
whole image in which nothing stood out) has zeros, and ``log_area`` -7.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

from protoanomalyncd.core.records import FloatArray, ImageArray, MaskArray, Region

__all__ = ["DESCRIPTORS", "NOTHING", "describe", "phrase"]

DESCRIPTORS: tuple[str, ...] = (
    "log_area",
    "extent",
    "elongation",
    "solidity",
    "thickness",
    "components",
    "border",
    "contrast",
    "colourfulness",
    "roughness",
    "roughness_ratio",
)
"""Names of the descriptors, in order."""

SMALLEST_LOG_AREA = -7.0
NOTHING: Mapping[str, float] = dict.fromkeys(DESCRIPTORS, 0.0) | {"log_area": SMALLEST_LOG_AREA}
"""Descriptors of a region without foreground."""
RING_SHARE = 0.04
"""Width of the ring around a region, as a share of the image's longer side."""
WORK_SIDE = 512
"""Images are shrunk to this longer side first [px]: the cost does not grow with the camera."""


def describe(
    image: ImageArray, mask: MaskArray, region: Region, on_object: MaskArray | None = None
) -> dict[str, float]:
    """Descriptors of one region; every value is finite for every input.

    Args:
        image: RGB, uint8, (H, W, 3).
        mask: the image's binarised map, True = anomaly, (h, w), covering the whole image.
        region: the region; its foreground is the mask inside its `box`.
        on_object: True = object, (h', w'), covering the whole image; None = everything is.

    Returns:
        Value by name, in the order of `DESCRIPTORS`.
    """
    height, width = image.shape[:2]
    if max(height, width) > WORK_SIDE:
        factor = WORK_SIDE / max(height, width)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    foreground = _foreground(mask, region, (height, width), (image.shape[0], image.shape[1]))
    if not foreground.any():
        return dict(NOTHING)
    body = _sampled_object(on_object, (image.shape[0], image.shape[1]))
    values = _shape(foreground, body) | _look(image, foreground, body)
    return {name: float(values[name]) for name in DESCRIPTORS}


def phrase(means: Mapping[str, float]) -> str:
    """A few plain words for a class, from the means of its regions' descriptors.

    Args:
        means: value by name, as `describe` returns them; missing names count as 0.

    Returns:
        For instance "small, elongated, darker than its surroundings".
    """
    value = {name: float(means.get(name, 0.0)) for name in DESCRIPTORS}
    if "log_area" not in means or value["log_area"] <= SMALLEST_LOG_AREA + 0.5:
        return "nothing stands out"
    words = [
        _first(
            value["log_area"], ((-2.5, "tiny"), (-1.7, "small"), (-1.0, "medium-sized")), "large"
        )
    ]
    if value["elongation"] >= 0.75:
        words.append("line-like" if value["thickness"] < 0.08 else "elongated")
    elif value["elongation"] < 0.35 and value["solidity"] >= 0.85:
        words.append("round")
    elif value["solidity"] < 0.7:
        words.append("irregular")
    if value["components"] >= 1.0:
        words.append("in several pieces")
    if value["border"] >= 0.2:
        words.append("at the image's edge")
    if abs(value["contrast"]) >= 0.03:
        words.append(
            "darker than its surroundings"
            if value["contrast"] < 0
            else "brighter than its surroundings"
        )
    elif value["colourfulness"] >= 0.03:
        words.append("of another colour than its surroundings")
    if value["roughness_ratio"] >= 0.25:
        words.append("rougher than its surroundings")
    elif value["roughness_ratio"] <= -0.25:
        words.append("smoother than its surroundings")
    return ", ".join(words)


def _first(value: float, steps: tuple[tuple[float, str], ...], last: str) -> str:
    return next((word for limit, word in steps if value < limit), last)


def _foreground(
    mask: MaskArray, region: Region, original: tuple[int, int], working: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """The region's foreground at working resolution, uint8 0 or 1, `working`."""
    h, w = mask.shape
    (height, width), (rows, columns) = original, working
    x0, y0, x1, y1 = region.box
    own = np.zeros((h, w), np.uint8)
    own_rows = slice(y0 * h // height, -(-y1 * h // height))
    own_columns = slice(x0 * w // width, -(-x1 * w // width))
    own[own_rows, own_columns] = mask[own_rows, own_columns]
    sampled = cv2.resize(own, (columns, rows), interpolation=cv2.INTER_NEAREST)
    if own.any() and not sampled.any():  # finer than the sampling: keep each pixel's centre
        ys, xs = np.nonzero(own)
        sampled[(2 * ys + 1) * rows // (2 * h), (2 * xs + 1) * columns // (2 * w)] = 1
    return np.asarray(sampled, np.uint8)


def _sampled_object(
    on_object: MaskArray | None, working: tuple[int, int]
) -> npt.NDArray[np.bool_] | None:
    """The object mask at working resolution."""
    if on_object is None:
        return None
    size = (working[1], working[0])
    sampled = cv2.resize(on_object.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(sampled > 0)


def _shape(
    foreground: npt.NDArray[np.uint8], body: npt.NDArray[np.bool_] | None
) -> dict[str, float]:
    rows, columns = foreground.shape
    x, y, w, h = cv2.boundingRect(foreground)
    part = foreground[y : y + h, x : x + w]
    points = np.stack(np.nonzero(part))
    area = points.shape[1]
    # A pixel is a square: 1/12 on each axis keeps one pixel round and a line of them finite.
    spread = np.cov(points, bias=True) + np.eye(2) / 12 if area > 1 else np.eye(2) / 12
    minor, major = np.sqrt(np.linalg.eigvalsh(spread))
    hull = cv2.contourArea(cv2.convexHull(_outer_corners(part)))
    padded = np.pad(part, 1)
    depth = float(cv2.distanceTransform(padded, cv2.DIST_L2, 5).max())
    sides = (x == 0, y == 0, x + w == columns, y + h == rows)
    # A region may reach beyond the object: a share above 1 would mean nothing.
    whole = rows * columns if body is None else max(int(body.sum()), area)
    pieces = cv2.connectedComponents(padded, connectivity=8)[0] - 1
    return {
        "log_area": max(np.log10(area / whole), SMALLEST_LOG_AREA),
        "extent": area / (w * h),
        "elongation": 1 - minor / major,
        "solidity": min(1.0, area / max(hull, 1.0)),
        "thickness": min(1.0, 2 * depth / max(rows, columns)),
        "components": np.log2(max(pieces, 1)),
        "border": sum(sides) / 4,
    }


def _outer_corners(part: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Corners (x, y) of the first and the last pixel of each row: no other can be on the hull."""
    filled = np.flatnonzero(part.any(axis=1))
    first = part[filled].argmax(axis=1)
    behind = part.shape[1] - part[filled, ::-1].argmax(axis=1)
    corners = [(x, y) for x in (first, behind) for y in (filled, filled + 1)]
    return np.concatenate([np.stack(c, axis=1) for c in corners]).astype(np.int32)


def _look(
    image: ImageArray, foreground: npt.NDArray[np.uint8], body: npt.NDArray[np.bool_] | None
) -> dict[str, float]:
    """Brightness and colour inside against the ring around; no ring (it fills the image): 0."""
    width = max(2, round(RING_SHARE * max(foreground.shape)))
    x, y, w, h = cv2.boundingRect(foreground)
    rows = slice(max(0, y - width), y + h + width)
    columns = slice(max(0, x - width), x + w + width)
    near, part = foreground[rows, columns], image[rows, columns].astype(np.float32) / 255
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    inside = near > 0
    ring = (cv2.dilate(near, kernel) > 0) & ~inside
    if body is not None and (ring & body[rows, columns]).any():
        ring &= body[rows, columns]
    brightness = part @ np.array([0.299, 0.587, 0.114], np.float32)
    chroma = part - brightness[..., None]
    deviation = float(brightness[inside].std())
    look = {"contrast": 0.0, "colourfulness": 0.0, "roughness": deviation, "roughness_ratio": 0.0}
    if not ring.any():
        return look
    ring_deviation = float(brightness[ring].std())
    look["contrast"] = float(brightness[inside].mean() - brightness[ring].mean())
    look["colourfulness"] = _distance(chroma[inside].mean(axis=0), chroma[ring].mean(axis=0))
    total = deviation + ring_deviation
    look["roughness_ratio"] = (deviation - ring_deviation) / total if total > 1e-6 else 0.0
    return look


def _distance(first: FloatArray, second: FloatArray) -> float:
    return min(1.0, float(np.linalg.norm(first - second)))
