"""How the result depends on the number V of stored views: for docs/defaults.md.

    .venv/bin/python -m benchmarks.choose_views [--data DATA/mtd --labelled DATA/neu --classes 6]

Without ``--data`` on a generated product. Tokens of 16 augmented views are stored once; training
then draws from the first V of them. With V = 1 the two views of a crop are the plain one and the
augmented one. *fresh* stands for new views in every epoch, as AnomalyNCD has them: their tokens are
computed again each time, which is what the cache saves. NMI of images; seeds are those of training.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from protoanomalyncd.config import Config
from protoanomalyncd.datasets import LabelledSet, load_dataset, load_labelled
from protoanomalyncd.datasets.generated import generate, generate_labelled
from protoanomalyncd.discovery.merge_regions import merge_regions
from protoanomalyncd.discovery.metrics import evaluate
from protoanomalyncd.fitting import Fit
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.stages import CroppedImage
from protoanomalyncd.training import CropSet, TokenCache, Trainer, embed_cache, fill_token_cache
from protoanomalyncd.vit import Backbone, GuidedEncoder, create_backbone

VIEWS = (1, 2, 4, 8, 16)


class Trial:
    """One data set, cut once.

    Args:
        config: settings.
        images: folder of the unlabelled images.
        base: labelled set.
        work: folder of what is stored.
    """

    def __init__(self, config: Config, images: Path, base: LabelledSet, work: Path) -> None:
        from protoanomalyncd.anomaly_maps import create

        self.config, self.work = config, work
        self.backbone: Backbone = create_backbone(config.embedding.backbone)
        fit = Fit(config, work / "fit", lambda *_: None, [])
        source = create("patch_memory", backbone=self.backbone)
        self.found: list[CroppedImage]
        self.found, crops, known = fit.cut(*fit.score(source, load_dataset(images)), base)
        self.n_crops, self.n_base = len(crops), len(fit.base_classes)
        self.everything = crops if known is None else CropSet.concatenate(crops, known)

    def encoder(self, seed: int) -> tuple[GuidedEncoder, PrototypeHead]:
        """Both as a run with this seed starts them."""
        torch.manual_seed(seed)
        encoder = GuidedEncoder(self.backbone, self.config.embedding)
        return encoder, PrototypeHead(encoder.embed_dim, self.n_base, self.config.n_novel_classes)

    def tokens(self, n_views: int, seed: int, name: str) -> TokenCache:
        """Stored tokens of so many augmented views."""
        encoder, _ = self.encoder(0)
        return fill_token_cache(self.work / name, self.everything, encoder, n_views, seed)

    def trainer(self, cache: TokenCache, seed: int) -> Trainer:
        """Ready to run."""
        encoder, head = self.encoder(seed)
        every = self.everything
        return Trainer(
            encoder,
            head,
            cache,
            *every.tensors(),
            self.config.training,
            self.config.prototypes,
            seed,
        )

    @torch.no_grad()
    def nmi(self, trainer: Trainer) -> float:
        """Of images, by their plain views."""
        plain = embed_cache(trainer.encoder, trainer.cache, range(1))[: self.n_crops]
        posterior = (trainer.head(plain) / self.config.prototypes.temperature).softmax(dim=1)
        index = torch.tensor([i for i, image in enumerate(self.found) for _ in image.regions])
        areas = [0.0 if r.whole_image else r.area for i in self.found for r in i.regions]
        table = torch.tensor(areas, dtype=torch.float64)
        merged = merge_regions(posterior, index, table, n_base=self.n_base).argmax(dim=1)
        return evaluate([str(i.sample.label) for i in self.found], merged.tolist()).nmi


def first_views(cache: TokenCache, n_views: int) -> TokenCache:
    """The plain view and the first augmented ones; of one, the plain view twice beside it."""
    chosen: slice | list[int] = slice(1 + n_views) if n_views > 1 else [0, 0, 1]
    return dataclasses.replace(
        cache,
        cls=cache.cls[:, chosen],
        patches=cache.patches[:, chosen],
        bias=cache.bias[:, chosen],
    )


def train_fresh(trial: Trial, seed: int) -> float:
    """Two new views of each crop in every epoch."""
    with tempfile.TemporaryDirectory(dir=trial.work) as folder:
        name = Path(folder).name
        trainer = trial.trainer(trial.tokens(2, 1000 * (seed + 1), f"{name}/0"), seed)
        trainer._place_prototypes()
        for epoch in range(trial.config.training.epochs):
            if epoch:
                fresh = 1000 * (seed + 1) + epoch
                trainer.cache = trial.tokens(2, fresh, f"{name}/{epoch}")
            trainer._epoch(epoch)
        return trial.nmi(trainer)


def main() -> int:
    """Print one row a number of views."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--labelled", type=Path)
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--views", type=int, nargs="+", default=list(VIEWS))
    parser.add_argument("--epochs", type=int, default=Config().training.epochs)
    parser.add_argument("--no_fresh", action="store_true", help="leave out the slow comparison")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        images, base = options.data, options.labelled
        if images is None:
            images = generate(work / "wood", product="wood", n_normal=40, n_per_type=10, seed=11)
            base = generate_labelled(work / "base", products=("leather",), n_per_type=15, seed=3)
        training = dataclasses.replace(Config().training, epochs=options.epochs)
        config = Config(n_novel_classes=options.classes, training=training)
        trial = Trial(config, images, load_labelled(base), work)
        stored = trial.tokens(max(options.views), 0, "tokens")
        print("| V | NMI, mean ± sd | seconds of training |\n|---|---|---|")
        for n_views in options.views:
            start, scores = time.perf_counter(), []
            for seed in options.seeds:
                trainer = trial.trainer(first_views(stored, n_views), seed)
                trainer.run()
                scores.append(trial.nmi(trainer))
            tell(str(n_views), scores, start)
        if not options.no_fresh:
            start = time.perf_counter()
            tell("fresh", [train_fresh(trial, seed) for seed in options.seeds], start)
    return 0


def tell(name: str, scores: list[float], start: float) -> None:
    """Print one row."""
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    seconds = (time.perf_counter() - start) / len(scores)
    print(f"| {name} | {statistics.mean(scores):.3f} ± {spread:.3f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
