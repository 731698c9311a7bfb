"""How much the region descriptors should weigh beside the embedding, on data that is no test set.

    .venv/bin/python -m research.benchmarks.choose_descriptors --data ../shared/data --cache CACHE

Sets: `neu` = 40 images of each type of NEU-Seg's training split with their true masks; `neu-maps` =
the same images with maps of a patch memory of clean patches of other training images (K = 3, base:
generated defects); and generated products with the built-in detector's maps (K = types + normal,
base: the images of `neu`). NMI over regions with the types drawn, mean over the seeds: k-means on
the embeddings before training; prototypes trained on the network as it is, which takes a second;
with --train also the whole training, half a minute each. Crops and tokens are computed once and
kept in CACHE. No MTD image is read. Prints the table of ``docs/defaults.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from protoanomalyncd.anomaly_maps.patch_memory import local_descriptors
from protoanomalyncd.config import Config, GuidanceConfig, MEBinConfig
from protoanomalyncd.datasets import (
    Dataset,
    load_dataset,
    load_labelled,
    prepare_neu_seg,
    read_image,
    read_mask,
    take_per_class,
)
from protoanomalyncd.datasets.generated import Counts, defect_types_of, generate, generate_labelled
from protoanomalyncd.discovery.metrics import evaluate
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.storage.files import write_json
from protoanomalyncd.storage.tensors import write_tensors
from protoanomalyncd.training import (
    CropSet,
    Samples,
    TokenCache,
    Trainer,
    embed_cache,
    fill_token_cache,
)
from protoanomalyncd.vit import Backbone, GuidedEncoder, Tokens, create_backbone
from research.benchmarks.choose_training import TrialSet
from research.prepared import labelled_crops, parts_of, prepare

SEEDS_OF = {"brushed_metal": 501, "tablet": 502, "wood": 503, "washer": 504, "leather": 505}
"""Generated products, and the seeds of their images."""
TYPES = ("burn", "chipped_edge", "contamination", "crack", "dent", "hole", "scratch", "stain")
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
VIEWS = 2
NEU_MEMORY = 4000


def main() -> int:
    """Print one row a set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with neu_seg/")
    parser.add_argument("--cache", type=Path, required=True, help="folder of crops and tokens")
    parser.add_argument("--sets", nargs="+", default=["neu", "neu-maps", *SEEDS_OF])
    parser.add_argument("--weights", type=float, nargs="+", default=list(WEIGHTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--train", action="store_true", help="the whole training too")
    options = parser.parse_args()
    sets = Sets(options.data, options.cache, create_backbone("embedded"))
    print("| set | regions |", " | ".join(f"w = {w:g}" for w in options.weights), "|", flush=True)
    for name in options.sets:
        trial, cache = sets.trial(name)
        for label, method in methods(trial, sets.backbone, cache, options.train).items():
            scores = [[method(w, seed) for seed in options.seeds] for w in options.weights]
            print(f"| {name}, {label} | {len(trial.crops)} |", row(scores), flush=True)
    return 0


def methods(
    trial: TrialSet, backbone: Backbone, cache: TokenCache, everything: bool
) -> dict[str, Callable[[float, int], float]]:
    """Name -> NMI by weight and seed."""
    still = embedded_once(backbone, cache)
    found: dict[str, Callable[[float, int], float]] = {
        "k-means": lambda weight, seed: kmeans(trial, still, weight, seed),
        "prototypes": lambda weight, seed: train(trial, StillBackbone(still), still, weight, seed),
    }
    if everything:
        found["trained"] = lambda weight, seed: train(trial, backbone, cache, weight, seed)
    return found


def row(scores: list[list[float]]) -> str:
    """Means over the seeds."""
    return " | ".join(f"{statistics.mean(values):.3f}" for values in scores) + " |"


class Sets:
    """The trial sets, each computed once.

    Args:
        data: folder with neu_seg/.
        cache: folder of what is kept.
        backbone: of maps and tokens.
    """

    def __init__(self, data: Path, cache: Path, backbone: Backbone) -> None:
        self.cache, self.backbone = cache, backbone
        prepare_neu_seg(data / "neu_seg", cache / "neu-seg")
        everything = load_labelled(cache / "neu-seg")
        self.neu = take_per_class(everything, 40, seed=9)
        chosen = {sample.name for sample in self.neu.samples}
        rest = tuple(s for s in everything.samples if s.name not in chosen)
        self.others = take_per_class(dataclasses.replace(everything, samples=rest), 40, seed=5)

    def trial(self, name: str) -> tuple[TrialSet, TokenCache]:
        """Crops, types and base of a set, and the tokens of crops and base."""
        base, base_tokens = self._labelled("drawn" if name.startswith("neu") else "neu")
        if name == "neu":
            crops, tokens = self._labelled("neu")
            types = [self.neu.class_names[label] for label in crops.labels]
            crops = dataclasses.replace(crops, labels=crops.labels * 0 - 1)
        else:
            crops, types = self._unlabelled(name)
            tokens = self._tokens(crops, self.cache / name / "tokens")
        both, known = (tokens, base_tokens), [tokens.descriptors, base_tokens.descriptors]
        cache = TokenCache(
            torch.cat([one.cls for one in both]),
            torch.cat([one.patches for one in both]),
            torch.cat([one.bias for one in both]),
            torch.cat([one for one in known if one is not None]),
        )
        return TrialSet(name, crops, types, base), cache

    def _labelled(self, name: str) -> tuple[CropSet, TokenCache]:
        labelled = self.neu
        if name == "drawn":
            drawn = self.cache / "drawn" / "images"
            generate_labelled(drawn, products=("leather", "wood"), n_per_type=15, seed=3)
            labelled = load_labelled(drawn)
        crops = labelled_crops(labelled, self.cache / name, Config().crops)
        return crops, self._tokens(crops, self.cache / name / "tokens")

    def _tokens(self, crops: CropSet, folder: Path) -> TokenCache:
        encoder = GuidedEncoder(self.backbone, Config().embedding)
        training = dataclasses.replace(Config().training, views=VIEWS)
        return fill_token_cache(folder, crops, encoder, training, seed=0)

    def _unlabelled(self, name: str) -> tuple[CropSet, list[str]]:
        folder, config = self.cache / name, Config()
        if name == "neu-maps":
            dataset = Dataset(self.cache, "folder", (), self.neu.samples)
            config = Config(mebin=MEBinConfig(normals_in_set=False))
            self._fit_on_clean_patches(folder / "fit")
        else:
            generate(
                folder / "images",
                name,
                counts=Counts(normal=40, per_type=12, good=16),
                types=sorted(set(TYPES) & set(defect_types_of(name))),
                seed=SEEDS_OF[name],
            )
            dataset = load_dataset(folder / "images")
        parts = parts_of(config, self.backbone, "patch_memory")
        found = prepare(config, Inputs(dataset), folder / "fit", parts)
        return found.crops, found.region_types

    def _fit_on_clean_patches(self, folder: Path) -> None:
        """NEU-Seg has no normal image: a memory of the patches that hold no defect."""
        if (folder / "detector.json").is_file():
            return
        side = int(Config().detector.options.get("image_size", 256))
        patches = []
        for sample in self.others.samples:
            image = read_image(sample.path)
            mask = read_mask(Path(str(sample.mask_path)), (image.shape[0], image.shape[1]))
            square = torch.from_numpy(cv2.resize(image, (side, side)))[None]
            with torch.inference_mode():
                layers = self.backbone.patch_descriptors(self.backbone.preprocess(square))
                found = local_descriptors(layers, self.backbone.prenormalised)[0]
            share = cv2.resize(
                mask.astype(np.float32), found.shape[1:], interpolation=cv2.INTER_AREA
            )
            clean = cv2.dilate(share, np.ones((3, 3))).ravel() == 0
            patches.append(found.flatten(1).T[torch.from_numpy(clean)])
        together = torch.cat(patches)
        order = torch.randperm(len(together), generator=torch.Generator().manual_seed(0))
        memory = together[order[:NEU_MEMORY]]
        centre = memory.mean(dim=0)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"memory": memory - centre, "centre": centre}
        write_tensors(folder / "detector.safetensors", tensors)
        write_json(folder / "detector.json", {"normal_maxima": None, "skipped": []})


class StillBackbone:
    """Stands for a network whose embeddings are known and stay as they are.

    Args:
        cache: with the embeddings as its class tokens.
    """

    name, patch_size, prenormalised = "still", 1, False

    def __init__(self, cache: TokenCache) -> None:
        self.embed_dim = cache.cls.shape[2]

    def preprocess(self, images: torch.Tensor) -> torch.Tensor:
        """Nothing is asked of it again, nor of the next two."""
        raise NotImplementedError("its embeddings are known")

    def patch_descriptors(self, x: torch.Tensor) -> list[torch.Tensor]:
        """See `preprocess`."""
        raise NotImplementedError("its embeddings are known")

    def tokens(self, x: torch.Tensor, bias: torch.Tensor, guidance: GuidanceConfig) -> Tokens:
        """See `preprocess`."""
        raise NotImplementedError("its embeddings are known")

    def record(self) -> dict[str, Any]:
        """It is not saved."""
        return {"kind": self.name}

    def module(self) -> torch.nn.Module:
        """Nothing is frozen."""
        return torch.nn.Identity()

    def tail(self) -> torch.nn.Module:
        """Gives the stored embeddings; its parameter is there for the optimiser alone."""
        return _Still()


class _Still(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def forward(self, cls: torch.Tensor, _: torch.Tensor, __: torch.Tensor) -> torch.Tensor:
        """(B, C) -> the same."""
        return cls + 0 * self.unused


def embedded_once(backbone: Backbone, cache: TokenCache) -> TokenCache:
    """A cache whose class tokens are the untrained embeddings of all views, (n, V, C)."""
    encoder = GuidedEncoder(
        backbone, dataclasses.replace(Config().embedding, descriptor_weight=0.0)
    )
    views = [embed_cache(encoder, cache, range(v, v + 1)) for v in range(cache.n_views)]
    empty = torch.zeros(*cache.cls.shape[:2], 1)
    return TokenCache(torch.stack(views, dim=1), empty[..., None], empty, cache.descriptors)


def fused_encoder(trial: TrialSet, backbone: Backbone, weight: float) -> GuidedEncoder:
    """An untrained encoder with the descriptors at a weight."""
    config = dataclasses.replace(Config().embedding, descriptor_weight=weight)
    encoder = GuidedEncoder(backbone, config)
    if encoder.descriptors is not None:
        encoder.descriptors.fit(torch.from_numpy(np.array(trial.crops.descriptors)))
    return encoder


def kmeans(trial: TrialSet, still: TokenCache, weight: float, seed: int) -> float:
    """NMI of k-means on the plain view, untrained."""
    encoder = fused_encoder(trial, StillBackbone(still), weight)
    points = embed_cache(encoder, still, range(1))[: len(trial.crops)].numpy()
    with threadpool_limits(1):
        found = KMeans(len(set(trial.types)), n_init=4, random_state=seed).fit_predict(points)
    return evaluate(trial.types, found.tolist()).nmi


def train(
    trial: TrialSet, backbone: Backbone, cache: TokenCache, weight: float, seed: int
) -> float:
    """NMI after training."""
    torch.manual_seed(seed)
    config = Config()
    everything = CropSet.concatenate(trial.crops, trial.base)
    encoder = fused_encoder(trial, backbone, weight)
    n_base, n_novel = int(trial.base.labels.max()) + 1, len(set(trial.types))
    head = PrototypeHead(encoder.embed_dim, n_base, n_novel, n_fixed=encoder.n_fixed)
    if isinstance(backbone, StillBackbone):  # the contrastive terms have nothing to train
        head.projection = torch.nn.Sequential(torch.nn.Linear(head.n_trained, 4))
    Trainer(
        encoder,
        head,
        cache,
        Samples.of(everything),
        config.training,
        config.prototypes,
        seed,
    ).run()
    with torch.no_grad():
        plain = embed_cache(encoder, cache, range(1))[: len(trial.crops)]
        found = head(plain)[:, head.n_base :].argmax(dim=1).tolist()
    return evaluate(trial.types, found).nmi


if __name__ == "__main__":
    sys.exit(main())
