"""`protoanomalyncd demo` and `generate`: the main job on images that the package draws itself."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from protoanomalyncd.cli.console import console
from protoanomalyncd.cli.discover import discover
from protoanomalyncd.config import Config
from protoanomalyncd.datasets.generated import Counts, generate, generate_labelled
from protoanomalyncd.pipeline.inputs import Inputs

__all__ = ["DEMO_TYPES", "demo"]

DEMO_PRODUCT = "brushed_metal"
DEMO_TYPES = ("scratch", "crack", "hole", "stain", "dent", "contamination")
BASE_PRODUCTS = ("leather", "wood")


def demo(out: Path, seed: int = 0, quiet: bool = False) -> Path:
    """Generate a product line with six kinds of defect and discover them.

    Args:
        out: receives ``images/``, ``known_defects/`` and ``run/``; an earlier demo is replaced.
        seed: of the images and of the run.
        quiet: no progress bars.

    Returns:
        The run's folder.
    """
    console.print(f"drawing images of {DEMO_PRODUCT.replace('_', ' ')} into {out} ...")
    images = generate(
        out / "images",
        product=DEMO_PRODUCT,
        counts=Counts(normal=60, per_type=16),
        types=DEMO_TYPES,
        size=256,
        seed=seed,
    )
    known = generate_labelled(
        out / "known_defects", products=BASE_PRODUCTS, n_per_type=20, size=256, seed=seed + 1
    )
    config = dataclasses.replace(Config(), n_novel_classes=len(DEMO_TYPES) + 1, seed=seed)
    given = {"images": str(images), "labelled": str(known)}
    inputs = Inputs.read(images, known)
    return discover(inputs, out / "run", config, given=given, overwrite=True, quiet=quiet)
