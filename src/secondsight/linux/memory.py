"""mm/memory.c: page faults, and taking page-table entries away.

Entries come by faults, under the mmap lock for reading and the page-table lock; nobody is told, for nothing was
there. Entries go by `zap_pte_range`, always inside a notifier bracket:

    mmu_notifier_invalidate_range_start()
    zap_pte_range()                             one step: the page-table lock
    mmu_notifier_invalidate_range_end()
    tlb_flush_mmu_tlbonly()                     until now CPUs may use their old TLB entries (`tlb`; where it is asked)
    tlb_finish_mmu()                            only now the references that the entries held are dropped

`zap_page_range_single` does this for one vma (MADV_DONTNEED, and `unmap_mapping_range` for each place a file is
mapped at); `unmap_vmas` for munmap and exit, whose callers drop the references.

A write to private memory that is not the process's alone (the zero page, a file's page, one that a child or parent has too) makes a
copy. The copy is made first, then it takes the other's place in a bracket, and then the old page's references are dropped:

    held_for_copy()                             what is there is held, and copied
    mmu_notifier_invalidate_range_start()
    replace_page()                              one step: the page-table lock
    mmu_notifier_invalidate_range_end()
    drop_copied()

`unmap_mapping_range` takes no mmap lock: it runs beside faults of the same process.

An entry that is neither empty nor present (`swapops`) is `do_swap_page`'s: a page in swap is found in the swap cache, or read, and
mapped under the folio lock; a page that is being moved is waited for.

Huge pages are in `huge_memory`: a fault that may write a huge page's part only splits it first, and so does a zap of a part.

A fault may be under its vma's lock alone, where there are such (`vma_lock`).

Left out: the early flush of large batches and of dirty
file pages, which drops references already before the end of the bracket (a driver that is late is caught all the
same: it is late at the zap). An allocation and the entry that it is for are one step; the loser of a race gives
its page back unseen.
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import Char, Ref, atomic, bound, milestone, require, shared_array, wait_until
from secondsight.linux.filemap import folio_lock_or_retry, folio_unlock
from secondsight.linux.fork import mm_touch
from secondsight.linux.highmem import copy_highpage, second_half
from secondsight.linux.huge_memory import (
    can_have_huge_pmd,
    do_huge_pmd_anonymous_page,
    do_huge_zero_wp_pmd,
    huge_pmd_can_be_written,
    huge_zero_replaced,
    is_partly_in,
    pte_alloc,
    split_huge_pmd,
)
from secondsight.linux.hugetlb_vma_lock import hugetlb_vma_locks, hugetlb_zap_begin, hugetlb_zap_end, is_hugetlb_vma
from secondsight.linux.migrate import migration_entry_wait
from secondsight.linux.mm import folio_test_anon, is_cow_mapping, page_anon_exclusive, vma_is_accessible
from secondsight.linux.mm_interval_tree import linear_page_index, vma_interval_tree_iter_first, vma_interval_tree_iter_next
from secondsight.linux.mm_types import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_UNSHARE,
    FAULT_FLAG_VMA_LOCK,
    FAULT_FLAG_WRITE,
    HPAGE_PMD_NR,
    UFFD_MISSING,
    UFFD_WP,
    VM_FAULT_ERROR,
    VM_FAULT_NOPAGE,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    AddressSpace,
    Event,
    Flags,
    Folio,
    Gather,
    Mm,
    Pgoff,
    PmdKind,
    Pte,
    PteKind,
    Range,
    SwpEntry,
    Va,
    VaEnd,
    Vma,
    anon_vmas,
    huge_pages,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start, owners
from secondsight.linux.page_alloc import (
    ZERO_PFN,
    alloc_page,
    folio_order,
    folio_page,
    folio_try_get,
    frames,
    get_page,
    is_zero_page,
    page_folio,
    put_page,
)
from secondsight.linux.pgtable import (
    is_one_entry,
    is_second_half,
    pmd_trans_huge,
    pte_clear,
    pte_none,
    pte_present,
    vm_normal_folio,
)
from secondsight.linux.rmap import anon_vma_is_prepared, folio_add_new_anon_rmap, folio_remove_rmap
from secondsight.linux.swap_state import (
    folio_free_swap,
    free_swap_and_cache,
    free_swap_cache,
    read_swap_cache,
    swap_cache_get_folio,
    swap_free,
)
from secondsight.linux.swapops import is_device_private_entry, is_swap_entry, is_swap_pte, migrations, swap_slots
from secondsight.linux.tlb import tlb_flush_mmu_tlbonly, tlb_remove_tlb_entry
from secondsight.linux.userfaultfd import handle_userfault, userfaultfd_minor, userfaultfd_missing, userfaultfd_pte_wp
from secondsight.linux.vma_lock import must_retry_anon_prepare, release_fault_lock

__all__ = [
    "FAULT_FLAG_ALLOW_RETRY",
    "FAULT_FLAG_UNSHARE",
    "FAULT_FLAG_WRITE",
    "VM_FAULT_ERROR",
    "VM_FAULT_NOPAGE",
    "VM_FAULT_RETRY",
    "VM_FAULT_SIGBUS",
    "VM_FAULT_SIGSEGV",
    "finish_fault",
    "handle_mm_fault",
    "insert_page",
    "insert_pfn",
    "restore_event",
    "tlb_finish_mmu",
    "unmap_mapping_range",
    "unmap_vmas",
    "vma_flags",
    "vma_lookup",
    "zap_page_range_single",
    "zap_pte_range",
    "zap_range",
]

DONE: Final = 0
COPY: Final = 1
FILE: Final = 4
NOT_PRESENT: Final = 5
SPLIT: Final = 6
MISSING: Final = 3
WRITE_PROTECTED: Final = 7
REPLACE: Final = 9


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
    """
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
    if len(mm.userfaultfd) > 0:
        if what in (MISSING, WRITE_PROTECTED):
            return handle_userfault(mm, va, flags, UFFD_WP if what == WRITE_PROTECTED else UFFD_MISSING)
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
                if len(huge_zero_replaced) > 0:
                    if pte.frame is frames[ZERO_PFN]:
                        return REPLACE
                return DONE if huge_pmd_can_be_written(vma, va, write) else SPLIT
            return DONE
        mapped = vma.vm_file
        if mapped is None or not mapped.is_hugetlb():
            pte_alloc(mm, va)
    if pte_none(pte):
        if vma.vm_file is not None:
            return FILE
        return do_anonymous_page(mm, va, write)
    if len(swap_slots) + len(migrations) + len(owners) > 0:
        if is_swap_pte(pte):
            return NOT_PRESENT
    if flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE) != 0 and not pte.writable:
        return do_wp_page(vma, va, write)
    if len(swap_slots) > 0:
        if write:
            pte.dirty = True
    return DONE


