"""Pictures of ``docs/concepts/method.md``, from a generated image: ``make pictures``.

.venv/bin/python -m research.benchmarks.concept_pictures --out docs/images
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch

from protoanomalyncd.config import Config, EmbeddingConfig, GuidanceConfig
from protoanomalyncd.datasets import read_image
from protoanomalyncd.datasets.generated import Counts, generate
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.regions import guide_values
from protoanomalyncd.regions.collect import crop_unlabelled
from protoanomalyncd.regions.mebin import binarise
from protoanomalyncd.training.views import plain_view
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from protoanomalyncd.vit.guidance import attention_bias, pool_to_grid
from research.prepared import parts_of, prepare
from research.studies.figures import crop_attention, heat_over

SIDE = 200
"""Side of one panel [px]."""


def main() -> int:
    """Write both pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the PNG files")
    parser.add_argument("--product", default="leather")
    parser.add_argument("--types", nargs="+", default=["scratch"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        draw(Path(scratch), options)
    return 0


def draw(work: Path, options: argparse.Namespace) -> None:
    """Score generated images, and draw the first defective one."""
    config, backbone = Config(), create_backbone("embedded")
    images = generate(
        work / "images",
        options.product,
        counts=Counts(normal=12, per_type=2),
        types=options.types,
        seed=5,
    )
    parts = parts_of(config, backbone, "patch_memory")
    prepared = prepare(config, Inputs.read(images), work / "fit", parts)
    ordered, map_range = prepared.scored.ordered, prepared.scored.map_range
    sample = next(s for _, s in sorted(ordered, key=lambda p: p[1].name) if s.label != "good")
    image, amap = read_image(sample.path), prepared.fit.work.maps.get(sample.name)
    mask = binarise(amap, map_range, config.mebin).mask
    normalised = map_range.normalise(amap)
    regions = crop_unlabelled(sample.name, image, amap, map_range, config.mebin, config.crops)
    boxed = image.copy()
    for region in regions:
        x0, y0, x1, y1 = region.region.crop_box
        cv2.rectangle(boxed, (x0, y0), (x1 - 1, y1 - 1), (220, 40, 40), 2)
    grey = np.repeat((mask * 255).astype(np.uint8)[..., None], 3, axis=2)
    crop = regions[0].crop
    panels = [image, heat_over(image, normalised), grey, boxed, crop.image]
    _write(options.out / "concept_regions.png", panels)
    window, values = plain_view(
        crop.image, guide_values(crop.mask, crop.amap), config.embedding.input_size
    )
    n = window.shape[0] // backbone.patch_size
    pooled = pool_to_grid(torch.from_numpy(values)[None], (n, n))
    soft = attention_bias(pooled, None, GuidanceConfig())[0].reshape(n, n).numpy()
    panels = [window, heat_over(window, soft)]
    modes: tuple[Literal["none", "hard", "soft"], ...] = ("none", "hard", "soft")
    for mode in modes:
        encoder = GuidedEncoder(
            backbone,
            EmbeddingConfig(guidance=GuidanceConfig(mode=mode)),
        )
        attention = crop_attention(encoder, window, values)
        if attention is None:
            raise RuntimeError("the embedded backbone has a class token, yet no attention came")
        panels.append(heat_over(window, attention))
    _write(options.out / "concept_guidance.png", panels)


def _write(path: Path, panels: list[np.ndarray]) -> None:
    row = [
        np.pad(
            cv2.resize(panel, (SIDE, SIDE), interpolation=cv2.INTER_AREA),
            ((0, 0), (2, 2), (0, 0)),
            constant_values=255,
        )
        for panel in panels
    ]
    picture = cv2.cvtColor(np.concatenate(row, axis=1), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    sys.exit(main())
