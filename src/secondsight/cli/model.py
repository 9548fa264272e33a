"""`secondsight model [NAME]`: what is modelled of the kernel, and what is not."""

from __future__ import annotations

import dataclasses
import textwrap

from secondsight.cli.common import write_json
from secondsight.cli.finding import wide
from secondsight.report import SCHEMA
from secondsight.report.modelled import KernelFile, kernel_files

__all__ = ["model"]


def model(name: str | None, as_json: bool) -> None:
    """Print what is modelled of a file or a function, or everything."""
    files = kernel_files(name)
    if as_json:
        write_json({"schema": SCHEMA, "kind": "model", "files": [dataclasses.asdict(file) for file in files]})
        return
    for file in files:
        print("\n".join(_lines(file)))
        print()
    functions = sum(len(file.functions) for file in files)
    judged = sum(len(file.functions) for file in files if file.judge == "conform")
    print(_paragraph(f"{functions} functions in {len(files)} files; the C of {judged} functions' files runs beside the model (secondsight conform).", ""))


def _lines(file: KernelFile) -> list[str]:
    lines = [f"linux/{file.model}: {', '.join(file.files)}" if file.files else f"linux/{file.model}"]
    lines.append(_paragraph(f"judge: {file.judge}: {file.reason}", "  "))
    if file.left_out:
        lines.append(_paragraph(f"left out: {file.left_out}", "  "))
    for one in file.functions:
        calls = ", ".join(f"{name}()" for name in one.functions)
        named = calls if one.functions == (one.name,) else f"{one.name}: {calls}"
        lines.append(_paragraph(f"{named} ({one.file}, Linux {one.release})", "    "))
        if one.left_out:
            lines.append(_paragraph(f"left out: {one.left_out}", "      "))
    if file.own:
        lines.append(_paragraph(f"of its own, for no function of the kernel's: {', '.join(file.own)}", "    "))
    return lines


def _paragraph(text: str, indent: str) -> str:
    return textwrap.fill(text, wide(), initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False)
