"""token_cache.py: what is stored, resuming, and a disk that is too small."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protoanomalyncd.config import TrainingConfig
from protoanomalyncd.core.errors import OutputError
from protoanomalyncd.regions import guide_values
from protoanomalyncd.training import CropSet, TokenCache, embed_cache, fill_token_cache
from protoanomalyncd.training.views import plain_view
from protoanomalyncd.vit import GuidedEncoder
from tests.tiny import SIDE, random_crops

N_CROPS = 11  # more than a chunk
TWO, FOUR = TrainingConfig(views=2), TrainingConfig(views=4)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def crops() -> CropSet:
    return random_crops(N_CROPS)


def test_view_0_is_what_prediction_sees(
    tmp_path: Path, crops: CropSet, encoder: GuidedEncoder
) -> None:
    cache = fill_token_cache(tmp_path, crops, encoder, TWO, seed=0)
    assert cache.n_views == 3
    assert cache.patches.shape == (N_CROPS, 3, 16, 64)
    window, values = plain_view(crops.images[4], guide_values(crops.masks[4], crops.maps[4]), SIDE)
    tokens = encoder.tokens(torch.from_numpy(window)[None], torch.from_numpy(values)[None])
    torch.testing.assert_close(cache.patches[4, 0].float(), tokens.patches[0], atol=0.1, rtol=0.02)
    torch.testing.assert_close(cache.bias[4, 0], tokens.bias[0])
    picked = cache.pick(torch.tensor([4, 7]), torch.tensor([0, 2]))
    assert torch.equal(picked.patches[1], cache.patches[7, 2].float())
    assert torch.equal(picked.cls[0], cache.cls[4, 0].float())


class StopError(Exception):
    pass


def stop(done: int, total: int) -> None:
    if done < total:
        raise StopError


def test_interrupted_and_resumed_equals_uninterrupted(
    tmp_path: Path, crops: CropSet, encoder: GuidedEncoder
) -> None:
    fill_token_cache(tmp_path / "whole", crops, encoder, TWO, seed=3)
    with pytest.raises(StopError):
        fill_token_cache(tmp_path / "broken", crops, encoder, TWO, seed=3, on_progress=stop)
    steps: list[int] = []
    fill_token_cache(
        tmp_path / "broken", crops, encoder, TWO, 3, lambda done, total: steps.append(done)
    )
    assert steps == [N_CROPS]  # the first chunk was not computed again
    assert contents(tmp_path / "whole") == contents(tmp_path / "broken")


def test_the_order_of_the_crops_does_not_matter(
    tmp_path: Path, crops: CropSet, encoder: GuidedEncoder
) -> None:
    order = np.random.default_rng(0).permutation(N_CROPS)
    names = ("images", "masks", "maps", "scores", "labels", "descriptors")
    arrays = (getattr(crops, n)[order] for n in names)
    shuffled = CropSet(*arrays, keys=tuple(crops.keys[i] for i in order))
    first = fill_token_cache(tmp_path / "1", crops, encoder, TWO, seed=0)
    second = fill_token_cache(tmp_path / "2", shuffled, encoder, TWO, seed=0)
    assert torch.equal(first.patches[torch.from_numpy(order)], second.patches)


def test_a_disk_that_is_too_small_is_told_before_anything_is_computed(
    tmp_path: Path, crops: CropSet, encoder: GuidedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(OutputError) as caught:
        fill_token_cache(tmp_path, crops, encoder, TWO, seed=0)
    message = str(caught.value)
    assert message.startswith("token cache: expected ")
    assert "training.views" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_cache_beyond_its_bound_says_how_many_views_fit(
    tmp_path: Path, crops: CropSet, encoder: GuidedEncoder
) -> None:
    whole = fill_token_cache(tmp_path / "whole", crops, encoder, FOUR, seed=0)
    size = sum(t.nbytes for t in (whole.cls, whole.patches, whole.bias))
    bound = size / 1e9 * 0.7  # room for 3.5 of 5 views
    with pytest.raises(OutputError, match=r"set training\.views to 2, or raise the bound"):
        fill_token_cache(tmp_path / "small", crops, encoder, replace(FOUR, cache_gb=bound), seed=0)
    assert list((tmp_path / "small").iterdir()) == []
    fits = replace(TWO, cache_gb=bound)
    assert fill_token_cache(tmp_path / "fits", crops, encoder, fits, seed=0).n_views == 3
    tight = replace(TWO, cache_gb=bound / 3)
    with pytest.raises(OutputError, match="train on fewer images, or raise the bound"):
        fill_token_cache(tmp_path / "small", crops, encoder, tight, seed=0)


def test_a_disk_that_fills_up_meanwhile_is_told(
    tmp_path: Path, crops: CropSet, encoder: GuidedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OutputError, match=r"lower training\.views"):
        fill_token_cache(tmp_path, crops, encoder, TWO, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_threads_changes_nothing(
    tmp_path: Path, crops: CropSet, encoder: GuidedEncoder
) -> None:
    before = torch.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            fill_token_cache(tmp_path / str(n), crops, encoder, TWO, seed=0)
    finally:
        torch.set_num_threads(before)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_giving_pages_back_loses_nothing(
    tmp_path: Path, crops: CropSet, encoder: GuidedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fill_token_cache(tmp_path / "1", crops, encoder, TWO, seed=0)
    monkeypatch.setattr("protoanomalyncd.storage.row_files.RESIDENT_BYTES", 1)
    tight = fill_token_cache(tmp_path / "2", crops, encoder, TWO, seed=0)
    every = torch.arange(N_CROPS)
    for view in range(3):
        views = torch.full_like(every, view)
        assert torch.equal(whole.pick(every, views).patches, tight.pick(every, views).patches)


def test_a_finished_cache_needs_no_room(
    tmp_path: Path, crops: CropSet, encoder: GuidedEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_token_cache(tmp_path, crops, encoder, TWO, seed=0)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    assert fill_token_cache(tmp_path, crops, encoder, TWO, seed=0).n_views == 3


def test_embeddings_are_the_mean_over_the_views(
    tmp_path: Path, crops: CropSet, encoder: GuidedEncoder
) -> None:
    cache = fill_token_cache(tmp_path, crops, encoder, TWO, seed=0)
    found = embed_cache(encoder, cache)
    views = torch.stack(
        [encoder(cache.pick(torch.tensor([5]), torch.tensor([v])))[0] for v in range(3)]
    )
    expected = torch.nn.functional.normalize(views.mean(dim=0), dim=0)
    torch.testing.assert_close(found[5], expected.detach(), atol=1e-5, rtol=1e-5)
    plain = embed_cache(encoder, cache, range(1))
    torch.testing.assert_close(plain[5], views[0].detach(), atol=1e-5, rtol=1e-5)


def test_a_crop_set_is_read_back_as_it_was_written(tmp_path: Path, crops: CropSet) -> None:
    assert not CropSet.is_complete(tmp_path)
    crops.save(tmp_path)
    assert CropSet.is_complete(tmp_path)
    loaded = CropSet.load(tmp_path)
    assert loaded.keys == crops.keys
    for name in ("images", "masks", "maps", "scores", "labels"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(crops, name), strict=True)
    both = CropSet.concatenate(loaded, crops)
    assert len(both) == 2 * N_CROPS
    np.testing.assert_array_equal(both.images[N_CROPS + 2], crops.images[2])
    np.testing.assert_array_equal(np.asarray(both.maps), np.concatenate([crops.maps] * 2))
    np.testing.assert_array_equal(both.anomalous, np.concatenate([crops.anomalous] * 2))
    assert both.keys == crops.keys * 2


def test_a_cache_knows_its_views() -> None:
    cache = TokenCache(torch.zeros(4, 3, 2), torch.zeros(4, 3, 5, 2), torch.zeros(4, 3, 5))
    assert cache.n_views == 3
