"""parser.py: errors and signals are one line; lists are given as everywhere."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from protoanomalyncd.cli.main import build_parser, main
from protoanomalyncd.cli.parser import guarded

PROGRAM = """
import signal, sys, time
for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # whoever started the tests may ignore them
    own = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    signal.signal(getattr(signal, name), own)
from protoanomalyncd.cli.parser import guarded

def run():
    print("ready", flush=True)
    time.sleep(60)

sys.exit(guarded(run, resumable=True))
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_it_with_one_line(name: str, status: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=20)
    assert process.returncode == status
    assert said == "interrupted; the same command goes on where it stopped\n"


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As under nohup."""
    found = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        guarded(lambda: found.append(signal.getsignal(signal.SIGHUP)))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert found == [signal.SIG_IGN]


def test_handlers_are_put_back_and_other_threads_set_none() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert guarded(lambda: None) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(guarded(lambda: None)))
    thread.start()
    thread.join()
    assert status == [0]


def test_lists_are_given_as_everywhere() -> None:
    parser = build_parser()
    for given in (["--types", "scratch", "stain"], ["--types+", "scratch", "--types+", "stain"]):
        assert parser.parse_args(["generate", "OUT", *given]).types == ["scratch", "stain"]
    known = parser.parse_args(["evaluate", "RUN", "--known", "scratch", "stain"])
    assert (known.run_folder, known.known) == (Path("RUN"), ["scratch", "stain"])


@pytest.mark.parametrize("arguments", [[], ["dance"], ["ablate", "x"], ["predict", "model"]])
def test_an_incomplete_command_is_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--help" in said


def test_help_needs_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; sys.modules['timm'] = None\n"
        "from protoanomalyncd.cli.main import main\n"
        "for given in (['--help'], ['discover', '--help'], ['generate', '--help']):\n"
        "    try:\n        main(given)\n"
        "    except SystemExit as end:\n        assert not end.code\n"
        "assert main(['discover', '--print_config']) == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
