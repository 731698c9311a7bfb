"""Figures of a study, as in the paper: class-token attention over crops, t-SNE of the regions.

PNG files drawn without a plotting library. Source: the paper for what they show, ours for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from protoanomalyncd.config import Config
from protoanomalyncd.core.records import Discovery, FloatArray, ImageArray
from protoanomalyncd.pipeline.evidence import StoredEvidence
from protoanomalyncd.pipeline.steps import Steps
from protoanomalyncd.reports.colours import DEFECT_COLOURS, NORMAL_COLOUR
from protoanomalyncd.storage.files import write_bytes
from protoanomalyncd.training.views import plain_view
from protoanomalyncd.vit import GuidedEncoder
from research.studies.class_attention import class_attention
from research.studies.outcomes import Outcome
from research.studies.runs import Run

__all__ = ["RowFigures", "attention_strip", "crop_attention", "heat_over", "tsne_picture"]

_SIDE = 112
"""Side of a crop in a strip [px]."""

_N_CROPS = 8


class RowFigures:
    """Draws two figures of each row, from the run with the first seed.

    Args:
        folder: of the PNG files.
        seed: whose runs are drawn.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed

    def __call__(self, outcome: Outcome, run: Run) -> None:
        """Draw a run's figures; a row without a model has none."""
        result = run.result
        if result is None or outcome.seed != self.seed:
            return
        name = re.sub(r"[^\w.-]+", "-", outcome.row).strip("-").lower()
        discovery, model = result.discovery, result.model
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / f"tsne-{name}.png", tsne_picture(discovery))
        strip = attention_strip(model.classifier.encoder, discovery, model.config, run.steps)
        if strip is not None:
            _write(self.folder / f"attention-{name}.png", strip)


def attention_strip(
    encoder: GuidedEncoder, discovery: Discovery, config: Config, steps: Steps
) -> ImageArray | None:
    """Crops above, what the class token looks at below: the strongest region of some images.

    The images are chosen by name, evenly over the true classes where these are known, so that the
    strips of all rows show the same images.

    Args:
        encoder: trained.
        discovery: with the maps that it rests on.
        config: how these are binarised and cut.
        steps: that do it.

    Returns:
        RGB (2 S, n S, 3), or None where there is nothing to show.
    """
    evidence = discovery.evidence
    if not isinstance(evidence, StoredEvidence):
        return None
    columns = []
    for name in _chosen(discovery):
        image, amap = evidence.load_image(name), evidence.maps.get(name)
        settings = (evidence.map_range, config.mebin, config.crops, evidence.load_object(name))
        crop = steps.crop(name, image, amap, *settings)[0].crop
        guide = encoder.guide_values(crop.mask, crop.amap, crop.on_object)
        window, values = plain_view(crop.image, guide, encoder.config.input_size)
        attention = crop_attention(encoder, window, values)
        if attention is None:
            return None
        columns.append(np.concatenate([_small(window), _small(heat_over(window, attention))]))
    strip: ImageArray | None = np.concatenate(columns, axis=1) if columns else None
    return strip


def crop_attention(
    encoder: GuidedEncoder, window: ImageArray, values: FloatArray
) -> FloatArray | None:
    """Attention of the class token over a window (gh, gw), or None where there is no such thing.

    Args:
        encoder: frozen part and trained tail.
        window: RGB (S, S, 3).
        values: what guides, (S, S) or (S, S, 2).
    """
    device = next(encoder.tail.parameters()).device
    tokens = encoder.tokens(
        torch.from_numpy(window)[None].to(device), torch.from_numpy(values)[None].to(device)
    )
    weights = class_attention(encoder, tokens)
    if weights is None:
        return None
    n = window.shape[0] // encoder.backbone.patch_size
    grid: FloatArray = weights[0, -n * n :].reshape(n, n).cpu().numpy()
    return grid


def heat_over(image: ImageArray, values: FloatArray) -> ImageArray:
    """Values (gh, gw) from blue (0) to red (their maximum), over a paled image (S, S, 3)."""
    side = image.shape[1], image.shape[0]
    top = max(float(values.max()), 1e-12)
    scaled = cv2.resize((values / top).astype(np.float32), side, interpolation=cv2.INTER_CUBIC)
    levels = np.clip(scaled * 255, 0, 255).astype(np.uint8)
    heat = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    mixed: ImageArray = cv2.addWeighted(image, 0.5, heat, 0.5, 0.0).astype(np.uint8)
    return mixed


def tsne_picture(discovery: Discovery, side: int = 420) -> ImageArray:
    """The regions' flat map, a dot a region: coloured by true class, with a legend.

    Regions of images without a true class are coloured by the class that was found.
    """
    true = {image.name: image.true_class for image in discovery.images}
    labels = [true.get(r.region.image) or f"found {r.class_id}" for r in discovery.regions]
    names = sorted(set(labels), key=lambda n: (n == "good", n))
    colours = {
        name: NORMAL_COLOUR if name == "good" else DEFECT_COLOURS[i % len(DEFECT_COLOURS)]
        for i, name in enumerate(names)
    }
    canvas = Image.new("RGB", (side + 130, side), "white")
    pen = ImageDraw.Draw(canvas)
    points = _fitted([r.position or (0.0, 0.0) for r in discovery.regions], side)
    for (x, y), label in zip(points, labels, strict=True):
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colours[label])
    for row, name in enumerate(names):
        y = 12 + 18 * row
        pen.ellipse((side + 6, y, side + 14, y + 8), fill=colours[name])
        pen.text((side + 20, y - 2), name, fill="black")
    return np.asarray(canvas)


def _chosen(discovery: Discovery) -> list[str]:
    """Names of images that hold a region, in turn from each true class."""
    classes: dict[str, list[str]] = {}
    for image in discovery.images:
        if image.n_regions:
            classes.setdefault(str(image.true_class), []).append(image.name)
    chosen: list[str] = []
    depth = max((len(names) for names in classes.values()), default=0)
    for position in range(depth):
        chosen += [classes[c][position] for c in sorted(classes) if position < len(classes[c])]
    return chosen[:_N_CROPS]


def _fitted(positions: Sequence[tuple[float, float]], side: int) -> list[tuple[float, float]]:
    if not positions:
        return []
    points = np.asarray(positions, np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (side - 24) / max(float((high - low).max()), 1e-12)
    return [(float(x), float(y)) for x, y in 12 + (points - low) * scale]


def _small(image: ImageArray) -> ImageArray:
    shrunk = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    framed: ImageArray = np.pad(shrunk, ((1, 1), (1, 1), (0, 0)), constant_values=255)
    return framed.astype(np.uint8)


def _write(path: Path, picture: ImageArray) -> None:
    ok, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    write_bytes(path, data.tobytes() if ok else b"")
