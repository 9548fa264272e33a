"""The user's cache folder: kernels and the built agent, safe for concurrent processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["cache_folder", "locked"]


def cache_folder() -> Path:
    """`$SECONDSIGHT_CACHE`, or `secondsight` in the user's XDG cache folder."""
    own = os.environ.get("SECONDSIGHT_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "secondsight"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file of a cache entry: one process makes it, the others wait and then find it made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
