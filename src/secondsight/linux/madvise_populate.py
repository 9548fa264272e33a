"""mm/madvise.c, mm/gup.c: MADV_POPULATE_READ and MADV_POPULATE_WRITE: pages are faulted in, and not kept.

It is a fault for each page that needs one, under the mmap lock for reading; where user space is to answer, or a file's page becomes dirty, the lock is given up, and what
is mapped then is looked for anew: also the page that is there by now.
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, bound, milestone, shared_array
from secondsight.linux.errno import EFAULT, EINVAL, ENOMEM
from secondsight.linux.memory import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_WRITE,
    VM_FAULT_ERROR,
    VM_FAULT_UNLOCKED,
    handle_mm_fault,
    vma_flags,
)
from secondsight.linux.mm import vma_is_accessible
from secondsight.linux.mm_flags import VM_PFNMAP
from secondsight.linux.mm_types import Mm, Pgoff, Result, Va, VaEnd
from secondsight.linux.page_alloc import is_zero_page, page_to_pfn
from secondsight.linux.page_writeback import set_page_dirty
from secondsight.linux.pgtable import pte_present

__all__ = ["madvise_populate"]

NEEDS_A_FAULT = 1

populates_behind_gaps = shared_array(bool, bound("populates_behind_gaps", most=1))
"""Of size 1 where a release says so: see `releases` (populate-ends-at-a-gap). Left out: a vma that goes while the lock is given up ends it there too (may raise no false
alarm: -ENOMEM is the answer either way)."""


@milestone
def madvise_populate(mm: Mm, va: Va, length: Pgoff, write: bool) -> Errno:
    """madvise_populate() (mm/madvise.c), faultin_page_range() (mm/gup.c, Linux 6.12): 0, or at the first page that cannot be had -ENOMEM (not mapped), -EINVAL
    (not to be accessed so, or a PFN mapping), -EFAULT (past the end of a file). Those before it are there."""
    mm.mmap_lock.read_lock()
    at: VaEnd = va
    ret: Errno = 0
    while at < va + length:
        needs = follow_page(mm, at, write)
        if len(populates_behind_gaps) > 0:
            if needs == -ENOMEM:  # madvise_walk_vmas() in 6.1
                ret = needs
                at += 1
                continue
        if needs < 0:
            ret = needs
            break
        if needs == NEEDS_A_FAULT:
            fault = handle_mm_fault(mm, at, FAULT_FLAG_ALLOW_RETRY | (FAULT_FLAG_WRITE if write else 0))
            if fault & VM_FAULT_UNLOCKED != 0:
                if len(mm.userfaultfd) > 0:
                    if mm.userfaultfd[0].dying:
                        return ret
                mm.mmap_lock.read_lock()
            elif fault & VM_FAULT_ERROR != 0:
                ret = -EFAULT
                break
        else:
            at += 1
    mm.mmap_lock.read_unlock()
    return ret


@atomic
def follow_page(mm: Mm, va: Va, write: bool) -> Result:
    """gup_vma_lookup(), check_vma_flags(), follow_page_pte() (mm/gup.c, Linux 6.12) with FOLL_TOUCH and FOLL_MADV_POPULATE: 0: the page is there, and dirty if it is to
    be written; `NEEDS_A_FAULT`; or an error."""
    vma = mm.mm_mt[va]
    if vma is None:
        return -ENOMEM
    if vma_flags(vma) & VM_PFNMAP != 0 or not vma_is_accessible(vma) or (write and not vma.write):
        return -EINVAL
    pte = mm.ptes[va]
    folio = pte_present(pte)
    if folio is None or (write and not pte.writable):
        return NEEDS_A_FAULT
    if write and not is_zero_page(folio) and not pte.dirty:
        set_page_dirty(page_to_pfn(folio))
    return 0
