"""Settled states and coarse steps: a scenario's program under holds, on the reference executor.

A state is *settled* when every thread of the scenario is held at a hold point, blocked, or has ended. `ForcedModel.start`
gives the settled states in which a run begins, `release` those in which one coarse step can end: every interleaving of the
threads that run is tried, the released one and those that it wakes.

Not held: what runs after the threads (`final`), and a thread of the process once the process exits. An exit ends the others
where they are: an operation that was under way has its effects, and nobody hears its result.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from secondsight.devices.device import Device, DeviceEntry, DevicePageTable
from secondsight.devices.mirror import Mirror, MirrorDereferencesLater
from secondsight.lang.errors import LangError, NoneFollowed, Position, RuleBroken
from secondsight.lang.program import Counter
from secondsight.lang.reference import Reference
from secondsight.lang.slots import Slot
from secondsight.lang.standins import unwrap
from secondsight.lang.types import RecordType
from secondsight.linux import BOUNDS
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import Mm, Pte
from secondsight.linux.page_alloc import frames
from secondsight.linux.releases import differs
from secondsight.scenario.data import Scenario, collect
from secondsight.scenario.holds import USUAL
from secondsight.scenario.ops import HandleType
from secondsight.scenario.schedule import BLOCKED, ENDED, LATE, Forced
from secondsight.world import tables
from secondsight.world.declare import on_model
from secondsight.world.encoder import Encoder
from secondsight.world.model import program, value_in, value_of, watched

__all__ = ["MOST", "MOST_AT_THE_END", "Broken", "Coarse", "ForcedModel", "Node", "TooManyInterleavings"]

Node = tuple[bytes, tuple[int, ...]]
"""A state, and what was noted on the way: for each operation the retries, then what its late use found, then whether an exit
cut it off."""

MOST, MOST_AT_THE_END = 20_000, 400_000
"""States within one coarse step of many that are tried, and within the last one of a run, which nothing else can answer for."""


class TooManyInterleavings(LangError):
    """One coarse step has too many interleavings to look at them all: too many threads run at once."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that is broken within a coarse step: by which thread, and where."""

    rule: str
    message: str
    thread: str
    where: Position | None


@dataclass(frozen=True, slots=True)
class Coarse:
    """How one coarse step can end: settled states, and rules that are broken on the way."""

    settled: tuple[Node, ...]
    broken: tuple[Broken, ...]


