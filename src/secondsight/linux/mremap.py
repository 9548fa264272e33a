"""mm/mremap.c: a mapping moves to another address, and what it maps with it.

The mmap lock is held for writing from the beginning to the end, so no fault comes in between; accesses by entries that are there do:

    do_munmap(new place)            what is mapped there goes, whatever comes of the rest
    vma_to_resize()                 may this be moved? it must be one vma
    copy_vma()                      the new vma: a neighbour of the new place, or one more; file and anon_vma know it from now on
    move_page_tables()              in a notifier bracket (UNMAP) of the old place
        move_ptes()                 one step: both page-table locks, the TLB is flushed under them
    do_vmi_munmap(old place)        one more bracket, around nothing; the old vma goes

A page keeps its frame, and every entry what it says: pages in swap, in a device's memory or on their way move as well. So a mirror has
lost the old place and has not been told of the new one, where it was told that all is gone.

A vma of private memory goes on counting its pages from the address at which they were touched first (`Vma.vm_pgoff`); one that nobody has
touched begins anew, and may become one with what it comes to lie beside.

With MREMAP_DONTUNMAP the old vma stays, and is empty.

What is to have another length there is in `mremap_resized`, what may move to become larger in `mremap_in_place`.

Left out: an old length of 0; huge pages of files; accounting; limits, but that of locked memory.
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, bound, milestone, shared_array
from secondsight.linux.errno import EAGAIN, EFAULT, EINVAL
from secondsight.linux.fork import mms, vm_area_dup
from secondsight.linux.huge_memory import vma_adjust_trans_huge
from secondsight.linux.memory import vma_flags
from secondsight.linux.memory_zap import tlb_finish_mmu, unmap_vmas
from secondsight.linux.mm_flags import VM_DEVMAP, VM_LOCKED, VM_PFNMAP
from secondsight.linux.mm_interval_tree import vma_interval_tree_insert
from secondsight.linux.mm_types import (
    NOT_PREPARED,
    Count,
    Flags,
    Mm,
    Pgoff,
    Result,
    Va,
    VaEnd,
    Vma,
    anon_vmas,
    huge_pages,
    secondary_tlbs,
)
from secondsight.linux.mremap_tables import move_page_tables
from secondsight.linux.rmap import anon_vma_link, anon_vma_unlink
from secondsight.linux.tlb import flush_secondary_tlbs, tlb_flush_mmu_tlbonly
from secondsight.linux.userfaultfd import (
    mremap_userfaultfd_complete,
    mremap_userfaultfd_prep,
    userfaultfd_armed,
    userfaultfd_unmap_complete,
    userfaultfd_unmap_prep,
)
from secondsight.linux.util import locked_vms, vma_is_locked
from secondsight.linux.vma import (
    anon_id_of,
    free_pgtables,
    split_vma,
    vma_iter_store,
    vma_merge_new_range,
    vmas_changed,
    vms_gather_munmap_vmas,
)
from secondsight.linux.vma_lock import vma_start_write

__all__ = ["counts_locked", "do_munmap", "move_vma", "moves_several", "mremap_to", "tell", "vma_to_resize"]

moves_several = shared_array(bool, bound("moves_several", most=1))
"""Of size 1 where a release says so: see `releases` (mremap-of-several-vmas)."""


def mremap_to(mm: Mm, addr: Va, length: Pgoff, new_addr: Va, low: Va, high: VaEnd, dontunmap: bool = False) -> Result:
    """mremap(), mremap_to() (mm/mremap.c, Linux 6.12), MREMAP_MAYMOVE with MREMAP_FIXED, or `dontunmap` too: move `length` pages from `addr`
    to `new_addr`.

    `new_addr`, or -EINVAL: the two overlap, or the pages are a udmabuf's and are to stay mapped; -EFAULT: they are not all of one vma. What
    was mapped at the new place has gone then. `low`, `high`: see `vma_merge_new_range`, of the new place.
    """
    overlap = addr + length > new_addr and new_addr + length > addr
    if len(moves_several) > 0:
        if overlap:
            return -EINVAL
    mm.mmap_lock.write_lock()
    with atomic:
        problem: Errno = -EFAULT if mm.mm_mt[addr] is None else -EINVAL if overlap else 0
    if problem != 0:
        mm.mmap_lock.write_unlock()
        return problem
    if len(moves_several) > 0:
        return remap_move(mm, addr, length, new_addr, low, high, dontunmap)
    early = do_munmap(mm, new_addr, new_addr + length)
    ret = vma_to_resize(mm, addr, length, length, dontunmap)
    remap = False
    late: Count = 0
    if ret == 0:
        remap = move_vma(mm, addr, length, new_addr, length, low, high, dontunmap)
        if not dontunmap:
            late = do_munmap(mm, addr, addr + length)
            counts_locked(mm, new_addr, length)
    with atomic:
        vmas_changed(mm, addr, addr + length)
        vmas_changed(mm, new_addr, new_addr + length)
        mm.mmap_lock.write_unlock()
    if len(mm.userfaultfd) > 0:
        tell(mm, addr, length, new_addr, early, remap, late)
    return new_addr if ret == 0 else ret


def remap_move(mm: Mm, addr: Va, length: Pgoff, new_addr: Va, low: Va, high: VaEnd, dontunmap: bool) -> Result:
    """remap_move() (mm/mremap.c, Linux 7.2): vma by vma, as far as it goes; one that is registered with a userfaultfd only by itself. Nothing is unmapped
    before a vma has been found to be one that can be moved. The mmap lock is held for writing, and given up."""
    early: Count = 0
    late: Count = 0
    remap = False
    ret: Errno = 0
    at: VaEnd = addr
    while ret == 0 and at < addr + length:
        with atomic:
            start: VaEnd = at
            while start < addr + length and mm.mm_mt[start] is None:
                start += 1
            end: VaEnd = start
            if start < addr + length:
                vma = mm.mm_mt[start]
                assert vma is not None
                end = min(vma.vm_end, addr + length)
                ret = move_problem(mm, vma, start, end, addr, addr + length, dontunmap)
        at = end
        if start == end:
            break
        if ret == 0:
            to = new_addr + start - addr
            early += do_munmap(mm, to, to + end - start)
            remap = move_vma(mm, start, end - start, to, end - start, low, high, dontunmap)
            if not dontunmap:
                late += do_munmap(mm, start, end)
                counts_locked(mm, to, end - start)
    with atomic:
        vmas_changed(mm, addr, addr + length)
        vmas_changed(mm, new_addr, new_addr + length)
        mm.mmap_lock.write_unlock()
    if len(mm.userfaultfd) > 0:
        tell(mm, addr, length, new_addr, early, remap, late)
    return new_addr if ret == 0 else ret


@atomic
def move_problem(mm: Mm, vma: Vma, start: Va, end: VaEnd, first: Va, last: VaEnd, dontunmap: bool) -> Errno:
    """vma_multi_allowed(), check_prep_vma() (mm/mremap.c, Linux 7.2), of pages `start` to before `end` of a vma, as a part of `first` to before
    `last`."""
    alone = vma_flags(vma) & VM_DEVMAP != 0
    if len(mm.userfaultfd) > 0:
        if userfaultfd_armed(vma):
            alone = True
    if alone and (start != first or vma.vm_end < last):
        return -EFAULT
    if dontunmap and vma_flags(vma) & VM_PFNMAP != 0:
        return -EINVAL
    return 0


def tell(mm: Mm, addr: Va, length: Pgoff, new_addr: Va, early: Count, remap: bool, late: Count) -> None:
    """The end of mremap() (mm/mremap.c, Linux 6.12): user space is told of each, one after the other, without any lock."""
    for _ in range(early):
        userfaultfd_unmap_complete(mm, new_addr, new_addr + length)
    if remap:
        mremap_userfaultfd_complete(mm, addr, addr + length)
    for _ in range(late):
        userfaultfd_unmap_complete(mm, addr, addr + length)


def do_munmap(mm: Mm, start: Va, end: VaEnd) -> Count:
    """do_munmap(), do_vmi_munmap(unlock=false) (mm/mmap.c, mm/vma.c, Linux 6.12): unmap a range; the mmap lock stays held for writing. 1: user space
    is to be told."""
    told = False
    if len(huge_pages) > 0:
        vma_adjust_trans_huge(mm, start, end)
    if len(mm.userfaultfd) > 0:
        told = userfaultfd_unmap_prep(mm, start, end)
    detached = vms_gather_munmap_vmas(mm, start, end)
    if detached is not None:
        gather = unmap_vmas(mm, start, end)
        free_pgtables(detached)
        if len(mm.tlb) > 0:
            tlb_flush_mmu_tlbonly(mm, start, end)
        if len(secondary_tlbs) > 0:
            flush_secondary_tlbs(mm, start, end)
        if gather:
            tlb_finish_mmu(gather)
    return 1 if told else 0


@atomic
def vma_to_resize(mm: Mm, addr: Va, old_len: Pgoff, new_len: Pgoff, dontunmap: bool = False) -> Errno:
    """vma_to_resize() (mm/mremap.c, Linux 6.12): 0, -EINVAL, -EFAULT, or -EAGAIN where it is locked, and would be longer than may be. Left out: VM_DONTEXPAND
    of other than PFN mappings."""
    vma = mm.mm_mt[addr]
    if vma is None:
        return -EFAULT
    if dontunmap and vma_flags(vma) & VM_PFNMAP != 0:
        return -EINVAL
    if addr + old_len > vma.vm_end:
        return -EFAULT
    if new_len > old_len:
        if vma_flags(vma) & VM_PFNMAP != 0:
            return -EFAULT
        if len(locked_vms) > 0:
            if vma_is_locked(vma):
                counted = locked_vms[mms.index(mm)]
                if counted.pages + new_len - old_len > counted.limit:
                    return -EAGAIN
    return 0


@milestone(quiet=True)
def move_vma(mm: Mm, addr: Va, old_len: Pgoff, new_addr: Va, new_len: Pgoff, low: Va, high: VaEnd, dontunmap: bool) -> bool:
    """move_vma() (mm/mremap.c, Linux 6.12), but for the unmapping of the old place: whether user space is to be told."""
    needs_rmap_locks = copy_vma(mm, addr, new_addr, new_len, low, high, dontunmap)
    move_page_tables(mm, addr, old_len, new_addr, needs_rmap_locks)
    told = False
    if len(mm.userfaultfd) > 0:
        told = mremap_userfaultfd_prep(mm, new_addr)
    if dontunmap:
        leave_empty(mm, addr, old_len)
    return told


@atomic
def copy_vma(mm: Mm, addr: Va, new_addr: Va, length: Pgoff, low: Va, high: VaEnd, keep_source: bool) -> bool:
    """copy_vma() (mm/vma.c, Linux 6.12): there is a vma at the new place, which maps the same: a neighbour, or a new one. Whether the file's and
    the anon_vma's lock are needed when entries move (need_rmap_locks): whoever walks might else come to the new place first and miss the page.

    Private memory that nobody has touched has its place in the address space as its page number, and may become one with the vma that it comes from.
    """
    vma = mm.mm_mt[addr]
    assert vma is not None
    file = vma.vm_file
    pgoff: Pgoff = vma.vm_pgoff + addr - vma.vm_start
    flags: Flags = 0
    if len(vma.flags) > 0:
        flags = vma.flags[0]
    prepared: Count = NOT_PREPARED
    is_touched = True
    if len(vma.anon_prepared) > 0:
        prepared = vma.anon_prepared[0]
        is_touched = file is not None or prepared != NOT_PREPARED
    if not is_touched:
        pgoff = new_addr
        if keep_source:  # the two are to stay two
            if vma.vm_end == new_addr:
                low = new_addr
            if vma.vm_start == new_addr + length:
                high = new_addr + length
    more_flags: Flags = 0
    if len(vma.more_flags) > 0:
        more_flags = vma.more_flags[0]
    before: Pgoff = vma.vm_pgoff
    vma_start_write(vma)
    merged = vma_merge_new_range(mm, new_addr, new_addr + length, file, pgoff, vma.write, flags, prepared, low, high, more_flags, anon_id_of(vma))
    if merged is not None:
        source = mm.mm_mt[addr]
        return source is merged or merged.vm_pgoff <= before
    new = vm_area_dup(vma)
    vma_start_write(new)
    new.vm_start = new_addr
    new.vm_end = new_addr + length
    new.vm_pgoff = pgoff
    if file is not None:
        file.i_mmap_rwsem.write_lock()
        vma_interval_tree_insert(new, file)
        file.i_mmap_rwsem.write_unlock()
    anon_vma_link(new)
    vma_iter_store(mm, new)
    return False


@atomic
def counts_locked(mm: Mm, new_addr: Va, new_len: Pgoff) -> bool:
    """The part of move_vma() (mm/mremap.c, Linux 6.12) about `locked_vm`: the unmapping of the old place has taken away what is still locked. Whether it is
    locked."""
    if len(locked_vms) > 0:
        vma = mm.mm_mt[new_addr]
        assert vma is not None
        if vma_is_locked(vma):
            locked_vms[mms.index(mm)].pages += new_len
            return True
    return False


@atomic
def leave_empty(mm: Mm, addr: Va, length: Pgoff) -> None:
    """The part of move_vma() (mm/mremap.c, Linux 6.12) about MREMAP_DONTUNMAP: a vma that is left whole is as if nobody had touched it."""
    vma = mm.mm_mt[addr]
    assert vma is not None
    if len(locked_vms) > 0:
        if vma_is_locked(vma):  # it is split for that, and what is left of it stays locked: the count is right
            if vma.vm_start < addr:
                split_vma(vma, addr, True)
            if vma.vm_end > addr + length:
                split_vma(vma, addr + length, False)
            vma.flags[0] = vma.flags[0] & (255 - VM_LOCKED)
    if vma.vm_start == addr and vma.vm_end == addr + length:
        if len(vma.anon_prepared) > 0:
            vma.anon_prepared[0] = NOT_PREPARED
            if len(vma.anon_id) > 0:
                vma.anon_id[0] = 0
        if vma.vm_file is None:
            if len(anon_vmas) > 0:
                anon_vma_unlink(vma)
                vma.vm_pgoff = addr
                anon_vma_link(vma)
            else:
                vma.vm_pgoff = addr


