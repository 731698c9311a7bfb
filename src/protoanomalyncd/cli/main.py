"""The `protoanomalyncd` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from protoanomalyncd.cli.discover_options import add_discover
from protoanomalyncd.cli.export_commands import add_classify, add_export
from protoanomalyncd.cli.generate import add_generate
from protoanomalyncd.cli.parser import ArgumentParser, Namespace, Subcommands, add_results, guarded
from protoanomalyncd.cli.prepare import add_prepare
from protoanomalyncd.cli.settings import setting, spelled_out
from protoanomalyncd.core.errors import ConfigurationError

__all__ = ["build_parser", "main"]

_DESCRIPTION = """From the anomaly maps of any detector to named defect classes.

examples:
  protoanomalyncd demo --out demo_run
  protoanomalyncd prepare mtd SOURCE DATA/mtd
  protoanomalyncd discover DATA/mtd --labelled DATA/neu --kinds 5 --out RUN
  protoanomalyncd discover IMAGES --maps MAPS --kinds 5 --out RUN
  protoanomalyncd predict RUN/model NEW_IMAGES --out PRED
  protoanomalyncd evaluate RUN
  protoanomalyncd export RUN/model --format onnx
  protoanomalyncd classify RUN/model-onnx NEW_IMAGES --maps MAPS --out PRED
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status, see `guarded`."""
    given = list(sys.argv[1:] if arguments is None else arguments)

    def run() -> None:
        options = build_parser().parse_args(spelled_out(given))
        options.run(options)

    return guarded(run, resumable=given[:1] == ["discover"])


def build_parser() -> ArgumentParser:
    """The parser with all commands."""
    parser = ArgumentParser(prog="protoanomalyncd", description=_DESCRIPTION)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        *(_add_demo, add_generate, add_prepare, add_discover, _add_predict),
        *(_add_evaluate, add_export, add_classify),
    ):
        add(commands)
    return parser


def _add_demo(commands: Subcommands) -> None:
    parser = commands.add_parser(
        "demo",
        help="the main job on generated images",
        description="Draw a product with six kinds of defect and discover them.",
    )
    parser.add_argument("--out", type=Path, default=Path("demo_run"), help="folder of the demo")
    parser.add_argument("--seed", type=int, default=0, help="of the images and the run")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=_run_demo)


def _add_predict(commands: Subcommands) -> None:
    parser = commands.add_parser(
        "predict",
        help="class new images by a saved model",
        description="Class the images of a folder by a saved model; nothing is trained.",
    )
    parser.add_argument("model", type=Path, help="folder of a model, such as RUN/model")
    add_results(parser)
    parser.add_argument(
        "--maps", type=Path, help="anomaly maps of the images, if the model was fitted with maps"
    )
    parser.add_argument(
        "--object-masks", type=Path, help="object masks, if the model was fitted with object masks"
    )
    parser.add_argument(
        "--classes",
        choices=("novel", "all"),
        help="classes that results may name; default: as the model was fitted",
    )
    parser.add_argument("--device", help="instead of the model's own")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        type=setting,
        metavar="localiser.OPTION=VALUE",
        help="where the networks of the model's object localiser are on this machine; "
        "--localiser.segmenter local-dir:FOLDER is the same",
    )
    parser.set_defaults(run=_run_predict)


def _add_evaluate(commands: Subcommands) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="metrics of a run, from its saved predictions",
        description="NMI, ARI and F1 of a run, and its confusion table, from predictions.csv.",
    )
    parser.add_argument("run_folder", type=Path, metavar="run", help="made by discover or predict")
    parser.add_argument("--json", type=Path, help="also write the metrics to this file")
    parser.add_argument(
        "--known",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="true classes that were labelled, for the accuracy over all classes; default: those "
        "of the run's labelled set",
    )
    parser.set_defaults(run=_run_evaluate)


# The commands import torch, which takes seconds; help and bad options must not wait for it.


def _run_demo(options: Namespace) -> None:
    from protoanomalyncd.cli.demo import demo

    demo(options.out, options.seed, options.quiet)


def _run_predict(options: Namespace) -> None:
    from protoanomalyncd.cli.predict import predict
    from protoanomalyncd.estimator import ProtoAnomalyNCD
    from protoanomalyncd.pipeline.inputs import Inputs

    places = dict(options.settings or [])
    odd = [name for name in places if not name.startswith("localiser.")]
    if odd:
        raise ConfigurationError(
            f"predict: expected no setting but the localiser's networks, got {odd[0]}; a model "
            "keeps what it was fitted with"
        )
    networks = {name.removeprefix("localiser."): value for name, value in places.items()}
    model = ProtoAnomalyNCD.from_pretrained(
        options.model, device=options.device, localiser=networks
    )
    inputs = Inputs.read(options.images, None, options.maps, options.object_masks)
    switches = {"overwrite": options.overwrite, "quiet": options.quiet}
    predict(model, inputs, options.out, options.classes, **switches)


def _run_evaluate(options: Namespace) -> None:
    from protoanomalyncd.cli.evaluate import evaluate

    evaluate(options.run_folder, options.json, options.known)


if __name__ == "__main__":
    sys.exit(main())
