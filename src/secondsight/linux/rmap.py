"""mm/rmap.c: from a folio to the page-table entries that map it.

A folio says what it belongs to: anonymous memory (`anon_vma`) or a file (`mapping`), and which page of it (`index`). Whoever wants
its entries changed walks over the vmas that may map that page, under the lock that keeps them there, and in each looks whether
the entry is the folio's:

    folio lock
    folio_lock_anon_vma_read(): anon_vma lock or i_mmap_rwsem, for reading; no walk over a folio of private memory that is mapped no more
    for each vma:       rmap_walk_first(), rmap_walk_next()
        mmu_notifier_invalidate_range_start()           whether the entry maps the folio or not
        page_vma_mapped_walk(), the entry changes       one step: the page-table lock
        mmu_notifier_invalidate_range_end()
    rmap_walk_unlock()

So a subscriber is called, and may sleep, with the folio lock and one of these locks held.

Of a huge page the walk finds one entry, or its pages' own; what it covers is one bracket.

Where CPUs have TLBs reclaim flushes them when it has looked at its whole list (`try_to_unmap_flush`, `tlb`).

Left out: KSM.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, bound, milestone, shared_array
from secondsight.linux.fork import mms
from secondsight.linux.huge_memory_pmd import split_huge_pmd_locked
from secondsight.linux.mm import is_cow_mapping, page_anon_exclusive
from secondsight.linux.mm_flags import VM_NONE
from secondsight.linux.mm_interval_tree import (
    anon_vma_interval_tree_insert,
    anon_vma_interval_tree_iter_first,
    anon_vma_interval_tree_iter_next,
    anon_vma_interval_tree_remove,
    linear_page_index,
    vma_interval_tree_iter_first,
    vma_interval_tree_iter_next,
)
from secondsight.linux.mm_types import (
    NOT_PREPARED,
    PREPARED,
    AddressSpace,
    AnonVma,
    Event,
    Folio,
    Mm,
    Pgoff,
    Pte,
    PteKind,
    Range,
    SwpEntry,
    Va,
    VaEnd,
    Vma,
    anon_vmas,
    hints,
    huge_pages,
    page_notifiers,
    secondary_tlbs,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.mmu_notifier_2011 import mmu_notifier_invalidate_page
from secondsight.linux.page_alloc import folio_order, folio_page, page_folio, put_page
from secondsight.linux.pgtable import folio_mapcount, folio_mapped, page_mapcount, pte_clear, pte_present
from secondsight.linux.swap_state import swap_duplicate
from secondsight.linux.swapops import pte_markers, swap_slots
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, flush_tlb_mm, tlb_keeps_entry
from secondsight.linux.userfaultfd import pte_install_uffd_wp_if_needed
from secondsight.linux.util import locked_vms, vma_is_locked

__all__ = [
    "anon_vma_is_prepared",
    "anon_vma_link",
    "anon_vma_prepare",
    "anon_vma_unlink",
    "flush_tlb_batched_pending",
    "folio_add_file_rmap", "folio_remove_file_rmap",
    "folio_add_new_anon_rmap",
    "folio_lock_anon_vma_read",
    "folio_remove_rmap",
    "lazyfree_outlives_holders",
    "page_at",
    "page_vma_mapped_walk",
    "rmap_walk_first",
    "rmap_walk_lock",
    "rmap_walk_next",
    "rmap_walk_unlock",
    "try_to_unmap",
    "try_to_unmap_flush",
    "try_to_unmap_flush_dirty",
    "vma_address",
    "vma_address_end",
]

lazyfree_outlives_holders = shared_array(bool, bound("lazyfree_outlives_holders", most=1))
"""Of size 1 where reclaim leaves a folio as MADV_FREE made it while somebody holds it: see `releases` (held-page-stays-lazyfree)."""

# Which vmas an anon_vma has. Callers hold the mmap lock for writing.


@atomic
def anon_vma_prepare(vma: Vma) -> None:
    """anon_vma_prepare(), anon_vma_chain_assign() (mm/rmap.c, Linux 6.12): walks come to a new vma of private memory.

    Already when it is mapped, where the kernel does it at the first fault.
    """
    if len(anon_vmas) > 0:
        if is_cow_mapping(vma):
            if vma.anon_vma is None:
                mm = vma.vm_mm
                assert mm is not None
                vma.anon_vma = anon_vmas[mms.index(mm)]
            anon_vma_link(vma)


@atomic
def anon_vma_link(vma: Vma) -> None:
    """anon_vma_chain_assign(), anon_vma_interval_tree_insert() (mm/rmap.c, Linux 6.12), under the anon_vma's lock: it is taken, and waited for, in the caller's step."""
    if len(anon_vmas) > 0:
        anon_vma = vma.anon_vma
        if anon_vma is not None:
            anon_vma.rwsem.write_lock()
            anon_vma_interval_tree_insert(vma, anon_vma)
            anon_vma.rwsem.write_unlock()


@atomic
def anon_vma_unlink(vma: Vma) -> None:
    """unlink_anon_vmas() (mm/rmap.c, Linux 6.12): no walk comes to the vma any more; it waits for those that are under way."""
    if len(anon_vmas) > 0:
        anon_vma = vma.anon_vma
        if anon_vma is not None:
            anon_vma.rwsem.write_lock()
            anon_vma_interval_tree_remove(vma, anon_vma)
            anon_vma.rwsem.write_unlock()


@atomic
def anon_vma_is_prepared(mm: Mm, va: Va) -> None:
    """__anon_vma_prepare() (mm/rmap.c, Linux 6.12): a first page of private memory is about to come: the vma has an anon_vma from now on."""
    vma = mm.mm_mt[va]
    assert vma is not None
    if len(vma.anon_prepared) > 0:
        if vma.anon_prepared[0] == NOT_PREPARED:
            vma.anon_prepared[0] = PREPARED
            if len(vma.anon_id) > 0:
                vma.anon_id[0] = find_mergeable_anon_vma(vma)


@atomic
def find_mergeable_anon_vma(vma: Vma) -> Va:
    """find_mergeable_anon_vma() (mm/vma.c, Linux 6.12): the `anon_id` of the vma behind it, or before it, if that continues it and flags differ in nothing but what mprotect() may change; else
    one of its own. (What lies side by side in the model may not in the kernel: such are not merged anyway, so no one can tell.)"""
    mm = vma.vm_mm
    assert mm is not None
    following = mm.mm_mt[vma.vm_end] if vma.vm_end < len(mm.ptes) else None
    if following is not None:
        if following.anon_prepared[0] == PREPARED and anon_vma_compatible(vma, following):
            return following.anon_id[0]
    prev = mm.mm_mt[vma.vm_start - 1] if vma.vm_start > 0 else None
    if prev is not None:
        if prev.anon_prepared[0] == PREPARED and anon_vma_compatible(prev, vma):
            return prev.anon_id[0]
    return vma.vm_start


@atomic
def anon_vma_compatible(a: Vma, b: Vma) -> bool:
    """anon_vma_compatible() (mm/vma.c, Linux 6.12), of neighbours."""
    if len(a.flags) > 0:
        if (a.flags[0] ^ b.flags[0]) & (255 - VM_NONE) != 0:
            return False
    if len(a.more_flags) > 0:
        if a.more_flags[0] != b.more_flags[0]:
            return False
    return a.vm_file is b.vm_file and b.vm_pgoff == a.vm_pgoff + b.vm_start - a.vm_start


# What a folio belongs to.


@atomic
def folio_add_new_anon_rmap(folio: Folio, vma: Vma, va: Va) -> None:
    """folio_add_new_anon_rmap(), __folio_set_anon() (mm/rmap.c, Linux 6.12): a new folio is anonymous memory of `vma` at `va`."""
    if len(anon_vmas) > 0:
        folio.anon_vma = vma.anon_vma
        folio.index = linear_page_index(vma, va)


@atomic
def folio_add_file_rmap(folio: Folio, mapping: AddressSpace, pgoff: Pgoff) -> None:
    """The part of __filemap_add_folio() (mm/filemap.c, Linux 6.12) that a walk goes by: the folio is page `pgoff` of `mapping`."""
    if len(anon_vmas) > 0:
        folio.mapping = mapping
        folio.index = pgoff


@atomic
def folio_remove_file_rmap(folio: Folio) -> None:
    """The part of page_cache_delete() (mm/filemap.c, Linux 6.12) that a walk goes by: the folio, which is locked, is no file's any more.
    Migration counts no reference of the page cache to it then."""
    if len(anon_vmas) > 0:
        folio.mapping = None


# The walk.


def folio_lock_anon_vma_read(folio: Folio) -> bool:
    """folio_lock_anon_vma_read() (mm/rmap.c, Linux 6.12), of who changes entries; i_mmap_trylock_read(), i_mmap_lock_read() (include/linux/fs.h) of a file's folio. False:
    there is nothing to walk over: a folio of private memory is mapped no more, which is looked at before the lock is waited for and not after. The folio is locked.

    Left out: rmap walks that give up when they would have to wait.
    """
    with atomic:
        anon_vma = folio.anon_vma
        mapping = folio.mapping
        mapped = anon_vma is None or folio_mapped(folio)
        locked = mapped and rmap_walk_trylock(folio)
    if mapped and not locked:
        rmap_walk_lock_slowly(anon_vma, mapping)
    return mapped


def rmap_walk_lock(folio: Folio) -> None:
    """rmap_walk_anon_lock() (mm/rmap.c) without an `anon_lock`, i_mmap_lock_read() (include/linux/fs.h, Linux 6.12): the vmas stay. The folio is locked."""
    with atomic:
        anon_vma = folio.anon_vma
        mapping = folio.mapping
        locked = rmap_walk_trylock(folio)
    if not locked:
        rmap_walk_lock_slowly(anon_vma, mapping)


@atomic
def rmap_walk_trylock(folio: Folio) -> bool:
    """anon_vma_trylock_read() (include/linux/rmap.h), i_mmap_trylock_read() (include/linux/fs.h, Linux 6.12). True of a folio that is nobody's: it is found nowhere."""
    anon_vma = folio.anon_vma
    mapping = folio.mapping
    if anon_vma is not None:
        return anon_vma.rwsem.read_trylock()
    if mapping is not None:
        return mapping.i_mmap_rwsem.read_trylock()
    return True


