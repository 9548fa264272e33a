"""How far a run has come with a claim's lines: what each step of a thread has of them, told by the step's own calls.

A line of a trace stands where the thread takes its first step in what was called; what returns in the step that called it stands in that
step; a result where it came back (`report.story`). Lines are taken as soon as one can be: of all ways to find them in a run in order that
one comes farthest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from secondsight.claims.patterns import Pattern, are_among, call_words, same
from secondsight.lang import ir, tree
from secondsight.lang.traced import Traced, TracedEvent
from secondsight.report.words import result
from secondsight.world import tables
from secondsight.world.declare import ACTS
from secondsight.world.interpreter import run_final, run_in_turn, run_ops

__all__ = ["Advance", "Reader", "reach"]

Lines = tuple[int, ...]


class Advance(NamedTuple):
    """Of a run: the next line; by thread the calls that have not taken a step, each with the lines that it could be; those that have
    not returned, each with the lines whose result it could have."""

    line: int
    waiting: tuple[tuple[int, Lines], ...] = ()
    open: tuple[tuple[int, int, Lines], ...] = ()


class Reader:
    """Reads steps for lines of a claim."""

    def __init__(self, traced: Traced, patterns: Sequence[Pattern]) -> None:
        self.traced, self.patterns = traced, patterns
        self.calls: dict[int, list[int]] = {}
        for i, pattern in enumerate(patterns):
            for number in pattern.functions:
                self.calls.setdefault(number, []).append(i)
        self.rules = {n for n, f in enumerate(traced.functions) if hasattr(f.source, "__on__")}
        self.relevant = self.calls.keys() | self.rules
        self.at: list[Lines] = [()]
        for place in traced.program.code.places:
            self.at.append(self._lines_at(place.where.file, place.where.line))
        self.freed = [self._lines_at(place.file, place.line) for place in traced.places]
        self.frees = any(self.freed)
        self._called: dict[tuple[int, tuple[object, ...]], tuple[Lines, Lines]] = {}
        self._returned: dict[tuple[int, object], Lines] = {}

    def _lines_at(self, file: str, line: int) -> Lines:
        return tuple(i for i, p in enumerate(self.patterns) if (file, line) in p.places and not p.stands)

    def seen_of(self, events: tuple[TracedEvent, ...]) -> tuple[TracedEvent, ...]:
        """Those of a step's events that may be lines; of rules, which look on, none."""
        found: list[TracedEvent] = []
        within = 0
        for event in events:
            kind, number, _ = event
            if kind == "free":
                if self.frees and self.freed[number] and not within:
                    found.append(event)
            elif number in self.relevant:
                if number in self.rules:
                    within += 1 if kind == "call" else -1
                elif not within:
                    found.append(event)
        return tuple(found)

    def begin(self) -> Advance:
        """How far a run has come before its first step: threads have called functions, and taken no step in them."""
        progress = Advance(0)
        nobody = [frozenset[int]()] * len(self.patterns)
        for thread, events in enumerate(self.traced.begun):
            taken = self.take(Advance(0), thread, 0, self.seen_of(events), nobody)
            progress = Advance(0, (*progress.waiting, *taken.waiting), (*progress.open, *taken.open))
        return progress

    def called(self, number: int, values: tuple[object, ...]) -> tuple[Lines, Lines]:
        """The lines that a call is: those without a result, and those whose result it may have."""
        key = number, values
        if key not in self._called:
            function = self.traced.functions[number]
            given = self.traced.given(function, values)
            lines = [i for i in self.calls[number] if self._fits(self.patterns[i], function, given)]
            self._called[key] = (
                tuple(i for i in lines if self.patterns[i].result is None),
                tuple(i for i in lines if self.patterns[i].result is not None),
            )
        return self._called[key]

    def _fits(self, pattern: Pattern, function: ir.Function, given: dict[str, object]) -> bool:
        if function.source is None:
            return False
        if hasattr(function.source, "__operation__"):
            path = repr(given["self"]).strip("<>")
            return not pattern.lock or path.rpartition(".")[2] == pattern.lock
        if pattern.owner and not self._is_of(pattern.owner, given.get("self")):
            return False
        return are_among(pattern.words, call_words(function.source, given))

    @staticmethod
    def _is_of(owner: str, record: object) -> bool:
        if record is None:
            return True
        path = repr(record).strip("<>")
        return path.rpartition(".")[2] == owner or any(cls.__name__ == owner for cls in type(record).__mro__)

    def returned(self, number: int, value: object) -> Lines:
        """The lines whose result a call has."""
        key = number, value
        if key not in self._returned:
            function = self.traced.functions[number]
            told = result(function.source, self.traced.came_back(function, value))
            self._returned[key] = tuple(i for i in self.calls[number] if (said := self.patterns[i].result) is not None and same(said, told))
        return self._returned[key]

    def take(
        self, progress: Advance, thread: int, counter: int, events: tuple[TracedEvent, ...], allowed: Sequence[frozenset[int]]
    ) -> Advance:
        """How far a run has come after a step of a thread from a place. `allowed`: by line, the threads that it may be of."""
        line, waiting, still = progress
        at = self.at[counter]
        if not (events or at or waiting):
            return progress

        def feed(lines: Lines) -> bool:
            nonlocal line
            fits = line in lines and thread in allowed[line]
            line += fits
            return fits

        if waiting:
            for one, lines in waiting:
                if one == thread:
                    feed(lines)
            waiting = tuple(w for w in waiting if w[0] != thread)
        is_told = feed(at)
        for i, (kind, number, values) in enumerate(events):
            if kind == "free":
                feed(self.freed[number])
            elif kind == "call":
                plain, answered = self.called(number, values)
                if plain:
                    following = next((e[0] for e in events[i + 1 :] if e[1] == number and e[0] != "free"), "")
                    if following == "return" or getattr(self.traced.functions[number].source, "__atomic__", False):
                        feed(plain)
                    else:
                        waiting = (*waiting, (thread, plain))
                if answered:
                    still = (*still, (thread, number, answered))
            else:
                mine = next((lines for one, n, lines in reversed(still) if one == thread and n == number), None)
                if mine is not None:
                    feed(tuple(i for i in self.returned(number, values[0]) if i in mine))
                    still = tuple(s for s in still if s[:2] != (thread, number))
        for _, number, _ in (event for event in events if event[0] == "free"):  # told behind what else the step has
            feed(self.freed[number])
        if not is_told:
            feed(at)
        return Advance(line, waiting, still)

    def breaks(self, progress: Advance, thread: int, rule: str, allowed: Sequence[frozenset[int]]) -> Advance:
        """After a step of a thread that breaks a rule."""
        line = progress.line
        if line < len(self.patterns) and self.patterns[line].rule == rule and thread in allowed[line]:
            line += 1
        return progress._replace(line=line)

    def stands(self, progress: Advance, counters: Sequence[int], allowed: Sequence[frozenset[int]]) -> Advance:
        """Where nobody can go on: who stands where."""
        line = progress.line
        for thread, counter in enumerate(counters):
            if not counter or line == len(self.patterns):
                continue
            where = self.traced.program.code.places[counter - 1].where
            pattern = self.patterns[line]
            if thread in allowed[line] and ((pattern.stands and (where.file, where.line) in pattern.places) or pattern.rule == "deadlock"):
                line += 1
        return progress._replace(line=line)


