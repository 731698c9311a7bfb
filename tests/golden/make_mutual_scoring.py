"""Writes mutual_scoring.json: what MuSc's own code returns on small seeded features.

The reference is run, not copied: give a checkout of xrli-U/MuSc at the commit below.

    python tests/golden/make_mutual_scoring.py MUSC tests/golden/mutual_scoring.json
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from unittest.mock import MagicMock

import torch

ORIGIN = {
    "repository": "xrli-U/MuSc",
    "commit": "b76b93da8bd3096a99964a96ae29d46f197a0651",
    "file": "models/modules/_MSM.py",
    "function": "MSM",
}


def main() -> None:
    """Run the reference and write the file."""
    sys.modules.setdefault("tqdm", MagicMock(tqdm=lambda items: items))
    spec = importlib.util.spec_from_file_location("reference", Path(sys.argv[1]) / ORIGIN["file"])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cases = []
    for seed, (images, patches, channels) in enumerate([(5, 6, 4), (9, 4, 3), (21, 3, 5)]):
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn(images, patches, channels, generator=generator, dtype=torch.float64)
        features = torch.nn.functional.normalize(features, dim=-1)
        scores = module.MSM(features, "cpu", topmin_min=0, topmin_max=0.3)
        cases.append({"features": features.tolist(), "scores": scores.tolist()})
    text = ",\n".join(json.dumps(case) for case in cases)
    Path(sys.argv[2]).write_text(f'{{"origin": {json.dumps(ORIGIN)}, "cases": [\n{text}\n]}}\n')


if __name__ == "__main__":
    main()
