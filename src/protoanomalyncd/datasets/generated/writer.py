"""Generated data sets on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from protoanomalyncd.core.checks import Range, check_types
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.datasets.generated.picture import (
    FURTHER_TYPES,
    PRODUCTS,
    defect_types_of,
    object_mask,
    render,
)
from protoanomalyncd.datasets.staging import build_folder, write_image, write_mask

__all__ = ["Counts", "generate", "generate_labelled"]


@dataclass(frozen=True)
class Counts:
    """How many images a generated set holds.

    Args:
        normal: images of ``train/good``.
        per_type: images of each ``test/<type>``.
        good: images of ``test/good``; None = as `per_type`.
    """

    normal: Annotated[int, Range(0)] = 40
    per_type: Annotated[int, Range(1)] = 12
    good: Annotated[int, Range(0)] | None = None

    def __post_init__(self) -> None:
        check_types(self, "number of images: ")


def generate(
    out: str | Path,
    product: str = "washer",
    *,
    counts: Counts | None = None,
    types: Sequence[str] | None = None,
    size: int = 256,
    seed: int = 0,
    strength: float = 1.0,
) -> Path:
    """Write a data set in the MVTec AD layout, masks included; ``object_masks/`` for objects.

    An image depends on the seed, its folder and its number only: more images leave the others as
    they were. A finished folder of the same arguments is left alone.

    Args:
        out: folder to write; appears only when complete.
        product: one of `PRODUCTS`.
        counts: how many images; None = the defaults of `Counts`.
        types: defect types; None = the usual ones that the product can have.
        size: side of the images [px].
        seed: of the whole set.
        strength: contrast of the defects, above 0 to 1, as in `render`.

    Returns:
        The folder.

    Raises:
        ConfigurationError: an unknown product or type, or a number out of range.
        OutputError: `out` holds other files, or cannot be written.
    """
    kinds, counts = _types([product], types), counts or Counts()
    n_normal, n_per_type = counts.normal, counts.per_type
    n_good = n_per_type if counts.good is None else counts.good
    identity: dict[str, object] = {
        "data_set": "generated",
        "product": product,
        "types": list(kinds),
        "numbers": [n_normal, n_good, n_per_type],
        "size": size,
        "seed": seed,
    }
    identity |= {} if strength == 1 else {"strength": strength}

    def fill(staging: Path) -> tuple[dict[str, int], dict[str, int]]:
        numbers = {"train/good": n_normal, "test/good": n_good}
        numbers |= {f"test/{kind}": n_per_type for kind in kinds}
        for place, count in numbers.items():
            _write_place(staging, place, count, product, (size, strength), seed)
        return numbers, {}

    return build_folder(Path(out), identity, fill).root


def generate_labelled(
    out: str | Path,
    products: Sequence[str] = ("brushed_metal", "leather", "tile"),
    *,
    types: Sequence[str] | None = ("burn", "crack", "stain"),
    n_per_type: int = 12,
    size: int = 256,
    seed: int = 0,
) -> Path:
    """Write a labelled base set: ``images/<type>``, ``masks/<type>``.

    Each class holds `n_per_type` images, of the products in turn, so that a class is a kind of
    defect and not a product.

    Args:
        out: folder to write; appears only when complete.
        products: one or more of `PRODUCTS`.
        types: defect types, at least two; None = the usual ones that all of the products can have.
        n_per_type: images of each type, at least 2.
        size: side of the images [px].
        seed: of the whole set.

    Returns:
        The folder.

    Raises:
        ConfigurationError: an unknown product or type, or too few of anything.
        OutputError: `out` holds other files, or cannot be written.
    """
    kinds = _types(products, types)
    if n_per_type < 2 or len(kinds) < 2:
        raise ConfigurationError(
            f"expected at least 2 types and 2 images of each, got {len(kinds)} and {n_per_type}"
        )
    identity = {
        "data_set": "generated_labelled",
        "products": list(products),
        "types": list(kinds),
        "numbers": [n_per_type],
        "size": size,
        "seed": seed,
    }

    def fill(staging: Path) -> tuple[dict[str, int], dict[str, int]]:
        for kind in kinds:
            for i in range(n_per_type):
                product = products[i % len(products)]
                number = _number(seed, f"images/{kind}", i)
                image, mask = render(product, kind, number, size)
                name = f"{product}_{i:03d}.png"
                write_image(staging / "images" / kind / name, image)
                write_mask(staging / "masks" / kind / name, mask)
        return {f"images/{kind}": n_per_type for kind in kinds}, {}

    return build_folder(Path(out), identity, fill).root


def _write_place(
    root: Path, place: str, count: int, product: str, look: tuple[int, float], seed: int
) -> None:
    """Write the images of one folder, of a size and strength, and the masks of their defects."""
    kind = place.split("/")[1]
    for i in range(count):
        defect = None if kind == "good" else kind
        number, name = _number(seed, place, i), f"{i:03d}.png"
        image, mask = render(product, defect, number, *look)
        where = object_mask(product, number, look[0])
        write_image(root / place / name, image)
        if where is not None:
            write_mask(root / "object_masks" / place / name, where)
        if defect is not None:
            write_mask(root / "ground_truth" / kind / f"{i:03d}_mask.png", mask)


def _types(products: Sequence[str], types: Sequence[str] | None) -> tuple[str, ...]:
    """The wanted types, sorted, if every product can have them; the usual ones by default."""
    if not products:
        raise ConfigurationError(f"expected products out of {', '.join(PRODUCTS)}; got none")
    shared = set(defect_types_of(products[0]))
    for product in products[1:]:
        shared &= set(defect_types_of(product))
    wanted = sorted(shared) if types is None else sorted(set(types))
    possible = sorted(shared | set(FURTHER_TYPES))
    unknown = [kind for kind in wanted if kind not in possible]
    if unknown or not wanted:
        raise ConfigurationError(
            f"expected defect types of {', '.join(products)} out of {', '.join(possible)}; "
            f"got {unknown[0]!r}"
            if unknown
            else "expected at least one defect type, got none"
        )
    return tuple(wanted)


def _number(seed: int, place: str, i: int) -> int:
    """Number of an image: the same whatever else is made; no two places share one."""
    digest = hashlib.sha256(f"{seed}/{place}/{i}".encode()).digest()
    return int.from_bytes(digest[:6], "little")
