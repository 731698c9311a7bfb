from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from protoanomalyncd.anomaly_maps import PatchMemory
from protoanomalyncd.anomaly_maps.patch_memory import local_descriptors
from protoanomalyncd.core.errors import (
    ConfigurationError,
    DatasetError,
    ModelFormatError,
    NotFittedError,
)
from protoanomalyncd.core.records import FloatArray, Sample, Skipped
from protoanomalyncd.vit import create_backbone
from tests.unit.anomaly_maps.fakes import TinyBackbone, render_samples


def _memory(**options: float | None) -> PatchMemory:
    """Plain, unless asked otherwise: random features have no directions worth keeping."""
    plain = {"image_size": 96, "memory_size": 2000, "whitening": None, "smoothing": 0.0}
    return PatchMemory(TinyBackbone(), **{**plain, **options})


def _maps(memory: PatchMemory, samples: list[Sample]) -> list[FloatArray]:
    return [m for _, m in memory.score(samples) if not isinstance(m, Skipped)]


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return render_samples(tmp_path_factory.mktemp("normal"), "leather", None, range(12))


@pytest.fixture(scope="module")
def fitted(normal: list[Sample]) -> PatchMemory:
    memory = _memory()
    memory.fit(normal)
    return memory


def test_defects_score_higher_than_normal_images(fitted: PatchMemory, tmp_path: Path) -> None:
    good = render_samples(tmp_path, "leather", None, range(100, 115))
    bad = render_samples(tmp_path, "leather", "hole", range(200, 215))
    maxima = [float(scores.max()) for scores in _maps(fitted, good + bad)]
    assert roc_auc_score([0] * 15 + [1] * 15, maxima) > 0.8


def test_defective_positions_score_higher_than_the_others(
    fitted: PatchMemory, tmp_path: Path
) -> None:
    from protoanomalyncd.datasets.generated import render

    seeds = range(300, 310)
    samples = render_samples(tmp_path, "leather", "hole", seeds)
    on_defect, scored = [], []
    for seed, scores in zip(seeds, _maps(fitted, samples), strict=True):
        mask = torch.from_numpy(render("leather", "hole", seed, 96)[1]).float()[None, None]
        on_grid = torch.nn.functional.adaptive_max_pool2d(mask, scores.shape)[0, 0].numpy() > 0
        on_defect.append(on_grid.ravel())
        scored.append(scores.ravel())
    assert roc_auc_score(np.concatenate(on_defect), np.concatenate(scored)) > 0.7


def test_the_grid_is_that_of_the_finest_layer(fitted: PatchMemory, normal: list[Sample]) -> None:
    assert _maps(fitted, normal[:1])[0].shape == (24, 24)


def test_distances_are_relative_to_what_normal_patches_vary_in(normal: list[Sample]) -> None:
    """By a loop over the patches of one image, without the memory's own code."""
    plain = _memory(memory_size=12 * 24 * 24)
    white = _memory(whitening=0.5, memory_size=12 * 24 * 24)
    for memory in (plain, white):
        memory.fit(normal[:6])
    rows = plain.state()["memory"] + plain.state()["centre"]
    centre = rows.double().mean(dim=0)
    covariance = sum(torch.outer(r - centre, r - centre) for r in rows.double()) / len(rows)
    shrunk = covariance / covariance.trace() * 24 + 0.5 * torch.eye(24)
    matrix = torch.linalg.inv(torch.linalg.cholesky(shrunk))
    image = white._read(normal[7])
    assert isinstance(image, np.ndarray)
    patches = white._describe(image).flatten(1).T.double()
    known = (rows.double() - centre) @ matrix.T
    expected = [
        min(float((q - k).norm()) for k in known) for q in (patches[:5] - centre) @ matrix.T
    ]
    found = _maps(white, normal[7:8])[0].ravel()[:5]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_maps_are_smoothed(normal: list[Sample]) -> None:
    rough, smooth = _memory(), _memory(smoothing=1.0)
    for memory in (rough, smooth):
        memory.fit(normal[:6])
    first, second = (_maps(m, normal[7:8])[0] for m in (rough, smooth))
    assert second.std() < first.std()
    assert second.mean() == pytest.approx(first.mean(), rel=0.05)


def test_without_a_limit_a_training_image_has_distance_zero_and_its_maximum_has_not(
    normal: list[Sample],
) -> None:
    memory = _memory(memory_size=12 * 24 * 24)
    report = memory.fit(normal)
    assert memory.state()["memory"].shape == (12 * 24 * 24, 24)
    assert max(float(scores.max()) for scores in _maps(memory, normal)) < 1e-4
    assert report.normal_maxima is not None
    assert report.normal_maxima.dtype == np.float32
    assert len(report.normal_maxima) == len(normal)
    assert report.normal_maxima.min() > 1e-2


def test_the_maximum_of_a_normal_image_is_that_of_a_memory_without_it(
    normal: list[Sample],
) -> None:
    everything = {"memory_size": 12 * 24 * 24}
    report = _memory(**everything).fit(normal)
    expected = []
    for left_out in normal:
        memory = _memory(**everything)
        memory.fit([sample for sample in normal if sample != left_out])
        expected.append(float(_maps(memory, [left_out])[0].max()))
    assert report.normal_maxima is not None
    np.testing.assert_allclose(np.sort(report.normal_maxima), np.sort(expected), rtol=1e-4)


def test_normal_maxima_foretell_those_of_unseen_normal_images(
    normal: list[Sample], tmp_path: Path
) -> None:
    memory = _memory()
    maxima = memory.fit(normal).normal_maxima
    unseen = render_samples(tmp_path, "leather", None, range(400, 430))
    seen = [float(scores.max()) for scores in _maps(memory, normal)]
    new = [float(scores.max()) for scores in _maps(memory, unseen)]
    assert maxima is not None
    assert abs(np.median(maxima) - np.median(new)) < 0.15 * np.median(new)
    assert np.median(seen) < np.median(maxima)  # own patches would make the range too narrow


