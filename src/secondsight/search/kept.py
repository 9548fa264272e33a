"""What searches have found is kept: a search of what has not changed since answers at once, and says so.

Only *holds* is kept: a broken rule is looked for again, for its trace is wanted. The question is the whole program: its shape,
which stands for the source of everything that it runs, for this package, Python, bounds and rules (`lang.origin`); what its tables
hold and what is constant in its machine, its initial state, its threads with their arguments; and the whole request, with the
compiler that native code comes from. It is asked only about code that `lang.stored` trusts: where the source of a program
cannot be made out, nothing is kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import Any

from secondsight.lang import stored
from secondsight.lang.compiler import CompilerMissing, settings
from secondsight.lang.program import Program
from secondsight.search.request import Request
from secondsight.search.result import Result, Verdict

__all__ = ["find", "hash_of", "identity_of", "keep"]

_FIGURES = ("states", "transitions", "depth", "seconds", "exact", "missed", "peak", "note", "shortest", "preemptions")
_CHANGES_NOTHING = ("on_progress", "kept", "coming", "weight", "on_growth")


def identity_of(program: Program) -> str | None:
    """A hash of everything that a program's runs depend on; None where that cannot be made out, or is not yet."""
    code = program.code
    if not stored.is_kept(code):
        return None
    assert code.origin is not None
    layout, machine = program.layout, program.machine
    threads = []
    for thread, (root, arguments) in zip(program.threads, program.roots, strict=True):
        numbers = [program.argument(thread, value, var) for value, var in zip(arguments, root.params, strict=True)]
        threads.append((thread.name, root.number, root.name, numbers, thread.daemon))
    return hash_of(
        code.origin.digest, [d.name for d in layout.declarations], sorted(layout.written or ()), program.size, program.counter_width, code.capacity, program.holds,
        [(name, list(row)) for name, row in sorted(machine.data.items())],
        [(field, list(layout.row(field))) for field in sorted(layout.constants)],
        program.initial_shared.hex(), threads,
    )  # fmt: skip


def hash_of(*parts: object) -> str:
    """A hash of what can be printed."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _question(program: Program, asked: Request) -> str | None:
    """What an answer depends on, as one word."""
    identity = identity_of(program)
    if identity is None:
        return None
    try:
        compiler = repr(settings())
    except CompilerMissing:
        compiler = ""
    wanted = [(f.name, getattr(asked, f.name)) for f in fields(asked) if f.name not in _CHANGES_NOTHING]
    return hash_of(identity, wanted, compiler)


def find(program: Program, asked: Request) -> Result | None:
    """What a search that was asked the same of the same program has found, if it held."""
    question = _question(program, asked)
    told = None if question is None else stored.find_answer(program.code, question)
    return None if told is None else _result(told)


def keep(program: Program, asked: Request, result: Result) -> None:
    """Keep what a search has found, if it holds."""
    if result.verdict is not Verdict.HOLDS or result.broken or result.error is not None or result.reason is not None:
        return
    question = _question(program, asked)
    if question is not None:
        told: dict[str, Any] = {name: getattr(result, name) for name in _FIGURES}
        told |= {"reduced": list(result.reduced), "outcomes": sorted(seen.hex() for seen in result.outcomes)}
        stored.keep_answer(program.code, question, told)


def _result(told: dict[str, Any]) -> Result | None:
    try:
        figures = {name: told[name] for name in _FIGURES}
        outcomes = frozenset(map(bytes.fromhex, told["outcomes"]))
        return Result(Verdict.HOLDS, **figures, reduced=tuple(told["reduced"]), outcomes=outcomes, kept=True)
    except (KeyError, TypeError, ValueError):
        return None
