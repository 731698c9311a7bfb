"""Ways to learn and to read prototypes: fitted, saved and predicted with, each the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from protoanomalyncd import ProtoAnomalyNCD
from protoanomalyncd.core.records import Discovery
from tests.tiny import network_folder, tiny_config, tiny_images, tiny_labelled


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("data")
    network_folder(made / "network", depth=2)
    tiny_images(made / "images")
    tiny_labelled(made / "known")
    return made


def results(found: Discovery) -> dict[str, tuple[int, float]]:
    return {image.name: (image.class_id, image.confidence) for image in found.images}


def fitted(folder: Path, **settings: Any) -> ProtoAnomalyNCD:
    config = tiny_config(folder / "network")
    guidance = dataclasses.replace(config.embedding.guidance, hide_class_key=True)
    embedding = dataclasses.replace(config.embedding, guidance=guidance)
    config = dataclasses.replace(config, embedding=embedding)
    prototypes = dataclasses.replace(config.prototypes, **settings)
    model = ProtoAnomalyNCD(dataclasses.replace(config, prototypes=prototypes))
    return model.fit(folder / "images", labelled=folder / "known")


@pytest.mark.parametrize(
    "settings", [{"kappa": "per_class"}, {"update": "ema"}, {"normal_part_weight": 0.5}]
)
def test_predict_equals_fit(folder: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    model = fitted(folder, **settings)
    model.save_pretrained(tmp_path / "model")
    again = ProtoAnomalyNCD.from_pretrained(tmp_path / "model")
    assert results(again.predict(folder / "images")) == results(model.discovery_)
    assert again.classifier_.kappas == model.classifier_.kappas
    assert (model.classifier_.kappas is not None) == ("kappa" in settings)


def test_kappas_change_the_confidence_only_as_far_as_they_differ(folder: Path) -> None:
    model = fitted(folder, kappa="per_class")
    before = results(model.predict(folder / "images"))
    kappas = model.classifier_.kappas
    assert kappas is not None
    assert len(kappas.kappas) == 4
    same = dataclasses.replace(kappas, kappas=(kappas.shared,) * 4)
    model.classifier_.kappas = same
    equal = results(model.predict(folder / "images"))
    model.classifier_.kappas = None
    plain = results(model.predict(folder / "images"))
    assert {k: v[0] for k, v in plain.items()} == {k: v[0] for k, v in equal.items()}
    assert all(equal[k][1] == pytest.approx(plain[k][1], abs=1e-5) for k in plain)
    assert before != plain