@atomic
def do_wp_page(vma: Vma, va: Va, write: bool) -> Flags:
    """do_wp_page() (mm/memory.c, Linux 6.12): a page that may not be written, in a vma that may. The zero page is replaced, and of private
    memory a page that others share; any other is made writable, where that is asked for (wp_page_reuse(), wp_page_shared())."""
    mm = vma.vm_mm
    assert mm is not None
    pte = mm.ptes[va]
    folio = pte.frame
    assert folio is not None
    if len(mm.userfaultfd) > 0:
        if write and userfaultfd_pte_wp(vma, pte):
            return WRITE_PROTECTED
    if is_zero_page(folio):
        return COPY
    if len(folio.shared) > 0:
        if is_cow_mapping(vma) and not wp_can_reuse_anon_folio(vma, va, folio):
            return COPY
    if write:
        pte.writable = True
        if len(swap_slots) > 0:
            pte.dirty = True
    return DONE


@atomic
def wp_can_reuse_anon_folio(vma: Vma, va: Va, folio: Folio) -> bool:
    """wp_can_reuse_anon_folio() (mm/memory.c, Linux 6.12), and what do_wp_page() asks before: whether the page is the process's alone, or
    is found to be so now. Left out: references that other CPUs' LRU caches hold."""
    if not folio_test_anon(vma, va, folio):
        return False
    if page_anon_exclusive(folio):
        return True
    if len(swap_slots) > 0:
        if folio.swapcache and folio.refcount == 2 and not folio.locked:
            folio_free_swap(folio)
    if len(huge_pages) > 0:
        if folio_order(page_folio(folio)) > 0:  # of a real one many more pages are mapped than one
            return False
    if folio.locked or folio.refcount != 1:
        return False
    if len(folio.shared) > 0:
        folio.shared[0] = False
    return True


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
        if userfaultfd_minor(vma):
            return FILE
    file.map_pages(vma, vma.vm_start, vma.vm_end)
    return FILE if pte_none(mm.ptes[va]) else VM_FAULT_NOPAGE


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
    return DONE


