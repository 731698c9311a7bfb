"""Folders -> data sets: names, labels, masks; and one clear line for each folder of no use."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from protoanomalyncd.core.errors import ConfigurationError, DatasetError
from protoanomalyncd.core.records import Sample
from protoanomalyncd.datasets import (
    LabelledSet,
    load_dataset,
    load_labelled,
    take_per_class,
)
from protoanomalyncd.pipeline.stages import by_content

Write = Callable[..., Path]


@pytest.fixture
def mvtec(tmp_path: Path, write_image: Write) -> Path:
    """Two normals; in test: one good, two of crack, one of hole, one combined; masks."""
    names = ["train/good/0.png", "train/good/1.png", "test/good/0.png", "test/crack/0.png"]
    names += ["test/crack/1.png", "test/hole/0.jpg", "test/combined/0.png"]
    for seed, name in enumerate(names):
        write_image(name, seed=seed)
    for name in ("crack/0_mask.png", "crack/1.png", "combined/0_mask.png"):
        write_image(f"ground_truth/{name}", np.ones((32, 32), np.uint8))
    return tmp_path


@pytest.fixture
def labelled(tmp_path: Path, write_image: Write) -> Path:
    """Classes a (3 images) and b (2), each image with a mask."""
    for seed, name in enumerate(["a/0", "a/1", "a/2", "b/0", "b/1"]):
        write_image(f"images/{name}.jpg", seed=seed)
        write_image(f"masks/{name}.png", np.ones((32, 32), np.uint8))
    return tmp_path


def one_line(error: pytest.ExceptionInfo[DatasetError]) -> None:
    assert "\n" not in str(error.value)
    assert "expected" in str(error.value)
    assert ", got " in str(error.value)


# MVTec AD


def test_mvtec(mvtec: Path) -> None:
    data = load_dataset(mvtec)
    assert data.layout == "mvtec"
    assert data.root == mvtec
    assert [s.name for s in data.normal] == ["train/good/0.png", "train/good/1.png"]
    assert {s.label for s in data.normal} == {"good"}
    truth = mvtec / "ground_truth" / "crack"
    assert data.unlabelled == (
        Sample(mvtec / "test/crack/0.png", "test/crack/0.png", "crack", truth / "0_mask.png"),
        Sample(mvtec / "test/crack/1.png", "test/crack/1.png", "crack", truth / "1.png"),
        Sample(mvtec / "test/good/0.png", "test/good/0.png", "good", None),
        Sample(mvtec / "test/hole/0.jpg", "test/hole/0.jpg", "hole", None),
    )
    assert [(s.name, s.reason[:8]) for s in data.skipped] == [("test/combined", "1 images")]


def test_combined_can_be_kept(mvtec: Path) -> None:
    data = load_dataset(str(mvtec), keep_combined=True)
    assert [s.label for s in data.unlabelled].count("combined") == 1
    assert data.skipped == ()


def test_stray_files(mvtec: Path, write_image: Write) -> None:
    write_image("test/loose.png")
    write_image("test/crack/.hidden.png")
    write_image(".thumbs/0.png")
    for name in ("test/crack/readme.txt", "test/crack/Thumbs.db", "test/crack/clip.mp4"):
        (mvtec / name).write_bytes(b"x")
    data = load_dataset(mvtec)
    assert [s.name for s in data.unlabelled if s.label is None] == ["test/loose.png"]
    assert len(data.unlabelled) == 5
    assert [s.name for s in data.skipped] == ["test/combined", "test/crack/clip.mp4"]


def test_without_normals_ground_truth_betrays_the_layout(mvtec: Path) -> None:
    os.rename(mvtec / "train", mvtec / ".train")
    data = load_dataset(mvtec)
    assert (data.layout, data.normal) == ("mvtec", ())


@pytest.mark.parametrize("what", ["removed", "empty"])
def test_nothing_to_classify(tmp_path: Path, write_image: Write, what: str) -> None:
    write_image("train/good/0.png")
    if what == "empty":
        (tmp_path / "test" / "crack").mkdir(parents=True)
    with pytest.raises(DatasetError, match="test/<type>") as error:
        load_dataset(tmp_path)
    one_line(error)


def test_several_products(tmp_path: Path, write_image: Write) -> None:
    for product in ("bottle", "cable"):
        write_image(f"{product}/train/good/0.png")
        write_image(f"{product}/test/good/0.png")
    with pytest.raises(DatasetError, match=r"2 products \(bottle, cable\); give one") as error:
        load_dataset(tmp_path)
    one_line(error)


# Plain folders


def test_plain_folder(tmp_path: Path, write_image: Write) -> None:
    for name in ("b.PNG", "a.jpg", "a.png", "line 2/shift/c.tiff", ".trash/d.png", "test/e.bmp"):
        write_image(name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "raw").write_text("x")
    data = load_dataset(tmp_path)
    assert data.layout == "folder"
    assert data.normal == ()
    names = ["a.jpg", "a.png", "b.PNG", "line 2/shift/c.tiff", "test/e.bmp"]
    assert [s.name for s in data.unlabelled] == names
    assert all(s.label is None and s.mask_path is None for s in data.unlabelled)
    assert all(s.path == tmp_path / s.name for s in data.unlabelled)
    assert [(s.name, s.reason) for s in data.skipped] == [("raw", "not an image (no suffix)")]


def test_linked_folders_are_followed_once(tmp_path: Path, write_image: Write) -> None:
    write_image("store/a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "store", target_is_directory=True)
    (tmp_path / "store" / "back").symlink_to(tmp_path / "in", target_is_directory=True)
    assert [s.name for s in load_dataset(tmp_path / "in").unlabelled] == ["link/a.png"]


def test_unprintable_name(tmp_path: Path, write_image: Write) -> None:
    good = write_image("a.png")
    try:
        os.link(good, os.fsencode(tmp_path) + b"/b\xff.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    data = load_dataset(tmp_path)
    assert [s.name for s in data.unlabelled] == ["a.png"]
    assert "rename it" in data.skipped[0].reason
    data.skipped[0].name.encode()


@pytest.mark.parametrize("content", ["nothing", "text", "missing", "file"])
def test_no_images(tmp_path: Path, content: str) -> None:
    root = tmp_path / "data"
    if content in ("nothing", "text"):
        root.mkdir()
    if content == "text":
        (root / "film.mp4").write_bytes(b"x")
    if content == "file":
        root.write_bytes(b"x")
    came = {"nothing": "none", "text": "1 other files", "missing": "nothing", "file": "a file"}
    with pytest.raises(DatasetError, match=f"got {came[content]}") as error:
        load_dataset(root)
    one_line(error)


# Labelled sets


def test_labelled(labelled: Path) -> None:
    base = load_labelled(labelled)
    assert base.class_names == ("a", "b")
    assert [s.name for s in base.samples][:2] == ["images/a/0.jpg", "images/a/1.jpg"]
    assert [s.label for s in base.samples] == ["a", "a", "a", "b", "b"]
    assert base.samples[3].mask_path == labelled / "masks/b/0.png"
    assert base.skipped == ()


def test_labelled_mvtec(mvtec: Path, write_image: Write) -> None:
    write_image("test/hole/1.jpg")
    for i in range(2):
        write_image(f"ground_truth/hole/{i}_mask.png", np.ones((32, 32), np.uint8))
    base = load_labelled(mvtec)
    assert base.class_names == ("crack", "hole")
    assert len(base.samples) == 4
    assert [s.name for s in base.skipped] == ["test/combined", "test/good"]


def test_images_without_masks_are_skipped(labelled: Path, write_image: Write) -> None:
    write_image("images/a/9.jpg")
    base = load_labelled(labelled)
    assert len(base.samples) == 5
    assert [(s.name, s.reason) for s in base.skipped] == [("images/a/9.jpg", "has no mask")]


def test_a_class_of_one_image(labelled: Path) -> None:
    (labelled / "masks/b/1.png").unlink()
    with pytest.raises(DatasetError, match=r"got 1 in b \(1 images have no mask") as error:
        load_labelled(labelled)
    one_line(error)


def test_one_class_only(labelled: Path) -> None:
    os.rename(labelled / "images/b", labelled / "images/.b")
    with pytest.raises(DatasetError, match=r"at least 2 classes .* got 1") as error:
        load_labelled(labelled)
    one_line(error)


def test_no_masks_and_no_layout(labelled: Path, tmp_path: Path) -> None:
    os.rename(labelled / "masks", labelled / "annotations")
    with pytest.raises(DatasetError, match="in masks/, got no such folder") as error:
        load_labelled(labelled)
    one_line(error)
    with pytest.raises(DatasetError, match="got neither") as error:
        load_labelled(tmp_path / "annotations")
    one_line(error)
    with pytest.raises(DatasetError, match="got nothing there"):
        load_labelled(tmp_path / "absent")


# Draws and order


def contents(labelled: LabelledSet) -> set[bytes]:
    return {s.path.read_bytes() for s in labelled.samples}


def test_take_per_class(labelled: Path) -> None:
    base = load_labelled(labelled)
    two = take_per_class(base, 2, seed=0)
    assert [s.label for s in two.samples] == ["a", "a", "b", "b"]
    assert two == take_per_class(base, 2, seed=0)
    assert take_per_class(base, 50, seed=0).samples == base.samples
    assert len({frozenset(contents(take_per_class(base, 2, seed))) for seed in range(12)}) > 1
    with pytest.raises(ConfigurationError, match="at least 2"):
        take_per_class(base, 1, seed=0)


def test_the_draw_follows_contents_not_names(tmp_path: Path, write_image: Write) -> None:
    for i in range(8):
        # The second tree holds the same files under reversed names, and other class names.
        for tree, kind, number in (("one", "a", i), ("two", "z", 7 - i)):
            write_image(f"{tree}/images/{kind}/{number}.png", seed=i)
            write_image(f"{tree}/masks/{kind}/{number}.png")
            write_image(f"{tree}/images/m/{number}.png", seed=100 + i)
            write_image(f"{tree}/masks/m/{number}.png")
    one, two = load_labelled(tmp_path / "one"), load_labelled(tmp_path / "two")
    drawn = contents(take_per_class(one, 3, seed=4))
    assert len(drawn) == 6
    assert drawn == contents(take_per_class(two, 3, seed=4))
    assert drawn < contents(take_per_class(one, 4, seed=4))
    first = [s.path.read_bytes() for _, s in by_content(one.samples, [])]
    second = [s.path.read_bytes() for _, s in by_content(two.samples[::-1], [])]
    assert first == second
    assert first != [s.path.read_bytes() for s in one.samples]


# The page that describes all this


def test_messages_of_the_page_are_those_of_the_code(repository: Path) -> None:
    page = (repository / "docs/how_to/datasets.md").read_text(encoding="utf-8")
    library = repository / "src/protoanomalyncd"
    rooms = [*(library / "datasets").glob("*.py"), library / "storage/staged_folder.py"]
    # Joined over line breaks, as the messages are in the source.
    source = re.sub(r'"\s*f?"', "", "".join(p.read_text(encoding="utf-8") for p in rooms))
    rows = re.findall(r"^\| `(expected .*?)` \|", page, re.MULTILINE)
    assert len(rows) == 10
    for row in rows:
        # What varies stands in braces in the source, and as dots or a number on the page.
        for part in re.split(r"\.\.\.|\(.*?\)|\b\d+ products|, got |, ", row):
            words = part.strip().removeprefix("expected ")
            assert words in source or words in ("none", "nothing there", "float values"), words


# Masks that are not where the simplest rule looks, and files that are none


def test_masks_of_nested_folders_other_cases_and_the_same_stem(
    tmp_path: Path, write_image: Write
) -> None:
    for kind in ("a", "b"):
        for line in ("1", "2"):
            write_image(f"images/{kind}/{line}/0.PNG")
            write_image(f"masks/{kind}/{line}/0.PNG")
    found = load_labelled(tmp_path)
    assert len({sample.mask_path for sample in found.samples}) == 4
    write_image("images/a/1/0.jpg")
    with pytest.raises(DatasetError, match=r"for both 1/0.PNG and 1/0.jpg; name them") as error:
        load_labelled(tmp_path)
    one_line(error)
    write_image("masks/a/1/0.jpg_mask.png")
    assert len({sample.mask_path for sample in load_labelled(tmp_path).samples}) == 5


def test_one_dangling_link_costs_one_image(labelled: Path) -> None:
    (labelled / "images/a/3.jpg").symlink_to(labelled / "absent.jpg")
    found = load_labelled(labelled)
    assert [s.name for s in found.skipped] == ["images/a/3.jpg"]
    (labelled / "images/a/0.jpg").unlink()  # gone after the folder was read
    drawn = take_per_class(found, 2, seed=0)
    assert [s.name for s in drawn.samples if s.label == "a"] == ["images/a/1.jpg", "images/a/2.jpg"]
    assert [s.name for s in drawn.skipped] == ["images/a/3.jpg", "images/a/0.jpg"]


def test_parts_of_a_split_are_no_classes(tmp_path: Path, write_image: Write) -> None:
    for part in ("train", "val"):
        for name in ("0", "1"):
            write_image(f"images/{part}/{name}.png")
            write_image(f"masks/{part}/{name}.png")
    with pytest.raises(DatasetError, match="parts of a split") as error:
        load_labelled(tmp_path)
    one_line(error)


@pytest.mark.parametrize("load", [load_dataset, load_labelled])
def test_a_name_too_long_is_one_short_line(load: Callable[[Path], object]) -> None:
    with pytest.raises(DatasetError, match="nothing there") as error:
        load(Path("n" * 3000))
    one_line(error)
    assert len(str(error.value)) < 400
