"""The world in which mm/rmap.c is compared, in the language: what two processes map, and what a thread does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Annotated, Literal

from secondsight.conform.target import Configuration
from secondsight.lang import Array, Bounds, Machine, Record, Ref, atomic, const, shared
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.filemap import folio_trylock, folio_unlock
from secondsight.linux.fork import mm_alloc, mms, proc_caches_init
from secondsight.linux.mm_flags import VM_LOCKED, VM_PRIVATE
from secondsight.linux.mm_types import AddressSpace, Driver, Event, Folio, Mm, Owner, Pagemap, PteKind, Range, Seq, Va, anon_vmas
from secondsight.linux.mmap import link_new_vma
from secondsight.linux.page_alloc import alloc_page, get_page, mem_init, put_page
from secondsight.linux.pgtable import folio_mapped, pte_clear, pte_none
from secondsight.linux.rmap import anon_vma_link, anon_vma_unlink, try_to_unmap
from secondsight.linux.rmap_migrate import remove_migration_ptes, try_to_migrate
from secondsight.linux.rmap_mkclean import folio_mkclean
from secondsight.linux.swapops import swap_slots

__all__ = ["ANON", "ANONYMOUS", "CACHE", "COLUMNS", "DEVICE", "DST", "Entry", "FRAMES", "File", "Gpu", "How", "Index", "LENGTH", "LOG", "MMS", "Memory", "OTHER", "Op", "PAGES", "PRIVATELY", "SHARED", "SLOTS", "THREADS", "Value", "entry", "first", "frame", "make_machine", "make_processes", "make_program", "make_world", "one", "operation", "script", "tree", "world"]

MMS, PAGES, LENGTH, THREADS, LOG, SLOTS, FRAMES = 2, 3, 2, 2, 64, 3, 9
ANON, CACHE, DST, DEVICE, OTHER = (1, 2), 3, 4, 5, 6
"""Frames by what they are for: of each page of private memory one, the file's first page, what is to take another's place, one in a device's memory, one that
is at no place that the trees know."""


class Op(IntEnum):
    """What a thread does; the numbers are those of c/rmap_world.h. From MOVE to WRITEBACK: what `migrate_world` has more."""

    UNMAP = 0
    MIGRATE = 1
    HOLD = 2
    DROP = 3
    PIN = 4
    UNPIN = 5
    ZAP = 6
    FILL = 7
    TREE = 8
    MOVE = 9
    MISPLACED = 10
    LOCK = 11
    WRITEBACK = 12
    MKCLEAN = 13


class Entry(IntEnum):
    """What an entry is; the numbers are those of c/rmap_world.h."""

    NONE = 0
    PRESENT = 1
    MIGRATION = 2
    PRIVATE = 3
    EXCLUSIVE = 4
    SWAP = 5


class How(IntEnum):
    """How a frame is, in the setup: bits."""

    EXCLUSIVE = 1
    HELD = 2
    PINNED = 4
    DIRTY = 8
    LAZY = 16
    CACHED = 32


ANONYMOUS, SHARED, PRIVATELY = 0, 1, 2
"""What a vma is of: anonymous memory, the file, or the file that it maps privately and has not written to."""

KINDS = {Entry.PRESENT: PteKind.PRESENT, Entry.MIGRATION: PteKind.MIGRATION, Entry.PRIVATE: PteKind.DEVICE_PRIVATE, Entry.EXCLUSIVE: PteKind.DEVICE_EXCLUSIVE, Entry.SWAP: PteKind.SWAP}

WRITE, DIRTY, ALONE = 1, 2, 4
"""What an entry says more, as c/rmap.c numbers it."""

Value = Annotated[int, Bounds(-200, 1000)]
Index = Annotated[int, Bounds(0, 200)]

operation = const("conform.rmap.operation", Op)
first = const("conform.rmap.first", Value)
second = const("conform.rmap.second", Value)
third = const("conform.rmap.third", Value)
COLUMNS = ("first", "second", "third")


class World(Record):
    """What each thread's last operation returned; the frames; what the subscribers were told."""

    of: Array[Value, Literal[2]]
    frames: Array[Ref[Folio], Literal[9]]
    calls: Index
    told: Array[Value, Literal[64]]
    """Of each call the process, the first page and the one after the last, the event and whether it had an owner: digits."""


world = shared(World)


class Gpu(Driver):
    """A subscriber that notes what it is told, and keeps nothing."""

    process: Index

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        with atomic:
            mn.mmu_interval_set_seq(self.notifier, seq)
            tell(self.process, rng)
        return True

    def dev_private_owner(self) -> Ref[Owner]:
        return mn.owners[0]


@atomic
def tell(process: Index, rng: Range) -> None:
    """The subscriber's note."""
    event = 0 if rng.event == Event.CLEAR else 1 if rng.event == Event.EXCLUSIVE else 2
    owned = 1 if rng.owner is not None else 0
    world.told[world.calls] = (((process * 4 + rng.start) * 4 + rng.end) * 4 + event) * 2 + owned
    world.calls += 1


