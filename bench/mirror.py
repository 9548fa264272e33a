"""The mirror protocol, the yardstick of the executors, in the protocol language.

N pages, D devices, C CPU threads, N + 1 frames, K operations a CPU thread, L a device. A CPU operation picks a page and,
under the mmap lock, maps a free frame there or, if one is mapped, invalidates: the sequence becomes odd, each device's
entry is dropped under its lock, the CPU's entry cleared, the frame freed, the sequence made even. A device operation
picks a page, waits for an even sequence, reads or faults the CPU's entry, installs it under its lock unless the sequence
moved, and then uses it: the frame must be in use and mapped there, or be under invalidation. The grain is that of the
Promela, Murphi and TLA+ forms: 21 steps.
"""

from __future__ import annotations

from typing import Annotated, Literal

from secondsight.lang import (
    U8,
    Array,
    Bounds,
    Machine,
    Mutex,
    Record,
    Ref,
    RwLock,
    atomic,
    choose,
    require,
    shared,
    shared_array,
    wait_until,
)
from secondsight.lang.program import Program, Thread, build

__all__ = ["CONFIGURATIONS", "mirror"]

Page = Annotated[int, Bounds(0, 7)]
Invalid = Annotated[int, Bounds(0, 8)]

CONFIGURATIONS = {
    "A": (2, 1, 2, 2, 2, 328_225, 761_924),
    "B": (2, 2, 2, 2, 1, 5_733_426, 16_772_256),
    "F": (3, 1, 2, 3, 3, 45_315_809, 115_574_028),
    "E": (2, 2, 2, 2, 2, 55_770_177, 165_914_476),
}
"""N, D, C, K, L and the numbers of states and transitions that every executor must find without reductions."""


class Frame(Record):
    interchangeable = True
    used: bool


class Device(Record):
    lock: Mutex
    entries: Array[Ref[Frame], Literal["pages"]]


class Mm(Record):
    mmap_lock: RwLock
    sequence: U8
    invalid: Invalid
    """The page under invalidation plus one, 0 if none is."""
    entries: Array[Ref[Frame], Literal["pages"]]


mm = shared(Mm)
frames = shared_array(Frame, "frames")
devices = shared_array(Device, "devices")


def cpu(operations: U8) -> None:
    """Maps and unmaps pages."""
    for _ in range(operations):
        page = choose(len(mm.entries))
        with atomic:  # which waits outside of the lock's queue: the lock of the other forms has none
            mm.mmap_lock.write_lock()
        mapped = False
        with atomic:
            if mm.entries[page] is None:
                frame = choose(f for f in frames if not f.used)
                frame.used = True
                mm.entries[page] = frame
            else:
                mapped = True
                mm.sequence += 1
                mm.invalid = page + 1
        if mapped:
            for device in devices:
                with device.lock:
                    device.entries[page] = None
            with atomic:
                old = mm.entries[page]
                mm.entries[page] = None
            with atomic:
                assert old is not None
                old.used = False
            with atomic:
                mm.sequence += 1
                mm.invalid = 0
        mm.mmap_lock.write_unlock()
        require(page < len(mm.entries), "yardstick", "the other forms keep the page until the lock is released: so does this use")


def device(me: U8, operations: U8) -> None:
    """Mirrors the pages it picks, and uses them."""
    for _ in range(operations):
        page = choose(len(mm.entries))
        while True:
            with atomic:
                wait_until(mm.sequence & 1 == 0)
                sequence = mm.sequence
            with mm.mmap_lock.reading():
                with atomic:
                    if mm.entries[page] is None:
                        fresh = choose(f for f in frames if not f.used)
                        fresh.used = True
                        mm.entries[page] = fresh
                    frame = mm.entries[page]
            with devices[me].lock:
                if mm.sequence != sequence:
                    continue
                devices[me].entries[page] = frame
            with atomic:
                entry = devices[me].entries[page]
                if entry is not None:
                    require(entry.used, "use-after-free", "the device used a frame that was freed")
                    require(mm.entries[page] is entry or mm.invalid == page + 1, "as-if-cpu", "the device used a stale frame")
            break


def device_without_test(me: U8, operations: U8) -> None:
    """The mutant: as `device`, but it installs what it read whether the sequence moved or not."""
    for _ in range(operations):
        page = choose(len(mm.entries))
        wait_until(mm.sequence & 1 == 0)
        with mm.mmap_lock.reading():
            with atomic:
                if mm.entries[page] is None:
                    fresh = choose(f for f in frames if not f.used)
                    fresh.used = True
                    mm.entries[page] = fresh
                frame = mm.entries[page]
        with devices[me].lock:
            devices[me].entries[page] = frame
        with atomic:
            entry = devices[me].entries[page]
            if entry is not None:
                require(entry.used, "use-after-free", "the device used a frame that was freed")
                require(mm.entries[page] is entry or mm.invalid == page + 1, "as-if-cpu", "the device used a stale frame")


def mirror(pages: int, device_count: int, cpus: int, operations: int, device_operations: int, retry_test: bool = True) -> Program:
    """The protocol at one size; without `retry_test` the mutant."""
    mirrors = device if retry_test else device_without_test
    machine = Machine({"pages": pages, "devices": device_count, "frames": pages + 1})
    threads = [Thread(f"cpu{i}", cpu, (operations,)) for i in range(cpus)]
    threads += [Thread(f"dev{i}", mirrors, (i, device_operations)) for i in range(device_count)]
    return build(machine, threads)
