"""`--html FILE`: results and traces as a page for a browser."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secondsight.cli.codes import warn
from secondsight.lang import LangError

if TYPE_CHECKING:
    from secondsight.lang.program import Program
    from secondsight.report.story import Look
    from secondsight.report.trace import Telling

__all__ = ["could_be_written", "tell_and_show", "write_page", "write_text"]


def could_be_written(file: Path | None, option: str = "--html", such_as: str = "trace.html") -> None:
    """Raise `LangError` if the file of an option could not be written, before anything takes long."""
    if file is None:
        return
    if file.is_dir():
        raise LangError(f"{option} {file} is a folder; a file is wanted, such as {file / such_as}")
    if not file.parent.is_dir():
        raise LangError(f"{option} {file}: there is no folder {file.parent}; make it first")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise LangError(f"{option} {file} cannot be written: permission denied")


def tell_and_show(
    page: object, program: Program, name: str, tell: Callable[[Look | None], Telling]
) -> tuple[Telling, dict[str, Any]]:
    """A trace as it is told, and what a page shows of it under a name: nothing where there is no `page` to be. `tell` tells it to somebody who
    looks at each step."""
    if not page:
        return tell(None), {}
    from secondsight.report.scene import Onlooker, scene

    onlooker = Onlooker(program)
    telling = tell(onlooker.look)
    return telling, scene(telling, onlooker, name)


def write_page(file: Path, data: dict[str, Any], quiet: bool = False) -> None:
    """Write the page of `page.page_data`, and say so if not `quiet`. Raises `LangError`."""
    from secondsight.report.page import html_page

    write_text(file, html_page(data), "--html", "" if quiet else "the page")


def write_text(file: Path, text: str, option: str, what: str = "") -> None:
    """Write an option's file, and say where `what` is if it has a name. Raises `LangError`."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LangError(f"{option} {file} cannot be written: {error.strerror}") from None
    if what:
        warn(f"{what} is {file}")
