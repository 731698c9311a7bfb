"""Maps of any detector, read from a folder; the files themselves: `datasets.map_files`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from protoanomalyncd.anomaly_maps.base import FitReport, Progress
from protoanomalyncd.anomaly_maps.registry import register
from protoanomalyncd.core.checks import Range, check_arguments
from protoanomalyncd.core.errors import AnomalyMapError, ConfigurationError, ModelFormatError
from protoanomalyncd.core.records import FloatArray, Sample, Skipped
from protoanomalyncd.core.registry import Registered
from protoanomalyncd.core.threads import read_ahead
from protoanomalyncd.datasets.map_files import match_maps, read_map, smooth_coarse

__all__ = ["FolderMaps"]


@register("folder")
class FolderMaps(Registered):
    """Maps computed by any detector, one file an image.

    The folder belongs to one set of images, so it is not saved with a model: give the maps of the
    new images when the model is used again.

    Args:
        folder: see `match_maps`; None = not known yet.
        coarse_smoothing: deviation of the Gaussian that smooths maps of at most 64 cells a side
            [cells]; finer ones are taken as they are; 0 = all are.

    Raises:
        ConfigurationError: a number is out of its range.
    """

    precomputed: ClassVar[bool] = True
    learns_from: ClassVar[Literal["normal", "unlabelled"]] = "normal"

    def __init__(
        self,
        folder: Path | str | None = None,
        coarse_smoothing: Annotated[float, Range(0)] = 1.0,
    ) -> None:
        check_arguments(FolderMaps, locals(), "detector.")
        self._folder = None if folder is None else Path(folder)
        self.coarse_smoothing = coarse_smoothing

    def fit(self, normal: Sequence[Sample], on_progress: Progress | None = None) -> FitReport:
        """Nothing to learn, and nothing is known about maps of unseen normal images."""
        return FitReport()

    def score(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, FloatArray | Skipped]]:
        """Read the maps, each at its own resolution; the images themselves are not read.

        Raises:
            ConfigurationError: no folder was given.
            AnomalyMapError: see `match_maps`; both are raised by the call, before the first map.
        """
        if self._folder is None:
            raise ConfigurationError(
                "this model uses the maps of another detector: expected a folder with the "
                "anomaly maps of these images (--maps FOLDER), got none"
            )
        return self._stream(samples, match_maps(samples, self._folder))

    def _stream(
        self, samples: Sequence[Sample], paths: Mapping[str, Path]
    ) -> Iterator[tuple[Sample, FloatArray | Skipped]]:
        def read(sample: Sample) -> FloatArray:
            if sample.name not in paths:
                raise AnomalyMapError(f"no anomaly map in {self._folder}")
            return smooth_coarse(read_map(paths[sample.name]), self.coarse_smoothing)

        yield from read_ahead(samples, read)

    def state(self) -> dict[str, Tensor]:
        """Nothing is learned."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`.

        Raises:
            ModelFormatError: there is something to load.
        """
        if state:
            raise ModelFormatError(
                f"folder maps: expected no tensors, got {', '.join(sorted(state))}"
            )
