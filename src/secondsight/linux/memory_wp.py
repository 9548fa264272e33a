"""mm/memory.c: copies on write.

A write to private memory that is not the process's alone (the zero page, a file's page, one that a child or parent has too) makes a
copy. The copy is made first, then it takes the other's place in a bracket, and then the old page's references are dropped:

    held_for_copy()                             what is there is held, and copied
    mmu_notifier_invalidate_range_start()
    replace_page()                              one step: the page-table lock
    mmu_notifier_invalidate_range_end()
    drop_copied()

A page that is found to be the process's alone is written as it is (`wp_can_reuse_anon_folio`).

In Linux 3.2 there is no bracket: the new page is told of as it is entered (`mmu_notifier_2011`).

Left out: an allocation and the entry that it is for are one step; the loser of a race gives its page back unseen.
"""

from __future__ import annotations

from secondsight.lang import Char, Ref, atomic, milestone
from secondsight.linux.highmem import second_half
from secondsight.linux.mm import folio_test_anon, is_cow_mapping, page_anon_exclusive, vma_needs_dirty_tracking
from secondsight.linux.mm_flags import VM_FSDAX
from secondsight.linux.mm_types import (
    Event,
    Flags,
    Folio,
    Mm,
    Range,
    Va,
    Vma,
    anon_vmas,
    fs_dax_mappings,
    huge_pages,
    hugetlb_private,
    page_notifiers,
    secondary_tlbs,
    writes_back,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.mmu_notifier_2011 import mmu_notifier_change_pte
from secondsight.linux.page_alloc import (
    ZERO_PFN,
    alloc_page,
    folio_order,
    frames,
    get_page,
    is_zero_page,
    page_folio,
    put_page,
)
from secondsight.linux.page_alloc_slowpath import GFP_HIGHUSER_MOVABLE, direct_reclaim, might_alloc
from secondsight.linux.pgtable import pte_page, pte_present
from secondsight.linux.rmap import anon_vma_is_prepared, folio_add_new_anon_rmap, folio_remove_rmap
from secondsight.linux.swap_state import (
    folio_free_swap,
    free_swap_cache,
)
from secondsight.linux.swapops import pte_markers, swap_slots
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly
from secondsight.linux.userfaultfd import userfaultfd_pte_wp, userfaultfd_wp

__all__ = [
    "can_change_pte_writable",
    "map_new_page",
    "wp_can_reuse_anon_folio",
    "wp_page_copy",
]


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


@milestone(quiet=True)
def wp_page_copy(mm: Mm, va: Va, unshare: bool) -> Flags:
    """wp_page_copy() (mm/memory.c, Linux 6.12): a private page of its own instead of one that may not be written.

    Where nothing else is copied on write that is the zero page: the new one is zeroed, and there is no old reference to drop.
    `unshare`: it may not be written either, until somebody writes.
    """
    if len(direct_reclaim) > 0:
        might_alloc(GFP_HIGHUSER_MOVABLE)
    if len(frames[ZERO_PFN].shared) > 0:
        return wp_page_copy_user(mm, va, unshare)
    rng = Range(va, va + 1, Event.CLEAR, True)
    if len(page_notifiers) == 0:
        mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, va, va + 1)
    replace_zero_page(mm, va, unshare)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, va, va + 1)
    if len(page_notifiers) == 0:
        mmu_notifier_invalidate_range_end(mm, rng)
    return 0


def wp_page_copy_user(mm: Mm, va: Va, unshare: bool) -> Flags:
    """wp_page_copy(), __wp_page_copy_user() (mm/memory.c, Linux 6.12) of a page that others have too: first the copy, then the bracket
    in which it takes the other's place, then what the entry held of that is dropped.

    Whether a copy is needed is looked at once more where the old page is held and copied: what has changed since is as if the fault had
    begun later.
    """
    with atomic:
        old = held_for_copy(mm, va)
        contents: Char = old.contents if old is not None else 0
        second: Char = second_half(old) if old is not None else 0
    if old is None:
        return 0
    rng = Range(va, va + 1, Event.CLEAR, True)
    if len(page_notifiers) == 0:
        mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, va, va + 1)
    with atomic:
        copied = replace_page(mm, va, old, contents, unshare)
        if len(frames[ZERO_PFN].second) > 0:
            new = mm.ptes[va].frame
            if copied and new is not None:
                new.second[0] = second
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, va, va + 1)
    if len(page_notifiers) == 0:
        mmu_notifier_invalidate_range_end(mm, rng)
    if not is_zero_page(old):
        drop_copied(old, copied)
    return 0


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
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, va, va + 1)  # ptep_clear_flush()
    new = pte.frame
    assert new is not None
    new.contents = contents
    if len(page_notifiers) > 0:
        mmu_notifier_change_pte(mm, va, new, not unshare)
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
        if len(mm.tlb) > 0:
            tlb_flush_mmu_tlbonly(mm, va, va + 1)
        if len(page_notifiers) > 0:
            new = mm.ptes[va].frame
            assert new is not None
            mmu_notifier_change_pte(mm, va, new, not unshare)


@atomic
def can_change_pte_writable(vma: Vma, va: Va) -> bool:
    """can_change_pte_writable(), and vma_wants_manual_pte_write_upgrade() (mm/mprotect.c, mm/internal.h, Linux 6.12): whether an
    entry of a vma that may be written becomes writable at once. One of a shared mapping does, unless its file wants to hear of the
    first write, or user space does by a userfaultfd's write protection: then one that is dirty does, of which it has heard (in 6.1 of the latter all do; here a clean one takes a fault more, which may hide
    a bug of what needs none; of fs-dax none does here: by the kernel one that is dirty does, and nobody hears of that); of private memory only a
    page that is the process's alone does: not the zero page, the file's, or one that it shares."""
    mm = vma.vm_mm
    assert mm is not None
    if len(mm.userfaultfd) > 0:
        if userfaultfd_pte_wp(vma, mm.ptes[va]):
            return False
    if len(pte_markers) > 0:  # vma_wants_writenotify()
        if userfaultfd_wp(vma) and vma.vm_file is not None and not is_cow_mapping(vma):
            return mm.ptes[va].dirty
    if len(fs_dax_mappings) > 0:
        mapped = vma.vm_file
        if mapped is not None and mapped.vm_flags() == VM_FSDAX:
            return False
    if not is_cow_mapping(vma):
        if len(writes_back) > 0:
            return mm.ptes[va].dirty or not vma_needs_dirty_tracking(vma)
        return True
    if len(hugetlb_private) > 0:  # hugetlb_change_protection() (mm/hugetlb.c): the next write faults
        file = vma.vm_file
        if file is not None and file.is_hugetlb():
            return False
    folio = pte_page(mm.ptes[va])
    return folio is not None and folio_test_anon(vma, va, folio) and page_anon_exclusive(folio)
