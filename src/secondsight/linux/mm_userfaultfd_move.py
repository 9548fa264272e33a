"""mm/userfaultfd.c, UFFDIO_MOVE (6.8 on): user space fills a page with one that it has at another address, and has it there no more.

Both places are private memory that may be written, the new one registered. The locks of the two vmas, or the mmap lock, are held for reading:

    mmu_notifier_invalidate_range_start(CLEAR)      of the old place
    move_present_pte()                              folio lock, anon_vma lock, both page-table locks
    mmu_notifier_invalidate_range_end()

The frame stays, as with mremap; but the address space does, too: a load from the old place finds zeros.

Left out: huge pages, several pages in one call, UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES; the reference to the folio while its lock is waited for: waiting for
the two locks, looking again and moving are one step.
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic, milestone, wait_until
from secondsight.linux.errno import EAGAIN, EBUSY, EEXIST, EFAULT, EINVAL, ENOENT
from secondsight.linux.fork import vmas
from secondsight.linux.migrate import migration_entry_wait
from secondsight.linux.mm import page_anon_exclusive, vma_is_accessible
from secondsight.linux.mm_flags import VM_LOCKED
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import Event, Folio, Mm, PteKind, Range, Va, Vma, anon_vmas, secondary_tlbs
from secondsight.linux.mm_userfaultfd import find_vma_and_prepare_anon, lock_prepared_vma, uffd_mfill_unlock
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start, owners
from secondsight.linux.page_alloc import ZERO_PFN, frames, is_zero_page
from secondsight.linux.pgtable import pte_clear, pte_none
from secondsight.linux.swapops import is_migration_entry, is_swap_entry, is_swap_pte, migrations, pte_markers, swap_slots
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly
from secondsight.linux.userfaultfd import userfaultfd_armed
from secondsight.linux.vma_lock import lock_vma_under_rcu

__all__ = ["move_pages"]


@milestone
def move_pages(mm: Mm, dst: Va, src: Va) -> Errno:
    """move_pages() (mm/userfaultfd.c, Linux 6.12) of one page.

    -ENOENT: a place is not mapped, or no page is at `src`; -EAGAIN: a change is in progress; -EINVAL: a place cannot be moved from, or to;
    -EEXIST: a page is at `dst`; -EBUSY: another process may have the page, or it is pinned; -EFAULT: a device has it.
    """
    locked = uffd_move_lock(mm, dst, src)
    if not locked:
        return -ENOENT
    mm.userfaultfd[0].map_changing_lock.read_lock()
    with atomic:
        ret: Errno = -EAGAIN if mm.userfaultfd[0].mmap_changing > 0 else validate_move_areas(mm, dst, src)
    if ret == 0:
        ret = move_pages_pte(mm, dst, src)
        while ret == -EAGAIN:
            ret = move_pages_pte(mm, dst, src)
    with atomic:
        mm.userfaultfd[0].map_changing_lock.read_unlock()
        uffd_move_unlock(mm, dst, src)
    return ret


def uffd_move_lock(mm: Mm, dst: Va, src: Va) -> bool:
    """uffd_move_lock() (mm/userfaultfd.c, Linux 6.12): the locks of both vmas, where vmas have such; else the mmap lock. False: a place is not mapped, and
    nothing is locked.

    Who has one vma's lock does not wait for the other's: it begins again under the mmap lock, as one who changes both would wait for the first.
    """
    if len(vmas) > 0:
        if len(vmas[0].vm_lock) > 0:
            locked = lock_prepared_vma(mm, dst)
            if locked:
                locked = lock_source(mm, dst, src)
            if locked:
                return True
    mm.mmap_lock.read_lock()
    with atomic:
        there = find_vma_and_prepare_anon(mm, dst) is not None and mm.mm_mt[src] is not None
        if len(vmas) > 0:
            if len(vmas[0].vm_lock) > 0:
                if there:
                    start_read(mm.mm_mt[dst])
                    if mm.mm_mt[src] is not mm.mm_mt[dst]:
                        start_read(mm.mm_mt[src])
                mm.mmap_lock.read_unlock()
                return there
        if not there:
            mm.mmap_lock.read_unlock()
    return there


@atomic
def lock_source(mm: Mm, dst: Va, src: Va) -> bool:
    """The part of uffd_move_lock() about the second vma, which may be the first. False: neither is locked."""
    both = mm.mm_mt[src] is mm.mm_mt[dst] or lock_vma_under_rcu(mm, src) is not None
    if not both:
        uffd_mfill_unlock(mm, dst)
    return both


@atomic
def start_read(vma: Ref[Vma]) -> None:
    """down_read() of a vma's lock, under the mmap lock."""
    assert vma is not None
    vma.vm_lock[0].rwsem.read_lock()


