"""A fitted model as one graph that runs without torch.

    graph.py      crop and anomaly values -> class, as one torch module      (needs torch)
    formats.py    that module -> ONNX or OpenVINO                            (needs torch)
    export.py     a fitted model -> a folder: graph, export.json, README.md  (needs torch)
    record.py     export.json: what the graph's surroundings must know
    engines.py    the graph at work, in onnxruntime or OpenVINO
    merging.py    from the regions of an image to the image
    runtime.py    image and anomaly map -> regions -> classes

What needs no torch needs numpy, OpenCV, Pillow and one of the two engines. Source: ours.

    >>> export_model(model, "line_4-onnx", "onnx")                    # doctest: +SKIP
    >>> Runtime("line_4-onnx").classify(crop, anomaly_map)            # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protoanomalyncd.deployment.export import export_model
    from protoanomalyncd.deployment.runtime import Classes, Runtime

__all__ = ["Classes", "Runtime", "export_model"]

_HOMES = {"Classes": "runtime", "Runtime": "runtime", "export_model": "export"}


def __getattr__(name: str) -> Any:
    # Writing an export takes torch, using one must not.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
