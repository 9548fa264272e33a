"""mm/vma.c: vmas are split, merged, and taken out of an address space.

munmap holds the mmap lock for writing only while it takes the vmas out of the tree. Then it downgrades to reading:
faults run beside the zap and find nothing mapped, and nothing can be mapped there before it is over.

    mmap_write_lock; a huge page that has pages on both sides is split; vmas out of the tree; mmap_write_downgrade
    unmap_vmas: notifier bracket (UNMAP) around the zap
    free_pgtables: the file forgets the vmas (i_mmap_rwsem for writing); tlb_finish_mmu: references dropped
    mmap_read_unlock
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import Errno, Ref, atomic, bound, shared_array, tracepoint
from secondsight.linux.errno import EINVAL
from secondsight.linux.fork import mms, vm_area_dup, vm_area_free, vmas
from secondsight.linux.huge_memory import vma_adjust_trans_huge
from secondsight.linux.hugetlb_resv import hugetlb_vm_op_close
from secondsight.linux.memory_zap import tlb_finish_mmu, unmap_vmas
from secondsight.linux.mm_flags import VM_AS_IT_WAS, VM_PFNMAP
from secondsight.linux.mm_interval_tree import vma_interval_tree_insert, vma_interval_tree_remove
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    NOT_PREPARED,
    PREPARED,
    AddressSpace,
    Count,
    Flags,
    Mm,
    Pgoff,
    PmdKind,
    Va,
    VaEnd,
    Vma,
    huge_pages,
    secondary_tlbs,
)
from secondsight.linux.mmu_gather import TablePlace, gup_walks, table_moves
from secondsight.linux.rmap import anon_vma_link, anon_vma_unlink
from secondsight.linux.tlb import flush_secondary_tlbs, tlb_flush_mmu_tlbonly
from secondsight.linux.userfaultfd import userfaultfd_unmap_complete, userfaultfd_unmap_prep
from secondsight.linux.util import locked_vms, vma_is_locked
from secondsight.linux.vma_lock import vma_start_write

__all__ = [
    "anon_id_of",
    "do_vmi_align_munmap",
    "do_vmi_munmap",
    "is_never_merged",
    "free_pgtables",
    "lock_vmas_to_unmap",
    "prepare_splits",
    "split_vma",
    "vma_iter_store",
    "vma_merge_new_range",
    "vma_modify_flags",
    "vmas_changed",
    "vms_gather_munmap_vmas",
]


NO_SPLIT: Final = 0
"""Where no vma ends in the middle."""

joins_untouched = shared_array(bool, bound("joins_untouched", most=1))
"""Of size 1 where a release says so: see `releases` (touched-memory-joins-untouched)."""


@tracepoint
def vmas_changed(mm: Mm, start: Va, end: VaEnd) -> None:
    """The vmas of a range are as they will be found by who takes the mmap lock next: there, gone, or others."""


@atomic
def vma_iter_store(mm: Mm, vma: Vma) -> None:
    """vma_iter_store() (mm/vma.h, Linux 6.12): the vma is what is found at its pages."""
    for va in range(vma.vm_start, vma.vm_end):
        mm.mm_mt[va] = vma


@atomic
def split_vma(vma: Vma, addr: Va, new_below: bool) -> None:
    """__split_vma() (mm/vma.c, Linux 6.12): in two at `addr`. A new vma is the lower part if `new_below`, else the upper one.

    The new one comes into the file's tree before the other is put into it anew. Left out: failure; vm_ops->may_split is in `prepare_splits`.
    """
    mm = vma.vm_mm
    file = vma.vm_file
    assert mm is not None
    vma_start_write(vma)
    new = vm_area_dup(vma)
    vma_start_write(new)
    below: Pgoff = addr - vma.vm_start
    if new_below:
        new.vm_end = addr
    else:
        new.vm_start = addr
        new.vm_pgoff += below
    if file is not None:
        file.i_mmap_rwsem.write_lock()
        vma_interval_tree_insert(new, file)
        vma_interval_tree_remove(vma, file)
    anon_vma_unlink(vma)
    if new_below:
        vma.vm_start = addr
        vma.vm_pgoff += below
    else:
        vma.vm_end = addr
    if file is not None:
        vma_interval_tree_insert(vma, file)
        file.i_mmap_rwsem.write_unlock()
    anon_vma_link(vma)
    anon_vma_link(new)
    vma_iter_store(mm, new)


@atomic
def is_never_merged(file: AddressSpace) -> bool:
    """Whether vmas of the file are not made one: VM_SPECIAL of include/linux/mm.h, Linux 6.12; those of huge pages have VM_DONTEXPAND. Those of a device's memory (VM_DEVMAP) are."""
    if len(huge_pages) > 0:
        if file.is_hugetlb():
            return True
    return file.vm_flags() & VM_PFNMAP != 0


