"""AnomalyNCD's own code on our crops: the row that `research/configs/anomalyncd.yaml` has to match.

`research.benchmarks.baselines --reference CHECKOUT` writes the very crops, masks and scores of the
configuration's row in the reference's layout, at their original resolution, and runs its training
and its merging of regions on them, with the adapter of `research.benchmarks.speed_reference`
(nothing of the reference is copied). A process of its own, since the adapter changes torch for all
who are in it.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from protoanomalyncd.config import Config
from protoanomalyncd.core.records import Region
from protoanomalyncd.datasets import read_image
from protoanomalyncd.pipeline.inputs import Inputs
from research.prepared import prepare
from research.published import Published, steps_of
from research.published.binarisation import reference_binarise
from research.published.regions import reference_cut
from research.studies.outcomes import Outcome

ROW = "AnomalyNCD, its own code"
BASE = "knownbase"
"""Name of the base set's folder: the reference knows base images by it in their path."""


def reference_row(
    checkout: Path, config: Config, data: dict[str, Path | None], work: Path, epochs: int
) -> Outcome:
    """One seed; a finished one is read.

    Args:
        checkout: of the reference.
        config: of the configuration's row: crops, backbone (``local-dir:`` of ViT-Ti/16), seed.
        data: ``images``, ``labelled``, ``maps``.
        work: folder of this set of maps.
        epochs: the reference's are 50; at least 4.
    """
    result = work / f"reference-{config.seed}-{epochs}-{config.embedding.precision}.json"
    if not result.is_file():
        folder = work / f"reference-{config.seed}"
        n_images = write_crops(config, data, folder / "data")
        given = {
            "reference": str(checkout.resolve()),
            "weights": config.embedding.backbone.removeprefix("local-dir:"),
            "folder": str(folder.resolve()),
            "seed": config.seed,
            "epochs": epochs,
            "n_images": n_images,
            "precision": config.embedding.precision,
        }
        (folder / "given.json").write_text(json.dumps(given), encoding="utf-8")
        command = [sys.executable, "-m", "research.benchmarks.baselines_reference"]
        subprocess.run(
            [*command, str(folder / "given.json"), str(result)],
            check=True,
            cwd=Path(__file__).parents[1],
        )
    return Outcome(**json.loads(result.read_text(encoding="utf-8")))


def write_crops(config: Config, data: dict[str, Path | None], folder: Path) -> int:
    """Crops and masks as PNG, scores as JSON; returns the number of images."""
    inputs = Inputs.read(str(data["images"]), str(data["labelled"]), data["maps"])
    steps = steps_of(Published(mebin="reference", crops="reference"))
    prepared = prepare(config, inputs, folder / "fit", steps=steps)
    found, known, store = prepared.images, prepared.cropped.known, prepared.fit.work.maps
    map_range = prepared.scored.map_range
    scores: dict[str, dict[str, float]] = {}
    for number, image in enumerate(found):
        kind = str(image.sample.label)
        amap = store.get(image.sample.name)
        mask = reference_binarise(amap, map_range).mask
        picture, normalised = read_image(image.sample.path), map_range.normalise(amap)
        for region in image.regions:
            name = f"{number:05d}_crop{region.index}.png"
            pair = _at_full_size(picture, mask, normalised, region)
            _save(folder / "crops" / "tiles", kind, name, *pair)
            scores.setdefault(kind, {})[name] = region.score
    (folder / "crops" / "scores_json").mkdir(parents=True, exist_ok=True)
    text = json.dumps(scores)
    (folder / "crops" / "scores_json" / "tiles.json").write_text(text, encoding="utf-8")
    if known is None:
        raise ValueError("expected a labelled base set, got none")
    for number, label in enumerate(known.labels):
        kind, name = prepared.cropped.base_classes[int(label)], f"{number:05d}.png"
        mask_of = known.masks[number].astype(np.uint8) * 255
        _save(folder / BASE, kind, name, np.asarray(known.images[number]), mask_of)
    return len(found)


def _at_full_size(
    picture: np.ndarray, mask: np.ndarray, amap: np.ndarray, region: Region
) -> tuple[np.ndarray, np.ndarray]:
    """Crop and mask (0 or 255) with the pixels of the original: the reference resizes itself."""
    if region.whole_image:
        return picture, np.zeros(picture.shape[:2], np.uint8)
    x0, y0, x1, y1 = region.crop_box
    crop = reference_cut(picture, mask, amap, region, max(32, x1 - x0, y1 - y0))
    return crop.image, crop.mask.astype(np.uint8) * 255


def _save(folder: Path, kind: str, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    for below, values in (("images", image), ("masks", mask)):
        (folder / below / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / below / kind / name)


def in_bfloat16(forward: Any) -> Any:
    """Products of a network's forward in bfloat16, as `embedding.precision` has them; no others."""

    def faster(*args: Any, **kwargs: Any) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            out: torch.Tensor = forward(*args, **kwargs)
        return out.float()

    return faster


def main() -> None:
    """``python -m research.benchmarks.baselines_reference GIVEN.json RESULT.json``."""
    from research.benchmarks.speed_reference import import_reference, settings, silent

    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    result, folder = Path(sys.argv[2]).resolve(), Path(given["folder"])
    module = import_reference(Path(given["reference"]), Path(given["weights"]).resolve())
    to: Any = torch.Tensor.to
    torch.Tensor.to = lambda x, *a, **k: x if a == ("cuda:0",) else to(x, *a, **k)  # type: ignore
    args = settings(folder / "data", folder, torch.get_num_threads(), given["seed"])
    args.crop_data_path = str(folder / "data" / "crops")
    args.base_data_path = str(folder / "data" / BASE)
    args.epochs, args.exp_root = given["epochs"], "outputs"
    args.warmup_teacher_temp_epochs = min(40, given["epochs"])
    (folder / "outputs" / args.runner_name).mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    metrics = Path("outputs") / args.runner_name / "metrics.csv"
    metrics.unlink(missing_ok=True)
    start = time.perf_counter()
    model = module.AnomalyNCD(args)
    model.binarization = silent
    if given["precision"] == "bfloat16":
        network: Any = sys.modules["models.modules._MGViT"].MaskedGuidedVisionTransformer
        network.forward = in_bfloat16(network.forward)
    model.main()
    with metrics.open(encoding="utf-8") as file:
        row = list(csv.DictReader(file))[-1]
    values = {name.lower(): float(row[name]) for name in ("NMI", "ARI", "F1")}
    seconds = round(time.perf_counter() - start, 1)
    title = ROW if given["epochs"] == 50 else f"{ROW}, {given['epochs']} epochs"
    outcome = Outcome(title, given["seed"], **values, n_images=given["n_images"], seconds=seconds)
    result.write_text(json.dumps(dataclasses.asdict(outcome)), encoding="utf-8")


if __name__ == "__main__":
    main()
