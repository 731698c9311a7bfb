"""One tiny network for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from protoanomalyncd.vit import GuidedEncoder
from tests.tiny import network_folder, tiny_encoder


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return network_folder(tmp_path_factory.mktemp("network") / "vit", depth=2)


@pytest.fixture
def encoder(network: Path) -> GuidedEncoder:
    """A fresh tail in each test."""
    return tiny_encoder(network)
