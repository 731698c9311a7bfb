"""Run a study: every row with every seed, resumable, with shared intermediate results."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from protoanomalyncd.config import Config
from protoanomalyncd.core.records import Progress, Sample
from protoanomalyncd.datasets import Dataset, content_key, load_dataset, load_labelled
from protoanomalyncd.pipeline.inputs import Inputs
from protoanomalyncd.storage.files import read_json, write_json, write_text
from protoanomalyncd.storage.staged_folder import fingerprint
from research.published import Published, steps_of
from research.studies.folders import ensure_folder
from research.studies.outcomes import Outcome, markdown_table, write_results
from research.studies.runs import Run, run_row
from research.studies.shared_work import SharedWork, stage_keys
from research.studies.study import Row, Study

__all__ = ["RESULTS", "TABLE", "run_study"]

RESULTS, TABLE = "results.csv", "table.md"

Finished = Callable[[Outcome, Run], None]
"""Called after each run that was made now, not read."""


def run_study(
    study: Study,
    out: Path,
    on_progress: Progress,
    on_finished: Finished | None = None,
    heading: str = "",
) -> list[Outcome]:
    """Run what is not there yet, and write ``results.csv`` and ``table.md``.

    Args:
        study: data, seeds, rows.
        out: folder; runs found in it, of the same data and settings, are not repeated.
        on_progress: called with (stage, steps done, steps in all); ``runs`` counts the runs.
        on_finished: sees every run made now, its model included, before the next one begins.
        heading: stands above the table.

    Returns:
        All outcomes, seed by seed within the rows.
    """
    inputs = _load(study)
    data = _data(inputs)
    runs = [(row, seed, study.config(row, seed)) for seed in study.seeds for row in study.rows]
    options = [study.published(row) for row, _, _ in runs]
    names = [
        _name(row, config, published, data)
        for (row, _, config), published in zip(runs, options, strict=True)
    ]
    keys = [
        stage_keys(config, published, data, study.maps is not None)
        for (_, _, config), published in zip(runs, options, strict=True)
    ]
    ensure_folder(out / "runs")
    shared = SharedWork(out / "work" / "shared")
    done: list[Outcome] = []
    waiting = [n for n in range(len(runs)) if not _known(out, names[n])]
    for position in range(len(runs)):
        if position in waiting:
            row, seed, config = runs[position]
            work = out / "work" / names[position]
            shared.lend(keys[position], work)
            start = time.perf_counter()
            run = run_row(row, config, steps_of(options[position]), inputs, work, on_progress)
            outcome = _outcome(row, seed, run, time.perf_counter() - start)
            if on_finished:
                on_finished(outcome, run)
            write_json(_record(out, names[position]), dataclasses.asdict(outcome))
            shared.keep(keys[position], work)
            shutil.rmtree(work, ignore_errors=True)
            waiting.remove(position)
            shared.forget_all_but(key for n in waiting for key in keys[n].values())
        stored = Outcome(**read_json(_record(out, names[position])))
        # The same settings may stand under another name now.
        done.append(dataclasses.replace(stored, row=runs[position][0].name))
        on_progress("runs", position + 1, len(runs))
    shutil.rmtree(out / "work", ignore_errors=True)
    order = {row.name: n for n, row in enumerate(study.rows)}
    outcomes = sorted(done, key=lambda o: (order[o.row], study.seeds.index(o.seed)))
    write_results(out / RESULTS, outcomes)
    write_text(out / TABLE, heading + markdown_table(outcomes))
    return outcomes


def _load(study: Study) -> Inputs:
    dataset = load_dataset(study.images)
    if study.per_class is not None:
        dataset = _fewer(dataset, study.per_class)
    labelled = None if study.labelled is None else load_labelled(study.labelled)
    return Inputs(dataset, labelled, study.maps, study.object_masks)


def _fewer(dataset: Dataset, n: int) -> Dataset:
    """At most n unlabelled images of each type, drawn by their content."""

    def ticket(sample: Sample) -> str:
        return hashlib.sha256(content_key(sample.path).encode()).hexdigest()

    chosen: list[Sample] = []
    for label in sorted({str(sample.label) for sample in dataset.unlabelled}):
        members = [s for s in dataset.unlabelled if str(s.label) == label]
        chosen += sorted(members, key=ticket)[:n]
    return dataclasses.replace(dataset, unlabelled=tuple(sorted(chosen, key=lambda s: s.name)))


def _data(inputs: Inputs) -> str:
    """Fingerprint of all files: name and content, wherever they lie."""
    base = inputs.labelled.samples if inputs.labelled else ()
    groups = (inputs.dataset.normal, inputs.dataset.unlabelled, base)
    samples = [[[s.name, s.label, *map(content_key, _files(s))] for s in group] for group in groups]
    folders = {"maps": inputs.maps, "object_masks": inputs.object_masks}
    given = {name: _contents(folder) for name, folder in folders.items() if folder is not None}
    return fingerprint({"samples": samples, "given": given})


def _contents(folder: Path) -> list[list[str]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [[path.relative_to(folder).as_posix(), content_key(path)] for path in files]


def _files(sample: Sample) -> list[Path]:
    return [path for path in (sample.path, sample.mask_path) if path is not None]


def _name(row: Row, config: Config, published: Published, data: str) -> str:
    """Identity of a run: data, every setting, method."""
    values = {
        "data": data,
        "config": config.to_dict(),
        "published": dataclasses.asdict(published),
        "method": [row.method, row.features],
    }
    return fingerprint(values)[:16]


def _record(out: Path, name: str) -> Path:
    return out / "runs" / f"{name}.json"


def _known(out: Path, name: str) -> bool:
    return _record(out, name).is_file()


def _outcome(row: Row, seed: int, run: Run, seconds: float) -> Outcome:
    m = run.metrics
    return Outcome(row.name, seed, m.nmi, m.ari, m.f1, m.n_samples, round(seconds, 1))
