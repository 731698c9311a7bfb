"""One tiny fitted model a kind of backbone, each exported once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import protoanomalyncd.vit.embedded  # noqa: F401  (registers the embedded network with timm)
from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.config import OutlierConfig
from protoanomalyncd.training import Trainer
from tests.tiny import network_folder, tiny_config, tiny_images, tiny_labelled, tiny_maps

NETWORKS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "embedded": ("protoanomalyncd_embedded", {"depth": 2}),
    "vit": ("test_vit", {"depth": 2, "reg_tokens": 1}),
    "cnn": ("test_resnet", {}),
}


@dataclass(frozen=True)
class Exported:
    """A fitted model and its export.

    Args:
        model: fitted on `images` with `maps`; its catalogue has a new name and a merger.
        folder: its export to ONNX.
        images: MVTec AD layout.
        maps: of its test images.
    """

    model: ProtoAnomalyNCD
    folder: Path
    images: Path
    maps: Path


@pytest.fixture(scope="session")
def export_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Function: kind of backbone -> its export, made once."""
    return cache(lambda kind: _export(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture(scope="session", params=NETWORKS)
def exported(request: pytest.FixtureRequest, export_of: Callable[[str], Exported]) -> Exported:
    return export_of(request.param)


@pytest.fixture(scope="session")
def exported_cnn(export_of: Callable[[str], Exported]) -> Exported:
    """The quickest of them, where the kind does not matter."""
    return export_of("cnn")


def _export(kind: str, folder: Path) -> Exported:
    architecture, arguments = NETWORKS[kind]
    network = network_folder(folder / "network", architecture, **arguments)
    images = tiny_images(folder / "images")
    maps = tiny_maps(images, folder / "maps")
    config = tiny_config(
        network,
        outliers=OutlierConfig(false_rejection_rate=0.2),  # by the default score
    )
    if kind == "vit":  # one of them with patches and descriptors beside the class token
        embedding = dataclasses.replace(config.embedding, patch_weight=0.4, descriptor_weight=0.3)
        config = dataclasses.replace(config, embedding=embedding)
    model = ProtoAnomalyNCD(config)
    with pytest.MonkeyPatch.context() as patched:
        # An untrained network puts all regions close together: prototypes placed among them would
        # leave no distance that an engine's last bits do not exceed.
        patched.setattr(Trainer, "end", lambda _: None)
        model.fit(images, labelled=tiny_labelled(folder / "known"), maps=maps)
    # Untrained networks put all regions close together: not within an engine's last bits of it.
    scores = np.sort([r.outlier_score for r in model.discovery_.regions])
    gaps = np.diff(scores) * (np.arange(1, len(scores)) > len(scores) // 4)
    widest = int(gaps.argmax())
    model.classifier_.threshold = float(scores[widest : widest + 2].mean())
    model.catalogue_.rename(1, "scratch")
    model.catalogue_.merge([1, 3])
    return Exported(model, model.export(folder / "export"), images, maps)
