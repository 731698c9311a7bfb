"""What chose the estimate of the number of classes.

    .venv/bin/python -m research.benchmarks.choose_count --data ../shared/data

Subsets of one to eight types of five generated products and of three with faint defects (blended to
40 %, of which the detector misses some), the normal class with them, some classes thinned, and 120
images of NEU-Seg's training split with true masks and 330 with zero-shot maps. Untrained guided
embeddings, mean of three views, as the main job counts on. A criterion is within the bar where it
is off by at most 1, or by 15 % of the truth. Products and types of ``make bench-count`` are others;
MTD is not read.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial.distance import pdist, squareform

from protoanomalyncd.config import Config
from protoanomalyncd.datasets import (
    Dataset,
    generate,
    load_dataset,
    load_labelled,
    prepare_neu_seg,
    take_per_class,
)
from protoanomalyncd.datasets.generated import Counts
from protoanomalyncd.discovery.count.criteria import silhouettes, ward_partitions
from protoanomalyncd.discovery.count.graph import (
    FEWEST,
    SCALES,
    eigengaps,
    summed_eigengaps,
)
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.training import CropSet, embed_cache, fill_token_cache
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from research.prepared import Prepared, anomalous_crops, labelled_crops, parts_of, prepare

PRODUCTS = ("brushed_metal", "leather", "tablet", "washer", "wood")
FAINT = ("brushed_metal", "leather", "wood")
EACH = 12
SUBSETS = 40
"""Drawn from each product."""
FEWEST_REGIONS = 6
"""Regions in a subset; of faint defects the detector may find fewer."""
MOST = 20
VIEWS = 3

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """Embeddings z (n, C) of the regions of one set, their types, and whether each is quiet."""

    name: str
    z: Array
    types: npt.NDArray[np.str_]
    quiet: npt.NDArray[np.bool_]


def gaps(scales: tuple[float, ...], fewest: int) -> Callable[[Array, int], Array]:
    """Sum of the eigengaps over neighbourhoods of these multiples of sqrt(n), at least `fewest`."""
    return lambda z, most: summed_eigengaps(z, most, scales, fewest)


def silhouette(z: Array, most: int) -> Array:
    """Mean silhouette of Ward's partitions."""
    curve = silhouettes(z, ward_partitions(z, most))
    return np.array([curve[k] for k in range(1, most + 1)])


def consensus(
    scales: tuple[float, ...], weight: float, fewest: int
) -> Callable[[Array, int], Array]:
    """Eigengaps relative to the largest, plus the weighted silhouette."""

    def curve(z: Array, most: int) -> Array:
        found = gaps(scales, fewest)(z, most)
        total: Array = found / max(found.max(), 1e-12) + weight * silhouette(z, most)
        return total

    return curve


def _bold(title: str, scales: tuple[float, ...], fewest: int) -> str:
    """The default is bold."""
    return f"**{title}**" if (scales, fewest) == (SCALES, FEWEST) else title


FIVE = (0.5, 0.75, 1.0, 1.4, 2.0)
SIZES = {"0.5 to 1": FIVE[:3], "0.5 to 1.4": FIVE[:4], "0.75 to 2": SCALES, "0.5 to 2": FIVE}
"""Neighbourhoods as multiples of sqrt(n)."""

CRITERIA: dict[str, Callable[[Array, int], Array]] = {
    **{
        _bold(f"eigengaps, {sizes}, at least {fewest} neighbours", scales, fewest): gaps(
            scales, fewest
        )
        for sizes, scales in SIZES.items()
        for fewest in (4, 5, 6, 7, 8)
    },
    "1 to 2, at least 3, + 4 times silhouette (before)": consensus(FIVE[2:], 4.0, 3),
    "0.5 to 2, at least 5, + 4 times silhouette": consensus(FIVE, 4.0, 5),
    "silhouette": silhouette,
    "one eigengap, 10 neighbours": lambda z, most: eigengaps(squareform(pdist(z)), 10, most),
}
FEW = 2
"""Classes at most of the subsets in the last column."""


