"""`protoanomalyncd discover`: a folder of images -> named defect classes."""

from __future__ import annotations

import dataclasses
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from protoanomalyncd.anomaly_maps import AUTO, choose
from protoanomalyncd.cli.console import (
    console,
    logger,
    logging_to,
    progress_bars,
    show_notes,
    show_skipped,
)
from protoanomalyncd.config import Config
from protoanomalyncd.core.errors import ConfigurationError, InputError, MissingDependencyError
from protoanomalyncd.core.records import Discovery, Sample
from protoanomalyncd.datasets import Dataset, LabelledSet, load_dataset, load_labelled
from protoanomalyncd.discovery.metrics import metrics_of, split_of
from protoanomalyncd.estimator import ProtoAnomalyNCD
from protoanomalyncd.reports.compose import compose_report
from protoanomalyncd.reports.describe import describe_classes
from protoanomalyncd.reports.summary import count_line, summary_table
from protoanomalyncd.reports.tables import write_predictions, write_regions
from protoanomalyncd.storage import names
from protoanomalyncd.storage.files import write_json, write_text
from protoanomalyncd.storage.staged_folder import RunFolder, fingerprint

__all__ = ["discover", "write_tables"]


def discover(
    images: Path,
    out: Path,
    config: Config,
    labelled: Path | None = None,
    maps: Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    object_masks: Path | None = None,
) -> Path:
    """Run the whole job into a folder; goes on where an interrupted run of the same kind stopped.

    Args:
        images: MVTec AD layout or any folder of images.
        out: folder of the results.
        config: every setting.
        labelled: base set of known defects.
        maps: anomaly maps of any detector.
        overwrite: replace a finished run.
        quiet: no progress bars.
        object_masks: masks that say where the object is.

    Returns:
        `out`.
    """
    start = time.perf_counter()
    dataset = load_dataset(images)
    base = None if labelled is None else load_labelled(labelled)
    paths = {"images": images, "labelled": labelled, "maps": maps, "object_masks": object_masks}
    inputs = {name: _text(path) for name, path in paths.items()}
    identity = _identity(config, dataset, base, inputs)
    model = ProtoAnomalyNCD(config)
    run = RunFolder(out, identity, overwrite)
    with logging_to(run.partial / names.RUN_LOG), progress_bars(quiet) as on_progress:
        logger.info(
            "discover %s, configuration %s, resumed: %s", images, config.hash(), run.resumed
        )
        if run.resumed:
            console.print("going on with the interrupted run")
        _tell_source(config, dataset, maps)
        folders = {"maps": maps, "object_masks": object_masks, "work_dir": run.work}
        try:
            model.fit(dataset, labelled=base, **folders, on_progress=on_progress)
        except (InputError, ConfigurationError, MissingDependencyError):
            # The input or the settings must change, and then the work starts anew.
            run.discard()
            raise
        except BaseException:
            run.note_seconds(model.seconds_)
            raise
        seconds = {k: round(run.seconds.get(k, 0.0) + v, 2) for k, v in model.seconds_.items()}
        seconds["total"] = time.perf_counter() - start
        _write_results(run.results, model, dataset, config, inputs, seconds)
        logger.info("finished")
    (run.partial / names.RUN_LOG).replace(run.results / names.RUN_LOG)
    run.finish()
    _tell(model.discovery_, run.out)
    return run.out


def write_tables(folder: Path, discovery: Discovery, title: str) -> None:
    """predictions.csv, regions.csv and report.html."""
    write_predictions(folder / names.PREDICTIONS, discovery)
    write_regions(folder / names.REGIONS, discovery)
    compose_report(discovery, folder / names.REPORT, title)


