"""mm/mmap.c: mapping, unmapping, and the end of an address space.

Exit: first every subscriber is told (`mmu_notifier_release`), with no lock held; then, under the mmap lock for
reading, all is unmapped in one bracket that calls those still subscribed again; then, under the mmap lock for
writing, the references are dropped and the vmas go.
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic, bound, milestone, shared_array
from secondsight.linux.errno import EEXIST, EINVAL, ENOMEM
from secondsight.linux.fork import vm_area_alloc, vmas
from secondsight.linux.hugetlb_resv import set_vma_resv_map
from secondsight.linux.memory_zap import tlb_finish_mmu, unmap_vmas
from secondsight.linux.mm_flags import MAP_NORESERVE, MAP_PRIVATE, MAP_SEALS_LATE, VM_ACCOUNT, VM_DEVMAP, VM_PRIVATE, VM_SEALED
from secondsight.linux.mm_interval_tree import vma_interval_tree_insert
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    NOT_PREPARED,
    AddressSpace,
    Flags,
    Mm,
    Pgoff,
    Result,
    Va,
    VaEnd,
    Vma,
    huge_pages,
    hugetlb_private,
    resizes,
    secondary_tlbs,
)
from secondsight.linux.mmu_notifier import mmu_notifier_release
from secondsight.linux.rmap import anon_vma_prepare
from secondsight.linux.tlb import flush_secondary_tlbs, tlb_flush_mmu_tlbonly
from secondsight.linux.userfaultfd import userfaultfd_unmap_complete, userfaultfd_unmap_prep
from secondsight.linux.vma import (
    do_vmi_align_munmap,
    free_pgtables,
    lock_vmas_to_unmap,
    prepare_splits,
    vma_iter_store,
    vma_merge_new_range,
    vmas_changed,
    vms_gather_munmap_vmas,
)
from secondsight.linux.vma_lock import vma_start_write

__all__ = ["do_mmap", "do_mmap_fixed", "exit_mmap", "get_unmapped_area", "link_new_vma", "vm_munmap"]


prepares_dax = shared_array(bool, bound("prepares_dax", most=1))
"""Of size 1 where a release says so: see `releases` (dax-refuses-before-it-maps)."""

no_memory_to_unmap = shared_array(bool, bound("no_memory_to_unmap", most=1))
"""Of size 1: where what is mapped over cannot be unmapped, for it is a part of a file's huge page, the error is -ENOMEM, as in Linux 6.1."""


def do_mmap(
    mm: Mm,
    va: Va,
    length: Pgoff,
    file: Ref[AddressSpace],
    pgoff: Pgoff,
    write: bool,
    map_flags: Flags = 0,
) -> Result:
    """do_mmap() (mm/mmap.c, Linux 6.12), MAP_FIXED_NOREPLACE: map `length` pages of `file` (None: anonymous) at
    `va`.

    `va`, or -EEXIST when something is there, -ENOMEM beyond the end of the address space, or the file's own error.
    Shared if a file, unless `map_flags` has MAP_PRIVATE; anonymous memory is private. Left out: protections other than read and write.
    """
    if length <= 0 or va + length > len(mm.ptes):
        return -ENOMEM
    mm.mmap_lock.write_lock()
    refused = False
    with atomic:
        ret = 0
        for i in range(va, va + length):
            if mm.mm_mt[i] is not None:
                ret = -EEXIST
        if ret == 0:
            ret = map_writable(file, write, map_flags)
        if ret >= 0:
            ret = mmap_region(mm, va, length, file, pgoff, write, vm_flags_of(ret), map_flags, va, va + length)
            refused = ret < 0 and not is_refused_by_prepare(file)
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
    map_flags: Flags = 0,
    low: Va = 0,
    high: VaEnd = 0,
) -> Result:
    """do_mmap(), mmap_region(), __mmap_region() (mm/mmap.c, Linux 6.12), MAP_FIXED: map over whatever is there.

    The old mapping goes and the new one comes under one hold of the mmap lock, so no access finds a gap. A write seal is
    looked at before the old mapping goes; but when the file's own mmap refuses, it has gone (vms_abort_munmap_vmas()).
    MAP_SEALS_LATE: as in older releases, F_SEAL_FUTURE_WRITE is for the file's own mmap, which is not asked when the new
    mapping is merged with a neighbour (see `releases`). `low`, `high`: see `vma_merge_new_range`.
    """
    if length <= 0 or va + length > len(mm.ptes):
        return -ENOMEM
    if len(huge_pages) > 0:
        if file is not None and va % HPAGE_PMD_NR != 0:
            if file.is_hugetlb():  # prepare_hugepage_range() (include/asm-generic/hugetlb.h)
                return -EINVAL
    mm.mmap_lock.write_lock()
    told = False
    if len(mm.userfaultfd) > 0:
        refused_at_once = will_be_refused(file, write, map_flags)
        if not refused_at_once:
            told = userfaultfd_unmap_prep(mm, va, va + length)
    detached: Ref[Vma] = None
    if len(vmas[0].vm_lock) > 0:
        stays = will_be_refused(file, write, map_flags)
        if not stays:
            lock_vmas_to_unmap(mm, va, va + length)
    with atomic:
        ret: Result = map_writable(file, write, map_flags)
        if len(huge_pages) == 0:
            if ret >= 0:
                detached = vms_gather_munmap_vmas(mm, va, va + length)
    if len(huge_pages) > 0:
        if ret >= 0:
            refused_split = prepare_splits(mm, va, va + length)
            if refused_split != 0:
                undo_map_writable(file, ret)
                mm.mmap_lock.write_unlock()
                return -ENOMEM if len(no_memory_to_unmap) > 0 else refused_split
            detached = vms_gather_munmap_vmas(mm, va, va + length)
    if detached is not None:
        gather = unmap_vmas(mm, va, va + length)
        free_pgtables(detached)
        if len(mm.tlb) > 0:
            tlb_flush_mmu_tlbonly(mm, va, va + length)
        if len(secondary_tlbs) > 0:
            flush_secondary_tlbs(mm, va, va + length)
        if gather:
            tlb_finish_mmu(gather)
    if ret >= 0:
        with atomic:
            ret = mmap_region(mm, va, length, file, pgoff, write, vm_flags_of(ret), map_flags, low, high)
            refused = ret < 0 and not is_refused_by_prepare(file)
        if refused:
            unmap_region(mm, va, length)
    mm.mmap_lock.write_unlock()
    if len(mm.userfaultfd) > 0:
        if told:
            userfaultfd_unmap_complete(mm, va, va + length)
    return ret


