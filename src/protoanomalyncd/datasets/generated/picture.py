"""One picture: a product, perhaps a defect, and the camera."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np

from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import FloatArray, ImageArray, MaskArray
from protoanomalyncd.datasets.generated import objects, textures
from protoanomalyncd.datasets.generated.defects import DEFECTS
from protoanomalyncd.datasets.generated.fields import grid
from protoanomalyncd.datasets.generated.further_defects import FURTHER_DEFECTS
from protoanomalyncd.datasets.generated.scene import Scene

__all__ = ["DEFECT_TYPES", "FURTHER_TYPES", "PRODUCTS", "defect_types_of", "object_mask", "render"]

Product: TypeAlias = Callable[[np.random.Generator, int], Scene]

_OBJECTS: dict[str, Product] = {
    "gear": objects.gear,
    "pcb": objects.pcb,
    "tablet": objects.tablet,
    "tile": objects.tile,
    "washer": objects.washer,
}
_TEXTURES: dict[str, Product] = {
    "brushed_metal": textures.brushed_metal,
    "fabric": textures.fabric,
    "leather": textures.leather,
    "wood": textures.wood,
}
_MAKERS = {**_OBJECTS, **_TEXTURES}

PRODUCTS: tuple[str, ...] = tuple(sorted(_MAKERS))
"""Names of the products: five objects on a background, four textures."""

DEFECT_TYPES: tuple[str, ...] = tuple(sorted(DEFECTS))
"""Names of the usual defect types: what a set holds unless others are named."""

FURTHER_TYPES: tuple[str, ...] = tuple(sorted(FURTHER_DEFECTS))
"""Names of the further defect types, which every product can have; drawn only where named."""

_DRAWN = {**DEFECTS, **FURTHER_DEFECTS}

_SMALLEST = 32
_MIN_EXTENT = 0.3
_TRIES = 12


def defect_types_of(product: str) -> tuple[str, ...]:
    """Usual defect types that a product can have: a texture has no edge to chip.

    Raises:
        ConfigurationError: the product is unknown.
    """
    if product not in _MAKERS:
        raise ConfigurationError(
            f"expected a product out of {', '.join(PRODUCTS)}; got {product!r}"
        )
    return tuple(t for t in DEFECT_TYPES if product in _OBJECTS or t != "chipped_edge")


def render(
    product: str,
    defect: str | None = None,
    seed: int = 0,
    size: int = 256,
    strength: float = 1.0,
) -> tuple[ImageArray, MaskArray]:
    """Make one picture.

    The picture depends on the arguments only. With the same product, seed and size, pictures
    with and without defect are equal, bit for bit, outside the mask.

    Args:
        product: one of `PRODUCTS`.
        defect: one of ``defect_types_of(product)`` or `FURTHER_TYPES`; None = a normal picture.
        seed: number of the picture.
        size: side [px], at least 32.
        strength: contrast of the defect, above 0 to 1: the share by which it covers the product.
            1 is plain to see; at 0.3 a detector misses some. The mask stays the same.

    Returns:
        The image, ``uint8`` RGB ``(S, S, 3)``, and the defect's mask, ``bool`` ``(S, S)``.

    Raises:
        ConfigurationError: an unknown name, a negative seed, or a size or strength out of range.
    """
    allowed = (*defect_types_of(product), *FURTHER_TYPES)
    if defect is not None and defect not in allowed:
        raise ConfigurationError(
            f"expected a defect of {product} out of {', '.join(allowed)}; got {defect!r}"
        )
    if size < _SMALLEST or seed < 0:
        raise ConfigurationError(
            f"expected a size of at least {_SMALLEST} and a seed of at least 0; got {size}, {seed}"
        )
    if not 0 < strength <= 1:
        raise ConfigurationError(f"expected a strength above 0 and at most 1; got {strength}")
    rng = _rng(product, "", seed)
    scene = _MAKERS[product](rng, size)
    camera = _camera(rng, size)
    if defect is None:
        return camera(scene.colour), np.zeros((size, size), np.bool_)
    picture, extent = _damaged(scene, defect, _rng(product, defect, seed))
    mask = extent >= _MIN_EXTENT
    seen = (
        scene.colour + np.float32(strength) * (picture - scene.colour) if strength < 1 else picture
    )
    return camera(np.where(mask[..., None], seen, scene.colour)), mask


def object_mask(product: str, seed: int = 0, size: int = 256) -> MaskArray | None:
    """Where the product is in the picture of this seed, ``bool`` ``(S, S)``; None for a texture.

    Damage does not change it: a chipped edge belongs to the object.
    """
    if product not in _OBJECTS:
        return None
    mask: MaskArray = _OBJECTS[product](_rng(product, "", seed), size).cover >= 0.5
    return mask


def _rng(product: str, defect: str, seed: int) -> np.random.Generator:
    """Generator of one picture: names and number are hashed, so that no two series overlap."""
    digest = hashlib.sha256(f"{product}/{defect}/{seed}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def _damaged(scene: Scene, defect: str, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Scene with a defect that is large enough to be seen, and its extent."""
    least = max(6.0, 0.0012 * scene.size**2)
    best: tuple[FloatArray, FloatArray] | None = None
    best_area = -1.0
    for _ in range(_TRIES):
        picture, extent = _DRAWN[defect](rng, scene)
        area = float((extent >= _MIN_EXTENT).sum())
        if area > best_area:
            best, best_area = (picture, extent), area
        if area >= least:
            break
    assert best is not None  # noqa: S101
    return best


def _camera(rng: np.random.Generator, size: int) -> Callable[[FloatArray], ImageArray]:
    """The camera of one picture: exposure, uneven light, and sensor noise."""
    x, y = grid(size)
    slope = rng.normal(0, 0.05, 2)
    gain = rng.normal(1.0, 0.025)
    vignette = 0.1 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    light = gain * (1 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5) - vignette)
    white = 1 + rng.normal(0, 0.008, 3)
    field = (light[..., None] * white).astype(np.float32)
    noise = np.float32(0.011) * rng.standard_normal((size, size, 1), np.float32)
    noise = noise + np.float32(0.004) * rng.standard_normal((size, size, 3), np.float32)
    return partial(_expose, field=field, noise=noise)


def _expose(picture: FloatArray, field: FloatArray, noise: FloatArray) -> ImageArray:
    seen = picture * field + noise
    return np.asarray(np.clip(seen * 255 + 0.5, 0, 255), np.uint8)