@atomic
def uffd_move_unlock(mm: Mm, dst: Va, src: Va) -> None:
    """uffd_move_unlock() (mm/userfaultfd.c, Linux 6.12)."""
    if len(vmas) > 0:
        if len(vmas[0].vm_lock) > 0:
            if mm.mm_mt[src] is not mm.mm_mt[dst]:
                uffd_mfill_unlock(mm, src)
    uffd_mfill_unlock(mm, dst)


@atomic
def validate_move_areas(mm: Mm, dst: Va, src: Va) -> Errno:
    """validate_move_areas() (mm/userfaultfd.c, Linux 6.12): both are private memory, may be written, and what is filled is registered."""
    target, source = mm.mm_mt[dst], mm.mm_mt[src]
    assert target is not None and source is not None
    if not source.write or not target.write or vma_is_accessible(source) != vma_is_accessible(target):
        return -EINVAL
    if (source.flags[0] ^ target.flags[0]) & VM_LOCKED != 0:
        return -EINVAL
    return 0 if userfaultfd_armed(target) and target.vm_file is None and source.vm_file is None else -EINVAL


def move_pages_pte(mm: Mm, dst: Va, src: Va) -> Errno:
    """move_pages_pte() (mm/userfaultfd.c, Linux 6.12): -EAGAIN: it is to be tried again."""
    rng = Range(src, src + 1, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, src, src + 1)
    ret = move_entry(mm, dst, src)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, src, src + 1)
    if len(migrations) > 0:
        if ret == -EAGAIN:
            migration_entry_wait(mm, src)
    mmu_notifier_invalidate_range_end(mm, rng)
    return ret


@milestone(quiet=True)
@atomic
def move_entry(mm: Mm, dst: Va, src: Va) -> Errno:
    """The rest of move_pages_pte(): move_present_pte(), move_swap_pte(), move_zeropage_pte() (mm/userfaultfd.c, Linux 6.12), with the locks that they wait
    for."""
    target, source = mm.ptes[dst], mm.ptes[src]
    if not pte_none(target):
        return -EEXIST
    if pte_none(source):
        return -ENOENT
    if len(swap_slots) + len(migrations) + len(owners) + len(pte_markers) > 0:
        if is_swap_pte(source):
            return move_nonpresent(mm, dst, src)
    folio = source.frame
    assert folio is not None
    if is_zero_page(folio):
        pte_clear(source)
        if len(mm.tlb) > 0:
            tlb_flush_mmu_tlbonly(mm, src, src + 1)  # ptep_clear_flush()
        target.frame = frames[ZERO_PFN]
        return 0
    if not page_anon_exclusive(folio):
        return -EBUSY
    wait_for_locks(folio, mm.mm_mt[src])
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, src, src + 1)
    if folio.pins > 0:
        return -EBUSY
    moves_anon_rmap(folio, mm.mm_mt[dst], dst)
    target.frame = folio
    target.writable = True
    if len(swap_slots) > 0:
        target.dirty = source.dirty
    pte_clear(source)
    return 0


@atomic
def move_nonpresent(mm: Mm, dst: Va, src: Va) -> Errno:
    """Of an entry that is not present: of a page in swap it moves, and a page in the swap cache knows of it."""
    target, source = mm.ptes[dst], mm.ptes[src]
    if len(migrations) > 0:
        if is_migration_entry(source):
            return -EAGAIN
    if len(swap_slots) > 0:
        if is_swap_entry(source):
            if len(frames[ZERO_PFN].shared) > 0:
                if not source.exclusive:
                    return -EBUSY
                target.exclusive = True
            cached = swap_slots[source.swap].cache
            if cached is not None:
                wait_until(not cached.locked)
                moves_anon_rmap(cached, mm.mm_mt[dst], dst)
            target.kind = PteKind.SWAP
            target.swap = source.swap
            pte_clear(source)
            return 0
    return -EFAULT


@atomic
def wait_for_locks(folio: Folio, vma: Ref[Vma]) -> None:
    """folio_lock(), anon_vma_lock_write() (include/linux/rmap.h, Linux 6.12): waited for, and given back in the same step."""
    wait_until(not folio.locked)
    assert vma is not None
    if len(anon_vmas) > 0:
        anon_vma = vma.anon_vma
        if anon_vma is not None:
            anon_vma.rwsem.write_lock()
            anon_vma.rwsem.write_unlock()


@atomic
def moves_anon_rmap(folio: Folio, vma: Ref[Vma], va: Va) -> None:
    """folio_move_anon_rmap() (mm/rmap.c, Linux 6.12), and the folio's index."""
    assert vma is not None
    if len(anon_vmas) > 0:
        folio.anon_vma = vma.anon_vma
        folio.index = linear_page_index(vma, va)
