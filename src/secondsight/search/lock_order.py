"""`lock-order`: locks taken in one order here and in another there, over the whole search, as Linux's lockdep looks at it.

Each step that takes a lock while others are held notes an edge from every lock held to the one taken. Locks of one
declaration or field are one class (`Mm.mmap_lock`); between locks of one class the edges are those of the locks
themselves. An edge that closes a cycle is a broken rule: two threads that come along the two ways at once would wait for
each other, even where the search's own threads never do. A `trylock` waits for nothing and so makes no edge, but what is
taken after it does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path

from secondsight.lang.errors import Position
from secondsight.lang.locks import Lock, RwLock
from secondsight.lang.program import Program
from secondsight.lang.types import ArrayType, RecordType
from secondsight.search.steps import steps_of

__all__ = ["LockOrder", "told_lock"]


class LockOrder:
    """The edges seen so far; `counters` are the program counters whose steps may take a lock."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.locks = program.code.keep("locks", self._locks)
        self.counters = frozenset(program.code.fact("taking", self._taking) if len(self.locks) > 1 else ())
        places = [p for owner, readers, _, _ in self.locks for p in (owner, readers) if p is not None]
        self.look: Callable[[bytes], tuple[int, ...]] = operator.itemgetter(*places, 0)
        self.holders = _Holders(places, [readers for _, readers, _, _ in self.locks if readers is not None])
        self.seen: set[tuple[tuple[int, ...], tuple[int, ...], int]] = set()
        self.edges: dict[str, dict[str, Position]] = {}

    def _locks(self) -> list[tuple[int, int | None, str, str]]:
        """Every lock: its owner's and its readers' offsets, its class, its name."""
        layout = self.program.layout
        found: list[tuple[int, int | None, str, str]] = []
        kinds = {offset: kind for offset, kind in layout.records if issubclass(kind, (Lock, RwLock))}
        for offset, kind in sorted(kinds.items()):
            name = layout.name_of(offset, kind)
            readers = offset + layout.offset(kind, "readers") if issubclass(kind, RwLock) else None
            found.append((offset + layout.offset(kind, "owner"), readers, _class_of(name), name))
        return found

    def _taking(self) -> list[int]:
        """The counters of steps that may wait and then take a lock."""
        steps = steps_of(self.program)
        does = [(counter.number, steps.does(counter.block)) for counter in self.program.counters]
        return [number for number, one in does if one.waits and one.takes]

    def note(self, before: bytes, after: bytes, thread: int, counter: int) -> tuple[str, Position] | None:
        """Take a step of a thread that holds a lock into account: what is wrong and where, if it closes a cycle."""
        key = (self.look(before), self.look(after), thread)
        if key in self.seen:
            return None
        self.seen.add(key)
        held = [lock for lock in self.locks if _holds(before, lock, thread)]
        taken = [lock for lock in self.locks if _holds(after, lock, thread) and lock not in held]
        where = self.program.code.places[counter - 1].where
        for lock in taken:
            for other in held:
                a, b = (other[3], lock[3]) if other[2] == lock[2] else (other[2], lock[2])
                way = self._way(b, a)
                if way is not None:
                    places = [self.edges[x][y] for x, y in way]
                    elsewhere = " -> ".join(told_lock(self.program, lock) for lock in (b, *(y for _, y in way)))
                    at = ", ".join(f"{Path(place.file).name}:{place.line}" for place in places)
                    here, there = told_lock(self.program, a), told_lock(self.program, b)
                    return f"takes {there} with {here} held: {here} -> {there} here, {elsewhere} elsewhere ({at})", where
                self.edges.setdefault(a, {}).setdefault(b, where)
        return None

    def _way(self, start: str, goal: str) -> list[tuple[str, str]] | None:
        """A path along the edges, or None."""
        came: dict[str, str] = {start: ""}
        todo = [start]
        for name in todo:
            if name == goal:
                path = []
                while came[name]:
                    path.append((came[name], name))
                    name = came[name]
                return path[::-1]
            for following in self.edges.get(name, {}):
                if following not in came:
                    came[following] = name
                    todo.append(following)
        return None


def _class_of(name: str) -> str:
    """A lock's path without the places in arrays: `devices[2].lock` is of the class `devices[].lock`."""
    out, inside = "", False
    for c in name:
        inside = (inside or c == "[") and c != "]"
        if not inside or c == "[":
            out += c
    return out


def told_lock(program: Program, name: str) -> str:
    """A lock for people, by its path. Of those in each record of an array or a pool it is the record's name that says something: `Mm.mmap_lock`."""
    pool, of_each, field = _class_of(name).partition("[].")
    kinds = {d.name: d.kind for d in program.layout.declarations}
    kind = kinds.get(pool)
    if not of_each or not isinstance(kind, ArrayType) or not isinstance(kind.element, RecordType):
        return name
    number = name[len(pool) :].partition("]")[0][1:] if program.machine.bound(kind.size) > 1 else ""
    return f"{kind.element.record.__name__}{f'[{number}]' if number else ''}.{field}"


def _holds(state: bytes, lock: tuple[int, int | None, str, str], thread: int) -> bool:
    owner, readers, _, _ = lock
    return state[owner] == thread or (readers is not None and bool(state[readers] & 1 << (thread - 1)))


class _Holders(dict[tuple[int, ...], frozenset[int]]):
    """For what lies in the locks' bytes, the threads that hold any; worked out when first asked for."""

    def __init__(self, places: list[int], readers: list[int]) -> None:
        super().__init__()
        self.bits = [p in readers for p in places]

    def __missing__(self, key: tuple[int, ...]) -> frozenset[int]:
        found: set[int] = set()
        for value, bits in zip(key, self.bits, strict=False):
            found |= {i + 1 for i in range(8) if value >> i & 1} if bits else {value} - {0}
        self[key] = frozenset(found)
        return self[key]
