"""What holds for every kind of backbone. A new kind adds a function to `BUILDERS`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from protoanomalyncd.core.errors import (
    ConfigurationError,
    MissingDependencyError,
    ModelFormatError,
)
from protoanomalyncd.testing import BackboneContract
from protoanomalyncd.vit import Backbone, create_backbone, restore_backbone
from protoanomalyncd.vit import backbone as module
from tests.tiny import SIDE, network_folder


class TestEmbedded(BackboneContract):
    def make(self) -> Backbone:
        return create_backbone("embedded")


class _Folder(BackboneContract):
    __test__ = False
    architecture: str
    arguments: Mapping[str, Any] = {}

    def make(self) -> Backbone:
        folder = Path(tempfile.mkdtemp()) / "network"
        network_folder(folder, self.architecture, **self.arguments)
        backbone = create_backbone(f"local-dir:{folder}")
        assert backbone.name == "network"
        return backbone


class TestVisionTransformer(_Folder):
    __test__ = True
    architecture, arguments = "test_vit", {"reg_tokens": 1}


class TestConvolutional(_Folder):
    __test__ = True
    architecture = "test_resnet"


def images(n: int = 3, side: int = SIDE) -> Tensor:
    return torch.randint(0, 256, (n, side, side, 3), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("architecture", "built", "named"),
    [
        ("test_vit", {"depth": 2}, {"dynamic_img_size": True}),
        ("test_vit", {}, {"dynamic_img_size": False, "num_classes": 0}),
        ("test_resnet", {"stem_width": 48}, {"features_only": True, "out_indices": [1]}),
    ],
)
def test_a_folder_may_name_arguments_that_are_chosen_here(
    architecture: str, built: dict[str, Any], named: dict[str, Any], tmp_path: Path
) -> None:
    folder = network_folder(tmp_path / "n", architecture, **built)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_args": {**built, **named}}))
    backbone = create_backbone(f"local-dir:{folder}")
    other = restore_backbone(json.loads(json.dumps(backbone.record())))
    other.module().load_state_dict(backbone.module().state_dict())
    x = backbone.preprocess(images(2, 96))
    for first, second in zip(
        backbone.patch_descriptors(x), other.patch_descriptors(x), strict=True
    ):
        assert torch.equal(first, second)


def _damage(folder: Path, case: str) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    if case == "no weights":
        weights.unlink()
    elif case == "no config":
        config.unlink()
    elif case == "cut weights":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif case == "empty weights":
        weights.write_bytes(b"")
    elif case == "other weights":
        config.write_text(json.dumps({"architecture": "test_vit2", "pretrained_cfg": {}}))
    elif case == "no architecture":
        config.write_text("{}")
    elif case == "unknown architecture":
        config.write_text('{"architecture": "resnet_of_tomorrow"}')
    elif case == "odd arguments":
        values = {"architecture": "test_vit", "pretrained_cfg": {}, "model_args": {"depht": 3}}
        config.write_text(json.dumps(values))
    else:
        config.write_text("[1, 2")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no weights", "model.safetensors is missing"),
        ("no config", "config.json is missing"),
        ("cut weights", "expected weights that fit the architecture 'test_vit'"),
        ("empty weights", "expected weights that fit the architecture 'test_vit'"),
        ("other weights", "expected weights that fit the architecture 'test_vit2'"),
        ("no architecture", "expected JSON with an 'architecture'"),
        ("unknown architecture", "expected an architecture that timm knows"),
        ("odd arguments", "depht"),
        ("no json", "expected JSON with an 'architecture'"),
    ],
)
def test_a_damaged_folder_is_told_in_one_line(tmp_path: Path, case: str, said: str) -> None:
    folder = network_folder(tmp_path / "n")
    _damage(folder, case)
    with pytest.raises(ConfigurationError) as caught:
        create_backbone(f"local-dir:{folder}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_an_unknown_name_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.json is missing"):
        create_backbone(f"local-dir:{tmp_path / 'nowhere'}")
    with pytest.raises(ConfigurationError, match="unknown backbone 'resnet5000': expected 'embed"):
        create_backbone("resnet5000")


@pytest.mark.parametrize("hub_name", ["test_vit.r160_in1k", "hf-hub:someone/some_network"])
def test_without_internet_the_message_says_what_to_do(
    hub_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingDependencyError) as caught:
        create_backbone(hub_name)
    assert "cannot be fetched" in str(caught.value)
    assert "'embedded'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_without_the_needed_strides_is_refused(tmp_path: Path) -> None:
    folder = network_folder(tmp_path / "n", "test_vit_relpos")
    with pytest.raises(ConfigurationError, match="expected"):
        create_backbone(f"local-dir:{folder}")


def test_a_saved_embedded_model_is_restored_by_a_fresh_process() -> None:
    """Nothing else has registered the network with timm there."""
    record = {"kind": "vit", "architecture": "protoanomalyncd_embedded", "name": "e"}
    program = (
        "from protoanomalyncd.vit.backbone import restore_backbone\n"
        f"assert restore_backbone({record!r}).embed_dim == 256\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


PLAIN: dict[str, Any] = {
    "kind": "vit",
    "name": "n",
    "architecture": "test_vit",
    "arguments": {"depth": 2, "img_size": [64, 64], "init_values": None, "qk_norm": True},
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
}


def test_a_plain_record_is_restored() -> None:
    """Old ones say where the weights came from, which is not read."""
    for record in (PLAIN, {**PLAIN, "source": "local-dir:/nowhere"}):
        assert restore_backbone(record).embed_dim == 64


@pytest.mark.parametrize(
    "changed",
    [
        {"architecture": "hf-hub:someone/network"},
        {"architecture": "hf_hub:someone/network"},
        {"architecture": "local-dir:/somewhere"},
        {"architecture": "test_vit/../../etc"},
        {"architecture": "resnet_of_tomorrow"},
        {"architecture": None},
        {"arguments": {"checkpoint_path": "/any/file"}},
        {"arguments": {"checkpoint_path": "weights"}},
        {"arguments": {"checkpoint_path": 0}},
        {"arguments": {"pretrained": True}},
        {"arguments": {"pretrained_cfg": {"file": "/any/file"}}},
        {"arguments": {"pretrained_cfg_overlay": {"url": "x"}}},
        {"arguments": {"cache_dir": "here"}},
        {"arguments": {"global_pool": "/any/file"}},
        {"arguments": {"depth": "2"}},
        {"arguments": {"depth": float("inf")}},
        {"arguments": {"depth": 10**9}},
        {"arguments": {"depth": {"of": 2}}},
        {"arguments": {"img_size": [64] * 99}},
        {"arguments": {"img_size": [[64], [64]]}},
        {"arguments": {"depht": 2}},
        {"arguments": [2]},
        {"mean": [0, 0]},
        {"mean": [0, 0, float("nan")]},
        {"std": [0, 1, 1]},
        {"std": "111"},
        {"kind": "other"},
        {"kind": None},
        {"name": 3},
    ],
    ids=str,
)
def test_an_untrusted_record_is_refused_in_one_line(
    changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before timm can open a file or ask a hub."""

    def refuse(*given: object, **_: object) -> None:
        raise AssertionError(f"opened {given}")

    for place in ("load_model_config_from_hf", "load_model_config_from_path"):
        monkeypatch.setattr(f"timm.models._factory.{place}", refuse)
    monkeypatch.setattr("timm.models._factory.load_checkpoint", refuse)
    with pytest.raises(ModelFormatError) as caught:
        restore_backbone({**PLAIN, **changed})
    assert "\n" not in str(caught.value)
    assert "the saved model's backbone: expected" in str(caught.value)


