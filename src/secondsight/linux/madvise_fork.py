"""mm/madvise.c: MADV_DONTFORK, MADV_WIPEONFORK and their opposites: what a child gets of a vma (`Vma.more_flags`, `fork_dup`).

Who pins memory and forks asks for the first: the child has no such vma, so that no write of the parent's replaces the page that a device uses.
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, bound, milestone, shared_array
from secondsight.linux.errno import EINVAL, ENOMEM
from secondsight.linux.madvise import find_vma_from
from secondsight.linux.mm_flags import VM_DONTCOPY, VM_WIPEONFORK
from secondsight.linux.mm_types import Flags, Mm, Pgoff, Va, VaEnd, Vma, huge_pages
from secondsight.linux.vma import is_never_merged, prepare_splits, vma_modify_flags, vmas_changed

__all__ = ["madvise_fork"]

no_dofork_of_special = shared_array(bool, bound("no_dofork_of_special", most=1))
"""Of size 1 where a release says so: see `releases` (dofork-of-special-memory)."""


@atomic
def is_special(vma: Vma) -> bool:
    """VM_SPECIAL (include/linux/mm.h, Linux 7.2): a PFN mapping, or of huge pages of a file."""
    file = vma.vm_file
    return file is not None and is_never_merged(file)


@milestone
def madvise_fork(mm: Mm, va: Va, length: Pgoff, flag: Flags, sets: bool, low: Va, high: VaEnd) -> Errno:
    """madvise_vma_behavior(), madvise_update_vma() (mm/madvise.c, Linux 6.12) of one of the flags, vma by vma: 0; -ENOMEM where nothing is mapped, done
    all the same where something is; -EINVAL: VM_WIPEONFORK of a file's vma, or an end within a huge page of a file: the rest stays as it is.

    `low`, `high`: see `vma.vma_merge_new_range`. Left out: VM_IO, VM_DROPPABLE.
    """
    mm.mmap_lock.write_lock()
    ret: Errno = 0
    start: VaEnd = va
    while start < va + length:
        with atomic:
            first = find_vma_from(mm, start, va + length)
            end = first
            changes = False
            if first != start:
                ret = -ENOMEM
            vma = mm.mm_mt[first] if first < va + length else None
            more_flags: Flags = 0
            if vma is not None:
                end = min(vma.vm_end, va + length)
                more_flags = vma.more_flags[0] | flag if sets else vma.more_flags[0] & (255 - flag)
                changes = vma.more_flags[0] != more_flags
                if (sets and flag == VM_WIPEONFORK and vma.vm_file is not None) or (not sets and flag == VM_DONTCOPY and len(no_dofork_of_special) > 0 and is_special(vma)):
                    ret = -EINVAL
        if ret == -EINVAL:
            break
        if changes:
            assert vma is not None
            if len(huge_pages) > 0:
                if prepare_splits(mm, first, end) != 0:
                    ret = -EINVAL
                    break
            with atomic:
                flags: Flags = vma.flags[0] if len(vma.flags) > 0 else 0
                vma_modify_flags(vma, first, end, vma.write, flags, low, high, more_flags)
        start = end
    with atomic:
        vmas_changed(mm, va, va + length)
        mm.mmap_lock.write_unlock()
    return ret
