"""One tiny network, data set and finished run for all journeys."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from protoanomalyncd.cli.main import main
from protoanomalyncd.config import Config
from tests.tiny import network_folder, tiny_config, tiny_images, tiny_labelled


@dataclass(frozen=True)
class World:
    """What a user has; tests copy what they change.

    Args:
        images: MVTec AD layout.
        labelled: labelled set.
        settings: YAML file of tiny settings.
        config: the same settings.
        run: finished run on both, seed 0.
    """

    images: Path
    labelled: Path
    settings: Path
    config: Config
    run: Path

    def discover(self, *arguments: object) -> int:
        """``protoanomalyncd discover --config SETTINGS ARGUMENTS``."""
        return main(["discover", "--config", str(self.settings), "--quiet", *map(str, arguments)])


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    images, labelled = tiny_images(folder / "images"), tiny_labelled(folder / "known")
    config = tiny_config(network_folder(folder / "network"))
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump(config.to_dict()), encoding="utf-8")
    made = World(images, labelled, settings, config, folder / "run")
    assert made.discover(images, "--labelled", labelled, "--out", made.run) == 0
    return made
