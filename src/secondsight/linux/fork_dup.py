"""kernel/fork.c and the part of mm/memory.c that it alone calls: a child's address space is a copy of its parent's.

Both mmap locks are held for writing (the child's is nobody else's yet, and is not taken here). Vma by vma, in the order of addresses:

    vm_area_dup, vma_interval_tree_insert_after: the child maps the file too
    mmu_notifier_invalidate_range_start(PROTECTION_PAGE)        of the parent, for private memory
    copy_pte_range()                            one step: both page-table locks
    mmu_notifier_invalidate_range_end()

Private pages are shared from then on, and nobody may write them: parent or child, who writes first makes a copy of its own
(`memory.wp_page_copy`), under a second bracket. A page that the parent has pinned stays its own: the child gets a copy at once.

Who takes pages without a lock meanwhile, step by step (`gup_fast`), sees by `write_protect_seq` that entries are being protected; without that a page could be
pinned between the question whether it is and the protection of its entry. (With huge pages the two are one step: may hide a bug of the fork's or of the walk's.)

Where a page is device-exclusive and locked, or the pool has no huge page for the copy of a pinned one, the fork fails: what the child has by then is torn down, and the call returns -ENOMEM.

Left out: everything of fork(2) but memory; any other failure. Entries of a private vma in which nothing was ever written are left to the child's
faults (vma_needs_copy()) where it is known (`Vma.anon_prepared`); elsewhere they are copied too: subscribers are called once more; raises no false alarm.
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic, milestone
from secondsight.linux.errno import ENOMEM
from secondsight.linux.exit import exit_mm
from secondsight.linux.fork import mms, vm_area_dup
from secondsight.linux.highmem import copy_highpage
from secondsight.linux.huge_memory import copy_huge_pmd, next_pinned_huge_pmd, pte_alloc, split_huge_pmd
from secondsight.linux.hugetlb_pool import hstates
from secondsight.linux.hugetlb_private import copy_hugetlb_page_range
from secondsight.linux.hugetlb_resv import hugetlb_dup_vma_private
from secondsight.linux.madvise import find_vma_from
from secondsight.linux.memory_swap import restore_exclusive_pte
from secondsight.linux.mm import folio_test_anon, is_cow_mapping, page_anon_exclusive, vma_dontcopy, vma_is_accessible
from secondsight.linux.mm_flags import VM_DONTCOPY, VM_LOCKED, VM_PFNMAP, VM_UFFD_FLAGS, VM_WIPEONFORK
from secondsight.linux.mm_interval_tree import vma_interval_tree_insert_after
from secondsight.linux.mm_types import (
    CLONED,
    HPAGE_PMD_NR,
    NOT_PREPARED,
    PREPARED,
    Event,
    Folio,
    Mm,
    PmdKind,
    Pte,
    PteKind,
    Range,
    Va,
    VaEnd,
    Vma,
    huge_pages,
    hugetlb_private,
    secondary_tlbs,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start, owners
from secondsight.linux.page_alloc import alloc_page, get_page, page_folio
from secondsight.linux.pgtable import is_second_half, pmd_trans_huge, pte_page, vm_normal_folio
from secondsight.linux.rmap import anon_vma_link, anon_vma_prepare, folio_add_new_anon_rmap
from secondsight.linux.swap_state import swap_duplicate
from secondsight.linux.swapops import (
    is_device_private_entry,
    is_migration_entry,
    is_poisoned_swp_entry,
    is_pte_marker,
    is_swap_entry,
    migrations,
    pte_markers,
    swap_slots,
)
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, flush_tlb_mm, tlb_keeps_entry
from secondsight.linux.userfaultfd import dup_userfaultfd, dup_userfaultfd_complete, dup_userfaultfd_fail, userfaultfd_wp
from secondsight.linux.util import locked_vms
from secondsight.linux.vma import vma_iter_store
from secondsight.linux.vma_lock import vma_start_write

__all__ = ["copy_page_range", "dup_mm", "dup_mmap"]


def dup_mm(mm: Mm, oldmm: Mm) -> Errno:
    """dup_mm(), copy_mm() (kernel/fork.c, Linux 6.12): -ENOMEM where `mm` cannot become a copy of `oldmm`; then nothing is left of it, and nobody uses it."""
    whole = dup_mmap(mm, oldmm)
    if len(owners) + len(hstates) > 0:
        if not whole:
            exit_mm(mm)
            return -ENOMEM
    return 0


@milestone
def dup_mmap(mm: Mm, oldmm: Mm) -> bool:
    """dup_mmap() (kernel/fork.c, Linux 6.12): `mm`, which is empty, becomes a copy of `oldmm`. Whether it is whole; else it has what lies before the
    page that could not be copied."""
    oldmm.mmap_lock.write_lock()
    told = False
    whole = True
    if len(mm.userfaultfd) > 0:
        told = dup_userfaultfd(mm, oldmm)
    if len(secondary_tlbs) > 0:
        entries_change(oldmm, 0, len(oldmm.ptes))
    at: VaEnd = 0
    while at < len(oldmm.ptes):
        with atomic:
            start = find_vma_from(oldmm, at, len(oldmm.ptes))
            at = start
            if start < len(oldmm.ptes):
                vma = oldmm.mm_mt[start]
                assert vma is not None
                at = vma.vm_end
                vma_start_write(vma)
                dup_vma(mm, oldmm, vma)
        if start == at:
            break
        copied = copy_page_range(mm, oldmm, start, at)
        if len(owners) + len(hstates) > 0:
            if not copied:
                whole = False
                break
    if len(mm.tlb) > 0:
        flush_tlb_mm(oldmm)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(oldmm, 0, len(oldmm.ptes))
    oldmm.mmap_lock.write_unlock()
    if len(mm.userfaultfd) > 0:
        if len(owners) > 0:
            if told and not whole:
                dup_userfaultfd_fail(mm, oldmm)
                told = False
        if told:
            dup_userfaultfd_complete(oldmm)
    return whole


@atomic
def dup_vma(mm: Mm, oldmm: Mm, vma: Vma) -> None:
    """The part of dup_mmap() (kernel/fork.c, Linux 6.12) that makes the child's vma: it is in the tree of its file behind the parent's. Of one with VM_DONTCOPY
    there is none; one with VM_WIPEONFORK is as if nobody had touched it."""
    if vma_dontcopy(vma):
        return
    new = vm_area_dup(vma)
    new.vm_mm = mm
    if len(new.hugetlb_resv) > 0:
        hugetlb_dup_vma_private(new)
    if len(locked_vms) > 0:  # nothing of a child is locked, but there is the same limit
        if len(new.flags) > 0:
            new.flags[0] = new.flags[0] & (255 - VM_LOCKED)
        locked_vms[mms.index(mm)].limit = locked_vms[mms.index(oldmm)].limit
    if len(new.anon_prepared) > 0:
        if new.anon_prepared[0] == PREPARED:
            new.anon_prepared[0] = CLONED
        if len(new.anon_id) > 0:  # anon_vma_fork()
            new.anon_id[0] = new.vm_start if new.anon_prepared[0] != NOT_PREPARED else 0
    if len(mm.userfaultfd) > 0:
        if not mm.userfaultfd[0].opened:
            new.flags[0] = new.flags[0] & (255 - VM_UFFD_FLAGS)
    if len(new.more_flags) > 0 and new.more_flags[0] & VM_WIPEONFORK != 0:
        if len(new.anon_prepared) > 0:
            new.anon_prepared[0] = NOT_PREPARED
        if len(new.anon_id) > 0:
            new.anon_id[0] = 0
        new.anon_vma = None
        anon_vma_prepare(new)
    else:
        anon_vma_link(new)
    vma_iter_store(mm, new)
    file = vma.vm_file
    if file is not None:
        file.i_mmap_rwsem.write_lock()
        vma_interval_tree_insert_after(new, vma)
        file.i_mmap_rwsem.write_unlock()


def copy_page_range(mm: Mm, oldmm: Mm, start: Va, end: VaEnd) -> bool:
    """copy_page_range(), vma_needs_copy() (mm/memory.c, Linux 6.12): the entries of one vma; whether all could be copied. Those of a shared mapping are left to
    the child's faults, but for a PFN mapping's; only where the parent's may lose the permission to write are subscribers called."""
    copied = True
    with atomic:
        vma = oldmm.mm_mt[start]
        assert vma is not None
        file = vma.vm_file
        private = is_cow_mapping(vma)
        if len(vma.anon_prepared) > 0 and len(mm.userfaultfd) == 0:
            private = private and vma.anon_prepared[0] != NOT_PREPARED
        needed = private or (file is not None and file.vm_flags() & VM_PFNMAP != 0)
        if len(pte_markers) > 0:
            needed = needed or is_wp_registered(mm, start)
        if len(vma.more_flags) > 0:
            if vma.more_flags[0] & (VM_DONTCOPY | VM_WIPEONFORK) != 0:  # there is no such vma, or it has nothing of this one
                private = False
                needed = False
        large = False
        if len(hugetlb_private) > 0:
            large = private and file is not None and file.is_hugetlb()
    if len(hugetlb_private) > 0:
        if large:
            return copy_hugetlb_page_range(mm, oldmm, start, end)
    if private:
        rng = Range(start, end, Event.PROTECTION_PAGE, True)
        mmu_notifier_invalidate_range_start(oldmm, rng)
        if len(mm.write_protect_seq) > 0:
            raw_write_seqcount(oldmm)
        if len(mm.write_protect_seq) > 0 and len(huge_pages) == 0:
            copied = copy_pte_range_in_steps(mm, oldmm, start, end)
        elif len(huge_pages) > 0:
            pinned: VaEnd = start
            while pinned < end:
                with atomic:
                    pinned = next_pinned_huge_pmd(oldmm, start, end)
                    if pinned == end:
                        copied = copy_pte_range(mm, oldmm, start, end)
                if pinned < end:
                    split_huge_pmd(oldmm, pinned)
        else:
            copied = copy_pte_range(mm, oldmm, start, end)
        if len(mm.write_protect_seq) > 0:
            raw_write_seqcount(oldmm)
        mmu_notifier_invalidate_range_end(oldmm, rng)
    elif needed:
        copied = copy_pte_range(mm, oldmm, start, end)
    return copied


