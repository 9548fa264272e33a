"""mm/userfaultfd.c: user space fills pages of registered memory, and write-protects them.

    uffd_lock_vma(): the lock of the vma, or the mmap lock, for reading; is it registered?
    map_changing_lock for reading; is a change in progress (`mmap_changing`)? then -EAGAIN
    mfill_atomic_pte(): a new page, only where nothing is: -EEXIST
    unlock; then who waits for the page is woken (`userfaultfd.wake_userfault`)

UFFDIO_CONTINUE maps a page that the file has in the same way; UFFDIO_POISON leaves a marker that nothing is to be had; UFFDIO_MOVE is in `mm_userfaultfd_move`.

Nobody is told when a page is filled: nothing was there. Write protection is a change of protection as mprotect's, in a notifier bracket.

Left out: a source that faults itself; several pages in one call. What is filled is one page of one character.
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import Char, Errno, Ref, atomic, milestone
from secondsight.linux.errno import EAGAIN, EEXIST, EFAULT, EINVAL, ENOENT
from secondsight.linux.fork import vmas
from secondsight.linux.madvise import find_vma_from
from secondsight.linux.memory_wp import map_new_page
from secondsight.linux.mm import is_cow_mapping, vma_is_accessible
from secondsight.linux.mm_flags import FAULT_FLAG_VMA_LOCK
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import NOT_PREPARED, Event, Flags, Mm, Range, Va, VaEnd, Vma, secondary_tlbs
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.mprotect import change_pte_range, change_pte_range_unflushed
from secondsight.linux.page_alloc import ZERO_PFN, frames
from secondsight.linux.pgtable import pte_clear, pte_none, pte_none_mostly
from secondsight.linux.rmap import anon_vma_is_prepared
from secondsight.linux.swapops import is_poisoned_swp_entry, make_pte_marker, pte_markers
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly
from secondsight.linux.userfaultfd import is_registered, userfaultfd_wp, userfaultfd_wp_use_markers
from secondsight.linux.vma import vmas_changed
from secondsight.linux.vma_lock import lock_vma_under_rcu, release_fault_lock, vma_end_read

__all__ = [
    "MFILL_ATOMIC_CONTINUE",
    "MFILL_ATOMIC_COPY",
    "MFILL_ATOMIC_POISON",
    "MFILL_ATOMIC_WP",
    "MFILL_ATOMIC_ZEROPAGE",
    "find_vma_and_prepare_anon",
    "mfill_atomic",
    "mwriteprotect_range",
    "uffd_lock_vma",
    "uffd_mfill_unlock",
    "uffd_wp_range",
]

MFILL_ATOMIC_COPY: Final = 0
MFILL_ATOMIC_ZEROPAGE: Final = 1
MFILL_ATOMIC_CONTINUE: Final = 2
MFILL_ATOMIC_POISON: Final = 3
MFILL_ATOMIC_MODE_MASK: Final = 3
MFILL_ATOMIC_WP: Final = 4
"""What a page is filled with (uffd_flags_t, include/linux/userfaultfd_k.h)."""


# What is locked.


def uffd_lock_vma(mm: Mm, va: Va) -> bool:
    """uffd_lock_vma(), validate_dst_vma() (mm/userfaultfd.c, Linux 6.12): the lock of the vma at `va`, for reading, where vmas have such (`vma_lock`); else the mmap lock.
    False: none is there, or it is not registered, and nothing is locked.

    Where the vma is being changed, or has no anon_vma yet, the mmap lock is waited for, and kept until the vma's lock is there.
    """
    if len(vmas) > 0:
        if len(vmas[0].vm_lock) > 0:
            locked = lock_prepared_vma(mm, va)
            if locked:
                return validate_dst_vma(mm, va)
    mm.mmap_lock.read_lock()
    return lock_found_vma(mm, va)


@atomic
def lock_prepared_vma(mm: Mm, va: Va) -> bool:
    """The first part of uffd_lock_vma(): without the mmap lock."""
    vma = lock_vma_under_rcu(mm, va)
    if vma is None:
        return False
    if is_cow_mapping(vma) and vma.anon_prepared[0] == NOT_PREPARED:
        vma_end_read(vma)
        return False
    return True


@atomic
def lock_found_vma(mm: Mm, va: Va) -> bool:
    """The second part of uffd_lock_vma(), under the mmap lock."""
    vma = find_vma_and_prepare_anon(mm, va)
    if vma is None:
        mm.mmap_lock.read_unlock()
        return False
    if len(vmas) > 0:
        if len(vmas[0].vm_lock) > 0:
            vma.vm_lock[0].rwsem.read_lock()
            mm.mmap_lock.read_unlock()
    return validate_dst_vma(mm, va)


@atomic
def find_vma_and_prepare_anon(mm: Mm, va: Va) -> Ref[Vma]:
    """find_vma_and_prepare_anon() (mm/userfaultfd.c, Linux 6.12): the vma at `va`, which has an anon_vma from now on if it is private, registered or not."""
    vma = mm.mm_mt[va]
    if vma is not None:
        if is_cow_mapping(vma):
            anon_vma_is_prepared(mm, va)
    return vma


@atomic
def validate_dst_vma(mm: Mm, va: Va) -> bool:
    """validate_dst_vma() (mm/userfaultfd.c, Linux 6.12): whether what is locked is registered; else it is unlocked."""
    registered = is_registered(mm.mm_mt[va])
    if not registered:
        uffd_mfill_unlock(mm, va)
    return registered


@atomic
def uffd_mfill_unlock(mm: Mm, va: Va) -> None:
    """uffd_mfill_unlock() (mm/userfaultfd.c, Linux 6.12)."""
    release_fault_lock(mm, va, FAULT_FLAG_VMA_LOCK)


# Filling.


@milestone
def mfill_atomic(mm: Mm, va: Va, value: Char, mode: Flags) -> Errno:
    """mfill_atomic() (mm/userfaultfd.c, Linux 6.12) of one page; `mode` is MFILL_ATOMIC_: a new page with `value` in it, the zero page, what the file has, or poison; with
    MFILL_ATOMIC_WP it is write-protected.

    -ENOENT: not registered; -EAGAIN: a change is in progress; -EINVAL: not registered for write protection; -EEXIST: a page is there; -EFAULT: past the end of the file. Of what the file has
    -EINVAL: not a memfd's, or past its end (-EFAULT: see `releases`); -EFAULT: the file has no such page. Of poison -EEXIST where there is a marker too.
    """
    locked = uffd_lock_vma(mm, va)
    if not locked:
        return -ENOENT
    mm.userfaultfd[0].map_changing_lock.read_lock()
    with atomic:
        vma = mm.mm_mt[va]
        assert vma is not None
        ret: Errno = -EAGAIN
        if mm.userfaultfd[0].mmap_changing == 0:
            ret = -EINVAL
            if mode & MFILL_ATOMIC_WP == 0 or userfaultfd_wp(vma):
                ret = mfill_atomic_pte(mm, vma, va, value, mode)
            if ret == 0 and len(mm.ptes[va].prot_none) > 0:
                mm.ptes[va].prot_none[0] = not vma_is_accessible(vma) and not is_poison(mode)
        mm.userfaultfd[0].map_changing_lock.read_unlock()
        uffd_mfill_unlock(mm, va)
    return ret


@atomic
def is_poison(mode: Flags) -> bool:
    """Whether nothing is to be filled, but marked."""
    return mode == MFILL_ATOMIC_POISON


@atomic
def mfill_atomic_pte(mm: Mm, vma: Vma, va: Va, value: Char, mode: Flags) -> Errno:
    """mfill_atomic_pte(), mfill_atomic_pte_copy(), mfill_atomic_pte_zeropage() (mm/userfaultfd.c, Linux 6.12): of private memory, also of a
    file's, a page of the process's own; else one of the file."""
    file = vma.vm_file
    pgoff = linear_page_index(vma, va)
    if mode & MFILL_ATOMIC_MODE_MASK == MFILL_ATOMIC_CONTINUE:
        return file.mcontinue(vma, va, pgoff, mode & MFILL_ATOMIC_WP != 0) if file is not None else -EINVAL
    if len(pte_markers) > 0:
        if is_poison(mode):
            return mfill_atomic_pte_poison(mm, vma, va)
    if file is not None and not is_cow_mapping(vma):
        return file.mfill(vma, va, pgoff, value, mode & MFILL_ATOMIC_WP != 0)
    if file is not None:
        if not file.has_page(pgoff):
            return -EFAULT
    pte = mm.ptes[va]
    if mode == MFILL_ATOMIC_ZEROPAGE:
        if not pte_none(pte):
            return -EEXIST
        anon_vma_is_prepared(mm, va)
        pte.frame = frames[ZERO_PFN]
        pte.writable = False
        return 0
    if not pte_none_mostly(pte):
        return -EEXIST
    if len(pte_markers) > 0:
        pte_clear(pte)
    map_new_page(mm, va, vma.write)
    new = pte.frame
    assert new is not None
    new.contents = value
    if mode & MFILL_ATOMIC_WP != 0:
        pte.uffd_wp[0] = True
        pte.writable = False
    return 0


@atomic
def mfill_atomic_pte_poison(mm: Mm, vma: Vma, va: Va) -> Errno:
    """mfill_atomic_pte_poison() (mm/userfaultfd.c, Linux 6.12): nobody can access the page."""
    file = vma.vm_file
    if file is not None:
        if not file.has_page(linear_page_index(vma, va)):
            return -EFAULT
    if not pte_none(mm.ptes[va]):
        return -EEXIST
    make_pte_marker(mm.ptes[va], False)
    return 0


# Write protection.


def mwriteprotect_range(mm: Mm, start: Va, end: VaEnd, enable_wp: bool) -> Errno:
    """mwriteprotect_range() (mm/userfaultfd.c, Linux 6.12): 0, -ENOENT where a vma is not registered for that, or none is there; -EAGAIN: a
    change is in progress."""
    mm.mmap_lock.read_lock()
    mm.userfaultfd[0].map_changing_lock.read_lock()
    with atomic:
        ret: Errno = -EAGAIN if mm.userfaultfd[0].mmap_changing > 0 else -ENOENT
        at: VaEnd = end if ret == -EAGAIN else start
    while at < end:
        with atomic:
            first = find_vma_from(mm, at, end)
            at = end
            if first < end:
                vma = mm.mm_mt[first]
                assert vma is not None
                ret = -ENOENT
                if userfaultfd_wp(vma):
                    ret = 0
                    at = min(vma.vm_end, end)
        if first == end or ret != 0:
            break
        uffd_wp_range(mm, first, at, enable_wp)
    with atomic:
        mm.userfaultfd[0].map_changing_lock.read_unlock()
        mm.mmap_lock.read_unlock()
    return ret


@atomic
def change_marker(mm: Mm, va: Va, enable_wp: bool) -> None:
    """The part of change_pte_range() (mm/mprotect.c, Linux 6.12) about an entry that is empty, or a marker. Poison stays."""
    vma, pte = mm.mm_mt[va], mm.ptes[va]
    assert vma is not None
    if is_poisoned_swp_entry(pte):
        return
    if not enable_wp:
        pte_clear(pte)
    elif userfaultfd_wp_use_markers(vma):
        make_pte_marker(pte, True)


def uffd_wp_range(mm: Mm, start: Va, end: VaEnd, enable_wp: bool) -> None:
    """uffd_wp_range() (mm/userfaultfd.c), change_protection() (mm/mprotect.c, Linux 6.12): write-protect the pages of a part of one vma, or
    no more. Of those that are not there only markers say so (`userfaultfd_wp_use_markers`); else they stay as they are."""
    rng = Range(start, end, Event.PROTECTION_VMA, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, start, end)
    change_uffd_wp(mm, start, end, enable_wp)
    mmu_notifier_invalidate_range_end(mm, rng)
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, start, end)  # tlb_finish_mmu()
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, start, end)


@milestone(quiet=True)
@atomic
def change_uffd_wp(mm: Mm, start: Va, end: VaEnd, enable_wp: bool) -> None:
    """change_pte_range(MM_CP_UFFD_WP or MM_CP_UFFD_WP_RESOLVE) (mm/mprotect.c, Linux 6.12): under the page-table lock."""
    for va in range(start, end):
        pte = mm.ptes[va]
        if len(pte_markers) > 0:
            if pte_none_mostly(pte):
                change_marker(mm, va, enable_wp)
                continue
        pte.uffd_wp[0] = enable_wp and not pte_none(pte)
    if len(mm.tlb) > 0:
        change_pte_range_unflushed(mm, start, end)
    else:
        change_pte_range(mm, start, end)
    vmas_changed(mm, start, end)
