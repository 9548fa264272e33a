"""The user's cache folder: kernels, modules and the built agent, safe for concurrent processes.

An *entry* is a folder with a record, `kernel.json`: what it is, and size and checksum of each of its
parts. An entry is made under another name and renamed when it is whole. A part is checked against
the record before it is used; a part that differs is damage, and the entry is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["RECORD", "cache_folder", "checksum", "damage", "locked", "make_entry", "record", "write_record"]

RECORD = "kernel.json"
FORM = 3  # of the record; an entry in another form is made again


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


def make_entry(folder: Path, make: Callable[[Path], Path], **facts: str) -> None:
    """Make an entry unless it is there, whole and made from these `facts`. `make(scratch)` returns the folder it made,
    in `scratch`, with its record; it then takes the entry's place. Whoever asks at the same time waits."""
    with locked(folder):
        if damage(folder, **facts) is None:
            return
        scratch = folder.with_name(f"{folder.name}.making")
        shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed: the lock is ours
        scratch.mkdir()
        try:
            made = make(scratch)
            if folder.exists():
                os.rename(folder, scratch / "damaged")
            os.rename(made, folder)
        finally:
            shutil.rmtree(scratch)


def write_record(folder: Path, parts: Iterable[str], **facts: Any) -> None:
    """Record an entry's parts, files or folders, and facts about it."""
    parts = {name: {"sha256": checksum(folder / name)} for name in parts}
    text = json.dumps({"form": FORM, **facts, "parts": parts}, indent=1) + "\n"
    (folder / RECORD).write_text(text)


def record(folder: Path) -> dict[str, Any]:
    """An entry's record; {} when there is none that can be read."""
    try:
        found = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("form") == FORM else {}


def damage(folder: Path, parts: Iterable[str] | None = None, **facts: str) -> str | None:
    """What is wrong with an entry; None: these parts (or all) are what was recorded when it was made, and so
    are the facts."""
    found = record(folder)
    if not found:
        return f"{RECORD} is not there, cannot be read, or is another version's"
    for name, wanted in facts.items():
        if found.get(name) != wanted:
            return f"it was made from another {name}"
    recorded = found.get("parts")
    if not isinstance(recorded, dict):
        return f"{RECORD} lists no parts"
    for name in recorded if parts is None else parts:
        try:
            if checksum(folder / name) != recorded[name]["sha256"]:
                return f"{name} has another checksum than when it was made"
        except (OSError, KeyError, TypeError) as error:
            return f"{name}: {error}"
    return None


def checksum(path: Path) -> str:
    """SHA-256 of a file's contents; of a folder, over every name in it, each file's contents and mode,
    and each link's target. Raises OSError."""
    if not path.is_dir():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    whole = hashlib.sha256()
    for base, folders, files in os.walk(path, onerror=_raise):
        folders.sort()
        for name in sorted([*files, *(f for f in folders if os.path.islink(os.path.join(base, f)))]):
            found = os.path.join(base, name)
            whole.update(os.path.relpath(found, path).encode(errors="surrogateescape") + b"\0")
            if os.path.islink(found):
                whole.update(b"l" + os.readlink(found).encode(errors="surrogateescape") + b"\0")
            elif os.path.isfile(found):
                executable = b"x" if os.stat(found).st_mode & 0o100 else b"-"
                with open(found, "rb") as file:
                    whole.update(executable + hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _raise(error: OSError) -> None:
    raise error
