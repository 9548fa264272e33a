"""The world in which mm/migrate_device.c is compared, in the language: what is mapped, and what a thread does."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Literal

from secondsight.lang import Array, Bounds, Machine, Record, Ref, atomic, const, current, shared
from secondsight.linux import migrate_device
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.filemap import folio_trylock, folio_unlock
from secondsight.linux.memory_swap import locks_the_device_page
from secondsight.linux.migrate_device import MigrateVma, migrate_vma_init, migrate_vmas
from secondsight.linux.migrate_device_pages import migrate_vma_finalize, migrate_vma_pages
from secondsight.linux.mm_flags import VM_PFNMAP
from secondsight.linux.mm_types import AddressSpace, Driver, Event, Flags, Folio, Mm, Owner, Pagemap, PteKind, Range, Seq, Va
from secondsight.linux.mmap import link_new_vma
from secondsight.linux.page_alloc import ZERO_PFN, alloc_page, frames, get_page, is_zero_page, put_page
from secondsight.linux.pgtable import pte_clear, pte_none
from secondsight.linux.rmap import folio_add_new_anon_rmap
from secondsight.linux.swap import folio_isolate_lru
from secondsight.linux.swapops import is_device_private_entry

__all__ = ["COLUMNS", "Entry", "Fault", "File", "Gpu", "LOG", "Memory", "Op", "PAGES", "THREADS", "To", "VmaKind", "World", "make_world", "script", "world"]

PAGES, THREADS, LOG = 2, 2, 8
EXCLUSIVE, PINNED = 1, 2
"""Of a page in the setup: of this process alone; pinned."""


class Op(IntEnum):
    """What a thread does; the numbers are those of c/migrate_device.c."""

    MIGRATE = 0
    HOLD = 1
    DROP = 2
    LOCK = 3
    UNLOCK = 4
    ISOLATE = 5
    PUTBACK = 6
    FILL = 7
    ZAP = 8


class To(IntEnum):
    """Where pages are to go."""

    NOTHING = 0
    SYSTEM = 1
    DEVICE = 2


class Fault(IntEnum):
    """Whether the driver says that it is for a CPU's fault on the first page, and who has met with what there."""

    NONE = 0
    DEVICE = 1
    """do_swap_page(): on a page in device memory, which in Linux 7.2 is locked."""
    ANY = 2
    """A driver in error: on any page, which is held and locked in the same way."""
    UNLOCKED = 3
    """A driver in error: on any page, which is held and never locked."""


class VmaKind(IntEnum):
    """What is mapped; the numbers are those of c/migrate_device.c, as those of entries are."""

    WRITE = 0
    READ = 1
    FILE = 2
    PFNMAP = 3


class Entry(IntEnum):
    """What the page table has for a page."""

    NONE = 0
    ZERO = 1
    READ = 2
    WRITE = 3
    DEVICE_READ = 4
    DEVICE_WRITE = 5
    OTHERS = 6


Value = Annotated[int, Bounds(-200, 255)]
Index = Annotated[int, Bounds(0, 200)]

operation = const("conform.migrate_device.operation", Op)
first = const("conform.migrate_device.first", Value)
second = const("conform.migrate_device.second", Value)
third = const("conform.migrate_device.third", Value)
fourth = const("conform.migrate_device.fourth", Value)
fifth = const("conform.migrate_device.fifth", Value)
COLUMNS = ("first", "second", "third", "fourth", "fifth")


class World(Record):
    """What each thread's last operation returned, what it holds; what the subscriber was told; and the frames, by what they are for."""

    of: Array[Value, Literal[2]]
    held: Array[Ref[Folio], Literal[2]]
    locked: Array[Ref[Folio], Literal[2]]
    isolated: Array[Ref[Folio], Literal[2]]
    filled: Array[Ref[Folio], Literal[2]]
    system: Array[Ref[Folio], Literal[4]]
    device: Array[Ref[Folio], Literal[4]]
    calls: Index
    starts: Array[Value, Literal[8]]
    ends: Array[Value, Literal[8]]
    owned: Array[bool, Literal[8]]


