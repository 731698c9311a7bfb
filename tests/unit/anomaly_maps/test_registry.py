from __future__ import annotations

import pytest

from protoanomalyncd.anomaly_maps import FolderMaps, choose, create, register, registered
from protoanomalyncd.anomaly_maps.registry import SOURCES
from protoanomalyncd.core.errors import ConfigurationError


def test_create_passes_what_the_constructor_takes_and_saved_arguments_come_first() -> None:
    @register("test_registry_source")
    class Source(FolderMaps):
        def __init__(self, seed: int, device: str = "cpu") -> None:
            super().__init__()
            self.given = (seed, device)

    try:
        assert "test_registry_source" in registered()
        source = create("test_registry_source", {"seed": 4}, seed=5, device="meta", folder="x")
        assert source.given == (4, "meta")  # type: ignore[attr-defined]
        assert source.name == "test_registry_source"
        assert FolderMaps.name == "folder"
    finally:
        del SOURCES.classes["test_registry_source"]


@pytest.mark.parametrize(
    ("source", "has_normal", "has_maps", "chosen"),
    [
        ("auto", True, False, "patch_memory"),
        ("auto", False, False, "mutual_scoring"),
        ("auto", False, True, "folder"),
        ("mutual_scoring", True, False, "mutual_scoring"),
        ("patch_memory", False, False, "patch_memory"),
        ("patch_memory", True, True, "folder"),
    ],
)
def test_the_choice_of_the_source(
    source: str, has_normal: bool, has_maps: bool, chosen: str
) -> None:
    assert choose(source, has_normal=has_normal, has_maps=has_maps) == chosen


def test_maps_from_no_folder_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"expected a folder of anomaly maps \(--maps\)"):
        choose("folder", has_normal=True, has_maps=False)


def test_a_name_is_given_once() -> None:
    with pytest.raises(ConfigurationError, match="expected a new name, got 'folder'"):
        register("folder")(type("Other", (FolderMaps,), {}))
    assert register("folder")(FolderMaps) is FolderMaps
