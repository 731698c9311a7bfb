"""`protoanomalyncd export`: a saved model as a graph that runs without torch."""

from __future__ import annotations

from pathlib import Path

from protoanomalyncd.cli.console import console
from protoanomalyncd.deployment.export import export_model
from protoanomalyncd.deployment.formats import check_packages
from protoanomalyncd.pipeline.saved_model import load_model

__all__ = ["export"]


def export(model: Path, kind: str, out: Path | None = None, overwrite: bool = False) -> Path:
    """Export a model into a folder.

    Args:
        model: folder of a saved model (RUN/model).
        kind: ``onnx`` or ``openvino``.
        out: folder to make; None = ``MODEL-KIND`` beside the model.
        overwrite: replace an earlier export.

    Returns:
        The folder.
    """
    from rich.markup import escape

    check_packages(kind)
    target = model.with_name(f"{model.resolve().name}-{kind}") if out is None else out
    export_model(load_model(model), target, kind, overwrite=overwrite)
    console.print(
        f"exported to [bold]{escape(str(target))}[/]; its README.md says how to use it",
        soft_wrap=True,
    )
    return target
