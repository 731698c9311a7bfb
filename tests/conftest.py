"""What every test may count on: no network, few threads, the same random numbers each time.

Tests run on generated data and tiny models. Those that read the shared data beside the repository
take the fixture `shared_dir`, which marks where they can run.
"""

from __future__ import annotations

import os

# Before numpy and torch are imported: they read these once. Child processes inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
os.environ.setdefault("MKL_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

if TYPE_CHECKING:
    from tests.tiny_localisers import Checkpoints

REPOSITORY = Path(__file__).resolve().parents[1]

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what reads the shared data, so that ``-m "not shared"`` leaves it out."""
    for item in items:
        if "shared_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Global generators start from 0 in each test, whichever tests ran before."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - for libraries that draw from the global generator


@pytest.fixture
def rng() -> np.random.Generator:
    """Seeded generator of the test's own."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with ``data``, ``weights`` and ``maps``; skips where there is none.

    PROTOANOMALYNCD_SHARED names it; else it is ``shared`` beside the repository. With CI=true an
    absent folder is a failure, unless PROTOANOMALYNCD_SHARED=none says that there is none.
    """
    named = os.environ.get("PROTOANOMALYNCD_SHARED")
    if named == "none":
        pytest.skip("needs the shared data; PROTOANOMALYNCD_SHARED=none says that there is none")
    folder = Path(named) if named else REPOSITORY.parent / "shared"
    if (folder / "data").is_dir():
        return folder.resolve()
    reason = f"needs the shared data: no folder {folder}/data; name one by PROTOANOMALYNCD_SHARED"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., Path]:
    """Function that writes one image under `tmp_path` and returns its path.

    ``write_image("good/000.png", (48, 64))`` draws seeded noise of that height and width [px];
    an array of uint8, ``(H, W)`` or ``(H, W, 3)``, is written as it is.
    """

    def write(name: str, content: tuple[int, int] | np.ndarray = (32, 32), seed: int = 0) -> Path:
        if isinstance(content, tuple):
            draw = np.random.default_rng(seed)
            content = draw.integers(0, 256, (*content, 3), dtype=np.uint8)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Tiny models for the localisers, in folders; made once."""
    from tests.tiny_localisers import make_checkpoints

    return make_checkpoints(tmp_path_factory.mktemp("checkpoints"))
