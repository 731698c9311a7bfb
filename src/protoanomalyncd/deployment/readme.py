"""The ``README.md`` of an export: what the graph takes and gives, for whoever finds the folder."""

from __future__ import annotations

from protoanomalyncd.deployment.record import Record

__all__ = ["readme"]

_PAGE = """# A defect classifier

Written by ProtoAnomalyNCD {version}: backbone `{backbone}`, {n} classes. Runs without torch.

| file | what |
|---|---|
{files}
| `export.json` | class names, range of the anomaly maps, settings of regions and merging |

## Classes

{classes}

To rename a class edit its `name` in `export.json`; to merge it into another set `counts_as` to that
one's `id`: their probabilities add up. Class id -1 is an outlier: {rejection}.

## From images and anomaly maps

```
protoanomalyncd classify FOLDER IMAGES --maps MAPS --out RESULTS
```

```python
from protoanomalyncd.deployment import Runtime

runtime = Runtime("FOLDER")  # image: RGB uint8 (H, W, 3); anomaly_map: raw scores (h, w)
found, regions = runtime.classify_image(image, anomaly_map)
runtime.class_name(found.class_id), found.confidence, found.outlier_score
```

Maps: {maps}. The range {low:.6g} to {high:.6g} of the fitted set is applied here.
This needs `pip install --no-deps protoanomalyncd` and numpy, opencv-python-headless, pillow and
{engine}; the command line also pyyaml, rich and jinja2.

## The graph alone

Any program that runs {format} can do without this package.

| input | type | shape | what |
|---|---|---|---|
| `image` | uint8 | (B, {side}, {side}, 3) | RGB crop around a region, resized to {side} px |
| `anomaly` | float32 | (B, {side}, {side}) | its map, and 1 inside the region |{descriptors}

| output | type | shape | what |
|---|---|---|---|
| `class_id` | int64 | (B,) | `id` in `export.json`, before any merger; -1 = outlier |
| `confidence` | float32 | (B,) | largest probability, before any merger |
| `outlier_score` | float32 | (B,) | score `{score}`; larger = more outlying |
| `probabilities` | float32 | (B, {n}) | of each class |
| `embedding` | float32 | (B, {width}) | of unit length |

Where classes are merged, add up the probabilities of each `counts_as`; the largest sum wins.

A map goes in on the range above, clipped to [0, 1]. Only the central {window} x {window} px of a
crop are seen. Mean and deviation, pooling to patches and guidance are inside.
"""


def readme(record: Record) -> str:
    """The page of one export."""
    fitted_here = record.maps_from != "folder"
    return _PAGE.format(
        version=record.version,
        backbone=record.backbone,
        n=len(record.names),
        files="\n".join(f"| `{name}` | {_about(name)} |" for name in record.files),
        classes="\n".join(_class(record, k) for k in range(len(record.names))),
        rejection="nothing is rejected"
        if record.threshold is None
        else f"its outlier score is above {record.threshold:.6g}",
        maps=f"raw scores of the model's own detector, `{record.maps_from}`, which is not in here"
        if fitted_here
        else "raw scores of the detector whose maps the model was fitted on, in the same units",
        descriptors=_descriptors(record),
        low=record.map_range.low,
        high=record.map_range.high,
        engine="onnxruntime (or openvino)" if record.kind == "onnx" else "openvino",
        format="ONNX" if record.kind == "onnx" else "OpenVINO's format",
        side=record.crop_size,
        window=record.window,
        score=record.outlier_score,
        width=record.embed_dim,
    )


def _about(name: str) -> str:
    return "weights of the graph" if name.endswith(".bin") else "the graph: crop -> class"


def _class(record: Record, k: int) -> str:
    merged = f", counts as {record.counts_as[k]}" if record.counts_as[k] != k else ""
    normal = ", normal images" if record.normal_class == k else ""
    return f"- {k}: {record.names[k]}{merged}{normal}"


def _descriptors(record: Record) -> str:
    """The table's line of a third input, if there is one."""
    if not record.descriptors:
        return ""
    names = ", ".join(record.descriptors)
    return (
        f"\n| `descriptors` | float32 | (B, {len(record.descriptors)}) | of the region: {names} |"
    )
