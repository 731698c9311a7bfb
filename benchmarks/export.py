"""Exported graphs beside torch: speed, agreement, and what guidance costs: ``make bench-export``.

Speed: a crop of 256 px to its class, by torch in float32 and bfloat16, onnxruntime and OpenVINO;
the rounds of the contenders alternate, and the median of each is told. Guidance: the frozen blocks
with a guided class row against the same blocks unguided, and under one mask for all rows, as timm
takes it. Agreement, where a finished run is given: its model classes images once in torch and once
in each engine, from the same anomaly maps.

    make bench-export ARGS="--run RUN --images DATA/mtd"
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.config import EmbeddingConfig, GuidanceConfig
from protoanomalyncd.datasets import load_dataset, read_image
from protoanomalyncd.deployment import Runtime
from protoanomalyncd.deployment.engines import ENGINES, open_engine
from protoanomalyncd.deployment.formats import write_onnx
from protoanomalyncd.deployment.graph import ClassifierGraph
from protoanomalyncd.discovery import RegionClassifier
from protoanomalyncd.discovery.outliers import create_outlier_score
from protoanomalyncd.persistence.map_store import MapStore
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from protoanomalyncd.vit.guidance import class_row_mask

N_CLASSES = 6
LARGEST_OVERHEAD = 0.10


def main() -> int:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights", type=Path, required=True, help="folder with vit_tiny_patch16_224/"
    )
    parser.add_argument("--run", type=Path, help="finished run, for the agreement")
    parser.add_argument("--images", type=Path, help="its images, or others")
    parser.add_argument("--maps", type=Path, help="their maps, if the run was given maps")
    parser.add_argument("--limit", type=int, help="only so many images")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--crop", type=int, default=256, help="side of a crop [px]")
    parser.add_argument("--window", type=int, default=224, help="side that the network sees [px]")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    options = parser.parse_args()
    if (options.run is None) != (options.images is None):
        parser.error("--run and --images belong together")
    names = {
        "embedded": "embedded",
        "ViT-Ti/16": f"local-dir:{options.weights / 'vit_tiny_patch16_224'}",
    }
    speed, guidance = [], []
    for title, name in names.items():
        encoder = GuidedEncoder(create_backbone(name), EmbeddingConfig(name, options.window)).eval()
        speed += speed_rows(title, encoder, options.crop, options.batches, options.rounds)
        guidance += guidance_rows(title, encoder, options.rounds)
        print("\n".join(speed + guidance), flush=True)
    agreement = agreement_rows(options) if options.run else []
    text = page(speed, guidance, agreement)
    options.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


def medians(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds of each, the median over rounds that alternate; one round warms up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def speed_rows(
    title: str, encoder: GuidedEncoder, crop: int, batches: list[int], rounds: int
) -> list[str]:
    """A table row a batch size: ms a crop of each contender."""
    head = PrototypeHead(encoder.embed_dim, 0, N_CLASSES)
    score = create_outlier_score("cosine")
    score.fit(head.prototypes.detach(), head.prototypes.detach())
    graph = ClassifierGraph(RegionClassifier(encoder, head, 0.1, score, 1.0), crop).eval()
    rng = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(graph, crop, path)
        engines = {name: open_engine(path, "onnx", name) for name in ENGINES}
        for batch in batches:
            inputs = {
                "image": rng.integers(0, 256, (batch, crop, crop, 3), dtype=np.uint8),
                "anomaly": rng.random((batch, crop, crop), dtype=np.float32),
            }
            runs: dict[str, Callable[[], object]] = {
                "float32": lambda i=inputs: in_torch(graph, i, False),
                "bfloat16": lambda i=inputs: in_torch(graph, i, True),
            }
            runs |= {name: lambda e=engine, i=inputs: e.run(i) for name, engine in engines.items()}
            found = medians(runs, rounds)
            cells = " | ".join(f"{ms / batch:.2f}" for ms in found.values())
            rows.append(f"| {title} | {batch} | {cells} |")
    return rows


@torch.inference_mode()
def in_torch(graph: ClassifierGraph, inputs: Mapping[str, np.ndarray], half: bool) -> object:
    """The graph's own module, eager."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        return graph(torch.from_numpy(inputs["image"]), torch.from_numpy(inputs["anomaly"]))


