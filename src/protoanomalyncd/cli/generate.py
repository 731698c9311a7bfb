"""Options of `protoanomalyncd generate`."""

from __future__ import annotations

from pathlib import Path

from protoanomalyncd.cli.parser import Namespace, Subcommands

__all__ = ["add_generate"]


def add_generate(commands: Subcommands) -> None:
    """The command and its options."""
    from protoanomalyncd.datasets.generated import DEFECT_TYPES, FURTHER_TYPES, PRODUCTS

    parser = commands.add_parser(
        "generate",
        help="draw a data set of inspection images",
        description="Draw a data set of inspection images in the MVTec AD layout."
        "\n\nexamples:\n"
        "  protoanomalyncd generate DATA/washer --product washer\n"
        "  protoanomalyncd generate DATA/two --types scratch stain\n"
        "  protoanomalyncd generate DATA/faint --product wood --strength 0.3",
    )
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument(
        "--product", choices=sorted(PRODUCTS), default="brushed_metal", help="what is inspected"
    )
    parser.add_argument(
        "--types",
        "--types+",
        nargs="+",
        action="extend",
        metavar="TYPE",
        help=f"of {', '.join(DEFECT_TYPES)} (default: all of these that fit), "
        f"and of {', '.join(FURTHER_TYPES)}",
    )
    parser.add_argument("--n-normal", type=int, default=60, help="normal images in train/good")
    parser.add_argument(
        "--n-per-type", type=int, default=16, help="test images of each type and of good"
    )
    parser.add_argument("--size", type=int, default=256, help="side of the images [px]")
    parser.add_argument("--seed", type=int, default=0, help="of the images")
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="contrast of the defects, above 0 to 1; at 0.3 a detector misses some",
    )
    parser.set_defaults(run=run_generate)


def run_generate(options: Namespace) -> None:
    """Run it and say where the images are."""
    from protoanomalyncd.cli.console import console
    from protoanomalyncd.datasets.generated import Counts, generate

    out = generate(
        options.out,
        product=options.product,
        counts=Counts(normal=options.n_normal, per_type=options.n_per_type),
        types=options.types,
        size=options.size,
        seed=options.seed,
        strength=options.strength,
    )
    console.print(f"images in {out}")
