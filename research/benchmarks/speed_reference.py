"""AnomalyNCD's own code, run from outside on a CPU with a small ViT: times and peak memory.

Nothing of it is copied: this adapter imports a checkout of github.com/HUST-SLOW/AnomalyNCD and
replaces at run time what is hard-coded there: the download of the backbone (ViT-Ti/16 from a
folder), its width, `.cuda()`, the normalisation (mean = std = 0.5), and numbers: under NumPy 2 the
limits of its sweep must be integers (uint8 would wrap round), its scores floats. `loguru` and
`matplotlib`, of which it uses one function each, are stood in for: the latter by Pillow, which is
the faster.

Run by `research.benchmarks.speed` in a process of its own.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import json
import os
import resource
import sys
import time
import types
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

WIDTH, HEADS, DEPTH, GUIDED_BLOCKS = 192, 3, 12, 9


def stand_in(name: str, **content: Any) -> types.ModuleType:
    """Register an empty module with a few names."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__dict__.update(content)
    sys.modules[name] = module
    return module


def silent(*_: Any, **__: Any) -> None:
    """Log nothing."""


def save_grey(path: str, values: np.ndarray, **_: Any) -> None:
    """What ``pyplot.imsave(..., cmap="gray")`` does to a mask of 0 and 255."""
    Image.fromarray(values).convert("RGBA").save(path)


