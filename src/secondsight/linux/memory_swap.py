"""mm/memory.c: faults on entries that are neither empty nor present (`swapops`).

A page in swap is found in the swap cache, or read, and mapped under the folio lock; a page that is being moved is waited for
(`migrate`); a page in device memory is brought back by its driver (`migrate_device`); one that a device has for itself is given back
(`rmap_exclusive`). `do_swap_page` looks which of these it is.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, bound, milestone, require, shared_array, tracepoint, wait_until
from secondsight.linux.filemap import folio_lock_or_retry, folio_unlock
from secondsight.linux.fork import mms
from secondsight.linux.migrate import migration_entry_wait
from secondsight.linux.mm import page_anon_exclusive
from secondsight.linux.mm_flags import FAULT_FLAG_ALLOW_RETRY, FAULT_FLAG_WRITE, VM_FAULT_RETRY
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    Event,
    Flags,
    Folio,
    Mm,
    Pagemap,
    Pgoff,
    Pte,
    PteKind,
    Range,
    SwpEntry,
    Va,
    Vma,
    huge_pages,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start, owners
from secondsight.linux.page_alloc import (
    ZERO_PFN,
    folio_nr_pages,
    folio_order,
    folio_page,
    folio_try_get,
    frames,
    get_page,
    page_folio,
    put_page,
)
from secondsight.linux.page_alloc_slowpath import GFP_HIGHUSER_MOVABLE, direct_reclaim, might_alloc
from secondsight.linux.pgtable import exclusive_is_mapped, vm_normal_folio
from secondsight.linux.rmap import folio_add_new_anon_rmap
from secondsight.linux.swap_state import (
    folio_free_swap,
    read_swap_cache,
    swap_cache_get_folio,
    swap_free,
)
from secondsight.linux.swapops import is_device_private_entry, is_swap_entry, migrations, swap_slots
from secondsight.linux.userfaultfd import userfaultfd_pte_wp
from secondsight.linux.util import locked_vms, vma_is_locked
from secondsight.linux.vma_lock import release_fault_lock

__all__ = [
    "do_swap_page",
    "faults_hold_nothing",
    "locks_the_device_page",
    "restore_event",
    "restore_exclusive_pte",
]


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
            return 0
    if len(swap_slots) > 0:
        return do_swap_entry(mm, va, flags)
    return 0


swapped_in_read_only = shared_array(bool, bound("swapped_in_read_only", most=1))
"""Of size 1: a page that comes back from swap may be written only if a write has brought it back: see `releases` (swapped-in-for-reading-may-be-written)."""

slot_goes_after_mapping = shared_array(bool, bound("slot_goes_after_mapping", most=1))
"""Of size 1: what comes back from swap is mapped before its slot may go, and who comes too late to map it frees the slot: see `releases` (slot-goes-after-mapping)."""


@milestone(quiet=True)
def do_swap_entry(mm: Mm, va: Va, flags: Flags) -> Flags:
    """do_swap_page() (mm/memory.c, Linux 6.12) of a page in swap: find it in the swap cache, or read it; lock it; map it, if the entry
    is still the same."""
    if len(direct_reclaim) > 0:
        with atomic:
            there = not is_swap_entry(mm.ptes[va]) or swap_slots[mm.ptes[va].swap].cache is not None
        if not there:
            might_alloc(GFP_HIGHUSER_MOVABLE)
    with atomic:
        pte = mm.ptes[va]
        if not is_swap_entry(pte):
            return 0
        entry = pte.swap
        folio = swap_cache_get_folio(entry)
        if folio is None:
            folio = read_swap_cache(entry)
    if map_swapped_page(mm, va, folio, entry, flags):
        return 0
    release_fault_lock(mm, va, flags)
    wait_until(not page_folio(folio).locked)
    put_page(folio)
    return VM_FAULT_RETRY


@atomic
def map_swapped_page(mm: Mm, va: Va, folio: Folio, entry: SwpEntry, flags: Flags) -> bool:
    """The part of do_swap_page() under the folio lock and the page-table lock: one step, in which the folio lock is waited for.

    False: it is to be waited for without the mmap lock (folio_lock_or_retry()). The page may be written if no other process has had a
    share in it, or nobody has it any more, and is dirty then if this is a write. The swap cache keeps the page and the slot, unless
    it is written and nobody else has it, or is locked (mlock()). So a page can be writable, in the swap cache,
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
        if should_try_to_free_swap(folio, vma, write and not keeps_slot(pte)):
            folio_free_swap(folio)
        if folio.anon_vma is None:
            folio_add_new_anon_rmap(folio, vma, va)
        pte.frame = folio
        pte.kind = PteKind.PRESENT
        pte.writable = vma.write and (write or len(swapped_in_read_only) == 0)
        if len(folio.shared) > 0:
            folio.shared[0] = not pte.exclusive and (folio.refcount != 1 or (len(slot_goes_after_mapping) > 0 and not write))
            pte.writable = pte.writable and not folio.shared[0]
            pte.exclusive = False
        if len(mm.userfaultfd) > 0:
            if userfaultfd_pte_wp(vma, pte):
                pte.writable = False
        pte.dirty = write and pte.writable
        pte.swap = 0
    else:
        comes_too_late(folio)
    return True