@atomic
def map_new_page(mm: Mm, va: Va, write: bool) -> None:
    """The entry of a new zeroed page; one that is written to next is writable, and dirty already."""
    pte = mm.ptes[va]
    folio = alloc_page()
    anon_vma_is_prepared(mm, va)
    if len(huge_pages) > 0:
        folio.batched[0] = True
    if len(anon_vmas) > 0:
        vma = mm.mm_mt[va]
        assert vma is not None
        folio_add_new_anon_rmap(folio, vma, va)
    pte.frame = folio
    pte.writable = write
    if len(swap_slots) > 0:
        pte.dirty = write


# Entries that are not present.


def do_swap_page(mm: Mm, va: Va, flags: Flags) -> Flags:
    """do_swap_page() (mm/memory.c, Linux 6.12): an entry that is not empty and not present; the caller holds the mmap lock. 0: try the
    access again. VM_FAULT_RETRY: the mmap lock was given up to wait for the folio lock.

    Here it looks once more what the entry is: what became of it since is as if the fault had begun later. Left out: reading
    beside the swap cache (SWP_SYNCHRONOUS_IO), markers; a signal.
    """
    if len(frames[ZERO_PFN].pgmap) > 0:
        with atomic:
            private = is_device_private_entry(mm.ptes[va])
        if private:
            return do_device_private_page(mm, va)
    if len(owners) > 0:
        with atomic:
            folio = mm.ptes[va].frame
            exclusive = mm.ptes[va].kind == PteKind.DEVICE_EXCLUSIVE
        if exclusive:
            assert folio is not None
            return remove_device_exclusive_entry(mm, va, folio, flags)
    if len(migrations) > 0:
        if migration_entry_wait(mm, va):
            return DONE
    if len(swap_slots) > 0:
        return do_swap_entry(mm, va, flags)
    return DONE


@milestone(quiet=True)
def do_swap_entry(mm: Mm, va: Va, flags: Flags) -> Flags:
    """do_swap_page() (mm/memory.c, Linux 6.12) of a page in swap: find it in the swap cache, or read it; lock it; map it, if the entry
    is still the same."""
    with atomic:
        pte = mm.ptes[va]
        if not is_swap_entry(pte):
            return DONE
        entry = pte.swap
        folio = swap_cache_get_folio(entry)
        if folio is None:
            folio = read_swap_cache(entry)
    if map_swapped_page(mm, va, folio, entry, flags):
        return DONE
    release_fault_lock(mm, va, flags)
    wait_until(not page_folio(folio).locked)
    put_page(folio)
    return VM_FAULT_RETRY


