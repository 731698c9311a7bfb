"""The `protoanomalyncd` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace

from protoanomalyncd.cli.export_commands import (
    classify_parser,
    export_parser,
    run_classify,
    run_export,
)
from protoanomalyncd.cli.generate import generate_parser, run_generate
from protoanomalyncd.cli.parser import ArgumentParser
from protoanomalyncd.cli.prepare import prepare_parser, run_prepare
from protoanomalyncd.config import (
    Config,
    CountConfig,
    CropConfig,
    EmbeddingConfig,
    LocaliserConfig,
    MapConfig,
    MEBinConfig,
    OutlierConfig,
    PrototypeConfig,
    TrainingConfig,
)
from protoanomalyncd.core.errors import ConfigurationError, ProtoAnomalyNCDError

__all__ = ["main"]


_EPILOGUE = """
examples:
  protoanomalyncd demo --out demo_run
  protoanomalyncd prepare mtd SOURCE DATA/mtd
  protoanomalyncd discover DATA/mtd --labelled DATA/neu --n-novel 6 --out RUN
  protoanomalyncd discover IMAGES --maps MAPS --n-novel 5 --out RUN
  protoanomalyncd predict RUN/model NEW_IMAGES --out PRED
  protoanomalyncd evaluate RUN
  protoanomalyncd ablate research/configs/ablations/guidance.yaml --out ABLATION
  protoanomalyncd export RUN/model --format onnx
  protoanomalyncd classify RUN/model-onnx NEW_IMAGES --maps MAPS --out PRED
"""

_STAGES: dict[str, type] = {
    "detector": MapConfig,
    "localiser": LocaliserConfig,
    "mebin": MEBinConfig,
    "crops": CropConfig,
    "embedding": EmbeddingConfig,
    "prototypes": PrototypeConfig,
    "training": TrainingConfig,
    "outliers": OutlierConfig,
    "count": CountConfig,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status (0 done, 2 bad input, 130 interrupted)."""
    command = None
    try:
        command, options = _parse(arguments)
        _COMMANDS[command](options)
    except ProtoAnomalyNCDError as error:
        line = " ".join(str(error).split())
        # A file name need not be valid text.
        sys.stderr.write(f"error: {line.encode(errors='backslashreplace').decode()}\n")
        return 2
    except KeyboardInterrupt:
        resumable = command in ("discover", "ablate")
        hint = "; the same command goes on where it stopped" if resumable else ""
        sys.stderr.write(f"interrupted{hint}\n")
        return 130
    return 0


def _parse(arguments: Sequence[str] | None) -> tuple[str, Namespace]:
    """Command and options.

    Raises:
        ConfigurationError: an option is unknown, missing, or of no use.
    """
    parser = build_parser()
    try:
        options = parser.parse_args(None if arguments is None else list(arguments))
        command = str(options.command)
        return command, parser.instantiate_classes(options)[command]
    except TypeError as error:  # jsonargparse, where a number stands for a group of settings
        reason = str(error).split("argument after ** ")[-1]
        raise ConfigurationError(
            f"settings: expected names and values in each group of settings, got: {reason}"
        ) from error


def build_parser() -> ArgumentParser:
    """The parser with all commands."""
    parser = ArgumentParser(
        prog="protoanomalyncd",
        description="From the anomaly maps of any detector to named defect classes.\n" + _EPILOGUE,
    )
    commands = parser.add_subcommands(dest="command", metavar="COMMAND")
    commands.add_subcommand("demo", _demo_parser(), help="the main job on generated images")
    commands.add_subcommand(
        "generate", generate_parser(), help="draw a data set of inspection images"
    )
    commands.add_subcommand(
        "prepare", prepare_parser(), help="bring a public data set into the expected layout"
    )
    commands.add_subcommand(
        "discover", _discover_parser(), help="images -> defect classes, a report and a model"
    )
    commands.add_subcommand("predict", _predict_parser(), help="class new images by a saved model")
    commands.add_subcommand(
        "evaluate", _evaluate_parser(), help="metrics of a run, from its saved predictions"
    )
    commands.add_subcommand(
        "ablate", _ablate_parser(), help="a grid of settings and seeds -> a table and figures"
    )
    commands.add_subcommand(
        "export", export_parser(), help="a saved model as a graph that runs without torch"
    )
    commands.add_subcommand(
        "classify", classify_parser(), help="class new images by an exported model"
    )
    return parser


def _discover_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Discover the defect classes of a folder of images.\n"
        "A run that was interrupted goes on when the same command is given again.\n"
        "--print_config shows every setting; --config reads them from a file.\n\n"
        "examples:\n"
        "  protoanomalyncd discover DATA/mtd --labelled DATA/neu --n-novel 6 --out RUN\n"
        "  protoanomalyncd discover IMAGES --maps MAPS --n-novel 5 --out RUN"
    )
    parser.add_argument(
        "--config", action="config", help="YAML file with settings, such as RUN/config.yaml"
    )
    parser.add_argument(
        "images",
        type=Path,
        help="MVTec AD layout (train/good, test/...), or any folder of images",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the results; must be new"
    )
    parser.add_argument(
        "--labelled",
        type=Path | None,
        default=None,
        help="known defects of other products, with masks",
    )
    parser.add_argument(
        "--maps",
        type=Path | None,
        default=None,
        help="folder of anomaly maps (npy, tiff, png) of any detector",
    )
    parser.add_argument(
        "--object-masks",
        type=Path | None,
        default=None,
        help="folder of masks that say where the object is; see also --localiser.source",
    )
    parser.add_argument(
        "--n-novel",
        "--n_novel_classes",
        dest="n_novel_classes",
        type=int | Literal["auto"],
        default=Config().n_novel_classes,
        help="number of classes to find, the normal class included (5 kinds of defect: 6); auto = "
        "estimated, see --count.min_classes and --count.max_classes",
    )
    parser.add_argument(
        "--classes",
        choices=("novel", "all"),
        default="novel",
        help="classes that results may name: the novel ones, or the labelled ones too",
    )
    parser.add_argument("--seed", type=int, default=0, help="of every random choice")
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda, cuda:1, mps")
    parser.add_argument("--overwrite", action="store_true", help="replace a finished run in --out")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    for name, stage in _STAGES.items():
        parser.add_class_arguments(stage, name)
    return parser


