"""The networks of the backbone table, all behind one small class.

Each gives: patch features on a grid for the patch memory, maps for pooling, and one
region descriptor for a mask.  Images are float (B, 3, H, W) in [0, 1].
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from research.common.pyramid import embed
from research.common.teachers import MEAN, STD, VIT_BLOCKS, ResNet18Trunk, load_resnet50


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """[0, 1] -> the network's input."""
    m, s = (torch.tensor(v).view(1, 3, 1, 1) for v in (mean, std))
    return ((images - m) / s).contiguous(memory_format=torch.channels_last)


def pool_mask(mask: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mask (B, H, W) in [0, 1] -> mean over the cells of a grid, (B, h, w)."""
    return F.adaptive_avg_pool2d(mask.unsqueeze(1), grid)[:, 0]


def hard_bias(pooled: Tensor) -> Tensor:
    """(B, h, w) -> (B, P): 0 inside, -1e9 outside; never all closed (*ours*)."""
    flat = pooled.flatten(1)
    level = torch.minimum(torch.tensor(0.5), flat.amax(1, keepdim=True))
    return torch.zeros_like(flat).masked_fill(flat < level, -1e9)


def soft_bias(pooled: Tensor, beta: float = 4.0, outside: float = -1.0) -> Tensor:
    """(B, h, w) -> (B, P): beta g with g = a + (1 - a) rho (METHOD 2.5, *ours*)."""
    flat = pooled.flatten(1)
    return beta * (flat + (1 - flat) * outside)


class Network(Protocol):
    """What the measures need."""

    name: str
    module: nn.Module

    def maps(self, images: Tensor) -> list[Tensor]:
        """Feature maps, finest first, for the patch memory and pooling."""

    def regions(self, images: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """(B, D) region descriptors of masks (B, H, W), by way of guidance."""


def _masked_mean(features: Tensor, mask: Tensor) -> Tensor:
    """Mask-weighted mean of a map (B, C, h, w) -> (B, C)."""
    weights = pool_mask(mask, (features.shape[2], features.shape[3])).unsqueeze(1)
    return (features * weights).sum((2, 3)) / weights.sum((2, 3)).clamp_min(1e-6)


@dataclass
class Convolutional:
    """A ResNet: layers 2 and 3."""

    name: str
    module: nn.Module

    def maps(self, images: Tensor) -> list[Tensor]:
        """layer2 (stride 8) and layer3 (stride 16)."""
        return list(self.module(normalise(images, MEAN, STD))[1:])

    def regions(self, images: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Mask-weighted mean of the last stage."""
        return {"mean": _masked_mean(self.maps(images)[-1], mask)}


@dataclass
class TinyViT:
    """ViT-Ti/16: blocks 4, 7, 10; the class token guided in the last ``guided`` blocks."""

    name: str
    module: nn.Module
    guided: int = 9

    def maps(self, images: Tensor) -> list[Tensor]:
        """One map (B, 3 x 192, h, w)."""
        x = normalise(images, (0.5,) * 3, (0.5,) * 3)
        maps = self.module.forward_intermediates(
            x, indices=list(VIT_BLOCKS), intermediates_only=True
        )  # type: ignore[operator]
        return [torch.cat(maps, dim=1)]

    def regions(self, images: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Class tokens; only their row of the attention is guided, as AnomalyNCD does."""
        pooled = pool_mask(mask, (images.shape[2] // 16, images.shape[3] // 16))
        hard, soft = self.tokens(images, [hard_bias(pooled), soft_bias(pooled)])
        return {"hard": hard, "soft": soft}

    def tokens(self, images: Tensor, biases: list[Tensor]) -> list[Tensor]:
        """Class tokens (B, D) for each bias (B, P) of the class row."""
        vit: Any = self.module
        start = vit._pos_embed(vit.patch_embed(normalise(images, (0.5,) * 3, (0.5,) * 3)))
        first = len(vit.blocks) - self.guided
        for block in vit.blocks[:first]:
            start = block(start)
        out = []
        for row in biases:
            x = start
            full = x.new_zeros(len(x), 1, x.shape[1], x.shape[1])
            full[:, 0, 0, 1:] = row
            for block in vit.blocks[first:]:
                x = block(x, attn_mask=full)
            out.append(vit.norm(x)[:, 0])
        return out


@dataclass
class Embedded:
    """The embedded backbone."""

    name: str
    module: nn.Module

    @cached_property
    def _pooling(self) -> Any:
        return for_pooling(self.module)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Patch descriptors at strides 8 and 16."""
        return list(self.module.patch_descriptors(normalise(images, MEAN, STD)))  # type: ignore[operator]

    def pooling_maps(self, images: Tensor) -> list[Tensor]:
        """Descriptors for pooling at strides 8 and 16."""
        return list(self._pooling.patch_descriptors(normalise(images, MEAN, STD)))

    def regions(self, images: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Guided class tokens, both ways in one pass."""
        pooled = pool_mask(mask, (-(-images.shape[2] // 16), -(-images.shape[3] // 16)))
        hard, soft = self.tokens(images, [hard_bias(pooled), soft_bias(pooled)])
        return {"hard": hard, "soft": soft}

    def tokens(self, images: Tensor, biases: list[Tensor]) -> list[Tensor]:
        """Class tokens (B, D) for each bias (B, P) of the class row."""
        model: Any = self.module
        found = embed(model, normalise(images, MEAN, STD), torch.stack(biases, dim=1))
        return list(found.unbind(1))


def for_pooling(model: Any) -> Any:
    """The embedded network with descriptors of patches whose means over a region are compared.

    Of the predicted features of the two ResNets alone: the ViT's help to find a defect and hinder
    to tell its type (*ours*; chosen on generated products and NEU-Seg's training split,
    ``research/pretraining/pooling.py``).
    """
    twin = copy.deepcopy(model)
    twin.descriptor8 = twin.pooling8
    twin.descriptor16_middle, twin.descriptor16_last = twin.pooling16_middle, twin.pooling16_last
    return twin


class EqualLayers:
    """A network whose map layers have length one at every place, as the embedded one's have.

    Args:
        network: the network.
        layers: number of equally wide layers that each of its maps holds side by side.
    """

    def __init__(self, network: Network, layers: int = 1) -> None:
        self.name, self.module, self.network, self.layers = (
            network.name,
            network.module,
            network,
            layers,
        )

    def maps(self, images: Tensor) -> list[Tensor]:
        """The network's maps, every layer L2-normalised over its channels."""
        parts = [m.unflatten(1, (self.layers, -1)) for m in self.network.maps(images)]
        return [F.normalize(p, dim=2).flatten(1, 2) for p in parts]

    def regions(self, images: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The network's own."""
        return self.network.regions(images, mask)


def load_networks(weights: Path, embedded: Path) -> dict[str, Network]:
    """The three teachers and the embedded backbone, in evaluation mode."""
    import protoanomalyncd.vit.embedded  # noqa: F401  (registers the network)

    vit = timm.create_model(
        f"local-dir:{weights / 'vit_tiny_patch16_224'}", pretrained=True, dynamic_img_size=True
    )
    own = timm.create_model(f"local-dir:{embedded}", pretrained=True)
    networks: list[Network] = [
        Convolutional("ResNet-18", ResNet18Trunk(weights / "resnet18_trunk")),
        Convolutional("ResNet-50", load_resnet50(weights / "resnet50_layer3")),
        TinyViT("ViT-Ti/16", vit),
        Embedded("embedded", own),
    ]
    for network in networks:
        network.module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return {n.name: n for n in networks}
