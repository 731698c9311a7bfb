"""The three teachers, and their features reduced to targets.

Each target is a layer's feature map, standardised per channel and rotated onto its
leading principal directions (fitted once on random crops), scaled to a mean square of
one.  The rotation keeps the Euclidean geometry and makes targets small.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from protoanomalyncd.vit.class_row import class_row

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIT_BLOCKS = (4, 7, 10)

TARGETS: dict[str, tuple[int, int]] = {
    "r18_l1": (64, 4),
    "r18_l2": (128, 8),
    "r18_l3": (192, 16),
    "r50_l2": (192, 8),
    "r50_l3": (320, 16),
    "vit_4": (192, 16),
    "vit_7": (192, 16),
    "vit_10": (192, 16),
    "vit_guided": (192, 0),
}
"""Target: (kept dimensions, stride in pixels; 0 = one vector a guidance)."""


class ResNet18Trunk(nn.Module):
    """conv1 to layer3 with folded batch norm, from per-layer .npy files."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.convs = nn.ModuleDict()
        for path in sorted(folder.glob("*.weight.npy")):
            name = path.name.removesuffix(".weight.npy")
            weight = torch.from_numpy(np.load(path))
            stride = 2 if name == "conv1" or name in _STRIDED else 1
            conv = nn.Conv2d(
                weight.shape[1], weight.shape[0], weight.shape[2], stride, weight.shape[2] // 2
            )
            conv.weight.data = weight
            conv.bias.data = torch.from_numpy(np.load(folder / f"{name}.bias.npy"))  # type: ignore[union-attr]
            self.convs[name.replace(".", "_")] = conv

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> maps of layer1, layer2, layer3."""
        x = F.max_pool2d(F.relu(self.convs["conv1"](x)), 3, 2, 1)
        out = []
        for layer in (1, 2, 3):
            for block in (0, 1):
                name = f"layer{layer}_{block}"
                y = self.convs[f"{name}_conv2"](F.relu(self.convs[f"{name}_conv1"](x)))
                down = f"{name}_downsample_0"
                x = F.relu(y + (self.convs[down](x) if down in self.convs else x))
            out.append(x)
        return out


_STRIDED = {f"layer{i}.0.{part}" for i in (2, 3) for part in ("conv1", "downsample.0")}


def first_version(model: Any) -> nn.Module:
    """A timm ResNet-50 that halves the resolution where version 1 does; changed in place."""
    for layer in (model.layer2, model.layer3):
        layer[0].conv1.stride = (2, 2)
        layer[0].conv2.stride = (1, 1)
    out: nn.Module = model
    return out


def load_resnet50(folder: Path) -> nn.Module:
    """ResNet-50 v1 to layer3 (stride in the first 1x1 convolution of a stage)."""
    model: Any = timm.create_model("resnet50", features_only=True, out_indices=(1, 2, 3))
    model.load_state_dict(load_file(str(folder / "model.safetensors")))
    return first_version(model)


class Teachers(nn.Module):
    """The three networks: normalised images -> raw features by target name."""

    def __init__(self, root: Path, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.dtype = dtype
        self.r18 = ResNet18Trunk(root / "resnet18_trunk")
        self.r50 = load_resnet50(root / "resnet50_layer3")
        self.vit: Any = timm.create_model(
            f"local-dir:{root / 'vit_tiny_patch16_224'}", pretrained=True, dynamic_img_size=True
        )
        self.to(dtype).to(memory_format=torch.channels_last).eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor, bias: Tensor) -> dict[str, Tensor]:
        """Features of all teachers.

        Args:
            images: (B, 3, H, W) in [0, 1].
            bias: logits of the ViT's class rows (B, G, P); guidance 0 unguided.

        Returns:
            Maps (B, C, h, w) and ``vit_guided`` (B, G, C).
        """
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        x = ((images - mean) / std).to(self.dtype).contiguous(memory_format=torch.channels_last)
        l1, l2, l3 = self.r18(x)
        _, m2, m3 = self.r50(x)
        x = ((images - 0.5) / 0.5).to(self.dtype)
        guided, maps = self._guided(x, bias)
        out = {"r18_l1": l1[..., ::2, ::2], "r18_l2": l2, "r18_l3": l3, "r50_l2": m2, "r50_l3": m3}
        out |= {f"vit_{b}": m for b, m in zip(VIT_BLOCKS, maps, strict=True)}
        return out | {"vit_guided": guided}

    def _guided(self, x: Tensor, bias: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The ViT's class tokens (B, G, C) under every guidance, and the maps of `VIT_BLOCKS`.

        The patches see the unguided class token, as the network was trained; each guided class
        token is a further query over the same patches.
        """
        tokens = self.vit._pos_embed(self.vit.patch_embed(x))
        guided = tokens[:, :1].expand(-1, bias.shape[1], -1)
        grid = (x.shape[-2] // 16, x.shape[-1] // 16)
        maps = []
        for number, block in enumerate(self.vit.blocks):
            guided = class_row(block, guided, tokens[:, 1:], bias)
            tokens = block(tokens)
            if number in VIT_BLOCKS:
                maps.append(tokens[:, 1:].transpose(1, 2).unflatten(2, grid))
        return self.vit.norm(guided), maps


def rows(features: Tensor) -> Tensor:
    """(B, C, h, w) or (B, G, C) -> (N, C)."""
    last = features.permute(0, 2, 3, 1) if features.ndim == 4 else features
    return last.flatten(0, -2)


class TargetSpace:
    """Standardisation and rotation of every target, fitted once."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    @property
    def lacking(self) -> list[str]:
        """Targets that are not fitted."""
        return [name for name in TARGETS if f"{name}.basis" not in self.tensors]

    def fit(self, batches: list[dict[str, Tensor]]) -> None:
        """Add what is `lacking`, from raw features of some hundred crops."""
        out = self.tensors
        for name in self.lacking:
            kept = TARGETS[name][0]
            x = torch.cat([rows(b[name]).float() for b in batches])
            x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:30000]]
            mean, std = x.mean(0), x.std(0) + 1e-3
            z = (x - mean) / std
            values, vectors = torch.linalg.eigh(z.T @ z / len(z))
            basis = vectors[:, -kept:].flip(1)
            scale = float((values[-kept:].sum() / kept).rsqrt())
            out[f"{name}.mean"], out[f"{name}.std"] = mean, std
            out[f"{name}.basis"] = (basis / std[:, None] * scale).contiguous()
            out[f"{name}.explained"] = values[-kept:].sum() / values.sum()
            out[f"{name}.scale"] = torch.tensor(scale)

    def reduce(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Raw features -> targets (B, h, w, D) or (B, G, D) in bfloat16."""
        out = {}
        for name, feature in features.items():
            basis = self.tensors[f"{name}.basis"]
            x = feature.permute(0, 2, 3, 1) if feature.ndim == 4 else feature
            shift = (self.tensors[f"{name}.mean"] @ basis).to(x.dtype)
            out[name] = (x @ basis.to(x.dtype) - shift).to(torch.bfloat16)
        return out

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        save_file(self.tensors, str(path))

    @classmethod
    def load(cls, path: Path) -> TargetSpace:
        """Read what :meth:`save` wrote."""
        return cls(load_file(str(path)))
