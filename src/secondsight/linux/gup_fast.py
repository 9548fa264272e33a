"""mm/gup.c: the walk without a lock (GUP-fast), by which pin_user_pages_fast() begins.

    look      write_protect_seq: does a fork protect pages just now? The entry of the middle level, then the page's own
    grab      try_grab_folio_fast(): a reference, and a pin, if somebody has one already; the page may be another's by now
    recheck   is the entry of the middle level what it was, and the page's own? May the page stay shared? Has no fork begun? Else it is given back

Interrupts are off from before the first look until after the last page (`mmu_gather`): that keeps page tables from being freed, and nothing from being changed. Who is
about to take a page away looks for pins after entries have been cleared; so either the pin is seen, or the walk sees that they were.

Where the bound `gup_fast_steps` is 1 each of these is a step of its own. Else the walk to one page is one step (`gup_fast_pte_range_at_once`): what changes in between
makes it give up, and what the lock is taken for then is left out before. With huge pages the walks have records (`gup_walks`).

Older forms, each broken: `gup_rechecks_pte_alone`, without the middle level's entry (before 70cbc3cc78a9); `gup_passes_over_forks`, without
`write_protect_seq` (before 57efa1fe5957). What khugepaged did then is in `khugepaged`.

The zero page is not had by it, unless it is the huge one: its entry is special. None of it marks a page dirty, though it is to be written (FOLL_TOUCH is the slow path's): who has it written says so when it unpins it.

A file system's own memory (fs-dax, pte_devmap) is taken as any other, but not for long: its entry holds no reference, and the pagemap is held while
it looks (get_dev_pagemap(); the device's removal is left out). So is device-dax, where a scenario pins it (`dax_pins`). One entry for a huge page of such memory: `gup_devmap`.
Left out: of a huge page that all of it is grabbed at once.
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import Ref, Value, atomic, bound, count, milestone, require, shared_array
from secondsight.linux.fs_dax import fs_dax_files, is_fs_dax_page
from secondsight.linux.hugetlb import hugetlb_files
from secondsight.linux.memremap import dax_pins, is_dev_page
from secondsight.linux.mm import folio_test_anon, is_cow_mapping, page_anon_exclusive
from secondsight.linux.mm_flags import FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    Count,
    Flags,
    Folio,
    Mm,
    Pfn,
    PmdKind,
    Pte,
    Seq,
    Va,
    coherent_memory,
    huge_pages,
    writes_back,
)
from secondsight.linux.mmu_gather import GupWalk, TablePlace, gup_walks
from secondsight.linux.mmzone import folio_is_longterm_pinnable, pageblocks
from secondsight.linux.page_alloc import folio_try_get, frames, is_zero_page, page_folio, page_to_pfn, put_page
from secondsight.linux.pgtable import pte_present
from secondsight.linux.shmem import shmem_files

__all__ = [
    "NO_PAGE",
    "gup_fast_begin",
    "gup_fast_one",
    "gup_fast_page",
    "gup_fast_pte_range_at_once",
    "gup_put_folio",
    "local_irq_restore",
    "local_irq_save",
    "longterm_pins_write_files",
    "longterm_pins_zero_page",
    "read_seqcount_retry",
]

NO_PAGE: Final = -100
"""In place of a page: the walk gives up."""

gup_rechecks_pte_alone = shared_array(bool, bound("gup_rechecks_pte_alone", most=1))
"""Of size 1: that the entry of the middle level has changed meanwhile is not seen."""
gup_passes_over_forks = shared_array(bool, bound("gup_passes_over_forks", most=1))
"""Of size 1: `write_protect_seq` is not looked at."""
longterm_pins_write_files = shared_array(bool, bound("longterm_pins_write_files", most=1))
"""Of size 1: a page of a file that is written back is pinned for long, and to be written, as any other is: before 8ac268436e6d and a6e79df92e4a (Linux 6.5)."""

longterm_pins_zero_page = shared_array(bool, bound("longterm_pins_zero_page", most=1))
"""Of size 1 where a release says so: see `releases` (longterm-pin-of-the-zero-page)."""


# In one step.


@atomic
def gup_fast_pte_range_at_once(mm: Mm, va: Va, flags: Flags) -> Pfn:
    """gup_fast_pte_range(), gup_fast_pmd_leaf() (mm/gup.c, Linux 6.12): the page, if its entry allows what is asked; else NO_PAGE."""
    entry = pte_val(mm.ptes[va])
    if len(huge_pages) > 0:
        if mm.pmds[va // HPAGE_PMD_NR].kind == PmdKind.HUGE:
            entry = pmd_val(mm, va)
    found = if_permitted(entry, flags)
    folio = found.folio
    if folio is None or not try_grab_folio_fast(folio, flags):
        return NO_PAGE
    return kept(mm, va, folio, flags, True, found.writable)


# Step by step.


class PteVal(Value):
    """What a walk has read of an entry: the page, if a CPU may find it by the entry, and its bits (pte_t)."""

    folio: Ref[Folio]
    writable: bool
    special: bool
    dirty: bool


def gup_fast_one(mm: Mm, va: Va, flags: Flags) -> Pfn:
    """gup_fast() (mm/gup.c, Linux 6.12), of one page: the page; or NO_PAGE."""
    begun, seq = gup_fast_begin(mm, flags)
    if not begun:
        return NO_PAGE
    walk = local_irq_save(mm)
    pfn = gup_fast_page(walk, mm, va, flags)
    local_irq_restore(walk)
    if pfn > NO_PAGE:
        retry = read_seqcount_retry(mm, flags, seq)
        if retry:
            gup_put_folio(frames[pfn], flags)
            return NO_PAGE
    return pfn


@atomic
def gup_fast_begin(mm: Mm, flags: Flags) -> tuple[bool, Seq]:
    """raw_read_seqcount() (include/linux/seqlock.h, Linux 6.12) of `write_protect_seq`, as gup_fast() has it: whether no fork protects pages just now, and the
    number for `read_seqcount_retry`. Who takes a reference alone does not ask."""
    if len(gup_passes_over_forks) > 0 or flags & FOLL_PIN == 0:
        return True, 0
    return mm.write_protect_seq[0] & 1 == 0, mm.write_protect_seq[0]


@atomic
def read_seqcount_retry(mm: Mm, flags: Flags, seq: Seq) -> bool:
    """read_seqcount_retry() (include/linux/seqlock.h, Linux 6.12): whether a fork has begun to protect pages since."""
    if len(gup_passes_over_forks) > 0 or flags & FOLL_PIN == 0:
        return False
    return mm.write_protect_seq[0] != seq


@atomic
def local_irq_save(mm: Mm) -> Ref[GupWalk]:
    """local_irq_save() (include/linux/irqflags.h, Linux 6.12), as gup_fast() has it: who waits for walks waits for this one. Where nobody does there is no
    record of it."""
    if len(huge_pages) == 0:
        return None
    walk = gup_walks.alloc()
    walk.mm = mm
    return walk


@atomic
def local_irq_restore(walk: Ref[GupWalk]) -> None:
    """local_irq_restore() (include/linux/irqflags.h, Linux 6.12): the walk is over."""
    if len(huge_pages) > 0:
        if walk is not None:
            gup_walks.free(walk)


def gup_fast_page(walk: Ref[GupWalk], mm: Mm, va: Va, flags: Flags) -> Pfn:
    """gup_fast_pmd_range() (mm/gup.c, Linux 6.12), of one page. The entry of the middle level is not read again where the walk goes on to the next page of the
    page table that it stands on."""
    if len(huge_pages) == 0:
        return gup_fast_pte_range(walk, mm, va, flags)
    assert walk is not None
    kind = pmdp_get_lockless(walk, mm, va)
    if kind == PmdKind.HUGE:
        return gup_fast_pmd_leaf(mm, va, flags)
    if kind == PmdKind.TABLE:
        return gup_fast_pte_range(walk, mm, va, flags)
    return NO_PAGE


@milestone(quiet=True)
@atomic
def pmdp_get_lockless(walk: GupWalk, mm: Mm, va: Va) -> PmdKind:
    """pmdp_get_lockless() (include/linux/pgtable.h, Linux 6.12): the walk stands on the page table from now on, if there is one."""
    if va % HPAGE_PMD_NR != 0 and walk.place != TablePlace.NOWHERE:
        return PmdKind.TABLE
    kind = mm.pmds[va // HPAGE_PMD_NR].kind
    walk.place = TablePlace.IN_TREE if kind == PmdKind.TABLE else TablePlace.NOWHERE
    walk.at = va // HPAGE_PMD_NR * HPAGE_PMD_NR
    walk.table = None
    return kind


def gup_fast_pte_range(walk: Ref[GupWalk], mm: Mm, va: Va, flags: Flags) -> Pfn:
    """gup_fast_pte_range() (mm/gup.c, Linux 6.12), of one page."""
    found = gup_fast_look(walk, mm, va, flags)
    folio = found.folio
    if folio is None:
        return NO_PAGE
    grabbed = try_grab_folio_fast(folio, flags)
    if not grabbed:
        return NO_PAGE
    same = True
    if len(huge_pages) > 0 and len(gup_rechecks_pte_alone) == 0:
        same = pmd_same(walk, va)
    if same:
        again = ptep_get_lockless(walk, mm, va)
        same = pte_same(found, again)
    return kept(mm, va, folio, flags, same, found.writable)


def gup_fast_pmd_leaf(mm: Mm, va: Va, flags: Flags) -> Pfn:
    """gup_fast_pmd_leaf() (mm/gup.c, Linux 6.12), of one page of a huge one."""
    found = gup_fast_look_leaf(mm, va, flags)
    folio = found.folio
    if folio is None:
        return NO_PAGE
    grabbed = try_grab_folio_fast(folio, flags)
    if not grabbed:
        return NO_PAGE
    again = pmd_val(mm, va)
    return kept(mm, va, folio, flags, pte_same(found, again), found.writable)


@milestone(quiet=True)
@atomic
def gup_fast_look(walk: Ref[GupWalk], mm: Mm, va: Va, flags: Flags) -> PteVal:
    """The first look of gup_fast_pte_range() (mm/gup.c, Linux 6.12): without a page where what is asked is not allowed."""
    entry = ptep_get_lockless(walk, mm, va)
    return if_permitted(entry, flags)


@milestone(quiet=True)
@atomic
def gup_fast_look_leaf(mm: Mm, va: Va, flags: Flags) -> PteVal:
    """The same of gup_fast_pmd_leaf() (mm/gup.c, Linux 6.12)."""
    entry = pmd_val(mm, va)
    return if_permitted(entry, flags)


@atomic
def kept(mm: Mm, va: Va, folio: Folio, flags: Flags, same: bool, writable: bool) -> Pfn:
    """The end of gup_fast_pte_range() and gup_fast_pmd_leaf() (mm/gup.c, Linux 6.12): the page, or it is given back. `same`: the entries are what they were."""
    if same and (writable or not gup_fast_must_unshare(mm, va, folio, flags)):
        return page_to_pfn(folio)
    gup_put_folio(folio, flags)
    return NO_PAGE


@atomic
def ptep_get_lockless(walk: Ref[GupWalk], mm: Mm, va: Va) -> PteVal:
    """ptep_get_lockless() (include/linux/pgtable.h, Linux 6.12), wherever the page table is by now."""
    if len(huge_pages) == 0:
        return pte_val(mm.ptes[va])
    assert walk is not None
    require(walk.place != TablePlace.FREED, "page-table-freed", "a walk without a lock reads a page table that was freed")
    table = walk.table
    if walk.place == TablePlace.DETACHED and table is not None:
        return pte_val(table.ptes[va % HPAGE_PMD_NR])
    if walk.place == TablePlace.IN_TREE:
        return pte_val(mm.ptes[walk.at + va % HPAGE_PMD_NR])
    return PteVal(None, False, False, False)


@atomic
def pmd_val(mm: Mm, va: Va) -> PteVal:
    """pmd_val() (arch/x86/include/asm/pgtable.h, Linux 6.12) of a huge page's entry, if it is one, as its half at `va` has it."""
    if mm.pmds[va // HPAGE_PMD_NR].kind != PmdKind.HUGE:
        return PteVal(None, False, False, False)
    pte = mm.ptes[va]
    return PteVal(pte_present(pte), pte.writable, pte.special, pte.dirty)


@atomic
def pte_val(pte: Pte) -> PteVal:
    """pte_val() (arch/x86/include/asm/pgtable.h, Linux 6.12). The zero page's entry is special (pte_mkspecial() in do_anonymous_page())."""
    folio = pte_present(pte)
    special = pte.special
    if folio is not None:
        special = special or is_zero_page(folio)
    return PteVal(folio, pte.writable, special, pte.dirty)


def pte_same(one: PteVal, other: PteVal) -> bool:
    """pte_same() (arch/x86/include/asm/pgtable.h, Linux 6.12)."""
    return one.folio is other.folio and one.writable == other.writable and one.special == other.special and one.dirty == other.dirty


@milestone(quiet=True)
@atomic
def pmd_same(walk: Ref[GupWalk], va: Va) -> bool:
    """pmd_same() (arch/x86/include/asm/pgtable.h, Linux 6.12): whether the page table is in the tree where the walk found it."""
    return walk is not None and walk.place == TablePlace.IN_TREE and walk.at == va // HPAGE_PMD_NR * HPAGE_PMD_NR


# Of both.


@atomic
def if_permitted(found: PteVal, flags: Flags) -> PteVal:
    """pte_access_permitted() (arch/x86/include/asm/pgtable.h, Linux 6.12), and what gup_fast_pte_range() asks of pte_devmap() and pte_special(): the entry; one
    without a page, if that may not be taken by it."""
    folio = found.folio
    allowed = folio is not None and (flags & FOLL_WRITE == 0 or found.writable)
    if folio is not None and found.special:
        devmap = False
        if len(fs_dax_files) > 0:
            devmap = is_fs_dax_page(folio)
        if len(dax_pins) > 0:
            devmap = devmap or is_dev_page(folio)
        allowed = allowed and devmap and flags & FOLL_LONGTERM == 0
    if allowed:
        return found
    return PteVal(None, False, False, False)


@atomic
def try_grab_folio_fast(folio: Folio, flags: Flags) -> bool:
    """try_grab_folio_fast() (mm/gup.c, Linux 6.12): false of a page that is free, or that may not be pinned for long where it is. Of the zero page nothing is
    counted."""
    if is_zero_page(folio):
        return True
    if len(pageblocks) + len(coherent_memory) > 0:
        if flags & FOLL_LONGTERM != 0 and not folio_is_longterm_pinnable(folio):
            return False
    if len(writes_back) > 0:
        if flags & (FOLL_PIN | FOLL_LONGTERM | FOLL_WRITE) == FOLL_PIN | FOLL_LONGTERM | FOLL_WRITE and not gup_fast_folio_allowed(folio):
            return False
    if not folio_try_get(folio):
        return False
    if flags & FOLL_PIN != 0:
        whole = page_folio(folio)
        whole.pins += 1
    return True


@atomic
def gup_fast_folio_allowed(folio: Folio) -> bool:
    """gup_fast_folio_allowed() (mm/gup.c, Linux 6.12), of a folio that is to be pinned for long and written: not a file's, unless it is a memfd's; nor one that has left its file. The kernel asks when it has the
    folio already, and gives it back: nobody sees that."""
    if len(longterm_pins_write_files) > 0 or folio.anon_vma is not None:
        return True
    mapping = folio.mapping
    return mapping is not None and not mapping.can_writeback()


@atomic
def gup_put_folio(folio: Folio, flags: Flags) -> None:
    """gup_put_folio() (mm/gup.c, Linux 6.12): what try_grab_folio_fast() took."""
    if is_zero_page(folio):
        return
    whole = page_folio(folio)
    if flags & FOLL_PIN != 0:
        whole.pins -= 1
    put_page(whole)


@atomic
def gup_fast_must_unshare(mm: Mm, va: Va, folio: Folio, flags: Flags) -> bool:
    """gup_must_unshare() (mm/internal.h, Linux 6.12) without a vma, of a page that is pinned for reading by an entry that may not write.

    Every file's page, and the zero page, is left to the slow path where the pin is for long, shared memory too: whether the mapping is private only
    its vma tells. The vma may have gone already (munmap() takes it out of the tree first), while the entry is still there.
    """
    if flags & (FOLL_PIN | FOLL_WRITE) != FOLL_PIN:
        return False
    if not page_anon_exclusive(folio):
        return True
    if flags & FOLL_LONGTERM == 0 or len(longterm_pins_zero_page) > 0:
        return False
    vma = mm.mm_mt[va]
    if vma is not None:
        return not is_cow_mapping(vma) or not folio_test_anon(vma, va, folio)
    return is_zero_page(folio) or is_in_page_cache(folio)


@atomic
def is_in_page_cache(folio: Folio) -> bool:
    """!folio_test_anon() (include/linux/page-flags.h, Linux 6.12) of a page that is mapped: some file has it."""
    if len(writes_back) > 0:
        if folio.mapping is not None:
            return True
    held: Count = 0
    for memfd in shmem_files:
        held += count(page is folio for page in memfd.pages)
    for hugetlbfs in hugetlb_files:
        held += count(page is folio for page in hugetlbfs.pages)
    return held > 0
