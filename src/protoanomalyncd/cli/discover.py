"""`protoanomalyncd discover`: a folder of images -> named defect classes."""

from __future__ import annotations

import dataclasses
import platform
import resource
import shutil
import sys
import time
from collections.abc import Mapping
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
from protoanomalyncd.core.records import Discovery
from protoanomalyncd.core.version import VERSION
from protoanomalyncd.discovery.metrics import metrics_of, split_of
from protoanomalyncd.estimator import ProtoAnomalyNCD
from protoanomalyncd.pipeline.inputs import Inputs, identity_of
from protoanomalyncd.reports.compose import compose_report
from protoanomalyncd.reports.describe import describe_classes
from protoanomalyncd.reports.summary import count_line, summary_table
from protoanomalyncd.reports.tables import write_predictions, write_regions
from protoanomalyncd.storage import names
from protoanomalyncd.storage.files import write_json, write_text
from protoanomalyncd.storage.staged_folder import StagedFolder

__all__ = ["discover", "write_tables"]


def discover(
    inputs: Inputs,
    out: Path,
    config: Config,
    *,
    given: Mapping[str, str | None],
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Run the whole job into a folder; goes on where an interrupted run of the same kind stopped.

    Args:
        inputs: the data.
        out: folder of the results.
        config: every setting.
        given: the paths behind `inputs`, for ``config.yaml``.
        overwrite: replace a finished run.
        quiet: no progress bars.

    Returns:
        `out`.
    """
    start = time.perf_counter()
    model = ProtoAnomalyNCD(config)
    detector = choose(config.detector, inputs.maps, bool(inputs.dataset.normal)).name
    run = StagedFolder(
        out, marker=names.METRICS, overwrite=overwrite, identity=identity_of(config, inputs)
    )
    log = run.work / names.RUN_LOG
    with run, logging_to(log), progress_bars(quiet) as on_progress:
        root = inputs.dataset.root
        logger.info("discover %s, configuration %s, resumed: %s", root, config.hash(), run.resumed)
        if run.resumed:
            console.print("going on with the interrupted run")
        _tell_detector(config, detector)
        folders = {"maps": inputs.maps, "object_masks": inputs.object_masks}
        try:
            model.fit(
                inputs.dataset,
                labelled=inputs.labelled,
                **folders,
                work_dir=run.work / "fit",
                on_progress=on_progress,
            )
        except (InputError, ConfigurationError, MissingDependencyError):
            # The input or the settings must change, and then the work starts anew.
            run.discard()
            raise
        seconds = model.seconds_ | {"total": time.perf_counter() - start}
        _write_results(run.results, model, inputs, given, seconds)
        show_skipped(model.discovery_.skipped)
        show_notes(model.discovery_.notes)
        logger.info("finished")
        shutil.copyfile(log, run.results / names.RUN_LOG)
    _tell(model.discovery_, out)
    return out


def _tell_detector(config: Config, detector: str) -> None:
    """Say it where the choice may surprise."""
    logger.info("anomaly maps: %s", detector)
    if config.detector.name == AUTO and detector == "mutual_scoring":
        console.print(
            "no normal images (train/good) and no --maps: the images score one another; "
            "with either of them weak defects are found better",
            soft_wrap=True,
        )


def write_tables(folder: Path, discovery: Discovery, title: str) -> None:
    """predictions.csv, regions.csv and report.html."""
    write_predictions(folder / names.PREDICTIONS, discovery)
    write_regions(folder / names.REGIONS, discovery)
    compose_report(discovery, folder / names.REPORT, title)


def _write_results(
    folder: Path,
    model: ProtoAnomalyNCD,
    inputs: Inputs,
    given: Mapping[str, str | None],
    seconds: Mapping[str, float],
) -> None:
    discovery = model.discovery_
    write_tables(folder, discovery, f"Defect classes in {inputs.dataset.root.name}")
    model.save_pretrained(folder / names.MODEL_FOLDER)
    if discovery.count is not None:
        write_json(folder / names.COUNT, discovery.count.to_dict())
    text = yaml.safe_dump({**given, **model.config.to_dict()}, sort_keys=False)
    write_text(
        folder / names.CONFIG_YAML,
        f"# protoanomalyncd discover --config {names.CONFIG_YAML} --out RUN\n{text}",
    )
    write_json(folder / names.METRICS, _summary(model, seconds))


def _summary(model: ProtoAnomalyNCD, seconds: Mapping[str, float]) -> dict[str, Any]:
    discovery, config, metrics = model.discovery_, model.config, metrics_of(model.discovery_)
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

    return {
        "protoanomalyncd": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": numpy.__version__,
    }


def _tell(discovery: Discovery, out: Path) -> None:
    from rich.markup import escape

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
