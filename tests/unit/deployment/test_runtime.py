"""The runtime: no torch, bad folders, bad arrays, merging against the model's own."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from protoanomalyncd.cli.main import main
from protoanomalyncd.core.errors import (
    AnomalyMapError,
    ConfigurationError,
    ImageError,
    MissingDependencyError,
    ModelFormatError,
)
from protoanomalyncd.core.records import FloatArray, ImageArray
from protoanomalyncd.deployment import Runtime
from protoanomalyncd.deployment.merging import merge
from protoanomalyncd.discovery.merge_regions import merge_regions
from protoanomalyncd.regions import DESCRIPTORS
from tests.tiny import random_crops
from tests.unit.deployment.conftest import Exported

NAN, INFINITY = float("nan"), float("inf")
WITHOUT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

sys.meta_path.insert(0, Refuse())
"""
HEAVY = ("torch", "torchvision", "timm", "safetensors", "sklearn", "scipy", "onnx", "transformers")


def python(program: str, *absent: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh process in which some packages cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(absent=absent) + program],
        capture_output=True,
        text=True,
        check=False,
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("module", ["protoanomalyncd", "protoanomalyncd.deployment.runtime"])
def test_importing_it_imports_no_torch(module: str) -> None:
    done = python(f"import {module}, sys\nassert not {{'torch', 'timm'}} & {{*sys.modules}}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_images_are_classed_where_only_numpy_opencv_and_an_engine_are(
    exported_cnn: Exported, engine: str
) -> None:
    other = {"onnxruntime": "openvino", "openvino": "onnxruntime"}[engine]
    program = f"""
from protoanomalyncd.deployment import Runtime
runtime = Runtime({str(exported_cnn.folder)!r}, engine={engine!r})
found = runtime.classify_folder({str(exported_cnn.images)!r}, {str(exported_cnn.maps)!r})
print(",".join(str(i.class_id) for i in found.images))
"""
    done = python(program, *HEAVY, "rich", "yaml", "jinja2", other)
    assert done.returncode == 0, done.stderr
    expected = exported_cnn.model.predict(exported_cnn.images, maps=exported_cnn.maps)
    assert done.stdout.strip() == ",".join(str(i.class_id) for i in expected.images)


def test_the_command_needs_no_torch_and_writes_what_predict_writes(
    exported_cnn: Exported, tmp_path: Path
) -> None:
    model, predicted, out = tmp_path / "model", tmp_path / "predicted", tmp_path / "classified"
    exported_cnn.model.save_pretrained(model)
    images, maps = str(exported_cnn.images), str(exported_cnn.maps)
    assert main(["export", str(model), "--format", "openvino"]) == 0
    exported = tmp_path / "model-openvino"
    files = {"README.md", "export.json", "model.bin", "model.xml"}
    assert {p.name for p in exported.iterdir()} == files
    with pytest.raises(ConfigurationError, match="onnxruntime reads an export to onnx only"):
        Runtime(exported, engine="onnxruntime")
    arguments = ["predict", str(model), images, "--maps", maps, "--out", str(predicted)]
    assert main([*arguments, "--quiet"]) == 0
    program = f"""
from protoanomalyncd.cli.main import main
arguments = ["classify", {str(exported)!r}, {images!r}, "--maps", {maps!r}]
status = main([*arguments, "--out", {str(out)!r}, "--quiet"])
assert "torch" not in sys.modules
sys.exit(status)
"""
    done = python(program, *HEAVY, "onnxruntime")
    assert done.returncode == 0, done.stderr
    assert {p.name for p in out.iterdir()} == {"predictions.csv", "regions.csv", "run.log"}
    for name in ("predictions.csv", "regions.csv"):
        for found, expected in zip(rows(out / name), rows(predicted / name), strict=True):
            for column, value in expected.items():
                if column in ("confidence", "outlier_score"):
                    assert float(found[column]) == pytest.approx(float(value), abs=1e-4)
                else:
                    assert found[column] == value


def test_merging_equals_the_models_own(rng: np.random.Generator) -> None:
    for n_regions in (1, 2, 7):
        probabilities = rng.dirichlet(np.ones(4), n_regions).astype(np.float32)
        areas = rng.random(n_regions) * 0.3
        expected = merge_regions(
            torch.from_numpy(probabilities),
            torch.zeros(n_regions, dtype=torch.int64),
            torch.from_numpy(areas),
        )
        found = merge(probabilities, areas, 0.1)
        np.testing.assert_allclose(found, expected[0].numpy(), atol=1e-7)


def _cut_graph(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:1000])


def _edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "export.json"
        values = json.loads(path.read_text(encoding="utf-8"))
        change(values)
        path.write_text(json.dumps(values), encoding="utf-8")

    return damage


