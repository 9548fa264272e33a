"""mm/memory.c: page faults. Taking page-table entries away, of the same file, is in `memory_zap`.

Entries come by faults, under the mmap lock and the page-table lock; nobody is told, for nothing was there.

    handle_mm_fault()
        handle_pte_fault()                      one step: what the entry needs; anonymous memory is supplied at once
        a file's fault, do_swap_page(),         each in steps of its own (`memory_swap`, `memory_wp`, `userfaultfd`)
        wp_page_copy(), handle_userfault()
    finish_fault(), insert_page(), insert_pfn() called by a file's fault: the entry is entered, if there is none by now

Huge pages are in `huge_memory`: a fault that may write a huge page's part only splits it first.

A fault may be under its vma's lock alone, where there are such (`vma_lock`).

Left out: an allocation and the entry that it is for are one step; the loser of a race gives its page back unseen.
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import Ref, atomic, milestone, require
from secondsight.linux.fork import mm_touch
from secondsight.linux.highmem import copy_highpage
from secondsight.linux.huge_memory import (
    can_have_huge_pmd,
    do_huge_pmd_anonymous_page,
    do_huge_zero_wp_pmd,
    huge_pmd_can_be_written,
    huge_zero_replaced,
    pte_alloc,
    split_huge_pmd,
)
from secondsight.linux.memory_numa import do_numa_page
from secondsight.linux.memory_swap import do_swap_page
from secondsight.linux.memory_wp import map_new_page, wp_can_reuse_anon_folio, wp_page_copy
from secondsight.linux.mm import is_cow_mapping, vma_is_accessible, vma_needs_dirty_tracking
from secondsight.linux.mm_flags import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_UNSHARE,
    FAULT_FLAG_VMA_LOCK,
    FAULT_FLAG_WRITE,
    UFFD_MISSING,
    UFFD_WP,
    VM_FAULT_COMPLETED,
    VM_FAULT_ERROR,
    VM_FAULT_NOPAGE,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    VM_FAULT_UNLOCKED,
    VM_FSDAX,
)
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import (
    Flags,
    Folio,
    Mm,
    Pte,
    PteKind,
    Va,
    Vma,
    completed_faults,
    fs_dax_mappings,
    huge_pages,
    hugetlb_private,
    numa_hints,
    writes_back,
)
from secondsight.linux.mmu_notifier import owners
from secondsight.linux.page_alloc import (
    ZERO_PFN,
    frames,
    get_page,
    is_zero_page,
)
from secondsight.linux.page_alloc_slowpath import GFP_HIGHUSER_MOVABLE, direct_reclaim, might_alloc
from secondsight.linux.pgtable import (
    pmd_trans_huge,
    pte_clear,
    pte_none,
    pte_none_mostly,
)
from secondsight.linux.swapops import (
    is_device_private_entry,
    is_poisoned_swp_entry,
    is_pte_marker,
    is_swap_pte,
    migrations,
    pte_markers,
    swap_slots,
)
from secondsight.linux.tlb import tlb_flush_mmu_tlbonly
from secondsight.linux.userfaultfd import (
    handle_userfault,
    userfaultfd_minor,
    userfaultfd_missing,
    userfaultfd_pte_wp,
    userfaultfd_wp,
)
from secondsight.linux.vma_lock import must_retry_anon_prepare, release_fault_lock

__all__ = [
    "FAULT_FLAG_ALLOW_RETRY",
    "FAULT_FLAG_UNSHARE",
    "FAULT_FLAG_WRITE",
    "VM_FAULT_COMPLETED",
    "VM_FAULT_ERROR",
    "VM_FAULT_NOPAGE",
    "VM_FAULT_RETRY",
    "VM_FAULT_SIGBUS",
    "VM_FAULT_SIGSEGV",
    "VM_FAULT_UNLOCKED",
    "fault_dirty_shared_page",
    "finish_fault",
    "handle_mm_fault",
    "insert_page",
    "insert_pfn",
    "insert_pfn_mkwrite",
    "vma_flags",
    "vma_lookup",
]

DONE: Final = 0
COPY: Final = 1
FILE: Final = 4
NOT_PRESENT: Final = 5
SPLIT: Final = 6
MISSING: Final = 3
WRITE_PROTECTED: Final = 7
REPLACE: Final = 9
NUMA: Final = 10
HUGETLB: Final = 11
MKWRITE: Final = 12


# Looking at an address space. Callers hold the mmap lock, or the page-table lock (an atomic step).


@atomic
def vma_lookup(mm: Mm, va: Va) -> Ref[Vma]:
    """vma_lookup() (include/linux/mm.h, Linux 6.12): the vma at `va`; None: nothing is mapped there."""
    return mm.mm_mt[va]


@atomic
def vma_flags(vma: Vma) -> Flags:
    """`vma->vm_flags`: VM_PFNMAP, VM_DEVMAP or neither."""
    file = vma.vm_file
    if file is None:
        return 0
    return file.vm_flags()


# Faults.


def handle_mm_fault(mm: Mm, va: Va, flags: Flags) -> Flags:
    """handle_mm_fault(), handle_pte_fault(), do_pte_missing(), do_fault() (mm/memory.c, Linux 6.12): make `va`
    accessible.

    The caller holds the mmap lock; `flags` are FAULT_FLAG_. 0 or VM_FAULT_NOPAGE: try the access again. Without a
    vma, or for a write to one that is read-only, VM_FAULT_SIGSEGV (in the kernel the callers have looked already).
    Where nothing is there memory is allocated, for a page or for a page table: here before anything is looked at.
    """
    if len(direct_reclaim) > 0:
        with atomic:
            nothing = pte_none(mm.ptes[va]) and mm.mm_mt[va] is not None
        if nothing:
            might_alloc(GFP_HIGHUSER_MOVABLE)
    with atomic:
        require(flags & FAULT_FLAG_VMA_LOCK != 0 or mm.mmap_lock.held_by_me(), "lock-not-held", "handles a fault without the mmap lock")
        mm_touch(mm)
        vma = mm.mm_mt[va]
        if vma is None:
            return VM_FAULT_SIGSEGV
        if must_retry_anon_prepare(mm, vma, flags, flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE) != 0):
            release_fault_lock(mm, va, flags)
            return VM_FAULT_RETRY
        what = handle_pte_fault(vma, va, flags)
        file = vma.vm_file
        if len(vma.vm_lock) > 0:  # vmf_can_call_fault(); of a page in a device's memory
            alone = what == FILE and vma_flags(vma) != 0
            if flags & FAULT_FLAG_VMA_LOCK != 0 and (alone or is_device_private_entry(mm.ptes[va])):
                release_fault_lock(mm, va, flags)
                return VM_FAULT_RETRY
        pgoff = linear_page_index(vma, va)
        if what == FILE and flags & FAULT_FLAG_WRITE == 0:
            what = do_fault_around(vma, va)
    if len(hugetlb_private) > 0:
        if what == HUGETLB:
            assert file is not None
            return file.fault(mm, va, pgoff, flags)
    if len(huge_pages) > 0:
        if len(huge_zero_replaced) > 0:
            if what == REPLACE:
                do_huge_zero_wp_pmd(mm, va)
                return DONE
        if what == SPLIT:
            split_huge_pmd(mm, va)
            with atomic:
                what = handle_pte_fault(vma, va, flags)
                if what in (SPLIT, REPLACE):  # a huge page has come meanwhile: the access is tried again
                    return DONE
    if len(swap_slots) + len(migrations) + len(owners) > 0:
        if what == NOT_PRESENT:
            return do_swap_page(mm, va, flags)
    if len(numa_hints) > 0:
        if what == NUMA:
            return do_numa_page(mm, va)
    if len(mm.userfaultfd) > 0:
        if what in (MISSING, WRITE_PROTECTED):
            return handle_userfault(mm, va, flags, UFFD_WP if what == WRITE_PROTECTED else UFFD_MISSING)
    if len(writes_back) > 0:
        if what == MKWRITE:
            assert file is not None
            return file.page_mkwrite(mm, va, pgoff, flags)
    if what == COPY:
        return wp_page_copy(mm, va, flags & FAULT_FLAG_UNSHARE != 0)
    if what == FILE:
        assert file is not None
        return file.fault(mm, va, pgoff, flags)
    return what


@atomic
def handle_pte_fault(vma: Vma, va: Va, flags: Flags) -> Flags:
    """__handle_mm_fault(), handle_pte_fault() (mm/memory.c, Linux 6.12): what the entry needs; anonymous memory is supplied at once."""
    mm = vma.vm_mm
    assert mm is not None
    pte = mm.ptes[va]
    write = flags & FAULT_FLAG_WRITE != 0
    if (write and not vma.write) or not vma_is_accessible(vma):
        return VM_FAULT_SIGSEGV
    if len(huge_pages) > 0:
        if can_have_huge_pmd(vma, va):
            if mm.unstable:
                return VM_FAULT_SIGBUS
            do_huge_pmd_anonymous_page(vma, va, write)
            return DONE
        if pmd_trans_huge(mm, va):
            if flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE) != 0 and not pte.writable:
                if len(hugetlb_private) > 0:
                    large = vma.vm_file
                    if large is not None and is_cow_mapping(vma):
                        return HUGETLB
                if len(huge_zero_replaced) > 0:
                    if pte.frame is frames[ZERO_PFN]:
                        return REPLACE
                return DONE if huge_pmd_can_be_written(vma, va, write) else SPLIT
            return DONE
        mapped = vma.vm_file
        if mapped is None or not mapped.is_hugetlb():
            pte_alloc(mm, va)
    if len(pte_markers) > 0:
        if is_pte_marker(pte):
            if is_poisoned_swp_entry(pte) or not userfaultfd_wp(vma):
                return handle_pte_marker(pte)
    if pte_none_mostly(pte):
        if vma.vm_file is not None:
            return FILE
        return do_anonymous_page(mm, va, write)
    if len(swap_slots) + len(migrations) + len(owners) > 0:
        if is_swap_pte(pte):
            return NOT_PRESENT
    if len(numa_hints) > 0:
        if pte.prot_none[0]:
            return NUMA
    if flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE) != 0 and not pte.writable:
        return do_wp_page(vma, va, flags)
    if len(swap_slots) > 0:
        if write:
            pte.dirty = True
    return DONE


@atomic
def handle_pte_marker(pte: Pte) -> Flags:
    """handle_pte_marker(), pte_marker_clear() (mm/memory.c, Linux 6.12) of a marker that is not for a page that is to come: of one that is poisoned the access is refused (here
    VM_FAULT_SIGBUS, for what is told by VM_FAULT_HWPOISON is a SIGBUS too, and -EFAULT); one of write protection that is no more is taken away."""
    if is_poisoned_swp_entry(pte):
        return VM_FAULT_SIGBUS
    pte_clear(pte)
    return DONE


@atomic
def vmf_pte_changed(pte: Pte) -> bool:
    """vmf_pte_changed() (mm/memory.c, Linux 6.12), of an entry that a page was to come to: something is there by now. A marker of write protection was there before."""
    if len(pte_markers) > 0:
        if is_pte_marker(pte):
            return is_poisoned_swp_entry(pte)
    return not pte_none(pte)


@atomic
def keep_uffd_wp(pte: Pte) -> None:
    """vmf_orig_pte_uffd_wp() (mm/memory.c, Linux 6.12): where a marker was the page has come write-protected, whatever it has come for."""
    if len(pte_markers) > 0:
        if is_pte_marker(pte):
            pte.kind = PteKind.PRESENT
            pte.writable = False


@atomic
def do_wp_page(vma: Vma, va: Va, flags: Flags) -> Flags:
    """do_wp_page() (mm/memory.c, Linux 6.12): a page that may not be written, in a vma that may. The zero page is replaced, and of private
    memory a page that others share; any other is made writable, where that is asked for (wp_page_reuse(), wp_page_shared()), after the file was asked that wants to be.

    Left out: wp_page_shared() has a reference while it waits for the folio lock, with the entry writable already. A migration that comes just then fails (-EAGAIN), as it
    does beside anybody else's reference; it may hide no more than that."""
    mm = vma.vm_mm
    assert mm is not None
    pte = mm.ptes[va]
    folio = pte.frame
    assert folio is not None
    write = flags & FAULT_FLAG_WRITE != 0
    if len(mm.userfaultfd) > 0:
        if write and userfaultfd_pte_wp(vma, pte):
            return WRITE_PROTECTED
        if len(mm.tlb) > 0:
            if write and userfaultfd_wp(vma):  # who protects, or no more, flushes later
                tlb_flush_mmu_tlbonly(mm, va, va + 1)
    if len(fs_dax_mappings) > 0:  # wp_pfn_shared(), whose `pfn_mkwrite` is the file's fault
        if write and vma_flags(vma) == VM_FSDAX:
            return FILE
    if is_zero_page(folio):
        return COPY
    if len(folio.shared) > 0:
        if is_cow_mapping(vma) and not wp_can_reuse_anon_folio(vma, va, folio):
            return COPY
    if write:
        if len(writes_back) > 0:
            if vma_needs_dirty_tracking(vma):
                return MKWRITE
        pte.writable = True
        if len(swap_slots) > 0:
            pte.dirty = True
        if len(completed_faults) > 0:
            return fault_dirty_shared_page(vma, va, flags)
    return DONE


