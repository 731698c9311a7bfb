"""Writes attention.json: class tokens of AnomalyNCD's own mask-guided transformer.

The reference is run, not copied: give a checkout at the commit named in ``ORIGIN``. Its calls of
CUDA by name leave tensors on the CPU. Weights and inputs follow `pattern`, so that the file holds
the results only.

    python tests/golden/make_attention.py ANOMALYNCD tests/golden/attention.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from golden_attention import MASKS, SHAPE, fill, picture
from torch import Tensor

ORIGIN = {
    "repository": "HUST-SLOW/AnomalyNCD",
    "commit": "cbecce76ccc8a922a0b9ff42228607ff69afa3c4",
    "file": "models/modules/_MGViT.py",
    "function": "MaskedGuidedVisionTransformer.forward",
}


def main() -> None:
    """Run the reference and write the file."""
    sys.path.insert(0, str(Path(sys.argv[1]).resolve()))
    Tensor.cuda = lambda self, *_args, **_options: self
    from models.modules._MGViT import MaskedGuidedVisionTransformer

    model = MaskedGuidedVisionTransformer(
        img_size=[SHAPE["side"]],
        patch_size=SHAPE["patch"],
        embed_dim=SHAPE["width"],
        depth=SHAPE["depth"],
        active_depth=SHAPE["guided"],
        num_heads=SHAPE["heads"],
        mlp_ratio=SHAPE["mlp_ratio"],
        qkv_bias=True,
        norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6),
    ).double()
    fill(model)
    masks = torch.stack([mask().double() for mask in MASKS.values()])
    images = torch.stack([picture(i).double() for i in range(len(masks))])
    with torch.no_grad():
        tokens = model.eval()(images, masks[:, None])
    values = {"origin": ORIGIN, "masks": list(MASKS), "class_tokens": tokens.tolist()}
    Path(sys.argv[2]).write_text(json.dumps(values) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