@atomic
def raw_write_seqcount(mm: Mm) -> None:
    """raw_write_seqcount_begin(), raw_write_seqcount_end() (include/linux/seqlock.h, Linux 6.12) of `write_protect_seq`: who takes pages without a lock, and began
    before the end, gives them back (`gup_fast`)."""
    mm.write_protect_seq[0] += 1


def copy_pte_range_in_steps(mm: Mm, oldmm: Mm, start: Va, end: VaEnd) -> bool:
    """copy_pte_range() (mm/memory.c, Linux 6.12), as those see it who look without the page-table lock: of each page, whether it may be pinned is asked before its
    entry is protected. Others that take the lock do not come between: what they have changed is looked at again."""
    for va in range(start, end):
        unpinned = seen_unpinned(oldmm, va)
        copied = copy_pte_range(mm, oldmm, va, va + 1, unpinned)
        if not copied:
            return False
    return True


@atomic
def seen_unpinned(mm: Mm, va: Va) -> Ref[Folio]:
    """folio_needs_cow_for_dma() (include/linux/mm.h, Linux 6.12) says no: the page at `va`, of which it does."""
    folio = vm_normal_folio(mm.ptes[va])
    return folio if folio is not None and page_folio(folio).pins == 0 else None


@milestone(quiet=True)
@atomic
def copy_pte_range(mm: Mm, oldmm: Mm, start: Va, end: VaEnd, unpinned: Ref[Folio] = None) -> bool:
    """copy_pte_range() (mm/memory.c, Linux 6.12), under both page-table locks. Whether it came to the end: it gives up (-EBUSY) at a folio
    that is a device's alone and locked. `unpinned`: that one was found not to be pinned before."""
    for va in range(start, end):
        if len(owners) > 0:
            if is_exclusive_and_locked(oldmm.ptes[va]):
                return False
        if len(huge_pages) > 0:
            if pmd_trans_huge(oldmm, va):
                if not is_second_half(oldmm, va):
                    copy_huge_pmd(mm, oldmm, va)
                continue
            if oldmm.pmds[va // HPAGE_PMD_NR].kind == PmdKind.TABLE:
                pte_alloc(mm, va)
            if len(migrations) > 0:
                if oldmm.pmds[va // HPAGE_PMD_NR].kind == PmdKind.MIGRATION:  # copy_huge_pmd()
                    mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.MIGRATION
        if len(owners) + len(swap_slots) + len(migrations) > 0:
            copy_nonpresent_pte(mm, oldmm, va)
        if len(pte_markers) > 0:
            copy_pte_marker(mm, oldmm, va)
        if pte_page(oldmm.ptes[va]) is not None:
            copy_present_pte(mm, oldmm, va, unpinned)
        if len(mm.userfaultfd) > 0:
            copy_uffd_wp(mm, oldmm, va)
    return True


@atomic
def is_exclusive_and_locked(pte: Pte) -> bool:
    """Whether try_restore_exclusive_pte() (mm/memory.c, Linux 6.12) would say -EBUSY of an entry."""
    folio = pte.frame
    return pte.kind == PteKind.DEVICE_EXCLUSIVE and folio is not None and page_folio(folio).locked


@atomic
def copy_nonpresent_pte(mm: Mm, oldmm: Mm, va: Va) -> None:
    """copy_nonpresent_pte() (mm/memory.c, Linux 6.12): a device-exclusive entry is present again, and is copied as such; a page in swap
    has an entry more; one that is being moved is the child's too when it has moved; so is one in device memory. None is exclusive to anybody then, and none may
    write."""
    pte = oldmm.ptes[va]
    new = mm.ptes[va]
    folio = pte.frame
    if len(owners) > 0:
        if pte.kind == PteKind.DEVICE_EXCLUSIVE and folio is not None:
            restore_exclusive_pte(oldmm, va, folio)
    if folio is not None and len(folio.pgmap) > 0:
        if is_device_private_entry(pte):
            get_page(folio)
            if len(folio.shared) > 0:
                folio.shared[0] = True
            pte.writable = False
            new.kind = PteKind.DEVICE_PRIVATE
            new.frame = folio
    if len(swap_slots) > 0:
        if is_swap_entry(pte):
            swap_duplicate(pte.swap)
            pte.exclusive = False
            new.kind = PteKind.SWAP
            new.swap = pte.swap
    if len(migrations) > 0:
        if is_migration_entry(pte):
            vma = oldmm.mm_mt[va]
            if vma is not None and is_cow_mapping(vma):
                pte.exclusive = False
                pte.writable = False
            new.kind = PteKind.MIGRATION
            new.frame = folio
            new.writable = pte.writable


@atomic
def is_wp_registered(mm: Mm, va: Va) -> bool:
    """Whether a child has a vma at `va` that is registered for write protection: then entries of a shared mapping are copied, too."""
    vma = mm.mm_mt[va]
    return vma is not None and userfaultfd_wp(vma)


@atomic
def copy_pte_marker(mm: Mm, oldmm: Mm, va: Va) -> None:
    """copy_pte_marker() (include/linux/mm_inline.h, Linux 6.12): the child has a marker of poison too, and one of write protection if its memory is registered for that
    (`copy_uffd_wp` says which it is)."""
    pte = oldmm.ptes[va]
    if is_pte_marker(pte) and (is_poisoned_swp_entry(pte) or is_wp_registered(mm, va)):
        mm.ptes[va].kind = PteKind.MARKER


@atomic
def copy_present_pte(mm: Mm, oldmm: Mm, va: Va, unpinned: Ref[Folio]) -> None:
    """copy_present_ptes(), __copy_present_ptes() (mm/memory.c, Linux 6.12): the child's entry is as the parent's, and of private
    memory neither may write."""
    vma = oldmm.mm_mt[va]
    assert vma is not None
    pte = oldmm.ptes[va]
    private = is_cow_mapping(vma)
    folio = vm_normal_folio(pte)
    if folio is not None and private and folio_test_anon(vma, va, folio):
        if page_folio(folio).pins > 0 and page_anon_exclusive(folio) and folio is not unpinned:
            copy_present_page(mm, va, folio)
            return
        if len(folio.shared) > 0:
            folio.shared[0] = True
    if folio is not None:
        get_page(folio)
    if private:
        if len(mm.tlb) > 0:
            if pte.writable:
                tlb_keeps_entry(oldmm, va)
        pte.writable = False
    new = mm.ptes[va]
    new.frame = pte.frame
    new.writable = pte.writable
    new.special = pte.special
    if len(new.prot_none) > 0:
        new.prot_none[0] = pte.prot_none[0]
    if len(swap_slots) > 0:
        new.dirty = pte.dirty


@atomic
def copy_uffd_wp(mm: Mm, oldmm: Mm, va: Va) -> None:
    """The parts of copy_present_ptes(), copy_present_page() and copy_nonpresent_pte() (mm/memory.c, Linux 6.12) about pte_uffd_wp(): the child's
    entry has it if its memory is registered for that."""
    vma = mm.mm_mt[va]
    assert vma is not None
    new = mm.ptes[va]
    new.uffd_wp[0] = oldmm.ptes[va].uffd_wp[0] and userfaultfd_wp(vma)
    if new.uffd_wp[0]:
        new.writable = False


@atomic
def copy_present_page(mm: Mm, va: Va, folio: Folio) -> None:
    """copy_present_page() (mm/memory.c, Linux 6.12): a page that may be pinned (folio_try_dup_anon_rmap_pte()) is copied at once."""
    new: Ref[Vma] = mm.mm_mt[va]
    assert new is not None
    copy = alloc_page()
    if len(huge_pages) > 0:
        copy.batched[0] = True
    copy_highpage(copy, folio)
    folio_add_new_anon_rmap(copy, new, va)
    mm.ptes[va].frame = copy
    mm.ptes[va].writable = new.write
    if len(mm.ptes[va].prot_none) > 0:
        mm.ptes[va].prot_none[0] = not vma_is_accessible(new)
    if len(swap_slots) > 0:
        mm.ptes[va].dirty = True
