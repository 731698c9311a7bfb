"""How well the number of classes is estimated: ``make bench-count``.

    .venv/bin/python -m research.benchmarks.count --data ../shared/data --cache build/count
        --out docs/count.md [--sets generated neu-masks neu-maps mtd]
        [--sizes 2 3 4] [--seeds 0 1 2] [--no-training]

Sets: generated ones with 2 to 12 classes (normal included); NEU-Seg's single-type test images with
their true masks and with zero-shot maps, base = generated defects; MTD with the built-in detector,
base = NEU-Seg's training images. For each: what every criterion estimates, and the NMI over regions
after training with the truth and with the estimate. Labels are for this report only.

Everything lies in the cache: a call that was cut short goes on, and the sets can be run one by one;
each call writes the page of all rows that are there. Remove its ``rows`` when the estimate changes,
all of it when the weights or the training do.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protoanomalyncd.config import Config
from protoanomalyncd.datasets import (
    FURTHER_TYPES,
    Dataset,
    LabelledSet,
    generate,
    generate_labelled,
    load_dataset,
    load_labelled,
    prepare_mtd,
    prepare_neu_seg,
    take_per_class,
)
from protoanomalyncd.datasets.generated import Counts
from protoanomalyncd.discovery.count import CountData, estimate_count
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
from protoanomalyncd.vit import Backbone, GuidedEncoder, create_backbone
from research.benchmarks.count_page import METHODS, SEEDS, page
from research.prepared import Prepared, anomalous_crops, labelled_crops, parts_of, prepare

PRODUCTS = ("fabric", "gear", "pcb", "tile")
"""Not among those on which the estimator was chosen (brushed_metal, leather, tablet, washer, wood);
nor were any of `FURTHER_TYPES`."""

SIZES = range(2, 13)
COUNT_VIEWS = 3


@dataclass(frozen=True)
class Target:
    """Crops whose classes are to be counted, and labelled ones of other products behind them.

    Args:
        crops: unlabelled ones first.
        types: true type of each unlabelled crop.
        cache: tokens of all of them.
        views: embeddings of all of them, from the untrained network, (n, 3, C).
        anomalous: whether each crop holds a region that does not look normal, bool (n,).
        encoder: makes a fresh one, which has met normal places.
    """

    crops: CropSet
    types: list[str]
    cache: TokenCache
    views: torch.Tensor
    anomalous: torch.Tensor
    encoder: Callable[[], GuidedEncoder]

    @property
    def samples(self) -> Samples:
        """`anomalous`, scores and labels, as the trainer takes them."""
        return dataclasses.replace(Samples.of(self.crops), anomalous=self.anomalous)

    @property
    def truth(self) -> int:
        """Number of true types."""
        return len(set(self.types))


def main() -> int:
    """Fill the cache, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with mtd/ and neu_seg/")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps everything")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    known = ["generated", "neu-masks", "neu-maps", "mtd"]
    parser.add_argument("--sets", nargs="+", default=known, choices=known)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--no-training", action="store_true", help="estimates only")
    options = parser.parse_args()
    bench = Bench(options.data, options.cache, options.seeds, not options.no_training)
    for name in options.sets:
        if name == "generated":
            for product in PRODUCTS:
                bench.generated(product, [k for k in options.sizes if product_of(k) == product])
        else:
            bench.rows(
                name,
                {"neu-masks": bench.neu_masks, "neu-maps": bench.neu_maps}.get(name, bench.mtd),
            )
    rows = [json.loads(p.read_text("utf-8")) for p in sorted(bench.folder.glob("*.json"))]
    text = page(rows)
    options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


def product_of(n_classes: int) -> str:
    """The product of the generated set of this size."""
    return PRODUCTS[n_classes % len(PRODUCTS)]


def types_of(n_classes: int) -> list[str]:
    """Its defect types: all but the normal class, drawn for this size."""
    order = np.random.default_rng(n_classes).permutation(len(FURTHER_TYPES))
    return sorted(FURTHER_TYPES[i] for i in order[: n_classes - 1])


