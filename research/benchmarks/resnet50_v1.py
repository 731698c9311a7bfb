"""The ResNet-50 trunk of the measurements as a backbone: a timm folder, and its architecture.

    .venv/bin/python -m research.benchmarks.resnet50_v1 \
        ../shared/weights/resnet50_layer3 build/resnet50_v1

Then ``--backbone local-dir:build/resnet50_v1`` of `research.benchmarks.baselines`, which knows the
architecture by importing this file. Its first version halves the resolution in the first 1x1
convolution of a stage, where timm's ``resnet50`` does it in the 3x3 one. The trunk ends with
layer3; what follows is drawn at random and never computed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import register_model
from torch import nn

from research.common.teachers import MEAN, STD, first_version

ARCHITECTURE = "resnet50_v1"


@register_model
def resnet50_v1(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """Timm's resnet50 with the strides of the first version; arguments as there."""
    return first_version(timm.models.resnet.resnet50(pretrained, **arguments))


def write_folder(weights: Path, folder: Path) -> Path:
    """A timm model folder.

    Args:
        weights: folder with ``model.safetensors`` of conv1 to layer3.
        folder: is made.
    """
    torch.manual_seed(0)
    tensors = timm.create_model("resnet50", num_classes=0).state_dict()
    found = load_file(weights / "model.safetensors")
    trunk = {name: value.float() for name, value in found.items()}
    unknown = sorted(set(trunk) - set(tensors))
    if unknown:
        raise ValueError(f"{weights}: expected conv1 to layer3 of a ResNet-50, got {unknown[:3]}")
    folder.mkdir(parents=True, exist_ok=True)
    save_file({**tensors, **trunk}, folder / "model.safetensors")
    values = {
        "architecture": ARCHITECTURE,
        "num_classes": 0,
        "pretrained_cfg": {"mean": list(MEAN), "std": list(STD), "num_classes": 0},
    }
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


def main() -> int:
    """Write the folder."""
    if len(sys.argv) != 3:
        print("usage: python -m research.benchmarks.resnet50_v1 WEIGHTS FOLDER", file=sys.stderr)
        return 2
    print(write_folder(Path(sys.argv[1]), Path(sys.argv[2])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
