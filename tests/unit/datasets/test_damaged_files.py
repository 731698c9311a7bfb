"""Files that do not come from us: whatever the bytes, one line of the expected kind, and soon."""

from __future__ import annotations

import os
import resource
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from protoanomalyncd.anomaly_maps import FolderMaps
from protoanomalyncd.core.errors import AnomalyMapError, ImageError, InputError
from protoanomalyncd.core.records import Sample, Skipped
from protoanomalyncd.datasets import content_key, load_dataset, read_image, read_map, read_mask
from protoanomalyncd.localisation import FolderMasks, Located
from protoanomalyncd.localisation.folder import read_object_mask


def _npy(header: bytes, version: bytes = b"\x01\x00", data: bytes = bytes(64)) -> bytes:
    """A file with any text as its header."""
    header = header.ljust(118 - 1) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


def _shape(shape: str, kind: str = "<f4") -> bytes:
    return _npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".encode())


def _cut_archive(tmp_path: Path) -> bytes:
    np.savez(tmp_path / "all.npz", a=np.ones((9, 9)), b=np.ones((9, 9)))
    return (tmp_path / "all.npz").read_bytes()[:-90]


DAMAGED = {
    "brace": _npy(b"{"),
    "nested": _npy(b"(" * 110),
    "spaces": _npy(b" x\n  y\n z"),
    "true": _shape("(True, 2)"),
    "negative": _shape("(-1, 4)"),
    "huge": _shape("(99999999999999, 99999999999999)"),
    "kind": _shape("(4, 4)", "nonsense"),
    "null": _npy(b"\x00"),
    "archive": b"PK\x03\x04" + bytes(40),
    "version": _npy(b"{}", b"\x09\x00"),
}
READERS: list[tuple[Callable[[Path], object], type[InputError]]] = [
    (read_map, AnomalyMapError),
    (read_object_mask, ImageError),
]


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize(("read", "error"), READERS)
def test_damaged_headers_are_one_line(
    tmp_path: Path, name: str, read: Callable[[Path], object], error: type[InputError]
) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(error, match="expected") as caught:
        read(path)
    message = str(caught.value).removeprefix(str(path))
    assert "\n" not in message
    assert len(message) < 250


@pytest.mark.parametrize(("read", "error"), READERS)
def test_an_archive_named_npy_is_refused(
    tmp_path: Path, read: Callable[[Path], object], error: type[InputError]
) -> None:
    cut = _cut_archive(tmp_path)
    for content in (cut, (tmp_path / "all.npz").read_bytes()):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(error, match="expected"):
            read(tmp_path / "a.npy")


def _originals(tmp_path: Path) -> dict[str, bytes]:
    values = (np.arange(80).reshape(8, 10) * 3).astype(np.uint8)
    np.save(tmp_path / "o.npy", values.astype(np.float32))
    Image.fromarray(values).save(tmp_path / "o.png")
    cv2.imwrite(str(tmp_path / "o.tiff"), values.astype(np.float32))
    Image.fromarray(values).save(tmp_path / "p.tiff", compression="tiff_lzw")
    return {name: (tmp_path / name).read_bytes() for name in ("o.npy", "o.png", "o.tiff", "p.tiff")}


def test_changed_bytes_never_raise_anything_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    start, messages = time.process_time(), list[str]()
    for name, whole in _originals(tmp_path).items():
        path = tmp_path / f"changed{Path(name).suffix}"
        for _ in range(200):
            data = bytearray(whole)
            for at in draw.integers(0, min(len(data), 300), draw.integers(1, 6)):
                data[at] = draw.integers(256)
            if draw.random() < 0.2:
                del data[int(draw.integers(len(data))) :]
            path.write_bytes(data)
            for read, error in (*READERS, (lambda p: read_mask(p, (8, 10)), ImageError)):
                try:
                    read(path)
                except error as refused:
                    messages.append(str(refused).removeprefix(str(path)))
    capfd.readouterr()  # libtiff warns by itself
    assert len(messages) > 200
    assert max(map(len, messages)) < 300
    assert not [text for text in messages if "\n" in text]
    assert time.process_time() - start < 20


