"""The default settings from images to an exported graph: nothing chosen but epochs and classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.config import Config, TrainingConfig
from protoanomalyncd.core.records import Skipped
from protoanomalyncd.datasets import load_dataset
from protoanomalyncd.datasets.generated import Counts, generate
from protoanomalyncd.deployment import Runtime


def test_a_model_of_the_default_settings_is_exported_and_classes_as_it_predicts(
    tmp_path: Path,
) -> None:
    types = ("scratch", "hole", "stain")
    images = generate(
        tmp_path / "images",
        "brushed_metal",
        counts=Counts(normal=12, per_type=4),
        types=types,
        size=128,
    )
    model = ProtoAnomalyNCD(Config(n_novel_classes=4, training=TrainingConfig(epochs=2)))
    model.fit(images)
    for sample, amap in model.model_.detector.score(load_dataset(images).unlabelled):
        assert not isinstance(amap, Skipped)
        path = (tmp_path / "maps" / sample.name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, amap, allow_pickle=False)
    model.catalogue_.merge([2, 3])
    runtime = Runtime(model.export(tmp_path / "graph"))
    assert runtime.record.outlier_score == Config().outliers.score.name
    expected = model.predict(images)
    found = runtime.classify_folder(images, tmp_path / "maps")
    assert len({r.class_id for r in found.regions}) > 1
    for ours, theirs in (
        *zip(found.images, expected.images, strict=True),
        *zip(found.regions, expected.regions, strict=True),
    ):
        assert ours.class_id == theirs.class_id
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-4)
        assert ours.outlier_score == pytest.approx(theirs.outlier_score, abs=1e-4)
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)
