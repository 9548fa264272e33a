"""Where each function of a program is cut at its steps, and of what types its locals are: what `lang.instrument` goes by.

It comes from the lowered functions. It is kept beside what else is known of a shape, so that who only runs a program in plain execution need not
lower it. Classes and functions of the model are named there by what `lang.origin` found, never by what a module has under their name now.
"""

from __future__ import annotations

import io
import pickle
import sys
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from secondsight.lang import ir, stored, tree
from secondsight.lang.code import Code
from secondsight.lang.errors import LangError, Position
from secondsight.lang.ir import Scalar
from secondsight.lang.lowering import join
from secondsight.lang.origin import Origin
from secondsight.lang.program import Program
from secondsight.lang.source import function_tree
from secondsight.lang.types import ListType

__all__ = ["CutAt", "LinePlaces", "cuts_of", "functions_of", "has_queues"]

LinePlaces = frozenset[tuple[int, int]]
"""Lines and columns of a file."""

_KIND = "cuts"
_FUNCTIONS = "functions"
_LANGUAGE = "secondsight.lang."
_PYTHON = ("builtins", "copyreg")


@dataclass(frozen=True, slots=True)
class CutAt:
    """One function: `places`, the statements at which steps begin; the types of its locals, its result's; the `loops` of which some rounds have a
    step boundary, and others none; the calls `after` which a step begins within their statement; where it computes what may be too `wide`.
    """

    places: LinePlaces
    locals: tuple[tuple[str, Scalar | ListType], ...]
    result: ir.ResultType | None
    loops: frozenset[Position]
    afters: LinePlaces
    wide: frozenset[Position]


def cuts_of(program: Program) -> dict[Any, CutAt]:
    """Each source function of a program, with where it is cut."""
    return program.code.keep("cuts", lambda: _found(program))


def functions_of(program: Program) -> frozenset[Any]:
    """The functions with a source that a program's threads can call. Of code that comes from the cache folder they are those of the model
    and its drivers, without the language's own."""
    return program.code.keep("functions", lambda: _functions(program.code))


def _functions(code: Code) -> frozenset[Any]:
    origin = code.origin
    if not code.is_lowered and origin is not None and _FUNCTIONS in code.facts:
        there = list(origin.functions)
        return frozenset(there[number] for number in code.facts[_FUNCTIONS])
    found = frozenset(instance.source for instance in code.linked.frontend.instances.values())
    if origin is not None and all(f in origin.functions or f.__module__.startswith(_LANGUAGE) for f in found if f is not None):
        code.fact(_FUNCTIONS, lambda: sorted(origin.functions[f] for f in found if f in origin.functions))
    return found


def has_queues(program: Program) -> bool:
    """Whether writers stand in the queues of a program's locks (`Linked.queues`)."""
    return bool(program.code.fact("queues", lambda: program.code.linked.queues))


def _found(program: Program) -> dict[Any, CutAt]:
    code = program.code
    if not code.is_lowered:
        kept = stored.find_beside(code, _KIND)
        known = None if kept is None or code.origin is None else _read(kept, code.origin)
        if known is not None and "queues" in code.facts:
            return known
    has_queues(program)  # who runs it asks that too
    made = _made(program)
    if code.origin is not None and (content := _told(made, code.origin)) is not None:
        stored.keep_beside(code, _KIND, content)
    return made


def _made(program: Program) -> dict[Any, CutAt]:
    """What lowering says."""
    wide, loops, afters = _by_file(_wide(program)), _by_file(_cut_loops(program)), _afters(program)
    found = {}
    for function, (places, scalars, result) in _instances(program).items():
        text = function_tree(function)
        lines = range(text.lineno, (text.end_lineno or text.lineno) + 1)
        own_wide, own_loops = (frozenset(p for p in some.get(function.__code__.co_filename, ()) if p.line in lines) for some in (wide, loops))
        found[function] = CutAt(
            frozenset(places), tuple(scalars.items()), result, own_loops, frozenset(afters.get(function, ())), own_wide,
        )  # fmt: skip
    return found


def _by_file(places: set[Position]) -> dict[str, list[Position]]:
    found: dict[str, list[Position]] = {}
    for place in places:
        found.setdefault(place.file, []).append(place)
    return found


