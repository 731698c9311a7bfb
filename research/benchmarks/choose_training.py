"""Which guidance and training settings serve best, on data that is no test set.

    .venv/bin/python -m research.benchmarks.choose_training --data ../shared/data
        [--sets neu wood leather]

Sets: `neu` = 60 images of each type of NEU-Seg's training split with their true masks (K = 3, base:
generated defects), and generated products with the built-in detector's maps (K = types + normal,
base: 40 other training images of each NEU-Seg type). NMI over regions with the types drawn.
No MTD image is read. Prints the table of ``docs/defaults.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from protoanomalyncd.config import Config, GuidanceConfig
from protoanomalyncd.datasets import load_labelled, prepare_neu_seg, take_per_class
from protoanomalyncd.datasets.generated import Counts, generate, generate_labelled
from protoanomalyncd.discovery.metrics import evaluate
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.training import (
    CropSet,
    Samples,
    TokenCache,
    Trainer,
    embed_cache,
    fill_token_cache,
)
from protoanomalyncd.training.views import plain_view
from protoanomalyncd.vit import Backbone, GuidedEncoder, create_backbone
from research.prepared import labelled_crops, parts_of, prepare

GUIDANCE = {
    "unguided": GuidanceConfig(mode="none"),
    "hard": GuidanceConfig(mode="hard"),
    "soft, beta 2": GuidanceConfig(beta=2.0),
    "soft, beta 4": GuidanceConfig(beta=4.0),
    "soft, beta 8": GuidanceConfig(beta=8.0),
}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "default": {},
    "learning_rate 0.003": {"training": {"learning_rate": 0.003}},
    "learning_rate 0.03": {"training": {"learning_rate": 0.03}},
    "epochs 10": {"training": {"epochs": 10}},
    "entropy_weight 0.5": {"prototypes": {"entropy_weight": 0.5}},
    "entropy_weight 4": {"prototypes": {"entropy_weight": 4.0}},
    "no labelled terms": {"prototypes": {"supervised_weight": 0.0}},
}


@dataclass(frozen=True)
class TrialSet:
    """Crops to discover, their true types, and labelled crops of other products."""

    name: str
    crops: CropSet
    types: list[str]
    base: CropSet

    @property
    def n_classes(self) -> int:
        """Distinct true types."""
        return len(set(self.types))


def main() -> int:
    """Print one table a set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with neu_seg/")
    parser.add_argument("--sets", nargs="+", default=["neu", "wood", "leather"])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    backbone = create_backbone("embedded")
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        prepare_neu_seg(options.data / "neu_seg", work / "neu-seg")
        for name in options.sets:
            trial = neu_set(work) if name == "neu" else generated_set(name, work, backbone)
            print(f"\n{name}: {len(trial.crops)} regions, {trial.n_classes} types", flush=True)
            for label, guidance in GUIDANCE.items():
                print(row(f"k-means, {label}", kmeans(trial, backbone, guidance)), flush=True)
            cache = tokens(trial, backbone, work / f"tokens-{name}")
            for label in options.variants:
                scores = [train(trial, backbone, cache, VARIANTS[label], s) for s in options.seeds]
                print(row(f"trained, {label}", scores), flush=True)
    return 0


def row(label: str, scores: list[float]) -> str:
    """One line of the table: mean and spread of the NMI."""
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    return f"| {label} | {statistics.mean(scores):.3f} ± {spread:.3f} |"


def neu_set(work: Path) -> TrialSet:
    """NEU-Seg's training images as if unlabelled, with their true masks."""
    chosen = take_per_class(load_labelled(work / "neu-seg"), 60, seed=5)
    crops = labelled_crops(chosen, work / "neu", Config().crops)
    types = [chosen.class_names[label] for label in crops.labels]
    unlabelled = dataclasses.replace(crops, labels=crops.labels * 0 - 1)
    drawn = generate_labelled(work / "drawn", products=("leather", "wood"), n_per_type=15, seed=3)
    base = labelled_crops(load_labelled(drawn), work / "drawn-crops", Config().crops)
    return TrialSet("neu", unlabelled, types, base)


def generated_set(product: str, work: Path, backbone: Backbone) -> TrialSet:
    """A generated product with the built-in detector's maps."""
    images = generate(
        work / product, product=product, counts=Counts(normal=60, per_type=14), seed=11
    )
    parts = parts_of(Config(), backbone, "patch_memory")
    found = prepare(Config(), Inputs.read(images), work / f"{product}-work", parts)
    others = take_per_class(load_labelled(work / "neu-seg"), 40, seed=9)
    base = labelled_crops(others, work / "neu-base", Config().crops)
    return TrialSet(product, found.crops, found.region_types, base)


def kmeans(trial: TrialSet, backbone: Backbone, guidance: GuidanceConfig) -> list[float]:
    """NMI of k-means on untrained embeddings, three seeds."""
    config = dataclasses.replace(Config().embedding, guidance=guidance, descriptor_weight=0.0)
    encoder = GuidedEncoder(backbone, config)
    rows = []
    for image, mask, amap in zip(
        trial.crops.images, trial.crops.masks, trial.crops.maps, strict=True
    ):
        window, values = plain_view(image, encoder.guide_values(mask, amap), config.input_size)
        rows.append(encoder.embed(torch.from_numpy(window)[None], torch.from_numpy(values)[None]))
    points = torch.cat(rows).numpy()
    with threadpool_limits(1):
        found = [
            KMeans(trial.n_classes, n_init=10, random_state=s).fit_predict(points).tolist()
            for s in range(3)
        ]
    return [evaluate(trial.types, ids).nmi for ids in found]


def tokens(trial: TrialSet, backbone: Backbone, folder: Path) -> TokenCache:
    """Stored tokens of the set and its base."""
    everything = CropSet.concatenate(trial.crops, trial.base)
    encoder = GuidedEncoder(backbone, Config().embedding)
    return fill_token_cache(folder, everything, encoder, Config().training, seed=0)


def train(
    trial: TrialSet,
    backbone: Backbone,
    cache: TokenCache,
    variant: dict[str, dict[str, Any]],
    seed: int,
) -> float:
    """NMI after training with one variant and seed."""
    torch.manual_seed(seed)
    config = Config()
    everything = CropSet.concatenate(trial.crops, trial.base)
    encoder = GuidedEncoder(backbone, config.embedding)
    if encoder.descriptors is not None:
        encoder.descriptors.fit(torch.tensor(trial.crops.descriptors))
    n_base = int(trial.base.labels.max()) + 1
    head = PrototypeHead(encoder.embed_dim, n_base, trial.n_classes, n_fixed=encoder.n_fixed)
    trainer = Trainer(
        encoder,
        head,
        cache,
        Samples.of(everything),
        dataclasses.replace(config.training, **variant.get("training", {})),
        dataclasses.replace(config.prototypes, **variant.get("prototypes", {})),
        seed,
    )
    trainer.run()
    with torch.no_grad():
        plain = embed_cache(encoder, cache, range(1))[: len(trial.crops)]
        cosines = head(plain)[:, head.n_base :]
        found = cosines.argmax(dim=1).tolist()
    return evaluate(trial.types, found).nmi


if __name__ == "__main__":
    sys.exit(main())
