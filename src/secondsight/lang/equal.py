"""Equal threads: states that differ only in which of several equal threads is which are one state.

Threads are *equal* if they begin with the same function and equal arguments. Integers among these may differ, all by the same:
then they are *rows*, and a thread's rows are those from the least of its arguments on to before the greatest. Equal threads'
rows must say the same in each table that the program finds something in by a row.

A renaming of equal threads moves their places and locals, with the shared state that is theirs: the elements of arrays by thread
(`array[current()]`) and by row (`results[row]`). It changes their numbers wherever these lie, in locks, in fields (`owner`), in
live locals; a set of threads is an integer with a bit for each. That keeps the program's steps only if the program does nothing else with the
number of a thread or a row. So it is looked for over the whole program (`lang.spread`):

  - A number of a thread, `current()`, is copied, compared with another or with 0 by `==` and `!=`, and used as a place in an array that has
    nothing else for places. `1 << (current() - 1)` is a set; sets are joined, intersected, and compared.
  - A row is compared with another of the same thread, counted on by one from below the last, and used, below the last, as a place in an array
    or in a table. It is kept in locals only. Places in the same array that come out of a table stay where they are (`named`).
  - A loop over the numbers of all threads may do something with what is each one's: it reads and writes, of arrays by thread, only the
    element of its number, and assigns nothing else. Rounds then do not depend on each other, nor on their order.
    (If several of them fail, in different ways, the order decides which error it is; that there is one it does not.)

Everything else turns the renaming off, with a reason. The initial state must be its own renaming: that is tried out on the state itself.
`lang.canonical_equal` renames, in C. What a search has to mind beside that is in docs/engine.md.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from secondsight.lang.layout import field_of
from secondsight.lang.program import Program
from secondsight.lang.spread import TellsApart
from secondsight.lang.thread_numbers import Names, Rows, cells
from secondsight.lang.types import IntType, Type

__all__ = ["EqualThreads", "equal_threads_of"]


@dataclass
class EqualThreads:
    """Threads that may be renamed. `classes`: by thread the first that it is equal to; `first`, `end`: its rows."""

    classes: tuple[int, ...]
    first: tuple[int, ...]
    end: tuple[int, ...]
    rows: Rows
    names: Names | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Everything that the rendered text depends on beside the code."""
        return f"equal threads with rows {sorted(self.rows.items())}"

    @property
    def there_are(self) -> bool:
        """Whether two threads are equal."""
        return len(set(self.classes)) < len(self.classes)

    def names_of(self, program: Program) -> Names:
        """Where their numbers lie."""
        if self.names is None:  # what is known of the program may have come from the cache folder
            self.names = Names(program, self.rows)
        return self.names

    def tell(self, library: Any) -> None:
        """Tell a library which threads are equal."""
        rows = [(ctypes.c_int32 * len(row))(*row) for row in (self.classes, self.first, self.end)]
        library.ss_set_equal(*rows, len(self.classes))

    def alone(self) -> EqualThreads:
        """The same without what is known of a program's functions."""
        return replace(self, names=None)

    def told_apart(self) -> EqualThreads:
        """The same, where no threads are equal."""
        return replace(self, classes=tuple(range(len(self.classes))))

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Neighbours in a class: whoever exchanges these comes to every renaming."""
        last: dict[int, int] = {}
        for thread, of in enumerate(self.classes):
            if of in last:
                yield last[of], thread
            last[of] = thread


def equal_threads_of(program: Program, watch: tuple[int, int] | None = None) -> tuple[EqualThreads | None, str]:
    """The equal threads of a program, and why they are not renamed; None: there are none.

    Programs that share their code have one library: in one of these no threads may be equal. `watch`: the part of final states that counts.
    """
    values = [
        [program.argument(program.threads[i], value, param) for value, param in zip(arguments, root.params, strict=True)]
        for i, (root, arguments) in enumerate(program.roots)
    ]
    differ = [[_differ_in(program, values, i, j) for j in range(i + 1)] for i in range(len(values))]
    alike = tuple(next(j for j, places in enumerate(row) if places is not None) for row in differ)
    shared = program.code.threads is None and program.code.capacity > 1
    if not shared and len(set(alike)) == len(alike):
        return None, ""
    roots = {root.number: root for root in program.code.roots.values()}
    if shared:
        wanted = {(number, p) for number, root in roots.items() for p, param in enumerate(root.params) if _may_be_row(param.type)}
    else:
        kinds = {program.roots[i][0].params[p].type for i, j in enumerate(alike) for p in differ[i][j] or ()}
        wanted = {(number, p) for number, root in roots.items() for p, param in enumerate(root.params) if param.type in kinds}
    first, end = [0] * len(values), [0] * len(values)
    within = dict.fromkeys(wanted, True)
    for i, (root, _) in enumerate(program.roots):
        mine = {p: values[i][p] for p in range(len(root.params)) if (root.number, p) in wanted}
        first[i], end[i] = min(mine.values(), default=0), max(mine.values(), default=0)
        within.update({(root.number, p): within[root.number, p] and value < end[i] for p, value in mine.items()})
    why, facts = "", None
    for rows in (dict.fromkeys(wanted, False), within):  # that a row is below the last need not count
        equal = EqualThreads(alike, tuple(first), tuple(end), rows)
        why, facts = _looked(program, equal)
        if not why:
            break
    equal.classes = _by_tables(program, equal, list(program.machine.data) if facts is None else facts["tables"], facts is not None)
    if facts is None:
        return None, why if equal.there_are else ""
    why = _unfit(program, equal, facts, watch) if equal.there_are else ""
    if why:
        equal = equal.told_apart()
    return (equal if shared or equal.there_are else None), why


def _may_be_row(kind: Type) -> bool:
    return isinstance(kind, IntType) and kind.display != "bool"


def _differ_in(program: Program, values: list[list[int]], i: int, j: int) -> list[int] | None:
    """The places of the arguments by which two threads differ, all by the same; None: they are not alike."""
    (root, _), (other, _) = program.roots[i], program.roots[j]
    if root.number != other.number or program.threads[i].daemon != program.threads[j].daemon:
        return None
    places = [p for p, (a, b) in enumerate(zip(values[i], values[j], strict=True)) if a != b]
    if not all(_may_be_row(root.params[p].type) for p in places):
        return None
    return places if len({values[j][p] - values[i][p] for p in places}) <= 1 else None


def _looked(program: Program, equal: EqualThreads) -> tuple[str, dict[str, Any] | None]:
    """What in the code tells threads apart, if anything does; else what a program has to be like."""

    def look() -> list[Any]:
        try:
            names = equal.names_of(program)
        except TellsApart as why:
            return [str(why), None]
        found, moved = cells(program.layout, names)
        facts = {
            "tables": sorted(names.tables), "named": sorted({table for _, table in names.named}), "zero": sorted(names.zero),
            "least": names.least, "most": names.most, "cells": [[c.at + c.slot.at, c.slot.width] for c in found],
            "moved": [[[at for at, _ in a.places], (a.bits + 7) // 8, a.rows, str(a.field)] for a in moved],
        }  # fmt: skip
        return ["", facts]

    why, facts = program.code.fact(f"what tells threads apart, with rows {sorted(equal.rows.items())}", look)
    return why, facts


def _by_tables(program: Program, equal: EqualThreads, tables: Sequence[str], is_sure: bool) -> tuple[int, ...]:
    """The classes of threads whose rows say the same in some tables. Unless it `is_sure` that rows are looked up there, a short one says nothing."""

    def says(thread: int) -> list[object]:
        span = slice(equal.first[thread], equal.end[thread])
        return [list(program.row(table)[span]) for table in tables if is_sure or len(program.row(table)) > 1]

    said = [says(thread) for thread in range(len(equal.classes))]
    return tuple(
        next(j for j in range(i + 1) if equal.classes[j] == of and said[j] == said[i]) for i, of in enumerate(equal.classes)
    )


def _unfit(program: Program, equal: EqualThreads, facts: dict[str, Any], watch: tuple[int, int] | None) -> str:
    """Why rows or what is watched do not allow it; nothing: they do."""
    spans = [range(first, end) for first, end in zip(equal.first, equal.end, strict=True)]
    moved = facts["moved"]
    for owner, name in facts["zero"]:
        if not _is_zero(program, (owner, name)):
            return f"{name} goes with the numbers of threads, and is not 0"
    if min(equal.first) < facts["least"] or max(equal.end) > facts["most"]:
        return "an integer has no room for the rows of all threads"
    if any(max(equal.end) > len(program.row(table)) for table in facts["tables"]):
        return "a table does not have the rows of all threads"
    if any(rows for _, _, rows, _ in moved):
        if any(set(a) & set(b) for i, a in enumerate(spans) for b in spans[:i]):
            return "two threads have a row together"
        movable = {row for i, of in enumerate(equal.classes) if equal.classes.count(of) > 1 for row in spans[i]}
        for table in facts["named"]:
            if movable & set(program.row(table)):
                return f"the table {table} names a row of one of them"
    for places, size, rows, name in moved:
        inside = {_is_inside(at, size, watch) for at in places}
        if len(inside) > 1 or None in inside:
            return "what is watched of final states is a part of what is moved"
        if rows and max(equal.end) > len(places):
            return f"{name} does not have the rows of all threads"
        if not rows and len(places) <= len(program.threads):
            return f"{name} does not have an element for each thread"
    if any(_is_inside(at, width, watch) is None for at, width in facts["cells"]):
        return "what is watched of final states is a part of what holds the number of a thread"
    return ""


def _is_zero(program: Program, wanted: tuple[str, str]) -> bool:
    """Whether a field is 0 in all records in the initial state."""
    layout = program.layout
    for at, record in layout.records:
        name = next((name for name in layout.machine.fields(record) if field_of(record, name) == wanted), None)
        if name is not None and layout.reader(record, name)(program.initial_shared, at):
            return False
    return True


def _is_inside(at: int, size: int, watch: tuple[int, int] | None) -> bool | None:
    """Whether some bytes are watched; None: a part of them."""
    watched = sum(watch[0] <= k < watch[1] for k in range(at, at + size)) if watch is not None else 0
    return None if 0 < watched < size else watched > 0
