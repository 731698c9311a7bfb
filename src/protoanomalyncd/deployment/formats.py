"""A torch module -> a graph file: ONNX, or OpenVINO's own form.

Both hold the weights as they are (float32): half precision would halve the file and move classes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from protoanomalyncd.core.errors import ConfigurationError, MissingDependencyError
from protoanomalyncd.deployment.graph import INPUTS, OUTPUTS, ClassifierGraph, ScoreGraph
from protoanomalyncd.regions.descriptors import DESCRIPTORS
from protoanomalyncd.storage.files import write_bytes

__all__ = ["FORMATS", "check_packages", "check_score", "write_onnx", "write_openvino"]

FORMATS = ("onnx", "openvino")
_PACKAGES = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


def check_packages(kind: str) -> None:
    """See that everything is there before work begins.

    Raises:
        ConfigurationError: the format is unknown.
        MissingDependencyError: a package is absent.
    """
    if kind not in FORMATS:
        raise ConfigurationError(f"format: expected one of {', '.join(FORMATS)}, got {kind!r}")
    for package in _PACKAGES[kind]:
        try:
            import_module(package)
        except ImportError as error:
            raise MissingDependencyError(
                f"export to {kind}: expected the package {package}, which is not installed; "
                "pip install 'protoanomalyncd[export]'"
            ) from error


def check_score(score: Any, widths: tuple[int, int]) -> None:
    """See whether an outlier score can become part of a graph.

    Args:
        score: fitted `OutlierScore`.
        widths: of the embeddings and the frozen views.

    Raises:
        ConfigurationError: it cannot.
    """
    examples = [torch.nn.functional.normalize(torch.ones(2, width), dim=1) for width in widths]
    try:
        _traced(ScoreGraph(score), (examples[0], examples[1]))
    except Exception as error:  # torch.export raises many kinds, some of them internal
        raise ConfigurationError(
            f"outliers.score {score.name!r} cannot be exported ({_reason(error)}); "
            "fit with another one, such as cosine"
        ) from error


def write_onnx(graph: ClassifierGraph, crop_size: int, path: Path) -> None:
    """Write one file with a free batch size.

    Args:
        graph: to export.
        crop_size: side of a crop [px].
        path: of the file.

    Raises:
        ConfigurationError: the backbone does something that a graph cannot hold.
    """
    image = torch.zeros((2, crop_size, crop_size, 3), dtype=torch.uint8)
    inputs = [image, torch.zeros((2, crop_size, crop_size))]
    if graph.encoder.descriptors is not None:
        inputs.append(torch.zeros((2, len(DESCRIPTORS))))
    try:
        with _quiet():
            program: Any = torch.onnx.export(
                _traced(graph, tuple(inputs)),
                input_names=list(INPUTS[: len(inputs)]),
                output_names=list(OUTPUTS),
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # see check_score
        raise ConfigurationError(
            f"backbone {graph.encoder.backbone.name!r} cannot be exported ({_reason(error)}); "
            "fit with another one, such as embedded"
        ) from error
    write_bytes(path, _without_notes(program.model_proto))


def write_openvino(onnx: Path, path: Path) -> None:
    """Turn an ONNX file into ``path`` (.xml) and the weights beside it (.bin)."""
    openvino = import_module("openvino")
    model = openvino.Core().read_model(str(onnx))
    openvino.save_model(model, str(path), compress_to_fp16=False)


def _traced(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        return torch.export.export(
            module.eval(), inputs, dynamic_shapes=tuple({0: batch} for _ in inputs)
        )


def _without_notes(proto: Any) -> bytes:
    """The graph's bytes without torch's notes on each node: files and lines of this machine."""
    for part in (proto.graph, *proto.functions):
        for item in (*part.node, *part.value_info, *getattr(part, "initializer", ())):
            item.ClearField("metadata_props")
            item.ClearField("doc_string")
        part.ClearField("metadata_props")
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters log what they do, and warn of what is theirs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