def rmap_walk_lock_slowly(anon_vma: Ref[AnonVma], mapping: Ref[AddressSpace]) -> None:
    """anon_vma_lock_read() (include/linux/rmap.h), i_mmap_lock_read() (include/linux/fs.h, Linux 6.12), of what a folio is of."""
    if anon_vma is not None:
        anon_vma.rwsem.read_lock()
    elif mapping is not None:
        mapping.i_mmap_rwsem.read_lock()


def rmap_walk_unlock(folio: Folio) -> None:
    """anon_vma_unlock_read() (include/linux/rmap.h), i_mmap_unlock_read() (include/linux/fs.h, Linux 6.12)."""
    with atomic:
        anon_vma = folio.anon_vma
        mapping = folio.mapping
    if anon_vma is not None:
        anon_vma.rwsem.read_unlock()
    elif mapping is not None:
        mapping.i_mmap_rwsem.read_unlock()


@atomic
def rmap_walk_first(folio: Folio) -> Ref[Vma]:
    """The first vma of rmap_walk_anon() or rmap_walk_file() (mm/rmap.c, Linux 6.12); None: none maps the page.

    One that munmap has taken out of its mm is found as long as it has not been freed.
    """
    anon_vma = folio.anon_vma
    mapping = folio.mapping
    if anon_vma is not None:
        return anon_vma_interval_tree_iter_first(anon_vma, folio.index, last_index(folio))
    if mapping is None:
        return None
    return vma_interval_tree_iter_first(mapping, folio.index, folio.index)


