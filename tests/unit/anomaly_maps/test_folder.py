from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from protoanomalyncd.anomaly_maps import FolderMaps
from protoanomalyncd.core.errors import AnomalyMapError, ConfigurationError
from protoanomalyncd.core.records import Sample, Skipped
from protoanomalyncd.datasets import match_maps, read_map
from protoanomalyncd.datasets.map_files import COARSE, smooth_coarse

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4) / 4


def _samples(*names: str) -> list[Sample]:
    return [Sample(Path("images") / name, name) for name in names]


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, VALUES)
        else:
            Image.fromarray((VALUES * 20).astype(np.uint8)).save(path)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int32, bool])
@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4), (3, 4, 1), (1, 1, 3, 4)])
def test_npy(tmp_path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "map.npy", VALUES.astype(dtype).reshape(shape))
    scores = read_map(tmp_path / "map.npy")
    np.testing.assert_array_equal(scores, VALUES.astype(dtype).astype(np.float32), strict=True)


def test_npy_of_another_byte_and_memory_order(tmp_path: Path) -> None:
    np.save(tmp_path / "map.npy", np.asfortranarray(VALUES.astype(">f8")))
    scores = read_map(tmp_path / "map.npy")
    np.testing.assert_array_equal(scores, VALUES, strict=True)
    assert scores.flags.c_contiguous


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".TIFF"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.uint8])
def test_tiff(tmp_path: Path, suffix: str, dtype: Any) -> None:
    values = (VALUES * 40).astype(dtype)
    path = tmp_path / f"map{suffix}"
    path.write_bytes(cv2.imencode(".tiff", values)[1].tobytes())
    np.testing.assert_array_equal(read_map(path), values.astype(np.float32), strict=True)


def test_tiff_of_pillow(tmp_path: Path) -> None:
    Image.fromarray(VALUES).save(tmp_path / "map.tiff", compression="tiff_deflate")
    np.testing.assert_array_equal(read_map(tmp_path / "map.tiff"), VALUES, strict=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png(tmp_path: Path, dtype: Any) -> None:
    values = (VALUES * np.iinfo(dtype).max / 3).astype(dtype)
    Image.fromarray(values).save(tmp_path / "map.png")
    np.testing.assert_array_equal(
        read_map(tmp_path / "map.png"), values.astype(np.float32), strict=True
    )


def test_png_of_one_bit(tmp_path: Path) -> None:
    Image.fromarray(VALUES > 1).save(tmp_path / "map.png")
    np.testing.assert_array_equal(read_map(tmp_path / "map.png"), (VALUES > 1).astype(np.float32))


def _with(value: float) -> np.ndarray:
    values = VALUES.copy()
    values[1, 2] = value
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (_with(np.nan), "got 1 of 12 NaN or infinite"),
        (_with(-np.inf), "got 1 of 12 NaN or infinite"),
        (_with(1.0).astype(np.float64) * 1e300, "NaN or infinite"),
        (np.zeros((0, 4)), "got an empty one"),
        (np.zeros((3, 4, 3)), "coloured heat map"),
        (np.zeros((2, 3, 4)), "got shape"),
        (np.zeros(5), "got shape"),
        (np.zeros((3, 4), complex), "expected numbers"),
        (np.zeros((3, 4), "datetime64[s]"), "expected numbers"),
    ],
)
def test_unusable_values_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "map.npy", values)
    with pytest.raises(AnomalyMapError, match=message) as caught:
        read_map(tmp_path / "map.npy")
    assert "map.npy" in str(caught.value)
    assert "\n" not in str(caught.value)


def _write_pickle(path: Path) -> None:
    """A file whose header announces Python objects, as numpy writes them by pickling."""
    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"\x80\x04K\x01.")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("map.npy", lambda path: path.write_bytes(b"")),
        ("map.npy", lambda path: path.write_bytes(b"\x93NUMPY\x01\x00")),
        ("map.npy", lambda path: path.write_bytes(b"text")),
        ("map.npy", _write_pickle),
        ("map.png", lambda path: path.write_bytes(b"")),
        ("map.png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n")),
        ("map.tiff", lambda path: path.write_bytes(b"")),
        ("map.tiff", lambda path: path.write_bytes(b"II*\x00")),
        ("map.png", lambda path: Image.new("RGB", (4, 3), (9, 0, 0)).save(path)),
        ("map.png", lambda path: Image.new("RGBA", (4, 3), (9, 0, 0, 0)).save(path)),
        ("map.png", lambda path: Image.new("LA", (4, 3)).save(path)),
        ("map.png", lambda path: Image.new("P", (4, 3)).save(path)),
        ("map.tiff", lambda path: Image.new("RGB", (4, 3), (9, 0, 0)).save(path)),
        ("map.jpg", lambda path: Image.new("L", (4, 3)).save(path)),
        ("map.npy", lambda path: None),
        ("map.npy", lambda path: path.mkdir()),
    ],
)
def test_unusable_files_are_refused_in_one_line(
    tmp_path: Path, name: str, write: Callable[[Path], Any]
) -> None:
    write(tmp_path / name)
    with pytest.raises(AnomalyMapError, match=r"expected ") as caught:
        read_map(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (64, 64), dtype=np.uint16)
    np.save(tmp_path / "map.npy", noise)
    Image.fromarray(noise).save(tmp_path / "map.png")
    for path in (tmp_path / "map.npy", tmp_path / "map.png"):
        path.write_bytes(path.read_bytes()[:-3000])
        with pytest.raises(AnomalyMapError, match="cannot be read"):
            read_map(path)


