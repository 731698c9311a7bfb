"""What a round of training weighs: losses of every target and chances of the crop sizes."""

from __future__ import annotations

from dataclasses import dataclass

BATCH = {128: 48, 192: 22, 256: 12}
"""Batch size for every crop size, pixels: about as many patches each."""

SIZES = tuple(BATCH)


@dataclass(frozen=True)
class Recipe:
    """Weights of the losses and the crop sizes of a round.

    Attributes:
        weights: by target, ``cls_<target>`` for the class token's heads, ``mean_<target>``
            and ``contrast_<target>`` for pooled predictions; without an entry: 0.
        phases: (until this share of the time, chances of ``SIZES``).
        zoom: smallest and largest magnification of a crop.
    """

    weights: dict[str, float]
    phases: tuple[tuple[float, tuple[float, float, float]], ...]
    zoom: tuple[float, float] = (0.55, 2.0)


CLASS_WEIGHTS = {
    "cls_r50_l3": 0.7,
    "cls_r50_l2": 0.3,
    "cls_vit_10": 0.7,
    "cls_vit_7": 0.3,
    "cls_vit_guided": 0.3,
}

BALANCED = Recipe(
    {
        "r18_l1": 0.1,
        "r18_l2": 0.5,
        "r50_l2": 1.0,
        "r18_l3": 0.5,
        "vit_4": 0.8,
        "r50_l3": 1.5,
        "vit_7": 1.2,
        "vit_10": 1.4,
    }
    | CLASS_WEIGHTS,
    ((0.55, (0.5, 0.3, 0.2)), (1.01, (0.15, 0.3, 0.55))),
)
"""Rounds 1 and 2: all teachers; evaluation is at 224 and 256, so larger crops at the end."""

POOLING = Recipe(
    {
        "r18_l1": 0.1,
        "r18_l2": 1.0,
        "r50_l2": 1.8,
        "r18_l3": 1.0,
        "vit_4": 0.4,
        "r50_l3": 2.6,
        "vit_7": 0.6,
        "vit_10": 0.7,
    }
    | {f"mean_{name}": 0.3 for name in ("r18_l2", "r50_l2", "r18_l3", "r50_l3")}
    | {f"contrast_{name}": 1.0 for name in ("r18_l2", "r50_l2", "r18_l3", "r50_l3")}
    | CLASS_WEIGHTS,
    ((1.01, (0.15, 0.2, 0.65)),),
)
"""Round 3: what pooling lives on, the ResNets' features and their means over regions."""

GUIDED = Recipe(
    BALANCED.weights
    | {"vit_4": 0.6, "vit_7": 0.8, "vit_10": 1.0}
    | {"cls_vit_guided": 3.0, "contrast_vit_guided": 1.0, "cls_vit_10": 0.3, "cls_vit_7": 0.1},
    ((1.01, (0.1, 0.3, 0.6)),),
    zoom=(0.55, 4.0),
)
"""Round 4: the ViT's class token under the same guidance, on crops as close as regions are cut."""

RECIPES = {"balanced": BALANCED, "pooling": POOLING, "guided": GUIDED}