def prepare_splits(mm: Mm, start: Va, end: VaEnd) -> Errno:
    """What __split_vma() (mm/vma.c, Linux 6.12) asks and does before vmas come to begin or end at `start` and at `end`: `may_split` of
    vm_operations_struct, hugetlb_vm_op_split() (mm/hugetlb.c), and vma_adjust_trans_huge(). 0, or -EINVAL within a huge page of a file's.

    The kernel splits at `start` first. Where it may not split at `end` then, the two halves at `start` stay: each has a lock of its own.
    """
    if is_within_hugetlb(mm, start):
        return -EINVAL
    if is_within_hugetlb(mm, end):
        vma_adjust_trans_huge(mm, start, NO_SPLIT)
        with atomic:
            vma = mm.mm_mt[start]
            if vma is not None:
                if vma.vm_start < start:
                    split_vma(vma, start, True)
        return -EINVAL
    vma_adjust_trans_huge(mm, start, end)
    return 0


@atomic
def is_within_hugetlb(mm: Mm, va: VaEnd) -> bool:
    """Whether `va` is in the middle of a huge page of a file's."""
    if va % HPAGE_PMD_NR == 0:
        return False
    vma = mm.mm_mt[va]
    if vma is None:
        return False
    file = vma.vm_file
    return file is not None and file.is_hugetlb()


@atomic
def vma_merge_new_range(
    mm: Mm, start: Va, end: VaEnd, file: Ref[AddressSpace], pgoff: Pgoff, write: bool, flags: Flags, prepared: Count, low: Va, high: VaEnd,
    more_flags: Flags = 0, anon_id: Va = 0,
) -> Ref[Vma]:
    """vma_merge_new_range(), vma_expand() (mm/vma.c, Linux 6.12): make a neighbour map the range too; None: none can.

    With neighbours on both sides the one before is expanded over all, and the one behind it goes. Those with VM_PFNMAP are
    never merged. Neighbours are looked for between `low` and `high`: mappings lie side by side in the model that the kernel
    keeps apart. `prepared`, `anon_id`: the anon_vma that the range will have (`Vma.anon_prepared`).
    """
    if file is not None:
        if is_never_merged(file):
            return None
    prev: Ref[Vma] = None
    following: Ref[Vma] = None
    if start > low:
        prev = mm.mm_mt[start - 1]
    if end < high:
        following = mm.mm_mt[end]
    if prev is not None:
        if not can_vma_merge_after(prev, file, pgoff, write, flags, prepared, more_flags, anon_id):
            prev = None
    if following is not None:
        if not can_vma_merge_before(following, file, pgoff + end - start, write, flags, prepared, more_flags, anon_id) or keeps_apart(prev, following):
            following = None
    expanded = following if prev is None else prev
    if expanded is None:
        return None
    vma_start_write(expanded)
    if following is not None:
        vma_start_write(following)
    if file is not None:
        file.i_mmap_rwsem.write_lock()
        vma_interval_tree_remove(expanded, file)
    anon_vma_unlink(expanded)
    if prev is None:
        expanded.vm_start = start
        expanded.vm_pgoff = pgoff
    else:
        expanded.vm_end = end if following is None else following.vm_end
    if file is not None:
        vma_interval_tree_insert(expanded, file)
        if following is not None and following is not expanded:
            vma_interval_tree_remove(following, file)
        file.i_mmap_rwsem.write_unlock()
    dup_anon_vma(expanded, prepared, anon_id)
    anon_vma_link(expanded)
    vma_iter_store(mm, expanded)
    if following is not None and following is not expanded:
        if len(following.anon_prepared) > 0:
            dup_anon_vma(expanded, following.anon_prepared[0], anon_id_of(following))
        anon_vma_unlink(following)
        vm_area_free(following)
    return expanded


