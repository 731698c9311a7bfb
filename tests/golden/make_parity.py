"""Writes parity.json: what the revision before the published methods moved to research gave.

Run in a checkout of that revision, named in ``ORIGIN``, with this repository's ``golden_parity.py``
copied into its ``tests/golden/``:

    PYTHONPATH=src:. OMP_NUM_THREADS=1 python make_parity.py tests/golden/parity.json
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
from protoanomalyncd.benchmark.ablation import run_study
from protoanomalyncd.benchmark.study import read_study

from tests.golden.golden_parity import write_study

ORIGIN = {"revision": "061504c", "function": "run_study"}


def main() -> None:
    """Run the study and write the file."""
    torch.set_num_threads(1)
    rows: dict[str, dict] = {}

    def keep(outcome, run) -> None:
        images = sorted(run.model.discovery_.images, key=lambda image: image.name)
        rows[outcome.row] = {
            "classes": {image.name: image.class_id for image in images},
            "confidences": {image.name: round(image.confidence, 8) for image in images},
            "history": [{k: round(v, 8) for k, v in epoch.items()} for epoch in run.model.history_],
        }

    with tempfile.TemporaryDirectory() as folder:
        study = read_study(write_study(Path(folder), Path("configs")))
        run_study(study, Path(folder) / "out", lambda *_: None, keep)
    values = {"origin": ORIGIN, "rows": rows}
    Path(sys.argv[1]).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