def load_vit(weights: Path, network: Any) -> nn.Module:
    """The reference's own network class with ViT-Ti/16's weights."""
    from safetensors.torch import load_file

    model: nn.Module = network(
        patch_size=16,
        embed_dim=WIDTH,
        depth=DEPTH,
        active_depth=GUIDED_BLOCKS,
        num_heads=HEADS,
        mlp_ratio=4,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    state = load_file(weights / "model.safetensors")
    own = model.state_dict()
    model.load_state_dict({name: state[name].float() for name in own})
    return model


def import_reference(checkout: Path, weights: Path) -> Any:
    """The module ``models.AnomalyNCD`` with its hard-coded parts replaced."""
    stand_in("loguru", logger=SimpleNamespace(add=silent, info=silent))
    pyplot = stand_in("matplotlib.pyplot", imsave=save_grey)
    stand_in("matplotlib", pyplot=pyplot)
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    sys.path.insert(0, str(checkout))
    module: Any = importlib.import_module("models.AnomalyNCD")
    network = importlib.import_module("models.modules._MGViT").MaskedGuidedVisionTransformer

    limits = module.MEBin.get_search_range
    module.MEBin.get_search_range = lambda self: tuple(int(v) for v in limits(self))
    cut = module.MEBin.crop_sub_image_mask

    def plain_scores(self: Any, **arguments: Any) -> tuple[Any, Any, list[float]]:
        images, masks, scores = cut(self, **arguments)
        return images, masks, [float(score) for score in scores]  # JSON knows no numpy.float32

    module.MEBin.crop_sub_image_mask = plain_scores
    to = torch.Tensor.to

    def stay(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        moved: torch.Tensor = self if args[:1] == ("cuda:0",) else to(self, *args, **kwargs)
        return moved

    torch.Tensor.to = stay  # type: ignore[method-assign]
    module.info_nce_logits = partial(module.info_nce_logits, device="cpu")
    module.load_backbone = lambda *_, **__: load_vit(weights, network)
    load_model = module.AnomalyNCD.load_model

    def narrower(self: Any) -> nn.Module:
        self.args.feat_dim = WIDTH
        loaded: nn.Module = load_model(self)
        return loaded

    module.AnomalyNCD.load_model = narrower
    transforms = module.get_transform

    def half_mean(*args: Any, **kwargs: Any) -> Any:
        pair = transforms(*args, **kwargs)
        for transform in pair:
            transform.mean = transform.std = (0.5, 0.5, 0.5)
        return pair

    module.get_transform = half_mean
    return module


def settings(data: Path, work: Path, threads: int, seed: int) -> SimpleNamespace:
    """Its ``configs/AnomalyNCD.yaml``; as many loading processes as threads (it asks for 8)."""
    return SimpleNamespace(
        dataset="mtd",
        category="tiles",
        dataset_path=str(data / "images"),
        anomaly_map_path=str(data / "maps8"),
        binary_data_path=str(work / "binary"),
        crop_data_path=str(work / "crops"),
        base_data_path=str(data / "neubase"),
        runner_name="AnomalyNCD",
        sample_rate=4,
        min_interval_len=4,
        erode=True,
        grad_from_block=11,
        pretrained_backbone="vit_tiny",
        mask_layers=GUIDED_BLOCKS,
        n_views=2,
        n_head=4,
        batch_size=32,
        num_workers=threads if threads > 1 else 0,
        lr=0.003,
        gamma=0.1,
        momentum=0.9,
        weight_decay=0.00005,
        epochs=50,
        sup_weight=0.3,
        memax_weight=4,
        anomaly_thred=0.5,
        teacher_temp=0.04,
        warmup_teacher_temp=0.07,
        warmup_teacher_temp_epochs=40,
        repeat_times=4,
        seed=seed,
        print_freq=1_000_000,
        table_root=str(work / "tables"),
        exp_name="AnomalyNCD",
        exp_root=str(work / "runs"),
    )


def train(module: Any, model: Any, epochs: int) -> tuple[list[float], list[float]]:
    """Seconds of each epoch but the first, which warms up; and the last loss of each head."""
    args = model.args
    optimiser = module.SGD(
        module.get_params_groups(model.model),
        lr=args.lr,
        momentum=args.momentum,
        weight_decay=args.weight_decay,
    )
    schedule = module.lr_scheduler.CosineAnnealingLR(
        optimiser, T_max=args.epochs, eta_min=args.lr * 1e-3
    )
    criterion = module.DistillLoss(
        warmup_teacher_temp_epochs=args.warmup_teacher_temp_epochs,
        nepochs=args.epochs,
        ncrops=args.n_views,
        warmup_teacher_temp=args.warmup_teacher_temp,
        teacher_temp=args.teacher_temp,
        num_labeled_classes=args.num_labeled_classes,
        num_unlabeled_classes=args.num_unlabeled_classes,
        student_temp=0.1,
        repeat_times=args.repeat_times,
    )
    seconds = []
    for epoch in range(1 + epochs):
        start = time.perf_counter()
        losses, _ = model.MGRL(epoch, optimiser, criterion)
        schedule.step()
        seconds.append(time.perf_counter() - start)
    return seconds[1:], losses


def image_nmi(module: Any, model: Any, losses: list[float]) -> float:
    """NMI of images by its own merging of regions, of the head that it chooses."""
    from sklearn.metrics import normalized_mutual_info_score

    found: list[float] = []

    def keep(y_true: np.ndarray, y_pred: np.ndarray, **_: Any) -> tuple[Any, ...]:
        found.append(float(normalized_mutual_info_score(y_true, y_pred)))
        return {}, found[-1], 0.0, 0.0

    module.log_accs_from_preds = keep
    _, head = model.region_merge_predict(0, "benchmark", losses)
    return found[int(head)]


@torch.no_grad()
def predict(model: Any) -> int:
    """Classes of all crops, as its ``sub_image_predict`` without the metrics; number of crops."""
    model.model.eval()
    network, projector = model.model
    n_crops = 0
    for images, _, _, _, masks, _ in model.test_loader:
        _, logits = projector(network(images, masks))
        for head in logits:
            head.softmax(dim=-1)[:, model.args.num_labeled_classes :].argmax(1)
        n_crops += len(images)
    return n_crops


def main() -> None:
    """``python -m research.benchmarks.speed_reference ARGUMENTS.json RESULT.json``."""
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(given["threads"])
    data, work = Path(given["data"]), Path(given["work"])
    work.mkdir(parents=True, exist_ok=True)
    module = import_reference(Path(given["reference"]), Path(given["weights"]))
    os.chdir(work)
    model = module.AnomalyNCD(settings(data, work, given["threads"], given["seed"]))
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    regions = []
    for _ in range(given["repeats"]):
        start = time.perf_counter()
        model.binarization()
        regions.append(time.perf_counter() - start)
    model.train_init()
    classes = []
    for _ in range(given["repeats"]):
        start = time.perf_counter()
        n_crops = predict(model)
        classes.append(time.perf_counter() - start)
    result: dict[str, Any] = {
        "regions_s": regions,
        "classes_s": classes,
        "n_crops": n_crops,
        "n_images": given["n_images"],
    }
    if given["epochs"]:
        result["epoch_s"], losses = train(module, model, given["epochs"])
        result["epochs_run"] = 1 + given["epochs"]
        result["nmi"] = image_nmi(module, model, losses)
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
