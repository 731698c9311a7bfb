"""The command line of discover: what is shown, and how options, files and defaults combine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from protoanomalyncd.anomaly_maps import DETECTORS
from protoanomalyncd.cli.discover_options import COMPONENT_OPTIONS
from protoanomalyncd.cli.main import build_parser, main
from protoanomalyncd.config import Config
from protoanomalyncd.discovery.outliers import SCORES
from protoanomalyncd.localisation import LOCALISERS
from protoanomalyncd.localisation.choice import PROMPT_OPTIONS

Capture = pytest.CaptureFixture[str]


def settings(capsys: Capture, *arguments: str) -> dict[str, Any]:
    """What ``--print_config`` prints."""
    assert main(["discover", *arguments, "--print_config"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert isinstance(values, dict)
    return values


def refusal(capsys: Capture, *arguments: str) -> str:
    """The one line with which a command is refused."""
    assert main(["discover", *arguments]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


def test_the_help_is_short_and_in_groups(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main(["discover", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 100
    options = [line for line in lines if line.startswith("  -") or line.startswith("  IMAGES")]
    assert len(options) <= 35
    groups = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert len(groups) == 10


def test_every_option_has_a_reason_and_a_default(capsys: Capture) -> None:
    for action in build_parser()._subparsers._group_actions[0].choices["discover"]._actions:  # type: ignore[union-attr,index,call-overload]
        assert len(action.help or "") > 5
        needs_none = {"-h", "--out", "--set", "--print_config"} & set(action.option_strings)
        if action.option_strings and not needs_none and ".OPTION" not in action.option_strings[0]:
            assert "default: " in (action.help or ""), action.option_strings


def test_the_help_names_the_options_of_the_built_in_components() -> None:
    both = COMPONENT_OPTIONS["both localisers"]
    for name in DETECTORS.names():
        assert DETECTORS.options(name) == COMPONENT_OPTIONS[name]
    for name in ("sam3", "grounded_sam"):
        expected = {*LOCALISERS.options(name), *PROMPT_OPTIONS}
        assert {*COMPONENT_OPTIONS[name], *both} == expected
    assert SCORES.options("key_value_cache") == COMPONENT_OPTIONS["key_value_cache"]


def test_without_options_all_are_defaults(capsys: Capture) -> None:
    inputs = dict.fromkeys(("images", "labelled", "maps", "object_masks"))
    assert settings(capsys) == inputs | Config().to_dict()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--kinds", "5"], {"n_novel_classes": 6}),
        (["--kinds", "auto"], {"n_novel_classes": "auto"}),
        (["--n-novel", "6"], {"n_novel_classes": 6}),
        (["--n_novel_classes", "auto"], {"n_novel_classes": "auto"}),
        (["--classes", "all", "--seed", "3"], {"classes": "all", "seed": 3}),
        (["--device=cuda:1"], {"device": "cuda:1"}),
        (["--mask-outside-object"], {"mask_outside_object": True}),
        (["--detector", "patch_memory"], {"detector": {"name": "patch_memory"}}),
        (
            [
                "--detector.whitening",
                "null",
                "--detector",
                "patch_memory",
                "--detector.smoothing=0",
            ],
            {"detector": {"name": "patch_memory", "whitening": None, "smoothing": 0}},
        ),
        (["--detector.image_size", "64"], {"detector": {"name": "auto", "image_size": 64}}),
        (
            ["--localiser", "sam3", "--localiser.prompt", "washer: ring", "a", "--labelled", "b"],
            {
                "localiser": {"name": "sam3", "prompt": "washer: ring"},
                "images": "a",
                "labelled": "b",
            },
        ),
        (
            ["--outlier-score", "neighbour", "--outlier-score.k", "3"],
            {
                "outliers": {
                    "score": {"name": "neighbour", "k": 3},
                    "false_rejection_rate": 0.0,
                }
            },
        ),
        (
            ["--set", "outliers.score=cosine"],
            {"outliers": {"score": {"name": "cosine"}, "false_rejection_rate": 0.0}},
        ),
    ],
)
def test_options_are_settings(
    arguments: list[str], expected: dict[str, Any], capsys: Capture
) -> None:
    found = settings(capsys, *arguments)
    assert {name: found[name] for name in expected} == expected


def test_a_dotted_option_is_the_same_as_set(capsys: Capture) -> None:
    for given in (["--training.learning_rate", "1e-3"], ["--set", "training.learning_rate=1e-3"]):
        assert settings(capsys, *given)["training"]["learning_rate"] == 0.001
    found = settings(capsys, "--backbone", "local-dir:x", "--set", "embedding.patch_weight=0.3")
    assert (found["embedding"]["backbone"], found["embedding"]["patch_weight"]) == (
        "local-dir:x",
        0.3,
    )


def test_options_go_over_the_file(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "images: IMAGES\nmaps: null\nseed: 4\ntraining: {epochs: 3, learning_rate: 1e-3}\n"
        "detector: {name: patch_memory, memory_size: 70}\nlocaliser: none\n"
    )
    found = settings(capsys, "--config", str(file), "--training.epochs", "2")
    assert (found["images"], found["seed"]) == ("IMAGES", 4)
    assert (found["training"]["epochs"], found["training"]["learning_rate"]) == (2, 0.001)
    kept = settings(capsys, "--config", str(file), "--detector", "patch_memory")
    assert kept["detector"] == {"name": "patch_memory", "memory_size": 70}
    other = settings(capsys, "--config", str(file), "--detector", "mutual_scoring", "OTHER")
    assert other["detector"] == {"name": "mutual_scoring"}  # takes none of the other's options
    assert other["images"] == "OTHER"


def test_what_is_printed_is_read_again(tmp_path: Path, capsys: Capture) -> None:
    given = ("x", "--kinds", "4", "--detector", "mutual_scoring", "--detector.image_size", "64")
    first = settings(capsys, *given)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(first))
    assert settings(capsys, "--config", str(tmp_path / "again.yaml")) == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected IMAGES, got none; see protoanomalyncd discover --help"),
        (["x"], "expected --out RUN, got none"),
        (["--kinds", "0"], "--kinds: expected at least 1, or auto, got '0'"),
        (["--kinds", "many"], "--kinds: expected at least 1, or auto, got 'many'"),
        (["--kinds", "3", "--n-novel", "4"], "--kinds: expected no --n-novel beside it"),
        (["--set", "embedding.patch_wait=1"], "unknown setting embedding.patch_wait; known here"),
        (["--set", "seed"], "--set: expected NAME=VALUE, got 'seed'"),
        (
            ["--set", "seed=1", "--set", "seed.x=3"],
            "seed.x: expected settings by name in seed, got 1",
        ),
        (["--training.epochs"], "--training.epochs: expected a value after it, got nothing"),
        (["--training.epochs", "some"], "training.epochs: expected a whole number, got 'some'"),
        (["--mebin.mood", "x"], "unknown setting mebin.mood; known here:"),
        (["--speed", "3"], "unrecognized arguments: --speed; see protoanomalyncd --help"),
        (["--config", "/nowhere.yaml"], "--config /nowhere.yaml: expected a YAML file"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: list[str], said: str, capsys: Capture) -> None:
    assert said in refusal(capsys, *arguments)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe\x00", "expected a YAML file"),
        (b"a: [", "expected a YAML file"),
        (b"- 1", "expected lines such as 'seed: 1', got list"),
        (b"training: 5", "training: expected settings by name, got 5"),
        (b"training: &a {epochs: *a}", "training.epochs: expected a whole number"),
        (b"detector: &a {name: x, b: *a}", "detector: expected numbers, texts, lists"),
        (b"images: [1]", "images: expected a path or null, got [1]"),
        (b"!!python/object/apply:os.getcwd []", "expected a YAML file"),
        (b"7: 3", "unknown setting 7"),
    ],
)
def test_odd_files_are_one_line(content: bytes, said: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "s.yaml").write_bytes(content)
    assert said in refusal(capsys, "--config", str(tmp_path / "s.yaml"), "--out", "x")
