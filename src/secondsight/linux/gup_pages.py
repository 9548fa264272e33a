"""mm/gup.c: several pages in one call. `gup` has what happens to each.

    pin_user_pages(mm, start, nr_pages, flags, pages)       the caller holds the mmap lock, and keeps it
    get_user_pages(...)                                     the same with references instead of pins
    gup_fast_fallback(...)                                  pin_user_pages_fast(), get_user_pages_fast(): takes the lock where it has to
    unpin_user_pages(pages, nr_pages)

Each returns how many pages it got, from the first on, or the error of the first. **That may be fewer than were asked for**: the error of a later page
is not told, and those before it are pinned. Who wants all or nothing unpins them. What is to be pinned for long (FOLL_LONGTERM) and must not stay
where it is makes *all* of the call's pages unpinned, moved, and pinned again: fewer of them, perhaps; if one does not move, none is pinned.

`pages` is the caller's array, of the bound `pin_pages`. Left out: signals; what of a huge page is grabbed at once: here each page is grabbed in a step of its own;
`write_protect_seq`, where the walk to a page is one step, by which gup_fast() gives up where fork() comes between two of its pages (what it does then, with the
lock, it may do here without: raises no alarm of which a fork before the call would not).
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Errno, Record, Ref, atomic, bound, milestone
from secondsight.linux.errno import EAGAIN, EBUSY, EFAULT, EINVAL
from secondsight.linux.gup import (
    FOLL_LONGTERM,
    FOLL_PIN,
    FOLL_SPLIT_PMD,
    check_and_migrate_movable_folios,
    check_vma_flags,
    faultin_flags,
    follow_page_pte,
    is_valid_gup_args,
    unpin_folio,
    unpin_user_page,
)
from secondsight.linux.gup_fast import (
    NO_PAGE,
    gup_fast_begin,
    gup_fast_page,
    gup_fast_pte_range_at_once,
    gup_put_folio,
    local_irq_restore,
    local_irq_save,
    read_seqcount_retry,
)
from secondsight.linux.huge_memory import split_huge_pmd
from secondsight.linux.memory import FAULT_FLAG_ALLOW_RETRY, VM_FAULT_ERROR, VM_FAULT_UNLOCKED, handle_mm_fault
from secondsight.linux.memremap_private import folio_is_device_coherent
from secondsight.linux.migrate_device_range import migrate_device_coherent_folio
from secondsight.linux.mm_flags import FOLL_TOUCH
from secondsight.linux.mm_types import Count, Flags, Folio, Gather, Mm, Pfn, Pgoff, Result, Va, coherent_memory, huge_pages
from secondsight.linux.mmzone import pageblocks
from secondsight.linux.page_alloc import frames, get_page
from secondsight.linux.pgtable import pmd_trans_huge

__all__ = [
    "PageArray",
    "get_user_pages",
    "get_user_pages_fast_only",
    "get_user_pages_unlocked",
    "gup_fast_fallback",
    "pin_user_pages",
    "pin_user_pages_unlocked",
    "unpin_user_pages",
]


bound("pin_pages", usual=8)


class PageArray(Record):
    """`struct page **pages` of a caller."""

    folios: Array[Ref[Folio], Literal["pin_pages"]]


@milestone
def get_user_pages(mm: Mm, start: Va, nr_pages: Pgoff, flags: Flags, pages: PageArray) -> Result:
    """get_user_pages(), get_user_pages_remote() without `locked` (mm/gup.c, Linux 6.12): so many pages from `start` on, with a reference each; -EINVAL for long."""
    if not is_valid_gup_args(flags):
        return -EINVAL
    return gup_longterm_locked(mm, start, nr_pages, 0, flags | FOLL_TOUCH, pages, True)


@milestone
def pin_user_pages(mm: Mm, start: Va, nr_pages: Pgoff, flags: Flags, pages: PageArray) -> Result:
    """pin_user_pages() (mm/gup.c, Linux 6.12): the same, pinned; 0 for flags that are not the caller's. It alone goes without FOLL_TOUCH: what is to be written is not marked dirty."""
    if not is_valid_gup_args(flags | FOLL_PIN):
        return 0
    return gup_longterm_locked(mm, start, nr_pages, 0, flags | FOLL_PIN, pages, True)


@milestone
def get_user_pages_unlocked(mm: Mm, start: Va, nr_pages: Pgoff, flags: Flags, pages: PageArray) -> Result:
    """get_user_pages_unlocked() (mm/gup.c, Linux 6.12): `get_user_pages` for who does not hold the mmap lock; a fault may give it up, and what is mapped then is looked for anew."""
    if not is_valid_gup_args(flags):
        return -EINVAL
    return gup_longterm_locked(mm, start, nr_pages, 0, flags | FOLL_TOUCH, pages, False)