def _garbage_with_its_own_digest(folder: Path) -> None:
    from protoanomalyncd.storage.files import sha256_of

    path = folder / "model.onnx"
    path.write_bytes(b"no graph")
    _edit(lambda v: v["files"].update({"model.onnx": sha256_of(path)}))(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_cut_graph, "expected the file that was exported, got another or a damaged one"),
        (lambda f: (f / "model.onnx").unlink(), "expected model.onnx in it, which is missing"),
        (lambda f: (f / "export.json").unlink(), "expected an exported model with export.json"),
        (lambda f: (f / "export.json").write_text("{"), "expected a JSON file"),
        (_edit(lambda v: v.update(format=99)), "expected format 2, got 99"),
        (_edit(lambda v: v.pop("map_range")), "expected a complete record, got KeyError"),
        (_edit(lambda v: v.update(other=1)), "expected a complete record, got TypeError"),
        (_edit(lambda v: v["mebin"].update(step=0)), "mebin.step: expected in [1, 64]"),
        (_edit(lambda v: v["classes"][1].update(counts_as=9)), "counts_as from 0 to 3; got 9"),
        (_edit(lambda v: v["classes"].pop(0)), "ids 0, 1, 2"),
        (_garbage_with_its_own_digest, "expected a graph that onnxruntime can load"),
    ],
)
def test_a_damaged_folder_is_told_in_one_line(
    exported_cnn: Exported, tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    folder = shutil.copytree(exported_cnn.folder, tmp_path / "e")
    damage(folder)
    with pytest.raises(ModelFormatError) as caught:
        Runtime(folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


FOREIGN: Mapping[str, Any] = {
    "graph": ["../model.onnx", "/etc/model.onnx", "other.onnx", "", None, 3, ["model.onnx"]],
    "kind": ["openvino", "x", None, ["onnx"]],
    "files": [
        {},
        [],
        None,
        {"model.onnx": 3},
        {"model.onnx": "0" * 63},
        {"../model.onnx": "0" * 64},
        {"/etc/passwd": "0" * 64},
        {"..\\model.onnx": "0" * 64},
        {"..": "0" * 64},
        {"other.onnx": "0" * 64},
    ],
    "classes": [[], None, 3, "x", [3], {}, [{"id": 0}], [{"id": 0.0, "name": "a", "counts_as": 0}]]
    + [[{"id": 0, "name": name, "counts_as": k}] for name, k in ((3, 0), ("a", 1), ("a", 0.0))]
    + [[{"id": 0, "name": "a", "counts_as": 0}]],  # the graph answers with four
    "normal_class": [4, -1, "0", 0.0, True],
    "crop_size": [81, 0, -80, 10**9, 80.0, "80", None, True],
    "window": [81, 0, "64", None],
    "embed_dim": [7, 0, -1, 2**40, "x", 1.5],
    "descriptors": [["x"], "log_area", 3, [["log_area"]], [*DESCRIPTORS]],
    "map_range": [{}, {"low": 1, "high": 0}, {"low": NAN, "high": 1}, {"low": "0", "high": 1}, 3],
    "coarse_smoothing": [-1, NAN, INFINITY, 1e9, "1"],
    "mebin": [3, {"step": "x"}, {"erosion": 10**9}, {"other": 1}, None],
    "crops": [3, {"size": 81}, {"size": 80, "margin": 1e300}],
    "merge_temperature": [0, -1, NAN, 10**400, "x", None],
    "threshold": [NAN, -INFINITY, 10**400, "0.5", [0.5]],
    "maps_from": [3, None],
    "outlier_score": [3],
    "backbone": [{}],
    "version": [1],
    "format": [99, True, 1.0, "1", None, [1], "9" * 1000],
}


@pytest.mark.parametrize("key", FOREIGN)
def test_a_record_from_anywhere_is_not_believed(
    exported_cnn: Exported, tmp_path: Path, key: str
) -> None:
    folder = shutil.copytree(exported_cnn.folder, tmp_path / "e")
    good = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    wide, deep = "9" * 100_000, []
    for _ in range(900):
        deep = [deep]
    for value in (*FOREIGN[key], wide, [wide], {wide: wide}, deep):
        if key in ("maps_from", "outlier_score", "backbone", "version") and value is wide:
            continue  # told to nobody
        (folder / "export.json").write_text(json.dumps(good | {key: value}), encoding="utf-8")
        with pytest.raises(ModelFormatError) as caught:
            Runtime(folder)
        said = str(caught.value).replace(str(folder), "")
        assert "\n" not in said
        assert len(said) < 450, value
    (folder / "export.json").write_text(json.dumps(good), encoding="utf-8")
    Runtime(folder)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"[" * 100_000, b"[]", b"3", b"NaN", b" " * 10**7 + b"{}"]
)
def test_a_record_that_is_none(exported_cnn: Exported, tmp_path: Path, content: bytes) -> None:
    folder = shutil.copytree(exported_cnn.folder, tmp_path / "e")
    (folder / "export.json").write_bytes(content)
    with pytest.raises(ModelFormatError) as caught:
        Runtime(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.onnx", "export.json"])
def test_no_link_leads_out_of_the_folder(exported_cnn: Exported, tmp_path: Path, name: str) -> None:
    """Even to the very same file; a link within the folder is one of its files."""
    folder = shutil.copytree(exported_cnn.folder, tmp_path / "e")
    (folder / name).unlink()
    (folder / name).symlink_to(exported_cnn.folder / name)
    with pytest.raises(ModelFormatError, match="expected a file of this folder, got a link"):
        Runtime(folder)
    (folder / name).unlink()
    shutil.copy(exported_cnn.folder / name, folder / "other")
    (folder / name).symlink_to("other")
    Runtime(folder)


def test_the_weights_of_an_openvino_graph_are_checked_too(
    exported_cnn: Exported, tmp_path: Path
) -> None:
    folder = exported_cnn.model.export(tmp_path / "e", "openvino")
    record = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    weights = bytearray((folder / "model.bin").read_bytes())
    weights[100] ^= 1
    (folder / "model.bin").write_bytes(weights)
    with pytest.raises(ModelFormatError, match="got another or a damaged one"):
        Runtime(folder)
    del record["files"]["model.bin"]
    (folder / "export.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ModelFormatError, match=r"expected files: model.xml, model.bin"):
        Runtime(folder)


def test_a_models_own_folder_is_no_export(exported_cnn: Exported, tmp_path: Path) -> None:
    exported_cnn.model.save_pretrained(tmp_path / "model")
    with pytest.raises(ModelFormatError, match="run `protoanomalyncd export` on it"):
        Runtime(tmp_path / "model")


def test_names_and_mergers_are_edited_without_a_new_export(
    exported_cnn: Exported, tmp_path: Path
) -> None:
    folder = shutil.copytree(exported_cnn.folder, tmp_path / "e")
    _edit(lambda v: v["classes"][2].update(name="hole", counts_as=0))(folder)
    crops = random_crops(12)
    before = Runtime(exported_cnn.folder).classify(crops.images, crops.maps, crops.masks)
    runtime = Runtime(folder)
    after = runtime.classify(crops.images, crops.maps, crops.masks)
    assert after.class_ids.tolist() == [0 if k == 2 else k for k in before.class_ids.tolist()]
    assert runtime.class_names[2] == runtime.class_names[0]
    assert runtime.class_name(-1) == "outlier"


def test_halves_of_a_defect_that_were_merged_win_together(
    exported_cnn: Exported, tmp_path: Path
) -> None:
    """As in the catalogue: the record's mergers add probabilities up before the largest wins."""
    folder, crops = shutil.copytree(exported_cnn.folder, tmp_path / "e"), random_crops(12)
    _edit(lambda v: [c.update(counts_as=min(c["id"], 1)) for c in v["classes"]])(folder)
    runtime = Runtime(folder)
    found = runtime.classify(crops.images, crops.maps, crops.masks)
    shares = found.probabilities.astype(np.float64)
    both = np.stack([shares[:, 0], shares[:, 1:].sum(axis=1)], axis=1)
    kept = found.class_ids != -1
    assert np.array_equal(found.class_ids[kept], both.argmax(axis=1)[kept])
    np.testing.assert_allclose(found.confidences, both.max(axis=1), rtol=1e-6)
    images = runtime.classify_folder(exported_cnn.images, exported_cnn.maps).images
    for image in images:
        row = np.array(image.probabilities)
        assert image.confidence == pytest.approx(max(row[0], row[1:].sum()))


def test_crops_do_not_depend_on_what_is_beside_them(exported_cnn: Exported) -> None:
    crops, runtime = random_crops(4), Runtime(exported_cnn.folder)
    together = runtime.classify(crops.images, crops.maps)
    for i in range(4):
        alone = runtime.classify(crops.images[i], crops.maps[i])
        assert np.array_equal(alone.embeddings[0], together.embeddings[i])
    assert len(runtime.classify(crops.images[:0], crops.maps[:0]).class_ids) == 0


CROP = np.zeros((80, 80, 3), np.uint8)
MAP = np.zeros((80, 80), np.float32)


@pytest.mark.parametrize(
    ("crop", "amap", "kind", "said"),
    [
        (CROP[:64], MAP[:64], ImageError, r"expected crops (R, 80, 80, 3) of uint8, got (1, 64, 8"),
        (CROP / 255, MAP, ImageError, "of uint8, got (1, 80, 80, 3) of float64"),
        (CROP[..., 0], MAP, ImageError, "got (80, 80) of uint8"),
        (CROP, MAP[:40], AnomalyMapError, "expected anomaly maps (1, 80, 80), got (1, 40, 80)"),
        (CROP, MAP + 3, AnomalyMapError, "normalised to [0, 1]"),
        (CROP, MAP * np.nan, AnomalyMapError, "normalised to [0, 1]"),
    ],
)
def test_arrays_that_do_not_fit(
    exported_cnn: Exported, crop: ImageArray, amap: FloatArray, kind: type, said: str
) -> None:
    with pytest.raises(kind) as caught:
        Runtime(exported_cnn.folder).classify(crop, amap)
    assert said in str(caught.value)


def test_masks_and_images_that_do_not_fit(exported_cnn: Exported) -> None:
    runtime = Runtime(exported_cnn.folder)
    with pytest.raises(AnomalyMapError, match="expected masks"):
        runtime.classify(CROP, MAP, np.zeros((9, 9), np.bool_))
    with pytest.raises(ImageError, match=r"part 7: expected an RGB image \(H, W, 3\) of uint8"):
        runtime.classify_image(CROP[..., 0], MAP, "part 7")
    with pytest.raises(AnomalyMapError, match="expected an anomaly map of shape"):
        runtime.classify_image(CROP, MAP[None])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"engine": "tensorrt"}, "engine: expected one of onnxruntime, openvino, got 'tensorrt'"),
        ({"threads": 0}, "threads: expected at least 1, got 0"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
    ],
)
def test_arguments_without_sense(
    exported_cnn: Exported, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Runtime(exported_cnn.folder, **arguments)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_missing_engine_is_named(
    exported_cnn: Exported, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(MissingDependencyError, match=f"expected the package {engine} to run this"):
        Runtime(exported_cnn.folder, engine=engine)


def test_images_that_cannot_be_used_are_skipped(exported_cnn: Exported, tmp_path: Path) -> None:
    images = shutil.copytree(exported_cnn.images, tmp_path / "images")
    maps = shutil.copytree(exported_cnn.maps, tmp_path / "maps")
    (images / "test" / "hole" / "000.png").write_bytes(b"no image")
    (maps / "test" / "hole" / "001.npy").unlink()
    found = Runtime(exported_cnn.folder).classify_folder(images, maps)
    assert {s.name: s.reason.split(":")[-1][:20] for s in found.skipped}.keys() == {
        "test/hole/000.png",
        "test/hole/001.png",
    }
    assert len(found.images) == 14


def test_the_command_refuses_in_one_line(
    exported_cnn: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(exported_cnn.images), "--maps", str(exported_cnn.maps), "--out"]
    assert main(["classify", str(tmp_path), *arguments, str(tmp_path / "out")]) == 2
    assert "expected an exported model with export.json" in capsys.readouterr().err
    assert main(["export", str(tmp_path)]) == 2
    assert "expected model.json in it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_folder_gives_the_same_for_every_number_of_threads(
    exported_cnn: Exported, engine: str
) -> None:
    one, three = (
        Runtime(exported_cnn.folder, engine=engine, threads=n).classify_folder(
            exported_cnn.images, exported_cnn.maps
        )
        for n in (1, 3)
    )
    assert one == three
    assert len(one.images) > 3


def test_half_precision_is_openvinos_alone(exported_cnn: Exported) -> None:
    with pytest.raises(ConfigurationError, match="onnxruntime computes in float32"):
        Runtime(exported_cnn.folder, engine="onnxruntime", precision="bfloat16")
    with pytest.raises(ConfigurationError, match="expected one of float32, bfloat16, got 'int8'"):
        Runtime(exported_cnn.folder, precision="int8")


def test_half_precision_gives_nearly_the_same(exported_cnn: Exported) -> None:
    import openvino

    arguments: dict[str, Any] = {"engine": "openvino", "precision": "bfloat16"}
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(ConfigurationError, match="computes in bfloat16"):
            Runtime(exported_cnn.folder, **arguments)
        pytest.skip("this processor has no bfloat16")
    half = Runtime(exported_cnn.folder, **arguments)
    full = Runtime(exported_cnn.folder, engine="openvino")
    crops = random_crops(4)
    found, expected = (r.classify(crops.images, crops.maps) for r in (half, full))
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.1)
    assert (found.embeddings != expected.embeddings).any()
