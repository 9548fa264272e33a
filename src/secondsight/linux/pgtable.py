"""include/linux/pgtable.h, arch/x86/include/asm/pgtable.h: what a page-table entry is; of include/linux/mm.h how many map a folio."""

from __future__ import annotations

from secondsight.lang import Ref, atomic, bound, shared_array
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import HPAGE_PMD_NR, Count, Folio, Mm, PmdKind, Pte, PteKind, Va, huge_pages, writes_back
from secondsight.linux.mmu_notifier import owners
from secondsight.linux.page_alloc import ZERO_PFN, frames, is_zero_page, page_folio
from secondsight.linux.swapops import is_device_private_entry, is_pte_marker, migrations, pte_markers, swap_slots

__all__ = [
    "exclusive_is_mapped",
    "folio_kept_by",
    "folio_mapcount",
    "folio_mapped",
    "folio_entire_mapcount",
    "folio_likely_mapped_shared",
    "is_one_entry",
    "is_second_half",
    "page_mapcount",
    "pmd_trans_huge",
    "pte_clear",
    "pte_none",
    "pte_none_mostly",
    "pte_page",
    "pte_present",
    "vm_normal_folio",
]

exclusive_is_mapped = shared_array(bool, bound("exclusive_is_mapped", most=1))
"""Of size 1 where a device-exclusive entry counts as a mapping of its folio, as since Linux 6.15: see `releases` (exclusive-page-stays-mapped)."""


@atomic
def pte_none(pte: Pte) -> bool:
    """pte_none() (arch/x86/include/asm/pgtable.h, Linux 6.12): nothing was ever put there, or it was cleared."""
    return pte.frame is None and pte.kind == PteKind.PRESENT


@atomic
def pte_none_mostly(pte: Pte) -> bool:
    """pte_none_mostly() (include/linux/swapops.h, Linux 6.12): nothing is there, or a marker alone (`swapops`)."""
    if len(pte_markers) > 0:
        if is_pte_marker(pte):
            return True
    return pte_none(pte)


@atomic
def pte_present(pte: Pte) -> Ref[Folio]:
    """pte_page() (arch/x86/include/asm/pgtable.h, Linux 6.12) of an entry by which the CPU finds the page; None: it faults. (pte_present()
    is true of one that is pte_protnone too: see `pte_page`.)"""
    if len(pte.prot_none) > 0:
        if pte.prot_none[0]:
            return None
    return pte_page(pte)


@atomic
def pte_page(pte: Pte) -> Ref[Folio]:
    """pte_present(), pte_page() (arch/x86/include/asm/pgtable.h, Linux 6.12): the folio whose page is there, whether it may be accessed
    or not."""
    return pte.frame if pte.kind == PteKind.PRESENT else None


@atomic
def pte_clear(pte: Pte) -> None:
    """pte_clear() (arch/x86/include/asm/pgtable.h, Linux 6.12): nothing is there."""
    pte.frame = None
    pte.writable = False
    pte.special = False
    if len(pte.prot_none) > 0:
        pte.prot_none[0] = False
    if len(pte.uffd_wp) > 0:
        pte.uffd_wp[0] = False
    if len(swap_slots) + len(writes_back) > 0:
        pte.dirty = False
    if len(swap_slots) > 0:
        pte.swap = 0
    if len(swap_slots) + len(migrations) > 0:
        if len(frames[ZERO_PFN].shared) > 0:
            pte.exclusive = False
    if len(swap_slots) + len(migrations) + len(owners) + len(pte_markers) > 0:
        pte.kind = PteKind.PRESENT


