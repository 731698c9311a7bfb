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

from research.common.pyramid import forward_pyramid
from research.common.teachers import TARGETS

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
__all__ = [
    "DESCRIPTOR_WEIGHTS",
    "EmbeddedViT",
    "Student",
    "distance",
    "guidance",
    "load_weights",
    "losses",
]

POOLED = ("r50_l3", "r50_l2", "vit_10", "vit_7")
"""Targets whose means over guidance regions the class token predicts."""

GUIDED = "vit_guided"
"""Target that the class token predicts as it is: the ViT's class token under the same guidance."""

REGIONS = ("r18_l2", "r50_l2", "r18_l3", "r50_l3")
"""Targets whose *predictions* are averaged over guidance regions and compared."""

FOLDED = ("descriptor", "pooling")
"""Beginnings of the names of the layers that are made of the heads at export."""

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
            {n: nn.Linear(256, TARGETS[n][0]) for n in (*POOLED, GUIDED)}
        )
        for name, layer in self.backbone.named_children():
            if name.startswith(FOLDED):
                layer.requires_grad_(False)

    def stages(self, x: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        """Normalised features that the heads read: maps (B, h, w, C) and ``cls`` (B, G, C)."""
        out = forward_pyramid(self.backbone, x, bias)
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


def load_weights(
    student: Student, tensors: dict[str, Tensor], prefix: str, other_heads: bool = False
) -> None:
    """Load a checkpoint's tensors that begin with ``prefix``; layers made at export may lack.

    Args:
        student: is changed.
        tensors: of the checkpoint.
        prefix: of the wanted ones.
        other_heads: heads on the class token may lack, which stay as they are, or be too many.

    Raises:
        ValueError: another layer lacks, or there are more than the student has.
    """
    found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    apart = student.load_state_dict(found, strict=False)
    lacking = [k for k in apart.missing_keys if not k.removeprefix("backbone.").startswith(FOLDED)]
    wrong = [*lacking, *apart.unexpected_keys]
    if other_heads:
        wrong = [k for k in wrong if not k.startswith("class_heads.")]
    if wrong:
        raise ValueError(f"expected a student's weights; lacking or too many: {wrong[:3]}")


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


def on_patch_grid(maps: Tensor, stride: int) -> Tensor:
    """(B, h, w, D) of stride 8 or 16 -> (B, P, D) in float32."""
    t = maps.float()
    if stride == 8:
        t = F.avg_pool2d(t.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    return t.flatten(1, 2)


def pool_targets(targets: dict[str, Tensor], bias: Tensor) -> dict[str, Tensor]:
    """Teachers' features under the weights softmax(bias): (B, G, D) each."""
    weights = bias.softmax(dim=-1)
    return {n: weights @ on_patch_grid(targets[n], TARGETS[n][1]) for n in POOLED}


def region_losses(
    predicted: dict[str, Tensor], targets: dict[str, Tensor], bias: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """(loss, cosine) of pooled predictions, as a map-weighted descriptor pools them.

    ``mean_<target>``: means under softmax(bias).  ``contrast_<target>``: those means less
    the image's, which is what tells one region from another; unguided it is nothing, so
    guidance 0 is left out, and so are guidances that weigh all patches alike.

    Args:
        predicted: outputs of the heads (B, h, w, D) by target.
        targets: the same of the teachers.
        bias: (B, G, P); guidance 0 unguided.
    """
    weights = bias.float().softmax(dim=-1)
    uneven = (weights.amax(-1) * weights.shape[-1] > 1.01)[:, 1:]
    out = {}
    with torch.autocast("cpu", enabled=False):  # differences of means need the digits
        for name in REGIONS:
            stride = TARGETS[name][1]
            p = weights @ on_patch_grid(predicted[name], stride)
            t = weights @ on_patch_grid(targets[name], stride)
            out[f"mean_{name}"] = distance(p, t)
            away = (p[:, 1:] - p[:, :1])[uneven], (t[:, 1:] - t[:, :1])[uneven]
            if len(away[0]):
                out[f"contrast_{name}"] = distance(*away)
    return out


def losses(
    student: Student,
    x: Tensor,
    targets: dict[str, Tensor],
    bias: Tensor,
    weights: dict[str, float],
) -> tuple[Tensor, dict[str, float]]:
    """Total loss and the cosine of every target.

    Args:
        student: the network.
        x: normalised images (B, 3, H, W).
        targets: from ``TargetSpace.reduce``.
        bias: (B, G, P); guidance 0 must be unguided (zeros).
        weights: of a ``Recipe``.
    """
    stages = student.stages(x, bias)
    predicted = {n: student.heads[n](stages[s]) for n, s in STAGE_OF.items()}
    found = {n: distance(predicted[n], targets[n]) for n in STAGE_OF}
    found |= region_losses(predicted, targets, bias)
    for name, target in pool_targets(targets, bias).items():
        found[f"cls_{name}"] = distance(student.class_heads[name](stages["cls"]), target)
    guided = student.class_heads[GUIDED](stages["cls"])
    found["cls_" + GUIDED] = distance(guided, targets[GUIDED])
    uneven = (bias.amax(-1) > bias.amin(-1))[:, 1:]
    with torch.autocast("cpu", enabled=False):
        p, t = guided.float(), targets[GUIDED].float()
        away = (p[:, 1:] - p[:, :1])[uneven], (t[:, 1:] - t[:, :1])[uneven]
    if len(away[0]):
        found["contrast_" + GUIDED] = distance(*away)
    total = x.new_zeros(())
    for name, (loss, _) in found.items():
        if name in weights:
            total = total + weights[name] * loss
    return total, {name: float(cosine.detach()) for name, (_, cosine) in found.items()}


def guidance(rng: np.random.Generator, bank: Tensor, defects: Tensor, count: int) -> Tensor:
    """Random guidance biases (B, 1 + count, P); the first is unguided.

    20 % none, 40 % hard (closed outside the region), 40 % soft: beta g with
    g = a + (1 - a) rho, beta 2..6, rho -1..0.  60 % of the images with a
    generated defect have it as their second and third guidance.

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
    chosen[use, :2] = (own[use] / own[use].amax(1, keepdim=True)).unsqueeze(1)
    level = torch.minimum(torch.tensor(0.5), chosen.amax(-1, keepdim=True))
    hard = torch.zeros_like(chosen).masked_fill(chosen < level, -1e9)
    shape = (n, count, 1)
    beta = torch.from_numpy(rng.uniform(2, 6, shape).astype(np.float32))
    rho = torch.from_numpy(rng.uniform(-1, 0, shape).astype(np.float32))
    soft = beta * (chosen + (1 - chosen) * rho)
    kind = torch.from_numpy(rng.random(shape))
    bias = torch.where(kind < 0.4, hard, torch.where(kind < 0.8, soft, torch.zeros_like(soft)))
    return torch.cat([torch.zeros(n, 1, bias.shape[-1]), bias], dim=1)
