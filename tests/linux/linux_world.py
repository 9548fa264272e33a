"""What the tests of the machinery share: a machine to act on by hand, a mirroring driver, rules, and a search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from secondsight.lang import U8, Array, Machine, Mutex, Record, Ref, atomic, require, rule
from secondsight.lang.program import Thread, build
from secondsight.lang.reference import Reference
from secondsight.linux import EBUSY, bounds, hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.device import device_access, device_read, invalidation_waits
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.mm_types import Driver, Folio, Mm, Range, Result, Seq, Va
from secondsight.linux.page_alloc import frame_touch, frames, mem_init, page_folio, zone
from secondsight.search.bfs import breadth_first
from secondsight.search.result import Result as Found
from secondsight.search.result import Verdict

A, B, C = (ord(c) for c in "abc")


class Entry(Record):
    """What the device's own page table has for one page."""

    frame: Ref[Folio]


class Mirror(Driver):
    """The right driver: the pattern of Documentation/mm/hmm.rst. `calls` counts its callbacks."""

    lock: Mutex
    table: Array[Entry, Literal["pages"]]
    calls: U8

    def map_page(self, va: Va, write: bool) -> Result:
        """Make the device able to use `va`: 0 or a negative errno."""
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.table[va].frame = frames[pfn]
                return 0

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        """Forget `rng`; without sleeping if that is asked for."""
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        with atomic:
            mn.mmu_interval_set_seq(self.notifier, seq)
            self.calls += 1
            forget(self, rng)
        self.lock.unlock()
        return True


@atomic
def forget(mirror: Mirror, rng: Range) -> None:
    """Drop the entries of `rng`."""
    for va in range(rng.start, rng.end):
        mirror.table[va].frame = None


@atomic
def load(mirror: Mirror, va: Va) -> Result:
    """The device reads `va` by its own table: -1 if that has nothing."""
    frame = mirror.table[va].frame
    if frame is None:
        return -1
    return device_read(mirror, va, frame)


def device_main(mirror: Mirror, va: Va, times: int) -> None:
    """A device that reads `va`, mapping it when it has to, until it has read `times` times or cannot."""
    done = 0
    while done < times:
        if load(mirror, va) != -1:
            done += 1
        elif mirror.map_page(va, False) != 0:
            return


@rule("as-if-cpu", on=device_access)
def as_if_cpu(device: Driver, va: Va, frame: Folio, write: bool) -> None:
    """The device uses what the CPU would, unless it has not been told yet."""
    mm = device.notifier.mm
    assert mm is not None
    require(mm.ptes[va].frame is frame or invalidation_waits(device, va), "as-if-cpu", "stale access")


@rule("no-use-after-free", on=frame_touch)
def no_use_after_free(frame: Folio, write: bool) -> None:
    """Nobody touches a frame that is free."""
    require(page_folio(frame).refcount > 0, "no-use-after-free", "touches a free frame")


RULES = [as_if_cpu, no_use_after_free]


@contextmanager
def world(pools: dict[type[Record], int] | None = None, **wanted: int) -> Iterator[tuple[Machine, Mm]]:
    """A machine with one process, to act on by hand."""
    with Machine(bounds=bounds(**wanted), pools=pools or {}) as machine:
        mem_init()
        proc_caches_init()
        yield machine, mm_alloc()


def mirror_of(machine: Machine, mm: Mm, kind: type[Any] = Mirror) -> Any:
    """A mirror of the whole of `mm`."""
    mirror = machine.pool(kind).alloc()
    assert mn.mmu_interval_notifier_insert(mirror.notifier, mm, 0, len(mm.ptes)) == 0
    return mirror


def search(machine: Machine, *threads: tuple[Callable[..., Any], tuple[Any, ...]], rules: Iterable[Any] = RULES) -> Found:
    """Every interleaving of `threads`."""
    named = [Thread(f"t{i}", function, arguments) for i, (function, arguments) in enumerate(threads)]
    found = breadth_first(Reference(build(machine, named, rules=list(rules))))
    assert found.error is None, found.error
    return found


def broken_rule(machine: Machine, *threads: Thread, rules: Iterable[Any] = ()) -> str | None:
    """The rule that some interleaving breaks, whose trace is replayed; None: none does."""
    program = build(machine, list(threads), rules=list(rules))
    found = breadth_first(Reference(program))
    assert found.error is None and found.verdict is not Verdict.NOT_FINISHED, found.error
    if found.violation is None:
        return None
    trace = found.violation.trace
    assert len(trace.replay(program)) == len(trace.schedule)
    return found.violation.rule


def free_frames() -> int:
    """How many frames are free."""
    return zone.nr_free