@atomic
def rmap_walk_next(folio: Folio, vma: Vma) -> Ref[Vma]:
    """The next vma of rmap_walk_anon() or rmap_walk_file() (mm/rmap.c, Linux 6.12)."""
    if folio.anon_vma is not None:
        return anon_vma_interval_tree_iter_next(vma, folio.index, last_index(folio))
    return vma_interval_tree_iter_next(vma, folio.index, folio.index)


@atomic
def last_index(folio: Folio) -> Pgoff:
    """The last of the pages of a folio that is no file's, as its place."""
    return folio.index + folio_order(folio)


@atomic
def vma_address(vma: Vma, folio: Folio) -> Va:
    """vma_address() (mm/internal.h, Linux 6.12): where a vma maps the folio, or of one of two pages the first that the vma has."""
    if len(huge_pages) > 0:
        if folio.index < vma.vm_pgoff:
            return vma.vm_start
    return vma.vm_start + folio.index - vma.vm_pgoff


@atomic
def vma_address_end(vma: Vma, folio: Folio) -> VaEnd:
    """vma_address_end() (mm/internal.h, Linux 6.12): where what a vma maps of the folio ends."""
    if len(huge_pages) > 0:
        if folio_order(folio) > 0:
            return min(vma.vm_start + last_index(folio) + 1 - vma.vm_pgoff, vma.vm_end)
    return vma_address(vma, folio) + 1


@atomic
def page_at(folio: Folio, vma: Vma, va: Va) -> Folio:
    """The page of a folio that a walk looks for at `va` of a vma."""
    return folio_page(folio, linear_page_index(vma, va) - folio.index) if folio_order(folio) > 0 else folio