@atomic
def fault_dirty_shared_page(vma: Vma, va: Va, flags: Flags) -> Flags:
    """fault_dirty_shared_page(), maybe_unlock_mmap_for_io() (mm/memory.c, mm/internal.h, Linux 6.12): the page of a shared mapping that is to be written has its entry, and
    is dirty from now on. If it was not, the mmap lock is given up where the fault allows it, before who writes too much is held up: VM_FAULT_COMPLETED.

    Who comes by a CPU's access does not notice; who takes several pages under one lock does (`gup`, `madvise_populate`). Left out: FAULT_FLAG_TRIED, with which the lock
    is kept; that a page is dirty as well once an entry has gone through which it was written without a fault. Both make for more that may come between, not less.
    """
    mm = vma.vm_mm
    file = vma.vm_file
    assert mm is not None
    folio = mm.ptes[va].frame
    if file is None or folio is None or is_cow_mapping(vma) or file.is_hugetlb() or file.vm_flags() != 0 or folio.dirty:
        return DONE
    folio.dirty = True
    if flags & FAULT_FLAG_ALLOW_RETRY == 0:
        return DONE
    release_fault_lock(mm, va, flags)
    return VM_FAULT_COMPLETED


@atomic
def do_fault_around(vma: Vma, va: Va) -> Flags:
    """do_read_fault(), do_fault_around() (mm/memory.c, Linux 6.12): map what the file has at hand, at `va` and around it.

    VM_FAULT_NOPAGE if the access can be made now; else `FILE`: the file's own fault is needed. Around is the vma: the
    kernel's window of 16 pages is no smaller than an address space here.
    """
    mm = vma.vm_mm
    file = vma.vm_file
    assert mm is not None and file is not None
    if len(mm.userfaultfd) > 0:  # uffd_disable_fault_around()
        if userfaultfd_minor(vma) or userfaultfd_wp(vma):
            return FILE
    file.map_pages(vma, vma.vm_start, vma.vm_end)
    return FILE if pte_none_mostly(mm.ptes[va]) else VM_FAULT_NOPAGE


