"""Model folders that are damaged, incomplete, or made to do something else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from protoanomalyncd.cli.main import main
from protoanomalyncd.storage.files import sha256_of
from tests.journeys.conftest import World
from tests.journeys.test_bad_input import Capture, left_over, refused

WEIGHTS, DETECTOR, RECORD = "model.safetensors", "detector.safetensors", "model.json"
Damage = Callable[[Path], object]


def edit(**changes: Any) -> Damage:
    """Change entries of the record; ``a__b`` is b of a, None = take it out."""

    def damage(model: Path) -> None:
        values = json.loads((model / RECORD).read_text())
        for name, value in changes.items():
            *parents, last = name.split("__")
            part = values
            for parent in parents:
                part = part[parent]
            part.pop(last, None)
            if value is not None:
                part[last] = value
        (model / RECORD).write_text(json.dumps(values))

    return damage


def tensors(file: str, summed: bool = True, **changes: Any) -> Damage:
    """Change tensors of a file; whoever made it wrote its sum too, or did not."""

    def damage(model: Path) -> None:
        held = load_file(model / file)
        for name, change in changes.items():
            value = held.pop(name.replace("__", "/"))
            if change is not None:
                held[name.replace("__", "/")] = change(value)
        save_file(held, model / file)
        if summed:
            values = json.loads((model / RECORD).read_text())
            values["files"][file] = sha256_of(model / file)
            (model / RECORD).write_text(json.dumps(values))

    return damage


def link(file: str) -> Damage:
    def damage(model: Path) -> None:
        (model / file).rename(model.parent / "elsewhere")
        (model / file).symlink_to(model.parent / "elsewhere")

    return damage


def cut(model: Path) -> None:
    content = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(content[:-100])


def write(text: str) -> Damage:
    return lambda model: (model / RECORD).write_text(text)


ODD: dict[str, tuple[Damage, str]] = {
    "nothing": (shutil.rmtree, "expected model.json in it, which is missing"),
    "no weights": (lambda m: (m / WEIGHTS).unlink(), f"{WEIGHTS} in it, which is missing"),
    "no detector": (
        lambda m: (m / DETECTOR).unlink(),
        f"{DETECTOR} in it, which is missing",
    ),
    "linked weights": (link(WEIGHTS), "expected a file of this folder, got a link"),
    "linked record": (link(RECORD), "expected a file of this folder, got a link"),
    "cut weights": (cut, "expected the file that was saved"),
    "other weights": (
        tensors(WEIGHTS, summed=False, prototypes=lambda v: -v),
        "expected the file that was saved",
    ),
    "infinite weights": (
        tensors(WEIGHTS, prototypes=lambda v: v * np.float32(np.inf)),
        "expected finite numbers in prototypes",
    ),
    "no prototypes": (tensors(WEIGHTS, prototypes=None), "expected a complete model"),
    "narrow prototypes": (tensors(WEIGHTS, prototypes=lambda v: v[:, :-1]), "expected"),
    "other memory": (tensors(DETECTOR, memory=lambda v: v.astype(np.float64)), "float32 memory"),
    "older": (edit(format=2), "expected format 3, got 2; use the version of the package"),
    "newer": (edit(format=4), "expected format 3, got 4; use the version of the package"),
    "no json": (write("{"), "expected a JSON file"),
    "deep json": (write("[" * 100_000), "expected a JSON file"),
    "no range": (edit(map_range=None), "expected a complete model"),
    "odd range": (edit(map_range={"low": 1.0, "high": 0.0}), "expected a complete model"),
    "odd settings": (edit(config__speed=3), "unknown setting"),
    "odd threshold": (edit(outliers__threshold="x"), "expected"),
    "infinite threshold": (edit(outliers__threshold=float("inf")), "expected"),
    "merged into nothing": (edit(catalogue__target=[99] * 4), "expected"),
    "odd names": (edit(catalogue__names=[["a"]] * 4), "expected"),
    "odd backbone": (
        edit(backbone={"kind": "vit", "architecture": "test_vit_of_tomorrow", "name": "x"}),
        "expected",
    ),
    "backbone elsewhere": (edit(backbone__architecture="local-dir:/elsewhere"), "expected"),
    "backbone of a hub": (edit(backbone__architecture="hf-hub:example/none"), "expected"),
    "backbone reads": (
        edit(backbone__arguments={"checkpoint_path": "/elsewhere"}),
        "expected",
    ),
    "unknown detector": (
        edit(detector__name="of_tomorrow"),
        "this model needs the detector 'of_tomorrow' of a package that is not installed here",
    ),
    "odd option": (edit(detector__arguments={"folder": "/elsewhere"}), "got folder"),
    "unknown score": (edit(outliers__score="of_tomorrow"), "expected"),
}


@pytest.mark.parametrize("case", ODD)
def test_models_that_are_none(world: World, tmp_path: Path, case: str, capsys: Capture) -> None:
    model = Path(shutil.copytree(world.run / "model", tmp_path / "model"))
    damage, said = ODD[case]
    damage(model)
    out = tmp_path / "run"
    status = main(["predict", str(model), str(world.images), "--quiet", "--out", str(out)])
    assert len(refused(status, capsys, said)) < 600
    assert left_over(tmp_path) == []


def test_a_model_says_nothing_of_the_machine_that_fitted_it(world: World) -> None:
    text = (world.run / "model" / RECORD).read_text()
    assert str(world.run.parent) not in text
    assert str(world.images) not in text
