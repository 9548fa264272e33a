"""`check --watch`: check again whenever a file changes, each time in a process of its own, so that all of it is loaded anew."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from secondsight.cli.common import show

__all__ = ["watch"]

_EVERY = 0.3
"""Seconds between two looks."""


def watch(given: Sequence[Path], arguments: Sequence[str]) -> None:
    """Run the command with `arguments`, and again when a Python file changes that is named, is in a folder that is named, or lies beside a
    named one, where what it imports is. Until Ctrl-C."""
    command = [sys.executable, "-m", "secondsight", *(word for word in arguments if word != "--watch")]
    while True:
        before = _stamps(given)
        subprocess.run(command, check=False)
        show(f"\n(watching {', '.join(map(str, given))}; Ctrl-C ends it)", style="dim")
        sys.stdout.flush()
        while _stamps(given) == before:
            time.sleep(_EVERY)


def _stamps(given: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """When each file was last changed, and how long it is."""
    stamps = {}
    for path in given:
        for file in path.rglob("*.py") if path.is_dir() else path.resolve().parent.glob("*.py"):
            try:
                seen = os.stat(file)
            except OSError:
                continue  # it has gone meanwhile
            stamps[str(file)] = seen.st_mtime_ns, seen.st_size
    return stamps
