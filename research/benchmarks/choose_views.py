"""How the result depends on the number V of stored views: for docs/defaults.md.

    make bench-views
    .venv/bin/python -m research.benchmarks.choose_views
        [--data DATA/neu --labelled BASE --classes 6]

With ``--out`` a page with table and plot. Without ``--data`` on a generated product.
Tokens of 16 augmented views are stored once; training then draws from the first V of them. With
V = 1 the two views of a crop are the plain one and the augmented one. *fresh* stands for new views
in every epoch, as AnomalyNCD has them: their tokens are computed again each time, which is what the
cache saves. NMI of images; seeds are those of training.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TypeAlias

import torch

from protoanomalyncd.config import Config
from protoanomalyncd.datasets import LabelledSet, load_labelled
from protoanomalyncd.datasets.generated import Counts, generate, generate_labelled
from protoanomalyncd.discovery.merge_regions import merge_regions
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
from research.prepared import parts_of, prepare, region_areas, region_images

VIEWS = (1, 2, 4, 8, 16)
HEAD = "| V | NMI, mean ± sd | seconds of training |\n|---|---|---|"
Row: TypeAlias = tuple[str, float, float, float]
"""V, mean and standard deviation of the NMI, seconds."""


class Trial:
    """One data set, cut once.

    Args:
        config: settings.
        images: folder of the unlabelled images.
        base: labelled set.
        work: folder of what is stored.
    """

    def __init__(self, config: Config, images: Path, base: LabelledSet, work: Path) -> None:
        self.config, self.work = config, work
        self.backbone: Backbone = create_backbone(config.embedding.backbone)
        if config.n_novel_classes == "auto":
            raise ValueError("expected the number of classes, got auto")
        self.n_novel = config.n_novel_classes
        parts = parts_of(config, self.backbone, "patch_memory")
        cropped = prepare(config, Inputs.read(images, base), work / "fit", parts).cropped
        self.found, crops, known = cropped.images, cropped.crops, cropped.known
        self.n_crops, self.n_base = len(crops), len(cropped.base_classes)
        self.everything = crops if known is None else CropSet.concatenate(crops, known)

    def encoder(self, seed: int) -> tuple[GuidedEncoder, PrototypeHead]:
        """Both as a run with this seed starts them."""
        torch.manual_seed(seed)
        encoder = GuidedEncoder(self.backbone, self.config.embedding)
        return encoder, PrototypeHead(encoder.embed_dim, self.n_base, self.n_novel)

    def tokens(self, n_views: int, seed: int, name: str) -> TokenCache:
        """Stored tokens of so many augmented views."""
        encoder, _ = self.encoder(0)
        training = dataclasses.replace(self.config.training, views=n_views)
        return fill_token_cache(self.work / name, self.everything, encoder, training, seed)

    def trainer(self, cache: TokenCache, seed: int) -> Trainer:
        """Ready to run."""
        encoder, head = self.encoder(seed)
        samples, config = Samples.of(self.everything), self.config
        return Trainer(encoder, head, cache, samples, config.training, config.prototypes, seed)

    @torch.no_grad()
    def nmi(self, trainer: Trainer) -> float:
        """Of images, by their plain views."""
        plain = embed_cache(trainer.encoder, trainer.cache, range(1))[: self.n_crops]
        posterior = (trainer.head(plain) / self.config.prototypes.temperature).softmax(dim=1)
        places = region_images(self.found), region_areas(self.found)
        merged = merge_regions(posterior, *places, n_base=self.n_base).argmax(dim=1)
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

        def renew(done: int, total: int, _: dict[str, float]) -> None:
            if done < total:
                fresh = 1000 * (seed + 1) + done
                trainer.cache = trial.tokens(2, fresh, f"{name}/{done}")

        trainer.run(on_progress=renew)
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
    parser.add_argument("--per_type", type=int, default=10, help="generated images a type")
    parser.add_argument("--labelled_per_type", type=int, default=15)
    parser.add_argument("--no_fresh", action="store_true", help="leave out the slow comparison")
    parser.add_argument("--out", type=Path, help="Markdown page to write")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        images, base = options.data, options.labelled
        if images is None:
            images = generate(
                work / "wood",
                product="wood",
                counts=Counts(normal=40, per_type=options.per_type),
                seed=11,
            )
            base = generate_labelled(
                work / "base", products=("leather",), n_per_type=options.labelled_per_type, seed=3
            )
        training = dataclasses.replace(Config().training, epochs=options.epochs)
        config = Config(n_novel_classes=options.classes, training=training)
        trial = Trial(config, images, load_labelled(base), work)
        stored = trial.tokens(max(options.views), 0, "tokens")
        print(HEAD)
        rows: list[Row] = []
        for n_views in options.views:
            start, scores = time.perf_counter(), []
            for seed in options.seeds:
                trainer = trial.trainer(first_views(stored, n_views), seed)
                trainer.run()
                scores.append(trial.nmi(trainer))
            rows.append(tell(str(n_views), scores, start))
        if not options.no_fresh:
            start = time.perf_counter()
            scores = [train_fresh(trial, seed) for seed in options.seeds]
            rows.append(tell("fresh", scores, start))
        if options.out is not None:
            about = "a generated product" if options.data is None else options.data.name
            write_page(options.out, rows, f"{trial.n_crops} crops of {about}", options, load)
    return 0


def tell(name: str, scores: list[float], start: float) -> Row:
    """Print and return one row."""
    spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
    seconds = (time.perf_counter() - start) / len(scores)
    row = (name, statistics.mean(scores), spread, seconds)
    print(line_of(row), flush=True)
    return row


def line_of(row: Row) -> str:
    """A row of the table."""
    return f"| {row[0]} | {row[1]:.3f} ± {row[2]:.3f} | {row[3]:.0f} |"


def write_page(
    out: Path, rows: list[Row], about: str, options: argparse.Namespace, load: float
) -> None:
    """Table and plot; `load` is the machine's load average before the first run."""
    picture = out.parent / "images" / "views.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(plot(rows), encoding="utf-8")
    lines = [
        "# How many views to store",
        "",
        "The token cache keeps the frozen blocks' output of V augmented views of each crop, and",
        "training draws from them; *fresh* computes two new views of each crop in every epoch, as",
        f"AnomalyNCD does. NMI of images, {about}, embedded backbone, {options.epochs} epochs,",
        f"{len(options.seeds)} seeds (mean ± standard deviation); seconds of one training, whose",
        "stored views were made before (for *fresh*: made within).",
        "",
        "```",
        "make bench-views",
        "```",
        "",
        HEAD,
        *map(line_of, rows),
        "",
        f"These seconds were taken on a machine with a load average of {load:.1f} at the start;",
        "the NMI does not depend on that.",
        "",
        "![NMI by number of stored views](images/views.svg)",
        "",
    ]
    out.write_text("\n".join(lines), encoding="utf-8")