def test_a_damaged_map_or_mask_costs_one_image(tmp_path: Path) -> None:
    samples = [Sample(tmp_path / f"{k}.png", f"{k}.png") for k in range(3)]
    for k in range(3):
        np.save(tmp_path / f"{k}.npy", np.eye(9, dtype=np.float32))
    (tmp_path / "1.npy").write_bytes(DAMAGED["brace"])
    kinds = [type(result) for _, result in FolderMaps(tmp_path).score(samples)]
    assert kinds == [np.ndarray, Skipped, np.ndarray]
    located = [result for _, result in FolderMasks(tmp_path).locate(samples)]
    assert all(isinstance(found, Located) for found in located)
    assert [bool(found.warning) for found in located if isinstance(found, Located)] == [
        False,
        True,
        False,
    ]


# Size


def _large(path: Path, side: int) -> None:
    """A file of a few bytes whose header announces a large picture."""
    if path.suffix == ".npy":
        header = {"descr": "|u1", "fortran_order": False, "shape": (side, side)}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + side * side)  # a file with a hole
    elif path.suffix == ".png":
        chunk = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        body = struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + b"\0\0\0\0IDAT" + b"\0" * 8)
    else:
        tags = [(256, 4, side), (257, 4, side), (258, 3, 32), (259, 3, 1), (262, 3, 1)]
        tags += [(273, 4, 8), (277, 3, 1), (278, 4, side), (279, 4, 4 * side * side), (339, 3, 3)]
        entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
        path.write_bytes(b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4))


@pytest.mark.parametrize("suffix", [".npy", ".tiff", ".png"])
@pytest.mark.parametrize(("read", "error"), READERS)
def test_large_files_are_refused_by_their_header(
    tmp_path: Path, suffix: str, read: Callable[[Path], object], error: type[InputError]
) -> None:
    path = tmp_path / f"a{suffix}"
    _large(path, 12_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match="at most 100 million pixels, got 12000 x 12000"):
            read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_coloured_tiff_counts_its_channels(tmp_path: Path) -> None:
    Image.new("RGB", (6000, 6000), (9, 0, 0)).save(tmp_path / "a.tiff", compression="tiff_deflate")
    with pytest.raises(AnomalyMapError, match="at most 100 million"):
        read_map(tmp_path / "a.tiff")


# Kinds of file


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.png", "a.npy"):
        os.mkfifo(tmp_path / name)
    for read in (read_image, content_key, read_object_mask):
        with pytest.raises(ImageError, match="got a pipe or a device"):
            read(tmp_path / "a.png")
    for read in (read_map, read_object_mask):
        with pytest.raises(InputError, match="got a pipe or a device"):
            read(tmp_path / "a.npy")


def test_what_is_no_file_is_listed(tmp_path: Path) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "real.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "good.png").symlink_to(tmp_path / "real.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "absent.png")
    data = load_dataset(tmp_path)
    assert [s.name for s in data.unlabelled] == ["good.png", "real.png"]
    assert [s.name for s in data.skipped] == ["dangling.png", "pipe.png"]


def test_formats_that_nobody_named_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n")
    with pytest.raises(ImageError, match="another or a damaged format"):
        read_image(path)
    with pytest.raises(AnomalyMapError, match="cannot identify"):
        read_map(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_in_every_format(tmp_path: Path, suffix: str, orientation: int) -> None:
    values = np.zeros((16, 24), np.uint8)
    values[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(values).save(path, exif=exif)
    upright = {
        1: values,
        2: values[:, ::-1],
        3: values[::-1, ::-1],
        4: values[::-1],
        5: values.T,
        6: np.rot90(values, -1),
        7: values[::-1, ::-1].T,
        8: np.rot90(values),
    }[orientation]
    np.testing.assert_array_equal(read_image(path)[..., 0] > 127, upright > 127)
