"""mm/memory.c: page faults, and taking page-table entries away.

Entries come by faults, under the mmap lock for reading and the page-table lock; nobody is told, for nothing was
there. Entries go by `zap_pte_range`, always inside a notifier bracket:

    mmu_notifier_invalidate_range_start()
    zap_pte_range()                             one step: the page-table lock
    mmu_notifier_invalidate_range_end()
    tlb_finish_mmu()                            only now the references that the entries held are dropped

`zap_page_range_single` does this for one vma (MADV_DONTNEED, and `unmap_mapping_range` for each place a file is
mapped at); `unmap_vmas` for munmap and exit, whose callers drop the references. Replacing the zero page on a write
is a bracket too.

`unmap_mapping_range` takes no mmap lock: it runs beside faults of the same process.

Left out: huge pages, swap, migration entries, userfaultfd, private
file mappings, fork (so the only read-only private page is the zero page), per-vma locks (a fault on one vma waits
here while another vma is being mapped or unmapped: may hide a bug), the early flush of large batches and of dirty
file pages, which drops references already before the end of the bracket (a driver that is late is caught all the
same: it is late at the zap). An allocation and the entry that it is for are one step; the loser of a race gives
its page back unseen.
"""

from __future__ import annotations

from typing import Annotated, Final

from secondsight.lang import Bounds, atomic, require
from secondsight.linux.fork import mm_touch, mms
from secondsight.linux.mm_types import (
    VM_DEVMAP,
    VM_PFNMAP,
    AddressSpace,
    Event,
    Flags,
    Frame,
    Gather,
    Mm,
    Pgoff,
    Range,
    Va,
    VaEnd,
    Vma,
    VmaState,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.page_alloc import ZERO_PFN, alloc_page, frames, get_page, is_zero_page, page_to_pfn, put_page

__all__ = [
    "FAULT_FLAG_ALLOW_RETRY",
    "FAULT_FLAG_WRITE",
    "VM_FAULT_ERROR",
    "VM_FAULT_NOPAGE",
    "VM_FAULT_RETRY",
    "VM_FAULT_SIGBUS",
    "VM_FAULT_SIGSEGV",
    "find_vma",
    "handle_mm_fault",
    "insert_page",
    "insert_pfn",
    "tlb_finish_mmu",
    "unmap_mapping_range",
    "unmap_vmas",
    "vma_flags",
    "zap_page_range_single",
    "zap_pte_range",
]

# The kernel's own values of these bits do not all fit a byte.
VM_FAULT_SIGBUS: Final = 2
VM_FAULT_SIGSEGV: Final = 64
VM_FAULT_NOPAGE: Final = 8
VM_FAULT_RETRY: Final = 16
"""The mmap lock was given up; try the access again."""
VM_FAULT_ERROR: Final = 66
"""Any of the bits that mean the access cannot be made."""

FAULT_FLAG_WRITE: Final = 1
FAULT_FLAG_ALLOW_RETRY: Final = 4
"""The handler may give up the mmap lock to wait, and say VM_FAULT_RETRY."""

Key = Annotated[int, Bounds(0, 255)]
"""A vma in the order of a file's interval tree; 0 is none."""

DONE: Final = 0
COPY: Final = 1
FILE: Final = 4


# Looking at an address space. Callers hold the mmap lock, or the page-table lock (an atomic step).


@atomic
def find_vma(mm: Mm, va: Va) -> bool:
    """vma_lookup() (include/linux/mm.h, Linux 6.12): whether anything is mapped at `va`."""
    return mm.vmas[va].state == VmaState.MAPPED


@atomic
def vma_flags(vma: Vma) -> Flags:
    """`vma->vm_flags`: VM_PFNMAP, VM_DEVMAP or neither."""
    file = vma.file
    if file is None:
        return 0
    return file.vm_flags()


# Faults.


def handle_mm_fault(mm: Mm, va: Va, flags: Flags) -> Flags:
    """handle_mm_fault(), handle_pte_fault(), do_pte_missing(), do_fault() (mm/memory.c, Linux 6.12): make `va`
    accessible.

    The caller holds the mmap lock; `flags` are FAULT_FLAG_. 0 or VM_FAULT_NOPAGE: try the access again. Without a
    vma, or for a write to one that is read-only, VM_FAULT_SIGSEGV (in the kernel the callers have looked already).
    """
    with atomic:
        require(mm.mmap_lock.held_by_me(), "lock-not-held", "handles a fault without the mmap lock")
        mm_touch(mm)
        what = handle_pte_fault(mm, va, flags & FAULT_FLAG_WRITE != 0)
        file = mm.vmas[va].file
        pgoff = mm.vmas[va].pgoff
        if what == FILE and flags & FAULT_FLAG_WRITE == 0:
            what = do_fault_around(mm, va)
    if what == COPY:
        return wp_page_copy(mm, va)
    if what == FILE:
        assert file is not None
        return file.fault(mm, va, pgoff, flags)
    return what


@atomic
def handle_pte_fault(mm: Mm, va: Va, write: bool) -> Flags:
    """handle_pte_fault() (mm/memory.c, Linux 6.12): what the entry needs; anonymous memory is supplied at once."""
    vma = mm.vmas[va]
    pte = mm.ptes[va]
    if vma.state != VmaState.MAPPED or (write and not vma.write):
        return VM_FAULT_SIGSEGV
    if pte.frame is None:
        if vma.file is not None:
            return FILE
        return do_anonymous_page(mm, va, write)
    if write and not pte.writable:
        return COPY
    return DONE


@atomic
def do_fault_around(mm: Mm, va: Va) -> Flags:
    """do_read_fault(), do_fault_around() (mm/memory.c, Linux 6.12): map what the file has at hand, at `va` and around it.

    VM_FAULT_NOPAGE if the access can be made now; else `FILE`: the file's own fault is needed. Around is the vma: the
    kernel's window of 16 pages is no smaller than an address space here.
    """
    file = mm.vmas[va].file
    assert file is not None
    start = va
    while start > 0 and continues_vma(mm, start):
        start -= 1
    end = va + 1
    while end < len(mm.vmas) and continues_vma(mm, end):
        end += 1
    file.map_pages(mm, start, end)
    return FILE if mm.ptes[va].frame is None else VM_FAULT_NOPAGE


@atomic
def continues_vma(mm: Mm, va: Va) -> bool:
    """Whether the page at `va` (not 0) belongs to the same vma of a file as the one before it."""
    vma = mm.vmas[va]
    before = mm.vmas[va - 1]
    if vma.state != VmaState.MAPPED or before.state != VmaState.MAPPED or vma.write != before.write:
        return False
    return vma.file is before.file and vma.pgoff == before.pgoff + 1


@atomic
def do_anonymous_page(mm: Mm, va: Va, write: bool) -> Flags:
    """do_anonymous_page() (mm/memory.c, Linux 6.12): a new zeroed page for a write, the shared zero page for a read."""
    pte = mm.ptes[va]
    if mm.unstable:
        return VM_FAULT_SIGBUS
    if write:
        pte.frame = alloc_page()
        pte.writable = True
    else:
        pte.frame = frames[ZERO_PFN]
        pte.writable = False
    return DONE


def wp_page_copy(mm: Mm, va: Va) -> Flags:
    """wp_page_copy() (mm/memory.c, Linux 6.12): a private page of its own instead of one that may not be written.

    Here that is always the zero page: the new one is zeroed, and there is no old reference to drop.
    """
    rng = Range(va, va + 1, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    replace_zero_page(mm, va)
    mmu_notifier_invalidate_range_end(mm, rng)
    return DONE


@atomic
def replace_zero_page(mm: Mm, va: Va) -> None:
    """The part of wp_page_copy() under the page-table lock: only if the entry is what it was."""
    pte = mm.ptes[va]
    frame = pte.frame
    if frame is None:
        return
    if is_zero_page(frame):
        pte.frame = alloc_page()
        pte.writable = True


@atomic
def insert_page(mm: Mm, va: Va, frame: Frame) -> Flags:
    """finish_fault() (mm/memory.c, Linux 6.12) for a page-cache page: the entry takes a reference of its own."""
    pte = mm.ptes[va]
    if pte.frame is not None:
        return VM_FAULT_NOPAGE
    get_page(frame)
    pte.frame = frame
    pte.writable = mm.vmas[va].write
    return DONE


@atomic
def insert_pfn(mm: Mm, va: Va, frame: Frame) -> Flags:
    """insert_pfn() (mm/memory.c, Linux 6.12), under vmf_insert_pfn() and vmf_insert_mixed(): an entry without a reference."""
    pte = mm.ptes[va]
    if pte.frame is None:
        pte.frame = frame
        pte.writable = mm.vmas[va].write
    return VM_FAULT_NOPAGE


# Zaps.


@atomic
def zap_pte_range(mm: Mm, start: Va, end: VaEnd) -> Gather:
    """zap_pte_range() (mm/memory.c, Linux 6.12): clear the entries of a range under the page-table lock.

    The frames whose references are now to be dropped, in the order of addresses: the mmu_gather. Entries of a PFN
    mapping, of device memory and of the zero page held none.
    """
    gather: Gather = 0
    for va in range(end - 1, start - 1, -1):
        pte = mm.ptes[va]
        frame = pte.frame
        if frame is not None:
            if not is_zero_page(frame) and vma_flags(mm.vmas[va]) & (VM_PFNMAP | VM_DEVMAP) == 0:
                gather = gather * 16 + page_to_pfn(frame)
            pte.frame = None
            pte.writable = False
    return gather


@atomic
def tlb_finish_mmu(gather: Gather) -> None:
    """tlb_finish_mmu() (mm/mmu_gather.c, Linux 6.12): drop the references that zapped entries held."""
    while gather != 0:
        put_page(frames[gather % 16])
        gather = gather // 16


def zap_page_range_single(mm: Mm, start: Va, end: VaEnd) -> None:
    """zap_page_range_single() (mm/memory.c, Linux 6.12): take away the entries of a range within one vma."""
    rng = Range(start, end, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    gather = zap_pte_range(mm, start, end)
    mmu_notifier_invalidate_range_end(mm, rng)
    if gather != 0:
        tlb_finish_mmu(gather)


def unmap_vmas(mm: Mm, start: Va, end: VaEnd) -> Gather:
    """unmap_vmas() (mm/memory.c, Linux 6.12): take away the entries of a range, for munmap and exit.

    Returns the mmu_gather: the caller drops the references (`tlb_finish_mmu`).
    """
    rng = Range(start, end, Event.UNMAP, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    gather = zap_pte_range(mm, start, end)
    mmu_notifier_invalidate_range_end(mm, rng)
    return gather


def unmap_mapping_range(mapping: AddressSpace, first: Pgoff, last: Pgoff) -> None:
    """unmap_mapping_range(), unmap_mapping_range_tree() (mm/memory.c, Linux 6.12): zap pages `first` to `last` of
    a file.

    Wherever any process maps them, one bracket for each vma, under `i_mmap` for reading. Takes no mmap lock.
    """
    mapping.i_mmap.read_lock()
    for i in range(len(mms)):
        mm = mms[i]
        key: Key = 0
        while True:
            start: VaEnd = 0
            end: VaEnd = 0
            with atomic:
                key = vma_interval_tree_next(mm, mapping, key, first, last)
                if key != 0:
                    start = vma_first(mm, (key - 1) % 16, first)
                    end = vma_interval_tree_end(mm, mapping, start, last)
            if key == 0:
                break
            zap_page_range_single(mm, start, end)
    mapping.i_mmap.read_unlock()


@atomic
def vma_interval_tree_next(mm: Mm, mapping: AddressSpace, after: Key, first: Pgoff, last: Pgoff) -> Key:
    """vma_interval_tree_foreach() (mm/interval_tree.c, Linux 6.12): the next vma that maps some of the file's pages; 0: none.

    In the order of the tree: by the file's page that a vma begins with; of those that begin with the same one by address,
    where the kernel takes them as they came. A vma is known by 1 + 16 times that page + its address.
    """
    found: Key = 0
    for va in range(len(mm.vmas)):
        vma = mm.vmas[va]
        if vma.file is mapping and (va == 0 or not linked_with(mm, va)):
            key = 1 + 16 * vma.pgoff + va
            if key > after and (found == 0 or key < found) and vma.pgoff <= last:
                end = va + 1
                while end < len(mm.vmas) and linked_with(mm, end):
                    end += 1
                if vma.pgoff + end - va > first:
                    found = key
    return found


@atomic
def linked_with(mm: Mm, va: Va) -> bool:
    """Whether the page at `va` (not 0) belongs to the same vma as the one before it, in a file's tree."""
    vma = mm.vmas[va]
    before = mm.vmas[va - 1]
    return vma.file is before.file and vma.state == before.state and vma.write == before.write and vma.pgoff == before.pgoff + 1


@atomic
def vma_first(mm: Mm, va: Va, first: Pgoff) -> VaEnd:
    """Where a vma that begins at `va` maps the file's page `first`, or its beginning if that is a later page."""
    pgoff = mm.vmas[va].pgoff
    return va + first - pgoff if pgoff < first else va


@atomic
def vma_interval_tree_end(mm: Mm, mapping: AddressSpace, start: Va, last: Pgoff) -> VaEnd:
    """Where the vma that `start` lies in ends, or the file's pages up to `last` do."""
    end: VaEnd = start + 1
    while end < len(mm.vmas):
        if mm.vmas[end].file is not mapping or not linked_with(mm, end) or mm.vmas[end].pgoff > last:
            break
        end += 1
    return end
