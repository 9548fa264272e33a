"""mm/mmap.c: mapping, unmapping, and the end of an address space.

Exit: first every subscriber is told (`mmu_notifier_release`), with no lock held; then, under the mmap lock for
reading, all is unmapped in one bracket that calls those still subscribed again; then, under the mmap lock for
writing, the references are dropped and the vmas go.
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic
from secondsight.linux.errno import EEXIST, ENOMEM
from secondsight.linux.memory import tlb_finish_mmu, unmap_vmas
from secondsight.linux.mm_types import AddressSpace, Mm, Pgoff, Result, Va, VaEnd, VmaState
from secondsight.linux.mmu_notifier import mmu_notifier_release
from secondsight.linux.vma import do_vmi_align_munmap, free_pgtables, vmas_changed, vms_gather_munmap_vmas

__all__ = ["do_mmap", "do_mmap_fixed", "exit_mmap", "get_unmapped_area", "vm_munmap"]


def do_mmap(
    mm: Mm, va: Va, length: Pgoff, file: Ref[AddressSpace], pgoff: Pgoff, write: bool, seals_late: bool = False
) -> Result:
    """do_mmap() (mm/mmap.c, Linux 6.12), MAP_FIXED_NOREPLACE: map `length` pages of `file` (None: anonymous) at
    `va`.

    `va`, or -EEXIST when something is there, -ENOMEM beyond the end of the address space, or the file's own error.
    Shared if a file, else private. `seals_late`: see `do_mmap_fixed`. Left out: protections other than read and write.
    """
    if length <= 0 or va + length > len(mm.vmas):
        return -ENOMEM
    mm.mmap_lock.write_lock()
    refused = False
    with atomic:
        ret = 0
        for i in range(va, va + length):
            if mm.vmas[i].state != VmaState.NONE:
                ret = -EEXIST
        if ret == 0:
            ret = map_writable(file, seals_late)
        if ret == 0:
            ret = mmap_region(mm, va, length, file, pgoff, write, seals_late)
            refused = ret < 0
    if refused:
        unmap_region(mm, va, length)
    mm.mmap_lock.write_unlock()
    return ret


def do_mmap_fixed(
    mm: Mm,
    va: Va,
    length: Pgoff,
    file: Ref[AddressSpace],
    pgoff: Pgoff,
    write: bool,
    seals_late: bool = False,
    low: Va = 0,
    high: VaEnd = 0,
) -> Result:
    """do_mmap(), mmap_region(), __mmap_region() (mm/mmap.c, Linux 6.12), MAP_FIXED: map over whatever is there.

    The old mapping goes and the new one comes under one hold of the mmap lock, so no access finds a gap. A write seal is
    looked at before the old mapping goes; but when the file's own mmap refuses, it has gone (vms_abort_munmap_vmas()).
    `seals_late`: as in older releases, F_SEAL_FUTURE_WRITE is for the file's own mmap, which is not asked when the new
    mapping continues a neighbour (see `releases`). Neighbours are looked for between `low` and `high`: mappings lie side by
    side in the model that the kernel keeps apart.
    """
    if length <= 0 or va + length > len(mm.vmas):
        return -ENOMEM
    mm.mmap_lock.write_lock()
    with atomic:
        ret: Result = map_writable(file, seals_late)
        found = ret == 0 and vms_gather_munmap_vmas(mm, va, va + length)
    if found:
        gather = unmap_vmas(mm, va, va + length)
        free_pgtables(mm, va, va + length)
        if gather != 0:
            tlb_finish_mmu(gather)
    if ret == 0:
        with atomic:
            late = seals_late and not continues(mm, va, length, file, pgoff, low, high)
            ret = mmap_region(mm, va, length, file, pgoff, write, late)
            refused = ret < 0
        if refused:
            unmap_region(mm, va, length)
    mm.mmap_lock.write_unlock()
    return ret


def unmap_region(mm: Mm, va: Va, length: Pgoff) -> None:
    """unmap_region() (mm/vma.c, Linux 6.12; mm/mmap.c in 6.1) of a mapping that its file's own mmap has refused: subscribers
    are called, for a driver might have mapped something already. Nothing is there."""
    gather = unmap_vmas(mm, va, va + length)
    if gather != 0:
        tlb_finish_mmu(gather)


@atomic
def continues(mm: Mm, va: Va, length: Pgoff, file: Ref[AddressSpace], pgoff: Pgoff, low: Va, high: VaEnd) -> bool:
    """can_vma_merge_before(), can_vma_merge_after() (mm/mmap.c, Linux 6.1) for a file's mapping: whether a neighbour maps the
    file's pages just before or just behind."""
    if file is None:
        return False
    if va > low and pgoff > 0:
        before = mm.vmas[va - 1]
        if before.state == VmaState.MAPPED and before.file is file and before.pgoff == pgoff - 1:
            return True
    if va + length < high:
        behind = mm.vmas[va + length]
        if behind.state == VmaState.MAPPED and behind.file is file and behind.pgoff == pgoff + length:
            return True
    return False


@atomic
def map_writable(file: Ref[AddressSpace], seals_late: bool) -> Errno:
    """The part of do_mmap() and mmap_region() that asks whether `file` may be mapped for writing; anonymous memory may."""
    if file is None:
        return 0
    return file.map_writable(seals_late)


@atomic
def mmap_region(
    mm: Mm, va: Va, length: Pgoff, file: Ref[AddressSpace], pgoff: Pgoff, write: bool, seals_late: bool
) -> Result:
    """__mmap_region() (mm/mmap.c, Linux 6.12): the vma into the tree and, under `i_mmap`, into the file's.

    Nothing is mapped there. `va`, or the error of the file's own mmap.
    """
    if file is not None:
        ret = file.mmap(length, pgoff, seals_late)
        if ret != 0:
            file.unmap_writable()
            vmas_changed(mm, va, va + length)
            return ret
        file.i_mmap.write_lock()
    for i in range(va, va + length):
        vma = mm.vmas[i]
        vma.state = VmaState.MAPPED
        vma.write = write
        vma.file = file
        if file is not None:
            vma.pgoff = pgoff + i - va
    if file is not None:
        file.i_mmap.write_unlock()
        file.unmap_writable()
    vmas_changed(mm, va, va + length)
    return va


@atomic
def get_unmapped_area(mm: Mm, length: Pgoff) -> Result:
    """get_unmapped_area() (mm/mmap.c, Linux 6.12): the lowest free place for `length` pages, or -ENOMEM.

    Lowest first, where the kernel goes from the top: addresses in traces stay small.
    """
    for va in range(len(mm.vmas) - length + 1):
        if all(mm.vmas[i].state == VmaState.NONE for i in range(va, va + length)):
            return va
    return -ENOMEM


def vm_munmap(mm: Mm, va: Va, length: Pgoff) -> Result:
    """vm_munmap() (mm/mmap.c, Linux 6.12): unmap `length` pages from `va`."""
    return do_vmi_align_munmap(mm, va, va + length)


def exit_mmap(mm: Mm) -> None:
    """exit_mmap() (mm/mmap.c, Linux 6.12): the last user has gone; unmap everything."""
    mmu_notifier_release(mm)
    mm.mmap_lock.read_lock()
    gather = unmap_vmas(mm, 0, len(mm.vmas))
    mm.mmap_lock.read_unlock()
    mm.mmap_lock.write_lock()
    with atomic:
        free_pgtables(mm, 0, len(mm.vmas))
        tlb_finish_mmu(gather)
    mm.mmap_lock.write_unlock()
