"""include/linux/mm.h, and PageAnonExclusive of include/linux/page-flags.h: whose pages a mapping has.

Private memory is copied on write. Where no two mappings can come to share a page that one of them may write (no private mapping of a
file, no fork) there is nothing to tell, and no place for it: the bound `cow` is 0.
"""

from __future__ import annotations

from secondsight.lang import atomic
from secondsight.linux.mm_flags import VM_DONTCOPY, VM_NONE, VM_PRIVATE, VM_SEALED
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import Folio, Va, Vma
from secondsight.linux.page_alloc import is_zero_page

__all__ = ["folio_test_anon", "is_cow_mapping", "page_anon_exclusive", "vma_dontcopy", "vma_is_accessible", "vma_is_shared_maywrite", "vma_needs_dirty_tracking"]


@atomic
def is_cow_mapping(vma: Vma) -> bool:
    """is_cow_mapping() (include/linux/mm.h, Linux 6.12): private, of a file or not. One that may never be written is no difference."""
    if len(vma.flags) > 0:
        if vma.flags[0] & VM_PRIVATE != 0:
            return True
    return vma.vm_file is None


@atomic
def vma_dontcopy(vma: Vma) -> bool:
    """Whether a child has no such vma: VM_DONTCOPY of include/linux/mm.h, Linux 6.12."""
    if len(vma.more_flags) > 0:
        return vma.more_flags[0] & VM_DONTCOPY != 0
    return False


@atomic
def vma_is_accessible(vma: Vma) -> bool:
    """vma_is_accessible() (include/linux/mm.h, Linux 6.12): not PROT_NONE."""
    if len(vma.flags) > 0:
        return vma.flags[0] & VM_NONE == 0
    return True


@atomic
def vma_is_shared_maywrite(vma: Vma) -> bool:
    """vma_is_shared_maywrite() (include/linux/mm.h, Linux 6.12), of a file's vma."""
    if len(vma.flags) > 0:
        return vma.flags[0] & (VM_SEALED | VM_PRIVATE) == 0
    return True  # nothing is mapped for reading and sealed against writing too (`bound("vma_flags")`)


@atomic
def vma_needs_dirty_tracking(vma: Vma) -> bool:
    """vma_needs_dirty_tracking() (mm/vma.c, Linux 6.12): shared and writable, of a file that is to hear of the first write to a page that is clean. Asked where there are such files
    (`writes_back`)."""
    file = vma.vm_file
    if file is None or not vma.write or is_cow_mapping(vma):
        return False
    return file.can_writeback()


@atomic
def folio_test_anon(vma: Vma, va: Va, folio: Folio) -> bool:
    """folio_test_anon() (include/linux/page-flags.h, Linux 6.12) of the folio that a private mapping has at `va`: a page of the
    process's own, and not the file's or the zero page. The kernel keeps a bit; a file's page is mapped only while it is in the file."""
    file = vma.vm_file
    if file is not None:
        return not file.has_folio(linear_page_index(vma, va), folio)
    return not is_zero_page(folio)


@atomic
def page_anon_exclusive(folio: Folio) -> bool:
    """PageAnonExclusive() (include/linux/page-flags.h, Linux 6.12): no other process has had a share in the page since it came, or was
    last found to be of one alone."""
    if len(folio.shared) > 0:
        return not folio.shared[0]
    return True
