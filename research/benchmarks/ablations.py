"""The ablation, row by row, as ``research/configs/ablations`` has it: ``make bench-ablations``.

    .venv/bin/python -m research.benchmarks.ablations --data ../shared/data --work build/ablations
        --out docs/ablations.md [--studies guidance losses] [--seeds 0 1 2]

Runs the very commands that stand at the head of each study, in the work folder, and writes the page
of their tables. What is finished there is not run again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from research.benchmarks.provenance import measured_on

STUDIES = Path(__file__).parents[1] / "configs" / "ablations"
DEFAULT = ("guidance", "guidance_neu", "losses")
SEEDS = [0, 1, 2, 3, 4]
DOWNLOADED = "DOWNLOADED"
"""How the studies name the folder of the public data sets."""


@dataclass(frozen=True)
class Head:
    """The comment at the head of a study.

    Args:
        text: what it compares.
        commands: that make its data, and at last the table.
    """

    text: str
    commands: tuple[str, ...]


def head_of(study: Path) -> Head:
    """Text and commands of a study: its first lines, commands indented by three blanks."""
    lines = []
    for line in study.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line[1:])
    commands = tuple(line.strip() for line in lines if line.startswith("   "))
    text = " ".join(line.strip() for line in lines if not line.startswith("   ")).strip()
    if not commands or "research.ablate " not in commands[-1]:
        raise ValueError(f"{study}: expected its commands at its head, research.ablate the last")
    return Head(text, commands)


def run(head: Head, work: Path, seeds: list[int]) -> None:
    """Run a study's commands in `work`, where ``configs`` and the downloaded data lie."""
    here = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(STUDIES.parents[1]),
    }
    numbers = " ".join(map(str, seeds))
    for command in head.commands:
        line = (
            f"{command} --no-figures --seeds {numbers}"
            if "research.ablate " in command
            else command
        )
        subprocess.run(
            ["bash", "-euc", line],  # noqa: S607
            cwd=work,
            check=True,
            env=os.environ | here,
        )


def section(name: str, head: Head, work: Path) -> str:
    """Title, text, commands and table."""
    folder = Path(head.commands[-1].split("--out", 1)[1].split()[0])
    table = (work / folder / "table.md").read_text(encoding="utf-8").strip()
    table = table.removeprefix(f"# {name}").strip()  # the section has that title
    commands = "\n".join(head.commands)
    return f"## {name}\n\n{head.text}\n\n```\n{commands}\n```\n\n{table}\n"


def _command(options: argparse.Namespace) -> str:
    """What makes the page, with what is not the default."""
    given = [] if options.studies == list(DEFAULT) else ["--studies", *options.studies]
    given += [] if options.seeds == SEEDS else ["--seeds", *map(str, options.seeds)]
    return f'make bench-ablations ARGS="{" ".join(given)}"' if given else "make bench-ablations"


def main() -> int:
    """Run what is missing, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with mtd/ and neu_seg/")
    parser.add_argument("--work", type=Path, required=True, help="keeps finished runs")
    known = sorted(path.stem for path in STUDIES.glob("*.yaml"))
    parser.add_argument("--studies", nargs="+", default=list(DEFAULT), choices=known)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    for name, target in (("configs", STUDIES.parent), (DOWNLOADED, options.data)):
        link = work / name
        link.unlink(missing_ok=True)  # of a call from another folder, which may be gone
        link.symlink_to(target.resolve())
    parts = [
        "# Ablation",
        "",
        f"Each table by the commands above it, all of them by `{_command(options)}`. Images, whose",
        "names of types only the metrics read; mean and standard deviation over the seeds.\n",
    ]
    for name in options.studies:
        head = head_of(STUDIES / f"{name}.yaml")
        run(head, work, options.seeds)
        parts.append(section(name, head, work))
    parts.append(f"{measured_on()}\n")
    text = "\n".join(parts)
    options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
