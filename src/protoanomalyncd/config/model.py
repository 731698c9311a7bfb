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
            such a patch stays unguided), ``reference`` (AnomalyNCD's hard mask, step for step: the
            binary mask alone counts, and an empty one closes every patch) or ``none``.
        beta: strength; the attention logit of a fully anomalous patch.
        betas: strength of each guided block, first to last, instead of `beta`; ``soft`` only.
        learn_beta: the strength in the trained tail starts at its beta and is learned; frozen
            blocks keep theirs. ``soft`` only.
        object_factor: g of a normal patch on the object (rho_o).
        background_factor: g of a background patch (rho_b), below `object_factor`.
        share_of_blocks: last share of the blocks in which the class token is guided, in (0, 1].
        hide_class_key: patch queries do not see the class token, so that one set of patch tokens
            serves every guidance; None = as the backbone was trained.
    """

    mode: Literal["soft", "hard", "reference", "none"] = "soft"
    beta: float = 4.0
    betas: tuple[float, ...] | None = None
    learn_beta: bool = False
    object_factor: float = 0.0
    background_factor: float = -1.0
    share_of_blocks: float = 1.0
    hide_class_key: bool | None = None

    def __post_init__(self) -> None:
        check_types(self, "guidance.")
        require(
            self.mode in ("soft", "hard", "reference", "none"),
            "guidance.mode",
            "soft, hard, reference or none",
            self.mode,
        )
        require(self.beta > 0, "guidance.beta", "above 0", self.beta)
        require(
            self.betas is None
            or (self.mode == "soft" and len(self.betas) > 0 and min(self.betas) > 0),
            "guidance.betas",
            "numbers above 0 and guidance.mode soft, or null",
            self.betas,
        )
        require(
            not self.learn_beta or self.mode == "soft",
            "guidance.learn_beta",
            "false unless guidance.mode is soft",
            self.learn_beta,
        )
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

    @property
    def mask_only(self) -> bool:
        """Whether the binary mask alone guides, without the scores of the map."""
        return self.mode == "reference"


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
        verify: regions that look as normal as this share of normal places counts as normal, in
            [0, 1); 0 = every region counts. Without effect where no normal images are known, or
            `MEBinConfig.normals_in_set` is false.
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
    verify: float = 0.9
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
        require(0 <= self.verify < 1, "embedding.verify", "in [0, 1)", self.verify)
        require(
            self.precision in ("float32", "bfloat16"),
            "embedding.precision",
            "float32 or bfloat16",
            self.precision,
        )


_CHOICES = {
    "pseudo_labels": ("adaptive", "soft"),
    "start": ("clusters", "drawn", "random"),
    "entropy_over": ("novel", "all"),
    "entropy_prior": ("start", "uniform"),
    "update": ("gradient", "ema"),
    "kappa": ("shared", "per_class"),
}
"""Settings of `PrototypeConfig` that take one of a few words."""


@dataclass(frozen=True)
class PrototypeConfig:
    """The objective of prototype learning (METHOD: DAPL, entropy, separation, contrastive).

    Args:
        temperature: tau of the posterior softmax(cos / tau); kappa = 1 / tau.
        kappa: ``shared``, or ``per_class``: after training each novel class gets the concentration
            of its regions, and a tight class claims less room than a loose one.
        target_temperature: tau of the soft pseudo-labels.
        target_temperature_start: tau of the first epochs, lowered to `target_temperature`; None =
            constant.
        target_warmup_epochs: epochs in which it is lowered.
        target_warmup_step: epochs in a row that share one value of it.
        pseudo_labels: ``adaptive`` (a growing share is one-hot: DAPL) or ``soft`` (none is).
        pseudo_label_weight: of the term that learns them.
        normal_correction: pseudo-labels of crops with a low anomaly score move to "normal".
        generalised: unlabelled crops may belong to known classes too; pseudo-labels and entropy
            run over all samples and all classes (SimGCD).
        start: prototypes start at ``clusters`` (Ward's, then k-means), at those of k-means from
            centres ``drawn`` by chance, or at ``random`` as published, the projection too. Further
            heads always draw.
        settle: prototypes that started at clusters are placed anew when training has ended, at the
            clusters of the trained embeddings; False = they stay where training left them, as
            published.
        n_heads: independent sets of prototypes on one backbone; their losses are averaged, and
            the one with the lowest mean cluster loss in the last epoch is kept.
        supervised_weight: lambda, the share of the labelled terms.
        entropy_weight: w_e of the mean-entropy regulariser.
        entropy_over: classes in it: ``novel``, or ``all`` of them.
        entropy_prior: how large the mean prediction is to make the novel classes: as the ``start``
            has them, or ``uniform``, as published; ``uniform`` counts too where they start at
            random, and where known classes are in it.
        separation_weight: w_s of the prototype-separation regulariser.
        contrastive_weight: of InfoNCE.
        contrastive_temperature: tau of InfoNCE.
        supcon_weight: of the supervised contrastive loss, beside the labelled cross-entropy.
        supcon_temperature: tau of the supervised contrastive loss.
        projection_dim: width of the contrastive projection.
        normal_part_weight: w_n, of the term that draws each crop's normal part (the class token
            guided to what is not anomalous) to the normal prototype; above 0 these parts are
            also hard negatives in InfoNCE. 0 = they are not computed.
        update: prototypes learn by ``gradient``, or follow their class's embeddings (``ema``,
            CIDER).
        ema_momentum: what a prototype keeps of itself at each sample, in [0, 1); for ``ema``.
    """

    temperature: float = 0.1
    kappa: Literal["shared", "per_class"] = "shared"
    target_temperature: float = 0.05
    target_temperature_start: float | None = None
    target_warmup_epochs: int = 0
    target_warmup_step: int = 1
    pseudo_labels: Literal["adaptive", "soft"] = "adaptive"
    pseudo_label_weight: float = 1.0
    normal_correction: bool = True
    generalised: bool = False
    start: Literal["clusters", "drawn", "random"] = "clusters"
    settle: bool = True
    n_heads: int = 1
    supervised_weight: float = 0.35
    entropy_weight: float = 2.0
    entropy_over: Literal["novel", "all"] = "novel"
    entropy_prior: Literal["start", "uniform"] = "start"
    separation_weight: float = 0.1
    contrastive_weight: float = 1.0
    contrastive_temperature: float = 1.0
    supcon_weight: float = 1.0
    supcon_temperature: float = 0.07
    projection_dim: int = 256
    normal_part_weight: float = 0.0
    update: Literal["gradient", "ema"] = "gradient"
    ema_momentum: float = 0.95

    def __post_init__(self) -> None:
        check_types(self, "prototypes.")
        start = self.target_temperature_start
        require(
            start is None or start > 0,
            "prototypes.target_temperature_start",
            "above 0 or null",
            start,
        )
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            require(value in choices, f"prototypes.{name}", " or ".join(choices), value)
        for name, lowest in (
            ("target_warmup_epochs", 0),
            ("target_warmup_step", 1),
            ("n_heads", 1),
        ):
            value = getattr(self, name)
            require(value >= lowest, f"prototypes.{name}", f"at least {lowest}", value)
        for name in (
            "temperature",
            "target_temperature",
            "contrastive_temperature",
            "supcon_temperature",
        ):
            require(getattr(self, name) > 0, f"prototypes.{name}", "above 0", getattr(self, name))
        require(
            0 <= self.supervised_weight <= 1,
            "prototypes.supervised_weight",
            "in [0, 1]",
            self.supervised_weight,
        )
        for name in (
            "pseudo_label_weight",
            "entropy_weight",
            "separation_weight",
            "contrastive_weight",
            "supcon_weight",
            "normal_part_weight",
        ):
            require(
                getattr(self, name) >= 0, f"prototypes.{name}", "at least 0", getattr(self, name)
            )
        require(
            self.projection_dim >= 1, "prototypes.projection_dim", "at least 1", self.projection_dim
        )
        require(
            self.n_heads == 1 or self.update == "gradient",
            "prototypes.n_heads",
            "1 where prototypes.update is ema",
            self.n_heads,
        )
        require(
            0 <= self.ema_momentum < 1, "prototypes.ema_momentum", "in [0, 1)", self.ema_momentum
        )


@dataclass(frozen=True)
class TrainingConfig:
    """The training loop.

    Args:
        epochs: passes over the unlabelled crops.
        views: augmented views of each crop whose frozen tokens are computed once; every step draws
            two of them.
        recolouring: of the augmented views, ``default`` or ``reference`` (AnomalyNCD's, stronger).
        sampling: ``every_crop`` (each unlabelled crop once an epoch, as many labelled ones beside
            them) or ``weighted`` (AnomalyNCD, SimGCD: as many draws as there are crops, half of
            them labelled on average).
        batch_size: crops in a step.
        learning_rate: start of the cosine schedule, which ends at a thousandth of it.
        momentum: of SGD.
        weight_decay: of SGD.
        labelled_per_class: labelled crops used of each known class, drawn at random.
        checkpoint_every: epochs between two checkpoints.
        cache_gb: the stored tokens may take this much of the disk [10^9 bytes]; a run that would
            need more stops before it computes them, and says how many views would fit.
    """

    epochs: int = 15
    views: int = 4
    recolouring: Literal["default", "reference"] = "default"
    sampling: Literal["every_crop", "weighted"] = "every_crop"
    batch_size: int = 64
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-5
    labelled_per_class: int = 100
    checkpoint_every: int = 1
    cache_gb: float = 100.0

    def __post_init__(self) -> None:
        check_types(self, "training.")
        require(self.epochs >= 1, "training.epochs", "at least 1", self.epochs)
        require(self.views >= 2, "training.views", "at least 2", self.views)
        require(
            self.recolouring in ("default", "reference"),
            "training.recolouring",
            "default or reference",
            self.recolouring,
        )
        require(
            self.sampling in ("every_crop", "weighted"),
            "training.sampling",
            "every_crop or weighted",
            self.sampling,
        )
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
        require(
            self.checkpoint_every >= 1,
            "training.checkpoint_every",
            "at least 1",
            self.checkpoint_every,
        )
        require(self.cache_gb > 0, "training.cache_gb", "above 0", self.cache_gb)
