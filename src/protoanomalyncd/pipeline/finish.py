"""After training: order the classes by size, calibrate the rejection, open the catalogue."""

from __future__ import annotations

import torch

from protoanomalyncd.catalogue import Catalogue
from protoanomalyncd.config import Config
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.outliers import (
    RegionFeatures,
    cross_fitted_scores,
    image_numbers,
    image_scores,
    threshold_at,
)
from protoanomalyncd.pipeline.milestones import Cropped, Learned
from protoanomalyncd.pipeline.parts import Parts

__all__ = ["finished_classifier"]


def finished_classifier(
    config: Config, parts: Parts, cropped: Cropped, learned: Learned
) -> tuple[RegionClassifier, Catalogue, RegionFeatures]:
    """What a fit ends with.

    Returns:
        Classifier, catalogue, and the features of the unlabelled crops.
    """
    head, crops = learned.head, cropped.crops
    classifier = RegionClassifier(
        learned.encoder,
        head,
        config.prototypes.temperature,
        parts.make_outlier_score(),
        normality=learned.gate,
    )
    seen = classifier.features(crops)
    class_ids = classifier.probabilities(seen).argmax(dim=1)
    in_first = crops.scores[(class_ids == 0).numpy()]
    # The reserved prototype deserves its name only where what it holds scores low.
    classifier.has_normal = in_first.size > 0 and float(in_first.mean()) < 0.5
    if not classifier.has_normal:  # then nothing is put there for looking normal
        class_ids = classifier.probabilities(seen).argmax(dim=1)
    counts = torch.bincount(class_ids, minlength=head.n_novel)
    largest_first = sorted(range(1, head.n_novel), key=lambda k: (-int(counts[k]), k))
    head.reorder_novel([0, *largest_first])
    classifier.threshold = _calibrate(classifier, seen, config, parts, cropped)
    names = [
        "normal" if classifier.has_normal else "defect 0",
        *(f"defect {k}" for k in range(1, head.n_novel)),
    ]
    normal = 0 if classifier.has_normal else None
    catalogue = Catalogue(names, normal, learned.count, cropped.base_classes)
    return classifier, catalogue, seen


def _calibrate(
    classifier: RegionClassifier,
    seen: RegionFeatures,
    config: Config,
    parts: Parts,
    cropped: Cropped,
) -> float | None:
    """Fit the outlier score on everything; its threshold, from regions as if never seen.

    Where known classes may win, their labelled crops are fitted too: a known defect of another
    product is no outlier then.
    """
    prototypes, known = classifier.head.prototypes.detach().cpu(), cropped.known
    answers = classifier.probabilities(seen, config.classes).argmax(dim=1)
    places, index = classifier.prototype_of(answers), image_numbers(cropped.crops.keys)
    if config.classes == "all" and known is not None:
        seen = RegionFeatures.join([seen, classifier.features(known)])
        places = torch.cat([places, torch.tensor(known.labels)])
        index = torch.cat([index, torch.full((len(known),), -1)])
    classifier.outlier_score.fit(seen, places, prototypes)
    rate = config.outliers.false_rejection_rate
    if rate == 0:
        return None
    scores = cross_fitted_scores(parts.make_outlier_score, seen, places, prototypes, index)
    return threshold_at(image_scores(scores, index[index >= 0]), rate)