def _instances(program: Program) -> dict[Any, tuple[set[tuple[int, int]], dict[str, Scalar | ListType], ir.ResultType | None]]:
    """For each source function the statements, by line and column, at which steps begin, the types of its locals, its result's."""
    places: dict[Any, set[tuple[int, int]]] = {}
    made: dict[Any, set[tuple[int, int]]] = {}
    locals_: dict[Any, dict[str, Scalar | ListType | None]] = {}
    results: dict[Any, ir.ResultType | None] = {}
    for instance in program.frontend.instances.values():
        source = instance.source
        begins = {
            (s.where.line, s.where.column)
            for s in tree.statements(instance.body)
            if isinstance(s, ir.Boundary) and s.kind == "statement"
        }
        places.setdefault(source, set()).update(begins)
        if not instance.atomic and made.setdefault(source, begins) != begins:
            raise LangError(
                f"{instance.where}: {instance.name} has its steps at other statements for another class; "
                "give the two classes functions of their own"
            )
        known = locals_.setdefault(source, {})
        for name, kind in instance.locals.items():
            before = known.get(name, kind)
            if isinstance(kind, ListType) or isinstance(before, ListType):
                known[name] = kind if before == kind else None
            else:
                known[name] = None if before is None else join(before, kind)
        results[source] = instance.result
    return {f: (p, {n: k for n, k in locals_[f].items() if k is not None}, results[f]) for f, p in places.items()}


def _afters(program: Program) -> dict[Any, set[tuple[int, int]]]:
    """Of each function the calls, by line and column, behind which a step begins within their statement."""
    found: dict[Any, set[tuple[int, int]]] = {}
    for instance in program.frontend.instances.values():
        for s in tree.statements(instance.body):
            if isinstance(s, ir.Boundary) and s.kind == "after":
                found.setdefault(instance.source, set()).add((s.where.line, s.where.column))
    return found


def _wide(program: Program) -> set[Position]:
    """Where a program computes what may be too large."""
    bodies = [instance.body for instance in program.frontend.instances.values()]
    nodes = (n for body in bodies for s in tree.statements(body) for e in tree.expressions(s) for n in tree.walk(e))
    return {n.where for n in nodes if isinstance(n, ir.Binary) and n.wide}


def _cut_loops(program: Program) -> set[Position]:
    """The loops of which some rounds have a step boundary, and others none."""
    return {block.round_of for frame in program.frames.values() for block in frame.flow.blocks if block.round_of is not None}


# What is kept of it. A class or a function is told by its name, or its number, in the origin of the code.


class _Teller(pickle.Pickler):
    def __init__(self, file: io.BytesIO, origin: Origin) -> None:
        super().__init__(file, protocol=5)
        self.origin = origin

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, FunctionType) and obj in self.origin.functions:
            return "function", self.origin.functions[obj]
        if not isinstance(obj, (type, FunctionType)) or obj.__module__ in _PYTHON:
            return None
        name = f"{obj.__module__}:{obj.__qualname__}"
        if self.origin.classes.get(name) is obj:
            return "class", name
        if obj.__module__.startswith(_LANGUAGE) and _of_the_language(name) is obj:
            return "language", name
        raise pickle.PicklingError(name)


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, origin: Origin) -> None:
        super().__init__(file)
        self.origin, self.functions = origin, {number: function for function, number in origin.functions.items()}

    def persistent_load(self, pid: Any) -> Any:
        kind, name = pid
        return self.functions[name] if kind == "function" else self.origin.classes[name] if kind == "class" else _of_the_language(name)

    def find_class(self, module: str, name: str) -> Any:
        if module not in _PYTHON:
            raise pickle.UnpicklingError(module)
        return super().find_class(module, name)


def _of_the_language(name: str) -> Any:
    """What has a name in a module of the language, which is the same in all processes that read what this one keeps."""
    module, _, path = name.partition(":")
    found: Any = sys.modules[module]
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _told(cuts: dict[Any, CutAt], origin: Origin) -> bytes | None:
    """All of it as bytes; None where something has no name."""
    into = io.BytesIO()
    try:
        _Teller(into, origin).dump(cuts)
    except (pickle.PicklingError, AttributeError, KeyError):
        return None
    return into.getvalue()


def _read(content: bytes, origin: Origin) -> dict[Any, CutAt] | None:
    """What bytes tell; None if that is not to be made out."""
    try:
        found = _Reader(io.BytesIO(content), origin).load()
    except Exception:  # whatever a garbled pickle raises
        return None
    return found if isinstance(found, dict) else None
