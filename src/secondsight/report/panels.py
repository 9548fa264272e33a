"""A program's state as tables for people, whatever it consists of: its types alone decide how it is shown.

Arrays that one bound sizes lie beside each other, a row for each place: the page tables of CPU and devices, say. An array of
records of numbers that is declared by itself is a table with a column for each field. Locks and sequence numbers, wherever they are, have a table
each: who holds it, and what it is. Everything else is a list of names and values, record by record. What stays as it is in a
new machine through a whole trace is marked `idle`, so that it need not be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from secondsight.lang import Record, RwLock
from secondsight.lang.layout import Layout
from secondsight.lang.locks import Lock
from secondsight.lang.program import Program
from secondsight.lang.standins import Shared
from secondsight.lang.types import ArrayType, IntType, RecordType, RefType, Type, is_sequence
from secondsight.report.words import frame_name, is_harness

__all__ = ["Panel", "Places", "ShownCell", "Words", "panels", "words_of"]

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class ShownCell:
    """A part of the state in words, and whether a state has there what a new machine has."""

    show: Callable[[bytes], str]
    is_new: Callable[[bytes], bool]


@dataclass(slots=True)
class Panel:
    """A table: its title, its columns, and for each row a name and its cells. `ours`: what the checker keeps, not the machine.

    `path` makes of the title, a row and a column the whole name of a cell.
    """

    title: str
    columns: list[str]
    path: str
    rows: list[tuple[str, list[ShownCell | None]]] = field(default_factory=list)
    ours: bool = False

    def name(self, row: str, column: str) -> str:
        """What a cell is called where the table is not at hand."""
        return self.path.format(title=self.title, row=row, column=column)


@dataclass(frozen=True, slots=True)
class _Number:
    """A number of the state: its name, its type, how it is read, what it is in a new machine."""

    name: str
    kind: IntType | RefType
    value: Callable[[bytes], int]
    new: int = 0


class Places:
    """What the records of a program's machine are called: by their paths, without the module where nobody else has the name."""

    def __init__(self, program: Program) -> None:
        names = [declaration.name for declaration in program.layout.declarations]
        last = [name.rpartition(".")[2] for name in names]
        self.titles = {name: short if last.count(short) == 1 else name for name, short in zip(names, last, strict=True)}

    def name(self, path: str) -> str:
        """The record at a path: `P2`, `vmas[0]`, `MyGpu[0].notifier`."""
        declared = next((name for name in self.titles if path == name or path.startswith((f"{name}[", f"{name}."))), "")
        return frame_name(path) or self.titles.get(declared, "") + path[len(declared) :]


def panels(program: Program) -> list[Panel]:
    """The tables of a program's state: those by place first, then sequence numbers, locks, arrays of records, everything else."""
    return _Panels(program).panels


@dataclass(frozen=True, slots=True)
class Words:
    """Some states in words: the name of every cell, what each is at first, and of each state after that what is new, by number."""

    cells: list[str]
    initial: list[str]
    changes: list[list[tuple[int, str]]]


def words_of(program: Program, shown: Sequence[Panel], states: Sequence[bytes]) -> Words:
    """A program's states in the words of its tables; cells are numbered in the tables' order."""
    with program.machine:
        cells = [
            (panel.name(row, column), cell)
            for panel in shown for row, cells in panel.rows for column, cell in zip(panel.columns, cells, strict=True) if cell is not None
        ]  # fmt: skip
        values = [[cell.show(state) for _, cell in cells] for state in states]
    changes = [[(i, new) for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new] for before, after in pairwise(values)]
    return Words([name for name, _ in cells], values[0], changes)