world = shared(World)


class Gpu(Driver):
    """A subscriber that notes what it is told, and keeps nothing."""

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        with atomic:
            mn.mmu_interval_set_seq(self.notifier, seq)
            told(rng)
        return True

    def dev_private_owner(self) -> Ref[Owner]:
        return mn.owners[0]


@atomic
def told(rng: Range) -> None:
    """The subscriber's note."""
    world.starts[world.calls] = rng.start
    world.ends[world.calls] = rng.end
    world.owned[world.calls] = rng.event == Event.MIGRATE and rng.owner is mn.owners[0]
    world.calls += 1


class Memory(Pagemap):
    """A device's memory, of which nothing is used again."""


class File(AddressSpace):
    """What is mapped, if it is not anonymous memory."""

    special: bool

    def vm_flags(self) -> Flags:
        return VM_PFNMAP if self.special else 0


@atomic
def page_at(mm: Mm, va: Va, present: bool) -> Ref[Folio]:
    """The page of an entry: one of the system's, or, unless it is to be `present`, of the driver's memory."""
    pte = mm.ptes[va]
    page = pte.frame
    if page is None or is_zero_page(page):
        return None
    if pte.kind == PteKind.PRESENT:
        return page
    return page if is_device_private_entry(pte) and not present else None


@atomic
def prepare(args: MigrateVma, mm: Mm, at: Index) -> Ref[Folio]:
    """What the driver asks for; the page that a CPU has met with, which it holds, and in Linux 7.2 has locked (do_swap_page())."""
    faulted: Ref[Folio] = None
    if fifth[at] != Fault.NONE:
        faulted = page_at(mm, first[at], False)
        if faulted is not None and fifth[at] == Fault.DEVICE:
            if len(faulted.pgmap) == 0 or faulted.pgmap[0] is None:
                faulted = None
    if faulted is not None and len(locks_the_device_page) > 0 and fifth[at] != Fault.UNLOCKED:
        if not folio_trylock(faulted):
            faulted = None
    if faulted is not None:
        get_page(faulted)
    migrate_vma_init(args, mm, first[at], second[at] - first[at], mn.owners[0], third[at], faulted)
    return faulted


@atomic
def give(args: MigrateVma, at: Index) -> Value:
    """Destinations, of what can be moved; what was told of each page."""
    ret: Value = 0
    for i in range(args.npages):
        bit = 1 if i == 0 else 2
        src = args.src[i]
        if args.migrate[i]:
            ret += bit
        if src is not None:
            ret += 16 * bit
            if args.write[i]:
                ret += 4 * bit
        if args.migrate[i] and fourth[at] != To.NOTHING:
            number = 2 * (current() - 1) + i
            dst = world.device[number] if fourth[at] == To.DEVICE else world.system[number]
            assert dst is not None
            dst.refcount = 1
            dst.locked = True
            args.dst[i] = dst
    return ret


@atomic
def moved(args: MigrateVma) -> Value:
    """Which pages have moved."""
    ret: Value = 0
    for i in range(args.npages):
        if args.migrate[i]:
            ret += 64 if i == 0 else 128
    return ret


def migrate(mm: Mm, at: Index) -> Value:
    """The whole of it, as a driver does."""
    mm.mmap_lock.read_lock()
    with migrate_vmas.on_stack() as args:
        faulted = prepare(args, mm, at)
        ret: Value = migrate_device.migrate_vma_setup(args)
        if ret == 0:
            ret = give(args, at)
            migrate_vma_pages(args)
            ret += moved(args)
            migrate_vma_finalize(args)
        with atomic:
            if faulted is not None:
                if len(locks_the_device_page) > 0 and fifth[at] != Fault.UNLOCKED:
                    folio_unlock(faulted)
                put_page(faulted)
    mm.mmap_lock.read_unlock()
    return ret


