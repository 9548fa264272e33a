"""mm/madvise.c: MADV_FREE: private pages that reclaim may drop instead of writing them to swap, as long as nobody writes them again.

    in a notifier bracket (CLEAR)
        the page-table lock: entries of pages in swap go; those of others stay, writable, and are clean from now on
        the folio is not swapbacked any more (`Folio.lazyfree`)
    reclaim (`vmscan`, `rmap.discard_lazyfree`): written since, or held by somebody: a page like any other again. Else it is dropped

So who uses the page by a mapping of its own is told once, although the page is still there and may be used again. A device's store does not make the CPU's
entry dirty: what its driver does not mark (`folio_mark_dirty`) is lost, or found zero.

Left out: that a folio is marked when a CPU's batch is full, or emptied by who reclaims or moves pages; huge pages; TLBs.
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, milestone
from secondsight.linux.errno import EINVAL, ENOMEM
from secondsight.linux.madvise import next_part, try_vma_read_lock
from secondsight.linux.memory import vma_flags
from secondsight.linux.mm_flags import VM_PFNMAP
from secondsight.linux.mm_types import Event, Folio, Mm, Pgoff, Range, Va, VaEnd, coherent_memory, madvise_locks_vma
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.pgtable import folio_mapcount, pte_clear, vm_normal_folio
from secondsight.linux.rmap import flush_tlb_batched_pending
from secondsight.linux.swap_state import folio_free_swap, free_swap_and_cache
from secondsight.linux.swapops import is_swap_entry
from secondsight.linux.tlb import tlb_flush_mmu_tlbonly, tlb_keeps_entry
from secondsight.linux.userfaultfd import userfaultfd_remove
from secondsight.linux.util import vma_is_locked
from secondsight.linux.vma_lock import vma_end_read

__all__ = ["madvise_free"]


@milestone
def madvise_free(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """madvise_dontneed_free() with MADV_FREE, madvise_free_single_vma() (mm/madvise.c, Linux 6.12), vma by vma: 0; -ENOMEM where nothing is mapped, done all the same where
    something is; -EINVAL at the first vma that is a file's, a PFN mapping or locked."""
    if len(madvise_locks_vma) > 0:
        locked = try_vma_read_lock(mm, va, va + length)
        if locked is not None:
            done = free_parts(mm, va, length)
            vma_end_read(locked)
            return done
    mm.mmap_lock.read_lock()
    ret = free_parts(mm, va, length)
    mm.mmap_lock.read_unlock()
    return ret


def free_parts(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """madvise_walk_vmas() with MADV_FREE (mm/madvise.c, Linux 6.12), vma by vma. The mmap lock is held, then and now, or the lock of the one vma."""
    ret: Errno = 0
    at: VaEnd = va
    while at < va + length:
        start, at, error = next_part(mm, at, va + length)
        if error != 0:
            ret = error
        end: VaEnd = at
        if start < end and len(mm.userfaultfd) > 0:
            kept = userfaultfd_remove(mm, start, end)
            if not kept:
                mm.mmap_lock.read_lock()
                refused, end = look_again(mm, start, end)
                if refused != 0:
                    ret = refused
                    break
        if start < end:
            with atomic:
                vma = mm.mm_mt[start]
                is_anonymous = vma is not None and vma.vm_file is None
            if not is_anonymous:
                ret = -EINVAL
                break
            rng = Range(start, end, Event.CLEAR, True)
            mmu_notifier_invalidate_range_start(mm, rng)
            madvise_free_pte_range(mm, start, end)
            mmu_notifier_invalidate_range_end(mm, rng)
            if len(mm.tlb) > 0:
                tlb_flush_mmu_tlbonly(mm, start, end)
    return ret


@atomic
def look_again(mm: Mm, start: Va, end: VaEnd) -> tuple[Errno, VaEnd]:
    """The part of madvise_dontneed_free() (mm/madvise.c, Linux 6.12) behind userfaultfd_remove(): what is mapped may be another vma."""
    vma = mm.mm_mt[start]
    if vma is None:
        return -ENOMEM, end
    if vma_flags(vma) & VM_PFNMAP != 0 or vma_is_locked(vma):
        return -EINVAL, end
    return 0, min(end, vma.vm_end)


@milestone(quiet=True)
@atomic
def madvise_free_pte_range(mm: Mm, start: Va, end: VaEnd) -> None:
    """madvise_free_pte_range() (mm/madvise.c, Linux 6.12), under the page-table lock."""
    if len(mm.tlb) > 0:
        flush_tlb_batched_pending(mm)
    for va in range(start, end):
        pte = mm.ptes[va]
        if is_swap_entry(pte):
            free_swap_and_cache(pte.swap)
            pte_clear(pte)
        else:
            folio = vm_normal_folio(pte)
            if folio is not None and may_be_freed(folio):
                if len(mm.tlb) > 0:
                    if pte.dirty and pte.writable:
                        tlb_keeps_entry(mm, va)
                pte.dirty = False
                if not folio.swapcache and not folio.isolated:
                    folio.lazyfree[0] = True


@atomic
def may_be_freed(folio: Folio) -> bool:
    """The lines of madvise_free_pte_range() (mm/madvise.c, Linux 6.12) about one folio: one that is dirty, or in the swap cache, may be if it is nobody else's and not
    locked. It is clean then, and in the swap cache no more."""
    if len(coherent_memory) > 0:
        if folio.pgmap[0] is not None:
            return False
    if folio.swapcache or folio.dirty:
        if folio.locked or folio_mapcount(folio) != 1:
            return False
        if folio.swapcache and not folio_free_swap(folio):
            return False
        folio.dirty = False
    return True