class Memory(Pagemap):
    """A device's memory."""


class File(AddressSpace):
    """What is mapped, if it is not anonymous memory: a page of it stays where it is."""


@atomic
def frame(number: Index) -> Folio:
    """A frame by its number."""
    folio = world.frames[number]
    assert folio is not None
    return folio


@atomic
def begin(folio: Folio, unmaps: bool) -> bool:
    """Lock the folio, and hold it; false: it is free by now, somebody else has locked it, or reclaim has to give it a slot first."""
    if folio.refcount == 0:
        return False
    if unmaps and folio.anon_vma is not None and not folio.lazyfree[0] and not folio.swapcache:
        return False
    locked = folio_trylock(folio)
    if locked:
        get_page(folio)
    return locked


@atomic
def end(folio: Folio, moved: Value) -> Value:
    """Whether it is mapped; it is locked and held no more."""
    at = frame(DST) if moved == 1 else folio
    ret: Value = (2 if moved >= 0 else 1) if folio_mapped(at) else 0
    folio_unlock(folio)
    put_page(folio)
    return ret + moved if moved > 0 else ret


def unmap(folio: Folio) -> Value:
    """As reclaim does it."""
    locked = begin(folio, True)
    if not locked:
        return -1
    try_to_unmap(folio)
    return end(folio, -1)


def mkclean(folio: Folio) -> Value:
    """As writeback begins."""
    locked = begin(folio, False)
    if not locked:
        return -1
    cleaned = folio_mkclean(folio)
    return end(folio, -1) + (10 if cleaned else 0)


@atomic
def become(folio: Folio, dst: Folio) -> Value:
    """If nothing maps the folio, the other one takes its place."""
    if dst is folio or folio_mapped(folio) or dst.anon_vma is not None or dst.mapping is not None:
        return 0
    dst.anon_vma = folio.anon_vma
    dst.mapping = folio.mapping
    dst.index = folio.index
    if folio.dirty and folio is not frame(DEVICE):
        dst.dirty = True
    return 1


def migrate(folio: Folio, dst: Folio) -> Value:
    """As migration does it: out of the page tables, and in again."""
    locked = begin(folio, False)
    if not locked:
        return -1
    try_to_migrate(folio)
    moved = become(folio, dst)
    if moved == 1:
        remove_migration_ptes(folio, dst)
    else:
        remove_migration_ptes(folio, folio)
    return end(folio, moved)


@atomic
def zap(mm: Mm, va: Va) -> Value:
    """Another takes an entry away."""
    pte = mm.ptes[va]
    if pte_none(pte):
        return 0
    folio = pte.frame
    if pte.kind == PteKind.SWAP:
        swap_slots[pte.swap].count -= 1
    elif pte.kind != PteKind.MIGRATION:
        assert folio is not None
        if pte.kind == PteKind.PRESENT and pte.dirty and folio.anon_vma is None:
            folio.dirty = True
        put_page(folio)
    pte_clear(pte)
    return 1


