"""Generated pictures: exact masks, real variation, the same picture for the same arguments."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from protoanomalyncd.core.errors import ConfigurationError, OutputError
from protoanomalyncd.datasets import (
    DEFECT_TYPES,
    FURTHER_TYPES,
    PRODUCTS,
    defect_types_of,
    generate,
    generate_labelled,
    load_dataset,
    load_labelled,
    read_image,
    read_mask,
    render,
)
from protoanomalyncd.datasets.generated import Counts, object_mask

PAIRS = [(product, kind) for product in PRODUCTS for kind in defect_types_of(product)]
FURTHER = [
    (PRODUCTS[(i + j) % len(PRODUCTS)], kind)
    for i, kind in enumerate(FURTHER_TYPES)
    for j in (0, 3, 6)
]
TEXTURES = {"brushed_metal", "fabric", "leather", "wood"}


def test_what_there_is() -> None:
    assert len(PRODUCTS) == 9
    assert len(DEFECT_TYPES) == 8
    assert len(FURTHER_TYPES) == 12
    assert not set(FURTHER_TYPES) & set(DEFECT_TYPES)
    for product in PRODUCTS:
        missing = set(DEFECT_TYPES) - set(defect_types_of(product))
        assert missing == ({"chipped_edge"} if product in TEXTURES else set())


@pytest.mark.parametrize(("product", "kind"), PAIRS + FURTHER)
def test_the_mask_is_where_the_picture_changed(product: str, kind: str) -> None:
    for seed in (0, 1):
        normal, nothing = render(product, None, seed, 96)
        image, mask = render(product, kind, seed, 96)
        assert image.shape == (96, 96, 3)
        assert (image.dtype, mask.dtype) == (np.uint8, np.bool_)
        assert not nothing.any()
        change = np.abs(image.astype(int) - normal).max(-1)
        assert not change[~mask].any()
        assert 0.001 < mask.mean() < 0.25
        # It can be seen: the noise of the camera is the same in both pictures.
        assert change[mask].mean() > 8


@pytest.mark.parametrize("product", PRODUCTS)
def test_deterministic_and_varied(product: str) -> None:
    first, mask = render(product, "stain", 5, 96)
    again, same = render(product, "stain", 5, 96)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(mask, same)
    normals = [render(product, None, seed, 96)[0].astype(float) for seed in range(3)]
    assert np.abs(normals[0] - normals[1]).mean() > 2
    assert np.abs(normals[1] - normals[2]).mean() > 2
    # Normal variation stays small beside the contrast of the product itself.
    assert np.std([n.mean() for n in normals]) < 15
    masks = [render(product, "stain", seed, 96)[1] for seed in range(6)]
    assert len({m.tobytes() for m in masks}) == 6


@pytest.mark.parametrize("kind", DEFECT_TYPES + FURTHER_TYPES)
def test_position_and_size_vary(kind: str) -> None:
    masks = [render("tile", kind, seed, 96)[1] for seed in range(8)]
    centres = np.array([np.argwhere(m).mean(0) for m in masks])
    areas = np.array([m.sum() for m in masks])
    assert (centres.std(0) > 4).all()
    assert areas.max() > 1.3 * areas.min()


@pytest.mark.parametrize("size", [32, 33, 97, 300])
@pytest.mark.parametrize("product", PRODUCTS)
def test_any_size(product: str, size: int) -> None:
    for kind in (None, "crack", "dent"):
        image, mask = render(product, kind, 0, size)
        assert image.shape == (size, size, 3)
        assert mask.shape == (size, size)
        assert mask.any() == (kind is not None)


def test_looks_alike_at_any_size() -> None:
    small, mask = render("washer", "stain", 1, 64)
    large, mask2 = render("washer", "stain", 1, 256)
    shrunk = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.corrcoef(shrunk.ravel(), small.ravel().astype(float))[0, 1] > 0.9
    assert abs(mask.mean() - mask2.mean()) < 0.01


def test_strength_is_the_share_by_which_the_defect_covers_the_product() -> None:
    clean, _ = render("leather", None, 4, 96)
    full, mask = render("leather", "stain", 4, 96)
    half, same = render("leather", "stain", 4, 96, strength=0.5)
    assert np.array_equal(mask, same)
    assert np.array_equal(half[~mask], clean[~mask])
    expected = (clean[mask].astype(float) + full[mask]) / 2
    assert np.abs(half[mask] - expected).max() <= 1
    assert np.array_equal(render("leather", None, 4, 96, strength=0.5)[0], clean)


def test_unknown_names_and_numbers() -> None:
    with pytest.raises(ConfigurationError, match=r"out of .*washer.*; got 'bolt'"):
        render("bolt")
    with pytest.raises(ConfigurationError, match="got 'melted'"):
        render("washer", "melted")
    with pytest.raises(ConfigurationError, match=r"defect of fabric .* got 'chipped_edge'"):
        render("fabric", "chipped_edge")
    with pytest.raises(ConfigurationError, match="at least 32"):
        render("washer", size=31)
    with pytest.raises(ConfigurationError, match="seed"):
        render("washer", seed=-1)
    for strength in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigurationError, match="strength above 0"):
            render("washer", "stain", strength=strength)


# On disk


def hashes(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob("*.png")
    }


def test_generate_writes_the_mvtec_layout(tmp_path: Path) -> None:
    root = generate(
        tmp_path / "a",
        "wood",
        counts=Counts(normal=3, per_type=2, good=1),
        types=["hole", "crack"],
        size=48,
    )
    data = load_dataset(root)
    assert data.skipped == ()
    assert len(data.normal) == 3
    assert [s.label for s in data.unlabelled] == ["crack", "crack", "good", "hole", "hole"]
    for sample in data.unlabelled:
        assert read_image(sample.path).shape == (48, 48, 3)
        if sample.label != "good":
            assert sample.mask_path is not None
            assert read_mask(sample.mask_path, (48, 48)).any()
    files = hashes(root)
    assert len(set(files.values())) == len(files)
    assert load_labelled(root).class_names == ("crack", "hole")


def test_further_types_are_drawn_only_where_they_are_named(tmp_path: Path) -> None:
    usual = generate(tmp_path / "a", "wood", counts=Counts(normal=1, per_type=1), size=32)
    drawn = {s.label for s in load_dataset(usual).unlabelled}
    assert drawn == {"good", *defect_types_of("wood")}
    named = generate(
        tmp_path / "b", "wood", counts=Counts(normal=1, per_type=1), types=["rust", "hole"], size=32
    )
    assert {s.label for s in load_dataset(named).unlabelled} == {"good", "hole", "rust"}
    shared = hashes(usual).items() & hashes(named).items()
    assert {"train/good/000.png", "test/hole/000.png"} <= {name for name, _ in shared}


def test_an_image_does_not_depend_on_the_others(tmp_path: Path) -> None:
    few = hashes(
        generate(
            tmp_path / "a", "tile", counts=Counts(normal=2, per_type=1), types=["dent"], size=48
        )
    )
    many = hashes(
        generate(
            tmp_path / "b",
            "tile",
            counts=Counts(normal=3, per_type=2),
            types=["dent", "hole"],
            size=48,
        )
    )
    assert few.items() < many.items()
    other = generate(
        tmp_path / "c", "tile", counts=Counts(normal=2, per_type=1), types=["dent"], size=48, seed=1
    )
    assert not set(hashes(other).values()) & set(few.values())


def test_object_masks_lie_beside_the_images_of_objects(tmp_path: Path) -> None:
    tile = generate(
        tmp_path / "a", "tile", counts=Counts(normal=1, per_type=1), types=["hole"], size=48
    )
    names = {
        p.relative_to(tile / "object_masks").as_posix() for p in tile.rglob("object_*/**/*.png")
    }
    assert names == {s.name for s in load_dataset(tile).unlabelled} | {"train/good/000.png"}
    for name in names:
        where = read_mask(tile / "object_masks" / name, (48, 48))
        assert 0.2 < where.mean() < 1
        kind = name.split("/")[1]
        if kind != "good":
            defect = read_mask(tile / "ground_truth" / kind / "000_mask.png", (48, 48))
            assert (defect & where).sum() >= 0.9 * defect.sum()
    assert object_mask("wood") is None
    assert not (
        generate(tmp_path / "b", "wood", counts=Counts(normal=1, per_type=1), size=32)
        / "object_masks"
    ).exists()


def test_faint_defects_leave_the_normal_images_as_they_were(tmp_path: Path) -> None:
    def make(name: str, strength: float) -> dict[str, str]:
        out = tmp_path / name
        return hashes(
            generate(
                out,
                "tile",
                counts=Counts(normal=1, per_type=1),
                types=["dent"],
                size=48,
                strength=strength,
            )
        )

    plain, faint = make("a", 1.0), make("b", 0.3)
    assert {name for name in plain if plain[name] != faint[name]} == {"test/dent/000.png"}
    with pytest.raises(OutputError, match="other data or settings"):
        make("a", 0.3)


def test_generate_twice(tmp_path: Path) -> None:
    def make(seed: int) -> Path:
        return generate(
            tmp_path / "a", counts=Counts(normal=1, per_type=1), types=["dent"], size=32, seed=seed
        )

    before = {p: p.stat().st_mtime_ns for p in make(0).rglob("*.png")}
    assert before == {p: p.stat().st_mtime_ns for p in make(0).rglob("*.png")}
    with pytest.raises(OutputError, match="other data or settings"):
        make(1)


def test_generate_labelled(tmp_path: Path) -> None:
    root = generate_labelled(
        tmp_path / "a", ["leather", "gear"], types=["stain", "hole"], n_per_type=3, size=48
    )
    base = load_labelled(root)
    assert base.class_names == ("hole", "stain")
    assert [s.name for s in base.samples][:3] == [
        "images/hole/gear_001.png",
        "images/hole/leather_000.png",
        "images/hole/leather_002.png",
    ]
    assert base.skipped == ()
    for sample in base.samples:
        assert sample.mask_path is not None
        assert read_mask(sample.mask_path, (48, 48)).any()


def test_settings_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="got 'chipped_edge'"):
        generate(tmp_path / "a", "wood", types=["chipped_edge"])
    with pytest.raises(ConfigurationError, match="at least one defect type"):
        generate(tmp_path / "a", "wood", types=[])
    with pytest.raises(ConfigurationError, match="per_type: expected at least 1, got 0"):
        generate(tmp_path / "a", "wood", counts=Counts(per_type=0))
    with pytest.raises(ConfigurationError, match="strength"):
        generate(tmp_path / "a", "wood", strength=0)
    with pytest.raises(ConfigurationError, match="at least 2 types"):
        generate_labelled(tmp_path / "a", ["wood"], types=["hole"])
    with pytest.raises(ConfigurationError, match="got none"):
        generate_labelled(tmp_path / "a", [])
    with pytest.raises(ConfigurationError, match="got 'chipped_edge'"):
        generate_labelled(tmp_path / "a", ["gear", "wood"], types=["chipped_edge", "hole"])
    assert not list(tmp_path.iterdir())
