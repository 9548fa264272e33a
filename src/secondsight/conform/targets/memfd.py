"""mm/memfd.c beside `linux.memfd`: see c/memfd.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Annotated, ClassVar, Literal

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.memfd_mutants import EQUIVALENT, EQUIVALENT_MODEL
from secondsight.lang import Array, Bounds, Machine, Record, atomic, const, shared
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.gup import try_grab_folio, unpin_folio
from secondsight.linux.memfd import memfd_add_seals, memfd_create
from secondsight.linux.memory import insert_page
from secondsight.linux.memory_zap import tlb_finish_mmu, zap_pte_range
from secondsight.linux.mm_flags import MAP_SEALS_LATE, VM_SEALED
from secondsight.linux.mm_types import Mm, Va
from secondsight.linux.mmap import link_new_vma
from secondsight.linux.page_alloc import mem_init
from secondsight.linux.shmem import (
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    ShmemFile,
    shmem_get_folio,
)

__all__ = ["MemfdFile"]

PAGES, THREADS = 3, 4


class Op(IntEnum):
    """What a thread does; the numbers are those of c/memfd.c."""

    SEAL = 0
    PIN = 1
    UNPIN = 2
    MAP = 3
    UNMAP = 4
    MAP_WRITABLE = 5
    UNMAP_WRITABLE = 6


Number = Annotated[int, Bounds(0, 100)]
Value = Annotated[int, Bounds(-200, 200)]

operation = const("conform.operation", Op)
first = const("conform.first", Number)


class Results(Record):
    """What each thread's last operation returned."""

    of: Array[Value, Literal[4]]


class World(Record):
    """`seals_late`: see `linux.releases` (future-write-seal-is-asked-late)."""

    seals_late: bool


results = shared(Results)
world = shared(World)


@atomic
def pages_do(mm: Mm, file: ShmemFile, op: Op, at: Va) -> Value:
    """What others do with a page of the file, which is mapped at that page of the mm; 1: it has no meaning now."""
    folio = file.pages[at]
    vma = mm.mm_mt[at]
    assert vma is not None
    pte = mm.ptes[at]
    if op == Op.PIN:
        if folio is None:
            return 1
        try_grab_folio(folio)
    elif op == Op.UNPIN:
        if folio is None:
            return 1
        if folio.pins == 0:
            return 1
        unpin_folio(folio)
    elif op == Op.MAP:
        if folio is None or pte.frame is not None:
            return 1
        insert_page(mm, at, folio)
    elif op == Op.UNMAP:
        if pte.frame is None:
            return 1
        gather = zap_pte_range(mm, at, at + 1)
        tlb_finish_mmu(gather)
    elif op == Op.MAP_WRITABLE:
        if vma.write:
            return 1
        ret = file.map_writable(MAP_SEALS_LATE if world.seals_late else 0)
        if ret != 0:
            return ret
        vma.write = True
        vma.flags[0] = 0
        file.unmap_writable()
    else:
        if not vma.write:
            return 1
        vma.write = False
        vma.flags[0] = VM_SEALED
    return 0


def script(mm: Mm, file: ShmemFile, thread: Number, at: Number, end: Number) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    while at < end:
        op = operation[at]
        ret: Value = 0
        if op == Op.SEAL:
            ret = memfd_add_seals(file, first[at])
        else:
            ret = pages_do(mm, file, op, first[at])
        results.of[thread] = ret
        at += 1


