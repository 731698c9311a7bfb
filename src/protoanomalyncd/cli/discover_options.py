"""Options of `protoanomalyncd discover`; all that is not listed here stays in YAML and `--set`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from protoanomalyncd.cli.parser import ArgumentParser, Namespace, Subcommands
from protoanomalyncd.cli.settings import merge_settings, parse_scalar, read_settings, setting
from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import ConfigurationError

__all__ = ["add_discover"]

PATHS = ("images", "labelled", "maps", "object_masks")
"""Inputs; a configuration file may name them too."""

COMPONENT_OPTIONS = {
    "patch_memory": ("image_size", "memory_size", "whitening", "smoothing"),
    "mutual_scoring": ("image_size", "reference_images"),
    "folder": ("coarse_smoothing",),
    "sam3": ("segmenter", "score_threshold"),
    "grounded_sam": ("box_detector", "segmenter", "score_threshold"),
    "both localisers": (
        *("prompt", "prompts", "product", "max_objects", "max_box_area"),
        *("min_area", "largest_component", "fill_holes", "margin"),
    ),
    "key_value_cache": ("sharpness", "blend", "nearest", "frozen"),
}
"""What the help says of the built-in components' options, without importing them."""

_EXAMPLES = """
A run that was interrupted goes on when the same command is given again.

examples:
  protoanomalyncd discover DATA/mtd --labelled DATA/neu --kinds 5 --out RUN
  protoanomalyncd discover IMAGES --maps MAPS --kinds 5 --out RUN
  protoanomalyncd discover --config RUN/config.yaml --out AGAIN      # the same run again"""


def add_discover(commands: Subcommands) -> None:
    """The command and its options, in groups."""
    parser = commands.add_parser(
        "discover",
        help="images -> defect classes, a report and a model",
        description="Discover the defect classes of a folder of images." + _EXAMPLES,
        usage="%(prog)s IMAGES --out RUN [OPTIONS]",
        argument_default=argparse.SUPPRESS,
    )
    parser.set_defaults(run=run_discover, settings=[])
    _inputs_and_output(parser)
    _what_is_found(parser)
    _components(parser)
    _the_rest(parser)


def _setting(group: Any, flags: str, name: str, reason: str, metavar: str = "N") -> None:
    """An option for one setting; its default is that of `Config`."""
    default: Any = Config()
    for part in name.split("."):
        default = getattr(default, part)
    default = getattr(default, "name", default)
    group.add_argument(
        *flags.split(),
        dest="settings",
        action="append",
        type=partial(_pair, name),
        metavar=metavar,
        help=f"{reason} (default: {default})".replace("%", "%%"),
    )


def _pair(name: str, text: str) -> tuple[str, Any]:
    return name, parse_scalar(text)


def _inputs_and_output(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("input")
    group.add_argument(
        "images",
        type=Path,
        nargs="?",
        default=None,
        metavar="IMAGES",
        help="MVTec AD layout (train/good, test/...), or any folder of images",
    )
    for name, reason in (
        ("labelled", "known defects of other products, with masks; they teach what to look at"),
        ("maps", "anomaly maps (npy, tiff, png) of any detector, instead of a built-in one's"),
    ):
        group.add_argument(
            f"--{name}", type=Path, metavar="FOLDER", help=f"{reason} (default: none)"
        )
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="RUN", help="folder of the results; must be new")
    group.add_argument(
        "--overwrite", action="store_true", help="replace a finished run in --out (default: no)"
    )
    group.add_argument("--quiet", action="store_true", help="no progress bars (default: no)")


