"""The stages of one fit in their order: score, cut, learn (count, then train), finish."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from protoanomalyncd.anomaly_maps import AnomalyMapSource
from protoanomalyncd.catalogue.catalogue import Catalogue
from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import ConfigurationError, InputError
from protoanomalyncd.core.records import CountEstimate, MapRange, Sample, Skipped
from protoanomalyncd.datasets import Dataset, LabelledSet, take_per_class
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.count import Embedded, estimate_count
from protoanomalyncd.discovery.normality import NormalGate
from protoanomalyncd.discovery.outliers import (
    RegionFeatures,
    create_outlier_score,
    cross_fitted_scores,
    image_numbers,
    image_scores,
    threshold_at,
)
from protoanomalyncd.localisation import ObjectLocaliser, ObjectStore, locate_all, map_store
from protoanomalyncd.pipeline.normal_reference import lender, look_normal, normal_views, places_of
from protoanomalyncd.pipeline.stages import (
    CroppedImage,
    Progress,
    by_content,
    crop_images,
    fit_source,
    label_crops,
    score_maps,
)
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.prototypes.class_kappas import fit_kappas
from protoanomalyncd.regions.map_range import background_level, fit_range
from protoanomalyncd.regions.normal_crops import NORMAL_CROPS, Place, normal_crops
from protoanomalyncd.storage.files import read_json, write_json
from protoanomalyncd.storage.map_store import MapStore
from protoanomalyncd.storage.tensors import load_prefixed, read_tensors, write_tensors
from protoanomalyncd.training import CropSet, TokenCache, Trainer, embed_cache, fill_token_cache
from protoanomalyncd.vit import Backbone, GuidedEncoder

__all__ = ["Fit", "check_device"]

_COUNT_VIEWS = 3


def check_device(device: str) -> None:
    """Refuse a device that this machine lacks.

    Raises:
        ConfigurationError: torch cannot put a number there.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ConfigurationError(
            f"device: expected one that this machine has, such as cpu, got {device!r} ({reason})"
        ) from error


