"""Real-IAD and AeBAD -> MVTec AD layout, on miniatures of the published folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protoanomalyncd.cli.main import main
from protoanomalyncd.core.errors import ConfigurationError, DatasetError, ImageError, OutputError
from protoanomalyncd.datasets import (
    REAL_IAD_CODES,
    load_dataset,
    load_labelled,
    prepare,
    prepare_aebad,
    prepare_real_iad,
    read_mask,
)

Write = Callable[..., Path]
MASK = np.zeros((32, 32), np.uint8)
MASK[4:8, 4:9] = 255


def entry(code: str, path: str, mask: str | None = None) -> dict[str, Any]:
    return {"category": "usb", "anomaly_class": code, "image_path": path, "mask_path": mask}


def ok(sample: int, view: int) -> str:
    return f"OK/S{sample:04d}/usb_{sample:04d}_OK_C{view}_20231024.jpg"


def ng(code: str, sample: int, view: int) -> str:
    return f"NG/{code}/S{sample:04d}/usb_{sample:04d}_NG_{code}_C{view}_20231024.jpg"


@pytest.fixture
def real_iad(tmp_path: Path, write_image: Write) -> Path:
    """Product usb: two normal views to train, one to test, two defects, and a view without it."""
    test = [entry("OK", ok(3, 1)), entry("OK", ng("BX", 4, 2))]
    for code, sample in (("BX", 4), ("ZW", 5)):
        path = ng(code, sample, 1)
        mask = path.replace(".jpg", ".png")
        test.append(entry(code, path, mask))
        write_image(f"real/realiad_256/usb/{mask}", MASK)
    train = [entry("OK", ok(1, 1)), entry("OK", ok(1, 2))]
    for number, item in enumerate((*train, *test)):
        write_image(f"real/realiad_256/usb/{item['image_path']}", seed=number)
    write_json(tmp_path, {"train": train, "test": test})
    return tmp_path / "real"


def write_json(folder: Path, splits: dict[str, Any], below: str = "realiad_jsons") -> Path:
    path = folder / "real" / "realiad_jsons" / below / "usb.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"meta": {"normal_class": "OK", "prefix": "usb/", "pre_transform": "null"}, **splits}
    path.write_text(json.dumps(values))
    return path


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "real" / "realiad_jsons" / "realiad_jsons" / "usb.json"
    values = json.loads(path.read_text())
    edit(values)
    path.write_text(json.dumps(values))


def test_real_iad(real_iad: Path, tmp_path: Path) -> None:
    summary = prepare_real_iad(real_iad, tmp_path / "out")
    # The second view of the deformed sample shows nothing: its JSON entry, not its folder, decides.
    assert summary.counts == {"train/good": 2, "test/good": 2, "test/BX": 1, "test/ZW": 1}
    assert not summary.left_out
    data = load_dataset(tmp_path / "out")
    assert data.layout == "mvtec"
    assert {s.label for s in data.unlabelled} == {"good", "BX", "ZW"}
    assert {s.label for s in data.unlabelled} - {"good"} <= set(REAL_IAD_CODES)
    deformed = next(s for s in data.unlabelled if s.label == "BX")
    assert deformed.path.name == "usb_0004_NG_BX_C1_20231024.jpg"
    assert (
        deformed.path.read_bytes() == (real_iad / "realiad_256/usb" / ng("BX", 4, 1)).read_bytes()
    )
    assert deformed.mask_path is not None
    assert read_mask(deformed.mask_path, (32, 32)).sum() == 20
    again = prepare_real_iad(real_iad, tmp_path / "out")
    assert again.reused


def test_real_iad_by_one_json_file(real_iad: Path, tmp_path: Path) -> None:
    single = write_json(
        tmp_path,
        {
            "train": [entry("OK", ok(1, 1)), entry("BX", ng("BX", 4, 1))],
            "test": [entry("ZW", ng("ZW", 5, 1), ng("ZW", 5, 1).replace(".jpg", ".png"))],
        },
        "realiad_jsons_fuiad_0.4",
    )
    summary = prepare_real_iad(single, tmp_path / "out")
    assert summary.counts == {"train/good": 1, "test/ZW": 1}
    assert summary.left_out == {"defective, in the training split": 1}
    with pytest.raises(OutputError, match="prepared before"):
        prepare_real_iad(real_iad, tmp_path / "out")


def test_real_iad_asks_for_what_is_not_clear(
    real_iad: Path, tmp_path: Path, write_image: Write
) -> None:
    (real_iad / "realiad_512" / "usb").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="--resolution: expected one of 256, 512 in"):
        prepare_real_iad(real_iad, tmp_path / "out")
    assert prepare_real_iad(real_iad, tmp_path / "out", resolution="256").counts["test/BX"] == 1
    jsons = real_iad / "realiad_jsons" / "realiad_jsons"
    (jsons / "toy.json").write_text((jsons / "usb.json").read_text())
    with pytest.raises(ConfigurationError, match="--category: expected one of toy, usb, got None"):
        prepare_real_iad(real_iad, tmp_path / "b", resolution="256")
    assert prepare_real_iad(real_iad, tmp_path / "b", "usb", "256").counts["test/BX"] == 1


@pytest.mark.parametrize(
    ("edit", "error", "part"),
    [
        (lambda v: v.pop("test"), DatasetError, "expected Real-IAD's JSON"),
        (lambda v: v["test"][0].pop("image_path"), DatasetError, "expected Real-IAD's JSON"),
        (lambda v: v["test"][0].update(image_path=5), DatasetError, "expected Real-IAD's JSON"),
        (lambda v: v["meta"].update(normal_class="good"), DatasetError, "as the normal class"),
        (lambda v: v["test"][2].update(mask_path=None), DatasetError, "expected a mask_path"),
        (lambda v: v["test"][2].update(mask_path="no.png"), ImageError, "expected a readable"),
        (lambda v: v["test"][0].update(image_path="no.jpg"), ImageError, "expected a readable"),
        (
            lambda v: v["test"][0].update(image_path="../../../secret.jpg"),
            DatasetError,
            "expected paths below",
        ),
        (lambda v: v["test"][2].update(anomaly_class="../x"), DatasetError, "a defect code"),
        (lambda v: v["test"].append(v["test"][0]), DatasetError, "expected each image once"),
    ],
)
def test_a_bad_json_is_one_line_and_leaves_nothing(
    real_iad: Path,
    tmp_path: Path,
    edit: Callable[[dict[str, Any]], object],
    error: type[Exception],
    part: str,
) -> None:
    change(tmp_path, edit)
    with pytest.raises(error, match=part) as caught:
        prepare_real_iad(real_iad, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*out*"))


def test_a_wrong_source_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DatasetError, match=r"expected realiad_jsons/realiad_jsons/<category>\.json"
    ):
        prepare_real_iad(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DatasetError, match="expected a JSON file of Real-IAD"):
        prepare_real_iad(tmp_path / "usb.json", tmp_path / "out")
    (tmp_path / "empty" / "usb.json").write_text("{}")
    for source in (tmp_path / "empty", tmp_path / "empty" / "usb.json"):
        with pytest.raises(DatasetError, match=r"expected realiad_"):
            prepare_real_iad(source, tmp_path / "out")
    with pytest.raises(DatasetError, match="got no train/good, test"):
        prepare_aebad(tmp_path / "empty", tmp_path / "out")


# AeBAD


@pytest.fixture
def blades(tmp_path: Path, write_image: Write) -> Path:
    """AeBAD-S: file names repeat between the domains."""
    for domain in ("background", "illumination", "view"):
        write_image(f"AeBAD/AeBAD_S/train/good/{domain}/1.png", seed=len(domain))
    for seed, domain in enumerate(("same", "view")):
        write_image(f"AeBAD/AeBAD_S/test/good/{domain}/1.png", seed=20 + seed)
        for kind in ("ablation", "fracture"):
            write_image(f"AeBAD/AeBAD_S/test/{kind}/{domain}/1.png", seed=30 + seed + len(kind))
            write_image(f"AeBAD/AeBAD_S/ground_truth/{kind}/{domain}/1.png", MASK)
    return tmp_path / "AeBAD" / "AeBAD_S"


def test_aebad_s_as_images_and_as_labelled_set(blades: Path, tmp_path: Path) -> None:
    summary = prepare_aebad(blades, tmp_path / "out")
    assert summary.counts == {
        "train/good": 3,
        "test/ablation": 2,
        "test/fracture": 2,
        "test/good": 2,
    }
    data = load_dataset(tmp_path / "out")
    assert [s.name for s in data.normal] == [
        "train/good/background_1.png",
        "train/good/illumination_1.png",
        "train/good/view_1.png",
    ]
    base = load_labelled(tmp_path / "out")
    assert base.class_names == ("ablation", "fracture")
    for sample in base.samples:
        assert sample.mask_path is not None
        assert read_mask(sample.mask_path, (32, 32)).sum() == 20
    same = next(s for s in data.unlabelled if s.name == "test/fracture/same_1.png")
    assert same.path.read_bytes() == (blades / "test/fracture/same/1.png").read_bytes()


def test_aebad_v_has_no_masks(tmp_path: Path, write_image: Write) -> None:
    for video in ("video1", "video2"):
        write_image(f"V/train/good/{video}_train/0001.jpg")
        for kind in ("good", "anomaly"):
            write_image(f"V/test/{video}/{kind}/0001.jpg")
    summary = prepare_aebad(tmp_path / "V", tmp_path / "out")
    assert summary.counts == {"train/good": 2, "test/anomaly": 2, "test/good": 2}
    data = load_dataset(tmp_path / "out")
    assert [s.name for s in data.unlabelled] == [
        "test/anomaly/video1_0001.jpg",
        "test/anomaly/video2_0001.jpg",
        "test/good/video1_0001.jpg",
        "test/good/video2_0001.jpg",
    ]


def test_aebad_with_something_missing(blades: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected one of AeBAD's two sets"):
        prepare_aebad(blades.parent, tmp_path / "out")
    (blades / "ground_truth/fracture/view/1.png").unlink()
    with pytest.raises(DatasetError, match=r"expected the mask of view/1.png, got nothing there"):
        prepare_aebad(blades, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


# The command


def test_options_belong_to_their_data_set(
    real_iad: Path, blades: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        ConfigurationError, match="--category: expected none for the data set aebad"
    ):
        prepare("aebad", blades, tmp_path / "x", category="usb")
    out = str(tmp_path / "usb")
    arguments = ["prepare", "real_iad", str(real_iad), out, "--category", "usb"]
    assert main([*arguments, "--resolution", "256"]) == 0
    assert "train/good 2" in " ".join(capsys.readouterr().out.split())
    assert main(["prepare", "aebad", str(blades), str(tmp_path / "x"), "--resolution", "256"]) == 2
