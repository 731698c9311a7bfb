"""The main job on an accelerator, beside the CPU; skips where torch sees none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.anomaly_maps.patch_memory import PatchMemory
from protoanomalyncd.cli.main import main
from protoanomalyncd.config import EmbeddingConfig
from protoanomalyncd.core.records import Discovery, Skipped
from protoanomalyncd.datasets import load_dataset
from protoanomalyncd.regions.descriptors import DESCRIPTORS
from protoanomalyncd.vit import GuidedEncoder, create_backbone
from tests.journeys.conftest import World
from tests.journeys.test_main_job import assert_same_run, classes
from tests.tiny import SIDE, random_crop


@pytest.fixture(scope="module")
def device() -> str:
    """The accelerator, as `--device` names it."""
    if not torch.cuda.is_available():
        pytest.skip("needs an accelerator: torch sees no cuda device")
    return "cuda"


@pytest.fixture(scope="module")
def run(world: World, device: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run of all journeys, fitted there."""
    out = tmp_path_factory.mktemp("accelerator") / "run"
    fitted = world.discover(
        world.images, "--labelled", world.labelled, "--device", device, "--out", out
    )
    assert fitted == 0
    return out


def confidences(found: Discovery) -> dict[str, tuple[int, float]]:
    return {image.name: (image.class_id, image.confidence) for image in found.images}


def test_the_encoder_computes_what_it_computes_on_the_cpu(world: World, device: str) -> None:
    rng = np.random.default_rng(5)
    drawn = [random_crop(rng, SIDE) for _ in range(3)]
    images = torch.from_numpy(np.stack([image for image, _, _ in drawn]))
    maps = torch.from_numpy(np.stack([amap for _, _, amap in drawn]))
    config: EmbeddingConfig = world.config.embedding
    seen = []
    for place in ("cpu", device):
        torch.manual_seed(0)
        encoder = GuidedEncoder(create_backbone(config.backbone), config).to(place).eval()
        described = torch.zeros(3, len(DESCRIPTORS))
        with torch.no_grad():
            embedding, frozen = encoder.features(
                images.to(place), maps.to(place), described.to(place)
            )
        seen.append((embedding.cpu(), frozen.cpu()))
    for here, there in zip(*seen, strict=True):
        # Convolutions that round to TF32 would be 2e-5 away.
        torch.testing.assert_close(there, here, atol=1e-5, rtol=0)


def test_the_detector_computes_what_it_computes_on_the_cpu(world: World, device: str) -> None:
    dataset = load_dataset(world.images)
    maps = []
    for place in ("cpu", device):
        backbone = create_backbone(world.config.embedding.backbone)
        backbone.module().to(place)
        memory = PatchMemory(backbone, image_size=SIDE, memory_size=500, device=place)
        memory.fit(dataset.normal)
        maps.append(dict(memory.score(dataset.unlabelled)))
    for sample, here in maps[0].items():
        there = maps[1][sample]
        assert not isinstance(here, Skipped)
        assert not isinstance(there, Skipped)
        np.testing.assert_allclose(there, here, rtol=0.02)


def test_the_same_seed_gives_the_same_run(
    world: World, run: Path, device: str, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    arguments = (world.images, "--labelled", world.labelled, "--device", device, "--out", out)
    assert world.discover(*arguments) == 0
    assert_same_run(run, out)


def test_its_model_gives_the_same_classes_on_the_cpu(
    world: World, run: Path, device: str, tmp_path: Path
) -> None:
    for place in ("there", "here"):
        out = tmp_path / place
        arguments = ["predict", str(run / "model"), str(world.images), "--out", str(out)]
        used = device if place == "there" else "cpu"
        assert main([*arguments, "--device", used, "--quiet"]) == 0
    expected = (run / "predictions.csv").read_bytes()
    assert (tmp_path / "there" / "predictions.csv").read_bytes() == expected
    assert classes(tmp_path / "here") == classes(run)
    samples = load_dataset(world.images).unlabelled
    there = ProtoAnomalyNCD.from_pretrained(run / "model", device=device).predict(samples)
    here = ProtoAnomalyNCD.from_pretrained(run / "model", device="cpu").predict(samples)
    on_the_cpu = confidences(here)
    for name, (class_id, confidence) in confidences(there).items():
        assert class_id == on_the_cpu[name][0]
        assert confidence == pytest.approx(on_the_cpu[name][1], abs=0.02)


def test_the_number_of_classes_is_estimated_there(
    world: World, device: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = ("--device", device, "--n_novel_classes", "auto", "--out", out)
    assert world.discover(world.images, "--labelled", world.labelled, *arguments) == 0
    assert (out / "predictions.csv").is_file()


def test_images_score_one_another_there(world: World, device: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("--device", device, "--training.epochs", 1, "--out", out)
    assert world.discover(world.images / "test", *arguments) == 0
    assert (out / "predictions.csv").is_file()
