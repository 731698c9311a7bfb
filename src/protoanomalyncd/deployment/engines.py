"""The graph at work: onnxruntime or OpenVINO, on the CPU.

Both engines may compute in half precision where the processor offers it; here they may only when
they are told to, because classes at the border of two can move.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from protoanomalyncd.core.errors import ConfigurationError, MissingDependencyError, ModelFormatError

__all__ = ["ENGINES", "PRECISIONS", "Engine", "open_engine"]

Array: TypeAlias = npt.NDArray[Any]


PRECISIONS = ("float32", "bfloat16")


class Engine(Protocol):
    """A loaded graph; may be run in several threads at once."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by the names of the graph's inputs -> arrays by those of its outputs."""
        ...


class _OnnxRuntime:
    """onnxruntime; reads ONNX. Runs of one session may overlap."""

    def __init__(self, path: Path, threads: int | None, streams: int, half: bool) -> None:
        if half:
            raise ConfigurationError(
                "precision: onnxruntime computes in float32 only here, got bfloat16; use openvino"
            )
        onnxruntime = _imported("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Threads that wait actively take the cores from whoever cuts the next crops.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
    """OpenVINO; reads its own form and ONNX. Each thread has a request of its own."""

    def __init__(self, path: Path, threads: int | None, streams: int, half: bool) -> None:
        openvino = _imported("openvino")
        core = openvino.Core()
        if half and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ConfigurationError(
                "precision: expected a processor that computes in bfloat16, this one does not; "
                "use float32"
            )
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "bf16" if half else "f32"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads * streams
        if streams > 1:
            # Not pinned to a core: the threads that cut the next images need it in between.
            options |= {"NUM_STREAMS": streams, "ENABLE_CPU_PINNING": False}
        self._model = core.compile_model(core.read_model(str(path)), "CPU", options)
        # Where two tensors became one it goes by both names.
        self._outputs = [(n, name) for n, o in enumerate(self._model.outputs) for name in o.names]
        self._own = threading.local()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Engine`."""
        if not hasattr(self._own, "request"):
            self._own.request = self._model.create_infer_request()
        found = self._own.request.infer(dict(inputs))
        return {name: np.array(found[n]) for n, name in self._outputs}


ENGINES: dict[str, Callable[[Path, int | None, int, bool], Engine]] = {
    "onnxruntime": _OnnxRuntime,
    "openvino": _OpenVino,
}
_OWN = {"onnx": "onnxruntime", "openvino": "openvino"}


def open_engine(
    path: Path,
    kind: str,
    name: str | None = None,
    threads: int | None = None,
    *,
    streams: int = 1,
    precision: str = "float32",
) -> Engine:
    """Load a graph.

    Args:
        path: of the graph.
        kind: its format, ``onnx`` or ``openvino``.
        name: ``onnxruntime`` or ``openvino``; None = the format's own. OpenVINO reads both formats.
        threads: of one run, at most; None = the engine's choice.
        streams: runs that will overlap.
        precision: ``float32``, or ``bfloat16`` (OpenVINO, where the processor has it).

    Raises:
        ConfigurationError: the engine is unknown, does not read this format, or has no such
            precision here.
        MissingDependencyError: its package is not installed.
        ModelFormatError: the graph cannot be read.
    """
    name = _OWN.get(kind) if name is None else name
    if name not in ENGINES:
        raise ConfigurationError(f"engine: expected one of {', '.join(ENGINES)}, got {name!r}")
    if threads is not None and threads < 1:
        raise ConfigurationError(f"threads: expected at least 1, got {threads}")
    if precision not in PRECISIONS:
        raise ConfigurationError(
            f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}"
        )
    if name == "onnxruntime" and kind != "onnx":
        raise ConfigurationError(
            f"engine: onnxruntime reads an export to onnx only, got {path.name}; "
            "use openvino, or export again with --format onnx"
        )
    try:
        return ENGINES[name](path, threads, streams, precision == "bfloat16")
    except (MissingDependencyError, ConfigurationError):
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
