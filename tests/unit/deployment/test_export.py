"""An export beside the model that it was made from, for every kind of backbone and both engines."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.catalogue import Catalogue
from protoanomalyncd.catalogue.mergers import add_up
from protoanomalyncd.core.errors import (
    ConfigurationError,
    InputError,
    MissingDependencyError,
    NotFittedError,
    OutputError,
)
from protoanomalyncd.deployment import Runtime, export_model, formats
from protoanomalyncd.deployment.export import _compare, _novel_classes
from protoanomalyncd.deployment.graph import ClassifierGraph, exported_threshold
from protoanomalyncd.discovery.normality import NormalGate
from protoanomalyncd.discovery.outliers import (
    RegionFeatures,
    create_outlier_score,
    registered,
)
from protoanomalyncd.regions import DESCRIPTORS, anomaly_values
from tests.tiny import random_crops
from tests.unit.deployment.conftest import Exported

ENGINES = ("onnxruntime", "openvino")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n_crops", [1, 5])
def test_crops_get_the_models_own_classes(exported: Exported, engine: str, n_crops: int) -> None:
    """One by one and as one batch."""
    crops, model = random_crops(n_crops), exported.model
    described = [dict(zip(DESCRIPTORS, map(float, row), strict=True)) for row in crops.descriptors]
    expected = model.classifier_.classify(model.classifier_.features(crops))
    ids, sums = add_up(expected.probabilities.numpy(), model.catalogue_.target)
    names = [
        -1 if own == -1 else k for own, k in zip(expected.class_ids.tolist(), ids, strict=True)
    ]
    for batch_size in (1, n_crops):
        runtime = Runtime(exported.folder, engine=engine, batch_size=batch_size)
        found = runtime.classify(crops.images, crops.maps, crops.masks, described)
        assert found.class_ids.tolist() == names
        assert np.array_equal(found.probabilities.argmax(1), expected.probabilities.argmax(1))
        for values, wanted in (
            (found.embeddings, expected.embeddings),
            (found.probabilities, expected.probabilities),
            (found.outlier_scores, expected.outlier_scores),
            (found.confidences, torch.from_numpy(sums)),
        ):
            np.testing.assert_allclose(values, wanted.numpy(), atol=1e-4)


def test_regions_that_look_normal_are_so_in_the_graph(exported_cnn: Exported) -> None:
    crops, fitted = random_crops(6), exported_cnn.model.classifier_
    seen = fitted.features(crops)
    gate = NormalGate(seen.frozen.shape[1], 0.5)
    distances = (seen.frozen - seen.frozen[0]).norm(dim=1)
    gate.centre.copy_(seen.frozen[0])
    gate.limit.copy_(distances.sort().values[2:4].mean())
    classifier = dataclasses.replace(fitted, normality=gate, threshold=None)
    guide = [anomaly_values(m, a) for m, a in zip(crops.masks, crops.maps, strict=True)]
    graph = ClassifierGraph(classifier, crops.images.shape[1])
    with torch.no_grad():
        _, probabilities, _, _, class_ids = graph(
            torch.from_numpy(np.array(crops.images)), torch.from_numpy(np.stack(guide))
        )
    expected = classifier.classify(seen)
    assert (probabilities[:, 0] == 1).sum() == 3
    assert class_ids.tolist() == expected.class_ids.tolist()
    torch.testing.assert_close(probabilities, expected.probabilities, atol=1e-4, rtol=0)
    graph = ClassifierGraph(dataclasses.replace(classifier, has_normal=False), 80)
    assert graph.normality is None


@pytest.mark.parametrize("engine", ENGINES)
def test_a_folder_of_images_gets_what_predict_says(exported: Exported, engine: str) -> None:
    expected = exported.model.predict(exported.images, maps=exported.maps)
    found = Runtime(exported.folder, engine=engine).classify_folder(exported.images, exported.maps)
    assert found.class_names == expected.class_names[: -len(expected.known_classes)]
    assert found.normal_class == expected.normal_class
    assert len({r.class_id for r in found.regions}) > 1
    assert -1 in {r.class_id for r in found.regions}
    for ours, theirs in zip(found.images, expected.images, strict=True):
        _assert_same(ours, theirs)
    for our, their in zip(found.regions, expected.regions, strict=True):
        assert our.region == their.region
        assert our.descriptors == their.descriptors
        _assert_same(our, dataclasses.replace(their, position=None))


def _assert_same(found: Any, expected: Any) -> None:
    """Equal records, but for the last digits of what the network computes."""
    for name in ("confidence", "outlier_score"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-4)
        found = dataclasses.replace(found, **{name: 0.0})
        expected = dataclasses.replace(expected, **{name: 0.0})
    assert found == expected


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
@pytest.mark.parametrize("name", registered())
def test_every_outlier_score_is_exported(
    exported_cnn: Exported, tmp_path: Path, name: str, kind: str
) -> None:
    """Fitted on the model's own regions, with a threshold among their scores."""
    crops, model = random_crops(24), exported_cnn.model.model_
    seen = model.classifier.features(crops)
    score, head = create_outlier_score(name), model.classifier.head
    places = model.classifier.prototype_of(model.classifier.posterior(seen.embeddings).argmax(1))
    score.fit(seen[:16], places[:16], head.prototypes.detach())
    scores = score.score(seen).sort().values
    widest = int((scores[6:] - scores[5:-1]).argmax()) + 5
    classifier = dataclasses.replace(
        model.classifier,
        outlier_score=score,
        threshold=float(scores[widest : widest + 2].double().mean()),
    )
    folder = export_model(dataclasses.replace(model, classifier=classifier), tmp_path / "e", kind)
    expected = classifier.classify(seen)
    found = Runtime(folder).classify(crops.images, crops.maps, crops.masks)
    wanted = expected.outlier_scores.numpy()
    # The untrained network puts all regions close together: kappas of 1e5 enlarge its last bits.
    rtol = 1e-3 if name == "vmf" else 1e-4
    np.testing.assert_allclose(found.outlier_scores, wanted, rtol=rtol, atol=1e-4)
    assert np.array_equal(found.class_ids == -1, expected.class_ids == -1)
    assert 0 < (found.class_ids == -1).sum() < 24