def test_copies_count_once(normal: list[Sample], tmp_path: Path) -> None:
    copies = []
    for number, sample in enumerate(normal[:4]):
        path = tmp_path / f"copy_{number}.png"
        shutil.copy(sample.path, path)
        copies.append(Sample(path, path.name))
    once, twice = _memory(), _memory()
    report_once, report_twice = once.fit(normal), twice.fit(copies + normal)
    assert torch.equal(once.state()["memory"], twice.state()["memory"])
    assert report_once.normal_maxima is not None
    assert report_twice.normal_maxima is not None
    np.testing.assert_array_equal(
        np.sort(report_once.normal_maxima), np.sort(report_twice.normal_maxima)
    )


def test_the_seed_decides_the_memory(normal: list[Sample]) -> None:
    first, same, other = _memory(seed=1), _memory(seed=1), _memory(seed=2)
    for memory in (first, same, other):
        memory.fit(normal)
    assert torch.equal(first.state()["memory"], same.state()["memory"])
    assert not torch.equal(first.state()["memory"], other.state()["memory"])


def test_a_full_memory_spares_the_network(normal: list[Sample]) -> None:
    backbone = TinyBackbone()
    memory = PatchMemory(backbone, image_size=96, memory_size=1)
    memory.fit(normal)
    # 12 images are scored for the calibration; for a memory of one patch not all 12 are needed.
    assert backbone.calls < 24


def test_one_normal_image_is_enough_but_calibrates_nothing(normal: list[Sample]) -> None:
    memory = _memory()
    assert memory.fit(normal[:1]).normal_maxima is None
    assert len(_maps(memory, normal[1:2])) == 1


def test_bad_normal_images_are_reported(normal: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    bad = [Sample(tmp_path / "bad.png", "bad.png"), Sample(tmp_path / "gone.png", "gone.png")]
    memory = _memory()
    report = memory.fit([bad[0], *normal, bad[1]])
    assert [s.name for s in report.skipped] == ["bad.png", "gone.png"]
    assert report.normal_maxima is not None
    with pytest.raises(DatasetError, match=r"expected normal images .* got 2, 2 of them unusable"):
        _memory().fit(bad)
    with pytest.raises(DatasetError, match="got 0"):
        _memory().fit([])


def test_a_network_that_yields_nan_skips_the_image(
    fitted: PatchMemory, normal: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        TinyBackbone, "preprocess", lambda self, x: torch.full((1, 3, 96, 96), torch.nan)
    )
    (_, result), *_ = fitted.score(normal[:1])
    assert result == Skipped(normal[0].name, "the network's features are not finite")
    with pytest.raises(DatasetError, match="features are not finite"):
        _memory().fit(normal[:1])


def test_unfitted_foreign_and_senseless_settings_are_refused(
    fitted: PatchMemory, normal: list[Sample]
) -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        list(_memory().score(normal))
    with pytest.raises(NotFittedError, match="call fit"):
        _memory().state()
    with pytest.raises(ConfigurationError, match="memory_size"):
        _memory(memory_size=0)
    other = PatchMemory(TinyBackbone((8, 8)), image_size=96)
    other.load_state(fitted.state())
    with pytest.raises(ModelFormatError, match="24 channels, got one with 16"):
        list(other.score(normal[:1]))


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"memory": torch.zeros(4, 3)},
        {"memory": torch.zeros(4, 3), "centre": torch.zeros(4)},
        {"memory": torch.zeros(0, 3), "centre": torch.zeros(3)},
        {"memory": torch.zeros(4, 3).half(), "centre": torch.zeros(3)},
        {"memory": torch.zeros(4), "centre": torch.zeros(())},
        {"memory": torch.zeros(4, 3), "centre": torch.zeros(3), "matrix": torch.zeros(3)},
        {"memory": torch.zeros(4, 3), "centre": torch.zeros(3), "matrix": torch.zeros(2, 2)},
    ],
)
def test_damaged_state_is_refused(state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ModelFormatError, match="expected float32 memory"):
        _memory().load_state(state)


def test_local_descriptors_average_neighbours_and_weigh_layers_alike() -> None:
    fine = torch.randn(1, 2, 4, 6)
    coarse = torch.full((1, 4, 2, 3), 500.0)
    out = local_descriptors([fine, coarse])
    assert out.shape == (1, 6, 4, 6)
    # A constant layer stays constant up to the border: no zeros are averaged in.
    torch.testing.assert_close(out[:, 2:], torch.full((1, 4, 4, 6), 0.5))
    for row in range(4):
        for column in range(6):
            around = fine[0, :, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            mean = around.mean(dim=(1, 2))
            torch.testing.assert_close(out[0, :2, row, column], mean / mean.norm())


def test_layers_with_lengths_of_their_own_keep_them() -> None:
    layers = [torch.full((1, 4, 4, 6), 0.2), torch.full((1, 4, 2, 3), 0.5)]
    out = local_descriptors(layers, prenormalised=True)
    torch.testing.assert_close(out[:, :4], torch.full((1, 4, 4, 6), 0.2))
    torch.testing.assert_close(out[:, 4:], torch.full((1, 4, 4, 6), 0.5))
    assert create_backbone("embedded").prenormalised


def test_local_descriptors_take_the_finest_grid_wherever_it_stands() -> None:
    assert local_descriptors([torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 4, 4)]).shape[2:] == (4, 4)