def test_maps_are_matched_by_relative_path(tmp_path: Path) -> None:
    _touch(tmp_path, "test/crack/000.npy", "test/hole/000.png", "test/good/a.b.npy", ".x/000.npy")
    found = match_maps(
        _samples("test/crack/000.png", "test/hole/000.jpg", "test/good/a.b.png"), tmp_path
    )
    assert {name: path.relative_to(tmp_path).as_posix() for name, path in found.items()} == {
        "test/crack/000.png": "test/crack/000.npy",
        "test/hole/000.jpg": "test/hole/000.png",
        "test/good/a.b.png": "test/good/a.b.npy",
    }


def test_maps_are_matched_by_unique_file_name(tmp_path: Path) -> None:
    _touch(tmp_path, "MT_Crack/exp1.npy", "exp2.npy", "MT_Free/unused.npy")
    found = match_maps(_samples("test/crack/exp1.png", "test/good/exp2.png"), tmp_path)
    assert found["test/crack/exp1.png"] == tmp_path / "MT_Crack/exp1.npy"
    assert found["test/good/exp2.png"] == tmp_path / "exp2.npy"


def test_a_missing_map_is_not_replaced_by_another_folders(tmp_path: Path) -> None:
    # Only test/hole/007.npy exists; the crack of the same number must not take it.
    _touch(tmp_path, "test/crack/001.npy", "test/crack/002.npy", "test/hole/007.npy")
    samples = _samples("test/crack/001.png", "test/crack/002.png", "test/crack/007.png")
    assert sorted(match_maps(samples, tmp_path)) == ["test/crack/001.png", "test/crack/002.png"]


@pytest.mark.parametrize(
    ("maps", "images", "message"),
    [
        (["a/1.npy", "b/1.npy"], ["x/1.png"], "one anomaly map for x/1.png, got a/1.npy and b"),
        (["a/1.npy"], ["x/1.png", "y/1.png"], "got a/1.npy for both x/1.png and y/1.png; name"),
        (["x/1.npy", "x/1.png"], ["x/1.png"], "one anomaly map for x/1.png, got x/1.npy and"),
        (["a/1.npy"], ["x/2.png"], "1 of 1 have none; first: x/2.png"),
        (["x/1.npy"], ["x/1.png", "x/2.png", "x/3.png"], "2 of 3 have none; first: x/2.png"),
        ([], ["x/1.png"], "got no such file"),
    ],
)
def test_what_cannot_be_matched_is_one_clear_error(
    tmp_path: Path, maps: list[str], images: list[str], message: str
) -> None:
    _touch(tmp_path, *maps)
    with pytest.raises(AnomalyMapError, match=message) as caught:
        match_maps(_samples(*images), tmp_path)
    assert "\n" not in str(caught.value)


def test_images_that_differ_by_their_suffix_have_maps_of_their_own(tmp_path: Path) -> None:
    samples = _samples("x/a.png", "x/a.jpg", "x/b.png")
    _touch(tmp_path, "x/a.npy", "x/b.npy")
    with pytest.raises(AnomalyMapError, match=r"x/a.npy for both x/a.png and x/a.jpg; name them"):
        match_maps(samples, tmp_path)
    _touch(tmp_path, "x/a.png.npy")
    found = match_maps(samples, tmp_path)  # the other map is left for one image only
    assert [found[s.name].name for s in samples] == ["a.png.npy", "a.npy", "b.npy"]
    _touch(tmp_path, "x/a.jpg.npy", "x/b.png.npy")
    found = match_maps(samples, tmp_path)  # the whole name comes first
    assert [found[s.name].name for s in samples] == [f"{s.name[2:]}.npy" for s in samples]
    found = match_maps(_samples("y/a.png", "y/a.jpg"), tmp_path)  # and by file name alone
    assert [path.name for path in found.values()] == ["a.png.npy", "a.jpg.npy"]