def guidance_rows(title: str, encoder: GuidedEncoder, rounds: int) -> list[str]:
    """A table row a way to guide: ms of the frozen blocks and their overhead; batch of 1."""
    model: Any = encoder.frozen
    side = encoder.config.input_size
    x = torch.randn(1, 3, side, side)
    bias = 4 * torch.rand(1, (side // encoder.backbone.patch_size) ** 2)
    mask = class_row_mask(bias, int(model.num_prefix_tokens))

    @torch.inference_mode()
    def blocks(attn_mask: Tensor | None) -> Tensor:
        tokens: Tensor = model.norm_pre(model._pos_embed(model.patch_embed(x)))
        for block in model.blocks[:-1]:
            tokens = block(tokens, attn_mask=attn_mask)
        return tokens

    @torch.inference_mode()
    def guided(hidden: bool) -> object:
        return encoder.backbone.tokens(x, bias, GuidanceConfig(hide_class_key=hidden))

    runs: dict[str, Callable[[], object]] = {"unguided": lambda: blocks(None)}
    if title == "embedded":
        runs["guided, class key hidden"] = lambda: guided(True)
    else:
        runs["guided, class key seen"] = lambda: guided(False)
        runs["guided, class key hidden"] = lambda: guided(True)
    runs["guided by one mask for all rows"] = lambda: blocks(mask)
    found = medians(runs, 3 * rounds)
    base = found["unguided"]
    return [f"| {title} | {name} | {ms:.2f} | {ms / base - 1:+.1%} |" for name, ms in found.items()]


def agreement_rows(options: argparse.Namespace) -> list[str]:
    """A table row an engine: regions and images that get the class that torch gives them."""
    model = ProtoAnomalyNCD.from_pretrained(options.run / "model")
    samples = load_dataset(options.images).unlabelled[: options.limit]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        expected = model.predict(samples, maps=options.maps, work_dir=folder / "work")
        store = MapStore(folder / "work" / "maps")
        exported = model.export(folder / "export")
        images = {s.name: read_image(s.path) for s in samples if s.name in store}
        for name in ENGINES:
            runtime = Runtime(exported, engine=name)
            same_regions = same_images = 0
            apart, start = 0.0, time.perf_counter()
            for image in expected.images:
                found, regions = runtime.classify_image(
                    images[image.name], store.get(image.name), image.name
                )
                same_images += found.class_id == image.class_id
                for ours, theirs in zip(regions, expected.regions_of(image.name), strict=True):
                    same_regions += ours.class_id == theirs.class_id
                    apart = max(apart, abs(ours.confidence - theirs.confidence))
            milliseconds = (time.perf_counter() - start) * 1e3 / len(expected.images)
            rows.append(
                f"| {name} | {same_regions} of {len(expected.regions)} "
                f"| {same_images} of {len(expected.images)} | {apart:.1e} | {milliseconds:.1f} |"
            )
    return rows


def page(speed: list[str], guidance: list[str], agreement: list[str]) -> str:
    """The Markdown page."""
    lines = [
        "# Exported graphs: speed, agreement, and what guidance costs",
        "",
        "```",
        'make bench-export ARGS="--run RUN --images IMAGES"',
        "```",
        "",
        "Milliseconds a crop of 256 px, from its bytes to its class; torch eager, the median of",
        "alternating rounds.",
        "",
        "| network | batch | torch float32 | torch bfloat16 | onnxruntime | OpenVINO |",
        "|---|---|---|---|---|---|",
        *speed,
        "",
        "Guidance: all blocks but the last at 224 px, batch of 1, torch float32, beside the same",
        f"blocks unguided. Expected: at most {LARGEST_OVERHEAD:.0%}. *One mask for all rows* is",
        "what timm's blocks take, and takes the fast kernel from the patch rows; it is not used.",
        "",
        "| network | blocks | ms | overhead |",
        "|---|---|---|---|",
        *guidance,
        "",
    ]
    if agreement:
        lines += [
            "Classes of a run's own images from the same anomaly maps, in torch and in the engine;",
            "*ms* from image and map to the image's class, MEBin and crops included.",
            "",
            "| engine | regions alike | images alike | largest difference in confidence | ms |",
            "|---|---|---|---|---|",
            *agreement,
            "",
        ]
    lines += [
        f"Measured on {platform.machine()}, {torch.get_num_threads()} threads for torch, the "
        "engines' own choice for the",
        f"others, torch {torch.__version__}, Python {platform.python_version()}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
