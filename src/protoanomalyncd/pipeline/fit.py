"""One fit, from images to a `FittedModel`: locate, score, cut, learn, finish.

Each stage leaves what it made in the workspace, where an interrupted fit finds it again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import InputError
from protoanomalyncd.core.records import CountEstimate, FloatArray, MapRange, Sample
from protoanomalyncd.datasets import take_per_class
from protoanomalyncd.discovery.count import CountData, estimate_count
from protoanomalyncd.discovery.normality import NormalGate
from protoanomalyncd.localisation import ObjectLocaliser, locate_all
from protoanomalyncd.pipeline.finish import finished_classifier
from protoanomalyncd.pipeline.fitted_model import FittedModel
from protoanomalyncd.pipeline.inputs import Inputs, by_content, identity_of
from protoanomalyncd.pipeline.milestones import Cropped, FitResult, Learned, Scored
from protoanomalyncd.pipeline.normal_reference import (
    borrowed_guidance,
    fit_normal_reference,
    looks_normal,
    places_of,
)
from protoanomalyncd.pipeline.parts import Parts
from protoanomalyncd.pipeline.result import discovery_of
from protoanomalyncd.pipeline.stages import (
    Cutter,
    crop_images,
    crop_labelled_set,
    fit_detector,
    score_maps,
)
from protoanomalyncd.pipeline.steps import Steps
from protoanomalyncd.pipeline.workspace import Workspace
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.regions.map_range import background_level
from protoanomalyncd.regions.normal_crops import Place, normal_crops
from protoanomalyncd.storage.files import read_json, write_json
from protoanomalyncd.training import CropSet, Samples, TokenCache, embed_cache, fill_token_cache
from protoanomalyncd.vit import Backbone, GuidedEncoder

__all__ = ["Fit"]

_COUNT_VIEWS = 3


class Fit:
    """One fit: what its stages share.

    Args:
        config: every setting.
        inputs: the data.
        work: for what is made on the way; belongs to this config and these inputs.
        parts: components that were given as objects, None = all by their names in `config`.
        steps: replaced by research; the product's own by default.

    Raises:
        ConfigurationError: `work` holds another fit.
    """

    def __init__(
        self,
        config: Config,
        inputs: Inputs,
        work: Workspace,
        parts: Parts | None = None,
        steps: Steps | None = None,
    ) -> None:
        self.config, self.inputs, self.work = config, inputs, work
        self.parts = parts or Parts(config)
        self.steps = steps or Steps()
        work.claim(identity_of(config, inputs))
        torch.manual_seed(config.seed)
        self.backbone: Backbone = self.parts.make_backbone()

    def run(self) -> FitResult:
        """All stages.

        Raises:
            InputError: no usable image, map or labelled class.
            ConfigurationError: a setting does not fit the data.
        """
        work = self.work
        with work.stage("objects"):
            localiser = self.locate()
        with work.stage("anomaly maps"):
            scored = self.score(localiser)
        with work.stage("regions"):
            cropped = self.cut(scored)
        with work.stage("training"):
            learned = self.learn(scored, cropped)
        with work.stage("classes"):
            result = self.finish(scored, cropped, learned)
        return dataclasses.replace(result, seconds=work.seconds)

    def locate(self) -> ObjectLocaliser:
        """Object masks of all images, into the workspace."""
        dataset, work = self.inputs.dataset, self.work
        localiser = self.parts.make_localiser(dataset.root.name, self.inputs.object_masks)
        work.notes += locate_all(localiser, dataset.unlabelled, work.objects, work.on_progress)
        return localiser

    def score(self, localiser: ObjectLocaliser) -> Scored:
        """Maps of all images, into the workspace, and their range."""
        config, dataset, work = self.config, self.inputs.dataset, self.work
        detector = self.parts.make_detector(self.backbone, dataset, self.inputs.maps)
        images = dataset.normal if detector.learns_from == "normal" else dataset.unlabelled
        normal_maxima = fit_detector(detector, images, work)
        ordered = by_content(dataset.unlabelled, work.skipped)
        score_maps(detector, [sample for _, sample in ordered], work)
        map_range = self._range_of(ordered, normal_maxima)
        knows_normal = bool(dataset.normal) and config.mebin.normals_in_set
        places: list[Place] = []
        gated = knows_normal and config.embedding.normal_gate_quantile > 0
        if config.embedding.whitening is not None or gated:
            places = places_of(dataset.normal, ordered, work.maps, map_range)
        return Scored(ordered, detector, localiser, map_range, places, knows_normal)

    def cut(self, scored: Scored) -> Cropped:
        """Crops of the unlabelled images, and of the labelled ones if there are any."""
        config, base = self.config, self.inputs.labelled
        cutter = Cutter(scored.map_range, config.mebin, config.crops, self.steps.crop)
        images, crops = crop_images(scored.ordered, cutter, self.work)
        if base is None:
            return Cropped(images, crops, None, ())
        base = take_per_class(base, config.training.labelled_per_class, config.seed)
        known = crop_labelled_set(base, config.crops, self.steps.crop_labelled, self.work)
        return Cropped(images, crops, known, base.class_names)

    def learn(self, scored: Scored, cropped: Cropped) -> Learned:
        """Tokens of all views, the number of classes, then the tail and the prototypes."""
        config, work = self.config, self.work
        encoder = self.make_encoder()
        gate = self.fit_normal_reference(encoder, scored, cropped)
        if encoder.descriptors is not None:
            encoder.descriptors.fit(torch.from_numpy(np.array(cropped.crops.descriptors)))
        everything = cropped.crops
        if cropped.known is not None:
            everything = CropSet.concatenate(cropped.crops, cropped.known)
        cache = fill_token_cache(
            work.folder / "tokens",
            everything,
            encoder,
            config.training,
            config.seed,
            lambda done, total: work.on_progress("embed views", done, total),
            self.steps.augment,
        )
        samples = Samples.of(everything)
        if gate is not None:
            holds = (samples.labels >= 0) | ~looks_normal(gate, cache)
            samples = dataclasses.replace(samples, anomalous=samples.anomalous & holds)
        n_novel, count = config.n_novel_classes, None
        if n_novel == "auto":
            count = self._count_classes(encoder, cache, samples)
            n_novel = count.n_classes
        n_base = len(cropped.base_classes)
        head = PrototypeHead(encoder.embed_dim, n_base, n_novel, encoder.n_fixed).to(config.device)
        trainer = self.steps.trainer(
            encoder, head, cache, samples, config.training, config.prototypes, config.seed
        )
        history = trainer.run(
            work.folder / "training", lambda done, total, _: work.on_progress("train", done, total)
        )
        return Learned(encoder.eval(), head.eval(), gate, count, history)

    def make_encoder(self) -> GuidedEncoder:
        """The encoder before anything is learned; the same in a fit that goes on."""
        torch.manual_seed(self.config.seed)
        return self.steps.encoder(self.backbone, self.config.embedding).to(self.config.device)

    def fit_normal_reference(
        self, encoder: GuidedEncoder, scored: Scored, cropped: Cropped
    ) -> NormalGate | None:
        """Show the encoder normal places; returns the gate, None where none is to be."""
        config = self.config
        share = config.embedding.normal_gate_quantile if scored.knows_normal else 0.0
        gate = NormalGate(encoder.frozen_dim, share).to(config.device) if share > 0 else None
        borrowed = borrowed_guidance(cropped.crops, cropped.sizes)
        drawn = normal_crops(scored.places, *borrowed, config.crops, config.seed)
        fit_normal_reference(encoder, gate, drawn, self.work)
        return gate

    def finish(self, scored: Scored, cropped: Cropped, learned: Learned) -> FitResult:
        """Order the classes by size, calibrate the rejection, open the catalogue."""
        classifier, catalogue, features = finished_classifier(
            self.config, self.parts, cropped, learned
        )
        model = FittedModel(
            self.config,
            cropped.base_classes,
            scored.detector,
            scored.localiser,
            scored.map_range,
            classifier,
            catalogue,
        )
        discovery = discovery_of(model, cropped.images, features, self.work)
        return FitResult(model, discovery, learned.history, self.work.seconds)

    def _count_classes(
        self, encoder: GuidedEncoder, cache: TokenCache, samples: Samples
    ) -> CountEstimate:
        """The number of classes before anything is trained; what a call has left is found again."""
        folder = self.work.folder
        finished, partial = folder / "count.json", folder / "count_scores.json"
        if finished.is_file():
            return CountEstimate.from_dict(read_json(finished))
        n_views = min(_COUNT_VIEWS, cache.n_views)
        views = [embed_cache(encoder, cache, range(v, v + 1)) for v in range(n_views)]

        def keep(scores: dict[int, float], total: int) -> None:
            write_json(partial, {"scores": [[k, score] for k, score in scores.items()]})
            self.work.on_progress("count classes", len(scores), total)

        estimate = estimate_count(
            CountData(torch.stack(views, dim=1), samples.anomalous, samples.scores, samples.labels),
            self.config.count,
            self.config.prototypes,
            self.config.seed,
            dict(read_json(partial)["scores"]) if partial.is_file() else None,
            keep,
        )
        write_json(finished, estimate.to_dict())
        return estimate

    def _range_of(
        self, ordered: Sequence[tuple[str, Sample]], normal_maxima: FloatArray | None
    ) -> MapRange:
        config, work = self.config.mebin, self.work
        need_background = normal_maxima is None and not config.normals_in_set
        maxima: list[float] = []
        levels: list[float] = []
        for _, sample in ordered:
            if sample.name in work.maps:
                amap = work.maps.get(sample.name)
                maxima.append(float(amap.max()))
                if need_background:
                    levels.append(background_level(amap))
        if not maxima:
            first = work.skipped[0] if work.skipped else None
            reasons = f"; first reason: {first.name}: {first.reason}" if first else ""
            raise InputError(
                f"expected at least one usable image with an anomaly map, got none{reasons}"
            )
        background = float(np.median(levels)) if need_background else None
        found = np.asarray(maxima, np.float32)
        return self.steps.range_of(found, normal_maxima, config, background)
