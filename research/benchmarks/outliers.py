"""Unseen types of defect: leave each type out in turn, and see whether its images score highest.

    make bench-outliers                                              # MTD -> docs/outliers.md
    .venv/bin/python -m research.benchmarks.outliers --set generated  # what chose the default score

For each type and seed: fit without the type on a seeded half of the remaining test images, with as
many classes as remain; score the other half and all images of the type; an image's score is the
maximum over its regions. Positive = the type left out, negative = the half that was not fitted.
Beside it the raw maximum of the anomaly map. Maps, their range, crops and frozen tokens are
computed once, since no label goes into them; the trained block and the prototypes are trained anew
for every type and seed. With ``--work FOLDER`` an interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.config import Component, Config
from protoanomalyncd.datasets import (
    load_labelled,
    prepare_mtd,
    prepare_neu_seg,
    take_per_class,
)
from protoanomalyncd.datasets.generated import Counts, generate
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.outliers import (
    RegionFeatures,
    create_outlier_score,
    cross_fitted_scores,
    image_scores,
    threshold_at,
)
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.storage.files import read_json, write_json
from protoanomalyncd.training import CropSet, Samples, TokenCache, Trainer, fill_token_cache
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from research.benchmarks.measures import auroc, false_positive_rate
from research.prepared import (
    anomalous_crops,
    labelled_crops,
    parts_of,
    region_images,
)
from research.prepared import prepare as prepare_images

SCORES: dict[str, tuple[str, dict[str, Any]]] = {
    "cosine": ("cosine", {}),
    "probability": ("probability", {}),
    "energy": ("energy", {}),
    "margin": ("margin", {}),
    "vmf": ("vmf", {}),
    "vmf, frozen": ("vmf", {"frozen": True}),
    "neighbour": ("neighbour", {}),
    "neighbour, frozen": ("neighbour", {"frozen": True}),
    "mahalanobis": ("mahalanobis", {}),
    "mahalanobis, frozen": ("mahalanobis", {"frozen": True}),
    "local_density": ("local_density", {}),
    "local_density, frozen": ("local_density", {"frozen": True}),
    "key_value_cache": ("key_value_cache", {"frozen": True, "blend": 1.0}),
    "key_value_cache, half prototypes": ("key_value_cache", {"frozen": True, "blend": 0.5}),
    "key_value_cache, trained keys": ("key_value_cache", {"frozen": False, "blend": 1.0}),
    "key_value_cache, trained keys, half prototypes": ("key_value_cache", {}),
}
DEFAULT = next(
    label for label, score in SCORES.items() if score == (Config().outliers.score.name, {})
)
"""The score that `discover` takes."""
BASELINE = "maximum of the raw map"
DRAWN = {"leather": 1.0, "wood": 0.4, "fabric": 0.4, "tile": 0.4}
"""Generated products, and how strong their defects are: 0.4 = blended to 40 %."""
DRAWN_TYPES = ("burn", "contamination", "crack", "scratch", "stain")
GOOD = "good"
SEEDS = [0, 1, 2, 3, 4]


@dataclass(frozen=True)
class Prepared:
    """What all folds share.

    Args:
        types: true type of each image.
        raw_maxima: of the images' maps.
        crops: of all images, then labelled ones (`labels` >= 0).
        image_index: image of each unlabelled crop.
        cache: tokens of all crops.
        frozen: frozen view of each unlabelled crop.
        anomalous: whether each crop holds a region that does not look normal.
        encoder: makes a fresh one, which has met the normal images.
    """

    types: tuple[str, ...]
    raw_maxima: Tensor
    crops: CropSet
    image_index: Tensor
    cache: TokenCache
    frozen: Tensor
    anomalous: Tensor
    encoder: Callable[[], GuidedEncoder]


def main() -> int:
    """Run all folds, print and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=("mtd", "generated"), default="mtd")
    parser.add_argument("--data", type=Path, default=None, help="folder with mtd/ and neu_seg/")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--rate", type=float, default=0.05, help="asked false-rejection rate")
    parser.add_argument("--epochs", type=int, default=Config().training.epochs)
    parser.add_argument("--work", type=Path, default=None, help="keeps what is computed")
    parser.add_argument("--out", type=Path, default=None, help="Markdown file to write")
    options = parser.parse_args()
    if options.set == "mtd" and options.data is None:
        parser.error("--set mtd: expected --data FOLDER with mtd/ and neu_seg/, got none")
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        tables = {}
        for name in list(DRAWN) if options.set == "generated" else ["mtd"]:
            prepared = prepare(name, work / name, options.data)
            folds = list(run(prepared, work / name, options.seeds, options.rate, options.epochs))
            tables[name] = folds
            print(f"\n{name}\n{table(folds)}", flush=True)
    if options.out is not None:
        options.out.write_text(page(tables["mtd"], options), encoding="utf-8")
    return 0


