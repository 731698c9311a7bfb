"""What the parsers of all commands share: readable help, and one line for whatever goes wrong."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from protoanomalyncd.core.errors import ConfigurationError, ProtoAnomalyNCDError

__all__ = ["ArgumentParser", "Namespace", "Subcommands", "add_results", "guarded"]

Namespace = argparse.Namespace
Subcommands: TypeAlias = "argparse._SubParsersAction[ArgumentParser]"


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of descriptions, which hold examples."""

    def __init__(self, prog: str, **arguments: Any) -> None:
        super().__init__(prog, max_help_position=34, **arguments)


class ArgumentParser(argparse.ArgumentParser):
    """argparse's parser; it raises instead of printing the usage and leaving."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(formatter_class=_Help, allow_abbrev=False, **arguments)

    def error(self, message: str) -> NoReturn:
        """Raise ConfigurationError."""
        raise ConfigurationError(f"{' '.join(message.split())}; see {self.prog} --help")


def add_results(parser: ArgumentParser) -> None:
    """The folder of new images, and where what is said of them goes."""
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the results; must be new"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results in --out")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


class _Stopped(KeyboardInterrupt):
    """A signal asks the program to end; the argument is its number."""


def guarded(run: Callable[[], None], resumable: bool = False) -> int:
    """Run, and turn an error of the package or a signal into one line.

    Args:
        run: the command.
        resumable: the same command goes on where it was stopped.

    Returns:
        Exit status: 0 done, 2 bad input, 128 + the signal's number where it was stopped (SIGINT
        130, SIGTERM 143, SIGHUP 129).
    """
    try:
        with _signals():
            run()
    except ProtoAnomalyNCDError as error:
        line = " ".join(str(error).split())
        # A file name need not be valid text.
        sys.stderr.write(f"error: {line.encode(errors='backslashreplace').decode()}\n")
        return 2
    except KeyboardInterrupt as stop:
        hint = "; the same command goes on where it stopped" if resumable else ""
        sys.stderr.write(f"interrupted{hint}\n")
        number = stop.args[0] if isinstance(stop, _Stopped) else signal.SIGINT
        return 128 + int(number)
    return 0


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP stop the program as SIGINT does, unless they are ignored (nohup)."""

    def stop(number: int, _: object) -> None:
        raise _Stopped(number)

    found = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                found[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
