"""Options of `protoanomalyncd prepare`."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace

from protoanomalyncd.cli.parser import ArgumentParser

__all__ = ["prepare_parser", "run_prepare"]


def prepare_parser() -> ArgumentParser:
    """Options of the command."""
    from protoanomalyncd.datasets import PREPARERS

    parser = ArgumentParser(
        description="Bring a public data set, as downloaded, into the layout that discover reads."
        "\n\nexamples:\n"
        "  protoanomalyncd prepare mtd DOWNLOADED/mtd DATA/mtd\n"
        "  protoanomalyncd prepare real_iad DOWNLOADED/Real-IAD DATA/usb --category usb\n"
        "  protoanomalyncd prepare aebad DOWNLOADED/AeBAD/AeBAD_S DATA/blades"
    )
    parser.add_argument("name", choices=sorted(PREPARERS), help="which data set")
    parser.add_argument("source", type=Path, help="its folder, as downloaded")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument(
        "--category", type=str | None, default=None, help="real_iad: which product, such as usb"
    )
    parser.add_argument(
        "--resolution", type=str | None, default=None, help="real_iad: 256, 512, 1024 or raw"
    )
    return parser


def run_prepare(options: Namespace) -> None:
    """Run it and say what was made."""
    from protoanomalyncd.cli.console import console
    from protoanomalyncd.datasets import prepare

    summary = prepare(
        options.name,
        options.source,
        options.out,
        category=options.category,
        resolution=options.resolution,
    )
    console.print(str(summary))
