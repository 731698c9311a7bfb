"""Untrained features of crops and images, which the plain baselines cluster.

Letters: n crops, I images, C channels.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.anomaly_maps.square import patch_layers
from protoanomalyncd.core.records import Sample
from protoanomalyncd.datasets import read_image
from protoanomalyncd.regions.crop_set import CropSet
from protoanomalyncd.storage.map_store import MapStore
from protoanomalyncd.training.views import plain_view
from protoanomalyncd.vit import Backbone, GuidedEncoder

__all__ = ["class_tokens", "map_weighted"]


@torch.no_grad()
def class_tokens(encoder: GuidedEncoder, crops: CropSet) -> Tensor:
    """Unit class tokens of plain views (n, C), on the CPU."""
    side = encoder.config.input_size
    device = next(encoder.tail.parameters()).device
    rows = []
    described = torch.from_numpy(np.array(crops.descriptors)).to(device)
    for i, (image, mask, amap) in enumerate(
        zip(crops.images, crops.masks, crops.maps, strict=True)
    ):
        guide = encoder.guide_values(mask, amap, crops.object_of(i))
        window, values = plain_view(image, guide, side)
        pictures = torch.from_numpy(window)[None].to(device)
        anomaly = torch.from_numpy(values)[None].to(device)
        rows.append(encoder.embed(pictures, anomaly, descriptors=described[i : i + 1]).cpu())
    return torch.cat(rows)


@torch.no_grad()
def map_weighted(
    backbone: Backbone, samples: list[Sample], store: MapStore, image_size: int, device: str
) -> Tensor:
    """One feature an image: its patch descriptors, averaged with weights from its anomaly map.

    Source: Anomaly Clustering (Sohn et al., WACV 2023) for the idea; weights = softmax of the 3 x 3
    averaged map over half the standard deviation of all maps (*ours*: of the set, not of the
    image, since the map of a normal image is noise). Each layer is pooled by itself and gets unit
    length.

    Args:
        backbone: whose `patch_descriptors` are pooled.
        samples: I images.
        store: their raw maps.
        image_size: side to which images are resized [px].
        device: where the network runs.

    Returns:
        (I, C), unit rows, on the CPU.
    """
    maps = [store.get(sample.name) for sample in samples]
    scale = max(float(np.concatenate([m.ravel() for m in maps]).std()) / 2, 1e-12)
    backbone.module().to(device)
    rows = []
    for sample, amap in zip(samples, maps, strict=True):
        size = (image_size, image_size)
        image = cv2.resize(read_image(sample.path), size, interpolation=cv2.INTER_AREA)
        layers = patch_layers(backbone, image.astype(np.uint8, copy=False), torch.device(device))
        scores = torch.from_numpy(amap)[None, None].to(device)
        pooled = [_pool(layer[0], scores, scale) for layer in layers]
        rows.append(F.normalize(torch.cat(pooled), dim=0).cpu())
    return torch.stack(rows)


def _pool(layer: Tensor, scores: Tensor, scale: float) -> Tensor:
    """(D, h, w) and (1, 1, H, W) -> unit (D,)."""
    values = F.interpolate(scores, layer.shape[-2:], mode="bilinear", align_corners=False)
    values = F.avg_pool2d(values, 3, 1, 1, count_include_pad=False)
    weights = torch.softmax(values.flatten() / scale, dim=0)
    return F.normalize(layer.flatten(1) @ weights, dim=0)
