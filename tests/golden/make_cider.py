"""Write cider.json: what CIDER's own code returns on small seeded inputs.

The reference is run, not copied: give a checkout at the commit named in ``ORIGIN``. It calls CUDA
by name; here those calls leave tensors on the CPU, and all runs in double precision.

    .venv/bin/python tests/golden/make_cider.py CIDER
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ORIGIN = {
    "repository": "deeplearning-wisc/cider",
    "commit": "dce8ad36b035ec3043cb3936bb70508e86c3af19",
    "file": "utils/losses.py",
}


def unit(seed: int, *shape: int) -> Tensor:
    """Seeded directions in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def case(module: Any, labels: list[int], k: int, momentum: float, temperature: float) -> dict:
    """Two steps of the moving average; dispersion and compactness of the second, with gradients."""
    args = SimpleNamespace(n_cls=k, feat_dim=4, proto_m=momentum)
    module.DisLoss.init_class_prototypes = lambda self: None
    dispersion = module.DisLoss(args, None, None, temperature, temperature)
    start = unit(1, k, 4)
    dispersion.prototypes = start.clone()
    compactness = module.CompLoss(args, temperature, temperature)
    first, classes = unit(2, len(labels), 4), torch.tensor(labels)
    dispersion(first, classes)
    z = unit(3, len(labels), 4).requires_grad_()
    apart = dispersion(z, classes)
    close = compactness(z, dispersion.prototypes, classes)
    return {
        "origin": {**ORIGIN, "function": "DisLoss, CompLoss"},
        "inputs": {
            "prototypes": start.tolist(),
            "first": first.tolist(),
            "second": z.tolist(),
            "labels": labels,
            "momentum": momentum,
            "temperature": temperature,
        },
        "output": {
            "prototypes": dispersion.prototypes.tolist(),
            "dispersion": apart.item(),
            "dispersion_gradient": torch.autograd.grad(apart, z, retain_graph=True)[0].tolist(),
            "compactness": close.item(),
            "compactness_gradient": torch.autograd.grad(close, z)[0].tolist(),
        },
    }


def main() -> None:
    """Run the reference and write the file."""
    Tensor.cuda = lambda self, *_args, **_options: self
    Tensor.float = Tensor.double
    spec = importlib.util.spec_from_file_location("reference", Path(sys.argv[1]) / ORIGIN["file"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cases = [
        case(module, [0, 2, 1, 0, 0, 2], 3, 0.95, 0.1),
        case(module, [3, 3, 3, 0], 5, 0.5, 0.1),
        case(module, [1, 0], 2, 0.5, 0.3),
    ]
    text = "[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n"
    Path(__file__).with_name("cider.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
