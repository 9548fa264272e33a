"""mm/vma.c: taking mappings out of an address space.

munmap holds the mmap lock for writing only while it takes the vmas out of the tree. Then it downgrades to reading:
faults run beside the zap and find nothing mapped, and nothing can be mapped there before it is over.

    mmap_write_lock; vmas out of the tree; mmap_write_downgrade
    unmap_vmas: notifier bracket (UNMAP) around the zap
    free_pgtables: the file forgets the vmas (i_mmap for writing); tlb_finish_mmu: references dropped
    mmap_read_unlock
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, tracepoint
from secondsight.linux.memory import tlb_finish_mmu, unmap_vmas
from secondsight.linux.mm_types import Mm, Va, VaEnd, VmaState

__all__ = ["do_vmi_align_munmap", "free_pgtables", "vmas_changed"]


@tracepoint
def vmas_changed(mm: Mm, start: Va, end: VaEnd) -> None:
    """The vmas of a range are as they will be found by who takes the mmap lock next: there, gone, or others."""


def do_vmi_align_munmap(mm: Mm, start: Va, end: VaEnd) -> Errno:
    """do_vmi_align_munmap(), vms_complete_munmap_vmas() (mm/vma.c, Linux 6.12): unmap a range. 0, mapped or not.

    Left out: limits, accounting, locked memory.
    """
    mm.mmap_lock.write_lock()
    with atomic:
        found = vms_gather_munmap_vmas(mm, start, end)
        mm.mmap_lock.write_downgrade()
        vmas_changed(mm, start, end)
    if found:
        gather = unmap_vmas(mm, start, end)
        free_pgtables(mm, start, end)
        if gather != 0:
            tlb_finish_mmu(gather)
    mm.mmap_lock.read_unlock()
    return 0


@atomic
def vms_gather_munmap_vmas(mm: Mm, start: Va, end: VaEnd) -> bool:
    """vms_gather_munmap_vmas() (mm/vma.c, Linux 6.12): take what is mapped out of the tree; whether anything was."""
    found = False
    for va in range(start, end):
        if mm.vmas[va].state == VmaState.MAPPED:
            mm.vmas[va].state = VmaState.DETACHED
            found = True
    return found


@atomic
def free_pgtables(mm: Mm, start: Va, end: VaEnd) -> None:
    """free_pgtables() (mm/memory.c), for its unlink_file_vma(), and remove_vma() (mm/vma.c, Linux 6.12): files forget the
    range's vmas, which drop their references to the files.

    Taking `i_mmap`, unlinking and releasing it is one step. A file's last reference is dropped here; in the kernel the
    thread that dropped it does the rest on its way back to its program. Left out: the page tables themselves.
    """
    for va in range(start, end):
        vma = mm.vmas[va]
        file = vma.file
        if file is not None:
            file.i_mmap.write_lock()
            vma.file = None
            file.i_mmap.write_unlock()
            file.unlinked()
        vma.state = VmaState.NONE
        vma.pgoff = 0
        vma.write = False