class _Panels:
    """Builds them."""

    def __init__(self, program: Program) -> None:
        self.layout: Layout = program.layout
        self.threads = [thread.name for thread in program.threads]
        pools = set(program.machine.pools.values())
        declarations = sorted(self.layout.declarations, key=lambda d: d in pools)  # drivers last
        self.places = Places(program)
        self.sizes = {d.kind.size for d in declarations if self._is_table(d.kind) and isinstance(d.kind, ArrayType)}
        self.by_place: dict[int | str, list[tuple[str, list[ShownCell]]]] = {}
        self.sequences, self.locks = Panel("sequence numbers", ["value"], "{row}"), Panel("locks", ["value"], "{row}")
        tables: list[Panel] = []
        records: list[Panel] = []
        for declaration in declarations:
            (tables if self._is_table(declaration.kind) else records).extend(self._declared(declaration))
        joined = [self._joined(size, columns) for size, columns in self.by_place.items()]
        made = [*joined, self.sequences, self.locks, *tables, *records]
        self.panels = [panel for panel in made if panel.rows]

    def _is_table(self, kind: Type) -> bool:
        return isinstance(kind, ArrayType) and isinstance(kind.element, RecordType) and self._is_row(kind.element.record)

    def _is_row(self, record: type[Record]) -> bool:
        """Whether it has nothing but numbers and references, and arrays of them: a line of a table has room for it."""
        kinds = self.layout.machine.fields(record).values()
        return not issubclass(record, (Lock, RwLock)) and all(
            isinstance(kind, (IntType, RefType)) or (isinstance(kind, ArrayType) and isinstance(kind.element, (IntType, RefType))) for kind in kinds
        )

    def _declared(self, declaration: Shared) -> Iterator[Panel]:
        kind, at, title = declaration.kind, self.layout.base[declaration], self.places.titles[declaration.name]
        if isinstance(kind, RecordType):
            yield self._record(kind.record, at, title, None)
        elif not isinstance(kind.element, RecordType):
            yield Panel(title, ["value"], "{title}", [("", [self._list(self._elements(kind, at))])])
        else:
            record, stride = kind.element.record, self.layout.size(kind.element)
            places = [(f"{title}[{i}]", at + i * stride, self._used(kind, at, i)) for i in range(self._count(kind))]
            if self._is_table(kind):
                yield self._table(record, title, places, kind.pool)
            else:
                for path, where, used in places:
                    yield self._record(record, where, path, used)

    def _table(self, record: type[Record], title: str, places: list[tuple[str, int, ShownCell | None]], pool: bool) -> Panel:
        fields = self.layout.machine.fields(record)
        panel = Panel(title, [*fields] + ["used"] * pool, "{row}.{column}", ours=is_harness(record))
        for path, at, used in places:
            numbers = {number.name: number for number in self._fields(record, at)}
            cells: list[ShownCell | None] = []
            for name, kind in fields.items():
                inner = self._elements(kind, at + self.layout.offset(record, name)) if isinstance(kind, ArrayType) else []
                cells.append(self._one(numbers[name]) if name in numbers else self._list(inner))
            panel.rows.append((frame_name(path) or path, cells + [used] * pool))
        return panel

    def _record(self, record: type[Record], at: int, path: str, used: ShownCell | None) -> Panel:
        panel = Panel(path, ["value"], "{title}.{row}", ours=is_harness(record))
        self._into(panel, record, at, path, "")
        if used is not None:
            panel.rows.append(("used", [used]))
        return panel

    def _into(self, panel: Panel, record: type[Record], at: int, path: str, within: str) -> None:
        """The rows of a record, and of those that lie in it; what has a table of its own goes there."""
        if issubclass(record, (Lock, RwLock)):
            self.locks.rows.append((path, [self._lock(record, at)]))
            return
        numbers = {number.name: number for number in self._fields(record, at)}
        for name, kind in self.layout.machine.fields(record).items():
            inner = f"{within}{name}"
            if name in numbers:
                rows = self.sequences.rows if is_sequence(kind) and not panel.ours else panel.rows
                rows.append((f"{path}.{name}" if rows is self.sequences.rows else inner, [self._one(numbers[name])]))
            elif isinstance(kind, RecordType):
                self._into(panel, kind.record, at + self.layout.offset(record, name), f"{path}.{name}", f"{inner}.")
            elif isinstance(kind, ArrayType):
                self._array(panel, kind, at + self.layout.offset(record, name), f"{path}.{name}", inner)

    def _array(self, panel: Panel, kind: ArrayType, at: int, path: str, name: str) -> None:
        """An array in a record: beside others of its size, or in the record's own rows."""
        joins = isinstance(kind.size, str) and kind.size not in self.sizes and not panel.ours
        if isinstance(kind.element, RecordType):
            record, stride = kind.element.record, self.layout.size(kind.element)
            places = [at + i * stride for i in range(self._count(kind))]
            if not self._is_row(record):
                for i, where in enumerate(places):
                    self._into(panel, record, where, f"{path}[{i}]", f"{name}[{i}].")
                return
            cells = [self._together(list(self._all_fields(record, where))) for where in places]
        else:
            numbers = self._elements(kind, at)
            if not joins:
                panel.rows.append((name, [self._list(numbers)]))
                return
            cells = [self._one(number, NOTHING) for number in numbers]
        if joins:
            self.by_place.setdefault(kind.size, []).append((path, cells))
        else:
            panel.rows += [(f"{name}[{i}]", [cell]) for i, cell in enumerate(cells)]

    def _joined(self, size: int | str, columns: list[tuple[str, list[ShownCell]]]) -> Panel:
        panel = Panel(str(size), [path for path, _ in columns], "{column}[{row}]")
        for i in range(len(columns[0][1])):
            panel.rows.append((str(i), [cells[i] for _, cells in columns]))
        return panel

    # Numbers, and how they are shown.

    def _count(self, kind: ArrayType) -> int:
        return self.layout.machine.bound(kind.size)

    def _fields(self, record: type[Record], at: int) -> Iterator[_Number]:
        for name, kind in self.layout.machine.fields(record).items():
            if isinstance(kind, (IntType, RefType)):
                reader = self.layout.reader(record, name)
                new = record.default(name) if isinstance(kind, IntType) else 0
                yield _Number(name, kind, lambda state, reader=reader: reader(state, at), new)  # type: ignore[misc]

    def _all_fields(self, record: type[Record], at: int) -> Iterator[_Number]:
        """Its numbers, and those of its arrays; one that is alone in its array has the array's name."""
        numbers = {number.name: number for number in self._fields(record, at)}
        for name, kind in self.layout.machine.fields(record).items():
            if name in numbers:
                yield numbers[name]
            elif isinstance(kind, ArrayType):
                inner = self._elements(kind, at + self.layout.offset(record, name))
                yield from (replace(number, name=name if len(inner) == 1 else f"{name}[{i}]") for i, number in enumerate(inner))

    def _elements(self, kind: ArrayType, at: int) -> list[_Number]:
        element = kind.element
        assert isinstance(element, (IntType, RefType))
        new = element.zero if isinstance(element, IntType) else 0
        slots = [self.layout.first(kind).element(i) for i in range(self._count(kind))]
        return [_Number("", element, lambda state, slot=slot: slot.value(state, at), new) for slot in slots]  # type: ignore[misc]

    def words(self, number: _Number, state: bytes) -> str:
        """A number in the words of its type; a reference by what it leads to."""
        value = number.value(state)
        if isinstance(number.kind, IntType):
            return number.kind.show(value)
        return self.reference(value)

    def reference(self, value: int) -> str:
        """What a reference leads to."""
        return self.places.name(self.layout.name_of(value)) if value else NOTHING

    def _one(self, number: _Number, nothing: str | None = None) -> ShownCell:
        """`nothing`: what a new machine's value is shown as."""

        def show(state: bytes) -> str:
            return nothing if nothing is not None and number.value(state) == number.new else self.words(number, state)

        return ShownCell(show, lambda state: number.value(state) == number.new)

    def _together(self, numbers: Sequence[_Number]) -> ShownCell:
        """A record in one cell: references as they are, flags by their names, of other numbers what is not as in a new one."""

        def show(state: bytes) -> str:
            words = []
            for number in numbers:
                value = number.value(state)
                if value == number.new:
                    continue
                if isinstance(number.kind, RefType):
                    words.append(self.reference(value))
                elif number.kind.display == "bool":
                    words.append(number.name if value else f"not {number.name}")
                else:
                    words.append(f"{number.name} {number.kind.show(value)}")
            return ", ".join(words) or NOTHING

        return ShownCell(show, lambda state: all(number.value(state) == number.new for number in numbers))

    def _list(self, numbers: Sequence[_Number]) -> ShownCell:
        """An array of numbers in one cell, up to its last that is not as in a new one."""

        def show(state: bytes) -> str:
            values = [number.value(state) for number in numbers]
            last = max((i for i, (n, v) in enumerate(zip(numbers, values, strict=True)) if v != n.new), default=-1)
            return f"[{', '.join(self.words(number, state) for number in numbers[: last + 1])}]"

        return ShownCell(show, lambda state: all(number.value(state) == number.new for number in numbers))

    def _lock(self, record: type[Record], at: int) -> ShownCell:
        """Who holds a lock, in what way, and who waits in its queue."""
        numbers = list(self._fields(record, at))

        def show(state: bytes) -> str:
            values = {number.name: number.value(state) for number in numbers}
            words = [f"held by {self._thread(values['owner'])}"] if values["owner"] else []
            for name, by in (("readers", "read by"), ("waiting", "waited for by")):
                if who := [self._thread(n + 1) for n in range(8) if values.get(name, 0) >> n & 1]:
                    words.append(f"{by} {', '.join(who)}")
            return "; ".join(words) or "free"

        return ShownCell(show, lambda state: all(number.value(state) == number.new for number in numbers))

    def _thread(self, number: int) -> str:
        return self.threads[number - 1] if number <= len(self.threads) else f"thread {number}"

    def _used(self, kind: ArrayType, at: int, i: int) -> ShownCell | None:
        """Of a record of a pool: whether it is used. That is worth a word where it was freed."""
        if not kind.pool:
            return None
        place = self.layout.used_base(at, kind) + i
        return ShownCell(lambda state: ("no", "yes", "freed")[state[place]], lambda state: state[place] < 2)