@atomic
def one(mm: Mm, op: Op, va: Va) -> Value:
    """What somebody else does meanwhile, in one step."""
    me = current() - 1
    page = page_at(mm, va, op != Op.ZAP)
    held, locked, isolated = world.held[me], world.locked[me], world.isolated[me]
    done = False
    if op == Op.HOLD and page is not None and held is None:
        get_page(page)
        world.held[me] = page
        done = True
    elif op == Op.DROP and held is not None:
        put_page(held)
        world.held[me] = None
        done = True
    elif op == Op.LOCK and page is not None and locked is None:
        done = folio_trylock(page)
        if done:
            get_page(page)
            world.locked[me] = page
    elif op == Op.UNLOCK and locked is not None:
        folio_unlock(locked)
        put_page(locked)
        world.locked[me] = None
        done = True
    elif op == Op.ISOLATE and page is not None and isolated is None:
        done = folio_isolate_lru(page)
        if done:
            world.isolated[me] = page
    elif op == Op.PUTBACK and isolated is not None:
        isolated.isolated = False
        put_page(isolated)
        world.isolated[me] = None
        done = True
    elif op == Op.FILL:
        done = fill(mm, va)
    elif op == Op.ZAP and page is not None:
        pte_clear(mm.ptes[va])
        put_page(page)
        done = True
    return 1 if done else 0


@atomic
def fill(mm: Mm, va: Va) -> bool:
    """A page comes where nothing is."""
    pte = mm.ptes[va]
    page = world.filled[va]
    vma = mm.mm_mt[va]
    assert page is not None and vma is not None
    for other in mm.ptes:
        if other.frame is page:
            return False
    if vma.vm_file is not None or not pte_none(pte):
        return False
    get_page(page)
    folio_add_new_anon_rmap(page, vma, va)
    pte.frame = page
    pte.writable = vma.write
    return True


def script(mm: Mm, thread: Index, at: Index, end: Index) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    while at < end:
        op = operation[at]
        ret: Value = 0
        if op == Op.MIGRATE:
            ret = migrate(mm, at)
        else:
            ret = one(mm, op, first[at])
        world.of[thread] = ret
        at += 1


def make_world(machine: Machine, mm: Mm, kind: VmaKind, pages: Sequence[tuple[Entry, int]]) -> list[Folio]:
    """One vma with an entry for each of its pages; every frame, in the order in which c/migrate_device.c numbers them."""
    memories = [machine.pool(Memory).alloc() for _ in range(2)]
    for number, memory in enumerate(memories):
        memory.owner = mn.owners[number]
    file = None
    if kind >= VmaKind.FILE:
        file = machine.pool(File).alloc()
        file.special = kind == VmaKind.PFNMAP
    link_new_vma(mm, 0, PAGES, file, 0, kind != VmaKind.READ)
    vma = mm.mm_mt[0]
    assert vma is not None
    own, filled, system, device = ([alloc_page() for _ in range(n)] for n in (PAGES, PAGES, THREADS * PAGES, THREADS * PAGES))
    for page, (entry, how) in enumerate(pages):
        pte, folio = mm.ptes[page], own[page]
        if entry in (Entry.NONE, Entry.ZERO):
            folio.refcount = 0
            if entry == Entry.ZERO:
                pte.frame = frames[ZERO_PFN]
            continue
        folio_add_new_anon_rmap(folio, vma, page)
        folio.shared[0] = not how & EXCLUSIVE
        if how & PINNED:
            folio.pins = 1
            folio.refcount += 1
        pte.frame = folio
        pte.writable = entry in (Entry.WRITE, Entry.DEVICE_WRITE, Entry.OTHERS)
        if entry >= Entry.DEVICE_READ:
            pte.kind = PteKind.DEVICE_PRIVATE
            folio.pgmap[0] = memories[entry == Entry.OTHERS]
    for i, folio in enumerate(filled):
        world.filled[i] = folio
    for i, folio in enumerate(system):
        folio.refcount = 0
        world.system[i] = folio
    for i, folio in enumerate(device):
        folio.refcount = 0
        folio.pgmap[0] = memories[0]
        world.device[i] = folio
    return [frames[ZERO_PFN], *own, *filled, *system, *device]
