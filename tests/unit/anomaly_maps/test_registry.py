from __future__ import annotations

from typing import Any

import pytest

from protoanomalyncd.anomaly_maps import (
    DETECTORS,
    FolderMaps,
    check_detector,
    choose,
    create,
    register,
    registered,
)
from protoanomalyncd.config import Component
from protoanomalyncd.core.errors import ConfigurationError


def test_create_passes_what_the_constructor_takes_and_saved_arguments_come_first() -> None:
    @register("test_registry_source")
    class Source(FolderMaps):
        def __init__(self, seed: int, device: str = "cpu") -> None:
            super().__init__()
            self.given = (seed, device)

    try:
        assert "test_registry_source" in registered()
        saved = {"name": "test_registry_source", "arguments": {"seed": 4}}
        source = DETECTORS.restore(saved, seed=5, device="meta", folder="x")
        assert source.given == (4, "meta")  # type: ignore[attr-defined]
        assert source.name == "test_registry_source"
        assert FolderMaps.name == "folder"
    finally:
        del DETECTORS.classes["test_registry_source"]


@pytest.mark.parametrize(
    ("name", "has_normal", "maps", "chosen"),
    [
        ("auto", True, None, "patch_memory"),
        ("auto", False, None, "mutual_scoring"),
        ("auto", False, "maps", "folder"),
        ("mutual_scoring", True, None, "mutual_scoring"),
        ("patch_memory", False, None, "patch_memory"),
        ("folder", True, "maps", "folder"),
    ],
)
def test_the_choice_of_the_source(
    name: str, has_normal: bool, maps: str | None, chosen: str
) -> None:
    assert choose(Component(name), maps, has_normal) == Component(chosen)


@pytest.mark.parametrize("name", ["patch_memory", "mutual_scoring"])
def test_maps_beside_another_detector_are_refused(name: str) -> None:
    """Fault 9: they overrode it silently."""
    with pytest.raises(ConfigurationError, match=rf"\(--maps\) beside {name}, got m; leave out"):
        choose(Component(name), "m", has_normal=True)


def test_maps_from_no_folder_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"needs a folder of anomaly maps \(--maps\)"):
        choose(Component("folder"), None, has_normal=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "patch_memory",
            {"reference_images": 3},
            "detector: patch_memory has no option 'reference_images'; its options are image_size, "
            "memory_size, whitening, smoothing",
        ),
        ("patch_memory", {"seed": 3}, "has no option 'seed'"),
        ("folder", {"folder": "x"}, "has no option 'folder'; its options are coarse_smoothing"),
        ("patch_memory", {"memory_size": 0}, "detector.memory_size: expected at least 1, got 0"),
        ("patch_memory", {"whitening": "much"}, "detector.whitening: expected a number or null"),
        ("mutual_scoring", {"reference_images": 2}, "detector.reference_images: expected at least"),
        ("pca", {}, "detector: expected one of auto, folder, mutual_scoring, patch_memory, got"),
    ],
)
def test_options_are_checked_without_building(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_detector(Component(name, options), "maps" if name == "folder" else None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_beside_auto_are_those_of_the_chosen_one() -> None:
    options = Component("auto", {"reference_images": 5})
    assert choose(options, None, has_normal=False).options == {"reference_images": 5}
    with pytest.raises(ConfigurationError, match="patch_memory has no option 'reference_images'"):
        choose(options, None, has_normal=True)
    with pytest.raises(ConfigurationError, match="folder has no option 'reference_images'"):
        choose(options, "maps", has_normal=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("patch_memory", {"image_size": 31}),
        ("patch_memory", {"memory_size": 0}),
        ("patch_memory", {"whitening": 0.0}),
        ("patch_memory", {"smoothing": -0.5}),
        ("mutual_scoring", {"image_size": 64.5}),
        ("mutual_scoring", {"reference_images": 2}),
        ("folder", {"coarse_smoothing": float("nan")}),
    ],
)
def test_the_constructors_check_their_numbers(name: str, options: dict[str, Any]) -> None:
    offered = {} if name == "folder" else {"backbone": object()}
    with pytest.raises(ConfigurationError, match=f"detector.{next(iter(options))}: expected "):
        DETECTORS.get(name)(**offered, **options)


def test_a_name_is_given_once() -> None:
    with pytest.raises(ConfigurationError, match="expected a new name, got 'folder'"):
        register("folder")(type("Other", (FolderMaps,), {}))
    assert register("folder")(FolderMaps) is FolderMaps


def test_a_missing_backbone_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"backbone: expected .* patch_memory needs it"):
        create("patch_memory", folder="maps")
