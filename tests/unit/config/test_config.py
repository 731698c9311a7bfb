"""Configuration: a bad value is one line that names its field; what is written is read back."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from protoanomalyncd.config import Component, Config, MEBinConfig
from protoanomalyncd.core.errors import ConfigurationError

# Every setting stands in exactly one of the two: refused values, or why any value goes.
BAD: dict[str, list[Any]] = {
    "n_novel_classes": [1, 0, -1, "many", 2.5, None],
    "classes": ["known", "", None],
    "seed": [-1, 2**31, 1.0, "1"],
    "device": [0, None],
    "detector": [5, None, "", {"name": 5}, {"name": ""}, {"smoothing": math.nan}],
    "localiser": [5, None, "", {"name": None}],
    "mask_outside_object": ["yes", 1, None],
    "mebin.resolution": [31, 4097],
    "mebin.step": [0, 65],
    "mebin.min_run": [0],
    "mebin.run_position": [-0.1, 1.1, math.nan],
    "mebin.erosion": [-1],
    "mebin.min_area": [-1, math.nan],
    "mebin.normal_quantile": [0.0, 1.1, math.nan],
    "mebin.set_quantile": [-0.1, 1.0, math.nan],
    "mebin.normals_in_set": ["yes", 1, None],
    "crops.margin": [0.0, -0.5, math.nan],
    "crops.min_half_side": [0.0, 0.6, math.nan],
    "crops.max_enlargement": [0.0, -1.0, math.nan],
    "crops.max_regions": [0],
    "crops.size": [16],
    "embedding.backbone": [""],
    "embedding.input_size": [16, 257],
    "embedding.descriptor_weight": [-0.1, 1.0, math.nan, "much"],
    "embedding.patch_weight": [-0.1, 1.0, math.nan, "much"],
    "embedding.precision": ["float16"],
    "embedding.normal_gate_quantile": [-0.1, 1.0, math.nan],
    "embedding.whitening": [0.0, -1.0, math.nan],
    "embedding.guidance.hide_class_key": ["yes", 1],
    "embedding.guidance.mode": ["strong"],
    "embedding.guidance.beta": [0.0, -1.0, math.nan],
    "embedding.guidance.object_factor": [1.0, -1.5, math.nan],
    "embedding.guidance.share_of_blocks": [0.0, 1.1, math.nan],
    "prototypes.temperature": [0.0, math.nan],
    "prototypes.target_temperature": [0.0],
    "prototypes.pseudo_label_weight": [-0.1, math.nan],
    "prototypes.contrastive_weight": [-1.0],
    "prototypes.supcon_weight": [-1.0],
    "prototypes.supervised_weight": [-0.1, 1.1, math.nan],
    "prototypes.entropy_weight": [-0.1, math.nan],
    "prototypes.separation_weight": [-0.1],
    "training.epochs": [0],
    "training.views": [1],
    "training.batch_size": [1],
    "training.learning_rate": [0.0, math.nan, math.inf, "fast"],
    "training.momentum": [-0.1, 1.0],
    "training.weight_decay": [-1e-3],
    "training.labelled_per_class": [1],
    "training.cache_gb": [0.0, -1, math.nan],
    "outliers.score": [1.5, {"name": 5}, {"nearest": {1, 2}}],
    "outliers.false_rejection_rate": [-0.1, 1.0, math.nan],
    "count.method": ["guess", "", None],
    "count.min_classes": [1, 0, 2.5],
    "count.max_classes": [1, "all"],
}
ANY = {
    "embedding.guidance.background_factor": "checked together with object_factor",
}


def settings(part: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted name -> default of every setting below `part`."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, Component):
            found |= settings(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = value
    return found


def nested(name: str, value: Any) -> dict[str, Any]:
    """``a.b`` -> ``{"a": {"b": value}}``."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def shuffled(values: Any) -> Any:
    """The same nested dictionary with its keys in the opposite order."""
    if not isinstance(values, dict):
        return values
    return {key: shuffled(values[key]) for key in reversed(values)}