def test_an_image_alone_equals_the_image_in_its_folder(exported_cnn: Exported) -> None:
    from protoanomalyncd.datasets import load_dataset, read_image, read_map

    runtime = Runtime(exported_cnn.folder)
    together = runtime.classify_folder(exported_cnn.images, exported_cnn.maps)
    for sample, expected in zip(
        load_dataset(exported_cnn.images).unlabelled, together.images, strict=True
    ):
        amap = read_map((exported_cnn.maps / sample.name).with_suffix(".npy"))
        found, regions = runtime.classify_image(read_image(sample.path), amap, sample.name)
        assert (found.class_id, found.confidence) == (expected.class_id, expected.confidence)
        assert list(regions) == together.regions_of(sample.name)


def test_a_model_that_looks_at_shapes_asks_for_descriptors(
    export_of: Callable[[str], Exported],
) -> None:
    folder, crops = export_of("vit").folder, random_crops(2)
    assert "`descriptors` | float32 | (B, 11) | of the region: log_area" in (
        folder / "README.md"
    ).read_text(encoding="utf-8")
    with pytest.raises(
        InputError, match=r"expected log_area, extent, .* of each of 2 crops, got 0"
    ):
        Runtime(folder).classify(crops.images, crops.maps, crops.masks)


def test_the_folder_says_what_it_holds(exported_cnn: Exported) -> None:
    values = json.loads((exported_cnn.folder / "export.json").read_text(encoding="utf-8"))
    catalogue = exported_cnn.model.catalogue_.to_dict()
    novel = catalogue["names"][: -catalogue["n_known"]]
    assert [c["name"] for c in values["classes"]] == novel
    assert [c["counts_as"] for c in values["classes"]] == [0, 1, 2, 1]
    assert values["crop_size"] == 80
    assert values["window"] == 64
    assert values["maps_from"] == "folder"
    assert values["coarse_smoothing"] == 1.0
    assert values["mebin"]["step"] == 4
    assert values["map_range"]["high"] == exported_cnn.model.map_range_.high
    threshold = exported_cnn.model.classifier_.threshold
    assert threshold is not None
    assert values["threshold"] == exported_threshold(threshold) == pytest.approx(threshold + 1e-5)
    page = (exported_cnn.folder / "README.md").read_text(encoding="utf-8")
    for words in (
        "- 1: scratch",
        "counts as 1",
        "(B, 80, 80, 3)",
        "`key_value_",
        "onnxruntime",
    ):
        assert words in page
    assert "{" not in page


def test_no_path_of_this_machine_travels(exported_cnn: Exported, tmp_path: Path) -> None:
    import protoanomalyncd

    folders = [exported_cnn.folder.parent, Path(protoanomalyncd.__file__).parent]
    for file in exported_cnn.folder.iterdir():
        content = file.read_bytes()
        assert not any(str(folder).encode() in content for folder in folders), file.name