class Fit:
    """One fit: what its stages share. Each stage finds what an interrupted call left.

    Args:
        config: every setting.
        work: folder of the intermediate results; is created.
        on_progress: called with (stage, steps done, steps in all).
        skipped: what was left out so far; grows.

    Attributes:
        objects: object masks of the images, complete after `locate`.
        notes: images that are used with a reservation, and which.
        map_range: range of the maps, known after `score`.
        base_classes: names of the known classes, known after `cut`.
        count: estimate of the number of classes, after `learn`; None where it was given.
        normality: tells which regions look normal, after `learn`; None where none is to.
    """

    map_range: MapRange

    def __init__(
        self, config: Config, work: Path, on_progress: Progress, skipped: list[Skipped]
    ) -> None:
        self.config = config
        self.work = work
        self.on_progress = on_progress
        self.skipped = skipped
        self.base_classes: tuple[str, ...] = ()
        self.objects = ObjectStore(work / "objects")
        self.notes: list[Skipped] = []
        self.count: CountEstimate | None = None
        self.normality: NormalGate | None = None
        self._places: list[Place] = []
        self._knows_normal = False
        self._crop_sizes: list[tuple[int, int]] = []
        work.mkdir(parents=True, exist_ok=True)

    def locate(self, localiser: ObjectLocaliser, dataset: Dataset) -> None:
        """Object masks of all images."""
        self.notes += locate_all(localiser, dataset.unlabelled, self.objects, self.on_progress)

    def score(
        self, source: AnomalyMapSource, dataset: Dataset
    ) -> tuple[list[tuple[str, Sample]], MapStore]:
        """Maps of all images, and their range."""
        images = dataset.normal if source.learns_from == "normal" else dataset.unlabelled
        normal_maxima, left_out = fit_source(source, images, self.work, self.on_progress)
        ordered = by_content(dataset.unlabelled, self.skipped)
        store = map_store(self.work / "maps", self.objects, self.config.localiser.mask_maps)
        self.skipped += left_out
        self.skipped += score_maps(source, [s for _, s in ordered], store, self.on_progress)
        self.map_range = _range_of(ordered, store, normal_maxima, self.config, self.skipped)
        embedding = self.config.embedding
        self._knows_normal = bool(dataset.normal) and self.config.mebin.normals_in_set
        if embedding.whitening is not None or (self._knows_normal and embedding.verify > 0):
            self._places = places_of(dataset.normal, ordered, store, self.map_range)
        return ordered, store

    def cut(
        self,
        ordered: list[tuple[str, Sample]],
        store: MapStore,
        base: LabelledSet | None,
    ) -> tuple[list[CroppedImage], CropSet, CropSet | None]:
        """Crops of the unlabelled images, and of the labelled ones if there are any."""
        config = self.config
        found, crops, left_out = crop_images(
            ordered,
            store,
            self.objects,
            self.map_range,
            (config.mebin, config.crops),
            self.work / "crops",
            self.on_progress,
        )
        self.skipped += left_out
        boxes = [region.crop_box for image in found for region in image.regions]
        self._crop_sizes = [(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
        if base is None:
            self.base_classes = ()
            return found, crops, None
        base = take_per_class(base, config.training.labelled_per_class, config.seed)
        known, left_out = label_crops(base, config.crops, self.work / "labelled", self.on_progress)
        self.skipped += left_out
        self.base_classes = base.class_names
        return found, crops, known

    def learn(
        self, backbone: Backbone, crops: CropSet, known: CropSet | None
    ) -> tuple[GuidedEncoder, PrototypeHead, list[dict[str, float]]]:
        """Tokens of all views, the number of classes, then the tail and the prototypes.

        Leaves in `normality` what tells regions that look normal.
        """
        config = self.config
        everything = crops if known is None else CropSet.concatenate(crops, known)
        # Here again: a call that goes on must start the layers as the first one did.
        torch.manual_seed(config.seed)
        encoder = GuidedEncoder(backbone, config.embedding).to(config.device)
        self.meet_normal(encoder, crops)
        if encoder.descriptors is not None:
            encoder.descriptors.fit(torch.from_numpy(np.array(crops.descriptors)))
        cache = fill_token_cache(
            self.work / "tokens",
            everything,
            encoder,
            config.training.views,
            config.seed,
            lambda done, total: self.on_progress("embed views", done, total),
            config.training.recolouring,
            config.training.cache_gb,
            config.prototypes.normal_part_weight > 0,
        )
        anomalous, scores, labels = everything.tensors()
        if self.normality is not None:
            anomalous &= (labels >= 0) | ~look_normal(self.normality, cache)
        numbers = (anomalous, scores, labels)
        n_novel = config.n_novel_classes
        if n_novel == "auto":
            self.count = self._count_classes(encoder, cache, numbers)
            n_novel = self.count.n_classes
        head = PrototypeHead(
            encoder.embed_dim,
            len(self.base_classes),
            n_novel,
            config.prototypes.projection_dim,
            encoder.n_fixed,
        ).to(config.device)
        trainer = Trainer(
            encoder,
            head,
            cache,
            *numbers,
            config.training,
            config.prototypes,
            config.seed,
        )
        history = trainer.run(
            self.work / "training", lambda done, total, _: self.on_progress("train", done, total)
        )
        return encoder.eval(), head.eval(), history

    def meet_normal(self, encoder: GuidedEncoder, crops: CropSet) -> None:
        """Learn what normal places look like; kept for a call that goes on.

        Fits the encoder's whitening, before anything is trained, and `normality`.
        """
        share = self.config.embedding.verify if self._knows_normal else 0.0
        gate = NormalGate(encoder.frozen_dim, share).to(self.config.device) if share > 0 else None
        self.normality = gate
        parts = {"whitening": encoder.whitening, "patches": encoder.patches, "normality": gate}
        wanted = {name: part for name, part in parts.items() if part is not None}
        kept = self.work / "normal.safetensors"
        if not wanted:
            return
        if kept.is_file():
            tensors = read_tensors(kept)
            for name, part in wanted.items():
                load_prefixed(part, tensors, f"{name}/")
            return
        cls, frozen = self.normal_views(encoder, crops)
        if encoder.whitening is not None:
            encoder.whitening.fit(cls)
        if encoder.patches is not None:
            encoder.patches.fit(encoder.patches_of(frozen))
        if gate is not None:
            gate.fit(frozen)
        write_tensors(
            kept,
            {f"{n}/{k}": v for n, part in wanted.items() for k, v in part.state_dict().items()},
        )

    def normal_views(self, encoder: GuidedEncoder, crops: CropSet) -> tuple[Tensor, Tensor]:
        """Class tokens (n, C) and frozen views (n, D) of normal places, after `cut`."""
        lent = lender(crops, self._crop_sizes)
        drawn = normal_crops(self._places, *lent, self.config.crops, self.config.seed)
        return normal_views(
            encoder, drawn, lambda done: self.on_progress("embed normal places", done, NORMAL_CROPS)
        )

    def _count_classes(
        self, encoder: GuidedEncoder, cache: TokenCache, numbers: tuple[Tensor, Tensor, Tensor]
    ) -> CountEstimate:
        """The number of classes before anything is trained; what a call has left is found again."""
        finished, partial = self.work / "count.json", self.work / "count_scores.json"
        if finished.is_file():
            return CountEstimate.from_dict(read_json(finished))
        n_views = min(_COUNT_VIEWS, cache.n_views)
        views = [embed_cache(encoder, cache, range(v, v + 1)) for v in range(n_views)]

        def keep(scores: dict[int, float], total: int) -> None:
            write_json(partial, {"scores": [[k, score] for k, score in scores.items()]})
            self.on_progress("count classes", len(scores), total)

        estimate = estimate_count(
            Embedded(torch.stack(views, dim=1), *numbers),
            self.config.count,
            self.config.prototypes,
            self.config.seed,
            dict(read_json(partial)["scores"]) if partial.is_file() else None,
            keep,
        )
        write_json(finished, estimate.to_dict())
        return estimate

    def finish(
        self, encoder: GuidedEncoder, head: PrototypeHead, crops: CropSet, known: CropSet | None
    ) -> tuple[RegionClassifier, Catalogue, RegionFeatures]:
        """Order the classes by size, calibrate the rejection, and open the catalogue.

        Returns:
            Classifier, catalogue, and the features of the unlabelled crops.
        """
        config = self.config
        classifier = RegionClassifier(
            encoder,
            head,
            config.prototypes.temperature,
            create_outlier_score(config.outliers.score),
            normality=self.normality,
        )
        seen = classifier.look(crops)
        if config.prototypes.kappa == "per_class":
            novel = classifier.cosines(seen.embeddings)[:, head.n_base :]
            classifier.kappas = fit_kappas(novel, encoder.embed_dim)
        class_ids = classifier.probabilities(seen).argmax(dim=1)
        counts = torch.bincount(class_ids, minlength=head.n_novel)
        largest_first = sorted(range(1, head.n_novel), key=lambda k: (-int(counts[k]), k))
        head.reorder_novel([0, *largest_first])
        if classifier.kappas is not None:
            classifier.kappas = classifier.kappas.reordered([0, *largest_first])
        classifier.threshold = self._calibrate(classifier, seen, crops, known)
        in_first = crops.scores[(class_ids == 0).numpy()]
        # The reserved prototype deserves its name only where what it holds scores low.
        has_normal = in_first.size > 0 and float(in_first.mean()) < 0.5
        names = [
            "normal" if has_normal else "defect 0",
            *(f"defect {k}" for k in range(1, head.n_novel)),
        ]
        normal = 0 if has_normal else None
        return classifier, Catalogue(names, normal, self.count, self.base_classes), seen

    def _calibrate(
        self,
        classifier: RegionClassifier,
        seen: RegionFeatures,
        crops: CropSet,
        known: CropSet | None,
    ) -> float | None:
        """Fit the outlier score on everything; its threshold, from regions as if never seen.

        Where known classes may win, their labelled crops are fitted too: a known defect of another
        product is no outlier then.
        """
        config, prototypes = self.config, classifier.head.prototypes.detach().cpu()
        answers = classifier.probabilities(seen, config.classes).argmax(dim=1)
        places, index = classifier.prototype_of(answers), image_numbers(crops.keys)
        if config.classes == "all" and known is not None:
            labelled = classifier.look(known)
            seen = RegionFeatures.join([seen, labelled])
            places = torch.cat([places, torch.tensor(known.labels)])
            index = torch.cat([index, torch.full((len(known),), -1)])
        classifier.outlier_score.fit(seen, places, prototypes)
        if config.outliers.false_rejection_rate == 0:
            return None
        scores = cross_fitted_scores(
            lambda: create_outlier_score(config.outliers.score), seen, places, prototypes, index
        )
        return threshold_at(
            image_scores(scores, index[index >= 0]), config.outliers.false_rejection_rate
        )


def _range_of(
    ordered: Sequence[tuple[str, Sample]],
    store: MapStore,
    normal_maxima: np.ndarray | None,
    config: Config,
    skipped: Sequence[Skipped],
) -> MapRange:
    need_background = normal_maxima is None and not config.mebin.normals_in_set
    maxima: list[float] = []
    levels: list[float] = []
    for _, sample in ordered:
        if sample.name in store:
            amap = store.get(sample.name)
            maxima.append(float(amap.max()))
            if need_background:
                levels.append(background_level(amap))
    if not maxima:
        reasons = f"; first reason: {skipped[0].name}: {skipped[0].reason}" if skipped else ""
        raise InputError(
            f"expected at least one usable image with an anomaly map, got none{reasons}"
        )
    background = float(np.median(levels)) if need_background else None
    return fit_range(
        np.asarray(maxima, np.float32), normal_maxima, config.mebin, background=background
    )
