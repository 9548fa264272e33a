"""mm/hugetlb.c: what private mappings of huge pages have reserved, and the pages that they get.

    mmap()              a page for each of the mapping is reserved, whatever the file has: -ENOMEM where the pool has not as many. The mapping is the owner of
                        what it has reserved (HPAGE_RESV_OWNER)
    a fault             of the owner takes what is reserved for that page, once; anybody else, and the owner a second time, what is nobody's
    an entry goes       with the last entry of an anonymous page the owner has it reserved again, when the page is free
    fork                the child has nothing reserved, and is owner of nothing
    the mapping goes    what is reserved and was not used is given back

So a page that the owner has in common with a child may be all that there is: see `hugetlb_private.hugetlb_wp`.

Left out: that the parts into which an owner is cut have one map (each has its own here, of its own pages); MAP_NORESERVE.
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import Ref, atomic, bound, shared_array
from secondsight.linux.fork import vmas
from secondsight.linux.hugetlb_pool import available_huge_pages, hstates
from secondsight.linux.mm import folio_test_anon
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import HPAGE_PMD_NR, Count, Flags, Folio, Mm, Va, Vma
from secondsight.linux.page_alloc import alloc_huge_folio
from secondsight.linux.pgtable import folio_mapped

__all__ = [
    "HPAGE_RESV_OWNER",
    "HPAGE_RESV_UNMAPPED",
    "alloc_hugetlb_folio",
    "hugetlb_dup_vma_private",
    "hugetlb_entry_has_gone",
    "hugetlb_vm_op_close",
    "is_vma_resv_set",
    "restore_reserve_on_error",
    "set_vma_resv_map",
]

HPAGE_RESV_OWNER: Final = 1
"""The mapping was made by mmap(), and not by fork."""
HPAGE_RESV_UNMAPPED: Final = 2
"""The owner has taken a page away from it: it is not to see another in its place."""

bound("hugetlb_private_regions", most=7)
loses_reserve = shared_array(bool, bound("loses_reserve", most=1))
"""Of size 1 where a release says so: see `releases` (reservation-of-a-page-that-goes)."""


@atomic
def is_vma_resv_set(vma: Vma, flag: Flags) -> bool:
    """is_vma_resv_set() (mm/hugetlb.c, Linux 6.12)."""
    return vma.hugetlb_resv[0] & flag != 0


@atomic
def set_vma_resv_map(mm: Mm, va: Va) -> None:
    """set_vma_resv_map(), set_vma_resv_flags() (mm/hugetlb.c, Linux 6.12), at the end of mmap(): the mapping is an owner."""
    vma = mm.mm_mt[va]
    assert vma is not None
    vma.hugetlb_resv[0] = HPAGE_RESV_OWNER


@atomic
def hugetlb_dup_vma_private(vma: Vma) -> None:
    """hugetlb_dup_vma_private() (mm/hugetlb.c, Linux 6.12): a child's mapping has nothing of what its parent's had reserved."""
    vma.hugetlb_resv[0] = 0
    for i in range(len(vma.resv_map)):
        vma.resv_map[i] = False


@atomic
def vma_hugecache_offset(vma: Vma, va: Va) -> Count:
    """vma_hugecache_offset() (mm/hugetlb.c, Linux 6.12): which of the file's huge pages is at an address."""
    return linear_page_index(vma, va) // HPAGE_PMD_NR


@atomic
def alloc_hugetlb_folio(vma: Vma, va: Va, cow_from_owner: bool) -> Ref[Folio]:
    """alloc_hugetlb_folio(), dequeue_hugetlb_folio_vma(), vma_has_reserves() (mm/hugetlb.c, Linux 6.12), of a private mapping: a zeroed page; None: there is
    none for it (-ENOSPC). `cow_from_owner`: what the owner has reserved is left alone."""
    reserved = False
    if len(vma.resv_map) > 0:
        index = vma_hugecache_offset(vma, va)
        owner = is_vma_resv_set(vma, HPAGE_RESV_OWNER)
        reserved = owner and not cow_from_owner and not vma.resv_map[index]
        if hstates[0].free_huge_pages == 0 or (not reserved and available_huge_pages() == 0):
            return None
        hstates[0].free_huge_pages -= 1
        if reserved:
            hstates[0].resv_huge_pages -= 1
        if owner:
            vma.resv_map[index] = True
    folio = alloc_huge_folio()
    if len(folio.restore_reserve) > 0:
        folio.hugetlb[0] = True
        folio.restore_reserve[0] = reserved
    return folio


@atomic
def restore_reserve_on_error(vma: Vma, va: Va, folio: Folio) -> None:
    """restore_reserve_on_error() (mm/hugetlb.c, Linux 6.12): a page that came and is not used: what was reserved for it will be so again, when it is free."""
    if len(folio.restore_reserve) > 0:
        if folio.restore_reserve[0]:
            vma.resv_map[vma_hugecache_offset(vma, va)] = False


@atomic
def hugetlb_entry_has_gone(mm: Mm, va: Va, folio: Folio) -> None:
    """The part of __unmap_hugepage_range() (mm/hugetlb.c, Linux 6.12) behind hugetlb_remove_rmap(): nobody maps the anonymous page of an owner any more. `va`: where
    it was. In Linux 6.1 there is no such part. The vma may be in the tree of its mm no more."""
    if len(loses_reserve) > 0:
        return
    for vma in vmas:
        file = vma.vm_file
        if vma.vm_mm is mm and vma.vm_start <= va < vma.vm_end and file is not None:
            if file.is_hugetlb() and is_vma_resv_set(vma, HPAGE_RESV_OWNER):
                if folio_test_anon(vma, va, folio) and not folio_mapped(folio):
                    folio.restore_reserve[0] = True
                    vma.resv_map[vma_hugecache_offset(vma, va)] = False


@atomic
def hugetlb_vm_op_close(vma: Vma) -> None:
    """hugetlb_vm_op_close() (mm/hugetlb.c, Linux 6.12), of a private mapping: what is reserved and was not used is given back."""
    if is_vma_resv_set(vma, HPAGE_RESV_OWNER):
        unused: Count = 0
        for i in range(len(vma.resv_map)):
            first = vma_hugecache_offset(vma, vma.vm_start)
            if first <= i < first + (vma.vm_end - vma.vm_start) // HPAGE_PMD_NR and not vma.resv_map[i]:
                unused += 1
        hstates[0].resv_huge_pages -= unused
