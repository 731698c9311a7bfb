"""The study of the parity's golden values, the same for the revision before and for this one."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.tiny import network_folder, tiny_config, tiny_images, tiny_labelled

TRAINING = {"epochs": 3, "views": 4, "batch_size": 16}


def write_study(folder: Path, presets: Path) -> Path:
    """A tiny set with a labelled base; the defaults, AnomalyNCD's and SimGCD's settings.

    Args:
        folder: of the study, its images and its network.
        presets: folder of ``anomalyncd.yaml`` and ``simgcd.yaml``.
    """
    base = tiny_config(network_folder(folder / "network", depth=4)).to_dict()
    del base["seed"]
    # At the revision before, the same two options were in `tiny_config`, and no name was needed.
    base["detector"] = {"name": "patch_memory", "image_size": 64, "memory_size": 500}
    base["training"] |= TRAINING
    rows = {"default": {}}
    for name in ("anomalyncd", "simgcd"):
        values = yaml.safe_load((presets / f"{name}.yaml").read_text(encoding="utf-8"))
        rows[name] = values | {"training": values["training"] | TRAINING}
    study = {
        "images": str(tiny_images(folder / "images")),
        "labelled": str(tiny_labelled(folder / "base")),
        "seeds": [0],
        "base": base,
        "rows": rows,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return path
