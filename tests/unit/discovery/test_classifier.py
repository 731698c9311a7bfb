"""classifier.py and gather.py: classes of regions and images, and their order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from protoanomalyncd.core.records import OUTLIER, Region, Sample
from protoanomalyncd.discovery.classifier import RegionClassifier
from protoanomalyncd.discovery.gather import gather
from protoanomalyncd.discovery.normality import NormalGate
from protoanomalyncd.discovery.outliers import Cosine, RegionFeatures
from protoanomalyncd.prototypes import PrototypeHead
from protoanomalyncd.vit import GuidedEncoder
from tests.tiny import SIDE, network_folder, random_crops, tiny_encoder

N_BASE, N_NOVEL = 1, 3


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> GuidedEncoder:
    folder = network_folder(tmp_path_factory.mktemp("network") / "vit", depth=2)
    return tiny_encoder(folder).eval()


@pytest.fixture
def classifier(encoder: GuidedEncoder) -> RegionClassifier:
    """Prototypes on the first axes: one known class, then three novel ones."""
    head = PrototypeHead(64, N_BASE, N_NOVEL)
    head.set_prototypes(torch.eye(64)[: N_BASE + N_NOVEL])
    outlier = Cosine()
    outlier.fit(features(torch.zeros(0, 64)), torch.zeros(0), head.prototypes.detach())
    return RegionClassifier(encoder, head, 0.1, outlier)


def features(z: Tensor) -> RegionFeatures:
    return RegionFeatures(z, z)


def near(*axes: int) -> Tensor:
    points = torch.eye(64)[list(axes)] + 0.01 * torch.randn(len(axes), 64)
    return F.normalize(points, dim=1)


def test_regions_get_the_nearest_novel_class(classifier: RegionClassifier) -> None:
    found = classifier.classify(features(near(1, 3, 2, 0)))
    assert found.class_ids.tolist()[:3] == [0, 2, 1]
    assert found.class_ids[3] >= 0  # a known class is no answer, as published
    assert found.probabilities.shape == (4, N_NOVEL)
    torch.testing.assert_close(found.probabilities.sum(dim=1), torch.ones(4))


def test_regions_that_look_normal_are_the_first_class(classifier: RegionClassifier) -> None:
    gate = NormalGate(64, 0.9)
    gate.limit.fill_(0.5)  # as if normal places lay within 0.5 of the origin
    classifier.normality = gate
    z = near(3, 3)
    regions = RegionFeatures(z, torch.stack([torch.zeros(64), z[1]]))
    for classes in ("novel", "all"):
        found = classifier.classify(regions, classes)
        assert found.class_ids.tolist() == [0, 2]
        assert found.probabilities[0, 0] == 1


def test_where_the_first_class_is_not_normal_nothing_is_put_there(
    classifier: RegionClassifier,
) -> None:
    regions = features(near(1, 3, 2))
    expected = classifier.classify(regions)
    classifier.normality = NormalGate(64, 0.9)
    classifier.normality.limit.fill_(9.0)  # everything looks normal
    assert classifier.classify(regions).class_ids.tolist() == [0, 0, 0]
    classifier.has_normal = False
    assert torch.equal(classifier.classify(regions).probabilities, expected.probabilities)


def test_results_keep_the_probabilities_of_all_classes(classifier: RegionClassifier) -> None:
    found = [cropped("b.png", 0.2, 0.1), cropped("a.png", 0.3)]
    z = near(1, 2, 3)
    for classes, width in (("novel", N_NOVEL), ("all", N_NOVEL + N_BASE)):
        result = collect(classifier, found, z, classes=classes)
        posterior = classifier.classify(features(z), classes).probabilities
        assert [r.probabilities for r in result.regions] == [
            tuple(posterior[i].tolist()) for i in (2, 0, 1)
        ]
        for one in (*result.images, *result.regions):
            assert len(one.probabilities) == width
            assert max(one.probabilities) == one.confidence
            assert one.probabilities[one.class_id] == one.confidence
            assert "probabilities" not in repr(one)


def test_known_classes_win_where_they_may(classifier: RegionClassifier) -> None:
    regions = features(near(1, 3, 2, 0))
    found = classifier.classify(regions, "all")
    assert found.class_ids.tolist() == [0, 2, 1, N_NOVEL]  # novel ids stay, known ones follow
    assert found.probabilities.shape == (4, N_NOVEL + N_BASE)
    torch.testing.assert_close(found.probabilities.sum(dim=1), torch.ones(4))
    assert classifier.prototype_of(found.class_ids).tolist() == [1, 3, 2, 0]
    shares = found.probabilities[:, :N_NOVEL]
    novel = classifier.classify(regions).probabilities
    torch.testing.assert_close(shares / shares.sum(dim=1, keepdim=True), novel)


def test_known_classes_are_merged_into_images_too(classifier: RegionClassifier) -> None:
    result = collect(classifier, [cropped("a.png", 0.4, 0.01)], near(0, 1), classes="all")
    assert result.images[0].class_id == N_NOVEL
    assert result.class_name(N_NOVEL) == "known"
    assert collect(classifier, [cropped("a.png", 0.4)], near(0)).images[0].class_id < N_NOVEL


def test_what_is_rejected_is_minus_one_with_known_classes_too(
    classifier: RegionClassifier,
) -> None:
    classifier.threshold = 0.5
    found = [cropped("a.png", 0.4), cropped("b.png", 0.4)]
    result = collect(classifier, found, near(20, 0), classes="all")
    assert [i.class_id for i in result.images] == [OUTLIER, N_NOVEL]
    assert [r.class_id for r in result.regions] == [OUTLIER, N_NOVEL]
    assert result.class_name(OUTLIER) == "outlier"


def test_probabilities_equal_a_loop(classifier: RegionClassifier) -> None:
    z = F.normalize(torch.randn(5, 64), dim=1)
    found = classifier.classify(features(z))
    for r in range(5):
        weights = torch.stack([torch.exp(z[r, 1 + k] / 0.1) for k in range(N_NOVEL)])
        torch.testing.assert_close(found.probabilities[r], weights / weights.sum())


def test_one_region_equals_a_batch_to_the_bit(classifier: RegionClassifier) -> None:
    z = F.normalize(torch.randn(9, 64), dim=1)
    whole = classifier.classify(features(z))
    for r in range(9):
        alone = classifier.classify(features(z[r : r + 1]))
        assert torch.equal(alone.probabilities[0], whole.probabilities[r])
        assert torch.equal(alone.outlier_scores[0], whole.outlier_scores[r])


def test_what_is_stranger_than_the_threshold_is_rejected(classifier: RegionClassifier) -> None:
    z = near(1, 20)
    assert OUTLIER not in classifier.classify(features(z)).class_ids
    classifier.threshold = 0.5
    assert classifier.classify(features(z)).class_ids.tolist() == [0, OUTLIER]
    regions = classifier.classify(features(near(1, 20, 2)))
    merged = classifier.merge(regions, torch.tensor([0, 0, 1]), torch.tensor([0.1, 0.1, 0.1]))
    assert merged.class_ids.tolist() == [OUTLIER, 1]
    assert float(merged.outlier_scores[0]) == float(regions.outlier_scores[1])


def test_crops_are_embedded_one_by_one(classifier: RegionClassifier) -> None:
    crops = random_crops(3)
    whole = classifier.features(crops).embeddings
    assert whole.shape == (3, 64)
    for i in range(3):
        names = ("images", "masks", "maps", "scores", "labels", "descriptors")
        arrays = (getattr(crops, n)[i : i + 1] for n in names)
        alone = classifier.features(type(crops)(*arrays, keys=crops.keys[i : i + 1])).embeddings
        assert torch.equal(alone[0], whole[i])
    assert classifier.encoder.config.input_size == SIDE


@dataclass
class Cropped:
    """What `gather` reads of an image."""

    sample: Sample
    regions: tuple[Region, ...]
    descriptors: tuple[dict[str, float], ...]
    anomaly_score: float = 0.7


def cropped(name: str, *areas: float, whole: bool = False) -> Cropped:
    box = (0, 0, 4, 4)
    regions = [Region(name, i, box, box, area, 0.5, whole) for i, area in enumerate(areas)]
    values = tuple({"area": area} for area in areas)
    return Cropped(Sample(Path(name), name, "good"), tuple(regions), values)


def collect(classifier: RegionClassifier, found: list[Cropped], z: Tensor, **more: Any) -> Any:
    names, classes = ("a", "b", "c", "known"), more.get("classes", "novel")
    return gather(classifier, names, found, features(z), 0, classes)[0]


def test_results_are_sorted_by_name_and_keep_their_own_values(
    classifier: RegionClassifier,
) -> None:
    found = [cropped("z.png", 0.2, 0.1), cropped("a.png", 0.3), cropped("m.png", 1.0, whole=True)]
    result = collect(classifier, found, near(1, 1, 2, 3))
    assert [i.name for i in result.images] == ["a.png", "m.png", "z.png"]
    assert [i.class_id for i in result.images] == [1, 2, 0]
    assert [i.n_regions for i in result.images] == [1, 0, 2]
    keys = [(r.region.image, r.region.index) for r in result.regions]
    assert keys == sorted(keys)
    assert [r.class_id for r in result.regions] == [1, 2, 0, 0]
    assert result.regions[2].descriptors == {"area": 0.2}
    assert all(r.position is None for r in result.regions)  # drawn when a report asks for it
    assert all(0 < i.confidence <= 1 for i in result.images)


def test_the_larger_region_decides(classifier: RegionClassifier) -> None:
    result = collect(classifier, [cropped("a.png", 0.01, 0.4)], near(1, 3))
    assert result.images[0].class_id == 2


def test_the_order_of_the_images_changes_nothing_but_the_map(classifier: RegionClassifier) -> None:
    first, second = cropped("a.png", 0.2, 0.1), cropped("b.png", 0.3)
    z = near(1, 2, 3)
    one = collect(classifier, [first, second], z)
    two = collect(classifier, [second, first], z[[2, 0, 1]])
    assert one.images == two.images


def test_no_image_is_no_discovery(classifier: RegionClassifier) -> None:
    result = collect(classifier, [], torch.zeros(0, 64))
    assert result.images == result.regions == ()