def plot(rows: list[Row]) -> str:
    """NMI by V with standard deviations; fresh views as a line across. SVG."""
    width, height, left, bottom, top = 560, 300, 60, 48, 20
    low = min(r[1] - r[2] for r in rows) - 0.03
    high = max(r[1] + r[2] for r in rows) + 0.03
    stored = [r for r in rows if r[0] != "fresh"]

    def up(value: float) -> float:
        return height - bottom - (value - low) / (high - low) * (height - bottom - top)

    def across(number: int) -> float:
        return left + 40 + number * (width - left - 120) / max(1, len(stored) - 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
    ]
    for tick in range(5):
        value = low + (high - low) * tick / 4
        parts.append(f'<path d="M{left} {up(value):.1f}H{width - 20}" stroke="#e5e7eb"/>')
        parts.append(
            f'<text x="{left - 8}" y="{up(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>'
        )
    for row in rows:
        if row[0] == "fresh":
            y = up(row[1])
            parts.append(
                f'<path d="M{left} {y:.1f}H{width - 20}" stroke="#d97706" stroke-width="2" '
                'stroke-dasharray="6 4"/>'
            )
            parts.append(
                f'<text x="{width - 24}" y="{y - 6:.1f}" text-anchor="end" fill="#d97706">'
                "fresh views every epoch</text>"
            )
    path = "L".join(f"{across(i):.1f} {up(r[1]):.1f}" for i, r in enumerate(stored))
    parts.append(f'<path d="M{path}" fill="none" stroke="#2563eb" stroke-width="2"/>')
    for i, (name, mean, spread, _) in enumerate(stored):
        x = across(i)
        parts.append(
            f'<path d="M{x:.1f} {up(mean - spread):.1f}V{up(mean + spread):.1f}" stroke="#2563eb"/>'
            f'<circle cx="{x:.1f}" cy="{up(mean):.1f}" r="4" fill="#2563eb"/>'
            f'<text x="{x:.1f}" y="{height - 28}" text-anchor="middle">{name}</text>'
        )
    parts.append(
        f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">stored views V</text>'
    )
    parts.append('<text x="8" y="14">NMI of images</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