def _what_is_found(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("kinds of defect")
    group.add_argument(
        "--kinds", metavar="N", help="kinds of defect among the images (default: auto, estimated)"
    )
    _setting(
        group,
        "--n-novel --n_novel_classes",
        "n_novel_classes",
        "the same as the papers count, the normal class included: kinds + 1",
    )
    _setting(group, "--count.max_classes", "count.max_classes", "most classes the estimate tries")
    _setting(
        group,
        "--classes",
        "classes",
        "which classes results may name: novel, or all: the labelled ones too",
        "WHICH",
    )
    _setting(
        group,
        "--mebin.normals_in_set",
        "mebin.normals_in_set",
        "whether IMAGES hold normal ones; asked where no normal image is known",
        "BOOL",
    )


def _components(parser: ArgumentParser) -> None:
    def listed(*names: str) -> str:
        return "; ".join(f"{name}: {', '.join(COMPONENT_OPTIONS[name])}" for name in names)

    group = parser.add_argument_group("detector of anomalies")
    _setting(
        group,
        "--detector",
        "detector",
        "patch_memory (needs train/good), mutual_scoring (needs none), folder (--maps), or one of "
        "an installed package; auto takes what the data allow",
        "NAME",
    )
    built_in = listed("patch_memory", "mutual_scoring", "folder")
    group.add_argument("--detector.OPTION", metavar="VALUE", help=f"its options: {built_in}")
    group = parser.add_argument_group("object")
    group.add_argument(
        "--object-masks",
        type=Path,
        metavar="FOLDER",
        help="masks that say where the object is; clutter beside it is no defect (default: none)",
    )
    _setting(
        group,
        "--localiser",
        "localiser",
        "finds the object by its name: grounded_sam, sam3, or one of an installed package; none is "
        "right for textures",
        "NAME",
    )
    built_in = listed("sam3", "grounded_sam", "both localisers")
    group.add_argument("--localiser.OPTION", metavar="VALUE", help=f"its options: {built_in}")
    group.add_argument(
        "--mask-outside-object",
        dest="settings",
        action="append_const",
        const=("mask_outside_object", True),
        help="outside the object the anomaly map counts as normal (default: no)",
    )


def _the_rest(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("embedding and training")
    for flags, name, reason, metavar in (
        (
            "--backbone",
            "embedding.backbone",
            "network: embedded (in the package), local-dir:FOLDER, or a timm name, which downloads",
            "NAME",
        ),
        (
            "--embedding.precision",
            "embedding.precision",
            "bfloat16 is twice as fast where the processor knows it",
            "TYPE",
        ),
        ("--training.epochs", "training.epochs", "passes over the regions", "N"),
        ("--training.views", "training.views", "augmented views of a region; disk and time", "N"),
        ("--training.cache_gb", "training.cache_gb", "disk that the views may take [GB]", "N"),
    ):
        _setting(group, flags, name, reason, metavar)
    group = parser.add_argument_group("rejection of what is too strange to name")
    _setting(
        group,
        "--outliers.false_rejection_rate",
        "outliers.false_rejection_rate",
        "share of the images that may be rejected wrongly; 0 rejects nothing",
        "SHARE",
    )
    _setting(group, "--outlier-score", "outliers.score", "how strangeness is measured", "NAME")
    group.add_argument(
        "--outlier-score.OPTION",
        metavar="VALUE",
        help=f"its options: key_value_cache: {', '.join(COMPONENT_OPTIONS['key_value_cache'])}",
    )
    group = parser.add_argument_group("machine and settings")
    _setting(group, "--seed", "seed", "of every random choice")
    _setting(group, "--device", "device", "cpu, cuda, cuda:1, mps", "NAME")
    group.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML file of inputs and settings, such as RUN/config.yaml (default: none)",
    )
    group.add_argument(
        "--set",
        dest="settings",
        action="append",
        type=setting,
        metavar="NAME=VALUE",
        help="any other setting by its name in --print_config, such as embedding.patch_weight=0.3; "
        "--NAME VALUE is the same",
    )
    group.add_argument(
        "--print_config", action="store_true", help="print every setting as YAML, and end"
    )


def run_discover(options: Namespace) -> None:
    """Read the settings, then run the job."""
    given = vars(options)
    values = read_settings(given["config"]) if "config" in given else {}
    pairs = [*given["settings"], *_kinds(given)]
    values = merge_settings(values, pairs)
    paths = {name: _path(name, values.pop(name, None)) for name in PATHS}
    paths |= {name: given[name] for name in PATHS if given.get(name) is not None}
    config = Config.from_dict(values)
    shown = {name: None if path is None else str(path) for name, path in paths.items()}
    if "print_config" in given:
        sys.stdout.write(yaml.safe_dump({**shown, **config.to_dict()}, sort_keys=False))
        return
    for name, flag in (("images", "IMAGES"), ("out", "--out RUN")):
        if (given | paths).get(name) is None:
            raise ConfigurationError(
                f"expected {flag}, got none; see protoanomalyncd discover --help"
            )
    images, *others = (paths[name] for name in PATHS)
    # These import torch, which takes seconds; help and bad options must not wait for it.
    from protoanomalyncd.cli.discover import discover
    from protoanomalyncd.pipeline.inputs import Inputs

    discover(
        Inputs.read(images or "", *others),
        given["out"],
        config,
        given=shown,
        overwrite="overwrite" in given,
        quiet="quiet" in given,
    )


def _path(name: str, value: Any) -> Path | None:
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{name}: expected a path or null, got {value!r}")
    return None if value is None else Path(value)


def _kinds(given: dict[str, Any]) -> Sequence[tuple[str, Any]]:
    """``--kinds`` as the number of novel classes, the normal one included."""
    if "kinds" not in given:
        return []
    kinds = parse_scalar(given["kinds"])
    if any(name == "n_novel_classes" for name, _ in given["settings"]):
        raise ConfigurationError("--kinds: expected no --n-novel beside it; give one of them")
    if kinds == "auto":
        return [("n_novel_classes", "auto")]
    if not isinstance(kinds, int) or kinds < 1:
        raise ConfigurationError(f"--kinds: expected at least 1, or auto, got {given['kinds']!r}")
    return [("n_novel_classes", kinds + 1)]
