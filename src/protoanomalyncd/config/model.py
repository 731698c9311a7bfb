"""Settings from the crop to the class: guidance, embedding, prototypes, training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from protoanomalyncd.core.checks import Range, check_types, require

__all__ = [
    "EmbeddingConfig",
    "GuidanceConfig",
    "PrototypeConfig",
    "TrainingConfig",
]


@dataclass(frozen=True)
class GuidanceConfig:
    """How the anomaly map guides the class token (Region Guidance Factor).

    Args:
        mode: ``soft`` (M = beta g), ``hard`` (-1e9 where the pooled value < 0.5; an image without
            such a patch stays unguided) or ``none``.
        beta: strength; the attention logit of a fully anomalous patch.
        object_factor: g of a normal patch on the object (rho_o).
        background_factor: g of a background patch (rho_b), below `object_factor`.
        share_of_blocks: last share of the blocks in which the class token is guided, in (0, 1].
        hide_class_key: patch queries do not see the class token, so that the patches are the same
            whatever the guidance; None = as the backbone was trained.
    """

    mode: Literal["soft", "hard", "none"] = "soft"
    beta: Annotated[float, Range(0, ends="()")] = 4.0
    object_factor: float = 0.0
    background_factor: float = -1.0
    share_of_blocks: Annotated[float, Range(0, 1, "(]")] = 1.0
    hide_class_key: bool | None = None

    def __post_init__(self) -> None:
        check_types(self, "guidance.")
        require(
            self.background_factor <= self.object_factor < 1,
            "guidance.object_factor",
            "below 1 and at least guidance.background_factor",
            self.object_factor,
        )


@dataclass(frozen=True)
class EmbeddingConfig:
    """Crop -> embedding.

    Args:
        backbone: ``embedded``, ``local-dir:FOLDER`` or the name of a timm model on the hub (which
            downloads it).
        input_size: side of the window that the network sees [px].
        guidance: how the anomaly map guides the class token.
        descriptor_weight: w in [0, 1), share of the region descriptors (size, shape, contrast) in
            the similarity of two regions; 0 = the crop alone counts.
        patch_weight: w in [0, 1), share of the region's patches, beside the class token, in the
            similarity of two regions; 0 = the class token alone, as published.
        whitening: embeddings are taken relative to those of normal places, so that the ground
            counts less: lambda, above 0, the shrinkage of that whitening (the larger, the less is
            changed); None = they are taken as they are, as published.
        normal_gate_quantile: regions no farther from normal places than this share of them count
            as normal, in [0, 1); 0 = no region does. Without effect where no normal images are
            known, or `MEBinConfig.normals_in_set` is false.
        precision: ``float32``, or ``bfloat16`` for the products in the frozen blocks (autocast);
            about twice as fast on accelerators and on CPUs that know it (AVX-512 BF16, AMX), slower
            on others. Fit and predict of one model use the same.
    """

    backbone: str = "embedded"
    input_size: Annotated[int, Range(32)] = 224
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    descriptor_weight: Annotated[float, Range(0, 1, "[)")] = 0.0
    patch_weight: Annotated[float, Range(0, 1, "[)")] = 0.5
    whitening: Annotated[float, Range(0, ends="()")] | None = 0.3
    normal_gate_quantile: Annotated[float, Range(0, 1, "[)")] = 0.9
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check_types(self, "embedding.")
        require(bool(self.backbone), "embedding.backbone", "a name", self.backbone)


@dataclass(frozen=True)
class PrototypeConfig:
    """The objective of prototype learning: temperatures, and the weight of each term.

    Args:
        temperature: tau of the posterior softmax(cos / tau); kappa = 1 / tau.
        target_temperature: tau of the pseudo-labels before the surest become one-hot.
        pseudo_label_weight: of the term that learns the pseudo-labels.
        supervised_weight: lambda, the share of the labelled terms.
        entropy_weight: w_e of the mean-entropy regulariser over the novel classes.
        separation_weight: w_s of the prototype-separation regulariser.
        contrastive_weight: of InfoNCE.
        supcon_weight: of the supervised contrastive loss, beside the labelled cross-entropy.
    """

    temperature: Annotated[float, Range(0, ends="()")] = 0.1
    target_temperature: Annotated[float, Range(0, ends="()")] = 0.05
    pseudo_label_weight: Annotated[float, Range(0)] = 1.0
    supervised_weight: Annotated[float, Range(0, 1)] = 0.35
    entropy_weight: Annotated[float, Range(0)] = 2.0
    separation_weight: Annotated[float, Range(0)] = 0.1
    contrastive_weight: Annotated[float, Range(0)] = 1.0
    supcon_weight: Annotated[float, Range(0)] = 1.0

    def __post_init__(self) -> None:
        check_types(self, "prototypes.")


@dataclass(frozen=True)
class TrainingConfig:
    """The training loop.

    Args:
        epochs: passes over the unlabelled crops.
        views: augmented views of each crop whose frozen tokens are computed once; every step draws
            two of them.
        batch_size: crops in a step.
        learning_rate: start of the cosine schedule, which ends at a thousandth of it.
        momentum: of SGD.
        weight_decay: of SGD.
        labelled_per_class: labelled crops used of each known class, drawn at random.
        cache_gb: the stored tokens may take this much of the disk [10^9 bytes]; a run that would
            need more stops before it computes them, and says how many views would fit.
    """

    epochs: Annotated[int, Range(1)] = 15
    views: Annotated[int, Range(2)] = 4
    batch_size: Annotated[int, Range(2)] = 64
    learning_rate: Annotated[float, Range(0, ends="()")] = 0.01
    momentum: Annotated[float, Range(0, 1, "[)")] = 0.9
    weight_decay: Annotated[float, Range(0)] = 5e-5
    labelled_per_class: Annotated[int, Range(2)] = 100
    cache_gb: Annotated[float, Range(0, ends="()")] = 100.0

    def __post_init__(self) -> None:
        check_types(self, "training.")
