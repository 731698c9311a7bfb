"""Writes losses.json: what the reference code itself returns on small seeded inputs.

The references are run, not copied: give a checkout of each at the commit named in ``ORIGINS``.
They call CUDA by name; here those calls leave tensors on the CPU. Modules that only log or draw
are replaced by empty ones, and all runs in double precision.

    python tests/golden/make_losses.py PROTOGCD ANOMALYNCD SIMGCD tests/golden/losses.json
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

ORIGINS = {
    "protogcd": ("mashijie1028/ProtoGCD", "8835a4d24662c65be125a42d815b52f62ae1482e"),
    "anomalyncd": ("HUST-SLOW/AnomalyNCD", "cbecce76ccc8a922a0b9ff42228607ff69afa3c4"),
    "simgcd": ("CVMI-Lab/SimGCD", "f843f27195701b7c8c5713cfd17499ad67c86247"),
}


def load(root: Path, file: str) -> ModuleType:
    """The module in one file of a checkout."""
    spec = importlib.util.spec_from_file_location("reference", root / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def case(reference: str, file: str, function: str, inputs: dict[str, Any], output: Any) -> dict:
    """One golden case with its origin."""
    repository, commit = ORIGINS[reference]
    origin = {"repository": repository, "commit": commit, "file": file, "function": function}
    return {"origin": origin, "inputs": inputs, "output": plain(output)}


def plain(value: Any) -> Any:
    """Tensors and arrays as nested lists."""
    return value.detach().tolist() if isinstance(value, Tensor) else value


def with_gradient(loss: Tensor, x: Tensor) -> dict[str, Any]:
    """Value and gradient of a loss."""
    (gradient,) = torch.autograd.grad(loss, x)
    return {"value": plain(loss), "gradient": plain(gradient)}


def draw(seed: int, *shape: int) -> Tensor:
    """Seeded normal numbers in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def contrastive_cases(name: str, file: str, module: ModuleType) -> dict[str, list[dict]]:
    """InfoNCE and supervised contrastive, which all three references hold."""
    nce, supcon = [], []
    for temperature in (1.0, 0.2):
        z = draw(1, 10, 4).requires_grad_()
        logits, labels = module.info_nce_logits(z, temperature=temperature, device="cpu")
        output = with_gradient(F.cross_entropy(logits, labels), z)
        inputs = {"z": plain(z), "temperature": temperature}
        nce.append(case(name, file, "info_nce_logits + CrossEntropyLoss", inputs, output))
    for labels in ([0, 1, 0, 2, 1], [3, 3, 3, 3, 3], [0, 1, 2, 3, 4]):
        z = draw(2, 5, 2, 4).requires_grad_()
        loss = module.SupConLoss()(F.normalize(z, dim=-1), labels=torch.tensor(labels))
        inputs = {"z": plain(z), "labels": labels, "temperature": 0.07}
        supcon.append(case(name, file, "SupConLoss", inputs, with_gradient(loss, z)))
    return {"info_nce": nce, "supervised_contrastive": supcon}


def protogcd(root: Path) -> dict[str, list[dict]]:
    """Entropy, separation and DAPL."""
    file = "models/loss.py"
    module = load(root, file)
    cosines = draw(3, 7, 5).tanh().requires_grad_()
    loss = module.entropy_regularization_loss(cosines, 0.1)
    entropy = case(
        "protogcd",
        file,
        "entropy_regularization_loss",
        {"cosines": plain(cosines), "temperature": 0.1},
        with_gradient(loss, cosines),
    )
    separation = []
    for k in (2, 6):
        mu = draw(4, k, 5).requires_grad_()
        loss = module.prototype_separation_loss(F.normalize(mu, dim=1), 0.1, device="cpu")
        inputs = {"prototypes": plain(mu), "temperature": 0.1}
        output = with_gradient(loss, mu)
        separation.append(case("protogcd", file, "prototype_separation_loss", inputs, output))
    dapl = []
    criterion = module.DistillLoss_ratio(
        num_classes=6, ramp_ratio_teacher_epochs=10, nepochs=20, init_ratio=0.0, device="cpu"
    )
    for epoch in (0, 1, 3, 6, 9, 15):
        cosines = draw(5 + epoch, 16, 6).tanh().requires_grad_()
        loss = criterion(cosines, cosines.detach(), epoch)
        inputs = {
            "cosines": plain(cosines),
            "epoch": epoch,
            "n_epochs": 20,
            "share": float(criterion.ratio_schedule[epoch]),
        }
        output = with_gradient(loss, cosines)
        dapl.append(case("protogcd", file, "DistillLoss_ratio", inputs, output))
    return {"entropy": [entropy], "separation": separation, "dapl": dapl}


