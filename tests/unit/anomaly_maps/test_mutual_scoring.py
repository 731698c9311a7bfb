from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

from protoanomalyncd.anomaly_maps import MutualScoring, mutual_scoring
from protoanomalyncd.anomaly_maps.mutual_scoring import interval_average, nearest_in_each
from protoanomalyncd.anomaly_maps.square import read_square
from protoanomalyncd.core.errors import (
    ConfigurationError,
    DatasetError,
    ModelFormatError,
    NotFittedError,
)
from protoanomalyncd.core.records import FloatArray, Sample, Skipped
from protoanomalyncd.datasets.generated import render
from tests.unit.anomaly_maps.fakes import TinyBackbone, render_samples


def _source(**options: int) -> MutualScoring:
    return MutualScoring(TinyBackbone(), **{"image_size": 64, "reference_images": 40, **options})


def _maps(source: MutualScoring, samples: list[Sample]) -> list[FloatArray]:
    return [m for _, m in source.score(samples) if not isinstance(m, Skipped)]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Twelve normal images, then six with a hole."""
    folder = tmp_path_factory.mktemp("images")
    good = render_samples(folder, "leather", None, range(12), size=64)
    return good + render_samples(folder, "leather", "hole", range(200, 206), size=64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearest_in_each_agrees_with_a_loop(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutual_scoring, "BLOCK", 3)
    generator = torch.Generator().manual_seed(0)
    queries = F.normalize(torch.randn(5, 4, generator=generator, dtype=dtype), dim=-1)
    references = F.normalize(torch.randn(8, 6, 4, generator=generator, dtype=dtype), dim=-1)
    expected = [
        [min(float((q - patch).norm()) for patch in image) for image in references] for q in queries
    ]
    torch.testing.assert_close(
        nearest_in_each(queries, references), torch.tensor(expected, dtype=dtype)
    )


@pytest.mark.parametrize(("n", "share", "n_lowest"), [(10, 0.3, 3), (2, 0.3, 1), (7, 1.0, 7)])
def test_the_interval_average_agrees_with_a_loop(n: int, share: float, n_lowest: int) -> None:
    distances = torch.rand(6, n, generator=torch.Generator().manual_seed(n))
    expected = [sum(sorted(row)[:n_lowest]) / n_lowest for row in distances.tolist()]
    torch.testing.assert_close(interval_average(distances, share), torch.tensor(expected))


def test_a_map_agrees_with_a_loop_over_layers_neighbourhoods_and_images(
    samples: list[Sample],
) -> None:
    chosen = samples[:3] + samples[-2:]
    source, backbone = _source(), TinyBackbone()
    source.fit(chosen)
    features = []
    for sample in chosen:
        image = torch.from_numpy(read_square(sample.path, 64))[None]
        features.append(backbone.patch_descriptors(backbone.preprocess(image)))
    own, maps = 3, []
    for layer in range(2):
        for side in (1, 3, 5):

            def unit(image: int, layer: int = layer, side: int = side) -> torch.Tensor:
                # References are kept in half precision, an image is compared as it comes.
                values = features[image][layer]
                values = values if image == own else values.half().float()
                pooled = F.avg_pool2d(values, side, 1, side // 2, count_include_pad=False)
                return F.normalize(pooled[0], dim=0)

            queries = unit(own)
            grid = torch.zeros(queries.shape[1:])
            others = [unit(i).flatten(1).T for i in range(5) if i != own]
            for y, x in np.ndindex(*grid.shape):
                nearest = [float((o - queries[:, y, x]).norm(dim=1).min()) for o in others]
                grid[y, x] = sorted(nearest)[0]  # int(0.3 * 4) of them
            maps.append(F.interpolate(grid[None, None], (16, 16), mode="bilinear")[0, 0])
    expected = torch.stack(maps).mean(dim=0).numpy()
    np.testing.assert_allclose(_maps(source, [chosen[own]])[0], expected, atol=2e-3)


def test_defects_score_higher_than_normal_images(samples: list[Sample]) -> None:
    source = _source()
    source.fit(samples)
    maxima = [float(scores.max()) for scores in _maps(source, samples)]
    assert roc_auc_score([0] * 12 + [1] * 6, maxima) > 0.75


def test_defective_positions_score_higher_than_the_others(samples: list[Sample]) -> None:
    source = _source()
    source.fit(samples)
    on_defect, scored = [], []
    for seed, scores in zip(range(200, 206), _maps(source, samples[12:]), strict=True):
        mask = torch.from_numpy(render("leather", "hole", seed, 64)[1]).float()[None, None]
        on_defect.append(F.adaptive_max_pool2d(mask, scores.shape)[0, 0].numpy().ravel() > 0)
        scored.append(scores.ravel())
    assert roc_auc_score(np.concatenate(on_defect), np.concatenate(scored)) > 0.8


def test_an_image_is_not_compared_with_itself_nor_with_its_copies(
    samples: list[Sample], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.png"
    shutil.copy(samples[0].path, copy)
    source = _source()
    source.fit([*samples, Sample(copy, "copy.png")])
    assert len(source.state()["keys"]) == len(samples)
    found = _maps(source, [samples[0], Sample(copy, "copy.png")])
    assert found[0].min() > 0  # nearest to itself it would be about 0 everywhere
    np.testing.assert_array_equal(found[0], found[1])


def test_the_draw_is_bounded_seeded_and_knows_neither_names_nor_order(
    samples: list[Sample],
) -> None:
    def keys(images: list[Sample], seed: int) -> list[list[int]]:
        source = _source(reference_images=5, seed=seed)
        source.fit(images)
        return source.state()["keys"].tolist()

    renamed = [Sample(s.path, f"{99 - i}.png") for i, s in enumerate(samples)][::-1]
    assert len(keys(samples, 0)) == 5
    assert keys(samples, 0) == keys(renamed, 0)
    assert keys(samples, 0) != keys(samples, 1)


def test_the_network_runs_once_for_each_reference_and_each_image(samples: list[Sample]) -> None:
    backbone = TinyBackbone()
    source = MutualScoring(backbone, 64, reference_images=5)
    source.fit(samples)
    assert backbone.calls == 5
    _maps(source, samples)
    assert backbone.calls == 5 + len(samples)


def test_an_unreadable_image_makes_room_for_another(samples: list[Sample], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    source = _source(reference_images=18)
    report = source.fit([Sample(broken, "broken.png"), *samples])
    assert len(source.state()["keys"]) == 18
    assert report.skipped == ()  # it will be scored, and skipped then
    assert report.normal_maxima is None


def test_fewer_than_three_different_images_are_refused(
    samples: list[Sample], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.png"
    shutil.copy(samples[0].path, copy)
    with pytest.raises(DatasetError) as caught:
        _source().fit([*samples[:2], Sample(copy, "copy.png")])
    message = str(caught.value)
    assert "expected at least 3 different images" in message
    assert "got 2 of 3" in message
    assert "\n" not in message


def test_reference_patches_of_a_fine_grid_are_bounded() -> None:
    fine = torch.rand(3, 40, 30)
    sampled = mutual_scoring._sampled(fine)
    assert sampled.shape == (13 * 10, 3)
    torch.testing.assert_close(sampled[0], fine[:, 1, 1])
    torch.testing.assert_close(sampled[11], fine[:, 4, 4])
    assert mutual_scoring._sampled(torch.rand(3, 16, 16)).shape == (256, 3)


def test_it_must_be_fitted_first(samples: list[Sample]) -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        next(_source().score(samples))
    with pytest.raises(NotFittedError):
        _source().state()


def test_another_backbone_is_refused(samples: list[Sample]) -> None:
    source = _source()
    source.fit(samples[:4])
    other = MutualScoring(TinyBackbone((6, 16)), 64)
    other.load_state(source.state())
    with pytest.raises(ModelFormatError, match=r"expected the backbone of the fit.*\[8, 16\]"):
        next(other.score(samples))


def test_layers_that_do_not_fit_are_refused(samples: list[Sample]) -> None:
    source = _source()
    source.fit(samples[:4])
    state = source.state()
    for name, value in [
        ("keys", state["keys"].float()),
        ("layer0", state["layer0"].float()),
        ("layer1", state["layer1"][1:]),
        ("layer1", state["layer1"][0]),
    ]:
        with pytest.raises(ModelFormatError, match="expected uint8 keys"):
            _source().load_state({**state, name: value})
    with pytest.raises(ModelFormatError, match="expected uint8 keys"):
        _source().load_state({"keys": state["keys"]})


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"detector\.reference_images"):
        _source(reference_images=2)
    with pytest.raises(ConfigurationError, match=r"detector\.image_size"):
        _source(image_size=8)
