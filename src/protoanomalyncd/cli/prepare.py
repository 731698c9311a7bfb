"""Options of `protoanomalyncd prepare`."""

from __future__ import annotations

from pathlib import Path

from protoanomalyncd.cli.parser import Namespace, Subcommands

__all__ = ["add_prepare"]


def add_prepare(commands: Subcommands) -> None:
    """The command and its options."""
    from protoanomalyncd.datasets import PREPARERS

    parser = commands.add_parser(
        "prepare",
        help="bring a public data set into the expected layout",
        description="Bring a public data set, as downloaded, into the layout that discover reads."
        "\n\nexamples:\n"
        "  protoanomalyncd prepare mtd DOWNLOADED/mtd DATA/mtd\n"
        "  protoanomalyncd prepare real_iad DOWNLOADED/Real-IAD DATA/usb --category usb\n"
        "  protoanomalyncd prepare aebad DOWNLOADED/AeBAD/AeBAD_S DATA/blades",
    )
    parser.add_argument("name", choices=sorted(PREPARERS), help="which data set")
    parser.add_argument("source", type=Path, help="its folder, as downloaded")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--category", help="real_iad: which product, such as usb")
    parser.add_argument("--resolution", help="real_iad: 256, 512, 1024 or raw")
    parser.set_defaults(run=run_prepare)


def run_prepare(options: Namespace) -> None:
    """Run it and say what was made."""
    from protoanomalyncd.cli.console import console
    from protoanomalyncd.datasets import prepare

    chosen = {"category": options.category, "resolution": options.resolution}
    console.print(str(prepare(options.name, options.source, options.out, **chosen)))