@atomic
def is_mergeable_vma(vma: Vma, file: Ref[AddressSpace], write: bool, flags: Flags, more_flags: Flags) -> bool:
    """is_mergeable_vma() (mm/vma.c, Linux 6.12): whether a vma has that file and those flags."""
    if len(vma.flags) > 0:
        if vma.flags[0] != flags:
            return False
    if len(vma.more_flags) > 0:
        if vma.more_flags[0] != more_flags:
            return False
    return vma.vm_file is file and vma.write == write


@atomic
def is_mergeable_anon_vma(prepared: Count, anon_id: Va, target: Vma) -> bool:
    """is_mergeable_anon_vma() (mm/vma.c, Linux 6.12): whether a range with this anon_vma can become part of `target`, for its anon_vma. Where both
    have one it has to be the same: it is taken to be where that is not known (`Vma.anon_id`), which may join what the kernel keeps apart.

    One that has an anon_vma does not become part of a vma that has none: before 7.2 (`joins_untouched`).
    """
    if len(target.anon_prepared) > 0:
        if target.anon_prepared[0] == NOT_PREPARED and prepared == PREPARED:
            return len(joins_untouched) > 0
        if target.anon_prepared[0] == NOT_PREPARED or prepared == NOT_PREPARED:
            return target.anon_prepared[0] == PREPARED or target.anon_prepared[0] == prepared
        if len(target.anon_id) > 0:
            return target.anon_id[0] == anon_id
    return True


@atomic
def keeps_apart(prev: Ref[Vma], following: Vma) -> bool:
    """The last line of can_vma_merge_right() (mm/vma.c, Linux 6.12), negated: what lies between goes to the one before alone, as the two have an anon_vma each."""
    if prev is not None:
        if len(prev.anon_id) > 0:
            return prev.anon_prepared[0] != NOT_PREPARED and following.anon_prepared[0] != NOT_PREPARED and prev.anon_id[0] != following.anon_id[0]
    return False


@atomic
def anon_id_of(vma: Vma) -> Va:
    """Which anon_vma a vma has, where that is known."""
    return vma.anon_id[0] if len(vma.anon_id) > 0 else 0


@atomic
def dup_anon_vma(expanded: Vma, prepared: Count, anon_id: Va) -> None:
    """dup_anon_vma() (mm/vma.c, Linux 6.12): a vma that becomes larger has the anon_vma of what it takes over, if it had none."""
    if len(expanded.anon_prepared) > 0:
        if expanded.anon_prepared[0] == NOT_PREPARED:
            expanded.anon_prepared[0] = prepared
            if len(expanded.anon_id) > 0:
                expanded.anon_id[0] = anon_id


@atomic
def can_vma_merge_after(prev: Vma, file: Ref[AddressSpace], pgoff: Pgoff, write: bool, flags: Flags, prepared: Count, more_flags: Flags, anon_id: Va) -> bool:
    """can_vma_merge_after() (mm/vma.c, Linux 6.12): whether what begins with the file's page `pgoff` continues `prev`."""
    continues = prev.vm_pgoff + prev.vm_end - prev.vm_start == pgoff
    return continues and is_mergeable_vma(prev, file, write, flags, more_flags) and is_mergeable_anon_vma(prepared, anon_id, prev)


@atomic
def can_vma_merge_before(following: Vma, file: Ref[AddressSpace], end: Pgoff, write: bool, flags: Flags, prepared: Count, more_flags: Flags, anon_id: Va) -> bool:
    """can_vma_merge_before() (mm/vma.c, Linux 6.12): whether `following` continues what ends before the file's page `end`."""
    continues = following.vm_pgoff == end
    return continues and is_mergeable_vma(following, file, write, flags, more_flags) and is_mergeable_anon_vma(prepared, anon_id, following)


@atomic
def vma_modify_flags(
    vma: Vma, start: Va, end: VaEnd, write: bool, flags: Flags, low: Va, high: VaEnd, more_flags: Flags = VM_AS_IT_WAS
) -> None:
    """vma_modify_flags(), vma_modify() (mm/vma.c, Linux 6.12): the pages `start` to before `end` of a vma come to be of one that may
    write, or may not, and has those other flags: of a neighbour, or of what is left of this one when the rest is split off.

    `low`, `high`: see `vma_merge_new_range`. `more_flags`: its `Vma.more_flags` too.
    """
    if len(vma.more_flags) > 0:
        if more_flags == VM_AS_IT_WAS:
            more_flags = vma.more_flags[0]
    is_merged = vma_merge_existing_range(vma, start, end, write, flags, low, high, more_flags)
    if not is_merged:
        if vma.vm_start < start:
            split_vma(vma, start, True)
        if vma.vm_end > end:
            split_vma(vma, end, False)
        vma_start_write(vma)
        vma.write = write
        if len(vma.flags) > 0:
            vma.flags[0] = flags
        if len(vma.more_flags) > 0:
            vma.more_flags[0] = more_flags