# --- what all folds share -------------------------------------------------------------------------


def prepare(name: str, work: Path, data: Path | None) -> Prepared:
    """Maps, crops and tokens of a set; found again in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    config, backbone = Config(), create_backbone("embedded")
    base = None
    if name == "mtd":
        assert data is not None  # noqa: S101
        images = work / "images"
        if not (images / "prepared.json").is_file():
            prepare_mtd(data / "mtd", images)
        if not (work / "neu" / "prepared.json").is_file():
            prepare_neu_seg(data / "neu_seg", work / "neu")
        base = take_per_class(
            load_labelled(work / "neu"), config.training.labelled_per_class, config.seed
        )
    else:
        images = generate(
            work / "images",
            name,
            counts=Counts(per_type=14, good=28),
            types=DRAWN_TYPES,
            seed=5,
            strength=DRAWN[name],
        )
    parts = parts_of(config, backbone, "patch_memory")
    prepared = prepare_images(config, Inputs.read(images), work / "fit", parts)
    found, crops, store = prepared.images, prepared.crops, prepared.fit.work.maps
    n_crops = len(crops)
    if base is not None:
        known = labelled_crops(base, work / "labelled", config.crops)
        crops = CropSet.concatenate(crops, known)
    frozen_part, gate = prepared.encoder()
    frozen_part.eval()
    cache = fill_token_cache(work / "tokens", crops, frozen_part, config.training, config.seed)
    views = [frozen_part.frozen_view(plain_tokens(cache, i)) for i in range(n_crops)]
    return Prepared(
        tuple(str(image.sample.label) for image in found),
        torch.tensor([float(store.get(image.sample.name).max()) for image in found]),
        crops,
        region_images(found),
        cache,
        torch.cat(views),
        anomalous_crops(crops, gate, cache),
        lambda: prepared.encoder()[0],
    )


def plain_tokens(cache: TokenCache, crop: int) -> Any:
    """Tokens of one crop, not augmented."""
    return cache.pick(torch.tensor([crop]), torch.tensor([0]))


# --- one fold -------------------------------------------------------------------------------------


def run(
    prepared: Prepared, work: Path, seeds: list[int], rate: float, epochs: int
) -> Iterator[dict[str, Any]]:
    """The measures of every type and seed, from earlier calls where they are there."""
    for kind in sorted(set(prepared.types) - {GOOD}):
        for seed in seeds:
            path = work / "folds" / f"{kind}-{seed}-{rate}-{epochs}.json"
            if not path.is_file():
                path.parent.mkdir(exist_ok=True)
                write_json(path, fold(prepared, kind, seed, rate, epochs))
            yield read_json(path)


def fold(prepared: Prepared, kind: str, seed: int, rate: float, epochs: int) -> dict[str, Any]:
    """Fit without a type, score what was not fitted."""
    types = np.array(prepared.types)
    rest = np.random.default_rng(seed).permutation(np.flatnonzero(types != kind))
    fitted, known = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    parts = {
        "unseen": torch.from_numpy(np.flatnonzero(types == kind)),
        "known": torch.from_numpy(known),
        "known defects": torch.from_numpy(known[types[known] != GOOD]),
    }
    chosen = torch.isin(prepared.image_index, torch.from_numpy(fitted))
    n_classes = len(set(prepared.types)) - 1
    regions, class_ids, prototypes = train(prepared, chosen, n_classes, seed, epochs)
    own = prepared.image_index[chosen]
    index = torch.unique(own, return_inverse=True)[1]
    measured = {BASELINE: measure(prepared.raw_maxima, parts, None)}
    for label, (name, arguments) in SCORES.items():
        inputs = (regions[chosen], class_ids[chosen], prototypes)
        score = create_outlier_score(Component(name, arguments))
        score.fit(*inputs)
        held_out = cross_fitted_scores(
            lambda name=name, arguments=arguments: create_outlier_score(Component(name, arguments)),  # type: ignore[misc]
            *inputs,
            index,
        )
        threshold = threshold_at(image_scores(held_out, index), rate)
        images = image_scores(score.score(regions), prepared.image_index)
        measured[label] = measure(images, parts, threshold)
    return {"type": kind, "seed": seed, "scores": measured}


def measure(scores: Tensor, parts: dict[str, Tensor], threshold: float | None) -> dict[str, Any]:
    """AUROC and FPR95 with and without good images, and the share falsely rejected."""
    unseen, known, defects = (scores[parts[n]] for n in ("unseen", "known", "known defects"))
    values: dict[str, Any] = {
        "auroc": auroc(unseen, known),
        "fpr95": false_positive_rate(unseen, known),
        "auroc_defects": auroc(unseen, defects),
        "fpr95_defects": false_positive_rate(unseen, defects),
    }
    if threshold is not None:
        values["false_rejection"] = float((known > threshold).double().mean())
        values["recall"] = float((unseen > threshold).double().mean())
    return values


def train(
    prepared: Prepared, chosen: Tensor, n_classes: int, seed: int, epochs: int
) -> tuple[RegionFeatures, Tensor, Tensor]:
    """Train on the chosen crops and the labelled ones; look at all unlabelled crops.

    Returns:
        Features of all unlabelled crops, their prototypes' places, and the prototypes.
    """
    config, crops, cache = Config(), prepared.crops, prepared.cache
    labelled = torch.arange(len(prepared.image_index), len(crops))
    rows = torch.cat([torch.nonzero(chosen).flatten(), labelled])
    torch.manual_seed(seed)
    encoder = prepared.encoder()
    n_base = int(crops.labels.max()) + 1
    head = PrototypeHead(encoder.embed_dim, n_base, n_classes, encoder.n_fixed)
    samples = Samples.of(crops)
    Trainer(
        encoder,
        head,
        TokenCache(
            cache.cls[rows],
            cache.patches[rows],
            cache.bias[rows],
            None if cache.descriptors is None else cache.descriptors[rows],
        ),
        Samples(prepared.anomalous[rows], samples.scores[rows], samples.labels[rows]),
        dataclasses.replace(config.training, epochs=epochs),
        config.prototypes,
        seed,
    ).run()
    with torch.no_grad():
        z = torch.cat([encoder(plain_tokens(cache, i)) for i in range(len(prepared.image_index))])
    classifier = RegionClassifier(
        encoder, head, config.prototypes.temperature, create_outlier_score("cosine")
    )
    places = classifier.prototype_of(classifier.posterior(z).argmax(dim=1))
    return RegionFeatures(z, prepared.frozen), places, head.prototypes.detach()


# --- tables ---------------------------------------------------------------------------------------

COLUMNS = {
    "auroc": "AUROC",
    "fpr95": "FPR95",
    "auroc_defects": "AUROC without good",
    "fpr95_defects": "FPR95 without good",
    "false_rejection": "falsely rejected",
    "recall": "unseen rejected",
}


def table(folds: list[dict[str, Any]]) -> str:
    """One row a score: means over types and seeds, and the AUROC of each type."""
    kinds = sorted({f["type"] for f in folds})
    lines = [
        "| score | " + " | ".join([*COLUMNS.values(), *kinds]) + " |",
        "|---|" + "---|" * (len(COLUMNS) + len(kinds)),
    ]
    for label in [BASELINE, *SCORES]:
        cells = [_mean([f["scores"][label].get(key) for f in folds]) for key in COLUMNS]
        for kind in kinds:
            own = [f["scores"][label]["auroc"] for f in folds if f["type"] == kind]
            cells.append(_mean(own))
        shown = f"**{label}**" if label == DEFAULT else label
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(values: list[float | None]) -> str:
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    return f"{statistics.mean(known):.3f}"


def page(folds: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """The Markdown page of MTD."""
    label = DEFAULT
    values = [f["scores"][label]["auroc"] for f in folds]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    n, shown = len(values), " ".join(map(str, options.seeds))
    return "\n".join(
        [
            "# Unseen types of defect on Magnetic Tile Defect",
            "",
            "Each of the five types is left out in turn: fit with five classes on a seeded half of",
            "the remaining test images, score the other half and all images of the type. Positive",
            "= the type left out; negative = the half that was not fitted (good and four types).",
            "An image's score is the maximum over its regions; the whole image stands in where no",
            "region was found. Labelled base = NEU-Seg; default settings. The range of the maps is",
            "fitted on all test images once; it is two numbers, and no label goes into it.",
            f"Thresholds are calibrated at a false-rejection rate of {options.rate:g}.",
            f"Means over five types and seeds {', '.join(map(str, options.seeds))}; the last five",
            "columns are the AUROC of each type. The default score, chosen on generated images",
            "(docs/defaults.md), is bold.",
            "",
            "```",
            "make bench-outliers" + ("" if options.seeds == SEEDS else f' ARGS="--seeds {shown}"'),
            "```",
            "",
            table(folds),
            "",
            f"`{label}`: image AUROC {statistics.mean(values):.3f} ± {spread:.3f} over {n} fits.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