@milestone
def pin_user_pages_unlocked(mm: Mm, start: Va, nr_pages: Pgoff, flags: Flags, pages: PageArray) -> Result:
    """pin_user_pages_unlocked() (mm/gup.c, Linux 6.12): `pin_user_pages` for who does not hold the mmap lock. What is to be written is marked dirty, as that does not."""
    if not is_valid_gup_args(flags | FOLL_PIN):
        return 0
    return gup_longterm_locked(mm, start, nr_pages, 0, flags | FOLL_PIN | FOLL_TOUCH, pages, False)


@milestone
def get_user_pages_fast_only(mm: Mm, start: Va, nr_pages: Pgoff, flags: Flags, pages: PageArray) -> Result:
    """get_user_pages_fast_only() (mm/gup.c, Linux 6.12): so many pages as can be had without a lock, which may be none; it never sleeps."""
    if not is_valid_gup_args(flags):
        return -EINVAL
    return gup_fast(mm, start, nr_pages, flags, pages)


@milestone
def gup_fast_fallback(mm: Mm, start: Va, nr_pages: Pgoff, flags: Flags, pages: PageArray) -> Result:
    """gup_fast_fallback() (mm/gup.c, Linux 6.12), for pin_user_pages_fast() and get_user_pages_fast(), of the caller's own process.

    What can be had without a lock, and from the first page on that cannot the rest with it. An error there is not told if some were had before.
    """
    if not is_valid_gup_args(flags):
        return -EINVAL
    nr_pinned = gup_fast(mm, start, nr_pages, flags, pages)
    if nr_pinned == nr_pages:
        return nr_pinned
    ret = gup_longterm_locked(mm, start, nr_pages, nr_pinned, flags | FOLL_TOUCH, pages, False)
    if ret < 0:
        return nr_pinned if nr_pinned > 0 else ret
    return ret + nr_pinned


@atomic
def unpin_user_pages(pages: PageArray, nr_pages: Pgoff) -> None:
    """unpin_user_pages() (mm/gup.c, Linux 6.12): the first `nr_pages` of the array, whose entries stay as they are."""
    for k in range(nr_pages):
        folio = pages.folios[k]
        assert folio is not None, "unpins a page that the array does not have"
        unpin_user_page(folio)


def gup_fast(mm: Mm, start: Va, nr_pages: Pgoff, flags: Flags, pages: PageArray) -> Count:
    """gup_fast(), gup_fast_pgd_range() (mm/gup.c, Linux 6.12): how many pages could be had, one after the other, until one could not."""
    if len(mm.write_protect_seq) > 0:
        return gup_fast_in_steps(mm, start, nr_pages, flags, pages)
    for k in range(nr_pages):
        if start + k >= len(mm.ptes):
            return k
        with atomic:
            pfn = gup_fast_pte_range_at_once(mm, start + k, flags)
            if pfn > NO_PAGE:
                pages.folios[k] = frames[pfn]
        if pfn <= NO_PAGE:
            return k
    return nr_pages


def gup_fast_in_steps(mm: Mm, start: Va, nr_pages: Pgoff, flags: Flags, pages: PageArray) -> Count:
    """gup_fast(), gup_fast_pgd_range(), gup_fast_unpin_user_pages() (mm/gup.c, Linux 6.12), step by step (`gup_fast`): none of the pages where a fork has begun
    meanwhile."""
    begun, seq = gup_fast_begin(mm, flags)
    if not begun:
        return 0
    nr: Count = 0
    pfn: Pfn = 0
    walk = local_irq_save(mm)
    while pfn > NO_PAGE and nr < nr_pages and start + nr < len(mm.ptes):
        pfn = gup_fast_page(walk, mm, start + nr, flags)
        if pfn > NO_PAGE:
            pages.folios[nr] = frames[pfn]
            nr += 1
    local_irq_restore(walk)
    retry = read_seqcount_retry(mm, flags, seq)
    if not retry:
        return nr
    for k in range(nr):
        with atomic:
            folio = pages.folios[k]
            assert folio is not None
            pages.folios[k] = None
            gup_put_folio(folio, flags)
    return 0