@atomic
def will_be_refused(file: Ref[AddressSpace], write: bool, map_flags: Flags) -> bool:
    """Whether `map_writable` will refuse: then nothing is unmapped, and nobody is told. (A seal that comes in between is as if it had come
    later.)"""
    ret = map_writable(file, write, map_flags)
    if ret == 0 and file is not None:
        file.unmap_writable()
    return ret < 0


@atomic
def is_refused_by_prepare(file: Ref[AddressSpace]) -> bool:
    """Whether a file has refused in its `mmap_prepare`, before there was a vma (call_mmap_prepare(), mm/vma.c, Linux 7.2): nothing is undone then."""
    if len(prepares_dax) > 0:
        return file is not None and file.vm_flags() & VM_DEVMAP != 0
    return False


def unmap_region(mm: Mm, va: Va, length: Pgoff) -> None:
    """unmap_region() (mm/vma.c, Linux 6.12; mm/mmap.c in 6.1) of a mapping that its file's own mmap has refused: subscribers
    are called, for a driver might have mapped something already. Nothing is there."""
    gather = unmap_vmas(mm, va, va + length)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, va, va + length)
    if gather:
        tlb_finish_mmu(gather)


@atomic
def map_writable(file: Ref[AddressSpace], write: bool, map_flags: Flags) -> Errno:
    """The part of do_mmap() and mmap_region() that asks whether `file` may be mapped; anonymous memory may. 1: only for reading; 2:
    privately, whatever seals it has."""
    if file is None:
        return 0
    if map_flags & MAP_PRIVATE != 0:
        return 2
    return file.map_writable(map_flags) if write else file.map_readable()


@atomic
def undo_map_writable(file: Ref[AddressSpace], ret: Result) -> None:
    """mapping_unmap_writable() after what `map_writable` has said, where nothing is mapped after all."""
    if file is not None and ret == 0:
        file.unmap_writable()


@atomic
def vm_flags_of(ret: Result) -> Flags:
    """What `map_writable` has said, as flags of the vma."""
    return VM_SEALED if ret == 1 else VM_PRIVATE if ret == 2 else 0