@milestone(quiet=True)
@atomic
def do_anonymous_page(mm: Mm, va: Va, write: bool) -> Flags:
    """do_anonymous_page() (mm/memory.c, Linux 6.12): a new zeroed page for a write, the shared zero page for a read."""
    pte = mm.ptes[va]
    if mm.unstable:
        return VM_FAULT_SIGBUS
    if len(mm.userfaultfd) > 0:
        vma = mm.mm_mt[va]
        if vma is not None and userfaultfd_missing(vma):
            return MISSING
    if write:
        map_new_page(mm, va, True)
    else:
        pte.frame = frames[ZERO_PFN]
        pte.writable = False
    keep_uffd_wp(pte)
    return DONE


# What a file's fault enters.


@atomic
def finish_fault(mm: Mm, va: Va, frame: Folio, write: bool) -> Flags:
    """finish_fault() (mm/memory.c, Linux 6.12): map a page of a file, or for a write to a private mapping a copy (do_cow_fault())."""
    if len(frame.shared) > 0:
        vma = mm.mm_mt[va]
        assert vma is not None
        if is_cow_mapping(vma):
            if mm.unstable:
                return VM_FAULT_SIGBUS
            if write:
                return insert_cow_page(mm, va, frame)
    return insert_page(mm, va, frame, write)