def simgcd(module: ModuleType) -> list[dict]:
    """Self-distillation with soft targets only."""
    criterion = module.DistillLoss(warmup_teacher_temp_epochs=30, nepochs=50)
    cases = []
    for epoch in (0, 10, 40):
        cosines = draw(40 + epoch, 12, 5).tanh().requires_grad_()
        loss = criterion(cosines, cosines.detach(), epoch)
        inputs = {
            "cosines": plain(cosines),
            "temperature": float(criterion.teacher_temp_schedule[epoch]),
        }
        output = with_gradient(loss, cosines)
        cases.append(case("simgcd", "model.py", "DistillLoss", inputs, output))
    return cases


def anomalyncd_distill(root: Path) -> list[dict]:
    """Pseudo-label correction: base classes zeroed, low scores moved to normal."""
    file = "models/loss/_distill_loss.py"
    n_base, n_novel = 2, 4
    criterion = load(root, file).DistillLoss(40, 50, n_base, n_novel, repeat_times=4)
    from datasets.data_utils import get_pseudo_label_weights

    scores = [0.0, 0.2, 0.4, 0.5, 0.7, 1.0]
    paths = [f"images/type/{i}.png" for i in range(len(scores))]
    by_name = {"type": {f"{i}.png": s for i, s in enumerate(scores)}}
    weights, _ = get_pseudo_label_weights(paths, 0.5, "base_set", by_name)
    cases = []
    for epoch in (0, 13, 45):
        cosines = draw(60 + epoch, 12, n_base + n_novel).tanh().requires_grad_()
        both_views = torch.tensor(weights * 2, dtype=torch.float64)
        loss = criterion(cosines, cosines.detach(), epoch, both_views)
        inputs = {
            "cosines": plain(cosines),
            "temperature": float(criterion.teacher_temp_schedule[epoch]),
            "n_base": n_base,
            "scores": scores,
        }
        function = "DistillLoss + get_pseudo_label_weights"
        cases.append(case("anomalyncd", file, function, inputs, with_gradient(loss, cosines)))
    return cases


class _Model(list):
    """Stands for the reference's two-part model: images in, stored cosines out."""

    def eval(self) -> None:
        """Nothing to switch."""


def anomalyncd_merge(data_set: str, folder: Path) -> dict:
    """Regions to images, through the reference's own method and mask files."""
    reference = importlib.import_module("models.AnomalyNCD")

    n_base, image_index = 2, [0, 0, 0, 1, 2, 2, 3, 3, 3, 3]
    pixels = [900, 25, 400, 77, 0, 1600, 5000, 4900, 12000, 3]
    cosines = draw(80, len(pixels), n_base + 3).tanh()
    paths, masks = [], []
    for i, (image, area) in enumerate(zip(image_index, pixels, strict=True)):
        mask = np.zeros(128 * 128, dtype=np.uint8)
        mask[:area] = 255
        masks.append(str(folder / f"mask_{i}.png"))
        Image.fromarray(mask.reshape(128, 128)).save(masks[-1])
        paths.append(f"type/{image}_crop{i}.png")
    ones = torch.zeros(len(pixels), dtype=torch.long) + n_base
    batch = (torch.zeros(1), ones, ones, paths, torch.zeros(1), masks)
    args = SimpleNamespace(
        dataset=data_set,
        n_head=1,
        train_classes=range(n_base),
        num_labeled_classes=n_base,
        epochs=99,
        logger=MagicMock(),
    )
    model = _Model([lambda _images, _masks: None, lambda _token: (None, [cosines])])
    run = SimpleNamespace(model=model, args=args, test_loader=[batch])
    merged, argmax, to = [], torch.argmax, Tensor.to

    def record(x: Tensor, *rest: Any, **options: Any) -> Tensor:
        merged.append(x)
        return argmax(x, *rest, **options)

    with (
        patch.object(torch, "argmax", record),
        patch.object(Tensor, "to", lambda x, *a, **k: x if a == ("cuda:0",) else to(x, *a, **k)),
        patch.object(reference, "log_accs_from_preds", lambda **_: (None, 0.0, 0.0, 0.0)),
        patch.object(reference, "tqdm", lambda x: x),
    ):
        reference.AnomalyNCD.region_merge_predict(run, 0, "merge", [0.0])
    inputs = {
        "cosines": plain(cosines),
        "cosine_temperature": 0.1,
        "image_index": image_index,
        "pixels": pixels,
        "temperature": 100.0 if data_set == "mvtec" else 50.0,
        "n_base": n_base,
    }
    function = "AnomalyNCD.region_merge_predict"
    return case("anomalyncd", "models/AnomalyNCD.py", function, inputs, torch.stack(merged))


