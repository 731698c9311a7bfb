"""Writes outliers.json: what the reference code itself returns on small seeded inputs.

The references are run, not copied: give a checkout of each at the commit named in ``ORIGINS``.
They call CUDA by name; here those calls leave tensors on the CPU. What they import and these
functions do not use (faiss, their data sets and networks) is replaced by empty modules.

    python tests/golden/make_outliers.py PROTOGCD CIDER tests/golden/outliers.json
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import torch
import torch.nn.functional as F
from torch import Tensor

ORIGINS = {
    "protogcd": ("mashijie1028/ProtoGCD", "8835a4d24662c65be125a42d815b52f62ae1482e"),
    "cider": ("deeplearning-wisc/cider", "dce8ad36b035ec3043cb3936bb70508e86c3af19"),
}
NETWORKS = ("models", "models.resnet")
TOOLS = ("utils", "utils.detection_util", "utils.util", "utils.display_results")
ABSENT = ("faiss", "tqdm", *NETWORKS, *TOOLS)
N_CLASSES, WIDTH = 3, 6


def load(root: Path, file: str) -> ModuleType:
    """The module in one file of a checkout."""
    spec = importlib.util.spec_from_file_location("reference", root / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unit(seed: int, n: int) -> Tensor:
    """Seeded unit rows (n, WIDTH), float32."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, WIDTH, generator=generator), dim=1)


def batches(z: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """One batch that looks like a loader."""

    class Loader(list):
        dataset = MagicMock(targets=labels.tolist(), __len__=lambda _: len(z))

    return Loader([(z, labels)])


def protogcd(root: Path) -> dict:
    """msp, mls, energy and margin of queries to prototypes; the two measures."""
    file = "my_utils/ood_utils.py"
    module = load(root, file)
    prototypes, queries = unit(1, N_CLASSES), unit(2, 8)
    scores = {}
    for name in ("msp", "mls", "energy", "margin"):
        args = SimpleNamespace(temp_logits=0.1, T=1.0, score=name, batch_size=8)
        model = lambda z: (None, None, z @ prototypes.T, None)  # noqa: E731
        found = module.get_ood_scores(batches(queries, torch.zeros(8)), model, 8, args)
        scores[name] = found.tolist()
    unseen, known = (torch.randn(40, generator=torch.Generator().manual_seed(s)) for s in (3, 4))
    measures = module.get_measures((unseen + 1).numpy(), known.numpy())
    return {
        "origin": origin("protogcd", file, "get_ood_scores, get_measures"),
        "prototypes": prototypes.tolist(),
        "queries": queries.tolist(),
        "scores": scores,
        "unseen": (unseen + 1).tolist(),
        "known": known.tolist(),
        "auroc": float(measures[0]),
        "fpr95": float(measures[2]),
    }


def cider(root: Path) -> dict:
    """Mahalanobis distance to the nearest class mean."""
    file = "eval_ood.py"
    module = load(root, file)
    module.tqdm = lambda loader, **_: loader
    fitted, queries, labels = unit(5, 30), unit(6, 8), torch.arange(30) % N_CLASSES
    net = SimpleNamespace(intermediate_forward=lambda z: z)
    names = {"in_dataset": "x", "name": "x", "loss": "x"}
    args = SimpleNamespace(n_cls=N_CLASSES, embedding_dim=WIDTH, batch_size=8, **names)
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it keeps means and precision in the working folder
        try:
            means, precision = module.get_mean_prec(args, net, batches(fitted, labels))
        finally:
            os.chdir(before)
    loader = batches(queries, torch.zeros(8))
    found = module.get_Mahalanobis_score(args, net, loader, means, precision)
    return {
        "origin": origin("cider", file, "get_mean_prec, get_Mahalanobis_score"),
        "fitted": fitted.tolist(),
        "labels": labels.tolist(),
        "queries": queries.tolist(),
        "scores": found.tolist(),
    }


def origin(name: str, file: str, function: str) -> dict[str, str]:
    """Where values come from."""
    repository, commit = ORIGINS[name]
    return {"repository": repository, "commit": commit, "file": file, "function": function}


def main() -> None:
    """Run both and write the file."""
    for name in ABSENT:
        sys.modules.setdefault(name, MagicMock(__all__=[]))
    Tensor.cuda = lambda self, *_args, **_options: self
    for name in ("empty", "zeros"):
        original = getattr(torch, name)
        setattr(torch, name, lambda *a, _f=original, device=None, **k: _f(*a, **k))
    golden = {"protogcd": protogcd(Path(sys.argv[1])), "cider": cider(Path(sys.argv[2]))}
    Path(sys.argv[3]).write_text(json.dumps(golden) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
