"""The world in which mm/memory.c and its model are compared: four pages, a memfd, threads that fault and zap."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Literal

from secondsight.lang import Array, Bounds, Record, atomic, const, shared
from secondsight.linux.errno import ENOMEM, SIGBUS, SIGSEGV
from secondsight.linux.filemap import folio_unlock
from secondsight.linux.fork import mm_alloc, mms
from secondsight.linux.fork_dup import copy_page_range, dup_vma
from secondsight.linux.madvise import find_vma_from
from secondsight.linux.memory import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_UNSHARE,
    FAULT_FLAG_WRITE,
    VM_FAULT_COMPLETED,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    VM_FAULT_UNLOCKED,
    handle_mm_fault,
)
from secondsight.linux.memory_zap import tlb_finish_mmu, unmap_mapping_range, unmap_vmas, zap_page_range_single
from secondsight.linux.mm_flags import VM_PRIVATE
from secondsight.linux.mm_types import Count, Event, Flags, Folio, Mm, MmuNotifier, Pagemap, PteKind, Range, Va, VaEnd
from secondsight.linux.mmap import link_new_vma
from secondsight.linux.page_alloc import ZERO_PFN, alloc_page, frames, get_page, put_page
from secondsight.linux.rmap import anon_vma_is_prepared, folio_add_new_anon_rmap
from secondsight.linux.shmem import ShmemFile, shmem_get_folio
from secondsight.linux.swapops import swap_slots

__all__ = ["FRAMES", "OF_CHILD", "PAGES", "THREADS", "Brings", "EntryAs", "FaultOp", "Hears", "MappedAs", "faults", "fill_pages", "fault_script", "make_child"]

PAGES, THREADS, FRAMES = 4, 3, 16

ASKS_WRITE, ASKS_UNSHARE, ASKS_RETRY = 1, 2, 4
"""Of a fault: FAULT_FLAG_WRITE, FAULT_FLAG_UNSHARE, FAULT_FLAG_ALLOW_RETRY."""

OF_CHILD = 8
"""Of all but punches and forks: the second process does it."""


class FaultOp(IntEnum):
    """What a thread does; the numbers are those of c/memory.c."""

    FAULT = 0
    ZAP = 1
    UNMAP = 2
    PUNCH = 3
    FORK = 4
    UNLOCK = 5


class MappedAs(IntEnum):
    """What is mapped at a page; the numbers are those of c/memory.c."""

    NONE = 0
    READ = 1
    WRITE = 2
    FILE_READ = 3
    FILE_WRITE = 4
    PRIVATE_READ = 5
    PRIVATE_WRITE = 6


class EntryAs(IntEnum):
    """What the page table has for a page; the numbers are those of c/memory.c. SHARED: somebody else has the page too. SWAPPED: so has somebody else its
    slot; SWAPPED_ALONE: nobody has; CACHED, CACHED_LOCKED: and the page is in the
    swap cache. MOVED: a migration entry. PRIVATE, TAKEN: device-private, device-exclusive. PINNED, PINNED_WRITE: the process's own, and
    pinned. TAKEN_LOCKED: somebody has its folio locked."""

    NONE = 0
    READ = 1
    SHARED = 2
    WRITE = 3
    WRITTEN = 4
    ZERO = 5
    CACHE_READ = 6
    CACHE_WRITE = 7
    CACHE_WRITTEN = 8
    SWAPPED = 9
    MOVED = 10
    PRIVATE = 11
    TAKEN = 12
    PINNED = 13
    PINNED_WRITE = 14
    TAKEN_LOCKED = 15
    SWAPPED_ALONE = 16
    CACHED = 17
    CACHED_LOCKED = 18


IN_SWAP = (EntryAs.SWAPPED, EntryAs.SWAPPED_ALONE, EntryAs.CACHED, EntryAs.CACHED_LOCKED)
PINNED = (EntryAs.PINNED, EntryAs.PINNED_WRITE)
KIND_OF = {EntryAs.MOVED: PteKind.MIGRATION, EntryAs.PRIVATE: PteKind.DEVICE_PRIVATE, EntryAs.TAKEN: PteKind.DEVICE_EXCLUSIVE, EntryAs.TAKEN_LOCKED: PteKind.DEVICE_EXCLUSIVE}


FaultNumber = Annotated[int, Bounds(-200, 255)]
FaultIndex = Annotated[int, Bounds(0, 200)]

operation = const("conform.memory.operation", FaultOp)
first = const("conform.memory.first", FaultIndex)
second = const("conform.memory.second", FaultIndex)
third = const("conform.memory.third", FaultIndex)


class Faults(Record):
    """What each thread's last operation returned."""

    of: Array[FaultNumber, Literal[3]]