def gup_longterm_locked(mm: Mm, start: Va, nr_pages: Pgoff, first: Pgoff, flags: Flags, pages: PageArray, locked: bool) -> Result:
    """__gup_longterm_locked() (mm/gup.c, Linux 6.12): the pages from number `first` on. `locked`: the caller holds the mmap lock."""
    ret = get_user_pages_locked(mm, start, nr_pages, first, flags, pages, locked)
    if len(pageblocks) + len(coherent_memory) > 0:
        while ret > 0 and flags & FOLL_LONGTERM != 0:
            moved = check_and_migrate_movable_pages(pages, first, first + ret)
            if moved == 0:
                break
            ret = moved
            if moved == -EAGAIN:
                ret = get_user_pages_locked(mm, start, nr_pages, first, flags, pages, locked)
    return ret


def get_user_pages_locked(mm: Mm, start: Va, nr_pages: Pgoff, first: Pgoff, flags: Flags, pages: PageArray, locked: bool) -> Result:
    """__get_user_pages_locked(), __get_user_pages() (mm/gup.c, Linux 6.12): how many there are, or the first one's error.

    Without the caller's lock it takes it, for all pages together; a fault that has to wait, or makes a file's page dirty, gives it up, and the pages that are there
    already stay.
    """
    if not locked:
        mm.mmap_lock.read_lock()
    at = first
    ret: Result = 0
    while at < nr_pages and ret == 0:
        pfn: Pfn = -EFAULT
        if start + at < len(mm.ptes):
            pfn = get_one(mm, start + at, flags, pages, at)
        if pfn > NO_PAGE:
            if pfn < 0:
                ret = pfn
            else:
                at += 1
        else:
            fault = handle_mm_fault(mm, start + at, faultin_flags(pfn, flags) | (0 if locked else FAULT_FLAG_ALLOW_RETRY))
            if fault & VM_FAULT_UNLOCKED != 0:
                if len(mm.userfaultfd) > 0:
                    if mm.userfaultfd[0].dying:
                        return at - first if at > first else -EFAULT
                mm.mmap_lock.read_lock()
            elif fault & VM_FAULT_ERROR != 0:
                ret = -EFAULT
    if not locked:
        mm.mmap_lock.read_unlock()
    return at - first if at > first else ret


def get_one(mm: Mm, va: Va, flags: Flags, pages: PageArray, at: Pgoff) -> Pfn:
    """A round of __get_user_pages() (mm/gup.c, Linux 6.12): the page, put into the array; an error; or what `follow_page_pte` says of the fault that is needed."""
    refused = check_vma_flags(mm, va, flags)
    if refused != 0:
        return refused
    if len(huge_pages) > 0:
        is_huge = pmd_trans_huge(mm, va)
        if is_huge and flags & FOLL_SPLIT_PMD != 0:
            split_huge_pmd(mm, va)
    with atomic:
        pfn = follow_page_pte(mm, va, flags)
        if pfn > NO_PAGE:
            pages.folios[at] = frames[pfn]
    return pfn


def check_and_migrate_movable_pages(pages: PageArray, first: Pgoff, end: Pgoff) -> Errno:
    """check_and_migrate_movable_pages() (mm/gup.c, Linux 6.12): 0: all may stay. Else none is pinned any more: -EAGAIN: pin them again; -ENOMEM, -EBUSY: one did not move.

    Pages of device-coherent memory go first, as the kernel meets them among the others; where one does not move, no other does.
    """
    if len(coherent_memory) > 0:
        with atomic:
            some = False
            for k in range(first, end):
                folio = pages.folios[k]
                assert folio is not None
                if folio_is_device_coherent(folio):
                    some = True
        if some:
            return migrate_coherent(pages, first, end)
    with atomic:
        folios: Gather = []
        for k in range(first, end):
            folio = pages.folios[k]
            assert folio is not None
            folios.append(folio)
    ret = check_and_migrate_movable_folios(folios)
    if ret != 0:
        with atomic:
            for k in range(first, end):
                pages.folios[k] = None
    return ret


def migrate_coherent(pages: PageArray, first: Pgoff, end: Pgoff) -> Errno:
    """migrate_longterm_unpinnable_folios() (mm/gup.c, Linux 6.12), where some are in device-coherent memory: all are unpinned in their order, and those
    moved out. Others that must move do so in the next round."""
    for k in range(first, end):
        with atomic:
            folio = pages.folios[k]
            pages.folios[k] = None
            assert folio is not None
            coherent = folio_is_device_coherent(folio)
            if coherent:
                get_page(folio)
                unpin_folio(folio)
            else:
                unpin_user_page(folio)
        if coherent:
            ret = migrate_device_coherent_folio(folio)
            if ret != 0:
                with atomic:
                    for rest in range(k + 1, end):
                        other = pages.folios[rest]
                        pages.folios[rest] = None
                        if other is not None:
                            unpin_user_page(other)
                return -EBUSY
    return -EAGAIN
