"""mm/madvise.c: MADV_DONTNEED, MADV_PAGEOUT, MADV_HUGEPAGE. (MADV_COLLAPSE: `khugepaged`.)

The first two hold the mmap lock for reading, so they run beside page faults of the same process; MADV_HUGEPAGE holds it for writing. Since 6.17 MADV_DONTNEED and
MADV_FREE of a part of one vma hold that vma's lock alone (`madvise_locks_vma`): they run beside whoever holds the mmap lock for writing and changes another vma, or none.
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic
from secondsight.linux.errno import EINVAL, ENOMEM
from secondsight.linux.filemap import folio_trylock, folio_unlock
from secondsight.linux.huge_memory_split import split_folio
from secondsight.linux.memory import vma_flags
from secondsight.linux.memory_zap import zap_page_range_single
from secondsight.linux.mm_flags import VM_HUGEPAGE, VM_PFNMAP
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    Count,
    Folio,
    Gather,
    Mm,
    Pgoff,
    Va,
    VaEnd,
    Vma,
    huge_pages,
    madvise_locks_vma,
)
from secondsight.linux.page_alloc import folio_nr_pages, folio_page, get_page, page_folio, put_page
from secondsight.linux.pgtable import folio_likely_mapped_shared, folio_mapcount, pmd_trans_huge, pte_page, vm_normal_folio
from secondsight.linux.rmap import flush_tlb_batched_pending
from secondsight.linux.swap import folio_isolate_lru
from secondsight.linux.userfaultfd import userfaultfd_armed, userfaultfd_remove
from secondsight.linux.util import vma_is_locked
from secondsight.linux.vma import prepare_splits, vma_modify_flags, vmas_changed
from secondsight.linux.vma_lock import lock_vma_under_rcu, vma_end_read
from secondsight.linux.vmscan import reclaim_pages

__all__ = ["find_vma_from", "madvise_dontneed", "madvise_hugepage", "madvise_pageout", "try_vma_read_lock"]


@atomic
def try_vma_read_lock(mm: Mm, start: Va, end: VaEnd) -> Ref[Vma]:
    """try_vma_read_lock(), is_vma_lock_sufficient() (mm/madvise.c, Linux 7.2): the one vma that the range lies in, locked for reading; None: the mmap lock is to be taken, for there is more
    than one vma, or none, it is being changed, or registered with a userfaultfd. Left out: memory of another process (process_madvise())."""
    if len(madvise_locks_vma) > 0:
        vma = lock_vma_under_rcu(mm, start)
        if vma is not None:
            sufficient = end <= vma.vm_end
            if len(mm.userfaultfd) > 0:
                if userfaultfd_armed(vma):
                    sufficient = False
            if sufficient:
                return vma
            vma_end_read(vma)
    return None


def madvise_dontneed(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """madvise_dontneed_free() (mm/madvise.c, Linux 6.12): forget what `length` pages hold.

    Private anonymous memory reads as zero afterwards; a file's page is found again in the file. Left out: that 7.2 drops the last references when it has given the lock
    up.
    """
    if len(madvise_locks_vma) > 0:
        vma = try_vma_read_lock(mm, va, va + length)
        if vma is not None:
            done = dontneed_parts(mm, va, length)
            vma_end_read(vma)
            return done
    mm.mmap_lock.read_lock()
    ret = dontneed_parts(mm, va, length)
    mm.mmap_lock.read_unlock()
    return ret


def dontneed_parts(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """madvise_walk_vmas() with MADV_DONTNEED (mm/madvise.c, Linux 6.12), vma by vma. The mmap lock is held, then and now, or the lock of the one vma."""
    ret = 0
    at: VaEnd = va
    while at < va + length:
        start, at, error = next_part(mm, at, va + length)
        if error != 0:
            ret = error
        if len(huge_pages) > 0:
            last = whole_huge_pages(mm, start, at)
            if start < last:
                zap_page_range_single(mm, start, last)
        elif len(mm.userfaultfd) > 0:
            if start < at:
                told = dontneed_told(mm, start, at)
                if told != 0:
                    ret = told
                    break
        elif start < at:
            zap_page_range_single(mm, start, at)
    return ret


def dontneed_told(mm: Mm, start: Va, end: VaEnd) -> Errno:
    """The part of madvise_dontneed_free() (mm/madvise.c, Linux 6.12) about one vma, where user space may have to be told first
    (userfaultfd_remove()): 0, or an error that ends it all. What is mapped there may be another vma then; what lies behind its end is left
    alone. The mmap lock is held for reading, then and now."""
    at_once = userfaultfd_remove(mm, start, end)
    if not at_once:
        mm.mmap_lock.read_lock()
        with atomic:
            vma = mm.mm_mt[start]
            if vma is None:
                return -ENOMEM
            if vma_flags(vma) & VM_PFNMAP != 0 or vma_is_locked(vma):
                return -EINVAL
            end = min(end, vma.vm_end)
    zap_page_range_single(mm, start, end)
    return 0


def madvise_pageout(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """madvise_pageout(), madvise_cold_or_pageout_pte_range() (mm/madvise.c, Linux 6.12): reclaim `length` pages, if they can be.

    Pages that are present, and mapped here alone, are taken off their lists first, those of a vma together, then reclaimed one after
    the other; those that stay go back together (`vmscan.reclaim_pages`).
    """
    mm.mmap_lock.read_lock()
    ret = 0
    at: VaEnd = va
    while at < va + length:
        start, at, error = next_part(mm, at, va + length)
        if error != 0:
            ret = error
        if len(huge_pages) > 0:
            while start < at:
                with atomic:
                    stop: VaEnd = min(at, (start // HPAGE_PMD_NR + 1) * HPAGE_PMD_NR)
                pageout_pmd_range(mm, start, stop)
                start = stop
        elif start < at:
            folios = isolate_range(mm, start, at)
            if folios:
                reclaim_pages(folios)
    mm.mmap_lock.read_unlock()
    return ret


@atomic
def next_part(mm: Mm, at: Va, end: VaEnd) -> tuple[VaEnd, VaEnd, Errno]:
    """A round of madvise_walk_vmas() (mm/madvise.c, Linux 6.12): where the next vma's part of `at` to `end` starts, and where it ends.

    -ENOMEM where something before it is not mapped: it goes on nevertheless. -EINVAL where it is a VM_PFNMAP one or locked
    (can_madv_lru_vma(), madvise_dontneed_free_valid_vma()), or begins within a huge page of a file: the rest is nothing then.
    """
    start = find_vma_from(mm, at, end)
    error = 0 if start == at else -ENOMEM
    if start == end:
        return end, end, error
    vma = mm.mm_mt[start]
    assert vma is not None
    if vma_flags(vma) & VM_PFNMAP or vma_is_locked(vma):
        return end, end, -EINVAL
    if len(huge_pages) > 0:
        file = vma.vm_file
        if file is not None and start % HPAGE_PMD_NR != 0:
            if file.is_hugetlb():
                return end, end, -EINVAL
    return start, min(vma.vm_end, end), error


@atomic
def whole_huge_pages(mm: Mm, start: VaEnd, end: VaEnd) -> VaEnd:
    """The last lines of madvise_dontneed_free_valid_vma() (mm/madvise.c, Linux 6.12): of huge pages of a file those are forgotten that are in the
    range whole; where it ends."""
    vma = mm.mm_mt[start] if start < end else None
    if vma is not None:
        file = vma.vm_file
        if file is not None:
            if file.is_hugetlb():
                return end // HPAGE_PMD_NR * HPAGE_PMD_NR
    return end


@atomic
def find_vma_from(mm: Mm, start: VaEnd, end: VaEnd) -> VaEnd:
    """find_vma() (mm/mmap.c, Linux 6.12): the first mapped page from `start` on; `end` if there is none before."""
    for i in range(start, end):
        if mm.mm_mt[i] is not None:
            return i
    return end


def madvise_hugepage(mm: Mm, va: Va, length: Pgoff, low: Va, high: VaEnd) -> Errno:
    """madvise_update_vma() (mm/madvise.c), hugepage_madvise() (mm/huge_memory.c, Linux 6.12): huge pages are wanted in `length` pages. What is
    mapped there stays as it is. 0, or -ENOMEM where nothing is mapped, done all the same where something is.

    `low`, `high`: see `vma.vma_merge_new_range`.
    """
    mm.mmap_lock.write_lock()
    ret = 0
    start: VaEnd = va
    while start < va + length:
        with atomic:
            first = find_vma_from(mm, start, va + length)
            end = first
            changes = False
            if first != start:
                ret = -ENOMEM
            vma = mm.mm_mt[first] if first < va + length else None
            if vma is not None:
                end = min(vma.vm_end, va + length)
                changes = vma.flags[0] & VM_HUGEPAGE == 0
        if changes:
            assert vma is not None
            ret = min(ret, prepare_splits(mm, first, end))
            if ret == -EINVAL:
                break
            with atomic:
                vma_modify_flags(vma, first, end, vma.write, vma.flags[0] | VM_HUGEPAGE, low, high)
        start = end
    with atomic:
        vmas_changed(mm, va, va + length)
        mm.mmap_lock.write_unlock()
    return ret


@atomic
def isolate_range(mm: Mm, start: Va, end: VaEnd) -> Gather:
    """The part of madvise_cold_or_pageout_pte_range() (mm/madvise.c, Linux 6.12) under the page-table lock: the folios to reclaim."""
    folios: Gather = []
    if len(mm.tlb) > 0:
        flush_tlb_batched_pending(mm)
    for va in range(start, end):
        folio = vm_normal_folio(mm.ptes[va])
        if folio is not None:
            if folio_mapcount(folio) == 1:
                if folio_isolate_lru(folio):
                    folios.append(folio)
    return folios


def pageout_pmd_range(mm: Mm, start: Va, end: VaEnd) -> None:
    """madvise_cold_or_pageout_pte_range() (mm/madvise.c, Linux 6.12), where there are huge pages, of what lies under one entry of the middle level.

    A huge page that is in the range whole is isolated as one. A folio of which only a part is in the range, or only a part is mapped there, is
    split first; where that fails it is left alone.
    """
    folios: Gather = []
    at: VaEnd = start
    while at < end:
        with atomic:
            large: Ref[Folio] = None
            while at < end and large is None:
                page = vm_normal_folio(mm.ptes[at])
                count = 1
                if page is not None:
                    folio = page_folio(page)
                    count = mapped_together(mm, at, end, folio)
                    if count < folio_nr_pages(folio):
                        if not folio_likely_mapped_shared(folio) and folio_trylock(folio):
                            get_page(folio)
                            large = folio
                    elif not folio_is_shared(mm, at, folio) and folio_isolate_lru(folio):
                        folios.append(folio)
                if large is None:
                    at += count
        if large is not None:
            split = split_folio(large) == 0
            folio_unlock(large)
            with atomic:  # who has waited for the lock may find the reference still: it does not move the page then
                put_page(large)
                if not split:
                    at += 1
    if folios:
        reclaim_pages(folios)


@atomic
def mapped_together(mm: Mm, va: Va, end: VaEnd, folio: Folio) -> Count:
    """madvise_folio_pte_batch() (mm/madvise.c, Linux 6.12): how many pages of a folio the entries from `va` to `end` map, one after the other."""
    if folio_nr_pages(folio) > 1 and va + 1 < end and mm.ptes[va].frame is folio and mm.ptes[va + 1].frame is folio_page(folio, 1):
        if pte_page(mm.ptes[va + 1]) is not None:
            return HPAGE_PMD_NR
    return 1


@atomic
def folio_is_shared(mm: Mm, va: Va, folio: Folio) -> bool:
    """Whether somebody else maps a folio that is mapped whole here: of small pages the count of mappings tells."""
    if pmd_trans_huge(mm, va):
        return folio_likely_mapped_shared(folio)
    return folio_mapcount(folio) != folio_nr_pages(folio)
