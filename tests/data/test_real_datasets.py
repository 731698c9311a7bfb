"""The published data sets themselves: counts, splits and masks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from protoanomalyncd.datasets import (
    load_dataset,
    load_labelled,
    prepare_mtd,
    prepare_neu_seg,
    read_image,
    read_mask,
)

MTD = {"good": 191, "blowhole": 115, "break": 85, "crack": 57, "fray": 32, "uneven": 103}


def _source(shared_dir: Path, name: str) -> Path:
    folder = shared_dir / "data" / name
    if not folder.is_dir():
        pytest.skip(f"needs {name} in the shared data")
    return folder


def test_mtd(shared_dir: Path, tmp_path: Path) -> None:
    source = _source(shared_dir, "mtd")
    summary = prepare_mtd(source, tmp_path / "mtd")
    data = load_dataset(tmp_path / "mtd")
    assert len(data.normal) == 761
    assert Counter(s.label for s in data.unlabelled) == MTD
    assert data.skipped == ()
    assert sum(summary.counts.values()) == 761 + 583
    listed = set((source / "mtd_train_filenames.txt").read_text().split())
    assert {s.path.name for s in data.normal} == listed
    # Stems are unique: maps of any detector can be matched by them.
    assert len({s.path.stem for s in data.unlabelled}) == 583
    empty: Counter[str] = Counter()
    for sample in data.unlabelled:
        if sample.label != "good":
            assert sample.mask_path is not None
            image = read_image(sample.path)
            mask = read_mask(sample.mask_path, image.shape[:2])
            empty[str(sample.label)] += not mask.any()
            assert mask.mean() < 0.95
    # Four of the published masks are empty.
    assert +empty == {"uneven": 4}


def test_neu_seg(shared_dir: Path, tmp_path: Path) -> None:
    summary = prepare_neu_seg(_source(shared_dir, "neu_seg"), tmp_path / "neu")
    base = load_labelled(tmp_path / "neu")
    counts = {"inclusion": 992, "patches": 971, "scratches": 972}
    assert Counter(s.label for s in base.samples) == counts
    assert summary.left_out == {"several types": 695}
    assert base.skipped == ()
    for sample in base.samples[::40]:
        assert sample.mask_path is not None
        image = read_image(sample.path)
        assert image.shape == (200, 200, 3)
        assert read_mask(sample.mask_path, (200, 200)).any()


def test_neu_seg_test_split(shared_dir: Path, tmp_path: Path) -> None:
    source = _source(shared_dir, "neu_seg")
    summary = prepare_neu_seg(source, tmp_path / "neu", split="test")
    assert sorted(summary.counts.values()) == [200, 201, 207]
    assert summary.left_out == {"several types": 232}