@atomic
def mmap_region(
    mm: Mm,
    va: Va,
    length: Pgoff,
    file: Ref[AddressSpace],
    pgoff: Pgoff,
    write: bool,
    flags: Flags,
    map_flags: Flags,
    low: Va,
    high: VaEnd,
) -> Result:
    """__mmap_region() (mm/mmap.c, Linux 6.12): a neighbour maps the range too, or a new vma goes into the tree and, under
    `i_mmap_rwsem`, into the file's.

    Nothing is mapped there. `va`, or the error of the file's own mmap, which is asked for a new vma only. One that changes the vma's flags, as those of dax do
    (VM_HUGEPAGE), is asked always: no neighbour's flags are those of a vma that it has not seen, and then they are.
    """
    first = va if file is None else pgoff
    more: Flags = 0
    if len(vmas[0].more_flags) > 0 and len(vmas[0].anon_prepared) > 0:  # where mprotect() knows it too
        if accountable_mapping(file, write, flags, map_flags):
            more = VM_ACCOUNT
    asked_first = file is not None and file.vm_flags() & VM_DEVMAP != 0
    expanded: Ref[Vma] = None
    if not asked_first:
        expanded = vma_merge_new_range(mm, va, va + length, file, first, write, flags, NOT_PREPARED, low, high, more)
    ret = 0
    if expanded is None:
        if file is not None:
            if not write or flags & VM_PRIVATE != 0:  # no seal forbids it
                map_flags = map_flags & (255 - MAP_SEALS_LATE)
            ret = file.mmap(length, pgoff, map_flags)
            if ret == 0 and flags & VM_PRIVATE != 0 and file.vm_flags() != 0:
                ret = -EINVAL  # mmap_udmabuf() (drivers/dma-buf/udmabuf.c), check_vma() (drivers/dax/device.c)
            if len(resizes) > 0:
                if ret == 0 and write:
                    file.mapped_to_write(pgoff + length)
        if ret == 0 and asked_first:
            expanded = vma_merge_new_range(mm, va, va + length, file, first, write, flags, NOT_PREPARED, low, high, more)
        if ret == 0 and expanded is None:
            link_new_vma(mm, va, length, file, pgoff, write, flags, more)
            if len(hugetlb_private) > 0:
                if file is not None and flags & VM_PRIVATE != 0 and map_flags & MAP_NORESERVE == 0:
                    if file.is_hugetlb():
                        set_vma_resv_map(mm, va)
    if file is not None and flags & (VM_SEALED | VM_PRIVATE) == 0:
        file.unmap_writable()
    vmas_changed(mm, va, va + length)
    return va if ret == 0 else ret


@atomic
def accountable_mapping(file: Ref[AddressSpace], write: bool, flags: Flags, map_flags: Flags) -> bool:
    """accountable_mapping() (mm/mmap.c, Linux 6.12), and its question before it (MAP_NORESERVE): private memory that may be written."""
    if file is not None:
        if flags & VM_PRIVATE == 0 or file.is_hugetlb():
            return False
    return write and map_flags & MAP_NORESERVE == 0


@atomic
def link_new_vma(
    mm: Mm, va: Va, length: Pgoff, file: Ref[AddressSpace], pgoff: Pgoff, write: bool, flags: Flags = 0, more_flags: Flags = 0
) -> None:
    """The part of __mmap_region() (mm/mmap.c, Linux 6.12) that makes a vma: vma_set_range(), vma_iter_store(), vma_link_file()."""
    vma = vm_area_alloc(mm)
    vma_start_write(vma)
    vma.vm_start = va
    vma.vm_end = va + length
    vma.write = write
    if len(vma.flags) > 0:
        vma.flags[0] = flags
    if len(vma.more_flags) > 0:
        vma.more_flags[0] = more_flags
    vma.vm_file = file
    vma.vm_pgoff = va if file is None else pgoff
    if file is not None:
        file.i_mmap_rwsem.write_lock()
        vma_interval_tree_insert(vma, file)
        file.i_mmap_rwsem.write_unlock()
    anon_vma_prepare(vma)
    vma_iter_store(mm, vma)


@atomic
def get_unmapped_area(mm: Mm, length: Pgoff) -> Result:
    """get_unmapped_area() (mm/mmap.c, Linux 6.12): the lowest free place for `length` pages, or -ENOMEM.

    Lowest first, where the kernel goes from the top: addresses in traces stay small.
    """
    for va in range(len(mm.ptes) - length + 1):
        if all(mm.mm_mt[i] is None for i in range(va, va + length)):
            return va
    return -ENOMEM


def vm_munmap(mm: Mm, va: Va, length: Pgoff) -> Result:
    """vm_munmap() (mm/mmap.c, Linux 6.12): unmap `length` pages from `va`."""
    return do_vmi_align_munmap(mm, va, va + length)


@milestone
def exit_mmap(mm: Mm) -> None:
    """exit_mmap() (mm/mmap.c, Linux 6.12): the last user has gone; unmap everything."""
    mmu_notifier_release(mm)
    mm.mmap_lock.read_lock()
    gather = unmap_vmas(mm, 0, len(mm.ptes))
    mm.mmap_lock.read_unlock()
    mm.mmap_lock.write_lock()
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, 0, len(mm.ptes))
    with atomic:
        free_pgtables(vms_gather_munmap_vmas(mm, 0, len(mm.ptes)))
        if len(mm.tlb) > 0:
            tlb_flush_mmu_tlbonly(mm, 0, len(mm.ptes))
        tlb_finish_mmu(gather)
    mm.mmap_lock.write_unlock()
