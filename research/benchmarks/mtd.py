"""The main job on Magnetic Tile Defect, from raw images, over several seeds: ``make bench-mtd``.

For every seed: `discover` with default settings and NEU-Seg's single-type training images as the
labelled base; beside it k-means on the unguided embeddings of the same crops, from the same
backbone, merged into images by the same rule. MTD's labels are for this report only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from research.benchmarks.provenance import measured_on

if TYPE_CHECKING:  # torch waits for the processes of the seeds
    from protoanomalyncd import ProtoAnomalyNCD

TRUE_CLASSES = 6
"""Five types of defect and good."""


@dataclass(frozen=True)
class Row:
    """One seed: ours, and k-means on unguided embeddings of the same crops."""

    seed: int
    nmi: float
    ari: float
    f1: float
    kmeans_nmi: float
    kmeans_ari: float
    kmeans_f1: float
    minutes: float
    peak_memory_mb: int


def main() -> int:
    """Run all seeds, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with mtd/ and neu_seg/")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--work",
        type=Path,
        help="keeps what each seed has computed; its minutes are then of the rest",
    )
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.work or Path(scratch)
        prepare(options.data, folder)
        rows = []
        for seed in options.seeds:
            # A process of its own for every seed, so that peak memory is this seed's.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                given = (folder, seed, options.backbone, options.device)
                row = pool.submit(run_seed, *given).result()
            print(json.dumps(asdict(row)), flush=True)
            rows.append(row)
    text = page(rows, options.backbone, options.device, options.work is not None)
    options.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


def prepare(data: Path, folder: Path) -> None:
    """MTD in the MVTec AD layout and NEU-Seg as a labelled set, in `folder`."""
    from protoanomalyncd.datasets import prepare_mtd, prepare_neu_seg

    prepare_mtd(data / "mtd", folder / "mtd")
    prepare_neu_seg(data / "neu_seg", folder / "neu")


def run_seed(folder: Path, seed: int, backbone: str, device: str = "cpu") -> Row:
    """Fit with one seed and compare with k-means on the same crops."""
    from protoanomalyncd import Config, ProtoAnomalyNCD
    from protoanomalyncd.discovery.metrics import metrics_of

    start = time.perf_counter()
    config = Config(n_novel_classes=TRUE_CLASSES, seed=seed)
    model = ProtoAnomalyNCD(config, backbone=backbone, device=device)
    work = folder / f"work-{seed}"
    model.fit(folder / "mtd", labelled=folder / "neu", work_dir=work)
    minutes = (time.perf_counter() - start) / 60
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    ours = metrics_of(model.discovery_)
    baseline = kmeans_baseline(model, work / "crops", seed)
    if ours is None:
        raise RuntimeError("MTD has labels, yet no metrics came")
    return Row(seed, ours.nmi, ours.ari, ours.f1, *baseline, minutes, peak)


def kmeans_baseline(
    model: ProtoAnomalyNCD, crops_folder: Path, seed: int
) -> tuple[float, float, float]:
    """NMI, ARI and F1 of k-means on unguided embeddings of the run's own crops.

    Args:
        model: fitted; its frozen backbone is used with an untrained tail.
        crops_folder: crops that the run left in its work folder.
        seed: of k-means.
    """
    import dataclasses

    import torch
    from sklearn.cluster import KMeans

    from protoanomalyncd.config import GuidanceConfig
    from protoanomalyncd.discovery.merge_regions import merge_regions
    from protoanomalyncd.discovery.metrics import evaluate
    from protoanomalyncd.regions import guide_values
    from protoanomalyncd.regions.crop_set import CropSet
    from protoanomalyncd.training.views import plain_view
    from protoanomalyncd.vit import GuidedEncoder

    crops = CropSet.load(crops_folder)
    images = json.loads((crops_folder / "images.json").read_text(encoding="utf-8"))["images"]
    unguided = dataclasses.replace(
        model.config.embedding,
        guidance=GuidanceConfig(mode="none"),
        descriptor_weight=0.0,
        patch_weight=0.0,
        whitening=None,
    )
    device = model.config.device
    encoder = GuidedEncoder(model.classifier_.encoder.backbone, unguided).to(device)
    rows = []
    for image, mask, amap in zip(crops.images, crops.masks, crops.maps, strict=True):
        window, values = plain_view(image, guide_values(mask, amap), unguided.input_size)
        pictures, guides = (torch.from_numpy(part)[None].to(device) for part in (window, values))
        rows.append(encoder.embed(pictures, guides))
    embeddings = torch.cat(rows).cpu().numpy()
    found = KMeans(TRUE_CLASSES, n_init=10, random_state=seed).fit_predict(embeddings)
    one_hot = torch.eye(TRUE_CLASSES)[torch.from_numpy(found).long()]
    index = torch.tensor([i for i, image in enumerate(images) for _ in image["regions"]])
    areas = torch.tensor(
        [0.0 if r["whole_image"] else r["area"] for image in images for r in image["regions"]],
        dtype=torch.float64,
    )
    merged = merge_regions(one_hot, index, areas).argmax(dim=1).tolist()
    metrics = evaluate([image["name"].split("/")[1] for image in images], merged)
    return metrics.nmi, metrics.ari, metrics.f1


def page(rows: list[Row], backbone: str, device: str = "cpu", kept: bool = False) -> str:
    """The Markdown page; `kept`: parts of the runs may have been there before."""
    lines = [
        "# The main job on Magnetic Tile Defect",
        "",
        "Six classes (five types of defect and good), their number given; unlabelled set = the",
        "583 test images; labelled base = NEU-Seg, 100 images of each of three types; detector =",
        f"`patch_memory` on the 761 normal training images; backbone = `{backbone}`; default",
        "settings. *k-means* = k-means on the unguided embeddings",
        "of the same crops from the same backbone, merged into images by the same rule.",
        "",
        "```",
        "make bench-mtd",
        "```",
        "",
        "| seed | NMI | ARI | F1 | k-means NMI | ARI | F1 | NMI gain | minutes | peak MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r.seed} | {r.nmi:.3f} | {r.ari:.3f} | {r.f1:.3f} | {r.kmeans_nmi:.3f} "
            f"| {r.kmeans_ari:.3f} | {r.kmeans_f1:.3f} | {r.nmi - r.kmeans_nmi:+.3f} "
            f"| {r.minutes:.1f} | {r.peak_memory_mb} |"
        )
    columns = ["nmi", "ari", "f1", "kmeans_nmi", "kmeans_ari", "kmeans_f1"]
    cells = [_spread([getattr(r, c) for r in rows]) for c in columns]
    cells.append(_spread([r.nmi - r.kmeans_nmi for r in rows], "+.3f"))
    lines += [
        f"| mean ± sd | {' | '.join(cells)} | {_spread([r.minutes for r in rows], '.1f')} "
        f"| {max(r.peak_memory_mb for r in rows)} (max) |",
        "",
        ("" if device == "cpu" else f"On `{device}`. ")
        + measured_on()
        + (" Minutes without what a run found in its work folder." if kept else ""),
        "",
    ]
    return "\n".join(lines)


def _spread(values: list[float], form: str = ".3f") -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):{form}} ± {deviation:{form.lstrip('+')}}"


if __name__ == "__main__":
    sys.exit(main())
