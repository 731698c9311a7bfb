"""Region descriptors beside the embedding: saved, restored, resumed, predicted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.cli.main import main
from protoanomalyncd.core.errors import ModelFormatError
from protoanomalyncd.datasets import load_dataset
from protoanomalyncd.storage.files import sha256_of
from tests.journeys.conftest import World


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a heavy weight, base set included."""
    out = tmp_path_factory.mktemp("fused") / "run"
    options = ("--labelled", world.labelled, "--embedding.descriptor_weight", 0.5)
    assert world.discover(world.images, *options, "--out", out) == 0
    return out


def test_predict_gives_the_runs_own_classes(world: World, run: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(run / "model"), str(world.images), "--out", str(tmp_path / "p")]
    assert main([*arguments, "--quiet"]) == 0
    first, again = run / "predictions.csv", tmp_path / "p" / "predictions.csv"
    assert first.read_bytes() == again.read_bytes()


def test_one_image_a_call_gives_what_all_together_give(world: World, run: Path) -> None:
    model = ProtoAnomalyNCD.from_pretrained(run / "model")
    samples = load_dataset(world.images).unlabelled
    together = {i.name: (i.class_id, i.confidence) for i in model.predict(samples).images}
    for sample in samples[:6]:
        (alone,) = model.predict([sample]).images
        assert (alone.class_id, alone.confidence) == together[sample.name]


def test_an_interrupted_fit_ends_the_same(world: World, run: Path, tmp_path: Path) -> None:
    embedding = dataclasses.replace(world.config.embedding, descriptor_weight=0.5)
    config = dataclasses.replace(world.config, embedding=embedding)
    model = ProtoAnomalyNCD(config)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "train" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(world.images, labelled=world.labelled, work_dir=tmp_path, on_progress=stop)
    again = ProtoAnomalyNCD(config).fit(world.images, labelled=world.labelled, work_dir=tmp_path)
    again.save_pretrained(tmp_path / "model")
    expected = load_file(run / "model" / "model.safetensors")
    found = load_file(tmp_path / "model" / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in expected)


def test_a_model_without_its_statistics_is_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (run / "model").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folder / "model.safetensors")
    del tensors["descriptors/centre"]
    save_file(tensors, folder / "model.safetensors")
    values = json.loads((folder / "model.json").read_text())
    values["files"]["model.safetensors"] = sha256_of(folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(values))
    with pytest.raises(ModelFormatError, match="expected a complete model"):
        ProtoAnomalyNCD.from_pretrained(folder)