faults = shared(Faults)


class Hears(MmuNotifier):
    """Who hears of every bracket: how many each page is in, and the event of the last."""

    brackets: Array[Count, Literal["pages"]]
    event: Array[Event, Literal["pages"]]

    @atomic
    def invalidate_range_start(self, mm: Mm, rng: Range) -> int:
        for va in range(rng.start, rng.end):
            self.brackets[va] += 1
            self.event[va] = rng.event
        return 0

    @atomic
    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        for va in range(rng.start, rng.end):
            self.brackets[va] -= 1
            self.event[va] = rng.event


class Brings(Pagemap):
    """Whose device's memory a page is in. What its driver does is not this file's: of every second page it says that it has no memory, of the others that
    the access may be tried again."""

    @atomic
    def migrate_to_ram(self, mm: Mm, va: Va, folio: Folio) -> Flags:
        return VM_FAULT_SIGBUS if va % 2 else 0


def fault(mm: Mm, va: Va, asks: FaultIndex) -> FaultNumber:
    """A fault; 0, 1 or 2 where it has given the mmap lock up, or the signal, negated."""
    flags: Flags = 0
    if asks & ASKS_WRITE:
        flags |= FAULT_FLAG_WRITE
    if asks & ASKS_UNSHARE:
        flags |= FAULT_FLAG_UNSHARE
    if asks & ASKS_RETRY:
        flags |= FAULT_FLAG_ALLOW_RETRY
    mm.mmap_lock.read_lock()
    ret = handle_mm_fault(mm, va, flags)
    if ret & (VM_FAULT_RETRY | VM_FAULT_UNLOCKED | VM_FAULT_COMPLETED):
        return 2 if ret & VM_FAULT_COMPLETED else 1
    mm.mmap_lock.read_unlock()
    if ret & VM_FAULT_SIGSEGV:
        return -SIGSEGV
    return -SIGBUS if ret & VM_FAULT_SIGBUS else 0


def zap(mm: Mm, start: Va, end: FaultIndex) -> None:
    """MADV_DONTNEED."""
    mm.mmap_lock.read_lock()
    zap_page_range_single(mm, start, end)
    mm.mmap_lock.read_unlock()


def unmap(mm: Mm, start: Va, end: FaultIndex) -> None:
    """The part of a munmap() that is this file's."""
    mm.mmap_lock.read_lock()
    gather = unmap_vmas(mm, start, end)
    if gather:
        tlb_finish_mmu(gather)
    mm.mmap_lock.read_unlock()


def copy_memory(parent: Mm, child: Mm) -> FaultNumber:
    """What of dup_mmap() is this file's: the child's vmas are there, and nothing is in its page tables."""
    parent.mmap_lock.write_lock()
    at: VaEnd = 0
    whole = True
    while at < PAGES and whole:
        with atomic:
            start = find_vma_from(parent, at, PAGES)
            at = start
            if start < PAGES:
                vma = parent.mm_mt[start]
                assert vma is not None
                at = vma.vm_end
        if start < PAGES:
            whole = copy_page_range(child, parent, start, at)
    parent.mmap_lock.write_unlock()
    return 0 if whole else -ENOMEM


def fault_script(mm: Mm, child: Mm, file: ShmemFile, thread: FaultIndex, at: FaultIndex, end: FaultIndex) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    while at < end:
        op = operation[at]
        ret: FaultNumber = 0
        whose = mm
        if len(mms) > 1:
            if op < FaultOp.PUNCH and third[at] & OF_CHILD != 0:
                whose = child
        if op == FaultOp.FAULT:
            ret = fault(whose, first[at], third[at])
        elif op == FaultOp.ZAP:
            zap(whose, first[at], second[at])
        elif op == FaultOp.UNMAP:
            unmap(whose, first[at], second[at])
        elif op == FaultOp.UNLOCK:
            folio_unlock(frames[1 + first[at]])
        elif op == FaultOp.FORK:
            if len(mms) > 1:
                ret = copy_memory(mm, child)
        else:
            unmap_mapping_range(file, first[at], second[at] - 1, third[at] != 0)
        faults.of[thread] = ret
        at += 1


