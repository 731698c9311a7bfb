"""The parser that all commands share."""

from __future__ import annotations

from typing import Any, NoReturn

from jsonargparse import ArgumentParser as _ArgumentParser
from jsonargparse import DefaultHelpFormatter

from protoanomalyncd.core.errors import ConfigurationError, ProtoAnomalyNCDError

__all__ = ["ArgumentParser"]


class _Help(DefaultHelpFormatter):
    """Keeps the line breaks of descriptions, which hold examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(f"{indent}{line}" for line in text.strip("\n").split("\n"))


class ArgumentParser(_ArgumentParser):
    """jsonargparse's parser with readable examples, and one line for a bad option."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(formatter_class=_Help, **arguments)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        cause: BaseException | None = ex
        while cause is not None and not isinstance(cause, ProtoAnomalyNCDError):
            cause = cause.__cause__ or cause.__context__
        line = " ".join(str(cause or message).split())
        raise ConfigurationError(line if cause else f"{line}; see {self.prog} --help") from ex