@atomic
def map_swapped_page(mm: Mm, va: Va, folio: Folio, entry: SwpEntry, flags: Flags) -> bool:
    """The part of do_swap_page() under the folio lock and the page-table lock: one step, in which the folio lock is waited for.

    False: it is to be waited for without the mmap lock (folio_lock_or_retry()). The page may be written if no other process has had a
    share in it, or nobody has it any more, and is dirty then if this is a write. The swap cache keeps the page and the slot, unless
    it is written and nobody else has it (should_try_to_free_swap()). So a page can be writable, in the swap cache,
    and clean: what a device writes to it must be marked (`folio_mark_dirty`).
    """
    if folio.locked and flags & FAULT_FLAG_ALLOW_RETRY != 0:
        return False
    wait_until(not folio.locked)
    pte = mm.ptes[va]
    vma = mm.mm_mt[va]
    write = flags & FAULT_FLAG_WRITE != 0
    assert vma is not None
    if len(huge_pages) > 0:
        if folio_order(folio) > 0:
            map_swapped_pages(vma, va, folio, entry, write)
            return True
    if folio.swapcache and folio.swap == entry and is_swap_entry(pte) and pte.swap == entry:
        swap_free(entry)
        if write and folio.refcount == 2:
            folio_free_swap(folio)
        if folio.anon_vma is None:
            folio_add_new_anon_rmap(folio, vma, va)
        pte.frame = folio
        pte.kind = PteKind.PRESENT
        pte.writable = vma.write
        if len(folio.shared) > 0:
            folio.shared[0] = not pte.exclusive and folio.refcount != 1
            pte.writable = vma.write and not folio.shared[0]
            pte.exclusive = False
        if len(mm.userfaultfd) > 0:
            if userfaultfd_pte_wp(vma, pte):
                pte.writable = False
        pte.dirty = write and pte.writable
        pte.swap = 0
    else:
        put_page(folio)
    return True


@atomic
def map_swapped_pages(vma: Vma, va: Va, folio: Folio, entry: SwpEntry, write: bool) -> None:
    """The same of a folio of two pages: both are mapped where both entries are its, and alike; else the one that is asked for. The folio holds a
    reference for each."""
    mm = vma.vm_mm
    assert mm is not None
    if not (folio.swapcache and has_entry(mm, va, entry) and folio.swap <= entry <= folio.swap + 1):
        put_page(folio)
        return
    start: Va = va - 1 if entry > folio.swap else va  # where the folio's first page is
    first = va
    npages: Pgoff = 1
    if vma.vm_start <= start and start + HPAGE_PMD_NR <= vma.vm_end:
        if has_entry(mm, start, folio.swap) and has_entry(mm, start + 1, folio.swap + 1):
            if mm.ptes[start].exclusive == mm.ptes[start + 1].exclusive:
                first = start
                npages = HPAGE_PMD_NR
    for at in range(first, first + npages):
        swap_free(mm.ptes[at].swap)
    if write and folio.refcount == 1 + HPAGE_PMD_NR:
        folio_free_swap(folio)
    for _ in range(npages - 1):
        get_page(folio)
    alone = folio.refcount == npages
    for at in range(first, first + npages):
        pte = mm.ptes[at]
        page = folio_page(folio, at - start)
        pte.frame = page
        pte.kind = PteKind.PRESENT
        pte.writable = vma.write
        if len(page.shared) > 0:
            page.shared[0] = not pte.exclusive and not alone
            pte.writable = vma.write and not page.shared[0]
            pte.exclusive = False
        pte.dirty = write and pte.writable
        pte.swap = 0


@atomic
def has_entry(mm: Mm, va: Va, entry: SwpEntry) -> bool:
    """Whether the entry at `va` is a swap entry for that slot."""
    return is_swap_entry(mm.ptes[va]) and mm.ptes[va].swap == entry


# Device-private entries (`migrate_device`).


locks_the_device_page = shared_array(bool, bound("locks_the_device_page"))
"""Not empty: a fault locks a page in device memory before it asks for it, as Linux 7.2 does; empty: it only holds it, as 6.12."""


