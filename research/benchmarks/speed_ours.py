"""What `research.benchmarks.speed` measures of our side, each part in a process of its own.

``python -m research.benchmarks.speed_ours PART ARGUMENTS.json RESULT.json``
"""

from __future__ import annotations

import dataclasses
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from protoanomalyncd import Config, ProtoAnomalyNCD
from protoanomalyncd.config import Component, EmbeddingConfig, TrainingConfig
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import Discovery
from protoanomalyncd.deployment import Runtime
from protoanomalyncd.discovery.metrics import metrics_of
from protoanomalyncd.vit.class_row import finish_block, split_heads
from protoanomalyncd.vit.cpu_kernels import fast_linear, fast_patches
from protoanomalyncd.vit.embedded import ClassBlindBlock

Given = dict[str, Any]
EXPORTED = (
    ("openvino", "openvino", "bfloat16"),
    ("openvino", "openvino", "float32"),
    ("onnxruntime", "onnx", "float32"),
)
"""Engine, format and precision of the exported models that are timed."""


def configured(given: Given, seed: int = 0) -> Config:
    """Default settings with the benchmark's backbone and precision."""
    embedding = EmbeddingConfig(given["backbone"], precision=given["precision"])
    return Config(n_novel_classes=6, seed=seed, embedding=embedding)


def training(given: Given) -> Given:
    """Fit on given maps, once a seed; the last model is kept for `inference`."""
    data = Path(given["data"])
    rows: list[Given] = []
    for seed in given["seeds"]:
        model = ProtoAnomalyNCD(configured(given, seed))
        model.fit(data / "ours", labelled=data / "neubase", maps=data / "maps")
        found = metrics_of(model.discovery_)
        rows.append(
            {
                "seed": seed,
                "nmi": None if found is None else found.nmi,
                "seconds": model.seconds_,
                "n_regions": len(model.discovery_.regions),
            }
        )
    model.save_pretrained(Path(given["work"]) / "model")
    return {"rows": rows}


def inference(given: Given) -> Given:
    """Classes of all images from image and map files; the model is loaded before."""
    data, work = Path(given["data"]), Path(given["work"])
    model = ProtoAnomalyNCD.from_pretrained(work / "model")
    expected = model.predict(data / "ours", maps=data / "maps")
    rows: dict[str, Given] = {"torch": {"seconds": [], "same_images": None, "same_regions": None}}
    for _ in range(given["repeats"]):
        start = time.perf_counter()
        model.predict(data / "ours", maps=data / "maps")
        rows["torch"]["seconds"].append(time.perf_counter() - start)
    for engine, kind, precision in EXPORTED:
        folder = model.export(work / f"exported-{kind}", kind, overwrite=True)
        try:
            runtime = Runtime(folder, engine=engine, threads=given["threads"], precision=precision)
        except ConfigurationError as error:  # a processor without bfloat16
            print(error, flush=True)
            continue
        rows[f"{engine}, {precision}"] = classified(runtime, data, given["repeats"], expected)
    return {"rows": rows, "n_images": len(expected.images), "n_regions": len(expected.regions)}


def classified(runtime: Runtime, data: Path, repeats: int, expected: Discovery) -> Given:
    """Seconds of an exported model, and how many of its classes are those of torch."""
    seconds = []
    for _ in range(1 + repeats):  # the first call loads the graph for many images
        start = time.perf_counter()
        found = runtime.classify_folder(data / "ours", data / "maps")
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": seconds[1:],
        "same_images": same(found.images, expected.images),
        "same_regions": same(found.regions, expected.regions),
    }


def same(found: Sequence[Any], expected: Sequence[Any]) -> int:
    """How many have the class that is expected."""
    return sum(a.class_id == b.class_id for a, b in zip(found, expected, strict=True))


def guided(given: Given) -> Given:
    """Forward pass of one crop: the network alone, and with the guided class token."""
    from protoanomalyncd.vit import GuidedEncoder, create_backbone

    rows = {}
    for name in given["backbones"]:
        for precision in ("float32", "bfloat16"):
            backbone = create_backbone(name)
            encoder = GuidedEncoder(backbone, EmbeddingConfig(name, precision=precision)).eval()
            image = torch.randint(0, 255, (1, 224, 224, 3), dtype=torch.uint8)
            amap = torch.rand(1, 224, 224)
            runs: dict[str, Callable[[], Any]] = {
                "plain": partial(plain_forward, backbone, image, precision),
                "packed": partial(packed_forward, backbone, image, precision),
                "guided": partial(guided_forward, encoder, image, amap),
            }
            times = alternate(runs, given["repeats"])
            label = "ViT-Ti/16" if name.startswith("local-dir:") else name
            rows[f"{label}, {precision}"] = {k: [t * 1e3 for t in v] for k, v in times.items()}
    return {"rows": rows, "peak_gflops": peak_arithmetic(), "vit_gflop": vit_arithmetic()}


