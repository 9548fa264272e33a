"""Mutants of the kernel's C, and of the model, made by rule: each must be noticed, or the comparison proves nothing.

A mutant of the C is the file's text with one change in one of the functions that the target compares; one of the model is
the model's file with one change, in a copy of this package. Neither is ever written into the source.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import secondsight
from secondsight.conform.build import build
from secondsight.conform.errors import ConformError
from secondsight.conform.run import run
from secondsight.conform.target import Target
from secondsight.kernels.sources import KernelSource

__all__ = ["Fate", "Mutant", "fates", "mutants_of_c", "mutants_of_model"]

STEPS = 40_000
"""Steps of random walks in which a mutant has to be noticed; then every transition of the bounded configurations is tried."""
SECONDS = 25.0


@dataclass(frozen=True)
class Mutant:
    """One change: the function and the line that it is in, the rule that made it, what stood there and what stands there now."""

    function: str
    line: int
    rule: str
    was: str
    now: str
    text: str
    number: int = 0

    @property
    def name(self) -> str:
        """The form in which a target lists those that are equivalent: of which function, by which rule, the how manieth of these."""
        return f"{self.function}: {self.rule} {self.number}"


@dataclass(frozen=True)
class Fate:
    """What became of a mutant: `noticed` after so many steps, `equivalent` with the reason, `survives`, or `no program`."""

    mutant: Mutant
    fate: str
    steps: int = 0
    how: str = ""


# The C.


def mutants_of_c(text: str, functions: tuple[str, ...]) -> list[Mutant]:
    """The mutants of the functions of a C file, in the order of the text."""
    return _numbered(_mutants_of_c(text, functions))


def _numbered(mutants: Iterator[Mutant]) -> list[Mutant]:
    count: dict[tuple[str, str], int] = {}
    found = []
    for mutant in mutants:
        kind = mutant.function, mutant.rule
        count[kind] = count.get(kind, 0) + 1
        found.append(replace(mutant, number=count[kind]))
    return found


def _mutants_of_c(text: str, functions: tuple[str, ...]) -> Iterator[Mutant]:
    bare = _without_comments(text)
    for name, start, end in _bodies(bare, functions):
        body = bare[start:end]
        simple = list(_simple_statements(body))
        for at, to in simple:
            statement = body[at:to]
            if not _is_declaration(statement) and not statement.startswith("return"):
                yield _edit(text, name, start + at, start + to, ";", "drop")
        for (a, b), (c, d) in pairwise(simple):
            between = body[b:c]
            if not between.strip() and not any(
                _is_declaration(body[x:y]) or body[x:y].startswith("return") for x, y in ((a, b), (c, d))
            ):
                yield _edit(text, name, start + a, start + d, body[c:d] + between + body[a:b], "swap")
        for at, to in _tests(body):
            yield _edit(text, name, start + at, start + to, f"!({body[at:to]})", "negate")
        for found in re.finditer(r"(\+\+|--)|(?<![\w.])(\d+)(?![\w.])|(?<![=!<>])(==|!=)(?!=)", body):
            now = {"++": "--", "--": "++", "==": "!=", "!=": "=="}.get(found[0]) or str(int(found[0]) + 1)
            yield _edit(
                text,
                name,
                start + found.start(),
                start + found.end(),
                now,
                "off by one" if found[2] or found[1] else "turn round",
            )


def _edit(text: str, function: str, start: int, end: int, now: str, rule: str) -> Mutant:
    line = text.count("\n", 0, start) + 1
    around = text[
        text.rfind("\n", 0, start) + 1 : (text.find("\n", end) if rule in ("negate", "off by one", "turn round") else end)
    ]
    was = " ".join(
        _without_comments(text[start:end] if rule in ("drop", "swap", "negate") else f"{text[start:end]} in {around}").split()
    )
    return Mutant(function, line, rule, was, " ".join(now.split()), text[:start] + now + text[end:])


def _without_comments(text: str) -> str:
    """The text with comments and strings as blanks of the same length."""
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\])*\"", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.DOTALL)


def _bodies(bare: str, functions: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Each function's name, and where its body begins and ends."""
    for found in re.finditer(r"\b(\w+)\([^;{}]*?\)\s*\n\{", bare):
        if found[1] in functions:
            start = found.end()
            end = bare.index("\n}", start)
            yield found[1], start, end


_BEFORE = re.compile(r"(?:\s*(?:[{}]|else\b|do\b|\w+:(?!:)|(?:if|for|while|switch|\w*for_each\w*)\s*(?=\()))*\s*")
"""What may stand before a simple statement."""


def _simple_statements(body: str) -> Iterator[tuple[int, int]]:
    """Where each statement that is no block and no `if`, `for`, `while` begins and ends, its semicolon included."""
    at = 0
    while at < len(body):
        found = _BEFORE.match(body, at)
        assert found is not None
        at = found.end()
        if at < len(body) and body[at] == "(" and re.search(r"(if|for|while|switch|for_each\w*)\s*$", body[:at]):
            at = _closing(body, at) + 1
            continue
        if at >= len(body):
            return
        depth, end = 0, at
        while end < len(body) and (body[end] != ";" or depth):
            depth += (body[end] in "([{") - (body[end] in ")]}")
            end += 1
        if end > at and body[at] not in "{}":
            yield at, min(end + 1, len(body))
        at = end + 1