@milestone(quiet=True)
def do_device_private_page(mm: Mm, va: Va) -> Flags:
    """The part of do_swap_page() (mm/memory.c, Linux 6.12) about a page in device memory: hold it, and have its driver bring it back.

    0: try the access again, whether the page has come or not. The reference of each fault is one that migrate_vma_pages() does not
    expect, but for the one of its own `fault_page`: two faults for one page may keep each other from it again and again. Linux 7.2
    takes the folio lock before the reference, and who does not get it waits.
    """
    with atomic:
        pte = mm.ptes[va]
        folio = pte.frame
        pgmap = folio.pgmap[0] if folio is not None and is_device_private_entry(pte) else None
        waits = False
        if pgmap is not None and folio is not None:
            if len(locks_the_device_page) > 0:
                waits = folio.locked
                folio.locked = True
            if not waits:
                get_page(folio)
    if pgmap is None or folio is None:
        return DONE
    if len(locks_the_device_page) > 0:
        if waits:
            wait_until(not folio.locked or not is_device_private_entry(mm.ptes[va]) or mm.ptes[va].frame is not folio)
            return DONE
    ret = pgmap.migrate_to_ram(mm, va, folio)
    with atomic:
        if len(locks_the_device_page) > 0:
            folio_unlock(folio)
        put_page(folio)
    return ret


# Device-exclusive entries (`rmap_exclusive`). They are there only where somebody makes them: the bound `owners` is not 0.


restores_by_clear = shared_array(bool, bound("restores_by_clear"))
"""Not empty: a page is given back to the CPU with the event CLEAR, as the patches were first posted and as Linux 7.2 does; empty:
with EXCLUSIVE, as Linux 5.14 to 6.12."""


@atomic
def restore_event() -> Event:
    """The event that remove_device_exclusive_entry() tells subscribers of; its owner is none in every form."""
    return Event.CLEAR if len(restores_by_clear) > 0 else Event.EXCLUSIVE


@milestone(quiet=True)
def remove_device_exclusive_entry(mm: Mm, va: Va, folio: Folio, flags: Flags) -> Flags:
    """remove_device_exclusive_entry() (mm/memory.c, Linux 6.12): give the page back to the CPU. 0, or VM_FAULT_RETRY.

    The device that has it is told by `restore_event`, of no owner, under the folio lock. Whether the entry is still there is
    looked at under the page-table lock: the folio may have gone, and may be somebody else's by now.
    """
    there = folio_try_get(folio)
    if not there:
        return DONE
    ret = folio_lock_or_retry(folio, mm, va, flags)
    if ret != 0:
        put_page(folio)
        return ret
    rng = Range(va, va + 1, restore_event(), True)
    mmu_notifier_invalidate_range_start(mm, rng)
    restore_exclusive_pte(mm, va, folio)
    folio_unlock(folio)
    put_page(folio)
    mmu_notifier_invalidate_range_end(mm, rng)
    return DONE


@atomic
def restore_exclusive_pte(mm: Mm, va: Va, folio: Folio) -> None:
    """restore_exclusive_pte() (mm/memory.c, Linux 6.12), under the page-table lock: only if the entry is what it was.

    The reference that the entry holds becomes the present entry's. Writable, if the vma still is (maybe_mkwrite()).
    """
    pte = mm.ptes[va]
    vma = mm.mm_mt[va]
    if pte.kind == PteKind.DEVICE_EXCLUSIVE and pte.frame is folio and vma is not None:
        pte.kind = PteKind.PRESENT
        if not vma.write:
            pte.writable = False
        if len(swap_slots) > 0:
            pte.dirty = pte.writable


