"""mm/migrate_device.c: what `migrate_device` has unmapped moves, or stays, and is mapped again.

    migrate_vma_pages()         the destination takes the place of the source; where nothing was, it is mapped, in a bracket of MIGRATE
    migrate_vma_finalize()      entries map the destination, or the source again; all is unlocked
"""

from __future__ import annotations

from secondsight.lang import (
    atomic,
    milestone,
    tracepoint,
)
from secondsight.linux.filemap import folio_unlock
from secondsight.linux.huge_memory import pte_alloc
from secondsight.linux.memremap_private import folio_is_device_private, folio_is_zone_device
from secondsight.linux.migrate import folio_migrated
from secondsight.linux.migrate_device import COPIED_LATER, MigrateVma, is_locked_for_us
from secondsight.linux.mm import vma_is_accessible
from secondsight.linux.mm_types import Count, Event, Folio, PteKind, Range, Va, VaEnd, coherent_memory, huge_pages, secondary_tlbs
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.page_alloc import get_page, is_zero_page, put_page
from secondsight.linux.pgtable import is_one_entry, pte_clear, pte_none, pte_page
from secondsight.linux.rmap import anon_vma_is_prepared, folio_add_new_anon_rmap
from secondsight.linux.rmap_migrate import remove_migration_ptes
from secondsight.linux.swap_state import folio_free_swap
from secondsight.linux.swapops import swap_slots
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly

__all__ = [
    "device_page_inserted",
    "migrate_vma_finalize",
    "migrate_vma_pages",
]


@tracepoint
def device_page_inserted(folio: Folio) -> None:
    """A page of a device's is mapped where nothing was: a CPU that gets it back must find zeroes."""


@milestone
def migrate_vma_pages(args: MigrateVma) -> None:
    """migrate_vma_pages(), __migrate_device_pages() (mm/migrate_device.c, Linux 6.12): each destination takes the place of its source.

    What cannot be moved loses `migrate`. One bracket for all places that were empty, from the first of them on; it is open until all
    pages are done.
    """
    npages = args.npages
    notified = False
    first: Va = 0
    for i in range(npages):
        inserts = migrate_one(args, i)
        if inserts:
            with atomic:
                mm = args.mm
                owner = args.pgmap_owner
                va: Va = args.start + i
                end: VaEnd = args.start + npages
            assert mm is not None
            if not notified:
                notified = True
                first = va
                mmu_notifier_invalidate_range_start(mm, Range(va, end, Event.MIGRATE, True, owner))
            if len(secondary_tlbs) > 0:
                entries_change(mm, va, va + 1)
            migrate_vma_insert_page(args, i)
            if len(secondary_tlbs) > 0:
                flush_secondary_tlbs(mm, va, va + 1)
    if notified:
        with atomic:
            mm = args.mm
            owner = args.pgmap_owner
            end = args.start + npages
        assert mm is not None
        mmu_notifier_invalidate_range_end(mm, Range(first, end, Event.MIGRATE, True, owner))


@milestone(quiet=True)
@atomic
def migrate_one(args: MigrateVma, i: Count) -> bool:
    """The loop of __migrate_device_pages() (mm/migrate_device.c, Linux 6.12), for one page. True: there was none, and its place is to be
    populated."""
    src, dst = args.src[i], args.dst[i]
    if dst is None:
        args.migrate[i] = False
    elif src is None:
        return args.migrate[i]
    elif not may_go(src, dst):
        args.migrate[i] = False
    elif folio_migrate_mapping(src, dst, args.fault_page is src):
        args.moved[i] = args.migrate[i]
        if len(coherent_memory) == 0 or args.flags & COPIED_LATER == 0:
            folio_migrated(src, dst)
    else:
        args.migrate[i] = False
    return False


@atomic
def may_go(src: Folio, dst: Folio) -> bool:
    """Whether a page may go to where it is to: a file's, or one that stays in the swap cache, not into device memory."""
    if not folio_is_zone_device(dst):
        return True
    if len(swap_slots) > 0:
        if src.swapcache:
            folio_free_swap(src)
    return src.mapping is None and not src.swapcache


@atomic
def folio_migrate_mapping(src: Folio, dst: Folio, faulted: bool) -> bool:
    """folio_migrate_mapping(), folio_migrate_flags() (mm/migrate.c, Linux 6.12), of a page that is in no cache: false (-EAGAIN) where
    somebody holds it beside the caller, and the fault that it is for."""
    expected: Count = 2 if faulted else 1
    if src.mapping is not None or src.swapcache or src.refcount != expected:
        return False
    dst.anon_vma = src.anon_vma
    dst.index = src.index
    if len(swap_slots) > 0:
        if src.dirty:
            dst.dirty = True
        src.dirty = False
        if len(dst.lazyfree) > 0:
            dst.lazyfree[0] = src.lazyfree[0]
    return True


@milestone(quiet=True)
@atomic
def migrate_vma_insert_page(args: MigrateVma, i: Count) -> None:
    """migrate_vma_insert_page() (mm/migrate_device.c, Linux 6.12), under the page-table lock: map the page where nothing is, or the zero page.

    If a fault has put something there meanwhile, the page is not moved.
    """
    mm = args.mm
    dst = args.dst[i]
    assert mm is not None and dst is not None
    va: Va = args.start + i
    pte = mm.ptes[va]
    vma = mm.mm_mt[va]
    there = pte_page(pte)
    assert vma is not None
    if len(huge_pages) > 0:
        if is_one_entry(mm, va):
            args.migrate[i] = False
            return
        pte_alloc(mm, va)
    if vma.vm_file is None:
        anon_vma_is_prepared(mm, va)
    if vma.vm_file is not None or mm.unstable or not (pte_none(pte) or (there is not None and is_zero_page(there))):
        args.migrate[i] = False
        return
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, va, va + 1)  # ptep_clear_flush() of the zero page
    get_page(dst)
    folio_add_new_anon_rmap(dst, vma, va)
    device_page_inserted(dst)
    pte_clear(pte)
    pte.frame = dst
    pte.writable = vma.write
    if len(pte.prot_none) > 0:
        pte.prot_none[0] = not vma_is_accessible(vma)
    if folio_is_device_private(dst):
        pte.kind = PteKind.DEVICE_PRIVATE


@milestone
def migrate_vma_finalize(args: MigrateVma) -> None:
    """migrate_vma_finalize(), migrate_device_finalize() (mm/migrate_device.c, Linux 6.12): the entries of each page map its destination, or
    the source again; everything is unlocked, and the driver's references are dropped."""
    npages = args.npages
    for i in range(npages):
        with atomic:
            src, dst = args.src[i], args.dst[i]
            if dst is not None and not args.migrate[i] and src is not None:
                folio_unlock(dst)
                put_page(dst)
                dst = None
            if src is not None and dst is None:
                src.isolated = False
        if src is None:
            if dst is not None:
                with atomic:
                    folio_unlock(dst)
                    put_page(dst)
        else:
            if dst is None:
                remove_migration_ptes(src, src)
            else:
                remove_migration_ptes(src, dst)
            with atomic:
                if not is_locked_for_us(args, src):
                    folio_unlock(src)
                put_page(src)
                args.src[i] = None
                args.moved[i] = False
                if dst is not None:
                    folio_unlock(dst)
                    put_page(dst)