@atomic
def page_vma_mapped_walk(folio: Folio, pte: Pte) -> bool:
    """page_vma_mapped_walk(), check_pte() (mm/page_vma_mapped.c, Linux 6.12), of one page: whether the entry maps the folio.

    Present entries do, and those of device-private and device-exclusive pages. (For migration entries: `migrate`.)
    """
    return pte.frame is folio and pte.kind in (PteKind.PRESENT, PteKind.DEVICE_PRIVATE, PteKind.DEVICE_EXCLUSIVE)


@atomic
def folio_remove_rmap(page: Folio) -> None:
    """__folio_remove_rmap() (mm/rmap.c, Linux 6.12), where an entry of a page has gone: a folio of which one page is not mapped any more, and the
    other is, comes on the deferred split list; not one in the swap cache."""
    if len(huge_pages) > 0 and len(anon_vmas) > 0:
        folio = page_folio(page)
        tail = folio.tail[0]
        if tail is not None and folio.anon_vma is not None and not folio.swapcache:
            if (page_mapcount(folio) == 0) != (page_mapcount(tail) == 0):
                folio.partially_mapped[0] = True


# Unmapping, for reclaim.


@milestone(quiet=True)
def try_to_unmap(folio: Folio) -> None:
    """try_to_unmap() (mm/rmap.c, Linux 6.12): take the folio out of every page table; entries of anonymous memory become swap entries.

    The folio is locked. It may be mapped afterwards all the same: ask. TLBs are flushed later (TTU_BATCH_FLUSH, `try_to_unmap_flush`).
    """
    locked = folio_lock_anon_vma_read(folio)
    if not locked:
        return
    vma = rmap_walk_first(folio)
    while vma is not None:
        if not try_to_unmap_one(folio, vma):
            break
        with atomic:
            vma = rmap_walk_next(folio, vma) if folio_mapped(folio) else None
    rmap_walk_unlock(folio)


def try_to_unmap_one(folio: Folio, vma: Vma) -> bool:
    """try_to_unmap_one() (mm/rmap.c, Linux 6.12), in one vma: false ends the walk."""
    with atomic:
        mm = vma.vm_mm
        assert mm is not None
        va = vma_address(vma, folio)
    if len(huge_pages) > 0:
        return try_to_unmap_large(folio, vma, mm, va)
    if len(page_notifiers) > 0:
        return unmap_and_tell(folio, mm, va)
    rng = Range(va, va + 1, Event.CLEAR, True)
    if len(hints) > 0:
        rng = Range(va, va + 1, Event.CLEAR, True, None, hints[0])
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, va, va + 1)
    ret = unmap_entry(folio, folio, mm, va)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, va, va + 1)
    mmu_notifier_invalidate_range_end(mm, rng)
    return ret


@atomic
def unmap_and_tell(folio: Folio, mm: Mm, va: Va) -> bool:
    """try_to_unmap_one() (mm/rmap.c, Linux 3.2): subscribers are told of an entry that has gone under the page-table lock. Whoever unmaps holds the folio."""
    mapped = page_vma_mapped_walk(folio, mm.ptes[va])
    ret = unmap_entry(folio, folio, mm, va)
    if mapped and ret:
        mmu_notifier_invalidate_page(mm, va)
    return ret


def try_to_unmap_large(folio: Folio, vma: Vma, mm: Mm, va: Va) -> bool:
    """The same where there are folios of two pages. A huge page's one entry becomes two (TTU_SPLIT_HUGE_PMD); then the page-table lock is given up, and
    the walk begins again."""
    with atomic:
        end = vma_address_end(vma, folio)
    rng = Range(va, end, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, va, end)
    split_huge_pmd_locked(mm, va, folio, False)
    ret = unmap_entries(folio, vma, mm, va, end)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, va, end)
    mmu_notifier_invalidate_range_end(mm, rng)
    return ret


@atomic
def unmap_entries(folio: Folio, vma: Vma, mm: Mm, va: Va, end: VaEnd) -> bool:
    """The loop of try_to_unmap_one() (mm/rmap.c, Linux 6.12): the entries of one page table."""
    for at in range(va, end):
        kept = not unmap_entry(folio, page_at(folio, vma, at), mm, at)
        if kept:
            return False
    return True


