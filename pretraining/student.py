"""The student with its teacher heads, and the distillation losses.

Letters: B images, G guidances, P patches, D target dimensions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

try:
    from protoanomalyncd.vit.embedded import DESCRIPTOR_WEIGHTS, EmbeddedViT
except ModuleNotFoundError:  # a checkout without installation
    sys.path.insert(0, str(Path(__file__).parents[1] / "src"))
    from protoanomalyncd.vit.embedded import DESCRIPTOR_WEIGHTS, EmbeddedViT

from .teachers import TARGETS

STAGE_OF = {
    "r18_l1": "s4",
    "r18_l2": "s8",
    "r50_l2": "s8",
    "r18_l3": "middle",
    "vit_4": "middle",
    "r50_l3": "last",
    "vit_7": "last",
    "vit_10": "last",
}
WEIGHT = {
    "r18_l1": 0.1,
    "r18_l2": 0.5,
    "r50_l2": 1.0,
    "r18_l3": 0.5,
    "vit_4": 0.8,
    "r50_l3": 1.5,
    "vit_7": 1.2,
    "vit_10": 1.4,
    "cls_r50_l3": 0.7,
    "cls_r50_l2": 0.3,
    "cls_vit_10": 0.7,
    "cls_vit_7": 0.3,
    "vit_cls": 0.3,
}
__all__ = ["DESCRIPTOR_WEIGHTS", "EmbeddedViT", "Student", "distance", "guidance", "losses"]

POOLED = ("r50_l3", "r50_l2", "vit_10", "vit_7")
WIDTH = {"s4": 64, "s8": 128, "middle": 256, "last": 256}


class Student(nn.Module):
    """Backbone (batch norm in its stem) and linear heads into every target."""

    def __init__(self) -> None:
        super().__init__()
        backbone = timm.create_model("protoanomalyncd_embedded", stem_norm=True)
        if not isinstance(backbone, EmbeddedViT):
            raise TypeError("expected the embedded backbone")
        self.backbone = backbone
        self.heads = nn.ModuleDict(
            {n: nn.Linear(WIDTH[s], TARGETS[n][0]) for n, s in STAGE_OF.items()}
        )
        self.class_heads = nn.ModuleDict(
            {n: nn.Linear(256, TARGETS[n][0]) for n in (*POOLED, "vit_cls")}
        )
        for name in ("descriptor8", "descriptor16_middle", "descriptor16_last"):
            getattr(self.backbone, name).requires_grad_(False)

    def stages(self, x: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        """Normalised features that the heads read: maps (B, h, w, C) and ``cls`` (B, G, C)."""
        out = self.backbone.forward_pyramid(x, bias)
        tokens, s4, s8, cls = out["tokens"], out["s4"], out["s8"], out["cls"]
        if not (isinstance(s4, Tensor) and isinstance(s8, Tensor) and isinstance(cls, Tensor)):
            raise TypeError("expected tensors")
        grid = (s8.shape[2] // 2, s8.shape[3] // 2)
        middle, last = tokens[2], self.backbone.norm(tokens[-1])
        return {
            "s4": s4[..., ::2, ::2].permute(0, 2, 3, 1),
            "s8": s8.permute(0, 2, 3, 1),
            "middle": F.layer_norm(middle, middle.shape[-1:]).unflatten(1, grid),
            "last": last.unflatten(1, grid),
            "cls": cls,
        }


def distance(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Robust rotation-invariant loss and the mean cosine, over the last axis.

    The loss is the root of the mean squared error (linear for outliers) plus half of
    one minus the cosine.
    """
    p, t = predicted.float(), target.float()
    pp, pt, tt = (p * p).sum(-1), (p * t).sum(-1), t.square().sum(-1)
    error = ((pp + tt - 2 * pt).clamp_min(0) / p.shape[-1] + 0.01).sqrt().mean()
    cosine = (pt * (pp * tt + 1e-6).rsqrt()).mean()
    return error + 0.5 * (1 - cosine), cosine


def pool_targets(targets: dict[str, Tensor], bias: Tensor) -> dict[str, Tensor]:
    """Teachers' features under the weights softmax(bias): (B, G, D) each."""
    weights = bias.softmax(dim=-1)
    out = {}
    for name in POOLED:
        t = targets[name].float()
        if TARGETS[name][1] == 8:
            t = F.avg_pool2d(t.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        out[name] = weights @ t.flatten(1, 2)
    return out


def losses(
    student: Student, x: Tensor, targets: dict[str, Tensor], bias: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Total loss and the cosine of every target.

    Args:
        student: the network.
        x: normalised images (B, 3, H, W).
        targets: from ``TargetSpace.reduce``.
        bias: (B, G, P); guidance 0 must be unguided (zeros).
    """
    stages = student.stages(x, bias)
    total = x.new_zeros(())
    cosines = {}
    for name, stage in STAGE_OF.items():
        loss, cosine = distance(student.heads[name](stages[stage]), targets[name])
        total = total + WEIGHT[name] * loss
        cosines[name] = cosine
    for name, target in pool_targets(targets, bias).items():
        loss, cosine = distance(student.class_heads[name](stages["cls"]), target)
        total = total + WEIGHT[f"cls_{name}"] * loss
        cosines[f"cls_{name}"] = cosine
    loss, cosine = distance(student.class_heads["vit_cls"](stages["cls"][:, 0]), targets["vit_cls"])
    cosines["vit_cls"] = cosine
    return total + WEIGHT["vit_cls"] * loss, {k: float(v.detach()) for k, v in cosines.items()}


def guidance(rng: np.random.Generator, bank: Tensor, defects: Tensor, count: int) -> Tensor:
    """Random guidance biases (B, 1 + count, P); the first is unguided.

    20 % none, 40 % hard (closed outside the region), 40 % soft: beta g with
    g = a + (1 - a) rho, beta 2..6, rho -1..0.  Half of the images with a generated
    defect have it as their second guidance.

    Args:
        rng: generator.
        bank: regions on the patch grid (N, h, w).
        defects: pooled defect masks (B, h, w), zero without a defect.
        count: random guidances an image.
    """
    n = len(defects)
    chosen = (
        bank[torch.from_numpy(rng.integers(0, len(bank), n * count))].view(n, count, -1).clone()
    )
    own = defects.flatten(1)
    use = (own.amax(1) > 0.2) & torch.from_numpy(rng.random(n) < 0.6)
    chosen[use, 0] = own[use] / own[use].amax(1, keepdim=True)
    level = torch.minimum(torch.tensor(0.5), chosen.amax(-1, keepdim=True))
    hard = torch.zeros_like(chosen).masked_fill(chosen < level, -1e9)
    shape = (n, count, 1)
    beta = torch.from_numpy(rng.uniform(2, 6, shape).astype(np.float32))
    rho = torch.from_numpy(rng.uniform(-1, 0, shape).astype(np.float32))
    soft = beta * (chosen + (1 - chosen) * rho)
    kind = torch.from_numpy(rng.random(shape))
    bias = torch.where(kind < 0.4, hard, torch.where(kind < 0.8, soft, torch.zeros_like(soft)))
    return torch.cat([torch.zeros(n, 1, bias.shape[-1]), bias], dim=1)