class _Plugin:
    """Another package's entry point: a plain network under a name of its own."""

    def __init__(self, package: bool = True, said: dict[str, Any] | None = None) -> None:
        self.asked: list[str] = []
        self._package, self._said = package, {"kind": "plugin", "plugin": "other"} | (said or {})

    value = "other_package:backbone"
    name = "other"

    def load(self) -> Any:
        if not self._package:
            raise ImportError("No module named 'other_package'")
        return self

    def __call__(self, argument: str) -> Backbone:
        self.asked.append(argument)
        return self.restore({"own": 3})

    def restore(self, record: dict[str, Any]) -> Backbone:
        built: Any = restore_backbone(PLAIN)
        described = {**self._said, "own": record["own"]}
        built.name, built.record = "other", lambda: described
        found: Backbone = built
        return found

    def offered(self, group: str, name: str | None = None) -> list[Any]:
        return [self] if group == module.GROUP and name in (None, "other") else []


def test_other_packages_offer_backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, with an argument, and again from what they recorded."""
    plugin = _Plugin()
    monkeypatch.setattr(module, "entry_points", plugin.offered)
    assert create_backbone("other").name == "other"
    record = create_backbone("other:some:thing").record()
    assert plugin.asked == ["", "some:thing"]
    again = restore_backbone(json.loads(json.dumps(record)))
    assert (again.name, again.record()) == ("other", record)
    with pytest.raises(ModelFormatError, match="expected a complete record, got: 'own'"):
        restore_backbone({"kind": "plugin", "plugin": "other"})
    with pytest.raises(ConfigurationError, match="'local-dir:FOLDER', 'other' or the name"):
        create_backbone("another")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"kind": "plugin", "plugin": "other", "own": 3}
    with pytest.raises(
        MissingDependencyError,
        match=r"entry point 'other' of the group protoanomalyncd\.backbones, found none",
    ):
        restore_backbone(record)
    monkeypatch.setattr(module, "entry_points", _Plugin(package=False).offered)
    with pytest.raises(MissingDependencyError, match="No module named 'other_package'"):
        restore_backbone(record)
    with pytest.raises(MissingDependencyError, match="No module named 'other_package'"):
        create_backbone("other")


def test_a_backbone_that_could_not_be_restored_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = _Plugin(said={"plugin": "someone"})
    monkeypatch.setattr(module, "entry_points", plugin.offered)
    with pytest.raises(ConfigurationError, match="'other': expected a record with") as caught:
        create_backbone("other")
    assert "\n" not in str(caught.value)
