"""From a discovery and its evidence to the page."""

from __future__ import annotations

from pathlib import Path

from protoanomalyncd.core.errors import NotFittedError
from protoanomalyncd.core.records import Discovery
from protoanomalyncd.discovery.metrics import metrics_of
from protoanomalyncd.reports.data import ReportData
from protoanomalyncd.reports.describe import describe_classes
from protoanomalyncd.reports.page import write_report

__all__ = ["compose_report"]


def compose_report(discovery: Discovery, path: Path, title: str) -> Path:
    """Write the page of a discovery that still knows its images and maps.

    Raises:
        NotFittedError: it does not.
        OutputError: the page cannot be written.
    """
    evidence = discovery.evidence
    if evidence is None:
        raise NotFittedError(
            "report: expected a discovery made by fit or predict, got one without its images"
        )
    discovery = evidence.place(discovery)
    data = ReportData(
        discovery=discovery,
        title=title,
        load_image=evidence.load_image,
        load_map=evidence.load_map,
        load_mask=evidence.load_mask,
        load_object=evidence.load_object,
        metrics=metrics_of(discovery),
        settings=evidence.settings,
        descriptions=describe_classes(discovery),
        kinds_given=discovery.count is None,
    )
    return write_report(path, data)