def _closing(text: str, at: int) -> int:
    """The parenthesis that closes the one at a place."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if depth == 0:
            return i
    return len(text) - 1


def _tests(body: str) -> Iterator[tuple[int, int]]:
    """Where the test of each `if` and `while` is."""
    for found in re.finditer(r"\b(?:if|while)\s*\(", body):
        at = found.end()
        yield at, _closing(body, at - 1)


def _is_declaration(statement: str) -> bool:
    return (
        bool(re.match(r"(const |unsigned |struct |int |bool |long |static |enum |\w+_t |[A-Z_]+\()", statement))
        and "WARN_ON" not in statement
    )


# The model.


def mutants_of_model(text: str, functions: tuple[str, ...]) -> list[Mutant]:
    """The mutants of the functions of a model's file. Function names lose the kernel's leading underscores."""
    return _numbered(_mutants_of_model(text, functions))


def _mutants_of_model(text: str, functions: tuple[str, ...]) -> Iterator[Mutant]:
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    data = text.encode()

    def span(node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    def edit(function: str, start: int, end: int, now: str, rule: str) -> Mutant:
        was = " ".join(data[start:end].decode().split())
        line = data.count(b"\n", 0, start) + 1
        return Mutant(function, line, rule, was, now, (data[:start] + now.encode() + data[end:]).decode())

    wanted = {name.lstrip("_") for name in functions}
    for function in ast.parse(text).body:
        if not isinstance(function, ast.FunctionDef) or function.name not in wanted:
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.If | ast.While) and not isinstance(node.test, ast.Constant):
                start, end = span(node.test)
                yield edit(function.name, start, end, f"not ({data[start:end].decode()})", "negate")
            if isinstance(node, ast.Assign | ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
                if isinstance(node, ast.Expr) and ast.unparse(node).startswith(
                    ("hold_point", "out_of_records", "require", "mmu_notifier_callback", "notifier_")
                ):
                    continue
                yield edit(function.name, *span(node), "pass", "drop")
            if isinstance(node, ast.Constant) and type(node.value) is int:
                yield edit(function.name, *span(node), str(node.value + 1), "off by one")


# What becomes of them.


def fates(
    target: Target,
    source: KernelSource,
    mutants: list[Mutant],
    of_model: bool = False,
    on_fate: Callable[[int, Fate], None] | None = None,
) -> list[Fate]:
    """What becomes of each mutant, in their order; on all cores. Ctrl-C ends it with those that are known."""
    found: dict[int, Fate] = {}
    work = _fate_of_model if of_model else _fate_of_c
    build(target, source)  # once, not in each process
    pool = ProcessPoolExecutor(max_workers=os.cpu_count(), initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        waiting = {pool.submit(work, type(target), source, mutant): i for i, mutant in enumerate(mutants)}
        for done in as_completed(waiting):
            found[waiting[done]] = done.result()
            if on_fate is not None:
                on_fate(len(found), done.result())
    except KeyboardInterrupt:  # what was seen so far is the answer
        for process in list(pool._processes.values()):
            process.terminate()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [found[i] for i in sorted(found)]


def _fate_of_c(kind: type[Target], source: KernelSource, mutant: Mutant) -> Fate:
    target = kind()
    try:
        program = build(target, source, mutant.text)
    except ConformError:
        return Fate(mutant, "no program")
    if program.read_bytes() == build(target, source).read_bytes():
        return Fate(mutant, "equivalent", 0, "it compiles to the same code")
    try:
        report = run(target, source.release, program, SECONDS, most_steps=STEPS, small=False)
    except ConformError as error:  # a function that nothing calls any more
        return Fate(mutant, "noticed", 0, error.reason)
    finally:
        shutil.rmtree(program.parent, ignore_errors=True)
    if report.disagreement is not None:
        return Fate(mutant, "noticed", report.steps, report.disagreement.what)
    reason = target.equivalent.get(mutant.name)
    return Fate(mutant, "survives" if reason is None else "equivalent", report.steps, reason or "")


def _fate_of_model(kind: type[Target], source: KernelSource, mutant: Mutant) -> Fate:
    target = kind()
    package = Path(secondsight.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "secondsight"
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        (copy / "linux" / target.model).write_text(mutant.text)
        start = "import sys; from secondsight.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", start, "conform", source.release, "--file", target.file, "--seconds", "8"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=900, env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    steps = re.search(r"([\d,]+) steps", done.stdout)
    count = int(steps[1].replace(",", "")) if steps else 0
    if done.returncode == 1:
        what = re.search(r"differ: (.*)", done.stdout)
        return Fate(mutant, "noticed", count, what[1] if what else "")
    if done.returncode:
        return Fate(mutant, "noticed", count, (done.stderr.strip().splitlines() or ["it does not run"])[-1])
    reason = target.equivalent_model.get(mutant.name)
    return Fate(mutant, "survives" if reason is None else "equivalent", count, reason or "")