class ForcedModel:
    """A scenario under holds; see the module. `driver`, `rules`, `wanted`, `release` as in `model.program`; `points`: where
    threads are held.

    `quarantine`: freed frames are not used again, as on a real kernel whose device keeps references to what it uses.
    """

    def __init__(
        self,
        scenario: Scenario,
        driver: type[Device] | None = None,
        rules: Iterable[Callable[..., Any]] = (),
        wanted: dict[str, int] | None = None,
        points: Iterable[str] = USUAL,
        quarantine: bool = True,
        release: str | None = None,
    ) -> None:
        self.scenario, self.points = scenario, frozenset(points)
        self.driver = (driver or Mirror) if scenario.has_device else None
        most = {name: BOUNDS[name].most for name in ("frames", "quarantine")} if quarantine else {}
        most |= {"vma_locks": int(not differs("a-fault-locks-its-vma", release))}
        self.encoder = Encoder(scenario, release)
        takes = {name for place in scenario.places() for name in on_model(place.op).at_least(place.op.args)}
        if "migrations" in takes:
            most |= {"migration_passes": 2 if differs("a-migration-unmaps-once-a-stage", release) else 1}
        if "swap_slots" in takes and not self.encoder.is_huge:  # nobody builds it anew with more; huge pages have enough
            most |= {"swap_slots": BOUNDS["swap_slots"].most}
        most |= {"madvise_locks_vma": int(release is not None and not differs("madvise-locks-its-vma", release))}
        self.program = program(scenario, driver, rules, most | (wanted or {}), holds=True, release=release)
        self.reference = Reference(self.program)
        self.places = self.encoder.places
        self.rows = len(self.places)
        self.names = [thread.name for thread in scenario.threads]
        self.own = [thread.is_own() for thread in scenario.threads]
        self.process = [self.encoder.processes.index(thread.process) for thread in scenario.threads]
        sections = [p.section for p in self.places]
        self.first = [sections.index(name) if name in sections else self.rows for name in self.names]
        self._find()

    def _find(self) -> None:
        """Where things lie in a state."""
        program, layout, machine = self.program, self.program.layout, self.program.machine
        self.holds: list[str | None] = [None, *(c.hold if c.hold in self.points else None for c in program.counters)]
        self.begun = [False, *(c.hold == "read_begun" for c in program.counters)]
        self.rooted = [True, *(c.frame.is_root for c in program.counters)]
        self.row_at: list[tuple[int, Slot | None]] = []  # None: of the end of a process that is killed
        rooms = list(program.frames.values())
        for base, (root, _) in zip(program.bases, program.roots, strict=True):
            slots = rooms[root.number].slots
            self.row_at.append((base, next((slot for v, slot in slots.items() if v.name == "i"), None)))
        with machine:
            processes = [tables.process, *tables.other_processes]
            spaces = [mms[number] for number in range(len(processes))]
            process_at, mm_at = ([layout.addresses[id(unwrap(one))] for one in some] for some in (processes, spaces))
            self.frames_at = [layout.addresses[id(frame)] for frame in frames]
            self.tables_at = self._device_tables()
        exiting = layout.reader(tables.ProcessState, "exiting")
        self.exiting = [functools.partial(_read, exiting, at) for at in process_at]
        self.ptes_at = [at + layout.offset(Mm, "ptes") for at in mm_at]
        self.pte_size, self.pte_frame = layout.size(RecordType(Pte)), layout.reader(Pte, "frame")
        self.results_at = watched(program)
        self.late_at = {c.number: late for c in program.counters if (late := _late_use(c)) is not None}

    def _device_tables(self) -> list[tuple[int, int]]:
        """Where the page table of each device lies, and the number of its process."""
        layout, encoder, driver = self.program.layout, self.encoder, self.driver
        found = []
        for number, row in enumerate(row for row, p in enumerate(self.places) if p.op.declared.makes is HandleType.DEVICE):
            assert driver is not None
            table = layout.addresses[id(unwrap(self.program.machine.pool(driver)[number]))] + layout.offset(driver, "page_table")
            found.append((table + layout.offset(DevicePageTable, "entries"), encoder.rows["process"][row]))
        return found

    @property
    def marked(self) -> frozenset[str]:
        """The hold points that the program has, armed or not."""
        return frozenset(c.hold for c in self.program.counters if c.hold is not None)

    # Where a state stands.

    def place(self, state: bytes, thread: int) -> str:
        """Where a thread stands in a settled state: a hold point's name, `op:N`, `blocked` or `ended`."""
        counter = self.reference.counter(state, thread)
        if not counter:
            return ENDED
        name = self._held(state, thread, counter)
        if name is None:
            return BLOCKED
        return f"op:{self._row(state, thread) - self.first[thread]}" if name == "op" else name

    def places_of(self, node: Node) -> dict[str, str]:
        """Where every thread of the scenario stands, by name."""
        return {name: self.place(node[0], thread) for thread, name in enumerate(self.names)}

    def held(self, node: Node) -> list[str]:
        """The threads that can be released, in the scenario's order."""
        state = node[0]
        return [n for i, n in enumerate(self.names) if self._held(state, i, self.reference.counter(state, i)) is not None]

    def ended(self, node: Node) -> bool:
        """Whether every thread has ended."""
        return self.reference.finished(node[0])

    def _held(self, state: bytes, thread: int, counter: int) -> str | None:
        """The hold point that a thread is held at."""
        if thread >= len(self.names) or (self.own[thread] and self.exiting[self.process[thread]](state)):
            return None
        return self.holds[counter]

    def _row(self, state: bytes, thread: int) -> int:
        """The number of the operation that a thread is at, in the order of `scenario.places()`."""
        base, slot = self.row_at[thread]
        assert slot is not None
        return slot.value(state, base)

    # Coarse steps.

    def start(self) -> Coarse:
        """The settled states in which a run begins: every thread has run to its first place."""
        return self._settle([(self.reference.initial, (0,) * (3 * self.rows))], None)

    def release(self, node: Node, thread: str) -> Coarse:
        """How the coarse step that releases a held thread can end. Raises `TooManyInterleavings`, or `ModelError` as a
        search does (a bound that is too small)."""
        index = self.names.index(thread)
        if self._held(node[0], index, self.reference.counter(node[0], index)) is None:
            raise ValueError(f"{thread} is not held")
        return self._settle([node], index)

    def free(self, node: Node, most: int = MOST) -> Coarse:
        """All the ways to the end if nobody is held any more. Raises `TooManyInterleavings` beyond `most` states."""
        kept, self.holds = self.holds, [None] * len(self.holds)
        try:
            return self._settle([node], None, most)
        finally:
            self.holds = kept

    def _settle(self, todo: list[Node], released: int | None, most: int = MOST) -> Coarse:
        """Every settled state that can be reached while nobody who is held goes on, `released` but for its first step."""
        seen = set(todo if released is None else ())
        settled: dict[Node, None] = {}
        broken: dict[tuple[str, str], Broken] = {}
        counter, successors, count = self.reference.counter, self.reference.thread_successors, len(self.reference.threads)
        first = released
        while todo:
            node = todo.pop()
            state = node[0]
            moved = False
            for thread in range(count) if first is None else (first,):
                number = counter(state, thread)
                if not number or (first is None and self._held(state, thread, number) is not None):
                    continue
                for way in successors(state, thread):
                    moved = True
                    if way.state is None:
                        found = self._broken(way.error, thread)
                        broken.setdefault((found.rule, found.message), found)
                        continue
                    after = (way.state, self._counted(node, thread, number, way.state))
                    if after not in seen:
                        seen.add(after)
                        todo.append(after)
            first = None
            if not moved:
                settled[node] = None
                self._stuck(node, broken)
            if len(seen) > most:
                raise TooManyInterleavings(f"{self.scenario.name}: more than {most:,} states within one coarse step")
        return Coarse(tuple(settled), tuple(broken.values()))

    def _counted(self, node: Node, thread: int, number: int, after: bytes) -> tuple[int, ...]:
        """What is counted, after a step of a thread from the boundary `number`."""
        state, counts = node
        rows = self.rows
        if self.begun[self.reference.counter(after, thread)]:
            row = self._row(after, thread)
            counts = _with(counts, row, counts[row] + 1)
        late = self.late_at.get(number)
        if late is not None:
            row, found = rows + self._row(state, thread), self._found_late(state, thread, late)
            if LATE[found] != "same" or not counts[row]:
                counts = _with(counts, row, found)
        exits = [exiting(after) and not exiting(state) for exiting in self.exiting]
        if any(exits):
            for other in range(len(self.names)):
                at = self.reference.counter(after, other)
                if other != thread and exits[self.process[other]] and self.own[other] and at and not self.rooted[at]:
                    counts = _with(counts, 2 * rows + self._row(after, other), 1)
        return counts

    def _found_late(self, state: bytes, thread: int, late: Slot) -> int:
        """What a late use finds, as a place in `LATE`: whether the frame is still the CPU's at the operation's address."""
        row = self._row(state, thread)
        va, ptes = self.encoder.rows["address"][row], self.ptes_at[self.encoder.rows["process"][row]]
        pfn = late.value(state, self.program.bases[thread])
        entry = self.pte_frame(state, ptes + va * self.pte_size)
        return LATE.index("same" if entry == self.frames_at[pfn] else "other" if entry else "none")

    def _broken(self, error: LangError | None, thread: int) -> Broken:
        """A step's error as a broken rule; what is wrong with the model itself is raised."""
        assert error is not None
        name = self.program.threads[thread].name
        if isinstance(error, RuleBroken):
            return Broken(error.rule, error.message, name, error.where)
        if isinstance(error, NoneFollowed):
            return Broken(error.rule, str(error), name, error.where)
        raise error

    def _stuck(self, node: Node, broken: dict[tuple[str, str], Broken]) -> None:
        """A settled state from which nobody can be released although somebody has not ended is a deadlock."""
        if self.ended(node) or self.held(node):
            return
        waiting = [t.name for i, t in enumerate(self.program.threads) if self.reference.counter(node[0], i)]
        broken.setdefault(("deadlock", ""), Broken("deadlock", f"{' and '.join(waiting)} wait for ever", waiting[0], None))

    # What a run leaves behind.

    def left(self, node: Node) -> Forced:
        """What a run that ended so leaves behind."""
        state, counts = node
        rows = self.rows
        values = [self._value(state, row) for row in range(rows)]
        gone = counts[2 * rows :]
        words = [None if cut else value_of(p.op, v) for p, v, cut in zip(self.places, values, gone, strict=True)]
        late = tuple(LATE[n] for n in counts[rows : 2 * rows])
        return Forced(collect(self.scenario, words), counts[:rows], self._probe(state), late)

    def _value(self, state: bytes, row: int) -> int:
        """The result of an operation, by its row."""
        return value_in(state[slice(*self.results_at)], row)

    def _probe(self, state: bytes) -> tuple[str, ...]:
        """Each device's table beside its process's. A device that was closed has none."""
        return tuple(word for number, (table, process) in enumerate(self.tables_at) for word in self._table(state, number, table, process))

    def _table(self, state: bytes, number: int, table: int, process: int) -> list[str]:
        """One device's table."""
        pages = [page for low, high in self.encoder.spaces[process].windows for page in range(low, high)]
        closes = [row for row, p in enumerate(self.places) if p.op.kind == "device_close" and self.encoder.rows["device"][row] == number]
        if any(self._value(state, row) == 0 for row in closes):
            return ["none"] * len(pages)
        layout = self.program.layout
        size, writable = layout.size(RecordType(DeviceEntry)), layout.reader(DeviceEntry, "writable")
        found = []
        for va in pages:
            frame = layout.reader(DeviceEntry, "frame")(state, table + va * size)
            cpu = self.pte_frame(state, self.ptes_at[process] + va * self.pte_size)
            word = "none" if not frame else "same" if frame == cpu else "other"
            found.append(word + ("+w" if frame and writable(state, table + va * size) else ""))
        return found


def _read(read: Callable[[bytes, int], int], at: int, state: bytes) -> int:
    return read(state, at)


def _with(counts: tuple[int, ...], at: int, number: int) -> tuple[int, ...]:
    """The same with another number at a place."""
    return (*counts[:at], number, *counts[at + 1 :])


def _late_use(counter: Counter) -> Slot | None:
    """Where `pfn` lies in the thread's region, where a driver goes on to use a frame that nothing holds."""
    receiver = counter.function.receiver
    if counter.hold != "unlocked" or receiver is None or not issubclass(receiver, MirrorDereferencesLater):
        return None
    return next(slot for var, slot in counter.frame.slots.items() if var.name == "pfn")