def test_maps_beside_images_links_letters_and_a_level_less(tmp_path: Path) -> None:
    _touch(tmp_path, "m/Pr\u00fc.npy", "m/b.npy", "m/b.png")
    samples = [Sample(tmp_path / "m/b.png", "b.png"), *_samples("Pru\u0308.png")]
    found = match_maps(samples, tmp_path / "m")
    assert sorted(path.name for path in found.values()) == ["Pr\u00fc.npy", "b.npy"]
    _touch(tmp_path, "store/1.npy", "n/hole/1.npy")
    (tmp_path / "n/crack").symlink_to(tmp_path / "store")
    found = match_maps(_samples("test/crack/1.png", "test/hole/1.png"), tmp_path / "n")
    assert [path.parent.name for path in found.values()] == ["crack", "hole"]


def test_half_floats_and_grey_in_three_channels(tmp_path: Path) -> None:
    half = VALUES.astype(np.float16)
    data = bytearray(cv2.imencode(".tiff", half.view(np.uint16))[1].tobytes())
    at = data.find(b"\x53\x01\x03\x00")  # tag 339: which kind of number
    data[at + 8] = 3
    (tmp_path / "half.tiff").write_bytes(data)
    np.testing.assert_array_equal(read_map(tmp_path / "half.tiff"), VALUES)
    grey = (VALUES * 80).astype(np.uint8)
    Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_map(tmp_path / "grey.png"), grey.astype(np.float32))
    np.save(tmp_path / "row.npy", VALUES.reshape(1, -1))
    with pytest.raises(AnomalyMapError, match="one line of 12 values; reshape"):
        read_map(tmp_path / "row.npy")


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AnomalyMapError, match="expected a folder of anomaly maps"):
        match_maps(_samples("1.png"), tmp_path / "none")


def test_missing_and_unusable_maps_are_skipped_with_a_reason(tmp_path: Path) -> None:
    _touch(tmp_path, "1.npy", "2.npy", "3.npy")
    np.save(tmp_path / "2.npy", _with(np.nan))
    results = list(FolderMaps(tmp_path).score(_samples("1.png", "2.png", "3.png", "4.png")))
    kinds = [type(result).__name__ for _, result in results]
    assert kinds == ["ndarray", "Skipped", "ndarray", "Skipped"]
    unusable, missing = results[1][1], results[3][1]
    assert isinstance(unusable, Skipped)
    assert "NaN" in unusable.reason
    assert isinstance(missing, Skipped)
    assert "no anomaly map" in missing.reason


def test_coarse_maps_are_smoothed_and_fine_ones_left_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse, fine = (rng.random((side, 40), dtype=np.float32) for side in (COARSE, COARSE + 1))
    for name, amap in (("1", coarse), ("2", fine)):
        np.save(tmp_path / f"{name}.npy", amap)
    source = FolderMaps(tmp_path, coarse_smoothing=1.0)
    smoothed, untouched = (scores for _, scores in source.score(_samples("1.png", "2.png")))
    assert isinstance(smoothed, np.ndarray)
    expected = gaussian_filter(coarse, 1.0, mode="mirror", truncate=4)
    np.testing.assert_allclose(smoothed, expected, atol=1e-5)
    np.testing.assert_array_equal(untouched, fine)  # type: ignore[arg-type]
    assert source.arguments() == {"coarse_smoothing": 1.0}
    (_, as_it_is), *_ = FolderMaps(tmp_path, coarse_smoothing=0).score(_samples("1.png", "2.png"))
    np.testing.assert_array_equal(as_it_is, coarse)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(0, 4), (3, 4, 4), ()])
def test_what_is_no_map_is_left_to_whoever_refuses_it(shape: tuple[int, ...]) -> None:
    odd = np.zeros(shape, np.float32)
    assert smooth_coarse(odd, 1.0) is odd


def test_a_loaded_model_asks_for_the_folder_of_the_new_images() -> None:
    with pytest.raises(ConfigurationError, match=r"--maps FOLDER.*got none"):
        FolderMaps().score(_samples("1.png"))


def test_the_shared_maps_of_mtd(shared_dir: Path) -> None:
    """Folders are the original MT_* names; the prepared data set calls them test/<type>."""
    folder = shared_dir / "maps" / "mtd_fused"
    names = {"MT_Free": "good"}
    samples = [
        Sample(
            image,
            f"test/{names.get(kind.name, kind.name.removeprefix('MT_').lower())}/{image.stem}.png",
        )
        for kind in sorted((shared_dir / "data" / "mtd").glob("MT_*"))
        for image in sorted((kind / "Imgs").glob("*.jpg"))
        if (folder / kind.name / f"{image.stem}.npy").is_file()
    ]
    assert len(samples) == 583
    results = list(FolderMaps(folder, coarse_smoothing=0).score(samples))
    assert [sample for sample, _ in results] == samples
    for sample, scores in results:
        assert not isinstance(scores, Skipped)
        assert scores.shape == (32, 32)
        kind = sample.path.parent.parent.name
        np.testing.assert_array_equal(scores, np.load(folder / kind / f"{sample.path.stem}.npy"))