@atomic
def comes_too_late(folio: Folio) -> None:
    """The end of do_swap_page() (mm/memory.c, Linux 6.12) where the entry, or what is in the swap cache, is another by now; Linux 7.2 frees the slot first, if nothing stands for it."""
    if len(slot_goes_after_mapping) > 0:
        folio_free_swap(folio)
    put_page(folio)


@atomic
def keeps_slot(pte: Pte) -> bool:
    """Whether a write leaves the slot of a page that it brings back: in Linux 7.2 do_swap_page() (mm/memory.c) has mapped a page of the process's alone for writing by the time it looks, and
    asks as if for reading. Left out: that it does not where userfaultfd write-protects."""
    return len(slot_goes_after_mapping) > 0 and pte.exclusive


@atomic
def should_try_to_free_swap(folio: Folio, vma: Vma, write: bool) -> bool:
    """should_try_to_free_swap() (mm/memory.c, Linux 6.12): whether the slot of a page that is about to be mapped goes, if nothing else stands for it: what stays in memory needs none, and
    of what is written it is the last reference but this one's and the page's own. Left out: that swap is nearly full; since 7.2 devices without I/O (SWP_SYNCHRONOUS_IO), of which none goes."""
    if len(locked_vms) > 0:
        if vma_is_locked(vma) or folio_test_mlocked(folio):
            return True
    return write and folio.refcount == 1 + folio_nr_pages(folio)


@atomic
def folio_test_mlocked(folio: Folio) -> bool:
    """folio_test_mlocked() (include/linux/page-flags.h, Linux 6.12): whether a locked vma, of any process, maps the folio."""
    for i in range(len(mms)):
        mm = mms[i]
        for va in range(len(mm.ptes)):
            vma = mm.mm_mt[va]
            if vma is not None and vm_normal_folio(mm.ptes[va]) is folio and vma_is_locked(vma):
                return True
    return False


@atomic
def map_swapped_pages(vma: Vma, va: Va, folio: Folio, entry: SwpEntry, write: bool) -> None:
    """The same of a folio of two pages: both are mapped where both entries are its, and alike; else the one that is asked for. The folio holds a
    reference for each."""
    mm = vma.vm_mm
    assert mm is not None
    if not (folio.swapcache and has_entry(mm, va, entry) and folio.swap <= entry <= folio.swap + 1):
        comes_too_late(folio)
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
    if should_try_to_free_swap(folio, vma, write and not keeps_slot(mm.ptes[va])):
        folio_free_swap(folio)
    for _ in range(npages - 1):
        get_page(folio)
    alone = folio.refcount == npages and (len(slot_goes_after_mapping) == 0 or write)
    for at in range(first, first + npages):
        pte = mm.ptes[at]
        page = folio_page(folio, at - start)
        pte.frame = page
        pte.kind = PteKind.PRESENT
        pte.writable = vma.write and (write or len(swapped_in_read_only) == 0)
        if len(page.shared) > 0:
            page.shared[0] = not pte.exclusive and not alone
            pte.writable = pte.writable and not page.shared[0]
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