@atomic
def vma_merge_existing_range(vma: Vma, start: Va, end: VaEnd, write: bool, flags: Flags, low: Va, high: VaEnd, more_flags: Flags) -> bool:
    """vma_merge_existing_range(), commit_merge(), vma_complete() (mm/vma.c, Linux 6.12): give a part of a vma to neighbours.

    What lies at an edge of the vma goes to the vma beside it, if that has the flags; the whole of it to both, which become one. True:
    it has gone to one. Those with VM_PFNMAP are never merged.
    """
    mm = vma.vm_mm
    file = vma.vm_file
    assert mm is not None
    if file is not None:
        if is_never_merged(file):
            return False
    pgoff: Pgoff = vma.vm_pgoff + start - vma.vm_start
    prepared: Count = NOT_PREPARED
    if len(vma.anon_prepared) > 0:
        prepared = vma.anon_prepared[0]
    anon_id = anon_id_of(vma)
    prev: Ref[Vma] = None
    following: Ref[Vma] = None
    if start == vma.vm_start and start > low:
        prev = mm.mm_mt[start - 1]
        if prev is not None:
            if not can_vma_merge_after(prev, file, pgoff, write, flags, prepared, more_flags, anon_id):
                prev = None
    if end == vma.vm_end and end < high:
        following = mm.mm_mt[end]
        if following is not None:
            if not can_vma_merge_before(following, file, pgoff + end - start, write, flags, prepared, more_flags, anon_id) or keeps_apart(prev, following):
                following = None
    expanded = following if prev is None else prev
    if expanded is None:
        return False
    vma_start_write(vma)
    vma_start_write(expanded)
    if following is not None:
        vma_start_write(following)
    dup_anon_vma(expanded, prepared, anon_id)
    if following is not None and start == vma.vm_start:
        if len(following.anon_prepared) > 0:
            dup_anon_vma(expanded, following.anon_prepared[0], anon_id_of(following))
    is_whole = start == vma.vm_start and end == vma.vm_end
    if file is not None:
        file.i_mmap_rwsem.write_lock()
        vma_interval_tree_remove(expanded, file)
        if not is_whole:
            vma_interval_tree_remove(vma, file)
    anon_vma_unlink(expanded)
    anon_vma_unlink(vma)
    if prev is None:
        expanded.vm_start = start
        expanded.vm_pgoff = pgoff
    else:
        expanded.vm_end = end if following is None else following.vm_end
    if not is_whole:
        if prev is None:
            vma.vm_end = start
        else:
            vma.vm_start = end
            vma.vm_pgoff = pgoff + end - start
    if file is not None:
        if not is_whole and prev is not None:
            vma_interval_tree_insert(vma, file)
        vma_interval_tree_insert(expanded, file)
        if not is_whole and prev is None:
            vma_interval_tree_insert(vma, file)
        if is_whole:
            vma_interval_tree_remove(vma, file)
            if prev is not None and following is not None:
                vma_interval_tree_remove(following, file)
        file.i_mmap_rwsem.write_unlock()
    anon_vma_link(expanded)
    vma_iter_store(mm, expanded)
    if is_whole:
        vm_area_free(vma)
        if prev is not None and following is not None:
            anon_vma_unlink(following)
            vm_area_free(following)
    else:
        anon_vma_link(vma)
    return True


def do_vmi_align_munmap(mm: Mm, start: Va, end: VaEnd) -> Errno:
    """do_vmi_align_munmap(), vms_complete_munmap_vmas() (mm/vma.c, Linux 6.12): unmap a range. 0, mapped or not.

    -EINVAL: it begins or ends within a huge page of a file. Left out: limits, accounting.
    """
    mm.mmap_lock.write_lock()
    return do_vmi_munmap(mm, start, end)