def metric_cases(roots: dict[str, Path]) -> list[dict]:
    """Clustering accuracy of two references, NMI and ARI of AnomalyNCD."""
    files = {
        "protogcd": "my_utils/cluster_and_log_utils.py",
        "anomalyncd": "utils/cluster_and_log_utils.py",
    }
    modules = {name: load(roots[name], file) for name, file in files.items()}
    cases = []
    for seed, (n, n_true, n_found) in enumerate([(40, 4, 4), (40, 6, 3), (40, 3, 7), (9, 1, 2)]):
        generator = np.random.default_rng(seed)
        true = generator.integers(n_true, size=n)
        found = np.where(
            generator.random(n) < 0.6, (true * 5 + 2) % n_found, generator.integers(n_found, size=n)
        )
        inputs = {"true": true.tolist(), "found": found.tolist()}
        novel, index = np.zeros(n, dtype=bool), np.arange(n)
        _, nmi, ari, f1 = modules["anomalyncd"].split_cluster_acc(
            true, found, novel, index, index.astype(str), False
        )
        outputs = {
            "anomalyncd": ("split_cluster_acc", {"nmi": nmi, "ari": ari, "f1": f1}),
            "protogcd": (
                "old_cluster_acc",
                {"f1": modules["protogcd"].old_cluster_acc(true, found)},
            ),
        }
        for name, (function, output) in outputs.items():
            scores = {key: float(value) for key, value in output.items()}
            cases.append(case(name, files[name], function, inputs, scores))
    return cases


def main() -> None:
    """Run the references and write the file."""
    roots = {name: Path(path).resolve() for name, path in zip(ORIGINS, sys.argv[1:4], strict=True)}
    for absent in ("matplotlib", "matplotlib.pyplot", "loguru"):
        sys.modules.setdefault(absent, MagicMock())
    Tensor.cuda = lambda self, *_args, **_options: self
    Tensor.float = Tensor.double  # so that their one-hot labels have the precision of the rest
    sys.path.insert(0, str(roots["anomalyncd"]))
    loss_files = {
        "protogcd": "models/loss.py",
        "anomalyncd": "models/loss/_contrastive_loss.py",
        "simgcd": "model.py",
    }
    golden: dict[str, list[dict]] = {}
    for name, file in loss_files.items():
        for key, cases in contrastive_cases(name, file, load(roots[name], file)).items():
            golden.setdefault(key, []).extend(cases)
    golden |= protogcd(roots["protogcd"])
    golden["distill"] = simgcd(load(roots["simgcd"], "model.py"))
    golden["distill_corrected"] = anomalyncd_distill(roots["anomalyncd"])
    with tempfile.TemporaryDirectory() as folder:
        golden["merge_regions"] = [anomalyncd_merge(s, Path(folder)) for s in ("mvtec", "mtd")]
    golden["metrics"] = metric_cases(roots)
    lines = [
        f"{json.dumps(key)}: [\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]"
        for key, cases in golden.items()
    ]
    Path(sys.argv[4]).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
