"""A driver's file as it is, or as it was in a revision of git: `HEAD~1:my_gpu.py`."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

from secondsight.lang.errors import LangError

__all__ = ["file_of"]

_folders: list[tempfile.TemporaryDirectory[str]] = []
"""They live as long as the process: traces show the lines of files in them."""


def file_of(text: str) -> Path:
    """The file that is meant: a path, or `REVISION:PATH`, which is written into a folder of its own with the files beside it.

    The path is from where one is, as a path is. Raises `LangError` where git does not have it.
    """
    revision, colon, path = text.partition(":")
    if not colon or Path(text).exists():
        return Path(text)
    file = Path(path)
    if file.is_absolute() or ".." in file.parts:
        raise LangError(f"{text}: a file of a revision is named from here on, without .. and not from the root")
    _git(text, "cat-file", "-e", f"{revision}:./{path}")
    archive = _git(text, "archive", "--format=tar", f"{revision}:./{file.parent}")
    folder = tempfile.TemporaryDirectory(prefix="secondsight-")
    _folders.append(folder)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder.name, filter="data")
    return Path(folder.name) / file.name


def _git(text: str, *words: str) -> bytes:
    try:
        done = subprocess.run(["git", *words], capture_output=True, check=False)
    except FileNotFoundError:
        raise LangError(f"{text}: no such file, and there is no git to look for the revision") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise LangError(f"{text}: no such file, and git says: {said[0] if said else 'nothing'}")
    return done.stdout