@milestone(quiet=True)
@atomic
def insert_cow_page(mm: Mm, va: Va, frame: Folio) -> Flags:
    """do_cow_fault() (mm/memory.c, Linux 6.12), under the folio lock: a copy of a file's page, of the process's own."""
    pte = mm.ptes[va]
    if vmf_pte_changed(pte):
        return VM_FAULT_NOPAGE
    map_new_page(mm, va, True)
    new = pte.frame
    assert new is not None
    copy_highpage(new, frame)
    keep_uffd_wp(pte)
    return DONE


@milestone(quiet=True)
@atomic
def insert_page(mm: Mm, va: Va, frame: Folio, write: bool = False) -> Flags:
    """finish_fault(), set_pte_range() (mm/memory.c, Linux 6.12) for a page-cache page: the entry takes a reference of its own. It may be written at
    once, but for a private mapping's, and of a file that wants to hear of the first write (vma_wants_writenotify()), and is dirty if it is for a write."""
    pte = mm.ptes[va]
    if vmf_pte_changed(pte):
        return VM_FAULT_NOPAGE
    get_page(frame)
    vma = mm.mm_mt[va]
    assert vma is not None
    pte.frame = frame
    pte.writable = vma.write
    if len(frame.shared) > 0:
        if is_cow_mapping(vma):
            pte.writable = False
    if len(writes_back) > 0:
        if vma_needs_dirty_tracking(vma):
            pte.writable = False
    if len(pte_markers) > 0:  # vma_wants_writenotify()
        if userfaultfd_wp(vma):
            pte.writable = pte.writable and write
    if len(swap_slots) > 0:
        pte.dirty = write
    keep_uffd_wp(pte)
    return DONE


@atomic
def insert_pfn(mm: Mm, va: Va, frame: Folio) -> Flags:
    """insert_pfn() (mm/memory.c, Linux 6.12), under vmf_insert_pfn() and vmf_insert_mixed(): an entry without a reference. It may be written at once, where no file
    system wants to hear of that."""
    pte = mm.ptes[va]
    vma = mm.mm_mt[va]
    assert vma is not None
    if pte_none(pte):
        pte.frame = frame
        pte.writable = vma.write
        pte.special = True
    return VM_FAULT_NOPAGE


@atomic
def insert_pfn_mkwrite(mm: Mm, va: Va, frame: Folio, mkwrite: bool) -> Flags:
    """insert_pfn() (mm/memory.c, Linux 6.12), under vmf_insert_mixed() and vmf_insert_mixed_mkwrite(), where vma_wants_writenotify(): an entry may be written when somebody
    has come to write, and one of the same page is made so."""
    pte = mm.ptes[va]
    vma = mm.mm_mt[va]
    assert vma is not None
    if pte_none(pte):
        pte.frame = frame
        pte.writable = mkwrite and vma.write
        pte.special = True
    elif mkwrite and pte.frame is frame:
        pte.writable = vma.write
    return VM_FAULT_NOPAGE
