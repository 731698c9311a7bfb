"""What AnomalyNCD and SimGCD do otherwise, as options of a study's row (``published:``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from protoanomalyncd.core.checks import Range, check_types
from protoanomalyncd.core.errors import ConfigurationError

__all__ = ["Published"]


@dataclass(frozen=True)
class Published:
    """Options; the defaults are this program's own method.

    Args:
        mebin: ``reference``: AnomalyNCD's 8-bit procedure and range, step for step.
        crops: ``reference``: AnomalyNCD's boxes, black padding, one crop more than estimated.
        guidance: ``reference``: AnomalyNCD's hard mask: the binary mask alone counts, and an empty
            one closes every patch.
        recolouring: of the augmented views; ``reference`` is AnomalyNCD's, stronger.
        sampling: ``every_crop`` (each unlabelled crop once an epoch, as many labelled ones beside
            them) or ``weighted`` (AnomalyNCD, SimGCD: as many draws as there are crops, half of
            them labelled on average).
        n_heads: independent sets of prototypes on one backbone; their losses are averaged, and the
            one with the lowest mean cluster loss in the last epoch is kept (AnomalyNCD).
        start: prototypes start at ``clusters`` (Ward's, then k-means), at those of k-means from
            centres ``drawn`` by chance, or at ``random`` as published, the projection too. Further
            heads always draw.
        reinit_after_training: prototypes that started at clusters are re-initialised at the
            clusters of the trained embeddings; False = they stay where training left them.
        target_temperature_start: tau of the pseudo-labels in the first epochs, lowered to
            `PrototypeConfig.target_temperature`; None = constant.
        target_warmup_epochs: epochs in which it is lowered.
        target_warmup_step: epochs in a row that share one value of it.
        pseudo_labels: ``adaptive`` (a growing share is one-hot: DAPL) or ``soft`` (none is).
        normal_correction: pseudo-labels of crops with a low anomaly score move to "normal".
        generalised: unlabelled crops may belong to known classes too; pseudo-labels and entropy
            run over all samples and all classes (SimGCD).
        entropy_over: classes in the entropy term: ``novel``, or ``all`` of them.
        entropy_prior: how large the mean prediction is to make the novel classes: as the ``start``
            has them, or ``uniform``, as published; ``uniform`` counts too where they start at
            random, and where known classes are in it.
    """

    mebin: Literal["default", "reference"] = "default"
    crops: Literal["default", "reference"] = "default"
    guidance: Literal["default", "reference"] = "default"
    recolouring: Literal["default", "reference"] = "default"
    sampling: Literal["every_crop", "weighted"] = "every_crop"
    n_heads: Annotated[int, Range(1)] = 1
    start: Literal["clusters", "drawn", "random"] = "clusters"
    reinit_after_training: bool = True
    target_temperature_start: Annotated[float, Range(0, ends="()")] | None = None
    target_warmup_epochs: Annotated[int, Range(0)] = 0
    target_warmup_step: Annotated[int, Range(1)] = 1
    pseudo_labels: Literal["adaptive", "soft"] = "adaptive"
    normal_correction: bool = True
    generalised: bool = False
    entropy_over: Literal["novel", "all"] = "novel"
    entropy_prior: Literal["start", "uniform"] = "start"

    def __post_init__(self) -> None:
        check_types(self, "published.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Published:
        """Options by name.

        Raises:
            ConfigurationError: a name is unknown or a value is out of its range.
        """
        known = sorted(f.name for f in fields(cls))
        unknown = sorted(set(values) - set(known), key=str)
        if unknown:
            raise ConfigurationError(
                f"unknown option published.{unknown[0]}; known here: {', '.join(known)}"
            )
        return cls(**values)
