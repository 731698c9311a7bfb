"""Options of `protoanomalyncd export` and `classify`; imports neither torch nor an engine."""

from __future__ import annotations

from pathlib import Path

from protoanomalyncd.cli.parser import Namespace, Subcommands, add_results

__all__ = ["add_classify", "add_export"]


def add_export(commands: Subcommands) -> None:
    """``export`` and its options."""
    parser = commands.add_parser(
        "export",
        help="a saved model as a graph that runs without torch",
        description="Write a saved model as a graph that runs without torch: crop and anomaly map\n"
        "-> class, confidence and outlier score. Needs pip install 'protoanomalyncd[export]'.\n"
        "The folder's README.md tells what the graph takes and gives.\n\n"
        "examples:\n"
        "  protoanomalyncd export RUN/model --format onnx        # makes RUN/model-onnx\n"
        "  protoanomalyncd export RUN/model --format openvino --out line_4\n"
        "  protoanomalyncd classify line_4 NEW_IMAGES --maps MAPS --out PRED",
    )
    parser.add_argument("model", type=Path, help="folder of a model, such as RUN/model")
    parser.add_argument(
        "--format", choices=["onnx", "openvino"], default="onnx", help="of the graph"
    )
    parser.add_argument(
        "--out", type=Path, help="folder to make; default: MODEL-FORMAT beside the model"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    parser.set_defaults(run=run_export)


def add_classify(commands: Subcommands) -> None:
    """``classify`` and its options."""
    parser = commands.add_parser(
        "classify",
        help="class new images by an exported model",
        description="Class the images of a folder by an exported model, without torch. Writes the\n"
        "predictions.csv and regions.csv that predict would write.\n\n"
        "example:\n"
        "  protoanomalyncd classify RUN/model-onnx NEW_IMAGES --maps MAPS --out PRED",
    )
    parser.add_argument("exported", type=Path, help="folder made by export")
    add_results(parser)
    parser.add_argument(
        "--maps",
        type=Path,
        required=True,
        help="their anomaly maps, by the detector whose maps the model was fitted on",
    )
    parser.add_argument(
        "--engine",
        help="onnxruntime or openvino; default: the export's own (openvino reads both formats)",
    )
    parser.add_argument("--threads", type=int, help="images at a time; default: all cores")
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="bfloat16 is quicker with openvino where the processor has it; classes at the border "
        "of two can move",
    )
    parser.set_defaults(run=run_classify)


def run_export(options: Namespace) -> None:
    """Run ``export``."""
    from protoanomalyncd.cli.export import export

    export(options.model, options.format, options.out, options.overwrite)


def run_classify(options: Namespace) -> None:
    """Run ``classify``."""
    from protoanomalyncd.cli.classify import classify
    from protoanomalyncd.deployment.runtime import Runtime

    how = {"engine": options.engine, "threads": options.threads, "precision": options.precision}
    runtime = Runtime(options.exported, **how)
    switches = {"overwrite": options.overwrite, "quiet": options.quiet}
    classify(runtime, options.images, options.maps, options.out, **switches)
