"""Several files and folders for a command that does something with one file after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from secondsight.cli.common import BAD_INPUT, BROKEN, HOLDS, INTERRUPTED, NOT_FINISHED, Running, warn_of
from secondsight.lang import LangError
from secondsight.report import SCHEMA
from secondsight.scenario import ScenarioError

__all__ = ["one_after_the_other", "with_drivers"]

_WORST_FIRST = [INTERRUPTED, BROKEN, BAD_INPUT, NOT_FINISHED, HOLDS]


def with_drivers(given: Iterable[Path]) -> list[Path]:
    """The files that are meant: those that are named, and in folders (and folders in them) the Python files that define a driver.

    A file of a folder that cannot be run is among them: it is refused when its turn comes. Raises `LangError` for a folder without any.
    """
    chosen: list[Path] = []
    for path in given:
        if not path.is_dir():
            chosen.append(path)
            continue
        within = [file for file in _python_files(path) if _may_be_checked(file)]
        if not within:
            raise LangError(f"{path}: no Python file in this folder has a driver; define a class derived from secondsight.Device")
        chosen += within
    return list({file.resolve(): file for file in chosen}.values())


def _python_files(folder: Path) -> list[Path]:
    """What pytest would not take for a test, in folders that are not hidden and no virtual environment."""
    files = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not n.startswith((".", "__")) and not (Path(here) / n / "pyvenv.cfg").exists())
        files += [Path(here) / n for n in sorted(names) if n.endswith(".py") and not n.startswith((".", "test_", "conftest"))]
    return files


def _may_be_checked(file: Path) -> bool:
    """Whether a file has a driver, or cannot tell."""
    from secondsight.contract import drivers_in, import_file

    try:
        return "Device" in file.read_text(errors="replace") and bool(drivers_in(file, import_file(file)))
    except LangError:
        return True


def _of_input() -> tuple[type[Exception], ...]:
    """What says that something is wrong with the input. Looked for when something is: the kernels' half is loaded for those alone that ask one."""
    from secondsight.kernels import KernelError

    return LangError, ScenarioError, KernelError


def one_after_the_other(files: list[Path], do: Callable[[Path, Callable[[Any], None]], int]) -> tuple[int, list[Any]]:
    """`do(file, write)` of each, which gives an exit code and may write a document: the worst of the codes, and the documents.

    What is wrong with one file is said (and is a document), and the others have their turn.
    """
    codes, documents = [HOLDS], list[Any]()
    for file in files:
        try:
            codes.append(do(file, documents.append))
        except _of_input() as error:
            Running.clear()
            text = error.whole() if isinstance(error, LangError) else str(error)
            warn_of(text)
            documents.append({"schema": SCHEMA, "kind": "error", "message": text})
            codes.append(BAD_INPUT)
        if codes[-1] == INTERRUPTED:
            break
    return min(codes, key=_WORST_FIRST.index), documents
