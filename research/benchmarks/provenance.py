"""Where and by which code a page was measured."""

from __future__ import annotations

import os
import platform
import subprocess

__all__ = ["measured_on", "revision"]


def revision() -> str:
    """Short name of the commit that is checked out."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return found or "unknown"


def measured_on() -> str:
    """One sentence for the end of a page."""
    return (
        f"Measured on {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, revision {revision()}."
    )