@atomic
def pmd_trans_huge(mm: Mm, va: Va) -> bool:
    """pmd_trans_huge() (arch/x86/include/asm/pgtable.h, Linux 6.12): whether the page at `va` is a half of a huge page's one entry."""
    if len(huge_pages) > 0:
        return mm.pmds[va // HPAGE_PMD_NR].kind == PmdKind.HUGE
    return False


@atomic
def is_one_entry(mm: Mm, va: Va) -> bool:
    """pmd_trans_huge() or is_swap_pmd() (include/linux/huge_mm.h, Linux 6.12): the page at `va` is a half of what one entry stands for, a huge page
    or one that is being moved."""
    if len(huge_pages) > 0:
        return mm.pmds[va // HPAGE_PMD_NR].kind in (PmdKind.HUGE, PmdKind.MIGRATION)
    return False


@atomic
def is_second_half(mm: Mm, va: Va) -> bool:
    """Whether the entry at `va` is no entry of its own, but the second half of a huge page's: what an entry holds is the first half's."""
    if len(huge_pages) > 0:
        return va % HPAGE_PMD_NR != 0 and pmd_trans_huge(mm, va)
    return False


@atomic
def vm_normal_folio(pte: Pte) -> Ref[Folio]:
    """vm_normal_folio(), vm_normal_page() (mm/memory.c, Linux 6.12) of an entry that is present: the folio that it holds a reference to,
    or of a folio of two pages the page.

    None: none, as of the zero page and of an entry that is pte_special or pte_devmap.
    """
    folio = pte_page(pte)
    if folio is None or is_zero_page(folio) or pte.special:
        return None
    return folio


@atomic
def folio_kept_by(pte: Pte) -> Ref[Folio]:
    """The folio that an entry holds a reference to, whether a CPU can reach it or not: that of a device-exclusive or device-private
    entry too."""
    return pte.frame if pte.kind in (PteKind.DEVICE_EXCLUSIVE, PteKind.DEVICE_PRIVATE) else vm_normal_folio(pte)


@atomic
def folio_mapped(folio: Folio) -> bool:
    """folio_mapped() (include/linux/mm.h, Linux 6.12)."""
    return folio_mapcount(folio) != 0


@atomic
def folio_mapcount(folio: Folio) -> Count:
    """folio_mapcount() (include/linux/mm.h, Linux 6.12); a PFN mapping does not count, nor does a device-exclusive entry, but since 6.15 (`exclusive_is_mapped`). A device-private one does.
    A huge page's entry counts once, and each page's of a folio of two pages.

    The kernel keeps a count; here the page tables are looked through.
    """
    found: Count = 0
    for i in range(len(mms)):
        mm = mms[i]
        for va in range(len(mm.ptes)):
            if len(huge_pages) > 0:
                if maps_folio(mm, va, folio):
                    found += 1
            elif vm_normal_folio(mm.ptes[va]) is folio:
                found += 1
            if len(folio.pgmap) > 0:
                if is_device_private_entry(mm.ptes[va]) and mm.ptes[va].frame is folio:
                    found += 1
            if len(exclusive_is_mapped) > 0:
                page = exclusive_page(mm.ptes[va])
                if page is not None and page_folio(page) is page_folio(folio):
                    found += 1
    return found


@atomic
def exclusive_page(pte: Pte) -> Ref[Folio]:
    """The page of an entry that is softleaf_is_device_exclusive() (include/linux/leafops.h, Linux 7.2)."""
    return pte.frame if pte.kind == PteKind.DEVICE_EXCLUSIVE else None


@atomic
def maps_folio(mm: Mm, va: Va, folio: Folio) -> bool:
    """Whether the entry at `va` maps a page of the folio, or all of it."""
    page = vm_normal_folio(mm.ptes[va])
    return page is not None and page_folio(page) is page_folio(folio) and not is_second_half(mm, va)


@atomic
def folio_entire_mapcount(folio: Folio) -> Count:
    """folio_entire_mapcount() (include/linux/mm.h, Linux 6.12): how many entries map all of a folio of two pages."""
    whole: Count = 0
    for i in range(len(mms)):
        mm = mms[i]
        for va in range(len(mm.ptes)):
            if is_second_half(mm, va) and maps_page(mm, va - 1, folio):
                whole += 1
    return whole


@atomic
def page_mapcount(page: Folio) -> Count:
    """How many entries map one page, itself or its folio whole (`page->_mapcount` and folio_entire_mapcount(), Linux 6.12)."""
    mapped: Count = 0
    for i in range(len(mms)):
        for va in range(len(mms[i].ptes)):
            if maps_page(mms[i], va, page):
                mapped += 1
    return mapped


@atomic
def maps_page(mm: Mm, va: Va, page: Folio) -> bool:
    """Whether the entry at `va` maps that page."""
    if len(exclusive_is_mapped) > 0:
        if exclusive_page(mm.ptes[va]) is page:
            return True
    return vm_normal_folio(mm.ptes[va]) is page


@atomic
def folio_likely_mapped_shared(folio: Folio) -> bool:
    """folio_likely_mapped_shared() (include/linux/mm.h, Linux 6.12): whether another process seems to map the folio too."""
    mapcount = folio_mapcount(folio)
    if len(huge_pages) > 0:
        if folio.tail[0] is not None:
            whole = folio_entire_mapcount(folio)
            if mapcount <= 1:
                return False
            return whole > 0 or mapcount > HPAGE_PMD_NR or page_mapcount(folio) > 1
    return mapcount > 1