class MemfdFile(Target):
    """mm/memfd.c."""

    file = "mm/memfd.c"
    model = "memfd.py"
    c = "memfd.c"
    linked = ("lib/xarray.c",)
    functions = (
        "memfd_add_seals", "memfd_wait_for_pins", "memfd_tag_pins", "memfd_folio_has_extra_refs", "memfd_check_seals_mmap",
        "memfd_get_seals", "memfd_fcntl",
    )  # fmt: skip
    boundaries = (
        Crossing("script", "results.of[thread] = ret", Stop("result")),
        Crossing("script", "ret = pages_do(", Stop("page")),
        Crossing("memfd_add_seals", "file.i_rwsem.write_lock()", Stop("down_write")),
        Crossing("memfd_add_seals", "with atomic: ret = memfd_seals_problem(", Stop("written")),
        Crossing("memfd_wait_for_pins", "with atomic: pinned = memfd_tag_pins(", Stop("spin_lock", "memfd_tag_pins")),
        Crossing("memfd_wait_for_pins", "with atomic: pinned = memfd_scan_pins(", Stop("pins", "memfd_wait_for_pins")),
        Crossing("memfd_add_seals", "file.i_rwsem.write_unlock()", Stop("up_write")),
    )
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("spin_lock", "memfd_wait_for_pins"): "the lock of the page cache's tree, taken for one look: before it the thread only woke up",
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    differences = (
        StateDifference(
            "memfd_create()",
            "copies a name from user memory and installs a file descriptor; the model's file is there at once, with its size and seals",
            "neither",
        ),
        StateDifference("F_SEAL_EXEC", "not in the model: it concerns the mode of the file, and implies the other seals where that is executable", "neither"),
        StateDifference(
            "a fatal signal while memfd_wait_for_pins() sleeps",
            "the kernel then looks once more and no further. In the model the looks may follow each other at once, with the same end",
            "neither",
        ),
        StateDifference("huge pages, hugetlb memfds", "not in the model", "may hide"),
    )

    equivalent: ClassVar[Mapping[str, str]] = EQUIVALENT
    equivalent_model: ClassVar[Mapping[str, str]] = EQUIVALENT_MODEL

    def definitions(self, release: str) -> tuple[str, ...]:
        return ("SS_WRITTEN_IS_A_PLACE",)

    def draw(self, source: random.Random, release: str) -> Configuration:
        setup = [int(release == "6.1"), source.choice([0, 0, 0, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_WRITE, F_SEAL_SEAL])]
        for _ in range(PAGES):
            present = source.random() < 0.8
            setup += [int(present), source.choice([0, 0, 1, 2]), int(source.random() < 0.4), int(source.random() < 0.15)]
            if not present:
                setup[-3:] = 0, 0, 0
            if setup[1] & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE):
                setup[-1] = 0
        threads = []
        for _ in range(source.randint(2, THREADS)):
            operations = []
            for _ in range(source.randint(1, 6)):
                if source.random() < 0.35:
                    operations.append(task(Op.SEAL, source.choice(SEALS)))
                else:
                    kind = source.choice([Op.PIN, Op.UNPIN, Op.UNPIN, Op.MAP, Op.UNMAP, Op.MAP_WRITABLE, Op.UNMAP_WRITABLE])
                    operations.append(task(kind, source.randrange(PAGES)))
            threads.append(tuple(operations))
        return Configuration(tuple(setup), tuple(threads))

    def bounded(self, release: str) -> Iterator[Configuration]:
        late = int(release == "6.1")
        free, pinned, twice, mapped, writable, hole = (1, 0, 0, 0), (1, 1, 0, 0), (1, 2, 0, 0), (1, 1, 1, 0), (1, 0, 1, 1), (0, 0, 0, 0)
        write, sealed, future = task(Op.SEAL, F_SEAL_WRITE), task(Op.SEAL, F_SEAL_SEAL | F_SEAL_WRITE), task(Op.SEAL, F_SEAL_FUTURE_WRITE)

        def pages(op: Op, *at: int) -> tuple[TargetOperation, ...]:
            return tuple(task(op, i) for i in at)

        yield Configuration((late, 0, *pinned, *pinned, *free), ((write,), pages(Op.UNPIN, 0, 1), pages(Op.PIN, 0, 2)))
        yield Configuration((late, 0, *pinned, *hole, *mapped), ((write,), (sealed,), pages(Op.UNPIN, 0, 2)))
        yield Configuration((late, 0, *twice, *pinned, *pinned), ((write, write), (*pages(Op.UNPIN, 0, 1, 0, 2), task(Op.PIN, 1))))
        yield Configuration((late, 0, *writable, *pinned, *free), ((write, write), pages(Op.UNMAP_WRITABLE, 0), pages(Op.MAP_WRITABLE, 0, 1)))
        yield Configuration((late, 0, *free, *free, *free), ((write,), pages(Op.MAP_WRITABLE, 0), pages(Op.MAP_WRITABLE, 1), pages(Op.MAP, 0)))
        yield Configuration((late, 0, *mapped, *free, *hole), ((write,), (*pages(Op.UNMAP, 0), *pages(Op.UNPIN, 0)), pages(Op.MAP, 1)))
        yield Configuration((late, F_SEAL_SHRINK, *free, *free, *hole), ((future, write), pages(Op.MAP_WRITABLE, 0), (sealed, write)))
        yield Configuration((late, F_SEAL_SEAL, *free, *pinned, *hole), ((write, future), pages(Op.UNPIN, 1)))

    def scene(self, configuration: Configuration) -> Scene:
        setup = configuration.setup
        tasks = [task for thread in configuration.threads for task in thread]
        data: dict[str, list[int]] = {
            "conform.operation": [Op(task.code) for task in tasks],
            "conform.first": [task.arguments[0] for task in tasks],
        }
        machine = Machine(bounds=bounds(pages=PAGES, vmas=PAGES, files=1, file_pages=PAGES, frames=PAGES + 1, vma_flags=1), data=data)
        with machine:
            mem_init()
            proc_caches_init()
            mm = mm_alloc()
            world.seals_late = bool(setup[0])
            file = memfd_create(PAGES, 0)
            for i in range(PAGES):
                present, pins, mapped, writable = setup[2 + i * 4 : 6 + i * 4]
                link_new_vma(mm, i, 1, file, i, False)
                vma = mm.mm_mt[i]
                assert vma is not None
                if present:
                    folio = shmem_get_folio(file, i)
                    for _ in range(pins):
                        try_grab_folio(folio)
                    if mapped:
                        insert_page(mm, i, folio)
                    vma.write = bool(writable)
                if not vma.write:
                    vma.flags[0] = VM_SEALED
            file.seals = setup[1]
            file.deny_writable = setup[1] & F_SEAL_WRITE != 0
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (mm, file, number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return Scene(program, _look(program, mm, file, len(threads)))


SEALS = (F_SEAL_WRITE, F_SEAL_WRITE, F_SEAL_WRITE | F_SEAL_SEAL, F_SEAL_FUTURE_WRITE, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL, 0)


def task(op: Op, argument: int) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower(), (argument,))


def _look(program: Program, mm: Mm, file: ShmemFile, threads: int) -> Callable[[bytes], str]:
    """The look that c/memfd.c has."""
    eyes = Eyes(program)
    of = eyes.array(results, "of")[:threads]
    inode, seals, deny = eyes.semaphore(file.i_rwsem), eyes.field(file, "seals"), eyes.field(file, "deny_writable")
    writes = [eyes.field(vma, "write") for vma in mm.mm_mt if vma is not None]
    folios = [file.pages[i] for i in range(PAGES)]
    refs = [eyes.field(folio, "refcount") if folio is not None else lambda state: 0 for folio in folios]
    entries = [eyes.field(pte, "frame") for pte in mm.ptes]

    def look(state: bytes) -> str:
        writers = [write(state) for write in writes]
        parts = [
            "".join(f"{read(state)} " for read in of)
            + f"inode={inode(state)} seals={seals(state)} writable={-1 if deny(state) else sum(writers)}"
        ]
        parts += [f"page={refs[i](state)}:{int(entries[i](state) != 0)}:{writers[i]}" for i in range(PAGES)]
        return " ".join(parts)

    return look
