"""Settings from the crop to the class: guidance, embedding, prototypes, training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from protoanomalyncd.core.checks import check_types, require

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
    beta: float = 4.0
    object_factor: float = 0.0
    background_factor: float = -1.0
    share_of_blocks: float = 1.0
    hide_class_key: bool | None = None

    def __post_init__(self) -> None:
        check_types(self, "guidance.")
        require(
            self.mode in ("soft", "hard", "none"), "guidance.mode", "soft, hard or none", self.mode
        )
        require(self.beta > 0, "guidance.beta", "above 0", self.beta)
        require(
            self.background_factor <= self.object_factor < 1,
            "guidance.object_factor",
            "below 1 and at least guidance.background_factor",
            self.object_factor,
        )
        require(
            0 < self.share_of_blocks <= 1,
            "guidance.share_of_blocks",
            "in (0, 1]",
            self.share_of_blocks,
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
    input_size: int = 224
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    descriptor_weight: float = 0.0
    patch_weight: float = 0.5
    whitening: float | None = 0.3
    normal_gate_quantile: float = 0.9
    precision: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        check_types(self, "embedding.")
        require(bool(self.backbone), "embedding.backbone", "a name", self.backbone)
        require(self.input_size >= 32, "embedding.input_size", "at least 32", self.input_size)
        require(
            0 <= self.descriptor_weight < 1,
            "embedding.descriptor_weight",
            "in [0, 1)",
            self.descriptor_weight,
        )
        require(
            0 <= self.patch_weight < 1, "embedding.patch_weight", "in [0, 1)", self.patch_weight
        )
        require(
            self.whitening is None or self.whitening > 0,
            "embedding.whitening",
            "above 0 or null",
            self.whitening,
        )
        require(
            0 <= self.normal_gate_quantile < 1,
            "embedding.normal_gate_quantile",
            "in [0, 1)",
            self.normal_gate_quantile,
        )
        require(
            self.precision in ("float32", "bfloat16"),
            "embedding.precision",
            "float32 or bfloat16",
            self.precision,
        )


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

    temperature: float = 0.1
    target_temperature: float = 0.05
    pseudo_label_weight: float = 1.0
    supervised_weight: float = 0.35
    entropy_weight: float = 2.0
    separation_weight: float = 0.1
    contrastive_weight: float = 1.0
    supcon_weight: float = 1.0

    def __post_init__(self) -> None:
        check_types(self, "prototypes.")
        for name in ("temperature", "target_temperature"):
            require(getattr(self, name) > 0, f"prototypes.{name}", "above 0", getattr(self, name))
        require(
            0 <= self.supervised_weight <= 1,
            "prototypes.supervised_weight",
            "in [0, 1]",
            self.supervised_weight,
        )
        for name in ("pseudo_label", "entropy", "separation", "contrastive", "supcon"):
            value = getattr(self, f"{name}_weight")
            require(value >= 0, f"prototypes.{name}_weight", "at least 0", value)


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

    epochs: int = 15
    views: int = 4
    batch_size: int = 64
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-5
    labelled_per_class: int = 100
    cache_gb: float = 100.0

    def __post_init__(self) -> None:
        check_types(self, "training.")
        require(self.epochs >= 1, "training.epochs", "at least 1", self.epochs)
        require(self.views >= 2, "training.views", "at least 2", self.views)
        require(self.batch_size >= 2, "training.batch_size", "at least 2", self.batch_size)
        require(self.learning_rate > 0, "training.learning_rate", "above 0", self.learning_rate)
        require(0 <= self.momentum < 1, "training.momentum", "in [0, 1)", self.momentum)
        require(self.weight_decay >= 0, "training.weight_decay", "at least 0", self.weight_decay)
        require(
            self.labelled_per_class >= 2,
            "training.labelled_per_class",
            "at least 2",
            self.labelled_per_class,
        )
        require(self.cache_gb > 0, "training.cache_gb", "above 0", self.cache_gb)
