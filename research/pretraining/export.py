"""Write the weights of a run in timm's ``local-dir:`` form.

``python -m research.pretraining.export --run RUN --out src/protoanomalyncd/vit/weights``

The averaged weights are taken, batch norm is folded into the convolutions, the
teacher heads into one small matrix per stage, and all is stored in half precision.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from research.common.teachers import TargetSpace

from .student import STAGE_OF, Student, load_weights

MIXTURE: dict[str, float] = {
    "r18_l2": 1.0,
    "r50_l2": 1.0,
    "r18_l3": 1.0,
    "vit_4": 1.0,
    "r50_l3": 1.0,
    "vit_7": 1.0,
    "vit_10": 1.0,
}
"""Weight of each teacher layer's squared distance in the descriptors of patches."""

POOLING_MIXTURE: dict[str, float] = {"r18_l2": 1.0, "r50_l2": 1.0, "r18_l3": 1.0, "r50_l3": 1.0}
"""The same in the descriptors for pooling."""

DESCRIPTORS = {"s8": "descriptor8", "middle": "descriptor16_middle", "last": "descriptor16_last"}


def load_student(run: Path) -> Student:
    """The averaged weights of a run; of any round, since no head on the class token is written."""
    tensors = load_file(str(run / "state.safetensors"))
    student = Student()
    load_weights(student, tensors, "ema.", other_heads=True)
    return student.eval()


def fold_batch_norm(state: dict[str, Tensor], epsilon: float = 1e-5) -> dict[str, Tensor]:
    """Fold every ``X.1`` batch norm into its convolution ``X.0``."""
    out = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    for key in [k for k in state if k.endswith(".1.running_mean")]:
        base = key.removesuffix(".1.running_mean")
        mean, var, gain, shift = (
            out.pop(f"{base}.1.{n}") for n in ("running_mean", "running_var", "weight", "bias")
        )
        factor = gain / (var + epsilon).sqrt()
        out[f"{base}.0.weight"] = out[f"{base}.0.weight"] * factor.view(-1, 1, 1, 1)
        out[f"{base}.0.bias"] = shift - mean * factor
    return out


def raw_head(head: nn.Linear, space: TargetSpace, name: str, power: float) -> tuple[Tensor, Tensor]:
    """Rows (D, C) and bias (D,) of a head in a geometry between standardised and raw.

    ``power`` 0 leaves the standardised features, 1 undoes the standardisation; a raw
    layer is divided by its root mean square, so that layers stay comparable.
    """
    weight, bias = head.weight.detach().double(), head.bias.detach().double()
    std, scale = space.tensors[f"{name}.std"].double(), space.tensors[f"{name}.scale"].double()
    vectors = space.tensors[f"{name}.basis"].double() * std[:, None] / scale
    lift = std.pow(power)[:, None] * vectors / std.square().pow(power).mean().sqrt()
    return lift @ weight, lift @ bias


def small_matrix(rows: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """(weight, bias) of the small linear map with the distances of the stacked heads."""
    stacked = torch.cat([torch.cat([w, b[:, None]], dim=1) for w, b in rows])
    r = torch.linalg.qr(stacked, mode="r").R
    return r[:, :-1].float(), r[:, -1].float()


def fold_descriptors(
    student: Student, space: TargetSpace, mixture: dict[str, float], power: float = 0.0
) -> dict[str, Tensor]:
    """Weights of the three descriptor layers."""
    out = {}
    for stage, layer in DESCRIPTORS.items():
        rows = []
        for name in (n for n, s in STAGE_OF.items() if s == stage):
            head = student.heads[name]
            if not isinstance(head, nn.Linear):
                raise TypeError("expected a linear head")
            w, b = raw_head(head, space, name, power)
            factor = (mixture.get(name, 0.0) / w.shape[0]) ** 0.5
            rows.append((factor * w, factor * b))
        out[f"{layer}.weight"], out[f"{layer}.bias"] = small_matrix(rows)
    return out


def export(
    run: Path, out: Path, mixture: dict[str, float] | None = None, power: float = 0.0
) -> None:
    """Write ``config.json`` and ``model.safetensors``."""
    student = load_student(run)
    space = TargetSpace.load(run / "targets.safetensors")
    state = fold_batch_norm(student.backbone.state_dict())
    state |= fold_descriptors(student, space, mixture or MIXTURE, power)
    pooling = fold_descriptors(student, space, POOLING_MIXTURE, power)
    state |= {k.replace("descriptor", "pooling"): v for k, v in pooling.items()}
    half = {k: v.detach().to(torch.float16).contiguous() for k, v in state.items()}
    if not all(torch.isfinite(v).all() for v in half.values()):
        raise ValueError("a weight does not fit into half precision")
    out.mkdir(parents=True, exist_ok=True)
    save_file(half, str(out / "model.safetensors"), metadata={"format": "pt"})
    config = {
        "architecture": "protoanomalyncd_embedded",
        "num_classes": 0,
        "num_features": 256,
        "global_pool": "token",
        "pretrained_cfg": {
            "tag": "distilled",
            "input_size": [3, 256, 256],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "num_classes": 0,
            "pool_size": None,
            "first_conv": "patch_embed.conv1.0",
            "classifier": None,
        },
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    export(args.run, args.out)


if __name__ == "__main__":
    main()
