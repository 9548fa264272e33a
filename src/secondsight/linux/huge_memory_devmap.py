"""mm/huge_memory.c: one entry that maps a huge page's worth of a device's memory (pmd_devmap).

It holds no reference, and is never split: what would split it takes it away, and a fault brings it back (`huge_memory_pmd`).

Left out: entries of the level above (pud_devmap).
"""

from __future__ import annotations

from secondsight.lang import atomic, milestone
from secondsight.linux.huge_memory_pmd import hpage_start
from secondsight.linux.mm_types import HPAGE_PMD_NR, Folio, Mm, PmdKind, Va
from secondsight.linux.pgtable import pmd_trans_huge, pte_none

__all__ = ["insert_pfn_pmd", "pmd_devmap"]


@atomic
def pmd_devmap(mm: Mm, va: Va) -> bool:
    """pmd_devmap() (arch/x86/include/asm/pgtable.h, Linux 6.12): whether one entry maps the device's memory that is at `va`."""
    return pmd_trans_huge(mm, va) and mm.ptes[va].special


@milestone(quiet=True)
@atomic
def insert_pfn_pmd(mm: Mm, va: Va, first: Folio, second: Folio) -> None:
    """vmf_insert_pfn_pmd(), insert_pfn_pmd() (mm/huge_memory.c, Linux 6.12): one entry for both pages, without a reference, unless something is mapped. (The kernel
    asks for a huge entry before it makes a page table; here the empty one that the fault has made becomes the entry.)"""
    start = hpage_start(va)
    vma = mm.mm_mt[va]
    assert vma is not None
    if pte_none(mm.ptes[start]) and pte_none(mm.ptes[start + 1]):
        mm.pmds[start // HPAGE_PMD_NR].kind = PmdKind.HUGE
        mm.ptes[start].frame = first
        mm.ptes[start + 1].frame = second
        for at in range(start, start + HPAGE_PMD_NR):
            mm.ptes[at].writable = vma.write
            mm.ptes[at].special = True
