r"""Published and plain methods under one protocol, on given maps: ``make bench-baselines``.

Every row gets the same images, anomaly maps, labelled base, network, number of classes and seeds,
and merges regions into images by the same rule; labels are for the table only. Finished runs are
kept in the work folder: an interrupted call goes on, and further rows, maps or seeds join them.

    .venv/bin/python -m research.benchmarks.baselines --images DATA/mtd --labelled DATA/neu \
        --maps own mtd_fused=../shared/maps/mtd_fused --work build/baselines --out docs/baselines.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import research.benchmarks.resnet50_v1  # noqa: F401  (registers the architecture)
from research.benchmarks.baselines_reference import ROW, reference_row
from research.benchmarks.provenance import measured_on
from research.studies.ablation import run_study
from research.studies.outcomes import Outcome, markdown_table
from research.studies.study import Row, Study, read_settings

CONFIGS = Path(__file__).parents[1] / "configs"
EPOCHS = 50
"""Of AnomalyNCD's own training."""
ANOMALYNCD = "AnomalyNCD, as a configuration"

METHODS = {
    "kmeans": "on untrained features: class tokens of the crops, *unguided* or "
    "*masked* (the class token sees the region only), or *map-weighted* patches of the whole image "
    "(Anomaly Clustering's idea)",
    "agglomerative": "the same features, merged by Ward's criterion",
    "GCD": "contrastive training (InfoNCE and supervised), then semi-supervised k-means",
    "SimGCD": "`research/configs/simgcd.yaml`, on our crops",
    ANOMALYNCD: "`research/configs/anomalyncd.yaml`: MEBin, crops, hard mask, losses, "
    "correction and four heads as in its code, shown equal to it by golden values "
    "(`tests/golden/`)",
    ROW: "the authors' code on the crops, masks and scores of the row above "
    "(`--reference`); both train for 50 epochs if the row says nothing else",
    "ProtoAnomalyNCD": "default settings",
}

INTRODUCTION = """# Baselines under the same protocol

Every row sees the same images, anomaly maps, labelled base, network and number of classes (given),
and merges regions into images by the same rule; predictions are restricted to novel classes. Mean
and standard deviation over the seeds; agglomerative clustering draws nothing by chance.

| row | what it is |
|---|---|
"""


def introduction(chosen: list[Row], reference: bool) -> str:
    """What the rows of the page are."""
    names = [row.name for row in chosen] + ([ROW] if reference else [])
    shown = [
        f"| {method} | {text} |\n"
        for method, text in METHODS.items()
        if any(name.startswith(method) for name in names)
    ]
    return INTRODUCTION + "".join(shown)


def anomalyncd(epochs: int) -> Row:
    """AnomalyNCD as settings of ours; its own code trains for 50 epochs."""
    settings = read_settings(CONFIGS / "anomalyncd.yaml")
    if epochs == EPOCHS:
        return Row(ANOMALYNCD, settings)
    shorter = {
        "training": settings["training"] | {"epochs": epochs},
        "published": settings["published"] | {"target_warmup_epochs": min(40, epochs)},
    }
    return Row(f"{ANOMALYNCD}, {epochs} epochs", settings | shorter)


def rows(epochs: int) -> list[Row]:
    """All methods, the plain ones first; AnomalyNCD trained for `epochs`."""
    contrastive = {
        "prototypes": {
            "pseudo_label_weight": 0.0,
            "entropy_weight": 0.0,
            "separation_weight": 0.0,
        }
    }
    plain = [
        Row(f"{method}, {features.replace('_', '-')}", {}, method, features)
        for method in ("kmeans", "agglomerative")
        for features in ("unguided", "masked", "map_weighted")
    ]
    return [
        *plain,
        Row("GCD", contrastive, "gcd_kmeans", "trained"),
        Row("SimGCD", read_settings(CONFIGS / "simgcd.yaml")),
        anomalyncd(epochs),
        Row("ProtoAnomalyNCD"),
    ]


def main() -> int:
    """Run what is missing, print and write the tables."""
    options = _options()
    known = {row.name: row for row in rows(options.epochs)}
    chosen = [row for name, row in known.items() if not options.rows or name in options.rows]
    unknown = set(options.rows or ()) - set(known)
    if unknown:
        print(f"unknown rows {sorted(unknown)}; known: {list(known)}")
        return 2
    parts = [introduction(chosen, bool(options.reference)), f"```\n{options.command}\n```"]
    for entry in options.maps:
        name, _, folder = entry.partition("=")
        study = Study(
            images=options.images,
            rows=tuple(chosen),
            labelled=options.labelled,
            maps=Path(folder) if folder else None,
            seeds=tuple(options.seeds),
            base={
                "n_novel_classes": options.n_novel,
                "embedding": {"backbone": options.backbone, "precision": options.precision},
                "training": {"labelled_per_class": options.labelled_per_class},
            },
        )
        outcomes = run_study(study, options.work / name, _tell)
        if options.reference:
            outcomes += _reference(study, options, options.work / name)
        parts.append(_part(name, outcomes))
        print(parts[-1], flush=True)
    parts.append(_footer(options.backbone, options.precision))
    options.out.write_text("\n".join(parts), encoding="utf-8")
    return 0


def _reference(study: Study, options: argparse.Namespace, work: Path) -> list[Outcome]:
    """The reference's own code, on the crops of the configuration's row."""
    row = anomalyncd(EPOCHS)
    data = {"images": study.images, "labelled": study.labelled, "maps": study.maps}
    return [
        reference_row(options.reference, study.config(row, seed), data, work, options.epochs)
        for seed in study.seeds
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="MVTec AD layout")
    parser.add_argument("--labelled", type=Path, help="base set of known defects")
    parser.add_argument(
        "--maps",
        nargs="+",
        default=["own"],
        metavar="NAME[=FOLDER]",
        help="sets of anomaly maps; without a folder: the built-in detector",
    )
    parser.add_argument("--n-novel", type=int, default=6, help="classes, normal included")
    parser.add_argument("--backbone", default="embedded")
    parser.add_argument("--labelled-per-class", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", help="names of rows; default: all")
    parser.add_argument(
        "--reference",
        type=Path,
        help="checkout of HUST-SLOW/AnomalyNCD: adds its own code's row; needs --labelled and "
        "--backbone local-dir:FOLDER of vit_tiny_patch16_224",
    )
    parser.add_argument(
        "--epochs", type=int, default=EPOCHS, help="of AnomalyNCD, both rows; at least 4"
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="in which all rows compute the network",
    )
    parser.add_argument("--work", type=Path, required=True, help="keeps finished runs")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--command", default="make bench-baselines", help="named in the file")
    return parser.parse_args()


def _tell(stage: str, done: int, total: int) -> None:
    if stage == "runs":
        print(f"{done} of {total} runs", flush=True)


def _part(name: str, outcomes: list[Outcome]) -> str:
    title = "the built-in detector" if name == "own" else f"`{name}`"
    return f"\n## Maps: {title}\n\n{markdown_table(outcomes)}"


def _footer(backbone: str, precision: str) -> str:
    return (
        f"\nBackbone `{backbone}`, in {precision}. Seconds are of one run, without what rows "
        f"share. {measured_on()}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
