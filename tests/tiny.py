"""Tiny networks, images and settings, with which the whole job takes a few seconds.

The networks have random weights and come from a folder, as a user's own would: ``local-dir:``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch
from safetensors.torch import save_file

from protoanomalyncd.config import (
    Config,
    CropConfig,
    EmbeddingConfig,
    GuidanceConfig,
    TrainingConfig,
)
from protoanomalyncd.core.records import FloatArray, ImageArray, MaskArray
from protoanomalyncd.datasets import load_dataset, read_mask
from protoanomalyncd.datasets.generated import Counts, generate, generate_labelled
from protoanomalyncd.regions import DESCRIPTORS
from protoanomalyncd.training import CropSet
from protoanomalyncd.vit import GuidedEncoder, create_backbone

SIDE = 64
"""Side of the images, and of the window that the network sees [px]."""

TYPES = ("hole", "scratch", "stain")
"""Defect types of the generated set; with "good" four classes."""


def network_folder(
    folder: Path, architecture: str = "test_vit", seed: int = 0, **model_args: Any
) -> Path:
    """A timm model folder with random weights.

    Args:
        folder: is made.
        architecture: a small one; ``test_vit`` has 6 blocks of width 64 at stride 16.
        seed: of the weights.
        **model_args: as in the folder's ``config.json``, such as ``depth`` or ``reg_tokens``.
    """
    torch.manual_seed(seed)
    model = timm.create_model(architecture, num_classes=0, **model_args)
    for name, parameter in model.named_parameters():
        if name in {"cls_token", "pos_embed", "reg_token"} or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
        elif "qkv" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    values: dict[str, Any] = {"architecture": architecture, "num_classes": 0}
    values["pretrained_cfg"] = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "num_classes": 0}
    if model_args:
        values["model_args"] = model_args
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


def tiny_config(network: Path, **changes: Any) -> Config:
    """Settings for images of `SIDE` px.

    Args:
        network: see `network_folder`.
        **changes: fields of `Config`, such as ``seed``.
    """
    values: dict[str, Any] = {
        "n_novel_classes": len(TYPES) + 1,
        "crops": CropConfig(size=80),
        "embedding": EmbeddingConfig(f"local-dir:{network}", input_size=SIDE),
        "training": TrainingConfig(epochs=3, views=2, batch_size=16, labelled_per_class=4),
    }
    return Config(**{**values, **changes})


def tiny_images(folder: Path, n_per_type: int = 4, n_normal: int = 5) -> Path:
    """A generated product in the MVTec AD layout."""
    return generate(
        folder,
        "leather",
        counts=Counts(normal=n_normal, per_type=n_per_type),
        types=TYPES,
        size=SIDE,
    )


def tiny_labelled(folder: Path) -> Path:
    """A generated labelled set of two classes."""
    return generate_labelled(folder, ("wood",), types=("burn", "crack"), n_per_type=4, size=SIDE)


def tiny_maps(images: Path, folder: Path) -> Path:
    """Maps of any detector for the test images of `tiny_images`: blurred masks and noise."""
    rng = np.random.default_rng(3)
    for sample in load_dataset(images).unlabelled:
        scores = 0.2 * rng.random((SIDE, SIDE), dtype=np.float32)
        if sample.mask_path is not None:
            mask = read_mask(sample.mask_path, (SIDE, SIDE)).astype(np.float32)
            scores += cv2.GaussianBlur(mask, (0, 0), 1.5) * np.float32(rng.uniform(0.7, 1.0))
        path = (folder / sample.name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, scores, allow_pickle=False)
    return folder


def tiny_encoder(network: Path, guidance: GuidanceConfig | None = None) -> GuidedEncoder:
    """The network of a folder, guided."""
    config = EmbeddingConfig(
        f"local-dir:{network}", SIDE, guidance or GuidanceConfig(), patch_weight=0
    )
    return GuidedEncoder(create_backbone(config.backbone), config)


def random_crop(
    rng: np.random.Generator, side: int = 80
) -> tuple[ImageArray, MaskArray, FloatArray]:
    """Image, mask and map of one crop."""
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    amap = rng.random((side, side)).astype(np.float32)
    return image, amap > 0.8, amap


def random_crops(n: int, labels: Mapping[int, int] | None = None, side: int = 80) -> CropSet:
    """n crops; `labels` gives the known class of some."""
    rng = np.random.default_rng(5)
    known = [(labels or {}).get(i, -1) for i in range(n)]
    crops = [random_crop(rng, side) for _ in range(n)]
    scores, keys = list(rng.random(n)), [f"key{i}/0" for i in range(n)]
    described = [dict(zip(DESCRIPTORS, rng.random(len(DESCRIPTORS)), strict=True)) for _ in keys]
    return CropSet.build(crops, scores, known, keys, described)
