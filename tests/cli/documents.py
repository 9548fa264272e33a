"""Documents whose examples are run: what `README.md` and `docs/` show is what one gets.

A `console` block holds commands (`$ ...`) and their output, a `pycon` block a session of Python, a `python` block that
begins with a comment of a file's name is that file. All run in order in one folder that has `examples/` in it. Seconds
and kernel releases may differ. `docs/hmm-tests.md`, `docs/mm-tests.md`, `docs/judges.md`, `docs/claims.md`, `docs/reference.md` and the releases in `docs/agree.md` are the
program's own, written out. `python tests/cli/documents.py
README.md` writes the present output into a document.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli_world import server
from reference import reference

from secondsight.agree.selftest import PROGRAMS
from secondsight.cases import TABLES
from secondsight.cases.claims import claims_page
from secondsight.cases.table_mutants import designs_page
from secondsight.conform.page import page
from secondsight.contract.adequacy import page as adequacy_page
from secondsight.contract.bugs import page as bugs_page
from secondsight.kernels.mm_tests_table import MM_TESTS, ON_MEMORY
from secondsight.kernels.selftest_table import TABLE, Here
from secondsight.linux.releases import differences_table
from secondsight.scenario.holds import HOLDS, Where

HOUSE = Path(__file__).parent.parent.parent
EXAMPLES = ["README.md", "docs/tutorial.md", "docs/forced.md", "docs/how-it-works.md", "docs/claim.md"]
"""The documents with commands and their output, or sessions of Python."""
_BLOCK = re.compile(r"^```(console|pycon|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_VARIES = [
    (re.compile(r"<?\b\d+(\.\d+)? ?s\b"), "N s"),
    (re.compile(r"\b6\.12\.\d+[\w.+-]*"), "6.12"),
    (re.compile(r"[\d,]+ states"), "N states"),
    (re.compile(r"\d+ interleavings"), "N interleavings"),
    (re.compile(r"[ ─]+"), " "),
    (re.compile(r"(secondsight replay \S+\.py \S+) [0-9a-z]{8,}$", re.MULTILINE), r"\1 TOKEN"),
]


@dataclass
class Block:
    """A block of a document: its language, its text, where the text lies, and what it gives now."""

    language: str
    text: str
    start: int
    end: int
    now: str = ""


def blocks(document: Path) -> list[Block]:
    """The document's blocks, in order."""
    return [Block(m[1], m[2], m.start(2), m.end(2)) for m in _BLOCK.finditer(document.read_text())]


def same(text: str) -> str:
    """A text without what varies from run to run."""
    for pattern, instead in _VARIES:
        text = pattern.sub(instead, text)
    return text


def run(document: Path, kernel: bool) -> Iterator[Block]:
    """Run a document's blocks in a folder of their own; `kernel`: also those that need a real kernel."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "examples").symlink_to(HOUSE / "examples")
        session: dict[str, Any] = {}
        for block in blocks(document):
            if block.language == "console":
                if "--on" in block.text and not kernel:
                    continue
                block.now = _console(block.text, here)
            elif block.language == "pycon":
                block.now = _session(block.text, here, session)
            else:
                block.now = block.text
                name = re.match(r"# (\w+\.py)\n", block.text)
                if name:
                    (here / name[1]).write_text(block.text)
            yield block


def _console(text: str, folder: Path) -> str:
    path = os.pathsep.join((str(server().programs), str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "COLUMNS": "80"}
    shown = ""
    for command in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode in (0, 1, 2, 3), (command, done.returncode, done.stderr)
        error = done.stderr if done.returncode == 2 else ""
        shown += f"$ {command}\n{done.stdout}{error}"
    return shown.replace(f"{folder}/", "")


def _session(text: str, folder: Path, session: dict[str, Any]) -> str:
    shown = ""
    sys.path[:0] = [str(folder / "examples"), str(folder)]
    try:
        for example in doctest.DocTestParser().get_examples(text):
            first, *rest = example.source.rstrip("\n").split("\n")
            shown += "\n".join([f">>> {first}", *(f"... {line}" for line in rest)]) + "\n"
            with contextlib.redirect_stdout(io.StringIO()) as output:
                try:
                    exec(compile(example.source, "<document>", "single"), session)
                except Exception as error:
                    print(f"Traceback (most recent call last):\n  ...\n{type(error).__module__}.{type(error).__name__}: {error}")
            shown += output.getvalue()
    finally:
        del sys.path[:2]
    return shown


HMM_TESTS = """\
# The kernel's own tests of HMM and udmabuf

