"""The catalogue: what people call the classes, and which of them they hold to be one.

A name or a merger changes how results are told, never the model itself; it is saved with the model
and can be taken back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from protoanomalyncd.catalogue.mergers import add_up
from protoanomalyncd.core.errors import ConfigurationError
from protoanomalyncd.core.records import (
    OUTLIER,
    CountEstimate,
    Discovery,
    ImageResult,
    RegionResult,
)

__all__ = ["Catalogue"]

_Result = TypeVar("_Result", ImageResult, RegionResult)


class Catalogue:
    """Names and mergers of classes.

    Args:
        names: first name of novel class k at position k.
        normal_class: class reserved for normal images, None where there is none.
        count: how the number of classes was estimated, None where it was given.
        known: names of the labelled classes, which follow the novel ones; where a novel class has
            the same name, " (known)" is added.
    """

    def __init__(
        self,
        names: Sequence[str],
        normal_class: int | None = 0,
        count: CountEstimate | None = None,
        known: Sequence[str] = (),
    ) -> None:
        taken = {*names, "outlier"}
        self._names = [*names, *(f"{k} (known)" if k in taken else k for k in known)]
        self._target = list(range(len(self._names)))
        self._n_known = len(known)
        self.normal_class = normal_class
        self.count = count

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each class; a merged class goes by the name of what it was merged into."""
        return tuple(self._names[self._target[k]] for k in range(len(self)))

    @property
    def own_names(self) -> tuple[str, ...]:
        """Name of each class by itself, mergers left out."""
        return tuple(self._names)

    @property
    def target(self) -> tuple[int, ...]:
        """The class that each was merged into; its own id where it was not."""
        return tuple(self._target)

    @property
    def known_classes(self) -> tuple[int, ...]:
        """Ids of the labelled classes."""
        return tuple(range(len(self) - self._n_known, len(self)))

    def rename(self, class_id: int, name: str) -> None:
        """Call a class by another name.

        Raises:
            ConfigurationError: there is no such class, or the name is empty or taken.
        """
        target = self._target[self._checked(class_id)]
        if not name.strip() or not name.isprintable():
            raise ConfigurationError(f"class name: expected printable text, got {name!r}")
        name = name.strip()
        taken = {self._names[k] for k in set(self._target)} - {self._names[target]}
        if name in taken or name == "outlier":
            raise ConfigurationError(
                f"class name: expected a new one, but {name!r} is taken; merge the classes instead"
            )
        self._names[target] = name

    def merge(self, class_ids: Sequence[int]) -> int:
        """Hold several classes to be one; it keeps the id and the name of the first.

        Returns:
            The id of the merged class.

        Raises:
            ConfigurationError: fewer than two classes, or one that does not exist.
        """
        if len(set(class_ids)) < 2:
            raise ConfigurationError(
                f"merge: expected at least two different classes, got {list(class_ids)}"
            )
        targets = [self._target[self._checked(k)] for k in class_ids]
        first = targets[0]
        self._target = [first if t in targets else t for t in self._target]
        if self.normal_class is not None:
            self.normal_class = self._target[self.normal_class]
        return first

    def apply(self, raw: Discovery) -> Discovery:
        """A discovery with the model's own ids -> the same in the catalogue's classes.

        The probabilities of merged classes add up, see `mergers.add_up`; where a result has none
        (it was read from a table), its class becomes what that one was merged into.
        """
        return dataclasses.replace(
            raw,
            class_names=self.names,
            images=self._told(raw.images),
            regions=self._told(raw.regions),
            normal_class=self.normal_class,
            count=self.count,
            known_classes=self.known_classes,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "names": list(self._names),
            "target": list(self._target),
            "normal_class": self.normal_class,
            "count": None if self.count is None else self.count.to_dict(),
            "n_known": self._n_known,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Catalogue:
        """Inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: something is missing, of another kind or out of range.
        """
        count, names, target = values.get("count"), list(values["names"]), list(values["target"])
        normal, n_known = values["normal_class"], values.get("n_known", 0)
        ids = [*target, *([] if normal is None else [normal])]
        if not all(isinstance(name, str) for name in names) or len(target) != len(names):
            raise ValueError("catalogue: expected names, and a target for each")
        if not all(type(k) is int and 0 <= k < len(names) for k in ids):
            raise ValueError(f"catalogue: expected classes from 0 to {len(names) - 1}")
        if type(n_known) is not int or not 0 <= n_known <= len(names):
            raise ValueError(f"catalogue: expected n_known from 0 to {len(names)}")
        catalogue = cls(names, normal, None if count is None else CountEstimate.from_dict(count))
        catalogue._target, catalogue._n_known = target, n_known
        return catalogue

    def _told(self, results: tuple[_Result, ...]) -> tuple[_Result, ...]:
        if not results or self._target == list(range(len(self))):
            return results
        if not all(result.probabilities for result in results):
            ids = [self._target[r.class_id] if r.class_id != OUTLIER else OUTLIER for r in results]
            sums = [result.confidence for result in results]
        else:
            rows = np.array([r.probabilities for r in results]).reshape(len(results), -1)
            found, sums = (array.tolist() for array in add_up(rows, self._target))
            ids = [
                OUTLIER if result.class_id == OUTLIER else k
                for result, k in zip(results, found, strict=True)
            ]
        return tuple(
            dataclasses.replace(result, class_id=k, confidence=p)
            for result, k, p in zip(results, ids, sums, strict=True)
        )

    def _checked(self, class_id: int) -> int:
        if not 0 <= class_id < len(self):
            raise ConfigurationError(f"class: expected 0 to {len(self) - 1}, got {class_id}")
        return class_id