def do_vmi_munmap(mm: Mm, start: Va, end: VaEnd) -> Errno:
    """do_vmi_munmap(unlock=true), do_vmi_align_munmap(), vms_complete_munmap_vmas() (mm/vma.c, Linux 6.12): the same with the mmap lock held for writing, which is
    given up."""
    told = False
    if len(huge_pages) > 0:
        refused = prepare_splits(mm, start, end)
        if refused != 0:
            mm.mmap_lock.write_unlock()
            return refused
    if len(mm.userfaultfd) > 0:
        told = userfaultfd_unmap_prep(mm, start, end)
    if len(vmas[0].vm_lock) > 0:
        lock_vmas_to_unmap(mm, start, end)
    with atomic:
        detached = vms_gather_munmap_vmas(mm, start, end)
        mm.mmap_lock.write_downgrade()
        vmas_changed(mm, start, end)
    if detached is not None:
        gather = unmap_vmas(mm, start, end)
        free_pgtables(detached)
        if len(mm.tlb) > 0:
            tlb_flush_mmu_tlbonly(mm, start, end)
        if len(secondary_tlbs) > 0:
            flush_secondary_tlbs(mm, start, end)
        if gather:
            tlb_finish_mmu(gather)
    mm.mmap_lock.read_unlock()
    if len(mm.userfaultfd) > 0:
        if told:
            userfaultfd_unmap_complete(mm, start, end)
    return 0


def lock_vmas_to_unmap(mm: Mm, start: Va, end: VaEnd) -> None:
    """The calls of vma_start_write() in vms_gather_munmap_vmas() (mm/vma.c, Linux 6.12): each vma is waited for in its turn, and those before it are marked by then."""
    for va in range(start, end):
        with atomic:
            vma = mm.mm_mt[va]
            if vma is not None:
                vma_start_write(vma)


@atomic
def vms_gather_munmap_vmas(mm: Mm, start: Va, end: VaEnd) -> Ref[Vma]:
    """vms_gather_munmap_vmas() (mm/vma.c, Linux 6.12): take what is mapped out of the tree; the first of it, by address.

    A vma of which only a part is in the range is split. `Vma.next` leads to the next.
    """
    detached: Ref[Vma] = None
    last: Ref[Vma] = None
    for va in range(start, end):
        vma = mm.mm_mt[va]
        if vma is not None:
            if vma.vm_start < start:
                split_vma(vma, start, True)
            if vma.vm_end > end:
                split_vma(vma, end, False)
            vma_start_write(vma)
            if detached is None:
                detached = vma
            elif last is not vma:
                assert last is not None
                last.next = vma
            last = vma
            mm.mm_mt[va] = None
            if len(locked_vms) > 0:
                if vma_is_locked(vma):
                    locked_vms[mms.index(mm)].pages -= 1
    return detached


@atomic
def free_pgtables(vma: Ref[Vma]) -> None:
    """free_pgtables() (mm/memory.c), for its unlink_file_vma(), and remove_vma() (mm/vma.c, Linux 6.12): files forget the
    vmas from `vma` on, which drop their references to the files.

    Taking `i_mmap_rwsem`, unlinking and releasing it is one step. A file's last reference is dropped here; in the kernel the
    thread that dropped it does the rest on its way back to its program.
    """
    while vma is not None:
        following = vma.next
        file = vma.vm_file
        if file is not None:
            file.i_mmap_rwsem.write_lock()
            vma_interval_tree_remove(vma, file)
            file.i_mmap_rwsem.write_unlock()
        anon_vma_unlink(vma)
        free_page_tables(vma)
        if len(vma.resv_map) > 0:
            hugetlb_vm_op_close(vma)
        vm_area_free(vma)
        if file is not None:
            file.unlinked()
        vma = following


@atomic
def free_page_tables(vma: Vma) -> None:
    """free_pgd_range() (mm/memory.c, Linux 6.12): a page table over which nothing is mapped any more goes."""
    mm = vma.vm_mm
    assert mm is not None
    if len(huge_pages) > 0:
        for va in range(vma.vm_start, vma.vm_end):
            first = va // HPAGE_PMD_NR * HPAGE_PMD_NR
            if mm.mm_mt[first] is None and mm.mm_mt[first + 1] is None:
                mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.NONE
                if len(gup_walks) > 0:
                    table_moves(mm, va, TablePlace.IN_TREE, TablePlace.UNLINKED, va)