def plain_forward(backbone: Any, image: torch.Tensor, precision: str) -> torch.Tensor:
    """The timm network as it is, preprocessing included."""
    half = precision == "bfloat16"
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out: torch.Tensor = backbone.module()(backbone.preprocess(image))
    return out


def packed_forward(backbone: Any, image: torch.Tensor, precision: str) -> torch.Tensor:
    """The network unguided, through the packed products that the guided one runs through."""
    model = backbone.module()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        x = backbone.preprocess(image)
        x = model.norm_pre(model._pos_embed(fast_patches(model.patch_embed, x)))
        for block in model.blocks:
            x = block(x) if isinstance(block, ClassBlindBlock) else unguided_block(block, x)
        out: torch.Tensor = model.norm(x)[:, 0]
    return out


def unguided_block(block: Any, x: torch.Tensor) -> torch.Tensor:
    """A timm block with its attention written out, which is the quicker way here."""
    q, k, v = split_heads(block.attn, fast_linear(block.attn.qkv, block.norm1(x)), 3)
    rows = (((q * block.attn.scale) @ k.transpose(-2, -1)).softmax(dim=-1) @ v).transpose(1, 2)
    return finish_block(block, x, rows.flatten(2))


def guided_forward(encoder: Any, image: torch.Tensor, amap: torch.Tensor) -> torch.Tensor:
    """The class token of one crop."""
    out: torch.Tensor = encoder(encoder.tokens(image, amap))
    return out


def alternate(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each contender, turn by turn, after two rounds of warming up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for turn in range(repeats + 2):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                if turn >= 2:
                    times[name].append(time.perf_counter() - start)
    return times


def peak_arithmetic(side: int = 1024) -> dict[str, float]:
    """10^9 operations a second of a square product, the better of torch's own and oneDNN's."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(side, side).to(dtype)
        runs: dict[str, Callable[[], Any]] = {"product": partial(torch.matmul, a, a)}
        with torch.no_grad():
            layer = torch.nn.Linear(side, side, bias=False).to(dtype)
            runs["packed"] = partial(fast_linear, layer, a)
        fastest = min(min(times) for times in alternate(runs, 15).values())
        found[str(dtype).removeprefix("torch.")] = 2 * side**3 / fastest / 1e9
    return found


def vit_arithmetic(width: int = 192, depth: int = 12, tokens: int = 197) -> float:
    """10^9 operations of a forward pass of ViT-Ti/16: products only."""
    block = 2 * tokens * 12 * width * width + 4 * tokens * tokens * width
    return (depth * block + 2 * 196 * 768 * width) / 1e9


def memory(given: Given) -> Given:
    """The whole job from raw images with default settings."""
    start = time.perf_counter()
    data = Path(given["data"])
    model = ProtoAnomalyNCD(Config(n_novel_classes=6))
    model.fit(data / "whole", labelled=data / "neubase")
    model.report(Path(given["work"]) / "report.html")
    return {"seconds": time.perf_counter() - start, "stages": model.seconds_}


def scaling(given: Given) -> Given:
    """The whole job, report included, on a generated set of a given size."""
    folder = Path(given["work"])
    config = Config(
        n_novel_classes=given["n_classes"],
        detector=Component("auto", {"image_size": given["image_size"], "memory_size": 1000}),
        embedding=EmbeddingConfig(given["backbone"], given["window"]),
        training=TrainingConfig(epochs=given["epochs"], views=2),
    )
    config = dataclasses.replace(
        config, crops=dataclasses.replace(config.crops, size=given["window"] + 16)
    )
    model = ProtoAnomalyNCD(config)
    start = time.perf_counter()
    model.fit(Path(given["images"]))
    before = time.perf_counter()
    model.report(folder / "report.html")
    stages = model.seconds_ | {"report": time.perf_counter() - before}
    return {"seconds": time.perf_counter() - start, "stages": stages}


def multiplied(source: Path, target: Path, n_test: int) -> Path:
    """A set of `n_test` test images from a smaller one: each copy gets noise of its own."""
    drawn = sorted((source / "test").rglob("*.png"))
    rng = np.random.default_rng(0)
    for number in range(n_test):
        path = drawn[number % len(drawn)]
        pixels = np.asarray(Image.open(path).convert("RGB"), np.int16)
        noisy = pixels + rng.integers(-3, 4, pixels.shape, np.int16)
        out = target / "test" / path.parent.name / f"{number:06d}.png"
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, compress_level=1)
    for path in sorted((source / "train" / "good").glob("*.png")):
        out = target / "train" / "good" / path.name
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(path.read_bytes())
    return target


def median(values: list[float]) -> float:
    """Middle value."""
    return statistics.median(values)


def main() -> None:
    """Run one part."""
    given = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    torch.set_num_threads(given["threads"])
    Path(given["work"]).mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[Given], Given]] = {
        "training": training,
        "inference": inference,
        "guided": guided,
        "memory": memory,
        "scaling": scaling,
    }
    result = parts[sys.argv[1]](given)
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    Path(sys.argv[3]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