Those of Linux 6.12, test by test. *Agrees*: what it asserts is a scenario too, with the same answer on the model and on the
kernel, on which the original passes. *Missing*: what the model does not have yet. The originals, in C, run with `secondsight
kernel selftest 6.12-own`, and the scenarios in the same boot; it prints both verdicts. (`make docs` writes this page.)

Each original of HMM runs twice: with device-private memory, and with device-coherent memory, for which the boot line sets memory
aside (`memmap=`, `test_hmm.spm_addr_dev0` and `spm_addr_dev1`). So do those scenarios in which pages move into a device's memory
(`devices.private_gpu`, `devices.coherent_gpu`).
"""


def hmm_tests() -> str:
    """What docs/hmm-tests.md is to be."""
    text = HMM_TESTS
    for program, tests in TABLE.items():
        text += f"\n`{PROGRAMS[program]}`\n\n| test | here |\n| --- | --- |\n"
        text += "".join(f"| {name} | {_found(here)} |\n" for name, here in tests.items())
    return text


MM_TESTS_PAGE = """\
# The kernel's own tests of memory

Those of Linux 6.12, in `tools/testing/selftests/mm/`, test by test. *Agrees*: what it asserts is a scenario too, with the same
answer on the model and on the kernel; `secondsight run scenarios/cow_tests.py --on linux-6.12` shows both. *Missing*: what the model, or a
scenario, does not have. The originals are not run here. (`make docs` writes this page.)
"""


def mm_tests() -> str:
    """What docs/mm-tests.md is to be."""
    text = MM_TESTS_PAGE
    for program, tests in MM_TESTS.items():
        agree = sum(here.scenario is not None for here in tests.values())
        text += f"\n## {program}\n\n{agree} of {len(tests)} agree. {ON_MEMORY.get(program, '')}".rstrip() + "\n\n| test | here |\n| --- | --- |\n"
        text += "".join(f"| {name} | {_found(here)} |\n" for name, here in tests.items())
    return text


def _found(here: Here) -> str:
    said = f"agrees: `{here.scenario}` in `scenarios/{here.file}.py`" if here.scenario else f"missing: {here.missing}"
    return f"{said}. {here.note}" if here.note else said


_RELEASES = re.compile(r"(<!-- from linux/releases\.py[^\n]*-->\n).*?(<!-- to here -->)", re.DOTALL)


def agree_page() -> str:
    """What docs/agree.md is to be: as it is, with the present table of releases."""
    return _RELEASES.sub(lambda m: m[1] + differences_table() + m[2], (HOUSE / "docs" / "agree.md").read_text())


_HOLDS = re.compile(r"(<!-- from scenario/holds\.py[^\n]*-->\n).*?(<!-- to here -->)", re.DOTALL)


def with_holds(text: str) -> str:
    """docs/forced.md with the present table of hold points."""
    rows = [f"| `{p.name}` | {_LIES[p.where]} | {p.doc.replace('written op:N', 'written `op:N`')} | {p.locks} |" for p in HOLDS.values()]
    table = "\n".join(["| name | where | a thread is held ... | and may have |", "| --- | --- | --- | --- |", *rows, ""])
    return _HOLDS.sub(lambda m: m[1] + table + m[2], text)


_LIES = {Where.AGENT: "agent", Where.MODULE: "module", Where.ENTRY: "kernel (ftrace)", Where.EXIT: "kernel (ftrace)"}


def write(document: Path) -> None:
    """Put the present output into the document."""
    if document.name == "forced.md":
        document.write_text(with_holds(document.read_text()))
    if document.name == "reference.md":
        document.write_text(reference())
        return
    if document.name == "agree.md":
        document.write_text(agree_page())
        return
    if document.name == "claims.md":
        document.write_text(claims_page(TABLES.values()))
        return
    if document.name == "bugs.md":
        document.write_text(bugs_page())
    if document.name == "adequacy.md":
        document.write_text(adequacy_page() + designs_page())
        return
    if document.name == "judges.md":
        document.write_text(page())
        return
    if document.name == "hmm-tests.md":
        document.write_text(hmm_tests())
        return
    if document.name == "mm-tests.md":
        document.write_text(mm_tests())
        return
    text = document.read_text()
    for block in reversed(list(run(document, kernel=True))):
        text = text[: block.start] + block.now + text[block.end :]
    document.write_text(text)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name))