def main() -> int:
    """Print the share within the bar by set and criterion."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with neu_seg/")
    parser.add_argument("--work", type=Path, default=None, help="keeps what is computed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        pools = list(all_pools(options.data, options.work or Path(scratch)))
    names = [pool.name for pool in pools]
    columns = [*names, "mean", f"at most {FEW} classes"]
    print(f"| criterion | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    tasks = {pool.name: list(subsets(pool)) for pool in pools}
    for title, criterion in CRITERIA.items():
        right = {
            name: [
                (truth, abs(estimate(criterion, z, normal) - truth) <= max(1, 0.15 * truth))
                for z, normal, truth in tasks[name]
            ]
            for name in names
        }
        shares = [statistics.mean(hit for _, hit in right[name]) for name in names]
        few = [hit for name in names for truth, hit in right[name] if truth <= FEW]
        cells = " | ".join(f"{share:.2f}" for share in shares)
        print(
            f"| {title} | {cells} | {statistics.mean(shares):.3f} | {statistics.mean(few):.2f} |",
            flush=True,
        )
    return 0


def estimate(criterion: Callable[[Array, int], Array], z: Array, normal: int) -> int:
    """Number of classes: groups of the regions, and the normal class where images are quiet."""
    most = min(MOST - normal, max(1, len(z) // 3), len(z) - 1)
    curve = criterion(z, most)
    first = 2 - normal
    return normal + first + int(curve[first - 1 :].argmax())


def subsets(pool: Pool) -> Iterator[tuple[Array, int, int]]:
    """Embeddings of anomalous regions, 1 if there are quiet images, the true number of classes."""
    rng = np.random.default_rng(3)
    kinds = sorted(set(pool.types.tolist()) - {"good"})
    has_normal = "good" in pool.types
    for _ in range(SUBSETS):
        n_kinds = int(rng.integers(2 - has_normal, len(kinds) + 1))
        chosen = rng.choice(kinds, n_kinds, replace=False).tolist()
        keep = np.isin(pool.types, [*chosen, "good"])
        for kind in chosen:
            if rng.random() < 0.3:  # a rarer class
                members = np.flatnonzero(pool.types == kind)
                keep[rng.permutation(members)[len(members) // 2 :]] = False
        quiet = bool((pool.quiet & keep).any())
        z = pool.z[keep & ~pool.quiet] if quiet else pool.z[keep]
        if len(z) >= FEWEST_REGIONS:
            yield z, int(quiet), n_kinds + has_normal


def all_pools(data: Path, work: Path) -> Iterator[Pool]:
    """The generated products, then NEU-Seg's training split."""
    for product in PRODUCTS:
        folder = work / product
        images = generate(
            folder / "images", product, counts=Counts(normal=40, per_type=EACH, good=EACH), seed=91
        )
        yield found(product, load_dataset(images), "patch_memory", folder)
    for product in FAINT:
        folder = work / f"{product}-faint"
        images = generate(
            folder / "images",
            product,
            counts=Counts(normal=40, per_type=EACH, good=EACH),
            seed=92,
            strength=0.4,
        )
        yield found(f"{product}, faint", load_dataset(images), "patch_memory", folder)
    prepare_neu_seg(data / "neu_seg", work / "neu", "training")
    labelled = load_labelled(work / "neu")
    few = take_per_class(labelled, 40, 0)
    crops = labelled_crops(few, work / "masks" / "crops", Config().crops)
    types = [few.class_names[label] for label in crops.labels]
    yield pool("NEU-Seg, masks", crops, types, work / "masks")
    more = take_per_class(labelled, 110, 1)
    yield found(
        "NEU-Seg, zero-shot",
        Dataset(work / "neu", "folder", (), tuple(more.samples)),
        "mutual_scoring",
        work / "zero",
    )


def found(name: str, data: Dataset, source: str, work: Path) -> Pool:
    """Regions of images, as the main job finds them."""
    parts = parts_of(Config(), create_backbone("embedded"), source)
    prepared = prepare(Config(), Inputs(data), work / "fit", parts)
    return pool(name, prepared.crops, prepared.region_types, work, prepared)


def pool(
    name: str, crops: CropSet, types: list[str], work: Path, prepared: Prepared | None = None
) -> Pool:
    """Embed crops in `VIEWS` views."""
    if prepared is not None:
        encoder, gate = prepared.encoder()
    else:  # true masks come without maps: nothing says what is normal
        encoder, gate = GuidedEncoder(create_backbone("embedded"), Config().embedding), None
    training = dataclasses.replace(Config().training, views=VIEWS - 1)
    cache = fill_token_cache(work / "tokens", crops, encoder, training, seed=0)
    z = sum(embed_cache(encoder, cache, range(v, v + 1)).double() for v in range(VIEWS))
    unit = torch.nn.functional.normalize(torch.as_tensor(z), dim=1).numpy()
    quiet = ~anomalous_crops(crops, gate, cache).numpy()
    return Pool(name, unit, np.array(types), quiet)


if __name__ == "__main__":
    sys.exit(main())