class Bench:
    """Makes targets and rows, and keeps them.

    Args:
        data: folder with ``mtd`` and ``neu_seg``.
        cache: folder for everything.
        seeds: of the training and the prototype score.
        training: whether to train and measure the NMI.
    """

    def __init__(self, data: Path, cache: Path, seeds: list[int], training: bool) -> None:
        self.data, self.cache, self.seeds, self.training = data, cache, seeds, training
        self.folder = cache / "rows"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.backbone: Backbone = create_backbone("embedded")

    def generated(self, product: str, sizes: list[int]) -> None:
        """Rows of the sets of one product; all are parts of one pool of images."""
        pool: list[Target] = []

        def part(size: int) -> Target:
            if not pool:
                pool.append(self._pool(product))
            return subset(pool[0], {"good", *types_of(size)})

        for size in sizes:
            self.rows(f"generated-{size:02d}", lambda size=size: part(size), product)  # type: ignore[misc]

    def rows(self, name: str, make: Callable[[], Target], product: str = "") -> None:
        """One row a seed; what is there is not made again."""
        target = None
        for seed in self.seeds:
            path = self.folder / f"{name}-{seed}.json"
            if path.is_file() and (json.loads(path.read_text("utf-8"))["nmi"] or not self.training):
                continue
            target = target or make()
            row = self.row(name, target, seed) | {"set": name, "product": product, "seed": seed}
            path.write_text(json.dumps(row, indent=1), encoding="utf-8")
            sys.stdout.write(f"{name} seed {seed}: {row['truth']} true, {row['estimates']}\n")
            sys.stdout.flush()

    def row(self, name: str, target: Target, seed: int) -> dict[str, Any]:
        """Estimates, and the NMI with the truth and with each estimate that differs."""
        config = Config()
        count = estimate_count(
            CountData(
                target.views,
                target.samples.anomalous,
                target.samples.scores,
                target.samples.labels,
            ),
            config.count,
            config.prototypes,
            seed,
        )
        nmi: dict[str, float] = {}
        if self.training:
            wanted = sorted({target.truth, count.n_classes})
            nmi = {str(k): self.trained(name, target, k, seed) for k in wanted}
        return {
            "truth": target.truth,
            "n_regions": len(target.types),
            "estimates": {name: count.estimates[name] for name in METHODS},
            "candidates": list(count.candidates),
            "curves": {name: list(curve) for name, curve in count.curves.items()},
            "nmi": nmi,
        }

    def trained(self, name: str, target: Target, n_classes: int, seed: int) -> float:
        """NMI of a set after training, kept apart from its row: another estimate needs it too."""
        path = self.cache / "trained" / f"{name}-{n_classes:02d}-{seed}.json"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            nmi = self.train(target, max(2, n_classes), seed)
            path.write_text(json.dumps({"nmi": nmi}), encoding="utf-8")
        return float(json.loads(path.read_text("utf-8"))["nmi"])

    def train(self, target: Target, n_classes: int, seed: int) -> float:
        """NMI over regions after training with this number of classes."""
        torch.manual_seed(seed)
        config, crops = Config(), target.crops
        encoder = target.encoder()
        head = PrototypeHead(encoder.embed_dim, int(crops.labels.max()) + 1, n_classes)
        trainer = Trainer(
            encoder,
            head,
            target.cache,
            target.samples,
            config.training,
            config.prototypes,
            seed,
        )
        trainer.run()
        with torch.no_grad():
            plain = embed_cache(encoder, target.cache, range(1))[: len(target.types)]
            found = head(plain)[:, head.n_base :].argmax(dim=1).tolist()
        return evaluate(target.types, found).nmi

    def neu_masks(self) -> Target:
        """NEU-Seg's test images with their true masks."""
        work = self.cache / "neu-masks"
        images = load_labelled(self._neu("test"))
        crops = labelled_crops(images, work / "crops", Config().crops)
        types = [images.class_names[label] for label in crops.labels]
        return self._target(unlabelled(crops), types, self._drawn(), work)

    def neu_maps(self) -> Target:
        """NEU-Seg's test images with zero-shot maps."""
        work = self.cache / "neu-maps"
        found = load_dataset(self._neu("test") / "images")
        return self._found(found, "mutual_scoring", self._drawn(), work)

    def mtd(self) -> Target:
        """MTD as the main job sees it."""
        if not (self.cache / "mtd" / "prepared.json").is_file():
            prepare_mtd(self.data / "mtd", self.cache / "mtd")
        found = load_dataset(self.cache / "mtd")
        return self._found(found, "patch_memory", self._neu_base(), self.cache / "mtd-work")

    def _pool(self, product: str) -> Target:
        images = generate(
            self.cache / f"images-{product}",
            product,
            counts=Counts(normal=40, per_type=14, good=16),
            types=FURTHER_TYPES,
            seed=71,
        )
        work = self.cache / f"pool-{product}"
        base = self._neu_base(40)
        return self._found(load_dataset(images), "patch_memory", base, work, memory_size=4000)

    def _found(
        self, data: Dataset, source: str, base: LabelledSet, work: Path, **options: Any
    ) -> Target:
        """Target from images: maps, regions, crops."""
        parts = parts_of(Config(), self.backbone, source, **options)
        found = prepare(Config(), Inputs(data), work, parts)
        types = [
            str(image.sample.label or image.sample.name.split("/")[0])
            for image in found.images
            for _ in image.regions
        ]
        return self._target(found.crops, types, base, work, found)

    def _target(
        self,
        crops: CropSet,
        types: list[str],
        base: LabelledSet,
        work: Path,
        found: Prepared | None = None,
    ) -> Target:
        known = labelled_crops(base, work / "base", Config().crops)
        everything = CropSet.concatenate(crops, known)

        def make() -> GuidedEncoder:
            if found is not None:
                return found.encoder()[0]
            # True masks come without maps: nothing says what is normal.
            return GuidedEncoder(self.backbone, Config().embedding)

        encoder, gate = (make(), None) if found is None else found.encoder()
        cache = fill_token_cache(work / "tokens", everything, encoder, Config().training, seed=0)
        views = [embed_cache(encoder, cache, range(v, v + 1)) for v in range(COUNT_VIEWS)]
        anomalous = anomalous_crops(everything, gate, cache)
        return Target(everything, types, cache, torch.stack(views, dim=1), anomalous, make)

    def _neu(self, split: str) -> Path:
        prepare_neu_seg(self.data / "neu_seg", self.cache / f"neu-{split}", split)  # type: ignore[arg-type]
        return self.cache / f"neu-{split}"

    def _neu_base(self, per_class: int = 100) -> LabelledSet:
        return take_per_class(load_labelled(self._neu("training")), per_class, seed=0)

    def _drawn(self) -> LabelledSet:
        products = ("brushed_metal", "leather", "wood")
        return load_labelled(
            generate_labelled(self.cache / "drawn", products=products, n_per_type=40, seed=3)
        )


def subset(pool: Target, types: set[str]) -> Target:
    """The crops of some types, and all labelled ones."""
    chosen = [i for i, name in enumerate(pool.types) if name in types]
    rows = [*chosen, *range(len(pool.types), len(pool.crops))]
    index = torch.tensor(rows)
    values = {f.name: getattr(pool.crops, f.name) for f in dataclasses.fields(pool.crops)}
    keys = tuple(pool.crops.keys[i] for i in rows)
    fields: dict[str, Any] = {
        name: None if value is None else np.asarray(value)[rows]
        for name, value in values.items()
        if name != "keys"
    }
    crops = CropSet(**fields, keys=keys)
    tokens = pool.cache
    described = None if tokens.descriptors is None else tokens.descriptors[index]
    cache = TokenCache(tokens.cls[index], tokens.patches[index], tokens.bias[index], described)
    return Target(
        crops,
        [pool.types[i] for i in chosen],
        cache,
        pool.views[index],
        pool.anomalous[index],
        pool.encoder,
    )


def unlabelled(crops: CropSet) -> CropSet:
    """The same crops as if nobody knew their classes."""
    return dataclasses.replace(crops, labels=crops.labels * 0 - 1)


if __name__ == "__main__":
    sys.exit(main())
