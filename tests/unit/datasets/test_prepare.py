"""Published folders -> layouts, on small made-up copies of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from protoanomalyncd.core.errors import (
    ConfigurationError,
    DatasetError,
    ImageError,
    InputError,
    OutputError,
)
from protoanomalyncd.datasets import (
    PREPARERS,
    load_dataset,
    load_labelled,
    prepare_mtd,
    prepare_neu_seg,
    read_mask,
    staging,
)

Write = Callable[..., Path]


@pytest.fixture
def mtd(tmp_path: Path, write_image: Write) -> Path:
    """Three free tiles, of which two train, and one tile of each defect."""
    mask = np.zeros((32, 32), np.uint8)
    for i in range(3):
        write_image(f"mtd/MT_Free/Imgs/f{i}.jpg", seed=i)
        write_image(f"mtd/MT_Free/Imgs/f{i}.png", mask)
    mask[5:9, 5:9], mask[5, 5:9] = 255, 100  # one row is a soft border below half
    for kind in ("Blowhole", "Break", "Crack", "Fray", "Uneven"):
        write_image(f"mtd/MT_{kind}/Imgs/{kind}.jpg")
        write_image(f"mtd/MT_{kind}/Imgs/{kind}.png", mask)
    (tmp_path / "mtd/mtd_train_filenames.txt").write_text("f0.jpg\nf2.jpg\n")
    return tmp_path / "mtd"


@pytest.fixture
def neu(tmp_path: Path, write_image: Write) -> Path:
    """Two training images of each type, one of two types, one of none."""
    held = [(1,), (2,), (3,), (3,), (2,), (1,), (1, 3), ()]
    for i, values in enumerate(held):
        annotation = np.zeros((32, 32), np.uint8)
        for row, value in enumerate(values):
            annotation[4 * row : 4 * row + 3] = value
        for split in ("training", "test"):
            write_image(f"neu/images/{split}/{i}.jpg", seed=i)
            write_image(f"neu/annotations/{split}/{i}.png", annotation)
    return tmp_path / "neu"


def test_mtd(mtd: Path, tmp_path: Path) -> None:
    summary = prepare_mtd(mtd, tmp_path / "out")
    ones = {f"test/{kind}": 1 for kind in ("blowhole", "break", "crack", "fray", "uneven")}
    assert summary.counts == {"train/good": 2, "test/good": 1, **ones}
    assert not summary.reused
    data = load_dataset(tmp_path / "out")
    assert [s.name for s in data.normal] == ["train/good/f0.jpg", "train/good/f2.jpg"]
    assert len(data.unlabelled) == 6
    by_name = {s.name: s for s in data.unlabelled}
    crack = by_name["test/crack/Crack.jpg"]
    assert crack.path.read_bytes() == (mtd / "MT_Crack/Imgs/Crack.jpg").read_bytes()
    assert crack.mask_path == tmp_path / "out/ground_truth/crack/Crack_mask.png"
    assert read_mask(crack.mask_path, (32, 32)).sum() == 12  # the soft row is cut off
    assert by_name["test/good/f1.jpg"].mask_path is None


def test_neu_seg(neu: Path, tmp_path: Path) -> None:
    summary = prepare_neu_seg(neu, tmp_path / "out")
    counts = {"images/inclusion": 2, "images/patches": 2, "images/scratches": 2}
    assert summary.counts == counts
    assert summary.left_out == {"several types": 1, "no type": 1}
    base = load_labelled(tmp_path / "out")
    assert base.class_names == ("inclusion", "patches", "scratches")
    for sample in base.samples:
        assert sample.mask_path is not None
        assert read_mask(sample.mask_path, (32, 32)).sum() == 3 * 32
    test = prepare_neu_seg(neu, tmp_path / "test", split="test")
    assert test.counts == counts
    with pytest.raises(ConfigurationError, match="training or test"):
        prepare_neu_seg(neu, tmp_path / "x", split="validation")  # type: ignore[arg-type]


def test_a_finished_folder_is_left_alone(neu: Path, tmp_path: Path) -> None:
    first = prepare_neu_seg(neu, tmp_path / "out")
    marker = tmp_path / "out" / staging.MARKER
    before = marker.stat().st_mtime_ns
    again = prepare_neu_seg(neu, tmp_path / "out")
    assert again.reused
    assert (again.counts, again.left_out) == (first.counts, first.left_out)
    assert marker.stat().st_mtime_ns == before
    assert "already there" in str(again)
    with pytest.raises(OutputError, match="prepared before"):
        prepare_neu_seg(neu, tmp_path / "out", split="test")


def test_registry(mtd: Path, neu: Path, tmp_path: Path) -> None:
    assert sorted(PREPARERS) == ["aebad", "mtd", "neu_seg", "real_iad"]
    for name, source in (("mtd", mtd), ("neu_seg", neu)):
        summary = PREPARERS[name](source, tmp_path / f"out_{name}")
        assert summary.data_set == name
        assert "\n" not in str(summary)
        record = json.loads((summary.root / staging.MARKER).read_text())
        assert record["counts"] == summary.counts


# Bad sources


@pytest.mark.parametrize("preparer", [prepare_mtd, prepare_neu_seg])
@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_wrong_source(tmp_path: Path, preparer: Callable[[Path, Path], object], what: str) -> None:
    source = tmp_path / "source"
    if what == "empty":
        source.mkdir()
    if what == "file":
        source.write_text("x")
    with pytest.raises(DatasetError, match=r"expected .* got ") as error:
        preparer(source, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("missing", "part"),
    [
        ("MT_Fray", "got no MT_Fray/Imgs"),
        ("mtd_train_filenames.txt", "got no mtd_train_filenames.txt"),
        ("MT_Crack/Imgs/Crack.png", "expected the mask of Crack.jpg"),
        ("MT_Crack/Imgs/Crack.jpg", "expected .jpg images, got none"),
        ("MT_Free/Imgs/f2.jpg", r"got no f2.jpg \(1 missing\)"),
    ],
)
def test_mtd_with_something_missing(mtd: Path, tmp_path: Path, missing: str, part: str) -> None:
    os.rename(mtd / missing, tmp_path / "away")
    with pytest.raises(DatasetError, match=part) as error:
        prepare_mtd(mtd, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_neu_seg_with_a_bad_annotation(neu: Path, tmp_path: Path, write_image: Write) -> None:
    write_image("neu/annotations/training/3.png", np.full((32, 32), 9, np.uint8))
    with pytest.raises(DatasetError, match="values 0 to 3, got 9"):
        prepare_neu_seg(neu, tmp_path / "out")
    write_image("neu/annotations/training/3.png", (32, 32))
    with pytest.raises(ImageError, match="one 8-bit channel, got mode RGB"):
        prepare_neu_seg(neu, tmp_path / "out")
    (neu / "annotations/training/3.png").unlink()
    with pytest.raises(InputError, match="No such file"):
        prepare_neu_seg(neu, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


# Bad outputs


def test_other_files_are_never_touched(mtd: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="other files in it; choose another") as error:
        prepare_mtd(mtd, out)
    assert "\n" not in str(error.value)
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]
    with pytest.raises(OutputError, match="got a file"):
        prepare_mtd(mtd, out / "thesis.txt")


def test_empty_folder_and_remains_of_a_killed_run(mtd: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.partial" / "test").mkdir(parents=True)
    (tmp_path / ".out.partial" / "test" / "old.png").write_text("x")
    prepare_mtd(mtd, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("old.png"))
    assert not (tmp_path / ".out.partial").exists()


def test_a_failure_half_way_leaves_nothing(
    neu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device") as error:
        prepare_neu_seg(neu, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["neu"]
