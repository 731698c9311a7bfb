"""The graph at work: onnxruntime or OpenVINO, on the CPU, in float32.

Both engines may compute in half precision where the processor offers it; here they may not,
because classes at the border of two would move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from protoanomalyncd.errors import ConfigurationError, MissingDependencyError, ModelFormatError

__all__ = ["ENGINES", "Engine", "open_engine"]

Array: TypeAlias = npt.NDArray[Any]


class Engine(Protocol):
    """A loaded graph."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by the names of the graph's inputs -> arrays by those of its outputs."""
        ...


class _OnnxRuntime:
    """onnxruntime; reads ONNX."""

    def __init__(self, path: Path, threads: int | None) -> None:
        onnxruntime = _imported("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine`."""
        found = self._session.run(self._outputs, dict(inputs))
        return dict(zip(self._outputs, found, strict=True))


class _OpenVino:
    """OpenVINO; reads its own form and ONNX."""

    def __init__(self, path: Path, threads: int | None) -> None:
        openvino = _imported("openvino")
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        self._model = core.compile_model(core.read_model(str(path)), "CPU", options)
        self._outputs = [output.any_name for output in self._model.outputs]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine`."""
        found = self._model(dict(inputs))
        return {name: np.array(found[name]) for name in self._outputs}


ENGINES: dict[str, Callable[[Path, int | None], Engine]] = {
    "onnxruntime": _OnnxRuntime,
    "openvino": _OpenVino,
}
_OWN = {"onnx": "onnxruntime", "openvino": "openvino"}


def open_engine(
    path: Path, kind: str, name: str | None = None, threads: int | None = None
) -> Engine:
    """Load a graph.

    Args:
        path: of the graph.
        kind: its format, ``onnx`` or ``openvino``.
        name: ``onnxruntime`` or ``openvino``; None = the format's own. OpenVINO reads both formats.
        threads: at most; None = the engine's choice.

    Raises:
        ConfigurationError: the engine is unknown, or does not read this format.
        MissingDependencyError: its package is not installed.
        ModelFormatError: the graph cannot be read.
    """
    name = _OWN.get(kind) if name is None else name
    if name not in ENGINES:
        raise ConfigurationError(f"engine: expected one of {', '.join(ENGINES)}, got {name!r}")
    if threads is not None and threads < 1:
        raise ConfigurationError(f"threads: expected at least 1, got {threads}")
    if name == "onnxruntime" and kind != "onnx":
        raise ConfigurationError(
            f"engine: onnxruntime reads an export to onnx only, got {path.name}; "
            "use openvino, or export again with --format onnx"
        )
    try:
        return ENGINES[name](path, threads)
    except MissingDependencyError:
        raise
    except Exception as error:  # both raise kinds of their own
        reason = " ".join(str(error).split())[:160]
        raise ModelFormatError(
            f"{path}: expected a graph that {name} can load, got: {reason}; export again"
        ) from error


def _imported(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        other = next(name for name in ENGINES if name != package)
        raise MissingDependencyError(
            f"expected the package {package} to run this graph, which is not installed; "
            f"pip install {package}, or export for the engine {other}"
        ) from error
