"""A folder of results is there and can be written to, or one line says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from protoanomalyncd.core.errors import OutputError
from research.studies.folders import ensure_folder


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="expected a folder that can be written to") as caught:
            ensure_folder(folder)
        assert "\n" not in str(caught.value)
    assert ensure_folder(tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []
