"""mm/gup.c: pages of an address, or of a memfd, taken to be used for a while.

A pin, or a reference, keeps a page from being freed. It keeps it neither at its address nor in its file.

    get_user_page_vma_remote(mm, va, flags)     one page of an address; the caller holds the mmap lock
    pin_user_pages_fast(mm, va, flags)          the same, with a pin, and without a lock where the entry allows it
    memfd_pin_folio(file, pgoff)                one page of a memfd

A page that is not there, or not as it is asked for, is faulted in first; and one that a device has for itself alone goes back to
the CPU. A private page that may be read only is not pinned as it is for long (FOLL_LONGTERM): a write would replace it in the
process and leave the old one pinned, so it is replaced before (`gup_must_unshare`).

A page that is to be pinned for long (FOLL_LONGTERM) is moved first, if it lies where memory has to stay movable (`mmzone`):

    pin_user_pages_remote(mm, va, flags)        by address, of any process, under its mmap lock
    check_and_migrate_movable_folios(folios)    what has been pinned and must not stay there: unpin, migrate, pin again

Without a lock: `gup_fast`. Several pages in one call: `gup_pages`. Left out: FOLL_FORCE; PF_MEMALLOC_PIN, by which a page that is faulted in to be pinned comes from elsewhere at once; device
memory, of which the address form refuses every page (raises no false alarm: a driver fails there that would not).
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import Errno, atomic, bound, milestone, require, shared_array
from secondsight.linux.errno import EAGAIN, EFAULT, EINVAL, ENOMEM, EOPNOTSUPP
from secondsight.linux.fs_dax import fs_dax_files
from secondsight.linux.gup_fast import (
    NO_PAGE,
    gup_fast_one,
    gup_fast_pte_range_at_once,
    longterm_pins_write_files,
    longterm_pins_zero_page,
)
from secondsight.linux.huge_memory import split_huge_pmd
from secondsight.linux.hugetlb import hugetlb_files, memfd_alloc_folio
from secondsight.linux.memory import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_UNSHARE,
    FAULT_FLAG_WRITE,
    VM_FAULT_ERROR,
    VM_FAULT_UNLOCKED,
    handle_mm_fault,
    vma_flags,
)
from secondsight.linux.memremap import dax_pins, is_dev_page
from secondsight.linux.memremap_private import folio_is_device_coherent
from secondsight.linux.migrate import migrate_folio
from secondsight.linux.migrate_device_range import migrate_device_coherent_folio
from secondsight.linux.mm import folio_test_anon, is_cow_mapping, page_anon_exclusive, vma_is_accessible, vma_needs_dirty_tracking
from secondsight.linux.mm_flags import (
    FOLL_ALL,
    FOLL_LONGTERM,
    FOLL_PIN,
    FOLL_SPLIT_PMD,
    FOLL_TOUCH,
    FOLL_WRITE,
    VM_DEVMAP,
    VM_FSDAX,
)
from secondsight.linux.mm_types import Flags, Folio, Gather, Mm, Pfn, Pgoff, Va, Vma, coherent_memory, huge_pages, writes_back
from secondsight.linux.mmzone import folio_is_longterm_pinnable, pageblocks
from secondsight.linux.page_alloc import frames, get_page, is_zero_page, page_folio, page_to_pfn, put_page
from secondsight.linux.page_writeback import set_page_dirty, set_page_dirty_lock
from secondsight.linux.pgtable import pmd_trans_huge, pte_present
from secondsight.linux.shmem import ShmemFile, shmem_get_folio
from secondsight.linux.swap import folio_isolate_lru

__all__ = [
    "FOLL_LONGTERM",
    "FOLL_PIN",
    "FOLL_SPLIT_PMD",
    "FOLL_WRITE",
    "check_and_migrate_movable_folios",
    "get_user_page_vma_remote",
    "is_valid_gup_args",
    "memfd_pin_folio",
    "memfd_pin_valid",
    "pin_user_pages_fast",
    "pin_user_pages_remote",
    "try_grab_folio",
    "unpin_folio",
    "unpin_user_page",
    "unpin_user_page_range_dirty_lock",
]

MUST_UNSHARE: Final = -101


@atomic
def try_grab_folio(folio: Folio) -> None:
    """try_grab_folio(FOLL_PIN) (mm/gup.c, Linux 6.12): one pin, and the reference that goes with it."""
    get_page(folio)
    whole = page_folio(folio)
    whole.pins += 1


@atomic
def unpin_user_page(folio: Folio) -> None:
    """unpin_user_page() (mm/gup.c, Linux 6.12): give a pin back; of the zero page nobody has one."""
    if not is_zero_page(folio):
        unpin_folio(folio)


@atomic
def unpin_user_page_range_dirty_lock(folio: Folio) -> None:
    """unpin_user_page_range_dirty_lock(make_dirty), unpin_user_pages_dirty_lock() (mm/gup.c, Linux 6.12) of one page: it is marked dirty, unless it is, under the
    folio lock, which may be waited for; then its pin is given back. So does whoever had the page written: the walk without a lock marks none, and a CPU's entry
    says nothing of a device."""
    if not is_zero_page(folio):
        if not page_folio(folio).dirty:
            set_page_dirty_lock(folio)
        unpin_folio(folio)


# By address.


def is_valid_gup_args(flags: Flags) -> bool:
    """is_valid_gup_args() (mm/gup.c, Linux 6.12), of the flags that are here: for long a page is pinned only, not referenced, and FOLL_TOUCH is not the caller's to ask for. The caller has
    -EINVAL for it (pin_user_pages(): 0 pages), and a warning that is left out here."""
    require(flags <= FOLL_ALL, "left-out", "asks for pages with a flag that is not modelled (FOLL_FORCE, FOLL_NOFAULT)")
    return flags & FOLL_TOUCH == 0 and (flags & FOLL_LONGTERM == 0 or flags & FOLL_PIN != 0)


@atomic
def check_vma_flags(mm: Mm, va: Va, flags: Flags) -> Errno:
    """gup_vma_lookup(), check_vma_flags() (mm/gup.c, Linux 6.12): 0, or -EFAULT where nothing can be had as it is asked for; -EOPNOTSUPP: a file system's
    memory (fs-dax) is not pinned for long, nor, to be written, an ordinary file's (-EFAULT); a device's that has a file (device-dax) is, for long too, where a scenario does (the bound `dax_pins`; else -EFAULT: may hide).
    The caller has the mmap lock: mmap_assert_locked() in __get_user_pages_locked() is the broken rule `lock-not-held`."""
    require(mm.mmap_lock.held_by_me(), "lock-not-held", "get_user_pages without the mmap lock")
    vma = mm.mm_mt[va]
    if len(fs_dax_files) > 0:
        if vma is not None and vma_flags(vma) == VM_FSDAX:
            if flags & FOLL_LONGTERM != 0:
                return -EOPNOTSUPP
            return 0 if vma_is_accessible(vma) and (flags & FOLL_WRITE == 0 or vma.write) else -EFAULT
    if len(dax_pins) > 0:
        if vma is not None and vma_flags(vma) == VM_DEVMAP:
            return 0 if vma_is_accessible(vma) and (flags & FOLL_WRITE == 0 or vma.write) else -EFAULT
    if len(writes_back) > 0:
        if vma is not None and not writable_file_mapping_allowed(vma, flags):
            return -EFAULT
    if vma is None or vma_flags(vma) != 0 or not vma_is_accessible(vma) or (flags & FOLL_WRITE != 0 and not vma.write):
        return -EFAULT
    return 0


@atomic
def writable_file_mapping_allowed(vma: Vma, flags: Flags) -> bool:
    """writable_file_mapping_allowed() (mm/gup.c, Linux 6.12): a shared mapping of a file that is written back is not pinned for long to be written: writeback would clean the page behind the back of who has it."""
    if len(longterm_pins_write_files) > 0 or flags & (FOLL_PIN | FOLL_LONGTERM | FOLL_WRITE) != FOLL_PIN | FOLL_LONGTERM | FOLL_WRITE:
        return True
    return not vma_needs_dirty_tracking(vma)


@atomic
def gup_must_unshare(mm: Mm, va: Va, flags: Flags) -> bool:
    """gup_must_unshare() (mm/internal.h, Linux 6.12): a page that others share is not pinned for reading: a write would replace it in
    the process. Nor is, for long, a page that private memory only has until it is written: the zero page, or a file's."""
    vma = mm.mm_mt[va]
    folio = pte_present(mm.ptes[va])
    if flags & (FOLL_PIN | FOLL_WRITE) != FOLL_PIN or vma is None or folio is None:
        return False
    if is_cow_mapping(vma) and folio_test_anon(vma, va, folio):
        return not page_anon_exclusive(folio)
    return len(longterm_pins_zero_page) == 0 and flags & FOLL_LONGTERM != 0 and is_cow_mapping(vma)


@atomic
def follow_page_pte(mm: Mm, va: Va, flags: Flags) -> Pfn:
    """follow_page_pte() (mm/gup.c, Linux 6.12), under the page-table lock: the page at `va`, grabbed.

    NO_PAGE: a fault is needed, for writing if `flags` say so; MUST_UNSHARE: one with FAULT_FLAG_UNSHARE. With FOLL_TOUCH one that is to be written is dirty from now
    on.
    """
    pte = mm.ptes[va]
    folio = pte_present(pte)
    if len(huge_pages) > 0:
        if flags & FOLL_SPLIT_PMD != 0 and pmd_trans_huge(mm, va):  # one that has come since the other was split
            return NO_PAGE
    if folio is None or (flags & FOLL_WRITE != 0 and not pte.writable):
        return NO_PAGE
    if len(dax_pins) > 0:
        vma = mm.mm_mt[va]
        if vma is not None and vma_flags(vma) == VM_DEVMAP and not is_dev_page(folio):
            return NO_PAGE
    if gup_must_unshare(mm, va, flags):
        return MUST_UNSHARE
    if is_zero_page(folio):
        return page_to_pfn(folio)
    if flags & FOLL_PIN != 0:
        try_grab_folio(folio)
    else:
        get_page(folio)
    if flags & FOLL_TOUCH != 0 and flags & FOLL_WRITE != 0 and not pte.dirty:
        set_page_dirty(page_to_pfn(folio))
    return page_to_pfn(folio)


@milestone
def get_user_page_vma_remote(mm: Mm, va: Va, flags: Flags) -> Pfn:
    """get_user_pages_remote(), __get_user_pages(), follow_pmd_mask() (mm/gup.c, Linux 6.12) without `locked`, for one page: its number, or -EFAULT.

    The caller holds the mmap lock, and keeps it all the time: faults wait for what they need. Of the zero page no reference is
    counted. -EINVAL: `is_valid_gup_args`.
    """
    if not is_valid_gup_args(flags):
        return -EINVAL
    refused = check_vma_flags(mm, va, flags)
    if refused != 0:
        return -EOPNOTSUPP if refused == -EOPNOTSUPP else -EFAULT
    while True:
        if len(huge_pages) > 0:
            is_huge = pmd_trans_huge(mm, va)
            if is_huge and flags & FOLL_SPLIT_PMD != 0:
                split_huge_pmd(mm, va)
        pfn = follow_page_pte(mm, va, flags | FOLL_TOUCH)
        if pfn > NO_PAGE:
            return pfn
        ret = handle_mm_fault(mm, va, faultin_flags(pfn, flags))
        if ret & VM_FAULT_ERROR != 0:
            return -EFAULT


@milestone
def pin_user_pages_fast(mm: Mm, va: Va, flags: Flags) -> Pfn:
    """pin_user_pages_fast() (mm/gup.c, Linux 6.12) for one page of the caller's own process: its number, or -EFAULT.

    First gup_fast(), without a lock (`gup_fast`). Then __gup_longterm_locked(): __get_user_pages_locked(), and again while what is to be pinned for long had to move. -ENOMEM: it
    did not. -EINVAL: `is_valid_gup_args`.
    """
    if not is_valid_gup_args(flags):
        return -EINVAL
    if len(mm.write_protect_seq) > 0:
        pfn = gup_fast_one(mm, va, flags)
    else:
        pfn = gup_fast_pte_range_at_once(mm, va, flags)
    if pfn > NO_PAGE:
        return pfn
    pfn = get_user_pages_locked(mm, va, flags)
    if len(pageblocks) + len(coherent_memory) > 0:
        while pfn >= 0 and flags & FOLL_LONGTERM != 0:
            ret = check_and_migrate_movable_page(pfn)
            if ret == 0:
                break
            pfn = ret
            if ret == -EAGAIN:
                pfn = get_user_pages_locked(mm, va, flags)
    return pfn


@milestone
def pin_user_pages_remote(mm: Mm, va: Va, flags: Flags) -> Pfn:
    """pin_user_pages_remote(), __gup_longterm_locked() (mm/gup.c, Linux 6.12) without `locked`, for one page: its number; -EFAULT; -ENOMEM:
    it is to be pinned for long, and could not be moved to where that may be.

    The caller holds the mmap lock, and keeps it all the time.
    """
    pfn = get_user_page_vma_remote(mm, va, flags | FOLL_PIN)
    if len(pageblocks) + len(coherent_memory) > 0:
        while pfn >= 0 and flags & FOLL_LONGTERM != 0:
            ret = check_and_migrate_movable_page(pfn)
            if ret == 0:
                break
            pfn = ret
            if ret == -EAGAIN:
                pfn = get_user_page_vma_remote(mm, va, flags | FOLL_PIN)
    return pfn


def check_and_migrate_movable_page(pfn: Pfn) -> Errno:
    """check_and_migrate_movable_pages() (mm/gup.c, Linux 6.12) of one page. One in device-coherent memory is moved out
    (migrate_longterm_unpinnable_folios()), by a reference instead of the pin: -EAGAIN, or -EBUSY where somebody else holds it."""
    if len(coherent_memory) > 0:
        with atomic:
            coherent = folio_is_device_coherent(frames[pfn])
            if coherent:
                get_page(frames[pfn])
                unpin_folio(frames[pfn])
        if coherent:
            ret = migrate_device_coherent_folio(frames[pfn])
            return -EAGAIN if ret == 0 else ret
    with atomic:
        folios: Gather = [frames[pfn]]
    return check_and_migrate_movable_folios(folios)


passes_over_isolated = shared_array(bool, bound("passes_over_isolated", most=1))
"""Of size 1: where nothing could be taken off its list, nothing must move, as with 1aaf8c122918, until 517f496e1e61: somebody else may have it in hand."""


@milestone
def check_and_migrate_movable_folios(folios: Gather) -> Errno:
    """check_and_migrate_movable_folios(), collect_longterm_unpinnable_folios(), migrate_longterm_unpinnable_folios() (mm/gup.c, Linux 6.12).

    0: all may stay pinned. -EAGAIN: those that may not have been moved, or somebody else is about that; none is pinned any more: pin
    them again. -ENOMEM: one did not move, for somebody holds it; none is pinned any more. Left out: hugetlb.
    """
    with atomic:
        isolated: Gather = []
        collected = False
        for folio in folios:
            if not is_zero_page(folio) and not folio_is_longterm_pinnable(folio):
                collected = True
                taken = folio_isolate_lru(folio)
                if taken:
                    isolated.append(folio)
    if len(passes_over_isolated) > 0:
        collected = len(isolated) > 0
    if not collected:
        return 0
    for folio in folios:
        unpin_user_page(folio)
    ret: Errno = -EAGAIN
    for folio in isolated:
        moved = migrate_folio(folio, False)
        if moved != 0:
            ret = -ENOMEM
    return ret


def get_user_pages_locked(mm: Mm, va: Va, flags: Flags) -> Pfn:
    """__get_user_pages_locked() (mm/gup.c, Linux 6.12) for one page: takes the mmap lock, and again when a fault gave it up: it had to wait, or has made
    a file's page dirty. What is mapped then is looked for anew."""
    mm.mmap_lock.read_lock()
    while True:
        refused = check_vma_flags(mm, va, flags)
        if refused != 0:
            mm.mmap_lock.read_unlock()
            return -EOPNOTSUPP if refused == -EOPNOTSUPP else -EFAULT
        pfn = follow_page_pte(mm, va, flags | FOLL_TOUCH)
        if pfn > NO_PAGE:
            mm.mmap_lock.read_unlock()
            return pfn
        ret = handle_mm_fault(mm, va, faultin_flags(pfn, flags) | FAULT_FLAG_ALLOW_RETRY)
        if ret & VM_FAULT_UNLOCKED != 0:
            if len(mm.userfaultfd) > 0:
                if mm.userfaultfd[0].dying:
                    return -EFAULT
            mm.mmap_lock.read_lock()
        elif ret & VM_FAULT_ERROR != 0:
            break
    mm.mmap_lock.read_unlock()
    return -EFAULT


def faultin_flags(why: Pfn, flags: Flags) -> Flags:
    """faultin_page() (mm/gup.c, Linux 6.12): how the page is to be faulted in."""
    if why == MUST_UNSHARE:
        return FAULT_FLAG_UNSHARE
    return FAULT_FLAG_WRITE if flags & FOLL_WRITE != 0 else 0


# Of a memfd.


@milestone
@atomic
def unpin_folio(folio: Folio) -> None:
    """unpin_folio() (mm/gup.c, Linux 6.12): give a pin back."""
    whole = page_folio(folio)
    require(whole.pins > 0, "pins", "unpins a page that is not pinned")
    whole.pins -= 1
    put_page(whole)


@atomic
def memfd_pin_valid(file: ShmemFile, start: Pgoff, length: Pgoff) -> Errno:
    """The checks of memfd_pin_folios() (mm/gup.c, Linux 6.12): 0, or -EINVAL beyond the end of the file."""
    if length <= 0 or start + length > file.nr_pages:
        return -EINVAL
    return 0


@milestone
@atomic
def memfd_pin_folio(file: ShmemFile, pgoff: Pgoff) -> Folio:
    """memfd_pin_folios() (mm/gup.c, Linux 6.12) for one page: find it, or fill the hole, and pin it. When all are pinned:
    `check_and_migrate_movable_folios`, and perhaps all of them once more.

    A page found in the file is taken without its lock, even while it is being truncated. Of a folio of two pages each that is asked for has a
    pin of its own here, where the kernel gives the folio one.
    """
    folio = file.pages[pgoff]
    if len(hugetlb_files) > 0:
        if folio is None and file.is_hugetlb():
            folio = memfd_alloc_folio(file, pgoff)  # type: ignore[arg-type]
    if folio is None:
        folio = shmem_get_folio(file, pgoff)
    try_grab_folio(folio)
    return folio
