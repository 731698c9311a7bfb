"""Every error that the package raises on purpose.

::

    ProtoAnomalyNCDError
    ├── InputError (ValueError)          the user's data is not what was expected
    │   ├── ImageError                     an image or mask cannot be used
    │   ├── AnomalyMapError                a map is missing, ambiguous, or cannot be used
    │   └── DatasetError                   a folder does not have the expected layout
    ├── ConfigurationError (ValueError)  an option, or a combination of options, makes no sense
    ├── OutputError (OSError)            a result cannot be written
    ├── ModelFormatError (ValueError)    a saved model cannot be read
    ├── MissingDependencyError (ImportError)  an optional package or model file is absent
    └── NotFittedError (RuntimeError)    `fit` or `from_pretrained` must come first

Each message is one line: what was expected, what came, what to do. The command line
prints that line and exits with status 2; from Python the exceptions propagate, and those
of bad data are also `ValueError`, so that existing handlers work.
"""

from __future__ import annotations

__all__ = [
    "AnomalyMapError",
    "ConfigurationError",
    "DatasetError",
    "ImageError",
    "InputError",
    "MissingDependencyError",
    "ModelFormatError",
    "NotFittedError",
    "OutputError",
    "ProtoAnomalyNCDError",
    "reason",
    "shown",
]


class ProtoAnomalyNCDError(Exception):
    """Base of all errors of this package."""


class InputError(ProtoAnomalyNCDError, ValueError):
    """The data given by the user is not what was expected."""


class ImageError(InputError):
    """One image or mask is unreadable, empty, or of an unusable shape."""


class AnomalyMapError(InputError):
    """An anomaly map is missing, ambiguous, not finite, or of an unusable shape."""


class DatasetError(InputError):
    """A folder lacks the expected layout, or holds too few usable samples."""


class ConfigurationError(ProtoAnomalyNCDError, ValueError):
    """An option, or a combination of options, makes no sense."""


class OutputError(ProtoAnomalyNCDError, OSError):
    """A result cannot be written where it was asked for."""


class ModelFormatError(ProtoAnomalyNCDError, ValueError):
    """A saved model is incomplete, damaged, or of an unknown version."""


class MissingDependencyError(ProtoAnomalyNCDError, ImportError):
    """An optional package, or a model file that must be fetched by hand, is absent."""


class NotFittedError(ProtoAnomalyNCDError, RuntimeError):
    """The model has learned nothing yet."""


def shown(value: object, limit: int = 200) -> str:
    """A value as messages quote it: one line of at most about `limit` characters."""
    line = " ".join((value if isinstance(value, str) else str(value)).split())
    return line if len(line) <= limit else f"{line[:limit]}... ({len(line)} characters)"


def reason(error: BaseException) -> str:
    """What an error of another library says, in one short line; its type where it says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return shown(str(error), 120) or type(error).__name__