@atomic
def fill(mm: Mm, va: Va, number: Value) -> Value:
    """A page comes where nothing is, unless it is locked: c/rmap_world.h has how an entry is numbered."""
    folio = frame(number // 64)
    pte = mm.ptes[va]
    if folio.refcount == 0 or folio.locked or not pte_none(pte):
        return 0
    get_page(folio)
    pte.frame = folio
    pte.writable = number // 8 % 2 == 1
    pte.dirty = number // 16 % 2 == 1
    return 1


@atomic
def one(op: Op, at: Index) -> Value:
    """What somebody else does meanwhile, in one step."""
    if op == Op.ZAP:
        return zap(mms[first[at]], second[at])
    if op == Op.FILL:
        return fill(mms[first[at]], second[at], third[at])
    folio = frame(first[at])
    if op == Op.HOLD:
        if folio.refcount > 0:
            get_page(folio)
        return 1 if folio.refcount > 0 else 0
    if op == Op.DROP:
        if folio.refcount > 0:
            put_page(folio)
        return 0
    if op == Op.PIN:
        if folio.refcount > 0:
            folio.refcount += 1
            folio.pins += 1
            return 1
        return 0
    if folio.pins > 0:
        folio.refcount -= 1
        folio.pins -= 1
    return 0


def tree(file: AddressSpace, of_file: Value) -> None:
    """Somebody links a vma, or takes one out."""
    if of_file == 1:
        file.i_mmap_rwsem.write_lock()
        file.i_mmap_rwsem.write_unlock()
    else:
        anon_vmas[0].rwsem.write_lock()
        anon_vmas[0].rwsem.write_unlock()


def script(file: File, thread: Index, at: Index, last: Index) -> None:
    """What a thread does: the operations from `at` to before `last`."""
    while at < last:
        op = operation[at]
        ret: Value = 0
        if op == Op.UNMAP:
            ret = unmap(frame(first[at]))
        elif op == Op.MIGRATE:
            ret = migrate(frame(first[at]), frame(second[at]))
        elif op == Op.MKCLEAN:
            ret = mkclean(frame(first[at]))
        elif op == Op.TREE:
            tree(file, first[at])
        else:
            ret = one(op, at)
        world.of[thread] = ret
        at += 1


def entry(kind: Entry, number: int, how: int = 0) -> int:
    """An entry as c/rmap_world.h numbers it."""
    return kind + 8 * how + 64 * number


def make_machine(configuration: Configuration, file: type[AddressSpace], **more: int) -> Machine:
    """A machine for a configuration, with the arguments of its operations."""
    tasks = [task for thread in configuration.threads for task in thread]
    columns = [(*task.arguments, 0, 0, 0)[:3] for task in tasks]
    data: dict[str, Sequence[int]] = {"conform.rmap.operation": [Op(task.code) for task in tasks]}
    data |= {f"conform.rmap.{name}": [column[i] for column in columns] for i, name in enumerate(COLUMNS)}
    sizes = bounds(
        mms=MMS, pages=PAGES, vmas=MMS, frames=FRAMES + 1, files=1, file_pages=LENGTH, subscribers=1, private_memory=1, owners=1, anon_vmas=MMS, cow=1,
        swap_slots=SLOTS, lazyfree=1, vma_flags=1, memlock=MMS, **more,
    )  # fmt: skip
    return Machine(bounds=sizes, pools={Gpu: MMS, Memory: 1, file: 1}, data=data)


def make_processes(machine: Machine) -> None:
    """The frames, and two processes with a subscriber each."""
    mem_init()
    proc_caches_init()
    for i in range(MMS):
        gpu = machine.pool(Gpu).alloc()
        gpu.process = i
        mn.mmu_interval_notifier_insert(gpu.notifier, mm_alloc(), 0, PAGES)


def make_program(machine: Machine, configuration: Configuration, does: Callable[..., object], file: AddressSpace) -> Program:
    """Each thread runs the rows of its operations."""
    threads, at = [], 0
    for number, thread in enumerate(configuration.threads):
        threads.append(Thread(f"thread {number}", does, (file, number, at, at + len(thread))))
        at += len(thread)
    return build(machine, threads, room=Room(THREADS, (does,)))


def make_world(machine: Machine, file: AddressSpace, setup: Sequence[int]) -> list[Folio]:
    """Two processes with a vma each, the entries there, and the frames, in the order in which c/rmap_world.h numbers them."""
    of, rest = [setup[4 * i : 4 * i + 4] for i in range(MMS)], setup[4 * MMS :]
    entries, hows = rest[: MMS * LENGTH], rest[MMS * LENGTH :]
    memory = machine.pool(Memory).alloc()
    memory.owner = mn.owners[0]
    all_frames = [alloc_page() for _ in range(FRAMES - 1)]
    for number, folio in enumerate(all_frames, 1):
        how = hows[number - 1]
        world.frames[number] = folio
        folio.shared[0] = not how & How.EXCLUSIVE
        folio.dirty = bool(how & How.DIRTY)
        folio.lazyfree[0] = bool(how & How.LAZY)
        folio.refcount = (0 if how & How.LAZY else 1) + bool(how & How.HELD) + bool(how & How.PINNED) + bool(how & How.CACHED)
        folio.pins = int(bool(how & How.PINNED))
        if number in (*ANON, DEVICE, OTHER):
            folio.anon_vma = anon_vmas[0]
            folio.index = 1 if number == ANON[1] else 5 if number == OTHER else 0
        elif number == CACHE:
            folio.mapping = file
        if how & How.CACHED:
            folio.swapcache, folio.swap = True, ANON.index(number)
            swap_slots[folio.swap].cache = folio
        if number == DEVICE:
            folio.pgmap[0] = memory
    for i, (kind, start, pgoff, locked) in enumerate(of):
        mm = mms[i]
        link_new_vma(mm, start, LENGTH, file if kind else None, pgoff, True, (VM_LOCKED if locked else 0) | (VM_PRIVATE if kind == PRIVATELY else 0))
        vma = mm.mm_mt[start]
        assert vma is not None
        if kind != SHARED:
            anon_vma_unlink(vma)
            vma.anon_vma = None
        if kind == ANONYMOUS:
            vma.anon_vma, vma.vm_pgoff = anon_vmas[0], pgoff
            anon_vma_link(vma)
        for page in range(LENGTH):
            _make_entry(mm, start + page, entries[i * LENGTH + page])
    return all_frames


def _make_entry(mm: Mm, va: int, value: int) -> None:
    kind, how, number = Entry(value % 8), value // 8 % 8, value // 64
    if kind == Entry.NONE:
        return
    pte = mm.ptes[va]
    pte.kind = KINDS[kind]
    if kind == Entry.SWAP:
        pte.swap, pte.exclusive = number, bool(how & ALONE)
        swap_slots[number].count += 1
        return
    folio = world.frames[number]
    assert folio is not None
    pte.frame = folio
    pte.writable = bool(how & WRITE)
    pte.dirty = bool(how & DIRTY)
    folio.refcount += 1