def test_every_setting_is_checked_or_has_a_reason_not_to_be() -> None:
    listed = [*BAD, *ANY]
    assert sorted(listed) == sorted(settings(Config())), "add the new setting to BAD or ANY above"


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_bad_value_is_one_line_that_names_the_setting(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config.from_dict(nested(name, value))
    message = str(caught.value)
    assert "\n" not in message
    shown = name.removeprefix("embedding.") if "guidance" in name else name
    assert message.startswith(f"{shown}: expected ")
    assert repr(value) in message or repr(value).strip("[]") in message


def test_the_defaults_are_valid_and_round_trip() -> None:
    assert Config.from_dict(Config().to_dict()) == Config()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_novel_classes", 9),
        ("count.max_classes", 9),
        ("classes", "all"),
        ("seed", 2**31 - 1),
        ("device", "cuda:1"),
        ("detector", Component("folder", {"coarse_smoothing": 0.5})),
        ("localiser", Component("sam3", {"prompt": "gear", "max_objects": 3})),
        ("outliers.score", Component("cosine")),
        ("mebin.run_position", 0.25),
        ("crops.margin", 0.4),
        ("embedding.guidance.mode", "hard"),
        ("embedding.guidance.hide_class_key", True),
        ("prototypes.temperature", 0.2),
        ("training.epochs", 1),
        ("outliers.false_rejection_rate", 0.05),
    ],
)
def test_round_trip_through_json(name: str, value: Any) -> None:
    config = Config.from_dict(nested(name, value))
    assert settings(config)[name] == value
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config != Config()


def test_a_range_in_the_wrong_order_is_one_line_with_both_ends() -> None:
    with pytest.raises(ConfigurationError, match=r"count\.max_classes: expected .* \(8\), got 5"):
        Config.from_dict({"count": {"min_classes": 8, "max_classes": 5}})


def test_missing_settings_keep_their_defaults() -> None:
    config = Config.from_dict({"training": {"epochs": 3}})
    assert settings(config) == settings(Config()) | {"training.epochs": 3}


@pytest.mark.parametrize(
    ("name", "known"),
    [("speed", "seed"), ("mebin.sauce", "step"), ("embedding.guidance.gamma", "beta")],
)
def test_an_unknown_setting_is_named_with_the_known_ones(name: str, known: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config.from_dict(nested(name, 1))
    message = str(caught.value)
    assert f"unknown setting {name};" in message
    assert known in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"mebin": 5}, "mebin"),
        ({"embedding": {"guidance": None}}, "embedding.guidance"),
        ([1], "configuration"),
    ],
)
def test_a_part_that_is_no_mapping_is_refused(values: Any, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}: expected settings by name, got "):
        Config.from_dict(values)


def test_a_part_of_another_stage_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="crops: expected settings by name"):
        Config(crops=MEBinConfig())  # type: ignore[arg-type]


def test_whole_numbers_stand_for_floats_and_numpy_numbers_for_both() -> None:
    config = Config.from_dict({"seed": np.int64(3), "embedding": {"guidance": {"beta": 5}}})
    assert type(config.seed) is int
    assert type(config.embedding.guidance.beta) is float
    same = Config.from_dict({"seed": 3, "embedding": {"guidance": {"beta": 5.0}}})
    assert config.hash() == same.hash()


def test_the_hash_does_not_depend_on_the_order_of_keys() -> None:
    values = nested("training.epochs", 7) | nested("mebin.step", 8)
    full = Config.from_dict(values).to_dict()
    assert Config.from_dict(shuffled(full)).hash() == Config.from_dict(full).hash()


def test_the_hash_tells_every_setting_apart() -> None:
    hashes = {Config().hash()}
    changed = {
        "seed": 1,
        "device": "cuda",
        "embedding.guidance.beta": 5.0,
        "training.momentum": 0.8,
    }
    hashes |= {Config.from_dict(nested(name, value)).hash() for name, value in changed.items()}
    assert len(hashes) == 1 + len(changed)


def test_the_hash_is_16_hex_digits() -> None:
    assert len(Config().hash()) == 16
    int(Config().hash(), 16)


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1  # type: ignore[misc]


def test_a_component_is_a_name_or_a_name_with_options_beside_it() -> None:
    for value in ("folder", {"name": "folder"}, Component("folder")):
        assert Config.from_dict({"detector": value}).detector == Component("folder")
    found = Config.from_dict({"detector": {"name": "patch_memory", "memory_size": 8000}}).detector
    assert found == Component("patch_memory", {"memory_size": 8000})
    assert found.to_dict() == {"name": "patch_memory", "memory_size": 8000}
    assert Config.from_dict({"detector": {"image_size": 64}}).detector.name == "auto"
    assert Config(localiser="sam3").localiser == Component("sam3")  # type: ignore[arg-type]


def test_a_component_keeps_its_own_copy_of_the_options() -> None:
    options = {"sizes": [1, 2]}
    config = Config(detector=Component("x", options))
    options["sizes"].append(3)
    assert config.detector.options == {"sizes": [1, 2]}


def test_settings_that_name_themselves_are_refused() -> None:
    loop: dict[str, Any] = {"name": "x"}
    loop["again"] = loop
    with pytest.raises(ConfigurationError, match="detector: expected numbers, texts"):
        Config.from_dict({"detector": loop})