@atomic
def discard_lazyfree(folio: Folio, mm: Mm, va: Va) -> bool:
    """The part of try_to_unmap_one() (mm/rmap.c, Linux 6.12) about a folio that is not swapbacked: its entry goes, and what it holds is lost, unless it has been written
    since MADV_FREE, or somebody else holds it. Then it is like any other again, and the walk ends. Since 6.15 (read in 7.2) one that is held, and has not been written, stays
    what it is (`lazyfree_outlives_holders`)."""
    pte = mm.ptes[va]
    only_mapped = folio.refcount == 1 + folio_mapcount(folio)
    if pte.dirty:
        folio.dirty = True
    if not only_mapped or folio.dirty:
        if folio.dirty or len(lazyfree_outlives_holders) == 0:
            folio.lazyfree[0] = False
        return False
    if len(mm.tlb) > 0:
        set_tlb_ubc_flush_pending(mm, va)
    pte_clear(pte)
    put_page(folio)
    return True


@milestone(quiet=True)
@atomic
def unmap_entry(folio: Folio, page: Folio, mm: Mm, va: Va) -> bool:
    """The part of try_to_unmap_one() (mm/rmap.c, Linux 6.12) under the page-table lock, of one page of a folio. False: the page may be pinned
    (folio_try_share_anon_rmap_pte()), or is locked (mlock()), and stays where it is. That it was written is the folio's by then."""
    pte = mm.ptes[va]
    if not page_vma_mapped_walk(page, pte):
        return True
    if len(locked_vms) > 0:
        vma = mm.mm_mt[va]
        if vma is not None and vma_is_locked(vma):
            return False
    if len(folio.lazyfree) > 0:
        if folio.lazyfree[0]:
            return discard_lazyfree(folio, mm, va)
    if len(swap_slots) > 0:
        if pte.dirty:
            folio.dirty = True
    if folio.anon_vma is not None:
        exclusive = page_anon_exclusive(page)
        if exclusive and folio.pins > 0:
            return False
        if len(mm.tlb) > 0:
            set_tlb_ubc_flush_pending(mm, va)
        if len(swap_slots) > 0:
            if len(page.shared) > 0:
                pte.exclusive = exclusive
            entry: SwpEntry = folio.swap
            if page is not folio:
                entry += 1
            swap_duplicate(entry)
            pte.frame = None
            pte.kind = PteKind.SWAP
            pte.swap = entry
            pte.writable = False
            pte.dirty = False
    else:
        if len(mm.tlb) > 0:
            set_tlb_ubc_flush_pending(mm, va)
        protected = False
        if len(pte_markers) > 0:
            protected = pte.uffd_wp[0]
        pte_clear(pte)
        if len(pte_markers) > 0:
            mapping = mm.mm_mt[va]
            if mapping is not None:
                pte_install_uffd_wp_if_needed(mapping, pte, protected)
    put_page(folio)
    return True


# TLBs, where CPUs have them.


@atomic
def set_tlb_ubc_flush_pending(mm: Mm, va: Va) -> None:
    """set_tlb_ubc_flush_pending() (mm/rmap.c, Linux 6.12), before an entry goes: it is flushed later. Left out: that an mm which no other CPU runs is flushed at once
    (should_defer_flush())."""
    if pte_present(mm.ptes[va]) is None:
        return
    tlb_keeps_entry(mm, va)
    mm.tlb[0].batched = True
    if len(swap_slots) == 0 or mm.ptes[va].dirty:
        mm.tlb[0].batch_writable = True


@atomic
def flush_tlb_batched_pending(mm: Mm) -> None:
    """flush_tlb_batched_pending() (mm/rmap.c, Linux 6.12), under the page-table lock, before entries are zapped, protected or moved: what reclaim has put off is flushed now."""
    if mm.tlb[0].batched:
        flush_tlb_mm(mm)


@milestone(quiet=True)
@atomic
def try_to_unmap_flush() -> None:
    """try_to_unmap_flush() (mm/rmap.c), arch_tlbbatch_flush() (arch/x86/mm/tlb.c, Linux 6.12): nothing that reclaim has unmapped is in the TLB of any CPU. What another has put off
    meanwhile is flushed too."""
    for i in range(len(mms)):
        flush_tlb_batched_pending(mms[i])


@atomic
def try_to_unmap_flush_dirty() -> None:
    """try_to_unmap_flush_dirty() (mm/rmap.c, Linux 6.12), before a page is written: only where one of the entries that have gone was dirty, and a CPU may store by it."""
    writable = False
    for i in range(len(mms)):
        if mms[i].tlb[0].batch_writable:
            writable = True
    if writable:
        try_to_unmap_flush()