def reach(traced: Traced, thread: int) -> set[int]:
    """The functions that a thread can call, by their numbers: those of its own rows of the scenario, and what they call. No fewer."""
    program = traced.program
    numbered = {made: key[1] for key, made in program.frontend.numbered.items() if key[0] == id(ACTS)}
    rows: Sequence[int] = program.machine.data.get(tables.kind.name, ())  # a table's cell may be no scenario
    begun = program.threads[thread]
    entry = getattr(begun.function, "__func__", begun.function)
    first, end = begun.arguments[:2] if entry in (run_ops, run_final, run_in_turn) else (0, len(rows))
    kinds = set(rows[first:end])
    root = next((f for f in program.frames if f.source is entry), None)
    numbers = {function: number for number, function in enumerate(traced.functions)}
    if root is None:
        return set(numbers.values())
    seen, todo = {root}, [root]
    for function in todo:
        for called in _called_by(function, numbered.get(function), kinds):
            if called not in seen:
                seen.add(called)
                todo.append(called)
    return {numbers[function] for function in seen if function in numbers}


def _called_by(function: ir.Function, named: tuple[int, ...] | None, kinds: set[int]) -> Iterator[ir.Function]:
    body = function.body
    if named is not None:
        branches = [s for s in body if isinstance(s, ir.If)]
        body = [s for number, branch in zip(named, branches, strict=True) if number in kinds for s in branch.then]
    for stmt in tree.statements(body):
        if isinstance(stmt, ir.YieldCall):
            yield stmt.function
        for expression in tree.expressions(stmt):
            for node in tree.walk(expression):
                if isinstance(node, ir.Call):
                    yield node.function