def _predict_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Class the images of a folder by a saved model; nothing is trained."
    )
    parser.add_argument("model", type=Path, help="folder of a model, such as RUN/model")
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the results; must be new"
    )
    parser.add_argument(
        "--maps",
        type=Path | None,
        default=None,
        help="anomaly maps of the images, if the model was fitted with maps",
    )
    parser.add_argument(
        "--object-masks",
        type=Path | None,
        default=None,
        help="object masks of the images, if the model was fitted with object masks",
    )
    parser.add_argument(
        "--classes",
        choices=("novel", "all"),
        default=None,
        help="classes that results may name; default: as the model was fitted",
    )
    parser.add_argument(
        "--device", type=str | None, default=None, help="instead of the model's own"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in --out")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def _evaluate_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="NMI, ARI and F1 of a run, and its confusion table, from predictions.csv."
    )
    parser.add_argument("run", type=Path, help="folder made by discover or predict")
    parser.add_argument(
        "--json", type=Path | None, default=None, help="also write the metrics to this file"
    )
    parser.add_argument(
        "--known",
        type=list[str] | None,
        default=None,
        help="true classes that were labelled, for the accuracy over all classes; default: those "
        "of the run's labelled set",
    )
    return parser


def _ablate_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Run every row of a study with every seed, and print means and spreads.\n"
        "Finished runs are kept: an interrupted study goes on when the same command is given\n"
        "again, and new rows or seeds join the old ones. Labels are for the metrics only.\n\n"
        "examples:\n"
        "  protoanomalyncd ablate research/configs/ablations/guidance.yaml --out ABLATION\n"
        "  protoanomalyncd ablate STUDY.yaml --images DATA/mtd --seeds '[0, 1]' --out ABLATION"
    )
    parser.add_argument("study", type=Path, help="YAML file: data, seeds, base, rows or grid")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    for name, text in (
        ("images", "MVTec AD layout"),
        ("labelled", "known defects of other products"),
        ("maps", "anomaly maps of any detector"),
    ):
        parser.add_argument(
            f"--{name}", type=Path | None, default=None, help=f"{text}; instead of the study's"
        )
    parser.add_argument(
        "--seeds", type=list[int] | None, default=None, help="instead of the study's"
    )
    parser.add_argument("--no-figures", action="store_true", help="the table only")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def _demo_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Draw a product with six kinds of defect and discover them; needs nothing else."
    )
    parser.add_argument("--out", type=Path, default=Path("demo_run"), help="folder of the demo")
    parser.add_argument("--seed", type=int, default=0, help="of the images and the run")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def _run_discover(options: Namespace) -> None:
    from protoanomalyncd.cli.discover import discover
    from protoanomalyncd.pipeline.inputs import Inputs

    stages: dict[str, Any] = {name: getattr(options, name) for name in _STAGES}
    config = Config(
        n_novel_classes=options.n_novel_classes,
        classes=options.classes,
        seed=options.seed,
        device=options.device,
        detector=stages.pop("detector"),
        **stages,
    )
    paths = ("images", "labelled", "maps", "object_masks")
    given = {name: getattr(options, name) for name in paths}
    discover(
        Inputs.read(*given.values()),
        options.out,
        config,
        given={name: None if path is None else str(path) for name, path in given.items()},
        overwrite=options.overwrite,
        quiet=options.quiet,
    )


def _run_predict(options: Namespace) -> None:
    from protoanomalyncd.cli.predict import predict

    predict(
        options.model,
        options.images,
        options.out,
        options.maps,
        options.classes,
        options.device,
        options.overwrite,
        options.quiet,
        object_masks=options.object_masks,
    )


def _run_evaluate(options: Namespace) -> None:
    from protoanomalyncd.cli.evaluate import evaluate

    evaluate(options.run, options.json, options.known)


def _run_ablate(options: Namespace) -> None:
    from research.ablate import ablate

    data = {name: getattr(options, name) for name in ("images", "labelled", "maps", "seeds")}
    ablate(options.study, options.out, data, not options.no_figures, options.quiet)


def _run_demo(options: Namespace) -> None:
    from protoanomalyncd.cli.demo import demo

    demo(options.out, options.seed, options.quiet)


_COMMANDS = {
    "demo": _run_demo,
    "generate": run_generate,
    "prepare": run_prepare,
    "discover": _run_discover,
    "predict": _run_predict,
    "evaluate": _run_evaluate,
    "ablate": _run_ablate,
    "export": run_export,
    "classify": run_classify,
}


if __name__ == "__main__":
    sys.exit(main())
