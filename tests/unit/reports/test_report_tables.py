"""The CSV files and the terminal table."""

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from protoanomalyncd.core.errors import InputError
from protoanomalyncd.core.records import Discovery
from protoanomalyncd.reports import (
    read_predictions,
    summary_table,
    write_predictions,
    write_regions,
)
from tests.unit.reports.builder import NASTY_NAMES, discovery


def test_predictions_byte_by_byte(tmp_path: Path) -> None:
    found = discovery(2, 2, truth=False)
    path = write_predictions(tmp_path / "p.csv", found)
    first, second = (f"{image.confidence:.6f}" for image in found.images)
    assert path.read_bytes().decode() == (
        "image,class_id,class,confidence,outlier_score,anomaly_score,n_regions,true_class\r\n"
        f"type_0/00000.png,0,normal,{first},0.000000,0.050000,0,\r\n"
        f"type_1/00001.png,1,kind 1,{second},0.100000,0.900000,1,\r\n"
    )


def test_predictions_come_back(tmp_path: Path) -> None:
    found = discovery(0, names=NASTY_NAMES, class_names=("=1+1", 'a "b", c', "-3", "@x"))
    rows = read_predictions(write_predictions(tmp_path / "p.csv", found))
    assert [row.image for row in rows] == [image.name for image in found.images]
    assert [row.class_id for row in rows] == [image.class_id for image in found.images]
    assert {row.class_name for row in rows} == set(found.class_names)
    assert [row.true_class for row in rows] == [image.true_class for image in found.images]
    for row, image in zip(rows, found.images, strict=True):
        assert row.confidence == pytest.approx(image.confidence, abs=1e-6)
        assert row.n_regions == image.n_regions


def test_a_name_that_is_not_unicode_comes_back(tmp_path: Path) -> None:
    found = discovery(0, names=["bad\udcff.png"])
    assert (
        read_predictions(write_predictions(tmp_path / "p.csv", found))[0].image == "bad\udcff.png"
    )


def test_an_outlier_is_called_outlier(tmp_path: Path) -> None:
    rows = read_predictions(write_predictions(tmp_path / "p.csv", discovery(3, n_outliers=1)))
    assert (rows[0].class_id, rows[0].class_name) == (-1, "outlier")


def test_regions(tmp_path: Path) -> None:
    found = discovery(4)
    text = write_regions(tmp_path / "r.csv", found).read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0])[-2:] == ["descriptor_area", "elongation"]
    assert rows[0]["descriptor_area"] == ""
    region = found.regions[1]
    assert [int(rows[1][k]) for k in ("x0", "y0", "x1", "y1")] == list(region.region.box)
    assert [int(rows[1][f"crop_{k}"]) for k in ("x0", "y0", "x1", "y1")] == list(
        region.region.crop_box
    )
    assert rows[0]["whole_image"] == "1"
    assert rows[1]["elongation"] == "2.500000"
    assert rows[1]["class"] == "kind 1"


def test_empty_discovery(tmp_path: Path) -> None:
    empty = Discovery((), (), ())
    assert read_predictions(write_predictions(tmp_path / "p.csv", empty)) == []
    assert write_regions(tmp_path / "r.csv", empty).read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected the columns .*; got nothing"),
        ("image,class\r\na,b\r\n", "got image, class"),
        (
            "image,class_id,class,confidence,outlier_score,anomaly_score,n_regions,true_class\r\n"
            "a,one,b,0,0,0,0,\r\n",
            "line 2: expected 8 readable values",
        ),
    ],
)
def test_unreadable_predictions(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "p.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_predictions(path)


def test_absent_predictions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_predictions(tmp_path / "none.csv")


def test_summary_table() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    names = ("normal", "[red]kind[/red]", "kind 2", "kind 3")
    console.print(summary_table(discovery(21, class_names=names, n_outliers=1), {1: "small"}))
    text = console.export_text().splitlines()
    lines = [line.split() for line in text if line.startswith("│") and "%" in line]
    assert [line[1] for line in lines] == ["[red]kind[/red]", "kind", "kind", "could", "normal"]
    assert "small" in lines[0]
    assert lines[0].count("5") == 2