def fill_pages(mm: Mm, file: ShmemFile, pages: Sequence[tuple[MappedAs, EntryAs]], cached: int, brings: Brings) -> None:
    """Map pages, with or without an entry for each; neighbours of a kind are of one vma. Frame 1 + i is page i's own, 1 + PAGES + i the file's."""
    own = [alloc_page() for _ in range(PAGES)]
    for page in range(PAGES):
        shmem_get_folio(file, page).contents = 1 + PAGES + page
    kinds = [kind for kind, _ in pages]
    for page, (kind, entry) in enumerate(pages):
        if kind != MappedAs.NONE and (not page or kinds[page - 1] != kind):
            length = next((i for i in range(page, PAGES) if kinds[i] != kind), PAGES) - page
            write = kind in (MappedAs.WRITE, MappedAs.FILE_WRITE, MappedAs.PRIVATE_WRITE)
            link_new_vma(mm, page, length, None if kind < MappedAs.FILE_READ else file, page, write, VM_PRIVATE if kind >= MappedAs.PRIVATE_READ else 0)
        if entry != EntryAs.NONE:
            enter(mm, file, page, entry, brings)
    for page in range(PAGES):
        folio = file.pages[page]
        if not cached & 1 << page and folio is not None:
            file.pages[page] = None
            put_page(folio)
        own[page].contents = 1 + page
        swap_slots[page].contents = 1 + page
        if not (EntryAs.READ <= pages[page][1] <= EntryAs.WRITTEN or pages[page][1] in (*KIND_OF, *PINNED, EntryAs.CACHED, EntryAs.CACHED_LOCKED)):
            put_page(own[page])


def make_child(mm: Mm) -> Mm:
    """A second process with the same vmas and nothing in its page tables; its memory is a copy when it has been forked."""
    child = mm_alloc()
    at = 0
    while at < PAGES:
        vma = mm.mm_mt[at]
        at = vma.vm_end if vma is not None else at + 1
        if vma is not None:
            dup_vma(child, mm, vma)
    return child


def enter(mm: Mm, file: ShmemFile, page: int, entry: EntryAs, brings: Brings) -> None:
    """An entry that the world begins with."""
    pte = mm.ptes[page]
    if entry != EntryAs.ZERO and not EntryAs.CACHE_READ <= entry <= EntryAs.CACHE_WRITTEN:
        anon_vma_is_prepared(mm, page)
    if entry in IN_SWAP:
        swap_slots[page].count = 2 if entry == EntryAs.SWAPPED else 1
        pte.swap, pte.kind, pte.exclusive = page, PteKind.SWAP, entry != EntryAs.SWAPPED
        if entry in (EntryAs.CACHED, EntryAs.CACHED_LOCKED):
            folio = frames[1 + page]
            vma = mm.mm_mt[page]
            assert vma is not None
            folio_add_new_anon_rmap(folio, vma, page)
            folio.shared[0], folio.dirty, folio.locked = True, True, entry == EntryAs.CACHED_LOCKED
            swap_slots[page].cache, folio.swapcache, folio.swap = folio, True, page
        return
    if entry == EntryAs.ZERO:
        folio = frames[ZERO_PFN]
    elif EntryAs.CACHE_READ <= entry <= EntryAs.CACHE_WRITTEN:
        folio = shmem_get_folio(file, page)
        get_page(folio)
    else:
        folio = frames[1 + page]
        vma = mm.mm_mt[page]
        assert vma is not None
        folio_add_new_anon_rmap(folio, vma, page)
        folio.shared[0] = entry == EntryAs.SHARED
        if entry in PINNED:
            folio.pins = 1
            get_page(folio)
        if entry == EntryAs.SHARED:
            get_page(folio)
    pte.frame = folio
    folio.dirty = folio.dirty or entry in (EntryAs.TAKEN, EntryAs.TAKEN_LOCKED)  # by the FOLL_WRITE of who made it exclusive
    if entry == EntryAs.PRIVATE:
        folio.pgmap[0] = brings
    folio.locked = entry in (EntryAs.MOVED, EntryAs.TAKEN_LOCKED)
    pte.kind = KIND_OF.get(entry, PteKind.PRESENT)
    pte.writable = entry in (EntryAs.WRITE, EntryAs.WRITTEN, EntryAs.CACHE_WRITE, EntryAs.CACHE_WRITTEN, EntryAs.PINNED_WRITE)
    if entry in KIND_OF:
        there = mm.mm_mt[page]
        pte.writable = there is not None and there.write
        pte.exclusive = entry == EntryAs.MOVED
    pte.dirty = entry in (EntryAs.WRITTEN, EntryAs.CACHE_WRITTEN)