def test_the_model_itself_is_left_as_it_was(exported_cnn: Exported) -> None:
    crops, classifier = random_crops(2), exported_cnn.model.classifier_
    before = classifier.features(crops).embeddings
    ClassifierGraph(classifier, 80)
    assert torch.equal(classifier.features(crops).embeddings, before)


def test_a_graph_that_computes_something_else_is_refused(exported_cnn: Exported) -> None:
    other = copy.deepcopy(exported_cnn.model.classifier_)
    with torch.no_grad():
        other.head.weight.add_(torch.randn_like(other.head.weight))
    with pytest.raises(ConfigurationError, match="its probabilities differs by"):
        _compare(other, exported_cnn.folder / "model.onnx", "onnx", 80)


class WaywardScore:
    """A score whose course depends on the values: no graph can hold it."""

    name: ClassVar[str] = "wayward"

    def fit(self, regions: RegionFeatures, class_ids: Tensor, prototypes: Tensor) -> None:
        pass

    def score(self, regions: RegionFeatures) -> Tensor:
        z = regions.embeddings
        return z[:, 0] if float(z.sum()) > 0 else z[:, 1]

    def state(self) -> dict[str, Tensor]:
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        pass


def test_a_score_that_no_graph_can_hold_is_told_in_one_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        formats.check_score(WaywardScore(), (8, 16))
    assert "outliers.score 'wayward' cannot be exported" in str(caught.value)
    assert "such as cosine" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_format_and_a_model_without_a_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="format: expected one of onnx, openvino, got 'to"):
        export_model(ProtoAnomalyNCD(), tmp_path / "e", "torchscript")
    with pytest.raises(NotFittedError):
        ProtoAnomalyNCD().export(tmp_path / "e")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(
    exported_cnn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError) as caught:
        exported_cnn.model.export(tmp_path / "e")
    assert "expected the package onnxscript" in str(caught.value)
    assert "pip install 'protoanomalyncd[export]'" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_other_files_are_never_replaced(exported_cnn: Exported, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="expected a new or empty folder, got one with other"):
        exported_cnn.model.export(tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="holds finished results; choose another folder or add"):
        exported_cnn.model.export(exported_cnn.folder)
    with pytest.raises(OutputError, match="expected a folder, got a file"):
        exported_cnn.model.export(tmp_path / "mine.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failed_export_leaves_nothing(
    exported_cnn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("protoanomalyncd.deployment.export.write_onnx", full)
    with pytest.raises(OutputError, match="No space left on device"):
        exported_cnn.model.export(tmp_path / "e")
    assert not list(tmp_path.iterdir())


def test_the_record_holds_novel_classes_only() -> None:
    catalogue = Catalogue(["normal", "a", "b", "c"], 0, known=["scratch", "x"])
    catalogue.merge([4, 3, 1])
    names, counts_as, normal = _novel_classes(catalogue, 4)
    assert names == ("normal", "scratch", "b", "scratch")
    assert counts_as == (0, 1, 2, 1)
    assert normal == 0


@pytest.mark.parametrize(("merged", "normal"), [([4, 0], 0), ([5, 2, 0], 0), ([2, 0], 2), ([], 0)])
def test_the_normal_class_of_a_record_is_one_of_its_own(merged: list[int], normal: int) -> None:
    """Also where normal was merged into a labelled class, of which the graph knows nothing."""
    catalogue = Catalogue(["normal", "a", "b", "c"], 0, known=["scratch", "x"])
    if merged:
        catalogue.merge(merged)
    names, counts_as, found = _novel_classes(catalogue, 4)
    assert found == normal == counts_as[0]
    assert len(names) == len(counts_as) == 4
    assert _novel_classes(Catalogue(["a", "b"], None), 2)[2] is None


def test_a_model_in_half_precision_becomes_a_graph_in_single(
    exported_cnn: Exported, tmp_path: Path
) -> None:
    classifier = exported_cnn.model.classifier_
    config = classifier.encoder.config
    classifier.encoder.config = dataclasses.replace(config, precision="bfloat16")
    try:
        folder = exported_cnn.model.export(tmp_path / "export", "onnx")
    finally:
        classifier.encoder.config = config
    found = Runtime(folder).classify_folder(exported_cnn.images, exported_cnn.maps)
    expected = exported_cnn.model.predict(exported_cnn.images, maps=exported_cnn.maps)
    assert [i.class_id for i in found.images] == [i.class_id for i in expected.images]
