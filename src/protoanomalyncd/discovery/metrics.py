"""How well found classes agree with true ones: NMI, ARI and F1 after matching.

The protocol of novel class discovery in inspection: found ids have no names, so each is matched
to at most one true class such that most samples agree (Hungarian method), and F1 is the micro-F1
after matching, which equals clustering accuracy. NMI and ARI need no matching.

Source: [ref] HUST-SLOW/AnomalyNCD, ``utils/cluster_and_log_utils.py`` (``split_cluster_acc``).
Differences: class names may be anything; ids need not be dense; rejected samples are allowed
(see `evaluate`); a pair of id and class that share no sample is not called a match (F1 is the
same); precision and recall are given for each class.

Example::

    metrics = evaluate(["good", "crack", "crack"], [0, 4, -1])
    metrics.f1  # 0.667
    metrics.matching  # {0: "good", 4: "crack"}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from protoanomalyncd.core.errors import InputError
from protoanomalyncd.core.records import OUTLIER, Discovery
from protoanomalyncd.discovery.assignment import assign

__all__ = [
    "ClassMetrics",
    "ClusterMetrics",
    "SplitAccuracy",
    "evaluate",
    "metrics_of",
    "split_accuracy",
    "split_of",
]

Label = str | int


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One true class.

    Args:
        found: the id matched to it, None where none is; then the three scores are 0.
        support: samples of the class.
        precision: share of the matched id's samples that are of this class.
        recall: share of this class's samples that have the matched id.
        f1: harmonic mean of the two.
    """

    found: int | None
    support: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class ClusterMetrics:
    """Agreement of found ids with true classes.

    Args:
        nmi: normalised mutual information (arithmetic mean), in [0, 1].
        ari: adjusted Rand index, in [-1, 1].
        f1: micro-F1 after matching = clustering accuracy, in [0, 1].
        n_classes_true: distinct true classes.
        n_classes_found: distinct found ids, -1 not counted.
        n_samples: samples compared.
        n_rejected: samples with id -1.
        classes: the true classes, in the order of the rows of `confusion`.
        found: the found ids, in the order of its columns; -1, if it occurs, comes last.
        matching: found id -> true class, for the ids that have one.
        confusion: counts, (n_classes_true, len(found)).
        per_class: true class -> its scores.
    """

    nmi: float
    ari: float
    f1: float
    n_classes_true: int
    n_classes_found: int
    n_samples: int
    n_rejected: int
    classes: tuple[Label, ...]
    found: tuple[int, ...]
    matching: Mapping[int, Label]
    confusion: tuple[tuple[int, ...], ...]
    per_class: Mapping[Label, ClassMetrics]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; mappings become lists, since class names may be numbers."""
        return dataclasses.asdict(self) | {
            "classes": list(self.classes),
            "found": list(self.found),
            "matching": [{"found": k, "class": name} for k, name in self.matching.items()],
            "confusion": [list(row) for row in self.confusion],
            "per_class": [
                {"class": name, **dataclasses.asdict(scores)}
                for name, scores in self.per_class.items()
            ],
        }


def evaluate(true: Sequence[Label], found: Sequence[int]) -> ClusterMetrics:
    """Compare found ids with true classes.

    Rejected samples (-1) are one cluster of their own for NMI and ARI; they can be matched to no
    class, so each is an error for F1 and lowers the recall of its class.

    Args:
        true: name of the true class of each sample; text or integers, in any mix.
        found: found id of each sample, at least 0, or -1.

    Raises:
        InputError: no sample, lengths that differ, or ids below -1.
    """
    names, ids = _checked(true, found)
    classes = tuple(sorted(set(names), key=lambda name: (isinstance(name, str), name)))
    columns = tuple(sorted(set(ids), key=lambda k: (k == OUTLIER, k)))
    row_of = {name: i for i, name in enumerate(classes)}
    column_of = {k: j for j, k in enumerate(columns)}
    rows = [row_of[name] for name in names]
    confusion = np.zeros((len(classes), len(columns)), dtype=np.int64)
    np.add.at(confusion, (rows, [column_of[k] for k in ids]), 1)

    n_rejected = ids.count(OUTLIER)
    n_found = len(columns) - (n_rejected > 0)
    pairs = _match(confusion[:, :n_found])
    return ClusterMetrics(
        nmi=_normalised_mutual_information(np.roll(confusion, n_rejected > 0, axis=1)),
        ari=_adjusted_rand_index(confusion),
        f1=float(sum(confusion[i, j] for i, j in pairs.items()) / len(ids)),
        n_classes_true=len(classes),
        n_classes_found=n_found,
        n_samples=len(ids),
        n_rejected=n_rejected,
        classes=classes,
        found=columns,
        matching=dict(sorted((columns[j], classes[i]) for i, j in pairs.items())),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        per_class={
            name: _class_metrics(confusion, i, pairs.get(i), columns)
            for i, name in enumerate(classes)
        },
    )


@dataclass(frozen=True, slots=True)
class SplitAccuracy:
    """Clustering accuracy as generalised category discovery reports it.

    Args:
        all: share of all samples whose id is matched to their class, in [0, 1].
        old: the same among samples of known classes; None without any.
        new: the same among samples of novel classes; None without any.
        n_old: samples of known classes.
        n_new: samples of novel classes.
    """

    all: float
    old: float | None
    new: float | None
    n_old: int
    n_new: int


def split_accuracy(
    true: Sequence[Label], found: Sequence[int], known: Collection[Label]
) -> SplitAccuracy:
    """Accuracy over all classes, over known (old) and over novel (new) ones.

    Ids are matched once, over all samples (Hungarian method), and the two parts are read from that
    one matching: nothing is gained by calling a novel class twice by two ids.

    Source: [ref] CVMI-Lab/SimGCD, ``util/cluster_and_log_utils.py`` (``split_cluster_acc_v2``).
    Difference: rejected samples (-1) are allowed, and each is an error.

    Args:
        true: name of the true class of each sample.
        found: found id of each sample, at least 0, or -1.
        known: names of the classes that were labelled.

    Raises:
        InputError: as `evaluate`.
    """
    names, ids = _checked(true, found)
    matching = evaluate(names, ids).matching
    right = [matching.get(k) == name for name, k in zip(names, ids, strict=True)]
    old = [r for r, name in zip(right, names, strict=True) if name in known]
    new = [r for r, name in zip(right, names, strict=True) if name not in known]
    return SplitAccuracy(
        all=sum(right) / len(right),
        old=sum(old) / len(old) if old else None,
        new=sum(new) / len(new) if new else None,
        n_old=len(old),
        n_new=len(new),
    )


def _checked(true: Sequence[Label], found: Sequence[int]) -> tuple[list[Label], list[int]]:
    """The two sequences as plain Python values (numpy's are unwrapped)."""
    if len(true) != len(found):
        raise InputError(
            f"expected as many true classes as found ids, got {len(true)} and {len(found)}"
        )
    if len(found) == 0:
        raise InputError("expected at least one sample to evaluate, got none")
    names: list[Label] = [str(t) if isinstance(t, str) else index(t) for t in true]
    ids = [index(k) for k in found]
    if min(ids) < OUTLIER:
        raise InputError(f"expected found ids of at least {OUTLIER}, got {min(ids)}")
    return names, ids


def _match(confusion: npt.NDArray[np.int64]) -> dict[int, int]:
    """Row -> column, one to one, such that the most samples agree; pairs without any left out."""
    return {i: j for i, j in assign(confusion) if confusion[i, j] > 0}


def _normalised_mutual_information(confusion: npt.NDArray[np.int64]) -> float:
    """Mutual information of rows and columns over the mean of their entropies, in [0, 1].

    In the steps and order of scikit-learn, which takes seconds to import: the same to the bit.
    """
    if confusion.shape == (1, 1):
        return 1.0
    if 1 in confusion.shape:
        return 0.0
    rows, columns = np.nonzero(confusion)
    counts, n = confusion[rows, columns], confusion.sum()
    of_row, of_column = confusion.sum(axis=1), confusion.sum(axis=0)
    by_chance = -np.log(of_row[rows] * of_column[columns]) + log(n) + log(n)
    parts = counts / n * (np.log(counts) - log(n)) + counts / n * by_chance
    parts[np.abs(parts) < np.finfo(float).eps] = 0.0
    shared = float(parts.sum())
    if shared <= 0:
        return 0.0
    return shared / float(np.mean([_entropy(of_row), _entropy(of_column)]))


def _entropy(counts: npt.NDArray[np.int64]) -> float:
    return -float(np.sum(counts / counts.sum() * (np.log(counts) - log(counts.sum()))))


def _adjusted_rand_index(confusion: npt.NDArray[np.int64]) -> float:
    """Rand index over pairs of samples, corrected for chance, in [-1, 1]."""
    n = int(confusion.sum())
    together = int((confusion**2).sum())  # ordered pairs, a sample with itself included
    in_row, in_column = (int((confusion.sum(axis) ** 2).sum()) for axis in (1, 0))
    both, split, joined = together - n, in_row - together, in_column - together
    neither = n * n - together - split - joined
    if split == 0 and joined == 0:
        return 1.0
    above = 2.0 * (both * neither - split * joined)
    return above / ((both + split) * (split + neither) + (both + joined) * (joined + neither))


def _class_metrics(
    confusion: npt.NDArray[np.int64], row: int, column: int | None, columns: tuple[int, ...]
) -> ClassMetrics:
    support = int(confusion[row].sum())
    if column is None:
        return ClassMetrics(found=None, support=support, precision=0.0, recall=0.0, f1=0.0)
    agreed, size = int(confusion[row, column]), int(confusion[:, column].sum())
    return ClassMetrics(
        found=columns[column],
        support=support,
        precision=agreed / size,
        recall=agreed / support,
        f1=2 * agreed / (size + support),
    )


def metrics_of(discovery: Discovery) -> ClusterMetrics | None:
    """Agreement with the true classes, over the images that have one; None where none has."""
    known = [(i.true_class, i.class_id) for i in discovery.images if i.true_class is not None]
    return evaluate([t for t, _ in known], [c for _, c in known]) if known else None


def split_of(discovery: Discovery, known: Collection[str]) -> SplitAccuracy | None:
    """Accuracy over all, known and novel classes; None where no image is truly of a known class."""
    pairs = [(i.true_class, i.class_id) for i in discovery.images if i.true_class is not None]
    if not any(true in known for true, _ in pairs):
        return None
    return split_accuracy([true for true, _ in pairs], [k for _, k in pairs], known)