def _write_results(
    folder: Path,
    model: ProtoAnomalyNCD,
    dataset: Dataset,
    config: Config,
    inputs: dict[str, Any],
    seconds: dict[str, float],
) -> None:
    discovery = model.discovery_
    write_tables(folder, discovery, f"Defect classes in {dataset.root.name}")
    model.save_pretrained(folder / names.MODEL_FOLDER)
    metrics = metrics_of(discovery)
    if discovery.count is not None:
        write_json(folder / names.COUNT, discovery.count.to_dict())
    write_json(folder / names.METRICS, _summary(metrics, model, config, seconds))
    text = yaml.safe_dump({**inputs, **config.to_dict()}, sort_keys=False)
    write_text(
        folder / names.CONFIG_YAML,
        f"# protoanomalyncd discover --config {names.CONFIG_YAML} --out RUN\n{text}",
    )


def _summary(
    metrics: Any, model: ProtoAnomalyNCD, config: Config, seconds: dict[str, float]
) -> dict[str, Any]:
    discovery = model.discovery_
    found = {i.class_id for i in discovery.images if i.class_id >= 0}
    values: dict[str, Any] = {"nmi": None, "ari": None, "f1": None, "n_classes_true": None}
    values |= {"n_classes_found": len(found)}
    if metrics is not None:
        values |= metrics.to_dict()
    known = list(model.base_classes_)
    split = split_of(discovery, known)
    values |= {
        "known_classes": known,
        "split_accuracy": None if split is None else dataclasses.asdict(split),
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return values | {
        "n_images": len(discovery.images),
        "n_regions": sum(not r.region.whole_image for r in discovery.regions),
        "n_skipped": len(discovery.skipped),
        "n_classes_estimated": None if discovery.count is None else discovery.count.n_classes,
        "seconds": {k: round(v, 2) for k, v in seconds.items()},
        "peak_memory_mb": round(peak / (1024 if sys.platform != "darwin" else 1024**2)),
        "seed": config.seed,
        "config_hash": config.hash(),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    import numpy
    import timm
    import torch

    from protoanomalyncd import __version__

    return {
        "protoanomalyncd": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": numpy.__version__,
    }


def _tell_source(config: Config, dataset: Dataset, maps: Path | None) -> None:
    """Say it where the choice of the detector may surprise."""
    if config.detector.source == AUTO:
        name = choose(AUTO, has_normal=bool(dataset.normal), has_maps=maps is not None)
        logger.info("anomaly maps: %s", name)
        if name == "mutual_scoring":
            console.print(
                "no normal images (train/good) and no --maps: the images score one another; "
                "with either of them weak defects are found better",
                soft_wrap=True,
            )


def _tell(discovery: Discovery, out: Path) -> None:
    from rich.markup import escape

    show_skipped(discovery.skipped)
    show_notes(discovery.notes)
    console.print(summary_table(discovery, describe_classes(discovery)))
    if discovery.count is not None:
        console.print(count_line(discovery.count), soft_wrap=True)
    metrics = metrics_of(discovery)
    if metrics is not None:
        console.print(
            f"compared with the folder names: NMI {metrics.nmi:.3f}, ARI {metrics.ari:.3f}, "
            f"F1 {metrics.f1:.3f}"
        )
    console.print(f"report: [bold]{escape(str(out / names.REPORT))}[/]", soft_wrap=True)


def _identity(
    config: Config, dataset: Dataset, base: LabelledSet | None, inputs: dict[str, str | None]
) -> str:
    """What a run depends on: an interrupted run goes on only while all of it is the same."""
    samples = (*dataset.normal, *dataset.unlabelled, *(base.samples if base else ()))
    folders = [inputs[name] for name in ("maps", "object_masks")]
    maps = [path for folder in folders if folder for path in sorted(Path(folder).rglob("*"))]
    if config.localiser.prompts is not None:
        maps.append(Path(config.localiser.prompts))
    return fingerprint(
        {
            "config": config.to_dict(),
            "inputs": {k: None if v is None else str(Path(v).resolve()) for k, v in inputs.items()},
            "files": [_stamp(sample) for sample in samples],
            "maps": [[str(path), *_status(path)] for path in maps],
        }
    )


def _stamp(sample: Sample) -> list[Any]:
    return [
        sample.name,
        *_status(sample.path),
        *(_status(sample.mask_path) if sample.mask_path else ()),
    ]


def _status(path: Path) -> list[int]:
    """Size and time of a file; nothing of one that cannot be read (it will be skipped)."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
