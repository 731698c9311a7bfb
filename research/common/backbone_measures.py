"""The measures of the backbone table, self-contained.

Patch memory and map-weighted pooling follow METHOD section 4; the F1 is the micro-F1
after Hungarian matching, which equals clustering accuracy.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, roc_auc_score
from torch import Tensor, nn

from protoanomalyncd.core.whitening import whitening_of
from research.common.backbone_networks import Embedded, Network, TinyViT

TYPES = ("Blowhole", "Break", "Crack", "Fray", "Uneven")
MEMORY = 12_000
PATCH_SHRINKAGE, REGION_SHRINKAGE = 1.0, 0.3
"""Lambda of the whitenings: the defaults of `detector.whitening` and `embedding.whitening`."""
NORMAL_REGIONS = 200
SEEDS = (0, 1, 2)
Labels = NDArray[np.int64]


def read_image(path: Path, size: int) -> NDArray[np.uint8]:
    """RGB image resized to a square, (size, size, 3)."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"expected an image at {path}")
    mode = cv2.INTER_AREA if min(image.shape[:2]) > size else cv2.INTER_LINEAR
    resized = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), (size, size), interpolation=mode)
    return np.asarray(resized, dtype=np.uint8)


def read_mask(path: Path, size: int) -> NDArray[np.float32]:
    """Mask resized by area to a square, (size, size) in [0, 1]."""
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise FileNotFoundError(f"expected a mask at {path}")
    small = cv2.resize((mask > 0).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


def to_tensor(images: list[NDArray[np.uint8]]) -> Tensor:
    """Images -> float (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def mtd_paths(data: Path) -> tuple[list[Path], list[Path], Labels]:
    """Training normals, test images (free first, then defects) and their types (0 = free)."""
    folder = data / "mtd"
    names = {Path(n).name for n in (folder / "mtd_train_filenames.txt").read_text().split()}
    free = sorted((folder / "MT_Free" / "Imgs").glob("*.jpg"))
    train = [p for p in free if p.name in names]
    test = [p for p in free if p.name not in names]
    types = [0] * len(test)
    for number, name in enumerate(TYPES, start=1):
        found = sorted((folder / f"MT_{name}" / "Imgs").glob("*.jpg"))
        test += found
        types += [number] * len(found)
    return train, test, np.array(types, dtype=np.int64)


def half_maps(
    network: Network, images: list[NDArray[np.uint8]], pooling: bool = False
) -> list[Tensor]:
    """The network's maps, computed in bfloat16, in float32.

    Args:
        network: the network.
        images: uint8 (H, W, 3) of one size.
        pooling: those it has for pooling, where these are others.
    """
    maps = network.pooling_maps if pooling and isinstance(network, Embedded) else network.maps
    with torch.autocast("cpu", torch.bfloat16):
        return [m.float() for m in maps(to_tensor(images))]


def patch_grid(maps: list[Tensor]) -> Tensor:
    """Maps -> (B, P, D) on the finest grid, coarser ones bilinear, each 3x3-averaged."""
    size = maps[0].shape[-2:]
    smooth = [F.avg_pool2d(m.float(), 3, 1, 1, count_include_pad=False) for m in maps]
    full = [
        smooth[0],
        *(F.interpolate(m, size, mode="bilinear", align_corners=False) for m in smooth[1:]),
    ]
    return torch.cat(full, dim=1).flatten(2).transpose(1, 2)


@torch.inference_mode()
def patch_memory(
    network: Network, train: list[NDArray[np.uint8]], seeds: tuple[int, ...] = SEEDS
) -> list[Tensor]:
    """Random memories (MEMORY, D) of normal patches, one a seed."""
    each = -(-MEMORY // len(train))
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    chosen: list[list[Tensor]] = [[] for _ in seeds]
    for start in range(0, len(train), 8):
        for patches in patch_grid(half_maps(network, train[start : start + 8])):
            for picked, generator in zip(chosen, generators, strict=True):
                picked.append(patches[torch.randperm(len(patches), generator=generator)[:each]])
    out = []
    for picked, generator in zip(chosen, generators, strict=True):
        rows = torch.cat(picked)
        out.append(rows[torch.randperm(len(rows), generator=generator)[:MEMORY]])
    return out


class NearestPatch:
    """Distance to the nearest remembered patch.

    Candidates by bfloat16 products of centred features, the best of each eighth of the
    memory, then their distances in float32: on CPUs several times faster than float32
    throughout.

    Args:
        memory: (M, D) float32, M a multiple of 8.
        whitened: relative to what the memory varies in, as the built-in detector has it.
    """

    def __init__(self, memory: Tensor, whitened: bool = False) -> None:
        found = whitening_of(memory, PATCH_SHRINKAGE) if whitened else None
        self.centre = memory.mean(0) if found is None else found[0]
        self.matrix = None if found is None else found[1]
        self.memory = self._relative(memory)
        self.half = self.memory.to(torch.bfloat16).T.contiguous()
        self.norm = (self.memory.square().sum(1) / 2).to(torch.bfloat16)

    def _relative(self, patches: Tensor) -> Tensor:
        x = patches - self.centre
        return x if self.matrix is None else x @ self.matrix

    def __call__(self, patches: Tensor) -> Tensor:
        """(P, D) -> (P,)."""
        x = self._relative(patches)
        products = torch.addmm(self.norm, x.to(torch.bfloat16), self.half, alpha=-1)
        parts = products.unflatten(1, (8, -1))
        found = parts.argmin(2) + torch.arange(8) * parts.shape[2]
        exact: Tensor = torch.linalg.vector_norm(self.memory[found] - x.unsqueeze(1), dim=2)
        return exact.amin(1)


@torch.inference_mode()
def anomaly_maps(
    network: Network,
    memories: list[Tensor],
    test: list[NDArray[np.uint8]],
    whitened: bool = False,
) -> NDArray[np.float32]:
    """Distance to the nearest remembered patch: (seeds, images, h, w); smoothed if whitened."""
    searches = [NearestPatch(m, whitened) for m in memories]
    maps = []
    for image in test:
        features = half_maps(network, [image])
        patches = patch_grid(features)[0]
        side = features[0].shape[-2:]
        found = torch.stack([search(patches).view(side) for search in searches])
        if whitened:
            smooth = [cv2.GaussianBlur(one.numpy(), (0, 0), 1.0) for one in found]
            found = torch.from_numpy(np.stack(smooth))
        maps.append(found)
    return torch.stack(maps, dim=1).numpy().astype(np.float32)


def detection(maps: NDArray[np.float32], types: Labels) -> dict[str, float]:
    """Image AUROC of the maximum of each map, whole and by type."""
    scores = maps.reshape(len(maps), -1).max(1)
    out = {"auroc": float(roc_auc_score(types > 0, scores))}
    for number, name in enumerate(TYPES, start=1):
        keep = (types == 0) | (types == number)
        out[name.lower()] = float(roc_auc_score(types[keep] > 0, scores[keep]))
    return out


def clustering_scores(truth: Labels, found: Labels) -> dict[str, float]:
    """NMI, ARI and the accuracy after Hungarian matching."""
    k = int(max(truth.max(), found.max())) + 1
    table = np.zeros((k, k), dtype=np.int64)
    np.add.at(table, (found, truth), 1)
    rows, columns = linear_sum_assignment(-table)
    return {
        "nmi": float(normalized_mutual_info_score(truth, found)),
        "ari": float(adjusted_rand_score(truth, found)),
        "f1": float(table[rows, columns].sum() / len(truth)),
    }


def weighted_mean(layer: Tensor, logits: Tensor) -> Tensor:
    """Mean of a map (B, D, h, w) under the softmax of logits (B, 1, H, W): (B, D)."""
    weights = (
        F.adaptive_avg_pool2d(logits, (layer.shape[-2], layer.shape[-1])).flatten(1).softmax(1)
    )
    return (layer.flatten(2) * weights.unsqueeze(1)).sum(2)


def map_weighted(
    network: Network,
    test: list[NDArray[np.uint8]],
    maps: NDArray[np.float32],
    normal: list[NDArray[np.uint8]],
) -> dict[str, NDArray[np.float32]]:
    """Map-weighted region features, L2-normalised, by way.

    Weights are the softmax of the 3x3-averaged map over half the deviation of all maps:
    ``together`` (layers in one vector), ``each`` (layers normalised first), ``contrast``
    (as together, less the plain mean over the image), ``sharper`` (over a quarter of the
    deviation), ``patches`` (together, with the descriptors of the patch memory, where those for
    pooling are others) and, of networks with a class token, ``token``: the same logits, 0 at
    their maximum, as bias, and ``both``: ``together`` and ``token`` side by side, equally long.
    ``together, whitened`` and ``token, whitened`` are relative to what `NORMAL_REGIONS` normal
    images say under the maps of test images drawn at random (seed 0).
    """
    smooth = F.avg_pool2d(torch.from_numpy(maps).unsqueeze(1), 3, 1, 1, count_include_pad=False)
    logits = smooth / (0.5 * smooth.std())
    found = _pooled(network, test, logits)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(normal))[:NORMAL_REGIONS]
    lent = torch.from_numpy(rng.integers(0, len(test), len(chosen)))
    ground = _pooled(network, [normal[i] for i in chosen], logits[lent])
    for way in ("together", "token"):
        whitening = whitening_of(ground[way], REGION_SHRINKAGE) if way in ground else None
        if whitening is not None:
            found[f"{way}, whitened"] = (found[way] - whitening[0]) @ whitening[1]
    if "token, whitened" in found:
        both = [F.normalize(found[f"{way}, whitened"], dim=1) for way in ("together", "token")]
        found["both, whitened"] = torch.cat(both, dim=1)
    return {way: F.normalize(rows, dim=1).numpy() for way, rows in found.items()}


@torch.inference_mode()
def _pooled(network: Network, images: list[NDArray[np.uint8]], logits: Tensor) -> dict[str, Tensor]:
    """Features (N, D) of images under logits (N, 1, h, w), by way, not whitened.

    Those that are compared by length are L2-normalised.
    """
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(images), 8):
        some, part = images[start : start + 8], logits[start : start + 8]
        found = half_maps(network, some, pooling=True)
        layers = [weighted_mean(layer, part) for layer in found]
        together = torch.cat(layers, dim=1)
        rows = {
            "together": F.normalize(together, dim=1),
            "each": torch.cat([F.normalize(x, dim=1) for x in layers], dim=1),
            "sharper": torch.cat([weighted_mean(layer, 2 * part) for layer in found], dim=1),
            "contrast": together - torch.cat([layer.mean((2, 3)) for layer in found], dim=1),
        }
        if isinstance(network, Embedded):
            patches = [weighted_mean(layer, part) for layer in half_maps(network, some)]
            rows["patches"] = torch.cat(patches, dim=1)
        if isinstance(network, TinyViT | Embedded):
            bias = F.adaptive_avg_pool2d(part, 16).flatten(1)
            bias = bias - bias.amax(1, keepdim=True)
            with torch.autocast("cpu", torch.bfloat16):
                token = network.tokens(to_tensor(some), [bias])[0].float()
            rows["token"] = F.normalize(token, dim=1)
            rows["both"] = torch.cat([rows["together"], rows["token"]], dim=1)
        for way, vectors in rows.items():
            parts.setdefault(way, []).append(vectors)
    return {way: torch.cat(rows) for way, rows in parts.items()}


def ward(features: NDArray[np.float32], types: Labels, k: int = 6) -> dict[str, float]:
    """Agglomerative clustering (Ward) into ``k`` and its scores."""
    found = AgglomerativeClustering(k).fit_predict(features)
    return clustering_scores(types, np.asarray(found, dtype=np.int64))


@torch.inference_mode()
def region_descriptors(
    network: Network, images: list[NDArray[np.uint8]], masks: list[NDArray[np.float32]]
) -> dict[str, Tensor]:
    """L2-normalised region descriptors (N, D) by way of guidance."""
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(images), 16):
        mask = torch.from_numpy(np.stack(masks[start : start + 16]))
        with torch.autocast("cpu", torch.bfloat16):
            found = network.regions(to_tensor(images[start : start + 16]), mask)
        for way, rows in found.items():
            parts.setdefault(way, []).append(rows.float())
    return {way: F.normalize(torch.cat(rows), dim=1) for way, rows in parts.items()}


def nearest_neighbours(train: Tensor, labels: Labels, test: Tensor, truth: Labels, k: int) -> float:
    """Accuracy of the majority of the ``k`` most similar (cosine); ties to the nearer."""
    return _majority(test @ train.T, labels, truth, k)


def leave_one_out(features: Tensor, truth: Labels, k: int) -> float:
    """As :func:`nearest_neighbours`, each against all others."""
    similarity = features @ features.T
    similarity.fill_diagonal_(-2)
    return _majority(similarity, truth, truth, k)


def _majority(similarity: Tensor, labels: Labels, truth: Labels, k: int) -> float:
    values, index = similarity.topk(k, dim=1)
    votes = F.one_hot(torch.from_numpy(labels)[index]).double()
    score = votes.sum(1) + 1e-6 * (votes * values.double().unsqueeze(-1)).sum(1)
    return float((score.argmax(1) == torch.from_numpy(truth)).double().mean())


def forward_times(
    networks: dict[str, nn.Module], size: int, batch: int, repeats: int = 15
) -> dict[str, dict[str, float]]:
    """Median ms an image of a whole forward pass by network and dtype, runs interleaved."""
    times: dict[str, dict[str, list[float]]] = {
        n: {"float32": [], "bfloat16": []} for n in networks
    }
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(batch, 3, size, size, dtype=dtype).contiguous(
            memory_format=torch.channels_last
        )
        for module in networks.values():
            module.to(dtype)
        for turn in range(repeats + 2):
            for name, module in networks.items():
                with torch.inference_mode():
                    start = time.perf_counter()
                    module(x)
                    took = time.perf_counter() - start
                if turn >= 2:
                    times[name][str(dtype).removeprefix("torch.")].append(took)
        for module in networks.values():
            module.to(torch.float32)
    return {
        n: {d: statistics.median(v) / batch * 1e3 for d, v in by.items()} for n, by in times.items()
    }
