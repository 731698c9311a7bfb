"""Exported graphs beside torch, speed and agreement: ``make bench-export``.

Speed: a crop of 256 px to its class, by torch in float32 and bfloat16, onnxruntime and OpenVINO,
with one thread and two; the rounds of the contenders alternate, and the median of each is told.
Agreement, where a finished run is given: its model classes images once in torch and once in each
engine, from the same anomaly maps. What guidance costs is in docs/benchmarks.md.

    make bench-export ARGS="--run RUN --images DATA/mtd [--maps MAPS]"
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.config import EmbeddingConfig
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.datasets import load_dataset, read_image
from protoanomalyncd.deployment import Runtime
from protoanomalyncd.deployment.engines import ENGINES, Engine, open_engine
from protoanomalyncd.deployment.formats import write_onnx
from protoanomalyncd.deployment.graph import ClassifierGraph
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.outliers import RegionFeatures, create_outlier_score
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.storage.map_store import MapStore
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from research.benchmarks.speed_page import cpu_name

N_CLASSES = 6
CONTENDERS = ("float32", "bfloat16", "onnxruntime", "openvino", "openvino, bfloat16")


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
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
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
    speed: list[str] = []
    for title, name in names.items():
        encoder = GuidedEncoder(create_backbone(name), EmbeddingConfig(name, options.window)).eval()
        for threads in options.threads:
            torch.set_num_threads(threads)
            speed += speed_rows(title, encoder, options, threads)
        print("\n".join(speed), flush=True)
    agreement = agreement_rows(options) if options.run else []
    text = page(speed, agreement)
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
    title: str, encoder: GuidedEncoder, options: argparse.Namespace, threads: int
) -> list[str]:
    """A table row a batch size: ms a crop of each contender."""
    crop: int = options.crop
    head = PrototypeHead(encoder.embed_dim, 0, N_CLASSES)
    score = create_outlier_score("cosine")
    prototypes = head.prototypes.detach()
    frozen = torch.nn.functional.normalize(torch.ones(N_CLASSES, encoder.frozen_dim), dim=1)
    score.fit(RegionFeatures(prototypes, frozen), torch.arange(N_CLASSES), prototypes)
    graph = ClassifierGraph(RegionClassifier(encoder, head, 0.1, score, 1.0), crop).eval()
    rng = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        write_onnx(graph, crop, path)
        engines = engines_for(path, threads)
        for batch in options.batches:
            inputs: dict[str, np.ndarray] = {
                "image": rng.integers(0, 256, (batch, crop, crop, 3), dtype=np.uint8),
                "anomaly": rng.random((batch, crop, crop), dtype=np.float32),
            }
            runs: dict[str, Callable[[], object]] = {
                "float32": partial(in_torch, graph, inputs, False),
                "bfloat16": partial(in_torch, graph, inputs, True),
            }
            runs |= {name: partial(engine.run, inputs) for name, engine in engines.items()}
            found = medians(runs, options.rounds)
            cells = " | ".join(
                f"{found[name] / batch:.1f}" if name in found else "-" for name in CONTENDERS
            )
            rows.append(f"| {title} | {threads} | {batch} | {cells} |")
    return rows


def engines_for(path: Path, threads: int) -> dict[str, Engine]:
    """The engines by name; OpenVINO in bfloat16 too, where the processor has it."""
    engines = {name: open_engine(path, "onnx", name, threads) for name in ENGINES}
    try:
        half = open_engine(path, "onnx", "openvino", threads, precision="bfloat16")
    except ConfigurationError as error:
        print(error, flush=True)
        return engines
    return engines | {"openvino, bfloat16": half}


@torch.inference_mode()
def in_torch(graph: ClassifierGraph, inputs: Mapping[str, np.ndarray], half: bool) -> object:
    """The graph's own module, eager; its frozen blocks in bfloat16 where `half`."""
    config = graph.encoder.config
    precision: Literal["float32", "bfloat16"] = "bfloat16" if half else "float32"
    if config.precision != precision:
        graph.encoder.config = replace(config, precision=precision)
    return graph(torch.from_numpy(inputs["image"]), torch.from_numpy(inputs["anomaly"]))


def agreement_rows(options: argparse.Namespace) -> list[str]:
    """A table row an engine: regions and images that get the class that torch gives them."""
    model = ProtoAnomalyNCD.from_pretrained(options.run / "model")
    encoder = model.classifier_.encoder  # as the graph computes, whatever the run was fitted with
    encoder.config = replace(encoder.config, precision="float32")
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


def page(speed: list[str], agreement: list[str]) -> str:
    """The Markdown page."""
    lines = [
        "# Exported graphs: speed and agreement",
        "",
        "```",
        'make bench-export ARGS="--run RUN --images IMAGES --maps MAPS"',
        "```",
        "",
        "Milliseconds a crop of 256 px, from its bytes to its class; torch eager, the median of",
        "alternating rounds.",
        "",
        "| network | threads | batch | torch float32 | torch, frozen blocks bfloat16 "
        "| onnxruntime | OpenVINO | OpenVINO bfloat16 |",
        "|---|---|---|---|---|---|---|---|",
        *speed,
        "",
    ]
    if agreement:
        lines += [
            "Classes of a run's own images from the same anomaly maps, in torch and in the engine,",
            "both in float32; *ms* from image and map to the image's class, MEBin and crops",
            "included.",
            "",
            "| engine | regions alike | images alike | largest difference in confidence | ms |",
            "|---|---|---|---|---|",
            *agreement,
            "",
        ]
    lines += [
        f"Measured on {platform.machine()}, {cpu_name()}, torch {torch.__version__}, Python "
        f"{platform.python_version()}; agreement with {torch.get_num_threads()} threads.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