faults_hold_nothing = shared_array(bool, bound("faults_hold_nothing", most=1))
"""Of size 1: a fault has no reference to a page in device memory when it asks for it, as before 16ce101db85d."""


@tracepoint
def device_page_wanted(folio: Folio, ret: Flags) -> None:
    """A CPU wants a page that is in a device's memory, and its driver has said `ret`: 0, the access is tried again; or VM_FAULT_SIGBUS."""


@milestone(quiet=True)
def do_device_private_page(mm: Mm, va: Va) -> Flags:
    """The part of do_swap_page() (mm/memory.c, Linux 6.12) about a page in device memory: hold it, and have its driver bring it back.

    0: try the access again, whether the page has come or not. The reference of each fault is one that migrate_vma_pages() does not
    expect, but for the one of its own `fault_page`: two faults for one page may keep each other from it again and again. Linux 7.2
    takes the folio lock before the reference, and who does not get it waits.
    """
    if len(faults_hold_nothing) > 0:
        return ask_without_reference(mm, va)
    with atomic:
        pte = mm.ptes[va]
        folio = pte.frame
        pgmap: Ref[Pagemap] = None
        if folio is not None and is_device_private_entry(pte):
            pgmap = page_pgmap(folio)
        waits = False
        if pgmap is not None and folio is not None:
            if len(locks_the_device_page) > 0:
                waits = folio.locked
                folio.locked = True
            if not waits:
                get_page(folio)
    if pgmap is None or folio is None:
        return 0
    if len(locks_the_device_page) > 0:
        if waits:
            wait_until(not folio.locked or not is_device_private_entry(mm.ptes[va]) or mm.ptes[va].frame is not folio)
            return 0
    ret = pgmap.migrate_to_ram(mm, va, folio)
    with atomic:
        device_page_wanted(folio, ret)
        if len(locks_the_device_page) > 0:
            folio_unlock(folio)
        put_page(folio)
    return ret


@atomic
def page_pgmap(folio: Folio) -> Ref[Pagemap]:
    """`page->pgmap` (include/linux/mm_types.h, Linux 6.12) of a page that an entry says is in device memory: whose driver is asked for it."""
    pgmap = folio.pgmap[0]
    require(pgmap is not None, "use-after-free", "a fault asks for the driver of a page in device memory that has gone")
    return pgmap


def ask_without_reference(mm: Mm, va: Va) -> Flags:
    """The same as it was before 16ce101db85d: of the page that the entry had when the fault began it asks the pagemap for its driver, whoever has the page by now."""
    with atomic:
        pte = mm.ptes[va]
        folio = pte.frame if is_device_private_entry(pte) else None
    if folio is None:
        return 0
    pgmap = page_pgmap(folio)
    assert pgmap is not None
    ret = pgmap.migrate_to_ram(mm, va, folio)
    device_page_wanted(folio, ret)
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
        return 0
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
    return 0


@atomic
def restore_exclusive_pte(mm: Mm, va: Va, folio: Folio) -> None:
    """restore_exclusive_pte() (mm/memory.c, Linux 6.12), under the page-table lock: only if the entry is what it was.

    The reference that the entry holds becomes the present entry's. Writable, if the vma still is (maybe_mkwrite()); since 6.15 whatever mprotect() has done
    meanwhile, if the page is the process's alone (can_change_pte_writable()), and dirty only if the folio is.
    """
    pte = mm.ptes[va]
    vma = mm.mm_mt[va]
    if pte.kind == PteKind.DEVICE_EXCLUSIVE and pte.frame is folio and vma is not None:
        pte.kind = PteKind.PRESENT
        if len(exclusive_is_mapped) > 0:
            pte.writable = page_anon_exclusive(folio)
        if not vma.write:
            pte.writable = False
        if len(swap_slots) > 0:
            pte.dirty = pte.writable
            if len(exclusive_is_mapped) > 0:
                pte.dirty = pte.writable and page_folio(folio).dirty
