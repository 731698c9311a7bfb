"""All criteria over the candidate numbers of classes -> `CountEstimate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from protoanomalyncd.config import CountConfig, PrototypeConfig
from protoanomalyncd.core.errors import DatasetError
from protoanomalyncd.core.records import CountEstimate
from protoanomalyncd.discovery.count.criteria import (
    negative_bic,
    silhouettes,
    ward_partitions,
)
from protoanomalyncd.discovery.count.graph import eigengaps, summed_eigengaps
from protoanomalyncd.discovery.count.prototype_score import CountData, prototype_score

__all__ = ["MOST_SAMPLES", "candidates", "estimate_count"]

MOST_SAMPLES = 1500
"""Regions that are looked at, evenly chosen: the spectrum costs the cube of their number."""

_NEIGHBOURS = 10
_REGIONS_A_CLASS = 3


def candidates(n_regions: int, n_quiet: int, config: CountConfig) -> range:
    """Numbers of classes that are considered, the normal class included.

    Args:
        n_regions: anomalous regions.
        n_quiet: images without a region; if there are any, they are one class.
        config: the wanted range; it ends earlier where there are fewer than three regions a class.

    Raises:
        DatasetError: fewer samples than the smallest number asks for.
    """
    normal = 1 if n_quiet else 0
    possible = n_regions + normal
    if possible < config.min_classes or n_regions == 0:
        raise DatasetError(
            f"number of classes: expected at least {max(1, config.min_classes - normal)} "
            f"anomalous regions to estimate it from, got {n_regions}; "
            "add images, lower --count.min_classes, or give the number by --kinds"
        )
    most = min(config.max_classes, normal + max(1, n_regions // _REGIONS_A_CLASS))
    return range(config.min_classes, max(most, config.min_classes) + 1)


def estimate_count(
    data: CountData,
    config: CountConfig,
    prototypes: PrototypeConfig,
    seed: int,
    known_scores: Mapping[int, float] | None = None,
    on_score: Callable[[dict[int, float], int], None] | None = None,
) -> CountEstimate:
    """Value every candidate by every criterion, and choose by the configured one.

    Args:
        data: crops in several views; labelled ones serve the prototype score only.
        config: range and method.
        prototypes: weights and temperatures of the short training.
        seed: of the short training.
        known_scores: K -> S(K) that an interrupted call has left.
        on_score: called with all S(K) so far and the number of candidates.

    Raises:
        DatasetError: too few regions.
    """
    data = _thinned(data)
    wanted = candidates(int(data.regions.sum()), int(data.quiet.sum()), config)
    with_normal = bool(data.quiet.any())
    normal = 1 if with_normal else 0
    means = data.means()[data.regions if with_normal else data.labels < 0]
    z = means.double().numpy()
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    most = wanted[-1] - normal
    partitions = ward_partitions(z, most)
    curves = _spectral(z, most)
    curves["silhouette"] = silhouettes(z, partitions)
    curves["vmf_bic"] = negative_bic(z, partitions) if len(z) > 1 else {1: 0.0}
    scores = dict(known_scores or {})
    for k in wanted:
        if k not in scores:
            scores[k] = prototype_score(data, partitions[k - normal], with_normal, prototypes, seed)
        if on_score:
            on_score(scores, len(wanted))
    values = {
        name: tuple(curve[k - normal] for k in wanted)
        for name, curve in curves.items()
        if name != "prototype_score"
    } | {"prototype_score": tuple(scores[k] for k in wanted)}
    best = {name: wanted[int(np.argmax(curve))] for name, curve in values.items()}
    return CountEstimate(
        n_classes=best[config.method],
        method=config.method,
        candidates=tuple(wanted),
        curves=values,
        estimates=best,
        with_normal=with_normal,
        with_labels=data.has_labels,
    )


def _spectral(z: np.ndarray, most: int) -> dict[str, dict[int, float]]:
    """Both eigengap criteria for 1..most groups; 0 where a gap needs more samples."""
    from scipy.spatial.distance import pdist, squareform

    defined = min(most, len(z) - 1)
    curves = {"eigengaps": np.zeros(most), "eigengap": np.zeros(most)}
    if defined > 0:
        curves["eigengaps"][:defined] = summed_eigengaps(z, defined)
        curves["eigengap"][:defined] = eigengaps(squareform(pdist(z)), _NEIGHBOURS, defined)
    return {name: {k + 1: float(v) for k, v in enumerate(c)} for name, c in curves.items()}


def _thinned(data: CountData) -> CountData:
    """At most `MOST_SAMPLES` of the unlabelled samples, evenly chosen; all labelled ones."""
    new = torch.nonzero(data.labels < 0).flatten()
    if len(new) <= MOST_SAMPLES:
        return data
    chosen = new[torch.linspace(0, len(new) - 1, MOST_SAMPLES).round().long()]
    keep = torch.cat([chosen, torch.nonzero(data.labels >= 0).flatten()])
    return CountData(data.views[keep], data.anomalous[keep], data.scores[keep], data.labels[keep])