@milestone(quiet=True)
def wp_page_copy(mm: Mm, va: Va, unshare: bool) -> Flags:
    """wp_page_copy() (mm/memory.c, Linux 6.12): a private page of its own instead of one that may not be written.

    Where nothing else is copied on write that is the zero page: the new one is zeroed, and there is no old reference to drop.
    `unshare`: it may not be written either, until somebody writes.
    """
    if len(frames[ZERO_PFN].shared) > 0:
        if len(frames[ZERO_PFN].second) > 0:
            return wp_page_copy_halves(mm, va, unshare)
        return wp_page_copy_user(mm, va, unshare)
    rng = Range(va, va + 1, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    replace_zero_page(mm, va, unshare)
    mmu_notifier_invalidate_range_end(mm, rng)
    return DONE


def wp_page_copy_user(mm: Mm, va: Va, unshare: bool) -> Flags:
    """wp_page_copy(), __wp_page_copy_user() (mm/memory.c, Linux 6.12) of a page that others have too: first the copy, then the bracket
    in which it takes the other's place, then what the entry held of that is dropped.

    Whether a copy is needed is looked at once more where the old page is held and copied: what has changed since is as if the fault had
    begun later.
    """
    with atomic:
        old = held_for_copy(mm, va)
        contents: Char = old.contents if old is not None else 0
    if old is None:
        return DONE
    rng = Range(va, va + 1, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    copied = replace_page(mm, va, old, contents, unshare)
    mmu_notifier_invalidate_range_end(mm, rng)
    if not is_zero_page(old):
        drop_copied(old, copied)
    return DONE


def wp_page_copy_halves(mm: Mm, va: Va, unshare: bool) -> Flags:
    """`wp_page_copy_user`, where pages have two halves: both are copied."""
    with atomic:
        old = held_for_copy(mm, va)
        contents: Char = old.contents if old is not None else 0
        second: Char = second_half(old) if old is not None else 0
    if old is None:
        return DONE
    rng = Range(va, va + 1, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    with atomic:
        copied = replace_page(mm, va, old, contents, unshare)
        new = mm.ptes[va].frame
        if copied and new is not None:
            new.second[0] = second
    mmu_notifier_invalidate_range_end(mm, rng)
    if not is_zero_page(old):
        drop_copied(old, copied)
    return DONE


@atomic
def held_for_copy(mm: Mm, va: Va) -> Ref[Folio]:
    """The last lines of do_wp_page() (mm/memory.c, Linux 6.12): the page to copy, with a reference; None: none is to be copied."""
    vma = mm.mm_mt[va]
    folio = pte_present(mm.ptes[va])
    if vma is None or folio is None or mm.ptes[va].writable:
        return None
    if not is_zero_page(folio):
        if wp_can_reuse_anon_folio(vma, va, folio):
            return None
        get_page(folio)
    return folio


@atomic
def replace_page(mm: Mm, va: Va, old: Folio, contents: Char, unshare: bool) -> bool:
    """The part of wp_page_copy() under the page-table lock: only if the entry is what it was."""
    pte = mm.ptes[va]
    if pte_present(pte) is not old or pte.writable:
        return False
    map_new_page(mm, va, not unshare)
    new = pte.frame
    assert new is not None
    new.contents = contents
    if len(huge_pages) > 0:
        folio_remove_rmap(old)
    return True


@atomic
def drop_copied(old: Folio, copied: bool) -> None:
    """The end of wp_page_copy() (mm/memory.c, Linux 6.12): the reference for copying, and that of the entry if it has gone."""
    put_page(old)
    if copied:
        if len(swap_slots) > 0:
            free_swap_cache(old)
        put_page(old)


@atomic
def replace_zero_page(mm: Mm, va: Va, unshare: bool) -> None:
    """The part of wp_page_copy() under the page-table lock: only if the entry is what it was."""
    pte = mm.ptes[va]
    folio = pte_present(pte)
    if folio is None:
        return
    if is_zero_page(folio):
        map_new_page(mm, va, not unshare)


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
    return insert_page(mm, va, frame)


@milestone(quiet=True)
@atomic
def insert_cow_page(mm: Mm, va: Va, frame: Folio) -> Flags:
    """do_cow_fault() (mm/memory.c, Linux 6.12), under the folio lock: a copy of a file's page, of the process's own."""
    pte = mm.ptes[va]
    if not pte_none(pte):
        return VM_FAULT_NOPAGE
    map_new_page(mm, va, True)
    new = pte.frame
    assert new is not None
    copy_highpage(new, frame)
    return DONE


@milestone(quiet=True)
@atomic
def insert_page(mm: Mm, va: Va, frame: Folio) -> Flags:
    """finish_fault() (mm/memory.c, Linux 6.12) for a page-cache page: the entry takes a reference of its own. It may be written at
    once, but for a private mapping's."""
    pte = mm.ptes[va]
    if not pte_none(pte):
        return VM_FAULT_NOPAGE
    get_page(frame)
    vma = mm.mm_mt[va]
    assert vma is not None
    pte.frame = frame
    pte.writable = vma.write
    if len(frame.shared) > 0:
        if is_cow_mapping(vma):
            pte.writable = False
    return DONE


@atomic
def insert_pfn(mm: Mm, va: Va, frame: Folio) -> Flags:
    """insert_pfn() (mm/memory.c, Linux 6.12), under vmf_insert_pfn() and vmf_insert_mixed(): an entry without a reference."""
    pte = mm.ptes[va]
    vma = mm.mm_mt[va]
    assert vma is not None
    if pte_none(pte):
        pte.frame = frame
        pte.writable = vma.write
        pte.special = True
    return VM_FAULT_NOPAGE


# Zaps.


@milestone(quiet=True)
@atomic
def zap_pte_range(mm: Mm, start: Va, end: VaEnd, keep_cows: bool = False) -> Gather:
    """zap_pte_range() (mm/memory.c), zap_huge_pmd() (mm/huge_memory.c, Linux 6.12): clear the entries of a range under the page-table lock.

    The folios whose references are now to be dropped, in the order of addresses: the mmu_gather. Entries of a PFN
    mapping, of device memory and of the zero page held none. That of a device-exclusive entry is dropped at once.
    `keep_cows` (zap_details.even_cows, negated): but not the process's own copies of a file's pages.
    """
    gather: Gather = []
    for va in range(start, end):
        pte = mm.ptes[va]
        if not pte_none(pte) and not (keep_cows and is_cow_page(mm, va)):
            folio = vm_normal_folio(pte)
            if folio is not None and not is_second_half(mm, va):
                gather.append(folio)
            zap_entry(mm, va)
    if len(huge_pages) > 0:
        for gone in gather:
            folio_remove_rmap(gone)
    return gather


@atomic
def zap_entry(mm: Mm, va: Va) -> None:
    """One entry of zap_pte_range() (mm/memory.c, Linux 6.12); of a huge page's both halves go in the same step."""
    pte = mm.ptes[va]
    if len(huge_pages) > 0:
        if is_one_entry(mm, va) and va % HPAGE_PMD_NR != 0:
            mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.NONE
    if len(swap_slots) + len(migrations) + len(owners) > 0:
        if is_swap_pte(pte):
            zap_nonpresent_pte(pte)
    if len(mm.tlb) > 0:
        tlb_remove_tlb_entry(mm, va)
    pte_clear(pte)


def zap_pmd_range(mm: Mm, start: Va, end: VaEnd) -> Gather:
    """zap_pmd_range() (mm/memory.c, Linux 6.12), where there are huge pages: one page table, or one huge page, after another. A huge page of which only
    a part is in the range is split first; if another has come until then, it too."""
    gather: Gather = []
    at: VaEnd = start
    while at < end:
        with atomic:
            stop: VaEnd = min(end, (at // HPAGE_PMD_NR + 1) * HPAGE_PMD_NR)
            partly = is_partly_in(mm, at, stop)
            if not partly:
                for va in range(at, stop):
                    if not pte_none(mm.ptes[va]):
                        folio = vm_normal_folio(mm.ptes[va])
                        if folio is not None and not is_second_half(mm, va):
                            gather.append(folio)
                        zap_entry(mm, va)
                for gone in gather:
                    folio_remove_rmap(gone)
        if partly:
            split_huge_pmd(mm, at)
        else:
            at = stop
    return gather


@atomic
def is_cow_page(mm: Mm, va: Va) -> bool:
    """should_zap_folio(), should_zap_cows() (mm/memory.c, Linux 6.12), negated: an anonymous page, in a private mapping of a file; one in
    swap or in device memory, or that is being moved, too."""
    if len(frames[ZERO_PFN].shared) > 0:
        vma = mm.mm_mt[va]
        folio = mm.ptes[va].frame
        if vma is not None and folio is not None:
            return is_cow_mapping(vma) and folio_test_anon(vma, va, folio)
        if len(swap_slots) > 0:
            return vma is not None and is_cow_mapping(vma) and is_swap_entry(mm.ptes[va])
    return False


@atomic
def zap_nonpresent_pte(pte: Pte) -> None:
    """The part of zap_pte_range() (mm/memory.c, Linux 6.12; zap_nonpresent_ptes() later) about an entry that is not present."""
    folio = pte.frame
    if len(owners) > 0:
        if pte.kind in (PteKind.DEVICE_EXCLUSIVE, PteKind.DEVICE_PRIVATE) and folio is not None:
            put_page(folio)
    if len(swap_slots) > 0:
        if is_swap_entry(pte):
            free_swap_and_cache(pte.swap)


@atomic
def tlb_finish_mmu(gather: Gather) -> None:
    """tlb_finish_mmu() (mm/mmu_gather.c), free_pages_and_swap_cache() (mm/swap_state.c, Linux 6.12): drop the references that zapped
    entries held; a page that nothing maps any more leaves the swap cache too."""
    for frame in gather:
        if len(swap_slots) > 0:
            free_swap_cache(frame)
        put_page(frame)


def zap_page_range_single(mm: Mm, start: Va, end: VaEnd) -> None:
    """zap_page_range_single() (mm/memory.c, Linux 6.12): take away the entries of a range within one vma. The mmap lock is held, or nothing there is
    of huge pages of a file."""
    if len(hugetlb_vma_locks) > 0:
        with atomic:
            vma = mm.mm_mt[start]
            is_hugetlb = vma is not None and is_hugetlb_vma(vma)
        if is_hugetlb and vma is not None:
            hugetlb_zap_begin(vma)
            zap_range(mm, start, end)
            hugetlb_zap_end(vma)
            return
    zap_range(mm, start, end)


def zap_range(mm: Mm, start: Va, end: VaEnd) -> None:
    """unmap_single_vma() (mm/memory.c), unmap_hugepage_range() (mm/hugetlb.c, Linux 6.12), in a bracket."""
    rng = Range(start, end, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(huge_pages) > 0:
        gather = zap_pmd_range(mm, start, end)
    else:
        gather = zap_pte_range(mm, start, end)
    mmu_notifier_invalidate_range_end(mm, rng)
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, start, end)
    if gather:
        tlb_finish_mmu(gather)


def zap_file_pages(mm: Mm, start: Va, end: VaEnd) -> None:
    """zap_page_range_single() with zap_details.even_cows false (mm/memory.c, Linux 6.12): the process's own copies stay."""
    rng = Range(start, end, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    gather = zap_pte_range(mm, start, end, True)
    mmu_notifier_invalidate_range_end(mm, rng)
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, start, end)
    if gather:
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


@milestone
def unmap_mapping_range(mapping: AddressSpace, first: Pgoff, last: Pgoff) -> None:
    """unmap_mapping_range(), unmap_mapping_range_tree() (mm/memory.c, Linux 6.12): zap pages `first` to `last` of
    a file; copies that private mappings have made of them stay.

    Wherever any process maps them, one bracket for each vma in the order of the file's tree, under `i_mmap_rwsem` for reading.
    Takes no mmap lock.
    """
    mapping.i_mmap_rwsem.read_lock()
    vma: Ref[Vma] = None
    while True:
        with atomic:
            vma = vma_interval_tree_iter_first(mapping, first, last) if vma is None else vma_interval_tree_iter_next(vma, first, last)
            if vma is None:
                break
            mm = vma.vm_mm
            assert mm is not None
            start = vma.vm_start + first - vma.vm_pgoff if vma.vm_pgoff < first else vma.vm_start
            end = min(vma.vm_end, vma.vm_start + last + 1 - vma.vm_pgoff)
        if len(frames[ZERO_PFN].shared) > 0:
            zap_file_pages(mm, start, end)
        else:
            zap_page_range_single(mm, start, end)
    mapping.i_mmap_rwsem.read_unlock()
